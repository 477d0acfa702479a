package io.github.pgquota.tool.fault;

import io.github.pgquota.Limit;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * What can go wrong. Each is over when {@link #make} returns, but for upkeep and migrations, which
 * go on beside the next; to recover may take longer.
 */
enum Trouble {

    LOST_REPLIES {
        @Override
        void make(Scene scene) {
            scene.proxy().loseReplies(1 + scene.random().nextInt(10));
            Scene.last(500);
            scene.proxy().loseReplies(0);
        }
    },
    LOST_REQUESTS {
        @Override
        void make(Scene scene) {
            scene.proxy().loseRequests(1 + scene.random().nextInt(10));
            Scene.last(500);
            scene.proxy().loseRequests(0);
        }
    },
    SLOW_NETWORK {
        @Override
        void make(Scene scene) {
            scene.proxy().delay(Duration.ofMillis(1 + scene.random().nextInt(300)));
            Scene.last(1_500);
            scene.proxy().delay(Duration.ZERO);
        }
    },
    NARROW_NETWORK {
        @Override
        void make(Scene scene) {
            scene.proxy().throttle(2_000 + scene.random().nextInt(20_000));
            Scene.last(1_500);
            scene.proxy().throttle(0);
        }
    },
    CUT_CONNECTIONS {
        @Override
        void make(Scene scene) {
            scene.proxy().cut();
        }
    },
    TERMINATED_BACKENDS {
        @Override
        void make(Scene scene) throws Exception {
            scene.server().execute("select pg_terminate_backend(pid) from pg_stat_activity"
                    + " where datname = current_database() and pid <> pg_backend_pid()"
                    + " and hashint4extended(pid, " + scene.random().nextInt() + ") % 2 = 0");
        }
    },
    CRASHED_SERVER {
        @Override
        void make(Scene scene) throws Exception {
            scene.server().crash();
            Scene.last(scene.random().nextInt(1_000));
            scene.server().restart();
        }
    },
    FROZEN_SERVER {
        @Override
        void make(Scene scene) throws Exception {
            scene.server().freeze();
            try {
                Scene.last(500 + scene.random().nextInt(12_000)); // some of it outlasts sockets
            } finally {
                scene.server().thaw();
            }
        }
    },
    FROZEN_BACKEND {
        @Override
        void make(Scene scene) throws Exception {
            String pid = scene.server().ask("select pid from pg_stat_activity where"
                    + " datname = current_database() and pid <> pg_backend_pid() order by"
                    + " state = 'active' desc, hashint4extended(pid, "
                    + scene.random().nextInt() + ") limit 1");
            List<ProcessHandle> one = ProcessHandle.of(Long.parseLong(pid)).stream().toList();
            Server.signal("STOP", one);
            try {
                Scene.last(500 + scene.random().nextInt(3_000));
            } finally {
                Server.signal("CONT", one);
            }
        }
    },
    KILLED_PROCESS {
        @Override
        void make(Scene scene) throws Exception {
            scene.proxy().delay(Duration.ofMillis(100)); // so that some of its batches are away
            Scene.last(150);
            scene.killOne();
            scene.proxy().delay(Duration.ZERO);
        }
    },
    KILLED_WITH_HOLDS {
        @Override
        void make(Scene scene) throws Exception {
            scene.holdAll();
            Scene.last(300);
            scene.killOne();
        }
    },
    LOCKED_ROWS {
        @Override
        void make(Scene scene) throws Exception {
            String tenant = Customer.TENANTS.get(
                    scene.random().nextInt(Customer.TENANTS.size()));
            try (Connection connection = scene.server().connection();
                    Statement statement = connection.createStatement()) {
                statement.execute("begin; select from pgquota.counter where tenant = '" + tenant
                        + "' order by scope collate \"C\", meter collate \"C\", per collate \"C\","
                        + " start_at for update");
                Scene.last(500 + scene.random().nextInt(8_000)); // longer than calls wait
                statement.execute("rollback");
            }
        }
    },
    OLD_SNAPSHOT {
        @Override
        void make(Scene scene) throws Exception {
            try (Connection connection = scene.server().connection();
                    Statement statement = connection.createStatement()) {
                statement.execute("begin isolation level repeatable read;"
                        + " select count(*) from pgquota.counter");
                Scene.last(2_000);
                statement.execute("rollback");
            }
        }
    },
    CHANGED_LIMITS {
        @Override
        void make(Scene scene) {
            scene.rules().publish(10 + scene.random().nextInt(60), Limit.Mode.ENFORCE);
        }
    },
    CHANGED_MODES {
        @Override
        void make(Scene scene) {
            scene.rules().publish(20, scene.random().nextBoolean() ? Limit.Mode.OBSERVE
                    : Limit.Mode.OFF);
            Scene.last(1_000);
            scene.rules().publish(20, Limit.Mode.ENFORCE);
        }
    },
    CHANGED_PLANS {
        @Override
        void make(Scene scene) {
            scene.rules().assign(scene.random().nextBoolean());
        }
    },
    OVERRIDES_AND_BOOSTS {
        @Override
        void make(Scene scene) {
            scene.rules().adjust(scene.random());
        }
    },
    UNWRITABLE_LOG {
        @Override
        void make(Scene scene) throws Exception {
            scene.server().primary().keepFromWriting();
        }
    },
    FULL_DISK {
        @Override
        void make(Scene scene) throws Exception {
            scene.server().primary().limitFiles();
        }
    },
    NO_CONNECTIONS {
        @Override
        void make(Scene scene) throws Exception {
            List<Connection> taken = new ArrayList<>();
            try {
                while (taken.size() < 400) {
                    taken.add(scene.server().connection());
                }
            } catch (SQLException e) {
                scene.proxy().cut(); // or they would live on those that they have
                Scene.last(1_000);
            } finally {
                for (Connection connection : taken) {
                    connection.close();
                }
            }
        }
    },
    FAILOVER {
        @Override
        void make(Scene scene) throws Exception {
            scene.failOver();
        }
    },
    UPKEEP {
        @Override
        void make(Scene scene) throws Exception {
            scene.beside(scene::upkeep);
        }
    },
    NEXT_VERSION {
        @Override
        void make(Scene scene) throws Exception {
            scene.beside(scene::migrate);
        }
    };

    abstract void make(Scene scene) throws Exception;

    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT).replace('_', ' ');
    }
}
