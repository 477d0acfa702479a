package io.github.pgquota.tool.bench;

/** What callers were granted is not what the database stored: there is nothing to compare. */
final class VoidRoundException extends RuntimeException {

    VoidRoundException(String message) {
        super(message);
    }
}
