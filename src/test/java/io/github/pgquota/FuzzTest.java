package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.function.Function;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * Names, scopes, keys, windows and ids from a generator: Java and the database accept the same,
 * what is accepted comes back as it was, and what is refused is refused with a typed exception that
 * names field and value.
 */
class FuzzTest {

    private static final int BATCH = 2_000;
    private static World world;

    @BeforeAll
    static void open() {
        world = World.create();
        // what the tables' own constraints say to a text, without keeping it
        world.execute("create table public.key_rule (like pgquota.operation_key including all)");
        world.execute("""
                create function public.takes(p_rule text, p_text text) returns boolean
                  language plpgsql as $$
                begin
                  case p_rule
                    when 'scope' then return pgquota.is_scope(p_text);
                    when 'scope, sorted by bytes' then
                      return pgquota.is_scope(p_text collate "C");
                    when 'window' then return pgquota.is_per(p_text);
                    when 'name' then perform p_text::pgquota.name;
                    when 'tenant' then
                      insert into pgquota.tenant (tenant) values (p_text);
                      delete from pgquota.tenant where tenant = p_text;
                    when 'key' then
                      insert into public.key_rule (tenant, key, verb, scope, meters, amounts, at)
                      values ('t', p_text, 'consume', 't', '{}', '{}', now());
                      delete from public.key_rule;
                    when 'message' then
                      perform pgquota.publish('M', jsonb_build_array(
                          jsonb_build_object('name', 'x', 'message', p_text)));
                  end case;
                  return true;
                exception when check_violation or program_limit_exceeded or sqlstate 'PQ001' then
                  return false;
                end $$
                """);
    }

    @AfterAll
    static void close() {
        world.close();
    }

    /** Null if Java accepts it; else it was refused as it should be. */
    private static <T> T accepted(String text, Supplier<T> maker) {
        try {
            return maker.get();
        } catch (QuotaException.Invalid e) {
            assertThat(e.field()).isNotBlank();
            assertThat(e.value()).isEqualTo(text);
            assertThat(e.getMessage()).startsWith(e.field() + " \"").hasSizeLessThan(1_000);
            return null;
        }
    }

    private interface Rule extends Function<String, Object> {}

    /** Tries so many texts with Java's rule and the database's rules of these names. */
    private static void agree(Fuzz fuzz, int inputs, Supplier<String> texts, Rule java,
            String... rules) throws SQLException {
        int right = 0;
        for (int done = 0; done < inputs; done += BATCH) {
            List<String> batch = new ArrayList<>();
            List<Boolean> verdicts = new ArrayList<>();
            for (int i = 0; i < Math.min(BATCH, inputs - done); i++) {
                String text = texts.get();
                Object made = accepted(text, () -> java.apply(text));
                right += made == null ? 0 : 1;
                if (made != null) {
                    assertThat(made).as(fuzz.toString()).hasToString(text);
                }
                if (Fuzz.canBeSent(text)) {
                    batch.add(text);
                    verdicts.add(made != null);
                } else {
                    assertThat(made).as("%s: %s", fuzz, text).isNull();
                }
            }
            for (String rule : rules) {
                compare(fuzz, rule, batch, verdicts);
            }
        }
        assertThat(right).as("right ones among %s, %s", inputs, fuzz)
                .isBetween(inputs / 20, inputs * 19 / 20);
    }

    private static void compare(Fuzz fuzz, String rule, List<String> texts, List<Boolean> java)
            throws SQLException {
        try (Connection connection = world.database().connection();
                PreparedStatement statement = connection.prepareStatement("select t, "
                        + "public.takes(?, t) from unnest(?) with ordinality u (t, n) "
                        + "order by n")) {
            statement.setString(1, rule);
            statement.setArray(2, connection.createArrayOf("text", texts.toArray()));
            try (ResultSet row = statement.executeQuery()) {
                for (int i = 0; row.next(); i++) {
                    assertThat(row.getString(1)).isEqualTo(texts.get(i));
                    assertThat(row.getBoolean(2)).as("%s \"%s\" %s, in the database, %s", rule,
                            texts.get(i), texts.get(i).codePoints().limit(40)
                            .mapToObj(Integer::toHexString).toList(), fuzz)
                            .isEqualTo(java.get(i));
                }
            }
        }
    }

