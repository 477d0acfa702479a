package io.github.pgquota;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A page of the documentation, cut into prose and fenced blocks.
 *
 * @param path where it lies
 * @param prose its lines outside of blocks
 * @param blocks in their order
 */
record Page(Path path, List<String> prose, List<Block> blocks) {

    private static final Pattern LINK = Pattern.compile("\\[[^\\]]*]\\(([^)\\s]+)\\)");

    /**
     * A fenced block.
     *
     * @param info what follows the opening fence: the language, and words for {@link ReadmeTest}
     * @param line the line of its fence, from 1
     */
    record Block(List<String> info, int line, String text) {

        boolean is(String... words) {
            return info.size() >= words.length
                    && info.subList(0, words.length).equals(List.of(words));
        }
    }

    /** All pages: those at the top and those under docs. */
    static List<Page> all() {
        try (Stream<Path> top = Files.list(Path.of(""));
                Stream<Path> docs = Files.walk(Path.of("docs"))) {
            return Stream.concat(top, docs)
                    .filter(p -> p.toString().endsWith(".md"))
                    .sorted()
                    .map(Page::read)
                    .toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static Page read(Path path) {
        List<String> prose = new ArrayList<>();
        List<Block> blocks = new ArrayList<>();
        List<String> lines = lines(path);
        for (int i = 0; i < lines.size(); i++) {
            if (!lines.get(i).startsWith("```")) {
                prose.add(lines.get(i));
                continue;
            }
            int start = i;
            StringBuilder text = new StringBuilder();
            while (!lines.get(++i).equals("```")) {
                text.append(lines.get(i)).append('\n');
            }
            List<String> info = List.of(lines.get(start).substring(3).trim().split(" "));
            blocks.add(new Block(info, start + 1, text.toString()));
        }
        return new Page(path, prose, blocks);
    }

    static List<String> lines(Path path) {
        try {
            return Files.readAllLines(path);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The blocks whose fence begins with these words. */
    List<Block> blocks(String... words) {
        return blocks.stream().filter(b -> b.is(words)).toList();
    }

    /** Targets of links that stay in this repository. */
    List<String> links() {
        List<String> links = new ArrayList<>();
        Matcher link = LINK.matcher(String.join("\n", prose));
        while (link.find()) {
            if (!link.group(1).matches("[a-z]+:.*")) {
                links.add(link.group(1));
            }
        }
        return links;
    }

    /** What a link to one of its headings says after the number sign. */
    Set<String> anchors() {
        Set<String> anchors = new HashSet<>();
        for (String line : prose) {
            if (line.matches("#{1,6} .*")) {
                anchors.add(line.replaceFirst("#+ ", "").toLowerCase(Locale.ROOT)
                        .replaceAll("[^\\p{L}\\p{N} _-]", "").replace(' ', '-'));
            }
        }
        return anchors;
    }
}
