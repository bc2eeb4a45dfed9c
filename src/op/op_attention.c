/* SPDX-License-Identifier: Apache-2.0
 * Attention and what feeds its cache: rotary embedding (Su et al., 2021), the store into the paged
 * KV cache, the two in one, and softmax(q k^T) v over [lo, hi) ranges with grouped-query heads.
 * Decides how many rows and heads a workgroup takes, and into how many parts a long context is cut. */
#include "op.h"

static uint32_t kv_code(pum_dtype type)
{
    switch (type) {
    case PUM_DTYPE_F16: return KV_F16;
    case PUM_DTYPE_Q8_0: return KV_Q8_0;
    case PUM_DTYPE_Q4_0: return KV_Q4_0;
    default: return KV_F32;
    }
}

/* Neither K nor V is quantized: there is a smaller module for those. */
static bool floats(uint32_t kt, uint32_t vt) { return kt <= KV_F16 && vt <= KV_F16; }

static uint32_t cache_code(const pum_select *s, pum_value_id cache)
{
    return kv_code(pum_select_value(s, cache)->dtype);
}

static bool is_cache(const pum_graph *g, pum_value_id id, const pum_params *p)
{
    if (id < 0) return false;
    const pum_value *v = &g->values.data[id];
    const pum_dtype_info *type = pum_dtype_get(v->dtype);
    return v->kind == PUM_VALUE_KV && v->cols == pum_kv_cols(p->head_dim) && type && type->is_kv &&
           p->head_dim % type->block_elems == 0 &&
           v->rows % ((uint64_t)p->kv_heads * KV_PAGE) == 0;
}

/* Parts of a head, each stored by an invocation (lib/kv_put.glsl). */
static uint64_t items_of_head(uint32_t head_dim, uint32_t kt, uint32_t vt)
{
    return pum_kv_cols(head_dim) / (kt > KV_F16 || vt > KV_F16 ? 32 : 2);
}

/* Bytes that a vector takes in the cache. */
static uint64_t cache_bytes(const pum_select *s, pum_value_id cache)
{
    const pum_value *v = pum_select_value(s, cache);
    uint64_t bytes = 0;
    pum_dtype_row_bytes(v->dtype, v->cols, &bytes);
    return bytes;
}

/* A table, or two: rot_dim / 2 pairs of two words each. */
static bool is_freq(const pum_graph *g, pum_value_id id, const pum_params *p)
{
    return pum_value_is(g, id, 1, p->rot_dim) || pum_value_is(g, id, 2, p->rot_dim);
}

static bool heads_ok(const pum_params *p)
{
    uint32_t blocks = p->pairing == ROPE_2D ? 2 : 1;
    return p->heads > 0 && p->head_dim > 0 && p->head_dim % 2 == 0 && p->rot_dim % 2 == 0 &&
           (uint64_t)blocks * p->rot_dim <= p->head_dim;
}

pumice_status pum_op_rope_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_params *p = &node->params;
    const pum_value *x = &graph->values.data[node->in[PUM_IN_ROPE_X]];
    if (!heads_ok(p) || x->cols != (uint64_t)p->heads * p->head_dim ||
        !is_freq(graph, node->in[PUM_IN_ROPE_FREQ], p) ||
        !pum_value_is(graph, node->out, x->rows, x->cols)) {
        return pum_shape_fail(
            graph, node, "input and output must be heads x head_dim wide, the table rot_dim", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_rope_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_ROPE, PUM_DTYPE_COUNT, &kernel));
    const pum_params *p = &node->params;
    const pum_value *x = pum_select_value(s, node->in[PUM_IN_ROPE_X]);
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_ROPE_WG] = s->tuning->elementwise_wg;
    d.spec[PUM_SPEC_ROPE_PAIRING] = p->pairing;
    pum_columns from = pum_select_columns(s, node->in[PUM_IN_ROPE_X]);
    d.bind[0].value = from.value;
    d.bind[1].value = node->in[PUM_IN_ROPE_FREQ];
    d.bind[2].value = s->graph->step_value;
    d.bind[3].value = node->out;
    d.inplace_in = 0;
    d.inplace_out = 3;
    d.grid[0] =
        (uint32_t)pum_ceil_div((uint64_t)p->heads * p->head_dim / 2, s->tuning->elementwise_wg);
    d.grid[1] = (uint32_t)x->rows;
    d.bytes = 2 * 4 * x->rows * x->cols;
    d.flops = 20 * x->rows * x->cols / 2;
    uint32_t n = (uint32_t)x->cols;
    pum_args_rope args = { .heads = p->heads,
                           .head_dim = p->head_dim,
                           .rot_dim = p->rot_dim,
                           .rows = (uint32_t)x->rows,
                           .x_stride = from.stride,
                           .x_first = from.first,
                           .y_stride = n,
                           .scale = p->scale };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

