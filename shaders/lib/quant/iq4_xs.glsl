// SPDX-License-Identifier: Apache-2.0
// IQ4_XS: blocks of 256 weights in 8 groups of 32, nibbles as in IQ4_NL; weight = d * (scale - 32) * level.
// Planes: nibbles 128; 8: d (F16), high 2 bits of the groups' scales (16 bits), low 4 bits (32 bits).
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
#include "iq4_levels.glsl"
struct q_raw { uvec4 a; float scale; };
q_raw q_make(uvec4 a, uvec2 head, uint g)
{
    uint s = ((head.y >> (4u * g)) & 15u) | (((head.x >> (16u + 2u * g)) & 3u) << 4);
    return q_raw(a, unpackHalf2x16(head.x).x * (float(s) - 32.0));
}
#define Q_CHUNK_OF(word, quad) \
    uint b = c >> 3; \
    return q_make(quad(at + c), q_pair(quad(at + q_plane1(k) + (b >> 1)), b), c & 7u);
uint q_at(uint c, uint s) { return 8u * c; }
vec4 q_vec(q_raw r, uint i) { return q_levels(r.a[i & 3u] >> (i & 4u)); }
float q_scale(q_raw r, uint s) { return r.scale; }
