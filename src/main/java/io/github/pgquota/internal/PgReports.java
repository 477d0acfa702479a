package io.github.pgquota.internal;

import io.github.pgquota.*;
import java.nio.file.Path;
import java.time.*;
import java.util.*;
import org.jspecify.annotations.Nullable;

/** Stand-in until the administration slice lands. */
final class PgReports implements Reports {
    PgReports(Database database) {}
    public List<Balance> balances(String scope) { throw new UnsupportedOperationException(); }
    public List<WindowUsage> usage(String tenant, Instant since) { throw new UnsupportedOperationException(); }
    public List<LedgerEntry> ledger(OperationId operation) { throw new UnsupportedOperationException(); }
    public List<LedgerEntry> ledger(String tenant, Instant from, Instant until, int most) { throw new UnsupportedOperationException(); }
    public List<Alert> alerts(String tenant, Instant from, Instant until) { throw new UnsupportedOperationException(); }
    public List<Difference> reconcile(String tenant) { throw new UnsupportedOperationException(); }
}
