/* SPDX-License-Identifier: Apache-2.0
 * Activations of 8 bits, for those who ask for them: gives the mat-muls that are faster with such an
 * input on the device (op_matmul.c and the tuning table say which) a rounded copy of it. One copy
 * serves all readers; those that need the numbers as they are go on with them. Comes before fusion,
 * which lets a norm write its result rounded. */
#include <stdio.h>

#include "plan_pass.h"

/* The rounded copy of a value, made by a node that is put behind those so far. */
static pum_value_id round_value(pum_graph *g, pum_value_id x, int32_t layer)
{
    const pum_value *v = &g->values.data[x];
    uint64_t rows = v->rows, cols = v->cols;
    char name[sizeof v->name];
    snprintf(name, sizeof name, "%.40s.q8", v->name);
    pum_value_id q = pum_graph_value(g, PUM_VALUE_ACT, PUM_DTYPE_Q8_A, rows, cols, -1, name);
    pum_node node = { .op = PUM_OP_QUANTIZE, .in = { x }, .out = q, .layer = layer };
    return q == PUM_NO_VALUE ? q : pum_graph_node(g, node, rows, cols, name);
}

pumice_status pum_plan_quantize(const pum_graph *graph, const pum_caps *caps, const pum_tuning *tuning,
                                pum_graph *out_graph, pumice_error *err)
{
    pum_graph g;
    bool ok = pum_graph_copy(graph, &g);
    pum_value_id *rounded = pum_alloc_array(graph->values.count, sizeof *rounded); /* 0: none yet */
    ok = ok && rounded;
    g.nodes.count = 0;
    for (size_t i = 0; ok && i < graph->nodes.count; i++) {
        pum_node n = graph->nodes.data[i];
        pum_value_id x = n.op == PUM_OP_MATMUL ? n.in[PUM_IN_MATMUL_X] : PUM_NO_VALUE;
        if (x >= 0 && graph->values.data[x].kind == PUM_VALUE_ACT &&
            pum_op_matmul_wants_q8(caps, tuning, &graph->values.data[n.in[PUM_IN_MATMUL_W]],
                                   &graph->values.data[x])) {
            if (!rounded[x]) rounded[x] = round_value(&g, x, n.layer);
            n.in[PUM_IN_MATMUL_X] = rounded[x];
        }
        ok = !g.failed && pum_array_push(&g.nodes, n);
    }
    pum_free(rounded);
    if (!ok) {
        pum_graph_free(&g);
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
    }
    *out_graph = g;
    return PUMICE_OK;
}
