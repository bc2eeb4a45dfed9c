/* SPDX-License-Identifier: Apache-2.0
 * Takes RMSNorms apart: the kernel that makes a norm's input begins the norm, the mat-vecs that read its output end it
 * (pum_args_matmul in args.h), and the norm has no step of its own. The row is scaled behind the product instead of
 * before it, so results change by rounding alone. Both values then are columns of one: input, input times the norm's
 * weights, sums of squares. Runs after everything else that merges nodes. LayerNorm, which subtracts, stays. */
#include "plan_pass.h"

#include <stdio.h>

typedef struct split {
    pum_graph *graph;
    const pum_caps *caps;
    const pum_tuning *tuning;
    const pum_placement *weights;
} split;

static const pum_value *value(const split *p, pum_value_id id) { return &p->graph->values.data[id]; }

static bool multiplies(const pum_node *n)
{
    return n->op == PUM_OP_MATMUL || n->op == PUM_OP_MATMUL_NORM || n->op == PUM_OP_MATMUL_GLU;
}

/* pum_op_matmul_norm_cols of a node that multiplies, the least over the pieces of its weights. */
static uint32_t norm_cols(const split *p, const pum_node *n)
{
    const pum_value *w = value(p, n->in[PUM_IN_MATMUL_W]), *x = value(p, n->in[PUM_IN_MATMUL_X]);
    uint32_t least = UINT32_MAX, end = p->weights->first.data[w->source + 1];
    for (uint32_t i = p->weights->first.data[w->source]; i < end; i++) {
        uint64_t rows = w->stack > 1 ? w->rows : p->weights->pieces.data[i].row_count;
        least = PUM_MIN(least, pum_op_matmul_norm_cols(p->caps, p->tuning, w, rows, x));
    }
    return least;
}

/* Columns over which the maker of a value can add up squares; 0 if it cannot begin a norm. */
static uint32_t sum_cols(const split *p, const pum_node *maker)
{
    if (maker->op == PUM_OP_EMBED) return NORM_EMBED_COLS;
    if (maker->op != PUM_OP_MATMUL) return 0;
    const pum_value *w = value(p, maker->in[PUM_IN_MATMUL_W]);
    return pum_placement_only_piece(p->weights, w->source) ? norm_cols(p, maker) : 0;
}

/* A norm of whole rows that kernels can begin and end. */
static bool is_simple(const split *p, const pum_node *n)
{
    if (n->op != PUM_OP_NORM || n->params.norm != NORM_RMS || n->params.heads > 1 || n->params.w_add != 0.0f ||
        n->in[PUM_IN_NORM_B] >= 0 || n->in[PUM_IN_NORM_W] < 0) {
        return false;
    }
    const pum_value *x = value(p, n->in[PUM_IN_NORM_X]), *y = value(p, n->out), *w = value(p, n->in[PUM_IN_NORM_W]);
    return x->kind == PUM_VALUE_ACT && !x->base && y->kind == PUM_VALUE_ACT && y->dtype == PUM_DTYPE_F32 &&
           w->kind == PUM_VALUE_WEIGHT;
}

/* Everyone who reads the norm's output ends it, and everyone else who reads its input can read columns from the first
 * on. */
static bool readers_fit(const split *p, const pum_node *norm)
{
    for (size_t i = 0; i < p->graph->nodes.count; i++) {
        const pum_node *n = &p->graph->nodes.data[i];
        for (uint32_t k = 0; k < pum_op_inputs(n->op); k++) {
            bool product = multiplies(n) && k == PUM_IN_MATMUL_X;
            bool residual = (n->op == PUM_OP_MATMUL || n->op == PUM_OP_MATMUL_NORM) && k == PUM_IN_MATMUL_RES;
            if (n->in[k] == norm->out && !(product && norm_cols(p, n) > 0)) return false;
            if (n->in[k] == norm->in[PUM_IN_NORM_X] && n != norm && !residual && n->op != PUM_OP_GATHER_ROWS)
                return false;
        }
    }
    return true;
}

static pum_node *maker_of(const split *p, pum_value_id id)
{
    for (size_t i = 0; i < p->graph->nodes.count; i++) {
        if (p->graph->nodes.data[i].out == id) return &p->graph->nodes.data[i];
    }
    return NULL;
}

/* True when the norm was taken apart; its node is then to be removed. */
static bool take_apart(split *p, pum_node *norm)
{
    if (!is_simple(p, norm) || !readers_fit(p, norm)) return false;
    pum_value_id x = norm->in[PUM_IN_NORM_X], y = norm->out;
    pum_node *maker = maker_of(p, x);
    uint64_t n = value(p, x)->cols, rows = value(p, x)->rows;
    uint32_t cols = maker ? sum_cols(p, maker) : 0;
    if (!cols || n % (4 * cols) != 0) return false; /* sums in fours (args.h) */
    char name[sizeof value(p, x)->name];
    snprintf(name, sizeof name, "%.40s+norm", value(p, x)->name);
    pum_value_id both = pum_graph_value(p->graph, PUM_VALUE_ACT, PUM_DTYPE_F32, rows,
                                        pum_op_norm_begun_cols(n, cols), -1, name);
    if (both < 0) return false; /* the graph has failed */
    p->graph->values.data[x].base = p->graph->values.data[y].base = both;
    p->graph->values.data[y].first = (uint32_t)n;
    maker->in[maker->op == PUM_OP_EMBED ? PUM_IN_EMBED_NORM : PUM_IN_MATMUL_NORM] = norm->in[PUM_IN_NORM_W];
    maker->op = maker->op == PUM_OP_EMBED ? PUM_OP_EMBED_NORM : PUM_OP_MATMUL_NORM;
    maker->out = both;
    for (size_t i = 0; i < p->graph->nodes.count; i++) {
        pum_node *reader = &p->graph->nodes.data[i];
        if (!multiplies(reader) || reader->in[PUM_IN_MATMUL_X] != y) continue;
        reader->params.x_sums = (uint32_t)(n / cols);
        reader->params.eps = norm->params.eps;
    }
    return true;
}

pumice_status pum_plan_split_norms(pum_graph *g, const pum_caps *caps, const pum_tuning *tuning,
                                   const pum_placement *weights, uint32_t *io_fused, pumice_error *err)
{
    split p = { g, caps, tuning, weights };
    size_t kept = 0;
    if (!tuning->norm_split) return PUMICE_OK;
    for (size_t i = 0; i < g->nodes.count; i++) {
        if (!take_apart(&p, &g->nodes.data[i])) continue;
        g->nodes.data[i].op = PUM_OP_COUNT;
        ++*io_fused;
    }
    if (g->failed) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
    for (size_t i = 0; i < g->nodes.count; i++) {
        if (g->nodes.data[i].op != PUM_OP_COUNT) g->nodes.data[kept++] = g->nodes.data[i];
    }
    g->nodes.count = kept;
    return PUMICE_OK;
}
