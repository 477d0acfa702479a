package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.pgquota.internal.PlanFile;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Plan files: what they change, that they change it once, and what is refused where. */
class PlanFileTest {

    @TempDir
    private Path folder;

    private Path file(String text) throws IOException {
        return Files.writeString(folder.resolve("plans.yaml"), text);
    }

    private static String example() throws IOException {
        Matcher code = Pattern.compile("```yaml\n(.*?)```", Pattern.DOTALL)
                .matcher(Files.readString(Path.of("docs/plans.md")));
        assertThat(code.find()).isTrue();
        return code.group(1);
    }

    @Test
    void theExampleOfThePageSaysWhatItSays() throws IOException {
        PlanFile read = PlanFile.read(file(example()));
        assertThat(read.plans()).containsExactly(
                Plan.named("FREE").limit(Limit.named("requests").capacity(50))
                        .limit(Limit.named("tokens").capacity(100_000).alertAt(80, 100)
                                .message("{remaining} of {capacity} tokens are left until "
                                        + "{resets_at}")),
                Plan.named("PRO").limit(Limit.named("messages").on("requests").capacity(5_000))
                        .limit(Limit.named("burst").on("requests").capacity(100).billed(false)
                                .per(Window.aligned(java.time.Duration.ofSeconds(60))))
                        .limit(Limit.named("tokens").capacity(20_000_000).allowOverage(1_000_000))
                        .limit(Limit.named("per-user").on("tokens").level(1).per(Window.day())
                                .capacity(500_000).mode(Limit.Mode.OBSERVE)));
        assertThat(read.tenants()).extracting(PlanFile.Tenant::name).containsExactly("acme",
                "widgets");
    }

