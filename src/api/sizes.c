/* SPDX-License-Identifier: Apache-2.0
 * The sizes that pumice_plan tells with params.sizes: memory by weight format at a context, the
 * bound that memory bandwidth sets on decoding, and how many devices it takes. */
#include "session.h"
#include "sizes.h"

#include <stdio.h>
#include <string.h>

static const pum_dtype formats[] = { PUM_DTYPE_F32,  PUM_DTYPE_F16,  PUM_DTYPE_Q8_0,
                                     PUM_DTYPE_Q6_K, PUM_DTYPE_Q5_K, PUM_DTYPE_Q4_K };

typedef struct line {
    const char *format;
    uint64_t weights, total, devices;
    double tokens_per_second;
} line;

/* Bytes of activations of the largest pass of a model that runs here. */
static pumice_status activations_of(const pum_model_def *def, const pum_caps *caps,
                                    const pum_tuning *tuning, const pum_session_size *size,
                                    uint64_t *out_bytes, pumice_error *err)
{
    pum_placement weights = { 0 }, kv = { 0 };
    pum_plan plan = { 0 };
    pumice_status status;
    PUM_GOTO(pum_weights_place(def, caps, false, &weights, err));
    PUM_GOTO(pum_kv_place(def, caps, size->kv_k, size->kv_v, size->pages, &kv, err));
    pum_plan_options options = { 0 };
    pum_pass_key key = { .rows = size->n_batch, .n_slots = 1, .one_sequence = true,
                         .head = PUM_HEAD_SLOTS };
    PUM_GOTO(pum_pass_plan(def, size, caps, tuning, &weights, &kv, &options, &key, &plan, err));
    *out_bytes = plan.arena_bytes;
fail:
    pum_plan_free(&plan);
    pum_placement_free(&weights);
    pum_placement_free(&kv);
    return status;
}

/* The same of any model. Where it does not run here, or not on such a device, *why says so and the
 * sizes are told without them; what no session could be asked for is an error. */
static pumice_status activations(const pum_gguf *gguf, const pum_caps *caps,
                                 const pum_tuning *tuning, const pumice_session_params *sp,
                                 uint64_t *out_bytes, pumice_error *why, pumice_error *err)
{
    pum_model_def def = { 0 };
    pum_session_size size;
    *out_bytes = 0;
    pumice_status status = pum_model_def_load(gguf, &def, why);
    if (status == PUMICE_OK) {
        status = pum_session_size_make(&def, sp, &size, err);
        if (status != PUMICE_OK) goto done;
        status = activations_of(&def, caps, tuning, &size, out_bytes, why);
    }
    if (status != PUMICE_ERROR_HOST_MEMORY) status = PUMICE_OK; /* else, why says it */
    else *err = *why;
done:
    pum_model_def_free(&def);
    return status;
}

static line make_line(const pum_gguf *gguf, pum_dtype type, uint64_t kv, uint64_t activation,
                      uint64_t heap, double gbs)
{
    uint64_t read;
    line l = { .format = pum_dtype_get(type)->name };
    pum_sizes_weights(gguf, type, &l.weights, &read);
    l.total = l.weights + kv + activation;
    l.devices = heap ? pum_ceil_div(l.total, heap) : 0;
    l.tokens_per_second = gbs * 1e9 / (double)PUM_MAX(read + kv, 1u);
    return l;
}

static void as_json(pum_text *text, const line *lines, size_t n)
{
    pum_text_printf(text, "\"formats\":[");
    for (size_t i = 0; i < n; i++) {
        const line *l = &lines[i];
        pum_text_printf(text,
                        "%s{\"format\":\"%s\",\"weight_bytes\":%llu,\"total_bytes\":%llu,"
                        "\"devices\":%llu,\"tokens_per_second\":%.3f}",
                        i ? "," : "", l->format, (unsigned long long)l->weights,
                        (unsigned long long)l->total, (unsigned long long)l->devices,
                        l->tokens_per_second);
    }
    pum_text_printf(text, "]}\n");
}

static void as_table(pum_text *text, const line *lines, size_t n)
{
    const double gib = 1024.0 * 1024.0 * 1024.0;
    pum_text_printf(text, "%-8s %14s %14s %10s %14s\n", "format", "weights GiB", "in all GiB",
                    "devices", "tokens/s below");
    for (size_t i = 0; i < n; i++) {
        const line *l = &lines[i];
        pum_text_printf(text, "%-8s %14.3f %14.3f %10llu %14.2f\n", l->format,
                        (double)l->weights / gib, (double)l->total / gib,
                        (unsigned long long)l->devices, l->tokens_per_second);
    }
}

