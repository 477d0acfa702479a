package io.github.pgquota;

import java.util.Objects;
import java.util.UUID;

/**
 * Names an accepted operation, or a hold (the operation that reserved it). Its text form
 * {@code acme/01a20f6d-…} may be stored anywhere and {@linkplain #parse parsed} by any process.
 *
 * @param tenant the tenant that was charged
 * @param uuid a UUIDv7: it sorts by the database's time
 */
public record OperationId(String tenant, UUID uuid) {

    /** @throws QuotaException.Invalid if the tenant is not one segment of a scope */
    public OperationId {
        Names.segment("tenant", tenant);
        Objects.requireNonNull(uuid, "uuid");
    }

    /**
     * Reads what {@link #toString()} wrote.
     *
     * @throws QuotaException.Invalid if it is something else
     */
    public static OperationId parse(String text) {
        int slash = text.indexOf('/');
        if (slash > 0) {
            try {
                OperationId id = new OperationId(
                        text.substring(0, slash), UUID.fromString(text.substring(slash + 1)));
                // Java drops digits of a group that has too many, and adds those that are missing
                if (id.toString().equals(text)) {
                    return id;
                }
            } catch (QuotaException.Invalid | IllegalArgumentException e) {
                // told below, with the whole text
            }
        }
        throw new QuotaException.Invalid("operation", text, "is not of the form tenant/uuid");
    }

    @Override
    public String toString() {
        return tenant + "/" + uuid;
    }
}