    @Test
    void namesAreThoseOfTheDatabase() throws SQLException {
        Fuzz fuzz = Fuzz.of("names");
        agree(fuzz, fuzz.inputs(), fuzz::text, text -> Names.name("meter", text), "name");
        agree(fuzz, fuzz.inputs() / 10, fuzz::text,
                text -> new OperationId(text, new UUID(0, 0)).tenant(), "tenant");
    }

    @Test
    void scopesAreThoseOfTheDatabase() throws SQLException {
        Fuzz fuzz = Fuzz.of("scopes");
        agree(fuzz, fuzz.inputs(), fuzz::path, Scope::of, "scope", "scope, sorted by bytes");
    }

    @Test
    void keysAreThoseOfTheDatabase() throws SQLException {
        Fuzz fuzz = Fuzz.of("keys");
        agree(fuzz, fuzz.inputs(), fuzz::text, text -> Request.of("t").key(text).key(), "key");
    }

    @Test
    void messagesAreThoseOfTheDatabase() throws SQLException {
        Fuzz fuzz = Fuzz.of("messages");
        agree(fuzz, fuzz.inputs() / 10, () -> fuzz.text().repeat(fuzz.one(1, 5, 8, 9))
                        + fuzz.one("", "", "{used}", "{ {held}", "{Used}", "{used", "{}"),
                text -> Limit.named("x").message(text).messageOrNull(), "message");
    }

    @Test
    void windowsAreThoseOfTheDatabase() throws SQLException {
        Fuzz fuzz = Fuzz.of("windows");
        Supplier<String> right = () -> fuzz.by(() -> fuzz.one("lifetime", "hour", "day", "week",
                "month", "quarter", "year"), () -> fuzz.one("fixed:", "aligned:")
                + fuzz.one(1, 59, 60, 3600, 366 * 86_400, 366 * 86_400 + 1, fuzz.number(1 << 30)));
        agree(fuzz, fuzz.inputs(), () -> fuzz.by(right, right, () -> fuzz.damaged(right.get()),
                () -> fuzz.one("FIXED:", "Day", "fixed:+", "fixed:0", "aligned:-", "aligned: ")
                        + fuzz.one(1, 60, fuzz.odd()), fuzz::text),
                text -> Window.parse(text).text(), "window");
    }

    @Test
    void idsComeBackAsTheyWere() {
        Fuzz fuzz = Fuzz.of("ids");
        int right = 0;
        for (int i = fuzz.inputs(); i > 0; i--) {
            String uuid = new UUID(fuzz.random().nextLong(), fuzz.random().nextLong()).toString();
            String text = fuzz.by(() -> fuzz.path() + "/" + uuid, () -> "t/" + uuid,
                    () -> fuzz.damaged("t/" + uuid), () -> "t/" + fuzz.damaged(uuid), fuzz::text,
                    () -> "t/" + uuid.substring(1, 8) + uuid.substring(8) + "0");
            OperationId id = accepted(text, () -> OperationId.parse(text));
            if (id != null) {
                right++;
                assertThat(id.toString()).as(fuzz.toString()).isEqualTo(text);
            }
        }
        assertThat(right).isPositive();
    }

    @Test
    void amountsAreThoseOfTheDatabase() {
        Fuzz fuzz = Fuzz.of("amounts");
        for (int i = fuzz.inputs() / 100; i > 0; i--) {
            long edge = fuzz.one(0L, 1L << 62, Long.MAX_VALUE, Long.MIN_VALUE, 1L << 32);
            long amount = fuzz.one(edge + fuzz.number(5) - 2, fuzz.random().nextLong());
            boolean java = true;
            try {
                Request.of("t").take("x", amount);
            } catch (QuotaException.Invalid e) {
                java = false;
                assertThat(e.value()).isEqualTo(String.valueOf(amount));
            }
            assertThat(world.one(Boolean.class, "select ? between 0 and 4611686018427387904",
                    amount)).isEqualTo(java);
            try {
                Window.fixed(Duration.ofSeconds(amount, fuzz.one(0, 0, 1)));
            } catch (QuotaException.Invalid e) {
                assertThat(e.field()).isEqualTo("window");
            }
        }
    }
}
