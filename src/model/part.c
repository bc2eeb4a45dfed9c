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

/* What stands around the layers, and which part has it. */
typedef struct place {
    const size_t *fields;
    size_t n;
    bool (*is_here)(const pum_model_def *part);
} place;

static bool has_begin(const pum_model_def *p) { return p->hp.n_layers && p->first_layer == 0; }
static bool has_end(const pum_model_def *p) { return !p->goes_on; }
static bool has_encoder_begin(const pum_model_def *p)
{
    return p->encoder.layers.count && p->encoder.first_layer == 0;
}
static bool has_encoder_end(const pum_model_def *p)
{
    return p->encoder.layers.count && !p->encoder.goes_on;
}
static bool has_a_begin(const pum_model_def *p) { return has_begin(p) || has_encoder_begin(p); }
static bool is_any(const pum_model_def *p) { return p != NULL; }

#define AT(field) offsetof(pum_model_def, field)
#define PLACE(fields, is_here) { fields, PUM_COUNT(fields), is_here }
static const size_t words[] = { AT(embed) };
static const size_t before[] = { AT(positions), AT(embed_norm), AT(embed_norm_b), AT(embed_in) };
static const size_t behind[] = { AT(embed_out), AT(output_norm), AT(output_norm_b), AT(head),
                                 AT(head_b) };
static const size_t before_encoder[] = { AT(encoder.positions), AT(encoder.embed_norm),
                                         AT(encoder.embed_norm_b) };
static const size_t behind_encoder[] = { AT(encoder.output_norm), AT(encoder.output_norm_b) };
static const size_t everywhere[] = { AT(rope_freq), AT(rope_freq_local), AT(codebooks) };
static const place places[] = { PLACE(words, has_a_begin),
                                PLACE(before, has_begin),
                                PLACE(behind, has_end),
                                PLACE(before_encoder, has_encoder_begin),
                                PLACE(behind_encoder, has_encoder_end),
                                PLACE(everywhere, is_any) };
#undef PLACE
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

