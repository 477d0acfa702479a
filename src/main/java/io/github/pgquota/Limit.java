package io.github.pgquota;

import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A limit of a plan: so many units of a meter a window, for each scope of a level. Immutable.
 *
 * <pre>{@code
 * Limit limit = Limit.named("tokens").capacity(2_000_000).per(Window.month()).alertAt(80, 100);
 * }</pre>
 *
 * @param name unique in its plan
 * @param meter what it counts
 * @param level the level whose scopes it limits: 0 for tenants, up to 8
 * @param window how long it counts before it begins anew
 * @param capacityOrNull units a window; null only counts; 0 blocks
 * @param overageOrNull units a request may go above the capacity; 0 denies, null never denies
 * @param mode whether it refuses, only reports, or is off
 * @param thresholds per cent of the capacity, each of which raises an alert when it is reached
 * @param messageOrNull told with a denial; {@code {limit} {meter} {scope} {capacity} {used} {held}
 *     {remaining} {asked} {resets_at}} are filled in
 * @param billed whether it writes the ledger; by default if the window is a day or longer
 */
public record Limit(
        String name,
        String meter,
        int level,
        Window window,
        @Nullable Long capacityOrNull,
        @Nullable Long overageOrNull,
        Mode mode,
        List<Integer> thresholds,
        @Nullable String messageOrNull,
        boolean billed) {

    private static final Pattern PLACE = Pattern.compile("\\{([^{}]*)}");
    private static final List<String> PLACES = List.of(
            "limit", "meter", "scope", "capacity", "used", "held", "remaining", "asked",
            "resets_at");

    /** What a limit does with a request that does not fit. */
    public enum Mode {
        /** Refuses it. */
        ENFORCE,
        /** Decides and reports, but counts it. */
        OBSERVE,
        /** Nothing: it does not even count. */
        OFF
    }

    /** @throws QuotaException.Invalid if a part is malformed or out of range */
    public Limit {
        Names.name("limit", name);
        Names.name("meter", meter);
        Objects.requireNonNull(window, "window");
        Objects.requireNonNull(mode, "mode");
        if (level < 0 || level > 8) {
            throw new QuotaException.Invalid("level", level, "must be 0 (tenant) to 8");
        }
        if (capacityOrNull != null) {
            Names.amount("capacity", capacityOrNull);
        }
        if (overageOrNull != null) {
            Names.amount("overage", overageOrNull);
        }
        thresholds = thresholds.stream().distinct().sorted().toList();
        if (thresholds.size() > 16 || thresholds.stream().anyMatch(t -> t < 1 || t > 1000)) {
            throw new QuotaException.Invalid(
                    "thresholds", thresholds, "must be at most 16, each 1 to 1000 per cent");
        }
        checkMessage(messageOrNull);
    }

    /** Starts a limit of that name, on the meter of the same name, a month, unlimited. */
    public static Limit named(String name) {
        return new Limit(
                name, name, 0, Window.month(), null, 0L, Mode.ENFORCE, List.of(), null, true);
    }

    /** The limit on another meter. */
    public Limit on(String newMeter) {
        return new Limit(name, newMeter, level, window, capacityOrNull, overageOrNull, mode,
                thresholds, messageOrNull, billed);
    }

    /** The limit for the scopes of a level: 0 for tenants. */
    public Limit level(int newLevel) {
        return new Limit(name, meter, newLevel, window, capacityOrNull, overageOrNull, mode,
                thresholds, messageOrNull, billed);
    }

    /** The limit with another window; billed if that is a day or longer. */
    public Limit per(Window newWindow) {
        return new Limit(name, meter, level, newWindow, capacityOrNull, overageOrNull, mode,
                thresholds, messageOrNull, billedByDefault(newWindow));
    }

    /** The limit with a capacity, in units a window; 0 blocks. */
    public Limit capacity(long units) {
        return new Limit(name, meter, level, window, units, overageOrNull, mode, thresholds,
                messageOrNull, billed);
    }

    /** The limit without a capacity: it only counts. */
    public Limit unlimited() {
        return new Limit(name, meter, level, window, null, overageOrNull, mode, thresholds,
                messageOrNull, billed);
    }

    /** The limit that never refuses, and reports what goes above the capacity. */
    public Limit allowOverage() {
        return new Limit(name, meter, level, window, capacityOrNull, null, mode, thresholds,
                messageOrNull, billed);
    }

    /** The limit that refuses only what goes further than that above the capacity. */
    public Limit allowOverage(long units) {
        return new Limit(name, meter, level, window, capacityOrNull, units, mode, thresholds,
                messageOrNull, billed);
    }

    /** The limit in another mode. */
    public Limit mode(Mode newMode) {
        return new Limit(name, meter, level, window, capacityOrNull, overageOrNull, newMode,
                thresholds, messageOrNull, billed);
    }

    /** The limit with alerts at these per cents of the capacity. */
    public Limit alertAt(Integer... percents) {
        return new Limit(name, meter, level, window, capacityOrNull, overageOrNull, mode,
                List.of(percents), messageOrNull, billed);
    }

    /** The limit with a message for denials. */
    public Limit message(@Nullable String template) {
        return new Limit(name, meter, level, window, capacityOrNull, overageOrNull, mode,
                thresholds, template, billed);
    }

    /** The limit that writes the ledger, or does not. */
    public Limit billed(boolean newBilled) {
        return new Limit(name, meter, level, window, capacityOrNull, overageOrNull, mode,
                thresholds, messageOrNull, newBilled);
    }

    /** Whether limits of a window write the ledger unless they say otherwise. */
    static boolean billedByDefault(Window window) {
        Duration day = Duration.ofDays(1);
        if (window instanceof Window.Fixed fixed) {
            return fixed.length().compareTo(day) >= 0;
        }
        if (window instanceof Window.Aligned aligned) {
            return aligned.length().compareTo(day) >= 0;
        }
        return !window.equals(Window.hour());
    }

    private static void checkMessage(@Nullable String message) {
        if (message == null) {
            return;
        }
        if (message.codePointCount(0, message.length()) > 1000 || !Names.isStorable(message)) {
            throw new QuotaException.Invalid("message", message,
                    "must have at most 1000 characters, all of which can be stored");
        }
        Matcher places = PLACE.matcher(message);
        while (places.find()) {
            if (!PLACES.contains(places.group(1))) {
                throw new QuotaException.Invalid(
                        "message", message,
                        "has an unknown place " + places.group() + "; known are " + PLACES);
            }
        }
    }
}
