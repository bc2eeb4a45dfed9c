/* SPDX-License-Identifier: Apache-2.0
 * The parts that graphs of models are made of. See builder.h; what stands where is build.c's. */
#include "builder.h"

#include <stdio.h>

enum { NAME_BYTES = 48 };

pumice_status pum_builder_begin(const pum_model_def *def, const pum_build *build, pum_graph *graph,
                                pum_builder *out_builder, pumice_error *err)
{
    pum_builder b = { .def = def, .hp = &def->hp, .build = build, .graph = graph, .layer = -1,
                      .rows = build->rows, .layers = def->layers.data, .first = def->first_layer,
                      .stack = "" };
    b.weights = pum_alloc_array(def->weights.count + 1, sizeof *b.weights);
    if (!b.weights) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to build the graph");
    *out_builder = b;
    return PUMICE_OK;
}

pumice_status pum_builder_end(pum_builder *b, pumice_error *err)
{
    pum_free(b->weights);
    b->weights = NULL;
    return b->graph->failed
        ? pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to build the graph") : PUMICE_OK;
}

/* ---- values and nodes ---- */

static void layer_name(const pum_builder *b, const char *what, char out[NAME_BYTES])
{
    if (b->layer < 0) snprintf(out, NAME_BYTES, "%s%s", b->stack, what);
    else snprintf(out, NAME_BYTES, "%sblk.%d.%s", b->stack, (int)b->layer, what);
}

static uint64_t cols_of(const pum_builder *b, pum_value_id x)
{
    return x < 0 ? 0 : b->graph->values.data[x].cols; /* < 0: out of memory, the graph has failed */
}

pum_value_id pum_build_weight(pum_builder *b, int32_t index)
{
    if (index < 0) return PUM_NO_VALUE;
    if (!b->weights[index]) {
        const pum_weight *w = &b->def->weights.data[index];
        b->weights[index] =
            pum_graph_value(b->graph, PUM_VALUE_WEIGHT, w->dtype, w->rows, w->cols, index, w->name);
        if (pum_dtype_get(w->dtype)->codebook >= 0 && b->graph->codebooks < 0) {
            b->graph->codebooks = pum_build_weight(b, b->def->codebooks);
        }
    }
    return b->weights[index];
}

pum_value_id pum_build_cache_at(pum_builder *b, int32_t cache, bool is_v)
{
    char name[NAME_BYTES];
    layer_name(b, is_v ? "v_cache" : "k_cache", name);
    return pum_graph_value(b->graph, PUM_VALUE_KV, is_v ? b->build->kv_type_v : b->build->kv_type_k,
                           b->build->kv_cells * b->hp->n_kv_heads,
                           pum_kv_cols(b->hp->head_dim), 2 * cache + is_v, name);
}

pum_value_id pum_build_cache(pum_builder *b, bool is_v)
{
    return pum_build_cache_at(b, b->layer - (int32_t)b->first, is_v);
}

pum_value_id pum_build_node(pum_builder *b, pum_op op, const pum_value_id in[4], pum_params params,
                            uint64_t cols, const char *what)
{
    char name[NAME_BYTES];
    pum_node n = { .op = op, .in = { in[0], in[1], in[2], in[3] }, .out = PUM_NO_VALUE,
                   .params = params, .layer = b->layer };
    layer_name(b, what, name);
    return pum_graph_node(b->graph, n, b->rows, cols, name);
}

static pum_value_id node1(pum_builder *b, pum_op op, pum_value_id x, pum_params params,
                          uint64_t cols, const char *what)
{
    const pum_value_id in[] = { x, PUM_NO_VALUE, PUM_NO_VALUE, PUM_NO_VALUE };
    return pum_build_node(b, op, in, params, cols, what);
}

pum_value_id pum_build_embed(pum_builder *b, int32_t w, uint32_t field, float scale,
                             const char *what)
{
    const pum_weight *table = &b->def->weights.data[w];
    pum_params p = { .scale = table->scale != 0.0f ? scale * table->scale : scale, .row_field = field };
    return node1(b, PUM_OP_EMBED, pum_build_weight(b, w), p, table->cols, what);
}

