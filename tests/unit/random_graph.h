/* SPDX-License-Identifier: Apache-2.0
 * Random but valid graphs for planner tests and fuzzing: decoder-like chains with side branches,
 * weights of all formats and of sizes that must be split, several layers of KV. Deterministic for a
 * seed. */
#ifndef RANDOM_GRAPH_H
#define RANDOM_GRAPH_H

#include <stdio.h>
#include <string.h>

#include "args.h"
#include "plan.h"

enum { RG_MAX_WEIGHTS = 128, RG_MAX_LIVE = 16, RG_MAX_LAYERS = 4 };

typedef struct random_graph {
    uint64_t state;
    pum_graph graph;
    pum_tensor_size weights[RG_MAX_WEIGHTS], kv[2 * RG_MAX_LAYERS];
    char names[RG_MAX_WEIGHTS][16];
    size_t n_weights, n_kv;
    pum_value_id live[RG_MAX_LIVE]; /* activations [rows x d] that may be read */
    size_t n_live;
    uint32_t d;
} random_graph;

static inline uint32_t rg_next(random_graph *r, uint32_t below)
{
    r->state = r->state * 6364136223846793005ull + 1442695040888963407ull;
    return below ? (uint32_t)(r->state >> 33) % below : 0;
}

static inline pum_value_id rg_weight(random_graph *r, pum_dtype type, uint64_t rows, uint64_t cols)
{
    size_t i = r->n_weights++;
    uint64_t row_bytes = 0;
    pum_dtype_device_row_bytes(type, cols, &row_bytes);
    snprintf(r->names[i], sizeof r->names[i], "w%zu", i);
    r->weights[i] = (pum_tensor_size){ .name = r->names[i], .rows = rows, .row_bytes = row_bytes,
                                         .splittable = rows > 1 };
    return pum_graph_value(&r->graph, PUM_VALUE_WEIGHT, type, rows, cols, (int32_t)i, r->names[i]);
}

static inline pum_dtype rg_type(random_graph *r)
{
    static const pum_dtype types[] = { PUM_DTYPE_F32, PUM_DTYPE_F16, PUM_DTYPE_BF16, PUM_DTYPE_Q8_0,
                                       PUM_DTYPE_Q4_0 };
    return types[rg_next(r, PUM_COUNT(types))];
}

static inline pum_value_id rg_pick(random_graph *r)
{
    return r->live[rg_next(r, (uint32_t)r->n_live)];
}

static inline void rg_keep(random_graph *r, pum_value_id v)
{
    if (r->n_live < RG_MAX_LIVE) r->live[r->n_live++] = v;
    else r->live[rg_next(r, RG_MAX_LIVE)] = v;
}

static inline pum_value_id rg_node(random_graph *r, pum_op op, const pum_value_id *in, size_t n,
                                   pum_params p, uint64_t cols)
{
    pum_node node = { .op = op, .out = PUM_NO_VALUE, .params = p, .layer = -1 };
    for (size_t i = 0; i < PUM_MAX_INPUTS; i++) node.in[i] = i < n ? in[i] : PUM_NO_VALUE;
    char name[24];
    snprintf(name, sizeof name, "%s%zu", pum_op_name(op), r->graph.nodes.count);
    return pum_graph_node(&r->graph, node, r->graph.rows, cols, name);
}

static inline pum_value_id rg_matmul(random_graph *r, pum_value_id x, uint64_t k, uint64_t n,
                                     bool bias)
{
    pum_dtype type = rg_type(r);
    if (k % pum_dtype_get(type)->block_elems) type = PUM_DTYPE_F16;
    pum_value_id w = rg_weight(r, type, n, k);
    pum_value_id b = bias ? rg_weight(r, PUM_DTYPE_F32, 1, n) : PUM_NO_VALUE;
    pum_value_id in[] = { w, x, b, PUM_NO_VALUE };
    static const float scales[] = { 0.0f, 0.5f, 0.25f }; /* of the whole matrix */
    return rg_node(r, PUM_OP_MATMUL, in, 4, (pum_params){ .scale = scales[rg_next(r, 9) / 4] }, n);
}

