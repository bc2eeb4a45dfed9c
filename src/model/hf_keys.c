/* SPDX-License-Identifier: Apache-2.0
 * From the facts of a config.json to GGUF keys. What a key means is llama.cpp's convention where it
 * has one; the others are told in docs/models.md. Rotary scaling is turned into keys, or into
 * the divisors that GGUF keeps as a tensor. */
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hf_model.h"

typedef enum kind { U32, F32, TRI, TOKEN } kind;

#define AT(field) offsetof(hf_facts, field)

/* Keys after "<arch>."; those whose fact is absent are left out. */
static const struct {
    const char *key;
    size_t at;
    kind kind;
} rows[] = {
    { "block_count", AT(layers), U32 },
    { "context_length", AT(ctx), U32 },
    { "embedding_length", AT(embd), U32 },
    { "feed_forward_length", AT(ff), U32 },
    { "attention.head_count", AT(heads), U32 },
    { "attention.head_count_kv", AT(kv_heads), U32 },
    { "attention.key_length", AT(head_dim), U32 },
    { "attention.value_length", AT(head_dim), U32 },
    { "vocab_size", AT(vocab), U32 },
    { "rope.dimension_count", AT(rot_dim), U32 },
    { "rope.freq_base_swa", AT(rope_base_local), F32 },
    { "rope.skip_every", AT(skip_rope_every), U32 },
    { "rope.position_2d", AT(position_2d), TRI },
    { "rope.freq_f16", AT(freq_f16), TRI },
    { "use_parallel_residual", AT(parallel), TRI },
    { "pre_norm", AT(pre_norm), TRI },
    { "position_offset", AT(pos_offset), U32 },
    { "attention.max_alibi_bias", AT(alibi), F32 },
    { "attention.clamp_kqv", AT(clamp), F32 },
    { "attention.scale", AT(attn_scale), F32 },
    { "attention.scale_by_inverse_layer", AT(inverse_layer), TRI },
    { "attention.sliding_window", AT(window), U32 },
    { "attention.sliding_window_pattern", AT(window_pattern), U32 },
    { "attention.relative_buckets_count", AT(buckets), U32 },
    { "attention.relative_max_distance", AT(max_distance), U32 },
    { "attn_logit_softcapping", AT(attn_softcap), F32 },
    { "final_logit_softcapping", AT(final_softcap), F32 },
    { "embedding_scale", AT(embed_scale), F32 },
    { "residual_scale", AT(residual_scale), F32 },
    { "logit_scale", AT(logit_divisor), F32 }, /* of architectures where it divides */
    { "logit_scale", AT(logit_scale), F32 },
    { "deepnorm_alpha", AT(alpha), F32 },
    { "expert_count", AT(experts), U32 },
    { "expert_used_count", AT(experts_used), U32 },
    { "expert_feed_forward_length", AT(ff_expert), U32 },
    { "expert_shared_feed_forward_length", AT(ff_shared), U32 },
    { "expert_weights_norm", AT(experts_norm), TRI },
    { "gmask_token_id", AT(gmask), TOKEN },
};

/* Of encoder-decoders alone. */
static const struct {
    const char *key;
    size_t at;
    kind kind;
} decoder_rows[] = {
    { "decoder_block_count", AT(dec_layers), U32 },
    { "decoder_feed_forward_length", AT(dec_ff), U32 },
    { "attention.decoder_head_count", AT(dec_heads), U32 },
    { "decoder_start_token_id", AT(decoder_start), TOKEN },
    { "forced_bos_token_id", AT(forced_bos), TOKEN },
    { "forced_eos_token_id", AT(forced_eos), TOKEN },
};

static const struct {
    const char *key;
    size_t at;
} tokens[] = {
    { "tokenizer.ggml.bos_token_id", AT(bos) },
    { "tokenizer.ggml.eos_token_id", AT(eos) },
    { "tokenizer.ggml.padding_token_id", AT(pad) },
};

static const char *full_key(const hf *h, const char *suffix, char out[96])
{
    snprintf(out, 96, "%s.%s", h->family->arch, suffix);
    return out;
}

static void put(hf *h, const char *suffix, size_t at, kind k)
{
    char key[96];
    uint32_t bits;
    memcpy(&bits, (const char *)&h->f + at, sizeof bits); /* of a float too: 0.0f is absent */
    if (!bits) return;
    full_key(h, suffix, key);
    if (k == U32) pum_gguf_set_u32(h->out, key, bits);
    if (k == TRI) pum_gguf_set_bool(h->out, key, bits == 2);
    if (k == TOKEN) pum_gguf_set_u32(h->out, key, bits - 1);
    if (k == F32) {
        float x;
        memcpy(&x, &bits, sizeof x);
        pum_gguf_set_f32(h->out, key, x);
    }
}

