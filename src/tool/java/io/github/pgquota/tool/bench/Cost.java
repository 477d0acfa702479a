package io.github.pgquota.tool.bench;

/** What a slice took; NaN is not known. */
record Cost(
        double clientNanos, double serverNanos, double walBytes, double allocatedBytes,
        double trips) {

    /** Both together, where a part that one of them does not know is the other's. */
    Cost and(Cost other) {
        return new Cost(either(clientNanos, other.clientNanos),
                either(serverNanos, other.serverNanos), either(walBytes, other.walBytes),
                either(allocatedBytes, other.allocatedBytes), either(trips, other.trips));
    }

    Cost plus(Cost other) {
        return new Cost(clientNanos + other.clientNanos, serverNanos + other.serverNanos,
                walBytes + other.walBytes, allocatedBytes + other.allocatedBytes,
                trips + other.trips);
    }

    Cost minus(Cost other) {
        return new Cost(clientNanos - other.clientNanos, serverNanos - other.serverNanos,
                walBytes - other.walBytes, allocatedBytes - other.allocatedBytes,
                trips - other.trips);
    }

    private static double either(double one, double other) {
        return Double.isNaN(one) ? other : one;
    }
}
