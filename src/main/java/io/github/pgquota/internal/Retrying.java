package io.github.pgquota.internal;

import io.github.pgquota.Decision;
import io.github.pgquota.Denied;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Retry;
import io.github.pgquota.Scope;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The verbs, tried again when they were certainly not applied, or when repeating them cannot charge
 * twice. Safe for concurrent use.
 */
final class Retrying extends Verbs {

    private static final Logger LOG = LoggerFactory.getLogger(Retrying.class);

    private final PgQuotas quotas;
    private final Retry policy;

    /** How long a statement whose answer was lost may still be under way on the server. */
    private final long underWay;

    Retrying(PgQuotas quotas, Retry policy) {
        this.quotas = quotas;
        this.policy = policy;
        this.underWay = TimeUnit.MILLISECONDS.toNanos(quotas.waits().statement());
    }

    @Override
    Waits waits() {
        return quotas.waits();
    }

    @Override
    <T> T read(Sql<T> reader) {
        return quotas.read(reader);
    }

    @Override
    Decision decide(Change change) {
        return new Course<Decision>(List.of(change), Denied.class::isInstance)
                .run(() -> quotas.decide(change));
    }

    @Override
    List<List<Row>> apply(List<Change> changes) {
        return new Course<List<List<Row>>>(changes, answers -> answers.stream()
                .anyMatch(rows -> rows.get(0).status().equals("denied")))
                .run(() -> quotas.apply(changes));
    }

    /** All attempts at one call. */
    private final class Course<T> {
        private final String verb;
        private final Scope scope;
        private final boolean isRepeatable;
        private final Predicate<T> denies;
        private final long begin = System.nanoTime();
        private final List<QuotaException> failures = new ArrayList<>();
        private QuotaException.@Nullable OutcomeUnknown unknown;
        private long unknownUntil;

        Course(List<Change> changes, Predicate<T> denies) {
            this.verb = changes.get(0).verb();
            this.scope = changes.get(0).scope();
            this.isRepeatable = changes.stream().allMatch(Change::isRepeatable);
            this.denies = denies;
        }

        T run(Supplier<T> call) {
            for (int attempt = 1; ; attempt++) {
                long least = 0;
                try {
                    T answer = call.get();
                    least = unknown == null || !denies.test(answer) ? 0
                            : unknownUntil - System.nanoTime();
                    if (least <= 0) {
                        return answer;
                    }
                    // The attempt whose answer was lost may still wait for a counter, and be
                    // granted: who is told "denied" must not be charged after that.
                } catch (QuotaException.Unavailable | QuotaException.Overloaded e) {
                    failures.add(e);
                } catch (QuotaException.OutcomeUnknown e) {
                    failures.add(e);
                    unknown = e;
                    unknownUntil = System.nanoTime() + underWay;
                    if (!isRepeatable || Thread.currentThread().isInterrupted()) {
                        throw end(attempt);
                    }
                }
                await(attempt, least);
            }
        }

        private void await(int attempt, long least) {
            long wait = Math.max(least, pause(attempt));
            long left = policy.within().toNanos() - (System.nanoTime() - begin);
            if (attempt >= policy.attempts() || wait > left) {
                throw end(attempt);
            }
            QuotaException last = failures.get(failures.size() - 1);
            LOG.debug("{} of {}: attempt {} failed, the next one in {} ms: {}", verb, scope,
                    attempt, wait / 1_000_000, last.toString());
            tell(attempt, last, Duration.ofNanos(wait));
            try {
                TimeUnit.NANOSECONDS.sleep(wait);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                failures.add(unknown == null ? new QuotaException.Withdrawn()
                        : new QuotaException.OutcomeUnknown(e));
                throw end(attempt);
            }
        }

        private long pause(int attempt) {
            long most = policy.longestWait().toNanos();
            long doubled = policy.firstWait().toNanos() << Math.min(attempt - 1, 20);
            long bound = doubled <= 0 ? most : Math.min(most, doubled);
            return ThreadLocalRandom.current().nextLong(bound) + 1;
        }

        /** If any attempt may have been applied, so may the call. */
        private QuotaException end(int attempt) {
            QuotaException last = failures.get(failures.size() - 1);
            QuotaException told = unknown == null || last instanceof QuotaException.OutcomeUnknown
                    ? last : unknown;
            failures.stream().filter(e -> e != told).forEach(told::addSuppressed);
            LOG.debug("{} of {}: given up after attempt {}: {}", verb, scope, attempt,
                    told.toString());
            tell(attempt, told, null);
            return told;
        }

        private void tell(int attempt, QuotaException failure, @Nullable Duration next) {
            policy.listener().accept(new Retry.Attempt(verb, scope, attempt, failure, next));
        }
    }
}
