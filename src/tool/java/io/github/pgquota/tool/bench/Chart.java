package io.github.pgquota.tool.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * A picture of the rows, as SVG: a panel a row, a bar or a span a path, all on one logarithmic
 * axis.
 */
final class Chart {

    private static final int COLUMNS = 2;
    private static final int WIDTH = 460;
    private static final int LEFT = 165;
    private static final int AXIS = 220;
    private static final int STEP = 20;
    private static final int HEAD = 34;
    private static final int FOOT = 30;
    private static final int TITLE = 52;
    private static final Map<String, String> COLOURS = Map.of(
            "bare", "#8c959f", "direct", "#80b3ff", "combined", "#0969da", "async", "#0550ae",
            "bucket4j", "#bf8700", "redis", "#cf222e");

    private final Collection<Map<Line, Series>> rows;
    private final StringBuilder svg = new StringBuilder();
    private final int from;
    private final int to;

    /** An axis from one power of ten to another. */
    private Chart(Collection<Map<Line, Series>> rows, double least, double most) {
        this.rows = rows.stream().filter(row -> !row.isEmpty()).toList();
        this.from = (int) Math.floor(Math.log10(least));
        this.to = Math.max(from + 1, (int) Math.ceil(Math.log10(most)));
    }

    /** Writes {@code throughput.svg} and {@code latency.svg}. */
    static void write(Path folder, Collection<Map<Line, Series>> rows) throws IOException {
        double[] rates = figures(rows, Figure.RATE);
        double[] quickest = figures(rows, Figure.P50);
        double[] slowest = figures(rows, Figure.P99);
        if (rates.length > 0) {
            Files.createDirectories(folder.toAbsolutePath());
            Files.writeString(folder.resolve("throughput.svg"),
                    new Chart(rows, rates[0], rates[rates.length - 1]).throughput());
            Files.writeString(folder.resolve("latency.svg"),
                    new Chart(rows, quickest[0], slowest[slowest.length - 1]).latency());
        }
    }

    private static double[] figures(Collection<Map<Line, Series>> rows, Figure figure) {
        return rows.stream().flatMap(row -> row.values().stream())
                .mapToDouble(series -> Math.max(series.spread(figure).median(), 1e-3))
                .sorted().toArray();
    }

    private String throughput() {
        return picture("Calls a second, by path (median of the rounds)", series -> {
            double rate = series.spread(Figure.RATE).median();
            double end = x(rate);
            add("<rect x='%d' y='4' width='%.1f' height='12' rx='2' fill='%s'/>",
                    LEFT, Math.max(end - LEFT, 1), colour(series));
            add("<text x='%.1f' y='14'>%s</text>", end + 5, number(rate));
        });
    }

    private String latency() {
        return picture("Latency in ms, by path: p50 (dot) to p99 (bar)", series -> {
            double middle = series.spread(Figure.P50).median();
            double slow = series.spread(Figure.P99).median();
            double p50 = x(middle);
            double p99 = x(slow);
            add("<line x1='%.1f' y1='10' x2='%.1f' y2='10' stroke='%s' stroke-width='4'/>",
                    p50, p99, colour(series));
            add("<circle cx='%.1f' cy='10' r='5' fill='%s'/>", p50, colour(series));
            add("<rect x='%.1f' y='4' width='3' height='12' fill='%s'/>", p99 - 1.5,
                    colour(series));
            add("<text x='%.1f' y='14'>%s – %s</text>", Math.max(p99, p50) + 8, number(middle),
                    number(slow));
        });
    }

    /** What is drawn of one path, in a strip of its own. */
    private interface Mark {
        void draw(Series series);
    }

