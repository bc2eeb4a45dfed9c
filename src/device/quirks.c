/* SPDX-License-Identifier: Apache-2.0
 * Matches the rows of quirks.def, and reads the switches that force them. */
#include "quirks.h"

#include <stdio.h>
#include <string.h>

#include "family.h"

/* Mesa packs its version as Vulkan does. */
#define PUM_MESA(major, minor, patch)                                                              \
    ((uint32_t)(major) << 22 | (uint32_t)(minor) << 12 | (uint32_t)(patch))

/* so that ANY can stand where an enumerator's last part does */
enum { PUM_DRIVER_ANY = PUM_DRIVER_COUNT };

typedef struct quirk_row {
    uint32_t family_first, family_last, driver, first, last;
    pum_quirk_info info;
} quirk_row;

static const quirk_row rows[] = {
#define PUM_QUIRK(name, family_first, family_last, driver, first, last, clears, flags, seen, link, text) \
    { PUM_GPU_##family_first, PUM_GPU_##family_last, PUM_DRIVER_##driver, first, last,                  \
      { name, text, seen, link, clears, flags } },
#include "quirks.def"
#undef PUM_QUIRK
};
_Static_assert(PUM_COUNT(rows) <= 32, "caps->quirks has a bit per row");

static bool matches(const quirk_row *r, const pum_caps *caps)
{
    return caps->family >= r->family_first && caps->family <= r->family_last &&
           (r->driver == PUM_DRIVER_ANY || r->driver == pum_driver_of(caps)) &&
           caps->driver_version >= r->first && (!r->last || caps->driver_version <= r->last);
}

void pum_quirks_apply(pum_caps *caps, uint32_t on, uint32_t off)
{
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        uint32_t bit = 1u << i;
        if ((off & bit) || (!(on & bit) && !matches(&rows[i], caps))) continue;
        caps->bits &= ~rows[i].info.clears;
        caps->flags |= rows[i].info.flags;
        caps->quirks |= bit;
    }
}

bool pum_quirk_get(size_t index, pum_quirk_info *out_info)
{
    *out_info = index < PUM_COUNT(rows) ? rows[index].info : (pum_quirk_info){ 0 };
    return index < PUM_COUNT(rows);
}

void pum_quirk_effect_text(const pum_quirk_info *info, char *out, size_t capacity)
{
    char bits[48];
    pum_caps_bits_text(info->clears, bits, sizeof bits);
    snprintf(out, capacity, "%s%s%s%s%s%s", info->clears ? "without " : "", bits,
             info->flags & PUM_FLAG_SHORT_LOOPS ? "short loops" : "",
             info->flags & PUM_FLAG_SHORT_SUBMITS ? "short submits" : "",
             info->flags & PUM_FLAG_LATE_COMPILE ? "late compile" : "",
             info->flags & PUM_FLAG_FENCES ? "fences" : "");
}

/* Row of a name of n bytes, or the number of rows. */
static size_t find_name(const char *name, size_t n)
{
    size_t i = 0;
    while (i < PUM_COUNT(rows) &&
           (strlen(rows[i].info.name) != n || memcmp(rows[i].info.name, name, n) != 0)) {
        i++;
    }
    return i;
}

bool pum_quirks_parse(const char *text, uint32_t *out_on, uint32_t *out_off, pumice_error *err)
{
    *out_on = *out_off = 0;
    while (*text) {
        size_t n = strcspn(text, ","), name = strcspn(text, "=,"), i = find_name(text, name);
        if (i == PUM_COUNT(rows)) {
            pum_fail(err, PUMICE_ERROR_INVALID,
                     "there is no quirk '%.*s': `pumice devices -v` lists them", (int)PUM_MIN(name, 40u),
                     text);
            return false;
        }
        bool on = n == name + 3 && memcmp(text + name, "=on", 3) == 0;
        if (!on && !(n == name + 4 && memcmp(text + name, "=off", 4) == 0)) {
            pum_fail(err, PUMICE_ERROR_INVALID, "a quirk is set as NAME=on or NAME=off, not '%.*s'",
                     (int)PUM_MIN(n, 60u), text);
            return false;
        }
        *(on ? out_on : out_off) |= 1u << i;
        *(on ? out_off : out_on) &= ~(1u << i);
        text += n + (text[n] == ',');
    }
    return true;
}