static bool kv_rows_ok(const pum_graph *g, pum_value_id k, pum_value_id v, const pum_params *p)
{
    uint64_t width = (uint64_t)p->kv_heads * p->head_dim;
    return p->kv_heads > 0 && pum_value_is(g, k, g->rows, width) &&
           pum_value_is(g, v, g->rows, width);
}

pumice_status pum_op_kv_store_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_params *p = &node->params;
    if (!kv_rows_ok(graph, node->in[PUM_IN_KV_K], node->in[PUM_IN_KV_V], p) ||
        !is_cache(graph, node->in[PUM_IN_KV_KC], p) ||
        !is_cache(graph, node->in[PUM_IN_KV_VC], p)) {
        return pum_shape_fail(graph, node,
                              "k and v must be kv_heads x head_dim wide and go to caches", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_kv_store_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_KV_STORE, PUM_DTYPE_COUNT, &kernel));
    const pum_params *p = &node->params;
    uint32_t rows = s->graph->rows, width = p->kv_heads * p->head_dim;
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_KV_STORE_WG] = s->tuning->elementwise_wg;
    uint32_t kt = cache_code(s, node->in[PUM_IN_KV_KC]), vt = cache_code(s, node->in[PUM_IN_KV_VC]);
    uint64_t items = items_of_head(p->head_dim, kt, vt);
    d.spec[PUM_SPEC_KV_STORE_KT] = kt;
    d.spec[PUM_SPEC_KV_STORE_VT] = vt;
    pum_columns k = pum_select_columns(s, node->in[PUM_IN_KV_K]);
    pum_columns v = pum_select_columns(s, node->in[PUM_IN_KV_V]);
    d.bind[0].value = k.value;
    d.bind[1].value = v.value;
    d.bind[2].value = s->graph->step_value;
    d.bind[3].value = node->in[PUM_IN_KV_KC];
    d.bind[4].value = node->in[PUM_IN_KV_VC];
    d.grid[0] = (uint32_t)pum_ceil_div(2ull * p->kv_heads * items, s->tuning->elementwise_wg);
    d.grid[1] = rows;
    d.bytes = (uint64_t)rows * (2 * 4 * width + p->kv_heads * (cache_bytes(s, node->in[PUM_IN_KV_KC]) +
                                                               cache_bytes(s, node->in[PUM_IN_KV_VC])));
    pum_args_kv_store args = { .kv_heads = p->kv_heads,
                               .head_dim = p->head_dim,
                               .rows = rows,
                               .k_stride = k.stride,
                               .k_first = k.first,
                               .v_stride = v.stride,
                               .v_first = v.first,
                               .table_at = s->graph->step.table_at,
                               .table_stride = s->graph->step.table_stride };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

