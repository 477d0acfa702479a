package io.github.pgquota.tool.mutant;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.parsers.ParserConfigurationException;
import org.jspecify.annotations.Nullable;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;
import org.xml.sax.SAXException;

/** Runs tests in a JVM of their own, until the first one fails. */
final class Suite {

    private static final String LAUNCHER = "org.junit.platform.console.ConsoleLauncher";
    private static final String PACKAGE = "io.github.pgquota";
    private static final String REPORT = "TEST-junit-jupiter.xml";

    private final Tree tree;
    private final String server;
    private volatile @Nullable Process running;

    /** @param server where the tests have their databases, in the words of PostgresServer */
    Suite(Tree tree, String server) {
        this.tree = tree;
        this.server = server;
        Runtime.getRuntime().addShutdownHook(new Thread(this::stop, "stop tests"));
    }

    private void stop() {
        Process jvm = running;
        if (jvm != null) {
            jvm.destroyForcibly();
        }
    }

    /** How tests ended. */
    enum End { PASSED, FAILED, HUNG }

    /**
     * What came of a run.
     *
     * @param tests how many ran
     * @param test the one that failed
     * @param said what it said, on one line
     * @param seconds how long each took, by class and method
     */
    record Result(End end, int tests, @Nullable String test, @Nullable String said,
            Map<String, Double> seconds) {

        /** How long these took together; they are named as for {@link #run}. */
        double seconds(Collection<String> tests) {
            return seconds.entrySet().stream().filter(took -> tests.stream()
                            .anyMatch(test -> (took.getKey() + ".").startsWith(test + ".")))
                    .mapToDouble(Map.Entry::getValue).sum();
        }
    }

    /**
     * Runs tests, and what they say goes to a file.
     *
     * @param tests simple names of classes, and of methods after such a name and a dot
     */
    Result run(Collection<String> tests, Duration limit, Path log)
            throws IOException, InterruptedException {
        Path reports = Files.createDirectories(tree.folder().resolve("reports"));
        Files.deleteIfExists(reports.resolve(REPORT));
        Process jvm = new ProcessBuilder(command(tests, reports))
                .directory(tree.folder().toFile())
                .redirectErrorStream(true).redirectOutput(log.toFile()).start();
        running = jvm;
        if (!jvm.waitFor(limit.toSeconds(), TimeUnit.SECONDS)) {
            jvm.destroyForcibly().waitFor();
            return new Result(End.HUNG, 0, null, "after " + limit.toSeconds() + " s", Map.of());
        }
        return read(reports.resolve(REPORT), log);
    }

    private List<String> command(Collection<String> tests, Path reports) {
        // as Maven runs them, but in a JVM that is soon there and soon gone
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx1g", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
                "-Duser.timezone=Asia/Kathmandu",
                "-Dpgquota.test.postgres=" + server,
                "-Dorg.slf4j.simpleLogger.log.com.zaxxer.hikari=off",
                "-Dorg.slf4j.simpleLogger.log.org.flywaydb=warn",
                "-cp", tree.classPath(), LAUNCHER, "execute",
                "--fail-fast", "--disable-banner", "--details=none",
                "--reports-dir=" + reports, "--select-package=" + PACKAGE));
        tests.stream().map(test -> test.replaceFirst("\\..*", "")).distinct()
                .forEach(name -> command.add("--include-classname=.*\\." + name));
        tests.forEach(test -> command.add("--include-methodname=.*\\." + (test.contains(".")
                ? test.replace(".", "#") : test + "#.*")));
        return command;
    }

    private static Result read(Path report, Path log) throws IOException {
        if (!Files.exists(report)) {
            throw new IllegalStateException("no tests ran, see " + log);
        }
        NodeList cases;
        try {
            cases = DocumentBuilderFactory.newInstance().newDocumentBuilder()
                    .parse(report.toFile()).getElementsByTagName("testcase");
        } catch (ParserConfigurationException | SAXException e) {
            throw new IOException(e);
        }
        int ran = 0;
        String failed = null;
        String said = null;
        Map<String, Double> seconds = new HashMap<>();
        for (int i = 0; i < cases.getLength(); i++) {
            Element test = (Element) cases.item(i);
            if (test.getElementsByTagName("skipped").getLength() == 0) {
                ran++;
            }
            String name = test.getAttribute("classname").replaceFirst(".*\\.", "") + "."
                    + test.getAttribute("name").replaceFirst("\\(.*?\\)", "");
            seconds.merge(name.replaceFirst("\\[.*", ""),
                    Double.valueOf(test.getAttribute("time")), Double::sum);
            Element fault = first(test, "failure");
            fault = fault == null ? first(test, "error") : fault;
            if (fault != null && failed == null) {
                failed = name;
                said = line(fault);
            }
        }
        if (ran == 0) {
            throw new IllegalStateException("no tests ran, see " + log);
        }
        return new Result(failed == null ? End.PASSED : End.FAILED, ran, failed, said, seconds);
    }

    private static @Nullable Element first(Element test, String tag) {
        return (Element) test.getElementsByTagName(tag).item(0);
    }

    private static String line(Element fault) {
        String said = fault.getAttribute("message");
        String words = (said.isEmpty() ? fault.getAttribute("type") : said).strip()
                .replaceAll("\\s+", " ");
        return words.length() > 200 ? words.substring(0, 200) + "…" : words;
    }
}
