/* SPDX-License-Identifier: Apache-2.0
 * What each family means by its config.json, beyond the names of hf_config.c: defaults of the
 * original configuration classes where a file leaves a key out, and options that change the
 * network. One function for each row of hf_families.c that needs one. */
#include <math.h>
#include <string.h>

#include "hf_model.h"

enum { MAX_WIDTH = 1 << 22, MAX_EXPERTS = 1 << 14 };

/* 0 absent, 1 no, 2 yes */
static uint32_t tri(bool on) { return on ? 2 : 1; }

static pumice_status no_memory(hf *h)
{
    return pum_fail(h->err, PUMICE_ERROR_HOST_MEMORY, "no memory to read config.json");
}

/* ---- what differs between layers ---- */

/* A flag for each layer. *out_every: 0 if none is set, 1 if all are, n if all but every n-th are; where
 * no such number says it they are kept as a list, and it is 0. */
static pumice_status set_layers(hf *h, const bool *on, bool_list *list, uint32_t *out_every)
{
    uint32_t n = h->f.layers, count = 0, first_off = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (count == i && on[i]) first_off = i + 1;
        count += on[i];
    }
    *out_every = count == 0 ? 0 : count == n ? 1 : first_off + 1;
    bool regular = *out_every != 1 || count == n;
    for (uint32_t i = 0; i < n && *out_every > 1; i++) {
        regular = regular && on[i] == ((i + 1) % *out_every != 0);
    }
    if (regular) return PUMICE_OK;
    *out_every = 0;
    if (!pum_array_reserve(list, n)) return no_memory(h);
    memcpy(list->data, on, n * sizeof *on);
    list->count = n;
    return PUMICE_OK;
}

/* The layers with a window: those that layer_types names (a list with one word a layer), else those
 * for which `on` is set. */
static pumice_status set_windows(hf *h, bool *on)
{
    const json_t *types = hf_get(h, "layer_types");
    size_t n = json_array_size(types);
    if (types && n < h->f.layers) return hf_damaged(h, "layer_types has %zu items for %u layers", n, h->f.layers);
    for (uint32_t i = 0; types && i < h->f.layers; i++) {
        const char *s = json_string_value(json_array_get(types, i));
        on[i] = s && strcmp(s, "sliding_attention") == 0;
        if (on[i] || (s && strcmp(s, "full_attention") == 0)) continue;
        return hf_unsupported(h, "layer_types has '%.40s', which is not supported", s ? s : "no text");
    }
    PUM_TRY(set_layers(h, on, &h->windowed, &h->f.window_pattern));
    if (h->f.window_pattern == 0 && h->windowed.count == 0) h->f.window = 0;
    return PUMICE_OK;
}

/* sliding_window: by default of all layers from `first` on, but for every n-th (0: for none). */
static pumice_status read_windows(hf *h, uint32_t first, uint32_t every)
{
    PUM_TRY(hf_u32(h, "sliding_window", 1, 1u << 30, &h->f.window));
    if (!h->f.window || !h->f.layers) return PUMICE_OK;
    bool *on = pum_alloc_array(h->f.layers, sizeof *on);
    if (!on) return no_memory(h);
    for (uint32_t i = 0; i < h->f.layers; i++) on[i] = i >= first && (!every || (i + 1) % every != 0);
    pumice_status status = set_windows(h, on);
    pum_free(on);
    return status;
}

static pumice_status read_window(hf *h) { return read_windows(h, 0, 0); }

pumice_status hf_read_llama(hf *h)
{
    PUM_TRY(hf_flag_set(h, "attention_bias|bias", false, HF_QKV_BIAS | HF_O_BIAS));
    PUM_TRY(hf_flag_set(h, "mlp_bias", false, HF_MLP_BIAS));
    return read_window(h);
}

/* ---- mixtures of experts ---- */

