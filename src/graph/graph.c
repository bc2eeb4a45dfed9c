/* SPDX-License-Identifier: Apache-2.0
 * Building and describing graphs. What an operation's shapes must be is op/'s business; this file
 * knows only that values exist, that nodes come in execution order and that activations are written
 * once. */
#include "graph.h"

#include <stdio.h>
#include <string.h>

#include "args.h"

static const struct {
    const char *name;
    uint8_t inputs;
    bool fused;
} ops[PUM_OP_COUNT] = {
#define PUM_OP(id, name, inputs, fused) [PUM_OP_##id] = { name, inputs, fused },
#include "op.def"
#undef PUM_OP
};

const char *pum_op_name(pum_op op) { return (unsigned)op < PUM_OP_COUNT ? ops[op].name : "?"; }

uint32_t pum_op_inputs(pum_op op) { return (unsigned)op < PUM_OP_COUNT ? ops[op].inputs : 0; }

bool pum_op_is_fused(pum_op op) { return (unsigned)op < PUM_OP_COUNT && ops[op].fused; }

pum_step_layout pum_step_layout_make(uint32_t rows, uint32_t slots, uint32_t sequences,
                                     uint32_t n_ctx_cells)
{
    pum_step_layout s = { .rows = rows, .slots = slots, .sequences = sequences };
    s.pages_per_sequence = (uint32_t)pum_ceil_div(n_ctx_cells, KV_PAGE);
    s.slot_at = STEP_ROWS_AT + rows * STEP_ROW_WORDS;
    s.table_at = s.slot_at + slots * STEP_SLOT_WORDS;
    s.table_stride = s.pages_per_sequence;
    s.words = (uint32_t)pum_align_up(s.table_at + sequences * s.table_stride, 64);
    return s;
}

void pum_graph_init(pum_graph *graph, uint32_t rows, const pum_step_layout *step)
{
    *graph = (pum_graph){ .rows = rows, .step = *step, .codebooks = PUM_NO_VALUE };
    graph->step_value =
        pum_graph_value(graph, PUM_VALUE_STEP, PUM_DTYPE_I32, 1, step->words, 0, "step");
}

void pum_graph_free(pum_graph *graph)
{
    pum_array_free(&graph->values);
    pum_array_free(&graph->nodes);
    *graph = (pum_graph){ 0 };
}

bool pum_graph_copy(const pum_graph *graph, pum_graph *out_copy)
{
    pum_graph g = *graph;
    g.values.data = NULL;
    g.nodes.data = NULL;
    g.values.count = g.values.capacity = g.nodes.count = g.nodes.capacity = 0;
    bool ok = pum_array_reserve(&g.values, graph->values.count) && pum_array_reserve(&g.nodes, graph->nodes.count);
    for (size_t i = 0; ok && i < graph->values.count; i++) ok = pum_array_push(&g.values, graph->values.data[i]);
    for (size_t i = 0; ok && i < graph->nodes.count; i++) ok = pum_array_push(&g.nodes, graph->nodes.data[i]);
    if (!ok) pum_graph_free(&g);
    *out_copy = g;
    return ok;
}

pum_value_id pum_graph_value(pum_graph *graph, pum_value_kind kind, pum_dtype dtype, uint64_t rows,
                             uint64_t cols, int32_t source, const char *name)
{
    pum_value v = { .kind = kind, .dtype = dtype, .rows = rows, .cols = cols, .source = source };
    snprintf(v.name, sizeof v.name, "%s", name);
    if (!pum_array_push(&graph->values, v)) {
        graph->failed = true;
        return PUM_NO_VALUE;
    }
    return (pum_value_id)(graph->values.count - 1);
}

