/** The engine behind the API; not for use by applications, and free to change. */
@NullMarked
package io.github.pgquota.internal;

import org.jspecify.annotations.NullMarked;
