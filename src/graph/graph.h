/* SPDX-License-Identifier: Apache-2.0
 * A graph says what to compute: nodes (operations) over values (2-D arrays), in execution order. No
 * device, no kernels, no models. Built by model/, read by plan/. One graph is one pass over a fixed
 * number of batch rows; everything that changes from token to token is in the step buffer
 * (shaders/args.h) and not here. */
#ifndef PUM_GRAPH_H
#define PUM_GRAPH_H

#include "dtype.h"

typedef int32_t pum_value_id; /* index into graph->values; PUM_NO_VALUE = absent */
#define PUM_NO_VALUE (-1)

typedef enum pum_value_kind {
    PUM_VALUE_ACT,    /* activation, F32 or (made by plan_quantize.c) Q8_A: lives in the plan's arena */
    PUM_VALUE_WEIGHT, /* model tensor or constant: source = tensor index of the model's weight list
                       */
    PUM_VALUE_KV,     /* one layer's K or V cache: source = 2 * layer + (0 for K, 1 for V) */
    PUM_VALUE_STEP,   /* the step buffer; exactly one per graph */
    PUM_VALUE_LOGITS, /* f32 [slots x vocabulary], lives in the session across plans; at most one. Of a
                         part of a model that others go on with: [rows x n_embd] that they take */
    PUM_VALUE_HIDDEN  /* f32 [rows x n_embd] that another part of the model made; read only; at most one */
} pum_value_kind;

typedef struct pum_value {
    pum_value_kind kind;
    pum_dtype dtype;
    uint64_t rows, cols; /* cols are contiguous */
    int32_t source;
    uint32_t stack;    /* weights: tensors [source, source + stack), which lie one behind the other and are
                          bound as one; 0 = source alone. Made by plan_fuse.c */
    pum_value_id base; /* activations: 0, or the value whose columns [first, first + cols) these are; */
    uint32_t first;    /* made by plan_fuse.c; ops that may read such a value use pum_select_columns */
    char name[48];
} pum_value;

typedef enum pum_op {
#define PUM_OP(id, name, inputs, fused) PUM_OP_##id,
#include "op.def"
#undef PUM_OP
    PUM_OP_COUNT
} pum_op;

/* Inputs by position, per op. */
enum {
    PUM_IN_EMBED_TABLE = 0,
    PUM_IN_EMBED_NORM = 1, /* embed_norm: weights of the norm that is begun */
    PUM_IN_NORM_X = 0,
    PUM_IN_NORM_W = 1,
    PUM_IN_NORM_B = 2, /* w, b may be absent */
    PUM_IN_MATMUL_W = 0,
    PUM_IN_MATMUL_X = 1,
    PUM_IN_MATMUL_BIAS = 2,
    PUM_IN_MATMUL_RES = 3,
    PUM_IN_MATMUL_NORM = 4, /* matmul_norm: as for embed */
    PUM_IN_GLU_W = 0, /* rows of the gate, then as many of up */
    PUM_IN_GLU_X = 1,
    PUM_IN_ROPE_X = 0,
    PUM_IN_ROPE_FREQ = 1,
    PUM_IN_KV_K = 0,
    PUM_IN_KV_V = 1,
    PUM_IN_KV_KC = 2,
    PUM_IN_KV_VC = 3, /* caches are written */
    PUM_IN_ROPE_KV_Q = 0,
    PUM_IN_ROPE_KV_K = 1,
    PUM_IN_ROPE_KV_V = 2,
    PUM_IN_ROPE_KV_FREQ = 3,
    PUM_IN_ROPE_KV_KC = 4,
    PUM_IN_ROPE_KV_VC = 5,
    PUM_IN_ATTN_Q = 0,
    PUM_IN_ATTN_KC = 1,
    PUM_IN_ATTN_VC = 2,
    PUM_IN_ATTN_BIAS = 3, /* f32 weight [heads x 2 bias_max + 1] by key cell - query cell, may be absent */
    PUM_IN_ACT_GATE = 0,
    PUM_IN_ACT_UP = 1, /* up absent: ungated */
    PUM_IN_ADD_A = 0,
    PUM_IN_ADD_B = 1,
    PUM_IN_EXPERT_W = 0,
    PUM_IN_EXPERT_X = 1,
    PUM_IN_EXPERT_ROUTE = 2,
    PUM_IN_EXPERT_GROUP = 3, /* of expert_group: read where there are many rows */
    PUM_IN_SCALE_X = 0,
    PUM_IN_SCALE_ROUTE = 1,
    PUM_IN_SCALE_BY = 2,     /* a number for each expert */
    PUM_IN_SUM_X = 0,
    PUM_IN_SUM_ROUTE = 1,
    PUM_IN_SUM_SHARED = 2,
    PUM_IN_SUM_GATE = 3, /* both or none */
    PUM_IN_X = 0,
    PUM_MAX_INPUTS = 8
};