typedef struct facts {
    pum_sizes sizes;
    pum_dtype k, v;
    uint32_t ctx;
    uint64_t kv_bytes, activation_bytes, heap;
    double gbs;
    pumice_error why; /* activations are not known */
} facts;

/* The part before the formats. */
static void head_as_json(pum_text *text, const facts *f)
{
    char activation[32] = "null";
    if (f->why.status == PUMICE_OK) {
        snprintf(activation, sizeof activation, "%llu", (unsigned long long)f->activation_bytes);
    }
    pum_text_printf(text,
                    "{\"parameters\":%llu,\"context\":%u,\"kv_bytes\":%llu,"
                    "\"activation_bytes\":%s,\"heap_bytes\":%llu,\"bandwidth_gbs\":%g,",
                    (unsigned long long)f->sizes.parameters, f->ctx, (unsigned long long)f->kv_bytes,
                    activation, (unsigned long long)f->heap, f->gbs);
}

static void head_as_text(pum_text *text, const facts *f, const pum_caps *caps)
{
    pum_text_printf(text, "parameters: %llu; device: %s, %.1f GiB, %s %g GB/s\n",
                    (unsigned long long)f->sizes.parameters, caps->name,
                    (double)f->heap / (1024.0 * 1024.0 * 1024.0),
                    caps->peak_gbs > 0 ? "at most" : "about", f->gbs);
    pum_text_printf(text, "context: %u tokens; KV cache: %llu bytes (%s, %s)", f->ctx,
                    (unsigned long long)f->kv_bytes, pum_dtype_get(f->k)->name,
                    pum_dtype_get(f->v)->name);
    if (f->why.status == PUMICE_OK) {
        pum_text_printf(text, "; activations: %llu bytes\n",
                        (unsigned long long)f->activation_bytes);
    } else {
        pum_text_printf(text, "\nactivations: not counted, since %s\n", f->why.text);
    }
}

static uint64_t cache_bytes(pum_dtype type, uint64_t elems)
{
    const pum_dtype_info *info = pum_dtype_get(type);
    return pum_ceil_div(elems, info->block_elems) * info->block_bytes;
}

static pumice_status gather(const pum_gguf *gguf, const pum_caps *caps, const pumice_plan_params *p,
                            facts *f, pumice_error *err)
{
    pum_tuning tuning;
    pum_tuning_for(caps, &tuning);
    *f = (facts){ .k = PUM_DTYPE_F16, .v = PUM_DTYPE_F16, .heap = caps->local_heap_bytes,
                  .gbs = pum_tuning_bandwidth(caps, &tuning) };
    pum_sizes_measure(gguf, &f->sizes);
    pum_kv_dtype(p->kv_type_k, &f->k);
    pum_kv_dtype(p->kv_type_v, &f->v);
    uint32_t train = f->sizes.n_ctx_train;
    f->ctx = p->n_ctx_tokens ? p->n_ctx_tokens : PUM_MIN(PUM_MAX(train, 1u), 4096u);
    if (train && f->ctx > train) return pum_context_too_long(f->ctx, train, err);
    uint64_t half = (f->sizes.kv_per_token + f->sizes.kv_per_source) / 2; /* K alone, or V */
    f->kv_bytes = cache_bytes(f->k, f->ctx * half) + cache_bytes(f->v, f->ctx * half);
    pumice_session_params sp = { .struct_size = sizeof sp, .n_ctx_tokens = f->ctx,
                                 .kv_type_k = p->kv_type_k, .kv_type_v = p->kv_type_v };
    return activations(gguf, caps, &tuning, &sp, &f->activation_bytes, &f->why, err);
}

pumice_status pum_sizes_text(const pum_gguf *gguf, const pum_caps *caps,
                             const pumice_plan_params *p, pum_text *text, pumice_error *err)
{
    line lines[PUM_COUNT(formats)];
    facts f;
    PUM_TRY(gather(gguf, caps, p, &f, err));
    for (size_t i = 0; i < PUM_COUNT(formats); i++) {
        lines[i] = make_line(gguf, formats[i], f.kv_bytes, f.activation_bytes, f.heap, f.gbs);
    }
    if (p->format == PUMICE_PLAN_JSON) {
        head_as_json(text, &f);
        as_json(text, lines, PUM_COUNT(formats));
    } else {
        head_as_text(text, &f, caps);
        as_table(text, lines, PUM_COUNT(formats));
    }
    return text->failed ? pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for sizes") : PUMICE_OK;
}