static pumice_status read_experts(hf *h, const char *count_names)
{
    hf_facts *f = &h->f;
    PUM_TRY(hf_u32(h, count_names, 1, MAX_EXPERTS, &f->experts));
    PUM_TRY(hf_u32(h, "num_experts_per_tok", 1, MAX_EXPERTS, &f->experts_used));
    if (!f->experts) return hf_damaged(h, "the key %s is missing", count_names);
    if (!f->experts_used) return hf_damaged(h, "the key num_experts_per_tok is missing");
    if (f->experts_used <= f->experts) return PUMICE_OK;
    return hf_damaged(h, "num_experts_per_tok is %u, but there are only %u experts",
                      f->experts_used, f->experts);
}

pumice_status hf_read_mixtral(hf *h)
{
    PUM_TRY(read_experts(h, "num_local_experts"));
    h->f.ff_expert = h->f.ff;
    h->f.experts_norm = tri(true);
    return read_window(h);
}

pumice_status hf_read_qwen2(hf *h)
{
    bool use;
    uint32_t from = 28;
    PUM_TRY(hf_flag(h, "use_sliding_window", false, &use));
    if (!use) return PUMICE_OK;
    PUM_TRY(hf_u32(h, "max_window_layers", 0, 1u << 16, &from));
    return read_windows(h, from, 0);
}

pumice_status hf_read_qwen3(hf *h)
{
    if (!h->f.head_dim) h->f.head_dim = 128;
    PUM_TRY(hf_flag_set(h, "attention_bias", false, HF_QKV_BIAS | HF_O_BIAS));
    return hf_read_qwen2(h);
}

pumice_status hf_read_qwen_moe(hf *h)
{
    bool norm, is_v3 = strcmp(h->family->arch, "qwen3moe") == 0;
    uint32_t step = 1;
    PUM_TRY(is_v3 ? hf_read_qwen3(h) : hf_read_qwen2(h));
    PUM_TRY(read_experts(h, "num_experts"));
    PUM_TRY(hf_u32(h, "moe_intermediate_size", 1, MAX_WIDTH, &h->f.ff_expert));
    PUM_TRY(hf_u32(h, "shared_expert_intermediate_size", 1, MAX_WIDTH, &h->f.ff_shared));
    PUM_TRY(hf_u32(h, "decoder_sparse_step", 1, 1u << 16, &step));
    PUM_TRY(hf_flag(h, "norm_topk_prob", false, &norm));
    if (!h->f.ff_expert) return hf_damaged(h, "the key moe_intermediate_size is missing");
    if (step != 1 || json_array_size(hf_get(h, "mlp_only_layers")) > 0) {
        return hf_unsupported(h, "decoder_sparse_step and mlp_only_layers: layers without experts "
                                 "among those with them are not supported");
    }
    h->f.experts_norm = tri(norm);
    if (is_v3) h->f.ff_shared = 0;
    if (h->f.ff_shared) h->f.flags |= HF_SHARED;
    return PUMICE_OK;
}

pumice_status hf_read_olmoe(hf *h)
{
    bool norm;
    PUM_TRY(read_experts(h, "num_experts"));
    PUM_TRY(hf_flag(h, "norm_topk_prob", false, &norm));
    PUM_TRY(hf_f32(h, "clip_qkv", 1e-3f, 1e6f, &h->f.clamp));
    PUM_TRY(hf_flag_set(h, "attention_bias", false, HF_QKV_BIAS | HF_O_BIAS));
    h->f.ff_expert = h->f.ff;
    h->f.experts_norm = tri(norm);
    return PUMICE_OK;
}

/* ---- Gemma ---- */

/* hidden_act says "gelu" where the tanh form is meant; hidden_activation says what it is. */
pumice_status hf_read_gemma(hf *h)
{
    if (!h->f.head_dim) h->f.head_dim = 256;
    h->f.norm_add = 1.0f;
    h->f.embed_scale = (float)sqrt((double)h->f.embd);
    PUM_TRY(hf_flag_set(h, "attention_bias", false, HF_QKV_BIAS | HF_O_BIAS));
    return hf_activation(h, "hidden_activation");
}

