package io.github.pgquota.tool.mutant;

import java.io.IOException;
import java.io.InputStream;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.snakeyaml.engine.v2.api.Load;
import org.snakeyaml.engine.v2.api.LoadSettings;

/**
 * A change of the library that takes one guard away.
 *
 * @param name what it is called
 * @param guard what it takes away, and what goes wrong then
 * @param file the source, from the project's folder on
 * @param old text that occurs in it once
 * @param with what takes its place
 * @param tests what should see it: classes by their simple names, or methods after such a name and
 *     a dot
 */
record Mutant(String name, String guard, String file, String old, String with,
        List<String> tests) {

    private static final String LIST = "mutants.yaml";

    /** All that there are, in the order of the list. */
    static List<Mutant> all() throws IOException {
        try (InputStream in = Objects.requireNonNull(Mutant.class.getResourceAsStream(LIST))) {
            List<?> list = (List<?>) new Load(LoadSettings.builder().setLabel(LIST).build())
                    .loadFromInputStream(in);
            return list.stream().map(Mutant::read).toList();
        }
    }

    private static Mutant read(Object entry) {
        Map<?, ?> fields = (Map<?, ?>) entry;
        return new Mutant(text(fields, "name"), text(fields, "guard").strip(),
                text(fields, "file"), text(fields, "old"), text(fields, "new"),
                List.of(text(fields, "tests").split(" +")));
    }

    private static String text(Map<?, ?> fields, String field) {
        if (fields.get(field) instanceof String text) {
            return text;
        }
        throw new IllegalStateException(fields.get("name") + " in " + LIST + " has no " + field);
    }

    /** The source with the guard taken away. */
    String apply(String source) throws BrokenException {
        int at = source.indexOf(old);
        if (at < 0 || source.indexOf(old, at + 1) >= 0) {
            throw new BrokenException("its old text is " + (at < 0 ? "not" : "more than once")
                    + " in " + file, null);
        }
        return source.substring(0, at) + with + source.substring(at + old.length());
    }

    boolean isSql() {
        return file.endsWith(".sql");
    }

    /** A mutant that proves nothing: it does not fit the source, compile or migrate. */
    static final class BrokenException extends Exception {
        private static final long serialVersionUID = 1L;

        BrokenException(String message, Throwable cause) {
            super(message, cause);
        }
    }
}
