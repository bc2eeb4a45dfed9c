/* SPDX-License-Identifier: Apache-2.0
 * Attention and what feeds its cache: rotary embedding (Su et al., 2021), the store into the paged
 * KV cache, the two in one, and softmax(q k^T) v over [lo, hi) ranges with grouped-query heads.
 * Decides between the kernel for single rows and the one for tiles of rows of one sequence. */
#include "op.h"

static uint32_t kv_code(pum_dtype type) { return type == PUM_DTYPE_F16 ? KV_F16 : KV_F32; }

static bool is_cache(const pum_graph *g, pum_value_id id, const pum_params *p)
{
    if (id < 0) return false;
    const pum_value *v = &g->values.data[id];
    return v->kind == PUM_VALUE_KV && v->cols == p->head_dim &&
           (v->dtype == PUM_DTYPE_F32 || v->dtype == PUM_DTYPE_F16) &&
           v->rows % ((uint64_t)p->kv_heads * KV_PAGE) == 0;
}

static bool is_freq(const pum_graph *g, pum_value_id id, const pum_params *p)
{
    return pum_value_is(g, id, 1, p->rot_dim); /* rot_dim / 2 pairs of two words */
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
    d.spec[PUM_SPEC_KV_STORE_KT] = kv_code(pum_select_value(s, node->in[PUM_IN_KV_KC])->dtype);
    d.spec[PUM_SPEC_KV_STORE_VT] = kv_code(pum_select_value(s, node->in[PUM_IN_KV_VC])->dtype);
    pum_columns k = pum_select_columns(s, node->in[PUM_IN_KV_K]);
    pum_columns v = pum_select_columns(s, node->in[PUM_IN_KV_V]);
    d.bind[0].value = k.value;
    d.bind[1].value = v.value;
    d.bind[2].value = s->graph->step_value;
    d.bind[3].value = node->in[PUM_IN_KV_KC];
    d.bind[4].value = node->in[PUM_IN_KV_VC];
    d.grid[0] = (uint32_t)pum_ceil_div(width / 2, s->tuning->elementwise_wg);
    d.grid[1] = rows;
    d.bytes = (uint64_t)rows * width * 2 * (4 + 2);
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
    uint64_t width = (uint64_t)p->heads * p->head_dim;
    if (!heads_ok(p) || !pum_value_is(graph, node->in[PUM_IN_ROPE_KV_Q], graph->rows, width) ||
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
    PUM_TRY(pum_select_kernel(s, PUM_FAMILY_ROPE_KV, PUM_DTYPE_COUNT, &kernel));
    const pum_params *p = &node->params;
    uint32_t rows = s->graph->rows, width = p->heads * p->head_dim,
             kv_width = p->kv_heads * p->head_dim;
    pum_draft d = pum_draft_begin(s, kernel);
    d.spec[PUM_SPEC_ROPE_KV_WG] = s->tuning->elementwise_wg;
    d.spec[PUM_SPEC_ROPE_KV_PAIRING] = p->pairing;
    d.spec[PUM_SPEC_ROPE_KV_KT] = kv_code(pum_select_value(s, node->in[PUM_IN_ROPE_KV_KC])->dtype);
    d.spec[PUM_SPEC_ROPE_KV_VT] = kv_code(pum_select_value(s, node->in[PUM_IN_ROPE_KV_VC])->dtype);
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
    d.grid[0] = (uint32_t)pum_ceil_div((width + 2 * kv_width) / 2, s->tuning->elementwise_wg);
    d.grid[1] = rows;
    d.bytes = (uint64_t)rows * (2 * 4 * width + 2 * kv_width * (4 + 2));
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
    if (!heads_ok(p) || p->kv_heads == 0 || p->heads % p->kv_heads != 0 || p->head_dim > 256 ||
        (p->cross && (p->window || p->alibi_max != 0.0f)) || /* positions of another sequence */
        !pum_value_is(graph, node->in[PUM_IN_ATTN_Q], graph->rows, width) ||
        !pum_value_is(graph, node->out, graph->rows, width) ||
        !is_cache(graph, node->in[PUM_IN_ATTN_KC], p) ||
        !is_cache(graph, node->in[PUM_IN_ATTN_VC], p)) {
        return pum_shape_fail(graph, node, "q, output and caches do not fit together", err);
    }
    return PUMICE_OK;
}

pumice_status pum_op_attention_select(pum_select *s, const pum_node *node)
{
    const pum_params *p = &node->params;
    uint32_t rows = s->graph->rows, width = p->heads * p->head_dim;
    bool tile = p->one_sequence && rows >= s->tuning->attn_prefill_br;
    uint32_t kernel;
    PUM_TRY(pum_select_kernel(s, tile ? PUM_FAMILY_ATTN_PREFILL : PUM_FAMILY_ATTN_DECODE,
                              PUM_DTYPE_COUNT, &kernel));
    pum_draft d = pum_draft_begin(s, kernel);
    uint32_t kt = kv_code(pum_select_value(s, node->in[PUM_IN_ATTN_KC])->dtype);
    uint32_t vt = kv_code(pum_select_value(s, node->in[PUM_IN_ATTN_VC])->dtype);
    d.grid[0] = p->heads;
    if (tile) {
        d.spec[PUM_SPEC_ATTN_PREFILL_WG] = s->tuning->attn_prefill_wg;
        d.spec[PUM_SPEC_ATTN_PREFILL_HEAD_DIM] = p->head_dim;
        d.spec[PUM_SPEC_ATTN_PREFILL_KT] = kt;
        d.spec[PUM_SPEC_ATTN_PREFILL_VT] = vt;
        d.spec[PUM_SPEC_ATTN_PREFILL_BR] = s->tuning->attn_prefill_br;
        d.grid[1] = (uint32_t)pum_ceil_div(rows, s->tuning->attn_prefill_br);
    } else {
        d.spec[PUM_SPEC_ATTN_DECODE_WG] = s->tuning->attn_decode_wg;
        d.spec[PUM_SPEC_ATTN_DECODE_HEAD_DIM] = p->head_dim;
        d.spec[PUM_SPEC_ATTN_DECODE_KT] = kt;
        d.spec[PUM_SPEC_ATTN_DECODE_VT] = vt;
        d.grid[1] = rows;
    }
    pum_columns q = pum_select_columns(s, node->in[PUM_IN_ATTN_Q]);
    d.bind[0].value = q.value;
    d.bind[1].value = node->in[PUM_IN_ATTN_KC];
    d.bind[2].value = node->in[PUM_IN_ATTN_VC];
    d.bind[3].value = s->graph->step_value;
    d.bind[4].value = node->out;
    /* What must be read depends on the cells in use, which only the step buffer knows: the batch's
     * own cells are the least, and what is counted here. */
    d.bytes = (uint64_t)rows * (2 * 4 * width + 2 * 2 * p->kv_heads * p->head_dim);
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
                           .row_seq = p->cross ? ROW_SEQ2 : ROW_SEQ,
                           .row_lo = p->cross ? ROW_LO2 : ROW_LO,
                           .row_hi = p->cross ? ROW_HI2 : ROW_HI };
    return pum_draft_emit(s, &d, &args, sizeof args);
}
