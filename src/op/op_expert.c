/* SPDX-License-Identifier: Apache-2.0
 * Mixtures of experts (Shazeer et al., 2017): the router's choice, the experts' matrices, the
 * weighted sum. Decides between a mat-vec for each pair of row and expert (few rows: hardly two
 * share an expert) and tiles of pairs of one expert (many rows: every weight is read once per
 * tile), for which alone pairs are put in order. */
#include "op.h"

enum { MAX_EXPERTS = 512, MAX_USED = 64 };

static bool counts_ok(const pum_params *p)
{
    return p->experts > 0 && p->experts <= MAX_EXPERTS && p->experts_used > 0 &&
           p->experts_used <= PUM_MIN(p->experts, (uint32_t)MAX_USED);
}

static bool few(const pum_select *s, uint64_t rows) { return rows <= s->tuning->matvec_max_rows; }

/* ---- the choice ---- */

pumice_status pum_op_route_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_params *p = &node->params;
    const pum_value *x = &graph->values.data[node->in[PUM_IN_X]];
    if (!counts_ok(p) || x->cols != p->experts ||
        !pum_value_is(graph, node->out, x->rows, 2ull * p->experts_used)) {
        return pum_shape_fail(graph, node, "a logit for each expert goes in, two numbers for each "
                                           "one used come out", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_route_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_ROUTE, PUM_DTYPE_COUNT, &kernel));
    const pum_params *p = &node->params;
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_X]);
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_ROUTE_WG] = s->tuning->norm_wg;
    d.spec[PUM_SPEC_ROUTE_USED] = p->experts_used;
    d.bind[0].value = node->in[PUM_IN_X];
    d.bind[1].value = node->out;
    d.grid[0] = (uint32_t)x->rows;
    d.bytes = 4 * x->rows * (x->cols + 2ull * p->experts_used);
    d.flops = x->rows * x->cols * x->cols;
    pum_args_route args = { .experts = p->experts,
                            .used = p->experts_used,
                            .rows = (uint32_t)x->rows,
                            .x_stride = p->experts,
                            .y_stride = 2 * p->experts_used,
                            .renorm = p->renorm,
                            .scale = p->scale };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

/* ---- the order ---- */

/* Tiles that any choice of experts needs at most. */
static uint32_t most_tiles(const pum_params *p, uint64_t rows)
{
    uint64_t pairs = rows * p->experts_used;
    return (uint32_t)PUM_MIN(pairs, pum_ceil_div(pairs, EXPERT_TILE) + p->experts);
}

pumice_status pum_op_expert_group_check(const pum_graph *graph, const pum_node *node,
                                        pumice_error *err)
{
    const pum_params *p = &node->params;
    const pum_value *x = &graph->values.data[node->in[PUM_IN_X]];
    if (!counts_ok(p) || x->cols != 2ull * p->experts_used ||
        !pum_value_is(graph, node->out, 1, 4ull * x->rows * p->experts_used)) {
        return pum_shape_fail(graph, node, "output must have four words for each pair", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_expert_group_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    const pum_params *p = &node->params;
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_X]);
    if (few(s, x->rows)) return PUMICE_OK; /* nobody reads it then */
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_EXPERT_GROUP, PUM_DTYPE_COUNT, &kernel));
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_EXPERT_GROUP_WG] = s->tuning->norm_wg;
    d.spec[PUM_SPEC_EXPERT_GROUP_EXPERTS] = p->experts;
    d.bind[0].value = node->in[PUM_IN_X];
    d.bind[1].value = node->out;
    uint64_t pairs = x->rows * p->experts_used;
    d.bytes = 4 * pairs * 5;
    d.flops = 2 * pairs * p->experts;
    pum_args_expert_group args = { .experts = p->experts,
                                   .used = p->experts_used,
                                   .rows = (uint32_t)x->rows,
                                   .x_stride = 2 * p->experts_used,
                                   .tiles = most_tiles(p, x->rows) };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

/* ---- the matrices ---- */

