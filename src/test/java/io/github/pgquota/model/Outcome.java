package io.github.pgquota.model;

import io.github.pgquota.Denied;
import io.github.pgquota.Granted;
import io.github.pgquota.QuotaException;
import java.util.List;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** An answer or an error as text: all that a caller can see of it. */
final class Outcome {

    private Outcome() {}

    static String text(Object outcome) {
        if (outcome instanceof Granted g) {
            return "granted " + new TreeMap<>(g.granted()) + " of " + new TreeMap<>(g.asked())
                    + " for "
                    + g.scope() + " at " + g.at() + " operation " + g.operationOrNull()
                    + (g.replayed() ? " replayed" : "") + (g.late() ? " late" : "") + " "
                    + g.holdOrNull()
                    + lines(g.limits());
        } else if (outcome instanceof Denied d) {
            return "denied " + new TreeMap<>(d.asked()) + " for " + d.scope() + " at " + d.at()
                    + " retry after " + d.retryAfterOrNull() + lines(d.limits());
        } else if (outcome instanceof List<?> list) {
            return lines(list.stream().map(Outcome::text).toList());
        } else if (outcome instanceof QuotaException e) {
            return error(e);
        }
        return String.valueOf(outcome);
    }

    private static String lines(List<?> list) {
        return list.stream().map(o -> "\n      " + o).collect(Collectors.joining());
    }

    private static String error(QuotaException e) {
        if (e instanceof QuotaException.Invalid i) {
            return "Invalid " + i.field() + " " + i.value();
        } else if (e instanceof QuotaException.UnknownTenant u) {
            return "UnknownTenant " + u.tenant();
        } else if (e instanceof QuotaException.UnknownMeter u) {
            return "UnknownMeter " + u.meter() + " of " + u.scope();
        } else if (e instanceof QuotaException.NotFound n) {
            return "NotFound " + n.what() + " " + n.id();
        } else if (e instanceof QuotaException.HoldEnded h) {
            return "HoldEnded " + h.hold() + " " + h.state();
        } else if (e instanceof QuotaException.RefundTooLarge r) {
            return "RefundTooLarge " + r.operation() + " " + r.asked() + " of " + r.refundable()
                    + " " + r.meter();
        } else if (e instanceof QuotaException.KeyConflict k) {
            return "KeyConflict " + k.key() + " in " + k.field();
        } else if (e instanceof QuotaException.KeyExpired k) {
            return "KeyExpired " + k.key();
        } else if (e instanceof QuotaException.Partial p) {
            return "Partial" + lines(p.outcomes().stream().map(Outcome::text).toList());
        }
        return e.toString();
    }
}
