package io.github.pgquota.internal;

import io.github.pgquota.OperationId;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import java.time.Duration;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * One change of the counters, as the database's function {@code pgquota.apply} takes it: every verb
 * is one of these.
 *
 * @param verb the verb's name in the database
 * @param scope the request's scope; the tenant, for verbs about a hold or an operation
 * @param amounts units by meter, in the database's order of names
 * @param key the caller's key
 * @param ref the hold or operation that the verb is about
 * @param ttlMillis how long a hold lives
 */
record Change(
        String verb,
        Scope scope,
        Map<String, Long> amounts,
        @Nullable String key,
        @Nullable UUID ref,
        @Nullable Long ttlMillis) {

    static Change consume(Request request) {
        return of("consume", request, null);
    }

    static Change consumeUpTo(Request request) {
        return of("consume_up_to", request, null);
    }

    static Change record(Request request) {
        return of("record", request, null);
    }

    static Change check(Request request) {
        return of("check", request, null);
    }

    static Change reserve(Request request, Duration ttl) {
        return of("reserve", request, millis(ttl));
    }

    static Change settle(OperationId hold, Map<String, Long> amounts) {
        Objects.requireNonNull(hold, "hold");
        return about("settle", hold, amounts, null, null);
    }

    static Change release(OperationId hold) {
        Objects.requireNonNull(hold, "hold");
        return about("release", hold, Map.of(), null, null);
    }

    static Change extend(
            OperationId hold, Map<String, Long> amounts, Duration ttl, @Nullable String key) {
        Objects.requireNonNull(hold, "hold");
        return about("extend", hold, amounts, key, millis(ttl));
    }

    static Change refund(
            OperationId operation, Map<String, Long> amounts, @Nullable String key) {
        Objects.requireNonNull(operation, "operation");
        return about("refund", operation, amounts, key, null);
    }

    private static Change of(String verb, Request request, @Nullable Long ttl) {
        Objects.requireNonNull(request, "request");
        if (request.amounts().isEmpty()) {
            throw new QuotaException.Invalid("amounts", request,
                    "name no meter; add one with take");
        }
        return new Change(verb, request.scope(), request.amounts(), request.key(), null, ttl);
    }

    private static Change about(
            String verb,
            OperationId operation,
            Map<String, Long> amounts,
            @Nullable String key,
            @Nullable Long ttl) {
        // Request knows the rules for meters, amounts and keys
        Request checked = new Request(new Scope(operation.tenant()), amounts, key);
        return new Change(verb, checked.scope(), checked.amounts(), key, operation.uuid(),
                ttl);
    }

    private static long millis(Duration ttl) {
        Objects.requireNonNull(ttl, "timeToLive");
        if (ttl.compareTo(Duration.ofMillis(1)) < 0) {
            throw new QuotaException.Invalid("timeToLive", ttl, "must be a millisecond or more");
        }
        // a century is more than any setting allows, and fits the database's intervals
        Duration most = Duration.ofDays(36_500);
        return (ttl.compareTo(most) > 0 ? most : ttl).toMillis();
    }

    /** Whether several of it may be sent as one, with their number. */
    boolean canRepeat() {
        return key == null && (verb.equals("consume") || verb.equals("record"));
    }

    /** Whether repeating it can never charge twice: by its key, or because a hold ends once. */
    boolean isRepeatable() {
        return key != null || verb.equals("settle") || verb.equals("release")
                || verb.equals("check");
    }

    /** The largest of its amounts. */
    long largest() {
        long largest = 1;
        for (long amount : amounts.values()) {
            largest = Math.max(largest, amount);
        }
        return largest;
    }

    /** The hold or operation that the verb is about. */
    OperationId about() {
        return new OperationId(scope.tenant(), Objects.requireNonNull(ref));
    }
}
