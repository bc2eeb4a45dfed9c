/* SPDX-License-Identifier: Apache-2.0
 * Fusion: a table of small patterns, each a root op, the producers it must have, and a function
 * that checks the rest and writes the merged node. To add one: a row here and a kernel for the
 * merged op. A value that vanishes must have had no other reader, so results never change but for
 * rounding. */
#include "plan_pass.h"

#include <string.h>

enum { MAX_LINKS = 2, MAX_SPAN = MAX_LINKS + 2 };

typedef struct fuse {
    const pum_graph *graph;
    pum_graph *out; /* the fused graph: merges may add values to it, whose ids go on from graph's */
    const pum_caps *caps;
    const pum_tuning *tuning;
    const pum_placement *weights;
    int32_t *producer; /* node that writes a value, -1 = none */
    uint32_t *uses;    /* readers of a value */
    bool *gone;        /* nodes merged into another */
} fuse;

/* A matched pattern: node[0] is the root, node[1..] its linked producers; merge may add one more to
 * take away. */
typedef struct match {
    int32_t node[MAX_SPAN];
    uint32_t count;
    pum_node merged;
} match;

typedef struct pattern {
    const char *name;
    pum_op root;
    struct {
        uint8_t parent, input; /* node[parent].in[input] ... */
        pum_op op;             /* ... is written by such a node, for this reader alone */
    } link[MAX_LINKS];
    uint8_t n_links;
    bool (*merge)(const fuse *f, match *m);
} pattern;

static const pum_node *at(const fuse *f, int32_t node) { return &f->graph->nodes.data[node]; }

static const pum_value *value(const fuse *f, pum_value_id id) { return &f->graph->values.data[id]; }

/* y = (W x + b) + r: the add becomes the mat-mul's epilogue */
static bool merge_residual(const fuse *f, match *m, int matmul_input)
{
    const pum_node *add = at(f, m->node[0]), *mm = at(f, m->node[1]);
    pum_value_id other = add->in[1 - matmul_input];
    if (mm->in[PUM_IN_MATMUL_RES] >= 0 || add->params.scale != 1.0f ||
        value(f, other)->rows != value(f, add->out)->rows ||
        value(f, other)->kind != PUM_VALUE_ACT) {
        return false;
    }
    m->merged = *mm;
    m->merged.in[PUM_IN_MATMUL_RES] = other;
    m->merged.out = add->out;
    return true;
}

static bool merge_residual_a(const fuse *f, match *m) { return merge_residual(f, m, PUM_IN_ADD_A); }

static bool merge_residual_b(const fuse *f, match *m) { return merge_residual(f, m, PUM_IN_ADD_B); }

static bool is_plain_matmul(const pum_node *n)
{
    return n->in[PUM_IN_MATMUL_BIAS] < 0 && n->in[PUM_IN_MATMUL_RES] < 0 &&
           n->params.act == ACT_NONE;
}

/* act(Wg x) * (Wu x), where up's matrix lies behind the gate's: one mat-mul over both */
static bool merge_glu(const fuse *f, match *m)
{
    const pum_node *act = at(f, m->node[0]), *gate = at(f, m->node[1]), *up = at(f, m->node[2]);
    pum_value_id wg = gate->in[PUM_IN_MATMUL_W], wu = up->in[PUM_IN_MATMUL_W];
    if (!is_plain_matmul(gate) || !is_plain_matmul(up) ||
        gate->in[PUM_IN_MATMUL_X] != up->in[PUM_IN_MATMUL_X] || gate->params.scale != up->params.scale ||
        value(f, wg)->rows != value(f, wu)->rows ||
        !pum_op_matmul_can_glu(f->caps, f->tuning, value(f, wg), value(f, gate->in[PUM_IN_MATMUL_X])) ||
        !pum_plan_can_stack(f->graph, f->caps, f->weights, wg, wu)) {
        return false;
    }
    pum_value_id both =
        pum_plan_stack_weight(f->out, wg, 2, 2 * value(f, wg)->rows, value(f, wg)->cols);
    if (both < 0) return false;
    m->merged = *act;
    m->merged.op = PUM_OP_MATMUL_GLU;
    m->merged.params.scale = gate->params.scale;
    m->merged.in[PUM_IN_GLU_W] = both;
    m->merged.in[PUM_IN_GLU_X] = gate->in[PUM_IN_MATMUL_X];
    return true;
}

