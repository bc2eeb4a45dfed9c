/* SPDX-License-Identifier: Apache-2.0
 * The doors of model/: finds the row of arch.def for a file, has hyper-parameters and weights read,
 * checks what a pass is asked to be and has its graph built. Knows no key, tensor or operation
 * itself. */
#include <stdio.h>
#include <string.h>

#include "arch.h"

static const pum_arch archs[] = {
#define PUM_ARCH(...) { __VA_ARGS__ },
#include "arch.def"
#undef PUM_ARCH
};

const pum_arch *pum_arch_find(const char *name)
{
    for (size_t i = 0; i < PUM_COUNT(archs); i++) {
        if (strcmp(archs[i].name, name) == 0) return &archs[i];
    }
    return NULL;
}

/* ---- text ---- */

void pum_model_text(pum_str text, char *out, size_t capacity)
{
    size_t n = 0;
    for (size_t i = 0; i < text.count;) {
        int len = pum_utf8_length(text.data + i, text.count - i);
        unsigned char c = (unsigned char)text.data[i];
        bool plain = len > 1 || (len == 1 && c >= ' ' && c != 127);
        size_t bytes = len > 0 ? (size_t)len : 1;
        if (n + bytes >= capacity) break;
        if (plain) memcpy(out + n, text.data + i, bytes);
        else out[n] = '?';
        n += plain ? bytes : 1;
        i += bytes;
    }
    out[n] = '\0';
}

pumice_status pum_model_fail(const pum_gguf *gguf, pumice_error *err, pumice_status status,
                             const char *fmt, ...)
{
    char text[480];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const char *path = pum_gguf_path(gguf);
    size_t n = strlen(path);
    bool cut = n > 100; /* the end of a long path says more than its beginning */
    return pum_fail(err, status, "'%s%s': %s", cut ? "..." : "", cut ? path + n - 100 : path, text);
}

/* ---- loading ---- */

static pumice_status find_arch(const pum_gguf *gguf, const pum_arch **out_arch, pumice_error *err)
{
    pum_str s;
    char name[64], known[320];
    if (!pum_gguf_str(gguf, "general.architecture", &s)) {
        return pum_model_fail(gguf, err, PUMICE_ERROR_FORMAT,
                              "the key general.architecture is missing or no text, so this is not "
                              "a model");
    }
    pum_model_text(s, name, sizeof name);
    *out_arch = s.count < sizeof name ? pum_arch_find(name) : NULL;
    if (*out_arch) return PUMICE_OK;
    size_t n = 0;
    for (size_t i = 0; i < PUM_COUNT(archs) && n < sizeof known; i++) {
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", archs[i].name);
    }
    return pum_model_fail(gguf, err, PUMICE_ERROR_UNSUPPORTED,
                          "models of architecture '%s' are not supported; these are: %s", name,
                          known);
}

pumice_status pum_model_def_load_as(const pum_arch *arch, const pum_gguf *gguf,
                                    pum_model_def *out_def, pumice_error *err)
{
    pum_model_def def = { .embed = -1, .positions = -1, .embed_norm = -1, .embed_norm_b = -1,
                          .embed_in = -1, .embed_out = -1, .output_norm = -1,
                          .output_norm_b = -1, .head = -1, .head_b = -1, .rope_freq = -1,
                          .rope_freq_local = -1, .codebooks = -1, .rope_scale = 1.0f,
                          .encoder = { .positions = -1, .embed_norm = -1, .embed_norm_b = -1,
                                       .output_norm = -1, .output_norm_b = -1 } };
    pumice_status status;
    *out_def = (pum_model_def){ 0 };
    PUM_GOTO(arch->read(arch, gguf, &def.hp, err));
    PUM_GOTO(pum_weights_load(arch, gguf, &def, err));
    *out_def = def;
    return PUMICE_OK;
fail:
    pum_model_def_free(&def);
    return status;
}

