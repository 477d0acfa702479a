package io.github.pgquota.tool.fault;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.pgquota.Limit;
import io.github.pgquota.Plan;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Quotas;
import io.github.pgquota.Request;
import io.github.pgquota.Schema;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicBoolean;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;

/** A server whose disk is full panics, and still has what it has acknowledged. */
class NodeTest {

    private interface Breaking {
        void run(Node node) throws Exception;
    }

    @Test
    void aLogThatCannotBeWrittenLosesNothingThatWasAcknowledged() throws Exception {
        panics(Node::keepFromWriting);
    }

    @Test
    void filesThatCannotGrowLoseNothingThatWasAcknowledged() throws Exception {
        panics(Node::limitFiles);
    }

    /** The commit may have reached the disk before the server gave up: nobody knows. */
    @Test
    void aCallThatAPanicEndsIsUnknown() throws Exception {
        assumeTrue(Server.canBreak(), Server.NEEDS);
        try (Server server = new Server("full")) {
            DataSource source = server.postgres().dataSource(server.database());
            Schema.of(source).migrate();
            Quotas quotas = Quotas.on(source).direct().build();
            quotas.plans().publish(Plan.named("P").limit(Limit.named("requests")));
            quotas.plans().defaultPlan("P");
            Request call = Request.of("acme").take("requests", 1);
            Path log = server.primary().data().resolve("pg_wal");
            Set<PosixFilePermission> before = Files.getPosixFilePermissions(log);
            Files.setPosixFilePermissions(log, PosixFilePermissions.fromString("r-x------"));
            try {
                assertThatThrownBy(() -> {
                    for (int i = 0; i < 40; i++) {
                        quotas.consume(call); // the first to write to a new file of the log
                        server.execute("select pg_switch_wal()");
                    }
                }).isInstanceOf(QuotaException.OutcomeUnknown.class);
            } finally {
                Files.setPosixFilePermissions(log, before);
                server.primary().revive();
            }
        }
    }

    private static void panics(Breaking breaking) throws Exception {
        assumeTrue(Server.canBreak(), Server.NEEDS);
        try (Server server = new Server("full")) {
            server.execute("create table kept (n int primary key)");
            List<Integer> acknowledged = new CopyOnWriteArrayList<>();
            AtomicBoolean ending = new AtomicBoolean();
            CompletableFuture<Void> writer = CompletableFuture.runAsync(() -> {
                for (int n = 0; !ending.get(); n++) {
                    try {
                        server.execute("insert into kept values (" + n + ")");
                        acknowledged.add(n);
                    } catch (SQLException e) {
                        continue; // the server is away
                    }
                }
            });
            org.awaitility.Awaitility.await().until(() -> !acknowledged.isEmpty());
            breaking.run(server.primary());
            int before = acknowledged.size();
            org.awaitility.Awaitility.await().until(() -> acknowledged.size() > before);
            ending.set(true);
            writer.join();
            assertThat(Files.readString(server.primary().log())).contains("PANIC: ");
            try (Connection connection = server.connection();
                    Statement statement = connection.createStatement();
                    ResultSet row = statement.executeQuery("select n from kept")) {
                List<Integer> kept = new CopyOnWriteArrayList<>();
                while (row.next()) {
                    kept.add(row.getInt(1));
                }
                assertThat(kept).containsAll(acknowledged);
            }
        }
    }
}
