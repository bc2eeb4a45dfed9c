/* SPDX-License-Identifier: Apache-2.0
 * Hyper-parameters from a file's metadata. Decides which keys are needed, what is assumed where one
 * is absent, and what is too large or makes no sense: after this the numbers can be multiplied
 * without care. Rotary scaling is only read here; what it means is in rope.c. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "arch.h"

enum { MAX_LAYERS = 10000 };

/* How a key is read. PER_LAYER: an array of one number a layer is accepted if all are equal. */
enum { REQUIRED = 1, PER_LAYER = 2 };

typedef struct int_row {
    const char *key;       /* after "<arch>." */
    size_t at;             /* where in pum_hparams; unchanged if an optional key is absent */
    uint32_t min, max;
    uint32_t how;
} int_row;

typedef struct float_row {
    const char *key;
    size_t at;
    float min, max;
    uint32_t how;
} float_row;

#define AT(field) offsetof(pum_hparams, field)

static const int_row int_rows[] = { /* block_count before what is PER_LAYER */
    { "block_count", AT(n_layers), 1, MAX_LAYERS, REQUIRED },
    { "context_length", AT(n_ctx_train), 1, 1u << 30, REQUIRED },
    { "embedding_length", AT(n_embd), 1, 1u << 20, REQUIRED },
    { "feed_forward_length", AT(n_ff), 0, 1u << 22, PER_LAYER },
    { "attention.head_count", AT(n_heads), 1, 1u << 16, REQUIRED | PER_LAYER },
    { "attention.head_count_kv", AT(n_kv_heads), 1, 1u << 16, PER_LAYER },
    { "attention.key_length", AT(head_dim), 1, 1u << 16, PER_LAYER },
    { "rope.dimension_count", AT(rot_dim), 1, 1u << 16, 0 },
    { "vocab_size", AT(n_vocab), 1, 1u << 24, 0 },
    { "embedding_projection_length", AT(n_word_embd), 1, 1u << 20, 0 },
    { "position_offset", AT(position_offset), 0, 1u << 16, 0 },
    { "attention.sliding_window", AT(window), 0, 1u << 30, 0 },
    { "rope.scaling.original_context_length", AT(rope.original_ctx), 1, 1u << 30, 0 },
    { "expert_count", AT(n_experts), 0, 512, 0 },
    { "expert_used_count", AT(n_experts_used), 0, 64, 0 },
    { "expert_feed_forward_length", AT(n_ff_expert), 1, 1u << 22, PER_LAYER },
    { "expert_shared_feed_forward_length", AT(n_ff_shared), 0, 1u << 22, 0 },
    { "leading_dense_block_count", AT(n_dense_layers), 0, MAX_LAYERS, 0 },
    { "attention.relative_buckets_count", AT(bias_buckets), 4, 4096, 0 },
    { "attention.relative_max_distance", AT(bias_distance), 2, 1u << 16, 0 },
    { "decoder_start_token_id", AT(start_token), 0, 1u << 24, 0 },
    { "forced_bos_token_id", AT(first_token), 0, 1u << 24, 0 },
    { "forced_eos_token_id", AT(last_token), 0, 1u << 24, 0 },
    { "gmask_token_id", AT(gmask_token), 0, 1u << 24, 0 },
    { "mask_token_id", AT(mask_token), 0, 1u << 24, 0 },
    { "sop_token_id", AT(sop_token), 0, 1u << 24, 0 },
};

