/* SPDX-License-Identifier: Apache-2.0
 * Reading config.json. The names that families use for the same number are rows of one table;
 * what a family means by its own keys is in hf_special.c. After this every number is within
 * bounds and products of three of them fit 64 bits. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "hf_model.h"

/* ---- sentences ---- */

static pumice_status fault(const hf *h, pumice_status status, const char *fmt, va_list args)
    PUM_PRINTF(3, 0);
static pumice_status fault(const hf *h, pumice_status status, const char *fmt, va_list args)
{
    char text[320];
    vsnprintf(text, sizeof text, fmt, args);
    const char *path = pum_hf_dir_config_path(h->dir);
    size_t n = strlen(path);
    bool cut = n > 150; /* the end of a long path says more than its beginning */
    return pum_fail(h->err, status, "'%s%s': %s", cut ? "..." : "", cut ? path + n - 150 : path,
                    text);
}

pumice_status hf_damaged(const hf *h, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    pumice_status status = fault(h, PUMICE_ERROR_FORMAT, fmt, args);
    va_end(args);
    return status;
}

pumice_status hf_unsupported(const hf *h, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    pumice_status status = fault(h, PUMICE_ERROR_UNSUPPORTED, fmt, args);
    va_end(args);
    return status;
}

/* ---- looking up ---- */

/* One name, maybe a path with dots. */
static const json_t *get_path(const json_t *object, const char *name, size_t count)
{
    char part[64];
    while (object && count > 0) {
        size_t n = 0;
        while (n < count && name[n] != '.') n++;
        if (n >= sizeof part) return NULL;
        memcpy(part, name, n);
        part[n] = '\0';
        object = json_object_get(object, part);
        name += n + (n < count);
        count -= n + (n < count);
    }
    return object;
}

/* The value, and which of the names it has (cut off at *out_count bytes). */
static const json_t *get_named(const hf *h, const char *names, const char **out_name,
                               int *out_count)
{
    for (const char *p = names;; p++) {
        size_t n = strcspn(p, "|");
        const json_t *v = get_path(h->config, p, n);
        if (v && !json_is_null(v)) {
            *out_name = p;
            *out_count = (int)n;
            return v;
        }
        p += n;
        if (*p == '\0') return NULL;
    }
}

const json_t *hf_get(const hf *h, const char *names)
{
    const char *name;
    int count;
    return get_named(h, names, &name, &count);
}

int hf_name_of(const hf *h, const char *names, const char **out_name)
{
    int n = (int)strcspn(names, "|");
    *out_name = names;
    get_named(h, names, out_name, &n);
    return n;
}

bool hf_name(const hf *h, const char *names, char *out, size_t capacity)
{
    const char *name = names;
    int count = (int)strcspn(names, "|");
    bool given = get_named(h, names, &name, &count) != NULL;
    snprintf(out, capacity, "%.*s", count, name);
    return given;
}

pumice_status hf_u32(hf *h, const char *names, uint32_t min, uint32_t max, uint32_t *out)
{
    const char *name;
    int n;
    const json_t *v = get_named(h, names, &name, &n);
    if (!v) return PUMICE_OK;
    json_int_t i = json_integer_value(v);
    if (json_is_real(v)) { /* 64.0, as some tools write it */
        double x = json_real_value(v);
        i = x >= 0 && x <= UINT32_MAX && x == (double)(uint32_t)x ? (json_int_t)x : -1;
    }
    if (!json_is_number(v) || i < min || i > max) {
        return hf_damaged(h, "%.*s must be a whole number from %u to %u", n, name, min, max);
    }
    *out = (uint32_t)i;
    return PUMICE_OK;
}

pumice_status hf_f32(hf *h, const char *names, float min, float max, float *out)
{
    const char *name;
    int n;
    const json_t *v = get_named(h, names, &name, &n);
    if (!v) return PUMICE_OK;
    double x = json_number_value(v);
    if (!json_is_number(v) || !(x >= min && x <= max)) {
        return hf_damaged(h, "%.*s must be a number from %g to %g", n, name, (double)min,
                          (double)max);
    }
    *out = (float)x;
    return PUMICE_OK;
}

