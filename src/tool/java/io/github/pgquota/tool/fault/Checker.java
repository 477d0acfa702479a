package io.github.pgquota.tool.fault;

import io.github.pgquota.QuotaException;
import io.github.pgquota.Quotas;
import java.io.IOException;
import java.io.InputStream;
import java.io.StringReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.postgresql.PGConnection;

/** Reads what everybody was told, and what the database holds, and says where they differ. */
final class Checker {

    static final int SHOWN = 5;

    /** What the checks read is made by this. */
    private static final String PREPARE = resource("checks.sql").split("-- : ")[0];
    /** What each finds must not be. */
    private static final Map<String, String> CHECKS = checks();

    private final Server server;

    Checker(Server server) {
        this.server = server;
    }

    /** The queries of a file, by their names. */
    private static Map<String, String> checks() {
        Map<String, String> checks = new LinkedHashMap<>();
        String[] parts = resource("checks.sql").split("-- : ");
        for (String part : Arrays.asList(parts).subList(1, parts.length)) {
            int end = part.indexOf('\n');
            checks.put(part.substring(0, end), part.substring(end).strip().replaceFirst(";$", ""));
        }
        return checks;
    }

    static String resource(String name) {
        try (InputStream in = Checker.class.getResourceAsStream(name)) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Takes the journals of a folder into the database. */
    void load(Path folder) throws IOException, SQLException {
        server.execute("drop schema if exists history cascade");
        server.execute(resource("history.sql"));
        for (Path file : journals(folder)) {
            copy(file);
        }
        server.execute("create index on history.asked (tenant, key); analyze");
    }

    private static List<Path> journals(Path folder) throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.filter(file -> file.toString().endsWith(".tsv")).sorted().toList();
        }
    }

    private void copy(Path file) throws IOException, SQLException {
        try (Connection connection = server.connection()) {
            for (String table : Journal.TABLES) {
                connection.unwrap(PGConnection.class).getCopyAPI().copyIn(
                        "copy history." + table + " from stdin",
                        new StringReader(Journal.rows(file, table)));
            }
        }
    }

    /** Asks again for every key of which nobody knows the answer, and keeps what it is told. */
    void resolve(Quotas quotas, Path folder) throws IOException, SQLException {
        String open = """
                select distinct on (tenant, key) verb, scope, key, ref, ttl, amounts
                  from history.open o where key is not null and not exists (
                       select from history.asked a join history.told t using (process, call)
                        where a.tenant = o.tenant and a.key = o.key
                          and t.outcome = 'granted')
                """;
        Path file = folder.resolve("checker.tsv");
        try (Connection connection = server.connection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(open);
                Journal journal = new Journal(file, "checker")) {
            for (long call = 1; row.next(); call++) {
                Map<String, Long> amounts = amounts(row.getString(6));
                journal.asked(call, row.getString(1), row.getString(2), row.getString(3), null,
                        null, amounts);
                try {
                    journal.told(call, Customer.repeat(quotas, row.getString(1), row.getString(2),
                            row.getString(3), row.getObject(4, UUID.class),
                            Duration.ofMillis(row.getLong(5)), amounts));
                } catch (QuotaException e) { // a hold that has ended, a key that is too old
                    journal.told(call, e instanceof QuotaException.OutcomeUnknown ? "unknown"
                            : e.getClass().getSimpleName());
                }
            }
        }
        copy(file);
    }

    /** What became of the calls whose outcome was unknown; after {@link #check}. */
    Map<String, Long> resolved() throws SQLException {
        Map<String, Long> resolved = new LinkedHashMap<>();
        try (Connection connection = server.connection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(
                        "select outcome, calls from checked.resolved order by outcome")) {
            while (row.next()) {
                resolved.put(row.getString(1), row.getLong(2));
            }
        }
        return resolved;
    }

    private static Map<String, Long> amounts(String text) {
        return text.isEmpty() ? Map.of() : Arrays.stream(text.split(","))
                .map(word -> word.split("=")).collect(Collectors.toMap(
                        word -> word[0], word -> Long.valueOf(word[1])));
    }

    /**
     * What a check found that must not be.
     *
     * @param rows the first of them
     */
    record Found(long count, List<String> rows) {}

    /** Each check that found something. */
    Map<String, Found> check() throws SQLException {
        Map<String, Found> found = new LinkedHashMap<>();
        try (Connection connection = server.connection();
                Statement statement = connection.createStatement()) {
            statement.execute(PREPARE);
            for (var check : CHECKS.entrySet()) {
                Found rows = rows(statement, check.getValue());
                if (rows.count() > 0) {
                    found.put(check.getKey(), rows);
                }
            }
        }
        return found;
    }

    /** What is looked for. */
    static Set<String> names() {
        return CHECKS.keySet();
    }

    private static Found rows(Statement statement, String sql) throws SQLException {
        List<String> rows = new ArrayList<>();
        long count = 0;
        try (ResultSet row = statement.executeQuery("select q::text, count(*) over () from ("
                + sql + ") q limit " + SHOWN)) {
            while (row.next()) {
                rows.add(row.getString(1));
                count = row.getLong(2);
            }
        }
        return new Found(count, rows);
    }
}
