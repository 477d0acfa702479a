package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.pgquota.Page.Block;
import java.io.IOException;
import java.io.StringWriter;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;
import org.jooq.SQLDialect;
import org.jooq.impl.DSL;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * What the documentation shows is true: its Java compiles, its commands and links exist, and what
 * can run does. The words after a fence say how a block is run:
 *
 * <ul>
 *   <li>{@code java}: compiled; in the README executed too
 *   <li>{@code java at 2026-11-24T09:00:00Z}: executed with the database's clock at that time
 *   <li>{@code sql run ROLE}: executed in that role (none: the superuser), and undone; a block
 *       {@code text} after it is what it prints
 * </ul>
 */
class ReadmeTest {

    private static final Path README = Path.of("README.md");
    private static final Request CALL =
            Request.of("acme/search/alice").take("requests", 1).take("tokens", 1_200);

    /** What the snippets need not say. */
    private static final String HEAD = """
            package io.github.pgquota.doc;
            import io.github.pgquota.*;
            import java.nio.file.Path;
            import java.sql.Connection;
            import java.time.*;
            import java.util.*;
            import java.util.concurrent.*;
            import javax.sql.DataSource;
            import org.jooq.DSLContext;
            public class NAME {
                public DataSource dataSource;
                public Connection connection;
                public DSLContext dsl;
                public Quotas quotas;
                public Request call;
                public Path file;
            """;

    @TempDir
    private Path folder;

    @Test
    void theJavaCompiles() throws Exception {
        List<String> compiled = new ArrayList<>();
        for (Page page : Page.all()) {
            List<Block> blocks = page.blocks("java");
            if (!blocks.isEmpty()) {
                compile(page, blocks);
                compiled.add(page.path().toString());
            }
        }
        assertThat(compiled).contains("README.md", "docs/reporting.md", "docs/operations.md");
    }

    @Test
    void theReadmeRuns() throws Exception {
        Page page = Page.read(README);
        Files.writeString(folder.resolve("plans.yaml"), page.blocks("yaml").get(0).text());
        try (Room room = new Room(TestDatabase.empty())) {
            run(page, page.blocks("java"), room);
            assertThat(room.rows("select verb, scope, meter, amount, used_after "
                    + "from pgquota.ledger_line where tenant = 'acme' order by at, operation, "
                    + "meter"))
                    .containsExactly(
                            "consume acme requests 1 1",
                            "consume acme tokens 1200 1200",
                            "settle acme requests 1 2",
                            "settle acme tokens 843 2043",
                            "consume acme requests 1 3",
                            "consume acme tokens 1200 3243",
                            // two calls under one key
                            "consume acme requests 1 4",
                            "consume acme tokens 1200 4443");
            assertThat(room.rows("select plan, zone from pgquota.tenant where tenant = 'globex'"))
                    .containsExactly("TEAM America/New_York");
            assertThat(room.quotas.reports().reconcile("acme")).isEmpty();
        }
    }

    @Test
    void theReportsPrintWhatThePageShows() throws Exception {
        assertRuns(Path.of("docs/reporting.md"), 5);
    }

    @Test
    void theStatementsOfOperationsRun() throws Exception {
        assertRuns(Path.of("docs/operations.md"), 8);
    }

    /** Runs a page from top to bottom. */
    private void assertRuns(Path path, int statements) throws Exception {
        Page page = Page.read(path);
        List<String> shown = new ArrayList<>();
        List<String> printed = new ArrayList<>();
        int run = 0;
        try (Room room = new Room(TestDatabase.create())) {
            for (int i = 0; i < page.blocks().size(); i++) {
                Block block = page.blocks().get(i);
                if (block.is("java", "at")) {
                    room.clock(block.info().get(2));
                    run(page, List.of(block), room);
                } else if (block.is("sql", "run")) {
                    String table = print(room, block);
                    run++;
                    if (i + 1 < page.blocks().size() && page.blocks().get(i + 1).is("text")) {
                        printed.add(table);
                        shown.add(page.blocks().get(i + 1).text());
                    }
                }
            }
        }
        assertThat(String.join("\n", printed)).isEqualTo(String.join("\n", shown));
        assertThat(run).as("statements of %s that run", path).isGreaterThanOrEqualTo(statements);
    }

    /** Executes a block in its role, prints its last table, and undoes it. */
    private static String print(Room room, Block block) {
        try (Connection connection = room.database.connection();
                Statement statement = connection.createStatement()) {
            connection.setAutoCommit(false);
            statement.execute("set time zone 'UTC'; set local role " + block.info().get(2));
            String printed = "";
            boolean table = statement.execute(block.text());
            while (table || statement.getUpdateCount() >= 0) {
                if (table) {
                    printed = print(statement.getResultSet());
                }
                table = statement.getMoreResults();
            }
            connection.rollback();
            return printed;
        } catch (SQLException e) {
            throw new AssertionError("block of line " + block.line() + ": " + e.getMessage(), e);
        }
    }