/* Parameters: one flat struct; each op reads its own fields. */
typedef struct pum_params {
    uint32_t heads, kv_heads, head_dim, rot_dim; /* norm: heads > 1 = each of them by itself */
    uint32_t pairing;      /* ROPE_* (args.h) */
    uint32_t norm;         /* NORM_RMS or NORM_LAYER */
    uint32_t act;          /* ACT_* */
    uint32_t window;       /* attention: 0 = none */
    uint32_t one_sequence; /* attention: all rows belong to one sequence, in order (prefill) */
    uint32_t cross;        /* attention: over the cells of ROW_SEQ2, ROW_LO2, ROW_HI2 (an encoder's) */
    float eps, w_add;      /* norm; eps also of products that end x's */
    uint32_t x_sums;       /* matmul, matmul_norm, matmul_glu: x's norm is ended here, from so many sums (args.h) */
    float scale;           /* embed, rope, attention scores, softmax, add; of matmul 0 is none */
    float softcap, alibi_max, alibi_scale;
    float clamp;        /* limit: cut to [-clamp, clamp]; 0 = not */
    uint32_t rows;      /* limit: the first rows of the input; 0 = all. score: the batch rows */
    uint32_t experts, experts_used; /* mixtures of experts */
    uint32_t renorm;                /* route: chosen weights are scaled to sum 1 */
    uint32_t row_field; /* embed: ROW_TOKEN or ROW_POS (args.h) */
    uint32_t bias_max; /* attention: farther cells have the bias of this distance */
    uint32_t slots; /* argmax, sample: how many slots, from slot 0, choose a token */
} pum_params;

typedef struct pum_node {
    pum_op op;
    pum_value_id in[PUM_MAX_INPUTS];
    pum_value_id out; /* PUM_NO_VALUE for KV_STORE, ARGMAX, SAMPLE and SCORE */
    pum_params params;
    int32_t layer; /* -1 outside the layers */
} pum_node;

/* Where the parts of the step buffer begin, in words (args.h); fixed for a session. */
typedef struct pum_step_layout {
    uint32_t rows, slots, sequences, pages_per_sequence; /* capacities */
    uint32_t slot_at, table_at, table_stride, words;
} pum_step_layout;
pum_step_layout pum_step_layout_make(uint32_t rows, uint32_t slots, uint32_t sequences,
                                     uint32_t n_ctx_cells);

/* Columns of a KV value: head_dim, filled up to whole groups of 8 (args.h). */
static inline uint64_t pum_kv_cols(uint32_t head_dim) { return ((uint64_t)head_dim + 7) / 8 * 8; }

typedef struct pum_graph {
    PUM_ARRAY(pum_value) values;
    PUM_ARRAY(pum_node) nodes;
    pum_step_layout step;
    pum_value_id step_value; /* made by pum_graph_init */
    pum_value_id codebooks;  /* weight: pum_codebooks, for kernels of the formats that have one; else PUM_NO_VALUE */
    uint32_t rows;           /* batch rows */
    bool failed;             /* out of memory while building: sticky */
} pum_graph;

void pum_graph_init(pum_graph *graph, uint32_t rows, const pum_step_layout *step);
void pum_graph_free(pum_graph *graph);
/* A copy of its own memory; false when there is none. */
bool pum_graph_copy(const pum_graph *graph, pum_graph *out_copy);

/* Builder. Returns PUM_NO_VALUE and sets graph->failed when out of memory; safe to keep calling
 * then. */
pum_value_id pum_graph_value(pum_graph *graph, pum_value_kind kind, pum_dtype dtype, uint64_t rows,
                             uint64_t cols, int32_t source, const char *name);
/* Appends a node; its output becomes a new ACT value [rows x cols] named `name` unless out is
 * given. */
pum_value_id pum_graph_node(pum_graph *graph, pum_node node, uint64_t rows, uint64_t cols,
                            const char *name);

const char *pum_op_name(pum_op op);
uint32_t pum_op_inputs(pum_op op);
bool pum_op_is_fused(pum_op op);

/* Checks structure: ids in range, kinds and shapes as each op wants, every ACT written before it is
 * read. */
pumice_status pum_graph_check(const pum_graph *graph, pumice_error *err);
/* Stable text, one line a node. */
void pum_graph_dump(const pum_graph *graph, pum_text *out);

#endif
