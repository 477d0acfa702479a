package io.github.pgquota.internal;

import io.github.pgquota.Limit;
import io.github.pgquota.Plan;
import io.github.pgquota.QuotaException;
import io.github.pgquota.Scope;
import io.github.pgquota.Window;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.BiFunction;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * What a plan file says, read and checked as far as that goes without a database. A setting that is
 * null was not named; one whose value is null was set to nothing.
 *
 * @param file the file's name
 * @param defaultPlan the plan of tenants without one
 * @param defaultZone the zone of tenants without one
 * @param plans in the file's order
 * @param tenants in the file's order
 * @param lines where each field stands, by its path
 */
public record PlanFile(
        String file,
        @Nullable Setting<String> defaultPlan,
        @Nullable Setting<ZoneId> defaultZone,
        List<Plan> plans,
        List<Tenant> tenants,
        Map<String, Integer> lines) {

    /**
     * Reads a file.
     *
     * @throws QuotaException.InvalidFile with line and field
     * @throws QuotaException.MissingLibrary if the YAML parser is not on the class path
     */
    public static PlanFile read(Path path) {
        return new Reader(path.toString()).file(Yaml.read(path));
    }

    /** An error of the field at a path. */
    QuotaException wrong(String path, String problem, @Nullable Throwable cause) {
        return new QuotaException.InvalidFile(file, lines.getOrDefault(path, 0), path, problem,
                cause);
    }

    /** Walks the tree, keeping the path. */
    private static final class Reader {

        private static final Set<String> FILE = Set.of("default_plan", "default_zone", "plans",
                "tenants");
        private static final Set<String> PLAN = Set.of("limits");
        private static final Set<String> LIMIT = Set.of("name", "meter", "window", "capacity",
                "alerts",
                "message", "overage", "mode", "level", "billed");
        private static final Set<String> TENANT = Set.of("plan", "zone", "anchor", "overrides",
                "boosts");
        private static final Set<String> OVERRIDE =
                Set.of("limit", "scope", "capacity", "from", "until", "reason");
        private static final Set<String> BOOST = Set.of("limit", "scope", "units", "from", "until",
                "reason");

        private final String file;
        private final Map<String, Integer> lines = new HashMap<>();

        Reader(String file) {
            this.file = file;
        }

        PlanFile file(Yaml root) {
            Map<String, Yaml> fields = map(root, "", FILE);
            Setting<String> plan = setting(fields, "", "default_plan", this::text);
            Setting<ZoneId> zone = setting(fields, "", "default_zone", this::zone);
            if (zone != null && zone.value() == null) {
                throw wrong(fields.get("default_zone"), "default_zone", "is empty: name a zone "
                        + "such as UTC");
            }
            List<Plan> plans = new ArrayList<>();
            each(fields, "", "plans", (path, entry) -> plans.add(plan(entry.getKey(),
                    entry.getValue(), path)));
            List<Tenant> tenants = new ArrayList<>();
            each(fields, "", "tenants",
                    (path, entry) -> tenants.add(tenant(entry.getKey(), entry.getValue(), path)));
            return new PlanFile(file, plan, zone, List.copyOf(plans), List.copyOf(tenants),
                    Map.copyOf(lines));
        }

        private Plan plan(String name, Yaml node, String path) {
            valid(node, path, () -> Plan.named(name));
            Yaml limits = map(node, path, PLAN).get("limits");
            if (limits == null) {
                throw wrong(node, path + ".limits",
                        "is missing; write [] for a plan without limits");
            }
            Map<String, Limit> all = new LinkedHashMap<>();
            for (Item item : list(limits, path + ".limits")) {
                Limit limit = limit(item.node(), item.path());
                if (all.put(limit.name(), limit) != null) {
                    throw wrong(item.node(), item.path() + ".name", "limit \"" + limit.name()
                            + "\" stands twice in plan " + name);
                }
            }
            return new Plan(name, List.copyOf(all.values()));
        }

        private Limit limit(Yaml node, String path) {
            Map<String, Yaml> fields = map(node, path, LIMIT);
            Limit limit = step(fields, path, "name", Limit.named("name"),
                    (l, f) -> Limit.named(text(f, path + ".name")));
            if (fields.get("name") == null) {
                throw wrong(node, path + ".name", "is missing");
            }
            limit = step(fields, path, "meter", limit, (l, f) -> l.on(text(f, path + ".meter")));
            limit = step(fields, path, "window", limit,
                    (l, f) -> l.per(Window.parse(text(f, path + ".window"))));
            limit = step(fields, path, "capacity", limit, (l, f) -> capacity(l, f, path
                    + ".capacity"));
            limit = step(fields, path, "alerts", limit, (l, f) -> l.alertAt(percents(f, path
                    + ".alerts")));
            limit = step(fields, path, "message", limit, (l, f) -> l.message(text(f, path
                    + ".message")));
            limit = step(fields, path, "overage", limit, (l, f) -> overage(l, f, path
                    + ".overage"));
            limit = step(fields, path, "mode", limit, (l, f) -> l.mode(mode(f, path + ".mode")));
            limit = step(fields, path, "level", limit, (l, f) -> l.level(small(f, path
                    + ".level")));
            return step(fields, path, "billed", limit, (l, f) -> l.billed(truth(f, path
                    + ".billed")));
        }

        private Limit step(Map<String, Yaml> fields, String path, String name, Limit limit,
                BiFunction<Limit, Yaml, Limit> change) {
            Yaml field = fields.get(name);
            return field == null ? limit : valid(field, path + "." + name, () -> change.apply(limit,
                    field));
        }

        private Limit capacity(Limit limit, Yaml node, String path) {
            Long capacity = orUnlimited(node, path);
            return capacity == null ? limit.unlimited() : limit.capacity(capacity);
        }

        private @Nullable Long orUnlimited(Yaml node, String path) {
            return node.value().equals("unlimited") ? null : number(node, path, "a whole number "
                    + "or unlimited");
        }

        private Limit overage(Limit limit, Yaml node, String path) {
            if (node.value().equals("allow")) {
                return limit.allowOverage();
            }
            return limit.allowOverage(
                    node.value().equals("deny") ? 0 : number(node, path, "deny, allow or a whole "
                    + "number"));
        }

        private Limit.Mode mode(Yaml node, String path) {
            String text = text(node, path);
            for (Limit.Mode mode : Limit.Mode.values()) {
                if (mode.name().toLowerCase(Locale.ROOT).equals(text)) {
                    return mode;
                }
            }
            throw wrong(node, path, "must be enforce, observe or off");
        }

        private Integer[] percents(Yaml node, String path) {
            return list(node, path).stream().map(i -> small(i.node(), i.path()))
                    .toArray(Integer[]::new);
        }

        private Tenant tenant(String name, Yaml node, String path) {
            Map<String, Yaml> fields = node.isNothing() ? Map.of() : map(node, path, TENANT);
            valid(node, path, () -> new io.github.pgquota.OperationId(name, new java.util.UUID(0,
                    0)));
            return new Tenant(name,
                    setting(fields, path, "plan", this::text),
                    setting(fields, path, "zone", this::zone),
                    setting(fields, path, "anchor", this::anchor),
                    adjustments(fields, path, "overrides", name, OVERRIDE),
                    adjustments(fields, path, "boosts", name, BOOST));
        }

        private @Nullable List<Adjustment> adjustments(
                Map<String, Yaml> fields, String path, String name, String tenant,
                Set<String> known) {
            Yaml node = fields.get(name);
            return node == null ? null : list(node, path + "." + name).stream()
                    .map(item -> adjustment(item, tenant, known))
                    .toList();
        }

        private Adjustment adjustment(Item item, String tenant, Set<String> known) {
            String path = item.path();
            Map<String, Yaml> fields = map(item.node(), path, known);
            boolean boost = known == BOOST;
            String amount = boost ? "units" : "capacity";
            for (String needed : List.of("limit", amount)) {
                if (fields.get(needed) == null) {
                    throw wrong(item.node(), path + "." + needed, "is missing");
                }
            }
            Setting<String> scope = setting(fields, path, "scope", this::text);
            Scope where = scope == null || scope.value() == null ? Scope.of(tenant)
                    : valid(fields.get("scope"), path + ".scope", () -> Scope.of(scope.value()));
            if (!where.tenant().equals(tenant)) {
                throw wrong(fields.get("scope"), path + ".scope", "is not a scope of tenant "
                        + tenant);
            }
            Yaml units = fields.get(amount);
            Long capacity = boost ? Long.valueOf(number(units, path + ".units", "a whole number"))
                    : orUnlimited(units, path + ".capacity");
            if (capacity != null) {
                valid(units, path + "." + amount, () -> Limit.named("x").capacity(capacity));
            }
            Instant from = value(setting(fields, path, "from", this::time));
            Instant until = value(setting(fields, path, "until", this::time));
            if (from != null && until != null && !until.isAfter(from)) {
                throw wrong(fields.get("until"), path + ".until", "is not after from");
            }
            return new Adjustment(path, boost ? "boost" : "override", where,
                    text(fields.get("limit"), path + ".limit"), capacity, from, until,
                    value(setting(fields, path, "reason", this::text)));
        }

        private static <T> @Nullable T value(@Nullable Setting<T> setting) {
            return setting == null ? null : setting.value();
        }

        private <T> @Nullable Setting<T> setting(
                Map<String, Yaml> fields, String path, String name, BiFunction<Yaml, String,
                T> type) {
            Yaml node = fields.get(name);
            if (node == null) {
                return null;
            }
            return new Setting<>(node.isNothing() ? null : type.apply(node, join(path, name)));
        }

        private ZoneId zone(Yaml node, String path) {
            return parse(node, path, "must be a time zone such as Europe/Berlin", () ->
                    ZoneId.of(text(node, path)));
        }

        private LocalDateTime anchor(Yaml node, String path) {
            String text = text(node, path);
            return parse(node, path, "must be a date such as 2026-01-31, or with a time, "
                    + "2026-01-31T06:00",
                    () -> text.length() > 10 ? LocalDateTime.parse(text) : LocalDate.parse(text)
                    .atStartOfDay());
        }

        private Instant time(Yaml node, String path) {
            return parse(node, path, "must be a time with its offset such as 2026-12-01T00:00:00Z",
                    () -> OffsetDateTime.parse(text(node, path)).toInstant());
        }

        private <T> T parse(Yaml node, String path, String problem, Supplier<T> parser) {
            try {
                return parser.get();
            } catch (DateTimeException e) {
                throw wrong(node, path, problem, e);
            }
        }

        private String text(Yaml node, String path) {
            if (!(node.value() instanceof String text) || node.isNothing()) {
                throw wrong(node, path, "must be a text");
            }
            return valid(node, path, () -> Store.storable(path, text));
        }

        private boolean truth(Yaml node, String path) {
            if (node.plain() && (node.value().equals("true") || node.value().equals("false"))) {
                return node.value().equals("true");
            }
            throw wrong(node, path, "must be true or false");
        }

        private int small(Yaml node, String path) {
            long number = number(node, path, "a whole number");
            if (number != (int) number) {
                throw wrong(node, path, "is out of range");
            }
            return (int) number;
        }

        private long number(Yaml node, String path, String what) {
            if (node.plain() && node.value() instanceof String text
                    && text.matches("[-+]?[0-9]{1,30}(_[0-9]{1,30}){0,9}")) {
                try {
                    return Long.parseLong(text.replace("_", ""));
                } catch (NumberFormatException e) {
                    throw wrong(node, path, "is out of range; the largest is 2^62", e);
                }
            }
            throw wrong(node, path, "must be " + what);
        }

        private record Item(String path, Yaml node) {}

        private List<Item> list(Yaml node, String path) {
            if (!(node.value() instanceof List<?> values)) {
                throw wrong(node, path, "must be a list");
            }
            List<Item> items = new ArrayList<>();
            for (Object value : values) {
                Item item = new Item(path + "[" + items.size() + "]", (Yaml) value);
                lines.put(item.path(), item.node().line());
                items.add(item);
            }
            return items;
        }

        private interface Entry {
            void accept(String path, Map.Entry<String, Yaml> entry);
        }

        private void each(Map<String, Yaml> fields, String path, String name, Entry action) {
            Yaml node = fields.get(name);
            if (node != null && !node.isNothing()) {
                String below = join(path, name);
                map(node, below, null).entrySet().forEach(e -> action.accept(join(below,
                        e.getKey()), e));
            }
        }

        /** The fields of a map; known: null for any. */
        private Map<String, Yaml> map(Yaml node, String path, @Nullable Set<String> known) {
            if (!(node.value() instanceof Map<?, ?> values)) {
                throw wrong(node, path.isEmpty() ? "file" : path, "must be a map, of field: value");
            }
            Map<String, Yaml> fields = new LinkedHashMap<>();
            values.forEach((key, value) -> fields.put((String) key, (Yaml) value));
            fields.forEach((key, value) -> {
                lines.put(join(path, key), value.line());
                if (known != null && !known.contains(key)) {
                    throw wrong(value, join(path, key),
                            "is not known here; known are " + known.stream().sorted().toList());
                }
            });
            return fields;
        }

        private static String join(String path, String name) {
            return path.isEmpty() ? name : path + "." + name;
        }

        private <T> T valid(@Nullable Yaml node, String path, Supplier<T> maker) {
            try {
                return maker.get();
            } catch (QuotaException.Invalid e) {
                throw wrong(node, path, e.getMessage(), e);
            }
        }

        private QuotaException wrong(@Nullable Yaml node, String path, String problem) {
            return wrong(node, path, problem, null);
        }

        private QuotaException wrong(
                @Nullable Yaml node, String path, @Nullable String problem,
                @Nullable Throwable cause) {
            return new QuotaException.InvalidFile(
                    file, node == null ? 0 : node.line(), path, String.valueOf(problem), cause);
        }
    }

    /**
     * A setting that the file names.
     *
     * @param <T> its type
     * @param value null for nothing
     */
    public record Setting<T>(@Nullable T value) {}

    /**
     * A tenant of the file.
     *
     * @param name its id
     * @param plan its plan
     * @param zone its zone
     * @param anchor its anchor
     * @param overrides all there are to be; null if the file does not say
     * @param boosts all there are to be; null if the file does not say
     */
    public record Tenant(
            String name,
            @Nullable Setting<String> plan,
            @Nullable Setting<ZoneId> zone,
            @Nullable Setting<LocalDateTime> anchor,
            @Nullable List<Adjustment> overrides,
            @Nullable List<Adjustment> boosts) {}

    /**
     * An override or boost of the file.
     *
     * @param path where it stands
     * @param kind override or boost
     * @param scope for whom
     * @param limit which limit
     * @param capacity the other capacity, null for unlimited; or what is added
     * @param from null for at once
     * @param until null for ever
     * @param reason or null
     */
    public record Adjustment(
            String path,
            String kind,
            Scope scope,
            String limit,
            @Nullable Long capacity,
            @Nullable Instant from,
            @Nullable Instant until,
            @Nullable String reason) {}
}
