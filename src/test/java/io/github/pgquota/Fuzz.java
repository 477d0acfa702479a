package io.github.pgquota;

import java.util.List;
import java.util.Random;
import java.util.function.Supplier;

/**
 * Makes texts for everything that parses: right ones, right ones that were damaged, and rubbish
 * that likes the characters on which parsers, Java and PostgreSQL differ. The same from the same
 * seed.
 *
 * <p>System properties: {@code pgquota.fuzz.inputs} (how many, about, of each test), {@code
 * pgquota.fuzz.seed}.
 */
public final class Fuzz {

    private static final long SEED = Long.getLong("pgquota.fuzz.seed", System.nanoTime());
    private static final int INPUTS = Integer.getInteger("pgquota.fuzz.inputs", 5_000);

    /** Controls, blanks, marks, directions, halves of pairs; what SQL, YAML and CSV know. */
    private static final List<String> ODD = List.of(
            "\0", "\u0001", "\t", "\n", "\u000b", "\f", "\r", "\u001c", "\u001f", " ", "\u007f",
            "\u0080", "\u0085", "\u009f", "\u00a0", "\u00ad", "\u0131", "\u0130", "\u017f",
            "\u00df", "\u0301", "\u0661", "\u0967", "\u1680", "\u180e", "\u2000", "\u2006",
            "\u2007", "\u2008", "\u200a", "\u200b", "\u200e", "\u2028", "\u2029", "\u202e",
            "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff", "\ufffd", "\uffff", "\uff11",
            "\ud800", "\udc00", "\ud83d\ude00", "\udbff\udfff", "\ud840\udc00", "e\u0301",
            "/", "//", "'", "''", "\"", "\\", "$$", ";", "--", "/*", "%", "_", "{", "}", "[", "]",
            ":", ",", "#", "&a", "*a", "!!int", "|", ">", "?", "-", "~", "---", "...", "%TAG",
            "null", "NaN", "Infinity", "-1", "+1", "0", "00", "1e9", "0x10", "1_000", "1.0",
            "4611686018427387904", "4611686018427387905", "9223372036854775808",
            "99999999999999999999999999", "2026-02-30", "0000-00-00", "\u0000\u0000");

    private final Random random;
    private final String name;

    private Fuzz(String name) {
        this.name = name;
        this.random = new Random(SEED ^ name.hashCode());
    }

    /** A source for a test, named so that tests of one seed do not share their texts. */
    public static Fuzz of(String name) {
        Fuzz fuzz = new Fuzz(name);
        System.out.println("fuzz " + fuzz + " -Dpgquota.fuzz.inputs=" + INPUTS);
        return fuzz;
    }

    /** For the message of an assertion: how to see it again. */
    @Override
    public String toString() {
        return name + ", -Dpgquota.fuzz.seed=" + SEED;
    }

    /** How many inputs a test tries. */
    public int inputs() {
        return INPUTS;
    }

    public Random random() {
        return random;
    }

    /** From 0, without the last. */
    public int number(int below) {
        return random.nextInt(below);
    }

    /** One of them. */
    @SafeVarargs
    public final <T> T one(T... of) {
        return of[random.nextInt(of.length)];
    }

    /** A text by one of several ways. */
    @SafeVarargs
    public final String by(Supplier<String>... ways) {
        return ways[random.nextInt(ways.length)].get();
    }

    /** Of one kind of character each, or mixed; mostly short, at times about as long as it may. */
    public String text() {
        int length = one(0, 1, 1, 2, 3, 5, 8, 20, 127, 128, 129, 200, 201);
        int kind = number(5);
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < length; i++) {
            text.append(character(kind));
        }
        return text.toString();
    }

    private String character(int kind) {
        return switch (kind) {
            case 0 -> String.valueOf((char) ('a' + number(26)));
            case 1 -> String.valueOf((char) (' ' + number(95)));
            case 2 -> one("\ud83d\ude00", "\ud840\udc00");
            case 3 -> number(8) == 0 ? odd() : "x";
            default -> Character.toString(number(Character.MAX_CODE_POINT + 1));
        };
    }

    /** A piece of trouble. */
    public String odd() {
        return ODD.get(number(ODD.size()));
    }

    /** Segments, joined. */
    public String path() {
        StringBuilder path = new StringBuilder(text());
        for (int i = one(0, 0, 1, 2, 7, 8, 9); i > 0; i--) {
            path.append('/').append(number(3) == 0 ? text() : one("a", "b c", "\u00e9"));
        }
        return path.toString();
    }

    /** Damages a text in a few places: changes, drops, doubles, swaps, cuts. */
    public String damaged(String text) {
        String damaged = text;
        for (int i = one(1, 1, 1, 2, 5); i > 0; i--) {
            int at = number(damaged.length() + 1);
            int to = Math.min(damaged.length(), at + one(0, 1, 1, 1, 2, 7, 40));
            String before = damaged.substring(0, at);
            String cut = damaged.substring(at, to);
            String after = damaged.substring(to);
            damaged = switch (number(7)) {
                case 0 -> before;
                case 1 -> before + after;
                case 2 -> before + cut + cut + after;
                case 3 -> before + flipped(cut) + after;
                case 4 -> after + cut + before;
                default -> before + odd() + after;
            };
        }
        return damaged;
    }

    private String flipped(String text) {
        return text.isEmpty() ? text
                : (char) (text.charAt(0) ^ 1 << number(16)) + text.substring(1);
    }

    /** Whether it can reach the database as it is: the driver sends UTF-8, without zeros. */
    static boolean canBeSent(String text) {
        return text.codePoints().noneMatch(c -> c == 0 || c >= 0xd800 && c <= 0xdfff);
    }
}
