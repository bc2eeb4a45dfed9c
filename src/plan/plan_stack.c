/* SPDX-License-Identifier: Apache-2.0
 * Stacks mat-muls: q, k and v (and any others) that multiply the same rows become one mat-mul when
 * their matrices lie one behind the other in memory, so that they are one matrix with more rows.
 * Their results become columns of one value; only operations that read columns may use them.
 * Nothing is copied and no result changes. A second way to share a launch is fusion: plan_fuse.c. */
#include <stdio.h>

#include "plan_pass.h"

enum { MAX_STACK = 4 };

bool pum_plan_can_stack(const pum_graph *g, const pum_caps *caps, const pum_placement *weights,
                        pum_value_id above, pum_value_id below)
{
    const pum_value *a = &g->values.data[above], *b = &g->values.data[below];
    uint64_t row_bytes, bytes;
    if (a->dtype != b->dtype || a->cols != b->cols || a->stack || b->stack ||
        b->source != a->source + 1) {
        return false;
    }
    const pum_piece *p = pum_placement_only_piece(weights, a->source);
    const pum_piece *q = pum_placement_only_piece(weights, b->source);
    return p && q && p->buffer == q->buffer &&
           pum_dtype_device_row_bytes(a->dtype, a->cols, &row_bytes) &&
           pum_mul_u64(row_bytes, a->rows, &bytes) && p->offset_bytes + bytes == q->offset_bytes &&
           bytes + q->size_bytes <= caps->max_buffer_range_bytes;
}

/* One row each: biases stack along their columns. */
static bool can_stack_bias(const pum_graph *g, const pum_placement *weights, pum_value_id above,
                           pum_value_id below)
{
    if (above < 0 || below < 0) return above < 0 && below < 0;
    const pum_value *a = &g->values.data[above], *b = &g->values.data[below];
    if (a->kind != PUM_VALUE_WEIGHT || b->kind != PUM_VALUE_WEIGHT || b->source != a->source + 1)
        return false;
    const pum_piece *p = pum_placement_only_piece(weights, a->source);
    const pum_piece *q = pum_placement_only_piece(weights, b->source);
    return p && q && p->buffer == q->buffer && p->offset_bytes + 4 * a->cols == q->offset_bytes;
}

static bool reads_columns(const pum_node *n, uint32_t input)
{
    switch (n->op) {
    case PUM_OP_ROPE:
        return input == PUM_IN_ROPE_X;
    case PUM_OP_ROPE_KV:
        return input <= PUM_IN_ROPE_KV_V;
    case PUM_OP_KV_STORE:
        return input <= PUM_IN_KV_V;
    case PUM_OP_ATTENTION:
        return input == PUM_IN_ATTN_Q;
    default:
        return false;
    }
}

/* Everyone who reads the value can read it as columns. */
static bool all_read_columns(const pum_graph *g, pum_value_id value)
{
    for (size_t i = 0; i < g->nodes.count; i++) {
        const pum_node *n = &g->nodes.data[i];
        for (uint32_t k = 0; k < pum_op_inputs(n->op); k++) {
            if (n->in[k] == value && !reads_columns(n, k)) return false;
        }
    }
    return true;
}

static bool is_plain(const pum_node *n)
{
    return n->op == PUM_OP_MATMUL && n->in[PUM_IN_MATMUL_RES] < 0 && n->params.act == ACT_NONE;
}

/* The matrices of nodes `first` to `last` of a stack, bound as one range, are within the limit. */
static bool range_fits(const pum_graph *g, const pum_caps *caps, const pum_placement *weights,
                       const pum_node *first, const pum_node *last)
{
    const pum_value *a = &g->values.data[first->in[PUM_IN_MATMUL_W]];
    const pum_value *b = &g->values.data[last->in[PUM_IN_MATMUL_W]];
    const pum_piece *p = pum_placement_only_piece(weights, a->source);
    const pum_piece *q = pum_placement_only_piece(weights, b->source);
    return q->offset_bytes + q->size_bytes - p->offset_bytes <= caps->max_buffer_range_bytes;
}

/* A node that may stand below `above` in the stack that begins with `top`, behind it in the graph;
 * -1 if there is none. */
