package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.Map;
import java.util.TreeMap;
import javax.management.ObjectName;
import org.junit.jupiter.api.Test;

/** Calls leave nothing behind in the library; the benchmark looks at the heap of a million. */
class MemoryTest {

    @Test
    void noInstanceOfTheLibraryStaysPerCall() throws Exception {
        try (World world = World.with(Limit.named("requests").capacity(1_000_000_000))) {
            calls(world, 100);
            Map<String, Long> before = instances();
            calls(world, 600);
            Map<String, Long> after = instances();
            after.replaceAll((name, n) -> n - before.getOrDefault(name, 0L));
            after.values().removeIf(n -> n < 100);
            assertThat(after).as("more instances after 600 calls").isEmpty();
            assertThat(before).containsKey("io.github.pgquota.internal.PgQuotas");
            assertThat(world.count("select used from pgquota.counter")).isEqualTo(2_100);
        }
    }

    private static void calls(World world, int n) throws Exception {
        for (int i = 0; i < n; i++) {
            Request call = Request.of("acme/" + i).take("requests", 1);
            world.quotas().consume(call.key("k" + System.nanoTime()));
            world.quotas().async().consume(call).get();
            world.quotas().hold(call, Duration.ofMinutes(1)).settle();
        }
    }

    /** Live instances by class, of the library and of what would keep its calls. */
    private static Map<String, Long> instances() throws Exception {
        String histogram = (String) ManagementFactory.getPlatformMBeanServer().invoke(
                new ObjectName("com.sun.management:type=DiagnosticCommand"), "gcClassHistogram",
                new Object[] {null}, new String[] {String[].class.getName()});
        Map<String, Long> instances = new TreeMap<>();
        histogram.lines().map(line -> line.strip().split("\\s+"))
                .filter(w -> w.length >= 4 && w[3].matches("\\[*L?(io\\.github\\.pgquota\\.|"
                        + "java\\.util\\.concurrent\\.CompletableFuture).*"))
                .filter(w -> w[1].matches("\\d+"))
                .forEach(w -> instances.put(w[3], Long.valueOf(w[1])));
        return instances;
    }
}
