package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** The page about dependencies says what is on the class path. */
class DependenciesTest {

    private static final Pattern ROW = Pattern.compile("\\| `([^:`]+):([^`]+)` \\| ([^ ]+) \\|");
    private static final Pattern DEPENDENCY = Pattern.compile("<dependency>(.*?)</dependency>",
            Pattern.DOTALL);
    private static final Pattern ARTIFACT = Pattern.compile("<artifactId>(.*?)</artifactId>");

    private static Map<String, String> rows() throws Exception {
        Map<String, String> rows = new TreeMap<>();
        Matcher row = ROW.matcher(Files.readString(Path.of("docs/dependencies.md")));
        while (row.find()) {
            rows.put(row.group(2), row.group(3));
        }
        assertThat(rows).hasSizeGreaterThan(5);
        return rows;
    }

    @Test
    void theVersionsAreThoseOfTheClassPath() throws Exception {
        String path = System.getProperty("surefire.test.class.path",
                System.getProperty("java.class.path"));
        List<String> jars = List.of(path.split(Pattern.quote(File.pathSeparator))).stream()
                .map(jar -> Path.of(jar).getFileName().toString()).toList();
        rows().forEach((artifact, version) ->
                assertThat(jars).contains(artifact + "-" + version + ".jar"));
    }

    @Test
    void everythingButTestsIsThere() throws Exception {
        // what plugins need, here and in profiles, is nobody's who uses the library
        String pom = Files.readString(Path.of("pom.xml"))
                .replaceAll("(?s)<plugin>.*?</plugin>", "");
        Matcher dependency = DEPENDENCY.matcher(pom);
        int found = 0;
        while (dependency.find()) {
            if (!dependency.group(1).contains("<scope>test</scope>")) {
                Matcher artifact = ARTIFACT.matcher(dependency.group(1));
                assertThat(artifact.find()).isTrue();
                assertThat(rows()).containsKey(artifact.group(1));
                found++;
            }
        }
        assertThat(found).isGreaterThan(5);
    }
}
