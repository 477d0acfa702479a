package io.github.pgquota.internal;

import io.github.pgquota.OperationId;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import java.time.Duration;
import java.util.Map;
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

    static Change of(String verb, Request request) {
        return new Change(verb, request.scope(), request.amounts(), request.key(), null, null);
    }

    static Change reserve(Request request, Duration ttl) {
        return new Change("reserve", request.scope(), request.amounts(), request.key(), null,
                millis(ttl));
    }

    static Change about(
            String verb,
            OperationId operation,
            Map<String, Long> amounts,
            @Nullable String key,
            @Nullable Duration ttl) {
        // Request knows the rules for meters, amounts and keys
        Request checked = new Request(new Scope(operation.tenant()), amounts, key);
        return new Change(verb, checked.scope(), checked.amounts(), key, operation.uuid(),
                ttl == null ? null : millis(ttl));
    }

    private static long millis(Duration ttl) {
        // a century is more than any setting allows, and fits the database's intervals
        Duration most = Duration.ofDays(36_500);
        return (ttl.compareTo(most) > 0 ? most : ttl).toMillis();
    }

    /** The hold or operation that the verb is about. */
    OperationId about() {
        return new OperationId(scope.tenant(), java.util.Objects.requireNonNull(ref));
    }
}
