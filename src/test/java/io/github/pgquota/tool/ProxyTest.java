package io.github.pgquota.tool;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.time.Duration;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

/** The proxy in front of a server that is not PostgreSQL; other tests use it in front of one. */
class ProxyTest {

    @Test
    void bytesOfAnyKindComeLater() throws Exception {
        try (ServerSocket echo = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
                Proxy proxy = Proxy.to("127.0.0.1", echo.getLocalPort());
                Socket client = new Socket("127.0.0.1", proxy.port());
                Socket server = echo.accept()) {
            client.setTcpNoDelay(true);
            server.setTcpNoDelay(true);
            proxy.delay(Duration.ofMillis(1).dividedBy(4));
            double[] millis = new double[200];
            for (int i = 0; i < millis.length; i++) {
                long begin = System.nanoTime();
                assertThat(roundTrip(client, server, i)).isEqualTo(i);
                millis[i] = (System.nanoTime() - begin) / 1e6;
            }
            Arrays.sort(millis);
            assertThat(millis[0]).isGreaterThanOrEqualTo(0.5);
            // and not the two that sleeping by the millisecond would make of it
            assertThat(millis[millis.length / 4]).isLessThan(1.9);
            assertThat(proxy.connections()).isOne();
        }
    }

    @Test
    void bytesComeNoFasterThanTheyMay() throws Exception {
        try (ServerSocket echo = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
                Proxy proxy = Proxy.to("127.0.0.1", echo.getLocalPort());
                Socket client = new Socket("127.0.0.1", proxy.port());
                Socket server = echo.accept()) {
            proxy.throttle(10_000);
            long begin = System.nanoTime();
            client.getOutputStream().write(new byte[1_000]);
            assertThat(server.getInputStream().readNBytes(1_000)).hasSize(1_000);
            server.getOutputStream().write(new byte[1_000]);
            assertThat(client.getInputStream().readNBytes(1_000)).hasSize(1_000);
            assertThat(System.nanoTime() - begin).isGreaterThanOrEqualTo(200_000_000);
            proxy.throttle(0);
            assertThat(roundTrip(client, server, 1)).isOne();
        }
    }

    private static int roundTrip(Socket client, Socket server, int number) throws Exception {
        OutputStream out = client.getOutputStream();
        out.write(number);
        out.flush();
        InputStream in = server.getInputStream();
        server.getOutputStream().write(in.read());
        return client.getInputStream().read();
    }
}