pumice_status pum_model_def_load(const pum_gguf *gguf, pum_model_def *out_def, pumice_error *err)
{
    const pum_arch *arch;
    uint32_t parts;
    *out_def = (pum_model_def){ 0 };
    if (pum_gguf_u32(gguf, "split.count", &parts) && parts > 1) {
        return pum_model_fail(gguf, err, PUMICE_ERROR_UNSUPPORTED,
                              "this is one of the %u files of a split model (split.count): merge "
                              "them into one first",
                              parts);
    }
    PUM_TRY(find_arch(gguf, &arch, err));
    return pum_model_def_load_as(arch, gguf, out_def, err);
}

void pum_model_def_free(pum_model_def *def)
{
    if (!def) return;
    for (size_t i = 0; i < def->weights.count; i++) pum_free(def->weights.data[i].owned);
    pum_array_free(&def->weights);
    pum_array_free(&def->layers);
    pum_array_free(&def->encoder.layers);
    *def = (pum_model_def){ 0 };
}

pumice_status pum_weight_read(const pum_weight *weight, uint64_t row_first, uint64_t rows, void *out,
                              pumice_error *err)
{
    if (!weight->data) {
        return pum_gguf_read_rows(weight->source, weight->source_row + row_first, rows, out, err);
    }
    memcpy(out, (const uint8_t *)weight->data + row_first * weight->row_bytes,
           (size_t)(rows * weight->row_bytes));
    return PUMICE_OK;
}

/* ---- building ---- */

static pumice_status check_build(const pum_build *b, pumice_error *err)
{
    const pum_dtype_info *k = pum_dtype_get(b->kv_type_k), *v = pum_dtype_get(b->kv_type_v);
    bool scores = b->sampler == PUM_SAMPLER_SCORE;
    bool slots = b->rows == 0 || b->head == PUM_HEAD_SLOTS ||
                 (b->sampler != PUM_SAMPLER_NONE && !scores);
    if (b->rows == 0 && b->sampler == PUM_SAMPLER_NONE) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "a pass without rows and without a sampler does nothing");
    }
    if (b->rows > b->step.rows) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "a pass over %u rows does not fit a step buffer for %u", b->rows,
                        b->step.rows);
    }
    if (slots && (b->n_slots == 0 || b->n_slots > b->step.slots || b->n_slots > b->logits_rows)) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "a pass with %u slots needs 1 to %u, with %u rows of logits", b->n_slots,
                        b->step.slots, b->logits_rows);
    }
    if (b->encode && (b->rows == 0 || b->head != PUM_HEAD_NONE || b->sampler != PUM_SAMPLER_NONE)) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "an encoder's pass has rows and no logits");
    }
    if (scores && b->head != PUM_HEAD_ALL) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "scores need the logits of every row");
    }
    if (b->head == PUM_HEAD_ALL && b->rows > b->logits_rows) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "the logits of %u rows do not fit a buffer of %u", b->rows, b->logits_rows);
    }
    if (b->rows > 0 && (!k || !v || !k->is_kv || !v->is_kv)) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "the KV cache cannot be stored as %s and %s",
                        k ? k->name : "?", v ? v->name : "?");
    }
    if (b->rows > 0 && (b->kv_cells == 0 || b->kv_cells % KV_PAGE != 0)) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "%llu KV cells are no whole number of pages of %u",
                        (unsigned long long)b->kv_cells, KV_PAGE);
    }
    return PUMICE_OK;
}

pumice_status pum_model_build(const pum_model_def *def, const pum_build *build,
                              pum_graph *out_graph, pumice_error *err)
{
    pumice_status status;
    *out_graph = (pum_graph){ 0 };
    PUM_TRY(check_build(build, err));
    const pum_arch *arch = pum_arch_find(def->hp.architecture);
    if (!arch) {
        return pum_fail(err, PUMICE_ERROR_INTERNAL, "no builder for '%s'", def->hp.architecture);
    }
    if (build->encode && !def->hp.encoder.n_layers) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "'%s' has no encoder", def->hp.architecture);
    }
    pum_graph graph;
    pum_graph_init(&graph, build->rows, &build->step);
    PUM_GOTO(arch->build(def, build, &graph, err));
    PUM_GOTO(pum_graph_check(&graph, err));
    *out_graph = graph;
    return PUMICE_OK;
fail:
    pum_graph_free(&graph);
    return status;
}
