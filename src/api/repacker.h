/* SPDX-License-Identifier: Apache-2.0
 * Brings rows of a weight from the file's blocks into the device's planes on the device, while they
 * are streamed in: the host only copies bytes, or nothing if the device reads the file's pages
 * itself. One thread at a time. */
#ifndef PUM_REPACKER_H
#define PUM_REPACKER_H

#include "exec.h"
#include "model.h"

enum { PUM_REPACK_REGIONS = 4, PUM_REPACK_REGION_BYTES = 4 << 20 };

typedef struct pum_repacker {
    pum_vk_device *vk;
    uint32_t wg;             /* invocations of a workgroup */
    bool no_self_test;       /* trust the driver */
    pum_vk_buffer scratch;   /* blocks on the device: regions, used in turn */
    pum_exec *exec[PUM_REPACK_REGIONS]; /* what reads each region, maybe still running */
    uint32_t next;
} pum_repacker;

/* Where rows come from: blocks that the device can read, beginning at any byte. */
typedef struct pum_repack_source {
    const pum_vk_buffer *buffer; /* NULL: the weight's own bytes, through the scratch buffer */
    uint64_t at;                 /* the byte of row 0 of the weight */
} pum_repack_source;

/* How many rows one call of load takes at most, so that the next begins where it may be bound; 0:
 * this weight is not for it (its rows lie as in the file, are too long, or made while they are read). */
uint64_t pum_repacker_rows(const pum_repacker *r, const pum_weight *weight);
/* Submits the repacking of `rows` rows into a buffer, from byte `at` on, and does not wait: work
 * submitted later sees them. The buffers must live until pum_repacker_free. *out_wrong: the device
 * computed something else than the reference, the kernel is distrusted, and nothing was done. */
pumice_status pum_repacker_load(pum_repacker *r, const pum_weight *weight, uint64_t row_first,
                                uint64_t rows, const pum_repack_source *source,
                                pum_vk_buffer *to_buffer, uint64_t at, bool *out_wrong,
                                pumice_error *err);
/* Waits for what is under way. */
void pum_repacker_free(pum_repacker *r);

#endif
