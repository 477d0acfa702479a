package io.github.pgquota.tool.bench;

import io.github.pgquota.tool.PostgresServer;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;

/** Keyed and billed consumes beside ledgers of several sizes, each in a database of its own. */
final class Ledger implements AutoCloseable {

    private final List<Stage> stages = new ArrayList<>();
    private final List<Contender> contenders = new ArrayList<>();

    /** Fills a ledger for each number of rows. */
    Ledger(PostgresServer server, int scopes, int callers, List<Long> sizes) throws SQLException {
        for (long rows : sizes) {
            Stage stage = Stage.create(server, "ledger_" + rows, scopes);
            stages.add(stage);
            fill(stage, rows);
            contenders.add(Contenders.keyed(Line.of("ledger-" + rows, "direct", callers), stage));
        }
    }

    List<Contender> contenders() {
        return contenders;
    }

    /** Entries as the engine would have written them since the month began, in order of time. */
    private static void fill(Stage stage, long rows) throws SQLException {
        stage.execute(
                """
                insert into pgquota.ledger
                       (tenant, at, operation, counter, entry, verb, amount, used_after)
                select c.tenant, r.at, pgquota.operation_id(r.at), c.id, r.n, 'consume', 1, r.n
                  from (select i %% %2$d as counter, i / %2$d + 1 as n,
                               m.start + (now() - m.start) * (i / %1$d.0) as at
                          from generate_series(0, %1$d - 1) i,
                               (select date_trunc('month', now()) as start) m) r
                  join (select tenant, id, row_number() over (order by id) - 1 as counter
                          from pgquota.counter where meter = 'keyed') c using (counter)"""
                        .formatted(rows, stage.scopes()),
                """
                update pgquota.counter c set used = e.n, entries = e.n
                  from (select tenant, counter, count(*) as n from pgquota.ledger group by 1, 2) e
                 where c.tenant = e.tenant and c.id = e.counter""");
        stage.settleDown();
    }

    @Override
    public void close() {
        stages.forEach(Stage::close);
    }
}
