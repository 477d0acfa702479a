package io.github.pgquota.tool.demo;

import java.io.Console;

/** Whether somebody is watching, and how. */
final class Terminal {

    private static final int DEFAULT_WIDTH = 100;

    private Terminal() {}

    /** Whether input and output are a terminal that can redraw a line. */
    static boolean present() {
        Console console = System.console();
        return console != null && isTerminal(console) && !"dumb".equals(System.getenv("TERM"));
    }

    /** Whether colours are welcome; see no-color.org. */
    static boolean coloured() {
        String no = System.getenv("NO_COLOR");
        return present() && (no == null || no.isEmpty());
    }

    /** Its width in characters, where the shell tells. */
    static int width() {
        try {
            return Math.max(40, Integer.parseInt(System.getenv("COLUMNS")));
        } catch (NumberFormatException e) {
            return DEFAULT_WIDTH;
        }
    }

    /** From Java 22 on there is always a console, which is asked in words that 17 does not have. */
    private static boolean isTerminal(Console console) {
        try {
            return (Boolean) Console.class.getMethod("isTerminal").invoke(console);
        } catch (NoSuchMethodException e) {
            return true;
        } catch (ReflectiveOperationException e) {
            return false;
        }
    }
}
