/* SPDX-License-Identifier: Apache-2.0
 * The sizes that pumice_plan tells with params.sizes: memory by weight format at a context, the
 * bound that memory bandwidth sets on decoding, and how many devices it takes. */
#include "session.h"
#include "sizes.h"

#include <string.h>

static const pum_dtype formats[] = { PUM_DTYPE_F32,  PUM_DTYPE_F16,  PUM_DTYPE_Q8_0,
                                     PUM_DTYPE_Q6_K, PUM_DTYPE_Q5_K, PUM_DTYPE_Q4_K };

typedef struct line {
    const char *format;
    uint64_t weights, total, devices;
    double tokens_per_second;
} line;

/* Bytes of activations of the largest pass; false for an architecture that does not run here. */
static bool activations(const pum_gguf *gguf, const pum_caps *caps, const pum_tuning *tuning,
                        const pumice_session_params *sp, uint64_t *out_bytes)
{
    pum_model_def def = { 0 };
    pum_session_size size;
    pum_placement weights = { 0 }, kv = { 0 };
    pum_plan plan = { 0 };
    pumice_error ignored = { 0 }, *err = &ignored;
    pumice_status status;
    PUM_GOTO(pum_model_def_load(gguf, &def, err));
    PUM_GOTO(pum_session_size_make(&def, sp, &size, err));
    PUM_GOTO(pum_weights_place(&def, caps, &weights, err));
    PUM_GOTO(pum_kv_place(&def, caps, size.kv_k, size.kv_v, size.pages, &kv, err));
    pum_plan_options options = { 0 };
    pum_pass_key key = { .rows = size.n_batch, .n_slots = 1, .one_sequence = true,
                         .head = PUM_HEAD_SLOTS };
    PUM_GOTO(pum_pass_plan(&def, &size, caps, tuning, &weights, &kv, &options, &key, &plan, err));
    *out_bytes = plan.arena_bytes;
fail:
    pum_plan_free(&plan);
    pum_placement_free(&weights);
    pum_placement_free(&kv);
    pum_model_def_free(&def);
    return status == PUMICE_OK;
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

void pum_sizes_text(const pum_gguf *gguf, const pum_caps *caps, const pumice_plan_params *p,
                    pum_text *text)
{
    pum_sizes s;
    pum_tuning tuning;
    pum_dtype k = PUM_DTYPE_F16, v = PUM_DTYPE_F16;
    line lines[PUM_COUNT(formats)];
    uint64_t activation = 0, heap = caps->local_heap_bytes;
    pum_tuning_for(caps, &tuning);
    double gbs = pum_tuning_bandwidth(caps, &tuning);
    pum_sizes_measure(gguf, &s);
    pum_kv_dtype(p->kv_type_k, &k);
    pum_kv_dtype(p->kv_type_v, &v);
    uint32_t ctx = p->n_ctx_tokens ? p->n_ctx_tokens : PUM_MIN(PUM_MAX(s.n_ctx_train, 1u), 4096u);
    uint64_t half = (s.kv_per_token + s.kv_per_source) / 2; /* K alone, or V */
    uint64_t kv = ctx * half * (pum_dtype_get(k)->block_bytes + pum_dtype_get(v)->block_bytes);
    pumice_session_params sp = { .struct_size = sizeof sp, .n_ctx_tokens = ctx,
                                 .kv_type_k = p->kv_type_k, .kv_type_v = p->kv_type_v };
    bool known = activations(gguf, caps, &tuning, &sp, &activation);
    for (size_t i = 0; i < PUM_COUNT(formats); i++) {
        lines[i] = make_line(gguf, formats[i], kv, activation, heap, gbs);
    }
    if (p->format == PUMICE_PLAN_JSON) {
        pum_text_printf(text,
                        "{\"parameters\":%llu,\"context\":%u,\"kv_bytes\":%llu,"
                        "\"activation_bytes\":%llu,\"heap_bytes\":%llu,\"bandwidth_gbs\":%g,",
                        (unsigned long long)s.parameters, ctx, (unsigned long long)kv,
                        (unsigned long long)activation, (unsigned long long)heap, gbs);
        as_json(text, lines, PUM_COUNT(formats));
        return;
    }
    pum_text_printf(text, "parameters: %llu; device: %s, %.1f GiB, %s %g GB/s\n",
                    (unsigned long long)s.parameters, caps->name,
                    (double)heap / (1024.0 * 1024.0 * 1024.0),
                    caps->peak_gbs > 0 ? "at most" : "about", gbs);
    pum_text_printf(text, "context: %u tokens; KV cache: %llu bytes (%s, %s)", ctx,
                    (unsigned long long)kv, pum_dtype_get(k)->name, pum_dtype_get(v)->name);
    if (known) {
        pum_text_printf(text, "; activations: %llu bytes", (unsigned long long)activation);
    }
    pum_text_printf(text, "\n");
    as_table(text, lines, PUM_COUNT(formats));
}
