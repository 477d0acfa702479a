package io.github.pgquota.internal;

import io.github.pgquota.QuotaException;
import io.github.pgquota.Timeouts;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import javax.sql.DataSource;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The caller's DataSource: a connection for each piece of work, given back at its end.
 *
 * @param needs what the database's user must have for the work
 * @param timeouts how long it may wait. A transaction's statements may take nearly as long as its
 *     socket waits, so that the server is the first to give up; a single one says itself how long
 */
record Database(DataSource dataSource, Right needs, Timeouts timeouts) {

    private static final Logger LOG = LoggerFactory.getLogger(Database.class);

    /**
     * How often work that lost against another transaction is begun again. One global lock order
     * makes that rare; callers that lock counters in transactions of their own can still cause it.
     */
    private static final int ATTEMPTS = 5;

    /** Milliseconds, at most, before the second attempt; it doubles. */
    private static final int PAUSE = 10;

    /** A single statement that commits by itself: one round trip. */
    <T> T single(Sql<T> work) {
        try {
            return statement(work);
        } catch (Failed e) {
            throw e.told();
        }
    }

    /** The same, for those who tell others of its failure. */
    <T> T statement(Sql<T> work) throws Failed {
        return run(connection -> {
            boolean before = autoCommit(connection);
            boolean bounded = bound(connection);
            if (before && !bounded) {
                return work.on(connection);
            }
            connection.setAutoCommit(true);
            try {
                return work.on(connection);
            } finally {
                restore(connection, before, bounded);
            }
        });
    }

    /** Fails in the midst of somebody's transaction: to set autocommit would commit it. */
    private static boolean autoCommit(Connection connection) throws SQLException {
        boolean isOn = connection.getAutoCommit();
        if (!isOn) {
            connection.setReadOnly(connection.isReadOnly()); // which the driver refuses then
        }
        return isOn;
    }

    /** Sees to it that a silent server is noticed; whether that has to be set back. */
    private boolean bound(Connection connection) throws SQLException {
        if (connection.getNetworkTimeout() != 0) {
            return false;
        }
        connection.setNetworkTimeout(Runnable::run, (int) timeouts.socket().toMillis());
        return true;
    }

    /**
     * Statements that commit together, however many. READ COMMITTED whatever the DataSource says:
     * what waits for a lock must see what the lock's holder did.
     */
    <T> T transaction(Sql<T> work) {
        try {
            return run(connection -> commit(connection, work));
        } catch (Failed e) {
            throw e.told();
        }
    }

    /** The same for statements that only read, or whose changes are taken back. */
    <T> T report(Sql<T> work) {
        try {
            return transaction(work);
        } catch (QuotaException.OutcomeUnknown e) {
            throw SqlStates.ofReading(e);
        }
    }

    private <T> T commit(Connection connection, Sql<T> work) throws SQLException {
        boolean before = autoCommit(connection);
        boolean bounded = bound(connection);
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.execute("set transaction isolation level read committed; "
                    + Waits.before(connection.getNetworkTimeout(), timeouts).local());
            T result = work.on(connection);
            connection.clearWarnings();
            connection.commit();
            SqlStates.replicated(connection.getWarnings());
            return result;
        } catch (SQLException | RuntimeException | Error e) {
            rollback(connection, e);
            throw e;
        } finally {
            restore(connection, before, bounded);
        }
    }

    private <T> T run(Sql<T> work) throws Failed {
        for (int attempt = 1; ; attempt++) {
            if (attempt > 1) {
                pause(attempt - 1);
            }
            Connection connection = connect();
            try {
                return work.on(connection);
            } catch (SQLException e) {
                if (attempt == ATTEMPTS || !SqlStates.isRetry(e)) {
                    throw new Failed(e, true, needs);
                }
            } finally {
                giveBack(connection);
            }
        }
    }

    /** Lets the other go first, and does not meet it again at the same moment. */
    private static void pause(int failed) {
        int most = PAUSE << failed - 1;
        LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(
                ThreadLocalRandom.current().nextInt(most / 2, most + 1)));
    }

    /** What was done is done: nobody is told otherwise because the connection breaks after it. */
    private static void giveBack(Connection connection) {
        try {
            connection.close();
        } catch (SQLException e) {
            LOG.warn("a connection could not be given back: {}", e.toString());
        }
    }

    private Connection connect() throws Failed {
        try {
            return dataSource.getConnection();
        } catch (SQLException e) {
            throw new Failed(e, false, needs);
        }
    }

    private static void rollback(Connection connection, Throwable cause) {
        try {
            connection.rollback();
        } catch (SQLException e) {
            cause.addSuppressed(e);
        }
    }

    /** A pool gets the connection back as it gave it; a broken one it throws away by itself. */
    private static void restore(
            Connection connection, boolean autoCommit, boolean bounded) {
        try {
            if (bounded && !connection.isClosed()) {
                connection.setNetworkTimeout(Runnable::run, 0);
            }
            if (!connection.isClosed()) {
                connection.setAutoCommit(autoCommit);
            }
        } catch (SQLException e) {
            LOG.warn("a connection could not be set back to what it was: {}", e.toString());
        }
    }
}