pumice_status hf_flag(hf *h, const char *names, bool absent, bool *out)
{
    const char *name;
    int n;
    const json_t *v = get_named(h, names, &name, &n);
    *out = absent;
    if (!v) return PUMICE_OK;
    if (!json_is_boolean(v)) return hf_damaged(h, "%.*s must be true or false", n, name);
    *out = json_is_true(v);
    return PUMICE_OK;
}

pumice_status hf_flag_set(hf *h, const char *names, bool absent, uint32_t flags)
{
    bool on;
    PUM_TRY(hf_flag(h, names, absent, &on));
    h->f.flags = on ? h->f.flags | flags : h->f.flags & ~flags;
    return PUMICE_OK;
}

pumice_status hf_activation(hf *h, const char *names)
{
    static const char *const known[][2] = {
        { "silu", "silu" },           { "swish", "silu" },
        { "gelu", "gelu_erf" },       { "gelu_python", "gelu_erf" },
        { "gelu_new", "gelu_tanh" },  { "gelu_pytorch_tanh", "gelu_tanh" },
        { "gelu_fast", "gelu_tanh" }, { "gelu_accurate", "gelu_tanh" },
        { "relu", "relu" },           { "relu2", "relu2" },
        { "quick_gelu", "gelu_quick" },
    };
    const char *name;
    int n;
    const json_t *v = get_named(h, names, &name, &n);
    if (!v) return PUMICE_OK;
    const char *text = json_string_value(v);
    for (size_t i = 0; text && i < PUM_COUNT(known); i++) {
        if (strcmp(text, known[i][0]) != 0) continue;
        h->f.activation = known[i][1];
        return PUMICE_OK;
    }
    return hf_unsupported(h, "%.*s is '%.40s', which is not supported", n, name,
                          text ? text : "no text");
}

/* ---- numbers that most families have ---- */

enum { MAX_LAYERS = 10000 };

#define AT(field) offsetof(hf_facts, field)

static const char head_dim_names[] = "head_dim|kv_channels|d_kv|dim_head";

static const struct {
    const char *names;
    size_t at;
    uint32_t min, max;
} ints[] = {
    { "num_hidden_layers|n_layer|num_layers|n_layers|depth", AT(layers), 1, MAX_LAYERS },
    { "hidden_size|n_embd|n_embed|d_model|dim", AT(embd), 1, 1u << 20 },
    { "num_attention_heads|n_head|n_heads|num_heads|heads", AT(heads), 1, 1u << 16 },
    { "num_key_value_heads", AT(kv_heads), 1, 1u << 16 },
    { head_dim_names, AT(head_dim), 1, 1u << 16 },
    { "intermediate_size|ffn_hidden_size|inner_hidden_size|n_inner|ffn_dim|d_ff", AT(ff), 1,
      1u << 22 },
    { "padded_vocab_size|vocab_size|num_tokens", AT(vocab), 1, 1u << 24 },
    { "max_position_embeddings|n_positions|seq_length|max_sequence_length|n_ctx|max_seq_len",
      AT(ctx), 1, 1u << 30 },
};

static const struct {
    const char *names;
    size_t at;
    float min, max;
} floats[] = {
    { "rms_norm_eps|layer_norm_epsilon|layer_norm_eps|layernorm_epsilon|norm_epsilon|norm_eps",
      AT(eps), 1e-12f, 1.0f },
    { "rope_theta|rope_parameters.rope_theta|rotary_emb_base|rotary_base", AT(rope_base), 1.0001f,
      1e30f },
    { "partial_rotary_factor|rope_parameters.partial_rotary_factor|rotary_pct|rope_pct",
      AT(rot_part), 0.001f, 1.0f },
};

/* Token ids; a list counts by its first item, and -1 means that there is none. */
static const struct {
    const char *names;
    size_t at;
} tokens[] = {
    { "bos_token_id", AT(bos) },
    { "eos_token_id", AT(eos) },
    { "pad_token_id", AT(pad) },
    { "decoder_start_token_id", AT(decoder_start) },
    { "forced_bos_token_id", AT(forced_bos) },
    { "forced_eos_token_id", AT(forced_eos) },
    { "gmask_token_id", AT(gmask) },
    { "mask_token_id", AT(mask) },
};

