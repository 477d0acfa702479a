package io.github.pgquota.tool.fault;

import io.github.pgquota.Balance;
import io.github.pgquota.Decision;
import io.github.pgquota.Granted;
import io.github.pgquota.OperationId;
import io.github.pgquota.Verdict;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * What a process asked and was told, in a file that outlives it: a line before each call, another
 * with its answer, and one for each limit of the answer. They are rows of the tables of {@code
 * history.sql}. Safe for concurrent use.
 */
final class Journal implements AutoCloseable {

    static final List<String> TABLES = List.of("asked", "told", "part");

    private final String process;
    private final OutputStream out;

    Journal(Path file, String process) throws IOException {
        this.process = process;
        this.out = Files.newOutputStream(file);
    }

    /** Before a call is made. */
    void asked(long call, String verb, String scope, @Nullable String key,
            @Nullable OperationId about, @Nullable Duration life, Map<String, Long> amounts) {
        String tenant = scope.contains("/") ? scope.substring(0, scope.indexOf('/')) : scope;
        String units = amounts.entrySet().stream().map(e -> e.getKey() + "=" + e.getValue())
                .sorted().collect(Collectors.joining(","));
        write(line("asked", process, call, verb, tenant, scope, key,
                about == null ? null : about.uuid(), life == null ? null : life.toMillis(), units,
                Instant.now()));
    }

    /** What came of it, if it is not a decision: {@code unknown}, or an exception's name. */
    void told(long call, String outcome) {
        write(line("told", process, call, outcome, null, "f", Instant.now()));
    }

    void told(long call, Decision decision) {
        Granted granted = decision instanceof Granted g ? g : null;
        OperationId operation = granted == null ? null : granted.operationOrNull();
        List<String> lines = new ArrayList<>();
        lines.add(line("told", process, call, granted == null ? "denied" : "granted",
                operation == null ? null : operation.uuid(),
                granted != null && granted.replayed() ? "t" : "f", Instant.now()));
        for (Verdict verdict : decision.limits()) {
            Balance b = verdict.balance();
            Instant start = b.startOrNull();
            Instant end = b.endOrNull();
            lines.add(line("part", process, call, b.limit(), b.meter(), b.scope(),
                    start == null ? "-infinity" : start, end == null ? "infinity" : end, b.mode(),
                    b.capacityOrNull(), b.used(), b.held(),
                    granted == null ? 0 : granted.granted().get(b.meter()),
                    verdict.crossed().toString().replace('[', '{').replace(']', '}')));
        }
        write(String.join("", lines));
    }

    private static String line(@Nullable Object... words) {
        List<String> texts = new ArrayList<>();
        for (Object word : words) {
            texts.add(word == null ? "\\N" : word.toString().replace("\\", "\\\\")
                    .replace("\t", " ").replace("\n", " ").replace("\r", " "));
        }
        return String.join("\t", texts) + "\n";
    }

    /** With the system when this returns, so that a kill does not lose it. */
    private synchronized void write(String lines) {
        try {
            out.write(lines.getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void close() throws IOException {
        out.close();
    }

    /** The rows of a table in a journal; half a line at its end was cut off by a kill. */
    static String rows(Path file, String table) throws IOException {
        String text = Files.readString(file);
        String whole = text.substring(0, text.lastIndexOf('\n') + 1);
        return whole.lines().filter(line -> line.startsWith(table + "\t"))
                .map(line -> line.substring(table.length() + 1) + "\n")
                .collect(Collectors.joining());
    }
}
