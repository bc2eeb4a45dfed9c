/* SPDX-License-Identifier: Apache-2.0
 * The table of mixes and the rules that pick a tensor's type, by its name. */
#include "quant_mix.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define T(x) PUM_DTYPE_##x
static const pum_quant_mix mixes[] = {
    /* name    file base     head     better  turn   qkv */
    { "F32",     0, T(F32),  T(F32),  T(F32),  false, T(F32) },
    { "F16",     1, T(F16),  T(F16),  T(F16),  false, T(F16) },
    { "BF16",   32, T(BF16), T(BF16), T(BF16), false, T(BF16) },
    { "Q4_0",    2, T(Q4_0), T(Q6_K), T(Q4_0), false, T(Q4_0) },
    { "Q4_1",    3, T(Q4_1), T(Q6_K), T(Q4_1), false, T(Q4_1) },
    { "Q5_0",    8, T(Q5_0), T(Q6_K), T(Q5_0), false, T(Q5_0) },
    { "Q5_1",    9, T(Q5_1), T(Q6_K), T(Q5_1), false, T(Q5_1) },
    { "Q8_0",    7, T(Q8_0), T(Q8_0), T(Q8_0), false, T(Q8_0) },
    { "Q4_K_S", 14, T(Q4_K), T(Q6_K), T(Q5_K), false, T(Q4_K) },
    { "Q4_K_M", 15, T(Q4_K), T(Q6_K), T(Q6_K), true,  T(Q5_K) },
    { "Q4_K",   15, T(Q4_K), T(Q6_K), T(Q6_K), true,  T(Q5_K) },
    { "Q5_K_S", 16, T(Q5_K), T(Q6_K), T(Q5_K), false, T(Q5_K) },
    { "Q5_K_M", 17, T(Q5_K), T(Q6_K), T(Q6_K), true,  T(Q6_K) },
    { "Q5_K",   17, T(Q5_K), T(Q6_K), T(Q6_K), true,  T(Q6_K) },
    { "Q6_K",   18, T(Q6_K), T(Q6_K), T(Q6_K), false, T(Q6_K) },
};
#undef T

const pum_quant_mix *pum_quant_mix_find(const char *name)
{
    for (size_t i = 0; i < PUM_COUNT(mixes); i++) {
        if (strcasecmp(mixes[i].name, name) == 0) return &mixes[i];
    }
    return NULL;
}

void pum_quant_mix_names(bool with_f32, char *out, size_t capacity)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < PUM_COUNT(mixes) && n < capacity; i++) {
        if (mixes[i].base == PUM_DTYPE_F32 && !with_f32) continue;
        n += (size_t)snprintf(out + n, capacity - n, "%s%s", n ? ", " : "", mixes[i].name);
    }
}

/* Number of the layer in "blk.N.", "enc.blk.N." or "dec.blk.N."; or 0. */
static uint32_t layer_of(pum_str s)
{
    uint32_t layer = 0;
    size_t at = s.count > 4 && s.data[3] == '.' && s.data[0] != 'b' ? 4 : 0;
    if (s.count < at + 5 || memcmp(s.data + at, "blk.", 4) != 0) return 0;
    for (size_t i = at + 4; i < s.count && s.data[i] >= '0' && s.data[i] <= '9' && layer < 100000; i++) {
        layer = layer * 10 + (uint32_t)(s.data[i] - '0');
    }
    return layer;
}

bool pum_quant_mix_keeps(pum_str name, uint32_t n_dims)
{
    static const char *const kept[] = { "_norm.weight",         "ffn_gate_inp.weight",
                                        "position_embd.weight", "token_types.weight",
                                        "altup",                "laurel",
                                        "per_layer_model_proj", "ssm_conv1d",
                                        "shortconv.conv.weight", "attn_rel_b.weight" };
    if (n_dims < 2 || !pum_str_ends(name, "weight")) return true;
    for (size_t i = 0; i < PUM_COUNT(kept); i++) {
        if (pum_str_holds(name, kept[i])) return true;
    }
    return false;
}

/* The first and last eighth of the layers, and every third between. */
static bool takes_turn(uint32_t layer, uint32_t n_layers)
{
    return layer < n_layers / 8 || layer >= 7 * n_layers / 8 ||
           (layer - n_layers / 8) % 3 == 2;
}