pum_value_id pum_graph_node(pum_graph *graph, pum_node node, uint64_t rows, uint64_t cols,
                            const char *name)
{
    bool has_output =
        node.op != PUM_OP_KV_STORE && node.op != PUM_OP_ARGMAX && node.op != PUM_OP_SAMPLE &&
        node.op != PUM_OP_SCORE;
    if (!has_output) node.out = PUM_NO_VALUE;
    else if (node.out <= 0) {
        /* value 0 is the step buffer, so a zero-initialised node asks for a new value as well as -1
         * does */
        node.out = pum_graph_value(graph, PUM_VALUE_ACT, PUM_DTYPE_F32, rows, cols, -1, name);
    }
    for (uint32_t i = ops[node.op].inputs; i < PUM_MAX_INPUTS; i++) node.in[i] = PUM_NO_VALUE;
    if (!pum_array_push(&graph->nodes, node)) graph->failed = true;
    return node.out;
}

static pumice_status check_node(const pum_graph *g, size_t index, bool *written, pumice_error *err)
{
    const pum_node *n = &g->nodes.data[index];
    const char *name = pum_op_name(n->op);
    int32_t count = (int32_t)g->values.count;
    if ((unsigned)n->op >= PUM_OP_COUNT) {
        return pum_fail(err, PUMICE_ERROR_INTERNAL, "node %zu has no such op", index);
    }
    for (uint32_t i = 0; i < ops[n->op].inputs; i++) {
        pum_value_id v = n->in[i];
        if (v < PUM_NO_VALUE || v >= count) {
            return pum_fail(err, PUMICE_ERROR_INTERNAL, "node %zu (%s): input %u is no value",
                            index, name, i);
        }
        if (v != PUM_NO_VALUE && g->values.data[v].base) v = g->values.data[v].base;
        if (v != PUM_NO_VALUE && g->values.data[v].kind == PUM_VALUE_ACT && !written[v]) {
            return pum_fail(err, PUMICE_ERROR_INTERNAL,
                            "node %zu (%s) reads '%s' before it is written", index, name,
                            g->values.data[v].name);
        }
    }
    if (n->out == PUM_NO_VALUE) return PUMICE_OK;
    if (n->out < 0 || n->out >= count) {
        return pum_fail(err, PUMICE_ERROR_INTERNAL, "node %zu (%s): output is no value", index,
                        name);
    }
    const pum_value *out = &g->values.data[n->out];
    if (out->kind != PUM_VALUE_ACT && out->kind != PUM_VALUE_LOGITS) {
        return pum_fail(err, PUMICE_ERROR_INTERNAL,
                        "node %zu (%s) writes '%s', which is neither an activation "
                        "nor the logits",
                        index, name, out->name);
    }
    if (out->kind == PUM_VALUE_ACT && written[n->out]) {
        return pum_fail(err, PUMICE_ERROR_INTERNAL, "node %zu (%s) writes '%s' a second time",
                        index, name, out->name);
    }
    written[n->out] = true;
    return PUMICE_OK;
}

pumice_status pum_graph_check(const pum_graph *graph, pumice_error *err)
{
    if (graph->failed)
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to build the graph");
    for (size_t i = 0; i < graph->values.count; i++) {
        const pum_value *v = &graph->values.data[i];
        if (v->rows == 0 || v->cols == 0 || !pum_dtype_get(v->dtype)) {
            return pum_fail(err, PUMICE_ERROR_INTERNAL, "value '%s' is empty or has no type",
                            v->name);
        }
    }
    bool *written = pum_alloc_array(graph->values.count, sizeof *written);
    if (!written) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to check the graph");
    pumice_status status = PUMICE_OK;
    for (size_t i = 0; i < graph->nodes.count && status == PUMICE_OK; i++) {
        status = check_node(graph, i, written, err);
    }
    pum_free(written);
    return status;
}

void pum_graph_dump(const pum_graph *graph, pum_text *out)
{
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const pum_node *n = &graph->nodes.data[i];
        pum_text_printf(out, "%4zu %-12s", i, pum_op_name(n->op));
        for (uint32_t k = 0; k < ops[n->op].inputs; k++) {
            pum_text_printf(out, " %s", n->in[k] < 0 ? "-" : graph->values.data[n->in[k]].name);
        }
        if (n->out >= 0) {
            const pum_value *v = &graph->values.data[n->out];
            pum_text_printf(out, " -> %s [%llu x %llu]", v->name, (unsigned long long)v->rows,
                            (unsigned long long)v->cols);
        }
        pum_text_printf(out, "\n");
    }
}
