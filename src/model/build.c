/* SPDX-License-Identifier: Apache-2.0
 * A decoder-only transformer as a graph: one builder for every row of arch.def, since they differ
 * in options and not in kind. Emits plain operations only; what may be merged is plan_fuse.c's
 * business. Decides one thing that is no model's: rows whose hidden state nobody reads are not
 * carried through the end of the last layer. */
#include "builder.h"

/* Attention of the rows h, before the output matrix: [rows x heads * head_dim]. With `store_only`
 * K and V are all that is wanted. */
static pum_value_id attention(pum_builder *b, pum_value_id h, bool store_only)
{
    const pum_hparams *hp = b->hp;
    const pum_layer *l = pum_build_layer(b);
    pum_value_id q = PUM_NO_VALUE, kc = pum_build_cache(b, false), vc = pum_build_cache(b, true);
    if (!store_only) {
        q = pum_build_matmul(b, h, l->q, l->q_b, "q");
        q = pum_build_head_norm(b, q, hp->n_heads, l->q_norm, "q_norm");
        q = pum_build_clamp(b, q, hp->clamp_qkv, "q_cut");
    }
    pum_value_id k = pum_build_matmul(b, h, l->k, l->k_b, "k");
    pum_value_id v = pum_build_matmul(b, h, l->v, l->v_b, "v");
    k = pum_build_head_norm(b, k, hp->n_kv_heads, l->k_norm, "k_norm");
    k = pum_build_clamp(b, k, hp->clamp_qkv, "k_cut");
    v = pum_build_clamp(b, v, hp->clamp_qkv, "v_cut");
    if (!store_only) q = pum_build_rope(b, q, hp->n_heads, "q_rope");
    k = pum_build_rope(b, k, hp->n_kv_heads, "k_rope");
    pum_params p = { .heads = hp->n_heads, .kv_heads = hp->n_kv_heads, .head_dim = hp->head_dim };
    pum_node store = { .op = PUM_OP_KV_STORE, .in = { k, v, kc, vc }, .out = PUM_NO_VALUE,
                       .params = p, .layer = b->layer };
    pum_graph_node(b->graph, store, 0, 0, "");
    if (store_only) return PUM_NO_VALUE;
    p.scale = l->attn_scale;
    p.softcap = hp->attn_softcap;
    p.window = l->window;
    p.alibi_max = hp->alibi_max;
    p.alibi_scale = hp->alibi_scale;
    p.one_sequence = b->build->one_sequence;
    const pum_value_id in[] = { q, kc, vc, PUM_NO_VALUE };
    return pum_build_node(b, PUM_OP_ATTENTION, in, p, (uint64_t)hp->n_heads * hp->head_dim, "attn");
}

/* x + branch, with what the model does to both. */
static pum_value_id join(pum_builder *b, pum_value_id x, pum_value_id branch, const char *what)
{
    if (b->hp->deepnorm_alpha != 0.0f) {
        return pum_build_add(b, x, branch, b->hp->deepnorm_alpha, what);
    }
    float scale = b->hp->residual_scale;
    return scale == 1.0f ? pum_build_add(b, x, branch, 1.0f, what)
                         : pum_build_add(b, branch, x, scale, what);
}

/* One layer from the residual stream x to the next. The last one leaves only the rows that have
 * logits, if those are fewer; without any it ends with the cache, and PUM_NO_VALUE is returned. */