    private static String print(ResultSet result) throws SQLException {
        List<List<String>> rows = new ArrayList<>();
        int columns = result.getMetaData().getColumnCount();
        List<String> head = new ArrayList<>();
        for (int c = 1; c <= columns; c++) {
            head.add(result.getMetaData().getColumnLabel(c));
        }
        rows.add(head);
        while (result.next()) {
            List<String> row = new ArrayList<>();
            for (int c = 1; c <= columns; c++) {
                String value = result.getString(c);
                row.add(value == null ? "" : value);
            }
            rows.add(row);
        }
        int[] widths = new int[columns];
        rows.forEach(r -> {
            for (int c = 0; c < columns; c++) {
                widths[c] = Math.max(widths[c], r.get(c).length());
            }
        });
        rows.add(1, java.util.Arrays.stream(widths).mapToObj("-"::repeat).toList());
        return rows.stream().map(r -> line(r, widths)).collect(Collectors.joining());
    }

    private static String line(List<String> row, int[] widths) {
        StringBuilder line = new StringBuilder();
        for (int c = 0; c < widths.length; c++) {
            line.append(c == 0 ? "" : "  ").append(row.get(c))
                    .append(" ".repeat(widths[c] - row.get(c).length()));
        }
        return line.toString().stripTrailing() + "\n";
    }

    /** Executes blocks in their order, each with a connection in a transaction of its own. */
    private void run(Page page, List<Block> blocks, Room room) throws Exception {
        try (URLClassLoader loader = compile(page, blocks)) {
            Class<?> type = loader.loadClass("io.github.pgquota.doc." + name(page));
            for (Block block : blocks) {
                try (Connection connection = room.pool.getConnection()) {
                    connection.setAutoCommit(false);
                    Object made = type.getDeclaredConstructor().newInstance();
                    set(made, "dataSource", room.pool);
                    set(made, "connection", connection);
                    set(made, "dsl", DSL.using(room.pool, SQLDialect.POSTGRES));
                    set(made, "quotas", room.quotas);
                    set(made, "call", CALL);
                    set(made, "file", folder.resolve("plans.yaml"));
                    try {
                        type.getMethod("line" + block.line()).invoke(made);
                    } catch (java.lang.reflect.InvocationTargetException e) {
                        throw new AssertionError(page.path() + ":" + block.line(), e.getCause());
                    }
                    connection.rollback();
                }
            }
        }
    }

    private static void set(Object object, String field, Object value) throws Exception {
        object.getClass().getField(field).set(object, value);
    }

    /** Compiles the blocks as methods of one class. */
    private URLClassLoader compile(Page page, List<Block> blocks) throws IOException {
        StringBuilder source = new StringBuilder(HEAD.replace("NAME", name(page)));
        for (Block block : blocks) {
            source.append("public void line").append(block.line()).append("() throws Exception {\n")
                    .append(block.text()).append("}\n");
        }
        Path file = folder.resolve(name(page) + ".java");
        Files.writeString(file, source.append("}\n"));
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        StringWriter errors = new StringWriter();
        try (var files = compiler.getStandardFileManager(null, null, null)) {
            boolean compiled = compiler.getTask(errors, files, null,
                    List.of("-proc:none", "-d", folder.toString(),
                            "-cp", System.getProperty("surefire.test.class.path",
                                    System.getProperty("java.class.path"))),
                    null, files.getJavaFileObjects(file)).call();
            assertThat(compiled).as("%s compiles: %s", page.path(), errors).isTrue();
        }
        return new URLClassLoader(new URL[] {folder.toUri().toURL()}, getClass().getClassLoader());
    }

    private static String name(Page page) {
        return "Page_" + page.path().toString().replaceAll("\\W", "_");
    }

    @Test
    void relativeLinksResolve() {
        List<String> broken = new ArrayList<>();
        int links = 0;
        for (Page page : Page.all()) {
            for (String link : page.links()) {
                links++;
                String[] parts = link.split("#", 2);
                Path target = parts[0].isEmpty() ? page.path()
                        : page.path().resolveSibling(parts[0]).normalize();
                if (!Files.exists(target)
                        || parts.length > 1 && !Page.read(target).anchors().contains(parts[1])) {
                    broken.add(page.path() + " -> " + link);
                }
            }
        }
        assertThat(broken).isEmpty();
        assertThat(links).isGreaterThan(30);
    }

