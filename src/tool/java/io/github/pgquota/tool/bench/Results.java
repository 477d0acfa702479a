package io.github.pgquota.tool.bench;

import io.github.pgquota.tool.bench.Series.Spread;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/** Figures for people and for programs. */
final class Results {

    private static final String ROW = "%-15s %-7s %7s %-9s %6s  %-24s %9s %9s %9s%n";

    private Results() {}

    /** The table: medians over the rounds, and the extremes of the rate. */
    static void table(PrintWriter out, Collection<Series> lines) {
        out.printf(Locale.ROOT, ROW, "workload", "path", "callers", "kind", "rtt ms",
                "calls/s (min–max)", "p50 ms", "p99 ms", "p99.9 ms");
        for (Series series : lines) {
            Line line = series.line();
            out.printf(Locale.ROOT, ROW, line.workload(), line.path(), line.callers(), line.kind(),
                    line.rttMillis(), series.perSecond().text("%,.0f"),
                    millis(series.millis(50)), millis(series.millis(99)),
                    millis(series.millis(99.9)));
        }
    }

    /** What was promised, and whether it is so. */
    static void targets(PrintWriter out, List<Target> targets) {
        targets.forEach(target -> out.println(target));
    }

    /** Writes the lines, in the form that others read. */
    static void write(Path file, Collection<Series> lines) throws IOException {
        Files.createDirectories(file.toAbsolutePath().getParent());
        try (Writer writer = Files.newBufferedWriter(file);
                JsonGenerator json = new JsonFactory()
                        .createGenerator(ObjectWriteContext.empty(), writer)) {
            json.writeStartArray();
            for (Series series : lines) {
                row(json, series);
            }
            json.writeEndArray();
        }
    }

    private static void row(JsonGenerator json, Series series) {
        Line line = series.line();
        json.writeStartObject();
        json.writeStringProperty("workload", line.workload());
        json.writeStringProperty("path", line.path());
        json.writeNumberProperty("callers", line.callers());
        json.writeStringProperty("kind", line.kind());
        json.writeNumberProperty("rtt_ms", line.rttMillis());
        json.writeNumberProperty("per_second", rounded(series.perSecond(), 1));
        json.writeNumberProperty("p50_ms", rounded(series.millis(50), 3));
        json.writeNumberProperty("p99_ms", rounded(series.millis(99), 3));
        json.writeNumberProperty("p999_ms", rounded(series.millis(99.9), 3));
        json.writeNumberProperty("rounds", series.rounds().size());
        json.writeEndObject();
    }

    private static double rounded(Spread spread, int digits) {
        double unit = Math.pow(10, digits);
        return Math.round(spread.median() * unit) / unit;
    }

    private static String millis(Spread spread) {
        return String.format(Locale.ROOT, "%.2f", spread.median());
    }
}
