package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/**
 * JSON of all shapes for the functions that take it, from an administrator's login: what is taken
 * the library reads as it is, what is refused is refused with the library's own states, and changes
 * nothing.
 */
class JsonFuzzTest {

    /** What PostgreSQL says to a text that is no JSON, or that it cannot keep. */
    private static final Set<String> NO_JSON = Set.of("22P02", "22P05", "22003", "54001");

    /** Whether the version in force has what was given, with its types. */
    private static final String KEPT = "with given as (select * from jsonb_array_elements("
            + "?::jsonb) with ordinality) select (select count(*) from given) = count(*) and "
            + "coalesce(bool_and(to_jsonb(l) @> jsonb_strip_nulls(g.value)), true) "
            + "from pgquota.plan_limit l left join given g on g.ordinality = l.ord "
            + "where (l.plan, l.version) = (select v.plan, max(v.version) from "
            + "pgquota.plan_version v where v.plan = ? and v.from_at <= pgquota.clock() "
            + "group by v.plan)";

    private final Fuzz fuzz = Fuzz.of("json");

    /** Halves of pairs and controls as escapes, some other characters too. */
    private String string(String text) {
        return text.codePoints().mapToObj(c -> c == '"' || c == '\\' ? "\\" + (char) c
                        : c < ' ' || c >= 0xd800 && c < 0xe000 || c < 0x1_0000
                        && fuzz.number(20) == 0 ? String.format("\\u%04x", c)
                        : Character.toString(c))
                .collect(Collectors.joining("", "\"", "\""));
    }

    private String number() {
        return fuzz.by(() -> "" + fuzz.number(1_000), () -> fuzz.one("-1", "0.5", "1e2", "5.0",
                "4611686018427387904", "4611686018427387905", "9223372036854775808", "1e400",
                "1e200000", "-0", "2147483648", "9".repeat(500)));
    }

    private String list(int most, Supplier<String> item) {
        return IntStream.range(0, fuzz.number(most + 1)).mapToObj(i -> item.get())
                .collect(Collectors.joining(",", "[", "]"));
    }

    /** Any JSON. */
    private String value(int depth) {
        return depth == 0 ? fuzz.by(this::number, () -> string(fuzz.text()))
                : fuzz.by(() -> fuzz.one("null", "true", "false", "{}", "[]", "\"\""),
                this::number, () -> string(fuzz.text()),
                () -> list(4, () -> value(depth - 1)), () -> "{" + list(3,
                () -> string(fuzz.one("name", "a")) + ":" + value(depth - 1))
                .replaceAll("^.|.$", "") + "}");
    }

    private String word(String... right) {
        return string(fuzz.one(right));
    }

    /** A limit with most of its fields, in any order; now and then one of them twice. */
    private String limit(int number) {
        Map<String, String> right = new TreeMap<>(Map.of("name", word("n" + number),
                "meter", word("requests", "a/b"), "level", fuzz.one("0", "1", "8", "9"),
                "per", word("month", "fixed:60", "aligned:86400", "lifetime", "fixed:x", "eon"),
                "capacity", fuzz.one("0", "5", "null", "4611686018427387904"),
                "overage", fuzz.one("0", "7", "null"), "mode", word("enforce", "observe", "off"),
                "billed", fuzz.one("true", "false"), "thresholds", list(3, () -> fuzz.number(10)
                > 0 ? number() : fuzz.one("null", "\"5\"", "[5]")),
                "message", word("{used} of {capacity}", "no", "{none}", "{ {used}", "}{")));
        List<String> fields = new ArrayList<>();
        right.forEach((field, value) -> {
            if (fuzz.number(3) > 0 || field.equals("name")) {
                fields.add(string(field) + ":" + (fuzz.number(30) == 0 ? value(2) : value));
            }
        });
        if (fuzz.number(12) == 0) {
            fields.add(string(fuzz.one("name", "capacity", "version", "ord", "")) + ":" + value(1));
        }
        Collections.shuffle(fields, fuzz.random());
        return "{" + String.join(",", fields) + "}";
    }

