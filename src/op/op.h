/* SPDX-License-Identifier: Apache-2.0
 * What the planner asks of an operation: is its shape right, and which dispatches compute it on
 * this device. "Is it supported?" is "does select emit something?": there is no second list. An op
 * names values, never memory offsets, and emits no barriers. One file per op or group of small ops.
 * Pure. */
#ifndef PUM_OP_H
#define PUM_OP_H

#include "args.h"
#include "caps.h"
#include "graph.h"
#include "kernel.h"
#include "tuning.h"

/* A binding of a draft: a value, or one piece of a large weight. */
typedef struct pum_draft_binding {
    pum_value_id value;
    uint32_t piece; /* of weights: index from pum_select_piece */
} pum_draft_binding;

/* A dispatch before memory is assigned. */
typedef struct pum_draft {
    uint32_t kernel;
    uint32_t spec[PUM_MAX_SPEC];
    uint32_t grid[3];
    pum_draft_binding bind[PUM_MAX_BINDINGS];
    uint8_t args[PUM_MAX_ARGS_BYTES];
    int32_t node, layer;
    char label[56];
    uint64_t bytes, flops;
    int8_t inplace_in,
        inplace_out; /* binding `out` may be the same memory as binding `in` (when the value of
                        `in` dies here and sizes are equal); -1 = not allowed */
} pum_draft;

/* One piece of a weight as the placement cut it: rows [first, first + count). */
typedef struct pum_select_rows {
    uint32_t piece;
    uint64_t first, count;
} pum_select_rows;

struct pum_placement;

/* The context of selection; ops read it and call the functions below. */
typedef struct pum_select {
    pum_graph *graph; /* ops read it, and add values by pum_select_scratch alone */
    const pum_caps *caps;
    const pum_tuning *tuning;
    const struct pum_placement *weights;
    PUM_ARRAY(pum_draft) drafts;
    int32_t node; /* being selected */
    pumice_error *err;
} pum_select;

/* Number of pieces of a weight value, and the i-th (plan_place.c). */
uint32_t pum_select_pieces(const pum_select *s, pum_value_id weight);
pum_select_rows pum_select_piece(const pum_select *s, pum_value_id weight, uint32_t index);

/* Where the columns of an activation lie: in itself, or among those of a wider value. */
typedef struct pum_columns {
    pum_value_id value; /* to bind */
    uint32_t stride, first;
} pum_columns;
pum_columns pum_select_columns(const pum_select *s, pum_value_id id);

/* Finds the best kernel of a family or fails with a sentence that names the op, the type and the
 * device. */
pumice_status pum_select_kernel(pum_select *s, uint32_t family, pum_dtype weight,
                                uint32_t *out_kernel);
/* Is there a kernel that multiplies x by gate and up in one, if up's matrix lies behind the gate's? */
bool pum_op_matmul_can_glu(const pum_caps *caps, const pum_tuning *tuning, const pum_value *gate,
                           const pum_value *x);
/* Is the product better computed with x (F32) rounded to 8 bits, as far as the device is concerned? */
bool pum_op_matmul_wants_q8(const pum_caps *caps, const pum_tuning *tuning, const pum_value *w,
                            const pum_value *x);
/* Can the norm write its result in 8 bits, instead of a step of its own? */
bool pum_op_norm_can_q8(const pum_caps *caps, const pum_node *node);
/* Columns of y over which a mat-vec of w x adds up squares when it begins the norm behind it (pum_args_matmul); 0 if
 * the product is computed another way, which neither begins nor ends norms. */
uint32_t pum_op_matmul_norm_cols(const pum_caps *caps, const pum_tuning *tuning, const pum_value *w,
                                 uint64_t piece_rows, const pum_value *x);
/* Columns of such a y: n of its own, n for the norm, the sums. */
uint64_t pum_op_norm_begun_cols(uint64_t n, uint32_t norm_cols);
/* Adds an activation that passes between two drafts of one op. Pointers to values die. PUM_NO_VALUE and a
 * message when out of memory. */
pum_value_id pum_select_scratch(pum_select *s, uint64_t rows, uint64_t cols, const char *name);
/* Starts a draft: kernel, node, layer, label, no in-place. */
pum_draft pum_draft_begin(const pum_select *s, uint32_t kernel);
/* Appends a finished draft, bound to the codebooks if the kernel's format has one; checks grid limits. args must have
 * the kernel's args_bytes. */
pumice_status pum_draft_emit(pum_select *s, pum_draft *draft, const void *args, size_t args_bytes);

/* Bytes of an activation. */
static inline uint64_t pum_act_bytes(const pum_value *v)
{
    uint64_t row_bytes = 0;
    pum_dtype_device_row_bytes(v->dtype, v->cols, &row_bytes);
    return v->rows * row_bytes;
}

static inline const pum_value *pum_select_value(const pum_select *s, pum_value_id id)
{
    return &s->graph->values.data[id];
}

typedef struct pum_op_info {
    pumice_status (*check)(const pum_graph *graph, const pum_node *node, pumice_error *err);
    pumice_status (*select)(pum_select *s, const pum_node *node);
} pum_op_info;

const pum_op_info *pum_op_get(pum_op op);

/* Shape of a value for the checks: true if it is present and rows x cols. */
bool pum_value_is(const pum_graph *graph, pum_value_id id, uint64_t rows, uint64_t cols);
pumice_status pum_shape_fail(const pum_graph *graph, const pum_node *node, const char *what,
                             pumice_error *err);

/* The functions of op_table.c's rows. */
#define PUM_OP_FUNCTIONS(x)                                                                        \
    pumice_status pum_op_##x##_check(const pum_graph *graph, const pum_node *node,                 \
                                     pumice_error *err);                                           \
    pumice_status pum_op_##x##_select(pum_select *s, const pum_node *node)
PUM_OP_FUNCTIONS(embed);
PUM_OP_FUNCTIONS(embed_norm);
PUM_OP_FUNCTIONS(norm);
PUM_OP_FUNCTIONS(quantize);
PUM_OP_FUNCTIONS(matmul);
PUM_OP_FUNCTIONS(matmul_norm);
PUM_OP_FUNCTIONS(matmul_glu);
PUM_OP_FUNCTIONS(rope);
PUM_OP_FUNCTIONS(kv_store);
PUM_OP_FUNCTIONS(rope_kv);
PUM_OP_FUNCTIONS(attention);
PUM_OP_FUNCTIONS(act);
PUM_OP_FUNCTIONS(add);
PUM_OP_FUNCTIONS(limit);
PUM_OP_FUNCTIONS(copy);
PUM_OP_FUNCTIONS(gather_rows);
PUM_OP_FUNCTIONS(softmax);
PUM_OP_FUNCTIONS(route);
PUM_OP_FUNCTIONS(expert_group);
PUM_OP_FUNCTIONS(expert_matmul);
PUM_OP_FUNCTIONS(expert_scale);
PUM_OP_FUNCTIONS(expert_sum);
PUM_OP_FUNCTIONS(argmax);
PUM_OP_FUNCTIONS(sample);
PUM_OP_FUNCTIONS(score);

#endif
