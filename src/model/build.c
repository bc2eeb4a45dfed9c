/* SPDX-License-Identifier: Apache-2.0
 * A decoder-only transformer as a graph: one builder for every row of arch.def, since they differ
 * in options and not in kind. Emits plain operations only; what may be merged is plan_fuse.c's
 * business. Decides one thing that is no model's: rows whose hidden state nobody reads are not
 * carried through the end of the last layer. */
#include <stdio.h>

#include "arch.h"

typedef struct builder {
    const pum_model_def *def;
    const pum_hparams *hp;
    const pum_build *build;
    pum_graph *graph;
    pum_value_id *weights; /* value of each weight, 0 = not made yet (0 is the step buffer) */
    uint64_t rows;         /* of the hidden state: batch rows, later those that have logits */
    int32_t layer;
} builder;

enum { NAME_BYTES = 48 };

/* ---- values and nodes ---- */

static void layer_name(const builder *b, const char *what, char out[NAME_BYTES])
{
    if (b->layer < 0) snprintf(out, NAME_BYTES, "%s", what);
    else snprintf(out, NAME_BYTES, "blk.%d.%s", (int)b->layer, what);
}

static pum_value_id weight(builder *b, int32_t index)
{
    if (index < 0) return PUM_NO_VALUE;
    if (!b->weights[index]) {
        const pum_weight *w = &b->def->weights.data[index];
        b->weights[index] =
            pum_graph_value(b->graph, PUM_VALUE_WEIGHT, w->dtype, w->rows, w->cols, index, w->name);
    }
    return b->weights[index];
}

static pum_value_id cache(builder *b, bool is_v)
{
    char name[NAME_BYTES];
    layer_name(b, is_v ? "v_cache" : "k_cache", name);
    return pum_graph_value(b->graph, PUM_VALUE_KV, is_v ? b->build->kv_type_v : b->build->kv_type_k,
                           b->build->kv_cells * b->hp->n_kv_heads, b->hp->head_dim,
                           2 * b->layer + is_v, name);
}

/* A node with up to three inputs, absent ones PUM_NO_VALUE, whose output has b->rows rows. */
static pum_value_id node(builder *b, pum_op op, pum_value_id in0, pum_value_id in1,
                         pum_value_id in2, pum_params params, uint64_t cols, const char *what)
{
    char name[NAME_BYTES];
    pum_node n = { .op = op, .in = { in0, in1, in2, PUM_NO_VALUE }, .out = PUM_NO_VALUE,
                   .params = params, .layer = b->layer };
    layer_name(b, what, name);
    return pum_graph_node(b->graph, n, b->rows, cols, name);
}

static pum_value_id norm(builder *b, pum_value_id x, int32_t w, int32_t bias, const char *what)
{
    pum_params p = { .norm = b->hp->norm, .eps = b->hp->norm_eps, .w_add = b->hp->norm_w_add };
    return node(b, PUM_OP_NORM, x, weight(b, w), weight(b, bias), p, b->hp->n_embd, what);
}

static pum_value_id matmul(builder *b, pum_value_id x, int32_t w, int32_t bias, const char *what)
{
    uint64_t cols = b->def->weights.data[w].rows;
    return node(b, PUM_OP_MATMUL, weight(b, w), x, weight(b, bias), (pum_params){ 0 }, cols, what);
}

static pum_value_id add(builder *b, pum_value_id x, pum_value_id y, const char *what)
{
    return node(b, PUM_OP_ADD, x, y, PUM_NO_VALUE, (pum_params){ .scale = 1.0f }, b->hp->n_embd,
                what);
}

/* Takes the rows that slots name. b->rows stays: the caller sets it after its last gather. */
static pum_value_id gather(builder *b, pum_value_id x, uint64_t cols, const char *what)
{
    uint64_t rows = b->rows;
    b->rows = b->build->n_slots;
    pum_value_id y =
        node(b, PUM_OP_GATHER_ROWS, x, PUM_NO_VALUE, PUM_NO_VALUE, (pum_params){ 0 }, cols, what);
    b->rows = rows;
    return y;
}

/* ---- the block ---- */