static int32_t find_next(const pum_graph *g, const pum_caps *caps, const pum_placement *weights,
                         const pum_node *top, int32_t above)
{
    const pum_node *a = &g->nodes.data[above];
    for (size_t i = (size_t)above + 1; i < g->nodes.count; i++) {
        const pum_node *n = &g->nodes.data[i];
        if (n->layer != a->layer) break;
        if (is_plain(n) && n->in[PUM_IN_MATMUL_X] == a->in[PUM_IN_MATMUL_X] &&
            n->params.scale == a->params.scale &&
            g->values.data[n->out].kind == PUM_VALUE_ACT && all_read_columns(g, n->out) &&
            pum_plan_can_stack(g, caps, weights, a->in[PUM_IN_MATMUL_W], n->in[PUM_IN_MATMUL_W]) &&
            can_stack_bias(g, weights, a->in[PUM_IN_MATMUL_BIAS], n->in[PUM_IN_MATMUL_BIAS]) &&
            range_fits(g, caps, weights, top, n)) {
            return (int32_t)i;
        }
    }
    return -1;
}

pum_value_id pum_plan_stack_weight(pum_graph *g, pum_value_id first, uint32_t count, uint64_t rows,
                                   uint64_t cols)
{
    const pum_value *v = &g->values.data[first];
    char name[sizeof v->name];
    snprintf(name, sizeof name, "%s", v->name);
    pum_value_id id =
        pum_graph_value(g, PUM_VALUE_WEIGHT, v->dtype, rows, cols, v->source, name);
    if (id >= 0) g->values.data[id].stack = count;
    return id;
}

static bool stack_nodes(pum_graph *g, const int32_t *node, uint32_t count)
{
    pum_node merged = g->nodes.data[node[0]];
    pum_value_id first_bias = merged.in[PUM_IN_MATMUL_BIAS];
    uint64_t cols = 0, rows = g->values.data[merged.out].rows;
    char name[48];
    snprintf(name, sizeof name, "%.40s+%u", g->values.data[merged.out].name, count - 1);
    for (uint32_t i = 0; i < count; i++) cols += g->values.data[g->nodes.data[node[i]].out].cols;
    uint64_t inner = g->values.data[merged.in[PUM_IN_MATMUL_W]].cols;
    merged.in[PUM_IN_MATMUL_W] =
        pum_plan_stack_weight(g, merged.in[PUM_IN_MATMUL_W], count, cols, inner);
    if (first_bias >= 0) {
        merged.in[PUM_IN_MATMUL_BIAS] = pum_plan_stack_weight(g, first_bias, count, 1, cols);
    }
    merged.out = pum_graph_value(g, PUM_VALUE_ACT, PUM_DTYPE_F32, rows, cols, -1, name);
    if (g->failed) return false;
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        pum_value *v = &g->values.data[g->nodes.data[node[i]].out];
        v->base = merged.out;
        v->first = at;
        at += (uint32_t)v->cols;
        if (i) g->nodes.data[node[i]].op = PUM_OP_COUNT; /* taken away by the caller */
    }
    g->nodes.data[node[0]] = merged;
    return true;
}

pumice_status pum_plan_stack(pum_graph *g, const pum_caps *caps, const pum_placement *weights,
                             uint32_t *io_fused, pumice_error *err)
{
    for (size_t i = 0; i < g->nodes.count; i++) {
        const pum_node *n = &g->nodes.data[i];
        if (!is_plain(n) || g->values.data[n->out].kind != PUM_VALUE_ACT ||
            !all_read_columns(g, n->out)) {
            continue;
        }
        int32_t node[MAX_STACK] = { (int32_t)i };
        uint32_t count = 1;
        while (count < MAX_STACK) {
            node[count] = find_next(g, caps, weights, n, node[count - 1]);
            if (node[count] < 0) break;
            count++;
        }
        if (count < 2) continue;
        if (!stack_nodes(g, node, count))
            return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
        ++*io_fused;
    }
    size_t kept = 0;
    for (size_t i = 0; i < g->nodes.count; i++) {
        if (g->nodes.data[i].op != PUM_OP_COUNT) g->nodes.data[kept++] = g->nodes.data[i];
    }
    g->nodes.count = kept;
    return PUMICE_OK;
}
