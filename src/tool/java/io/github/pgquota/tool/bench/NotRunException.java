package io.github.pgquota.tool.bench;

/** A line cannot be measured here; the message says why. */
final class NotRunException extends RuntimeException {

    NotRunException(String message) {
        super(message);
    }
}
