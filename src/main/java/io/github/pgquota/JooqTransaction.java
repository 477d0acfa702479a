package io.github.pgquota;

import io.github.pgquota.internal.JooqOperations;
import org.jooq.Configuration;
import org.jooq.DSLContext;

/**
 * The verbs inside a jOOQ transaction; all that the API has to do with jOOQ.
 *
 * <pre>{@code
 * dsl.transaction(tx -> {
 *     tx.dsl().insertInto(MESSAGE).set(…).execute();
 *     JooqTransaction.within(quotas, tx).consume(call).orThrow();
 * });
 * }</pre>
 */
public final class JooqTransaction {

    private JooqTransaction() {}

    /** See {@link Quotas#within}: on the connection of that configuration. */
    public static Operations within(Quotas quotas, Configuration configuration) {
        return new JooqOperations(quotas, configuration);
    }

    /** See {@link Quotas#within}: on the connection of that context. */
    public static Operations within(Quotas quotas, DSLContext context) {
        return within(quotas, context.configuration());
    }
}
