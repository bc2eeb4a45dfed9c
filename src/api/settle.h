/* SPDX-License-Identifier: Apache-2.0
 * Weights that a device uses in the mapped file at first, so that the first token does not wait for a copy, come to
 * memory of its own a moment later: large pages are read faster, and the file is done with. Decides when. */
#ifndef PUM_SETTLE_H
#define PUM_SETTLE_H

#include "api.h"

/* Some rows of a piece, which are copied together. */
typedef struct pum_slice {
    uint32_t piece;
    uint64_t row, rows; /* of the piece */
} pum_slice;

typedef PUM_ARRAY(pum_slice) pum_slices;

/* ---- upload.c ---- */
/* Cuts a piece into slices of about so many bytes. */
pumice_status pum_slices_add(pum_slices *slices, const pum_model_part *part, uint32_t piece, uint64_t slice_bytes,
                             pumice_error *err);
/* Copies one to where `placement` has it, as the device reads its rows. */
pumice_status pum_slice_copy(const pum_model_part *part, const pum_placement *placement, const pum_slice *slice,
                             uint64_t *out_bytes, pumice_error *err);

/* ---- settle.c ---- */
/* Has a thread copy what part->settled has elsewhere than part->placement, in a while; its buffers are there. */
pumice_status pum_settle_begin(pum_model_part *part, pumice_error *err);
/* Ends the thread, whether all is copied or not. */
void pum_settle_end(pum_model_part *part);

#endif
