/* SPDX-License-Identifier: Apache-2.0
 * Which type each tensor of a model gets when it is quantized: the mixes that the field's tools
 * make under the same names, so that files of both are alike. Pure; thread-safe. */
#ifndef PUM_QUANT_MIX_H
#define PUM_QUANT_MIX_H

#include "model.h"

/* A row of quant_mix.c's table: a name such as "Q4_K_M" and what it stands for. */
typedef struct pum_quant_mix {
    const char *name;
    uint32_t file_type;  /* general.file_type */
    pum_dtype base;      /* of most matrices */
    pum_dtype head;      /* of the output matrix (or the embedding table it is tied to) */
    pum_dtype better;    /* of some attn_v and ffn_down; = base: of none */
    bool better_by_turn; /* true: the first and last eighth of the layers and every third between;
                            false: the first eighth (ffn_down) or four (attn_v) */
    pum_dtype qkv;       /* of q, k and v in one matrix */
} pum_quant_mix;

/* By name, ignoring case; NULL if there is none. */
const pum_quant_mix *pum_quant_mix_find(const char *name);
/* "F16, BF16, Q4_0, ..."; without F32, which rounds nothing, unless it is asked for. */
void pum_quant_mix_names(bool with_f32, char *out, size_t capacity);

/* What decides about a tensor besides its name and shape. */
typedef struct pum_quant_model {
    uint32_t n_layers, n_experts;
    bool has_output; /* a matrix "output.weight"; else the embedding table is it */
} pum_quant_model;
pum_quant_model pum_quant_model_of(const pum_gguf *gguf);

/* True for what is never quantized: all but matrices "*.weight", and of these norms, learned
 * positions, expert routers and the like. */
bool pum_quant_mix_keeps(pum_str name, uint32_t n_dims);

/* The type a tensor gets; `type` itself if it is to stay (only F32 is everything's). Where rows are
 * no whole number of blocks, *out_fallback is set and the next format with smaller blocks is
 * taken. */
pum_dtype pum_quant_mix_choose(const pum_quant_mix *mix, const pum_quant_model *model, pum_str name,
                               uint32_t n_dims, uint64_t cols, pum_dtype type, bool *out_fallback);

/* Gives the matrices of a model that is about to be loaded the types that a mix gives them: their
 * rows are rounded on the way to the device. `type` is a mix's name, none of F32. Fails with INVALID
 * for another, with UNSUPPORTED if a matrix is quantized already. */
pumice_status pum_quant_mix_apply(const char *type, const pum_gguf *gguf, pum_model_def *def,
                                  pumice_error *err);

#endif
