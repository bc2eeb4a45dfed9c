/* SPDX-License-Identifier: Apache-2.0
 * Applies the table of driver bugs (quirks.def) to a device's capabilities. Nobody else asks which
 * driver it is: the effect of a row is a capability that is absent, or a flag. Pure; thread-safe. */
#ifndef PUM_QUIRKS_H
#define PUM_QUIRKS_H

#include "caps.h"

typedef struct pum_quirk_info {
    const char *name, *text, *seen, *link;
    uint32_t clears, flags; /* PUM_CAP_*, PUM_FLAG_* */
} pum_quirk_info;

/* Clears the bits and sets the flags of all rows that match or are in `on`, but not of those in `off` (bit i = row i),
 * and notes which in caps->quirks. Needs caps->family. */
void pum_quirks_apply(pum_caps *caps, uint32_t on, uint32_t off);
/* The i-th row; false past the end. */
bool pum_quirk_get(size_t index, pum_quirk_info *out_info);
/* What a row does: "without sub", "short submits". */
void pum_quirk_effect_text(const pum_quirk_info *info, char *out, size_t capacity);
/* "NAME=on,NAME=off" as two sets of rows; false and err names what is wrong. */
bool pum_quirks_parse(const char *text, uint32_t *out_on, uint32_t *out_off, pumice_error *err);

#endif
