package io.github.pgquota.tool.demo;

import java.util.List;

/**
 * What is replayed.
 *
 * @param name what the user called it
 * @param calls in the order of the file
 * @param namesTenants whether its calls say whose they are
 */
record Trace(String name, List<Call> calls, boolean namesTenants) {

    /** The sum of all calls; the reader has made sure that it is one. */
    long tokens() {
        return calls.stream().mapToLong(Call::tokens).sum();
    }
}
