package io.github.pgquota.model;

import io.github.pgquota.Balance;
import io.github.pgquota.Limit;
import io.github.pgquota.Scope;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.util.List;
import java.util.UUID;

/** What a program does besides calling verbs; on the model and on the database. */
interface Administration {

    void clock(Instant to) throws Exception;

    /** A version that is in force from now on. */
    void publish(String plan, List<Limit> limits) throws Exception;

    /** All settings of a tenant; null: the default. */
    void tenant(String tenant, String plan, ZoneId zone, LocalDateTime anchor) throws Exception;

    UUID adjust(Scope scope, String limit, boolean boost, Long capacity, Instant from,
            Instant until)
            throws Exception;

    void withdraw(String tenant, UUID adjustment) throws Exception;

    /** Sets running windows back to zero, and returns them as they were. */
    List<Balance> reset(Scope scope, boolean dryRun) throws Exception;
}
