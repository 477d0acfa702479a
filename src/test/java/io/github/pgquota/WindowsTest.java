package io.github.pgquota;

import static org.assertj.core.api.Assertions.assertThat;

import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.Period;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.temporal.ChronoUnit;
import java.time.zone.ZoneOffsetTransition;
import java.time.zone.ZoneRules;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ForkJoinPool;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.postgresql.PGConnection;

/** Windows tile time: in every zone, over every clock change, from every anchor. */
class WindowsTest {

    private static final long HOUR = 3_600_000_000L;
    private static final long DAY = 24 * HOUR;
    private static final long YEAR = 366 * DAY;
    private static final Span YEARS = new Span(
            micros(Instant.parse("1990-01-01T00:00:00Z")),
            micros(Instant.parse("2060-01-01T00:00:00Z")));

    /** The calendar's kinds, and how far apart their boundaries are. */
    private static final Map<String, Period> UNITS = new TreeMap<>(Map.of(
            "day", Period.ofDays(1),
            "week", Period.ofDays(7),
            "month", Period.ofMonths(1),
            "quarter", Period.ofMonths(3),
            "year", Period.ofMonths(12)));

    private static final List<LocalDateTime> ANCHORS = anchors(
            "2001-01-01T00:00",
            "2001-01-29T00:00", "1999-05-29T16:20:00.000001",
            "2001-01-30T00:00", "2010-06-30T02:30",
            "2001-01-31T00:00", "2015-08-31T23:59:59.999999",
            "2000-02-29T00:00", "2024-02-29T01:15",
            "2061-12-31T12:00", "1601-10-31T05:07:09");

    /** Not more zones than this may have other rules here than on the server. */
    private static final double DIFFERING = 0.05;

    private static TestDatabase database;
    private static HikariDataSource pool;

    @BeforeAll
    static void open() {
        database = TestDatabase.create();
        pool = database.pool(ForkJoinPool.getCommonPoolParallelism() + 1);
    }

    @AfterAll
    static void close() {
        pool.close();
        database.close();
    }