static pumice_status read_gemma_scores(hf *h, float attn_softcap, float final_softcap)
{
    uint32_t scalar = 256, every = strcmp(h->family->arch, "gemma2") == 0 ? 2 : 6;
    h->f.attn_softcap = json_object_get(h->config, "attn_logit_softcapping") ? 0 : attn_softcap;
    h->f.final_softcap = json_object_get(h->config, "final_logit_softcapping") ? 0 : final_softcap;
    PUM_TRY(hf_f32(h, "attn_logit_softcapping", 1e-3f, 1e6f, &h->f.attn_softcap));
    PUM_TRY(hf_f32(h, "final_logit_softcapping", 1e-3f, 1e6f, &h->f.final_softcap));
    PUM_TRY(hf_u32(h, "query_pre_attn_scalar", 1, 1u << 20, &scalar));
    PUM_TRY(hf_u32(h, "sliding_window_pattern", 1, 1u << 16, &every));
    h->f.attn_scale = (float)(1.0 / sqrt((double)scalar));
    h->f.window = 4096;
    return read_windows(h, 0, every);
}

pumice_status hf_read_gemma2(hf *h)
{
    PUM_TRY(hf_read_gemma(h));
    return read_gemma_scores(h, 50.0f, 30.0f);
}

/* The text_config of published files leaves out what the configuration class has as default. */
pumice_status hf_read_gemma3(hf *h)
{
    hf_facts *f = &h->f;
    if (!f->vocab) f->vocab = 262208;
    if (!f->heads) f->heads = 8;
    if (!f->kv_heads) f->kv_heads = 4;
    if (!f->ctx) f->ctx = 131072;
    if (!hf_get(h, "rope_theta")) f->rope_base = 1000000.0f;
    f->rope_base_local = 10000.0f;
    PUM_TRY(hf_f32(h, "rope_parameters.full_attention.rope_theta", 1.0001f, 1e30f, &f->rope_base));
    PUM_TRY(hf_f32(h, "rope_local_base_freq|rope_parameters.sliding_attention.rope_theta", 1.0001f,
                   1e30f, &f->rope_base_local));
    PUM_TRY(hf_read_gemma(h));
    return read_gemma_scores(h, 0, 0);
}

/* ---- Phi ---- */

pumice_status hf_read_phi(hf *h)
{
    bool qk;
    PUM_TRY(hf_flag(h, "qk_layernorm", false, &qk));
    if (qk) return hf_unsupported(h, "qk_layernorm is true, which is not supported");
    if (h->f.rot_part == 0) h->f.rot_part = 0.5f;
    return hf_activation(h, "hidden_act");
}

pumice_status hf_read_phi3(hf *h)
{
    h->f.original_ctx = 4096;
    PUM_TRY(hf_u32(h, "original_max_position_embeddings", 1, 1u << 30, &h->f.original_ctx));
    PUM_TRY(hf_activation(h, "hidden_act"));
    return read_window(h);
}

/* ---- GPT ---- */

pumice_status hf_read_gpt2(hf *h)
{
    bool inverse, scaled, cross;
    PUM_TRY(hf_flag(h, "scale_attn_by_inverse_layer_idx", false, &inverse));
    PUM_TRY(hf_flag(h, "scale_attn_weights", true, &scaled));
    PUM_TRY(hf_flag(h, "add_cross_attention", false, &cross));
    if (cross) return hf_unsupported(h, "add_cross_attention is true, which is not supported");
    if (inverse) h->f.inverse_layer = tri(true);
    if (!scaled) h->f.attn_scale = 1.0f;
    return hf_activation(h, "activation_function");
}