static void become_rope_kv(match *m, const pum_node *rope, pum_value_id q, const pum_node *k, const pum_node *store)
{
    m->merged = *rope;
    m->merged.op = PUM_OP_ROPE_KV;
    m->merged.params.kv_heads = store->params.kv_heads;
    m->merged.in[PUM_IN_ROPE_KV_Q] = q;
    m->merged.in[PUM_IN_ROPE_KV_K] = k->in[PUM_IN_ROPE_X];
    m->merged.in[PUM_IN_ROPE_KV_V] = store->in[PUM_IN_KV_V];
    m->merged.in[PUM_IN_ROPE_KV_FREQ] = rope->in[PUM_IN_ROPE_FREQ];
    m->merged.in[PUM_IN_ROPE_KV_KC] = store->in[PUM_IN_KV_KC];
    m->merged.in[PUM_IN_ROPE_KV_VC] = store->in[PUM_IN_KV_VC];
}

/* rope(q), rope(k), store(k, v) of one layer in one dispatch. q's rope is no producer of the store:
 * it is found as the other rope of the same layer with the same table. The last layer of a pass without logits has no
 * queries: the same kernel, with none. */
static bool merge_rope_kv(const fuse *f, match *m)
{
    const pum_node *store = at(f, m->node[0]), *k = at(f, m->node[1]);
    if (f->caps->max_storage_buffers < 8) return false;
    bool has_queries = false;
    for (int32_t i = 0; i < m->node[0]; i++) {
        const pum_node *q = at(f, i);
        has_queries |= q->op == PUM_OP_ROPE && i != m->node[1] && q->layer == store->layer;
        if (q->op != PUM_OP_ROPE || i == m->node[1] || f->gone[i] || q->layer != store->layer ||
            q->in[PUM_IN_ROPE_FREQ] != k->in[PUM_IN_ROPE_FREQ] ||
            q->params.pairing != k->params.pairing || q->params.rot_dim != k->params.rot_dim ||
            q->params.scale != k->params.scale) {
            continue;
        }
        /* q's rotated value must not be wanted before the store, where the merged node will stand
         */
        for (int32_t j = i + 1; j < m->node[0]; j++) {
            for (uint32_t in = 0; in < pum_op_inputs(at(f, j)->op); in++) {
                if (at(f, j)->in[in] == q->out) return false;
            }
        }
        m->node[m->count++] = i;
        become_rope_kv(m, q, q->in[PUM_IN_ROPE_X], k, store);
        return true;
    }
    if (has_queries) return false;
    become_rope_kv(m, k, k->in[PUM_IN_ROPE_X], k, store);
    m->merged.params.heads = 0;
    return true;
}

/* the norm writes its result rounded to 8 bits */
static bool merge_norm_q8(const fuse *f, match *m)
{
    m->merged = *at(f, m->node[1]);
    m->merged.out = at(f, m->node[0])->out;
    return pum_op_norm_can_q8(f->caps, &m->merged);
}

static const pattern patterns[] = {
    { "gate + up + activation",
      PUM_OP_ACT,
      { { 0, PUM_IN_ACT_GATE, PUM_OP_MATMUL }, { 0, PUM_IN_ACT_UP, PUM_OP_MATMUL } },
      2,
      merge_glu },
    { "matmul + residual",
      PUM_OP_ADD,
      { { 0, PUM_IN_ADD_B, PUM_OP_MATMUL } },
      1,
      merge_residual_b },
    { "matmul + residual, swapped",
      PUM_OP_ADD,
      { { 0, PUM_IN_ADD_A, PUM_OP_MATMUL } },
      1,
      merge_residual_a },
    { "rope q + rope k + kv store",
      PUM_OP_KV_STORE,
      { { 0, PUM_IN_KV_K, PUM_OP_ROPE } },
      1,
      merge_rope_kv },
    { "norm + quantize",
      PUM_OP_QUANTIZE,
      { { 0, PUM_IN_X, PUM_OP_NORM } },
      1,
      merge_norm_q8 },
};

