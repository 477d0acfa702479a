package io.github.pgquota.tool.demo;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What is to be replayed, and how.
 *
 * @param tenants whose calls they are
 * @param owners of each call, the position of its tenant
 * @param callers at the same time
 * @param holdsOrNull how calls reserve before they settle; null if they consume at once
 */
record Job(
        Trace trace,
        List<Tenant> tenants,
        int[] owners,
        int callers,
        @Nullable Holds holdsOrNull) {

    static final String REQUESTS = "requests";
    static final String TOKENS = "tokens";

    /**
     * How calls reserve.
     *
     * @param ceiling tokens that an answer is expected to have at most
     * @param timeToLive of a hold
     * @param killed per cent of the callers that die before they settle
     */
    record Holds(long ceiling, Duration timeToLive, int killed) {}

    /** Who makes a call. */
    Tenant tenant(int call) {
        return tenants.get(owners[call]);
    }

    /** The tenant of each call: the one it names, or each in turn. */
    static int[] deal(Trace trace, List<String> names) {
        int[] owners = new int[trace.calls().size()];
        Map<String, Integer> positions = new HashMap<>();
        for (String name : names) {
            positions.put(name, positions.size());
        }
        for (int i = 0; i < owners.length; i++) {
            owners[i] = trace.namesTenants()
                    ? positions.get(trace.calls().get(i).tenantOrNull())
                    : i % names.size();
        }
        return owners;
    }
}
