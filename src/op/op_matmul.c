/* SPDX-License-Identifier: Apache-2.0
 * Everything that reads weight matrices: the embedding gather, y = W x with its epilogue, and the
 * fused gate + up. Decides between mat-vec (few batch rows, bound by memory) and matmul (many,
 * bound by arithmetic), and cuts a matrix that lies in several pieces into one dispatch per piece.
 */
#include "op.h"

/* The kernels' fast path reads rows in whole chunks: blocks of a quantized type (always so), or 8
 * weights of a plain one that begin on 16 bytes. */
static bool aligned_rows(const pum_value *w)
{
    uint64_t row_bytes;
    return pum_dtype_get(w->dtype)->block_elems > 1 ||
           (pum_dtype_row_bytes(w->dtype, w->cols, &row_bytes) && row_bytes % 16 == 0 &&
            w->cols % 8 == 0);
}

static uint64_t weight_bytes(const pum_value *w, uint64_t rows)
{
    uint64_t row_bytes = 0;
    pum_dtype_device_row_bytes(w->dtype, w->cols, &row_bytes);
    return row_bytes * rows;
}

/* ---- embed ---- */

pumice_status pum_op_embed_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *table = &graph->values.data[node->in[PUM_IN_EMBED_TABLE]];
    if (!pum_value_is(graph, node->out, graph->rows, table->cols)) {
        return pum_shape_fail(graph, node, "output must be the batch's rows of the table's width",
                              err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_embed_select(pum_select *s, const pum_node *node)
{
    pum_value_id table = node->in[PUM_IN_EMBED_TABLE];
    const pum_value *w = pum_select_value(s, table);
    uint32_t kernel, pieces = pum_select_pieces(s, table);
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_EMBED, w->dtype, &kernel));
    for (uint32_t i = 0; i < pieces; i++) {
        pum_select_rows piece = pum_select_piece(s, table, i);
        pum_draft d = pum_draft_begin(s, kernel);
        d.spec[PUM_SPEC_EMBED_WG] = s->tuning->elementwise_wg;
        d.spec[PUM_SPEC_EMBED_ALIGNED] = aligned_rows(w);
        d.bind[0] = (pum_draft_binding){ table, piece.piece };
        d.bind[1].value = s->graph->step_value;
        d.bind[2].value = node->out;
        d.grid[0] = (uint32_t)pum_ceil_div(w->cols, 4 * s->tuning->elementwise_wg);
        d.grid[1] = s->graph->rows;
        d.bytes = weight_bytes(w, s->graph->rows) / pieces + 4 * s->graph->rows * w->cols / pieces;
        pum_args_embed args = { .cols = (uint32_t)w->cols,
                                .rows = s->graph->rows,
                                .first = (uint32_t)piece.first,
                                .count = (uint32_t)piece.count,
                                .scale = node->params.scale,
                                .y_stride = (uint32_t)w->cols,
                                .last = i + 1 == pieces,
                                .field = node->params.row_field };
        PUM_TRY(pum_draft_emit(s, &d, &args, sizeof args));
    }
    return PUMICE_OK;
}

/* ---- matmul ---- */

pumice_status pum_op_matmul_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *w = &graph->values.data[node->in[PUM_IN_MATMUL_W]];
    const pum_value *x = &graph->values.data[node->in[PUM_IN_MATMUL_X]];
    const pum_value *y = node->out >= 0 ? &graph->values.data[node->out] : NULL;
    pum_value_id bias = node->in[PUM_IN_MATMUL_BIAS], res = node->in[PUM_IN_MATMUL_RES];
    if (w->cols != x->cols)
        return pum_shape_fail(graph, node, "weight and input differ in inner size", err);
    if (!y || y->cols != w->rows || y->rows < x->rows) {
        return pum_shape_fail(graph, node, "output must be input rows x weight rows", err);
    }
    if ((bias >= 0 && !pum_value_is(graph, bias, 1, w->rows)) ||
        (res >= 0 && !pum_value_is(graph, res, x->rows, w->rows))) {
        return pum_shape_fail(graph, node, "bias or residual has the wrong shape", err);
    }
    return PUMICE_OK;
}

