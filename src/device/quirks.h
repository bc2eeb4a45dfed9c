/* SPDX-License-Identifier: Apache-2.0
 * Applies the table of driver bugs to a device's capabilities. Pure. */
#ifndef PUM_QUIRKS_H
#define PUM_QUIRKS_H

#include "caps.h"

/* Clears the bits of all matching rows and notes them in caps->quirks (bit i = row i). */
void pum_quirks_apply(pum_caps *caps);
/* Name of the i-th row, NULL past the end. */
const char *pum_quirk_name(size_t index);

#endif
