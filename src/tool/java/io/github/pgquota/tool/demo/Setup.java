package io.github.pgquota.tool.demo;

import io.github.pgquota.Plan;
import io.github.pgquota.Plans;
import io.github.pgquota.QuotaException;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/** Publishes the plans of a job and gives its tenants theirs. */
final class Setup {

    private Setup() {}

    /**
     * Does so, from several callers because each assignment is a commit of its own.
     *
     * @param prefix comes before the plans' names
     * @throws BadInput if the database refuses a name
     */
    static void run(Plans admin, List<Tenant> tenants, String prefix, int callers)
            throws Exception {
        Set<Plan> plans = new LinkedHashSet<>();
        tenants.forEach(t -> plans.add(t.plan()));
        try {
            for (Plan plan : plans) {
                admin.publish(new Plan(prefix + plan.name(), plan.limits()));
            }
            Callers.run(callers, tenants.size(), Progress.none(), i -> {
                Tenant tenant = tenants.get(i);
                admin.assign(tenant.name(), prefix + tenant.plan().name());
                return true;
            });
        } catch (QuotaException.Invalid e) {
            throw new BadInput(e.getMessage());
        }
    }
}
