package io.github.pgquota.tool.bench;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Several processes, each with its pool, that call at the same time: callers in equal parts. */
final class Children implements Contender {

    private static final int WARM_UPS = 5;

    private final Line line;
    private final Contender here;
    private final List<Talk> children = new ArrayList<>();

    /** Both ends of a process. */
    private record Talk(Process process, PrintWriter to, BufferedReader from) {

        static Talk with(String task) {
            try {
                Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp", System.getProperty("java.class.path"), Child.class.getName())
                        .redirectError(ProcessBuilder.Redirect.INHERIT).start();
                Talk talk = new Talk(process,
                        new PrintWriter(new OutputStreamWriter(
                                process.getOutputStream(), StandardCharsets.UTF_8), true),
                        new BufferedReader(new InputStreamReader(
                                process.getInputStream(), StandardCharsets.UTF_8)));
                talk.to.println(task);
                return talk;
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        String answer() {
            try {
                String answer = from.readLine();
                if (answer == null) {
                    throw new IllegalStateException("a child has ended; it said why");
                }
                return answer;
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }

    /**
     * Starts them.
     *
     * @param line says how many callers there are in all
     * @param here the same within this process, which knows what is stored
     */
    Children(Line line, Contender.Local here, Stage stage, int processes) {
        this.line = line;
        this.here = here;
        Line part = new Line(line.workload(), here.line().path(), line.callers() / processes,
                line.kind(), line.rttMillis());
        String task = Child.task(stage, part);
        for (int i = 0; i < processes; i++) {
            children.add(Talk.with(task));
        }
        children.forEach(Talk::answer);
    }

    /** New JVMs are slow at first: they call for some slices that nobody looks at. */
    void warmUp(Duration slice) {
        for (int i = 0; i < WARM_UPS; i++) {
            run(slice);
        }
    }

    @Override
    public Line line() {
        return line;
    }

    @Override
    public long unitsPerCall() {
        return here.unitsPerCall();
    }

    @Override
    public long stored() throws Exception {
        return here.stored();
    }

    @Override
    public Cost spent() {
        return here.spent();
    }

    @Override
    public Slice run(Duration length) {
        children.forEach(child -> child.to().println(length.toNanos()));
        return children.stream().map(child -> Slice.decode(child.answer()))
                .reduce(Slice::plus).orElseThrow();
    }

    @Override
    public void close() {
        children.forEach(child -> child.to().close());
        for (Talk child : children) {
            try {
                if (!child.process().waitFor(30, TimeUnit.SECONDS)) {
                    child.process().destroyForcibly();
                }
            } catch (InterruptedException e) {
                child.process().destroyForcibly();
                Thread.currentThread().interrupt();
            }
        }
    }
}
