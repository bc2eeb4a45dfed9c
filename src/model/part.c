/* SPDX-License-Identifier: Apache-2.0
 * A part of a model: which weights it holds. A weight belongs where it is named: in a layer, before
 * the layers, behind them, or among the tables that every layer may read. */
#include "part.h"

#include <stddef.h>
#include <string.h>

/* The weight indices of a layer are its first members, one behind the other. */
enum { LAYER_WEIGHTS = offsetof(pum_layer, window) / sizeof(int32_t) };
_Static_assert(offsetof(pum_layer, attn_norm) == 0, "a layer begins with its weights");
_Static_assert(offsetof(pum_layer, bias) / sizeof(int32_t) + 1 == LAYER_WEIGHTS,
               "the bias is a layer's last weight");

#define AT(field) offsetof(pum_model_def, field)
static const size_t before[] = { AT(embed), AT(positions), AT(embed_norm), AT(embed_norm_b),
                                 AT(embed_in) };
static const size_t behind[] = { AT(embed_out), AT(output_norm), AT(output_norm_b), AT(head),
                                 AT(head_b) };
static const size_t everywhere[] = { AT(rope_freq), AT(rope_freq_local), AT(codebooks) };
#undef AT

static const int32_t *weights_of(const pum_layer *layer) { return (const void *)layer; }

static int32_t *index_at(pum_model_def *def, size_t at)
{
    return (int32_t *)((char *)def + at);
}

static void mark(const pum_model_def *def, const size_t *fields, size_t n, bool *wanted)
{
    for (size_t i = 0; i < n; i++) {
        int32_t w = *(const int32_t *)((const char *)def + fields[i]);
        if (w >= 0) wanted[w] = true;
    }
}

static void mark_layer(const pum_layer *layer, bool *wanted)
{
    const int32_t *indices = weights_of(layer);
    for (size_t i = 0; i < LAYER_WEIGHTS; i++) {
        if (indices[i] >= 0) wanted[indices[i]] = true;
    }
}

static pumice_status no_memory(pumice_error *err)
{
    return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to cut the model into parts");
}

static pumice_status check_whole(const pum_model_def *def, pumice_error *err)
{
    if (!def->hp.encoder.n_layers) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                    "a model with an encoder ('%s') runs on one device only: give it one device",
                    def->hp.architecture);
}

/* Renumbers by `number`, where weights that are left out have -1; with NULL all are. */
static void renumber(int32_t *indices, size_t n, const int32_t *number)
{
    for (size_t i = 0; i < n; i++) indices[i] = indices[i] < 0 || !number ? -1 : number[indices[i]];
}

static void renumber_fields(pum_model_def *def, const size_t *fields, size_t n,
                            const int32_t *number)
{
    for (size_t i = 0; i < n; i++) renumber(index_at(def, fields[i]), 1, number);
}

static pumice_status copy_part(const pum_model_def *def, const bool *wanted, int32_t *number,
                               pum_model_def *part)
{
    uint32_t first = part->first_layer, count = part->hp.n_layers;
    for (size_t i = 0; i < def->weights.count; i++) {
        number[i] = wanted[i] ? (int32_t)part->weights.count : -1;
        pum_weight w = def->weights.data[i];
        w.owned = NULL; /* its bytes stay the whole model's */
        if (wanted[i] && !pum_array_push(&part->weights, w)) return PUMICE_ERROR_HOST_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        pum_layer layer = def->layers.data[first + i];
        renumber((void *)&layer, LAYER_WEIGHTS, number);
        if (!pum_array_push(&part->layers, layer)) return PUMICE_ERROR_HOST_MEMORY;
    }
    renumber_fields(part, before, PUM_COUNT(before), first ? NULL : number);
    renumber_fields(part, behind, PUM_COUNT(behind), part->goes_on ? NULL : number);
    renumber_fields(part, everywhere, PUM_COUNT(everywhere), number);
    return PUMICE_OK;
}