static uint32_t layer_window(const pum_hparams *hp, int32_t layer)
{
    bool all = hp->window_every <= 1;
    return all || (uint32_t)layer % hp->window_every != hp->window_every - 1 ? hp->window : 0;
}

static pum_value_id rope(builder *b, pum_value_id x, uint32_t heads, pum_params p, const char *what)
{
    p.heads = heads;
    p.scale = b->def->rope_scale;
    return node(b, PUM_OP_ROPE, x, weight(b, b->def->rope_freq), PUM_NO_VALUE, p,
                (uint64_t)heads * p.head_dim, what);
}

/* Attention of the normalised rows, before the output matrix: [rows x heads * head_dim]. With
 * `store_only` K and V are all that is wanted. */
static pum_value_id attention(builder *b, pum_value_id h, bool store_only)
{
    const pum_hparams *hp = b->hp;
    const pum_layer *l = &b->def->layers.data[b->layer];
    pum_params p = { .heads = hp->n_heads, .kv_heads = hp->n_kv_heads, .head_dim = hp->head_dim,
                     .rot_dim = hp->rot_dim, .pairing = hp->rope_pairing };
    pum_value_id q = PUM_NO_VALUE, kc = cache(b, false), vc = cache(b, true);
    if (!store_only) q = matmul(b, h, l->q, l->q_b, "q");
    pum_value_id k = matmul(b, h, l->k, l->k_b, "k");
    pum_value_id v = matmul(b, h, l->v, l->v_b, "v");
    if (!store_only) q = rope(b, q, hp->n_heads, p, "q_rope");
    k = rope(b, k, hp->n_kv_heads, p, "k_rope");
    pum_node store = { .op = PUM_OP_KV_STORE, .in = { k, v, kc, vc }, .out = PUM_NO_VALUE,
                       .params = p, .layer = b->layer };
    pum_graph_node(b->graph, store, 0, 0, "");
    if (store_only) return PUM_NO_VALUE;
    p.scale = hp->attn_scale;
    p.softcap = hp->attn_softcap;
    p.window = layer_window(hp, b->layer);
    p.one_sequence = b->build->one_sequence;
    return node(b, PUM_OP_ATTENTION, q, kc, vc, p, (uint64_t)hp->n_heads * hp->head_dim, "attn");
}

static pum_value_id mlp(builder *b, pum_value_id h)
{
    const pum_hparams *hp = b->hp;
    const pum_layer *l = &b->def->layers.data[b->layer];
    pum_value_id gate = PUM_NO_VALUE;
    if (hp->gated) gate = matmul(b, h, l->gate, l->gate_b, "gate");
    pum_value_id up = matmul(b, h, l->up, l->up_b, "up");
    pum_params p = { .act = hp->act };
    pum_value_id a =
        hp->gated ? node(b, PUM_OP_ACT, gate, up, PUM_NO_VALUE, p, hp->n_ff, "ffn_act")
                  : node(b, PUM_OP_ACT, up, PUM_NO_VALUE, PUM_NO_VALUE, p, hp->n_ff, "ffn_act");
    pum_value_id y = matmul(b, a, l->down, l->down_b, "ffn_out");
    return l->ffn_post_norm >= 0 ? norm(b, y, l->ffn_post_norm, -1, "ffn_post_norm") : y;
}

/* One layer from the residual stream x to the next. The last one leaves only the rows that have
 * logits, if those are fewer; without any it ends with the cache, and PUM_NO_VALUE is returned. */