static const float_row float_rows[] = {
    { "rope.freq_base", AT(rope_base), 1.0001f, 1e30f, 0 },
    { "rope.freq_base_swa", AT(rope_base_local), 1.0001f, 1e30f, 0 },
    { "attention.scale", AT(attn_scale), 1e-6f, 1e6f, 0 },
    { "attention.clamp_kqv", AT(clamp_qkv), 0, 1e30f, 0 },
    { "attention.max_alibi_bias", AT(alibi_max), 0, 1e3f, 0 },
    { "attn_logit_softcapping", AT(attn_softcap), 0, 1e30f, 0 },
    { "final_logit_softcapping", AT(final_softcap), 0, 1e30f, 0 },
    { "logit_scale", AT(logit_scale), 1e-6f, 1e6f, 0 },
    { "embedding_scale", AT(embed_scale), 1e-6f, 1e6f, 0 },
    { "residual_scale", AT(residual_scale), 1e-6f, 1e6f, 0 },
    { "deepnorm_alpha", AT(deepnorm_alpha), 0, 1e6f, 0 },
    { "expert_weights_scale", AT(expert_scale), 1e-6f, 1e6f, 0 },
    { "rope.scaling.yarn_ext_factor", AT(rope.ext_factor), -1.0f, 1.0f, 0 },
    { "rope.scaling.yarn_attn_factor", AT(rope.attn_factor), 1e-3f, 1e3f, 0 },
    { "rope.scaling.yarn_beta_fast", AT(rope.beta_fast), 1e-3f, 1e6f, 0 },
    { "rope.scaling.yarn_beta_slow", AT(rope.beta_slow), 1e-3f, 1e6f, 0 },
    { "rope.scaling.low_freq_factor", AT(rope.low_freq_factor), 1e-3f, 1e6f, 0 },
    { "rope.scaling.high_freq_factor", AT(rope.high_freq_factor), 1e-3f, 1e6f, 0 },
};

typedef struct bool_row {
    const char *key;
    size_t at;
} bool_row;

static const bool_row bool_rows[] = {
    { "use_parallel_residual", AT(parallel) },
    { "expert_weights_norm", AT(expert_renorm) },
    { "rope.freq_f16", AT(rope.f16) },
    { "rope.scaling.dynamic", AT(rope.dynamic) },
    { "attention.scale_by_inverse_layer", AT(scale_by_layer) },
};

/* Keys that are read elsewhere in this file, and those without any effect on the network. */
static const char *const other_keys[] = {
    "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon", "attention.value_length",
    "attention.sliding_window_pattern", "attention.causal", "pre_norm",
    "rope.skip_every", "rope.scaling.type", "rope.scaling.factor", "rope.scale_linear",
    "rope.scaling.attn_factor", "activation", "hidden_activation", "expert_gating_func",
    "decoder_block_count", "decoder_feed_forward_length", "attention.decoder_head_count",
    /* no effect */
    "tensor_data_layout", "rope.scaling.finetuned", "attention.key_length_mla",
    "attention.value_length_mla", "pooling_type", "bos_token_id", "eos_token_id", "eop_token_id",
    "rope.position_2d",
};

/* Values of activation (or hidden_activation). */
static const struct {
    const char *name;
    uint32_t act;
} act_names[] = {
    { "silu", ACT_SILU },           { "swish", ACT_SILU },
    { "gelu", ACT_GELU_ERF },       { "gelu_erf", ACT_GELU_ERF },
    { "gelu_new", ACT_GELU_TANH },  { "gelu_tanh", ACT_GELU_TANH },
    { "gelu_fast", ACT_GELU_TANH }, { "gelu_pytorch_tanh", ACT_GELU_TANH },
    { "relu", ACT_RELU },           { "relu2", ACT_RELU2 },
    { "quick_gelu", ACT_GELU_QUICK }, { "gelu_quick", ACT_GELU_QUICK },
};

/* Values of rope.scaling.type. */
static const struct {
    const char *name;
    int kind;
} rope_kinds[] = {
    { "none", PUM_ROPE_NONE },     { "linear", PUM_ROPE_LINEAR }, { "yarn", PUM_ROPE_YARN },
    { "llama3", PUM_ROPE_LLAMA3 }, { "ntk", PUM_ROPE_NTK },       { "dynamic", PUM_ROPE_NTK },
    { "longrope", PUM_ROPE_LONG },
};