    /** Start and end are UTC; whoever asks from the one to just before the other gets both. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
        # multiples since the epoch, wherever the tenant lives
        aligned:60     | Asia/Kathmandu | 2001-01-01 00:00 | 2024-05-05 12:00 | 2024-05-05 12:01
        aligned:604800 | Europe/Berlin  | 2001-01-01 00:00 | 2024-05-02 00:00 | 2024-05-09 00:00
        aligned:7200   | UTC            | 2001-01-01 00:00 | 1969-12-31 20:00 | 1969-12-31 22:00
        # hours last 3600 seconds, also when clocks move by half of that
        hour    | Asia/Kathmandu      | 2001-01-01 00:00 | 2024-05-05 11:15 | 2024-05-05 12:15
        hour    | Australia/Lord_Howe | 2001-01-01 00:00 | 2024-04-06 14:00 | 2024-04-06 15:00
        hour    | Australia/Lord_Howe | 2001-01-01 00:00 | 2024-04-06 15:00 | 2024-04-06 16:00
        hour    | Europe/Berlin       | 2050-01-01 00:10 | 2024-05-05 12:10 | 2024-05-05 13:10
        # 02:30 does not come on 31 March, and comes twice on 27 October
        day     | Europe/Berlin       | 2001-01-01 02:30 | 2024-03-30 01:30 | 2024-03-31 01:30
        day     | Europe/Berlin       | 2001-01-01 02:30 | 2024-03-31 01:30 | 2024-04-01 00:30
        day     | Europe/Berlin       | 2001-01-01 02:30 | 2024-10-26 00:30 | 2024-10-27 01:30
        day     | Europe/Berlin       | 2001-01-01 02:30 | 2024-10-27 01:30 | 2024-10-28 01:30
        # Samoa had no 30 December 2011, Kwajalein no 21 August 1993
        day     | Pacific/Apia        | 2001-01-01 00:00 | 2011-12-29 10:00 | 2011-12-30 10:00
        day     | Pacific/Apia        | 2001-01-01 00:00 | 2011-12-30 10:00 | 2011-12-31 10:00
        day     | Pacific/Apia        | 2001-01-01 05:00 | 2011-12-29 15:00 | 2011-12-30 15:00
        day     | Pacific/Apia        | 2001-01-01 05:00 | 2011-12-30 15:00 | 2011-12-31 15:00
        month   | Pacific/Apia        | 2001-01-30 00:00 | 2011-12-30 10:00 | 2012-01-29 10:00
        day     | Pacific/Kwajalein   | 2001-01-01 00:00 | 1993-08-20 12:00 | 1993-08-21 12:00
        day     | Pacific/Kwajalein   | 2001-01-01 00:00 | 1993-08-21 12:00 | 1993-08-22 12:00
        # weeks begin on the anchor's day of the week
        week    | UTC                 | 2001-01-01 00:00 | 2024-04-29 00:00 | 2024-05-06 00:00
        week    | UTC                 | 2001-01-03 09:00 | 2024-05-08 09:00 | 2024-05-15 09:00
        # the last day of short months, and the 31st again after
        month   | UTC                 | 2001-01-31 00:00 | 2023-01-31 00:00 | 2023-02-28 00:00
        month   | UTC                 | 2001-01-31 00:00 | 2023-02-28 00:00 | 2023-03-31 00:00
        month   | UTC                 | 2001-01-31 00:00 | 2023-03-31 00:00 | 2023-04-30 00:00
        month   | UTC                 | 2001-01-30 18:00 | 2024-01-30 18:00 | 2024-02-29 18:00
        month   | America/New_York    | 2001-01-01 00:00 | 2024-03-01 05:00 | 2024-04-01 04:00
        quarter | UTC                 | 2023-11-30 00:00 | 2024-02-29 00:00 | 2024-05-30 00:00
        year    | UTC                 | 2024-02-29 00:00 | 2025-02-28 00:00 | 2026-02-28 00:00
        year    | UTC                 | 2024-02-29 00:00 | 2027-02-28 00:00 | 2028-02-29 00:00
        # anchors to come, and of another age
        month   | UTC                 | 2050-01-31 00:00 | 2024-01-31 00:00 | 2024-02-29 00:00
        quarter | UTC                 | 2050-01-31 00:00 | 2024-04-30 00:00 | 2024-07-31 00:00
        week    | UTC                 | 2050-01-03 00:00 | 2024-05-06 00:00 | 2024-05-13 00:00
        year    | UTC                 | 1600-02-29 00:00 | 2024-02-29 00:00 | 2025-02-28 00:00
        """)
    void windowFrom(String per, String zone, String anchor, String start, String end)
            throws SQLException {
        LocalDateTime from = LocalDateTime.parse(start.replace(' ', 'T'));
        LocalDateTime until = LocalDateTime.parse(end.replace(' ', 'T'));
        LocalDateTime middle = from.plus(Duration.between(from, until).dividedBy(2));
        for (LocalDateTime at : List.of(from, middle, until.minus(1, ChronoUnit.MICROS))) {
            assertThat(windowAt(per, at.toString(), zone, anchor)).as("at %s", at)
                    .containsExactly(start + ":00", end + ":00");
        }
    }

    /** Opened by first use, at any microsecond; a day of it has 24 hours. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
        fixed:1        | 2024-05-05 12:00:00.000001 | 2024-05-05 12:00:01.000001
        fixed:86400    | 2024-03-30 12:00:00        | 2024-03-31 12:00:00
        fixed:31622400 | 2024-01-01 00:00:00        | 2025-01-01 00:00:00
        """)
    void fixedWindowFrom(String per, String start, String end) throws SQLException {
        assertThat(windowAt(per, start, "Europe/Berlin", "2001-01-01"))
                .containsExactly(start, end);
    }

    @Test
    void lifetimeNeverEnds() throws SQLException {
        assertThat(windowAt("lifetime", "2024-05-05", "Europe/Berlin", "2001-01-01"))
                .containsExactly("-infinity", "infinity");
    }

    /** Nulls, which no counter takes; no row would silently count nothing. */
    @Test
    void anUnknownKindHasNoWindow() throws SQLException {
        assertThat(windowAt("decade", "2024-05-05", "UTC", "2001-01-01"))
                .containsExactly(null, null);
    }

