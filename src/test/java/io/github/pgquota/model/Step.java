package io.github.pgquota.model;

import io.github.pgquota.Limit;
import io.github.pgquota.OperationId;
import io.github.pgquota.Operations;
import io.github.pgquota.Request;
import io.github.pgquota.Scope;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** A step of a program. It names tenants A and B; what was made before by numbers that wrap. */
sealed interface Step {

    /** One of the two that a program runs on: the model or the database. */
    final class Side {
        final Operations verbs;
        final Lists lists;
        final Administration administration;
        final String suffix;
        final List<OperationId> operations = new ArrayList<>();
        final List<OperationId> holds = new ArrayList<>();
        final List<UUID> adjustments = new ArrayList<>();
        Instant now;

        Side(Operations verbs, Lists lists, Administration administration, String suffix) {
            this.verbs = verbs;
            this.lists = lists;
            this.administration = administration;
            this.suffix = suffix;
        }

        /** Programs share a database, so each has tenants and plans of its own. */
        String own(String name) {
            return name.charAt(0) + suffix + name.substring(1);
        }

        Request own(Request request) {
            return new Request(new Scope(own(request.scope().path())), request.amounts(),
                    request.key());
        }

        OperationId pick(List<OperationId> from, int number) {
            return from.isEmpty() || number < 0
                    ? new OperationId(own("A"),
                    UUID.fromString("01900000-0000-7000-8000-000000000000"))
                    : from.get(number % from.size());
        }
    }

    /** Where lists of calls of all verbs are decided. */
    interface Lists {
        /** The outcomes in order: decisions and exceptions. */
        List<Object> decide(List<Consumer<Operations>> calls, Way way) throws Exception;
    }

    /** A step that calls one verb. */
    sealed interface Call extends Step {
        Object call(Side side, Operations verbs);

        /** The hold or operation that it is about. */
        default @Nullable OperationId about(Side side) {
            return null;
        }

        /** Whether it may leave less used or held than there was. */
        default boolean gives() {
            return false;
        }

        default @Nullable String keyOrNull() {
            return null;
        }

        @Override
        default Object run(Side side) {
            return call(side, side.verbs);
        }
    }

    /** The step's outcome, which must be the same on both sides; may throw it. */
    Object run(Side side) throws Exception;

    /** Smaller steps that may fail in the same way. */
    default List<Step> smaller() {
        return List.of();
    }

    /** Time: a step forward or back, or to just before or at the end of a window or hold. */
    record Clock(Duration by, int boundary, boolean before) implements Step {
        @Override
        public Object run(Side side) throws Exception {
            side.administration.clock(side.now);
            return "";
        }
    }

    /** A plan's next version. */
    record Publish(String plan, List<Limit> limits) implements Step {
        @Override
        public Object run(Side side) throws Exception {
            side.administration.publish(side.own(plan), limits);
            return "";
        }

        @Override
        public List<Step> smaller() {
            return IntStream.range(0, limits.size())
                    .mapToObj(i -> (Step) new Publish(plan, without(limits, i))).toList();
        }
    }

    /** A tenant's settings. */
    record Settings(String tenant, String plan, ZoneId zone, LocalDateTime anchor) implements Step {
        @Override
        public Object run(Side side) throws Exception {
            side.administration.tenant(
                    side.own(tenant), plan == null ? null : side.own(plan), zone, anchor);
            return "";
        }
    }

    /** An override or a boost. */
    record Adjust(String scope, String limit, boolean boost, Long capacity, Duration in,
            Duration lasts)
            implements Step {
        @Override
        public Object run(Side side) throws Exception {
            Instant from = side.now.plus(in);
            side.adjustments.add(side.administration.adjust(
                    new Scope(side.own(scope)), limit, boost, capacity, from, from.plus(lasts)));
            return "";
        }
    }

    /** The end of one of tenant A's overrides or boosts. */
    record Withdraw(int number) implements Step {
        @Override
        public Object run(Side side) throws Exception {
            if (!side.adjustments.isEmpty()) {
                UUID id = side.adjustments.get(number % side.adjustments.size());
                side.administration.withdraw(side.own("A"), id);
            }
            return "";
        }
    }

