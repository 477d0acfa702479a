package io.github.pgquota.tool.bench;

import com.sun.management.OperatingSystemMXBean;
import com.sun.management.ThreadMXBean;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.jspecify.annotations.Nullable;

/** This JVM: what it has spent, and what it can. The code is Java 17, the JVM may know more. */
final class Client {

    private static final OperatingSystemMXBean SYSTEM =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    private static final ThreadMXBean THREADS =
            (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final @Nullable MethodHandle ALL_ALLOCATED = find(
            ThreadMXBean.class, "getTotalThreadAllocatedBytes", long.class);
    private static final @Nullable MethodHandle VIRTUAL = find(
            Executors.class, "newVirtualThreadPerTaskExecutor", ExecutorService.class);

    private Client() {}

    /** What it has spent by now. */
    static Cost read() {
        return new Cost(
                SYSTEM.getProcessCpuTime(), Double.NaN, Double.NaN, allocated(), Double.NaN);
    }

    private static double allocated() {
        if (ALL_ALLOCATED != null) {
            return (long) call(ALL_ALLOCATED.bindTo(THREADS));
        }
        // those that have ended are missing: callers are threads of a pool, so none should
        long[] bytes = THREADS.getThreadAllocatedBytes(THREADS.getAllThreadIds());
        return Arrays.stream(bytes).filter(b -> b > 0).sum();
    }

    static boolean hasVirtualThreads() {
        return VIRTUAL != null;
    }

    /** A new virtual thread for each task. */
    static ExecutorService virtualThreads() {
        if (VIRTUAL == null) {
            throw new NotRunException("this JDK has no virtual threads");
        }
        return (ExecutorService) call(VIRTUAL);
    }

    private static @Nullable MethodHandle find(Class<?> type, String method, Class<?> result) {
        MethodHandles.Lookup lookup = MethodHandles.publicLookup();
        MethodType shape = MethodType.methodType(result);
        try {
            return type.isInterface() ? lookup.findVirtual(type, method, shape)
                    : lookup.findStatic(type, method, shape);
        } catch (NoSuchMethodException | IllegalAccessException e) {
            return null;
        }
    }

    private static Object call(MethodHandle handle) {
        try {
            return handle.invoke();
        } catch (Throwable e) {
            throw new IllegalStateException(e);
        }
    }
}
