package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** What is given back when many ask for it. */
class RefundTest {

    private static final Limit MESSAGES =
            Limit.named("messages").on("requests").capacity(100).per(Window.month());

    @Test
    void manyAtOnceNeverGiveBackMoreThanWasTaken() throws Exception {
        try (World world = World.create(16)) {
            world.plan("P", MESSAGES).tenant("acme", "P");
            OperationId operation = world.quotas()
                    .consume(Request.of("acme").take("requests", 50)).orThrow().operation();
            // others' use, which must not be given back in its place
            world.quotas().consume(Request.of("acme").take("requests", 50)).orThrow();
            List<Long> given = Callers.run(16, caller -> {
                try {
                    return world.quotas().refund(operation, Map.of("requests", 4L), null)
                            .granted().get("requests");
                } catch (QuotaException.RefundTooLarge e) {
                    assertThat(e.refundable()).isEqualTo(2);
                    return 0L;
                }
            });
            assertThat(given.stream().mapToLong(n -> n).sum()).isEqualTo(48);
            assertThat(world.rows("select used from pgquota.counter")).containsExactly("52");
            world.proof();
        }
    }
}
