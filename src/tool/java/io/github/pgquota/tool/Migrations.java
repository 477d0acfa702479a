package io.github.pgquota.tool;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import javax.sql.DataSource;

/** Runs {@code db/migration/V*.sql} in order of their numbers, each in a transaction. */
public final class Migrations {

    private static final Path FOLDER = Path.of("db", "migration");

    private Migrations() {}

    /** Migrates an empty database. */
    public static void run(DataSource database) {
        try (Connection connection = database.getConnection();
                Statement statement = connection.createStatement()) {
            connection.setAutoCommit(false);
            for (Path file : files()) {
                statement.execute(Files.readString(file));
                connection.commit();
            }
        } catch (SQLException e) {
            throw new IllegalStateException("Cannot migrate", e);
        } catch (IOException e) {
            throw new UncheckedIOException("Cannot read " + FOLDER, e);
        }
    }

    private static List<Path> files() throws IOException {
        if (!Files.isDirectory(FOLDER)) {
            return List.of();
        }
        try (Stream<Path> files = Files.list(FOLDER)) {
            return files.filter(file -> file.getFileName().toString().matches("V\\d+__.*\\.sql"))
                    .sorted(Comparator.comparingInt(Migrations::number))
                    .toList();
        }
    }

    private static int number(Path file) {
        return Integer.parseInt(file.getFileName().toString().replaceFirst("V(\\d+)__.*", "$1"));
    }
}
