package io.github.pgquota.tool.mutant;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.pgquota.tool.mutant.Mutant.BrokenException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.platform.commons.support.HierarchyTraversalMode;
import org.junit.platform.commons.support.ReflectionSupport;

/** The list of mutants goes with the sources: one that no longer fits them proves nothing. */
class MutantTest {

    private static List<Mutant> all;

    @BeforeAll
    static void read() throws IOException {
        assumeTrue(Files.exists(Path.of("db", "migration")), "runs in the project's folder");
        all = Mutant.all();
        assertThat(all).hasSizeGreaterThan(100).extracting(Mutant::name).doesNotHaveDuplicates();
    }

    @Test
    void eachChangesOnePlaceOfItsFile() throws IOException {
        List<String> faults = new ArrayList<>();
        for (Mutant mutant : all) {
            String source = Files.readString(Path.of(mutant.file()));
            try {
                if (mutant.apply(source).equals(source)) {
                    faults.add(mutant.name() + ": changes nothing");
                }
            } catch (BrokenException e) {
                faults.add(mutant.name() + ": " + e.getMessage());
            }
        }
        assertThat(faults).isEmpty();
    }

    @Test
    void theTestsThatEachNamesExist() {
        Map<String, Class<?>> classes = ReflectionSupport.findAllClassesInPackage(
                        "io.github.pgquota", type -> true, name -> name.endsWith("Test")).stream()
                .collect(Collectors.toMap(Class::getSimpleName, Function.identity()));
        assertThat(all.stream().flatMap(mutant -> mutant.tests().stream()
                .filter(test -> !exists(test, classes)).map(test -> mutant.name() + ": " + test)))
                .isEmpty();
    }

    private static boolean exists(String test, Map<String, Class<?>> classes) {
        String[] words = test.split("\\.", 2);
        Class<?> type = classes.get(words[0]);
        return type != null && (words.length == 1 || !ReflectionSupport.findMethods(type,
                method -> method.getName().equals(words[1]), HierarchyTraversalMode.TOP_DOWN)
                .isEmpty());
    }
}
