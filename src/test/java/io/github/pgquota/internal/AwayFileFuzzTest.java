package io.github.pgquota.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.fail;

import io.github.pgquota.Fuzz;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Files of calls that were let through, many of them damaged: what is taken was written so, and
 * none of it is left out; what is refused is refused with its line, and the file stays as it was.
 */
class AwayFileFuzzTest {

    @TempDir
    private Path folder;
    private Path path;
    private final Fuzz fuzz = Fuzz.of("away files");

    @BeforeEach
    void open() {
        path = folder.resolve("away");
    }

    /** Null if a part is not what it should be. */
    private @Nullable Request request() {
        TreeMap<String, Long> amounts = new TreeMap<>();
        for (int i = fuzz.one(1, 1, 2, 16); i > 0; i--) {
            amounts.put(fuzz.by(fuzz::text, () -> fuzz.one("a", "b c", "=", ",", "+")),
                    fuzz.one(0L, 1L, 1L << 62, (long) fuzz.number(1_000)));
        }
        try {
            return new Request(new Scope(fuzz.path()), amounts, fuzz.text());
        } catch (QuotaException.Invalid e) {
            return null;
        }
    }

    /** A file as the library writes it. */
    private String written() throws IOException {
        Files.deleteIfExists(path);
        try (AwayFile file = AwayFile.open(path)) {
            for (int i = fuzz.number(6); i > 0; i--) {
                Request request = request();
                if (request != null) {
                    AwayFile.Entry entry = file.add(fuzz.one("consume", "record"), request);
                    if (fuzz.number(3) == 0) {
                        file.remove(entry);
                    }
                }
            }
        }
        return Files.readString(path);
    }

    private String word(String... right) {
        return fuzz.number(12) > 0 ? fuzz.one(right) : fuzz.by(fuzz::text, fuzz::odd, () -> "");
    }

    /** A line as people might write it. */
    private String line(int number) {
        return fuzz.number(6) == 0 ? "- " + word("1", "2", "7")
                : String.join(" ", word("+"), word("" + number), word("consume", "record"),
                word("acme", "acme%2Fa", "a+b"), word("k", "%C3%A9"), IntStream
                .rangeClosed(0, fuzz.number(3)).mapToObj(i -> word("m" + i) + word("=")
                + word("1", "0", "4611686018427387904")).collect(Collectors.joining(word(","))));
    }

    private String lines() {
        return IntStream.rangeClosed(1, fuzz.number(5))
                .mapToObj(i -> line(fuzz.number(8) == 0 ? 1 : i) + "\n")
                .collect(Collectors.joining()) + fuzz.one("", "", "+ 9 consume ac", fuzz.odd());
    }

    /** Null if it was refused, in the right way. */
    private @Nullable List<AwayFile.Entry> taken(String text) {
        try (AwayFile file = AwayFile.open(path)) {
            return List.copyOf(file.read().values());
        } catch (QuotaException.InvalidFile e) {
            assertThat(e.file()).isEqualTo(path.toString());
            assertThat(e.line()).isBetween(1, text.split("\n", -1).length);
            return null;
        } catch (RuntimeException e) {
            return fail(fuzz + ":\n" + text, e);
        }
    }

    /** The lines of calls that no later line says to be charged, without their numbers. */
    private static List<String> waiting(String text) {
        List<String> waiting = new ArrayList<>();
        List<String> lines = Arrays.asList(text.split("\n"));
        for (int i = 0; i < lines.size(); i++) {
            String[] words = lines.get(i).split(" ", 3);
            Set<String> later = Set.copyOf(lines.subList(i, lines.size()));
            if (words[0].equals("+") && !later.contains("- " + words[1])) {
                waiting.add(words[2]);
            }
        }
        return waiting;
    }

    @Test
    void whatIsTakenWasWrittenSo() throws IOException {
        List<String> real = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            real.add(written());
        }
        int right = 0;
        for (int i = fuzz.inputs(); i > 0; i--) {
            String file = real.get(fuzz.number(real.size()));
            byte[] bytes = fuzz.by(() -> file, () -> fuzz.damaged(file), this::lines, this::lines,
                    () -> fuzz.damaged(lines()), fuzz::text).getBytes(StandardCharsets.UTF_8);
            if (bytes.length > 0 && fuzz.number(20) == 0) {
                bytes[fuzz.number(bytes.length)] ^= (byte) (1 << fuzz.number(8));
            }
            Files.write(path, bytes);
            String text = new String(bytes, StandardCharsets.UTF_8);
            List<AwayFile.Entry> taken = taken(text);
            if (taken == null) {
                assertThat(Files.readAllBytes(path)).isEqualTo(bytes);
                continue;
            }
            right++;
            String kept = text.substring(0, text.lastIndexOf('\n') + 1);
            assertThat(Files.readString(path)).as(fuzz.toString()).isEqualTo(kept);
            assertThat(taken).as("%s:%n%s", fuzz, text).hasSameSizeAs(waiting(kept));
            if (fuzz.number(20) == 0) { // each line waits for the disk
                assertThat(again(taken)).as(fuzz.toString()).isEqualTo(waiting(kept));
            }
        }
        assertThat(right).as("right ones, %s", fuzz).isGreaterThan(fuzz.inputs() / 10);
    }

    /** What they are when they are written anew. */
    private List<String> again(List<AwayFile.Entry> taken) throws IOException {
        Path other = Files.createTempFile(folder, "again", "");
        try (AwayFile file = AwayFile.open(other)) {
            for (AwayFile.Entry entry : taken) {
                file.add(entry.verb(), entry.request());
            }
        }
        return waiting(Files.readString(other));
    }
}