static pumice_status read_token(hf *h, const char *name, uint32_t *out)
{
    const json_t *v = hf_get(h, name);
    if (v && json_is_array(v)) v = json_array_get(v, 0);
    if (!v) return PUMICE_OK;
    json_int_t id = json_integer_value(v);
    if (!json_is_integer(v) || id >= 1 << 24) {
        return hf_damaged(h, "%s must be a token id or a list of them", name);
    }
    *out = id < 0 ? 0 : (uint32_t)id + 1;
    return PUMICE_OK;
}

static pumice_status read_numbers(hf *h)
{
    char *f = (char *)&h->f;
    for (size_t i = 0; i < PUM_COUNT(ints); i++) {
        PUM_TRY(hf_u32(h, ints[i].names, ints[i].min, ints[i].max, (uint32_t *)(f + ints[i].at)));
    }
    for (size_t i = 0; i < PUM_COUNT(floats); i++) {
        PUM_TRY(hf_f32(h, floats[i].names, floats[i].min, floats[i].max,
                       (float *)(f + floats[i].at)));
    }
    for (size_t i = 0; i < PUM_COUNT(tokens); i++) {
        PUM_TRY(read_token(h, tokens[i].names, (uint32_t *)(f + tokens[i].at)));
    }
    return PUMICE_OK;
}

/* Heads that the network can have, in config.json's words; all numbers are known. */
static pumice_status check_heads(hf *h)
{
    const hf_facts *f = &h->f;
    char name[64];
    bool given = hf_name(h, head_dim_names, name, sizeof name);
    if (f->head_dim % 2 != 0 || f->head_dim > PUM_MAX_HEAD_DIM) {
        return hf_unsupported(h, "%s is %u, but heads are supported with an even number of "
                                 "elements, at most %d",
                              given ? name : "hidden_size by num_attention_heads", f->head_dim,
                              PUM_MAX_HEAD_DIM);
    }
    if (f->rot_dim % 2 != 0 || f->rot_dim > f->head_dim) {
        return hf_unsupported(h, "%u of %u elements of a head are rotated, but the number must be "
                                 "even and no more than there are",
                              f->rot_dim, f->head_dim);
    }
    if (f->flags & HF_PERMUTED && f->rot_dim != f->head_dim) {
        return hf_unsupported(h, "only %u of %u elements of a head are rotated, which is not "
                                 "supported for this model_type",
                              f->rot_dim, f->head_dim);
    }
    if (f->dec_heads == f->heads) return PUMICE_OK;
    uint32_t dim = f->embd / f->dec_heads;
    if (f->embd % f->dec_heads != 0 || dim % 2 != 0 || dim > PUM_MAX_HEAD_DIM) {
        return hf_unsupported(h, "decoder_attention_heads is %u, but must divide the width of %u "
                                 "into heads with an even number of elements, at most %d",
                              f->dec_heads, f->embd, PUM_MAX_HEAD_DIM);
    }
    return PUMICE_OK;
}

/* What must be known in the end, from whatever key. */
static pumice_status check_numbers(hf *h)
{
    const char *f = (const char *)&h->f;
    for (size_t i = 0; i < PUM_COUNT(ints); i++) {
        uint32_t value;
        memcpy(&value, f + ints[i].at, sizeof value);
        if (value) continue;
        char names[128];
        snprintf(names, sizeof names, "%s", ints[i].names);
        for (char *p = strchr(names, '|'); p; p = strchr(p, '|')) *p = '/';
        return hf_damaged(h, "the key %s is missing", names);
    }
    if (h->f.heads % h->f.kv_heads != 0) {
        return hf_damaged(h, "num_attention_heads is %u, which is no multiple of the %u KV heads",
                          h->f.heads, h->f.kv_heads);
    }
    return check_heads(h);
}

static pumice_status set_defaults(hf *h)
{
    hf_facts *f = &h->f;
    if (!f->kv_heads) f->kv_heads = f->heads;
    if (!f->head_dim && f->heads && f->embd) {
        if (f->embd % f->heads != 0) {
            return hf_damaged(h,
                              "hidden_size is %u, which is no multiple of the %u attention heads, "
                              "and there is no head_dim",
                              f->embd, f->heads);
        }
        f->head_dim = f->embd / f->heads;
    }
    if (!f->ctx) f->ctx = 2048;
    if (!f->ff && f->embd) f->ff = 4 * f->embd;
    if (!f->proj) f->proj = f->embd;
    if (!f->dec_layers) f->dec_layers = f->layers;
    if (!f->dec_heads) f->dec_heads = f->heads;
    if (!f->dec_ff) f->dec_ff = f->ff;
    if (h->family->rotary && !f->rot_dim) {
        f->rot_dim = f->rot_part > 0 ? (uint32_t)(f->rot_part * (float)f->head_dim) : f->head_dim;
    }
    return PUMICE_OK;
}

