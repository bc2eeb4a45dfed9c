/* SPDX-License-Identifier: Apache-2.0
 * Applies the table of driver bugs (quirks.def) to a device's capabilities. Nobody else asks which
 * driver it is: the effect of a row is a capability that is absent. Pure; thread-safe. */
#ifndef PUM_QUIRKS_H
#define PUM_QUIRKS_H

#include "caps.h"

/* Clears the bits of all matching rows and notes them in caps->quirks (bit i = row i). Needs
 * caps->family. */
void pum_quirks_apply(pum_caps *caps);
/* Name and description of the i-th row, NULL past the end. */
const char *pum_quirk_name(size_t index);
const char *pum_quirk_text(size_t index);

#endif
