package io.github.pgquota;

import static com.tngtech.archunit.base.DescribedPredicate.not;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAPackage;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAnyPackage;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.core.importer.Location;
import com.tngtech.archunit.lang.ArchRule;
import io.github.pgquota.internal.HikariPools;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** The arrows of the house: who may know whom. */
class HouseTest {

    /** And what is inside of it. */
    private static final String FLYWAY_RUNNER = ".*\\.FlywayRunner(\\$.*)?";
    private static final String API = "io.github.pgquota";
    private static final String INTERNAL = "io.github.pgquota.internal..";
    private static final String TOOL = "io.github.pgquota.tool..";

    private static final JavaClasses LIBRARY = new ClassFileImporter()
            .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
            .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_JARS)
            .withImportOption(HouseTest::isLibrary)
            .importPackages(API);
    private static final JavaClasses EVERYTHING = new ClassFileImporter()
            .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_JARS)
            .importPackages(API);

    /** The programs are compiled to where the tests are, but are no part of the library either. */
    private static boolean isLibrary(Location location) {
        return !location.contains("/io/github/pgquota/tool/")
                && !location.contains("/test/io/github/pgquota/");
    }

    @Test
    void theApiKnowsTheJdkJspecifyAndTheEngine() {
        ArchRule rule = classes().that().resideInAPackage(API)
                .and().doNotHaveSimpleName("JooqTransaction")
                .should().onlyDependOnClassesThat(
                        resideInAnyPackage(
                                "java..", "javax.sql..", "org.jspecify..", API, INTERNAL));
        rule.check(LIBRARY);
    }

    @Test
    void theApiShowsNothingOfTheEngine() {
        ArchRule rule = com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noMethods()
                .that().areDeclaredInClassesThat().resideInAPackage(API)
                .and().arePublic()
                .should().haveRawReturnType(resideInAPackage(INTERNAL));
        rule.check(LIBRARY);
    }

    @Test
    void oneSmallTypeKnowsJooq() {
        classes().that().haveSimpleName("JooqTransaction")
                .should().onlyDependOnClassesThat(
                        resideInAnyPackage("java..", "org.jooq", API, INTERNAL))
                .check(LIBRARY);
    }

    @Test
    void theEngineKnowsJdbcJooqAndSlf4j() {
        classes().that().resideInAPackage(INTERNAL)
                .and().haveNameNotMatching(FLYWAY_RUNNER)
                .and().doNotHaveSimpleName("SqlStates") // reads the fields of the driver's errors
                .and(not(JavaClass.Predicates.belongToAnyOf(HikariPools.class)))
                .should().onlyDependOnClassesThat(resideInAnyPackage("java..", "javax.sql..",
                        "org.jspecify..", "org.jooq..", "org.slf4j..", "org.snakeyaml..",
                        API, INTERNAL))
                .check(LIBRARY);
    }

    @Test
    void flywayAndHikariAreBehindOneClassEach() {
        noClasses().that().haveNameNotMatching(FLYWAY_RUNNER)
                .should().dependOnClassesThat().resideInAPackage("org.flywaydb..").check(LIBRARY);
        noClasses().that(not(JavaClass.Predicates.belongToAnyOf(HikariPools.class)))
                .should().dependOnClassesThat().resideInAPackage("com.zaxxer..").check(LIBRARY);
    }

    @Test
    void oneClassAsksForTheStateOfAnError() {
        noClasses().that().doNotHaveSimpleName("SqlStates")
                .should().callMethod(java.sql.SQLException.class, "getSQLState")
                .orShould().callMethod(org.jooq.exception.DataAccessException.class, "sqlState")
                .check(LIBRARY);
    }

    @Test
    void theLibraryKnowsNoProgramAndNoTest() {
        noClasses().should().dependOnClassesThat(resideInAPackage(TOOL)).check(LIBRARY);
        noClasses().should().dependOnClassesThat()
                .resideInAnyPackage("org.junit..", "org.assertj..", "io.zonky..", "picocli..")
                .check(LIBRARY);
    }

    @Test
    void programsKnowNoTest() {
        noClasses().that(areIn("tool"))
                .should().dependOnClassesThat(areIn("test"))
                .orShould().dependOnClassesThat().resideInAnyPackage("org.junit..", "org.assertj..")
                .check(EVERYTHING);
    }

    /** Programs and tests are compiled to one folder; their sources tell them apart. */
    private static DescribedPredicate<JavaClass> areIn(String root) {
        return DescribedPredicate.describe("are in src/" + root, type -> {
            String outermost = type.getName().replaceFirst("\\$.*", "").replace('.', '/');
            return Files.exists(Path.of("src", root, "java", outermost + ".java"));
        });
    }

    @Test
    void theApisTypesAreNoAccident() {
        classes().that().resideInAPackage(API).and().arePublic().and().areTopLevelClasses()
                .should().haveNameMatching(".*\\.(Quotas|Operations|AsyncOperations|Plans|Reports|"
                        + "Schema|Upkeep|Pools|Scope|Request|Decision|Granted|Denied|Verdict|"
                        + "Reservation|Hold|OperationId|Combining|Timeouts|Retry|Away|Balance|Plan|Limit|Window|LedgerEntry|"
                        + "Alert|JooqTransaction|QuotaException)")
                .check(LIBRARY);
    }
}