    @Test
    void aFileIsAppliedOnceAndToldBefore() throws IOException {
        try (Room room = new Room()) {
            room.clock("2026-12-05T00:00:00Z");
            Path example = file(example());
            List<String> told = room.plans.diff(example);
            assertThat(room.rows("select from pgquota.plan_version")).isEmpty();
            assertThat(told).contains("plan FREE: new",
                    "plan FREE: limit tokens: new, meter tokens, level 0, window month, capacity "
                            + "100000, overage deny, mode enforce, billed true, alerts [80, 100], "
                            + "message {remaining} of {capacity} tokens are left until {resets_at}",
                    "default plan none -> FREE",
                    "tenant acme: plan none -> PRO", "tenant acme: zone none -> Europe/Berlin",
                    "tenant acme: override messages = 8000 for acme from 2026-12-01T00:00:00Z "
                            + "until 2027-01-01T00:00:00Z",
                    "tenant acme: override per-user = unlimited for acme/search from now",
                    "tenant acme: boost tokens + 1000000 for acme from now until "
                    + "2026-12-31T23:00:00Z");
            assertThat(room.plans.apply(example)).isEqualTo(told);
            String all = "select xmin, tenant, plan, zone from pgquota.tenant union all "
                    + "select xmin, tenant, limit_name, kind from pgquota.adjustment union all "
                    + "select xmin, plan, name, version::text from pgquota.plan_limit order by 2, "
                    + "3, 4";
            List<String> before = room.rows(all);
            assertThat(room.plans.diff(example)).isEmpty();
            assertThat(room.plans.apply(example)).isEmpty();
            assertThat(room.rows(all)).isEqualTo(before);
            assertThat(room.rows(
                    "select limit_name, capacity from pgquota.balance where scope = 'acme' "
                    + "order by 1")).containsExactly("burst 100", "messages 8000",
                    "tokens 21000000");

            Path changed = file(example().replace("capacity: 50}", "capacity: 60}")
                    .replace("alerts: [80, 100]", "alerts: [90]")
                    .replace("- {limit: tokens, units: 1_000_000,", "- {limit: tokens, units: "
                    + "2_000_000,")
                    .replace("zone: Europe/Berlin", "zone: ~").replace("default_plan: FREE",
                    "default_plan: ~"));
            assertThat(room.plans.apply(changed)).containsExactly(
                    "plan FREE: limit requests: capacity 50 -> 60",
                    "plan FREE: limit tokens: alerts [80, 100] -> [90]",
                    "default plan FREE -> none",
                    "tenant acme: zone Europe/Berlin -> none",
                    "tenant acme: withdraw boost tokens + 1000000 for acme from "
                    + "2026-12-05T00:00:00Z "
                            + "until 2026-12-31T23:00:00Z",
                    "tenant acme: boost tokens + 2000000 for acme from now until "
                    + "2026-12-31T23:00:00Z");
            assertThat(room.rows("select capacity from pgquota.balance where scope = 'acme' "
                    + "and limit_name = 'tokens'")).containsExactly("22000000");
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            `plans: {A: {limits: []}}~tenants: {t: {plan: B}}`                 | 2 | tenants.t.plan
            `tenants:~  t:~    zone: "+02:00"`                                 | 3 | tenants.t.zone
            `plans: {A: {limits: []}}~default_zone: CET`                       | 2 | default_zone
            `default_plan: NONE`                                               | 1 | default_plan
            `plans: {A: {limits: [{name: x}]}}~tenants:~  t: {plan: A, boosts: [~    {limit: y, units: 1}]}`| 4 | tenants.t.boosts[0]
            """)
    void whatTheDatabaseRefusesIsToldAtItsPlace(String text, int line,
    String field) throws IOException {
        try (Room room = new Room()) {
            Path path = file(text.replace('~', '\n'));
            assertThatThrownBy(() -> room.plans.apply(path)).isInstanceOfSatisfying(
                    QuotaException.InvalidFile.class,
                    e -> assertThat(e.line() + " " + e.field()).isEqualTo(line + " " + field));
            assertThat(room.rows("select tenant from pgquota.tenant union all "
                    + "select plan from pgquota.plan_version")).isEmpty();
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            ``                                                         | 1 | file
            `# nothing`                                                | 1 | file
            `[a, b]`                                                   | 1 | file
            `text`                                                     | 1 | file
            `default_plan: A~default_plan: B`                           | 2 | default_plan
            `plan: {}`                                                 | 1 | plan
            `plans: [A]`                                               | 1 | plans
            `plans:~  A: 5`                                            | 2 | plans.A
            `plans:~  A: {}`                                           | 2 | plans.A.limits
            `plans:~  A:~    limits: 5`                                | 3 | plans.A.limits
            `plans:~  A:~    limits:~      - 5`                        | 4 | plans.A.limits[0]
            `plans:~  A:~    limits:~      - {meter: x}`               | 4 | plans.A.limits[0].name
            `plans:~  A:~    limits:~      - {name: x}~      - {name: x}` | 5 | plans.A.limits[1].name
            `plans: {A: {limits: [{name: x,~ capacity: many}]}}`       | 2 | plans.A.limits[0].capacity
            `plans: {A: {limits: [{name: x,~ capacity: -1}]}}`         | 2 | plans.A.limits[0].capacity
            `plans: {A: {limits: [{name: x,~ capacity: "50"}]}}`       | 2 | plans.A.limits[0].capacity
            `plans: {A: {limits: [{name: x,~ capacity: 1.5}]}}`        | 2 | plans.A.limits[0].capacity
            `plans: {A: {limits: [{name: x,~ capacity: 1e3}]}}`        | 2 | plans.A.limits[0].capacity
            `plans: {A: {limits: [{name: x,~ capacity: [5]}]}}`        | 2 | plans.A.limits[0].capacity
            `plans: {A: {limits: [{name: x,~ capacity: 4611686018427387905}]}}`  | 2 | plans.A.limits[0].capacity
            `plans: {A: {limits: [{name: x,~ capacity: 99999999999999999999}]}}` | 2 | plans.A.limits[0].capacity
            `plans: {A: {limits: [{name: x,~ window: fortnight}]}}`    | 2 | plans.A.limits[0].window
            `plans: {A: {limits: [{name: x,~ window: "fixed:0"}]}}`    | 2 | plans.A.limits[0].window
            `plans: {A: {limits: [{name: x,~ alerts: 80}]}}`           | 2 | plans.A.limits[0].alerts
            `plans: {A: {limits: [{name: x,~ alerts: [0]}]}}`          | 2 | plans.A.limits[0].alerts
            `plans: {A: {limits: [{name: x,~ overage: some}]}}`        | 2 | plans.A.limits[0].overage
            `plans: {A: {limits: [{name: x,~ mode: on}]}}`             | 2 | plans.A.limits[0].mode
            `plans: {A: {limits: [{name: x,~ level: 9}]}}`             | 2 | plans.A.limits[0].level
            `plans: {A: {limits: [{name: x,~ billed: yes}]}}`          | 2 | plans.A.limits[0].billed
            `plans: {A: {limits: [{name: x,~ message: "{user}"}]}}`    | 2 | plans.A.limits[0].message
            `plans: {A: {limits: [{name: x,~ color: red}]}}`           | 2 | plans.A.limits[0].color
            `plans:~  " ": {limits: []}`                               | 2 | `plans. `
            `tenants:~  a/b: {}`                                       | 2 | tenants.a/b
            `tenants: {t:~ {zone: Berlin}}`                            | 2 | tenants.t.zone
            `tenants: {t: {~ anchor: soon}}`                           | 2 | tenants.t.anchor
            `tenants: {t: {~ overrides: {}}}`                          | 2 | tenants.t.overrides
            `tenants: {t: {overrides: [~{limit: x}]}}`                 | 2 | tenants.t.overrides[0].capacity
            `tenants: {t: {boosts: [{limit: x, units: 1,~ from: now}]}}` | 2 | tenants.t.boosts[0].from
            `tenants: {t: {boosts: [{limit: x, units: 1,~ scope: u/a}]}}` | 2 | tenants.t.boosts[0].scope
            `a: &x [1]~b: *x`                                          | 2 | file
            `a: !!int 5`                                               | 1 | file
            `a: 1~---~b: 2`                                            | 2 | file
            `a: [1`                                                    | 1 | file
            `a:~>b: 1`                                             | 2 | file
            """)
    void aMistakeIsToldWithItsLineAndField(String text, int line, String field) throws IOException {
        Path path = file(text == null ? "" : text.replace('~', '\n').replace('>', '\t'));
        assertThatThrownBy(() -> PlanFile.read(path))
                .isInstanceOfSatisfying(QuotaException.InvalidFile.class, e -> {
            assertThat(e.file()).isEqualTo(path.toString());
            assertThat(e.line() + " " + e.field()).isEqualTo(line + " " + field);
        });
    }

    @Test
    void hostileFilesAreRefusedToo() throws IOException {
        byte[] binary = {0, 1, 2, (byte) 0xff, (byte) 0xfe, 7};
        List<Path> hostile = List.of(
                folder.resolve("missing.yaml"),
                folder,
                Files.write(folder.resolve("binary.yaml"), binary),
                Files.write(folder.resolve("zero.yaml"),
                "plans: {\u0001}".getBytes(StandardCharsets.UTF_8)),
                Files.writeString(folder.resolve("deep.yaml"), "[".repeat(100_000)),
                Files.writeString(folder.resolve("deeper.yaml"), "a: {b: ".repeat(50_000)),
                Files.writeString(folder.resolve("large.yaml"), "# ".repeat(6_000_000)),
                Files.writeString(folder.resolve("escape.yaml"), "a: \"\\x\""),
                Files.writeString(folder.resolve("bomb.yaml"), "a: &a [x, x]\nb: &b [*a, *a]\nc: "
                + "[*b, *b]"));
        for (Path path : hostile) {
            assertThatThrownBy(() -> PlanFile.read(path)).as(path.toString())
                    .isInstanceOf(QuotaException.InvalidFile.class);
        }
    }
}
