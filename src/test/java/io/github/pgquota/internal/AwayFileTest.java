package io.github.pgquota.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The file of what was let through: one gate's, small, and whole whenever it may be cut off. */
class AwayFileTest {

    private static final Request CALL = Request.of("acme").take("requests", 1);
    private static final String WAITING = """
            + 1 consume nobody a requests=1
            + 7 record acme b requests=2
            """;

    @TempDir
    private Path folder;
    private Path path;
    private Path copy;

    @BeforeEach
    void name() {
        path = folder.resolve("away");
        copy = folder.resolve("away.copy");
    }

    private Collection<AwayFile.Entry> read() {
        try (AwayFile file = AwayFile.open(path)) {
            return file.read().values();
        }
    }

    private void assertThatBothWait() {
        assertThat(read()).extracting(entry -> entry.number() + " " + entry.verb() + " "
                + entry.id()).containsExactly("1 consume nobody/a", "7 record acme/b");
        assertThat(copy).doesNotExist();
    }

    /** The system has one lock for both names. */
    @Test
    void anotherNameOfAFileInUseIsRefused() throws Exception {
        Path link = folder.resolve("link");
        try (AwayFile file = AwayFile.open(path)) {
            assertThat(file.read()).isEmpty();
            Files.createLink(link, path);
            for (int i = 0; i < 2; i++) {
                assertThat(assertThrows(QuotaException.Invalid.class, () -> AwayFile.open(link)))
                        .hasMessageContaining("is in use");
            }
        }
        AwayFile.open(link).close();
    }

    /** A second close gives away nothing of who has opened the file since. */
    @Test
    void aFileIsClosedOnce() {
        AwayFile first = AwayFile.open(path);
        first.close();
        try (AwayFile second = AwayFile.open(path)) {
            assertThat(second.read()).isEmpty();
            first.close();
            assertThrows(QuotaException.Invalid.class, () -> AwayFile.open(path));
        }
    }
}