    private String picture(String title, Mark mark) {
        List<Map<Line, Series>> panels = List.copyOf(rows);
        int height = TITLE;
        for (int i = 0; i < panels.size(); i += COLUMNS) {
            height += height(panels, i);
        }
        add("<svg xmlns='http://www.w3.org/2000/svg' width='%1$d' height='%2$d' viewBox='0 0 %1$d"
                        + " %2$d' font-family='system-ui, sans-serif' font-size='11'"
                        + " fill='#1f2328'>",
                COLUMNS * WIDTH, height);
        add("<rect width='100%%' height='100%%' fill='#ffffff'/>");
        add("<text x='16' y='30' font-size='16' font-weight='600'>%s</text>", escaped(title));
        int y = TITLE;
        for (int i = 0; i < panels.size(); i++) {
            add("<g transform='translate(%d %d)'>", i % COLUMNS * WIDTH, y);
            panel(panels.get(i), mark);
            add("</g>");
            if (i % COLUMNS == COLUMNS - 1) {
                y += height(panels, i - COLUMNS + 1);
            }
        }
        add("</svg>");
        return svg.toString();
    }

    private static int height(List<Map<Line, Series>> panels, int first) {
        return HEAD + FOOT + STEP * panels.subList(first, Math.min(first + COLUMNS, panels.size()))
                .stream().mapToInt(Map::size).max().orElse(0);
    }

    private void panel(Map<Line, Series> row, Mark mark) {
        Line main = mainLine(row);
        add("<text x='16' y='20' font-size='13' font-weight='600'>%s</text>",
                escaped(main.workload() + where(main)));
        int bottom = HEAD + STEP * row.size();
        for (int power = from; power <= to; power++) {
            double x = x(Math.pow(10, power));
            add("<line x1='%1$.1f' y1='%2$d' x2='%1$.1f' y2='%3$d' stroke='#d1d9e0'/>",
                    x, HEAD - 4, bottom);
            add("<text x='%.1f' y='%d' text-anchor='middle' fill='#59636e' font-size='10'>%s"
                    + "</text>", x, bottom + 13, number(Math.pow(10, power)));
        }
        int y = HEAD;
        for (Series series : row.values()) {
            add("<g transform='translate(0 %d)'>", y);
            add("<text x='%d' y='14' text-anchor='end'>%s</text>", LEFT - 8,
                    escaped(label(series.line(), main)));
            mark.draw(series);
            add("</g>");
            y += STEP;
        }
    }

    /** What most of a row's lines have in common: that of the last, as rivals come first. */
    private static Line mainLine(Map<Line, Series> row) {
        List<Line> lines = List.copyOf(row.keySet());
        return lines.stream().filter(line -> line.path().matches("(combined|async).*"))
                .reduce((first, second) -> second).orElse(lines.get(lines.size() - 1));
    }

    private static String label(Line line, Line main) {
        String name = line.workload().equals(main.workload()) ? line.path()
                : line.workload() + " " + line.path();
        return where(line).equals(where(main)) ? name
                : name + " @" + String.format(Locale.ROOT, "%,d", line.callers());
    }

    private static String where(Line line) {
        String callers = switch (line.kind()) {
            case Line.ASYNC -> " in flight";
            case Line.VIRTUAL -> " virtual threads";
            default -> line.callers() == 1 ? " thread" : " threads";
        };
        return String.format(Locale.ROOT, " · %,d%s", line.callers(), callers)
                + (line.rttMillis() == 0 ? "" : " · " + line.rttMillis() + " ms of network");
    }

    private static String colour(Series series) {
        return COLOURS.getOrDefault(series.line().path().replaceFirst("-.*", ""), "#1f2328");
    }

    private double x(double value) {
        double share = (Math.log10(Math.max(value, Math.pow(10, from))) - from) / (to - from);
        return LEFT + share * AXIS;
    }

    private static String number(double value) {
        if (value >= 1e6) {
            return short3(value / 1e6) + "M";
        }
        return value >= 1e3 ? short3(value / 1e3) + "k" : short3(value);
    }

    private static String short3(double value) {
        String text = String.format(Locale.ROOT, value >= 100 ? "%.0f" : value >= 10 ? "%.1f"
                : value >= 1 ? "%.2f" : "%.3f", value);
        return text.contains(".") ? text.replaceFirst("\\.?0+$", "") : text;
    }

    private static String escaped(String text) {
        return text.replace("&", "&amp;").replace("<", "&lt;");
    }

    private void add(String format, Object... values) {
        svg.append(String.format(Locale.ROOT, format, values)).append('\n');
    }
}