pumice_status pum_model_def_part(const pum_model_def *def, uint32_t first, uint32_t count,
                                 pum_model_def *out_part, pumice_error *err)
{
    uint32_t end = first + count, whole = def->hp.n_layers;
    *out_part = (pum_model_def){ 0 };
    if (count == 0 || end > whole) {
        return pum_fail(err, PUMICE_ERROR_INTERNAL, "layers %u to %u are no part of %u", first, end,
                        whole);
    }
    if (count < whole) PUM_TRY(check_whole(def, err));
    pum_model_def part = *def;
    memset(&part.weights, 0, sizeof part.weights);
    memset(&part.layers, 0, sizeof part.layers);
    memset(&part.encoder.layers, 0, sizeof part.encoder.layers);
    part.first_layer = first;
    part.goes_on = end < whole;
    part.hp.n_layers = count;
    bool *wanted = pum_alloc_array(def->weights.count + 1, sizeof *wanted);
    int32_t *number = pum_alloc_array(def->weights.count + 1, sizeof *number);
    pumice_status status = wanted && number ? PUMICE_OK : PUMICE_ERROR_HOST_MEMORY;
    if (status == PUMICE_OK) {
        mark(def, everywhere, PUM_COUNT(everywhere), wanted);
        if (first == 0) mark(def, before, PUM_COUNT(before), wanted);
        if (end == whole) mark(def, behind, PUM_COUNT(behind), wanted);
        for (uint32_t i = first; i < end; i++) mark_layer(&def->layers.data[i], wanted);
        status = copy_part(def, wanted, number, &part);
    }
    pum_free(wanted);
    pum_free(number);
    if (status != PUMICE_OK) {
        pum_model_def_free(&part);
        return no_memory(err);
    }
    *out_part = part;
    return PUMICE_OK;
}

/* ---- what parts cost ---- */

static uint64_t bytes_of(const pum_weight *w)
{
    uint64_t row = 0;
    pum_dtype_device_row_bytes(w->dtype, w->cols, &row);
    return row * w->rows;
}

static uint64_t sum(const pum_model_def *def, const size_t *fields, size_t n)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t w = *(const int32_t *)((const char *)def + fields[i]);
        if (w >= 0) bytes += bytes_of(&def->weights.data[w]);
    }
    return bytes;
}

pumice_status pum_split_measure(const pum_model_def *def, uint64_t kv_bytes,
                                pum_split_sizes *out_sizes, pumice_error *err)
{
    const pum_hparams *hp = &def->hp;
    uint32_t n = hp->n_layers;
    *out_sizes = (pum_split_sizes){ 0 };
    PUM_TRY(check_whole(def, err));
    uint64_t *bytes = pum_alloc_array(2 * (size_t)n, sizeof *bytes);
    if (!bytes) return no_memory(err);
    uint64_t *read = bytes + n;
    for (uint32_t i = 0; i < n; i++) {
        const pum_layer *l = &def->layers.data[i];
        const int32_t *indices = weights_of(l);
        for (size_t k = 0; k < LAYER_WEIGHTS; k++) {
            if (indices[k] < 0) continue;
            uint64_t b = bytes_of(&def->weights.data[indices[k]]);
            bool experts = indices[k] == l->gate_exps || indices[k] == l->up_exps ||
                           indices[k] == l->down_exps;
            bytes[i] += b;
            read[i] += experts ? b / hp->n_experts * hp->n_experts_used : b;
        }
        bytes[i] += kv_bytes;
    }
    *out_sizes = (pum_split_sizes){ .n_layers = n,
                                    .layer_bytes = bytes,
                                    .layer_read = read,
                                    .first_bytes = sum(def, before, PUM_COUNT(before)),
                                    .last_bytes = sum(def, behind, PUM_COUNT(behind)),
                                    .last_read = sum(def, behind, PUM_COUNT(behind)),
                                    .every_bytes = sum(def, everywhere, PUM_COUNT(everywhere)) };
    return PUMICE_OK;
}
