/* SPDX-License-Identifier: Apache-2.0
 * What is done with logits on the device. Choosing the next token, by arg-max or the sampling chain
 * of the slots: both also advance the slot and write the token into its batch row, so that the next
 * replay needs no host. Scoring the tokens that batch rows name as those that come next. */
#include "op.h"

static pumice_status check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *x = &graph->values.data[node->in[PUM_IN_X]];
    if (x->kind != PUM_VALUE_LOGITS)
        return pum_shape_fail(graph, node, "takes the logits value alone", err);
    uint32_t slots = node->params.slots;
    if (slots == 0 || slots > graph->step.slots || slots > x->rows) {
        return pum_shape_fail(graph, node,
                              "as many slots as there are rows of logits, at least one", err);
    }
    return PUMICE_OK;
}

static pumice_status select_family(pum_select *s, const pum_node *node, uint32_t family)
{
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, family, PUM_DTYPE_COUNT, &kernel));
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_X]);
    uint32_t slots = node->params.slots;
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[0] = s->tuning->sample_wg;
    d.bind[0].value = node->in[PUM_IN_X];
    d.bind[1].value = s->graph->step_value;
    d.grid[0] = slots;
    d.bytes = 4 * slots * x->cols;
    d.flops = slots * x->cols;
    pum_args_sample args = { .cols = (uint32_t)x->cols,
                             .slots = slots,
                             .x_stride = (uint32_t)x->cols,
                             .slot_at = s->graph->step.slot_at };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

pumice_status pum_op_argmax_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    return check(graph, node, err);
}

pumice_status pum_op_argmax_select(pum_select *s, const pum_node *node)
{
    return select_family(s, node, PUM_FAMILY_ARGMAX);
}

pumice_status pum_op_sample_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    return check(graph, node, err);
}

pumice_status pum_op_sample_select(pum_select *s, const pum_node *node)
{
    return select_family(s, node, PUM_FAMILY_SAMPLE);
}

pumice_status pum_op_score_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *x = &graph->values.data[node->in[PUM_IN_X]];
    uint32_t rows = node->params.rows;
    if (x->kind == PUM_VALUE_LOGITS && rows > 0 && rows <= graph->rows && rows <= x->rows) {
        return PUMICE_OK;
    }
    return pum_shape_fail(graph, node, "takes the logits of batch rows, at least one", err);
}

pumice_status pum_op_score_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_SCORE, PUM_DTYPE_COUNT, &kernel));
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_X]);
    uint32_t rows = node->params.rows;
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[0] = s->tuning->sample_wg;
    d.bind[0].value = node->in[PUM_IN_X];
    d.bind[1].value = s->graph->step_value;
    d.grid[0] = rows;
    d.bytes = 4 * rows * x->cols;
    d.flops = 3 * rows * x->cols;
    pum_args_score args = { .cols = (uint32_t)x->cols, .rows = rows,
                            .x_stride = (uint32_t)x->cols };
    return pum_draft_emit(s, &d, &args, sizeof args);
}