pumice_status pum_op_expert_matmul_check(const pum_graph *graph, const pum_node *node,
                                         pumice_error *err)
{
    const pum_params *p = &node->params;
    const pum_value *w = &graph->values.data[node->in[PUM_IN_EXPERT_W]];
    const pum_value *x = &graph->values.data[node->in[PUM_IN_EXPERT_X]];
    const pum_value *route = &graph->values.data[node->in[PUM_IN_EXPERT_ROUTE]];
    uint64_t pairs = route->rows * p->experts_used;
    if (!counts_ok(p) || w->rows % p->experts != 0 || w->cols != x->cols ||
        route->cols != 2ull * p->experts_used || (x->rows != route->rows && x->rows != pairs) ||
        !pum_value_is(graph, node->in[PUM_IN_EXPERT_GROUP], 1, 4 * pairs) ||
        !pum_value_is(graph, node->out, pairs, w->rows / p->experts)) {
        return pum_shape_fail(graph, node, "experts, input, route and output do not fit together",
                              err);
    }
    return PUMICE_OK;
}

/* As in op_matmul.c: rows in whole chunks. */
static bool aligned_rows(const pum_value *w)
{
    uint64_t row_bytes;
    return pum_dtype_get(w->dtype)->block_elems > 1 ||
           (pum_dtype_row_bytes(w->dtype, w->cols, &row_bytes) && row_bytes % 16 == 0 &&
            w->cols % 8 == 0);
}

static void matvec_spec(const pum_select *s, uint32_t kernel, const pum_value *w, uint32_t n,
                        pum_draft *d)
{
    const pum_tuning *t = s->tuning;
    bool base = pum_kernels[kernel].tier == PUM_TIER_BASE;
    uint32_t lanes = base ? t->matvec_group : PUM_MAX(s->caps->subgroup_size, 1u);
    uint32_t sets = PUM_MAX(t->matvec_wg / PUM_MAX(lanes, 1u), 1u);
    d->spec[PUM_SPEC_EXPERT_MATVEC_WG] = t->matvec_wg;
    d->spec[PUM_SPEC_EXPERT_MATVEC_ROWS] = t->matvec_rows;
    d->spec[PUM_SPEC_EXPERT_MATVEC_ALIGNED] = aligned_rows(w);
    d->spec[PUM_SPEC_EXPERT_MATVEC_GROUP] = t->matvec_group;
    d->grid[0] = (uint32_t)pum_ceil_div(n, sets * t->matvec_rows);
}

pumice_status pum_op_expert_matmul_select(pum_select *s, const pum_node *node)
{
    const pum_params *p = &node->params;
    pum_value_id weight = node->in[PUM_IN_EXPERT_W];
    const pum_value *w = pum_select_value(s, weight);
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_EXPERT_X]);
    const pum_value *route = pum_select_value(s, node->in[PUM_IN_EXPERT_ROUTE]);
    bool vec = few(s, route->rows);
    uint32_t kernel, n = (uint32_t)(w->rows / p->experts);
    uint32_t pairs = (uint32_t)route->rows * p->experts_used;
    uint64_t row_bytes = 0, read = PUM_MIN(pairs, p->experts) * (uint64_t)n;
    pum_dtype_device_row_bytes(w->dtype, w->cols, &row_bytes);
    PUM_TRY(pum_select_kernel(s, vec ? PUM_FAMILY_EXPERT_MATVEC : PUM_FAMILY_EXPERT_MATMUL,
                              w->dtype, &kernel));
    for (uint32_t i = 0, pieces = pum_select_pieces(s, weight); i < pieces; i++) {
        pum_select_rows piece = pum_select_piece(s, weight, i);
        pum_draft d = pum_draft_begin(s, kernel);
        if (vec) {
            matvec_spec(s, kernel, w, n, &d);
            d.grid[1] = pairs;
        } else {
            d.spec[PUM_SPEC_EXPERT_MATMUL_WG] = s->tuning->matmul_wg;
            d.spec[PUM_SPEC_EXPERT_MATMUL_ALIGNED] = aligned_rows(w);
            d.grid[0] = (uint32_t)pum_ceil_div(n, 8ull * s->tuning->matmul_wg);
            d.grid[1] = most_tiles(p, route->rows);
        }
        d.bind[0] = (pum_draft_binding){ weight, piece.piece };
        d.bind[1].value = node->in[PUM_IN_EXPERT_X];
        d.bind[2].value = node->in[vec ? PUM_IN_EXPERT_ROUTE : PUM_IN_EXPERT_GROUP];
        d.bind[3].value = node->out;
        d.bytes = (read * row_bytes + 4ull * pairs * (w->cols + n)) / pieces;
        d.flops = 2ull * pairs * n * w->cols / pieces;
        pum_args_expert args = { .k = (uint32_t)w->cols,
                                 .n = n,
                                 .used = p->experts_used,
                                 .pairs = pairs,
                                 .x_stride = (uint32_t)x->cols,
                                 .x_div = x->rows == pairs ? 1 : p->experts_used,
                                 .y_stride = n,
                                 .route_stride = 2 * p->experts_used,
                                 .first = (uint32_t)piece.first,
                                 .count = (uint32_t)piece.count };
        PUM_TRY(pum_draft_emit(s, &d, &args, sizeof args));
    }
    return PUMICE_OK;
}