/* ---- which model ---- */

static pumice_status find_family(hf *h)
{
    char known[320];
    const json_t *top = pum_hf_dir_config(h->dir);
    const char *type = json_string_value(json_object_get(top, "model_type"));
    h->config = top;
    if (!type) return hf_damaged(h, "the key model_type is missing or no text");
    const json_t *text = json_object_get(top, "text_config"); /* models that also see */
    if (json_is_object(text)) {
        h->config = text;
        const char *inner = json_string_value(json_object_get(text, "model_type"));
        if (inner) type = inner;
    }
    /* two networks bear the name chatglm; only the second has these keys */
    if (strcmp(type, "chatglm") == 0 && !hf_get(h, "padded_vocab_size|kv_channels|ffn_hidden_size"))
        type = "chatglm1";
    h->family = hf_family_find(type);
    if (h->family) return PUMICE_OK;
    hf_family_names(known, sizeof known);
    return hf_unsupported(h, "model_type is '%.40s', which is not supported; these are: %s", type,
                          known);
}

static pumice_status read_type(hf *h)
{
    const char *text = json_string_value(hf_get(h, "torch_dtype|dtype"));
    h->f.type = PUM_DTYPE_F32;
    if (!text) text = json_string_value(json_object_get(pum_hf_dir_config(h->dir), "torch_dtype"));
    if (text && strcmp(text, "float16") == 0) h->f.type = PUM_DTYPE_F16;
    if (text && strcmp(text, "bfloat16") == 0) h->f.type = PUM_DTYPE_BF16;
    return PUMICE_OK;
}

static bool says_something(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return json_object_size(v) > 0;
    case JSON_ARRAY: return json_array_size(v) > 0;
    case JSON_NULL: case JSON_FALSE: return false;
    case JSON_INTEGER: case JSON_REAL: return json_number_value(v) != 0;
    case JSON_STRING: case JSON_TRUE: break;
    }
    return true;
}

/* Keys that say that the tensors are other than the family's. */
static pumice_status refuse_changed(const hf *h, const json_t *config)
{
    static const char quantized[] = "weights that are quantized already are supported as GGUF only";
    static const struct {
        const char *key, *why;
    } keys[] = {
        { "quantization_config", quantized },
        { "compression_config", quantized },
        { "quantization_bit", quantized },
        { "pre_seq_len", "prefixes of P-tuning are not supported" },
    };
    for (size_t i = 0; i < PUM_COUNT(keys); i++) {
        const json_t *v = json_object_get(config, keys[i].key);
        if (!v || !says_something(v)) continue;
        if (!json_is_integer(v)) return hf_unsupported(h, "%s: %s", keys[i].key, keys[i].why);
        return hf_unsupported(h, "%s is %lld: %s", keys[i].key, (long long)json_integer_value(v), keys[i].why);
    }
    return PUMICE_OK;
}

pumice_status hf_config_read(hf *h)
{
    bool tied;
    PUM_TRY(find_family(h));
    PUM_TRY(refuse_changed(h, h->config));
    PUM_TRY(refuse_changed(h, pum_hf_dir_config(h->dir)));
    h->f.flags = h->family->flags | HF_ALWAYS;
    h->f.eps = h->family->eps;
    h->f.activation = h->family->activation;
    h->f.rope_base = 10000.0f;
    PUM_TRY(read_type(h));
    PUM_TRY(read_numbers(h));
    PUM_TRY(hf_flag(h, "tie_word_embeddings", !(h->f.flags & HF_UNTIED), &tied));
    h->f.flags = tied ? h->f.flags & ~(uint32_t)HF_UNTIED : h->f.flags | HF_UNTIED;
    if (strcmp(h->f.activation, "silu") == 0) PUM_TRY(hf_activation(h, "hidden_act"));
    if (h->family->read) PUM_TRY(h->family->read(h));
    PUM_TRY(set_defaults(h));
    return check_numbers(h);
}
