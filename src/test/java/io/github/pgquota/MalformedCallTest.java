package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Calls of the engine by SQL, as Java never makes them: refused, and nothing is written. */
class MalformedCallTest {

    private static World world;
    private static String hold;
    private static String operation;

    @BeforeAll
    static void open() {
        world = World.with(Limit.named("requests").capacity(100),
                Limit.named("tokens").capacity(100));
        Request both = Request.of("acme/u").take("requests", 5).take("tokens", 5);
        operation = world.quotas().consume(both).orThrow().operation().uuid().toString();
        hold = world.quotas().reserve(both, Duration.ofHours(1)).orThrow().operation().uuid()
                .toString();
    }

    @AfterAll
    static void close() {
        world.proof();
        world.close();
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "null, 'acme', null, null, null, '{requests}', '{1}'",
        "'consume', null, null, null, null, '{requests}', '{1}'",
        "'consume', 'acme', null, null, null, null, '{1}'",
        "'consume', 'acme', null, null, null, '{requests}', null",
        "'consume', 'acme', null, null, null, '{null}', '{1}'",
        "'consume', 'acme', null, null, null, '{requests}', '{null}', null",
        "'consume', 'acme', null, null, null, '{requests}', '{-1}'",
        "'consume', 'acme', null, null, null, '{requests}', '{4611686018427387905}'",
        "'consume', 'acme', null, null, null, '{requests}', '{1,2}'",
        "'consume', 'acme', null, null, null, '{requests,tokens}', '{1}'",
        "'consume', 'acme', 'k', null, null, '{tokens,requests}', '{1,2}'",
        "'consume', 'acme', 'k', null, null, '{requests,requests}', '{1,2}'",
        "'consume', E'acme//\\x01 ', 'k', null, null, '{requests}', '{1}'",
        "'reserve', E'acme//\\x01 ', null, null, 1000, '{requests}', '{1}'",
        "'reserve', 'acme', null, null, null, '{requests}', '{1}'",
        "'reserve', 'acme', null, null, 0, '{requests}', '{1}'",
        "'consume', 'acme', null, HOLD, null, '{requests}', '{1}'",
        "'settle', 'acme', null, null, null, '{requests}', '{1}'",
        "'settle', 'acme', null, HOLD, null, '{requests}', '{null}', null",
        "'settle', 'acme', null, HOLD, null, '{requests,requests}', '{1,50}'",
        "'{{consume}}', '{acme}', '{null}', '{null}', "
            + "'{null}', '{1}', '{requests}', '{1}', null, null",
        "'[0:0]={consume}', '{acme}', '{null}', '{null}', "
            + "'{null}', '{1}', '{requests}', '{1}', null, null",
        "'{consume}', '{acme}', '{null}', '{null}', '{null}', '{1}', '{null}', '{1}', null, null",
        "'{consume}', '{acme}', '{null}', '{null}', '{null}', null, null, null, null, null",
        "'{reserve}', '{acme}', '{null}', '{null}', '{9}', '{1}', '{requests}', null, null, null",
        "'{consume}', '{acme//}', '{null}', '{null}', "
            + "'{null}', '{1}', '{requests}', '{1}', null, null",
        "'{release,release}', '{acme,acme}', '{null,null}', '{HOLD,HOLD}', '{null,null}', '{}', "
            + "'{}', '{}', null, null",
        "'{refund,refund}', '{acme,acme}', '{a,b}', '{OPERATION,OPERATION}', '{null,null}', '{}', "
            + "'{}', '{}', null, null",
        "'consume', 'acme', null, null, null, '{requests}', '{1}', 0",
        "'consume', 'acme', null, null, null, '{requests}', '{1}', null",
        "'consume', 'acme', 'k', null, null, '{requests}', '{1}', 2",
        "'reserve', 'acme', null, null, 1000, '{requests}', '{1}', 2",
        "'settle', 'acme', null, HOLD, null, '{requests}', '{1}', 2",
        "'consume', 'acme', null, null, null, '{requests}', '{2305843009213693953}', 2",
        "'{consume}', '{acme}', '{null}', '{null}', "
            + "'{null}', '{1}', '{requests}', '{1}', '{null}', null",
        "'{consume}', '{acme}', '{null}', '{null}', "
            + "'{null}', '{1}', '{requests}', '{1}', '{1,1}', null",
        "'{consume}', '{acme,acme}', '{null}', '{null}', "
            + "'{null}', '{1}', '{requests}', '{1}', null, null",
        "'{consume}', '{acme}', '{null,k}', '{null}', "
            + "'{null}', '{1}', '{requests}', '{1}', null, null",
        "'{consume}', '{acme}', '{null}', '{null}', "
            + "'{null}', '[0:0]={1}', '{requests}', '{1}', null, null",
        "'{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', null, null"})
    void isRefused(String arguments) {
        String call = "select status from pgquota.apply(" + arguments
                .replace(" HOLD", " '" + hold + "'").replace("HOLD", hold)
                .replace("OPERATION", operation) + ")";
        List<String> before = world.written();
        assertThatThrownBy(() -> world.rows(call)).rootCause()
                .isInstanceOfSatisfying(SQLException.class,
                        e -> assertThat(e.getSQLState()).isEqualTo("PQ001"));
        assertThat(world.written()).isEqualTo(before);
    }

    @Test
    void aCheckDoesNotTakeTheKeyOfAConsumeBehindIt() {
        assertThat(world.rows("select status, replayed from pgquota.apply('{check,consume}', "
                + "'{acme,acme}', '{k,k}', '{null,null}', '{null,null}', '{1,2}', "
                + "'{requests,requests}', '{1,1}', null, null)"))
                .containsExactly("granted f", "granted f");
    }

    /** Their limits count nothing, so no counter tells of them; this once went on for ever. */
    @Test
    void aKeyThatComesTwiceIsAnsweredOnceAlsoForHoldsThatNothingCounts() {
        try (World off = World.with(Limit.named("requests").capacity(9).mode(Limit.Mode.OFF))) {
            List<String> holds = new java.util.ArrayList<>();
            for (int i = 0; i < 2; i++) {
                holds.add(off.quotas().reserve(Request.of("acme").take("requests", 1),
                        Duration.ofHours(1)).orThrow().operation().uuid().toString());
            }
            assertThat(off.rows("select change, status from pgquota.apply('{extend,extend}', "
                    + "'{acme,acme}', '{k,k}', '{" + String.join(",", holds) + "}', "
                    + "'{60000,60000}', '{}', '{}', '{}', null, null)"))
                    .containsExactly("1 granted", "2 key_conflict");
        }
    }

    @Test
    void aPlanNeedsAListOfLimits() {
        assertThatThrownBy(() -> world.rows("select pgquota.publish('Q', null)")).rootCause()
                .isInstanceOfSatisfying(SQLException.class,
                        e -> assertThat(e.getSQLState()).isEqualTo("PQ001"));
    }
}
