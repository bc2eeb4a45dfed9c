// SPDX-License-Identifier: Apache-2.0
// F32: one word a weight.
#define Q_CHUNK 8
#define Q_VECS 2
#define Q_EACH(OP) OP(0) OP(1)
#define Q_BLOCKS 0
struct q_raw { uvec4 a, b; };
#define Q_CHUNK_OF(words, quads) \
    uint at = (row * k >> 2) + 2u * c; \
    return q_raw(quads[at], quads[at + 1u]);
#define Q_FOUR_OF(words, quads) return uintBitsToFloat(quads[(row * k >> 2) + i]);
#define Q_ONE_OF(words) return uintBitsToFloat(words[row * k + i]);
vec4 q_vec(q_raw r, uint i) { return uintBitsToFloat(i == 0u ? r.a : r.b); }
float q_scale(q_raw r) { return 1.0; }
