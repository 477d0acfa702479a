package io.github.pgquota;

import io.github.pgquota.tool.NextVersion;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import javax.sql.DataSource;

/**
 * The library as it was at the end of part 1 (commit f9d383b), as if it had been released, and the
 * script that would have come with today's. The jar is that commit's main sources, compiled with
 * {@code javac -g:none --release 17}, and its scripts.
 */
final class PartOne {

    private static final String JAR = "part-1.jar";
    private static final String FOLDER = "io/github/pgquota/migration";

    /** What the library or an application calls by name; all else may get another name. */
    private static final Set<String> PUBLIC = Set.of("apply", "balances", "publish", "reset",
            "repair", "reconcile", "upkeep", "is_scope");

    private PartOne() {}

    private static Path jar() throws URISyntaxException {
        return Path.of(PartOne.class.getResource(JAR).toURI());
    }

    /** The class path of a process with that library. */
    static String classPath() throws URISyntaxException {
        return NextVersion.classPathWith(jar());
    }

    /** Gives its scripts to a library that has those of today under the same names. */
    static void scripts(Path folder) throws IOException, URISyntaxException {
        try (FileSystem jar = FileSystems.newFileSystem(jar());
                Stream<Path> files = Files.list(jar.getPath(FOLDER))) {
            for (Path file : files.toList()) {
                Files.copy(file, folder.resolve(FOLDER).resolve(file.getFileName().toString()),
                        StandardCopyOption.REPLACE_EXISTING);
            }
        }
    }

    private static String resource(String name) throws IOException {
        try (var in = PartOne.class.getResourceAsStream(name)) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    /**
     * The script that makes of its schema one that today's library can use beside it: what is new
     * in tables by hand, and the functions of today that differ. Those that only the engine calls
     * get new names, as CONTRIBUTING asks for: a call of the old engine may be in the midst of it.
     */
    static String upgrade(DataSource old, DataSource today) throws SQLException, IOException {
        Map<String, String> before = functions(old);
        Map<String, String> types = types(today);
        types.entrySet().removeAll(types(old).entrySet());
        types.keySet().remove("answer"); // has new attributes only
        List<String> changed = new ArrayList<>();
        Set<String> names = new TreeSet<>(types.keySet());
        for (var function : functions(today).entrySet()) {
            String name = function.getKey().replaceFirst("pgquota\\.(\\w+)\\(.*", "$1");
            if (!function.getValue().equals(before.get(function.getKey()))
                    && !name.equals("schema_version")) {
                changed.add(function.getValue());
                names.add(name);
            }
        }
        names.removeAll(PUBLIC);
        StringBuilder made = new StringBuilder();
        types.forEach((name, attributes) -> made.append("create type pgquota.").append(name)
                .append(" as (").append(attributes).append(");\n"));
        changed.forEach(function -> made.append(function).append(";\n"));
        String bodies = made.toString()
                .replaceAll("\\bpgquota\\.(" + String.join("|", names) + ")\\b", "pgquota.$1_2")
                // with defaults part 1's calls would fit both signatures, and be refused (42725)
                .replaceAll(" DEFAULT (1|NULL::integer)(?=[,)])", "");
        return resource("part-1-upgrade.sql").replace("-- functions --", bodies);
    }

    /** Definitions by signature, in the order in which they were made. */
    private static Map<String, String> functions(DataSource database) throws SQLException {
        return map(database, "select oid::regprocedure::text, pg_get_functiondef(oid) from pg_proc "
                + "where pronamespace = 'pgquota'::regnamespace order by oid");
    }

    /** Attributes of composite types. */
    private static Map<String, String> types(DataSource database) throws SQLException {
        return map(database, "select c.relname, string_agg(quote_ident(a.attname) || ' ' "
                + "|| format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum) "
                + "from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 "
                + "and not a.attisdropped where c.relkind = 'c' "
                + "and c.relnamespace = 'pgquota'::regnamespace group by c.oid order by c.oid");
    }

    private static Map<String, String> map(DataSource database, String sql) throws SQLException {
        try (Connection connection = database.getConnection();
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(sql)) {
            Map<String, String> map = new LinkedHashMap<>();
            while (row.next()) {
                map.put(row.getString(1), row.getString(2));
            }
            return map;
        }
    }
}
