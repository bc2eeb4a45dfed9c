/* SPDX-License-Identifier: Apache-2.0
 * Everything that reads weight matrices: the embedding gather, y = W x with its epilogue, and the
 * fused gate + up. Decides between mat-vec (few batch rows, bound by memory), matmul (many, bound
 * by arithmetic) and the register tiles of software devices, and cuts a matrix that lies in several
 * pieces into one dispatch per piece.
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

pumice_status pum_op_embed_norm_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *table = &graph->values.data[node->in[PUM_IN_EMBED_TABLE]];
    if (!pum_value_is(graph, node->in[PUM_IN_EMBED_NORM], 1, table->cols) ||
        !pum_value_is(graph, node->out, graph->rows, pum_op_norm_begun_cols(table->cols, NORM_EMBED_COLS))) {
        return pum_shape_fail(graph, node, "the norm's weights or the output have the wrong shape", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_embed_select(pum_select *s, const pum_node *node)
{
    bool begins = node->op == PUM_OP_EMBED_NORM;
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
        d.bind[3].value = begins ? node->in[PUM_IN_EMBED_NORM] : s->graph->step_value;
        d.grid[0] = (uint32_t)pum_ceil_div(w->cols, 4 * s->tuning->elementwise_wg);
        d.grid[1] = s->graph->rows;
        d.bytes = weight_bytes(w, s->graph->rows) / pieces + 4 * s->graph->rows * w->cols / pieces;
        pum_args_embed args = { .cols = (uint32_t)w->cols,
                                .rows = s->graph->rows,
                                .first = (uint32_t)piece.first,
                                .count = (uint32_t)piece.count,
                                .scale = node->params.scale,
                                .y_stride = (uint32_t)pum_select_value(s, node->out)->cols,
                                .norm_at = begins ? (uint32_t)w->cols : 0,
                                .last = i + 1 == pieces,
                                .field = node->params.row_field };
        PUM_TRY(pum_draft_emit(s, &d, &args, sizeof args));
    }
    return PUMICE_OK;
}

pumice_status pum_op_embed_norm_select(pum_select *s, const pum_node *node) { return pum_op_embed_select(s, node); }

/* ---- quantize: made by plan_quantize.c ---- */

enum { Q8_A_BLOCK = 32 };

pumice_status pum_op_quantize_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *x = &graph->values.data[node->in[PUM_IN_X]];
    if (!pum_value_is(graph, node->out, x->rows, x->cols) || x->cols % Q8_A_BLOCK ||
        graph->values.data[node->out].dtype != PUM_DTYPE_Q8_A) {
        return pum_shape_fail(graph, node, "output must have the input's shape, in blocks of 8-bit numbers", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_quantize_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel, wg = s->tuning->elementwise_wg;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_QUANTIZE_ACT, PUM_DTYPE_COUNT, &kernel));
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_X]);
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_QUANTIZE_ACT_WG] = wg;
    d.bind[0].value = node->in[PUM_IN_X];
    d.bind[1].value = node->out;
    d.grid[0] = (uint32_t)pum_ceil_div(x->cols / Q8_A_BLOCK, wg);
    d.grid[1] = (uint32_t)x->rows;
    d.bytes = pum_act_bytes(x) + pum_act_bytes(pum_select_value(s, node->out));
    d.flops = 3 * x->rows * x->cols;
    pum_args_quantize_act args = { .cols = (uint32_t)x->cols, .rows = (uint32_t)x->rows,
                                   .x_stride = (uint32_t)x->cols };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

/* ---- matmul ---- */

