package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;

/** A {@link Clerk} in a JVM of its own. */
final class ClerkProcess implements AutoCloseable {

    private final Process process;
    private final BufferedReader answers;

    ClerkProcess(String classPath, TestDatabase database, String name) throws IOException {
        process = new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                "-cp", classPath, Clerk.class.getName(), database.url(),
                TestDatabase.server().user(), TestDatabase.server().password(), name)
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        answers = process.inputReader(StandardCharsets.UTF_8);
    }

    /** What it answers to a line. */
    String ask(String line) throws IOException {
        process.getOutputStream().write((line + "\n").getBytes(StandardCharsets.UTF_8));
        process.getOutputStream().flush();
        String answer = answers.readLine();
        assertThat(answer).as("answer to %s", line).isNotNull();
        return answer;
    }

    void tell(String line) throws IOException {
        assertThat(ask(line)).as(line).isEqualTo("done");
    }

    /** Waits until its threads have been answered so many calls more. */
    void work(int calls) throws IOException {
        long before = Long.parseLong(ask("calls"));
        await().atMost(Duration.ofSeconds(60)).pollInterval(Duration.ofMillis(20))
                .until(() -> Long.parseLong(ask("calls")) >= before + calls);
    }

    /** The longest of its calls since it was last asked, in milliseconds. */
    long longest() throws IOException {
        return Long.parseLong(ask("longest"));
    }

    @Override
    public void close() {
        process.destroyForcibly();
    }
}
