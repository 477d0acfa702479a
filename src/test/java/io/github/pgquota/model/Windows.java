package io.github.pgquota.model;

import io.github.pgquota.Window;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.time.temporal.ChronoUnit;

/** Windows by {@code java.time}: the one that holds an instant; null ends for a lifetime. */
record Windows(Instant start, Instant end) {

    static Windows at(Window window, Instant at, ZoneId zone, LocalDateTime anchor) {
        if (window instanceof Window.Lifetime) {
            return new Windows(null, null);
        } else if (window instanceof Window.Fixed fixed) {
            return new Windows(at, at.plus(fixed.length()));
        } else if (window instanceof Window.Aligned aligned) {
            return multiples(Instant.EPOCH, aligned.length(), at);
        }
        Window.Unit unit = ((Window.Calendar) window).unit();
        if (unit == Window.Unit.HOUR) {
            return multiples(instant(anchor, zone), Duration.ofHours(1), at);
        }
        ChronoUnit step = unit == Window.Unit.DAY || unit == Window.Unit.WEEK
                ? ChronoUnit.DAYS
                : ChronoUnit.MONTHS;
        int size = switch (unit) {
            case WEEK -> 7;
            case QUARTER -> 3;
            case YEAR -> 12;
            default -> 1;
        };
        long n = step.between(anchor, at.atZone(zone).toLocalDateTime()) / size + 2;
        while (instant(anchor.plus(n * size, step), zone).isAfter(at)) {
            n--;
        }
        return new Windows(instant(anchor.plus(n * size, step), zone),
                instant(anchor.plus((n + 1) * size, step), zone));
    }

    private static Windows multiples(Instant origin, Duration length, Instant at) {
        long micros = length.toMillis() * 1000;
        long n = Math.floorDiv(ChronoUnit.MICROS.between(origin, at), micros);
        Instant start = origin.plus(n * micros, ChronoUnit.MICROS);
        return new Windows(start, start.plus(length));
    }

    /** A local time that comes twice means its second coming. */
    private static Instant instant(LocalDateTime local, ZoneId zone) {
        return local.atZone(zone).withLaterOffsetAtOverlap().toInstant();
    }
}
