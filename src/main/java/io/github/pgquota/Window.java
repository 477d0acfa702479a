package io.github.pgquota;

import java.time.Duration;
import java.util.Locale;

/**
 * How long a limit counts before it begins anew. Windows are read off the database's clock, and
 * tile time: there is no reset job. Immutable.
 *
 * <pre>{@code
 * Limit burst = Limit.named("burst").on("requests")
 *         .capacity(10).per(Window.aligned(Duration.ofMinutes(1)));
 * }</pre>
 */
public sealed interface Window {

    /** For ever. */
    static Window lifetime() {
        return new Lifetime();
    }

    /** A number of seconds from the first use on; the next use after that begins another one. */
    static Window fixed(Duration length) {
        return new Fixed(length);
    }

    /** Multiples of a number of seconds since 1970-01-01T00:00Z. */
    static Window aligned(Duration length) {
        return new Aligned(length);
    }

    /** Sixty minutes each, counted from the tenant's anchor. */
    static Window hour() {
        return new Calendar(Unit.HOUR);
    }

    /** A day of the tenant's zone, from the anchor's time of day. */
    static Window day() {
        return new Calendar(Unit.DAY);
    }

    /** A week of the tenant's zone, from the anchor's weekday; Monday if there is no anchor. */
    static Window week() {
        return new Calendar(Unit.WEEK);
    }

    /**
     * A month of the tenant's zone, from the anchor's day: the last one where a month is shorter.
     */
    static Window month() {
        return new Calendar(Unit.MONTH);
    }

    /** Three months, from the anchor. */
    static Window quarter() {
        return new Calendar(Unit.QUARTER);
    }

    /** Twelve months, from the anchor. */
    static Window year() {
        return new Calendar(Unit.YEAR);
    }

    /**
     * Reads what {@link #text()} writes: {@code lifetime}, {@code month}, {@code fixed:3600}.
     *
     * @throws QuotaException.Invalid if it is something else
     */
    static Window parse(String text) {
        try {
            Window window = read(text);
            // Java reads more as a number or a constant than text() writes
            if (window.text().equals(text)) {
                return window;
            }
        } catch (QuotaException.Invalid | IllegalArgumentException | ArithmeticException e) {
            // told below, with the whole text
        }
        throw new QuotaException.Invalid("window", text,
                "must be lifetime, hour, day, week, month, quarter, year, fixed:SECONDS or "
                + "aligned:SECONDS, from 1 second to 366 days");
    }

    private static Window read(String text) {
        int colon = text.indexOf(':');
        if (colon < 0) {
            return text.equals("lifetime") ? lifetime()
                    : new Calendar(Unit.valueOf(text.toUpperCase(Locale.ROOT)));
        }
        Duration length = Duration.ofSeconds(Long.parseLong(text.substring(colon + 1)));
        return text.startsWith("fixed") ? fixed(length) : aligned(length);
    }

    /** Its name in the database and in plan files. */
    String text();

    /** See {@link Window#lifetime()}. */
    record Lifetime() implements Window {
        @Override
        public String text() {
            return "lifetime";
        }
    }

    /**
     * See {@link Window#fixed}.
     *
     * @param length whole seconds, 1 second to 366 days
     */
    record Fixed(Duration length) implements Window {
        /** @throws QuotaException.Invalid if the length is out of range */
        public Fixed {
            requireSeconds(length);
        }

        @Override
        public String text() {
            return "fixed:" + length.toSeconds();
        }
    }

    /**
     * See {@link Window#aligned}.
     *
     * @param length whole seconds, 1 second to 366 days
     */
    record Aligned(Duration length) implements Window {
        /** @throws QuotaException.Invalid if the length is out of range */
        public Aligned {
            requireSeconds(length);
        }

        @Override
        public String text() {
            return "aligned:" + length.toSeconds();
        }
    }

    /**
     * See {@link Window#month()} and its neighbours.
     *
     * @param unit hour to year
     */
    record Calendar(Unit unit) implements Window {
        @Override
        public String text() {
            return unit.name().toLowerCase(Locale.ROOT);
        }
    }

    /** The units of a calendar window. */
    enum Unit {
        /** Sixty minutes. */
        HOUR,
        /** A local day. */
        DAY,
        /** Seven local days. */
        WEEK,
        /** A calendar month. */
        MONTH,
        /** Three calendar months. */
        QUARTER,
        /** Twelve calendar months. */
        YEAR
    }

    private static void requireSeconds(Duration length) {
        if (length.getNano() != 0
                || length.compareTo(Duration.ofSeconds(1)) < 0
                || length.compareTo(Duration.ofDays(366)) > 0) {
            throw new QuotaException.Invalid(
                    "window", length, "must be whole seconds, from 1 second to 366 days");
        }
    }
}
