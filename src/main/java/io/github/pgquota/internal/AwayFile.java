package io.github.pgquota.internal;

import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.channels.FileChannel;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
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

    /**
     * What this process has open. It must not open a file twice: when the second one is closed, the
     * system takes away the lock of the first.
     */
    private static final Set<String> OPEN = ConcurrentHashMap.newKeySet();

    /** So many lines are as well left. */
    private static final int SHORT = 1_000;

    /** The last line of a copy that is. */
    private static final String WHOLE = ".\n";

    private final Path path;
    private final Path copy;
    private final String name;
    /** Not a channel: an interrupt of whoever writes would close it for all. */
    private final RandomAccessFile file;
    private long last;
    private boolean isBroken;
    private boolean isClosed;

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

    private AwayFile(Path path, String name, RandomAccessFile file) {
        this.path = path;
        this.copy = Path.of(name + ".copy");
        this.name = name;
        this.file = file;
    }

    /**
     * Opens or makes the file, for this process only.
     *
     * @throws QuotaException.Invalid if another one has it open, or it cannot be read and written
     */
    static AwayFile open(Path path) {
        String name;
        try {
            name = path.toFile().getCanonicalPath();
        } catch (IOException e) {
            throw new QuotaException.Invalid("file", path, "cannot be opened: " + e);
        }
        if (!OPEN.add(name)) {
            throw inUse(path);
        }
        AwayFile opened = null;
        try {
            opened = new AwayFile(path, name, new RandomAccessFile(name, "rw"));
            if (opened.file.getChannel().tryLock() != null) {
                if (opened.file.length() == 0) { // it may be new
                    opened.syncFolder();
                }
                return opened;
            }
        } catch (OverlappingFileLockException e) {
            // This process has it by another name, or class loader: too late for OPEN's care.
            give(name, opened);
            throw inUse(path);
        } catch (IOException e) {
            give(name, opened);
            throw new QuotaException.Invalid("file", path, "cannot be opened: " + e);
        }
        give(name, opened);
        throw inUse(path);
    }

    private static QuotaException inUse(Path path) {
        return new QuotaException.Invalid("file", path,
                "is in use: give each gate a file of its own");
    }

    private static void give(String name, @Nullable AwayFile opened) {
        if (opened == null) {
            OPEN.remove(name);
        } else {
            opened.close();
        }
    }

    /**
     * What waits in it, oldest first. A line that a crash cut off was never let through. What is
     * done is taken out, if it is more than what waits.
     */
    Map<Long, Entry> read() {
        Map<Long, Entry> waiting = new TreeMap<>();
        try {
            Map<String, Entry> lacking = copied();
            if (file.length() > Integer.MAX_VALUE - 8) {
                throw new IOException("it has " + file.length() + " bytes: take out what is done,"
                        + " the lines of those numbers for which there is a line \"- number\"");
            }
            byte[] bytes = new byte[(int) file.length()];
            file.seek(0);
            file.readFully(bytes);
            int end = bytes.length;
            while (end > 0 && bytes[end - 1] != '\n') {
                end--;
            }
            int lines = take(new String(bytes, 0, end, StandardCharsets.UTF_8), path, waiting,
                    lacking);
            if (end < bytes.length) {
                if (bytes[end] != '+' && bytes[end] != '-') { // a file of somebody else's
                    throw damaged(new String(bytes, end, bytes.length - end,
                            StandardCharsets.UTF_8), path, lines + 1, null);
                }
                file.setLength(end);
            }
            bringBack(lacking.values(), waiting);
            if (Files.deleteIfExists(copy)) {
                syncFolder();
            }
            // one for each that waits, two for each that is done
            if (lines > SHORT + 3 * waiting.size()) {
                shorten(waiting.values());
            }
            return waiting;
        } catch (IOException e) {
            throw new QuotaException.Invalid("file", path, "cannot be read: " + e);
        }
    }

    /** What the file may lack, by id; a copy that is not whole was of no use yet. */
    private Map<String, Entry> copied() throws IOException {
        Map<Long, Entry> entries = new TreeMap<>();
        String text = Files.exists(copy) ? Files.readString(copy) : "";
        if (text.endsWith(WHOLE)) {
            take(text.substring(0, text.length() - WHOLE.length()), copy, entries, new HashMap<>());
            last = 0; // the file's own numbers are to come
        }
        Map<String, Entry> copied = new LinkedHashMap<>();
        entries.values().forEach(entry -> copied.put(entry.id(), entry));
        return copied;
    }

    /** Under new numbers, as others may have the old ones by now. */
    private void bringBack(Collection<Entry> lacking, Map<Long, Entry> waiting)
            throws IOException {
        List<Entry> back = new ArrayList<>();
        for (Entry entry : lacking) {
            last++;
            back.add(new Entry(last, entry.verb(), entry.request()));
        }
        if (!back.isEmpty()) {
            append(text(back), true);
            back.forEach(entry -> waiting.put(entry.number(), entry));
        }
    }

    /**
     * Writes the file anew. All of it is in a copy before and until that is on the disk; it is not
     * the copy that becomes the file, as a lock is of the file that it was taken on.
     */
    private void shorten(Collection<Entry> waiting) throws IOException {
        String text = text(waiting);
        try (RandomAccessFile out = new RandomAccessFile(copy.toFile(), "rw")) {
            out.write((text + WHOLE).getBytes(StandardCharsets.UTF_8));
            out.getFD().sync();
        } catch (IOException e) {
            LOG.warn("{} cannot be written, so {} stays as long as it is", copy, path, e);
            Files.deleteIfExists(copy);
            return;
        }
        syncFolder();
        file.setLength(0);
        append(text, true);
        Files.delete(copy);
        syncFolder();
    }

    private static String text(Collection<Entry> entries) {
        return entries.stream().map(entry -> entry.line() + "\n").collect(Collectors.joining());
    }

    /** New names are on the disk, too, where the system lets a folder be opened. */
    private void syncFolder() {
        try (FileChannel folder = FileChannel.open(Path.of(name).resolveSibling("."))) {
            folder.force(true);
        } catch (IOException e) {
            LOG.debug("the folder of {} cannot be forced to the disk", path, e);
        }
    }

    /** How many lines there are. */
    private int take(
            String text, Path where, Map<Long, Entry> waiting, Map<String, Entry> lacking) {
        int number = 0;
        for (String line : text.split("\n", -1)) { // the last one is empty, or cut off
            number++;
            if (!line.isEmpty()) {
                take(line, where, number, waiting, lacking);
            }
        }
        return number - 1;
    }

    private void take(String line, Path where, int number, Map<Long, Entry> waiting,
            Map<String, Entry> lacking) {
        try {
            String[] words = line.split(" ");
            long entry = Long.parseLong(words[1]);
            if (line.equals("- " + entry)) {
                last = Math.max(last, entry);
                waiting.remove(entry);
                return;
            }
            if (words[0].equals("+") && words.length == 6
                    && (words[2].equals("consume") || words[2].equals("record"))) {
                Map<String, Long> amounts = Arrays.stream(words[5].split(","))
                        .map(amount -> amount.split("="))
                        .collect(Collectors.toMap(amount -> decoded(amount[0]),
                                amount -> Long.valueOf(amount[1])));
                Entry taken = new Entry(entry, words[2], new Request(
                        new Scope(decoded(words[3])), amounts, decoded(words[4])));
                if (entry > last && taken.line().equals(line)) {
                    last = entry;
                    waiting.put(entry, taken);
                    lacking.remove(taken.id());
                    return;
                }
            }
        } catch (QuotaException | IllegalArgumentException | IllegalStateException
                | ArrayIndexOutOfBoundsException e) {
            throw damaged(line, where, number, e);
        }
        throw damaged(line, where, number, null);
    }

    private static QuotaException damaged(
            String line, Path where, int number, @Nullable RuntimeException e) {
        String shown = line.length() > 200 ? line.substring(0, 200) + "…" : line;
        return new QuotaException.InvalidFile(where.toString(), number, "call",
                "\"" + shown + "\" is nothing that was written here; mend it, or take it out", e);
    }

    /** A new one, on the disk when this returns; throws if it cannot be, and keeps nothing then. */
    Entry add(String verb, Request request) throws IOException {
        Entry entry = new Entry(last + 1, verb, request);
        append(entry.line() + "\n", true);
        last++;
        return entry;
    }

    /** It is charged. If this line is lost, it is charged again under its key: that is, not. */
    void remove(Entry entry) {
        try {
            append("- " + entry.number() + "\n", false);
        } catch (IOException e) {
            LOG.warn("{} cannot be written: what it says to wait is charged", path, e);
        }
    }

    /** Whole lines or none: half of one would make nonsense of the next. */
    private void append(String lines, boolean isSynced) throws IOException {
        if (isBroken) {
            throw new IOException("an earlier failure left half a line");
        }
        long before = file.length();
        try {
            file.seek(before);
            file.write(lines.getBytes(StandardCharsets.UTF_8));
            if (isSynced) {
                file.getFD().sync();
            }
        } catch (IOException e) {
            isBroken = true; // unless this goes well
            file.setLength(before);
            isBroken = false;
            throw e;
        }
    }

    /** Nothing waits. */
    void clear() {
        try {
            file.setLength(0);
            isBroken = false;
        } catch (IOException e) {
            LOG.warn("{} cannot be emptied: what it says to wait is charged", path, e);
        }
    }

    private static String encoded(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }

    private static String decoded(String text) {
        return URLDecoder.decode(text, StandardCharsets.UTF_8);
    }

    @Override
    public void close() {
        if (isClosed) {
            return; // somebody else may have the name by now
        }
        isClosed = true;
        try {
            file.close();
        } catch (IOException e) {
            LOG.warn("{} could not be closed", path, e);
        } finally {
            OPEN.remove(name);
        }
    }
}
