package io.github.pgquota;

/**
 * Who uses: a path that starts with the tenant, such as {@code acme/search/alice}. The tenant is
 * level 0; there are at most 8 levels below it. A segment has 1 to 128 characters, no slash,
 * control character or surrounding blank. Immutable.
 *
 * @param path the segments, joined by slashes
 */
public record Scope(String path) {

    private static final int DEEPEST = 8;

    /** @throws QuotaException.Invalid if the path is not a scope */
    public Scope {
        if (path == null || path.isEmpty()) {
            throw new QuotaException.Invalid("scope", path, "is empty; it starts with the tenant");
        }
        String[] segments = path.split("/", -1);
        if (segments.length > DEEPEST + 1) {
            throw new QuotaException.Invalid("scope", path,
                    "has more than 8 levels below the tenant");
        }
        for (int i = 0; i < segments.length; i++) {
            String problem = Names.problem(segments[i]);
            if (problem != null) {
                throw new QuotaException.Invalid("scope", path, segments.length == 1 ? problem
                        : "has a bad segment, number " + (i + 1) + ": it " + problem);
            }
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
        return (int) path.chars().filter(c -> c == '/').count();
    }

    @Override
    public String toString() {
        return path;
    }
}