static pum_value_id block(pum_builder *b, pum_value_id x)
{
    const pum_hparams *hp = b->hp;
    const pum_layer *l = pum_build_layer(b);
    bool last = pum_build_layer(b) + 1 == b->layers + hp->n_layers && !b->def->goes_on;
    bool store_only = last && b->build->head == PUM_HEAD_NONE;
    bool before = hp->norm_at & PUM_NORM_BEFORE, sum = hp->norm_at & PUM_NORM_SUM;
    bool branch = hp->norm_at & PUM_NORM_BRANCH;
    bool deep = hp->deepnorm_alpha != 0.0f; /* what is added to is not x but what was made of it */
    bool one_norm = hp->parallel && l->ffn_norm < 0; /* both branches read the same h */
    pum_value_id h = x;
    if (before) h = pum_build_norm(b, x, l->attn_norm, l->attn_norm_b, "attn_norm");
    pum_value_id a = attention(b, h, store_only);
    if (store_only) return PUM_NO_VALUE;
    if (deep) x = h;
    if (last && b->build->head == PUM_HEAD_SLOTS && b->build->n_slots < b->rows) {
        a = pum_build_gather(b, a, "attn_rows");
        x = pum_build_gather(b, x, "rows");
        if (one_norm) h = before ? pum_build_gather(b, h, "norm_rows") : x;
        b->rows = b->build->n_slots;
    }
    a = pum_build_matmul(b, a, l->o, l->o_b, "attn_out");
    if (branch) a = pum_build_norm(b, a, l->attn_post_norm, l->attn_post_norm_b, "attn_post_norm");
    if (hp->parallel && !one_norm) h = pum_build_norm(b, x, l->ffn_norm, l->ffn_norm_b, "ffn_norm");
    x = join(b, x, a, "attn_sum");
    if (sum) x = pum_build_norm(b, x, l->attn_norm, l->attn_norm_b, "attn_norm");
    if (!hp->parallel) {
        h = before ? pum_build_norm(b, x, l->ffn_norm, l->ffn_norm_b, "ffn_norm") : x;
    }
    if (deep) x = h;
    pum_value_id m = pum_build_mlp(b, h);
    if (branch) m = pum_build_norm(b, m, l->ffn_post_norm, l->ffn_post_norm_b, "ffn_post_norm");
    x = join(b, x, m, "ffn_sum");
    return sum ? pum_build_norm(b, x, l->ffn_norm, l->ffn_norm_b, "ffn_norm") : x;
}

/* ---- the whole ---- */

static pum_value_id embed(pum_builder *b)
{
    const pum_model_def *def = b->def;
    pum_value_id x = pum_build_embed(b, def->embed, ROW_TOKEN, b->hp->embed_scale, "embed");
    x = pum_build_matmul(b, x, def->embed_in, -1, "embed_in");
    if (def->positions >= 0) {
        pum_value_id p = pum_build_embed(b, def->positions, ROW_POS, 1.0f, "positions");
        x = pum_build_add(b, x, p, 1.0f, "embed_sum");
    }
    return def->embed_norm < 0
        ? x : pum_build_norm(b, x, def->embed_norm, def->embed_norm_b, "embed_norm");
}

static void head(pum_builder *b, pum_value_id x, pum_value_id logits)
{
    const pum_model_def *def = b->def;
    const pum_build *build = b->build;
    bool gathered = b->rows != build->rows, trivial = build->rows == 1 && build->n_slots == 1;
    if (build->head == PUM_HEAD_SLOTS && !gathered && !trivial) {
        x = pum_build_gather(b, x, "rows");
        b->rows = build->n_slots;
    }
    if (!(b->hp->norm_at & PUM_NORM_SUM) || def->output_norm >= 0) {
        x = pum_build_norm(b, x, def->output_norm, def->output_norm_b, "output_norm");
    }
    x = pum_build_matmul(b, x, def->embed_out, -1, "embed_out");
    pum_build_logits(b, x, logits);
}

pumice_status pum_build_decoder(const pum_model_def *def, const pum_build *build, pum_graph *graph,
                                pumice_error *err)
{
    pum_builder b;
    PUM_TRY(pum_builder_begin(def, build, graph, &b, err));
    pum_value_id logits = def->goes_on ? PUM_NO_VALUE : pum_build_logits_value(&b);
    if (build->rows > 0) {
        uint32_t end = def->first_layer + b.hp->n_layers;
        pum_value_id x = def->first_layer ? pum_build_rows_in(&b) : embed(&b);
        for (b.layer = (int32_t)def->first_layer; (uint32_t)b.layer < end; b.layer++) {
            x = block(&b, x);
        }
        b.layer = -1;
        if (def->goes_on) pum_build_rows_out(&b, x);
        else if (build->head != PUM_HEAD_NONE) head(&b, x, logits);
    }
    if (!def->goes_on) pum_build_sampler(&b, logits);
    return pum_builder_end(&b, err);
}