/* general.file_type (llama.h, enum llama_ftype): what most matrices are stored as. */
static const char *const file_types[] = {
    [0] = "all F32",         [1] = "mostly F16",      [2] = "mostly Q4_0",
    [3] = "mostly Q4_1",     [4] = "mostly Q4_1, some F16",
    [7] = "mostly Q8_0",     [8] = "mostly Q5_0",     [9] = "mostly Q5_1",
    [10] = "mostly Q2_K",    [11] = "mostly Q3_K S",  [12] = "mostly Q3_K M",
    [13] = "mostly Q3_K L",  [14] = "mostly Q4_K S",  [15] = "mostly Q4_K M",
    [16] = "mostly Q5_K S",  [17] = "mostly Q5_K M",  [18] = "mostly Q6_K",
    [19] = "mostly IQ2_XXS", [20] = "mostly IQ2_XS",  [21] = "mostly Q2_K S",
    [22] = "mostly IQ3_XS",  [23] = "mostly IQ3_XXS", [24] = "mostly IQ1_S",
    [25] = "mostly IQ4_NL",  [26] = "mostly IQ3_S",   [27] = "mostly IQ3_M",
    [28] = "mostly IQ2_S",   [29] = "mostly IQ2_M",   [30] = "mostly IQ4_XS",
    [31] = "mostly IQ1_M",   [32] = "mostly BF16",    [36] = "mostly TQ1_0",
    [37] = "mostly TQ2_0",   [38] = "mostly MXFP4",   [39] = "mostly NVFP4",
    [40] = "mostly Q1_0",    [41] = "mostly Q2_0",
};

typedef struct reader {
    const pum_arch *arch;
    const pum_gguf *gguf;
    pum_hparams *hp;
    pumice_error *err;
    char key[96];          /* of the last look-up, for messages */
} reader;

static const pum_gguf_value *look_up(reader *r, const char *suffix)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch->name, suffix);
    return pum_gguf_find(r->gguf, r->key);
}

static pumice_status missing(const reader *r)
{
    return PUM_DAMAGED(r, "the key %s is missing", r->key);
}

/* The one value of a scalar, or of an array whose items are all equal. */
static pumice_status read_integer(reader *r, const pum_gguf_value *v, bool per_layer, uint32_t *out)
{
    if (!per_layer || v->type != PUM_GGUF_ARRAY) {
        if (pum_gguf_u32(r->gguf, r->key, out)) return PUMICE_OK;
        return PUM_DAMAGED(r, "%s is not a whole number of 32 bits", r->key);
    }
    if (v->count != r->hp->n_layers) {
        return PUM_DAMAGED(r, "%s has %llu items for %u layers", r->key,
                           (unsigned long long)v->count, r->hp->n_layers);
    }
    int64_t first = 0, item;
    for (uint64_t i = 0; i < v->count; i++) {
        if (!pum_gguf_item_i64(v, i, &item) || item < 0 || item > UINT32_MAX) {
            return PUM_DAMAGED(r, "item %llu of %s is not a whole number of 32 bits",
                               (unsigned long long)i, r->key);
        }
        if (i == 0) first = item;
        if (item != first) {
            return PUM_UNSUPPORTED(
                r, "%s differs between layers (%lld and %lld), which is not supported", r->key,
                (long long)first, (long long)item);
        }
    }
    *out = (uint32_t)first;
    return PUMICE_OK;
}

static pumice_status read_int_row(reader *r, const int_row *row)
{
    const pum_gguf_value *v = look_up(r, row->key);
    uint32_t value;
    if (!v) return row->how & REQUIRED ? missing(r) : PUMICE_OK;
    PUM_TRY(read_integer(r, v, row->how & PER_LAYER, &value));
    if (value < row->min || value > row->max) {
        return PUM_DAMAGED(r, "%s is %u, but must be from %u to %u", r->key, value, row->min,
                           row->max);
    }
    memcpy((char *)r->hp + row->at, &value, sizeof value);
    return PUMICE_OK;
}

static pumice_status read_float_row(reader *r, const float_row *row)
{
    float value;
    if (!look_up(r, row->key)) return row->how & REQUIRED ? missing(r) : PUMICE_OK;
    if (!pum_gguf_f32(r->gguf, r->key, &value)) {
        return PUM_DAMAGED(r, "%s is not a number", r->key);
    }
    if (!(value >= row->min && value <= row->max)) { /* so that NaN fails */
        return PUM_DAMAGED(r, "%s is %g, but must be from %g to %g", r->key, (double)value,
                           (double)row->min, (double)row->max);
    }
    memcpy((char *)r->hp + row->at, &value, sizeof value);
    return PUMICE_OK;
}

/* ---- head sizes ---- */

/* The largest Gemma 2 and 3 divide by the width per head and not by the head's own size: their
 * files say so by the number of layers alone. */
