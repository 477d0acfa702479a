package io.github.pgquota.tool.demo;

import io.github.pgquota.tool.PostgresServer;
import java.util.List;

/** Starts a server and says what it is and what it was asked for. */
public final class Replay {

    private Replay() {}

    /** Prints the server's version and the arguments, one a line. */
    public static void main(String[] args) {
        String spec = System.getProperty("pgquota.test.postgres", "embedded");
        try (PostgresServer server = PostgresServer.start(spec)) {
            System.out.println("PostgreSQL " + server.major());
            List.of(args).forEach(argument -> System.out.println("[" + argument + "]"));
        }
    }
}
