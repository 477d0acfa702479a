package io.github.pgquota.tool.demo;

import de.siegmar.fastcsv.reader.CsvParseException;
import de.siegmar.fastcsv.reader.CsvReader;
import de.siegmar.fastcsv.reader.CsvRecord;
import de.siegmar.fastcsv.reader.FieldMismatchStrategy;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.time.format.ResolverStyle;
import java.time.temporal.ChronoField;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * Reads a trace: {@code TIMESTAMP,ContextTokens,GeneratedTokens}, and perhaps a fourth column that
 * names the tenant. Forgives what cannot change a figure (line ends, a byte order mark, quotes,
 * blanks around numbers, empty lines, the header's case or absence) and refuses everything else,
 * with the line, the field and the reason.
 */
final class TraceReader {

    private static final List<String> COLUMNS =
            List.of("TIMESTAMP", "ContextTokens", "GeneratedTokens", "tenant");

    private static final String HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens[,tenant]";

    /** What the published traces have: a blank or a T, up to nine decimals, perhaps an offset. */
    private static final DateTimeFormatter TIMESTAMP = new DateTimeFormatterBuilder()
            .appendPattern("uuuu-MM-dd")
            .appendPattern("['T'][ ]HH:mm")
            .optionalStart().appendPattern(":ss")
            .optionalStart().appendFraction(ChronoField.NANO_OF_SECOND, 1, 9, true).optionalEnd()
            .optionalEnd()
            .appendPattern("[XXX][X]")
            .toFormatter(Locale.ROOT)
            .withResolverStyle(ResolverStyle.STRICT);

    private final String file;
    private final List<Call> calls = new ArrayList<>();
    private int columns;
    private long line;
    private long total;

    private TraceReader(String file) {
        this.file = file;
    }

    /** @throws BadInput if there is no such file, or one of its lines is malformed */
    static Trace read(Path path) {
        if (Files.isDirectory(path)) {
            throw new BadInput(path + ": is a directory, not a trace");
        }
        try (InputStream in = new BufferedInputStream(Files.newInputStream(path))) {
            return read(path.toString(), in);
        } catch (NoSuchFileException e) {
            throw new BadInput(path + ": there is no such file");
        } catch (IOException e) {
            throw new BadInput(path + ": cannot be read: " + e.getMessage());
        }
    }

    /** @throws BadInput if a line is malformed */
    static Trace read(String name, InputStream in) throws IOException {
        TraceReader reader = new TraceReader(name);
        skipByteOrderMark(in);
        // A decoder that reports: with a replacement character a tenant would be another one.
        Reader text = new InputStreamReader(in, StandardCharsets.UTF_8.newDecoder());
        try (CsvReader<CsvRecord> records = CsvReader.builder()
                .allowUnclosedQuote(false)
                // Counted below, where a complaint can name the field.
                .extraFieldStrategy(FieldMismatchStrategy.IGNORE)
                .missingFieldStrategy(FieldMismatchStrategy.IGNORE)
                .ofCsvRecord(text)) {
            records.forEach(reader::record);
        } catch (CsvParseException e) {
            throw reader.unreadable(e);
        } catch (UncheckedIOException e) {
            if (e.getCause() instanceof CharacterCodingException) {
                throw new BadInput(name + ": after line " + reader.line + ": is no UTF-8 text");
            }
            throw e.getCause();
        }
        if (reader.calls.isEmpty()) {
            throw new BadInput(name + ": holds no calls; it should begin with " + HEADER);
        }
        return new Trace(name, List.copyOf(reader.calls), reader.columns == 4);
    }

    private void record(CsvRecord record) {
        line = record.getStartingLineNumber();
        if (record.getFieldCount() == 1 && record.getField(0).isBlank()) {
            return;
        }
        if (columns == 0) {
            columns = record.getFieldCount();
            if (isHeader(record)) {
                return;
            }
        }
        for (int i = record.getFieldCount(); i < columns; i++) {
            throw bad(i, "is missing");
        }
        if (record.getFieldCount() > columns) {
            throw new BadInput(file, line, String.valueOf(columns + 1),
                    "\"" + abridged(record.getField(columns)) + "\" is too much: there are "
                    + columns + " columns");
        }
        timestamp(record.getField(0));
        long context = tokens(1, record.getField(1));
        long generated = tokens(2, record.getField(2));
        // 2^62 is the most that a request may ask for; two such numbers still add up.
        check(2, "together with ContextTokens", context + generated);
        if (total > Long.MAX_VALUE - context - generated) {
            throw bad(2, "brings the trace's tokens to more than 2^63 - 1");
        }
        total += context + generated;
        calls.add(new Call(columns < 4 ? null : tenant(record.getField(3)), context, generated));
    }

    /** Whether the first record names the columns; if it does not, it must be a call. */
    private boolean isHeader(CsvRecord record) {
        boolean header = sameName(record.getField(0), COLUMNS.get(0));
        if (!header && !record.getField(0).strip().matches("[0-9].*")) {
            throw new BadInput(file, line, COLUMNS.get(0), "\"" + abridged(record.getField(0))
                    + "\" is neither a time nor the header " + HEADER);
        }
        if (columns < 3 || columns > 4) {
            throw new BadInput(file, line, String.valueOf(Math.min(columns, 4) + 1),
                    (columns < 3 ? "is missing" : "is too much") + ": the columns are " + HEADER);
        }
        for (int i = 1; header && i < 3; i++) {
            if (!sameName(record.getField(i), COLUMNS.get(i))) {
                throw bad(i, "is called \"" + abridged(record.getField(i))
                        + "\" in the header, which should be " + HEADER);
            }
        }
        return header;
    }

    private static boolean sameName(String found, String wanted) {
        return found.replaceAll("[\\s_-]", "").equalsIgnoreCase(wanted);
    }

    private void timestamp(String text) {
        if (text.isBlank()) {
            throw bad(0, "is missing");
        }
        try {
            TIMESTAMP.parse(text.strip());
        } catch (DateTimeException e) {
            throw bad(0, "\"" + abridged(text)
                    + "\" is no time such as 2023-11-16 18:17:03.9799600");
        }
    }

    private long tokens(int column, String text) {
        String digits = text.strip();
        if (digits.isEmpty()) {
            throw bad(column, "is missing");
        }
        if (digits.matches("-[0-9]+")) {
            throw bad(column, "\"" + abridged(text) + "\" is negative");
        }
        if (!digits.matches("[0-9]+")) {
            throw bad(column, "\"" + abridged(text) + "\" is no whole number");
        }
        long value;
        try {
            value = Long.parseLong(digits);
        } catch (NumberFormatException e) {
            value = Long.MAX_VALUE;
        }
        return check(column, "\"" + abridged(text) + "\"", value);
    }

    /** The library knows the range of an amount. */
    private long check(int column, String what, long value) {
        try {
            Request.of("any").take("tokens", value);
            return value;
        } catch (QuotaException.Invalid e) {
            throw bad(column, what + " is more than 2^62");
        }
    }

    private String tenant(String name) {
        if (name.isEmpty()) {
            throw bad(3, "is missing");
        }
        if (name.indexOf('/') >= 0) {
            throw bad(3, "\"" + abridged(name) + "\" contains a slash");
        }
        try {
            return Scope.of(name).tenant().intern();
        } catch (QuotaException.Invalid e) {
            throw bad(3, e.getMessage().replaceFirst("^scope ", ""));
        }
    }

    private BadInput bad(int column, String problem) {
        return new BadInput(file, line, COLUMNS.get(column), problem);
    }

    /** What the CSV reader refused, such as a quote that is never closed. */
    private BadInput unreadable(CsvParseException e) {
        Throwable cause = e.getCause() == null ? e : e.getCause();
        return new BadInput(file + ": after line " + line + ": " + cause.getMessage());
    }

    private static String abridged(@Nullable String text) {
        String shown = String.valueOf(text);
        return shown.length() <= 60 ? shown : shown.substring(0, 60) + "...";
    }

    private static void skipByteOrderMark(InputStream in) throws IOException {
        in.mark(3);
        if (in.read() != 0xEF || in.read() != 0xBB || in.read() != 0xBF) {
            in.reset();
        }
    }
}
