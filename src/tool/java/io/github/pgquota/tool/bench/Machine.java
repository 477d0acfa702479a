package io.github.pgquota.tool.bench;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.sql.SQLException;
import java.util.Locale;

/** Where the figures come from: without that they say little. */
final class Machine {

    private static final double GIGABYTE = 1 << 30;

    private Machine() {}

    static String describe(Stage stage) throws SQLException {
        OperatingSystemMXBean system =
                (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        return String.format(Locale.ROOT,
                "%d cores, %.0f GB, load %.1f · %s %s, JDK %s · PostgreSQL %s, fsync %s,"
                        + " synchronous_commit %s, shared_buffers %s · pool of %d, %,d scopes",
                Runtime.getRuntime().availableProcessors(),
                system.getTotalMemorySize() / GIGABYTE, system.getSystemLoadAverage(),
                system.getName(), system.getArch(), System.getProperty("java.version"),
                setting(stage, "server_version"), setting(stage, "fsync"),
                setting(stage, "synchronous_commit"), setting(stage, "shared_buffers"),
                Door.POOL, stage.scopes());
    }

    private static String setting(Stage stage, String name) throws SQLException {
        return stage.ask("show " + name);
    }
}