    /** Running windows set back to zero; which is told, in an order of its own. */
    record Reset(String scope, boolean dryRun) implements Step {
        @Override
        public Object run(Side side) throws Exception {
            return side.administration.reset(new Scope(side.own(scope)), dryRun).stream()
                    .map(b -> b.scope() + " " + b.meter() + " " + b.used() + " " + b.startOrNull())
                    .sorted().toList();
        }
    }

    /** A verb with a request. */
    record Take(String verb, Request request, Duration ttl) implements Call {
        @Override
        public Object call(Side side, Operations verbs) {
            Request own = side.own(request);
            return switch (verb) {
                case "consume" -> verbs.consume(own);
                case "consumeUpTo" -> verbs.consumeUpTo(own);
                case "record" -> verbs.record(own);
                case "reserve" -> verbs.reserve(own, ttl);
                case "check" -> verbs.check(own);
                default -> throw new IllegalStateException(verb);
            };
        }

        @Override
        public @Nullable String keyOrNull() {
            return request.key();
        }

        @Override
        public List<Step> smaller() {
            return Step.smaller(request).stream().map(r -> (Step) new Take(verb, r, ttl)).toList();
        }
    }

    /** Several requests in one call. */
    record Batch(List<Request> requests) implements Step {
        @Override
        public Object run(Side side) {
            return side.verbs.consumeAll(requests.stream().map(side::own).toList());
        }

        @Override
        public List<Step> smaller() {
            List<Step> smaller = new ArrayList<>();
            for (int i = 0; i < requests.size(); i++) {
                smaller.add(new Batch(without(requests, i)));
                for (Request request : Step.smaller(requests.get(i))) {
                    List<Request> other = new ArrayList<>(requests);
                    other.set(i, request);
                    smaller.add(new Batch(other));
                }
            }
            return smaller;
        }
    }

    /** How a list reaches the database. */
    enum Way {
        ALONE(null, false),
        JOINED("read committed", false),
        REPEATABLE("repeatable read", false),
        SERIALIZABLE("serializable", false),
        /** Rolled back, then called again. */
        AGAIN("read committed", true);

        final @Nullable String isolation;
        final boolean twice;

        Way(@Nullable String isolation, boolean twice) {
            this.isolation = isolation;
            this.twice = twice;
        }
    }

    /** A call, made so many times one after the other. */
    record Repeated(Call call, int times) {

        List<Repeated> smaller() {
            List<Repeated> smaller = new ArrayList<>();
            if (times > 1) {
                smaller.add(new Repeated(call, times / 2));
                smaller.add(new Repeated(call, times - 1));
            }
            call.smaller().forEach(c -> smaller.add(new Repeated((Call) c, times)));
            return smaller;
        }
    }

    /** Calls of all verbs in one list; nothing is named twice, as the combiner sees to. */
    record Mixed(List<Repeated> calls, Way way) implements Step {
        @Override
        public Object run(Side side) throws Exception {
            return side.lists.decide(calls(side).stream().map(c -> on(side, c)).toList(), way);
        }

        static Consumer<Operations> on(Side side, Call call) {
            return verbs -> call.call(side, verbs);
        }

        List<Call> calls(Side side) {
            Set<OperationId> named = new HashSet<>();
            List<Call> all = new ArrayList<>();
            for (Repeated repeated : calls) {
                OperationId about = repeated.call.about(side);
                if (about == null) {
                    all.addAll(Collections.nCopies(repeated.times, repeated.call));
                } else if (named.add(about)) {
                    all.add(repeated.call);
                }
            }
            return all;
        }

        @Override
        public List<Step> smaller() {
            List<Step> smaller = new ArrayList<>();
            if (way != Way.ALONE) {
                smaller.add(new Mixed(calls, Way.ALONE));
            }
            fewer().forEach(c -> smaller.add(new Mixed(c, way)));
            return smaller;
        }

