// SPDX-License-Identifier: Apache-2.0
// F32: one word a weight.
#define Q_CHUNK 8
#define Q_RUNS 1
#define Q_BLOCKS 0
struct q_raw { uvec4 a, b; };
#define Q_ROW_AT (row * k >> 2)
#define Q_CHUNK_OF(word, quad) return q_raw(quad(at + 2u * c), quad(at + 2u * c + 1u));
#define Q_FOUR_OF(name) return uintBitsToFloat(name##_quad((row * k >> 2) + i));
#define Q_ONE_OF(word) return uintBitsToFloat(word(row * k + i));
uint q_at(uint c, uint s) { return 2u * c; }
vec4 q_vec(q_raw r, uint i) { return uintBitsToFloat(i == 0u ? r.a : r.b); }
float q_scale(q_raw r, uint s) { return 1.0; }
