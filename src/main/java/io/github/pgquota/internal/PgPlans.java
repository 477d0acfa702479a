package io.github.pgquota.internal;

import io.github.pgquota.*;
import java.nio.file.Path;
import java.time.*;
import java.util.*;
import org.jspecify.annotations.Nullable;

/** Stand-in until the administration slice lands. */
final class PgPlans implements Plans {
    PgPlans(Database database, @Nullable String who, @Nullable String why) {}
    public int publish(Plan plan) { throw new UnsupportedOperationException(); }
    public int publish(Plan plan, Instant effectiveFrom) { throw new UnsupportedOperationException(); }
    public Optional<Plan> plan(String name) { throw new UnsupportedOperationException(); }
    public void defaultPlan(@Nullable String plan) { throw new UnsupportedOperationException(); }
    public void defaultZone(ZoneId zone) { throw new UnsupportedOperationException(); }
    public void assign(String tenant, String plan, Usage usage) { throw new UnsupportedOperationException(); }
    public void zone(String tenant, @Nullable ZoneId zone) { throw new UnsupportedOperationException(); }
    public void anchor(String tenant, @Nullable LocalDateTime anchor) { throw new UnsupportedOperationException(); }
    public UUID override(Scope scope, String limit, @Nullable Long capacity, Instant from, @Nullable Instant until, String reason) { throw new UnsupportedOperationException(); }
    public UUID boost(Scope scope, String limit, long units, Instant from, @Nullable Instant until, String reason) { throw new UnsupportedOperationException(); }
    public void withdraw(String tenant, UUID adjustment) { throw new UnsupportedOperationException(); }
    public List<Balance> reset(Scope scope, boolean dryRun) { throw new UnsupportedOperationException(); }
    public List<String> diff(Path yaml) { throw new UnsupportedOperationException(); }
    public List<String> apply(Path yaml) { throw new UnsupportedOperationException(); }
}