static void put_f32(hf *h, const char *suffix, float value)
{
    char key[96];
    pum_gguf_set_f32(h->out, full_key(h, suffix, key), value);
}

static void put_u32(hf *h, const char *suffix, uint32_t value)
{
    char key[96];
    pum_gguf_set_u32(h->out, full_key(h, suffix, key), value);
}

static void put_text(hf *h, const char *suffix, const char *value)
{
    char key[96];
    pum_gguf_set_text(h->out, full_key(h, suffix, key), value);
}

/* In place of a number that says "every n-th". */
static void put_flags(hf *h, const char *suffix, const bool_list *list)
{
    char key[96];
    if (list->count == 0) return;
    pum_gguf_set_array(h->out, full_key(h, suffix, key), PUM_GGUF_BOOL, list->data, list->count);
}

/* ---- rotary scaling ---- */

typedef struct scaling {
    char at[64];      /* what config.json calls the object, with a path; "" if there is none */
    const char *type;
    float factor, attention_factor, beta_fast, beta_slow, low, high;
    uint32_t original;
    bool original_given;
} scaling;

static const char scaling_names[] = "rope_scaling|rope_parameters.full_attention|rope_parameters";

/* A number of the scaling object; 0 if it is absent. */
static pumice_status member(hf *h, const scaling *s, const char *name, float min, float max,
                            float *out)
{
    char path[128];
    snprintf(path, sizeof path, "%s.%s", s->at, name);
    return hf_f32(h, path, min, max, out);
}

static pumice_status read_scaling(hf *h, scaling *s)
{
    float original = 0;
    PUM_TRY(member(h, s, "factor", 1e-3f, 1e6f, &s->factor));
    PUM_TRY(member(h, s, "attention_factor", 1e-3f, 1e3f, &s->attention_factor));
    PUM_TRY(member(h, s, "beta_fast", 1e-3f, 1e6f, &s->beta_fast));
    PUM_TRY(member(h, s, "beta_slow", 1e-3f, 1e6f, &s->beta_slow));
    PUM_TRY(member(h, s, "low_freq_factor", 1e-3f, 1e6f, &s->low));
    PUM_TRY(member(h, s, "high_freq_factor", 1e-3f, 1e6f, &s->high));
    PUM_TRY(member(h, s, "original_max_position_embeddings", 1, 1 << 30, &original));
    s->original_given = original > 0;
    s->original = s->original_given ? (uint32_t)original
                                    : h->f.original_ctx ? h->f.original_ctx : h->f.ctx;
    return PUMICE_OK;
}

static pumice_status need(hf *h, const scaling *s, bool given, const char *name)
{
    if (given) return PUMICE_OK;
    return hf_damaged(h, "%s is of type '%s' but has no %s", s->at, s->type, name);
}

static pumice_status write_linear(hf *h, const scaling *s)
{
    PUM_TRY(need(h, s, s->factor > 0, "factor"));
    put_text(h, "rope.scaling.type", "linear");
    put_f32(h, "rope.scaling.factor", s->factor);
    return PUMICE_OK;
}

static pumice_status write_yarn(hf *h, const scaling *s)
{
    PUM_TRY(need(h, s, s->factor > 0, "factor"));
    put_text(h, "rope.scaling.type", "yarn");
    put_f32(h, "rope.scaling.factor", s->factor);
    put_u32(h, "rope.scaling.original_context_length", s->original);
    if (s->beta_fast > 0) put_f32(h, "rope.scaling.yarn_beta_fast", s->beta_fast);
    if (s->beta_slow > 0) put_f32(h, "rope.scaling.yarn_beta_slow", s->beta_slow);
    if (s->attention_factor > 0) { /* the key multiplies what YaRN has of its own */
        double own = s->factor > 1 ? 1.0 + 0.1 * log((double)s->factor) : 1.0;
        put_f32(h, "rope.scaling.attn_factor", (float)(s->attention_factor / own));
    }
    return PUMICE_OK;
}

