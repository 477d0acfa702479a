package io.github.pgquota.tool.demo;

/** What the user gave cannot be used; nothing was replayed. Ends the program with status 2. */
final class BadInput extends RuntimeException {

    private static final long serialVersionUID = 1L;

    /** A sentence for the user. */
    BadInput(String message) {
        super(shown(message));
    }

    /** A place in a file, and what is wrong there. */
    BadInput(String file, long line, String field, String problem) {
        this(file + ": line " + line + ", field " + field + ": " + problem);
    }

    /** A terminal obeys control characters: what stands in a file must not command it. */
    static String shown(String message) {
        return message.replaceAll("\\p{Cc}", "?");
    }
}