static pumice_status check_product(const pum_graph *graph, const pum_node *node, uint64_t y_cols, pumice_error *err)
{
    const pum_value *w = &graph->values.data[node->in[PUM_IN_MATMUL_W]];
    const pum_value *x = &graph->values.data[node->in[PUM_IN_MATMUL_X]];
    const pum_value *y = node->out >= 0 ? &graph->values.data[node->out] : NULL;
    pum_value_id bias = node->in[PUM_IN_MATMUL_BIAS], res = node->in[PUM_IN_MATMUL_RES];
    if (w->cols != x->cols)
        return pum_shape_fail(graph, node, "weight and input differ in inner size", err);
    if (!y || y->cols != y_cols || y->rows < x->rows) {
        return pum_shape_fail(graph, node, "output must be input rows x weight rows", err);
    }
    if ((bias >= 0 && !pum_value_is(graph, bias, 1, w->rows)) ||
        (res >= 0 && !pum_value_is(graph, res, x->rows, w->rows))) {
        return pum_shape_fail(graph, node, "bias or residual has the wrong shape", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_matmul_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    return check_product(graph, node, graph->values.data[node->in[PUM_IN_MATMUL_W]].rows, err);
}

/* What a mat-mul is, whatever its kernel. */
typedef struct product {
    const pum_value *w, *x;
    uint64_t n; /* columns of y per piece of w; with glu half of w's rows */
    uint32_t act;
    bool glu;
} product;

enum { REG_TILE = 8 }; /* matmul_reg.comp, matmul_texel.comp: tiles of 8 x 8; the latter also 1 x 8 */

/* Weight rows that one workgroup of a mat-vec computes: see matvec.comp. In the sub tier the lanes
 * of a subgroup share ROWS rows, in base GROUP lanes do. */
static uint32_t matvec_rows_per_group(const pum_select *s, const pum_draft *d)
{
    uint32_t lanes = pum_kernels[d->kernel].tier == PUM_TIER_BASE
                         ? d->spec[PUM_SPEC_MATVEC_GROUP]
                         : PUM_MAX(s->caps->subgroup_size, 1u);
    return PUM_MAX(d->spec[PUM_SPEC_MATVEC_WG] / PUM_MAX(lanes, 1u), 1u) *
           d->spec[PUM_SPEC_MATVEC_ROWS];
}

static void draft_matvec(const pum_select *s, const product *p, pum_draft *d)
{
    const pum_tuning *t = s->tuning;
    d->spec[PUM_SPEC_MATVEC_WG] = t->matvec_wg;
    d->spec[PUM_SPEC_MATVEC_ROWS] = p->glu ? (uint32_t)pum_align_up(t->matvec_rows, 2) : t->matvec_rows;
    d->spec[PUM_SPEC_MATVEC_COLS] = (uint32_t)PUM_MIN(p->x->rows, PUM_MAX(t->matvec_cols, 1u));
    d->spec[PUM_SPEC_MATVEC_ACT] = p->act;
    d->spec[PUM_SPEC_MATVEC_ALIGNED] = aligned_rows(p->w);
    d->spec[PUM_SPEC_MATVEC_GROUP] = t->matvec_group;
    d->spec[PUM_SPEC_MATVEC_GLU] = p->glu;
    d->grid[0] = (uint32_t)pum_ceil_div(p->n * (p->glu ? 2 : 1), matvec_rows_per_group(s, d));
}

static void draft_tiles(const pum_select *s, const product *p, pum_draft *d)
{
    const pum_tuning *t = s->tuning;
    d->spec[PUM_SPEC_MATMUL_WG] = t->matmul_wg;
    d->spec[PUM_SPEC_MATMUL_BM] = t->matmul_bm;
    d->spec[PUM_SPEC_MATMUL_BN] = t->matmul_bn;
    d->spec[PUM_SPEC_MATMUL_BK] = t->matmul_bk;
    d->spec[PUM_SPEC_MATMUL_TM] = t->matmul_tm;
    d->spec[PUM_SPEC_MATMUL_TN] = t->matmul_tn;
    d->spec[PUM_SPEC_MATMUL_ACT] = p->act;
    d->spec[PUM_SPEC_MATMUL_ALIGNED] = aligned_rows(p->w);
    d->grid[0] = (uint32_t)pum_ceil_div(p->n, t->matmul_bn);
    d->grid[1] = (uint32_t)pum_ceil_div(p->x->rows, t->matmul_bm);
}

static void draft_reg(const pum_select *s, const product *p, pum_draft *d)
{
    d->spec[PUM_SPEC_MATMUL_REG_WG] = s->tuning->matmul_wg;
    d->spec[PUM_SPEC_MATMUL_REG_ACT] = p->act;
    d->spec[PUM_SPEC_MATMUL_REG_ALIGNED] = aligned_rows(p->w);
    d->grid[0] = (uint32_t)pum_ceil_div(p->n, (uint64_t)REG_TILE * s->tuning->matmul_wg);
    d->grid[1] = (uint32_t)pum_ceil_div(p->x->rows, REG_TILE);
}

/* Through texels: is a batch computed row by row? */
static bool by_rows(const pum_tuning *t, const pum_value *x) { return x->rows <= t->matmul_texel_vec_rows; }

/* Lanes share a row's chunks where they divide them evenly enough; else each has rows of its own. */
static bool lanes_share(const pum_select *s, const product *p)
{
    uint32_t lanes = PUM_MAX(s->caps->subgroup_size, 1u);
    if (!by_rows(s->tuning, p->x)) return false;
    uint64_t chunk = pum_dtype_get(p->w->dtype)->block_elems > 1 ? 32 : 8;
    uint64_t chunks = p->w->cols / chunk;
    return 4 * chunks >= 3 * pum_align_up(chunks, lanes);
}

/* The activation of the graph's first product that has one: the constant of all, so that they share a
 * pipeline. */
static uint32_t usual_act(const pum_graph *graph)
{
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const pum_node *node = &graph->nodes.data[i];
        bool multiplies = node->op == PUM_OP_MATMUL || node->op == PUM_OP_MATMUL_NORM ||
                          node->op == PUM_OP_MATMUL_GLU;
        if (multiplies && node->params.act != ACT_NONE) return node->params.act;
    }
    return ACT_NONE;
}

/* What matmul_texel has no constants for. */
static uint32_t texel_bits(const pum_select *s, const product *p, const pum_draft *d)
{
    if (pum_kernels[d->kernel].tier != PUM_TIER_TEXEL) return 0;
    return (p->act != ACT_NONE ? EPI_ACT : 0) | (p->glu ? EPI_GLU : 0) |
           (lanes_share(s, p) ? EPI_SHARE : 0);
}

/* Workgroups side by side, of `at_once` tiles each at a time, for `tiles`: as few as the device wants, but each with at
 * most 60,000 rounds of loops (lavapipe ends all loops of an invocation after 65,535). */
static uint32_t texel_groups(const pum_select *s, const product *p, bool vec, uint64_t tiles, uint32_t at_once)
{
    uint64_t chunks = pum_ceil_div(p->w->cols, 8);
    uint64_t rounds = vec ? (chunks + 16) * p->x->rows : 17 * chunks + 100; /* at most, a tile */
    uint64_t most = pum_ceil_div(tiles, at_once);
    if (!s->tuning->matmul_texel_groups) return (uint32_t)most;
    uint64_t least = pum_ceil_div(most * rounds, 60000);
    return (uint32_t)PUM_MIN(most, PUM_MAX(least, s->tuning->matmul_texel_groups));
}

static void draft_texel(const pum_select *s, const product *p, pum_draft *d)
{
    const pum_tuning *t = s->tuning;
    bool vec = by_rows(t, p->x);
    uint32_t at_once = t->matmul_wg;
    if (lanes_share(s, p)) at_once = PUM_MAX(at_once / PUM_MAX(s->caps->subgroup_size, 1u), 1u);
    d->spec[PUM_SPEC_MATMUL_TEXEL_WG] = t->matmul_wg;
    d->spec[PUM_SPEC_MATMUL_TEXEL_ACT] = p->act != ACT_NONE ? p->act : usual_act(s->graph);
    d->grid[0] = texel_groups(s, p, vec, pum_ceil_div(p->n * (p->glu ? 2 : 1), REG_TILE), at_once);
    d->grid[1] = vec ? 1 : (uint32_t)pum_ceil_div(p->x->rows, REG_TILE);
}

/* May weights and input be read as texels? Both must begin and end on 16 bytes and fit one view. A mat-vec's input may
 * be part of wider rows (pum_op_norm_begun_cols). */
static bool texels_fit(const pum_caps *caps, const pum_tuning *t, const pum_value *w, uint64_t piece_rows,
                       const pum_value *x)
{
    bool vec = by_rows(t, x);
    uint64_t x_bytes = 4 * x->rows * x->cols * (vec ? 3 : 1);
    uint64_t most = PUM_MAX(weight_bytes(w, piece_rows), x_bytes);
    return aligned_rows(w) && x->cols % 4 == 0 && most <= caps->max_texel_bytes &&
           pum_kernel_find(vec ? PUM_FAMILY_MATVEC_TEXEL : PUM_FAMILY_MATMUL_TEXEL, w->dtype, caps, 0) >= 0;
}

/* Cooperative matrices want whole chunks, formats that f16 holds well, a product the device has that divides the
 * tile, and shared memory for three tiles of f16 (rows padded by 8) and a fragment of f32 per subgroup. */
static bool coop_fits(const pum_caps *c, const pum_tuning *t, const pum_value *w, uint64_t x_rows)
{
    if (!(c->bits & PUM_CAP_COOP) || !c->coop_m || !c->coop_n || !c->coop_k || !t->coop_sgs) return false;
    if (x_rows <= t->matvec_max_rows || !aligned_rows(w) || w->cols % 4 != 0) return false;
    if (w->dtype != PUM_DTYPE_F16 && pum_dtype_get(w->dtype)->block_elems == 1) return false;
    uint64_t shared = 2ull * (2 * t->coop_bm + t->coop_bn) * (t->coop_bk + 8) +
                      4ull * t->coop_sgs * c->coop_m * c->coop_n;
    uint32_t wg = t->coop_sgs * c->subgroup_size;
    return t->coop_bm % c->coop_m == 0 && t->coop_bn % (t->coop_sgs * c->coop_n) == 0 &&
           t->coop_bk % c->coop_k == 0 && t->coop_bk % 4 == 0 && shared <= c->shared_memory_bytes &&
           wg <= c->max_workgroup_invocations && wg <= c->max_workgroup_size[0] &&
           pum_kernel_find(PUM_FAMILY_MATMUL_COOP, w->dtype, c, 0) >= 0;
}

static void draft_coop(const pum_select *s, const product *p, pum_draft *d)
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
    d->spec[PUM_SPEC_MATMUL_COOP_ACT] = p->act;
    d->grid[0] = (uint32_t)pum_ceil_div(p->n, t->coop_bn);
    d->grid[1] = (uint32_t)pum_ceil_div(p->x->rows, t->coop_bm);
}

