package io.github.pgquota.tool.demo;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.concurrent.atomic.AtomicLong;
import javax.sql.DataSource;

/** Counts how often a connection is taken: the library takes one for each statement. */
record Statements(DataSource pool, AtomicLong number) {

    Statements(DataSource pool) {
        this(pool, new AtomicLong());
    }

    /** The same pool, counted. */
    DataSource counted() {
        return (DataSource) Proxy.newProxyInstance(Statements.class.getClassLoader(),
                new Class<?>[] {DataSource.class}, (proxy, method, arguments) -> {
                    if (method.getName().equals("getConnection")) {
                        number.incrementAndGet();
                    }
                    try {
                        return method.invoke(pool, arguments);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                });
    }
}