/* Fused rows are [head][q, k, v], or [q | k | v] with one K and V. */
pumice_status hf_read_gpt_bigcode(hf *h)
{
    bool multi_query;
    PUM_TRY(hf_flag(h, "multi_query", true, &multi_query));
    h->f.kv_heads = multi_query ? 1 : h->f.heads;
    return hf_read_gpt2(h);
}

pumice_status hf_read_gpt_neox(hf *h)
{
    bool parallel;
    PUM_TRY(hf_flag(h, "use_parallel_residual", true, &parallel));
    PUM_TRY(hf_flag_set(h, "attention_bias", true, HF_QKV_BIAS | HF_O_BIAS));
    h->f.parallel = tri(parallel);
    if (h->f.rot_part == 0) h->f.rot_part = 0.25f;
    return hf_activation(h, "hidden_act");
}

pumice_status hf_read_gptj(hf *h)
{
    h->f.rot_dim = 64;
    PUM_TRY(hf_u32(h, "rotary_dim", 2, 1u << 16, &h->f.rot_dim));
    return hf_activation(h, "activation_function");
}

/* ---- Falcon, BLOOM, MPT ---- */

/* Three blocks under one name: 7B (parallel, one norm, one KV head), 40B (parallel, two norms,
 * grouped KV heads), RW (serial, ALiBi, biases). */
pumice_status hf_read_falcon(hf *h)
{
    hf_facts *f = &h->f;
    bool bias, alibi, parallel, multi_query, grouped;
    uint32_t norms = 2;
    bool old_40b = strcmp(json_string_value(json_object_get(h->config, "model_type"))
                              ? json_string_value(json_object_get(h->config, "model_type"))
                              : "",
                          "RefinedWeb") == 0;
    PUM_TRY(hf_flag(h, "bias", false, &bias));
    PUM_TRY(hf_flag(h, "alibi", false, &alibi));
    PUM_TRY(hf_flag(h, "parallel_attn", true, &parallel));
    PUM_TRY(hf_flag(h, "multi_query", true, &multi_query));
    PUM_TRY(hf_flag(h, "new_decoder_architecture", old_40b, &grouped));
    PUM_TRY(hf_u32(h, "num_kv_heads|n_head_kv", 1, 1u << 16, &f->kv_heads));
    PUM_TRY(hf_u32(h, "num_ln_in_parallel_attn", 1, 2, &norms));
    if (!grouped) f->kv_heads = multi_query ? 1 : f->heads;
    if (bias) f->flags |= HF_QKV_BIAS | HF_O_BIAS | HF_MLP_BIAS;
    f->flags |= grouped && norms == 2 ? HF_TWO_NORMS : HF_ONE_NORM;
    if (!grouped && !parallel) f->flags |= HF_SERIAL;
    f->parallel = tri(parallel || grouped);
    if (alibi) {
        f->alibi = 8.0f;
        f->rot_dim = 0;
        f->rot_part = 0;
    }
    return hf_activation(h, "activation");
}

pumice_status hf_read_bloom(hf *h)
{
    bool after;
    PUM_TRY(hf_flag(h, "apply_residual_connection_post_layernorm", false, &after));
    if (after) {
        return hf_unsupported(h, "apply_residual_connection_post_layernorm is true, which is not "
                                 "supported");
    }
    h->f.alibi = 8.0f;
    return PUMICE_OK;
}