static void draft_dot8(const pum_select *s, const product *p, pum_draft *d)
{
    draft_matvec(s, p, d); /* the same constants */
}
_Static_assert((int)PUM_SPEC_MATVEC_GLU == (int)PUM_SPEC_MATVEC_DOT8_GLU, "matvec and matvec_dot8 differ");
_Static_assert((int)PUM_SPEC_MATVEC_TEXEL_ACT == (int)PUM_SPEC_MATMUL_TEXEL_ACT, "the two of texels differ");

/* The ways to compute a product, those that can take gate and up in one first. */
typedef enum way { BY_TEXEL_VEC, BY_TEXEL, BY_DOT8, BY_MATVEC, BY_COOP, BY_REG, BY_TILES } way;

static way choose_way(const pum_caps *caps, const pum_tuning *t, const pum_value *w,
                      uint64_t piece_rows, const pum_value *x)
{
    if (x->dtype == PUM_DTYPE_Q8_A) return BY_DOT8;
    if (t->matmul_texel && texels_fit(caps, t, w, piece_rows, x))
        return by_rows(t, x) ? BY_TEXEL_VEC : BY_TEXEL;
    if (x->rows <= t->matvec_max_rows) return BY_MATVEC;
    if (coop_fits(caps, t, w, x->rows)) return BY_COOP;
    return t->matmul_reg ? BY_REG : BY_TILES;
}

