package io.github.pgquota.internal;

import io.github.pgquota.Operations;
import io.github.pgquota.Quotas;
import java.sql.Connection;
import java.util.Objects;
import org.jooq.Configuration;

/** The verbs on the connection of a jOOQ configuration, taken and given back for each call. */
public final class JooqOperations extends Verbs implements Operations {

    private final Configuration configuration;

    /** Used by {@link io.github.pgquota.JooqTransaction} only. */
    public JooqOperations(Quotas quotas, Configuration configuration) {
        Objects.requireNonNull(quotas, "quotas");
        this.configuration = Objects.requireNonNull(configuration, "configuration");
    }

    @Override
    <T> T read(Sql<T> reader) {
        Connection connection = configuration.connectionProvider().acquire();
        if (connection == null) {
            throw new IllegalStateException("the jOOQ configuration has no connection");
        }
        try {
            return new Joined(connection).read(reader);
        } finally {
            configuration.connectionProvider().release(connection);
        }
    }
}
