package io.github.pgquota.internal;

/** Why a call has no answer: told to each caller by an exception of its own, with its own stack. */
interface Failure {

    /** A new exception. */
    RuntimeException told();
}