static pum_value_id block(builder *b, pum_value_id x)
{
    const pum_hparams *hp = b->hp;
    const pum_layer *l = &b->def->layers.data[b->layer];
    bool last = (uint32_t)b->layer + 1 == hp->n_layers;
    bool store_only = last && b->build->head == PUM_HEAD_NONE;
    pum_value_id h = norm(b, x, l->attn_norm, l->attn_norm_b, "attn_norm");
    pum_value_id a = attention(b, h, store_only);
    if (store_only) return PUM_NO_VALUE;
    if (last && b->build->head == PUM_HEAD_SLOTS && b->build->n_slots < b->rows) {
        a = gather(b, a, (uint64_t)hp->n_heads * hp->head_dim, "attn_rows");
        x = gather(b, x, hp->n_embd, "rows");
        if (hp->parallel && l->ffn_norm < 0) h = gather(b, h, hp->n_embd, "norm_rows");
        b->rows = b->build->n_slots;
    }
    pum_value_id o = matmul(b, a, l->o, l->o_b, "attn_out");
    if (l->attn_post_norm >= 0) o = norm(b, o, l->attn_post_norm, -1, "attn_post_norm");
    if (hp->parallel) {
        if (l->ffn_norm >= 0) h = norm(b, x, l->ffn_norm, l->ffn_norm_b, "ffn_norm");
        x = add(b, x, o, "attn_sum");
        return add(b, x, mlp(b, h), "ffn_sum");
    }
    x = add(b, x, o, "attn_sum");
    h = norm(b, x, l->ffn_norm, l->ffn_norm_b, "ffn_norm");
    return add(b, x, mlp(b, h), "ffn_sum");
}

/* ---- the whole ---- */

static void head(builder *b, pum_value_id x, pum_value_id logits)
{
    const pum_model_def *def = b->def;
    const pum_build *build = b->build;
    bool gathered = b->rows != build->rows, trivial = build->rows == 1 && build->n_slots == 1;
    if (build->head == PUM_HEAD_SLOTS && !gathered && !trivial) {
        x = gather(b, x, b->hp->n_embd, "rows");
        b->rows = build->n_slots;
    }
    pum_value_id h = norm(b, x, def->output_norm, def->output_norm_b, "output_norm");
    pum_node n = { .op = PUM_OP_MATMUL, .out = logits, .layer = -1,
                   .in = { weight(b, def->head), h, weight(b, def->head_b), PUM_NO_VALUE } };
    pum_graph_node(b->graph, n, b->rows, b->hp->n_vocab, "logits");
}

static void forward(builder *b, pum_value_id logits)
{
    b->rows = b->build->rows;
    pum_value_id x = node(b, PUM_OP_EMBED, weight(b, b->def->embed), PUM_NO_VALUE, PUM_NO_VALUE,
                          (pum_params){ .scale = b->hp->embed_scale }, b->hp->n_embd, "embed");
    for (b->layer = 0; (uint32_t)b->layer < b->hp->n_layers; b->layer++) x = block(b, x);
    b->layer = -1;
    if (b->build->head != PUM_HEAD_NONE) head(b, x, logits);
}

static pumice_status check_options(const pum_model_def *def, pumice_error *err)
{
    if (def->hp.final_softcap != 0.0f) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "'%s' caps its final logits, which is not supported", def->hp.architecture);
    }
    for (size_t i = 0; i < def->layers.count; i++) {
        if (def->layers.data[i].q_norm < 0 && def->layers.data[i].k_norm < 0) continue;
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "'%s' normalises each head of q and k, which is not supported",
                        def->hp.architecture);
    }
    return PUMICE_OK;
}

pumice_status pum_build_decoder(const pum_model_def *def, const pum_build *build, pum_graph *graph,
                                pumice_error *err)
{
    builder b = { .def = def, .hp = &def->hp, .build = build, .graph = graph, .layer = -1 };
    PUM_TRY(check_options(def, err));
    b.weights = pum_alloc_array(def->weights.count + 1, sizeof *b.weights);
    if (!b.weights) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to build the graph");
    pum_value_id logits = PUM_NO_VALUE;
    if (build->head != PUM_HEAD_NONE || build->sampler != PUM_SAMPLER_NONE) {
        logits = pum_graph_value(graph, PUM_VALUE_LOGITS, PUM_DTYPE_F32, build->logits_rows,
                                 b.hp->n_vocab, 0, "logits");
    }
    if (build->rows > 0) forward(&b, logits);
    if (build->sampler != PUM_SAMPLER_NONE) {
        pum_node n = { .op = build->sampler == PUM_SAMPLER_ARGMAX ? PUM_OP_ARGMAX : PUM_OP_SAMPLE,
                       .in = { logits }, .out = PUM_NO_VALUE, .layer = -1,
                       .params = { .slots = build->n_slots } };
        pum_graph_node(graph, n, 0, 0, "");
    }
    pum_free(b.weights);
    return graph->failed ? pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to build the graph")
                         : PUMICE_OK;
}
