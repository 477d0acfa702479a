package io.github.pgquota.tool;

import java.io.Closeable;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.time.Duration;
import java.util.Arrays;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A bad network between a client and a PostgreSQL server: forwards on a local port, counts round
 * trips and connections, delays, throttles, and loses requests or replies. It reads the protocol,
 * so a lost reply is lost after the server has finished the request.
 *
 * <pre>{@code
 * try (Proxy proxy = Proxy.to(server.url("postgres"))) {
 *     proxy.loseReplies(1);
 *     connect(proxy.url(server.url("postgres")));
 * }
 * }</pre>
 *
 * <p>Safe for concurrent use.
 */
public final class Proxy implements AutoCloseable {

    private static final int PROTOCOL_3 = 3;
    /** The type of a parcel that is bytes and no message. */
    private static final int BYTES = -1;

    private final String host;
    private final int port;
    private final boolean postgres;
    private final ServerSocket listener;
    private final Set<Closeable> open = ConcurrentHashMap.newKeySet();
    private final AtomicLong roundTrips = new AtomicLong();
    private final AtomicLong connections = new AtomicLong();
    private final AtomicInteger repliesToLose = new AtomicInteger();
    private final AtomicInteger requestsToLose = new AtomicInteger();
    private volatile long delayNanos;
    private volatile long nanosPerByte;

    private Proxy(String host, int port, boolean postgres) throws IOException {
        this.host = host;
        this.port = port;
        this.postgres = postgres;
        this.listener = new ServerSocket(0, 300, InetAddress.getLoopbackAddress());
        start("accept", this::accept);
    }

    /** A proxy to the server of a JDBC URL. */
    public static Proxy to(String url) {
        URI server = server(url);
        return to(server.getHost(), server.getPort() < 0 ? 5432 : server.getPort(), true);
    }

    /** A proxy to a server of any other kind: it delays and cuts, and counts connections only. */
    public static Proxy to(String host, int port) {
        return to(host, port, false);
    }

