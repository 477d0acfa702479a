package io.github.pgquota.tool;

import io.github.pgquota.tool.PostgresServer.Durability;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Objects;
import java.util.stream.Stream;
import org.jooq.codegen.GenerationTool;
import org.jooq.meta.jaxb.Configuration;
import org.jooq.meta.jaxb.Database;
import org.jooq.meta.jaxb.Generate;
import org.jooq.meta.jaxb.Generator;
import org.jooq.meta.jaxb.Jdbc;
import org.jooq.meta.jaxb.Logging;
import org.jooq.meta.jaxb.Target;

/**
 * Writes what is derived from the migrations and yet committed: jOOQ's classes and the dump of the
 * schema. {@code mvn -q -Pgenerate} runs it; a test compares.
 */
public final class Codegen {

    /** Where the dump of the schema stands in the project. */
    public static final String DUMP = "db/schema.sql";

    /** Where jOOQ's classes stand in the project, with their package's folders. */
    public static final String CLASSES = "src/main/java/io/github/pgquota/internal/jooq";

    private static final String SOURCES = "src/main/java";
    private static final String SCHEMA = "pgquota";
    private static final String ENGINE =
            "apply|look|look_at_hold|.*_legs|plain_limits|limits|adjusted|seen_keys|resolve|reached|leg|part";
    private static final String PACKAGE = "io.github.pgquota.internal.jooq";

    private Codegen() {}

    /** Arguments: the project's folder, by default the current one. */
    public static void main(String[] args) throws IOException {
        String database = "pgquota_generate_" + ProcessHandle.current().pid();
        String spec = System.getProperty("pgquota.test.postgres", "embedded");
        try (PostgresServer server = PostgresServer.start(spec, Durability.FAST)) {
            server.createDatabase(database, null);
            Migrations.run(server.dataSource(database));
            generate(server, database, Path.of(args.length == 0 ? "" : args[0]));
        }
    }

    /** Writes both for a migrated database, below a folder laid out as the project. */
    public static void generate(PostgresServer server, String database, Path project)
            throws IOException {
        classes(server, database, project.resolve(SOURCES));
        Path dump = project.resolve(DUMP);
        Files.createDirectories(dump.toAbsolutePath().getParent());
        Files.writeString(dump, SchemaDump.of(server.dataSource(database), SCHEMA));
    }

    private static void classes(PostgresServer server, String database, Path sources) {
        Jdbc jdbc = new Jdbc()
                .withDriver("org.postgresql.Driver")
                .withUrl(server.url(database))
                .withUser(server.user())
                .withPassword(server.password());
        Target target = new Target()
                .withPackageName(PACKAGE)
                .withDirectory(sources.toString())
                .withClean(true);
        try {
            GenerationTool.generate(new Configuration()
                    .withLogging(Logging.WARN)
                    .withJdbc(jdbc)
                    .withGenerator(new Generator()
                            .withDatabase(database(partitions(server, database)))
                            .withGenerate(generate())
                            .withTarget(target)));
            tidy(sources.resolve(PACKAGE.replace('.', '/')));
        } catch (Exception e) {
            throw new IllegalStateException("Cannot generate jOOQ's classes", e);
        }
    }

    /** Partitions come and go: a program uses their parents. */
    private static String partitions(PostgresServer server, String database) throws SQLException {
        String names = "select string_agg(relname, '|') from pg_class where relispartition";
        try (Connection connection = server.dataSource(database).getConnection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(names)) {
            row.next();
            return Objects.requireNonNullElse(row.getString(1), "");
        }
    }

    private static Database database(String partitions) {
        return new Database()
                .withName("org.jooq.meta.postgres.PostgresDatabase")
                .withInputSchema(SCHEMA)
                .withIncludes(".*")
                // The history belongs to Flyway; only Store calls the engine, in SQL.
                .withExcludes(".*schema_history.*|" + ENGINE + "|" + partitions)
                // One database, whose name is the caller's business.
                .withOutputCatalogToDefault(true)
                .withIncludeRoutines(true);
    }

    private static Generate generate() {
        return new Generate()
                .withTables(true)
                .withRecords(true)
                .withRoutines(true)
                .withPojos(false)
                .withDaos(false)
                .withImplicitJoinPathsToOne(false)
                .withImplicitJoinPathsToMany(false)
                // The majors write a view's text differently, and db/schema.sql has it.
                .withSources(false)
                .withGeneratedAnnotation(false)
                .withJavaTimeTypes(true);
    }

    /**
     * The manners hold for generated files too: no blanks at the end of a line. And a newer
     * JDK's generator writes what an older one's does: "all" suppresses what it would add.
     */
    private static void tidy(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                String text = Files.readString(file);
                Files.writeString(file, text.replace(", \"this-escape\"", "")
                        .replaceAll("[ \\t]+(?=\\r?\\n)", ""));
            }
        }
    }
}
