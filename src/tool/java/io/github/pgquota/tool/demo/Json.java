package io.github.pgquota.tool.demo;

import io.github.pgquota.tool.demo.Proof.Outcome;
import java.io.BufferedOutputStream;
import java.io.OutputStream;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.PrettyPrinter;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.core.util.DefaultPrettyPrinter;

/** Writes a report in the form that other programs read: its names do not change. */
final class Json {

    private Json() {}

    /** Writes it and closes the stream. */
    static void write(ReplayReport report, OutputStream to) {
        OutputStream out = new BufferedOutputStream(to);
        try (JsonGenerator json = new JsonFactory().createGenerator(new Indented(), out)) {
            json.writeStartObject();
            head(json, report);
            json.writeName("broken_promises");
            json.writeStartArray();
            report.proof().broken().forEach(json::writeString);
            json.writeEndArray();
            json.writeName("tenants");
            json.writeStartArray();
            report.proof().limits().forEach(outcome -> limit(json, outcome));
            json.writeEndArray();
            json.writeEndObject();
            json.writeRaw('\n');
        }
    }

    private static void head(JsonGenerator json, ReplayReport report) {
        Job job = report.job();
        boolean holds = job.holdsOrNull() != null;
        json.writeStringProperty("trace", job.trace().name());
        json.writeNumberProperty("calls", job.trace().calls().size());
        json.writeNumberProperty("tokens", job.trace().tokens());
        json.writeNumberProperty("callers", job.callers());
        json.writeNumberProperty("seconds", report.seconds());
        json.writeNumberProperty("granted_calls", report.sum(t -> t.granted.sum()));
        json.writeNumberProperty("granted_tokens", report.sum(t -> t.units(Job.TOKENS)));
        json.writeNumberProperty("denied_calls", report.sum(t -> t.denied.sum()));
        json.writeNumberProperty("max_over", report.proof().worst());
        json.writeNumberProperty("overage", report.overage());
        number(json, "naive_max_over", report.naiveOverOrNull());
        number(json, "transaction_max_over", report.transactionOverOrNull());
        number(json, "held_left", holds ? report.heldLeft() : null);
        number(json, "settled_calls", holds ? ended(report, "settled") : null);
        number(json, "expired_holds", holds ? ended(report, "expired") : null);
        json.writeNumberProperty("ledger_sum_tokens", report.proof().ledgerTokens());
    }

    private static long ended(ReplayReport report, String state) {
        return report.holds().getOrDefault(state, 0L);
    }

    private static void limit(JsonGenerator json, Outcome outcome) {
        json.writeStartObject();
        json.writeStringProperty("tenant", outcome.tenant().name());
        json.writeStringProperty("plan", outcome.tenant().plan().name());
        json.writeStringProperty("limit", outcome.limit().name());
        json.writeStringProperty("meter", outcome.limit().meter());
        number(json, "capacity", outcome.limit().capacityOrNull());
        json.writeNumberProperty("granted",
                outcome.tenant().tally().units(outcome.limit().meter()));
        json.writeNumberProperty("used", outcome.used());
        json.writeNumberProperty("held", outcome.standing().held());
        json.writeNumberProperty("over", outcome.over());
        if (outcome.standing().resetsAtOrNull() == null) {
            json.writeNullProperty("resets_at");
        } else {
            json.writeStringProperty("resets_at", outcome.standing().resetsAtOrNull().toString());
        }
        json.writeEndObject();
    }

    private static void number(JsonGenerator json, String name, @Nullable Long value) {
        if (value == null) {
            json.writeNullProperty(name);
        } else {
            json.writeNumberProperty(name, value);
        }
    }

    /** People read it too. */
    private static final class Indented extends ObjectWriteContext.Base {
        @Override
        public PrettyPrinter getPrettyPrinter() {
            return new DefaultPrettyPrinter();
        }

        @Override
        public boolean hasPrettyPrinter() {
            return true;
        }
    }
}