uint32_t pum_model_def_layers(const pum_model_def *def)
{
    return def->hp.encoder.n_layers + def->hp.n_layers;
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

/* The layers that the part has, which it knows the numbers of, as they are. */
static bool copy_layers(const pum_model_def *def, uint32_t encoder_count, pum_model_def *part)
{
    bool fine = true;
    for (uint32_t i = 0; fine && i < encoder_count; i++) {
        fine = pum_array_push(&part->encoder.layers,
                              def->encoder.layers.data[part->encoder.first_layer + i]);
    }
    for (uint32_t i = 0; fine && i < part->hp.n_layers; i++) {
        fine = pum_array_push(&part->layers, def->layers.data[part->first_layer + i]);
    }
    return fine;
}

static void mark_all(const pum_model_def *def, const pum_model_def *part, bool *wanted)
{
    for (size_t i = 0; i < PUM_COUNT(places); i++) {
        if (places[i].is_here(part)) mark(def, places[i].fields, places[i].n, wanted);
    }
    for (size_t i = 0; i < part->encoder.layers.count; i++) {
        mark_layer(&part->encoder.layers.data[i], wanted);
    }
    for (size_t i = 0; i < part->layers.count; i++) mark_layer(&part->layers.data[i], wanted);
}

/* Copies the weights that are wanted, and gives all the numbers that they have now. */
static bool copy_weights(const pum_model_def *def, const bool *wanted, int32_t *number,
                         pum_model_def *part)
{
    for (size_t i = 0; i < def->weights.count; i++) {
        number[i] = wanted[i] ? (int32_t)part->weights.count : -1;
        pum_weight w = def->weights.data[i];
        w.owned = NULL; /* its bytes stay the whole model's */
        if (wanted[i] && !pum_array_push(&part->weights, w)) return false;
    }
    for (size_t i = 0; i < part->encoder.layers.count; i++) {
        renumber((void *)&part->encoder.layers.data[i], LAYER_WEIGHTS, number);
    }
    for (size_t i = 0; i < part->layers.count; i++) {
        renumber((void *)&part->layers.data[i], LAYER_WEIGHTS, number);
    }
    for (size_t i = 0; i < PUM_COUNT(places); i++) {
        renumber_fields(part, places[i].fields, places[i].n,
                        places[i].is_here(part) ? number : NULL);
    }
    return true;
}

pumice_status pum_model_def_part(const pum_model_def *def, uint32_t first, uint32_t count,
                                 pum_model_def *out_part, pumice_error *err)
{
    uint32_t end = first + count, whole = pum_model_def_layers(def), n = def->hp.encoder.n_layers;
    *out_part = (pum_model_def){ 0 };
    if (count == 0 || end > whole) {
        return pum_fail(err, PUMICE_ERROR_INTERNAL, "layers %u to %u are no part of %u", first, end,
                        whole);
    }
    pum_model_def part = *def;
    memset(&part.weights, 0, sizeof part.weights);
    memset(&part.layers, 0, sizeof part.layers);
    memset(&part.encoder.layers, 0, sizeof part.encoder.layers);
    part.encoder.first_layer = PUM_MIN(first, n);
    part.encoder.goes_on = end < n;
    part.first_layer = PUM_MAX(first, n) - n;
    part.hp.n_layers = PUM_MAX(end, n) - n - part.first_layer;
    part.goes_on = end < whole;
    bool *wanted = pum_alloc_array(def->weights.count + 1, sizeof *wanted);
    int32_t *number = pum_alloc_array(def->weights.count + 1, sizeof *number);
    bool fine = wanted && number && copy_layers(def, PUM_MIN(end, n) - part.encoder.first_layer, &part);
    if (fine) {
        mark_all(def, &part, wanted);
        fine = copy_weights(def, wanted, number, &part);
    }
    pum_free(wanted);
    pum_free(number);
    if (!fine) {
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

#define SUM(def, fields) sum(def, fields, PUM_COUNT(fields))

static void measure_layer(const pum_model_def *def, const pum_layer *l, uint64_t *bytes,
                          uint64_t *read)
{
    const int32_t *indices = weights_of(l);
    const pum_hparams *hp = &def->hp;
    for (size_t k = 0; k < LAYER_WEIGHTS; k++) {
        if (indices[k] < 0) continue;
        uint64_t b = bytes_of(&def->weights.data[indices[k]]);
        bool experts = indices[k] == l->gate_exps || indices[k] == l->up_exps ||
                       indices[k] == l->down_exps;
        *bytes += b;
        *read += experts ? b / hp->n_experts * hp->n_experts_used : b;
    }
}

pumice_status pum_split_measure(const pum_model_def *def, uint64_t kv_bytes,
                                pum_split_sizes *out_sizes, pumice_error *err)
{
    uint32_t n_encoder = def->hp.encoder.n_layers, n = pum_model_def_layers(def);
    *out_sizes = (pum_split_sizes){ 0 };
    uint64_t *bytes = pum_alloc_array(2 * (size_t)n, sizeof *bytes);
    if (!bytes) return no_memory(err);
    uint64_t *read = bytes + n;
    for (uint32_t i = 0; i < n; i++) {
        bool decoder = i >= n_encoder;
        const pum_layer *l = decoder ? &def->layers.data[i - n_encoder] : &def->encoder.layers.data[i];
        measure_layer(def, l, &bytes[i], &read[i]);
        if (decoder) bytes[i] += kv_bytes;
    }
    *out_sizes = (pum_split_sizes){ .n_layers = n,
                                    .layer_bytes = bytes,
                                    .layer_read = read,
                                    .first_bytes = SUM(def, words) + SUM(def, before),
                                    .last_bytes = SUM(def, behind),
                                    .last_read = SUM(def, behind),
                                    .every_bytes = SUM(def, everywhere),
                                    .n_encoder = n_encoder };
    if (!n_encoder) return PUMICE_OK;
    out_sizes->first_bytes = SUM(def, words) + SUM(def, before_encoder);
    out_sizes->words_bytes = SUM(def, words);
    out_sizes->tied = def->head == def->embed;
    bytes[n_encoder - 1] += SUM(def, behind_encoder);
    bytes[n_encoder] += SUM(def, before);
    return PUMICE_OK;
}
