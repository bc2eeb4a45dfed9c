/* SPDX-License-Identifier: Apache-2.0
 * The passes of the planner, in the order plan.c runs them. Internal to plan/. */
#ifndef PUM_PLAN_PASS_H
#define PUM_PLAN_PASS_H

#include "op.h"
#include "plan.h"

/* Copies `graph` into *out_graph with inputs of mat-muls rounded to 8 bits where that is faster. */
pumice_status pum_plan_quantize(const pum_graph *graph, const pum_caps *caps, const pum_tuning *tuning,
                                pum_graph *out_graph, pumice_error *err);

/* Copies `graph` into *out_graph with the patterns of plan_fuse.c's table merged; *out_fused counts
 * them. */
pumice_status pum_plan_fuse(const pum_graph *graph, const pum_caps *caps, const pum_tuning *tuning,
                            const pum_placement *weights, pum_graph *out_graph, uint32_t *out_fused,
                            pumice_error *err);

/* May the matrix `below` be bound together with `above`, as its further rows? (plan_stack.c) */
bool pum_plan_can_stack(const pum_graph *g, const pum_caps *caps, const pum_placement *weights,
                        pum_value_id above, pum_value_id below);
/* The value of `count` tensors from that of `first` on; PUM_NO_VALUE without memory (g->failed). */
pum_value_id pum_plan_stack_weight(pum_graph *g, pum_value_id first, uint32_t count, uint64_t rows,
                                   uint64_t cols);
/* Merges mat-muls of the same input whose matrices are neighbours; adds to *io_fused. */
pumice_status pum_plan_stack(pum_graph *g, const pum_caps *caps, const pum_placement *weights,
                             uint32_t *io_fused, pumice_error *err);

/* Leaves RMSNorms to the kernels before and behind them; adds to *io_fused. (plan_norm.c) */
pumice_status pum_plan_split_norms(pum_graph *g, const pum_caps *caps, const pum_tuning *tuning,
                                   const pum_placement *weights, uint32_t *io_fused, pumice_error *err);

/* Fills s->drafts with the dispatches of every node of s->graph. */
pumice_status pum_plan_select(pum_select *s);

/* Turns drafts into steps: gives every activation its place in the arena and every binding its
 * range. */
pumice_status pum_plan_memory(const pum_select *s, const pum_placement *kv, bool no_reuse,
                              pum_plan *plan, pumice_error *err);

/* Sets predicted_ns and submit_end. */
void pum_plan_submit(pum_plan *plan, const pum_tuning *tuning, uint64_t max_submit_ns);

/* Two ranges of one buffer that share a byte, at least one of them written. */
static inline bool pum_bindings_conflict(const pum_binding *a, const pum_binding *b)
{
    return a->buffer == b->buffer && ((a->access | b->access) & PUM_ACCESS_W) &&
           a->offset_bytes < b->offset_bytes + b->size_bytes &&
           b->offset_bytes < a->offset_bytes + a->size_bytes;
}

#endif
