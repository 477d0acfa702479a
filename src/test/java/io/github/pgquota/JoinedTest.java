package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import javax.sql.DataSource;
import org.jooq.DSLContext;
import org.jooq.SQLDialect;
import org.jooq.impl.DSL;
import org.junit.jupiter.api.Test;

/** The verbs in the caller's transaction stand or fall with it. */
class JoinedTest {

    private static final Limit MESSAGES =
            Limit.named("messages").on("requests").capacity(100).per(Window.month());
    private static final Request CALL = Request.of("acme/a").take("requests", 10);

    private static List<String> used(World world) {
        return world.rows("select used, held from pgquota.counter");
    }

    /** Quotas whose own DataSource must not be touched. */
    private static Quotas detached() {
        DataSource untouchable = (DataSource) Proxy.newProxyInstance(
                JoinedTest.class.getClassLoader(), new Class<?>[] {DataSource.class},
                (proxy, method, args) -> {
                    throw new AssertionError("touched by " + method);
                });
        return Quotas.on(untouchable).build();
    }

    /** The caller's connection; the library must not end its transaction. */
    private static Connection guarded(Connection connection) {
        List<String> forbidden = List.of(
                "commit", "rollback", "setAutoCommit", "close", "setTransactionIsolation",
                "setReadOnly", "setSavepoint", "abort");
        return (Connection) Proxy.newProxyInstance(
                JoinedTest.class.getClassLoader(), new Class<?>[] {Connection.class},
                (proxy, method, args) -> {
                    assertThat(forbidden).doesNotContain(method.getName());
                    return method.invoke(connection, args);
                });
    }

    /** Without a transaction around it the call commits by itself, before its answer is lost. */
    @Test
    void aLostAnswerInAutocommitIsUnknown() throws Exception {
        try (World world = World.with(MESSAGES); Quotas detached = detached();
                io.github.pgquota.tool.Proxy network =
                        io.github.pgquota.tool.Proxy.to(world.database().url());
                Connection connection = java.sql.DriverManager.getConnection(
                        network.url(world.database().url()), TestDatabase.server().user(),
                        TestDatabase.server().password())) {
            network.loseReplies(1);
            assertThrows(QuotaException.OutcomeUnknown.class,
                    () -> detached.within(connection).consume(CALL));
            assertThat(used(world)).containsExactly("10 0");
        }
    }

    @Test
    void everyVerbUsesTheCallersConnectionOnlyAndNeverEndsItsTransaction() throws Exception {
        try (World world = World.with(MESSAGES); Quotas detached = detached();
                Connection connection = world.database().connection()) {
            connection.setAutoCommit(false);
            Operations quotas = detached.within(guarded(connection));
            OperationId operation = quotas.consume(CALL.key("k")).orThrow().operation();
            quotas.consumeUpTo(CALL);
            quotas.record(CALL);
            quotas.consumeAll(List.of(CALL, CALL));
            quotas.check(CALL);
            quotas.refund(operation, Map.of("requests", 5L), null);
            Reservation hold = quotas.hold(CALL, Duration.ofMinutes(1));
            hold.extend(Duration.ofMinutes(2));
            hold.settle(Map.of("requests", 7L));
            try (Reservation released = quotas.hold(CALL, Duration.ofMinutes(1))) {
                assertThat(released.id()).isNotNull();
            }
            quotas.consume(CALL).orThrow();
            assertThat(quotas.balances(Scope.of("acme")).get(0).used()).isEqualTo(62);
            assertThat(used(world)).as("before the commit").isEmpty();
            connection.commit();
            assertThat(used(world)).containsExactly("62 0");
            world.proof();
        }
    }

    @Test
    void aRollbackTakesTheChargeBack() throws Exception {
        try (World world = World.with(MESSAGES);
                Connection connection = world.database().connection()) {
            world.quotas().consume(CALL).orThrow();
            List<String> before = world.written();
            connection.setAutoCommit(false);
            Operations quotas = world.quotas().within(connection);
            quotas.consume(CALL.key("k")).orThrow();
            quotas.hold(CALL, Duration.ofMinutes(1));
            connection.rollback();
            assertThat(world.written()).isEqualTo(before);
            world.proof();
        }
    }

