package io.github.pgquota.tool.fault;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** A short run of the faults, and what the command line is told. */
class FaultsTest {

    private final StringWriter output = new StringWriter();
    private final StringWriter errors = new StringWriter();

    private int run(String... args) {
        return new CommandLine(new Faults()).setOut(new PrintWriter(output))
                .setErr(new PrintWriter(errors)).execute(args);
    }

    @Test
    void nothingIsLostOrChargedTwice(@TempDir Path folder) throws Exception {
        assumeTrue(Server.canBreak(), Server.NEEDS);
        Path json = folder.resolve("faults.json");
        int status = run("--minutes", "0.4", "--json", json.toString());
        System.out.println("FaultsTest: " + errors.toString().lines().findFirst().orElse(""));
        assertThat(output.toString()).containsPattern("\n0 of \\d+ checks found something");
        assertThat(status).isZero();
        assertThat(Files.readString(json)).containsPattern("""
                "granted":\\d{3,},"denied":\\d+,"unknown":\\d+,"unknown_resolved_charged":\\d+,\
                "unknown_resolved_not_charged":\\d+,"faults":\\{".*":\\d+},"over_grants":0,\
                "lost_charges":0,"double_charges":0,"chain_gaps":0,"holds_left":0,\
                "holds_ended_twice":0,"ledger_differences":0,"deadlocks":0,\
                "broken_promises":\\[]}""");
    }

    @Test
    void badUsageIsTold() {
        assertThat(run("--minutes", "0")).isEqualTo(2);
        assertThat(errors.toString()).contains("minutes are above 0");
    }
}
