package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What is cheap to hold. */
class TidyTest {

    private static final int COLUMNS = 100;
    private static final int SQL_COLUMNS = 110;
    private static final int LINES = 70;
    private static final String GENERATED = "internal/jooq/";
    /** Rows of tables in tests are as wide as what they say. */
    private static final Pattern TABLE_ROW = Pattern.compile(".*\\|.*\\|.*");
    private static final Pattern SQL = Pattern.compile(
            "\"\\s*(select|insert into|update|delete from|create|alter|drop|grant|set) [a-z0-9*(].*",
            Pattern.CASE_INSENSITIVE);
    /** The first line of a method or constructor, whose parameters may go on on the next. */
    private static final Pattern METHOD = Pattern.compile(
            "^( {4}| {8})(?!return|throw|new|super|this|if|for|while|switch|try|synchronized|else|do)"
                    + "[a-zA-Z<@][\\w<>\\[\\]?,@. ]* \\w+\\([^;=]*(\\{|,|\\()$");
    private static final Path MAIN = Path.of("src", "main", "java");
    private static final Path MIGRATIONS = Path.of("db", "migration");

    @BeforeAll
    static void inTheProject() {
        assumeTrue(Files.exists(MIGRATIONS), "runs in the project's folder");
    }

    private static List<Path> files(Path folder, String ending) throws IOException {
        try (Stream<Path> paths = Files.walk(folder)) {
            return paths.filter(p -> p.toString().endsWith(ending))
                    .filter(p -> !p.toString().replace('\\', '/').contains(GENERATED))
                    .sorted().toList();
        }
    }

    private static List<Path> sources() throws IOException {
        List<Path> files = new ArrayList<>(files(Path.of("src"), ".java"));
        files.addAll(files(Path.of("src"), ".sql"));
        files.addAll(files(MIGRATIONS, ".sql"));
        assertThat(files).hasSizeGreaterThan(50);
        return files;
    }

    /** Every line of the files that a rule finds fault with, with its place. */
    private static List<String> faults(List<Path> files, java.util.function.Predicate<String> rule)
            throws IOException {
        List<String> faults = new ArrayList<>();
        for (Path file : files) {
            List<String> lines = Files.readAllLines(file);
            for (int i = 0; i < lines.size(); i++) {
                if (rule.test(lines.get(i))) {
                    faults.add(file + ":" + (i + 1) + ": " + lines.get(i).strip());
                }
            }
        }
        return faults;
    }

    @Test
    void linesFitTheScreen() throws IOException {
        Map<Boolean, List<Path>> files = sources().stream()
                .collect(Collectors.partitioningBy(p -> p.toString().endsWith(".sql")));
        assertThat(faults(files.get(true), line -> line.length() > SQL_COLUMNS)).isEmpty();
        assertThat(faults(files.get(false), line -> line.codePointCount(0, line.length()) > COLUMNS
                && !TABLE_ROW.matcher(line).matches())).isEmpty();
    }

    @Test
    void linesHaveNoTabsAndNoBlanksAtTheirEnds() throws IOException {
        assertThat(faults(sources(), line -> line.startsWith("\t") || line.endsWith(" "))).isEmpty();
    }

    @Test
    void nothingWasLeftForLater() throws IOException {
        // not spelt out, or this file would be the first to be found
        Pattern marker = Pattern.compile("\\b(" + "TO" + "DO|FIX" + "ME|HA" + "CK)\\b");
        assertThat(faults(sources(), line -> marker.matcher(line).find())).isEmpty();
    }

    @Test
    void methodsFitTheScreen() throws IOException {
        List<String> tall = new ArrayList<>();
        for (Path file : files(Path.of("src"), ".java")) {
            List<String> lines = Files.readAllLines(file);
            for (int i = 0; i < lines.size(); i++) {
                // a body begins and ends at the same depth, so its braces tell how long it is
                var method = METHOD.matcher(lines.get(i));
                if (method.matches()) {
                    int end = lines.subList(i, lines.size()).indexOf(method.group(1) + "}");
                    if (end >= LINES) {
                        tall.add(file + ":" + (i + 1) + " has " + (end + 1) + " lines");
                    }
                }
            }
        }
        assertThat(tall).isEmpty();
    }

    @Test
    void sqlIsInItsRoom() throws IOException {
        List<Path> api = files(MAIN, ".java").stream()
                .filter(p -> !p.toString().contains("internal")).toList();
        assertThat(api).isNotEmpty();
        assertThat(faults(api, line -> SQL.matcher(line).find())).isEmpty();
    }

    @Test
    void oneClassCallsTheEngine() throws IOException {
        assertThat(faults(files(MAIN, ".java"), line -> line.contains("pgquota.apply(")))
                .isNotEmpty().allMatch(fault -> fault.contains("Store.java"));
    }

    @Test
    void oneClassSpellsStatesOfErrors() throws IOException {
        Pattern state = Pattern.compile("\"(0[0-9A-Z]|[2-5][0-9A-Z]|PQ|XX)[0-9A-Z]{3}\"");
        assertThat(faults(files(MAIN, ".java"), line -> state.matcher(line).find()))
                .isNotEmpty().allMatch(fault -> fault.contains("SqlStates.java"));
    }

    @Test
    void theLibraryRunsTheScriptsThatThereAre() throws Exception {
        Field scripts = Class.forName("io.github.pgquota.internal.Migrations")
                .getDeclaredField("SCRIPTS");
        scripts.setAccessible(true);
        List<String> names = files(MIGRATIONS, ".sql").stream()
                .map(p -> p.getFileName().toString()).toList();
        assertThat(scripts.get(null)).isEqualTo(names);
        assertThat(names).allMatch(n -> n.matches("V[1-9]__[a-z_]+\\.sql"));
    }
}
