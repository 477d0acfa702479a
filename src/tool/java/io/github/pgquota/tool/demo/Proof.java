package io.github.pgquota.tool.demo;

import io.github.pgquota.Limit;
import io.github.pgquota.tool.demo.Figures.Counter;
import io.github.pgquota.tool.demo.Figures.Key;
import io.github.pgquota.tool.demo.Figures.Standing;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Compares what callers were told with what the database holds: every tenant and counter for
 * itself, so that two mistakes cannot make up for each other.
 *
 * @param limits how each tenant's limits came out
 * @param sums the figures of all tenants together
 * @param ledgerTokens tokens in the ledger, each once
 * @param broken the promises that were broken, in words; empty is the proof
 */
record Proof(List<Outcome> limits, List<Sum> sums, long ledgerTokens, List<String> broken) {

    /**
     * A limit of a tenant.
     *
     * @param used in all windows of the replay
     * @param over how far a window went over the capacity, at most
     * @param unexplained the part of it that a limit that denies has neither allowed nor reported
     * @param standing the running window
     */
    record Outcome(
            Tenant tenant,
            Limit limit,
            long used,
            long over,
            long unexplained,
            Standing standing) {}

    /**
     * What all counters of a kind add up to, by each source.
     *
     * @param ledgerOrNull null if its limits are not billed, so that the ledger has none of it
     */
    record Sum(
            String meter,
            String window,
            long callers,
            long counters,
            @Nullable Long ledgerOrNull,
            long sql) {}

    /** How far the worst limit that denies was exceeded. */
    long worst() {
        return limits.stream().mapToLong(Outcome::unexplained).max().orElse(0);
    }

    /** Compares. */
    static Proof of(Job job, Figures figures) {
        return new Builder(job, figures).build();
    }

    private static final class Builder {

        private final Job job;
        private final Figures figures;
        private final Map<Key, List<Counter>> counters;
        private final Map<List<String>, Sum> sums = new LinkedHashMap<>();
        private final List<Outcome> outcomes = new ArrayList<>();
        private final List<String> broken = new ArrayList<>();
        private long ledgerTokens;

        Builder(Job job, Figures figures) {
            this.job = job;
            this.figures = figures;
            this.counters = figures.counters().stream()
                    .collect(Collectors.groupingBy(Counter::key));
        }

        Proof build() {
            for (Tenant tenant : job.tenants()) {
                Set<Key> seen = new HashSet<>();
                boolean tokensSeen = false;
                for (Limit limit : tenant.limits()) {
                    Key key = Key.counters(tenant, limit);
                    List<Counter> rows = counters.getOrDefault(key, List.of());
                    outcome(tenant, limit, rows);
                    if (seen.add(key)) {
                        Long ledger = compare(tenant, limit, key, rows);
                        if (limit.meter().equals(Job.TOKENS) && ledger != null && !tokensSeen) {
                            ledgerTokens += ledger;
                            tokensSeen = true;
                        }
                    }
                }
            }
            calls();
            holds();
            return new Proof(outcomes, List.copyOf(sums.values()), ledgerTokens, broken);
        }

        /** A limit that denies holds in each window, and held whenever a caller was let through. */
        private void outcome(Tenant tenant, Limit limit, List<Counter> rows) {
            long most = rows.stream().mapToLong(c -> c.used() + c.held()).max().orElse(0);
            long over = limit.capacityOrNull() == null
                    ? 0 : Math.max(0, most - limit.capacityOrNull());
            long unexplained = 0;
            OptionalLong ceiling = PlanBook.ceiling(limit);
            if (ceiling.isPresent()) {
                unexplained = Math.max(0, Math.max(
                        most - ceiling.getAsLong() - tenant.tally().overage(limit),
                        tenant.tally().worst(limit) - ceiling.getAsLong()));
            }
            if (unexplained > 0) {
                broken.add("the limit holds: " + name(tenant, limit) + " was exceeded by "
                        + unexplained + " " + limit.meter());
            }
            Standing standing = figures.standings().get(Key.limit(tenant, limit));
            if (standing == null) {
                broken.add("SQL tells every limit: it has none for " + name(tenant, limit));
                standing = new Standing(0, 0, null);
            }
            outcomes.add(new Outcome(tenant, limit,
                    rows.stream().mapToLong(Counter::used).sum(), over, unexplained, standing));
        }

