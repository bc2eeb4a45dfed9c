// SPDX-License-Identifier: Apache-2.0
// IQ4_NL: blocks of 32 weights in 16 bytes, nibbles as in Q4_0, each the number of a level; weight = scale * level.
// Planes: nibbles 16, scale 2 (F16).
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
#include "iq4_levels.glsl"
struct q_raw { uvec4 a; float scale; };
#define Q_CHUNK_OF(word, quad) return q_raw(quad(at + c), Q_HALF(word, at + q_plane1(k), c));
uint q_at(uint c, uint s) { return 8u * c; }
vec4 q_vec(q_raw r, uint i) { return q_levels(r.a[i & 3u] >> (i & 4u)); }
float q_scale(q_raw r, uint s) { return r.scale; }