    @Test
    void aSavepointTakesBackWhatCameAfterIt() throws Exception {
        try (World world = World.with(MESSAGES);
                Connection connection = world.database().connection()) {
            connection.setAutoCommit(false);
            Operations quotas = world.quotas().within(connection);
            quotas.consume(CALL).orThrow();
            Savepoint savepoint = connection.setSavepoint();
            quotas.consume(CALL.key("k")).orThrow();
            quotas.hold(CALL, Duration.ofMinutes(1));
            connection.rollback(savepoint);
            assertThat(quotas.consume(CALL.key("k")).orThrow().replayed()).isFalse();
            connection.commit();
            assertThat(used(world)).containsExactly("20 0");
            world.proof();
        }
    }

    @Test
    void anErrorOfTheLibraryLeavesTheTransactionUsable() throws Exception {
        try (World world = World.with(MESSAGES);
                Connection connection = world.database().connection()) {
            connection.setAutoCommit(false);
            Operations quotas = world.quotas().within(connection);
            quotas.consume(CALL.key("k")).orThrow();
            assertThrows(QuotaException.KeyConflict.class,
                    () -> quotas.consume(Request.of("acme").take("requests", 1).key("k")));
            assertThrows(QuotaException.UnknownMeter.class,
                    () -> quotas.consume(Request.of("acme").take("bytes", 1)));
            assertThat(quotas.consume(Request.of("acme").take("requests", 91)).isGranted())
                    .isFalse();
            quotas.consume(CALL).orThrow();
            connection.commit();
            assertThat(used(world)).containsExactly("20 0");
        }
    }

    @Test
    void afterAnErrorOfTheCallersNothingIsApplied() throws Exception {
        try (World world = World.with(MESSAGES);
                Connection connection = world.database().connection();
                Statement sql = connection.createStatement()) {
            connection.setAutoCommit(false);
            Operations quotas = world.quotas().within(connection);
            quotas.consume(CALL).orThrow();
            assertThrows(SQLException.class, () -> sql.execute("select 1/0"));
            QuotaException.Invalid e = assertThrows(
                    QuotaException.Invalid.class, () -> quotas.consume(CALL));
            assertThat(e).hasMessage("transaction \"25P02\" has failed already: roll it back");
            connection.rollback();
            assertThat(used(world)).isEmpty();
        }
    }

    @Test
    void aReadOnlyTransactionReadsAndChargesNothing() throws Exception {
        try (World world = World.with(MESSAGES);
                Connection connection = world.database().connection()) {
            world.quotas().consume(CALL).orThrow();
            connection.setAutoCommit(false);
            connection.setReadOnly(true);
            Operations quotas = world.quotas().within(connection);
            assertThat(quotas.balances(Scope.of("acme")).get(0).used()).isEqualTo(10);
            assertThat(quotas.check(CALL).isGranted()).isTrue();
            assertThat(quotas.check(Request.of("acme").take("requests", 91)).isGranted())
                    .isFalse();
            QuotaException.Invalid e = assertThrows(
                    QuotaException.Invalid.class, () -> quotas.consume(CALL));
            assertThat(e).hasMessageStartingWith("transaction \"25006\" is read-only");
            connection.rollback();
            assertThat(used(world)).containsExactly("10 0");
        }
    }

    @Test
    void aConnectionInAutocommitCommitsEachCall() throws Exception {
        try (World world = World.with(MESSAGES);
                Connection connection = world.database().connection()) {
            world.quotas().within(connection).consume(CALL).orThrow();
            assertThat(used(world)).containsExactly("10 0");
        }
    }