pumice_status pum_op_rope_kv_check(const pum_graph *graph, const pum_node *node, pumice_error *err)
{
    const pum_params *p = &node->params;
    pum_params some = *p;
    some.heads = p->heads ? p->heads : p->kv_heads; /* without queries k stands in their place, nothing is written */
    uint64_t width = (uint64_t)some.heads * p->head_dim;
    if (!heads_ok(&some) || !pum_value_is(graph, node->in[PUM_IN_ROPE_KV_Q], graph->rows, width) ||
        !pum_value_is(graph, node->out, graph->rows, width) ||
        !is_freq(graph, node->in[PUM_IN_ROPE_KV_FREQ], p) ||
        !kv_rows_ok(graph, node->in[PUM_IN_ROPE_KV_K], node->in[PUM_IN_ROPE_KV_V], p) ||
        !is_cache(graph, node->in[PUM_IN_ROPE_KV_KC], p) ||
        !is_cache(graph, node->in[PUM_IN_ROPE_KV_VC], p)) {
        return pum_shape_fail(graph, node, "q, k, v, table and caches do not fit together", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_rope_kv_select(pum_select *s, const pum_node *node)
{
    uint32_t kernel;
    uint32_t kt = cache_code(s, node->in[PUM_IN_ROPE_KV_KC]), vt = cache_code(s, node->in[PUM_IN_ROPE_KV_VC]);
    uint32_t family = floats(kt, vt) ? PUM_FAMILY_ROPE_KV_FLOAT : PUM_FAMILY_ROPE_KV;
    PUM_TRY(pum_select_kernel(s, family, PUM_DTYPE_COUNT, &kernel));
    const pum_params *p = &node->params;
    uint32_t rows = s->graph->rows, width = p->heads * p->head_dim,
             kv_width = p->kv_heads * p->head_dim;
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_ROPE_KV_WG] = s->tuning->elementwise_wg;
    d.spec[PUM_SPEC_ROPE_KV_PAIRING] = p->pairing;
    uint64_t items = (p->heads + 2ull * p->kv_heads) * items_of_head(p->head_dim, kt, vt);
    d.spec[PUM_SPEC_ROPE_KV_KT] = kt;
    d.spec[PUM_SPEC_ROPE_KV_VT] = vt;
    pum_columns q = pum_select_columns(s, node->in[PUM_IN_ROPE_KV_Q]);
    pum_columns k = pum_select_columns(s, node->in[PUM_IN_ROPE_KV_K]);
    pum_columns v = pum_select_columns(s, node->in[PUM_IN_ROPE_KV_V]);
    d.bind[0].value = q.value;
    d.bind[1].value = k.value;
    d.bind[2].value = v.value;
    d.bind[3].value = node->in[PUM_IN_ROPE_KV_FREQ];
    d.bind[4].value = s->graph->step_value;
    d.bind[5].value = node->out;
    d.bind[6].value = node->in[PUM_IN_ROPE_KV_KC];
    d.bind[7].value = node->in[PUM_IN_ROPE_KV_VC];
    if (!q.first && q.stride == width) {
        d.inplace_in = 0;
        d.inplace_out = 5;
    }
    d.grid[0] = (uint32_t)pum_ceil_div(items, s->tuning->elementwise_wg);
    d.grid[1] = rows;
    d.bytes = (uint64_t)rows *
              (2 * 4 * (width + kv_width) + p->kv_heads * (cache_bytes(s, node->in[PUM_IN_ROPE_KV_KC]) +
                                                           cache_bytes(s, node->in[PUM_IN_ROPE_KV_VC])));
    d.flops = 20ull * rows * (width + kv_width) / 2;
    pum_args_rope_kv args = { .heads = p->heads,
                              .kv_heads = p->kv_heads,
                              .head_dim = p->head_dim,
                              .rot_dim = p->rot_dim,
                              .rows = rows,
                              .q_stride = q.stride,
                              .q_first = q.first,
                              .k_stride = k.stride,
                              .k_first = k.first,
                              .v_stride = v.stride,
                              .v_first = v.first,
                              .y_stride = width,
                              .table_at = s->graph->step.table_at,
                              .table_stride = s->graph->step.table_stride,
                              .scale = p->scale };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

pumice_status pum_op_attention_check(const pum_graph *graph, const pum_node *node,
                                     pumice_error *err)
{
    const pum_params *p = &node->params;
    uint64_t width = (uint64_t)p->heads * p->head_dim;
    pum_value_id bias = node->in[PUM_IN_ATTN_BIAS];
    bool positions = p->window || p->alibi_max != 0.0f || bias >= 0;
    if (!heads_ok(p) || p->kv_heads == 0 || p->heads % p->kv_heads != 0 || p->head_dim > 256 ||
        (p->cross && positions) || /* cells of another sequence are at no distance */
        !pum_value_is(graph, node->in[PUM_IN_ATTN_Q], graph->rows, width) ||
        !pum_value_is(graph, node->out, graph->rows, width) ||
        !is_cache(graph, node->in[PUM_IN_ATTN_KC], p) ||
        !is_cache(graph, node->in[PUM_IN_ATTN_VC], p)) {
        return pum_shape_fail(graph, node, "q, output and caches do not fit together", err);
    }
    if (bias >= 0 && (!pum_value_is(graph, bias, p->heads, 2 * (uint64_t)p->bias_max + 1) ||
                      graph->values.data[bias].dtype != PUM_DTYPE_F32)) {
        return pum_shape_fail(graph, node, "the bias must be f32, heads x 2 bias_max + 1", err);
    }
    return PUMICE_OK;
}

/* Into how many parts the cells are cut: what one workgroup may walk, and where workgroups are few,
 * as many as fill the device. The context's length decides, so the plan stays the same from token
 * to token. */
static uint32_t splits_for(const pum_select *s, uint64_t groups)
{
    const pum_tuning *t = s->tuning;
    uint64_t cells = (uint64_t)s->graph->step.pages_per_sequence * KV_PAGE;
    uint64_t pay = PUM_MIN(cells / PUM_MAX(t->attn_split_cells, 1u), t->attn_groups / groups);
    return (uint32_t)PUM_MAX(PUM_MAX(pum_ceil_div(cells, PUM_MAX(t->attn_most_cells, 1u)), pay), 1);
}

static pumice_status emit_merge(pum_select *s, const pum_node *node, pum_value_id parts, uint32_t splits)
{
    uint32_t kernel, width = node->params.heads * node->params.head_dim, rows = s->graph->rows;
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_ATTN_MERGE, PUM_DTYPE_COUNT, &kernel));
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_ATTN_MERGE_WG] = s->tuning->elementwise_wg;
    d.bind[0].value = parts;
    d.bind[1].value = node->out;
    d.grid[0] = (uint32_t)pum_ceil_div(width, s->tuning->elementwise_wg);
    d.grid[1] = rows;
    d.bytes = 4ull * rows * width * (splits + 1);
    d.flops = 4ull * rows * width * splits;
    pum_args_attn_merge args = { .heads = node->params.heads,
                                 .head_dim = node->params.head_dim,
                                 .rows = rows,
                                 .splits = splits,
                                 .y_stride = width };
    return pum_draft_emit(s, &d, &args, sizeof args);
}

