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
        assertThat(read()).extracting(entry -> entry.verb() + " " + entry.id() + " "
                + entry.request().amounts()).containsExactly(
                "consume nobody/a {requests=1}", "record acme/b {requests=2}");
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
    void aFileIsClosedOnce() throws Exception {
        AwayFile first = AwayFile.open(path);
        first.close();
        try (AwayFile second = AwayFile.open(path)) {
            assertThat(second.read()).isEmpty();
            first.close();
            assertThrows(QuotaException.Invalid.class, () -> AwayFile.open(path));
            Process other = new ProcessBuilder(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-cp",
                    System.getProperty("java.class.path"), "io.github.pgquota.AwayTest$Other",
                    path.toString()).start();
            assertThat(other.waitFor()).as("the lock is still had").isEqualTo(1);
        }
    }

    /** One call that cannot be charged keeps no history of all others. */
    @Test
    void whatIsDoneGoesWhenItIsOpened() throws Exception {
        StringBuilder lines = new StringBuilder(WAITING);
        for (int i = 8; i < 10_008; i++) {
            lines.append("+ ").append(i).append(" consume acme k requests=1\n- ").append(i)
                    .append("\n");
        }
        Files.writeString(path, lines);
        assertThatBothWait();
        assertThat(Files.readString(path)).isEqualTo(WAITING);
        assertThatBothWait();
        try (AwayFile file = AwayFile.open(path)) {
            file.remove(file.read().get(1L));
            assertThat(file.add("consume", CALL.key("c")).number()).isEqualTo(8);
        }
        assertThat(Files.readString(path)).isEqualTo(
                WAITING + "- 1\n+ 8 consume acme c requests=1\n");
    }

    /** At each point of it, by what is on the disk then. */
    @Test
    void aCrashWhileWhatIsDoneGoesLosesNothing() throws Exception {
        String all = WAITING.replace("+ 7", "+ 2 consume acme x requests=1\n- 2\n"
                + "+ 3 consume acme y requests=1\n- 3\n"
                + "+ 4 consume acme z requests=1\n- 4\n+ 7");
        for (String written : new String[] {"", "+ 1 cons", WAITING.substring(0, 40), WAITING}) {
            Files.writeString(path, all); // while the copy is written
            Files.writeString(copy, written);
            assertThatBothWait();
            Files.writeString(path, written); // while the file is
            Files.writeString(copy, WAITING + ".\n");
            assertThatBothWait();
            assertThatBothWait();
        }
        // numbers are given anew when the file was empty in between
        Files.writeString(path, "+ 7 consume acme c requests=1\n+ 9 consume acme d requests=1\n");
        Files.writeString(copy, WAITING + ".\n");
        for (int i = 0; i < 2; i++) {
            assertThat(read()).extracting(AwayFile.Entry::id)
                    .containsExactly("acme/c", "acme/d", "nobody/a", "acme/b");
        }
        // a copy that came back, since it was not yet surely gone when the machine stopped
        Files.writeString(path, WAITING + "- 1\n+ 8 consume acme c requests=1\n");
        Files.writeString(copy, WAITING + ".\n");
        assertThat(read()).extracting(AwayFile.Entry::number).containsExactly(7L, 8L);
        assertThat(read()).extracting(AwayFile.Entry::number).containsExactly(7L, 8L);
    }
}