/* What divides each frequency: 1 for short waves, the factor for long ones, a ramp between. */
static pumice_status write_llama3(hf *h, const scaling *s)
{
    float divisors[512];
    uint32_t n = h->f.rot_dim / 2;
    PUM_TRY(need(h, s, s->factor > 0, "factor"));
    PUM_TRY(need(h, s, s->low > 0, "low_freq_factor"));
    PUM_TRY(need(h, s, s->high > 0, "high_freq_factor"));
    PUM_TRY(need(h, s, s->original_given, "original_max_position_embeddings"));
    if (s->high <= s->low || n > PUM_COUNT(divisors)) {
        return hf_damaged(h, "%s: high_freq_factor must be above low_freq_factor", s->at);
    }
    for (uint32_t i = 0; i < n; i++) {
        double inverse = pow((double)h->f.rope_base, -(double)i / n);
        double turns = s->original * inverse / 6.283185307179586;
        double keep = fmin(fmax((turns - s->low) / ((double)s->high - s->low), 0.0), 1.0);
        divisors[i] = (float)(1.0 / ((1.0 - keep) / s->factor + keep));
    }
    return pum_gguf_add_f32(h->out, "rope_freqs.weight", divisors, n, h->err);
}

static pumice_status add_list(hf *h, const scaling *s, const char *name, const char *tensor)
{
    char path[128];
    float values[512];
    uint32_t n = h->f.rot_dim / 2;
    snprintf(path, sizeof path, "%s.%s", s->at, name);
    const json_t *list = hf_get(h, path);
    if (json_array_size(list) != n || n > PUM_COUNT(values)) {
        return hf_damaged(h, "%s must be a list of %u numbers", path, n);
    }
    for (uint32_t i = 0; i < n; i++) {
        double x = json_number_value(json_array_get(list, i));
        if (!(x >= 1e-3 && x <= 1e6)) {
            return hf_damaged(h, "item %u of %s must be from 0.001 to 1e+06", i, path);
        }
        values[i] = (float)x;
    }
    return pum_gguf_add_f32(h->out, tensor, values, n, h->err);
}

static pumice_status write_longrope(hf *h, const scaling *s)
{
    double stretch = s->factor > 0 ? (double)s->factor : (double)h->f.ctx / s->original;
    double own = stretch > 1 ? sqrt(1.0 + log(stretch) / log((double)s->original)) : 1.0;
    PUM_TRY(add_list(h, s, "long_factor", "rope_factors_long.weight"));
    PUM_TRY(add_list(h, s, "short_factor", "rope_factors_short.weight"));
    put_u32(h, "rope.scaling.original_context_length", s->original);
    put_f32(h, "rope.scaling.attn_factor", s->attention_factor > 0 ? s->attention_factor
                                                                   : (float)own);
    return PUMICE_OK;
}

/* "dynamic" does nothing within the context that the model was trained for, and no more than that
 * is promised here: a key says that it is there. */
static pumice_status write_dynamic(hf *h, const scaling *s)
{
    char key[96];
    (void)s;
    pum_gguf_set_bool(h->out, full_key(h, "rope.scaling.dynamic", key), true);
    return PUMICE_OK;
}

static pumice_status write_nothing(hf *h, const scaling *s)
{
    (void)h, (void)s;
    return PUMICE_OK;
}

static const struct {
    const char *type;
    pumice_status (*write)(hf *h, const scaling *s);
} scalings[] = {
    { "default", write_nothing }, { "none", write_nothing },      { "dynamic", write_dynamic },
    { "linear", write_linear },   { "yarn", write_yarn },         { "llama3", write_llama3 },
    { "su", write_longrope },     { "longrope", write_longrope },
};

/* rope_parameters by kind of layer: layers with a window have a base of their own, and no scaling. */
static pumice_status check_layer_rope(const hf *h)
{
    const char *layers;
    json_t *value, *all = json_object_get(h->config, "rope_parameters");
    json_object_foreach (all, layers, value) {
        if (!json_is_object(value)) continue;
        bool sliding = strcmp(layers, "sliding_attention") == 0;
        if (!(h->f.rope_base_local > 0) || (!sliding && strcmp(layers, "full_attention") != 0)) {
            return hf_unsupported(h, "rope_parameters.%.40s: rotary parameters for some layers are not "
                                     "supported for this model_type",
                                  layers);
        }
        const json_t *type = json_object_get(value, "rope_type");
        if (!type) type = json_object_get(value, "type");
        const char *text = type ? json_string_value(type) : "default";
        if (!sliding || (text && strcmp(text, "default") == 0)) continue;
        return hf_unsupported(h, "rope_parameters.sliding_attention is of type '%.40s', which is not "
                                 "supported: layers with a window have 'default'",
                              text ? text : "(no text)");
    }
    return PUMICE_OK;
}

