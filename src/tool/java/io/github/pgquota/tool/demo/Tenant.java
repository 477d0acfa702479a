package io.github.pgquota.tool.demo;

import io.github.pgquota.Limit;
import io.github.pgquota.Plan;
import io.github.pgquota.Request;
import java.util.List;
import java.util.stream.Stream;

/**
 * A tenant of the replay, and what its callers were told.
 *
 * @param name in the database
 * @param plan as the user knows it
 * @param tally filled by the callers
 */
record Tenant(String name, Plan plan, Tally tally) {

    /** A tenant whose callers have asked for nothing yet. */
    Tenant(String name, Plan plan) {
        this(name, plan, new Tally());
    }

    /** The limits that its calls come under. */
    List<Limit> limits() {
        return PlanBook.limits(plan);
    }

    /** Whether one of them counts a meter. */
    boolean counts(String meter) {
        return limits().stream().anyMatch(l -> l.meter().equals(meter));
    }

    /** A call, over the meters that the plan counts. */
    Request request(long tokens) {
        Request request = Request.of(name);
        for (String meter : Stream.of(Job.REQUESTS, Job.TOKENS).filter(this::counts).toList()) {
            request = request.take(meter, meter.equals(Job.REQUESTS) ? 1 : tokens);
        }
        return request;
    }
}
