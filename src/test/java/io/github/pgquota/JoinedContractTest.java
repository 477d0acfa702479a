package io.github.pgquota;

import java.lang.reflect.InvocationTargetException;
import java.sql.Connection;

/** Each call is in a transaction of the caller's, who commits it, or rolls back after an error. */
class JoinedContractTest extends ContractTest {

    @Override
    Operations operations(World world) {
        return through((verb, arguments) -> {
            try (Connection connection = world.pool().getConnection()) {
                connection.setAutoCommit(false);
                try {
                    Object answer = verb.invoke(world.quotas().within(connection), arguments);
                    connection.commit();
                    return answer;
                } catch (InvocationTargetException e) {
                    if (e.getCause() instanceof QuotaException.Partial) {
                        connection.commit(); // keeps those of the list that were decided
                    } else {
                        connection.rollback();
                    }
                    throw e;
                }
            }
        });
    }
}
