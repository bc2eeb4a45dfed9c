/* SPDX-License-Identifier: Apache-2.0
 * A small model with random F32 weights, made in memory: a GGUF file of any architecture that has
 * LLaMA's tensors. */
#ifndef SMALL_MODEL_H
#define SMALL_MODEL_H

#include "gguf_builder.h"
#include "model.h"

enum { EMBD_N = 64, HEADS = 4, KV_HEADS = 2, HEAD = 16, FF_N = 96, VOCAB_N = 100, LAYERS = 2 };

static inline float *random_floats(size_t n, float size, float centre, uint64_t *seed)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
        x[i] = centre + size * ((float)(*seed >> 40) / (1 << 23) - 1.0f);
    }
    return x;
}

static inline void put_tensor(gguf_builder *b, const char *name, uint64_t rows, uint64_t cols,
                       uint64_t *seed)
{
    float *x = random_floats((rows ? rows : 1) * cols, 0.2f,
                             strstr(name, "norm.weight") ? 1.0f : 0.0f, seed);
    gb_tensor(b, name, PUM_DTYPE_F32, rows, cols, x);
    free(x);
}

static inline void key(gguf_builder *b, const char *arch, const char *suffix, uint32_t value)
{
    char name[GB_NAME_BYTES];
    snprintf(name, sizeof name, "%s.%s", arch, suffix);
    gb_u32(b, name, value);
}

static inline void small_model_of(gguf_builder *b, const char *arch, uint32_t layers)
{
    static const struct {
        const char *name;
        uint32_t rows, cols;
    } layer[] = {
        { "attn_norm.weight", 0, EMBD_N },
        { "attn_q.weight", HEADS * HEAD, EMBD_N },
        { "attn_k.weight", KV_HEADS * HEAD, EMBD_N },
        { "attn_v.weight", KV_HEADS * HEAD, EMBD_N },
        { "attn_output.weight", EMBD_N, HEADS * HEAD },
        { "ffn_norm.weight", 0, EMBD_N },
        { "ffn_gate.weight", FF_N, EMBD_N },
        { "ffn_up.weight", FF_N, EMBD_N },
        { "ffn_down.weight", EMBD_N, FF_N },
    };
    char name[GB_NAME_BYTES];
    uint64_t seed = 7;
    *b = (gguf_builder){ 0 };
    gb_str(b, "general.architecture", arch);
    gb_str(b, "general.name", "small");
    gb_str(b, "general.license", "none\n\xff");
    gb_u32(b, "general.file_type", 0);
    key(b, arch, "context_length", 128);
    key(b, arch, "embedding_length", EMBD_N);
    key(b, arch, "block_count", layers);
    key(b, arch, "feed_forward_length", FF_N);
    key(b, arch, "attention.head_count", HEADS);
    key(b, arch, "attention.head_count_kv", KV_HEADS);
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", arch);
    gb_f32(b, name, 1e-5f);
    put_tensor(b, "token_embd.weight", VOCAB_N, EMBD_N, &seed);
    for (uint32_t i = 0; i < layers; i++) {
        for (size_t k = 0; k < PUM_COUNT(layer); k++) {
            snprintf(name, sizeof name, "blk.%u.%s", i, layer[k].name);
            put_tensor(b, name, layer[k].rows, layer[k].cols, &seed);
        }
    }
    put_tensor(b, "output_norm.weight", 0, EMBD_N, &seed);
}

static inline void small_model(gguf_builder *b, const char *arch) { small_model_of(b, arch, LAYERS); }

static inline void load_small(gguf_builder *b, pum_gguf **out_gguf, pum_model_def *out_def)
{
    pumice_error err = { 0 };
    gb_image(b);
    if (pum_gguf_open_memory(b->image, b->image_bytes, "small", out_gguf, &err)) {
        fail_msg("%s", err.text);
    }
    if (pum_model_def_load(*out_gguf, out_def, &err)) fail_msg("%s", err.text);
}

#endif