/* Weight rows that one workgroup of a mat-vec computes: see matvec.comp. In the sub tier the lanes
 * of a subgroup share ROWS rows, in base GROUP lanes do. */
static uint32_t matvec_rows_per_group(const pum_select *s, uint32_t kernel, uint32_t wg,
                                      uint32_t group, uint32_t rows)
{
    uint32_t lanes =
        pum_kernels[kernel].tier == PUM_TIER_BASE ? group : PUM_MAX(s->caps->subgroup_size, 1u);
    return PUM_MAX(wg / PUM_MAX(lanes, 1u), 1u) * rows;
}

static void matvec_spec(const pum_select *s, const pum_node *node, const pum_value *w,
                        uint64_t x_rows, uint32_t epi, pum_draft *d)
{
    const pum_tuning *t = s->tuning;
    d->spec[PUM_SPEC_MATVEC_WG] = t->matvec_wg;
    d->spec[PUM_SPEC_MATVEC_ROWS] = t->matvec_rows;
    d->spec[PUM_SPEC_MATVEC_COLS] = (uint32_t)PUM_MIN(x_rows, 8u);
    d->spec[PUM_SPEC_MATVEC_EPI] = epi;
    d->spec[PUM_SPEC_MATVEC_ACT] = node->params.act;
    d->spec[PUM_SPEC_MATVEC_ALIGNED] = aligned_rows(w);
    d->spec[PUM_SPEC_MATVEC_GROUP] = t->matvec_group;
}

static void matmul_spec(const pum_select *s, const pum_node *node, const pum_value *w, uint32_t epi,
                        pum_draft *d)
{
    const pum_tuning *t = s->tuning;
    if (t->matmul_reg) {
        d->spec[PUM_SPEC_MATMUL_REG_WG] = t->matmul_wg;
        d->spec[PUM_SPEC_MATMUL_REG_EPI] = epi;
        d->spec[PUM_SPEC_MATMUL_REG_ACT] = node->params.act;
        d->spec[PUM_SPEC_MATMUL_REG_ALIGNED] = aligned_rows(w);
        return;
    }
    d->spec[PUM_SPEC_MATMUL_WG] = t->matmul_wg;
    d->spec[PUM_SPEC_MATMUL_BM] = t->matmul_bm;
    d->spec[PUM_SPEC_MATMUL_BN] = t->matmul_bn;
    d->spec[PUM_SPEC_MATMUL_BK] = t->matmul_bk;
    d->spec[PUM_SPEC_MATMUL_TM] = t->matmul_tm;
    d->spec[PUM_SPEC_MATMUL_TN] = t->matmul_tn;
    d->spec[PUM_SPEC_MATMUL_EPI] = epi;
    d->spec[PUM_SPEC_MATMUL_ACT] = node->params.act;
    d->spec[PUM_SPEC_MATMUL_ALIGNED] = aligned_rows(w);
}

/* Cooperative matrices want whole chunks, formats that f16 holds well, a product the device has that divides the
 * tile, and shared memory for three tiles of f16 (rows padded by 8) and a fragment of f32 per subgroup. */
static bool coop_fits(const pum_select *s, const pum_value *w, uint64_t x_rows)
{
    const pum_caps *c = s->caps;
    const pum_tuning *t = s->tuning;
    if (!(c->bits & PUM_CAP_COOP) || !c->coop_m || !c->coop_n || !c->coop_k || !t->coop_sgs) return false;
    if (x_rows <= t->matvec_max_rows || !aligned_rows(w) || w->cols % 4 != 0) return false;
    if (w->dtype != PUM_DTYPE_F16 && pum_dtype_get(w->dtype)->block_elems == 1) return false;
    uint64_t shared = 2ull * (2 * t->coop_bm + t->coop_bn) * (t->coop_bk + 8) +
                      4ull * t->coop_sgs * c->coop_m * c->coop_n;
    uint32_t wg = t->coop_sgs * c->subgroup_size;
    return t->coop_bm % c->coop_m == 0 && t->coop_bn % (t->coop_sgs * c->coop_n) == 0 &&
           t->coop_bk % c->coop_k == 0 && t->coop_bk % 4 == 0 && shared <= c->shared_memory_bytes &&
           wg <= c->max_workgroup_invocations && wg <= c->max_workgroup_size[0] &&
           pum_kernel_find(PUM_FAMILY_MATMUL_COOP, w->dtype, c->bits) >= 0;
}

