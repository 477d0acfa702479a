package io.github.pgquota.tool.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import javax.xml.parsers.DocumentBuilderFactory;
import org.HdrHistogram.Histogram;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.w3c.dom.Document;
import org.w3c.dom.NodeList;

/** What is measured, promised and drawn, without measuring anything. */
class RowsTest {

    /** A series of rounds with so many calls a second, each of which took 1/n of a second. */
    private static Series series(Line line, long... calls) {
        Series series = new Series(line);
        for (long n : calls) {
            Histogram latency = new Histogram(3);
            latency.recordValueWithCount(1_000_000_000 / n, n);
            Cost cost = new Cost(1e3 * n, Double.NaN, 5 * n, 7 * n, Double.NaN);
            series.rounds().add(new Slice(n, n, 1, latency, cost));
        }
        return series;
    }

    @Test
    void rowsAreNamedOnceAndPromiseWhatTheyMeasure() {
        assertThat(Rows.all()).extracting(Row::name).doesNotHaveDuplicates();
        assertThat(Rows.all()).allSatisfy(row -> {
            assertThat(row.lines()).doesNotHaveDuplicates().isNotEmpty()
                    .allSatisfy(line -> assertThat(Workload.of(line.workload())).isNotNull());
            assertThat(row.goals()).allSatisfy(goal -> {
                assertThat(row.entries()).contains(goal.entry());
                assertThat(goal.other() == null || row.entries().contains(goal.other())).isTrue();
            });
        });
    }

    @Test
    void aPromiseIsAboutPairsOfRounds() {
        Row row = Row.of("x", "hot", 4, Line.PLATFORM, "bare", "combined", "spread/bare@2")
                .atLeast(3, "combined", "bare")
                .atLeast(2, "combined", "bare")
                .atMost(0.41, Figure.P50, "combined", Figure.P50, "bare")
                .between(0, 4, Figure.WAL, "combined")
                .atLeast(1, "combined", "spread/bare@2");
        Line bare = row.line("bare");
        Line combined = row.line("combined");
        Map<Line, Series> measured = Map.of(
                bare, series(bare, 10, 20, 40), combined, series(combined, 25, 50, 500));
        List<Target> targets = row.goals().stream()
                .map(goal -> goal.target(row, measured)).toList();
        assertThat(targets.subList(0, 4)).extracting(Target::toString).satisfiesExactly(
                t -> assertThat(t).startsWith("MISSED  hot combined, 4 platform : hot bare")
                        .contains("2.50 (2.50–12.50)").endsWith("target ≥ 3.00"),
                t -> assertThat(t).startsWith("reached ").endsWith("target ≥ 2.00"),
                t -> assertThat(t).startsWith("reached p50 ms of hot combined")
                        .contains("0.40 (0.08–0.40)").endsWith("target ≤ 0.41"),
                t -> assertThat(t).startsWith("MISSED  WAL bytes of hot combined")
                        .contains("5.00 (5.00–5.00)").endsWith("target 0.00 to 4.00"));
        assertThat(targets.get(4)).isNull(); // nobody has measured the other
    }

    @Test
    void anotherWayPromisesNothing() {
        Row row = Row.of("x", "hot", 4, Line.PLATFORM, "bare", "direct")
                .atLeast(1, "direct", "bare");
        assertThat(row.with(null, null, null, null)).isEqualTo(row);
        Row other = row.with(7, null, 0.5, List.of("redis"));
        assertThat(other.lines()).containsExactly(
                new Line("hot", "redis", 7, Line.PLATFORM, 0.5));
        assertThat(other.goals()).isEmpty();
    }

    @Test
    void whoCannotBeAsyncIsCalledByThreads() {
        Row row = Row.of("x", "hot", 10_000, Line.ASYNC, "bare", "async", "redis", "bare@1");
        assertThat(row.lines()).extracting(Line::toString).containsExactly(
                Client.hasVirtualThreads() ? "hot bare, 10,000 virtual" : "hot bare, 512 platform",
                "hot async, 10,000 async", "hot redis, 10,000 async", "hot bare, 1 platform");
    }

    @Test
    void chartsAreWellFormed(@TempDir Path folder) throws Exception {
        Line bare = Line.of("hot", "bare", 64);
        Line odd = new Line("a<b&c", "async", 10_000, Line.ASYNC, 0.5);
        Chart.write(folder, List.of(
                Map.of(bare, series(bare, 30)), Map.of(), Map.of(odd, series(odd, 2_000_000))));
        Document rates = parse(folder.resolve("throughput.svg"));
        assertThat(texts(rates)).contains("hot · 64 threads", "bare", "30", "async", "2M", "10M",
                "a<b&c · 10,000 in flight · 0.5 ms of network").doesNotContain("100M");
        assertThat(widths(rates)).hasSize(3).last().satisfies(last ->
                assertThat(last).isGreaterThan(10 * widths(rates).get(1)));
        assertThat(texts(parse(folder.resolve("latency.svg")))).contains("33.3 – 33.3");
    }

    private static Document parse(Path svg) throws Exception {
        return DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(
                new ByteArrayInputStream(Files.readString(svg).getBytes(StandardCharsets.UTF_8)));
    }

    private static List<String> texts(Document svg) {
        NodeList texts = svg.getElementsByTagName("text");
        return Stream.iterate(0, i -> i < texts.getLength(), i -> i + 1)
                .map(i -> texts.item(i).getTextContent()).toList();
    }

    /** Of all rectangles: the background, then the bars. */
    private static List<Double> widths(Document svg) {
        NodeList bars = svg.getElementsByTagName("rect");
        return Stream.iterate(0, i -> i < bars.getLength(), i -> i + 1)
                .map(i -> bars.item(i).getAttributes().getNamedItem("width").getNodeValue())
                .map(width -> Double.parseDouble(width.replace("%", ""))).toList();
    }
}
