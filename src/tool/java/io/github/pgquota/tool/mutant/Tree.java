package io.github.pgquota.tool.mutant;

import io.github.pgquota.tool.Migrations;
import io.github.pgquota.tool.PostgresServer;
import io.github.pgquota.tool.mutant.Mutant.BrokenException;
import java.io.File;
import java.io.IOException;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;
import org.flywaydb.core.api.FlywayException;

/** A copy of the project, in which mutants are made: the checkout itself may change meanwhile. */
final class Tree {

    private static final List<String> COPIED =
            List.of("db", "docs", "src", "pom.xml", "README.md", "target/test-classes");
    private static final String SCRIPTS = "io/github/pgquota/migration";
    private static final String GENERATED = Path.of("internal", "jooq").toString();
    private static final String SCRATCH = "mutant";

    private final Path folder;
    private final Path classes;
    private final Path mutated;
    private final String classPath;

    /** Copies a project that is compiled. */
    Tree(Path project, Path folder) throws IOException {
        this.folder = folder;
        this.classes = folder.resolve("target/unchanged");
        this.mutated = folder.resolve("target/classes");
        for (String part : COPIED) {
            copy(project.resolve(part), folder.resolve(part));
        }
        copy(project.resolve("target/classes"), classes);
        copy(classes, mutated);
        String compiled = project.resolve("target").toAbsolutePath() + File.separator;
        this.classPath = Arrays.stream(System.getProperty("java.class.path")
                        .split(File.pathSeparator))
                .map(path -> path.startsWith(compiled)
                        ? folder.resolve("target").resolve(path.substring(compiled.length()))
                                .toString()
                        : path)
                .collect(Collectors.joining(File.pathSeparator));
    }

    Path folder() {
        return folder;
    }

    /** Of the tests: with the library as it was last made. */
    String classPath() {
        return classPath;
    }

    /** The simple names of all test classes. */
    List<String> tests() throws IOException {
        try (Stream<Path> files = Files.walk(folder.resolve("target/test-classes"))) {
            return files.map(file -> file.getFileName().toString())
                    .filter(name -> name.endsWith("Test.class"))
                    .map(name -> name.replace(".class", ""))
                    .sorted().toList();
        }
    }

    /** Makes the library as a mutant has it. */
    void make(Mutant mutant) throws IOException, BrokenException {
        restore();
        String source = mutant.apply(Files.readString(folder.resolve(mutant.file())));
        if (mutant.isSql()) {
            String name = Path.of(mutant.file()).getFileName().toString();
            Files.writeString(mutated.resolve(SCRIPTS).resolve(name), source);
        } else {
            compile(mutant, source);
        }
    }

    /** Makes the library as it is. */
    void restore() throws IOException {
        delete(mutated);
        copy(classes, mutated);
    }

    private void compile(Mutant mutant, String source) throws IOException, BrokenException {
        Path scratch = folder.resolve(SCRATCH).resolve(Path.of(mutant.file()).getFileName());
        Files.createDirectories(scratch.getParent());
        Files.writeString(scratch, source);
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        StringWriter said = new StringWriter();
        // all that is written by hand: constants are copied into the classes that use them
        List<Path> sources = new ArrayList<>(List.of(scratch));
        Path mutatedSource = folder.resolve(mutant.file());
        try (Stream<Path> files = Files.walk(folder.resolve("src/main/java"))) {
            files.filter(file -> file.toString().endsWith(".java") && !file.equals(mutatedSource)
                    && !file.toString().contains(GENERATED))
                    .forEach(sources::add);
        }
        boolean compiles = compiler.getTask(said, null, null,
                List.of("-proc:none", "-nowarn", "--release", "17", "-cp", classPath,
                        "-d", mutated.toString()), null,
                compiler.getStandardFileManager(null, null, null)
                        .getJavaFileObjectsFromPaths(sources)).call();
        if (!compiles) {
            throw new BrokenException("does not compile: " + said, null);
        }
    }

    /** Runs the scripts on an empty database of a server. */
    void migrate(PostgresServer server, String database) throws BrokenException {
        server.createDatabase(database, null);
        try {
            Migrations.run(server.dataSource(database), mutated.resolve(SCRIPTS));
        } catch (FlywayException e) {
            throw new BrokenException("does not migrate: " + e.getMessage(), e);
        } finally {
            server.dropDatabase(database);
        }
    }

    private static void copy(Path from, Path to) throws IOException {
        try (Stream<Path> files = Files.walk(from)) {
            for (Path file : (Iterable<Path>) files::iterator) {
                Path copy = to.resolve(from.relativize(file).toString());
                if (Files.isDirectory(file)) {
                    Files.createDirectories(copy);
                } else {
                    Files.createDirectories(copy.getParent());
                    Files.copy(file, copy);
                }
            }
        }
    }

    private static void delete(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
    }
}
