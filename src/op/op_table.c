/* SPDX-License-Identifier: Apache-2.0
 * The table of operations and what their files share: kernel look-up, drafts, shape messages. */
#include "op.h"

#include <stdio.h>
#include <string.h>

#define ROW(x)                                                                                     \
    {                                                                                              \
        pum_op_##x##_check, pum_op_##x##_select                                                    \
    }
static const pum_op_info infos[PUM_OP_COUNT] = {
    [PUM_OP_EMBED] = ROW(embed),     [PUM_OP_NORM] = ROW(norm),
    [PUM_OP_EMBED_NORM] = ROW(embed_norm), [PUM_OP_MATMUL_NORM] = ROW(matmul_norm),
    [PUM_OP_MATMUL] = ROW(matmul),   [PUM_OP_MATMUL_GLU] = ROW(matmul_glu),
    [PUM_OP_ROPE] = ROW(rope),       [PUM_OP_KV_STORE] = ROW(kv_store),
    [PUM_OP_ROPE_KV] = ROW(rope_kv), [PUM_OP_ATTENTION] = ROW(attention),
    [PUM_OP_ACT] = ROW(act),         [PUM_OP_ADD] = ROW(add),
    [PUM_OP_COPY] = ROW(copy),       [PUM_OP_GATHER_ROWS] = ROW(gather_rows),
    [PUM_OP_SOFTMAX] = ROW(softmax), [PUM_OP_ARGMAX] = ROW(argmax),
    [PUM_OP_SAMPLE] = ROW(sample),   [PUM_OP_LIMIT] = ROW(limit),
    [PUM_OP_ROUTE] = ROW(route),     [PUM_OP_EXPERT_GROUP] = ROW(expert_group),
    [PUM_OP_EXPERT_MATMUL] = ROW(expert_matmul), [PUM_OP_EXPERT_SCALE] = ROW(expert_scale),
    [PUM_OP_EXPERT_SUM] = ROW(expert_sum), [PUM_OP_SCORE] = ROW(score),
    [PUM_OP_QUANTIZE] = ROW(quantize),
};

const pum_op_info *pum_op_get(pum_op op) { return (unsigned)op < PUM_OP_COUNT ? &infos[op] : NULL; }

pum_columns pum_select_columns(const pum_select *s, pum_value_id id)
{
    const pum_value *v = pum_select_value(s, id);
    if (!v->base) return (pum_columns){ id, (uint32_t)v->cols, 0 };
    return (pum_columns){ v->base, (uint32_t)pum_select_value(s, v->base)->cols, v->first };
}

pumice_status pum_select_kernel(pum_select *s, uint32_t family, pum_dtype weight,
                                uint32_t *out_kernel)
{
    int kernel = pum_kernel_find(family, weight, s->caps, 0);
    const pum_dtype_info *type = pum_dtype_get(weight);
    if (kernel < 0) {
        pum_caps trusting = *s->caps;
        memset(trusting.distrusted, 0, sizeof trusting.distrusted);
        bool wrong = pum_kernel_find(family, weight, &trusting, 0) >= 0;
        return pum_fail(s->err, PUMICE_ERROR_UNSUPPORTED, "no '%s' kernel%s%s %s on '%s'%s",
                        pum_family_names[family], type ? " for weights of type " : "",
                        type ? type->name : "", wrong ? "computes right" : "runs", s->caps->name,
                        wrong ? " with this version of its driver: update the driver" : "");
    }
    *out_kernel = (uint32_t)kernel;
    return PUMICE_OK;
}

/* "blk.3.ffn_down.weight" -> "ffn_down": labels name the layer themselves */
static void short_name(const char *name, char *out, size_t capacity)
{
    if (strncmp(name, "blk.", 4) == 0) {
        const char *dot = strchr(name + 4, '.');
        if (dot) name = dot + 1;
    }
    snprintf(out, capacity, "%.*s", (int)capacity - 1, name);
    char *weight = strstr(out, ".weight");
    if (weight) *weight = '\0';
}

