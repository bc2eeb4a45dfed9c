/* SPDX-License-Identifier: Apache-2.0
 * Row-wise reductions: RMSNorm (Zhang & Sennrich, 2019), LayerNorm (Ba et al., 2016) and softmax.
 * One workgroup a row; decides nothing but the workgroup size, which is the tuning table's. */
#include "op.h"

pumice_status pum_op_norm_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *x = &graph->values.data[node->in[PUM_IN_NORM_X]];
    pum_value_id w = node->in[PUM_IN_NORM_W], b = node->in[PUM_IN_NORM_B];
    if (!pum_value_is(graph, node->out, x->rows, x->cols)) {
        return pum_shape_fail(graph, node, "output must have the input's shape", err);
    }
    uint64_t heads = PUM_MAX(node->params.heads, 1u), cols = x->cols / heads;
    uint64_t w_rows = w >= 0 && graph->values.data[w].rows == heads ? heads : 1;
    if (x->cols % heads != 0 || (w >= 0 && !pum_value_is(graph, w, w_rows, cols)) ||
        (b >= 0 && !pum_value_is(graph, b, 1, cols))) {
        return pum_shape_fail(graph, node,
                              "weight and bias must have one row as long as the input's, or as a "
                              "head of it; the weight may have one for each head", err);
    }
    return PUMICE_OK;
}

bool pum_op_norm_can_q8(const pum_caps *caps, const pum_node *node)
{
    return node->params.heads <= 1 && pum_kernel_find(PUM_FAMILY_NORM_Q8, PUM_DTYPE_COUNT, caps, 0) >= 0;
}

pumice_status pum_op_norm_select(pum_select *s, const pum_node *node)
{
    /* both families have the same constants, bindings and arguments */
    bool q8 = pum_select_value(s, node->out)->dtype == PUM_DTYPE_Q8_A;
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, q8 ? PUM_FAMILY_NORM_Q8 : PUM_FAMILY_NORM, PUM_DTYPE_COUNT, &kernel));
    pum_value_id x = node->in[PUM_IN_NORM_X], w = node->in[PUM_IN_NORM_W],
                 b = node->in[PUM_IN_NORM_B];
    const pum_value *v = pum_select_value(s, x);
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_NORM_WG] = s->tuning->norm_wg;
    d.spec[PUM_SPEC_NORM_KIND] = node->params.norm;
    d.spec[PUM_SPEC_NORM_HAS_W] = w >= 0;
    d.spec[PUM_SPEC_NORM_HAS_B] = b >= 0;
    d.bind[0].value = x;
    d.bind[1].value = w >= 0 ? w : x;
    d.bind[2].value = b >= 0 ? b : x;
    d.bind[3].value = node->out;
    /* heads lie one after the other: more and shorter rows */
    uint32_t heads = PUM_MAX(node->params.heads, 1u), cols = (uint32_t)(v->cols / heads);
    d.grid[0] = (uint32_t)v->rows * heads;
    uint32_t w_rows = w >= 0 ? (uint32_t)pum_select_value(s, w)->rows : 1;
    d.bytes = 4 * v->rows * v->cols + pum_act_bytes(pum_select_value(s, node->out)) +
              4ull * cols * (w_rows * (w >= 0) + (b >= 0));
    d.flops = 4 * v->rows * v->cols;
    pum_args_norm args = { .cols = cols,
                           .rows = (uint32_t)v->rows * heads,
                           .x_stride = cols,
                           .y_stride = cols,
                           .eps = node->params.eps,
                           .w_add = node->params.w_add,
                           .w_rows = w_rows };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

pumice_status pum_op_softmax_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *x = &graph->values.data[node->in[PUM_IN_X]];
    if (!pum_value_is(graph, node->out, x->rows, x->cols)) {
        return pum_shape_fail(graph, node, "output must have the input's shape", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_softmax_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_SOFTMAX, PUM_DTYPE_COUNT, &kernel));
    const pum_value *v = pum_select_value(s, node->in[PUM_IN_X]);
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_SOFTMAX_WG] = s->tuning->norm_wg;
    d.bind[0].value = node->in[PUM_IN_X];
    d.bind[1].value = node->out;
    d.grid[0] = (uint32_t)v->rows;
    d.bytes = 2 * 4 * v->rows * v->cols;
    d.flops = 4 * v->rows * v->cols;
    pum_args_softmax args = { .cols = (uint32_t)v->cols,
                              .rows = (uint32_t)v->rows,
                              .x_stride = (uint32_t)v->cols,
                              .y_stride = (uint32_t)v->cols,
                              .scale = node->params.scale };
    return pum_draft_emit(s, &d, &args, sizeof args);
}