pumice_status hf_read_mpt(hf *h)
{
    hf_facts *f = &h->f;
    bool alibi, no_bias, qk, prefix;
    float ratio = 4.0f;
    PUM_TRY(hf_flag(h, "attn_config.alibi", true, &alibi));
    PUM_TRY(hf_flag(h, "attn_config.qk_ln", false, &qk));
    PUM_TRY(hf_flag(h, "attn_config.prefix_lm", false, &prefix));
    PUM_TRY(hf_flag(h, "no_bias", true, &no_bias));
    PUM_TRY(hf_f32(h, "expansion_ratio", 0.01f, 1000.0f, &ratio));
    PUM_TRY(hf_f32(h, "attn_config.clip_qkv", 1e-3f, 1e6f, &f->clamp));
    PUM_TRY(hf_f32(h, "attn_config.softmax_scale", 1e-6f, 1e6f, &f->attn_scale));
    PUM_TRY(hf_u32(h, "attn_config.kv_n_heads", 1, 1u << 16, &f->kv_heads));
    if (qk) return hf_unsupported(h, "attn_config.qk_ln is true, which is not supported");
    if (prefix) return hf_unsupported(h, "attn_config.prefix_lm is true, which is not supported");
    f->ff = (uint32_t)(ratio * (float)f->embd);
    if (alibi) {
        f->alibi = 8.0f;
        PUM_TRY(hf_f32(h, "attn_config.alibi_bias_max", 1.0f, 1000.0f, &f->alibi));
    } else {
        f->flags |= HF_POSITIONS;
    }
    if (!no_bias) f->flags |= HF_QKV_BIAS | HF_O_BIAS | HF_MLP_BIAS | HF_NORM_B;
    return PUMICE_OK;
}

pumice_status hf_read_opt(hf *h)
{
    hf_facts *f = &h->f;
    bool pre, removed;
    PUM_TRY(hf_flag(h, "do_layer_norm_before", true, &pre));
    PUM_TRY(hf_flag(h, "_remove_final_layer_norm", false, &removed));
    PUM_TRY(hf_flag_set(h, "enable_bias", true, HF_QKV_BIAS | HF_O_BIAS | HF_MLP_BIAS));
    PUM_TRY(hf_flag_set(h, "layer_norm_elementwise_affine", true, HF_NORM_W | HF_NORM_B));
    PUM_TRY(hf_u32(h, "word_embed_proj_dim", 1, 1u << 20, &f->proj));
    if (f->proj && f->proj != f->embd) f->flags |= HF_PROJ;
    if (pre && !removed) f->flags |= HF_FINAL_NORM;
    f->pre_norm = tri(pre);
    f->pos_offset = 2;
    return hf_activation(h, "activation_function");
}

/* ---- others of LLaMA's kind ---- */

pumice_status hf_read_stablelm(hf *h)
{
    bool parallel;
    PUM_TRY(hf_flag(h, "use_parallel_residual", false, &parallel));
    PUM_TRY(hf_flag_set(h, "use_qkv_bias", false, HF_QKV_BIAS));
    PUM_TRY(hf_flag_set(h, "qk_layernorm", false, HF_QK_NORM));
    if (!parallel) h->f.flags |= HF_SERIAL;
    h->f.parallel = tri(parallel);
    if (h->f.rot_part == 0) h->f.rot_part = 0.25f;
    return hf_activation(h, "hidden_act");
}

pumice_status hf_read_starcoder2(hf *h)
{
    PUM_TRY(hf_flag_set(h, "use_bias", true, HF_QKV_BIAS | HF_O_BIAS | HF_MLP_BIAS));
    PUM_TRY(hf_activation(h, "hidden_act"));
    return read_window(h);
}

pumice_status hf_read_internlm2(hf *h)
{
    return hf_flag_set(h, "bias", false, HF_QKV_BIAS | HF_O_BIAS);
}

pumice_status hf_read_olmo(hf *h)
{
    h->f.eps = 1e-5f; /* the network's own */
    PUM_TRY(hf_flag_set(h, "attention_bias", false, HF_QKV_BIAS | HF_O_BIAS));
    return hf_f32(h, "clip_qkv", 1e-3f, 1e6f, &h->f.clamp);
}

pumice_status hf_read_cohere(hf *h)
{
    h->f.logit_scale = 0.0625f;
    PUM_TRY(hf_f32(h, "logit_scale", 1e-6f, 1e6f, &h->f.logit_scale));
    PUM_TRY(hf_flag_set(h, "use_qk_norm", false, HF_QK_NORM));
    return hf_flag_set(h, "attention_bias", false, HF_QKV_BIAS | HF_O_BIAS);
}

