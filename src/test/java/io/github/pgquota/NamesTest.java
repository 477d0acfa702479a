package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Names are sorted as the database sorts them: by their bytes. */
class NamesTest {

    private static final int[] LETTERS = {'A', 'a', 'b', 0xe4, 0xd7ff, 0xe000, 0xffee, 0x1f600};

    private static byte[] bytes(String name) {
        return name.getBytes(StandardCharsets.UTF_8);
    }

    @Test
    void metersAreInTheOrderOfTheirBytes() {
        long seed = System.nanoTime();
        System.out.println("NamesTest: seed " + seed);
        Random random = new Random(seed);
        for (int round = 0; round < 100; round++) {
            Map<String, Long> amounts = new HashMap<>();
            for (int i = 0; i < 16; i++) {
                amounts.put(name(random), 1L);
            }
            assertThat(new Request(Scope.of("acme"), amounts, null).amounts().keySet())
                    .as("seed %d", seed).containsExactlyElementsOf(amounts.keySet().stream()
                            .sorted((a, b) -> Arrays.compareUnsigned(bytes(a), bytes(b)))
                            .toList());
        }
    }

    private static String name(Random random) {
        StringBuilder name = new StringBuilder();
        for (int i = random.nextInt(4); i >= 0; i--) {
            name.appendCodePoint(LETTERS[random.nextInt(LETTERS.length)]);
        }
        return name.toString();
    }
}