static float default_scale(const pum_hparams *hp)
{
    bool by_width = (strcmp(hp->architecture, "gemma2") == 0 && hp->n_layers == 46) ||
                    (strcmp(hp->architecture, "gemma3") == 0 && hp->n_layers == 62);
    return (float)(1.0 / sqrt(by_width ? (double)hp->n_embd / hp->n_heads : hp->head_dim));
}

static pumice_status check_heads(reader *r)
{
    pum_hparams *hp = r->hp;
    uint32_t value_dim;
    if (!hp->n_kv_heads) hp->n_kv_heads = hp->n_heads;
    if (hp->n_heads % hp->n_kv_heads != 0) {
        return PUM_DAMAGED(
            r, "%s.attention.head_count is %u, which is no multiple of attention.head_count_kv, %u",
            r->arch->name, hp->n_heads, hp->n_kv_heads);
    }
    if (!hp->head_dim) {
        if (hp->n_embd % hp->n_heads != 0) {
            return PUM_DAMAGED(r,
                               "%s.embedding_length is %u, which is no multiple of "
                               "attention.head_count, %u, and there is no attention.key_length",
                               r->arch->name, hp->n_embd, hp->n_heads);
        }
        hp->head_dim = hp->n_embd / hp->n_heads;
    }
    if (hp->head_dim % 2 != 0 || hp->head_dim > PUM_MAX_HEAD_DIM) {
        return PUM_UNSUPPORTED(r,
                               "heads of %u elements (%s.attention.key_length, or embedding_length "
                               "by attention.head_count) are not supported: the number must be "
                               "even and at most %d",
                               hp->head_dim, r->arch->name, PUM_MAX_HEAD_DIM);
    }
    const pum_gguf_value *v = look_up(r, "attention.value_length");
    if (v) {
        PUM_TRY(read_integer(r, v, true, &value_dim));
        if (value_dim != hp->head_dim) {
            return PUM_UNSUPPORTED(r, "%s is %u but keys have %u elements, which is not supported",
                                   r->key, value_dim, hp->head_dim);
        }
    }
    bool rotary = r->arch->pairing != PUM_ROPE_OFF;
    uint32_t most = r->arch->pairing == ROPE_2D ? hp->head_dim / 2 : hp->head_dim;
    if (!hp->rot_dim && rotary) hp->rot_dim = most;
    if (hp->rot_dim && !rotary) {
        return PUM_UNSUPPORTED(r, "%s.rope.dimension_count is given, but the architecture has no "
                                  "rotary embedding", r->arch->name);
    }
    if (hp->rot_dim > most || hp->rot_dim % 2 != 0) {
        return PUM_DAMAGED(r, "%s.rope.dimension_count is %u, but must be even and at most %u, as "
                              "heads have %u elements",
                           r->arch->name, hp->rot_dim, most, hp->head_dim);
    }
    if (hp->attn_scale == 0.0f) hp->attn_scale = default_scale(hp);
    hp->alibi_scale = r->arch->options & PUM_ARCH_ALIBI_SCALED ? hp->attn_scale : 1.0f;
    if (hp->alibi_max != 0.0f) hp->rot_dim = 0; /* Falcon has either */
    return PUMICE_OK;
}

/* ---- encoders ---- */

