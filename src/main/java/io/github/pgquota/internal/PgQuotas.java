package io.github.pgquota.internal;

import io.github.pgquota.AsyncOperations;
import io.github.pgquota.Away;
import io.github.pgquota.Combining;
import io.github.pgquota.Decision;
import io.github.pgquota.Operations;
import io.github.pgquota.Plans;
import io.github.pgquota.Quotas;
import io.github.pgquota.Reports;
import io.github.pgquota.Retry;
import io.github.pgquota.Timeouts;
import io.github.pgquota.Upkeep;
import java.sql.Connection;
import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.function.Supplier;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/** The library over a DataSource. Holds no state of a quota: all of that is in the database. */
public final class PgQuotas extends Verbs implements Quotas {

    /**
     * How long a server may be silent over work that takes longer than a verb, if the DataSource
     * has no socketTimeout of its own.
     */
    private static final Duration PLANS = Duration.ofMinutes(1);
    private static final Duration REPORTS = Duration.ofMinutes(30);

    private final DataSource dataSource;
    private final Timeouts timeouts;
    private final Database database;
    private final Async async;
    private final Waits waits;
    private final @Nullable Combiner combiner;

    /** Used by {@link Quotas.Builder} only. */
    public PgQuotas(DataSource dataSource, Timeouts timeouts, @Nullable Combining combining,
            @Nullable Executor executor) {
        this.dataSource = dataSource;
        this.timeouts = timeouts;
        this.database = new Database(dataSource, Right.APP, timeouts);
        this.async = new Async(this, executor);
        this.waits = Waits.of(timeouts);
        this.combiner = combining == null ? null
                : new Combiner(database, combining, waits, executor);
    }

    @Override
    Waits waits() {
        return waits;
    }

    @Override
    Decision decide(Change change) {
        return combiner == null ? super.decide(change) : combiner.decide(change);
    }

    /** The same without waiting for it. */
    CompletableFuture<Decision> submit(Supplier<Change> change) {
        if (combiner == null) {
            return async.run(() -> decide(change.get()));
        }
        try {
            return combiner.submit(change.get());
        } catch (RuntimeException e) {
            return CompletableFuture.failedFuture(e); // bad requests are told like all else
        }
    }

    @Override
    <T> T read(Sql<T> reader) {
        return database.single(reader);
    }

    @Override
    public Operations within(Connection connection) {
        return new Joined(Objects.requireNonNull(connection, "connection"));
    }

    @Override
    public Operations retrying(Retry policy) {
        return new Retrying(this, Objects.requireNonNull(policy, "policy"));
    }

    @Override
    public Away.Gate away(Away policy) {
        return new AwayGate(this, Objects.requireNonNull(policy, "policy"));
    }

    @Override
    public AsyncOperations async() {
        return async;
    }

    @Override
    public Plans plans(@Nullable String who, @Nullable String why) {
        return new PgPlans(new Database(dataSource, Right.ADMIN, atLeast(PLANS)), who, why);
    }

    @Override
    public Reports reports() {
        return new PgReports(new Database(dataSource, Right.REPORT, atLeast(REPORTS)));
    }

    @Override
    public Upkeep upkeep() {
        return new PgUpkeep(new Database(dataSource, Right.APP, atLeast(PLANS)));
    }

    private Timeouts atLeast(Duration silence) {
        return timeouts.socket().compareTo(silence) > 0 ? timeouts : timeouts.socket(silence);
    }

    @Override
    public void close() {
        if (combiner != null) {
            combiner.close();
        }
        async.close();
    }
}
