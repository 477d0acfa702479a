package io.github.pgquota.tool.bench;

import io.github.pgquota.tool.PostgresServer;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;

/** The same calls on databases of several sizes, side by side. */
final class Sizes implements AutoCloseable {

    private final List<Stage> stages = new ArrayList<>();
    private final List<Door> doors = new ArrayList<>();
    private final List<Contender> contenders = new ArrayList<>();

    private Sizes() {}

    /** Keyed and billed consumes beside ledgers of so many rows. */
    static Sizes ledgers(
            PostgresServer server, int scopes, int callers, String path, List<Long> rows)
            throws SQLException {
        Sizes sizes = new Sizes();
        for (long size : rows) {
            fill(sizes.add(server, "ledger-" + size, scopes, Workload.KEYED, callers, path), size);
        }
        sizes.settleDown();
        return sizes;
    }

    /** Consumes on so many scopes. */
    static Sizes scopes(PostgresServer server, int callers, String path, List<Integer> scopes)
            throws SQLException {
        Sizes sizes = new Sizes();
        for (int size : scopes) {
            sizes.add(server, "spread-" + size, size, Workload.SPREAD, callers, path);
        }
        sizes.settleDown();
        return sizes;
    }

    private Stage add(PostgresServer server, String label, int scopes, Workload workload,
            int callers, String path) throws SQLException {
        Stage stage = Stage.create(server, label.replace('-', '_'), scopes);
        stages.add(stage);
        Door door = new Door(stage, () -> {
            throw new NotRunException("not with several sizes");
        }, 0);
        doors.add(door);
        Contender.Local contender =
                door.contender(Line.of(workload.toString(), path, callers));
        contenders.add(contender.as(Line.of(label, path, callers)));
        return stage;
    }

    private void settleDown() throws SQLException {
        for (Stage stage : stages) {
            stage.settleDown();
        }
    }

    /** One a size. */
    List<Contender> contenders() {
        return contenders;
    }

    /** Entries as the engine would have written them since the month began, in order of time. */
    private static void fill(Stage stage, long rows) throws SQLException {
        stage.load(
                """
                insert into pgquota.ledger
                       (tenant, at, operation, counter, entry, verb, amount, used_after)
                select c.tenant, r.at, pgquota.operation_id(r.at), c.id, r.n, 'consume', 1, r.n
                  from (select i %% %2$d as counter, i / %2$d + 1 as n,
                               m.start + (now() - m.start) * (i / %1$d.0) as at
                          from generate_series(0, %1$d - 1) i,
                               (select date_trunc('month', now()) as start) m) r
                  join (select tenant, id, row_number() over (order by id) - 1 as counter
                          from pgquota.counter where meter = 'keyed' and tenant <> 'hot') c
                 using (counter)""".formatted(rows, stage.scopes()),
                """
                update pgquota.counter c set used = e.n, entries = e.n
                  from (select tenant, counter, count(*) as n from pgquota.ledger group by 1, 2) e
                 where c.tenant = e.tenant and c.id = e.counter""");
    }

    @Override
    public void close() {
        doors.forEach(Door::close);
        stages.forEach(Stage::close);
    }
}
