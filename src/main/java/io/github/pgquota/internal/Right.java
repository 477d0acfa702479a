package io.github.pgquota.internal;

/** What a piece of work needs: told to a database user who may not do it. */
enum Right {

    APP("grant the database user the role pgquota_app"),
    ADMIN("grant the database user the role pgquota_admin"),
    REPORT("grant the database user the role pgquota_report"),
    ANY("grant the database user one of the roles pgquota_app, pgquota_admin, pgquota_report"),
    MIGRATE("migrating needs CREATE on the database, and CREATEROLE or, where the cluster has the "
            + "roles already, to be a member of pgquota_owner");

    /** What to do for a user who has not got it. */
    final String cure;

    Right(String cure) {
        this.cure = cure;
    }
}
