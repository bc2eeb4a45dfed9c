/* SPDX-License-Identifier: Apache-2.0
 * Encoder-decoders as graphs: T5 and BART with their derivatives, which differ by where norms stand,
 * biases and activations. Two kinds of pass. The encoder's takes the whole input at once and ends with
 * the K and V that the decoder's layers make of its output. The decoder's is that of build.c with one
 * more attention in every layer, to those. Each decides, as build.c does, that rows whose hidden state
 * nobody reads are not carried through the end of the last layer. Of a part of a model (part.h) either
 * has what layers are there: an encoder's pass may begin and end anywhere in the two stacks. */
#include "builder.h"

/* One of a layer's parts: x + f(norm x), or norm(x + f(x)). */
typedef struct part {
    int32_t norm, norm_b;
    const char *norm_name, *sum_name;
} part;

static pum_value_id enter(pum_builder *b, pum_value_id x, const part *p)
{
    if (!(b->hp->norm_at & PUM_NORM_BEFORE)) return x;
    return pum_build_norm(b, x, p->norm, p->norm_b, p->norm_name);
}

static pum_value_id leave(pum_builder *b, pum_value_id x, pum_value_id branch, const part *p)
{
    x = pum_build_add(b, x, branch, 1.0f, p->sum_name);
    if (b->hp->norm_at & PUM_NORM_BEFORE) return x;
    return pum_build_norm(b, x, p->norm, p->norm_b, p->norm_name);
}

static void store(pum_builder *b, pum_value_id k, pum_value_id v, int32_t cache)
{
    pum_value_id kc = pum_build_cache_at(b, cache, false);
    pum_value_id vc = pum_build_cache_at(b, cache, true);
    pum_node n = { .op = PUM_OP_KV_STORE, .in = { k, v, kc, vc }, .out = PUM_NO_VALUE,
                   .params = { .kv_heads = b->hp->n_kv_heads, .head_dim = b->hp->head_dim },
                   .layer = b->layer };
    pum_graph_node(b->graph, n, 0, 0, "");
}

static pum_value_id attend(pum_builder *b, pum_value_id q, int32_t cache, bool cross,
                           const char *what)
{
    const pum_hparams *hp = b->hp;
    int32_t bias = cross ? -1 : pum_build_layer(b)->bias;
    pum_params p = { .heads = hp->n_heads, .kv_heads = hp->n_kv_heads, .head_dim = hp->head_dim,
                     .scale = hp->attn_scale, .one_sequence = b->build->one_sequence,
                     .cross = cross, .bias_max = bias < 0 ? 0 : hp->bias_distance };
    const pum_value_id in[] = { q, pum_build_cache_at(b, cache, false),
                                pum_build_cache_at(b, cache, true), pum_build_weight(b, bias) };
    return pum_build_node(b, PUM_OP_ATTENTION, in, p, (uint64_t)hp->n_heads * hp->head_dim, what);
}

/* Where a layer's own K and V are; cross: those of the encoder's output. */
static int32_t cache_of(const pum_builder *b, bool cross)
{
    return b->layer - (int32_t)b->first + (cross ? (int32_t)b->def->hp.n_layers : 0);
}

static pum_value_id mlp(pum_builder *b, pum_value_id x)
{
    const pum_layer *l = pum_build_layer(b);
    const part p = { l->ffn_norm, l->ffn_norm_b, "ffn_norm", "ffn_sum" };
    return leave(b, x, pum_build_mlp(b, enter(b, x, &p)), &p);
}

/* The words, positions and norm that a stack begins with. */
static pum_value_id embed(pum_builder *b, int32_t positions, int32_t norm, int32_t norm_b)
{
    pum_value_id x = pum_build_embed(b, b->def->embed, ROW_TOKEN, b->hp->embed_scale, "embed");
    if (positions >= 0) {
        pum_value_id p = pum_build_embed(b, positions, ROW_POS, 1.0f, "positions");
        x = pum_build_add(b, x, p, 1.0f, "embed_sum");
    }
    return pum_build_norm(b, x, norm, norm_b, "embed_norm");
}

/* ---- the encoder ---- */

static pum_value_id encoder_layer(pum_builder *b, pum_value_id x)
{
    const pum_layer *l = pum_build_layer(b);
    const part p = { l->attn_norm, l->attn_norm_b, "attn_norm", "attn_sum" };
    int32_t cache = (int32_t)b->def->hp.n_layers; /* the decoder's first here, which is not needed yet */
    pum_value_id h = enter(b, x, &p);
    pum_value_id q = pum_build_matmul(b, h, l->q, l->q_b, "q");
    pum_value_id k = pum_build_matmul(b, h, l->k, l->k_b, "k");
    pum_value_id v = pum_build_matmul(b, h, l->v, l->v_b, "v");
    store(b, k, v, cache);
    pum_value_id a = attend(b, q, cache, false, "attn");
    return mlp(b, leave(b, x, pum_build_matmul(b, a, l->o, l->o_b, "attn_out"), &p));
}

/* From the rows x, unless the words are where it begins, through the encoder's layers to its output; of a
 * part that ends before, to the rows that go on. */
