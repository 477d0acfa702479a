package io.github.pgquota.internal;

import io.github.pgquota.QuotaException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.api.lowlevel.Parse;
import org.snakeyaml.engine.v2.common.ScalarStyle;
import org.snakeyaml.engine.v2.events.Event;
import org.snakeyaml.engine.v2.events.NodeEvent;
import org.snakeyaml.engine.v2.events.ScalarEvent;
import org.snakeyaml.engine.v2.exceptions.Mark;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;

/**
 * A piece of a YAML file: a map, a list, or text, and the line where it stands. All that the
 * library has to do with the YAML parser, which is optional on the class path. Built from the
 * parser's events, so that nothing of a hostile file is made before it was looked at: no aliases,
 * no tags, no deep nests.
 *
 * @param line from 1
 * @param value {@code Map<String, Yaml>}, {@code List<Yaml>} or a String
 * @param plain text without quotes, which may mean a number or nothing
 */
record Yaml(int line, Object value, boolean plain) {

    private static final int LARGEST = 10_000_000;
    private static final int DEEPEST = 20;

    /**
     * @throws QuotaException.InvalidFile if the file cannot be read, or is not one YAML document
     */
    static Yaml read(Path path) {
        String text = text(path);
        try {
            return new Parser(path.toString(), text).document();
        } catch (NoClassDefFoundError e) {
            throw new QuotaException.MissingLibrary(
                    "org.snakeyaml:snakeyaml-engine", "plan files are read with it", e);
        }
    }

    /** Text that stands for nothing. */
    boolean isNothing() {
        return plain && (value.equals("") || value.equals("~") || value.equals("null"));
    }

    private static String text(Path path) {
        try {
            if (Files.size(path) > LARGEST) {
                throw whole(path, "is larger than 10 MB", null);
            }
            return StandardCharsets.UTF_8.newDecoder()
                    .decode(ByteBuffer.wrap(Files.readAllBytes(path)))
                    .toString();
        } catch (CharacterCodingException e) {
            throw whole(path, "is not a text in UTF-8", e);
        } catch (IOException e) {
            throw whole(path, "cannot be read (" + e + ")", e);
        }
    }

    private static QuotaException whole(Path path, String problem, @Nullable Throwable cause) {
        return new QuotaException.InvalidFile(path.toString(), 0, "file", problem, cause);
    }

    /** Named in no signature of the record, so that it is loaded only where a file is read. */
    private static final class Parser {

        private final String file;
        private final Iterator<Event> events;
        private int line;

        Parser(String file, String text) {
            this.file = file;
            // The parser copies what it has of a token whenever it fills its buffer: one of 10 MB
            // would be copied ten thousand times with a small one.
            LoadSettings settings = LoadSettings.builder().setCodePointLimit(LARGEST)
                    .setBufferSize(Math.max(1024, text.length() / 8)).build();
            this.events = new Parse(settings).parseString(text).iterator();
        }

        Yaml document() {
            next(); // the stream begins
            Event start = next();
            if (start.getEventId() == Event.ID.StreamEnd) {
                throw wrong(1, "is empty");
            }
            Yaml root = node(next(), 0);
            next(); // the document ends
            Event end = next();
            if (end.getEventId() != Event.ID.StreamEnd) {
                throw wrong(line(end), "has more than one document");
            }
            return root;
        }

        private Yaml node(Event event, int depth) {
            int line = line(event);
            if (event.getEventId() == Event.ID.Alias) {
                throw wrong(line, "has an alias (*): write what it stands for");
            }
            if (depth > DEEPEST) {
                throw wrong(line, "is nested more than " + DEEPEST + " deep");
            }
            if (event instanceof ScalarEvent scalar) {
                if (scalar.getTag().isPresent()) {
                    throw wrong(line, "has a tag (!): leave it out");
                }
                return new Yaml(line, scalar.getValue(),
                        scalar.getScalarStyle() == ScalarStyle.PLAIN);
            }
            if (event instanceof NodeEvent && event.getEventId() == Event.ID.SequenceStart) {
                List<Yaml> list = new ArrayList<>();
                for (Event e = next(); e.getEventId() != Event.ID.SequenceEnd; e = next()) {
                    list.add(node(e, depth + 1));
                }
                return new Yaml(line, list, false);
            }
            return new Yaml(line, map(depth), false);
        }

        private Map<String, Yaml> map(int depth) {
            Map<String, Yaml> map = new LinkedHashMap<>();
            for (Event e = next(); e.getEventId() != Event.ID.MappingEnd; e = next()) {
                Yaml key = node(e, depth + 1);
                if (!(key.value instanceof String name)) {
                    throw wrong(key.line, "has a key that is not a text");
                }
                Yaml value = node(next(), depth + 1);
                if (map.put(name, value) != null) {
                    throw new QuotaException.InvalidFile(file, key.line, name, "stands twice",
                            null);
                }
            }
            return map;
        }

        private Event next() {
            try {
                Event event = events.next();
                line = line(event);
                return event;
            } catch (MarkedYamlEngineException e) {
                int at = e.getProblemMark().map(Mark::getLine).orElse(-1) + 1;
                throw new QuotaException.InvalidFile(file, at, "file", e.getProblem(), e);
            } catch (YamlEngineException e) {
                throw new QuotaException.InvalidFile(file, 0, "file",
                        String.valueOf(e.getMessage()), e);
            } catch (IllegalArgumentException e) {
                // what the parser lets through of its own conversions: "\x" without digits
                throw new QuotaException.InvalidFile(file, line, "file",
                        "has a wrong escape (\\) here or below (" + e.getMessage() + ")", e);
            }
        }

        private static int line(Event event) {
            Optional<Mark> mark = event.getStartMark();
            return mark.map(Mark::getLine).orElse(-1) + 1;
        }

        private QuotaException wrong(int line, String problem) {
            return new QuotaException.InvalidFile(file, line, "file", problem, null);
        }
    }
}
