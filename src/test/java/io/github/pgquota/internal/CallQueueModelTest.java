package io.github.pgquota.internal;

import io.github.pgquota.Request;
import java.util.ArrayList;
import java.util.List;
import org.jetbrains.lincheck.datastructures.IntGen;
import org.jetbrains.lincheck.datastructures.ModelCheckingOptions;
import org.jetbrains.lincheck.datastructures.Operation;
import org.jetbrains.lincheck.datastructures.Param;
import org.jetbrains.lincheck.datastructures.StressOptions;
import org.junit.jupiter.api.Test;

/**
 * Whatever the interleaving of its callers, the queue answers as if they had come one by one.
 * Lincheck makes up programs of these operations and tries their interleavings.
 */
@Param(name = "small", gen = IntGen.class, conf = "0:1")
@Param(name = "number", gen = IntGen.class, conf = "1:3")
public class CallQueueModelTest {

    /** By tenant and amount; made once, because this is not what is tried. */
    private static final Change[][] CHANGES = {
        {change("acme", 1), change("acme", 2)}, {change("beta", 1), change("beta", 2)}};

    private final CallQueue queue = new CallQueue(1_000, 1);

    private static Change change(String tenant, int amount) {
        return Change.consume(Request.of(tenant).take("m", amount));
    }

    /** A call of a tenant that waits until a time. */
    @Operation
    public boolean add(@Param(name = "small") int tenant, @Param(name = "small") int amount,
            @Param(name = "number") int deadline) {
        return queue.add(new Call(CHANGES[tenant][amount], deadline));
    }

    /** A call that is not to be sent. */
    @Operation
    public boolean addWithdrawn(@Param(name = "small") int tenant) {
        Call call = new Call(CHANGES[tenant][0], 2);
        call.withdraw();
        return queue.add(call);
    }

    /** The tenants, amounts and numbers of what is taken. */
    @Operation
    public String take(@Param(name = "number") int most) {
        StringBuilder taken = new StringBuilder();
        for (Run run : queue.take(most)) {
            taken.append(name(run.change())).append('*').append(run.calls().size()).append(' ');
        }
        return taken.toString();
    }

    @Operation
    public boolean occupy(@Param(name = "small") int tenant) {
        return queue.occupy(tenant == 0 ? "acme" : "beta");
    }

    @Operation
    public void release(@Param(name = "small") int tenant) {
        queue.release(tenant == 0 ? "acme" : "beta");
    }

    @Operation
    public boolean isEmpty() {
        return queue.isEmpty();
    }

    /** The tenants and amounts of those that are late, and when the next is. */
    @Operation
    public String expire(@Param(name = "number") int now) {
        List<Call> late = new ArrayList<>();
        StringBuilder told = new StringBuilder();
        told.append(queue.expire(now, IllegalStateException::new, late));
        for (Call call : late) {
            told.append(' ').append(name(call.change));
        }
        return told.toString();
    }

    private static int name(Change change) {
        for (int i = 0; i < 4; i++) {
            if (CHANGES[i / 2][i % 2] == change) {
                return i;
            }
        }
        throw new IllegalStateException("not one of ours");
    }

    @Test
    void interleavings() {
        new ModelCheckingOptions().iterations(20).invocationsPerIteration(200).threads(2)
                .actorsBefore(2).actorsPerThread(2).actorsAfter(1).check(CallQueueModelTest.class);
    }

    @Test
    void threads() {
        new StressOptions().iterations(30).invocationsPerIteration(2_000).threads(3)
                .actorsBefore(2).actorsPerThread(3).actorsAfter(2).check(CallQueueModelTest.class);
    }
}