static inline void rg_attention(random_graph *r, int32_t layer)
{
    uint32_t hd = 2 * (1 + rg_next(r, 32)), kvh = 1 + rg_next(r, 3),
             heads = kvh * (1 + rg_next(r, 3));
    pum_params p = { .heads = heads,
                     .kv_heads = kvh,
                     .head_dim = hd,
                     .rot_dim = hd - 2 * rg_next(r, hd / 2),
                     .scale = 1,
                     .pairing = rg_next(r, 2),
                     .one_sequence = rg_next(r, 2) };
    pum_value_id x = rg_pick(r), freq = rg_weight(r, PUM_DTYPE_F32, 1, p.rot_dim);
    uint64_t cells = (1 + rg_next(r, 8)) * KV_PAGE;
    pum_value_id cache[2];
    static const pum_dtype types[] = { PUM_DTYPE_F32, PUM_DTYPE_F16, PUM_DTYPE_Q8_0, PUM_DTYPE_Q4_0 };
    for (int i = 0; i < 2; i++) {
        pum_dtype t = types[rg_next(r, hd % 32 ? 2 : 4)];
        size_t k = r->n_kv++;
        uint64_t row_bytes = 0;
        pum_dtype_row_bytes(t, pum_kv_cols(hd), &row_bytes);
        r->kv[k] = (pum_tensor_size){ .name = "kv", .rows = cells * kvh, .row_bytes = row_bytes };
        cache[i] = pum_graph_value(&r->graph, PUM_VALUE_KV, t, cells * kvh, pum_kv_cols(hd),
                                   (int32_t)k, "kv");
    }
    (void)layer;
    pum_value_id q = rg_matmul(r, x, r->d, (uint64_t)heads * hd, false);
    pum_value_id k = rg_matmul(r, x, r->d, (uint64_t)kvh * hd, rg_next(r, 2));
    pum_value_id v = rg_matmul(r, x, r->d, (uint64_t)kvh * hd, false);
    pum_value_id q_in[] = { q, freq }, k_in[] = { k, freq };
    q = rg_node(r, PUM_OP_ROPE, q_in, 2, p, (uint64_t)heads * hd);
    pum_params kp = p;
    kp.heads = kvh;
    k = rg_node(r, PUM_OP_ROPE, k_in, 2, kp, (uint64_t)kvh * hd);
    pum_value_id store[] = { k, v, cache[0], cache[1] };
    rg_node(r, PUM_OP_KV_STORE, store, 4, p, 0);
    uint32_t kind = rg_next(r, 4);
    p.cross = kind == 0;
    p.bias_max = rg_next(r, 20);
    p.softcap = rg_next(r, 4) ? 0.0f : 30.0f;
    p.alibi_max = kind == 1 ? 8.0f : 0.0f;
    p.alibi_scale = rg_next(r, 2) ? 1.0f : 0.25f;
    p.window = kind == 1 ? rg_next(r, 64) : 0;
    pum_value_id bias = kind == 2 ? rg_weight(r, PUM_DTYPE_F32, heads, 2 * p.bias_max + 1) : PUM_NO_VALUE;
    pum_value_id attn[] = { q, cache[0], cache[1], bias };
    pum_value_id o = rg_node(r, PUM_OP_ATTENTION, attn, 4, p, (uint64_t)heads * hd);
    o = rg_matmul(r, o, (uint64_t)heads * hd, r->d, false);
    pum_value_id add[] = { x, o };
    rg_keep(r, rg_node(r, PUM_OP_ADD, add, 2, (pum_params){ .scale = 1 }, r->d));
}

