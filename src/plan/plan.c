/* SPDX-License-Identifier: Apache-2.0
 * Graph in, plan out: the passes in order. Each is a file of its own and pure; this one only
 * calls them, adds up the totals and, in debug builds, has the result proven by plan_check.c. */
#include "plan_pass.h"

static bool weights_known(const pum_graph *g, const pum_placement *weights, const pum_placement *kv)
{
    for (size_t i = 0; i < g->values.count; i++) {
        const pum_value *v = &g->values.data[i];
        const pum_placement *p = v->kind == PUM_VALUE_WEIGHT ? weights
                                 : v->kind == PUM_VALUE_KV   ? kv
                                                             : NULL;
        if (p && (v->source < 0 || (size_t)v->source + 1 >= p->first.count)) return false;
    }
    return true;
}

pumice_status pum_plan_make(const pum_graph *graph, const pum_caps *caps, const pum_tuning *tuning,
                            const pum_placement *weights, const pum_placement *kv,
                            const pum_plan_options *options, pum_plan *out_plan, pumice_error *err)
{
    pum_plan_options o = options ? *options : (pum_plan_options){ 0 };
    pum_plan plan = { .rows = graph->rows };
    pum_graph rounded = { 0 }, fused = { 0 };
    pum_select select = { .caps = caps, .tuning = tuning, .weights = weights, .err = err };
    pumice_status status;
    *out_plan = (pum_plan){ 0 };

    PUM_GOTO(pum_graph_check(graph, err));
    if (!weights_known(graph, weights, kv)) {
        status = pum_fail(err, PUMICE_ERROR_INTERNAL,
                          "the graph names a tensor that the placement does not have");
        goto fail;
    }
    if (o.q8_activations) {
        PUM_GOTO(pum_plan_quantize(graph, caps, tuning, &rounded, err));
        graph = &rounded;
    }
    if (!o.no_fusion) {
        PUM_GOTO(pum_plan_fuse(graph, caps, tuning, weights, &fused, &plan.n_fused, err));
        PUM_GOTO(pum_graph_check(&fused, err));
    } else if (!pum_graph_copy(graph, &fused)) {
        status = pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
        goto fail;
    }
    select.graph = &fused; /* a copy either way: ops add values for what passes between their steps */
    PUM_GOTO(pum_plan_select(&select));
    PUM_GOTO(pum_plan_memory(&select, kv, o.no_reuse, &plan, err));
    PUM_GOTO(pum_plan_sync(&plan, err));
    pum_plan_submit(&plan, tuning, o.max_submit_ns);
    for (size_t i = 0; i < plan.steps.count; i++) {
        const pum_step *s = &plan.steps.data[i];
        plan.bytes += s->bytes;
        plan.flops += s->flops;
        plan.predicted_ns += s->predicted_ns;
        plan.n_barriers += s->barrier;
        plan.n_submits += s->submit_end;
    }
#ifndef NDEBUG
    PUM_GOTO(pum_plan_check(&plan, caps, weights, kv, err));
#endif
    *out_plan = plan;
    plan = (pum_plan){ 0 };
    status = PUMICE_OK;
fail:
    pum_array_free(&select.drafts);
    pum_graph_free(&rounded);
    pum_graph_free(&fused);
    pum_plan_free(&plan);
    return status;
}

void pum_plan_free(pum_plan *plan)
{
    pum_array_free(&plan->steps);
    pum_array_free(&plan->values);
    *plan = (pum_plan){ 0 };
}