        /** The four sources agree. Returns the ledger's sum, or null if there must not be one. */
        private @Nullable Long compare(Tenant tenant, Limit limit, Key key, List<Counter> rows) {
            long callers = tenant.tally().units(limit.meter());
            long counted = rows.stream().mapToLong(Counter::used).sum();
            long inLedger = rows.stream()
                    .mapToLong(c -> figures.ledger().getOrDefault(c.id(), 0L)).sum();
            boolean billed = rows.isEmpty() ? limit.billed() : rows.get(0).billed();
            long sql = figures.usage().getOrDefault(key, 0L);
            String what = key.name() + " of " + key.tenant() + ", window " + key.window();
            if (callers != counted) {
                broken.add("no addition is lost and none counted twice: callers were granted "
                        + callers + " " + what + "; the counters say " + counted);
            }
            if (billed && inLedger != counted) {
                broken.add("the ledger is the proof: it has " + inLedger + " " + what
                        + "; the counters say " + counted);
            }
            if (!billed && inLedger != 0) {
                broken.add("the ledger is the proof: it has " + inLedger + " " + what
                        + ", which is not billed");
            }
            if (sql != counted) {
                broken.add("SQL reports what was counted: the view says " + sql + " " + what
                        + "; the counters say " + counted);
            }
            Sum sum = new Sum(key.name(), key.window(), callers, counted,
                    billed ? inLedger : null, sql);
            List<String> kind = List.of(key.name(), key.window(), String.valueOf(billed));
            sums.merge(kind, sum, Builder::plus);
            return billed ? inLedger : null;
        }

        private static Sum plus(Sum a, Sum b) {
            return new Sum(a.meter(), a.window(), a.callers() + b.callers(),
                    a.counters() + b.counters(),
                    a.ledgerOrNull() == null || b.ledgerOrNull() == null
                            ? null : a.ledgerOrNull() + b.ledgerOrNull(),
                    a.sql() + b.sql());
        }

        /** Every call was answered, and counted where its tenant's plan counts calls. */
        private void calls() {
            long answered = 0;
            for (Tenant tenant : job.tenants()) {
                Tally tally = tenant.tally();
                answered += tally.granted.sum() + tally.denied.sum();
            }
            if (answered != job.trace().calls().size()) {
                broken.add("every call is answered: of " + job.trace().calls().size() + " calls "
                        + answered + " were");
            }
        }

        /** Each hold ended once, and nothing is left held. */
        private void holds() {
            if (job.holdsOrNull() == null) {
                return;
            }
            Map<String, Long> states = new HashMap<>(figures.holds());
            expect("settled", states, job.tenants().stream()
                    .mapToLong(t -> t.tally().settled.sum()).sum());
            expect("expired", states, job.tenants().stream()
                    .mapToLong(t -> t.tally().abandoned.sum()).sum());
            states.forEach((state, n) ->
                    broken.add("a hold ends exactly once: " + n + " are " + state));
            long held = figures.held();
            if (held > 0) {
                broken.add("nothing is left held: " + held + " units are");
            }
        }

        private void expect(String state, Map<String, Long> states, long callers) {
            Long found = states.remove(state);
            if (callers != (found == null ? 0 : found)) {
                broken.add("a hold ends exactly once: callers left " + callers + " to be " + state
                        + "; the database has " + (found == null ? 0 : found));
            }
        }

        private static String name(Tenant tenant, Limit limit) {
            return "limit " + limit.name() + " of " + tenant.name();
        }
    }
}