static inline void rg_mlp(random_graph *r)
{
    pum_value_id x = rg_pick(r), w = rg_weight(r, PUM_DTYPE_F32, 1, r->d);
    uint64_t ff = 32 * (1 + rg_next(r, 12));
    pum_value_id norm[] = { x, w, PUM_NO_VALUE };
    pum_value_id h = rg_node(r, PUM_OP_NORM, norm, 3, (pum_params){ .eps = 1e-5f }, r->d);
    pum_value_id g = rg_matmul(r, h, r->d, ff, false), u = rg_matmul(r, h, r->d, ff, false);
    pum_value_id act[] = { g, rg_next(r, 4) ? u : PUM_NO_VALUE };
    pum_value_id a = rg_node(r, PUM_OP_ACT, act, 2, (pum_params){ .act = ACT_SILU }, ff);
    pum_value_id y = rg_matmul(r, a, ff, r->d, rg_next(r, 2));
    pum_value_id add[] = { rg_next(r, 2) ? y : x, x };
    if (add[0] == x) add[1] = y;
    rg_keep(r, rg_node(r, PUM_OP_ADD, add, 2, (pum_params){ .scale = rg_next(r, 4) ? 1.0f : 0.5f },
                       r->d));
}

/* A mixture of experts, of any type and cut anywhere. */
static inline void rg_experts(random_graph *r)
{
    pum_params p = { .experts = 1 + rg_next(r, 9), .scale = 1, .renorm = rg_next(r, 2) };
    p.experts_used = 1 + rg_next(r, p.experts);
    uint64_t ff = 32 * (1 + rg_next(r, 3)), pairs = (uint64_t)r->graph.rows * p.experts_used;
    pum_value_id x = rg_pick(r), none = PUM_NO_VALUE;
    pum_value_id logits = rg_matmul(r, x, r->d, p.experts, false);
    pum_value_id route = rg_node(r, PUM_OP_ROUTE, &logits, 1, p, 2ull * p.experts_used);
    uint32_t rows = r->graph.rows;
    r->graph.rows = 1; /* rg_node takes the rows from here */
    pum_value_id group = rg_node(r, PUM_OP_EXPERT_GROUP, &route, 1, p, 4 * pairs);
    r->graph.rows = (uint32_t)pairs;
    pum_value_id up[] = { rg_weight(r, rg_type(r), p.experts * ff, r->d), x, route, group };
    pum_value_id u = rg_node(r, PUM_OP_EXPERT_MATMUL, up, 4, p, ff);
    pum_value_id act[] = { u, none };
    u = rg_node(r, PUM_OP_ACT, act, 2, (pum_params){ .act = ACT_SILU }, ff);
    pum_value_id down[] = { rg_weight(r, rg_type(r), p.experts * r->d, ff), u, route, group };
    u = rg_node(r, PUM_OP_EXPERT_MATMUL, down, 4, p, r->d);
    if (rg_next(r, 2)) {
        pum_value_id scale[] = { u, route, rg_weight(r, PUM_DTYPE_F32, 1, p.experts) };
        u = rg_node(r, PUM_OP_EXPERT_SCALE, scale, 3, p, r->d);
    }
    r->graph.rows = rows;
    pum_value_id sum[] = { u, route, none, none };
    if (rg_next(r, 2)) {
        sum[2] = rg_pick(r);
        sum[3] = rg_matmul(r, x, r->d, 1, false);
    }
    rg_keep(r, rg_node(r, PUM_OP_EXPERT_SUM, sum, 4, p, r->d));
}

