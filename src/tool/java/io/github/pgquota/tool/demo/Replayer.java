package io.github.pgquota.tool.demo;

import io.github.pgquota.Decision;
import io.github.pgquota.Denied;
import io.github.pgquota.Granted;
import io.github.pgquota.OperationId;
import io.github.pgquota.Operations;
import io.github.pgquota.tool.demo.Job.Holds;
import java.time.Duration;
import java.util.Map;
import java.util.SplittableRandom;

/** Replays a trace through the library, as fast as it goes. */
final class Replayer {

    private static final long MOST = 1L << 62;

    /** Draws are by call, so that the same calls die whoever takes them. */
    private static final long SEED = 7;

    private final Job job;
    private final Operations quotas;

    private Replayer(Job job, Operations quotas) {
        this.job = job;
        this.quotas = quotas;
    }

    /** Replays all calls; what callers were told is in the tenants' tallies. */
    static Duration run(Job job, Operations quotas, Progress progress) throws Exception {
        Replayer replayer = new Replayer(job, quotas);
        Holds holds = job.holdsOrNull();
        return Callers.run(job.callers(), job.trace().calls().size(), progress,
                holds == null ? replayer::consume : call -> replayer.reserve(call, holds));
    }

    private boolean consume(int number) {
        Tenant tenant = job.tenant(number);
        long tokens = job.trace().calls().get(number).tokens();
        if (permitted(tenant, quotas.consume(tenant.request(tokens))) instanceof Granted granted) {
            tenant.tally().charged(granted, tenant);
        }
        return true;
    }

    /** Holds an estimate, waits for the answer and settles what it really took; or dies waiting. */
    private boolean reserve(int number, Holds holds) throws InterruptedException {
        Tenant tenant = job.tenant(number);
        Call call = job.trace().calls().get(number);
        long estimate = call.context() + Math.min(holds.ceiling(), MOST - call.context());
        Decision decision = quotas.reserve(tenant.request(estimate), holds.timeToLive());
        if (!(permitted(tenant, decision) instanceof Granted granted)) {
            return true;
        }
        SplittableRandom draw = new SplittableRandom(SEED + number);
        Thread.sleep(1 + draw.nextInt(5));
        if (draw.nextInt(100) < holds.killed()) {
            tenant.tally().abandoned.increment();
            return false;
        }
        OperationId hold = granted.hold().orElseThrow().id();
        Granted settled = quotas.settle(hold,
                tenant.counts(Job.TOKENS) ? Map.of(Job.TOKENS, call.tokens()) : Map.of());
        tenant.tally().settled.increment();
        if (settled.late()) {
            tenant.tally().late.increment();
        }
        tenant.tally().charged(settled, tenant);
        return true;
    }

    private static Decision permitted(Tenant tenant, Decision decision) {
        if (decision instanceof Granted granted) {
            tenant.tally().permitted(granted);
        } else {
            tenant.tally().refused((Denied) decision);
        }
        return decision;
    }
}