pumice_status hf_read_cohere2(hf *h)
{
    uint32_t every = 4;
    PUM_TRY(hf_read_cohere(h));
    PUM_TRY(hf_u32(h, "sliding_window_pattern", 1, 1u << 16, &every));
    h->f.window = 4096;
    return read_windows(h, 0, every);
}

/* no_rope_layers has 1 where a layer is rotated, despite its name. */
static pumice_status read_rotated(hf *h, bool *on)
{
    const json_t *list = hf_get(h, "no_rope_layers");
    uint32_t every = 4;
    bool sliding;
    PUM_TRY(hf_u32(h, "no_rope_layer_interval", 1, 1u << 16, &every));
    PUM_TRY(hf_flag(h, "use_sliding_window", false, &sliding));
    if (list && json_array_size(list) < h->f.layers) {
        return hf_damaged(h, "no_rope_layers has %zu items for %u layers", json_array_size(list), h->f.layers);
    }
    for (uint32_t i = 0; i < h->f.layers; i++) {
        on[i] = list ? json_integer_value(json_array_get(list, i)) != 0 : (i + 1) % every != 0;
    }
    PUM_TRY(set_layers(h, on, &h->rotated, &h->f.skip_rope_every));
    if (h->f.skip_rope_every == 0 && h->rotated.count == 0) {
        return hf_unsupported(h, "no_rope_layers: no layer is rotated, which is not supported");
    }
    if (!sliding) return PUMICE_OK;
    PUM_TRY(hf_u32(h, "sliding_window", 1, 1u << 30, &h->f.window));
    for (uint32_t i = 0; i < h->f.layers; i++) on[i] = !on[i];
    return h->f.window ? set_windows(h, on) : PUMICE_OK;
}

pumice_status hf_read_smollm3(hf *h)
{
    if (!hf_get(h, "rope_theta|rope_parameters.rope_theta")) h->f.rope_base = 2000000.0f;
    PUM_TRY(hf_flag_set(h, "attention_bias", false, HF_QKV_BIAS | HF_O_BIAS));
    PUM_TRY(hf_flag_set(h, "mlp_bias", false, HF_MLP_BIAS));
    bool *on = pum_alloc_array((size_t)h->f.layers + 1, sizeof *on);
    if (!on) return no_memory(h);
    pumice_status status = read_rotated(h, on);
    pum_free(on);
    return status;
}

/* Four factors; the one of the logits divides. */
pumice_status hf_read_granite(hf *h)
{
    hf_facts *f = &h->f;
    f->attn_scale = f->logit_divisor = 1.0f;
    PUM_TRY(hf_f32(h, "attention_multiplier", 1e-6f, 1e6f, &f->attn_scale));
    PUM_TRY(hf_f32(h, "embedding_multiplier", 1e-6f, 1e6f, &f->embed_scale));
    PUM_TRY(hf_f32(h, "residual_multiplier", 1e-6f, 1e6f, &f->residual_scale));
    PUM_TRY(hf_f32(h, "logits_scaling", 1e-6f, 1e6f, &f->logit_divisor));
    return hf_read_llama(h);
}

pumice_status hf_read_granite_moe(hf *h)
{
    PUM_TRY(hf_read_granite(h));
    PUM_TRY(read_experts(h, "num_local_experts"));
    h->f.ff_expert = h->f.ff;
    h->f.experts_norm = tri(true);
    return PUMICE_OK;
}

/* Norms whose weights are stored less one. */
pumice_status hf_read_nemotron(hf *h)
{
    h->f.norm_add = 1.0f;
    if (h->f.rot_part == 0) h->f.rot_part = 0.5f;
    PUM_TRY(hf_f32(h, "rope_percentage|rope_percent", 0.001f, 1.0f, &h->f.rot_part));
    PUM_TRY(hf_flag_set(h, "attention_bias", false, HF_QKV_BIAS | HF_O_BIAS));
    PUM_TRY(hf_flag_set(h, "mlp_bias", false, HF_MLP_BIAS));
    return hf_activation(h, "hidden_act");
}

