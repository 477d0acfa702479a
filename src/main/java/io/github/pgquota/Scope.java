package io.github.pgquota;

import java.nio.charset.StandardCharsets;

/**
 * Who uses: a path that starts with the tenant, such as {@code acme/search/alice}. The tenant is
 * level 0; there are at most 8 levels below it. A segment has 1 to 128 characters, no slash,
 * control character or surrounding blank; all of it has at most 1600 bytes in UTF-8. Immutable.
 *
 * @param path the segments, joined by slashes
 */
public record Scope(String path) {

    private static final int DEEPEST = 8;
    /** With the longest tenant and meter it fits an entry of the database's index of counters. */
    private static final int MOST_BYTES = 1600;

    /** @throws QuotaException.Invalid if the path is not a scope */
    public Scope {
        if (path == null || path.isEmpty()) {
            throw new QuotaException.Invalid("scope", path, "is empty; it starts with the tenant");
        }
        int levels = levels(path);
        if (levels > DEEPEST) {
            throw new QuotaException.Invalid("scope", path,
                    "has more than 8 levels below the tenant");
        }
        if (path.length() > MOST_BYTES / 3
                && path.getBytes(StandardCharsets.UTF_8).length > MOST_BYTES) {
            throw new QuotaException.Invalid("scope", path, "has more than 1600 bytes in UTF-8");
        }
        int from = 0;
        for (int level = 0; level <= levels; level++) {
            int to = level == levels ? path.length() : path.indexOf('/', from);
            String problem = Names.problem(path, from, to);
            if (problem != null) {
                throw new QuotaException.Invalid("scope", path, levels == 0 ? problem
                        : "has a bad segment, number " + (level + 1) + ": it " + problem);
            }
            from = to + 1;
        }
    }

    /** The scope of that path. */
    public static Scope of(String path) {
        return new Scope(path);
    }

    /** Its first segment: who is billed. */
    public String tenant() {
        int slash = path.indexOf('/');
        return slash < 0 ? path : path.substring(0, slash);
    }

    /** How many segments stand below the tenant: 0 to 8. */
    public int level() {
        return levels(path);
    }

    private static int levels(String path) {
        int levels = 0;
        for (int at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) {
            levels++;
        }
        return levels;
    }

    @Override
    public String toString() {
        return path;
    }
}
