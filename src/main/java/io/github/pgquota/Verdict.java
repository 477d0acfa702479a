package io.github.pgquota;

import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What one limit had to say about a request.
 *
 * @param balance how the limit stands after the decision; after a denial, how it stood
 * @param fits whether the request was within the limit. In a {@link Denied} the limits in mode
 *     enforce that did not fit are those that refused; a limit in mode observe never refuses
 * @param overage units by which this operation went over the capacity, 0 if it did not
 * @param crossed the thresholds, in per cent, that this operation reached first
 * @param messageOrNull the limit's message with its places filled in; null if it has none
 */
public record Verdict(
        Balance balance,
        boolean fits,
        long overage,
        List<Integer> crossed,
        @Nullable String messageOrNull) {

    /** Copies the list. */
    public Verdict {
        crossed = List.copyOf(crossed);
    }

    /** The limit's message with its places filled in, if it has one. */
    public Optional<String> message() {
        return Optional.ofNullable(messageOrNull);
    }
}