    private static String[] windowAt(String per, String at, String zone, String anchor)
            throws SQLException {
        try (Connection connection = pool.getConnection();
                PreparedStatement query = connection.prepareStatement("""
                    select (w.start_at at time zone 'UTC')::text,
                           (w.end_at at time zone 'UTC')::text
                      from pgquota.window_at(?, ?::timestamp at time zone 'UTC', ?, ?::timestamp) w
                    """)) {
            bind(query, per, at, zone, anchor);
            try (ResultSet rows = query.executeQuery()) {
                assertThat(rows.next()).isTrue();
                String[] window = {rows.getString(1), rows.getString(2)};
                assertThat(rows.next()).isFalse();
                return window;
            }
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
        lifetime         | true
        hour             | true
        day              | true
        week             | true
        month            | true
        quarter          | true
        year             | true
        fixed:1          | true
        fixed:31622400   | true
        aligned:1        | true
        aligned:31622400 | true
        fixed:0          | false
        fixed:31622401   | false
        aligned:99999999 | false
        aligned:999999999999999999999 | false
        fixed:-5         | false
        fixed:05         | false
        fixed:1.5        | false
        fixed:           | false
        fixed            | false
        aligned:60s      | false
        'fixed:60 '      | false
        Month            | false
        months           | false
        ''               | false
        decade           | false
        """)
    void isPer(String per, boolean expected) throws SQLException {
        try (Connection connection = pool.getConnection();
                PreparedStatement query =
                        connection.prepareStatement("select pgquota.is_per(?)")) {
            bind(query, per);
            try (ResultSet rows = query.executeQuery()) {
                assertThat(rows.next()).isTrue();
                assertThat(rows.getBoolean(1)).isEqualTo(expected);
            }
        }
    }

    /** Answers stay right when it is no longer inlined, so nothing else would tell. */
    @Test
    void theFunctionMeltsIntoTheQueryThatCallsIt() throws SQLException {
        StringBuilder plan = new StringBuilder();
        try (Connection connection = pool.getConnection();
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("""
                    explain verbose
                    select w.* from (values ('day'), ('month')) p (per),
                           lateral pgquota.window_at(p.per, now(), 'UTC', '2001-01-01') w
                    """)) {
            while (rows.next()) {
                plan.append(rows.getString(1)).append('\n');
            }
        }
        assertThat(plan.toString()).doesNotContain("window_at").contains("make_interval");
    }

    /** From a window's end starts the next one; whoever asks within it gets the same answer. */
    @Test
    void windowsTile() throws SQLException {
        Random random = seeded("windowsTile");
        List<String> pers = new ArrayList<>(UNITS.keySet());
        pers.addAll(List.of("hour", "aligned:1", "aligned:61", "aligned:31622400"));
        List<String> broken = new ArrayList<>();
        int walks = 250;
        long windows = 0;
        try (Connection connection = pool.getConnection();
                PreparedStatement query = connection.prepareStatement("""
                    with recursive walk (n, start_at, end_at) as (
                      select 1, w.start_at, w.end_at
                        from pgquota.window_at(?, timestamptz 'epoch' + ? * interval '1 us',
                                               ?, ?::timestamp) w
                       union all
                      select n + 1, w.start_at, w.end_at
                        from walk,
                             lateral pgquota.window_at(?, walk.end_at, ?, ?::timestamp) w
                       where n < 400
                    )
                    select count(*), count(*) filter (where start_at >= end_at
                        or start_at is distinct from previous_end
                        or inside is distinct from (start_at, end_at)
                        or last is distinct from (start_at, end_at))
                      from (select w.*,
                                   coalesce(lag(w.end_at) over (order by n), w.start_at)
                                     as previous_end,
                                   (i.start_at, i.end_at) as inside,
                                   (l.start_at, l.end_at) as last
                              from walk w,
                           lateral pgquota.window_at(?, w.start_at + (w.end_at - w.start_at) * ?,
                                                     ?, ?::timestamp) i,
                           lateral pgquota.window_at(?, w.end_at - interval '1 us',
                                                     ?, ?::timestamp) l) step
                    """)) {
            List<String> zones = new ArrayList<>(serverZones(connection));
            for (int i = 0; i < walks; i++) {
                String per = pers.get(random.nextInt(pers.size()));
                String zone = zones.get(random.nextInt(zones.size()));
                LocalDateTime anchor = LocalDateTime.of(1900, 1, 1, 0, 0)
                        .plusDays(random.nextInt(200 * 365))
                        .plusMinutes(random.nextInt(3) * random.nextInt(1440));
                long at = random.nextLong(YEARS.from(), YEARS.until());
                bind(query, per, at, zone, anchor.toString(), per, zone, anchor.toString(),
                        per, random.nextDouble(), zone, anchor.toString(),
                        per, zone, anchor.toString());
                try (ResultSet rows = query.executeQuery()) {
                    rows.next();
                    windows += rows.getLong(1);
                    if (rows.getLong(1) != 400 || rows.getLong(2) > 0) {
                        broken.add(per + " " + zone + " from " + anchor + " at " + instant(at)
                                + ": " + rows.getLong(2) + " of " + rows.getLong(1));
                    }
                }
            }
        }
        System.out.printf("windowsTile: %d walks, %d windows%n", walks, windows);
        assertThat(broken).isEmpty();
    }

    /** An oracle that lists every boundary of seventy years and looks the instant up. */
    @Test
    void windowsAreThoseOfJavaTime() throws SQLException {
        long seed = seeded("windowsAreThoseOfJavaTime").nextLong();
        Set<String> common = new TreeSet<>(ZoneId.getAvailableZoneIds());
        try (Connection connection = pool.getConnection()) {
            Set<String> server = serverZones(connection);
            printUnknown("the server", common, server);
            printUnknown("the JVM", server, common);
            common.retainAll(server);
        }
        List<ZoneReport> reports =
                common.parallelStream().map(zone -> compare(zone, seed)).toList();
        reports.stream().filter(ZoneReport::differs).forEach(System.out::println);
        System.out.printf("zones whose hours from old anchors are left out, as others: %s%n",
                reports.stream()
                        .filter(report -> !report.differs() && !report.anchors().isEmpty())
                        .collect(Collectors.groupingBy(
                                ZoneReport::anchors, Collectors.counting())));
        long differing = reports.stream().filter(ZoneReport::differs).count();
        System.out.printf("%d zones, %d differ; %d windows compared, %d left out%n", common.size(),
                differing, reports.stream().mapToLong(ZoneReport::compared).sum(),
                reports.stream().mapToLong(ZoneReport::leftOut).sum());

        assertThat(reports.stream().flatMap(report -> report.broken().stream()).limit(20))
                .isEmpty();
        assertThat(reports.stream()
                .filter(report -> !report.differs())
                .flatMap(report -> report.anchors().stream()))
                .allMatch(anchor -> anchor.getYear() < 1970);
        assertThat(common).hasSizeGreaterThan(400);
        assertThat((double) differing / common.size()).isLessThan(DIFFERING);
    }

    /** What came of a zone; the spans are those in which the two sides' offsets differ. */
    private record ZoneReport(String zone, String reason, List<Span> spans,
            List<LocalDateTime> anchors, long compared, long leftOut, List<String> broken) {

        boolean differs() {
            return !spans.isEmpty();
        }

        @Override
        public String toString() {
            String when = spans.size() > 3
                    ? spans.size() + " spans from " + spans.get(0) + " on"
                    : spans.stream().map(Span::toString).collect(Collectors.joining(", "));
            return "%s differs (%s): %s; %d windows compared, %d left out".formatted(
                    zone, reason, when, compared, leftOut);
        }
    }

    private record Span(long from, long until) {

        boolean touches(long start, long end) {
            return start < until && end > from;
        }

        @Override
        public String toString() {
            return utc(from).toLocalDate() + "/" + utc(until).toLocalDate();
        }
    }

    /** A kind of window and its anchor in some zone: what it is to be at any time of a span. */
    private record Case(
            String per, LocalDateTime anchor, Span years, long origin, long[] boundaries) {

        static Case hours(LocalDateTime anchor, ZoneId zone) {
            return new Case("hour", anchor, YEARS, inZone(anchor, zone), new long[0]);
        }

        /** Days are so many that each anchor has fifteen years of them only. */
        static Case of(
                String per, Period unit, LocalDateTime anchor, ZoneId zone, Random random) {
            Span years = YEARS;
            if (per.equals("day")) {
                long from = random.nextLong(YEARS.from(), YEARS.until() - 15 * 365 * DAY);
                years = new Span(from, from + 15 * 365 * DAY);
            }
            long[] all = WindowsTest.boundaries(anchor, unit, zone, years);
            return new Case(per, anchor, years, 0, all);
        }

        long start(long at) {
            return per.equals("hour")
                    ? at - Math.floorMod(at - origin, HOUR)
                    : boundaries[next(at) - 1];
        }

        long end(long at) {
            return per.equals("hour") ? start(at) + HOUR : boundaries[next(at)];
        }

        private int next(long at) {
            int found = Arrays.binarySearch(boundaries, at);
            return found >= 0 ? found + 1 : -found - 1;
        }
    }

    private static ZoneReport compare(String name, long seed) {
        ZoneId zone = ZoneId.of(name);
        Random random = new Random(seed ^ name.hashCode());
        long[] transitions = transitions(zone.getRules());
        try (Connection connection = pool.getConnection()) {
            List<String> broken = new ArrayList<>();
            List<Span> spans = new ArrayList<>();
            String reason = differences(connection, zone, transitions, spans, broken);
            List<LocalDateTime> anchors = new ArrayList<>(ANCHORS);
            anchors.addAll(inGapAndOverlap(zone.getRules(), transitions, random));
            List<LocalDateTime> doubtful = doubtful(connection, zone, anchors);

            List<Case> cases = new ArrayList<>();
            for (LocalDateTime anchor : anchors) {
                UNITS.forEach((per, unit) ->
                        cases.add(Case.of(per, unit, anchor, zone, random)));
                if (!doubtful.contains(anchor)) {
                    cases.add(Case.hours(anchor, zone));
                }
            }
            List<long[]> samples =
                    cases.stream().map(one -> samples(one, transitions, random)).toList();
            int[] which = IntStream.range(0, cases.size())
                    .flatMap(c -> IntStream.generate(() -> c).limit(samples.get(c).length))
                    .toArray();
            long[] ats = samples.stream().flatMapToLong(Arrays::stream).toArray();
            long[][] answers = windowsAt(connection, name, cases, which, ats);
            long compared = 0;
            for (int i = 0; i < ats.length; i++) {
                Case one = cases.get(which[i]);
                long start = one.start(ats[i]);
                long end = one.end(ats[i]);
                if (spans.stream().anyMatch(span -> span.touches(start, end))) {
                    continue;
                }
                compared++;
                if (answers[i][0] != start || answers[i][1] != end) {
                    broken.add("%s in %s from %s at %s: %s/%s instead of %s/%s".formatted(
                            one.per(), name, one.anchor(), instant(ats[i]), instant(answers[i][0]),
                            instant(answers[i][1]), instant(start), instant(end)));
                }
            }
            return new ZoneReport(
                    name, reason, spans, doubtful, compared, ats.length - compared, broken);
        } catch (SQLException e) {
            throw new IllegalStateException(name, e);
        }
    }

    /** Every boundary of the years in question, and of more than one before and after. */
    private static long[] boundaries(
            LocalDateTime anchor, Period unit, ZoneId zone, Span years) {
        LocalDateTime from = utc(years.from() - 2 * YEAR);
        LocalDateTime until = utc(years.until() + 2 * YEAR);
        long first = unit.getDays() > 0
                ? anchor.until(from, ChronoUnit.DAYS) / unit.getDays()
                : anchor.until(from, ChronoUnit.MONTHS) / unit.getMonths();
        return LongStream.iterate(first, n -> n + 1)
                .mapToObj(n -> anchor.plusMonths(n * unit.getMonths())
                        .plusDays(n * unit.getDays()))
                .takeWhile(local -> local.isBefore(until))
                .mapToLong(local -> inZone(local, zone))
                .sorted()
                .distinct()
                .toArray();
    }

    /** Random instants, and around transitions, boundaries, and the boundaries at transitions. */
    private static long[] samples(Case one, long[] transitions, Random random) {
        LongStream.Builder edges = LongStream.builder();
        for (int i = 0; i < 4; i++) {
            edges.add(one.end(random.nextLong(one.years().from(), one.years().until())));
        }
        for (long transition : transitions) {
            // A part of them is enough: a zone has some ninety cases, so each has its turn.
            if (one.years().touches(transition, transition)
                    && (one.per().equals("day") || random.nextInt(8) == 0)) {
                edges.add(transition);
                edges.add(one.start(transition));
                edges.add(one.end(transition));
            }
        }
        return LongStream.concat(random.longs(10, one.years().from(), one.years().until()),
                        edges.build().flatMap(edge -> LongStream.of(edge - 1, edge, edge + 1)))
                .filter(at -> one.years().touches(at, at))
                .distinct()
                .toArray();
    }

    private static long[] transitions(ZoneRules rules) {
        LongStream.Builder found = LongStream.builder();
        ZoneOffsetTransition next = rules.nextTransition(instant(YEARS.from()));
        while (next != null && micros(next.getInstant()) < YEARS.until()) {
            found.add(micros(next.getInstant()));
            next = rules.nextTransition(next.getInstant());
        }
        return found.build().toArray();
    }

    /** Local times that some transition skips, and that some transition repeats. */
    private static List<LocalDateTime> inGapAndOverlap(
            ZoneRules rules, long[] transitions, Random random) {
        List<LocalDateTime> found = new ArrayList<>();
        for (boolean gap : new boolean[] {true, false}) {
            List<ZoneOffsetTransition> candidates = Arrays.stream(transitions)
                    .mapToObj(at -> rules.nextTransition(instant(at - 1)))
                    .filter(transition -> transition.isGap() == gap)
                    .toList();
            if (!candidates.isEmpty()) {
                ZoneOffsetTransition chosen = candidates.get(random.nextInt(candidates.size()));
                long length = Math.abs(chosen.getDuration().toSeconds());
                LocalDateTime from =
                        gap ? chosen.getDateTimeBefore() : chosen.getDateTimeAfter();
                found.add(from);
                found.add(from.plusSeconds(random.nextLong(length)).plusNanos(999_000));
            }
        }
        return found;
    }

    /**
     * Fills in the spans in which the server's offsets are not Java's, found at every transition
     * and every tenth day, and says why they differ.
     */
    private static String differences(Connection connection, ZoneId zone, long[] transitions,
            List<Span> spans, List<String> broken) throws SQLException {
        // Windows that begin or end beyond the years in question belong to them, too.
        long first = YEARS.from() - 3 * YEAR;
        long last = YEARS.until() + 3 * YEAR;
        long[] ats = LongStream.concat(
                        LongStream.iterate(first, at -> at < last, at -> at + 10 * DAY),
                        Arrays.stream(transitions).flatMap(at -> LongStream.of(at - 1, at)))
                .sorted().toArray();
        long[] server = offsets(connection, zone, ats);
        boolean differed = false;
        for (int i = 0; i < ats.length; i++) {
            boolean differs = server[i]
                    != zone.getRules().getOffset(instant(ats[i])).getTotalSeconds();
            // A local time is read with an offset of up to a day before or after.
            long from = (i == 0 ? first : ats[i - 1]) - 2 * DAY;
            long until = (i + 1 == ats.length ? last : ats[i + 1]) + 2 * DAY;
            if (differs && differed) {
                spans.add(new Span(spans.remove(spans.size() - 1).from(), until));
            } else if (differs) {
                spans.add(new Span(from, until));
            }
            differed = differs;
        }
        if (spans.isEmpty()) {
            return "";
        }
        try (PreparedStatement query = connection.prepareStatement(
                "select extract(epoch from utc_offset) from pg_timezone_abbrevs"
                        + " where abbrev = upper(?)")) {
            bind(query, zone.getId());
            try (ResultSet rows = query.executeQuery()) {
                if (!rows.next()) {
                    return "other rules";
                }
                long offset = rows.getLong(1);
                if (!Arrays.stream(server).allMatch(each -> each == offset)) {
                    broken.add(zone + " is an abbreviation, but not always " + offset);
                }
                return "an abbreviation to the server, which reads it as "
                        + ZoneOffset.ofTotalSeconds((int) offset) + " all year";
            }
        }
    }

    /** The anchors that are another instant on the server; hours are counted from that. */
    private static List<LocalDateTime> doubtful(
            Connection connection, ZoneId zone, List<LocalDateTime> anchors) throws SQLException {
        List<LocalDateTime> found = new ArrayList<>();
        try (PreparedStatement query = connection.prepareStatement("""
                select extract(epoch from a at time zone ?) * 1000000
                  from unnest(?::timestamp[]) with ordinality as anchor (a, n) order by n
                """)) {
            query.setString(1, zone.getId());
            query.setArray(2, connection.createArrayOf("text",
                    anchors.stream().map(LocalDateTime::toString).toArray()));
            try (ResultSet rows = query.executeQuery()) {
                for (LocalDateTime anchor : anchors) {
                    rows.next();
                    if (rows.getLong(1) != inZone(anchor, zone)) {
                        found.add(anchor);
                    }
                }
            }
        }
        return found;
    }

    private static long[] offsets(Connection connection, ZoneId zone, long[] ats)
            throws SQLException {
        try (PreparedStatement query = connection.prepareStatement("""
                select date_part('epoch', (at at time zone ?) - (at at time zone 'UTC'))::int
                  from unnest(?::int8[]) with ordinality as sample (us, n),
                       lateral (select timestamptz 'epoch' + us * interval '1 us') as t (at)
                 order by n
                """)) {
            query.setString(1, zone.getId());
            query.setArray(2, connection.unwrap(PGConnection.class).createArrayOf("int8", ats));
            long[] offsets = new long[ats.length];
            try (ResultSet rows = query.executeQuery()) {
                for (int i = 0; i < ats.length; i++) {
                    rows.next();
                    offsets[i] = rows.getLong(1);
                }
            }
            return offsets;
        }
    }

    /** The server's windows for the cases that {@code which} points to, at {@code ats}. */
    private static long[][] windowsAt(
            Connection connection, String zone, List<Case> cases, int[] which, long[] ats)
            throws SQLException {
        PGConnection arrays = connection.unwrap(PGConnection.class);
        try (PreparedStatement query = connection.prepareStatement("""
                select round(date_part('epoch', w.start_at) * 1000000)::int8,
                       round(date_part('epoch', w.end_at) * 1000000)::int8
                  from unnest(?::int4[], ?::int8[]) with ordinality as sample (which, us, n)
                  join unnest(?::text[], ?::timestamp[]) with ordinality as one (per, anchor, i)
                    on i = which,
                       lateral (select timestamptz 'epoch' + us * interval '1 us') as t (at),
                       lateral pgquota.window_at(per, at, ?, anchor) w
                 order by n
                """)) {
            query.setArray(1, arrays.createArrayOf("int4",
                    Arrays.stream(which).map(index -> index + 1).toArray()));
            query.setArray(2, arrays.createArrayOf("int8", ats));
            query.setArray(3, connection.createArrayOf("text",
                    cases.stream().map(Case::per).toArray()));
            query.setArray(4, connection.createArrayOf("text",
                    cases.stream().map(one -> one.anchor().toString()).toArray()));
            query.setString(5, zone);
            long[][] windows = new long[ats.length][2];
            try (ResultSet rows = query.executeQuery()) {
                for (long[] window : windows) {
                    rows.next();
                    window[0] = rows.getLong(1);
                    window[1] = rows.getLong(2);
                }
            }
            return windows;
        }
    }

    private static Set<String> serverZones(Connection connection) throws SQLException {
        Set<String> zones = new TreeSet<>();
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("select name from pg_timezone_names")) {
            while (rows.next()) {
                zones.add(rows.getString(1));
            }
        }
        return zones;
    }

    /** Copies of the whole list, such as posix/…, are told as one. */
    private static void printUnknown(String side, Set<String> known, Set<String> its) {
        Map<String, Long> unknown = known.stream()
                .filter(zone -> !its.contains(zone))
                .collect(Collectors.groupingBy(
                        zone -> zone.replaceFirst("^(posix|right|SystemV)/.*", "$1/…"),
                        TreeMap::new, Collectors.counting()));
        System.out.println("zones unknown to " + side + ": " + unknown.keySet());
    }

    private static Random seeded(String test) {
        long seed = Long.getLong("pgquota.test.seed", 20_261_124);
        System.out.println(test + ": -Dpgquota.test.seed=" + seed);
        return new Random(seed);
    }

    private static void bind(PreparedStatement statement, Object... values) throws SQLException {
        for (int i = 0; i < values.length; i++) {
            statement.setObject(i + 1, values[i]);
        }
    }

    private static List<LocalDateTime> anchors(String... texts) {
        return Arrays.stream(texts).map(LocalDateTime::parse).toList();
    }

    /** In a gap the offset before it, in an overlap the later of the two instants. */
    private static long inZone(LocalDateTime local, ZoneId zone) {
        return micros(ZonedDateTime.ofLocal(local, zone, null)
                .withLaterOffsetAtOverlap().toInstant());
    }

    private static long micros(Instant instant) {
        return instant.getEpochSecond() * 1_000_000 + instant.getNano() / 1000;
    }

    private static LocalDateTime utc(long micros) {
        return LocalDateTime.ofInstant(instant(micros), ZoneOffset.UTC);
    }

    private static Instant instant(long micros) {
        return Instant.EPOCH.plus(micros, ChronoUnit.MICROS);
    }
}