/* What the keys of an encoder-decoder say of both is the encoder's; the decoder may differ. */
static pumice_status read_encoder(reader *r)
{
    static const int_row rows[] = {
        { "decoder_block_count", AT(n_layers), 1, MAX_LAYERS, 0 },
        { "decoder_feed_forward_length", AT(n_ff), 1, 1u << 22, 0 },
        { "attention.decoder_head_count", AT(n_heads), 1, 1u << 16, 0 },
    };
    pum_hparams *hp = r->hp;
    if (!(r->arch->options & PUM_ARCH_ENCODER)) return PUMICE_OK;
    bool relative = r->arch->options & PUM_ARCH_RELATIVE;
    hp->encoder.n_layers = hp->n_layers;
    hp->encoder.n_ff = hp->n_ff;
    hp->encoder.n_heads = hp->n_heads;
    hp->encoder.head_dim = hp->head_dim;
    hp->encoder.attn_scale = hp->attn_scale;
    for (size_t i = 0; i < PUM_COUNT(rows); i++) PUM_TRY(read_int_row(r, &rows[i]));
    if (hp->n_kv_heads != hp->encoder.n_heads) {
        return PUM_UNSUPPORTED(r, "%s.attention.head_count_kv is %u, but encoder-decoders with "
                                  "fewer heads of K and V than of Q are not supported",
                               r->arch->name, hp->n_kv_heads);
    }
    hp->n_kv_heads = hp->n_heads;
    if (hp->n_heads != hp->encoder.n_heads) {
        hp->head_dim = hp->n_embd / hp->n_heads;
        if (hp->n_embd % hp->n_heads != 0 || hp->head_dim % 2 != 0 || hp->head_dim > PUM_MAX_HEAD_DIM) {
            return PUM_UNSUPPORTED(r, "%s.attention.decoder_head_count is %u, which with an "
                                      "embedding_length of %u is not supported",
                                   r->arch->name, hp->n_heads, hp->n_embd);
        }
        if (!look_up(r, "attention.scale")) hp->attn_scale = default_scale(hp);
    }
    if (relative && !hp->bias_buckets) {
        look_up(r, "attention.relative_buckets_count");
        return missing(r);
    }
    if (relative && !look_up(r, "attention.scale")) {
        hp->attn_scale = hp->encoder.attn_scale = 1.0f;
    }
    if (relative && !look_up(r, "logit_scale")) hp->logit_scale = 0.0f; /* the weights tell */
    if (relative && !hp->bias_distance) hp->bias_distance = 128;
    if (!relative) hp->bias_buckets = hp->bias_distance = 0;
    if (hp->start_token == PUM_NO_TOKEN) {
        look_up(r, "decoder_start_token_id");
        return missing(r);
    }
    /* files of T5 tell by their tensors alone whether the MLP has a gate */
    if (pum_gguf_tensor_find(r->gguf, "enc.blk.0.ffn_gate.weight")) {
        hp->gated = true;
        if (!look_up(r, "activation") && relative) hp->act = ACT_GELU_TANH;
    }
    return PUMICE_OK;
}

/* ---- rotary scaling ---- */

static pumice_status read_rope_kind(reader *r, bool *out_given)
{
    pum_str s;
    char name[32];
    *out_given = look_up(r, "rope.scaling.type") != NULL;
    if (!*out_given) return PUMICE_OK;
    if (!pum_gguf_str(r->gguf, r->key, &s)) {
        return PUM_DAMAGED(r, "%s is no text", r->key);
    }
    for (size_t i = 0; i < PUM_COUNT(rope_kinds); i++) {
        if (!pum_str_equal(s, rope_kinds[i].name)) continue;
        r->hp->rope.kind = rope_kinds[i].kind;
        return PUMICE_OK;
    }
    pum_model_text(s, name, sizeof name);
    return PUM_UNSUPPORTED(r, "%s is '%s', which is not supported", r->key, name);
}

static pumice_status read_rope(reader *r)
{
    static const float_row factor = { "rope.scaling.factor", AT(rope.factor), 0, 1e6f, 0 };
    static const float_row old_factor = { "rope.scale_linear", AT(rope.factor), 0, 1e6f, 0 };
    static const float_row attn_factor = { "rope.scaling.attn_factor", AT(rope.attn_factor),
                                           1e-3f, 1e3f, 0 };
    pum_hparams *hp = r->hp;
    bool given;
    PUM_TRY(read_rope_kind(r, &given));
    PUM_TRY(read_float_row(r, look_up(r, factor.key) ? &factor : &old_factor));
    float yarn_factor = hp->rope.attn_factor; /* from the other of its two keys: they multiply */
    hp->rope.attn_factor = 1.0f;
    PUM_TRY(read_float_row(r, &attn_factor));
    hp->rope.attn_factor *= yarn_factor;
    if (hp->rope.factor == 0.0f) hp->rope.factor = 1.0f; /* early converters' word for "none" */
    if (hp->rope.factor < 1e-3f) {
        return PUM_DAMAGED(r, "%s.rope.scaling.factor is %g, but must be at least 0.001",
                           r->arch->name, (double)hp->rope.factor);
    }
    /* a factor without a type is a linear one */
    if (!given && hp->rope.factor != 1.0f) hp->rope.kind = PUM_ROPE_LINEAR;
    if (hp->rope.kind == PUM_ROPE_NONE) hp->rope.factor = 1.0f;
    if (hp->rope.ext_factor < 0.0f) hp->rope.ext_factor = 1.0f; /* -1: "as the type has it" */
    if (!hp->rope.original_ctx) hp->rope.original_ctx = hp->n_ctx_train;
    if (hp->rope.kind == PUM_ROPE_LLAMA3 && hp->rope.high_freq_factor <= hp->rope.low_freq_factor) {
        return PUM_DAMAGED(
            r, "%s.rope.scaling.high_freq_factor is %g, but must be above low_freq_factor, %g",
            r->arch->name, (double)hp->rope.high_freq_factor, (double)hp->rope.low_freq_factor);
    }
    return PUMICE_OK;
}

