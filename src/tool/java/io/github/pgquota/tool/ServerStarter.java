package io.github.pgquota.tool;

import io.github.pgquota.tool.PostgresServer.Durability;
import io.github.pgquota.tool.PostgresServer.Started;
import io.zonky.test.db.postgres.embedded.EmbeddedPostgres;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;
import org.testcontainers.postgresql.PostgreSQLContainer;
import org.testcontainers.utility.DockerImageName;

/** Starts, or finds, the servers that {@link PostgresServer} hands out. */
final class ServerStarter {

    private static final String DEFAULT_IMAGE = "postgres:15";

    /** The system property in which the launcher looks for its working folder. */
    private static final String LAUNCHER_FOLDER = "ot.epg.working-dir";

    private ServerStarter() {}

    /** A server from the binaries on the class path. */
    static Started embedded(Durability durability) {
        File folder = dataFolder();
        EmbeddedPostgres.Builder builder = EmbeddedPostgres.builder()
                .setDataDirectory(folder)
                // A loaded machine may take longer than the ten seconds that are the default.
                .setPGStartupWait(Duration.ofSeconds(60))
                .setServerConfig("listen_addresses", "127.0.0.1")
                .setServerConfig("unix_socket_directories", "");
        settings(durability).forEach(builder::setServerConfig);
        try {
            EmbeddedPostgres server = builder.start();
            String url = "jdbc:postgresql://127.0.0.1:" + server.getPort() + "/postgres";
            return new Started(url, "postgres", "", () -> stop(server));
        } catch (IOException | IllegalStateException e) {
            throw new IllegalStateException("The embedded PostgreSQL server does not start."
                    + " Is the JVM root in a container that refuses user namespaces? Then put the"
                    + " folder src/tool/bin first on its PATH. No binaries for this machine? Then"
                    + " start Maven with -Dpgquota.test.postgres=jdbc:postgresql://…", e);
        }
    }

    /** A server in a container, for which Docker must answer. */
    static Started container(@Nullable String image, Durability durability) {
        DockerImageName name = DockerImageName
                .parse(Objects.requireNonNullElse(image, DEFAULT_IMAGE))
                .asCompatibleSubstituteFor("postgres");
        StringBuilder command = new StringBuilder("postgres");
        settings(durability).forEach((setting, value) ->
                command.append(" -c ").append(setting).append('=').append(value));
        // Not in a try block: whoever called closes it, through Started.
        PostgreSQLContainer server = new PostgreSQLContainer(name);
        server.withCommand(command.toString()).start();
        return new Started(
                server.getJdbcUrl(), server.getUsername(), server.getPassword(), server::stop);
    }

    /** A server that runs already. */
    static Started borrowed(String url) {
        PGSimpleDataSource parsed = new PGSimpleDataSource();
        parsed.setURL(url);
        String user = Objects.requireNonNullElse(parsed.getUser(), System.getProperty("user.name"));
        String password = Objects.requireNonNullElse(parsed.getPassword(), "");
        // In the URL they would win over those that others want to log in as.
        return new Started(url.replaceAll("(?<=[?&])(user|password)=[^&]*&?", "")
                .replaceAll("[?&]$", ""), user, password, null);
    }

    private static Map<String, String> settings(Durability durability) {
        String flush = durability == Durability.DURABLE ? "on" : "off";
        Map<String, String> settings = new LinkedHashMap<>();
        // The launcher starts its servers with -F, which is fsync=off; what comes later wins.
        settings.put("fsync", flush);
        settings.put("synchronous_commit", flush);
        settings.put("full_page_writes", flush);
        settings.put("max_connections", "300");
        settings.put("timezone", "UTC");
        return settings;
    }

    /**
     * A new folder beside the launcher's binaries. At each start the launcher stops servers and
     * deletes folders that it finds there without a living owner for ten minutes, so a killed JVM
     * leaves no data for ever. Its own default, the temporary folder itself, is never looked
     * through; and one folder for all users would belong to whoever came first.
     */
    private static File dataFolder() {
        String parent = System.getProperty(LAUNCHER_FOLDER);
        if (parent == null) {
            parent = Path.of(System.getProperty("java.io.tmpdir"),
                    "embedded-pg-" + System.getProperty("user.name")).toString();
            System.setProperty(LAUNCHER_FOLDER, parent);
        }
        try {
            Path folder = Files.createDirectories(Path.of(parent));
            return Files.createTempDirectory(folder, "pgquota").toFile();
        } catch (IOException e) {
            throw new UncheckedIOException("Cannot create a folder in " + parent, e);
        }
    }

    private static void stop(EmbeddedPostgres server) {
        try {
            server.close();
        } catch (IOException e) {
            throw new UncheckedIOException("Cannot stop the embedded server", e);
        }
    }
}
