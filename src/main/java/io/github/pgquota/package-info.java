/**
 * Usage quotas kept in PostgreSQL. Start at {@link io.github.pgquota.Schema} (once, to create the
 * tables) and {@link io.github.pgquota.Quotas}.
 */
@NullMarked
package io.github.pgquota;

import org.jspecify.annotations.NullMarked;
