/* SPDX-License-Identifier: Apache-2.0
 * pumice_plan: plans a model's pass for a device that may not be there, or for several that share its
 * layers, and gives its text. */
#include "session.h"

#include <stdio.h>
#include <string.h>

#include "part.h"
#include "quant_mix.h"

/* A device that is planned for: what it is worth, and a copy of what it can do. */
typedef struct target {
    pum_caps caps;
    pum_tuning tuning;
    uint64_t room_bytes;
    double bytes_per_second;
} target;

/* What planning came to for one device. */
typedef struct planned {
    pum_model_def part; /* empty: the device has all */
    pum_placement weights, kv;
    bool runs; /* a pass of the encoder alone, or of the decoder, may be without the device */
    pum_plan plan;
} planned;

typedef struct planner {
    const pum_model_def *def;
    const pumice_plan_params *params;
    target *targets;
    uint32_t n_targets;
    pum_session_size size;
    pum_plan_options options;
    pum_pass_key key;
    pum_text *text;
    pumice_error *err;
} planner;

static void free_planned(planned *d)
{
    pum_plan_free(&d->plan);
    pum_placement_free(&d->weights);
    pum_placement_free(&d->kv);
    pum_model_def_free(&d->part);
}

/* Plans the pass of `count` layers from `first`. */
static pumice_status plan_part(const planner *p, const target *t, uint32_t first, uint32_t count,
                               planned *out)
{
    const pum_session_size *z = &p->size;
    const pum_model_def *def = p->def;
    if (count != pum_model_def_layers(def)) {
        PUM_TRY(pum_model_def_part(p->def, first, count, &out->part, p->err));
        def = &out->part;
    }
    pum_pass_key key = pum_stage_key(def, &p->key);
    PUM_TRY(pum_weights_place(def, &t->caps, false, &out->weights, p->err));
    PUM_TRY(pum_kv_place(def, &t->caps, z->kv_k, z->kv_v, z->pages, &out->kv, p->err));
    out->runs = pum_stage_has_part(def, &p->key);
    if (!out->runs) return PUMICE_OK;
    PUM_TRY(pum_pass_plan(def, z, &t->caps, &t->tuning, &out->weights, &out->kv, &p->options, &key,
                          &out->plan, p->err));
    return p->params->check
        ? pum_plan_check(&out->plan, &t->caps, &out->weights, &out->kv, p->err) : PUMICE_OK;
}

static void describe_plan(const planner *p, const target *t, const planned *d)
{
    typedef unsigned long long ull;
    pum_text_printf(p->text, "model: %s, %s, %llu parameters; device: %s\n", p->def->hp.name,
                    p->def->hp.architecture, (ull)p->def->parameters, t->caps.name);
    pum_plan_dump(&d->plan, p->text);
    pum_text_printf(
        p->text,
        "weights: %llu bytes in %zu buffers, %zu pieces; KV cache: %llu bytes for %u tokens\n",
        (ull)d->weights.total_bytes, d->weights.buffer_bytes.count, d->weights.pieces.count,
        (ull)d->kv.total_bytes, p->size.n_ctx);
    if (p->params->check) pum_text_printf(p->text, "check: ok\n");
}

static pumice_status plan_one(const planner *p)
{
    planned d = { 0 };
    pumice_status status = plan_part(p, &p->targets[0], 0, pum_model_def_layers(p->def), &d);
    if (status == PUMICE_OK) {
        if (p->params->format == PUMICE_PLAN_JSON) pum_plan_dump_json(&d.plan, p->text);
        else describe_plan(p, &p->targets[0], &d);
    }
    free_planned(&d);
    return status;
}

static pumice_status count_layers(const planner *p, uint32_t *counts)
{
    pum_cut_device worth[PUM_MAX_PARTS];
    const pumice_plan_params *a = p->params;
    if (a->n_split && a->n_split != p->n_targets) {
        return pum_fail(p->err, PUMICE_ERROR_INVALID, "the split has %u numbers for %u devices",
                        a->n_split, p->n_targets);
    }
    for (uint32_t i = 0; a->n_split && i < a->n_split; i++) counts[i] = a->split[i];
    if (a->n_split) return pum_cut_check(p->def, counts, p->n_targets, p->err);
    for (uint32_t i = 0; i < p->n_targets; i++) {
        const target *t = &p->targets[i];
        worth[i] = (pum_cut_device){ &t->caps, &t->tuning, t->room_bytes, t->bytes_per_second };
    }
    pumice_session_params sp = { .struct_size = sizeof sp,
                                 .n_ctx_tokens = p->size.n_ctx,
                                 .n_sequences = p->size.n_sequences,
                                 .n_batch_tokens = p->size.n_batch,
                                 .kv_type_k = a->kv_type_k,
                                 .kv_type_v = a->kv_type_v };
    return pum_cut_make(p->def, &sp, worth, p->n_targets, counts, p->err);
}

