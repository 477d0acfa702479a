package io.github.pgquota.internal;

import io.github.pgquota.*;
import java.nio.file.Path;
import java.time.*;
import java.util.*;
import org.jspecify.annotations.Nullable;

/** Stand-in until the administration slice lands. */
final class PgUpkeep implements Upkeep {
    PgUpkeep(Database database) {}
    public Report runOnce(Duration budget) { throw new UnsupportedOperationException(); }
}
