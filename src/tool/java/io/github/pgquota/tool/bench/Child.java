package io.github.pgquota.tool.bench;

import io.github.pgquota.tool.PostgresServer;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;

/**
 * A process of its own that calls. Reads where and what from its first line; then a number of
 * nanoseconds a line, for which it answers with a slice; and ends with its input, so that it does
 * not outlive who started it.
 */
final class Child {

    private static final String READY = "ready";

    private Child() {}

    /** Where and what, in words without blanks. */
    static String task(Stage stage, Line line) {
        return String.join(" ", stage.server().loginUrl("postgres"), stage.database(),
                Integer.toString(stage.scopes()), line.workload(), line.path(),
                Integer.toString(line.callers()), line.kind());
    }

    public static void main(String[] args) throws Exception {
        BufferedReader input = new BufferedReader(
                new InputStreamReader(System.in, StandardCharsets.UTF_8));
        String[] task = input.readLine().split(" ");
        Line line = new Line(task[3], task[4], Integer.parseInt(task[5]), task[6], 0);
        try (PostgresServer server = PostgresServer.start(task[0]);
                Stage stage = Stage.join(server, task[1], Integer.parseInt(task[2]));
                Door door = new Door(stage, Child::noRedis, 0)) {
            Contender contender = door.contender(line);
            System.out.println(READY);
            for (String nanos = input.readLine(); nanos != null; nanos = input.readLine()) {
                Slice slice = contender.run(Duration.ofNanos(Long.parseLong(nanos)));
                System.out.println(slice.encode());
            }
        }
        System.exit(0); // threads of others must not keep it alive
    }

    private static RedisServer noRedis() {
        throw new NotRunException("processes have no Redis");
    }
}
