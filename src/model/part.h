/* SPDX-License-Identifier: Apache-2.0
 * Models cut between layers, for devices that run a part each: what a part holds (part.c) and where
 * to cut (split.c). Pure; knows no device but as two numbers. */
#ifndef PUM_PART_H
#define PUM_PART_H

#include "model.h"

/* The layers there are to cut between: an encoder's come first, the decoder's behind them. */
uint32_t pum_model_def_layers(const pum_model_def *def);

/* Layers [first, first + count) of a model as a model of its own: their weights, those before a stack
 * if it has its first layer, those behind it if it has its last (a head tied to the embedding is in
 * both, the embedding where either stack begins), and the tables that all layers read. Bytes stay the
 * whole model's, which must outlive it. Free it with pum_model_def_free. */
pumice_status pum_model_def_part(const pum_model_def *def, uint32_t first, uint32_t count,
                                 pum_model_def *out_part, pumice_error *err);

/* ---- where to cut ---- */

enum { PUM_MAX_PARTS = 64 };

/* What a model costs, in bytes. What one token reads of a part is what the part takes time for. */
typedef struct pum_split_sizes {
    uint32_t n_layers;
    const uint64_t *layer_bytes; /* of each layer: weights, and its K and V */
    const uint64_t *layer_read;  /* of that, what a decoded token reads */
    uint64_t first_bytes, last_bytes; /* what the first part holds besides, and the last */
    uint64_t last_read;          /* of the latter, what a token reads: the head */
    uint64_t every_bytes;        /* what each part holds besides: activations, tables */
    /* an encoder-decoder; n_encoder 0: none of these */
    uint32_t n_encoder;          /* of the layers, the first, which are the encoder's */
    uint64_t words_bytes;        /* what the decoder's first layer needs, unless the part has it as the
                                  * first one, or, `tied`, as the last one */
    bool tied;
    uint64_t encoder_bytes;      /* what a part of the encoder's layers alone holds besides */
} pum_split_sizes;

typedef struct pum_split_device {
    const char *name;            /* for messages */
    uint64_t budget_bytes;
    double bytes_per_second;     /* that it reads; > 0 */
} pum_split_device;

/* How many consecutive layers each of `n` devices takes, at least one: such that all fit and the
 * slowest part is as fast as can be, since in a pipeline it holds up all others; among equals the
 * one with the least time in all. Fails with DEVICE_MEMORY, in one sentence, when nothing fits, and
 * with INVALID when there are more devices than layers. */
pumice_status pum_split_layers(const pum_split_sizes *sizes, const pum_split_device *devices,
                               uint32_t n, uint32_t *out_counts, pumice_error *err);

/* The sizes of a model whose decoder's layers keep kv_bytes of K and V each. An encoder's layers count as
 * read, once, as the decoder's are. encoder_bytes is left to the caller. layer_bytes and layer_read of
 * out_sizes are one allocation, out_sizes->layer_bytes, to be freed with pum_free; every_bytes has
 * the weights that all parts hold. */
pumice_status pum_split_measure(const pum_model_def *def, uint64_t kv_bytes,
                                pum_split_sizes *out_sizes, pumice_error *err);

#endif
