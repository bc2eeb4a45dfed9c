/* SPDX-License-Identifier: Apache-2.0
 * Weights that a device uses in the mapped file at first, so that the first token does not wait for a copy, come to
 * memory of its own a moment later: large pages are read faster, and the file is done with. Decides when. */
#ifndef PUM_SETTLE_H
#define PUM_SETTLE_H

#include "api.h"

/* Makes what pum_settle_begin needs, where part->settled has something elsewhere than part->placement. */
pumice_status pum_settle_make(pum_model_part *part, pumice_error *err);
/* Loading has ended: a thread copies that in a while. The buffers are there. */
void pum_settle_begin(pum_model_part *part);
/* Ends the thread, whether all is copied or not. */
void pum_settle_end(pum_model_part *part);

/* upload.c: copies rows of a piece to where `placement` has it, as the device reads them. Where they go through the
 * staging ring they are on their way, until pum_vk_stream_end. */
pumice_status pum_rows_copy(const pum_model_part *part, const pum_placement *placement, uint32_t piece, uint64_t row,
                            uint64_t rows, pumice_error *err);

#endif