/* ---- names ---- */

static void read_general(reader *r)
{
    pum_hparams *hp = r->hp;
    pum_str s;
    uint32_t type;
    snprintf(hp->architecture, sizeof hp->architecture, "%s", r->arch->name);
    const pum_gguf *g = r->gguf;
    if (pum_gguf_str(g, "general.name", &s)) pum_model_text(s, hp->name, sizeof hp->name);
    if (pum_gguf_str(g, "general.license", &s)) pum_model_text(s, hp->license, sizeof hp->license);
    bool known = pum_gguf_u32(g, "general.file_type", &type) && type < PUM_COUNT(file_types)
        && file_types[type];
    snprintf(hp->file_type, sizeof hp->file_type, "%s", known ? file_types[type] : "unknown");
}

/* ---- mixtures of experts ---- */

static pumice_status check_experts(reader *r)
{
    pum_hparams *hp = r->hp;
    uint32_t gating;
    look_up(r, "expert_gating_func");
    if (pum_gguf_u32(r->gguf, r->key, &gating) && gating != 1) {
        return PUM_UNSUPPORTED(r, "%s is %u, but only 1 (softmax) is supported", r->key, gating);
    }
    if (hp->n_experts == 0) {
        if (hp->n_ff > 0) return PUMICE_OK;
        look_up(r, "feed_forward_length");
        return look_up(r, "feed_forward_length")
            ? PUM_DAMAGED(r, "%s is 0, but must be at least 1", r->key) : missing(r);
    }
    if (hp->n_experts_used == 0 || hp->n_experts_used > hp->n_experts) {
        return PUM_DAMAGED(r, "%s.expert_used_count is %u, but must be from 1 to expert_count, %u",
                           r->arch->name, hp->n_experts_used, hp->n_experts);
    }
    if (!hp->gated) {
        return PUM_UNSUPPORTED(r, "%s.expert_count is %u, but experts without a gate are not "
                                  "supported", r->arch->name, hp->n_experts);
    }
    if (hp->n_ff_expert == 0) hp->n_ff_expert = hp->n_ff;
    if (hp->n_ff_expert == 0) {
        look_up(r, "expert_feed_forward_length");
        return missing(r);
    }
    return PUMICE_OK;
}

/* ---- activation, flags, what a layer has ---- */

static pumice_status read_act(reader *r)
{
    pum_str s;
    char name[32];
    if (!look_up(r, "activation") && !look_up(r, "hidden_activation")) return PUMICE_OK;
    if (!pum_gguf_str(r->gguf, r->key, &s)) return PUM_DAMAGED(r, "%s is no text", r->key);
    for (size_t i = 0; i < PUM_COUNT(act_names); i++) {
        if (!pum_str_equal(s, act_names[i].name)) continue;
        r->hp->act = act_names[i].act;
        return PUMICE_OK;
    }
    pum_model_text(s, name, sizeof name);
    return PUM_UNSUPPORTED(r, "%s is '%s', which is not supported", r->key, name);
}

static pumice_status read_bool(reader *r, const char *suffix, bool *out)
{
    if (look_up(r, suffix) && !pum_gguf_bool(r->gguf, r->key, out)) {
        return PUM_DAMAGED(r, "%s is neither true nor false", r->key);
    }
    return PUMICE_OK;
}

