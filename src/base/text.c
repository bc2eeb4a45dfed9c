/* SPDX-License-Identifier: Apache-2.0
 * UTF-8 validation (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF) and the hash. */
#include "base.h"

uint64_t pum_hash(uint64_t hash, const void *bytes, size_t count)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < count; i++) hash = (hash ^ p[i]) * 0x100000001b3ull;
    return hash;
}

int pum_utf8_length(const char *s, size_t count)
{
    if (count == 0) return -1;
    const uint8_t *p = (const uint8_t *)s;
    if (p[0] < 0x80) return 1;
    int length = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
                 : (p[0] & 0xf0) == 0xe0        ? 3
                 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                : 0;
    if (length == 0) return 0;
    for (int i = 1; i < length; i++) {
        if ((size_t)i >= count) return -1;
        uint8_t low = 0x80, high = 0xbf;
        if (i == 1) { /* the second byte rules out overlong forms, surrogates and > U+10FFFF */
            if (p[0] == 0xe0) low = 0xa0;
            else if (p[0] == 0xed) high = 0x9f;
            else if (p[0] == 0xf0) low = 0x90;
            else if (p[0] == 0xf4) high = 0x8f;
        }
        if (p[i] < low || p[i] > high) return 0;
    }
    return length;
}