bool pum_op_matmul_wants_q8(const pum_caps *caps, const pum_tuning *tuning, const pum_value *w,
                            const pum_value *x)
{
    bool wins = tuning->matvec_dot8 == 2 || (tuning->matvec_dot8 && (caps->bits & PUM_CAP_DOT8_FAST));
    return wins && x->rows <= tuning->matvec_max_rows && x->cols % Q8_A_BLOCK == 0 &&
           pum_kernel_find(PUM_FAMILY_MATVEC_DOT8, w->dtype, caps, 0) >= 0 &&
           pum_kernel_find(PUM_FAMILY_QUANTIZE_ACT, PUM_DTYPE_COUNT, caps, 0) >= 0;
}

bool pum_op_matmul_can_glu(const pum_caps *caps, const pum_tuning *tuning, const pum_value *gate,
                           const pum_value *x)
{
    return choose_way(caps, tuning, gate, 2 * gate->rows, x) <= BY_MATVEC;
}

uint32_t pum_op_matmul_norm_cols(const pum_caps *caps, const pum_tuning *tuning, const pum_value *w,
                                 uint64_t piece_rows, const pum_value *x)
{
    way chosen = choose_way(caps, tuning, w, piece_rows, x);
    if (chosen == BY_TEXEL_VEC) return REG_TILE;
    return chosen == BY_MATVEC ? tuning->matvec_rows : 0;
}

