package io.github.pgquota.tool.demo;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Random;

/**
 * Makes a trace where the user has none: an hour of calls of a code assistant, with the lengths of
 * the published traces of such services. Always the same.
 */
final class Sample {

    /** Enough that the smaller of the built-in plans are used up. */
    static final int CALLS = 6_000;

    private static final long SEED = 20_231_116;
    private static final int LONGEST_CONTEXT = 7_500;
    private static final int LONGEST_ANSWER = 1_900;

    private Sample() {}

    /** Writes it to a file. */
    static void write(Path file, int calls) throws IOException {
        Random random = new Random(SEED);
        DateTimeFormatter format = DateTimeFormatter.ofPattern("uuuu-MM-dd HH:mm:ss.SSSSSSS");
        LocalDateTime at = LocalDateTime.of(2023, 11, 16, 18, 17, 4);
        try (PrintWriter out =
                new PrintWriter(Files.newBufferedWriter(file, StandardCharsets.UTF_8))) {
            out.print("TIMESTAMP,ContextTokens,GeneratedTokens\n");
            for (int i = 0; i < calls; i++) {
                at = at.plusNanos((long) (-Math.log(1 - random.nextDouble()) * 0.4e9));
                int context = length(random, 1_500, 0.9, LONGEST_CONTEXT);
                int generated = length(random, 15, 1.0, LONGEST_ANSWER);
                out.print(at.format(format) + "," + context + "," + generated + "\n");
            }
            if (out.checkError()) {
                throw new IOException("cannot write " + file);
            }
        }
    }

    /** Log-normal, as lengths of texts are. */
    private static int length(Random random, double median, double spread, int longest) {
        double drawn = median * Math.exp(spread * random.nextGaussian());
        return (int) Math.max(1, Math.min(longest, Math.round(drawn)));
    }
}
