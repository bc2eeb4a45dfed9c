/* SPDX-License-Identifier: Apache-2.0
 * Matches the rows of quirks.def. */
#include "quirks.h"

#include "family.h"

#define ANY_FAMILY PUM_GPU_COUNT
#define ANY_DRIVER PUM_DRIVER_COUNT
/* Mesa packs its version as Vulkan does. */
#define PUM_MESA(major, minor, patch)                                                              \
    ((uint32_t)(major) << 22 | (uint32_t)(minor) << 12 | (uint32_t)(patch))

/* so that ANY can stand where an enumerator's last part does */
enum { PUM_GPU_ANY = ANY_FAMILY, PUM_DRIVER_ANY = ANY_DRIVER };

static const struct {
    const char *name, *text;
    uint32_t family, driver, first, last, clears;
} rows[] = {
#define PUM_QUIRK(name, family, driver, first, last, clears, text)                                 \
    { name, text, PUM_GPU_##family, PUM_DRIVER_##driver, first, last, clears },
#include "quirks.def"
#undef PUM_QUIRK
};
_Static_assert(PUM_COUNT(rows) <= 32, "caps->quirks has a bit per row");

void pum_quirks_apply(pum_caps *caps)
{
    uint32_t driver = pum_driver_of(caps);
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        if (rows[i].family != ANY_FAMILY && rows[i].family != caps->family) continue;
        if (rows[i].driver != ANY_DRIVER && rows[i].driver != driver) continue;
        if (caps->driver_version < rows[i].first) continue;
        if (rows[i].last && caps->driver_version > rows[i].last) continue;
        caps->bits &= ~rows[i].clears;
        caps->quirks |= 1u << i;
    }
}

const char *pum_quirk_name(size_t index)
{
    return index < PUM_COUNT(rows) ? rows[index].name : NULL;
}

const char *pum_quirk_text(size_t index)
{
    return index < PUM_COUNT(rows) ? rows[index].text : NULL;
}
