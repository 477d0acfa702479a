package io.github.pgquota.internal;

import io.github.pgquota.Decision;
import java.util.concurrent.CompletableFuture;

/** A call whose caller has a future. */
final class Promise extends Call {

    final CompletableFuture<Decision> future = new Future();

    Promise(Change change, long deadline) {
        super(change, deadline);
    }

    /** Tells the outcome. */
    void complete() {
        try {
            future.complete(decision());
        } catch (Throwable e) {
            future.completeExceptionally(e);
        }
    }

    /** Can be cancelled as long as the call is not sent, and is charged nothing then. */
    private final class Future extends CompletableFuture<Decision> {

        @Override
        public boolean cancel(boolean mayInterruptIfRunning) {
            return withdraw() && super.cancel(mayInterruptIfRunning) || isCancelled();
        }

        @Override
        public <U> CompletableFuture<U> newIncompleteFuture() {
            return new CompletableFuture<>(); // what follows is nobody's call
        }
    }
}