static uint32_t extras(const pum_node *node)
{
    const pum_params *p = &node->params;
    return (p->softcap != 0.0f ? ATTN_CAP : 0) | (p->alibi_max != 0.0f ? ATTN_ALIBI : 0) |
           (node->in[PUM_IN_ATTN_BIAS] >= 0 ? ATTN_BIAS : 0);
}

/* Tier sub takes a workgroup for one subgroup, which only a device promises that lets its size and that it be full be
 * asked for, and only of sizes it has: a workgroup of two subgroups, as where a wish made them seem larger than they
 * are, would compute garbage. */
static pumice_status find_kernel(pum_select *s, uint32_t kt, uint32_t vt, uint32_t *out_kernel)
{
    uint32_t family = floats(kt, vt) ? PUM_FAMILY_ATTENTION_FLOAT : PUM_FAMILY_ATTENTION;
    bool promised = s->tuning->attn_sub && (s->caps->bits & PUM_CAP_FULL_SUBGROUPS) &&
                    pum_caps_may_pin(s->caps, s->caps->subgroup_size);
    int kernel = promised ? -1 : pum_kernel_find(family, PUM_DTYPE_COUNT, s->caps, PUM_CAP_SUBGROUP);
    *out_kernel = (uint32_t)kernel;
    return kernel >= 0 ? PUMICE_OK
                       : pum_select_kernel(s, family, PUM_DTYPE_COUNT, out_kernel);
}

/* Invocations hold 8 dims of every query of their tile: queries are fewer where heads are wide or
 * subgroups narrow. */
static uint32_t most_queries(const pum_params *p, uint32_t wanted, uint32_t wg)
{
    uint64_t own = pum_ceil_div(pum_ceil_div(p->head_dim, 8), wg), most = PUM_MAX(wanted, 1u);
    while (most > 1 && most * own > 16) most /= 2;
    return (uint32_t)most;
}