static pumice_status read_flags(reader *r)
{
    bool causal = true, before = true;
    for (size_t i = 0; i < PUM_COUNT(bool_rows); i++) {
        PUM_TRY(read_bool(r, bool_rows[i].key, (bool *)((char *)r->hp + bool_rows[i].at)));
    }
    PUM_TRY(read_bool(r, "attention.causal", &causal));
    if (!causal) return PUM_UNSUPPORTED(r, "encoders (%s is false) are not supported", r->key);
    PUM_TRY(read_bool(r, "pre_norm", &before));
    if (!before) r->hp->norm_at = PUM_NORM_SUM;
    return PUMICE_OK;
}

/* Item `index` of an array of one truth value a layer. */
static pumice_status layer_flag(reader *r, const pum_gguf_value *v, uint32_t index, bool *out)
{
    int64_t item;
    if (v->count != r->hp->n_layers) {
        return PUM_DAMAGED(r, "%s has %llu items for %u layers", r->key,
                           (unsigned long long)v->count, r->hp->n_layers);
    }
    if (v->item_type == PUM_GGUF_BOOL) item = v->data[index];
    else if (!pum_gguf_item_i64(v, index, &item)) {
        return PUM_DAMAGED(r, "item %u of %s is neither true nor false", index, r->key);
    }
    *out = item != 0;
    return PUMICE_OK;
}

/* Is the key an array? Else, if it is there, it says "every n-th is an exception". */
static pumice_status read_pattern(reader *r, const char *suffix, uint32_t index, uint32_t every,
                                  bool *out)
{
    const pum_gguf_value *v = look_up(r, suffix);
    if (v && v->type == PUM_GGUF_ARRAY) return layer_flag(r, v, index, out);
    if (v && !pum_gguf_u32(r->gguf, r->key, &every)) {
        return PUM_DAMAGED(r, "%s is neither a whole number nor an array", r->key);
    }
    *out = every <= 1 || index % every != every - 1;
    return PUMICE_OK;
}

pumice_status pum_hparams_layer(const pum_arch *arch, const pum_gguf *gguf, const pum_hparams *hp,
                                uint32_t index, pum_layer *layer, pumice_error *err)
{
    pum_hparams copy = *hp;
    reader r = { .arch = arch, .gguf = gguf, .hp = &copy, .err = err };
    bool windowed = false, rotates = true;
    if (hp->window) {
        PUM_TRY(read_pattern(&r, "attention.sliding_window_pattern", index, hp->window_every,
                             &windowed));
    }
    PUM_TRY(read_pattern(&r, "rope.skip_every", index, hp->nope_every, &rotates));
    if (hp->nope_global && hp->window && !windowed) rotates = false;
    layer->window = windowed ? hp->window : 0;
    layer->rotates = rotates && hp->rot_dim > 0;
    layer->local_rope = windowed && hp->rope_base_local != 0.0f;
    layer->attn_scale = hp->attn_scale;
    if (hp->scale_by_layer) layer->attn_scale /= (float)(index + 1);
    return PUMICE_OK;
}

/* ---- the whole ---- */

static bool is_known(const char *key)
{
    for (size_t i = 0; i < PUM_COUNT(int_rows); i++) {
        if (strcmp(key, int_rows[i].key) == 0) return true;
    }
    for (size_t i = 0; i < PUM_COUNT(float_rows); i++) {
        if (strcmp(key, float_rows[i].key) == 0) return true;
    }
    for (size_t i = 0; i < PUM_COUNT(bool_rows); i++) {
        if (strcmp(key, bool_rows[i].key) == 0) return true;
    }
    for (size_t i = 0; i < PUM_COUNT(other_keys); i++) {
        if (strcmp(key, other_keys[i]) == 0) return true;
    }
    return false;
}

/* A key of the architecture that nobody reads might change the result: better no answer than a
 * wrong one. */
static pumice_status check_keys(reader *r)
{
    size_t n = strlen(r->arch->name);
    for (size_t i = 0; i < pum_gguf_kv_count(r->gguf); i++) {
        pum_str key = pum_gguf_kv_key(r->gguf, i);
        char name[96];
        if (key.count <= n || memcmp(key.data, r->arch->name, n) != 0 || key.data[n] != '.') {
            continue;
        }
        pum_model_text(key, name, sizeof name);
        if (!is_known(name + n + 1)) {
            return PUM_UNSUPPORTED(r, "the key %s is not known, and to ignore it might change the "
                                      "result", name);
        }
    }
    return PUMICE_OK;
}

