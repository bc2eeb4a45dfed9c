/* SPDX-License-Identifier: Apache-2.0
 * The only place that decides where barriers stand. A barrier makes everything before it visible to
 * everything after, so one is due exactly when a step touches a range that a step since the last
 * barrier wrote, or writes one that such a step read. Placing each as late as possible gives the
 * fewest for this order of steps (each hazard is an interval that must contain a barrier; stabbing
 * intervals greedily from the left is optimal). The first step always waits: the same plan may be
 * replayed while its last run is still in flight. */
#include "plan_pass.h"

pumice_status pum_plan_sync(pum_plan *plan, pumice_error *err)
{
    PUM_ARRAY(pum_binding) open = { 0 }; /* ranges touched since the last barrier */
    pumice_status status = PUMICE_OK;
    for (size_t i = 0; i < plan->steps.count; i++) {
        pum_step *step = &plan->steps.data[i];
        uint32_t n = pum_kernels[step->kernel].n_bindings;
        bool hazard = i == 0;
        for (uint32_t b = 0; b < n && !hazard; b++) {
            for (size_t k = 0; k < open.count && !hazard; k++) {
                hazard = pum_bindings_conflict(&step->bind[b], &open.data[k]);
            }
        }
        step->barrier = hazard;
        if (hazard) open.count = 0;
        for (uint32_t b = 0; b < n; b++) {
            if (!pum_array_push(&open, step->bind[b])) {
                status = pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
                goto done;
            }
        }
    }
done:
    pum_array_free(&open);
    return status;
}