pumice_status pum_op_attention_select(pum_select *s, const pum_node *node)
{
    const pum_params *p = &node->params;
    const pum_tuning *t = s->tuning;
    pum_value_id kc = node->in[PUM_IN_ATTN_KC], vc = node->in[PUM_IN_ATTN_VC], parts = node->out;
    uint32_t rows = s->graph->rows, width = p->heads * p->head_dim, shared_by = p->heads / p->kv_heads;
    bool tile = p->one_sequence && rows >= t->attn_rows;
    uint32_t kernel;
    uint32_t kt = cache_code(s, kc), vt = cache_code(s, node->in[PUM_IN_ATTN_VC]);
    PUM_TRY(find_kernel(s, kt, vt, &kernel));
    bool sub = pum_kernels[kernel].tier == PUM_TIER_SUB;
    uint32_t wg = sub ? s->caps->subgroup_size : t->attn_wg;
    uint32_t br = tile ? most_queries(p, floats(kt, vt) ? t->attn_rows : t->attn_rows_quantized, wg) : 1;
    bool few = (uint64_t)s->graph->step.pages_per_sequence * KV_PAGE < t->attn_heads_cells;
    uint32_t hq = tile || few ? 1 : PUM_MIN(shared_by, most_queries(p, t->attn_heads, wg));
    pum_draft d = pum_draft_begin(s, kernel);
    d.grid[0] = p->kv_heads * (uint32_t)pum_ceil_div(shared_by, hq);
    d.grid[1] = (uint32_t)pum_ceil_div(rows, br);
    d.grid[2] = splits_for(s, (uint64_t)d.grid[0] * d.grid[1]);
    if (d.grid[2] > 1) {
        parts = pum_select_scratch(s, (uint64_t)d.grid[2] * rows, width + p->heads, "parts");
        if (parts == PUM_NO_VALUE) return PUMICE_ERROR_HOST_MEMORY;
    }
    pum_columns q = pum_select_columns(s, node->in[PUM_IN_ATTN_Q]);
    d.spec[PUM_SPEC_ATTENTION_WG] = wg;
    d.spec[PUM_SPEC_ATTENTION_HEAD_DIM] = p->head_dim;
    d.spec[PUM_SPEC_ATTENTION_KT] = kt;
    d.spec[PUM_SPEC_ATTENTION_VT] = vt;
    d.spec[PUM_SPEC_ATTENTION_BR] = br;
    d.spec[PUM_SPEC_ATTENTION_HQ] = hq;
    d.spec[PUM_SPEC_ATTENTION_LANES] = sub ? PUM_MIN(t->attn_lanes, wg) : 1;
    d.spec[PUM_SPEC_ATTENTION_EXTRA] = extras(node) | (d.grid[2] > 1 ? ATTN_PARTS : 0);
    d.bind[0].value = q.value;
    d.bind[1].value = kc;
    d.bind[2].value = vc;
    d.bind[3].value = node->in[PUM_IN_ATTN_BIAS] >= 0 ? node->in[PUM_IN_ATTN_BIAS] : q.value;
    d.bind[4].value = s->graph->step_value;
    d.bind[5].value = parts;
    /* What must be read depends on the cells in use, which only the step buffer knows: the batch's
     * own cells are the least, and what is counted here. */
    d.bytes = (uint64_t)rows * (2 * 4 * width + p->kv_heads * (cache_bytes(s, kc) + cache_bytes(s, vc)));
    d.flops = 4ull * rows * width * (p->one_sequence ? (rows + 1) / 2 : 1);
    pum_args_attn args = { .heads = p->heads,
                           .kv_heads = p->kv_heads,
                           .head_dim = p->head_dim,
                           .rows = rows,
                           .q_stride = q.stride,
                           .q_first = q.first,
                           .y_stride = width,
                           .scale = p->scale,
                           .softcap = p->softcap,
                           .window = p->window,
                           .table_at = s->graph->step.table_at,
                           .table_stride = s->graph->step.table_stride,
                           .alibi_max = p->alibi_max,
                           .alibi_scale = p->alibi_scale,
                           .row_seq = p->cross ? ROW_SEQ2 : ROW_SEQ,
                           .row_lo = p->cross ? ROW_LO2 : ROW_LO,
                           .row_hi = p->cross ? ROW_HI2 : ROW_HI,
                           .bias_max = p->bias_max,
                           .splits = d.grid[2] };
    PUM_TRY(pum_draft_emit(s, &d, &args, sizeof args));
    return d.grid[2] > 1 ? emit_merge(s, node, parts, d.grid[2]) : PUMICE_OK;
}
