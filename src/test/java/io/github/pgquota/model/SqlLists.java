package io.github.pgquota.model;

import io.github.pgquota.Operations;
import io.github.pgquota.internal.EngineList;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.function.Consumer;
import javax.sql.DataSource;

/**
 * Lists on the database, one at a time or two at once.
 *
 * @param one the program's session
 * @param other the session of who is at it at the same time
 */
record SqlLists(DataSource one, DataSource other) implements Step.Lists {

    /**
     * What came of two lists at once.
     *
     * @param waited whether the second one waited for the first one
     * @param apart whether it was decided after all of the first one, as it began anew
     */
    record Race(List<Object> first, List<Object> second, boolean waited, boolean apart) {}

    @Override
    public List<Object> decide(List<Consumer<Operations>> calls, Step.Way way) throws SQLException {
        try (Connection connection = one.getConnection()) {
            return decide(connection, calls, way);
        }
    }

    private static List<Object> decide(Connection connection, List<Consumer<Operations>> calls,
            Step.Way way)
            throws SQLException {
        if (way.isolation == null) {
            return send(connection, calls);
        }
        for (boolean again = way.twice; ; ) {
            try {
                begin(connection, way);
                List<Object> outcomes = send(connection, calls);
                if (!again) {
                    connection.commit();
                    return outcomes;
                }
                again = false;
            } catch (SQLException e) {
                // a serializable caller is sent back because of other programs, too
                if (way != Step.Way.SERIALIZABLE || !"40001".equals(e.getSQLState())) {
                    throw e;
                }
            } finally {
                end(connection);
            }
        }
    }

    private static void begin(Connection connection, Step.Way way) throws SQLException {
        connection.setAutoCommit(false);
        run(connection, "set transaction isolation level " + way.isolation);
        run(connection, "select 1"); // the snapshot of all that follows, if it is to be one
    }

    private static void end(Connection connection) throws SQLException {
        connection.rollback();
        connection.setAutoCommit(true);
    }

    /** Calls that cannot be told apart are sent one by one, as the combiner does. */
    private static List<Object> send(Connection connection, List<Consumer<Operations>> calls)
            throws SQLException {
        boolean alone = connection.getAutoCommit();
        var before = alone ? null : connection.setSavepoint();
        try {
            return EngineList.decide(connection, calls, true);
        } catch (SQLException e) {
            if (!"PQ004".equals(e.getSQLState())) {
                throw e;
            } else if (!alone) {
                connection.rollback(before);
            }
            return EngineList.decide(connection, calls, false);
        }
    }

    /** Lets a second list begin when a first one is decided, but not committed. */
    Race race(List<Consumer<Operations>> first, List<Consumer<Operations>> second, Step.Way way,
            Instant now)
            throws Exception {
        try (Connection mine = one.getConnection(); Connection rival = other.getConnection()) {
            try (PreparedStatement clock = rival.prepareStatement(
                    "select set_config('model.now', ?, false)")) {
                clock.setString(1, now.toString());
                clock.execute();
            }
            rival.setAutoCommit(false);
            try {
                return way == Step.Way.REPEATABLE || way == Step.Way.SERIALIZABLE
                        ? behind(mine, rival, first, second, way)
                        : beside(mine, rival, first, second, way);
            } finally {
                end(rival);
            }
        }
    }

    private static Race beside(Connection mine, Connection rival,
            List<Consumer<Operations>> first, List<Consumer<Operations>> second, Step.Way way)
            throws Exception {
        long session = number(mine, "select pg_backend_pid()");
        List<Object> done = send(rival, first);
        FutureTask<List<Object>> task = new FutureTask<>(() -> decide(mine, second, way));
        Thread thread = new Thread(task, "beside");
        thread.start();
        boolean waits = false;
        while (!waits && !task.isDone()) {
            waits = number(rival, "select cardinality(pg_blocking_pids(" + session + "))") > 0;
        }
        rival.commit();
        try {
            return new Race(done, task.get(), waits, false);
        } catch (ExecutionException e) {
            throw e.getCause() instanceof SQLException cause ? cause : e;
        }
    }

    /** The second one looks through a snapshot from before the first one. */
    private static Race behind(Connection mine, Connection rival,
            List<Consumer<Operations>> first, List<Consumer<Operations>> second, Step.Way way)
            throws SQLException {
        begin(mine, way);
        List<Object> done = send(rival, first);
        rival.commit();
        try {
            List<Object> outcomes = send(mine, second);
            mine.commit();
            return new Race(done, outcomes, false, false);
        } catch (SQLException e) {
            if (!"40001".equals(e.getSQLState())) {
                throw e;
            }
        } finally {
            end(mine);
        }
        return new Race(done, decide(mine, second, way), true, true);
    }

    private static void run(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    private static long number(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(sql)) {
            row.next();
            return row.getLong(1);
        }
    }
}
