package io.github.pgquota.tool.demo;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** What a trace may look like, and what is said of one that may not. */
class TraceReaderTest {

    private static final String HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
    private static final String AT = "2023-11-16 18:17:03.9799600";

    /** A text, and its calls as tenant:context+generated. */
    static Stream<Arguments> good() {
        return Stream.of(
                Arguments.of("as published", HEADER + AT + ",4808,10\n" + AT + ",3180,8\n",
                        "null:4808+10 null:3180+8"),
                Arguments.of("no line end at the end", HEADER + AT + ",1,2", "null:1+2"),
                Arguments.of("line ends of Windows",
                        HEADER.replace("\n", "\r\n") + AT + ",1,2\r\n", "null:1+2"),
                Arguments.of("byte order mark", "\ufeff" + HEADER + AT + ",1,2\n", "null:1+2"),
                Arguments.of("quotes", "\"TIMESTAMP\",\"ContextTokens\",\"GeneratedTokens\"\n"
                        + "\"" + AT + "\",\"1\",\"2\"\n", "null:1+2"),
                Arguments.of("empty lines", HEADER + "\n" + AT + ",1,2\n\n  \n", "null:1+2"),
                Arguments.of("header in another case",
                        "timestamp,context_tokens,GENERATED TOKENS\n" + AT + ",1,2\n", "null:1+2"),
                Arguments.of("no header", AT + ",1,2\n", "null:1+2"),
                Arguments.of("blanks around numbers", HEADER + AT + ", 1 ,\t2\n", "null:1+2"),
                Arguments.of("zero", HEADER + AT + ",0,0\n", "null:0+0"),
                Arguments.of("leading zeros", HEADER + AT + ",007,0000000000000000000000\n",
                        "null:7+0"),
                Arguments.of("the most", HEADER + AT + ",4611686018427387904,0\n",
                        "null:4611686018427387904+0"),
                Arguments.of("offsets", HEADER + "2024-05-10 00:00:00.009930+00:00,1,2\n"
                        + "2024-05-10T00:00:00Z,3,4\n2024-05-10T00:00,5,6\n",
                        "null:1+2 null:3+4 null:5+6"),
                Arguments.of("tenants", HEADER.strip() + ",tenant\n" + AT + ",1,2,acme\n" + AT
                        + ",3,4,\"Émile & Co, Ltd\"\n", "acme:1+2 Émile & Co, Ltd:3+4"),
                Arguments.of("tenants under another name, without header",
                        AT + ",1,2,acme\n", "acme:1+2"));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("good")
    void reads(String name, String text, String calls) throws IOException {
        assertThat(read(text).calls().stream()
                .map(c -> c.tenantOrNull() + ":" + c.context() + "+" + c.generated())
                .collect(Collectors.joining(" "))).isEqualTo(calls);
    }

    /** The calls of a text without its header are on line 2 of it. */
    static Stream<Arguments> bad() {
        return Stream.of(
                Arguments.of(AT + ",-5,10", "line 2, field ContextTokens: \"-5\" is negative"),
                Arguments.of(AT + ",5,-10", "line 2, field GeneratedTokens: \"-10\" is negative"),
                Arguments.of(AT + ",5,1.5", "line 2, field GeneratedTokens: \"1.5\" is no whole"),
                Arguments.of(AT + ",5,1e3", "line 2, field GeneratedTokens: \"1e3\" is no whole"),
                Arguments.of(AT + ",x,1", "line 2, field ContextTokens: \"x\" is no whole number"),
                Arguments.of(AT + ",+5,1", "line 2, field ContextTokens: \"+5\" is no whole"),
                Arguments.of(AT + ",\u0663,1", "line 2, field ContextTokens: \"\u0663\" is no"),
                Arguments.of(AT + ",NaN,1", "line 2, field ContextTokens: \"NaN\" is no whole"),
                Arguments.of(AT + ",,1", "line 2, field ContextTokens: is missing"),
                Arguments.of(AT + ",1,", "line 2, field GeneratedTokens: is missing"),
                Arguments.of(AT + ",1", "line 2, field GeneratedTokens: is missing"),
                Arguments.of(AT, "line 2, field ContextTokens: is missing"),
                Arguments.of(AT + ",1,2,3", "line 2, field 4: \"3\" is too much"),
                Arguments.of(AT + ",4611686018427387905,0",
                        "line 2, field ContextTokens: \"4611686018427387905\" is more than 2^62"),
                Arguments.of(AT + ",99999999999999999999999,0",
                        "line 2, field ContextTokens: \"99999999999999999999999\" is more than"),
                Arguments.of(AT + ",4611686018427387904,1", "line 2, field GeneratedTokens: "
                        + "together with ContextTokens is more than 2^62"),
                Arguments.of((AT + ",4611686018427387904,0\n").repeat(2), "line 3, field "
                        + "GeneratedTokens: brings the trace's tokens to more than 2^63 - 1"),
                Arguments.of(",1,2", "line 2, field TIMESTAMP: is missing"),
                Arguments.of("yesterday,1,2", "line 2, field TIMESTAMP: \"yesterday\" is no time"),
                Arguments.of("2023-02-30 18:17:03,1,2",
                        "line 2, field TIMESTAMP: \"2023-02-30 18:17:03\" is no time"),
                Arguments.of("2023-11-16 25:17:03,1,2",
                        "line 2, field TIMESTAMP: \"2023-11-16 25:17:03\" is no time"),
                Arguments.of("2023-11-16,1,2", "line 2, field TIMESTAMP: \"2023-11-16\" is no"),
                Arguments.of(AT + ",1,2\n\n" + AT + ",1,x\n",
                        "line 4, field GeneratedTokens: \"x\" is no whole number"),
                Arguments.of(AT + ",1,2\n" + AT + ",\"1,2\n", "after line 2: "));
    }

    @ParameterizedTest(name = "{1}")
    @MethodSource("bad")
    void refuses(String lines, String message) {
        assertThatThrownBy(() -> read(HEADER + lines))
                .isInstanceOf(BadInput.class)
                .hasMessageStartingWith("t.csv: " + message);
    }

    static Stream<Arguments> badTenants() {
        return Stream.of(
                Arguments.of("", "is missing"),
                Arguments.of(" acme", "\" acme\" begins or ends with a blank"),
                Arguments.of("\"acme \"", "\"acme \" begins or ends with a blank"),
                Arguments.of("acme/search", "\"acme/search\" contains a slash"),
                Arguments.of("ac\u0007me", "\"ac?me\" contains a control character"),
                Arguments.of("a".repeat(129), "\"" + "a".repeat(129) + "\" is longer than 128"));
    }

    @ParameterizedTest(name = "{1}")
    @MethodSource("badTenants")
    void refusesTenant(String tenant, String message) {
        String text = HEADER.strip() + ",Tenant\n" + AT + ",1,2,acme\n" + AT + ",1,2," + tenant;
        assertThatThrownBy(() -> read(text + "\n"))
                .isInstanceOf(BadInput.class)
                .hasMessageStartingWith("t.csv: line 3, field tenant: " + message);
    }

    /** A first line that is neither the header nor a call, or no line at all. */
    static Stream<Arguments> badHeads() {
        return Stream.of(
                Arguments.of("", "holds no calls; it should begin with TIMESTAMP,"),
                Arguments.of("\n\n", "holds no calls"),
                Arguments.of(HEADER, "holds no calls"),
                Arguments.of("a,b,c\n" + AT + ",1,2\n", "line 1, field TIMESTAMP: \"a\" is"),
                Arguments.of("TIMESTAMP,GeneratedTokens,ContextTokens\n" + AT + ",1,2\n",
                        "line 1, field ContextTokens: is called \"GeneratedTokens\" in the header"),
                Arguments.of("TIMESTAMP,ContextTokens\n" + AT + ",1\n",
                        "line 1, field 3: is missing"),
                Arguments.of("TIMESTAMP;ContextTokens;GeneratedTokens\n",
                        "line 1, field TIMESTAMP: \"TIMESTAMP;ContextTokens;GeneratedTokens\" is"),
                Arguments.of(HEADER.strip() + ",tenant,more\n", "line 1, field 5: is too much"));
    }

    @ParameterizedTest(name = "{1}")
    @MethodSource("badHeads")
    void refusesFile(String text, String message) {
        assertThatThrownBy(() -> read(text))
                .isInstanceOf(BadInput.class)
                .hasMessageStartingWith("t.csv: " + message);
    }

    @Test
    void refusesWhatIsNoText() {
        byte[] latin1 = (HEADER.strip() + ",tenant\n" + AT + ",1,2,\u00c9mile\n")
                .getBytes(StandardCharsets.ISO_8859_1);
        assertThatThrownBy(() -> TraceReader.read("t.csv", new ByteArrayInputStream(latin1)))
                .isInstanceOf(BadInput.class)
                .hasMessageContaining("is no UTF-8 text");
    }

    @Test
    void theSampleIsATraceAndAlwaysTheSame(@TempDir Path folder) throws IOException {
        Path one = folder.resolve("one.csv");
        Path two = folder.resolve("two.csv");
        Sample.write(one, 500);
        Sample.write(two, 500);
        List<Call> calls = TraceReader.read(one).calls();
        assertThat(calls).hasSize(500).doesNotContain(new Call(null, 0, 0));
        assertThat(Files.mismatch(one, two)).isEqualTo(-1);
        assertThat(Files.readAllLines(one).get(0) + "\n").isEqualTo(HEADER);
    }

    private static Trace read(String text) throws IOException {
        return TraceReader.read("t.csv",
                new ByteArrayInputStream(text.getBytes(StandardCharsets.UTF_8)));
    }
}