/* ---- prefix decoders ---- */

/* rope_ratio multiplies the base in GLM-4 and in the long variants of ChatGLM3, but divides positions
 * in that of ChatGLM2. Their files have the same keys: the name tells, else GLM-4's vocabulary and
 * epsilon. */
static bool ratio_is_of_base(const hf *h)
{
    const char *name = json_string_value(hf_get(h, "_name_or_path"));
    if (!name) name = pum_hf_dir_path(h->dir);
    if (strstr(name, "chatglm2")) return false;
    if (strstr(name, "chatglm3") || strstr(name, "LongAlign")) return true;
    return h->f.vocab > 100000 || h->f.eps < 1e-6f;
}

/* ChatGLM2, ChatGLM3 and GLM-4-9B. */
pumice_status hf_read_chatglm2(hf *h)
{
    hf_facts *f = &h->f;
    bool multi_query, rms, after;
    float ratio = 1.0f;
    PUM_TRY(hf_flag(h, "multi_query_attention", false, &multi_query));
    PUM_TRY(hf_flag(h, "rmsnorm", true, &rms));
    PUM_TRY(hf_flag(h, "apply_residual_connection_post_layernorm", false, &after));
    if (!rms || after) {
        return hf_unsupported(h, "%s is %s, which is not supported",
                              rms ? "apply_residual_connection_post_layernorm" : "rmsnorm",
                              rms ? "true" : "false");
    }
    if (multi_query) PUM_TRY(hf_u32(h, "multi_query_group_num", 1, 1u << 16, &f->kv_heads));
    PUM_TRY(hf_flag_set(h, "add_bias_linear", false, HF_QKV_BIAS | HF_O_BIAS | HF_MLP_BIAS));
    bool qkv_bias;
    PUM_TRY(hf_flag(h, "add_qkv_bias", false, &qkv_bias));
    if (qkv_bias) f->flags |= HF_QKV_BIAS;
    PUM_TRY(hf_f32(h, "rope_ratio", 1e-3f, 1e6f, &ratio));
    f->rot_part = 0.5f;
    if (ratio_is_of_base(h)) f->rope_base *= ratio;
    else f->rope_linear = ratio;
    return PUMICE_OK;
}

pumice_status hf_read_glm(hf *h)
{
    if (!h->f.head_dim) h->f.head_dim = 128;
    if (h->f.rot_part == 0) h->f.rot_part = 0.5f;
    PUM_TRY(hf_flag_set(h, "attention_bias", false, HF_QKV_BIAS));
    return hf_activation(h, "hidden_act");
}

/* ChatGLM-6B. Its residual factor is that of 28 layers whatever their number, because the original
 * never tells its blocks how many there are. Its head counts as tied, yet files have both: a head
 * that is there is used. */
pumice_status hf_read_chatglm1(hf *h)
{
    bool two;
    PUM_TRY(hf_flag(h, "position_encoding_2d", true, &two));
    if (!two) return hf_unsupported(h, "position_encoding_2d is false, which is not supported");
    if (!hf_get(h, "tie_word_embeddings") && pum_hf_dir_find(h->dir, "lm_head.weight", NULL)) {
        h->f.flags |= HF_UNTIED;
    }
    h->f.position_2d = h->f.freq_f16 = tri(true);
    h->f.alpha = (float)sqrt(56.0);
    h->f.rot_part = 0.5f;
    return PUMICE_OK;
}

pumice_status hf_read_palm(hf *h)
{
    float mult = 4.0f;
    h->f.kv_heads = 1;
    PUM_TRY(hf_f32(h, "ff_mult", 0.01f, 1000.0f, &mult));
    h->f.ff = (uint32_t)(mult * (float)h->f.embd);
    if (!h->f.head_dim) h->f.head_dim = 64;
    return PUMICE_OK;
}