static pum_hparams defaults(const pum_arch *arch)
{
    uint32_t o = arch->options;
    pum_hparams hp = { .rope_pairing = arch->pairing, .rope_base = 10000.0f, .norm = arch->norm,
                       .act = arch->act, .gated = !(o & PUM_ARCH_UNGATED),
                       .parallel = o & PUM_ARCH_PARALLEL, .bare_norms = o & PUM_ARCH_BARE_NORMS,
                       .positions = o & PUM_ARCH_POSITIONS,
                       .nope_global = o & PUM_ARCH_NOPE_GLOBAL,
                       .expert_renorm = o & PUM_ARCH_RENORM,
                       .norm_at = (o & PUM_ARCH_NO_PRE_NORMS ? 0 : PUM_NORM_BEFORE)
                           | (o & PUM_ARCH_BRANCH_NORMS ? PUM_NORM_BRANCH : 0),
                       .qk_norm = o & (PUM_ARCH_QK_HEADS | PUM_ARCH_QK_MAY) ? PUM_QK_HEADS
                                  : o & PUM_ARCH_QK_WHOLE                   ? PUM_QK_WHOLE
                                                                            : PUM_QK_PLAIN,
                       .window_every = o >> PUM_ARCH_EVERY_SHIFT & 15,
                       .nope_every = o >> (PUM_ARCH_EVERY_SHIFT + 4) & 15,
                       .rope_base_local = o & PUM_ARCH_LOCAL_ROPE ? 10000.0f : 0.0f,
                       .alibi_max = o & PUM_ARCH_ALIBI ? 8.0f : 0.0f, .residual_scale = 1.0f,
                       .start_token = PUM_NO_TOKEN, .first_token = PUM_NO_TOKEN,
                       .last_token = PUM_NO_TOKEN, .gmask_token = PUM_NO_TOKEN,
                       .mask_token = PUM_NO_TOKEN, .sop_token = PUM_NO_TOKEN,
                       .logit_scale = 1.0f, .expert_scale = 1.0f,
                       .rope = { .factor = 1.0f, .attn_factor = 1.0f, .beta_fast = 32.0f,
                                 .beta_slow = 1.0f, .ext_factor = 1.0f, .low_freq_factor = 1.0f,
                                 .high_freq_factor = 4.0f } };
    return hp;
}

pumice_status pum_hparams_decoder(const pum_arch *arch, const pum_gguf *gguf, pum_hparams *out_hp,
                                  pumice_error *err)
{
    const float_row eps = { arch->norm == NORM_RMS ? "attention.layer_norm_rms_epsilon"
                                                   : "attention.layer_norm_epsilon",
                            AT(norm_eps), 1e-12f, 1.0f, REQUIRED };
    pum_hparams hp = defaults(arch);
    reader r = { .arch = arch, .gguf = gguf, .hp = &hp, .err = err };
    *out_hp = (pum_hparams){ 0 };
    read_general(&r);
    PUM_TRY(read_flags(&r));
    for (size_t i = 0; i < PUM_COUNT(int_rows); i++) PUM_TRY(read_int_row(&r, &int_rows[i]));
    for (size_t i = 0; i < PUM_COUNT(float_rows); i++) PUM_TRY(read_float_row(&r, &float_rows[i]));
    PUM_TRY(read_float_row(&r, &eps));
    PUM_TRY(read_act(&r));
    PUM_TRY(check_heads(&r));
    PUM_TRY(check_experts(&r));
    PUM_TRY(read_encoder(&r));
    PUM_TRY(read_rope(&r));
    PUM_TRY(check_keys(&r));
    if (arch->options & PUM_ARCH_LOGIT_DIVIDE) hp.logit_scale = 1.0f / hp.logit_scale;
    if (!hp.n_word_embd) hp.n_word_embd = hp.n_embd;
    if (hp.embed_scale == 0.0f) {
        hp.embed_scale = arch->options & PUM_ARCH_EMBED_SQRT ? sqrtf((float)hp.n_embd) : 1.0f;
    }
    *out_hp = hp;
    return PUMICE_OK;
}
