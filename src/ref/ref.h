/* SPDX-License-Identifier: Apache-2.0
 * The slow CPU truth: every kernel family and every weight format again, in double precision, written to be
 * obviously right. Tests compare each kernel with it, and a whole plan can be run on it. Not a product
 * backend. Pure; thread-safe. */
#ifndef PUM_REF_H
#define PUM_REF_H

#include "kernel.h"

/* Block formats. `bytes` holds count/elems blocks; count is a multiple of the block. */
void pum_ref_dequantize(pum_dtype type, const void *bytes, size_t count, double *out);
/* The scale of a weight's rounding error in kernels: its absolute value, or |scale * quant| + |minimum|. `values` are
 * what was dequantized from `bytes`, whose quants are lost. */
void pum_ref_magnitudes(pum_dtype type, void *bytes, size_t count, const double *values, double *out);
/* Rounds floats to a storage type (nearest even for f16/bf16; ggml's rule for the quantized ones). False, and nothing
 * is written, for types that are only read: those with codebooks. */
bool pum_ref_quantize(pum_dtype type, const float *in, size_t count, void *out_bytes);
float pum_ref_f16_to_f32(uint16_t half);
uint16_t pum_ref_f32_to_f16(float value);

/* The KV cache (args.h), by number of (page, kv head): bytes of one, 0 when the type cannot hold the head; dim `dim` of
 * a cell's vector; a vector of head_dim into its cell. */
uint64_t pum_ref_kv_page_bytes(uint32_t type, uint32_t head_dim);
double pum_ref_kv_get(const void *cache, uint32_t type, uint64_t page, uint32_t cell, uint32_t head_dim, uint32_t dim);
void pum_ref_kv_put(void *cache, uint32_t type, uint64_t page, uint32_t cell, uint32_t head_dim, const float *v);

/* Two words of a quantized cache, at word `at`: quants one step apart or scales one unit in the last place are near. */
bool pum_ref_kv_near(uint32_t type, uint32_t head_dim, uint64_t at, uint32_t want, uint32_t got);

/* Rows of activations of 8 bits (shaders/lib/q8_a.glsl): bytes of one; `cols` numbers, a multiple of 32, into one and
 * out of one, exactly. */
uint64_t pum_ref_q8_row_bytes(uint32_t cols);
void pum_ref_q8_put(uint32_t cols, const float *x, void *out_row);
void pum_ref_q8_get(uint32_t cols, const void *row, double *out);
/* Two words, number `at` of rows that lie one behind the other: quants one step apart, scales within `tolerance` and
 * the sums of such quants are near. */
bool pum_ref_q8_near(uint32_t cols, uint64_t at, uint32_t want, uint32_t got, double tolerance);

typedef struct pum_ref_binding {
    void *data;
    size_t bytes;
} pum_ref_binding;

/* One dispatch: the same kernel, specialisation constants, push constants and buffers as on the device. */
typedef struct pum_ref_step {
    uint32_t family;          /* pum_kernel_family */
    pum_dtype weight;
    const uint32_t *spec;     /* by PUM_SPEC_<FAMILY>_<NAME> */
    const void *args;         /* the family's struct of args.h */
    pum_ref_binding bind[PUM_MAX_BINDINGS]; /* in the row's binding order */
    /* If not NULL: for each f32 element of the binding named "y", the sum of the absolute values of the terms
     * it was summed from (the scale of its rounding error). Same number of items as the binding has f32. */
    double *scale;
} pum_ref_step;

/* Executes the step on the host; writes the bindings the kernel would write. False when a binding is too
 * small for what args say or the family is unknown. */
bool pum_ref_run(const pum_ref_step *step);

/* One function per family, called by pum_ref_run through a table in ref_run.c: */
typedef bool (*pum_ref_fn)(const pum_ref_step *step);
bool pum_ref_embed(const pum_ref_step *step);
bool pum_ref_norm(const pum_ref_step *step);
bool pum_ref_norm_q8(const pum_ref_step *step);
bool pum_ref_quantize_act(const pum_ref_step *step);
bool pum_ref_matvec(const pum_ref_step *step);
bool pum_ref_matvec_dot8(const pum_ref_step *step);
bool pum_ref_matmul(const pum_ref_step *step);
bool pum_ref_matmul_reg(const pum_ref_step *step);
bool pum_ref_matmul_coop(const pum_ref_step *step);
bool pum_ref_matvec_texel(const pum_ref_step *step);
bool pum_ref_matmul_texel(const pum_ref_step *step);
bool pum_ref_rope(const pum_ref_step *step);
bool pum_ref_kv_store(const pum_ref_step *step);
bool pum_ref_rope_kv(const pum_ref_step *step);
bool pum_ref_attention(const pum_ref_step *step);
bool pum_ref_attn_merge(const pum_ref_step *step);
bool pum_ref_act(const pum_ref_step *step);
bool pum_ref_add(const pum_ref_step *step);
bool pum_ref_limit(const pum_ref_step *step);
bool pum_ref_copy(const pum_ref_step *step);
bool pum_ref_gather_rows(const pum_ref_step *step);
bool pum_ref_softmax(const pum_ref_step *step);
bool pum_ref_route(const pum_ref_step *step);
bool pum_ref_expert_group(const pum_ref_step *step);
bool pum_ref_expert_matvec(const pum_ref_step *step);
bool pum_ref_expert_matmul(const pum_ref_step *step);
bool pum_ref_expert_scale(const pum_ref_step *step);
bool pum_ref_expert_sum(const pum_ref_step *step);
bool pum_ref_argmax(const pum_ref_step *step);
bool pum_ref_sample(const pum_ref_step *step);
bool pum_ref_score(const pum_ref_step *step);
bool pum_ref_repack(const pum_ref_step *step);
bool pum_ref_quantize_rows(const pum_ref_step *step);
bool pum_ref_roof_read(const pum_ref_step *step);
bool pum_ref_roof_math(const pum_ref_step *step);
bool pum_ref_roof_dot8(const pum_ref_step *step);

#endif
