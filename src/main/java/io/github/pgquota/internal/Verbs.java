package io.github.pgquota.internal;

import io.github.pgquota.Balance;
import io.github.pgquota.Decision;
import io.github.pgquota.Granted;
import io.github.pgquota.OperationId;
import io.github.pgquota.Operations;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** Turns each verb into changes. Where they run is all that the views differ in. */
abstract class Verbs implements Operations {

    /** Runs one statement on the view's connection. */
    abstract <T> T read(Sql<T> reader);

    /** How long its statements wait; null in the caller's transaction: as long as that waits. */
    @Nullable Waits waits() {
        return null;
    }

    /** The answers to changes, in one round trip. */
    List<List<Row>> apply(List<Change> changes) {
        return read(c -> Store.apply(c, changes, null, waits()));
    }

    /** Has one change decided. */
    Decision decide(Change change) {
        return Answers.decision(change, apply(List.of(change)).get(0), 0);
    }

    @Override
    public final Decision consume(Request request) {
        return decide(Change.consume(request));
    }

    @Override
    public final Granted consumeUpTo(Request request) {
        return decide(Change.consumeUpTo(request)).orThrow();
    }

    @Override
    public final Granted record(Request request) {
        return decide(Change.record(request)).orThrow();
    }

    @Override
    public final Decision reserve(Request request, Duration timeToLive) {
        return decide(Change.reserve(request, timeToLive));
    }

    @Override
    public final Granted settle(OperationId hold, Map<String, Long> amounts) {
        return decide(Change.settle(hold, amounts)).orThrow();
    }

    @Override
    public final Granted release(OperationId hold) {
        return decide(Change.release(hold)).orThrow();
    }

    @Override
    public final Decision extend(
            OperationId hold, Map<String, Long> amounts, Duration timeToLive,
            @Nullable String key) {
        return decide(Change.extend(hold, amounts, timeToLive, key));
    }

    @Override
    public final Granted refund(
            OperationId operation, Map<String, Long> amounts, @Nullable String key) {
        return decide(Change.refund(operation, amounts, key)).orThrow();
    }

    @Override
    public final Decision check(Request request) {
        return decide(Change.check(request));
    }

    @Override
    public final List<Decision> consumeAll(List<Request> requests) {
        Objects.requireNonNull(requests, "requests");
        if (requests.isEmpty()) {
            return List.of();
        }
        List<Change> changes = requests.stream().map(r -> Change.consume(r)).toList();
        List<List<Row>> answers = apply(changes);
        List<Decision> decisions = new ArrayList<>();
        List<Object> outcomes = new ArrayList<>();
        QuotaException first = null;
        for (int i = 0; i < changes.size(); i++) {
            try {
                Decision decision = Answers.decision(changes.get(i), answers.get(i), 0);
                decisions.add(decision);
                outcomes.add(decision);
            } catch (QuotaException e) {
                first = first == null ? e : first;
                outcomes.add(e);
            }
        }
        if (first != null) {
            throw new QuotaException.Partial(outcomes, first);
        }
        return List.copyOf(decisions);
    }

    @Override
    public final List<Balance> balances(Scope scope) {
        Objects.requireNonNull(scope, "scope");
        try {
            return read(connection -> Balances.read(connection, scope, waits()));
        } catch (QuotaException.OutcomeUnknown e) {
            throw SqlStates.ofReading(e);
        }
    }
}