static pum_value_id encoder(pum_builder *b, pum_value_id x)
{
    const pum_model_def *def = b->def;
    pum_hparams hp = def->hp;
    uint32_t end = def->encoder.first_layer + (uint32_t)def->encoder.layers.count;
    hp.n_layers = hp.encoder.n_layers;
    hp.n_heads = hp.n_kv_heads = hp.encoder.n_heads;
    hp.head_dim = hp.encoder.head_dim;
    hp.n_ff = hp.encoder.n_ff;
    hp.attn_scale = hp.encoder.attn_scale;
    b->hp = &hp;
    b->layers = def->encoder.layers.data;
    b->first = def->encoder.first_layer;
    b->stack = "enc.";
    if (b->first == 0) {
        x = embed(b, def->encoder.positions, def->encoder.embed_norm, def->encoder.embed_norm_b);
    }
    for (b->layer = (int32_t)b->first; (uint32_t)b->layer < end; b->layer++) x = encoder_layer(b, x);
    b->layer = -1;
    if (def->encoder.goes_on) {
        pum_build_rows_out(b, x);
    } else {
        x = pum_build_norm(b, x, def->encoder.output_norm, def->encoder.output_norm_b, "output_norm");
        pum_value_id out = pum_graph_value(b->graph, PUM_VALUE_LOGITS, PUM_DTYPE_F32, b->rows,
                                           hp.n_embd, 0, "encoder_output");
        pum_node copy = { .op = PUM_OP_COPY, .in = { x }, .out = out, .layer = -1 };
        pum_graph_node(b->graph, copy, b->rows, hp.n_embd, "encoder_output");
    }
    b->hp = &def->hp;
    return x;
}

static void encode(pum_builder *b)
{
    const pum_model_def *def = b->def;
    pum_value_id x = def->encoder.first_layer ? pum_build_rows_in(b) : PUM_NO_VALUE;
    if (def->encoder.layers.count) x = encoder(b, x);
    if (def->encoder.goes_on) return;
    uint32_t end = def->first_layer + b->hp->n_layers;
    b->layers = def->layers.data;
    b->first = def->first_layer;
    b->stack = "dec.";
    for (b->layer = (int32_t)b->first; (uint32_t)b->layer < end; b->layer++) {
        const pum_layer *l = pum_build_layer(b);
        pum_value_id k = pum_build_matmul(b, x, l->cross_k, l->cross_k_b, "cross_k");
        pum_value_id v = pum_build_matmul(b, x, l->cross_v, l->cross_v_b, "cross_v");
        store(b, k, v, cache_of(b, true));
    }
    b->layer = -1;
}

/* ---- the decoder ---- */

/* PUM_NO_VALUE after the last layer of a pass that only fills the cache. */
static pum_value_id decoder_layer(pum_builder *b, pum_value_id x)
{
    const pum_layer *l = pum_build_layer(b);
    const part self = { l->attn_norm, l->attn_norm_b, "attn_norm", "attn_sum" };
    const part cross = { l->cross_norm, l->cross_norm_b, "cross_norm", "cross_sum" };
    bool last = (uint32_t)b->layer + 1 == b->first + b->hp->n_layers && !b->def->goes_on;
    pum_value_id h = enter(b, x, &self);
    pum_value_id k = pum_build_matmul(b, h, l->k, l->k_b, "k");
    pum_value_id v = pum_build_matmul(b, h, l->v, l->v_b, "v");
    store(b, k, v, cache_of(b, false));
    if (last && b->build->head == PUM_HEAD_NONE) return PUM_NO_VALUE;
    pum_value_id q = pum_build_matmul(b, h, l->q, l->q_b, "q");
    pum_value_id a = attend(b, q, cache_of(b, false), false, "attn");
    x = leave(b, x, pum_build_matmul(b, a, l->o, l->o_b, "attn_out"), &self);
    h = enter(b, x, &cross);
    q = pum_build_matmul(b, h, l->cross_q, l->cross_q_b, "cross_q");
    a = attend(b, q, cache_of(b, true), true, "cross");
    if (last && b->build->head == PUM_HEAD_SLOTS && b->build->n_slots < b->rows) {
        a = pum_build_gather(b, a, "cross_rows");
        x = pum_build_gather(b, x, "rows");
        b->rows = b->build->n_slots;
    }
    x = leave(b, x, pum_build_matmul(b, a, l->cross_o, l->cross_o_b, "cross_out"), &cross);
    return mlp(b, x);
}

static void decode(pum_builder *b, pum_value_id logits)
{
    const pum_model_def *def = b->def;
    const pum_build *build = b->build;
    uint32_t end = def->first_layer + b->hp->n_layers;
    b->stack = "dec.";
    pum_value_id x = b->first ? pum_build_rows_in(b)
                              : embed(b, def->positions, def->embed_norm, def->embed_norm_b);
    for (b->layer = (int32_t)b->first; (uint32_t)b->layer < end; b->layer++) x = decoder_layer(b, x);
    b->layer = -1;
    if (def->goes_on) pum_build_rows_out(b, x);
    if (def->goes_on || build->head == PUM_HEAD_NONE) return;
    bool gathered = b->rows != build->rows, trivial = build->rows == 1 && build->n_slots == 1;
    if (build->head == PUM_HEAD_SLOTS && !gathered && !trivial) {
        x = pum_build_gather(b, x, "rows");
        b->rows = build->n_slots;
    }
    x = pum_build_norm(b, x, def->output_norm, def->output_norm_b, "output_norm");
    pum_build_logits(b, x, logits);
}

pumice_status pum_build_encdec(const pum_model_def *def, const pum_build *build, pum_graph *graph,
                               pumice_error *err)
{
    pum_builder b;
    PUM_TRY(pum_builder_begin(def, build, graph, &b, err));
    if (build->encode) {
        encode(&b);
        return pum_builder_end(&b, err);
    }
    pum_value_id logits = def->goes_on ? PUM_NO_VALUE : pum_build_logits_value(&b);
    if (build->rows > 0) decode(&b, logits);
    if (!def->goes_on) pum_build_sampler(&b, logits);
    return pum_builder_end(&b, err);
}
