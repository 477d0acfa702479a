package io.github.pgquota.tool.fault;

import java.io.OutputStream;
import java.io.PrintWriter;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/**
 * What came of a run.
 *
 * @param unknown calls of which the caller was never told, or only that it is not known
 * @param resolved how those with a key turned out when they were asked again
 * @param recovery seconds until a call was answered, after each trouble
 * @param found what must not be
 */
record Figures(
        long seed, double minutes, long calls, long granted, long unknown,
        Map<String, Integer> resolved, Map<Trouble, List<Double>> recovery,
        Map<String, List<String>> found) {

    void print(PrintWriter out) {
        out.printf(Locale.ROOT, "seed %d, %.1f minutes: %,d calls, %,d granted, %,d of unknown"
                + " outcome, asked again by key: %s%n", seed, minutes, calls, granted, unknown,
                resolved);
        recovery.forEach((trouble, seconds) -> out.printf(Locale.ROOT,
                "%-20s %3d times, answered after %.2f s (longest %.2f)%n", trouble,
                seconds.size(), median(seconds), Collections.max(seconds)));
        found.forEach((what, rows) -> {
            out.println("WRONG " + what);
            rows.forEach(row -> out.println("      " + row));
        });
        out.printf(Locale.ROOT, "%d of %d checks found something%n", found.size(),
                Checker.names().size() + Customer.TENANTS.size());
    }

    private static double median(List<Double> values) {
        return values.stream().sorted().toList().get(values.size() / 2);
    }

    void write(OutputStream to) {
        try (JsonGenerator json =
                new JsonFactory().createGenerator(ObjectWriteContext.empty(), to)) {
            json.writeStartObject();
            json.writeNumberProperty("seed", seed);
            json.writeNumberProperty("minutes", minutes);
            json.writeNumberProperty("calls", calls);
            json.writeNumberProperty("granted", granted);
            json.writeNumberProperty("unknown", unknown);
            json.writeName("resolved");
            json.writeStartObject();
            resolved.forEach(json::writeNumberProperty);
            json.writeEndObject();
            json.writeName("recovery");
            json.writeStartArray();
            recovery.forEach((trouble, seconds) -> {
                json.writeStartObject();
                json.writeStringProperty("fault", trouble.toString());
                json.writeNumberProperty("times", seconds.size());
                json.writeNumberProperty("median_s", median(seconds));
                json.writeNumberProperty("max_s", Collections.max(seconds));
                json.writeEndObject();
            });
            json.writeEndArray();
            json.writeName("found");
            json.writeStartArray();
            found.keySet().forEach(json::writeString);
            json.writeEndArray();
            json.writeEndObject();
        }
    }
}
