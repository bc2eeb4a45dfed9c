/* SPDX-License-Identifier: Apache-2.0
 * Matches the rows of quirks.def. */
#include "quirks.h"

#include "family.h"

static const struct {
    const char *name;
    uint32_t family, first, last, clears;
    const char *link;
} rows[] = {
#define PUM_QUIRK(name, family, first, last, clears, link) { name, PUM_GPU_##family, first, last, clears, link },
#include "quirks.def"
#undef PUM_QUIRK
};

void pum_quirks_apply(pum_caps *caps)
{
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        if (rows[i].family != caps->family || caps->driver_version < rows[i].first
            || (rows[i].last && caps->driver_version > rows[i].last)) {
            continue;
        }
        caps->bits &= ~rows[i].clears;
        caps->quirks |= 1u << i;
    }
}

const char *pum_quirk_name(size_t index)
{
    return index < PUM_COUNT(rows) ? rows[index].name : NULL;
}
