package io.github.pgquota;

import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What is let through while the database is away. Without this, nothing is: calls throw {@link
 * QuotaException.Unavailable}. With it, {@code consume} and {@code record} are let through up to
 * bounds, written into a file, and charged from there, each exactly once, when the database is
 * back; what is then over a limit is reported as overage. What waits for longer than the setting
 * {@code key_retention} may never be charged: see {@link Report#refused()}. Immutable.
 *
 * <pre>{@code
 * Away policy = Away.keptIn(Path.of("/var/lib/shop/away"))
 *         .open("requests", 0, 1_000)      // for each tenant; let through in one outage
 *         .open("requests", 2, 100)        // and for each of its users
 *         .retry(Retry.standard().attempts(2).within(Duration.ofSeconds(1)));
 * try (Away.Gate gate = quotas.away(policy)) {
 *     gate.consume(call).orThrow();
 * }
 * }</pre>
 *
 * <p>A request passes if each of its meters has an allowance that applies to its scope, and all
 * that apply have room. While the database is away nobody can be asked which limits a plan has, so
 * this mirrors those that may be open, for every plan, and for tenants that have none. Each process
 * has allowances of its own.
 *
 * @param file where it is written: of one process only, and on a disk that outlives it
 * @param allowances what may pass; a meter that is not named stays closed
 * @param mostCalls how many calls may wait to be charged, or could not be, 1 to 1,000,000
 * @param retryOrNull how often a call is tried before it is let through; null: once
 */
public record Away(
        Path file, List<Allowance> allowances, int mostCalls, @Nullable Retry retryOrNull) {

    /**
     * Units that may pass in one outage.
     *
     * @param meter what is counted
     * @param level of the scopes that it is counted for; 0 for each tenant
     * @param units 0 to 2^62
     */
    public record Allowance(String meter, int level, long units) {

        /** @throws QuotaException.Invalid if a value is out of its bounds */
        public Allowance {
            Names.name("meter", meter);
            Names.amount("units", units);
            if (level < 0 || level > 8) {
                throw new QuotaException.Invalid("level", level, "must be 0 to 8");
            }
        }
    }

    /**
     * The verbs, of which {@code consume} and {@code record} are let through while the database is
     * away. What they answer then has no limits, no operation and the time of this process' clock:
     * see {@link Granted#isCharged}. When an allowance is used up, and for all other verbs, it is
     * as without: they throw {@link QuotaException.Unavailable}. Of work that could not be
     * reserved, record what it was.
     *
     * <p>After {@link QuotaException.OutcomeUnknown} a request is let through if it has a key: it
     * is charged under that key, if it was not already. That lets no others through: they ask the
     * database. The same request under the key of one that
     * waits is told so again; under that of one that no longer fitted when it was charged, {@link
     * QuotaException.KeyConflict}: it was recorded.
     *
     * <p>Never joins a transaction of the caller's. Safe for concurrent use.
     */
    public interface Gate extends Operations, AutoCloseable {

        /** How things stand. */
        Report report();

        /**
         * Charges now what waits, rather than within a second after the database is back.
         *
         * @return whether nothing waits any longer
         */
        boolean charge();

        /**
         * Stops, after the call that is being charged; what waits is charged when a gate is next
         * opened on the file.
         */
        @Override
        void close();
    }

    /**
     * How a gate stands.
     *
     * @param sinceOrNull since when this gate knows the database to be away, of this process'
     *     clock; null if it does not
     * @param waiting calls that wait to be charged
     * @param units what they come to, by meter
     * @param charged calls that were let through, and have been charged, since the gate was opened
     * @param overage units by which they went over a limit: the largest of each call's
     * @param refused what could not be charged, such as of a tenant that has no plan any longer,
     *     each with why; stays in the file, and is tried again when a gate is next opened on it.
     *     Of what waited for longer than keys are kept ({@link QuotaException.KeyExpired}) the
     *     ledger says whether it was charged; if not, it has to be recorded under a new key
     */
    public record Report(@Nullable Instant sinceOrNull, int waiting, Map<String, Long> units,
            long charged, long overage, List<String> refused) {

        /** Copies the collections. */
        public Report {
            units = Map.copyOf(units);
            refused = List.copyOf(refused);
        }
    }

    /** @throws QuotaException.Invalid if a value is out of its bounds, or a level named twice */
    public Away {
        Objects.requireNonNull(file, "file");
        allowances = List.copyOf(allowances);
        for (Allowance one : allowances) {
            if (allowances.stream().filter(other -> other.meter().equals(one.meter())
                    && other.level() == one.level()).count() > 1) {
                throw new QuotaException.Invalid("meter", one.meter(),
                        "has two allowances at level " + one.level());
            }
        }
        if (mostCalls < 1 || mostCalls > 1_000_000) {
            throw new QuotaException.Invalid("mostCalls", mostCalls, "must be 1 to 1000000");
        }
    }

    /** Lets nothing through yet; add what may pass with {@link #open}. Up to 100,000 calls wait. */
    public static Away keptIn(Path file) {
        return new Away(file, List.of(), 100_000, null);
    }

    /**
     * The same with one more allowance, for each scope of a level.
     *
     * @throws QuotaException.Invalid if a value is out of its bounds, or there is one already
     */
    public Away open(String meter, int level, long units) {
        List<Allowance> more = new ArrayList<>(allowances);
        more.add(new Allowance(meter, level, units));
        return new Away(file, more, mostCalls, retryOrNull);
    }

    /**
     * The same with other {@link #mostCalls()}.
     *
     * @throws QuotaException.Invalid if it is out of its bounds
     */
    public Away mostCalls(int calls) {
        return new Away(file, allowances, calls, retryOrNull);
    }

    /** The same with {@link Quotas#retrying retries} before a call is let through. */
    public Away retry(Retry policy) {
        return new Away(file, allowances, mostCalls, policy);
    }
}
