package io.github.pgquota.internal;

import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Calls that were let through and wait to be charged: a line for each, and another when it is done.
 * A line is on the disk before its call is let through. Not safe for concurrent use.
 */
final class AwayFile implements AutoCloseable {

    private static final Logger LOG = LoggerFactory.getLogger(AwayFile.class);

    private final Path path;
    /** Not a channel: an interrupt of whoever writes would close it for all. */
    private final RandomAccessFile file;
    private long last;

    /** A call that waits: its request has a key. */
    record Entry(long number, String verb, Request request) {

        /** What names it, wherever it is asked for. */
        String id() {
            return request.scope().tenant() + "/" + request.key();
        }

        private String line() {
            String amounts = request.amounts().entrySet().stream()
                    .map(amount -> encoded(amount.getKey()) + "=" + amount.getValue())
                    .collect(Collectors.joining(","));
            return String.join(" ", "+", Long.toString(number), verb,
                    encoded(request.scope().path()), encoded(String.valueOf(request.key())),
                    amounts);
        }
    }

    private AwayFile(Path path, RandomAccessFile file) {
        this.path = path;
        this.file = file;
    }

    /**
     * Opens or makes the file, for this process only.
     *
     * @throws QuotaException.Invalid if another one has it open, or it cannot be read and written
     */
    static AwayFile open(Path path) {
        RandomAccessFile file = null;
        try {
            file = new RandomAccessFile(path.toFile(), "rw");
            if (file.getChannel().tryLock() != null) {
                return new AwayFile(path, file);
            }
        } catch (OverlappingFileLockException e) {
            LOG.debug("{} is in use in this process", path);
        } catch (IOException e) {
            close(file);
            throw new QuotaException.Invalid("file", path, "cannot be opened: " + e);
        }
        close(file);
        throw new QuotaException.Invalid("file", path,
                "is in use: give each gate a file of its own");
    }

    private static void close(@Nullable RandomAccessFile file) {
        try {
            if (file != null) {
                file.close();
            }
        } catch (IOException e) {
            LOG.warn("a file could not be closed", e);
        }
    }

    /** What waits in it, oldest first. A line that a crash cut off was never let through. */
    Map<Long, Entry> read() {
        Map<Long, Entry> waiting = new TreeMap<>();
        try {
            byte[] bytes = new byte[Math.toIntExact(file.length())];
            file.seek(0);
            file.readFully(bytes);
            int end = bytes.length;
            while (end > 0 && bytes[end - 1] != '\n') {
                end--;
            }
            file.setLength(end);
            file.seek(end);
            int number = 0;
            for (String line : new String(bytes, 0, end, StandardCharsets.UTF_8).split("\n")) {
                number++;
                if (!line.isEmpty()) {
                    take(line, number, waiting);
                }
            }
            return waiting;
        } catch (IOException e) {
            throw new QuotaException.Invalid("file", path, "cannot be read: " + e);
        }
    }

    private void take(String line, int number, Map<Long, Entry> waiting) {
        try {
            String[] words = line.split(" ");
            long entry = Long.parseLong(words[1]);
            last = Math.max(last, entry);
            if (words[0].equals("-") && words.length == 2) {
                waiting.remove(entry);
                return;
            }
            if (words[0].equals("+") && words.length == 6
                    && (words[2].equals("consume") || words[2].equals("record"))) {
                Map<String, Long> amounts = Arrays.stream(words[5].split(","))
                        .map(amount -> amount.split("="))
                        .collect(Collectors.toMap(amount -> decoded(amount[0]),
                                amount -> Long.valueOf(amount[1])));
                waiting.put(entry, new Entry(entry, words[2], new Request(
                        new Scope(decoded(words[3])), amounts, decoded(words[4]))));
                return;
            }
        } catch (QuotaException | IllegalArgumentException | ArrayIndexOutOfBoundsException e) {
            throw damaged(line, number, e);
        }
        throw damaged(line, number, null);
    }

    private QuotaException damaged(String line, int number, @Nullable RuntimeException e) {
        return new QuotaException.InvalidFile(path.toString(), number, "call",
                "\"" + line + "\" is nothing that was written here; mend it, or take it out", e);
    }

    /** A new one, on the disk when this returns; throws if it cannot be, and keeps nothing then. */
    Entry add(String verb, Request request) throws IOException {
        Entry entry = new Entry(last + 1, verb, request);
        long before = file.length();
        try {
            write(entry.line());
            file.getFD().sync();
            last++;
            return entry;
        } catch (IOException e) {
            file.setLength(before);
            throw e;
        }
    }

    /** It is charged. If this line is lost, it is charged again under its key: that is, not. */
    void remove(Entry entry) throws IOException {
        write("- " + entry.number());
    }

    private void write(String line) throws IOException {
        file.seek(file.length());
        file.write((line + "\n").getBytes(StandardCharsets.UTF_8));
    }

    /** Nothing waits. */
    void clear() throws IOException {
        file.setLength(0);
    }

    private static String encoded(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }

    private static String decoded(String text) {
        return URLDecoder.decode(text, StandardCharsets.UTF_8);
    }

    @Override
    public void close() {
        close(file);
    }
}
