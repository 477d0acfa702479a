package io.github.pgquota.tool;

import java.io.File;
import java.net.URI;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Starts a program in a JVM of its own, from within Maven's.
 *
 * <p>The program gets the terminal itself (colours, a progress bar, questions), and what it returns
 * is what {@code mvn} returns: a failed goal would always be 1, with twenty lines about the build.
 */
public final class Launch {

    private Launch() {}

    /** Arguments: the project's folder, the main class, the program's own arguments. */
    public static void main(String[] args) throws Exception {
        Process program = builder(Path.of(args[0]), List.of(args).subList(1, args.length)).start();
        // On Ctrl-C the terminal tells both JVMs; on a kill of Maven only we know. Either way the
        // program's own shutdown hooks, which stop its server, must have their time.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> finish(program), "stop program"));
        int status = program.waitFor();
        if (status != 0) {
            System.exit(status);
        }
    }

    private static ProcessBuilder builder(Path project, List<String> mainAndArguments) {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        System.getProperties().stringPropertyNames().stream()
                .filter(Launch::isForTheProgram)
                .sorted()
                .forEach(name -> command.add("-D" + name + "=" + System.getProperty(name)));
        command.add("-cp");
        command.add(classPath());
        command.addAll(mainAndArguments);
        ProcessBuilder builder = new ProcessBuilder(command).inheritIO();
        Map<String, String> environment = builder.environment();
        environment.merge("PATH", project.resolve("src/tool/bin").toString(),
                (path, ours) -> ours + File.pathSeparator + path);
        return builder;
    }

    private static boolean isForTheProgram(String property) {
        return property.startsWith("pgquota.") || property.startsWith("org.slf4j.simpleLogger.");
    }

    /** The class path that Maven gave us: it is the class loader's, not the JVM's. */
    private static String classPath() {
        URLClassLoader loader =
                (URLClassLoader) Thread.currentThread().getContextClassLoader();
        return Stream.of(loader.getURLs())
                .map(Launch::path)
                .collect(Collectors.joining(File.pathSeparator));
    }

    private static String path(URL url) {
        return Path.of(URI.create(url.toString())).toString();
    }

    private static void finish(Process program) {
        program.destroy();
        try {
            program.waitFor(30, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            program.destroyForcibly();
        }
    }
}
