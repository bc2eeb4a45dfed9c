// SPDX-License-Identifier: Apache-2.0
// Q4_K: blocks of 256 weights of 4 bits in 144 bytes, as in the file: 16 bytes of scales and minimums
// (k_scales.glsl), 128 bytes of nibbles.
#define Q_CHUNK 32
#define Q_RUNS 2
#define Q_BLOCKS 1
#define Q_HAS_MIN 1
#define Q_BYTES 1
#define Q_ZERO 0
#include "k_scales.glsl"
struct q_raw { uvec4 a; vec2 scale, minimum; };
q_raw q_make(uvec4 a, uvec4 head, uint g)
{
    q_raw r;
    r.a = a;
    q_k_scales(head, g, r.scale, r.minimum);
    return r;
}
#define Q_CHUNK_OF(word, quad) \
    uint block = at + 9u * (c >> 3), g = c & 7u; \
    return q_make(quad(block + 1u + g), quad(block), g);
#define Q_FOUR_OF(name) \
    uvec2 at = q_find(i); \
    uint block = q_row_at(row, k) + 9u * (at.x >> 3), g = at.x & 7u, s = at.y >> 2; \
    vec2 scale, minimum; \
    q_k_scales(name##_quad(block), g, scale, minimum); \
    uint u = name##_word(4u * (block + 1u + g) + (at.y & 3u)) >> (at.y & 4u); \
    return scale[s] * q_unsigned(u & 0x0f0f0f0fu) + minimum[s];
uint q_word(q_raw r, uint i) { return (r.a[i & 3u] >> (i & 4u)) & 0x0f0f0f0fu; }
float q_scale(q_raw r, uint s) { return r.scale[s]; }
float q_min(q_raw r, uint s) { return r.minimum[s]; }
