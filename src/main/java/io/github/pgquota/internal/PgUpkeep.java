package io.github.pgquota.internal;

import io.github.pgquota.Upkeep;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.time.Duration;
import java.util.EnumMap;
import java.util.Locale;
import java.util.Map;

/** Housekeeping: calls the database's function batch by batch, each a transaction of its own. */
final class PgUpkeep implements Upkeep {

    private static final int BATCH = 1_000;

    /** In this order: entries without a partition are older than those of the partitions. */
    private enum Task { HOLDS, ENDED, KEYS, WINDOWS, ENTRIES, DROPPED, MADE }

    private final Database database;

    PgUpkeep(Database database) {
        this.database = database;
    }

    @Override
    public Report runOnce(Duration budget) {
        long start = System.nanoTime();
        Map<Task, Long> done = new EnumMap<>(Task.class);
        boolean finished = true;
        for (Task task : Task.values()) {
            long rows = 0;
            boolean more = true;
            while (more && System.nanoTime() - start < budget.toNanos()) {
                int batch = batch(task);
                rows += batch;
                more = switch (task) {
                    case HOLDS, DROPPED -> batch > 0;
                    case MADE -> false;
                    default -> batch >= BATCH;
                };
            }
            finished &= !more;
            done.put(task, rows);
        }
        return new Report(done.get(Task.HOLDS), done.get(Task.KEYS), done.get(Task.WINDOWS),
                done.get(Task.ENDED), done.get(Task.MADE).intValue(),
                done.get(Task.DROPPED).intValue(), finished);
    }

    private int batch(Task task) {
        return database.transaction(connection -> {
            String sql = "select pgquota.upkeep(?, ?)";
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                statement.setString(1, task.name().toLowerCase(Locale.ROOT));
                statement.setInt(2, BATCH);
                try (ResultSet row = statement.executeQuery()) {
                    row.next();
                    return row.getInt(1);
                }
            }
        });
    }
}