static pumice_status write_rope(hf *h)
{
    scaling s = { 0 };
    PUM_TRY(check_layer_rope(h));
    const json_t *object = hf_get(h, scaling_names);
    put_f32(h, "rope.freq_base", h->f.rope_base);
    if (h->f.rope_linear > 0 && h->f.rope_linear != 1.0f) {
        s.factor = h->f.rope_linear;
        return write_linear(h, &s);
    }
    if (!object) return PUMICE_OK;
    hf_name(h, scaling_names, s.at, sizeof s.at);
    if (!json_is_object(object)) return hf_damaged(h, "%s must be an object or null", s.at);
    const json_t *v = json_object_get(object, "rope_type");
    if (!v) v = json_object_get(object, "type");
    s.type = v ? json_string_value(v) : "default";
    if (!v && json_object_get(object, "factor")) {
        return hf_damaged(h, "%s has a factor but no type", s.at);
    }
    for (size_t i = 0; s.type && i < PUM_COUNT(scalings); i++) {
        if (strcmp(s.type, scalings[i].type) != 0) continue;
        PUM_TRY(read_scaling(h, &s));
        return scalings[i].write(h, &s);
    }
    return hf_unsupported(h, "%s is of type '%.40s', which is not supported; these are: "
                             "linear, dynamic, yarn, llama3, longrope",
                          s.at, s.type ? s.type : "(no text)");
}

/* ---- the whole ---- */

/* The last part of a path. */
static pum_str last_part(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t first = end;
    while (first > 0 && path[first - 1] != '/') first--;
    return (pum_str){ path + first, end - first };
}

/* As config.json has it, else as the directory is called. */
static void write_name(hf *h)
{
    const char *given = json_string_value(json_object_get(pum_hf_dir_config(h->dir),
                                                          "_name_or_path"));
    pum_str name = last_part(given && given[0] ? given : pum_hf_dir_path(h->dir));
    char whole[PATH_MAX];
    if ((pum_str_equal(name, ".") || pum_str_equal(name, "..")) &&
        realpath(pum_hf_dir_path(h->dir), whole)) {
        name = last_part(whole);
    }
    pum_gguf_set_str(h->out, "general.name", name);
}

/* All ids that end a reply, if there are several. */
static void write_eos_list(hf *h)
{
    int32_t ids[64];
    uint64_t n = 0;
    const json_t *list = json_object_get(pum_hf_dir_generation(h->dir), "eos_token_id");
    if (!json_is_array(list)) list = hf_get(h, "eos_token_id");
    if (!json_is_array(list)) return;
    for (size_t i = 0; i < json_array_size(list) && n < PUM_COUNT(ids); i++) {
        const json_t *id = json_array_get(list, i);
        if (json_is_integer(id)) ids[n++] = (int32_t)json_integer_value(id);
    }
    pum_gguf_set_array(h->out, "tokenizer.ggml.eot_token_ids", PUM_GGUF_I32, ids, n);
}

pumice_status hf_keys_write(hf *h)
{
    const char *eps = "attention.layer_norm_rms_epsilon", *plain = "attention.layer_norm_epsilon";
    uint32_t file_type = h->f.type == PUM_DTYPE_F32 ? 0 : h->f.type == PUM_DTYPE_F16 ? 1 : 32;
    bool pair = h->family->stacks[1].hf != NULL;
    pum_gguf_set_text(h->out, "general.architecture", h->family->arch);
    write_name(h);
    pum_gguf_set_u32(h->out, "general.file_type", file_type);
    for (size_t i = 0; i < PUM_COUNT(rows); i++) put(h, rows[i].key, rows[i].at, rows[i].kind);
    put_flags(h, "attention.sliding_window_pattern", &h->windowed);
    put_flags(h, "rope.skip_every", &h->rotated);
    if (h->f.flags & HF_PROJ) put(h, "embedding_projection_length", AT(proj), U32);
    for (size_t i = 0; pair && i < PUM_COUNT(decoder_rows); i++) {
        put(h, decoder_rows[i].key, decoder_rows[i].at, decoder_rows[i].kind);
    }
    if (h->family->rms) put_f32(h, eps, h->f.eps);
    if (!h->family->rms || pair) put_f32(h, plain, h->f.eps);
    put_text(h, "activation", h->f.activation);
    if (h->f.rot_dim) PUM_TRY(write_rope(h));
    for (size_t i = 0; i < PUM_COUNT(tokens); i++) {
        uint32_t id;
        memcpy(&id, (const char *)&h->f + tokens[i].at, sizeof id);
        if (id) pum_gguf_set_u32(h->out, tokens[i].key, id - 1);
    }
    if (h->f.position_2d) {
        put(h, "mask_token_id", AT(mask), TOKEN);
        put(h, "sop_token_id", AT(bos), TOKEN);
        put(h, "eop_token_id", AT(eos), TOKEN);
    }
    write_eos_list(h);
    return PUMICE_OK;
}
