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

    private static final List<Figure> SPEED =
            List.of(Figure.RATE, Figure.P50, Figure.P99, Figure.P999);
    private static final List<Figure> COST = List.of(
            Figure.CLIENT, Figure.SERVER, Figure.WAL, Figure.ALLOCATED, Figure.TRIPS);
    private static final String NAME = "%-15s %-18s %7s %-9s %6s";
    private static final String ROW = NAME + "  %-28s %9s %9s %9s %8s %8s %8s %8s %7s%n";

    private Results() {}

    /** The table: medians over the rounds, the extremes of the rate, and what a call costs. */
    static void table(PrintWriter out, Collection<Series> lines) {
        out.printf(Locale.ROOT, ROW, "workload", "path", "callers", "kind", "rtt ms",
                "calls/s (min–max)", "p50 ms", "p99 ms", "p99.9 ms", "client µs", "server µs",
                "WAL B", "heap B", "trips");
        for (Series series : lines) {
            Line line = series.line();
            out.printf(Locale.ROOT, ROW, line.workload(), line.path(), line.callers(), line.kind(),
                    line.rttMillis(), series.spread(Figure.RATE).text("%,.0f"),
                    text(series, Figure.P50, "%.2f"), text(series, Figure.P99, "%.2f"),
                    text(series, Figure.P999, "%.2f"), text(series, Figure.CLIENT, "%.1f"),
                    text(series, Figure.SERVER, "%.1f"), text(series, Figure.WAL, "%.0f"),
                    text(series, Figure.ALLOCATED, "%.0f"), text(series, Figure.TRIPS, "%.2f"));
        }
    }

    private static String text(Series series, Figure figure, String format) {
        Spread spread = series.spread(figure);
        return Double.isNaN(spread.median()) ? ""
                : String.format(Locale.ROOT, format, spread.median());
    }

    /** Writes rates and latencies of the lines, in the form that others read. */
    static void write(Path file, Collection<Series> lines) throws IOException {
        write(file, lines, SPEED, true);
    }

    /** Writes what a call of each line costs; null is not known. */
    static void writeCost(Path file, Collection<Series> lines) throws IOException {
        write(file, lines, COST, false);
    }

    private static void write(
            Path file, Collection<Series> lines, List<Figure> figures, boolean withRounds)
            throws IOException {
        Files.createDirectories(file.toAbsolutePath().getParent());
        try (Writer writer = Files.newBufferedWriter(file);
                JsonGenerator json = new JsonFactory()
                        .createGenerator(ObjectWriteContext.empty(), writer)) {
            json.writeStartArray();
            for (Series series : lines) {
                json.writeStartObject();
                name(json, series.line());
                for (Figure figure : figures) {
                    number(json, figure, series.spread(figure).median());
                }
                if (withRounds) {
                    json.writeNumberProperty("rounds", series.rounds().size());
                }
                json.writeEndObject();
            }
            json.writeEndArray();
        }
    }

    private static void name(JsonGenerator json, Line line) {
        json.writeStringProperty("workload", line.workload());
        json.writeStringProperty("path", line.path());
        json.writeNumberProperty("callers", line.callers());
        json.writeStringProperty("kind", line.kind());
        json.writeNumberProperty("rtt_ms", line.rttMillis());
    }

    private static void number(JsonGenerator json, Figure figure, double value) {
        double unit = Math.pow(10, figure.digits());
        if (Double.isFinite(value)) {
            json.writeNumberProperty(figure.field(), Math.round(value * unit) / unit);
        } else {
            json.writeNullProperty(figure.field());
        }
    }
}
