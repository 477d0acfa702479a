package io.github.pgquota.tool.demo;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Aligned columns: words to the left, figures to the right. */
final class Table {

    private static final int WIDEST = 44;

    private final int words;
    private final List<List<String>> rows = new ArrayList<>();

    /** A table whose first columns are words. */
    Table(int words, String... heads) {
        this.words = words;
        rows.add(List.of(heads));
    }

    /** Another row; numbers get thousands separators. */
    void row(Object... cells) {
        List<String> row = new ArrayList<>();
        for (Object cell : cells) {
            row.add(cell instanceof Number
                    ? String.format(Locale.ROOT, "%,d", cell)
                    : abridged(String.valueOf(cell)));
        }
        rows.add(row);
    }

    /** Its lines, the heads first. */
    List<String> lines() {
        List<String> lines = new ArrayList<>();
        for (List<String> row : rows) {
            StringBuilder line = new StringBuilder();
            for (int i = 0; i < row.size(); i++) {
                int column = i;
                int width = rows.stream().mapToInt(r -> length(r.get(column))).max().orElse(0);
                String blanks = " ".repeat(width - length(row.get(i)));
                line.append(i == 0 ? "" : "  ")
                        .append(i < words ? row.get(i) + blanks : blanks + row.get(i));
            }
            lines.add(line.toString().stripTrailing());
        }
        return lines;
    }

    private static int length(String text) {
        return text.codePointCount(0, text.length());
    }

    private static String abridged(String text) {
        return length(text) <= WIDEST
                ? text
                : text.substring(0, text.offsetByCodePoints(0, WIDEST - 3)) + "...";
    }
}
