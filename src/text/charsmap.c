/* SPDX-License-Identifier: Apache-2.0
 * SentencePiece's precompiled_charsmap: a 32-bit size, a double-array trie of that many bytes
 * (darts-clone's layout), then the replacements, NUL-terminated. The file is hostile: every step in
 * the trie and every replacement is checked against its bounds. */
#include "normalize.h"

#include <string.h>

static uint32_t unit_offset(uint32_t unit) { return (unit >> 10) << ((unit & 512) >> 6); }
static uint32_t unit_label(uint32_t unit) { return unit & 0x800000ffu; }
static bool unit_has_leaf(uint32_t unit) { return unit >> 8 & 1; }

static uint32_t little32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

pumice_status pum_charsmap_create(const void *blob, size_t bytes, pum_charsmap *out_map,
                                  pumice_error *err)
{
    *out_map = (pum_charsmap){ 0 };
    if (bytes == 0) return PUMICE_OK;
    const uint8_t *p = blob;
    uint32_t trie_bytes = bytes >= 4 ? little32(p) : 0;
    if (bytes < 4 || trie_bytes > bytes - 4 || trie_bytes % 4 || trie_bytes < 4 ||
        p[bytes - 1] != 0) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "the tokenizer's precompiled_charsmap is damaged (%zu bytes)", bytes);
    }
    out_map->blob = pum_alloc(bytes);
    out_map->units = pum_alloc(trie_bytes);
    if (!out_map->blob || !out_map->units) {
        pum_charsmap_free(out_map);
        return pum_no_memory(err);
    }
    memcpy(out_map->blob, blob, bytes);
    out_map->blob_bytes = bytes;
    out_map->n_units = trie_bytes / 4;
    for (uint32_t i = 0; i < out_map->n_units; i++) out_map->units[i] = little32(p + 4 + 4 * i);
    out_map->texts = (const char *)out_map->blob + 4 + trie_bytes;
    out_map->texts_bytes = bytes - 4 - trie_bytes;
    return PUMICE_OK;
}

void pum_charsmap_free(pum_charsmap *map)
{
    pum_free(map->blob);
    pum_free(map->units);
    *map = (pum_charsmap){ 0 };
}

const char *pum_charsmap_find(const pum_charsmap *map, const char *s, size_t bytes, bool longest,
                              size_t *out_length)
{
    const char *found = NULL;
    *out_length = 0;
    if (!map->n_units) return NULL;
    uint32_t at = unit_offset(map->units[0]);
    for (size_t i = 0; i < bytes; i++) {
        at ^= (uint8_t)s[i];
        if (at >= map->n_units || unit_label(map->units[at]) != (uint8_t)s[i]) break;
        uint32_t unit = map->units[at];
        at ^= unit_offset(unit);
        if (!unit_has_leaf(unit)) continue;
        uint32_t value = at < map->n_units ? map->units[at] & 0x7fffffffu : UINT32_MAX;
        if (value >= map->texts_bytes) break;
        found = map->texts + value;
        *out_length = i + 1;
        if (!longest) break;
    }
    return found;
}
