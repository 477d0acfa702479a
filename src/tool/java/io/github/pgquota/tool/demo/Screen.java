package io.github.pgquota.tool.demo;

import io.github.pgquota.tool.demo.Proof.Outcome;
import io.github.pgquota.tool.demo.Proof.Sum;
import java.io.PrintWriter;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** Prints a report for people. */
final class Screen {

    private static final int MOST_TENANTS = 20;

    private final PrintWriter out;
    private final ReplayReport report;

    private Screen(PrintWriter out, ReplayReport report) {
        this.out = out;
        this.report = report;
    }

    /** Prints it. */
    static void print(PrintWriter out, ReplayReport report) {
        Screen screen = new Screen(out, report);
        screen.summary();
        screen.limits();
        screen.observed();
        screen.proof();
        screen.holds();
        screen.naive();
        out.flush();
    }

    private void summary() {
        long calls = report.job().trace().calls().size();
        line("%s and %s of %s by %s in %.1f s: %s a second",
                count(calls, "call"), count(report.job().trace().tokens(), "token"),
                count(report.job().tenants().size(), "tenant"),
                count(report.job().callers(), "caller"), report.seconds(),
                count(Math.round(calls / Math.max(0.001, report.seconds())), "call"));
        line("combined in %s: calls that come in while one is under way go in the next one",
                count(report.statements(), "statement"));
        long abandoned = report.sum(t -> t.abandoned.sum());
        line("%s granted%s, with %s; %,d denied",
                count(report.sum(t -> t.granted.sum()), "call"),
                abandoned == 0 ? "" : String.format(Locale.ROOT,
                        " (%,d of them never settled)", abandoned),
                count(report.sum(t -> t.units(Job.TOKENS)), "token"),
                report.sum(t -> t.denied.sum()));
        line("");
    }

    private void limits() {
        List<String> shown = report.job().tenants().stream()
                .limit(MOST_TENANTS).map(Tenant::name).toList();
        Table table = new Table(3, "tenant", "plan", "limit", "capacity", "granted", "denied",
                "used", "remaining", "over by", "resets at");
        for (Outcome o : report.proof().limits()) {
            if (shown.contains(o.tenant().name())) {
                table.row(o.tenant().name(), o.tenant().plan().name(), o.limit().name(),
                        orElse(o.limit().capacityOrNull(), "unlimited"),
                        o.tenant().tally().units(o.limit().meter()),
                        o.tenant().tally().refusedBy(o.limit()), o.used(),
                        o.limit().capacityOrNull() == null
                                ? "unlimited" : o.standing().remaining(), o.over(),
                        resets(o.standing().resetsAtOrNull()));
            }
        }
        table.lines().forEach(out::println);
        int more = report.job().tenants().size() - shown.size();
        if (more > 0) {
            line("... and %s more, in the proof and in --json too", count(more, "tenant"));
        }
        line("(denied: calls that the limit refused; all else in units of its meter)");
        line("");
    }

    private static Object orElse(@Nullable Long number, String word) {
        return number == null ? word : number;
    }

    private static String resets(@Nullable Instant at) {
        return at == null ? "never" : at.toString();
    }

    private void observed() {
        long calls = report.proof().limits().stream()
                .mapToLong(o -> o.tenant().tally().observedBy(o.limit())).sum();
        if (calls > 0) {
            line("Limits in mode observe would have refused %s.", count(calls, "call"));
            line("");
        }
    }

    private void proof() {
        Table table = new Table(1, "the proof", "callers", "counters", "ledger", "SQL");
        for (Sum sum : report.proof().sums()) {
            table.row(sum.meter() + ", " + sum.window(), sum.callers(), sum.counters(),
                    orElse(sum.ledgerOrNull(), "not billed"), sum.sql());
        }
        table.lines().forEach(out::println);
        line("%s; over by %,d%s", report.proof().broken().isEmpty() ? "all agree" : "BROKEN",
                report.proof().worst(),
                report.overage() == 0 ? "" : String.format(Locale.ROOT,
                        ", apart from a reported overage of %,d", report.overage()));
        line("");
    }

    private void holds() {
        if (report.job().holdsOrNull() != null) {
            line("%s settled (%,d of them late), %s killed, %s expired, %s left held, overage %,d",
                    count(report.sum(t -> t.settled.sum()), "hold"),
                    report.sum(t -> t.late.sum()),
                    count(report.sum(t -> t.abandoned.sum()), "caller"),
                    count(report.holds().getOrDefault("expired", 0L), "hold"),
                    count(report.heldLeft(), "unit"), report.overage());
            line("");
        }
    }

    private void naive() {
        if (report.naiveOverOrNull() != null && report.transactionOverOrNull() != null) {
            Table table = new Table(1, "the same calls by other ways",
                    "worst limit that denies: over by (units)");
            table.row("pgquota", report.proof().worst());
            table.row(NaiveWays.Way.CHECK_THEN_INCREMENT.title, report.naiveOverOrNull());
            table.row(NaiveWays.Way.TRANSACTION.title, report.transactionOverOrNull());
            table.lines().forEach(out::println);
            line("");
        }
    }

    /** A number of things, in words. */
    static String count(long number, String thing) {
        return String.format(Locale.ROOT, "%,d %s%s", number, thing, number == 1 ? "" : "s");
    }

    private void line(String format, Object... arguments) {
        out.println(String.format(Locale.ROOT, format, arguments));
    }
}