pum_value_id pum_build_norm(pum_builder *b, pum_value_id x, int32_t w, int32_t bias,
                            const char *what)
{
    pum_params p = { .norm = b->hp->norm, .eps = b->hp->norm_eps, .w_add = b->hp->norm_w_add };
    if (w < 0 && !b->hp->bare_norms) return x;
    const pum_value_id in[] = { x, pum_build_weight(b, w), pum_build_weight(b, bias),
                                PUM_NO_VALUE };
    return pum_build_node(b, PUM_OP_NORM, in, p, cols_of(b, x), what);
}

pum_value_id pum_build_head_norm(pum_builder *b, pum_value_id x, uint32_t heads, int32_t w,
                                 const char *what)
{
    const pum_value_id in[] = { x, pum_build_weight(b, w), PUM_NO_VALUE, PUM_NO_VALUE };
    pum_params p = { .norm = b->hp->norm, .eps = b->hp->norm_eps, .w_add = b->hp->norm_w_add };
    if (w < 0) return x;
    if (b->hp->qk_norm == PUM_QK_HEADS) p.heads = heads;
    return pum_build_node(b, PUM_OP_NORM, in, p, cols_of(b, x), what);
}

pum_value_id pum_build_matmul(pum_builder *b, pum_value_id x, int32_t w, int32_t bias,
                              const char *what)
{
    if (w < 0) return x;
    const pum_value_id in[] = { pum_build_weight(b, w), x, pum_build_weight(b, bias), PUM_NO_VALUE };
    const pum_weight *matrix = &b->def->weights.data[w];
    return pum_build_node(b, PUM_OP_MATMUL, in, (pum_params){ .scale = matrix->scale }, matrix->rows, what);
}

pum_value_id pum_build_add(pum_builder *b, pum_value_id x, pum_value_id y, float scale,
                           const char *what)
{
    const pum_value_id in[] = { x, y, PUM_NO_VALUE, PUM_NO_VALUE };
    return pum_build_node(b, PUM_OP_ADD, in, (pum_params){ .scale = scale }, cols_of(b, x), what);
}

pum_value_id pum_build_clamp(pum_builder *b, pum_value_id x, float limit, const char *what)
{
    pum_params p = { .scale = 1.0f, .clamp = limit };
    return limit == 0.0f ? x : node1(b, PUM_OP_LIMIT, x, p, cols_of(b, x), what);
}

pum_value_id pum_build_gather(pum_builder *b, pum_value_id x, const char *what)
{
    uint64_t rows = b->rows;
    b->rows = b->build->n_slots;
    pum_value_id y = node1(b, PUM_OP_GATHER_ROWS, x, (pum_params){ 0 }, cols_of(b, x), what);
    b->rows = rows;
    return y;
}

pum_value_id pum_build_rope(pum_builder *b, pum_value_id x, uint32_t heads, const char *what)
{
    const pum_hparams *hp = b->hp;
    bool local = pum_build_layer(b)->local_rope;
    int32_t table = local ? b->def->rope_freq_local : b->def->rope_freq;
    if (!pum_build_layer(b)->rotates) return x;
    pum_params p = { .heads = heads, .head_dim = hp->head_dim, .rot_dim = hp->rot_dim,
                     .pairing = hp->rope_pairing, .scale = local ? 1.0f : b->def->rope_scale };
    const pum_value_id in[] = { x, pum_build_weight(b, table), PUM_NO_VALUE, PUM_NO_VALUE };
    return pum_build_node(b, PUM_OP_ROPE, in, p, (uint64_t)heads * hp->head_dim, what);
}

/* ---- MLP ---- */