    @Test
    void aDataSourceWithoutAutocommitIsServedAndLeftAsItWas() throws Exception {
        try (World world = World.with(MESSAGES);
                Connection connection = world.database().connection()) {
            connection.setAutoCommit(false);
            // a pool that does not tidy up after its users
            DataSource source = (DataSource) Proxy.newProxyInstance(
                    JoinedTest.class.getClassLoader(), new Class<?>[] {DataSource.class},
                    (proxy, method, args) -> unclosable(connection));
            try (Quotas quotas = Quotas.on(source).build()) {
                quotas.consume(CALL).orThrow();
                assertThat(used(world)).containsExactly("10 0");
                assertThat(connection.getAutoCommit()).isFalse();
            }
            world.proof();
        }
    }

    /** Such as a proxy that joins the caller's transaction: nobody but the caller may end that. */
    @Test
    void aDataSourceInTheMidstOfATransactionIsRefused() throws Exception {
        try (World world = World.with(MESSAGES);
                Connection connection = world.database().connection();
                Statement sql = connection.createStatement()) {
            sql.execute("create table public.message (id int)");
            connection.setAutoCommit(false);
            DataSource source = (DataSource) Proxy.newProxyInstance(
                    JoinedTest.class.getClassLoader(), new Class<?>[] {DataSource.class},
                    (proxy, method, args) -> unclosable(connection));
            try (Quotas quotas = Quotas.on(source).build()) {
                sql.execute("insert into public.message values (1)");
                assertThat(assertThrows(QuotaException.Invalid.class, () -> quotas.consume(CALL)))
                        .hasMessageContaining("use within(connection)");
                assertThrows(QuotaException.Invalid.class, () -> quotas.plans().publish(
                        new Plan("P", List.of(MESSAGES.capacity(1)))));
                assertThrows(QuotaException.Invalid.class,
                        () -> quotas.reports().reconcile("acme"));
                assertThat(world.rows("select from public.message")).isEmpty();
                quotas.within(connection).consume(CALL).orThrow();
                connection.commit();
                assertThat(world.rows("select id from public.message")).containsExactly("1");
                sql.execute("delete from public.message");
                assertThrows(QuotaException.Invalid.class, () -> quotas.consume(CALL));
                connection.rollback();
                assertThat(world.rows("select id from public.message")).containsExactly("1");
                quotas.consume(CALL).orThrow();
            }
            assertThat(used(world)).containsExactly("20 0");
        }
    }

    private static Connection unclosable(Connection connection) {
        return (Connection) Proxy.newProxyInstance(
                JoinedTest.class.getClassLoader(), new Class<?>[] {Connection.class},
                (proxy, method, args) -> {
                    try {
                        return method.getName().equals("close") ? null
                                : method.invoke(connection, args);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                });
    }

    @Test
    void jooqsTransactionsCarryTheCharge() {
        try (World world = World.with(MESSAGES); Quotas detached = detached()) {
            world.execute("create table public.message (id int)");
            DSLContext dsl = DSL.using(world.pool(), SQLDialect.POSTGRES);
            dsl.transaction(tx -> {
                tx.dsl().execute("insert into public.message values (1)");
                JooqTransaction.within(detached, tx).consume(CALL).orThrow();
                // a nested one is a savepoint
                assertThrows(IllegalStateException.class, () -> tx.dsl().transaction(nested -> {
                    JooqTransaction.within(detached, nested.dsl()).consume(CALL).orThrow();
                    throw new IllegalStateException("undo");
                }));
                assertThat(used(world)).isEmpty();
            });
            assertThat(used(world)).containsExactly("10 0");
            assertThrows(QuotaException.Exceeded.class, () -> dsl.transaction(tx -> {
                tx.dsl().execute("insert into public.message values (2)");
                JooqTransaction.within(detached, tx).consume(CALL).orThrow();
                JooqTransaction.within(detached, tx)
                        .consume(Request.of("acme").take("requests", 91)).orThrow();
            }));
            assertThat(used(world)).containsExactly("10 0");
            assertThat(world.rows("select id from public.message")).containsExactly("1");
            world.proof();
        }
    }
}