    @Test
    void theReadmeIsShortAndShowsCodeEarly() {
        assertThat(Page.lines(README)).hasSizeLessThanOrEqualTo(175);
        assertThat(Page.read(README).blocks("java").get(0).line()).isLessThanOrEqualTo(20);
    }

    @Test
    void theCommandsAreThoseOfTheBuild() throws IOException {
        String pom = Files.readString(Path.of("pom.xml"));
        Set<String> commands = new TreeSet<>();
        for (Page page : Page.all()) {
            for (Block block : page.blocks("sh")) {
                block.text().lines().filter(l -> l.startsWith("mvn ")).forEach(commands::add);
            }
        }
        for (String command : commands) {
            words("-P([\\w-]+)", command).forEach(
                    p -> assertThat(pom).as(command).contains("<id>" + p + "</id>"));
            words("-D([\\w.]+)=", command).stream().filter(d -> !d.equals("test")).forEach(
                    d -> assertThat(pom).as(command).containsPattern("<" + d + "/?>"));
        }
        assertThat(commands).contains("mvn -q -Pdemo", "mvn verify");
        assertThat(Files.readString(Path.of(".ci/run")).replace(" -B -ntp", "").lines())
                .contains("mvn verify");
    }

    /** What a user's build names: the library, the driver, and what is optional. */
    @Test
    void theVersionsAreThoseOfTheBuild() throws IOException {
        String pom = Files.readString(Path.of("pom.xml"));
        Matcher property = Pattern.compile("<(\\w+\\.version)>(.*)</").matcher(pom);
        while (property.find()) {
            pom = pom.replace("${" + property.group(1) + "}", property.group(2));
        }
        Page readme = Page.read(README);
        List<String> named = words("`([\\w.]+:[\\w-]+:[\\w.-]+)`",
                String.join("\n", readme.prose()));
        for (Block block : readme.blocks("xml")) {
            named.addAll(coordinates(block.text(), "</dependency>"));
        }
        assertThat(named).containsExactlyInAnyOrderElementsOf(coordinates(pom,
                "<packaging>|<scope>provided|<optional>"));
    }

    /** {@code group:artifact:version} of what is followed by a pattern. */
    private static List<String> coordinates(String xml, String then) {
        return Pattern.compile("<groupId>([^<]*)</groupId><artifactId>([^<]*)</artifactId>"
                        + "<version>([^<]*)</version>(" + then + ")")
                .matcher(xml.replaceAll("\\s", "")).results()
                .map(m -> m.group(1) + ":" + m.group(2) + ":" + m.group(3)).toList();
    }

    @Test
    void theReadmeLinksTheMainTypes() {
        for (String type : List.of("Quotas", "Operations", "Plans", "Limit", "Window", "Reports",
                "Upkeep")) {
            assertThat(Page.read(README).links())
                    .contains("src/main/java/io/github/pgquota/" + type + ".java");
        }
    }

    @Test
    void namesOfTheSchemaExist() {
        Set<String> named = new TreeSet<>();
        Page.all().forEach(p -> named.addAll(words("(?<![\\w.])pgquota\\.([a-z_]+)\\b(?!\\.)",
                String.join("\n", Page.lines(p.path())))));
        named.removeAll(Set.of("who", "why")); // settings of a transaction
        try (Room room = new Room(TestDatabase.create())) {
            assertThat(room.rows("select n.name from pg_namespace s cross join lateral ("
                    + "select relname from pg_class where relnamespace = s.oid union "
                    + "select proname from pg_proc where pronamespace = s.oid union "
                    + "select typname from pg_type where typnamespace = s.oid) n (name) "
                    + "where s.nspname = 'pgquota'"))
                    .containsAll(named);
        }
        assertThat(named).contains("apply", "balance", "clock");
    }

    @Test
    void everySqlstateIsListed() throws IOException {
        Set<String> raised = new TreeSet<>();
        try (var scripts = Files.list(Path.of("db/migration"))) {
            for (Path script : scripts.toList()) {
                raised.addAll(words("'(PQ0\\d\\d)'", Files.readString(script)));
            }
        }
        Set<String> listed = new TreeSet<>(
                words("\\| `(PQ0\\d\\d)` ", Files.readString(Path.of("docs/design.md"))));
        assertThat(listed).isEqualTo(raised).isNotEmpty();
    }

    private static List<String> words(String pattern, String text) {
        List<String> words = new ArrayList<>();
        Matcher matcher = Pattern.compile(pattern).matcher(text);
        while (matcher.find()) {
            words.add(matcher.group(1));
        }
        return words;
    }
}