uint64_t pum_op_norm_begun_cols(uint64_t n, uint32_t norm_cols) { return 2 * n + n / norm_cols; }

/* Family, kernel, specialisation and grid of the product with `piece_rows` rows of the weights. */
static pumice_status draft_product(pum_select *s, const product *p, uint64_t piece_rows,
                                   pum_draft *d)
{
    static const struct {
        uint32_t family;
        void (*draft)(const pum_select *s, const product *p, pum_draft *d);
    } ways[] = { [BY_TEXEL_VEC] = { PUM_FAMILY_MATVEC_TEXEL, draft_texel },
                 [BY_TEXEL] = { PUM_FAMILY_MATMUL_TEXEL, draft_texel },
                 [BY_DOT8] = { PUM_FAMILY_MATVEC_DOT8, draft_dot8 },
                 [BY_MATVEC] = { PUM_FAMILY_MATVEC, draft_matvec },
                 [BY_COOP] = { PUM_FAMILY_MATMUL_COOP, draft_coop },
                 [BY_REG] = { PUM_FAMILY_MATMUL_REG, draft_reg },
                 [BY_TILES] = { PUM_FAMILY_MATMUL, draft_tiles } };
    way chosen = choose_way(s->caps, s->tuning, p->w, piece_rows, p->x);
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, ways[chosen].family, p->w->dtype, &kernel));
    *d = pum_draft_begin(s, kernel);
    ways[chosen].draft(s, p, d);
    return PUMICE_OK;
}

/* The arguments of a product that its node does not decide alone. */
static pum_args_matmul product_args(const pum_select *s, const pum_node *node, const product *p, pum_columns x)
{
    return (pum_args_matmul){ .k = (uint32_t)p->w->cols,
                              .n = (uint32_t)p->n,
                              .rows = (uint32_t)p->x->rows,
                              .x_stride = x.stride,
                              .x_sums = node->params.x_sums,
                              .eps = node->params.eps,
                              .scale = node->params.scale != 0.0f ? node->params.scale : 1.0f,
                              .y_stride = (uint32_t)pum_select_value(s, node->out)->cols };
}

pumice_status pum_op_matmul_select(pum_select *s, const pum_node *node)
{
    pum_value_id weight = node->in[PUM_IN_MATMUL_W], bias = node->in[PUM_IN_MATMUL_BIAS];
    pum_value_id res = node->in[PUM_IN_MATMUL_RES];
    bool begins = node->op == PUM_OP_MATMUL_NORM;
    const pum_value *w = pum_select_value(s, weight), *xv = pum_select_value(s, node->in[PUM_IN_MATMUL_X]);
    pum_columns x = pum_select_columns(s, node->in[PUM_IN_MATMUL_X]);
    pum_columns r = res >= 0 ? pum_select_columns(s, res) : x;
    uint32_t epi = (bias >= 0 ? EPI_BIAS : 0) | (res >= 0 ? EPI_RESIDUAL : 0);
    product p = { .w = w, .x = xv, .act = node->params.act };
    for (uint32_t i = 0; i < pum_select_pieces(s, weight); i++) {
        pum_select_rows piece = pum_select_piece(s, weight, i);
        pum_draft d;
        p.n = piece.count;
        PUM_TRY(draft_product(s, &p, piece.count, &d));
        d.bind[0] = (pum_draft_binding){ weight, piece.piece };
        d.bind[1].value = x.value;
        d.bind[2].value = bias >= 0 ? bias : x.value;
        d.bind[3].value = r.value;
        d.bind[4].value = node->out;
        if (pum_kernels[d.kernel].n_bindings > 5) {
            d.bind[5].value = begins ? node->in[PUM_IN_MATMUL_NORM] : x.value;
        }
        if (res >= 0 && r.value != x.value) {
            d.inplace_in =
                3; /* each element of the residual is read by the invocation that overwrites it */
            d.inplace_out = 4;
        }
        d.bytes = weight_bytes(w, piece.count) + pum_act_bytes(xv) +
                  4 * xv->rows * piece.count * (res >= 0 ? 2 : 1);
        d.flops = 2 * piece.count * w->cols * xv->rows;
        pum_args_matmul args = product_args(s, node, &p, x);
        args.res_stride = r.stride;
        args.y_first = (uint32_t)piece.first;
        args.epi = epi | texel_bits(s, &p, &d);
        args.norm_at = begins ? (uint32_t)w->rows : 0;
        PUM_TRY(pum_draft_emit(s, &d, &args, sizeof args));
    }
    return PUMICE_OK;
}

