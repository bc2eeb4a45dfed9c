/* SPDX-License-Identifier: Apache-2.0
 * What builders of graphs share: values made once, nodes with the shapes and names that the block
 * at hand gives them. Each function appends plain operations and returns the value that came out;
 * out of memory is the graph's sticky `failed`, so nothing here can fail. Not thread-safe: one
 * builder belongs to one call. */
#ifndef PUM_BUILDER_H
#define PUM_BUILDER_H

#include "arch.h"

typedef struct pum_builder {
    const pum_model_def *def;
    const pum_hparams *hp;
    const pum_build *build;
    pum_graph *graph;
    pum_value_id *weights; /* value of each weight, 0 = not made yet (0 is the step buffer) */
    uint64_t rows;         /* of the hidden state: batch rows, later those that have logits */
    const pum_layer *layers; /* of the stack at hand, */
    const char *stack;     /* and what its names begin with: "", "enc." or "dec." */
    uint32_t first;        /* number of layers[0] in the whole model */
    int32_t layer;         /* that of the layer at hand; -1 outside the layers */
} pum_builder;

/* The layer at hand. */
static inline const pum_layer *pum_build_layer(const pum_builder *b)
{
    return &b->layers[(uint32_t)b->layer - b->first];
}

pumice_status pum_builder_begin(const pum_model_def *def, const pum_build *build, pum_graph *graph,
                                pum_builder *out_builder, pumice_error *err);
/* Also reports what failed in between. */
pumice_status pum_builder_end(pum_builder *b, pumice_error *err);

/* The value of a weight; index < 0 gives PUM_NO_VALUE. */
pum_value_id pum_build_weight(pum_builder *b, int32_t index);
/* This layer's cache of K or V. */
pum_value_id pum_build_cache(pum_builder *b, bool is_v);
/* The cache number `cache`, two KV values each, with the heads of b->hp. */
pum_value_id pum_build_cache_at(pum_builder *b, int32_t cache, bool is_v);
/* A node with up to four inputs, absent ones PUM_NO_VALUE, whose output has b->rows rows. */
pum_value_id pum_build_node(pum_builder *b, pum_op op, const pum_value_id in[4], pum_params params,
                            uint64_t cols, const char *what);
/* b->rows x (rows of the table w): row ROW_TOKEN or ROW_POS of it, times scale. */
pum_value_id pum_build_embed(pum_builder *b, int32_t w, uint32_t field, float scale,
                             const char *what);
/* Of whole rows; x itself where the model has no such norm (w < 0, unless norms are bare). */
pum_value_id pum_build_norm(pum_builder *b, pum_value_id x, int32_t w, int32_t bias,
                            const char *what);
/* Of q or k, `heads` heads a row, by hp.qk_norm; x itself if w < 0. */
pum_value_id pum_build_head_norm(pum_builder *b, pum_value_id x, uint32_t heads, int32_t w,
                                 const char *what);
/* x itself if w < 0. */
pum_value_id pum_build_matmul(pum_builder *b, pum_value_id x, int32_t w, int32_t bias,
                              const char *what);
/* scale * x + y */
pum_value_id pum_build_add(pum_builder *b, pum_value_id x, pum_value_id y, float scale,
                           const char *what);
/* x cut to [-limit, limit]; x itself if limit is 0. */
pum_value_id pum_build_clamp(pum_builder *b, pum_value_id x, float limit, const char *what);
/* By the layer's table; x itself if the layer does not rotate. */
pum_value_id pum_build_rope(pum_builder *b, pum_value_id x, uint32_t heads, const char *what);
/* Takes the rows that slots name. b->rows stays: the caller sets it after its last gather. */
pum_value_id pum_build_gather(pum_builder *b, pum_value_id x, const char *what);
/* down(act(gate h) * up h), or the mixture of experts that the layer has instead (build_moe.c). */
pum_value_id pum_build_mlp(pum_builder *b, pum_value_id h);
pum_value_id pum_build_moe(pum_builder *b, pum_value_id h);

/* Parts of a model (part.h): the rows that another part made, and those that another goes on with. */
pum_value_id pum_build_rows_in(pum_builder *b);
void pum_build_rows_out(pum_builder *b, pum_value_id x);

/* The logits of x, whose rows are b->rows, into the value `logits`: matrix, scale and cap. */
void pum_build_logits(pum_builder *b, pum_value_id x, pum_value_id logits);
/* The logits value of the pass, PUM_NO_VALUE if it has none; and the sampler after it. */
pum_value_id pum_build_logits_value(pum_builder *b);
void pum_build_sampler(pum_builder *b, pum_value_id logits);

#endif
