// SPDX-License-Identifier: Apache-2.0
// Reads activations of 8 bits in chunks that match those of the weights, and multiplies the two. Define X_BINDING
// first; needs `a` and weights.glsl with a format that has q_word.
#include "packed_dot.glsl"
#include "q8_a.glsl"
layout(set = 0, binding = X_BINDING) readonly buffer x_quads { uvec4 x4[]; };
layout(set = 0, binding = X_BINDING) readonly buffer x_pairs { uvec2 x2[]; };

uint whole_chunks() { return a.k / Q_CHUNK; }

struct x8_chunk {
    uvec4 quants[Q_CHUNK / 16];
    float scale[Q_RUNS];
    int sum[Q_RUNS]; /* of a run's quants */
};

/* Runs are halves of a block or whole ones. */
x8_chunk x8_load(uint t, uint c)
{
    uint at = t * q8_a_row(a.k), scales_at = 2u * (at + q8_a_scales(a.k));
    x8_chunk x;
#define X8_RUN(s) \
    { \
        uint first = q_at(c, s); \
        uvec2 head = x2[scales_at + (first >> 3)]; \
        ivec2 halves = ivec2(head.y << 16, head.y) >> 16; \
        x.scale[s] = uintBitsToFloat(head.x); \
        x.sum[s] = Q_RUN_VECS == 8 ? halves.x + halves.y : (first & 4u) != 0u ? halves.y : halves.x; \
        x.quants[(s) * Q_RUN_VECS / 4] = x4[at + (first >> 2)]; \
        if (Q_RUN_VECS == 8) x.quants[(s) * Q_RUN_VECS / 4 + Q_RUN_VECS / 8] = x4[at + (first >> 2) + 1u]; \
    }
    Q_EACH_RUN(X8_RUN)
    return x;
}

/* The chunk times x. Products and sums of quants are exact in 32 bits. Quants with a zero point are small enough to be
 * signed bytes as well. */
float q_dot8(q_raw r, x8_chunk x)
{
    float total = 0.0;
    int sum[Q_RUNS];
#define X8_CLEAR(s) sum[s] = -Q_ZERO * x.sum[s];
    Q_EACH_RUN(X8_CLEAR)
#define X8_ADD(i) sum[i / Q_RUN_VECS] += packed_dot(q_word(r, i), x.quants[i / 4][i & 3], 0);
    Q_EACH(X8_ADD)
#if Q_HAS_MIN
#define X8_TOTAL(s) total += x.scale[s] * (q_scale(r, s) * float(sum[s]) + q_min(r, s) * float(x.sum[s]));
#else
#define X8_TOTAL(s) total += x.scale[s] * q_scale(r, s) * float(sum[s]);
#endif
    Q_EACH_RUN(X8_TOTAL)
    return total;
}
