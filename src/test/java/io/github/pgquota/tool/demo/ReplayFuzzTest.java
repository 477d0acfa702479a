package io.github.pgquota.tool.demo;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.fail;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import io.github.pgquota.Fuzz;
import io.github.pgquota.tool.bench.Bench;
import io.github.pgquota.tool.fault.Faults;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

/** Traces and arguments from a generator: read, or refused in words. */
class ReplayFuzzTest {

    private static final Duration LONG = Duration.ofSeconds(30);

    @TempDir
    private Path folder;

    /** Null if it was refused, in the right way. */
    private static @Nullable Trace read(byte[] bytes, Object seed) {
        try {
            return TraceReader.read("t.csv", new ByteArrayInputStream(bytes));
        } catch (BadInput e) {
            // names the file, shows no control character, and not all of a long field
            assertThat(e.getMessage()).startsWith("t.csv: ").hasSizeLessThan(1_000)
                    .doesNotContainPattern("\\p{Cc}");
            return null;
        } catch (IOException | RuntimeException e) {
            return fail(seed + ":\n" + new String(bytes, StandardCharsets.UTF_8), e);
        }
    }

    private static String row(Fuzz fuzz, boolean tenants) {
        String at = fuzz.one("2023-11-16 18:17:03.9799600", "2024-05-10T00:00:00Z",
                "2024-02-29 23:59:59+05:45", "\"2023-11-16 18:17\"", fuzz.damaged("2023-11-16"));
        String tokens = fuzz.one("0", "10", " 7 ", "\"8\"", "4611686018427387904",
                String.valueOf(fuzz.number(1_000)), String.valueOf(fuzz.number(1_000)));
        String tenant = fuzz.number(4) > 0 ? "acme" : fuzz.text();
        return (fuzz.number(3) > 0 ? "2023-11-16 18:17:03" : at) + "," + tokens + ","
                + fuzz.number(99)
                + (tenants ? "," + fuzz.one(tenant, "\"" + tenant.replace("\"", "\"\"") + "\"")
                : "");
    }

    private static String trace(Fuzz fuzz) {
        boolean tenants = fuzz.number(2) == 0;
        StringBuilder text = new StringBuilder(fuzz.one("", "\ufeff", "", ""));
        text.append(fuzz.one("", "TIMESTAMP,ContextTokens,GeneratedTokens"
                + (tenants ? ",tenant" : "") + "\n"));
        for (int i = fuzz.one(1, 2, 9); i > 0; i--) {
            text.append(row(fuzz, tenants)).append(fuzz.one("\n", "\n", "\r\n", "\r", "\n\n"));
        }
        return fuzz.number(3) == 0 ? fuzz.damaged(text.toString()) : text.toString();
    }

    @Test
    void anyTraceIsReadOrRefused() {
        Fuzz fuzz = Fuzz.of("traces");
        int right = 0;
        for (int i = fuzz.inputs(); i > 0; i--) {
            byte[] bytes = trace(fuzz).getBytes(StandardCharsets.UTF_8);
            if (fuzz.number(20) == 0 && bytes.length > 0) {
                bytes[fuzz.number(bytes.length)] ^= (byte) (1 << fuzz.number(8));
            }
            Trace trace = read(bytes, fuzz);
            if (trace != null) {
                right++;
                assertThat(read(written(trace), fuzz)).as(fuzz.toString()).isEqualTo(trace);
            }
        }
        assertThat(right).as("right ones, %s", fuzz).isGreaterThan(fuzz.inputs() / 10);
    }

    /** The trace as its reader would like it best. */
    private static byte[] written(Trace trace) {
        return trace.calls().stream().map(c -> "2024-01-01 00:00," + c.context() + ","
                + c.generated() + (c.tenantOrNull() == null ? ""
                : ",\"" + c.tenantOrNull().replace("\"", "\"\"") + "\""))
                .collect(Collectors.joining("\n")).getBytes(StandardCharsets.UTF_8);
    }

    @ParameterizedTest
    @ValueSource(strings = {",", "\"", "\n", "9", "\"a\",", "\r",
        "2024-01-01 00:00,1,1,a\n", "-"})
    void largeTracesTakeSeconds(String piece) {
        byte[] bytes = piece.repeat(10_000_000 / piece.length()).getBytes(StandardCharsets.UTF_8);
        Trace trace = assertTimeoutPreemptively(LONG, () -> read(bytes, piece));
        assertThat(trace != null).isEqualTo(piece.contains("1,1"));
    }

    /**
     * Whatever stands before them, three options that do not exist make it bad usage: the first may
     * still be taken for a value.
     */
    @Test
    void badUsageEndsWithTwoAndWords() throws IOException {
        Fuzz fuzz = Fuzz.of("arguments");
        Path file = Files.writeString(folder.resolve("bad.csv"), "nonsense");
        List<String> known = List.of("--tenants", "--callers", "--plan", "--plans", "--reserve",
                "--ceiling", "--killed", "--ttl", "--url", "--json", "--minutes", "--seed",
                "--rows", "--kind", "--rtt", "--paths", "--seconds", "--rounds", "--out",
                "replay", "@" + file, file.toString(), "1", "-1", "1e400", "NaN", "=", "-", "");
        for (int i = fuzz.inputs() / 10; i > 0; i--) {
            List<String> args = new ArrayList<>();
            for (int n = fuzz.number(6); n > 0; n--) {
                args.add(fuzz.by(() -> known.get(fuzz.number(known.size())), fuzz::odd,
                        () -> known.get(fuzz.number(known.size())) + "=" + fuzz.odd(),
                        fuzz::text));
            }
            args.removeIf(arg -> arg.startsWith("-h")); // asks for help, whatever comes after it
            args.addAll(Collections.nCopies(3, "--no-such-option"));
            String[] array = args.toArray(String[]::new);
            StringWriter out = new StringWriter();
            StringWriter err = new StringWriter();
            int status = switch (fuzz.number(3)) {
                case 0 -> Replay.run(array, new PrintWriter(out), new PrintWriter(err));
                case 1 -> execute(new CommandLine(new Bench()), array, out, err);
                default -> execute(new CommandLine(new Faults()), array, out, err);
            };
            assertThat(status).as("%s %s: %s", fuzz, args, err).isEqualTo(2);
            assertThat(out.toString()).isEmpty();
            assertThat(err.toString()).isNotBlank().doesNotContain("\tat ");
        }
    }

    private static int execute(CommandLine command, String[] args, StringWriter out,
            StringWriter err) {
        return command.setOut(new PrintWriter(out)).setErr(new PrintWriter(err)).execute(args);
    }

    /** Files that cannot be used end the replay before it has a server. */
    @Test
    void badFilesEndWithTwoAndWords() throws IOException {
        Fuzz fuzz = Fuzz.of("files of arguments");
        Path file = folder.resolve("any");
        for (int i = fuzz.inputs() / 100; i > 0; i--) {
            Files.write(file, (fuzz.text() + "\n" + fuzz.odd()).getBytes(StandardCharsets.UTF_8));
            StringWriter err = new StringWriter();
            String[] args = fuzz.one(new String[] {file.toString()},
                    new String[] {"--plans", file.toString()},
                    new String[] {"--plan", fuzz.text() + "?"});
            int status = Replay.run(args, new PrintWriter(new StringWriter()),
                    new PrintWriter(err));
            assertThat(status).as("%s: %s", fuzz, err).isEqualTo(2);
            assertThat(err.toString().strip()).startsWith("replay: ").doesNotContain("\tat ")
                    .doesNotContainPattern("[\\p{Cc}&&[^\n\r]]");
        }
    }
}
