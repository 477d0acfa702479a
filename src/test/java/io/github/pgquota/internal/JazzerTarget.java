package io.github.pgquota.internal;

import io.github.pgquota.Limit;
import io.github.pgquota.OperationId;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import io.github.pgquota.Window;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;

/**
 * What Jazzer calls, by the profile of that name: bytes that it changes until they reach other code
 * of the parsers. Whatever is thrown from here is a find.
 */
public final class JazzerTarget {

    private static final Path FILE = temporary();

    private JazzerTarget() {}

    private static Path temporary() {
        try {
            Path file = Files.createTempFile("pgquota-jazzer", ".yaml");
            file.toFile().deleteOnExit();
            return file;
        } catch (IOException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    /** One input. */
    public static void fuzzerTestOneInput(byte[] input) throws IOException {
        String text = new String(input, StandardCharsets.UTF_8);
        same(text, t -> Scope.of(t).toString());
        same(text, t -> OperationId.parse(t).toString());
        same(text, t -> Window.parse(t).text());
        same(text, t -> String.valueOf(Request.of("t").key(t).key()));
        same(text, t -> String.valueOf(Limit.named("x").message(t).messageOrNull()));
        Files.write(FILE, input);
        same(() -> PlanFile.read(FILE));
        same(() -> {
            try (AwayFile file = AwayFile.open(FILE)) {
                return file.read();
            }
        });
    }

    private static void same(Supplier<Object> reader) {
        try {
            if (!reader.get().equals(reader.get())) {
                throw new IllegalStateException("read differently the second time");
            }
        } catch (QuotaException.InvalidFile e) {
            // as it should be
        }
    }

    private static void same(String text, UnaryOperator<String> parser) {
        try {
            if (!parser.apply(text).equals(text)) {
                throw new IllegalStateException("comes back otherwise: " + text);
            }
        } catch (QuotaException.Invalid e) {
            // as it should be
        }
    }
}