/* ---- the scales ---- */

pumice_status pum_op_expert_scale_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_params *p = &node->params;
    const pum_value *x = &graph->values.data[node->in[PUM_IN_SCALE_X]];
    const pum_value *route = &graph->values.data[node->in[PUM_IN_SCALE_ROUTE]];
    if (!counts_ok(p) || route->cols != 2ull * p->experts_used || x->rows != route->rows * p->experts_used ||
        !pum_value_is(graph, node->in[PUM_IN_SCALE_BY], 1, p->experts) ||
        !pum_value_is(graph, node->out, x->rows, x->cols)) {
        return pum_shape_fail(graph, node, "pairs, route, scales and output do not fit together", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_expert_scale_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel, used = node->params.experts_used, wg = s->tuning->elementwise_wg;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_EXPERT_SCALE, PUM_DTYPE_COUNT, &kernel));
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_SCALE_X]);
    uint32_t cols = (uint32_t)x->cols, pairs = (uint32_t)x->rows;
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_EXPERT_SCALE_WG] = wg;
    for (int i = 0; i < 3; i++) d.bind[i].value = node->in[i];
    d.bind[3].value = node->out;
    d.inplace_in = 0;
    d.inplace_out = 3;
    d.grid[0] = (uint32_t)pum_ceil_div(cols, wg);
    d.grid[1] = pairs;
    d.bytes = 8ull * pairs * cols;
    d.flops = (uint64_t)pairs * cols;
    pum_args_expert_scale args = { .cols = cols,
                                   .pairs = pairs,
                                   .used = used,
                                   .x_stride = cols,
                                   .route_stride = 2 * used,
                                   .y_stride = cols };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

/* ---- the sum ---- */

pumice_status pum_op_expert_sum_check(const pum_graph *graph, const pum_node *node,
                                      pumice_error *err)
{
    const pum_params *p = &node->params;
    const pum_value *x = &graph->values.data[node->in[PUM_IN_SUM_X]];
    pum_value_id shared = node->in[PUM_IN_SUM_SHARED], gate = node->in[PUM_IN_SUM_GATE];
    uint64_t rows = p->experts_used ? x->rows / p->experts_used : 0;
    if (rows * p->experts_used != x->rows || !pum_value_is(graph, node->out, rows, x->cols) ||
        !pum_value_is(graph, node->in[PUM_IN_SUM_ROUTE], rows, 2ull * p->experts_used) ||
        (shared >= 0) != (gate >= 0) ||
        (shared >= 0 && (!pum_value_is(graph, shared, rows, x->cols) ||
                         !pum_value_is(graph, gate, rows, 1)))) {
        return pum_shape_fail(graph, node, "experts, route, shared expert and output do not fit "
                                           "together", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_expert_sum_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_EXPERT_SUM, PUM_DTYPE_COUNT, &kernel));
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_SUM_X]);
    uint32_t used = node->params.experts_used, cols = (uint32_t)x->cols;
    uint32_t rows = (uint32_t)(x->rows / used), wg = s->tuning->elementwise_wg;
    bool shared = node->in[PUM_IN_SUM_SHARED] >= 0;
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_EXPERT_SUM_WG] = wg;
    d.spec[PUM_SPEC_EXPERT_SUM_SHARED] = shared;
    for (int i = 0; i < 4; i++) d.bind[i].value = node->in[i >= 2 && !shared ? 0 : i];
    d.bind[4].value = node->out;
    d.grid[0] = (uint32_t)pum_ceil_div(cols, wg);
    d.grid[1] = rows;
    d.bytes = 4ull * rows * cols * (used + 1 + shared);
    d.flops = 2ull * rows * cols * (used + shared);
    pum_args_expert_sum args = { .cols = cols,
                                 .rows = rows,
                                 .used = used,
                                 .x_stride = cols,
                                 .route_stride = 2 * used,
                                 .shared_stride = cols,
                                 .y_stride = cols };
    return pum_draft_emit(s, &d, &args, sizeof args);
}
