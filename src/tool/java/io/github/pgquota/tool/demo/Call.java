package io.github.pgquota.tool.demo;

import org.jspecify.annotations.Nullable;

/**
 * A call of the trace.
 *
 * @param tenantOrNull whom the trace names; null if calls are dealt to tenants
 * @param context tokens sent, known before the call
 * @param generated tokens received, known after it
 */
record Call(@Nullable String tenantOrNull, long context, long generated) {

    /** What it costs. */
    long tokens() {
        return context + generated;
    }
}
