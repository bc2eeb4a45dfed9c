/* SPDX-License-Identifier: Apache-2.0
 * Cuts a plan into queue submits by predicted time, so that no submit runs into a watchdog,
 * desktops stay smooth and a cancel takes effect soon. Prediction: the larger of bytes over
 * bandwidth and flops over speed, plus a fixed cost per dispatch; the three numbers are the tuning
 * table's. */
#include "plan_pass.h"

static uint64_t predict_ns(const pum_step *s, const pum_tuning *t)
{
    uint64_t memory = s->bytes / PUM_MAX(t->read_gbs, 1u); /* GB/s = bytes per ns */
    uint64_t compute = s->flops / PUM_MAX(t->matmul_gflops, 1u);
    return PUM_MAX(memory, compute) + t->dispatch_ns;
}

void pum_plan_submit(pum_plan *plan, const pum_tuning *tuning, uint64_t max_submit_ns)
{
    uint64_t limit = max_submit_ns ? max_submit_ns : (uint64_t)tuning->submit_us * 1000, sum = 0;
    for (size_t i = 0; i < plan->steps.count; i++) {
        pum_step *step = &plan->steps.data[i];
        step->predicted_ns = predict_ns(step, tuning);
        if (i > 0 && sum + step->predicted_ns > limit) {
            plan->steps.data[i - 1].submit_end = 1;
            sum = 0;
        }
        sum += step->predicted_ns;
    }
    if (plan->steps.count) plan->steps.data[plan->steps.count - 1].submit_end = 1;
}