/* ---- encoder-decoders ---- */

/* feed_forward_proj: an activation, or "gated-" and one; "gated-gelu" means the tanh form. */
pumice_status hf_read_t5(hf *h)
{
    hf_facts *f = &h->f;
    const char *type = json_string_value(json_object_get(h->config, "model_type"));
    const char *proj = json_string_value(hf_get(h, "feed_forward_proj"));
    bool umt5 = type && strcmp(type, "umt5") == 0;
    if (!proj && type && strcmp(type, "t5") != 0) proj = "gated-gelu";
    if (!proj) proj = "relu";
    bool gated = strncmp(proj, "gated-", 6) == 0;
    const char *act = gated ? proj + 6 : proj;
    if (strcmp(act, "relu") == 0) f->activation = "relu";
    else if (strcmp(act, "silu") == 0) f->activation = "silu";
    else if (strcmp(act, "gelu") == 0) f->activation = gated ? "gelu_tanh" : "gelu_erf";
    else if (strcmp(act, "gelu_new") == 0) f->activation = "gelu_tanh";
    else return hf_unsupported(h, "feed_forward_proj is '%.40s', which is not supported", proj);
    f->flags |= gated ? HF_GATED : HF_UNGATED;
    if (umt5) f->flags |= HF_BIAS_EACH;
    /* the class of mT5 has no tied head; a head that is tied is scaled */
    if (type && strcmp(type, "mt5") == 0 && !hf_get(h, "tie_word_embeddings")) {
        f->flags |= HF_UNTIED;
    }
    if (!(f->flags & HF_UNTIED)) f->logit_scale = (float)(1.0 / sqrt((double)f->embd));
    if (!f->head_dim) f->head_dim = 64;
    f->buckets = 32;
    f->max_distance = 128;
    f->attn_scale = 1.0f;
    if (!f->ctx) f->ctx = 512;
    if (!f->decoder_start) f->decoder_start = 1;
    PUM_TRY(hf_u32(h, "num_decoder_layers", 1, 10000, &f->dec_layers));
    PUM_TRY(hf_u32(h, "relative_attention_num_buckets", 4, 4096, &f->buckets));
    return hf_u32(h, "relative_attention_max_distance", 1, 1u << 20, &f->max_distance);
}

/* BART, and mBART, whose layers begin with their norms. */
pumice_status hf_read_bart(hf *h)
{
    hf_facts *f = &h->f;
    const char *type = json_string_value(json_object_get(h->config, "model_type"));
    bool pre = type && strcmp(type, "mbart") == 0, scale;
    PUM_TRY(hf_u32(h, "encoder_layers", 1, 10000, &f->layers));
    PUM_TRY(hf_u32(h, "decoder_layers", 1, 10000, &f->dec_layers));
    PUM_TRY(hf_u32(h, "encoder_attention_heads", 1, 1u << 16, &f->heads));
    PUM_TRY(hf_u32(h, "decoder_attention_heads", 1, 1u << 16, &f->dec_heads));
    PUM_TRY(hf_u32(h, "encoder_ffn_dim", 1, MAX_WIDTH, &f->ff));
    PUM_TRY(hf_u32(h, "decoder_ffn_dim", 1, MAX_WIDTH, &f->dec_ff));
    PUM_TRY(hf_flag(h, "scale_embedding", false, &scale));
    if (scale) f->embed_scale = (float)sqrt((double)f->embd);
    f->kv_heads = f->heads;
    f->pre_norm = tri(pre);
    if (pre) f->flags |= HF_FINAL_NORM;
    f->pos_offset = 2;
    f->eps = 1e-5f; /* the network's own */
    if (!f->decoder_start) f->decoder_start = 3;
    return hf_activation(h, "activation_function");
}