/* ---- matmul_norm: made by plan_norm.c; begins the norm behind it ---- */

pumice_status pum_op_matmul_norm_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_value *w = &graph->values.data[node->in[PUM_IN_MATMUL_W]];
    const pum_value *y = &graph->values.data[node->out];
    uint64_t sums = y->cols - PUM_MIN(y->cols, 2 * w->rows);
    if (!pum_value_is(graph, node->in[PUM_IN_MATMUL_NORM], 1, w->rows) || sums == 0 || w->rows % sums != 0) {
        return pum_shape_fail(graph, node, "the norm's weights or the output have the wrong shape", err);
    }
    return check_product(graph, node, y->cols, err);
}

pumice_status pum_op_matmul_norm_select(pum_select *s, const pum_node *node)
{
    const pum_value *w = pum_select_value(s, node->in[PUM_IN_MATMUL_W]);
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_MATMUL_X]);
    uint32_t cols = pum_op_matmul_norm_cols(s->caps, s->tuning, w, w->rows, x);
    if (!cols || pum_select_value(s, node->out)->cols != pum_op_norm_begun_cols(w->rows, cols) ||
        pum_select_pieces(s, node->in[PUM_IN_MATMUL_W]) != 1) {
        return pum_fail(s->err, PUMICE_ERROR_INTERNAL, "'%s' cannot begin a norm", w->name);
    }
    return pum_op_matmul_select(s, node);
}

/* ---- matmul_glu: made by fusion; gate and up stacked, bound as one ---- */

pumice_status pum_op_matmul_glu_check(const pum_graph *graph, const pum_node *node,
                                      pumice_error *err)
{
    const pum_value *w = &graph->values.data[node->in[PUM_IN_GLU_W]];
    const pum_value *x = &graph->values.data[node->in[PUM_IN_GLU_X]];
    if (w->stack != 2 || w->rows % 2 || w->cols != x->cols ||
        !pum_value_is(graph, node->out, x->rows, w->rows / 2)) {
        return pum_shape_fail(graph, node, "gate, up, input and output do not fit together", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_matmul_glu_select(pum_select *s, const pum_node *node)
{
    pum_value_id weight = node->in[PUM_IN_GLU_W];
    const pum_value *w = pum_select_value(s, weight), *xv = pum_select_value(s, node->in[PUM_IN_GLU_X]);
    pum_columns x = pum_select_columns(s, node->in[PUM_IN_GLU_X]);
    product p = { .w = w, .x = xv, .n = w->rows / 2,
                  .act = node->params.act, .glu = true };
    pum_draft d;
    PUM_TRY(draft_product(s, &p, w->rows, &d));
    d.bind[0] = (pum_draft_binding){ weight, pum_select_piece(s, weight, 0).piece };
    d.bind[1].value = d.bind[2].value = d.bind[3].value = d.bind[5].value = x.value; /* no bias, residual, norm */
    d.bind[4].value = node->out;
    d.bytes = weight_bytes(w, w->rows) + pum_act_bytes(xv) + 4 * xv->rows * p.n;
    d.flops = 2 * w->rows * w->cols * xv->rows;
    pum_args_matmul args = product_args(s, node, &p, x);
    args.epi = texel_bits(s, &p, &d);
    return pum_draft_emit(s, &d, &args, sizeof args);
}
