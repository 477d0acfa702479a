package io.github.pgquota;

import org.jspecify.annotations.Nullable;

/** The rules for names and amounts, in one place. */
final class Names {

    /** The largest amount, capacity or overage: 2^62. Sums of two still fit a {@code long}. */
    static final long MOST = 1L << 62;

    private static final int LONGEST = 128;
    private static final String EMPTY = "is empty; give it 1 to 128 characters";

    private Names() {}

    /** A plan, limit, meter or segment of a scope: 1 to 128 characters, no control characters. */
    static String name(String field, String value) {
        String problem = problem(value);
        if (problem != null) {
            throw new QuotaException.Invalid(field, value, problem);
        }
        return value;
    }

    /** What is wrong with a name; null if nothing. */
    static @Nullable String problem(@Nullable String value) {
        return value == null ? EMPTY : problem(value, 0, value.length());
    }

    /** The same of a name that is part of a text. */
    static @Nullable String problem(String text, int from, int to) {
        if (from == to) {
            return EMPTY;
        }
        if (isPlain(text, from, to)) {
            return null;
        }
        String value = text.substring(from, to);
        if (value.codePointCount(0, value.length()) > LONGEST) {
            return "is longer than 128 characters";
        }
        if (isBlank(value.codePointAt(0)) || isBlank(value.codePointBefore(value.length()))) {
            return "begins or ends with a blank";
        }
        if (value.codePoints().anyMatch(Names::unstorable)) {
            return "contains a control character or half of a surrogate pair";
        }
        return null;
    }

    /** A blank of any kind, those that do not break included. */
    private static boolean isBlank(int c) {
        return Character.isWhitespace(c) || Character.isSpaceChar(c);
    }

    /** Short, printable ASCII, no blank at its ends: what most names are, found out at once. */
    private static boolean isPlain(String text, int from, int to) {
        if (to - from > LONGEST || text.charAt(from) == ' ' || text.charAt(to - 1) == ' ') {
            return false;
        }
        for (int i = from; i < to; i++) {
            char c = text.charAt(i);
            if (c < ' ' || c > '~') {
                return false;
            }
        }
        return true;
    }

    /** A segment of a scope, such as a tenant: a name without a slash. */
    static String segment(String field, String value) {
        if (name(field, value).indexOf('/') >= 0) {
            throw new QuotaException.Invalid(field, value, "contains a slash");
        }
        return value;
    }

    static long amount(String field, long value) {
        if (value < 0 || value > MOST) {
            throw new QuotaException.Invalid(field, value, "must be between 0 and 2^62");
        }
        return value;
    }

    /**
     * The database's order of names, which is that of their UTF-8 bytes: by code point, where Java
     * compares UTF-16 units.
     */
    static int compare(String a, String b) {
        int n = Math.min(a.length(), b.length());
        for (int i = 0; i < n; i++) {
            char x = a.charAt(i);
            char y = b.charAt(i);
            if (x != y) {
                boolean bothOrNone = Character.isSurrogate(x) == Character.isSurrogate(y);
                return bothOrNone ? x - y : Character.isSurrogate(x) ? 1 : -1;
            }
        }
        return a.length() - b.length();
    }

    /** Whether a text means the same in the database: UTF-8 has no halves of surrogate pairs. */
    static boolean isStorable(String text) {
        return text.codePoints().noneMatch(c -> c == 0 || isSurrogate(c));
    }

    private static boolean unstorable(int c) {
        return Character.isISOControl(c) || isSurrogate(c);
    }

    private static boolean isSurrogate(int c) {
        return c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE;
    }
}