static pum_dtype by_name(const pum_quant_mix *mix, const pum_quant_model *model, pum_str name)
{
    bool is_head = pum_str_equal(name, "output.weight") ||
                   (!model->has_output && pum_str_equal(name, "token_embd.weight"));
    uint32_t layer = layer_of(name);
    if (is_head) return mix->head;
    bool block = pum_dtype_get(mix->base)->block_elems == 256;
    if (pum_str_holds(name, "attn_v.weight")) {
        bool better = mix->better_by_turn ? takes_turn(layer, model->n_layers) : layer < 4;
        if (model->n_experts == 8 && block) return PUM_DTYPE_Q8_0;
        return better ? mix->better : mix->base;
    }
    if (pum_str_holds(name, "attn_k.weight") && model->n_experts == 8 && block) return PUM_DTYPE_Q8_0;
    if (pum_str_holds(name, "ffn_down")) {
        bool better = mix->better_by_turn ? takes_turn(layer, model->n_layers)
                                          : layer < model->n_layers / 8;
        return better ? mix->better : mix->base;
    }
    return pum_str_holds(name, "attn_qkv.weight") ? mix->qkv : mix->base;
}

/* The next type whose blocks are smaller. */
static pum_dtype smaller(pum_dtype type)
{
    switch (type) {
    case PUM_DTYPE_Q4_K: return PUM_DTYPE_Q5_0;
    case PUM_DTYPE_Q5_K: return PUM_DTYPE_Q5_1;
    case PUM_DTYPE_Q6_K: return PUM_DTYPE_Q8_0;
    default: return PUM_DTYPE_F16;
    }
}

pum_dtype pum_quant_mix_choose(const pum_quant_mix *mix, const pum_quant_model *model, pum_str name,
                               uint32_t n_dims, uint64_t cols, pum_dtype type, bool *out_fallback)
{
    *out_fallback = false;
    if (mix->base != PUM_DTYPE_F32 && pum_quant_mix_keeps(name, n_dims)) return type;
    pum_dtype chosen = by_name(mix, model, name);
    while (cols % pum_dtype_get(chosen)->block_elems != 0) {
        *out_fallback = true;
        chosen = smaller(chosen);
    }
    return chosen;
}

pum_quant_model pum_quant_model_of(const pum_gguf *gguf)
{
    pum_quant_model m = { .has_output = pum_gguf_tensor_find(gguf, "output.weight") != NULL };
    char key[128];
    pum_str arch = { "", 0 };
    pum_gguf_str(gguf, "general.architecture", &arch);
    snprintf(key, sizeof key, "%.*s.block_count", (int)PUM_MIN(arch.count, 64), arch.data);
    pum_gguf_u32(gguf, key, &m.n_layers);
    snprintf(key, sizeof key, "%.*s.expert_count", (int)PUM_MIN(arch.count, 64), arch.data);
    pum_gguf_u32(gguf, key, &m.n_experts);
    return m;
}

/* ---- while a model is loaded ---- */

pumice_status pum_quant_mix_apply(const char *type, const pum_gguf *gguf, pum_model_def *def,
                                  pumice_error *err)
{
    const pum_quant_mix *mix = pum_quant_mix_find(type);
    pum_quant_model model = pum_quant_model_of(gguf);
    if (!mix || mix->base == PUM_DTYPE_F32) {
        char known[160];
        pum_quant_mix_names(false, known, sizeof known);
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "weights cannot be quantized to '%.32s': use one of %s", type, known);
    }
    for (size_t i = 0; i < def->weights.count; i++) {
        pum_weight *w = &def->weights.data[i];
        const pum_gguf_tensor *t = w->source;
        bool fallback, plain = w->stored == PUM_DTYPE_F32 || w->stored == PUM_DTYPE_F16 ||
                               w->stored == PUM_DTYPE_BF16;
        if (!t || !w->splittable) continue;
        w->dtype = pum_quant_mix_choose(mix, &model, t->name, t->n_dims, w->cols, w->stored,
                                        &fallback);
        if (w->dtype == w->stored || plain) continue;
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "'%s' cannot be quantized while it is loaded: tensor '%.*s' is %s already",
                        pum_gguf_path(gguf), (int)PUM_MIN(t->name.count, 64), t->name.data,
                        pum_dtype_get(w->stored)->name);
    }
    snprintf(def->hp.file_type, sizeof def->hp.file_type, "mostly %s", mix->name);
    return PUMICE_OK;
}