pum_value_id pum_build_mlp(pum_builder *b, pum_value_id h)
{
    const pum_hparams *hp = b->hp;
    const pum_layer *l = pum_build_layer(b);
    if (l->router >= 0) return pum_build_moe(b, h);
    pum_value_id gate = PUM_NO_VALUE;
    if (hp->gated) gate = pum_build_matmul(b, h, l->gate, l->gate_b, "gate");
    pum_value_id up = pum_build_matmul(b, h, l->up, l->up_b, "up");
    const pum_value_id in[] = { hp->gated ? gate : up, hp->gated ? up : PUM_NO_VALUE, PUM_NO_VALUE,
                                PUM_NO_VALUE };
    pum_value_id a =
        pum_build_node(b, PUM_OP_ACT, in, (pum_params){ .act = hp->act }, hp->n_ff, "ffn_act");
    return pum_build_matmul(b, a, l->down, l->down_b, "ffn_out");
}

/* ---- between parts ---- */

pum_value_id pum_build_rows_in(pum_builder *b)
{
    pum_value_id from = pum_graph_value(b->graph, PUM_VALUE_HIDDEN, PUM_DTYPE_F32, b->rows,
                                        b->hp->n_embd, 0, "rows_in");
    pum_node copy = { .op = PUM_OP_COPY, .in = { from }, .layer = -1 };
    return pum_graph_node(b->graph, copy, b->rows, b->hp->n_embd, "rows_taken");
}

void pum_build_rows_out(pum_builder *b, pum_value_id x)
{
    pum_value_id out = pum_graph_value(b->graph, PUM_VALUE_LOGITS, PUM_DTYPE_F32, b->rows,
                                       b->hp->n_embd, 0, "rows_out");
    pum_node copy = { .op = PUM_OP_COPY, .in = { x }, .out = out, .layer = -1 };
    pum_graph_node(b->graph, copy, b->rows, b->hp->n_embd, "rows_out");
}

/* ---- the end ---- */

pum_value_id pum_build_logits_value(pum_builder *b)
{
    if (b->build->head == PUM_HEAD_NONE && b->build->sampler == PUM_SAMPLER_NONE) {
        return PUM_NO_VALUE;
    }
    return pum_graph_value(b->graph, PUM_VALUE_LOGITS, PUM_DTYPE_F32, b->build->logits_rows,
                           b->hp->n_vocab, 0, "logits");
}

void pum_build_logits(pum_builder *b, pum_value_id x, pum_value_id logits)
{
    const pum_hparams *hp = b->hp;
    pum_node n = { .op = PUM_OP_MATMUL, .out = logits, .layer = -1,
                   .in = { pum_build_weight(b, b->def->head), x, pum_build_weight(b, b->def->head_b), PUM_NO_VALUE },
                   .params = { .scale = b->def->weights.data[b->def->head].scale } };
    pum_graph_node(b->graph, n, b->rows, hp->n_vocab, "logits");
    if (hp->logit_scale == 1.0f && hp->final_softcap == 0.0f) return;
    /* in place: what reads logits, host or sampler, must see the model's own */
    pum_node limit = { .op = PUM_OP_LIMIT, .out = logits, .layer = -1, .in = { logits },
                       .params = { .scale = hp->logit_scale, .softcap = hp->final_softcap,
                                   .rows = (uint32_t)b->rows } };
    pum_graph_node(b->graph, limit, b->rows, hp->n_vocab, "logits");
}

void pum_build_sampler(pum_builder *b, pum_value_id logits)
{
    static const pum_op ops[] = { [PUM_SAMPLER_ARGMAX] = PUM_OP_ARGMAX,
                                  [PUM_SAMPLER_CHAIN] = PUM_OP_SAMPLE,
                                  [PUM_SAMPLER_SCORE] = PUM_OP_SCORE };
    if (b->build->sampler == PUM_SAMPLER_NONE) return;
    pum_node n = { .op = ops[b->build->sampler],
                   .in = { logits }, .out = PUM_NO_VALUE, .layer = -1,
                   .params = { .slots = b->build->n_slots, .rows = b->build->rows } };
    pum_graph_node(b->graph, n, 0, 0, "");
}
