package io.github.pgquota.tool.bench;

import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisConnectionException;
import io.lettuce.core.RedisURI;
import io.lettuce.core.api.StatefulRedisConnection;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.DoubleSupplier;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** A Redis that has every command on disk before it answers: one of ours, or a running one. */
final class RedisServer implements AutoCloseable {

    private static final int SECONDS = 20;

    private final RedisURI uri;
    private final @Nullable Process process;
    private final @Nullable Path folder;
    private final String description;

    private RedisServer(RedisURI uri, @Nullable Process process, @Nullable Path folder) {
        this.uri = uri;
        this.process = process;
        this.folder = folder;
        this.description = describe(uri);
    }

    /** The one of a URL, or, if there is none, a new one. */
    static RedisServer open(@Nullable String url) {
        try {
            return url == null ? start() : new RedisServer(RedisURI.create(url), null, null);
        } catch (RedisConnectionException e) {
            throw new NotRunException("no Redis answers: " + e.getMessage());
        }
    }

    private static RedisServer start() {
        try {
            Path folder = Files.createTempDirectory("pgquota-redis");
            int port = freePort();
            Process process = launch(port, folder);
            Runtime.getRuntime().addShutdownHook(
                    new Thread(() -> stop(process, folder), "stop redis"));
            RedisURI uri = RedisURI.create("127.0.0.1", port);
            awaitAnswer(process, uri);
            return new RedisServer(uri, process, folder);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** No snapshots and no rewriting of the log: within a short run they would hit by chance. */
    private static Process launch(int port, Path folder) throws IOException {
        try {
            return new ProcessBuilder("redis-server", "--bind", "127.0.0.1",
                    "--port", Integer.toString(port), "--dir", folder.toString(),
                    "--appendonly", "yes", "--appendfsync", "always", "--save", "",
                    "--auto-aof-rewrite-percentage", "0", "--daemonize", "no")
                    .redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD)
                    .start();
        } catch (IOException e) {
            Files.delete(folder);
            throw new NotRunException("no redis-server on the PATH, and no --redis URL");
        }
    }

    private static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    private static void awaitAnswer(Process process, RedisURI uri) {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
        while (true) {
            try {
                describe(uri);
                return;
            } catch (RedisConnectionException e) {
                if (!process.isAlive() || System.nanoTime() > end) {
                    throw e;
                }
            }
            try {
                process.waitFor(50, TimeUnit.MILLISECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new IllegalStateException(e);
            }
        }
    }

    private static String describe(RedisURI uri) {
        RedisClient client = RedisClient.create(uri);
        try (StatefulRedisConnection<String, String> connection = client.connect()) {
            String version = connection.sync().info("server")
                    .replaceFirst("(?s).*redis_version:(\\S+).*", "$1");
            Map<String, String> settings = connection.sync().configGet("append*");
            return "Redis " + version + ", appendonly " + settings.get("appendonly")
                    + ", appendfsync " + settings.get("appendfsync");
        } finally {
            client.shutdown();
        }
    }

    RedisURI uri() {
        return uri;
    }

    /** Version and how durable it is. */
    @Override
    public String toString() {
        return description;
    }

    /** What it has used, if it is ours. */
    DoubleSupplier cpu() {
        return process == null ? Gauge.NONE : Gauge.cpu(() -> LongStream.of(process.pid()));
    }

    @Override
    public void close() {
        if (process != null && folder != null) {
            stop(process, folder);
        }
    }

    private static synchronized void stop(Process process, Path folder) {
        process.destroy();
        try {
            process.waitFor(SECONDS, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        if (Files.exists(folder)) {
            delete(folder);
        }
    }

    private static void delete(Path folder) {
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