/* A driver's text as a JSON string. */
static void quote(pum_text *text, const char *s)
{
    pum_text_add(text, "\"", 1);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') pum_text_add(text, "\\", 1);
        pum_text_add(text, (unsigned char)*s < ' ' ? "?" : s, 1);
    }
    pum_text_add(text, "\"", 1);
}

static const pum_model_def *def_of(const planner *p, const planned *d)
{
    return d->part.hp.n_layers || d->part.encoder.layers.count ? &d->part : p->def;
}

static void name_layers(pum_text *text, const char *of, uint32_t first, size_t count)
{
    if (count) pum_text_printf(text, "%slayers %u to %u", of, first, first + (uint32_t)count - 1);
}

static void describe_layers(pum_text *text, const pum_model_def *part)
{
    bool both = part->encoder.layers.count && part->hp.n_layers;
    name_layers(text, "encoder ", part->encoder.first_layer, part->encoder.layers.count);
    if (both) pum_text_printf(text, " and ");
    name_layers(text, part->hp.encoder.n_layers ? "decoder " : "", part->first_layer, part->hp.n_layers);
}

/* One line a device: its layers, its bytes, and what goes on from it. */
static void describe_part(const planner *p, const target *t, const planned *d, uint32_t i)
{
    typedef unsigned long long ull;
    const pum_model_def *def = def_of(p, d);
    bool last = !def->goes_on;
    uint64_t row = last ? 0 : (uint64_t)p->def->hp.n_embd * 4;
    if (p->params->format == PUMICE_PLAN_JSON) {
        pum_text_printf(p->text, "%s{\"device\": ", i ? ", " : "{\"parts\": [");
        quote(p->text, t->caps.name);
        if (def->hp.encoder.n_layers) {
            pum_text_printf(p->text, ", \"first_encoder_layer\": %u, \"n_encoder_layers\": %u",
                            def->encoder.first_layer, (uint32_t)def->encoder.layers.count);
        }
        pum_text_printf(p->text,
                        ", \"first_layer\": %u, \"n_layers\": %u, \"weight_bytes\": %llu, "
                        "\"kv_bytes\": %llu, \"activation_bytes\": %llu, \"bytes_per_row\": %llu, "
                        "\"plan\": ",
                        def->first_layer, def->hp.n_layers, (ull)d->weights.total_bytes,
                        (ull)d->kv.total_bytes, (ull)d->plan.arena_bytes, (ull)row);
        if (d->runs) pum_plan_dump_json(&d->plan, p->text);
        else pum_text_printf(p->text, "null");
        pum_text_printf(p->text, "}%s", last ? "]}\n" : "");
        return;
    }
    pum_text_printf(p->text, "part %u: ", i);
    describe_layers(p->text, def);
    pum_text_printf(p->text,
                    " on %s: %llu bytes of weights, %llu of KV cache for %u tokens, %llu of activations%s\n",
                    t->caps.name, (ull)d->weights.total_bytes, (ull)d->kv.total_bytes, p->size.n_ctx,
                    (ull)d->plan.arena_bytes, p->params->check && d->runs ? "; check: ok" : "");
    if (!d->runs) {
        pum_text_printf(p->text, "        has no part in this pass\n");
    } else if (!last) {
        pum_text_printf(p->text, "        hands on %llu bytes a token, %llu for this pass\n",
                        (ull)row, (ull)(row * p->key.rows));
    }
}