static void coop_spec(const pum_select *s, const pum_node *node, uint32_t epi, pum_draft *d)
{
    const pum_tuning *t = s->tuning;
    d->spec[PUM_SPEC_MATMUL_COOP_WG] = t->coop_sgs * s->caps->subgroup_size;
    d->spec[PUM_SPEC_MATMUL_COOP_BM] = t->coop_bm;
    d->spec[PUM_SPEC_MATMUL_COOP_BN] = t->coop_bn;
    d->spec[PUM_SPEC_MATMUL_COOP_BK] = t->coop_bk;
    d->spec[PUM_SPEC_MATMUL_COOP_SGS] = t->coop_sgs;
    d->spec[PUM_SPEC_MATMUL_COOP_CM] = s->caps->coop_m;
    d->spec[PUM_SPEC_MATMUL_COOP_CN] = s->caps->coop_n;
    d->spec[PUM_SPEC_MATMUL_COOP_CK] = s->caps->coop_k;
    d->spec[PUM_SPEC_MATMUL_COOP_EPI] = epi;
    d->spec[PUM_SPEC_MATMUL_COOP_ACT] = node->params.act;
}

pumice_status pum_op_matmul_select(pum_select *s, const pum_node *node)
{
    pum_value_id weight = node->in[PUM_IN_MATMUL_W], bias = node->in[PUM_IN_MATMUL_BIAS];
    pum_value_id x = node->in[PUM_IN_MATMUL_X], res = node->in[PUM_IN_MATMUL_RES];
    const pum_value *w = pum_select_value(s, weight), *xv = pum_select_value(s, x);
    const pum_value *y = pum_select_value(s, node->out);
    bool vec = xv->rows <= s->tuning->matvec_max_rows;
    bool coop = coop_fits(s, w, xv->rows);
    uint32_t family = vec                     ? PUM_FAMILY_MATVEC
                      : coop                  ? PUM_FAMILY_MATMUL_COOP
                      : s->tuning->matmul_reg ? PUM_FAMILY_MATMUL_REG
                                              : PUM_FAMILY_MATMUL;
    uint32_t kernel, epi = (bias >= 0 ? EPI_BIAS : 0) | (res >= 0 ? EPI_RESIDUAL : 0);
    PUM_TRY(pum_select_kernel(s, family, w->dtype, &kernel));
    for (uint32_t i = 0; i < pum_select_pieces(s, weight); i++) {
        pum_select_rows piece = pum_select_piece(s, weight, i);
        pum_draft d = pum_draft_begin(s, kernel);
        if (vec) {
            matvec_spec(s, node, w, xv->rows, epi, &d);
            d.grid[0] = (uint32_t)pum_ceil_div(
                piece.count,
                matvec_rows_per_group(s, kernel, d.spec[PUM_SPEC_MATVEC_WG],
                                      d.spec[PUM_SPEC_MATVEC_GROUP], d.spec[PUM_SPEC_MATVEC_ROWS]));
        } else if (coop) {
            coop_spec(s, node, epi, &d);
            d.grid[0] = (uint32_t)pum_ceil_div(piece.count, s->tuning->coop_bn);
            d.grid[1] = (uint32_t)pum_ceil_div(xv->rows, s->tuning->coop_bm);
        } else {
            matmul_spec(s, node, w, epi, &d);
            d.grid[0] = (uint32_t)pum_ceil_div(piece.count, s->tuning->matmul_bn);
            d.grid[1] = (uint32_t)pum_ceil_div(xv->rows, s->tuning->matmul_bm);
        }
        d.bind[0] = (pum_draft_binding){ weight, piece.piece };
        d.bind[1].value = x;
        d.bind[2].value = bias >= 0 ? bias : x;
        d.bind[3].value = res >= 0 ? res : x;
        d.bind[4].value = node->out;
        if (res >= 0) {
            d.inplace_in =
                3; /* each element of the residual is read by the invocation that overwrites it */
            d.inplace_out = 4;
        }
        d.bytes = weight_bytes(w, piece.count) +
                  4 * xv->rows * (w->cols + piece.count * (res >= 0 ? 2 : 1));
        d.flops = 2 * piece.count * w->cols * xv->rows;
        pum_args_matmul args = { .k = (uint32_t)w->cols,
                                 .n = (uint32_t)piece.count,
                                 .rows = (uint32_t)xv->rows,
                                 .x_stride = (uint32_t)xv->cols,
                                 .y_stride = (uint32_t)y->cols,
                                 .res_stride = (uint32_t)y->cols,
                                 .y_first = (uint32_t)piece.first };
        PUM_TRY(pum_draft_emit(s, &d, &args, sizeof args));
    }
    return PUMICE_OK;
}

