package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.fail;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import io.github.pgquota.internal.PlanFile;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.function.IntFunction;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Plan files from a generator that knows their grammar, many of them damaged: read or refused with
 * a place, never anything else; what is applied stays applied, what is refused changes nothing.
 */
class PlanFileFuzzTest {

    private static final Duration LONG = Duration.ofSeconds(30);

    @TempDir
    private Path folder;
    private Fuzz fuzz;

    private String scalar(String... right) {
        return fuzz.by(() -> fuzz.one(right), () -> fuzz.one(right), () -> fuzz.one(right),
                () -> fuzz.one(right), () -> fuzz.one(right), () -> fuzz.one(right),
                () -> fuzz.number(3) > 0 ? fuzz.one(right) : quoted(fuzz.text()),
                () -> fuzz.number(5) > 0 ? fuzz.one(right) : fuzz.odd());
    }

    private String quoted(String text) {
        return fuzz.by(() -> '"' + text + '"', () -> "'" + text.replace("'", "''") + "'",
                () -> '"' + text.codePoints().mapToObj(c -> String.format("\\U%08x", c))
                        .collect(Collectors.joining()) + '"');
    }

    private String list(int most, IntFunction<String> item) {
        return IntStream.range(0, fuzz.number(most + 1)).mapToObj(item)
                .collect(Collectors.joining(", ", "[", "]"));
    }

    /** Some of the fields, each once. */
    private String map(List<String> fields) {
        return fields.stream().filter(f -> fuzz.number(3) > 0)
                .collect(Collectors.joining(", ", "{", "}"));
    }

    private String limit(int number) {
        return "{name: " + scalar("l" + number) + map(List.of(
                ", meter: " + scalar("requests", "tokens", "\"a/b\""),
                "window: " + scalar("month", "lifetime", "fixed:60", "\"aligned:3600\"", "year"),
                "capacity: " + scalar("0", "50", "1_000", "unlimited", "4611686018427387904"),
                "overage: " + scalar("deny", "allow", "7", "4611686018427387904"),
                "mode: " + scalar("enforce", "observe", "off"),
                "level: " + scalar("0", "1", "8"), "billed: " + scalar("true", "false"),
                "alerts: " + list(3, i -> scalar("1", "80", "1000")),
                "message: " + quoted(scalar("{used} of {capacity}", "no", "\u20ac {resets_at}"))))
                .replaceFirst("^\\{(, )?", ", ").replaceFirst("^, }", "}")
                .replace(", , ", ", ");
    }

    private String adjustment(String amount, int number) {
        return "{limit: " + scalar("l" + number) + ", " + amount + ": " + scalar("5", "0")
                + map(List.of("scope: " + scalar("t", "t/a"),
                "from: " + scalar("2026-12-01T00:00:00Z", "2030-01-01T00:00:00+02:00"),
                "until: " + scalar("2031-01-01T00:00:00Z", "~"), "reason: " + scalar("why")))
                .replaceFirst("^\\{", ", ").replaceFirst("^, }", "}");
    }

    private String plans() {
        String plans = "plans: {A: {limits: " + list(4, this::limit) + "}, " + scalar("B")
                + ": {limits: " + list(2, this::limit) + "}}\n";
        String settings = (fuzz.number(2) == 0 ? "" : "default_plan: " + scalar("A", "B", "~")
                + "\n") + (fuzz.number(3) > 0 ? "" : "default_zone: "
                + scalar("UTC", "Europe/Berlin", "Asia/Kathmandu") + "\n");
        String tenants = fuzz.number(3) == 0 ? "" : "tenants:\n  " + scalar("t") + ": "
                + map(List.of("plan: " + scalar("A", "B", "~"),
                "zone: " + scalar("UTC", "Europe/Berlin", "~", "Etc/GMT-2"),
                "anchor: " + scalar("2026-01-31", "2026-01-31T06:00", "~"),
                "overrides: " + list(2, i -> adjustment("capacity", i)),
                "boosts: " + list(2, i -> adjustment("units", i)))) + "\n";
        String file = fuzz.one(plans + settings + tenants, tenants + plans + settings, plans);
        return fuzz.number(3) == 0 ? fuzz.damaged(file) : file;
    }

    /** Null if it was refused, in the right way. */
    private static <T> @Nullable T accepted(Fuzz fuzz, Path path, String text, Supplier<T> reader) {
        try {
            return reader.get();
        } catch (QuotaException.InvalidFile e) {
            assertThat(e.file()).isEqualTo(path.toString());
            assertThat(e.field()).isNotNull(); // "" where that is the name of a field
            assertThat(e.line()).as(text).isBetween(0,
                    (int) text.chars().filter(c -> "\n\r\u0085\u2028\u2029".indexOf(c) >= 0)
                    .count() + 2); // the end may be told as the line after the last
            assertThat(e.getMessage()).startsWith(path.toString()).contains(e.field());
            return null;
        } catch (RuntimeException e) {
            return fail(fuzz + ":\n" + text, e);
        }
    }

