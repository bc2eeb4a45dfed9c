/* SPDX-License-Identifier: Apache-2.0
 * pumice_plan: plans a model's pass for a device that may not be there, and gives its text. */
#include "quant_mix.h"
#include "session.h"

static pumice_status plan_for(const pum_model_def *def, const pum_caps *caps,
                              const pumice_plan_params *p, pum_text *text, pumice_error *err)
{
    pum_tuning tuning;
    pum_session_size size;
    pum_placement weights = { 0 }, kv = { 0 };
    pum_plan plan = { 0 };
    pumice_status status;
    pum_tuning_for(caps, &tuning);
    pumice_session_params sp = { .struct_size = sizeof sp,
                                 .n_ctx_tokens = p->n_ctx_tokens,
                                 .n_sequences = p->n_sequences,
                                 .n_batch_tokens = p->n_rows > 256 ? p->n_rows : 0,
                                 .kv_type_k = p->kv_type_k,
                                 .kv_type_v = p->kv_type_v };
    PUM_GOTO(pum_session_size_make(def, &sp, &size, err));
    uint32_t rows = p->n_rows ? p->n_rows : 1;
    if (rows > size.step.rows) {
        status = pum_fail(err, PUMICE_ERROR_INVALID, "%u rows do not fit a context of %u tokens",
                          rows, size.n_ctx);
        goto fail;
    }
    PUM_GOTO(pum_weights_place(def, caps, &weights, err));
    PUM_GOTO(pum_kv_place(def, caps, size.kv_k, size.kv_v, size.pages, &kv, err));
    pum_plan_options options = { .no_fusion = p->no_fusion };
    pum_pass_key key = { .rows = rows,
                         .n_slots = 1,
                         .one_sequence = true,
                         .head = PUM_HEAD_SLOTS,
                         .sampler = rows == 1 ? PUM_SAMPLER_ARGMAX : PUM_SAMPLER_NONE };
    if (p->encoder) key = (pum_pass_key){ .rows = rows, .one_sequence = true, .encode = true };
    PUM_GOTO(pum_pass_plan(def, &size, caps, &tuning, &weights, &kv, &options, &key, &plan, err));
    if (p->check) PUM_GOTO(pum_plan_check(&plan, caps, &weights, &kv, err));
    if (p->format == PUMICE_PLAN_JSON) {
        pum_plan_dump_json(&plan, text);
    } else {
        pum_text_printf(text, "model: %s, %s, %llu parameters; device: %s\n", def->hp.name,
                        def->hp.architecture, (unsigned long long)def->parameters, caps->name);
        pum_plan_dump(&plan, text);
        pum_text_printf(
            text,
            "weights: %llu bytes in %zu buffers, %zu pieces; KV cache: %llu bytes for %u tokens\n",
            (unsigned long long)weights.total_bytes, weights.buffer_bytes.count,
            weights.pieces.count, (unsigned long long)kv.total_bytes, size.n_ctx);
        if (p->check) pum_text_printf(text, "check: ok\n");
    }
    if (text->failed)
        status = pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the plan's text");
fail:
    pum_plan_free(&plan);
    pum_placement_free(&weights);
    pum_placement_free(&kv);
    return status;
}

pumice_status pumice_plan(const pumice_plan_params *params, pumice_text_fn text, void *user,
                          pumice_error *err)
{
    pum_error_clear(err);
    if (!params || !text)
        return pum_fail(err, PUMICE_ERROR_INVALID, "params and text must be given");
    PUM_TRY(pum_params_check(params->struct_size, sizeof(uint32_t), "pumice_plan_params", err));
    pumice_plan_params p;
    pum_params_copy(&p, sizeof p, params);
    pum_caps caps;
    if (!p.path || (!p.profile && !p.device)) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "a model path and a device or profile must be given");
    }
    if (p.profile) {
        pum_caps_wishes wishes;
        if (!pum_caps_wishes_parse(p.disable, p.caps, p.quirks, &wishes, err)) return PUMICE_ERROR_INVALID;
        if (!pum_caps_profile_wish(p.profile, &wishes, &caps)) {
            return pum_fail(err, PUMICE_ERROR_INVALID, "there is no device profile '%s'",
                            p.profile);
        }
    } else {
        pum_vk_trusted_caps(p.device->vk, &caps);
    }
    pum_gguf *gguf = NULL;
    pum_model_def def = { 0 };
    pum_text out = { 0 };
    pumice_status status;
    PUM_GOTO(pum_model_open(p.path, &gguf, err));
    if (p.sizes) {
        pum_sizes_text(gguf, &caps, &p, &out);
        if (out.failed) PUM_GOTO(pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for sizes"));
    } else {
        PUM_GOTO(pum_model_def_load(gguf, &def, err));
        if (p.quant) PUM_GOTO(pum_quant_mix_apply(p.quant, gguf, &def, err));
        PUM_GOTO(plan_for(&def, &caps, &p, &out, err));
    }
    if (text(user, out.data, out.count))
        status = pum_fail(err, PUMICE_ERROR_CANCELLED, "the text callback asked to stop");
fail:
    pum_text_free(&out);
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
    return status;
}

const char *pumice_profile_name(size_t index) { return pum_caps_profile_name(index); }

const char *pumice_profile_find(const char *name)
{
    return name ? pum_caps_profile_find(name) : NULL;
}
