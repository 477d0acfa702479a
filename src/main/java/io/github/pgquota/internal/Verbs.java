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

    /** Sends changes to the database and returns their answers. */
    private List<List<Row>> run(List<Change> changes) {
        return read(connection -> Store.apply(connection, changes));
    }

    /** Runs one statement on the view's connection. */
    abstract <T> T read(Sql<T> reader);

    @Override
    public final Decision consume(Request request) {
        return one(Change.of("consume", filled(request)));
    }

    @Override
    public final Granted consumeUpTo(Request request) {
        return one(Change.of("consume_up_to", filled(request))).orThrow();
    }

    @Override
    public final Granted record(Request request) {
        return one(Change.of("record", filled(request))).orThrow();
    }

    @Override
    public final Decision reserve(Request request, Duration timeToLive) {
        return one(Change.reserve(filled(request), positive(timeToLive)));
    }

    @Override
    public final Granted settle(OperationId hold, Map<String, Long> amounts) {
        Objects.requireNonNull(hold, "hold");
        return one(Change.about("settle", hold, amounts, null, null)).orThrow();
    }

    @Override
    public final Granted release(OperationId hold) {
        Objects.requireNonNull(hold, "hold");
        return one(Change.about("release", hold, Map.of(), null, null)).orThrow();
    }

    @Override
    public final Decision extend(
            OperationId hold, Map<String, Long> amounts, Duration timeToLive,
            @Nullable String key) {
        Objects.requireNonNull(hold, "hold");
        return one(Change.about("extend", hold, amounts, key, positive(timeToLive)));
    }

    @Override
    public final Granted refund(
            OperationId operation, Map<String, Long> amounts, @Nullable String key) {
        Objects.requireNonNull(operation, "operation");
        return one(Change.about("refund", operation, amounts, key, null)).orThrow();
    }

    @Override
    public final Decision check(Request request) {
        return one(Change.of("check", filled(request)));
    }

    @Override
    public final List<Decision> consumeAll(List<Request> requests) {
        Objects.requireNonNull(requests, "requests");
        if (requests.isEmpty()) {
            return List.of();
        }
        List<Change> changes = requests.stream().map(r -> Change.of("consume", filled(r))).toList();
        List<List<Row>> answers = run(changes);
        List<Decision> decisions = new ArrayList<>();
        List<Object> outcomes = new ArrayList<>();
        QuotaException first = null;
        for (int i = 0; i < changes.size(); i++) {
            try {
                Decision decision = Answers.decision(changes.get(i), answers.get(i));
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
        return read(connection -> Balances.read(connection, scope));
    }

    private Decision one(Change change) {
        return Answers.decision(change, run(List.of(change)).get(0));
    }

    private static Request filled(Request request) {
        Objects.requireNonNull(request, "request");
        if (request.amounts().isEmpty()) {
            throw new QuotaException.Invalid("amounts", request,
                    "name no meter; add one with take");
        }
        return request;
    }

    private static Duration positive(Duration timeToLive) {
        Objects.requireNonNull(timeToLive, "timeToLive");
        if (timeToLive.compareTo(Duration.ofMillis(1)) < 0) {
            throw new QuotaException.Invalid("timeToLive", timeToLive,
                    "must be a millisecond or more");
        }
        return timeToLive;
    }
}
