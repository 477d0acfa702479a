package io.github.pgquota.internal;

import java.sql.SQLException;
import java.sql.Statement;
import org.flywaydb.core.api.FlywayException;
import org.flywaydb.core.api.callback.Callback;
import org.flywaydb.core.api.callback.Context;
import org.flywaydb.core.api.callback.Event;

/**
 * Lets a script wait for locks only shortly: whoever comes after it waits behind it, so a script that
 * waited for somebody's long transaction would stop everybody. And no pool's limit to a statement
 * ends one that has its locks and builds an index.
 */
final class ShortLocks implements Callback {

    private static final String SETTINGS =
            "set local lock_timeout = '200ms'; set local statement_timeout = 0";

    @Override
    public boolean supports(Event event, Context context) {
        return event == Event.BEFORE_EACH_MIGRATE;
    }

    @Override
    public boolean canHandleInTransaction(Event event, Context context) {
        return true;
    }

    @Override
    public void handle(Event event, Context context) {
        try (Statement statement = context.getConnection().createStatement()) {
            statement.execute(SETTINGS);
        } catch (SQLException e) {
            throw new FlywayException(e);
        }
    }

    @Override
    public String getCallbackName() {
        return "pgquota";
    }
}