static pumice_status plan_several(const planner *p)
{
    uint32_t counts[PUM_MAX_PARTS], n = p->n_targets, first = 0;
    bool json = p->params->format == PUMICE_PLAN_JSON;
    pumice_status status;
    planned *all = pum_alloc_array(n, sizeof *all);
    if (!all) return pum_fail(p->err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
    PUM_GOTO(count_layers(p, counts));
    for (uint32_t i = 0; i < n; i++) {
        PUM_GOTO(plan_part(p, &p->targets[i], first, counts[i], &all[i]));
        describe_part(p, &p->targets[i], &all[i], i);
        first += counts[i];
    }
    for (uint32_t i = 0; i < n && !json; i++) {
        if (!all[i].runs) continue;
        pum_text_printf(p->text, "\npart %u, ", i);
        describe_plan(p, &p->targets[i], &all[i]);
    }
fail:
    for (uint32_t i = 0; i < n; i++) free_planned(&all[i]);
    pum_free(all);
    return status;
}

static pumice_status plan_for(planner *p)
{
    const pumice_plan_params *a = p->params;
    pumice_session_params sp = { .struct_size = sizeof sp,
                                 .n_ctx_tokens = a->n_ctx_tokens,
                                 .n_sequences = a->n_sequences,
                                 .n_batch_tokens = a->n_rows > 256 ? a->n_rows : 0,
                                 .kv_type_k = a->kv_type_k,
                                 .kv_type_v = a->kv_type_v,
                                 .no_fusion = a->no_fusion,
                                 .activations = a->activations };
    PUM_TRY(pum_session_size_make(p->def, &sp, &p->size, p->err));
    p->options = pum_session_plan_options(&sp);
    uint32_t rows = a->n_rows ? a->n_rows : 1;
    if (rows > p->size.step.rows) {
        return pum_fail(p->err, PUMICE_ERROR_INVALID, "%u rows do not fit a context of %u tokens",
                        rows, p->size.n_ctx);
    }
    p->key = (pum_pass_key){ .rows = rows,
                             .n_slots = 1,
                             .one_sequence = true,
                             .head = PUM_HEAD_SLOTS,
                             .sampler = rows == 1 ? PUM_SAMPLER_ARGMAX : PUM_SAMPLER_NONE };
    if (a->encoder) p->key = (pum_pass_key){ .rows = rows, .one_sequence = true, .encode = true };
    PUM_TRY(p->n_targets == 1 && !a->n_split ? plan_one(p) : plan_several(p));
    return p->text->failed
        ? pum_fail(p->err, PUMICE_ERROR_HOST_MEMORY, "no memory for the plan's text") : PUMICE_OK;
}

/* ---- for what: profiles or devices ---- */

static pumice_status add_profile(planner *p, const pum_caps_wishes *wishes, const char *name)
{
    target *t = &p->targets[p->n_targets];
    if (!pum_caps_profile_wish(name, wishes, &t->caps)) {
        return pum_fail(p->err, PUMICE_ERROR_INVALID, "there is no device profile '%s'", name);
    }
    pum_tuning_for(&t->caps, &t->tuning);
    t->room_bytes = t->caps.local_heap_bytes;
    t->bytes_per_second = pum_tuning_bandwidth(&t->caps, &t->tuning) * 1e9;
    p->n_targets++;
    return PUMICE_OK;
}

static pumice_status add_profiles(planner *p)
{
    const pumice_plan_params *a = p->params;
    pum_caps_wishes wishes;
    char name[64];
    if (!pum_caps_wishes_parse(a->disable, a->caps, a->quirks, &wishes, p->err))
        return PUMICE_ERROR_INVALID;
    for (const char *at = a->profile; at && p->n_targets < PUM_MAX_PARTS;) {
        size_t n = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)PUM_MIN(n, sizeof name - 1), at);
        PUM_TRY(add_profile(p, &wishes, name));
        at = at[n] ? at + n + 1 : NULL;
    }
    return PUMICE_OK;
}

static void add_device(planner *p, pumice_device *const *devices, uint32_t n, uint32_t index)
{
    target *t = &p->targets[p->n_targets++];
    pum_vk_trusted_caps(devices[index]->vk, &t->caps);
    pum_tuning_for(&t->caps, &t->tuning);
    if (n == 1) return;
    pum_cut_device worth;
    pum_cut_device_of(devices, n, index, &worth);
    t->room_bytes = worth.room_bytes;
    t->bytes_per_second = worth.bytes_per_second;
}

static pumice_status add_targets(planner *p)
{
    const pumice_plan_params *a = p->params;
    pumice_device *const *devices = a->n_devices ? a->devices : &a->device;
    uint32_t n = a->n_devices ? a->n_devices : 1;
    if (a->profile) return add_profiles(p);
    if (n > PUM_MAX_PARTS) {
        return pum_fail(p->err, PUMICE_ERROR_INVALID, "at most %d devices are possible, not %u",
                        PUM_MAX_PARTS, n);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!devices || !devices[i]) {
            return pum_fail(p->err, PUMICE_ERROR_INVALID,
                            "a model path and a device or profile must be given");
        }
        add_device(p, devices, n, i);
    }
    return PUMICE_OK;
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
    if (!p.path || (!p.profile && !p.device && !p.n_devices)) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "a model path and a device or profile must be given");
    }
    pum_gguf *gguf = NULL;
    pum_model_def def = { 0 };
    pum_text out = { 0 };
    pumice_status status;
    planner made = { .def = &def, .params = &p, .text = &out, .err = err,
                     .targets = pum_alloc_array(PUM_MAX_PARTS, sizeof(target)) };
    if (!made.targets) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to plan");
    PUM_GOTO(add_targets(&made));
    PUM_GOTO(pum_model_open(p.path, &gguf, err));
    if (p.sizes) {
        PUM_GOTO(pum_sizes_text(gguf, &made.targets[0].caps, &p, &out, err));
    } else {
        PUM_GOTO(pum_model_def_load(gguf, &def, err));
        if (p.quant) PUM_GOTO(pum_quant_mix_apply(p.quant, gguf, &def, err));
        PUM_GOTO(plan_for(&made));
    }
    if (text(user, out.data, out.count))
        status = pum_fail(err, PUMICE_ERROR_CANCELLED, "the text callback asked to stop");
fail:
    pum_free(made.targets);
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
