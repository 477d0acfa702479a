package io.github.pgquota.tool;

import io.github.pgquota.Schema;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.tools.ToolProvider;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * The library as a later release would be: a copy of its classes, with more scripts, and the list
 * of them compiled again.
 */
public final class NextVersion {

    private static final Path LIST =
            Path.of("src/main/java/io/github/pgquota/internal/Migrations.java");
    private static final Pattern LAST = Pattern.compile("\"V(\\d+)__\\w+\\.sql\"(?=\\);)");

    /** Seconds until a migration is given up: longer than it may wait for others. */
    private static final long PATIENCE = 120;

    private NextVersion() {}

    /** The number of today's newest script. */
    public static int today() throws IOException {
        return Integer.parseInt(last().group(1));
    }

    private static MatchResult last() throws IOException {
        return LAST.matcher(Files.readString(LIST)).results().findFirst().orElseThrow();
    }

    /** A script as a release might have it; its number is one of those after today's. */
    public static String script(int version) throws IOException {
        try (InputStream in = NextVersion.class.getResourceAsStream("next-version.sql")) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8)
                    .replace("@", String.valueOf(version));
        }
    }

    /**
     * Makes a library with these scripts after today's, and returns its class path.
     *
     * @param folder an empty one, which comes to hold the library
     */
    public static String build(Path folder, List<String> scripts) throws IOException {
        copy(library(), folder);
        List<String> names = new ArrayList<>(List.of(last().group()));
        for (String script : scripts) {
            String name = "V" + (today() + names.size()) + "__next.sql";
            Files.writeString(folder.resolve("io/github/pgquota/migration").resolve(name), script);
            names.add('"' + name + '"');
        }
        Path source = folder.resolve("Migrations.java");
        Files.writeString(source, LAST.matcher(Files.readString(LIST))
                .replaceFirst(String.join(", ", names)));
        String classPath = classPathWith(folder);
        int status = ToolProvider.getSystemJavaCompiler().run(null, null, null, "-proc:none",
                "-nowarn", "-cp", classPath, "-d", folder.toString(), source.toString());
        if (status != 0) {
            throw new IllegalStateException("the list of scripts does not compile");
        }
        return classPath;
    }

    /** This process's class path with another library in the place of today's. */
    public static String classPathWith(Path other) {
        Path library = library();
        return Stream.of(System.getProperty("java.class.path").split(File.pathSeparator))
                .map(entry -> Path.of(entry).equals(library) ? other : Path.of(entry))
                .map(Path::toString).collect(Collectors.joining(File.pathSeparator));
    }

    private static Path library() {
        return Path.of(URI.create(
                Schema.class.getProtectionDomain().getCodeSource().getLocation().toString()));
    }

    private static void copy(Path from, Path to) throws IOException {
        try (Stream<Path> files = Files.walk(from)) {
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                Path copy = to.resolve(from.relativize(file).toString());
                Files.createDirectories(copy.getParent());
                Files.copy(file, copy);
            }
        }
    }

    /** Migrates a database in a process of the library that a class path has. */
    public static void migrate(String classPath, String url, String user, String password)
            throws IOException, InterruptedException {
        Process process = new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp", classPath, NextVersion.class.getName(), url, user, password)
                .redirectErrorStream(true).start();
        if (!process.waitFor(PATIENCE, TimeUnit.SECONDS)) {
            process.destroyForcibly();
            throw new IllegalStateException("the next version migrates for ever");
        }
        if (process.exitValue() != 0) {
            throw new IllegalStateException("the next version does not migrate: " + new String(
                    process.getInputStream().readAllBytes(), StandardCharsets.UTF_8));
        }
    }

    /** Arguments: URL, user, password. */
    public static void main(String[] args) {
        PGSimpleDataSource source = new PGSimpleDataSource();
        source.setURL(args[0]);
        source.setUser(args[1]);
        source.setPassword(args[2]);
        Schema.of(source).migrate();
        Schema.of(source).verify();
    }
}
