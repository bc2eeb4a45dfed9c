/* SPDX-License-Identifier: Apache-2.0
 * Names of capability bits and of tiers. */
#include "caps.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t bits;
} bit_names[] = {
    { "sub", PUM_CAP_SUBGROUP },
    { "f16", PUM_CAP_F16 },
    { "i8", PUM_CAP_I8 },
    { "dot8", PUM_CAP_DOT8 },
    { "fast-dot8", PUM_CAP_DOT8_FAST },
    { "coop", PUM_CAP_COOP },
    { "texel", PUM_CAP_TEXEL },
    { "timeline", PUM_CAP_TIMELINE },
    { "timestamps", PUM_CAP_TIMESTAMPS },
    { "budget", PUM_CAP_MEMORY_BUDGET },
    { "unified", PUM_CAP_UNIFIED },
    { "size-control", PUM_CAP_SUBGROUP_SIZE_CONTROL },
    { "full-subgroups", PUM_CAP_FULL_SUBGROUPS },
    { "query-reset", PUM_CAP_HOST_QUERY_RESET },
    { "transfer", PUM_CAP_TRANSFER },
    { "repack", PUM_CAP_REPACK },
    { "host-import", PUM_CAP_HOST_IMPORT },
};

static const struct {
    const char *name;
    uint32_t needs;
} tiers[PUM_TIER_COUNT] = {
    [PUM_TIER_BASE] = { "base", 0 },
    [PUM_TIER_SUB] = { "sub", PUM_CAP_SUBGROUP },
    [PUM_TIER_TEXEL] = { "texel", PUM_CAP_SUBGROUP | PUM_CAP_TEXEL },
    [PUM_TIER_F16] = { "f16", PUM_CAP_SUBGROUP | PUM_CAP_F16 },
    [PUM_TIER_DOT8] = { "dot8", PUM_CAP_SUBGROUP | PUM_CAP_DOT8 },
    [PUM_TIER_COOP] = { "coop", PUM_CAP_SUBGROUP | PUM_CAP_F16 | PUM_CAP_COOP },
};

bool pum_caps_bits_from_names(const char *text, uint32_t *out_bits, pumice_error *err)
{
    *out_bits = 0;
    while (*text) {
        size_t n = strcspn(text, ",");
        size_t i = 0;
        while (i < PUM_COUNT(bit_names)
               && (strlen(bit_names[i].name) != n || strncmp(bit_names[i].name, text, n) != 0)) {
            i++;
        }
        if (i < PUM_COUNT(bit_names)) *out_bits |= bit_names[i].bits;
        else if (n > 0) {
            pum_fail(err, PUMICE_ERROR_INVALID, "there is no capability '%.*s': use sub, f16, i8, dot8, fast-dot8, "
                     "coop, texel, timeline, timestamps, budget, unified, size-control, full-subgroups, "
                     "query-reset, transfer, repack or host-import",
                     (int)PUM_MIN(n, 40u), text);
            return false;
        }
        text += n + (text[n] == ',');
    }
    return true;
}

void pum_caps_bits_text(uint32_t bits, char *out, size_t capacity)
{
    size_t n = 0;
    if (capacity) out[0] = '\0';
    for (size_t i = 0; i < PUM_COUNT(bit_names); i++) {
        if (!(bits & bit_names[i].bits)) continue;
        int w = snprintf(out + n, capacity - n, "%s%s", n ? "," : "", bit_names[i].name);
        if (w < 0 || (size_t)w >= capacity - n) return;
        n += (size_t)w;
    }
}

void pum_caps_tiers_text(uint32_t bits, char *out, size_t capacity)
{
    size_t n = 0;
    if (capacity) out[0] = '\0';
    for (int t = 0; t < PUM_TIER_COUNT; t++) {
        if (tiers[t].needs & ~bits) continue;
        int w = snprintf(out + n, capacity - n, "%s%s", n ? " " : "", tiers[t].name);
        if (w < 0 || (size_t)w >= capacity - n) return;
        n += (size_t)w;
    }
}

const char *pum_tier_name(pum_tier tier)
{
    return (unsigned)tier < PUM_TIER_COUNT ? tiers[tier].name : "?";
}