static inline void rg_small(random_graph *r)
{
    pum_value_id in[] = { rg_pick(r), PUM_NO_VALUE };
    uint32_t heads = r->d / 32;
    switch (rg_next(r, 6)) {
    case 2: /* limits, in place where that is possible */
        rg_keep(r, rg_node(r, PUM_OP_LIMIT, in, 1, (pum_params){ .scale = 2, .clamp = 3 }, r->d));
        break;
    case 3: { /* each head of 32 by itself */
        pum_value_id norm[] = { in[0], rg_weight(r, PUM_DTYPE_F32, 1, 32), PUM_NO_VALUE };
        pum_params p = { .eps = 1e-5f, .heads = heads };
        rg_keep(r, rg_node(r, PUM_OP_NORM, norm, 3, p, r->d));
        break;
    }
    case 4: { /* learned positions */
        pum_value_id table = rg_weight(r, rg_type(r), 64, r->d);
        pum_params p = { .scale = 1, .row_field = ROW_POS };
        rg_keep(r, rg_node(r, PUM_OP_EMBED, &table, 1, p, r->d));
        break;
    }
    case 0:
        rg_keep(r, rg_node(r, PUM_OP_COPY, in, 1, (pum_params){ 0 }, r->d));
        break;
    case 1:
        rg_keep(r, rg_node(r, PUM_OP_SOFTMAX, in, 1, (pum_params){ .scale = 1 }, r->d));
        break;
    default:
        rg_keep(r, rg_node(r, PUM_OP_ACT, in, 2, (pum_params){ .act = ACT_RELU }, r->d));
        break;
    }
}

/* Fills r with the graph of a seed. Free with pum_graph_free(&r->graph). */
static inline void random_graph_make(random_graph *r, uint64_t seed)
{
    *r = (random_graph){ .state = seed * 2654435761u + 1 };
    rg_next(r, 2);
    uint32_t rows = rg_next(r, 3) ? 1 + rg_next(r, 8) : 1 + rg_next(r, 300);
    pum_step_layout step = pum_step_layout_make(PUM_MAX(rows, 8u), 4, 4, rg_next(r, 2) ? 512 : 70000);
    pum_graph_init(&r->graph, rows, &step);
    r->d = 32 * (1 + rg_next(r, 16));
    uint32_t vocab = 100 + rg_next(r, 5000);
    pum_value_id table = rg_weight(r, rg_type(r), vocab, r->d);
    rg_keep(r, rg_node(r, PUM_OP_EMBED, &table, 1, (pum_params){ .scale = 1 }, r->d));
    uint32_t n = 1 + rg_next(r, 10), layers = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t kind = rg_next(r, 5);
        if (kind == 0 && layers < RG_MAX_LAYERS) rg_attention(r, (int32_t)layers++);
        else if (kind <= 2) rg_mlp(r);
        else if (kind == 4) rg_experts(r);
        else rg_small(r);
    }
    uint32_t slots = 1 + rg_next(r, 4);
    slots = PUM_MIN(rows, slots);
    pum_value_id logits =
        pum_graph_value(&r->graph, PUM_VALUE_LOGITS, PUM_DTYPE_F32, 4, vocab, -1, "logits");
    pum_value_id x = rg_pick(r);
    pum_node gather = { .op = PUM_OP_GATHER_ROWS, .in = { x }, .out = PUM_NO_VALUE, .layer = -1 };
    x = pum_graph_node(&r->graph, gather, slots, r->d, "gathered");
    pum_node head = { .op = PUM_OP_MATMUL,
                      .in = { table, x, PUM_NO_VALUE, PUM_NO_VALUE },
                      .out = logits,
                      .layer = -1 };
    pum_graph_node(&r->graph, head, 0, 0, "");
    if (rg_next(r, 2)) { /* the logits' own scale and cap, in place */
        pum_node limit = { .op = PUM_OP_LIMIT,
                           .in = { logits },
                           .out = logits,
                           .params = { .scale = 0.5f, .softcap = 30, .rows = slots },
                           .layer = -1 };
        pum_graph_node(&r->graph, limit, 0, 0, "");
    }
    static const pum_op ends[] = { PUM_OP_SAMPLE, PUM_OP_ARGMAX, PUM_OP_SCORE };
    pum_node pick = { .op = ends[rg_next(r, 3)],
                      .in = { logits },
                      .out = PUM_NO_VALUE,
                      .params = { .slots = slots, .rows = slots },
                      .layer = -1 };
    pum_graph_node(&r->graph, pick, 0, 0, "");
}

#endif
