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
 * @param resolved calls of which the caller was never told, or only that it is not known, by what
 *     the database says of them
 * @param recovery seconds until a call was answered, after each trouble
 * @param deadlocks that a server found
 * @param found what must not be; before a name's colon is what it is counted in
 */
record Figures(
        long seed, double minutes, long calls, long granted, long denied,
        Map<String, Long> resolved, Map<Trouble, List<Double>> recovery, long deadlocks,
        Map<String, Checker.Found> found) {

    private static final List<String> COUNTED = List.of("over_grants", "lost_charges",
            "double_charges", "chain_gaps", "holds_left", "holds_ended_twice",
            "ledger_differences");

    void print(PrintWriter out) {
        out.printf(Locale.ROOT, "seed %d, %.1f minutes: %,d calls, %,d granted, %,d denied, %,d of"
                + " unknown outcome: %s%n", seed, minutes, calls, granted, denied, unknown(),
                resolved);
        recovery.forEach((trouble, seconds) -> out.printf(Locale.ROOT,
                "%-20s %3d times, answered after %.2f s (longest %.2f)%n", trouble,
                seconds.size(), median(seconds), Collections.max(seconds)));
        COUNTED.forEach(field -> out.printf(Locale.ROOT, "%s %d, ", field.replace('_', ' '),
                sum(field)));
        out.printf(Locale.ROOT, "deadlocks %d%n", deadlocks);
        print(found, out);
    }

    private long unknown() {
        return resolved.values().stream().mapToLong(Long::longValue).sum();
    }

    /** What must not be. */
    static void print(Map<String, Checker.Found> found, PrintWriter out) {
        found.forEach((what, rows) -> {
            out.printf(Locale.ROOT, "WRONG %s: %,d%n", what, rows.count());
            rows.rows().forEach(row -> out.println("      " + row));
        });
        out.printf(Locale.ROOT, "%d of %d checks found something%n", found.size(),
                Checker.names().size() + Faults.TENANTS.size());
        out.flush();
    }

    private static double median(List<Double> values) {
        return values.stream().sorted().toList().get(values.size() / 2);
    }

    private long sum(String field) {
        return found.entrySet().stream().filter(e -> e.getKey().startsWith(field + ":"))
                .mapToLong(e -> e.getValue().count()).sum();
    }

    /** In the form that other programs read: its names do not change. */
    void write(OutputStream to) {
        try (JsonGenerator json =
                new JsonFactory().createGenerator(ObjectWriteContext.empty(), to)) {
            json.writeStartObject();
            json.writeNumberProperty("seed", seed);
            json.writeNumberProperty("minutes", minutes);
            json.writeNumberProperty("calls", calls);
            json.writeNumberProperty("granted", granted);
            json.writeNumberProperty("denied", denied);
            json.writeNumberProperty("unknown", unknown());
            json.writeNumberProperty("unknown_resolved_charged", resolved.getOrDefault("charged", 0L));
            json.writeNumberProperty("unknown_resolved_not_charged", resolved.getOrDefault("not charged", 0L));
            json.writeName("faults");
            json.writeStartObject();
            recovery.forEach((trouble, seconds) ->
                    json.writeNumberProperty(trouble.toString(), seconds.size()));
            json.writeEndObject();
            for (String field : COUNTED) {
                json.writeNumberProperty(field, sum(field));
            }
            json.writeNumberProperty("deadlocks", deadlocks);
            json.writeName("broken_promises");
            json.writeStartArray();
            found.keySet().forEach(json::writeString);
            json.writeEndArray();
            json.writeEndObject();
        }
    }

}
