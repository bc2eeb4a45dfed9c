/* SPDX-License-Identifier: Apache-2.0
 * Rounds rows of F32, F16 or BF16 to a weight format on the device: for pumice_quantize and for
 * weights that are quantized while they are loaded. One thread at a time. */
#ifndef PUM_QUANTIZER_H
#define PUM_QUANTIZER_H

#include "exec.h"
#include "model.h"

typedef struct pum_quantizer {
    pum_vk_device *vk;
    pum_vk_buffer arena; /* what comes in, what goes out, the errors' sums */
    uint32_t wg;
} pum_quantizer;

/* What rounding has cost so far; add up over the chunks of a tensor. */
typedef struct pum_quant_error {
    double squares, size, most; /* sum of squared errors, sum of squares, largest error */
} pum_quant_error;

/* Is there a kernel from `from` to `to`? */
bool pum_quantizer_can(pum_dtype from, pum_dtype to);

/* How many rows one call takes. */
uint64_t pum_quantizer_rows(pum_dtype from, pum_dtype to, uint64_t cols);

/* Rounds `rows` rows of `cols` numbers at `data` into out_rows, in the form that rows have on the
 * device (pum_dtype_device_row_bytes); or, if `to_buffer` is given, there, from byte `at` on, which
 * must be aligned for binding. Adds to *error, which may be NULL. */
pumice_status pum_quantizer_run(pum_quantizer *q, pum_dtype from, const void *data, pum_dtype to,
                                uint64_t rows, uint64_t cols, void *out_rows,
                                pum_vk_buffer *to_buffer, uint64_t at, pum_quant_error *error,
                                pumice_error *err);
/* How many rows of a weight one call of load takes, so that the next begins where it may be bound. */
uint64_t pum_quantizer_load_rows(const pum_quantizer *q, const pum_weight *weight);
/* Rounds rows of a weight into a buffer, from byte `at` on: those of one call, or the last ones. */
pumice_status pum_quantizer_load(pum_quantizer *q, const pum_weight *weight, uint64_t row_first,
                                 uint64_t rows, pum_vk_buffer *to_buffer, uint64_t at,
                                 pumice_error *err);
void pum_quantizer_free(pum_quantizer *q);

#endif
