package io.github.pgquota.tool.fault;

import io.github.pgquota.Limit;
import io.github.pgquota.Plan;
import io.github.pgquota.Plans;
import io.github.pgquota.Scope;
import io.github.pgquota.Window;
import java.time.Duration;
import java.time.Instant;
import java.util.Random;

/**
 * The plans of a run, and how they change. Windows of a second from a scope's first use begin at
 * another time in each scope: so some window rolls every few hundred milliseconds, though none is
 * shorter than a second, and the clock need not be tampered with.
 */
final class Rules {

    private static final Window SECOND = Window.fixed(Duration.ofSeconds(1));
    private static final Window TEN = Window.fixed(Duration.ofSeconds(10));

    private final Plans plans;

    Rules(Plans plans) {
        this.plans = plans;
    }

    /** Each customer's tenant has a plan of its own. */
    void begin() {
        publish(40, Limit.Mode.ENFORCE);
        plans.publish(Plan.named("FREE")
                .limit(Limit.named("all").on("requests").unlimited().billed(true).alertAt(10))
                .limit(tokens()));
        plans.publish(Plan.named("LAST")
                .limit(Limit.named("few").on("requests").capacity(5)
                        .per(Window.fixed(Duration.ofSeconds(2))).billed(true).alertAt(50, 100))
                .limit(tokens()));
        plans.assign("acme", "SHORT");
        plans.assign("free", "FREE");
        plans.assign(Customer.GATE, "FREE");
        plans.assign("last", "LAST");
        assign(false);
    }

    /** New versions: short windows, and a plan that fills up. */
    void publish(long capacity, Limit.Mode mode) {
        plans.publish(Plan.named("SHORT")
                .limit(Limit.named("second").on("requests").level(1).capacity(capacity)
                        .per(Window.aligned(Duration.ofSeconds(1))).billed(true).alertAt(50, 100))
                .limit(Limit.named("user").on("requests").level(2).capacity(capacity / 2)
                        .per(SECOND).mode(mode))
                .limit(Limit.named("all").on("requests").unlimited().billed(true))
                .limit(tokens()));
        tight("TIGHT", capacity, mode);
        tight("WIDE", capacity * 2, Limit.Mode.ENFORCE);
    }

    private void tight(String name, long capacity, Limit.Mode mode) {
        plans.publish(Plan.named(name)
                .limit(Limit.named("all").on("requests").capacity(5 * capacity).per(TEN)
                        .billed(true).alertAt(25, 50, 100).mode(mode))
                .limit(Limit.named("user").on("requests").level(2).capacity(capacity)
                        .per(Window.fixed(Duration.ofSeconds(3))).billed(true))
                .limit(Limit.named("tokens").on("tokens").capacity(50 * capacity).per(TEN)
                        .billed(true)));
    }

    private static Limit tokens() {
        return Limit.named("tokens").on("tokens").level(1).capacity(1L << 40).billed(true);
    }

    /** Another plan over the same counters. */
    void assign(boolean wide) {
        plans.assign("beta", wide ? "WIDE" : "TIGHT");
    }

    /** Other capacities for a second, of a team or a user. */
    void adjust(Random random) {
        Scope team = Scope.of("acme/t" + random.nextInt(3));
        Instant now = Instant.now();
        Instant until = now.plusSeconds(1);
        if (random.nextBoolean()) {
            plans.override(team, "second", random.nextLong(60), now, until, "fault");
        } else {
            plans.boost(team, "second", random.nextLong(1, 60), now, until, "fault");
        }
    }
}