pum_draft pum_draft_begin(const pum_select *s, uint32_t kernel)
{
    const pum_node *node = &s->graph->nodes.data[s->node];
    pum_draft d = { .kernel = kernel,
                    .node = s->node,
                    .layer = node->layer,
                    .inplace_in = -1,
                    .inplace_out = -1,
                    .grid = { 1, 1, 1 } };
    char what[32] = "";
    bool weighted = node->op == PUM_OP_MATMUL || node->op == PUM_OP_MATMUL_NORM ||
                    node->op == PUM_OP_MATMUL_GLU || node->op == PUM_OP_EMBED || node->op == PUM_OP_EMBED_NORM;
    if (weighted) short_name(pum_select_value(s, node->in[0])->name, what, sizeof what);
    else if (node->out >= 0) short_name(pum_select_value(s, node->out)->name, what, sizeof what);
    if (node->layer >= 0) {
        snprintf(d.label, sizeof d.label, "blk.%d %s %s", (int)node->layer, pum_op_name(node->op),
                 what);
    } else {
        snprintf(d.label, sizeof d.label, "%s %s", pum_op_name(node->op), what);
    }
    size_t n = strlen(d.label);
    if (n && d.label[n - 1] == ' ') d.label[n - 1] = '\0';
    for (int i = 0; i < PUM_MAX_BINDINGS; i++) d.bind[i].value = PUM_NO_VALUE;
    return d;
}

pum_value_id pum_select_scratch(pum_select *s, uint64_t rows, uint64_t cols, const char *name)
{
    pum_value_id id = pum_graph_value(s->graph, PUM_VALUE_ACT, PUM_DTYPE_F32, rows, cols, -1, name);
    if (id == PUM_NO_VALUE) pum_fail(s->err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
    return id;
}

pumice_status pum_draft_emit(pum_select *s, pum_draft *draft, const void *args, size_t args_bytes)
{
    const pum_kernel_info *k = &pum_kernels[draft->kernel];
    if (args_bytes != k->args_bytes) {
        return pum_fail(s->err, PUMICE_ERROR_INTERNAL, "'%s' takes %u bytes of arguments, not %zu",
                        k->name, k->args_bytes, args_bytes);
    }
    for (int i = 0; i < 3; i++) {
        if (draft->grid[i] == 0 || draft->grid[i] > s->caps->max_workgroup_count[i]) {
            return pum_fail(s->err, PUMICE_ERROR_UNSUPPORTED,
                            "'%s' wants %u workgroups in dimension %d, but '%s' "
                            "takes at most %u: use a smaller batch",
                            draft->label, draft->grid[i], i, s->caps->name,
                            s->caps->max_workgroup_count[i]);
        }
    }
    const pum_dtype_info *type = pum_dtype_get((pum_dtype)k->weight);
    if (type && type->codebook >= 0 && s->graph->codebooks >= 0) { /* the last binding: see gen_kernels.py */
        pum_value_id codebooks = s->graph->codebooks;
        draft->bind[k->n_bindings - 1] =
            (pum_draft_binding){ codebooks, pum_select_piece(s, codebooks, 0).piece };
    }
    memcpy(draft->args, args, args_bytes);
    if (!pum_array_push(&s->drafts, *draft)) {
        return pum_fail(s->err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
    }
    return PUMICE_OK;
}

bool pum_value_is(const pum_graph *graph, pum_value_id id, uint64_t rows, uint64_t cols)
{
    return id >= 0 && graph->values.data[id].rows == rows && graph->values.data[id].cols == cols;
}

pumice_status pum_shape_fail(const pum_graph *graph, const pum_node *node, const char *what,
                             pumice_error *err)
{
    const char *out = node->out >= 0 ? graph->values.data[node->out].name : "";
    return pum_fail(err, PUMICE_ERROR_INTERNAL, "%s '%s': %s", pum_op_name(node->op), out, what);
}
