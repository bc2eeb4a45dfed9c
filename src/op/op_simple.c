/* SPDX-License-Identifier: Apache-2.0
 * Element-wise operations and row movers: activation (gated or not), add, limit, copy, gather of the rows
 * that have logits. All memory-bound, one shape rule each. */
#include "op.h"

static uint32_t groups(const pum_select *s, uint64_t items)
{
    return (uint32_t)pum_ceil_div(items, s->tuning->elementwise_wg);
}

pumice_status pum_op_act_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *x = &graph->values.data[node->in[PUM_IN_ACT_GATE]];
    pum_value_id up = node->in[PUM_IN_ACT_UP];
    if (!pum_value_is(graph, node->out, x->rows, x->cols) ||
        (up >= 0 && !pum_value_is(graph, up, x->rows, x->cols))) {
        return pum_shape_fail(graph, node, "gate, up and output must have one shape", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_act_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_ACT, PUM_DTYPE_COUNT, &kernel));
    pum_value_id gate = node->in[PUM_IN_ACT_GATE], up = node->in[PUM_IN_ACT_UP];
    const pum_value *v = pum_select_value(s, gate);
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_ACT_WG] = s->tuning->elementwise_wg;
    d.spec[PUM_SPEC_ACT_ACT] = node->params.act;
    d.spec[PUM_SPEC_ACT_GATED] = up >= 0;
    d.bind[0].value = gate;
    d.bind[1].value = up >= 0 ? up : gate;
    d.bind[2].value = node->out;
    d.inplace_in = 0;
    d.inplace_out = 2;
    d.grid[0] = groups(s, v->cols);
    d.grid[1] = (uint32_t)v->rows;
    d.bytes = (uint64_t)(up >= 0 ? 3 : 2) * 4 * v->rows * v->cols;
    d.flops = 8 * v->rows * v->cols;
    uint32_t n = (uint32_t)v->cols;
    pum_args_act args = {
        .cols = n, .rows = (uint32_t)v->rows, .gate_stride = n, .up_stride = n, .y_stride = n
    };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

pumice_status pum_op_add_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *a = &graph->values.data[node->in[PUM_IN_ADD_A]];
    pum_value_id b = node->in[PUM_IN_ADD_B];
    if (!pum_value_is(graph, node->out, a->rows, a->cols) ||
        (!pum_value_is(graph, b, a->rows, a->cols) && !pum_value_is(graph, b, 1, a->cols))) {
        return pum_shape_fail(graph, node, "b must have a's shape or be one row of it", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_add_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_ADD, PUM_DTYPE_COUNT, &kernel));
    const pum_value *a = pum_select_value(s, node->in[PUM_IN_ADD_A]);
    const pum_value *b = pum_select_value(s, node->in[PUM_IN_ADD_B]);
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_ADD_WG] = s->tuning->elementwise_wg;
    for (int i = 0; i < 2; i++) d.bind[i].value = node->in[i];
    d.bind[2].value = node->out;
    d.inplace_in = 0;
    d.inplace_out = 2;
    d.grid[0] = groups(s, a->cols);
    d.grid[1] = (uint32_t)a->rows;
    d.bytes = 4 * (2 * a->rows + b->rows) * a->cols;
    d.flops = a->rows * a->cols;
    uint32_t n = (uint32_t)a->cols;
    pum_args_add args = { .cols = n,
                          .rows = (uint32_t)a->rows,
                          .a_stride = n,
                          .b_stride = b->rows == 1 && a->rows != 1 ? 0 : n,
                          .y_stride = n,
                          .scale = node->params.scale };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

static uint64_t limit_rows(const pum_value *x, const pum_node *node)
{
    return node->params.rows ? node->params.rows : x->rows;
}

pumice_status pum_op_limit_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *x = &graph->values.data[node->in[PUM_IN_X]];
    if (!pum_value_is(graph, node->out, x->rows, x->cols) || node->params.rows > x->rows) {
        return pum_shape_fail(graph, node, "input and output must have one shape", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_limit_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_LIMIT, PUM_DTYPE_COUNT, &kernel));
    const pum_params *p = &node->params;
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_X]);
    uint32_t rows = (uint32_t)limit_rows(x, node), n = (uint32_t)x->cols;
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_LIMIT_WG] = s->tuning->elementwise_wg;
    d.spec[PUM_SPEC_LIMIT_KIND] = p->softcap != 0.0f ? LIMIT_CAP
                                  : p->clamp != 0.0f ? LIMIT_CLAMP
                                                     : LIMIT_NONE;
    d.bind[0].value = node->in[PUM_IN_X];
    d.bind[1].value = node->out;
    d.inplace_in = 0;
    d.inplace_out = 1;
    d.grid[0] = groups(s, n);
    d.grid[1] = rows;
    d.bytes = 2ull * 4 * rows * n;
    d.flops = 4ull * rows * n;
    pum_args_limit args = { .cols = n, .rows = rows, .x_stride = n, .y_stride = n,
                            .scale = p->scale, .limit = p->softcap != 0.0f ? p->softcap : p->clamp };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

pumice_status pum_op_copy_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *x = &graph->values.data[node->in[PUM_IN_X]];
    const pum_value *y = node->out >= 0 ? &graph->values.data[node->out] : NULL;
    if (!y || y->cols != x->cols || y->rows < x->rows) {
        return pum_shape_fail(graph, node, "output must have room for the input's rows", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_copy_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_COPY, PUM_DTYPE_COUNT, &kernel));
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_X]);
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_COPY_WG] = s->tuning->elementwise_wg;
    d.bind[0].value = node->in[PUM_IN_X];
    d.bind[1].value = node->out;
    d.grid[0] = groups(s, x->cols);
    d.grid[1] = (uint32_t)x->rows;
    d.bytes = 2 * 4 * x->rows * x->cols;
    pum_args_copy args = { .cols = (uint32_t)x->cols,
                           .rows = (uint32_t)x->rows,
                           .x_stride = (uint32_t)x->cols,
                           .y_stride = (uint32_t)x->cols };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

pumice_status pum_op_gather_rows_check(const pum_graph *graph, const pum_node *node,
                                       pumice_error *err)
{
    const pum_value *x = &graph->values.data[node->in[PUM_IN_X]];
    const pum_value *y = node->out >= 0 ? &graph->values.data[node->out] : NULL;
    if (!y || y->cols != x->cols || y->rows > graph->step.slots) {
        return pum_shape_fail(graph, node,
                              "output rows must not exceed the slots, nor differ in length", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_gather_rows_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_GATHER_ROWS, PUM_DTYPE_COUNT, &kernel));
    const pum_value *y = pum_select_value(s, node->out);
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_GATHER_ROWS_WG] = s->tuning->elementwise_wg;
    pum_columns x = pum_select_columns(s, node->in[PUM_IN_X]); /* from the first column on: see plan_norm.c */
    d.bind[0].value = x.value;
    d.bind[1].value = s->graph->step_value;
    d.bind[2].value = node->out;
    d.grid[0] = groups(s, y->cols);
    d.grid[1] = (uint32_t)y->rows;
    d.bytes = 2 * 4 * y->rows * y->cols;
    pum_args_copy args = { .cols = (uint32_t)y->cols,
                           .rows = (uint32_t)y->rows,
                           .x_stride = x.stride,
                           .y_stride = (uint32_t)y->cols,
                           .slot_at = s->graph->step.slot_at };
    return pum_draft_emit(s, &d, &args, sizeof args);
}
