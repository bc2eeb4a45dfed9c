/* SPDX-License-Identifier: Apache-2.0
 * Tuning numbers of a device family: the named fields of tuning.def, in one flat struct. Pure. */
#ifndef PUM_TUNING_H
#define PUM_TUNING_H

#include "caps.h"

/* Who brings weights into the device's form while they are loaded (field repack). */
enum {
    PUM_REPACK_HOST,   /* the host */
    PUM_REPACK_STAGED, /* the device, where the host does not see its memory or it reads the file's pages */
    PUM_REPACK_DEVICE  /* the device */
};

typedef struct pum_tuning {
#define PUM_TUNING_FIELD(field, value, text) uint32_t field;
#include "tuning_fields.def"
#undef PUM_TUNING_FIELD
} pum_tuning;

/* The generic values, overridden by the rows of tuning.def for caps->family, clamped to the device's limits. */
void pum_tuning_for(const pum_caps *caps, pum_tuning *out_tuning);

/* For passes of few rows with the pipelines of single ones, no others: each row is computed for itself. */
void pum_tuning_row_by_row(pum_tuning *tuning);

/* GB/s at which a device reads its memory: at most, where caps say so (profiles), else as its family is estimated;
 * never 0. For what a device is worth: plans count on the family's (read_gbs), so that a profile's are the device's. */
double pum_tuning_bandwidth(const pum_caps *caps, const pum_tuning *tuning);

/* The subgroup size to plan for and to ask the driver for: the family's where the driver lets one choose it, else the
 * device's own. Needs caps->family. */
uint32_t pum_tuning_subgroup(const pum_caps *caps);

#endif