    private String limits() {
        return IntStream.range(0, fuzz.one(0, 1, 1, 1, 2, 3)).mapToObj(this::limit)
                .collect(Collectors.joining(",", "[", "]"));
    }

    private String json() {
        return fuzz.by(this::limits, this::limits, this::limits, this::limits, this::limits,
                () -> fuzz.damaged(limits()), () -> list(3, () -> value(2)), () -> value(3),
                () -> fuzz.one("[", "[{\"name\":", "{\"a\":").repeat(fuzz.one(1, 20, 20_000)),
                () -> nested(fuzz.one(1, 20, 2_000, 20_000)), fuzz::text);
    }

    private String nested(int depth) {
        return fuzz.one("", "[{\"name\":\"n\",\"message\":", "[{\"name\":\"n\",\"thresholds\":")
                + "[".repeat(depth) + "]".repeat(depth) + fuzz.one("", "}]");
    }

    /** The SQLSTATE of a query that fails, or ok. */
    private static String state(Connection connection, String sql, String... values)
            throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) {
                statement.setString(i + 1, values[i]);
            }
            statement.execute();
            return "ok";
        } catch (SQLException e) {
            return e.getSQLState();
        }
    }

    @Test
    void anyJsonIsPublishedOrRefused() throws SQLException {
        Map<String, Integer> states = new TreeMap<>();
        try (Room room = new Room(); Intruder admin = new Intruder(room, "admin");
                Connection connection = admin.connection()) {
            String rows = "select (select count(*) from pgquota.plan_version), "
                    + "(select count(*) from pgquota.plan_limit), "
                    + "(select count(*) from pgquota.audit)";
            for (int i = fuzz.inputs() / 5; i > 0; i--) {
                String json = json();
                String plan = fuzz.number(20) == 0 ? fuzz.text() : "P" + i % 20;
                if (!Fuzz.canBeSent(json + plan)) {
                    continue;
                }
                String parsed = state(connection, "select ?::jsonb", json);
                if (!parsed.equals("ok")) {
                    assertThat(parsed).as("%s: %s", fuzz, json).isIn(NO_JSON);
                    states.merge(parsed, 1, Integer::sum);
                    continue;
                }
                List<String> before = room.rows(rows);
                String state = state(connection, "select pgquota.publish(?, ?::jsonb)", plan, json);
                states.merge(state, 1, Integer::sum);
                assertThat(state).as("%s: %s %s", fuzz, plan, json).isIn("ok", "PQ001");
                if (state.equals("ok")) {
                    assertThat(room.rows(KEPT, json, plan)).as("%s: %s", fuzz, json)
                            .containsExactly("t");
                    assertThat(room.plans.plan(plan)).as("%s: %s", fuzz, json)
                            .hasValueSatisfying(read -> isTheSame(room, read));
                } else {
                    assertThat(room.rows(rows)).as("%s: %s", fuzz, json).isEqualTo(before);
                }
            }
        }
        assertThat(states).as("%s", fuzz).containsKeys("ok", "PQ001", "22P02", "54001");
        assertThat(states.get("ok")).as("%s: %s", fuzz, states).isGreaterThan(fuzz.inputs() / 50);
    }

    /** The library reads what is in force: published by it, it would be no other version. */
    private static void isTheSame(Room room, Plan plan) {
        List<String> versions = room.rows("select count(*) from pgquota.plan_version");
        room.plans.publish(plan);
        assertThat(room.rows("select count(*) from pgquota.plan_version")).isEqualTo(versions);
    }

    /** Whoever adds a function that takes JSON adds it here. */
    @Test
    void noOtherFunctionTakesJson() {
        try (Room room = new Room()) {
            assertThat(room.rows("select distinct p.oid::regprocedure from pg_proc p cross join "
                    + "unnest(array['app', 'admin', 'report']) r where p.pronamespace = "
                    + "'pgquota'::regnamespace and 'jsonb'::regtype = any (p.proargtypes) "
                    + "and has_function_privilege('pgquota_' || r, p.oid, 'execute')"))
                    .containsExactly("pgquota.publish(text,jsonb,timestamp with time zone)");
        }
    }
}