    @Test
    void anyTextIsReadOrRefused() throws IOException {
        fuzz = Fuzz.of("plan files");
        Path path = folder.resolve("fuzz.yaml");
        int right = 0;
        for (int i = fuzz.inputs(); i > 0; i--) {
            String text = fuzz.by(this::plans, this::plans, this::plans,
                    () -> fuzz.text() + ": " + quoted(fuzz.text()),
                    () -> fuzz.damaged(fuzz.damaged(plans())));
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            if (bytes.length > 0 && fuzz.number(20) == 0) {
                bytes[fuzz.number(bytes.length)] ^= (byte) (1 << fuzz.number(8));
            }
            Files.write(path, bytes);
            PlanFile first = accepted(fuzz, path, text, () -> PlanFile.read(path));
            if (first != null) {
                right++;
                assertThat(PlanFile.read(path)).isEqualTo(first);
            }
        }
        assertThat(right).as("right ones, %s", fuzz).isGreaterThan(fuzz.inputs() / 10);
    }

    @Test
    void whatIsAppliedStaysAndWhatIsRefusedChangesNothing() throws IOException {
        fuzz = Fuzz.of("applied plan files");
        Path path = folder.resolve("fuzz.yaml");
        int applied = 0;
        int refused = 0;
        try (Room room = new Room()) {
            String all = "select xmin::text, t::text from pgquota.tenant t union all "
                    + "select xmin::text, a::text from pgquota.adjustment a union all "
                    + "select xmin::text, v::text from pgquota.plan_version v union all "
                    + "select xmin::text, l::text from pgquota.plan_limit l union all "
                    + "select xmin::text, s::text from pgquota.setting s union all "
                    + "select xmin::text, a::text from pgquota.audit a order by 1, 2";
            for (int i = Math.min(2_000, fuzz.inputs() / 50); i > 0; i--) {
                String text = plans();
                Files.write(path, text.getBytes(StandardCharsets.UTF_8));
                List<String> before = room.rows(all);
                List<String> done = accepted(fuzz, path, text, () -> room.plans.apply(path));
                if (done == null) {
                    refused++;
                    assertThat(room.rows(all)).as("%s:\n%s", fuzz, text).isEqualTo(before);
                } else {
                    applied++;
                    assertThat(room.plans.diff(path)).as("%s:\n%s", fuzz, text).isEmpty();
                    for (Plan plan : PlanFile.read(path).plans()) {
                        assertThat(room.plans.plan(plan.name())).as(fuzz.toString())
                                .contains(plan);
                    }
                }
            }
        }
        assertThat(applied).as("applied, %s", fuzz).isPositive();
        assertThat(refused).as("refused, %s", fuzz).isPositive();
    }

    /** Pieces that are repeated until the file is as large as it may be. */
    @ParameterizedTest
    @ValueSource(strings = {
        "[", "{a: ", "? ", "&a ", "'", "\\", "#", " ", "a", "a\n", "|\n ",
        "\ud83d\ude00", "\u2028"})
    void theLargestFileTakesSeconds(String piece) throws IOException {
        Path path = folder.resolve("large.yaml");
        int bytes = piece.getBytes(StandardCharsets.UTF_8).length;
        Files.writeString(path, piece.repeat(10_000_000 / bytes));
        assertTimeoutPreemptively(LONG, () -> assertThatThrownBy(() -> PlanFile.read(path))
                .isInstanceOf(QuotaException.InvalidFile.class));
    }

    /** A right file, but large: the head of a plan or of the tenants, and many rows. */
    @ParameterizedTest
    @ValueSource(strings = {
        "plans:\n  A:\n    limits:\n|      - {name: N, capacity: 5}\n", "plans:\n|  N: {limits: []}\n",
        "tenants:\n|  N: {plan: A}\n", "tenants:\n  t:\n    boosts:\n|      - {limit: N, units: 1}\n"})
    void manyRowsTakeTimeByTheirNumberOnly(String file) throws IOException {
        Path path = folder.resolve("many.yaml");
        String[] parts = file.split("\\|");
        StringBuilder text = new StringBuilder(parts[0]);
        for (int i = 0; i < 50_000; i++) {
            text.append(parts[1].replace("N", "n" + i));
        }
        Files.writeString(path, text);
        PlanFile read = assertTimeoutPreemptively(LONG, () -> PlanFile.read(path));
        assertThat(read.lines()).hasSizeGreaterThan(50_000);
    }
}
