package io.github.pgquota.internal;

import io.github.pgquota.Decision;
import io.github.pgquota.Operations;
import io.github.pgquota.QuotaException;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/**
 * Calls of any verbs as one list for the engine, as the combiner sends what waits: equal calls that
 * follow one another travel as one change. Here a test says what the list is, and on which
 * connection and in which transaction it is decided.
 */
public final class EngineList extends Verbs {

    private final List<Run> runs = new ArrayList<>();
    private final boolean merges;

    private EngineList(boolean merges) {
        this.merges = merges;
    }

    /** Is thrown instead of an answer: that comes with those of all others. */
    private static final class Noted extends RuntimeException {
        private Noted() {
            super(null, null, false, false);
        }
    }

    /**
     * The decision of each call, or the exception that it would throw.
     *
     * @param calls each calls one verb once
     * @param merges whether equal calls are sent as one change
     */
    public static List<Object> decide(
            Connection connection, List<Consumer<Operations>> calls, boolean merges)
            throws SQLException {
        if (calls.isEmpty()) {
            return List.of();
        }
        EngineList list = new EngineList(merges);
        for (Consumer<Operations> call : calls) {
            try {
                call.accept(list);
                throw new IllegalArgumentException("called no verb");
            } catch (Noted e) {
                continue;
            }
        }
        return list.send(connection);
    }

    @Override
    Decision decide(Change change) {
        Run last = runs.isEmpty() ? null : runs.get(runs.size() - 1);
        Call call = new Call(change, 0);
        if (merges && last != null && last.takes(change)) {
            last.add(call);
        } else {
            runs.add(new Run(call));
        }
        throw new Noted();
    }

    @Override
    <T> T read(Sql<T> reader) {
        throw new UnsupportedOperationException("not a verb of a list");
    }

    private List<Object> send(Connection connection) throws SQLException {
        List<List<Row>> answers = Store.apply(connection,
                runs.stream().map(Run::change).toList(),
                runs.stream().mapToInt(run -> run.calls().size()).toArray(), null);
        List<Object> outcomes = new ArrayList<>();
        for (int i = 0; i < runs.size(); i++) {
            for (int n = 0; n < runs.get(i).calls().size(); n++) {
                try {
                    outcomes.add(Answers.decision(runs.get(i).change(), answers.get(i), n));
                } catch (QuotaException e) {
                    outcomes.add(e);
                }
            }
        }
        return outcomes;
    }
}