        private List<List<Repeated>> fewer() {
            List<List<Repeated>> fewer = new ArrayList<>();
            for (int i = 0; i < calls.size(); i++) {
                fewer.add(without(calls, i));
                for (Repeated one : calls.get(i).smaller()) {
                    List<Repeated> other = new ArrayList<>(calls);
                    other.set(i, one);
                    fewer.add(other);
                }
            }
            return fewer;
        }
    }

    /**
     * Two lists at once. The first is in a transaction that ends when the second waits for it, or
     * has been decided; or, if that is repeatable, as soon as its snapshot is taken.
     */
    record Race(Mixed first, Mixed second) implements Step {
        @Override
        public Object run(Side side) {
            throw new UnsupportedOperationException("needs both sides");
        }

        @Override
        public List<Step> smaller() {
            List<Step> smaller = new ArrayList<>(List.of(first, second));
            first.smaller().forEach(f -> smaller.add(new Race((Mixed) f, second)));
            second.smaller().forEach(f -> smaller.add(new Race(first, (Mixed) f)));
            return smaller;
        }
    }

    /** The end of a hold. */
    record Settle(int hold, Map<String, Long> amounts) implements Call {
        @Override
        public Object call(Side side, Operations verbs) {
            return verbs.settle(about(side), amounts);
        }

        @Override
        public OperationId about(Side side) {
            return side.pick(side.holds, hold);
        }

        @Override
        public boolean gives() {
            return true;
        }

        @Override
        public List<Step> smaller() {
            return Step.smaller(amounts).stream().map(a -> (Step) new Settle(hold, a)).toList();
        }
    }

    /** The end of a hold, nothing charged. */
    record Release(int hold) implements Call {
        @Override
        public Object call(Side side, Operations verbs) {
            return verbs.release(about(side));
        }

        @Override
        public OperationId about(Side side) {
            return side.pick(side.holds, hold);
        }

        @Override
        public boolean gives() {
            return true;
        }
    }

    /** More time and units for a hold. */
    record Extend(int hold, Map<String, Long> amounts, Duration ttl, String key) implements Call {
        @Override
        public Object call(Side side, Operations verbs) {
            return verbs.extend(about(side), amounts, ttl, key);
        }

        @Override
        public OperationId about(Side side) {
            return side.pick(side.holds, hold);
        }

        @Override
        public @Nullable String keyOrNull() {
            return key;
        }

        @Override
        public List<Step> smaller() {
            return Step.smaller(amounts).stream().map(a -> (Step) new Extend(hold, a, ttl, key))
                    .toList();
        }
    }

    /** Units given back. */
    record Refund(int operation, Map<String, Long> amounts, String key) implements Call {
        @Override
        public Object call(Side side, Operations verbs) {
            return verbs.refund(about(side), amounts, key);
        }

        @Override
        public OperationId about(Side side) {
            return side.pick(side.operations, operation);
        }

        @Override
        public boolean gives() {
            return true;
        }

        @Override
        public @Nullable String keyOrNull() {
            return key;
        }

        @Override
        public List<Step> smaller() {
            return Step.smaller(amounts).stream().map(a -> (Step) new Refund(operation, a, key))
                    .toList();
        }
    }

    /** A look. */
    record Look(String scope) implements Step {
        @Override
        public Object run(Side side) {
            return side.verbs.balances(new Scope(side.own(scope)));
        }
    }

    private static List<Request> smaller(Request request) {
        List<Request> smaller = new ArrayList<>();
        if (request.key() != null) {
            smaller.add(request.key(null));
        }
        if (request.amounts().size() > 1) {
            smaller(request.amounts()).forEach(a -> smaller.add(new Request(request.scope(), a,
                    request.key())));
        }
        return smaller;
    }

    private static List<Map<String, Long>> smaller(Map<String, Long> amounts) {
        List<Map<String, Long>> smaller = new ArrayList<>();
        for (String meter : amounts.keySet()) {
            Map<String, Long> fewer = new TreeMap<>(amounts);
            fewer.remove(meter);
            smaller.add(fewer);
        }
        return smaller;
    }

    private static <T> List<T> without(List<T> list, int index) {
        List<T> fewer = new ArrayList<>(list);
        fewer.remove(index);
        return fewer;
    }
}