/* ---- matmul_glu: made by fusion for mat-vec batches, weights in one piece each ---- */

pumice_status pum_op_matmul_glu_check(const pum_graph *graph, const pum_node *node,
                                      pumice_error *err)
{
    const pum_value *gate = &graph->values.data[node->in[PUM_IN_GLU_GATE]];
    const pum_value *up = &graph->values.data[node->in[PUM_IN_GLU_UP]];
    const pum_value *x = &graph->values.data[node->in[PUM_IN_GLU_X]];
    if (gate->dtype != up->dtype || gate->rows != up->rows || gate->cols != up->cols ||
        gate->cols != x->cols || !pum_value_is(graph, node->out, x->rows, gate->rows)) {
        return pum_shape_fail(graph, node, "gate, up, input and output do not fit together", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_matmul_glu_select(pum_select *s, const pum_node *node)
{
    const pum_value *w = pum_select_value(s, node->in[PUM_IN_GLU_GATE]);
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_GLU_X]);
    const pum_tuning *t = s->tuning;
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_MATVEC_GLU, w->dtype, &kernel));
    pum_draft d = pum_draft_begin(s, kernel);
    uint32_t rows = PUM_MAX(t->matvec_rows / 2, 1u); /* two matrices: twice the accumulators */
    d.spec[PUM_SPEC_MATVEC_GLU_WG] = t->matvec_wg;
    d.spec[PUM_SPEC_MATVEC_GLU_ROWS] = rows;
    d.spec[PUM_SPEC_MATVEC_GLU_COLS] = (uint32_t)PUM_MIN(x->rows, 8u);
    d.spec[PUM_SPEC_MATVEC_GLU_ACT] = node->params.act;
    d.spec[PUM_SPEC_MATVEC_GLU_ALIGNED] = aligned_rows(w);
    d.spec[PUM_SPEC_MATVEC_GLU_GROUP] = t->matvec_group;
    for (int i = 0; i < 3; i++) d.bind[i].value = node->in[i];
    d.bind[3].value = node->out;
    d.grid[0] = (uint32_t)pum_ceil_div(
        w->rows, matvec_rows_per_group(s, kernel, t->matvec_wg, t->matvec_group, rows));
    d.bytes = 2 * weight_bytes(w, w->rows) + 4 * x->rows * (w->cols + w->rows);
    d.flops = 4 * w->rows * w->cols * x->rows;
    pum_args_matmul args = { .k = (uint32_t)w->cols,
                             .n = (uint32_t)w->rows,
                             .rows = (uint32_t)x->rows,
                             .x_stride = (uint32_t)x->cols,
                             .y_stride = (uint32_t)w->rows };
    return pum_draft_emit(s, &d, &args, sizeof args);
}