static bool match_at(const fuse *f, const pattern *p, int32_t root, match *m)
{
    if (at(f, root)->op != p->root || f->gone[root]) return false;
    *m = (match){ .node = { root }, .count = 1 };
    for (uint32_t i = 0; i < p->n_links; i++) {
        pum_value_id v = at(f, m->node[p->link[i].parent])->in[p->link[i].input];
        if (v < 0 || value(f, v)->kind != PUM_VALUE_ACT || f->uses[v] != 1) return false;
        int32_t producer = f->producer[v];
        if (producer < 0 || f->gone[producer] || at(f, producer)->op != p->link[i].op) return false;
        m->node[m->count++] = producer;
    }
    return p->merge(f, m);
}

static pumice_status index_graph(fuse *f, pumice_error *err)
{
    const pum_graph *g = f->graph;
    f->producer = pum_alloc_array(g->values.count, sizeof *f->producer);
    f->uses = pum_alloc_array(g->values.count, sizeof *f->uses);
    f->gone = pum_alloc_array(g->nodes.count + 1, sizeof *f->gone);
    if (!f->producer || !f->uses || !f->gone) {
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
    }
    for (size_t i = 0; i < g->values.count; i++) f->producer[i] = -1;
    for (size_t i = 0; i < g->nodes.count; i++) {
        const pum_node *n = &g->nodes.data[i];
        if (n->out >= 0) f->producer[n->out] = (int32_t)i;
        for (uint32_t k = 0; k < pum_op_inputs(n->op); k++) {
            if (n->in[k] >= 0) f->uses[n->in[k]]++;
        }
    }
    return PUMICE_OK;
}

pumice_status pum_plan_fuse(const pum_graph *graph, const pum_caps *caps, const pum_tuning *tuning,
                            const pum_placement *weights, pum_graph *out_graph, uint32_t *out_fused,
                            pumice_error *err)
{
    pum_graph g = { .step = graph->step, .step_value = graph->step_value, .codebooks = graph->codebooks,
                    .rows = graph->rows };
    fuse f = { .graph = graph, .out = &g, .caps = caps, .tuning = tuning, .weights = weights };
    pumice_status status;
    *out_fused = 0;
    PUM_GOTO(index_graph(&f, err));
    if (!pum_array_reserve(&g.values, graph->values.count) ||
        !pum_array_reserve(&g.nodes, graph->nodes.count)) {
        status = pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
        goto fail;
    }
    memcpy(g.values.data, graph->values.data, graph->values.count * sizeof *g.values.data);
    g.values.count = graph->values.count;
    memcpy(g.nodes.data, graph->nodes.data, graph->nodes.count * sizeof *g.nodes.data);
    g.nodes.count = graph->nodes.count;
    /* The merged node takes the root's place: everything it reads was written before the root. */
    for (size_t i = 0; i < graph->nodes.count; i++) {
        match m;
        for (size_t p = 0; p < PUM_COUNT(patterns); p++) {
            if (!match_at(&f, &patterns[p], (int32_t)i, &m)) continue;
            g.nodes.data[i] = m.merged;
            g.nodes.data[i].layer = graph->nodes.data[i].layer;
            for (uint32_t k = 0; k < m.count; k++) f.gone[m.node[k]] = true;
            for (uint32_t k = 1; k < m.count; k++) g.nodes.data[m.node[k]].op = PUM_OP_COUNT;
            ++*out_fused;
            break;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < g.nodes.count; i++) {
        if (g.nodes.data[i].op != PUM_OP_COUNT) g.nodes.data[kept++] = g.nodes.data[i];
    }
    g.nodes.count = kept;
    PUM_GOTO(pum_plan_stack(&g, caps, weights, out_fused, err));
    PUM_GOTO(pum_plan_split_norms(&g, caps, tuning, weights, out_fused, err));
    *out_graph = g;
    g = (pum_graph){ 0 };
    status = PUMICE_OK;
fail:
    pum_graph_free(&g);
    pum_free(f.producer);
    pum_free(f.uses);
    pum_free(f.gone);
    return status;
}
