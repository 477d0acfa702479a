package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.pgquota.tool.Codegen;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is derived from the migrations and committed is what they give today. */
class GeneratedTest {

    @Test
    void generatedFilesAreUpToDate(@TempDir Path fresh) throws IOException {
        assumeTrue(Files.exists(Path.of("db", "migration")));
        try (TestDatabase database = TestDatabase.create()) {
            Codegen.generate(TestDatabase.server(), database.name(), fresh);
        }
        for (String generated : new String[] {Codegen.DUMP, Codegen.CLASSES}) {
            assertThat(files(Path.of(generated)))
                    .as("%s: run mvn -q -Pgenerate and commit what it writes", generated)
                    .isEqualTo(files(fresh.resolve(generated)));
        }
    }

    private static Map<String, String> files(Path root) throws IOException {
        Map<String, String> files = new TreeMap<>();
        try (Stream<Path> paths = Files.walk(root)) {
            for (Path path : paths.filter(Files::isRegularFile).toList()) {
                files.put(root.relativize(path).toString(), Files.readString(path));
            }
        }
        return files;
    }
}