    private static Proxy to(String host, int port, boolean postgres) {
        try {
            return new Proxy(host, port, postgres);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The local port that leads through this proxy. */
    public int port() {
        return listener.getLocalPort();
    }

    /** The JDBC URL that leads through this proxy, without encryption. */
    public String url(String url) {
        String through = url.replace(server(url).getAuthority(),
                listener.getInetAddress().getHostAddress() + ":" + listener.getLocalPort());
        return through + (url.contains("?") ? "&" : "?") + "sslmode=disable";
    }

    private static URI server(String url) {
        return URI.create(url.substring("jdbc:".length()));
    }

    /** From now on everything takes that much longer, each way. */
    public void delay(Duration eachWay) {
        delayNanos = eachWay.toNanos();
    }

    /** From now on no more than that comes through a connection, each way; 0: as much as can. */
    public void throttle(int bytesPerSecond) {
        nanosPerByte = bytesPerSecond == 0 ? 0 : TimeUnit.SECONDS.toNanos(1) / bytesPerSecond;
    }

    /** The next n requests are executed, and cut off before their replies come through. */
    public void loseReplies(int n) {
        repliesToLose.set(n);
    }

    /** The next n requests are cut off before they reach the server. */
    public void loseRequests(int n) {
        requestsToLose.set(n);
    }

    /** How often a client has sent something and waited, log-ins not counted. */
    public long roundTrips() {
        return roundTrips.get();
    }

    /** How many connections have been opened. */
    public long connections() {
        return connections.get();
    }

    /** Cuts all connections; new ones can be made. */
    public void cut() {
        open.forEach(Proxy::closeQuietly);
    }

    @Override
    public void close() {
        closeQuietly(listener);
        cut();
    }

    private void accept() throws IOException {
        while (!listener.isClosed()) {
            Socket client = listener.accept();
            connections.incrementAndGet();
            try {
                new Link(client, new Socket(host, port)).start();
            } catch (IOException e) {
                closeQuietly(client);
            }
        }
    }

    /** A client's connection and ours to the server. */
    private final class Link implements Closeable {
        private final Socket client;
        private final Socket server;
        private volatile boolean losing;

        Link(Socket client, Socket server) throws IOException {
            this.client = client;
            this.server = server;
            client.setTcpNoDelay(true);
            server.setTcpNoDelay(true);
            open.add(this);
        }

        void start() throws IOException {
            Wire up = new Wire(this, server.getOutputStream());
            Wire down = new Wire(this, client.getOutputStream());
            if (postgres) {
                Proxy.start("requests", () -> requests(client.getInputStream(), up));
                Proxy.start("replies", () -> replies(server.getInputStream(), down));
            } else {
                Proxy.start("requests", () -> copy(client.getInputStream(), up));
                Proxy.start("replies", () -> copy(server.getInputStream(), down));
            }
            Proxy.start("up", up);
            Proxy.start("down", down);
        }

        /** Log-in messages have no type; after the one with a protocol's version all have one. */
        private void requests(InputStream in, Wire out) throws IOException {
            try (this) {
                DataInputStream data = new DataInputStream(in);
                boolean started = false;
                while (true) {
                    int type = started ? data.read() : 0;
                    if (type < 0) {
                        return;
                    }
                    byte[] body = body(data);
                    if (!started) {
                        started = body.length > 1 && body[0] == 0 && body[1] == PROTOCOL_3;
                    } else if (type == 'S' || type == 'Q') {
                        roundTrips.incrementAndGet();
                        losing = take(repliesToLose);
                    }
                    if (type > 0 && type != 'p' && type != 'X' && take(requestsToLose)) {
                        return;
                    }
                    out.send(type, body);
                }
            }
        }

        private void replies(InputStream in, Wire out) throws IOException {
            try (this) {
                DataInputStream data = new DataInputStream(in);
                for (int type = data.read(); type >= 0; type = data.read()) {
                    byte[] body = body(data);
                    if (!losing) {
                        out.send(type, body);
                    } else if (type == 'Z') {
                        return; // ready for the next request: this one is committed
                    }
                }
            }
        }

        private void copy(InputStream in, Wire out) throws IOException {
            try (this) {
                byte[] buffer = new byte[1 << 16];
                for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                    out.send(BYTES, Arrays.copyOf(buffer, n));
                }
            }
        }

        private byte[] body(DataInputStream data) throws IOException {
            return data.readNBytes(data.readInt() - Integer.BYTES);
        }

        @Override
        public void close() {
            open.remove(this);
            closeQuietly(client);
            closeQuietly(server);
        }
    }

    private static boolean take(AtomicInteger tickets) {
        return tickets.getAndUpdate(n -> Math.max(0, n - 1)) > 0;
    }

    /** One direction: what is sent comes out later, in order, while more is sent. */
    private final class Wire implements Task {
        private record Parcel(int type, byte[] body, long due) {}

        private final Closeable link;
        private final OutputStream out;
        private final BlockingQueue<Parcel> parcels = new LinkedBlockingQueue<>();

        Wire(Closeable link, OutputStream out) {
            this.link = link;
            this.out = new java.io.BufferedOutputStream(out, 1 << 16);
        }

        void send(int type, byte[] body) {
            parcels.add(new Parcel(type, body, System.nanoTime() + delayNanos));
        }

        @Override
        public void run() throws IOException, InterruptedException {
            while (open.contains(link)) {
                Parcel parcel = parcels.poll(1, TimeUnit.SECONDS);
                while (parcel != null) {
                    await(parcel.due());
                    await(System.nanoTime() + nanosPerByte * parcel.body().length);
                    write(parcel);
                    parcel = parcels.poll();
                }
                out.flush();
            }
        }

        /** What is ready goes out before a wait; and no sleep, which would round up to a ms. */
        private void await(long due) throws IOException {
            long left = due - System.nanoTime();
            if (left > 0) {
                out.flush();
            }
            for (; left > 0; left = due - System.nanoTime()) {
                LockSupport.parkNanos(left);
            }
        }

        private void write(Parcel parcel) throws IOException {
            if (parcel.type() > 0) {
                out.write(parcel.type());
            }
            if (parcel.type() != BYTES) {
                int length = parcel.body().length + Integer.BYTES;
                for (int shift = 24; shift >= 0; shift -= 8) {
                    out.write(length >>> shift);
                }
            }
            out.write(parcel.body());
        }
    }

    @FunctionalInterface
    private interface Task {
        void run() throws IOException, InterruptedException;
    }

    /** A cut connection is this program's purpose, so nobody is told of one. */
    private static void start(String name, Task task) {
        Thread thread = new Thread(() -> {
            try {
                task.run();
            } catch (IOException e) {
                return;
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }, "proxy-" + name);
        thread.setDaemon(true);
        thread.start();
    }

    private static void closeQuietly(@Nullable Closeable closeable) {
        try {
            if (closeable != null) {
                closeable.close();
            }
        } catch (IOException e) {
            return; // it is gone all the same
        }
    }
}
