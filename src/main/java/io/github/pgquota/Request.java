package io.github.pgquota;

import java.util.Collections;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * What a caller wants: a scope, 1 to 16 amounts (one a meter, in whole units, 0 to 2^62 each), and
 * perhaps a key. Immutable and validated when it is made.
 *
 * <p>A key makes the operation exactly-once: repeating the request under its key gives the first
 * answer and changes nothing. It is 1 to 200 characters long and belongs to the tenant. A denied or
 * failed attempt does not use it up.
 *
 * <pre>{@code
 * Request call = Request.of("acme/search/alice")
 *         .take("requests", 1).take("tokens", 1_200).key("call-7f3");
 * }</pre>
 *
 * @param scope who uses
 * @param amounts units by meter, sorted by meter
 * @param key the caller's key, or null
 */
public record Request(Scope scope, Map<String, Long> amounts, @Nullable String key) {

    private static final int MOST_METERS = 16;

    /** @throws QuotaException.Invalid if a meter, an amount or the key is malformed */
    public Request {
        Objects.requireNonNull(scope, "scope");
        amounts = amounts(Objects.requireNonNull(amounts, "amounts"));
        key(key, "key");
    }

    /**
     * A request without amounts yet; add them with {@link #take}.
     *
     * @throws QuotaException.Invalid if the path is not a scope
     */
    public static Request of(String scope) {
        return of(new Scope(scope));
    }

    /** A request without amounts yet; add them with {@link #take}. */
    public static Request of(Scope scope) {
        return new Request(scope, Map.of(), null);
    }

    /**
     * The request with another amount.
     *
     * @throws QuotaException.Invalid if the meter is named already, or meter or amount is malformed
     */
    public Request take(String meter, long amount) {
        Names.name("meter", meter);
        if (amounts.containsKey(meter)) {
            throw new QuotaException.Invalid("meter", meter, "is named twice in one request");
        }
        if (amounts.isEmpty()) {
            return new Request(scope, Map.of(meter, amount), key);
        }
        Map<String, Long> more = new TreeMap<>(amounts);
        more.put(meter, amount);
        return new Request(scope, more, key);
    }

    /** The request with a key; null takes it away. */
    public Request key(@Nullable String newKey) {
        return new Request(scope, amounts, newKey);
    }

    /** A sorted, validated copy. */
    static Map<String, Long> amounts(Map<String, Long> amounts) {
        if (amounts.size() > MOST_METERS) {
            throw new QuotaException.Invalid("amounts", amounts.size(), "are more than 16 meters");
        }
        amounts.forEach((meter, amount) -> {
            Names.name("meter", meter);
            Names.amount("amount of " + meter, amount);
        });
        if (amounts.size() <= 1) {
            return Map.copyOf(amounts);
        }
        Map<String, Long> sorted = new TreeMap<>(Names::compare);
        sorted.putAll(amounts);
        return Collections.unmodifiableMap(sorted);
    }

    static @Nullable String key(@Nullable String key, String field) {
        if (key != null) {
            if (key.isEmpty() || key.codePointCount(0, key.length()) > 200) {
                throw new QuotaException.Invalid(field, key, "must have 1 to 200 characters");
            }
            if (!Names.isStorable(key)) {
                throw new QuotaException.Invalid(
                        field, key, "contains a zero character or half of a surrogate pair");
            }
        }
        return key;
    }
}
