// SPDX-License-Identifier: Apache-2.0
// Weights of one format, chosen by -DPUM_W_<FORMAT>. THE CONTRACT between formats and kernels; kernels never name a
// format. A row of k weights is cut into chunks of Q_CHUNK weights: what one invocation loads at once. k is a whole
// number of chunks in block formats (Q_BLOCKS 1); in plain ones (0) only if ALIGNED says so, else use name_one.
// A chunk is Q_RUNS runs of neighbouring weights, each with a scale of its own (and a minimum, if Q_HAS_MIN):
//     weight = scale * quant + minimum
// Runs of a chunk need not be neighbours: run s of chunk c begins at weight 4 * q_at(c, s) of its row. So a lane can
// load 16 bytes that hold the low bits of one run and the high bits of another.
//
// WEIGHTS(binding, name) declares a matrix and
//   q_raw name_chunk(at, k, c)      loads chunk c of the row that begins at `at`, which is q_row_at(row, k): few and
//                                   wide loads, little arithmetic
//   vec4  name_four(row, k, i)      weights 4i .. 4i + 3 of a row, finished; slow: chunks are the way to read many
//   float name_one(row, k, i)       weight i of a row (plain formats only)
// What can be asked of a chunk (i = 0 .. Q_VECS - 1 and s = 0 .. Q_RUNS - 1 are constants after unrolling;
// vec i belongs to run i / Q_RUN_VECS):
//   vec4  q_vec(raw, i)             quants 4i .. 4i + 3
//   float q_scale(raw, s)           scale of run s
//   float q_min(raw, s)             minimum of run s (Q_HAS_MIN only)
//   vec4  q_weights(raw, i)         finished weights
//   float q_dot(raw, x, x_sum)      the chunk times x, both from x_chunk
// Formats whose quants are small integers define Q_BYTES 1 and
//   uint  q_word(raw, i)            quants 4i .. 4i + 3 as four bytes, the first lowest, each quant + Q_ZERO:
//                                   signed bytes if Q_ZERO is 0 (then Q_SIGNED is 1), else unsigned
// from which q_vec is made: the way for products of 8-bit integers.
// Software drivers turn an array indexed by a variable into memory, so loops over a chunk are written out with
// Q_EACH(OP) = OP(0) .. OP(Q_VECS - 1) and Q_EACH_RUN(OP) = OP(0) .. OP(Q_RUNS - 1). No bitfieldExtract: dear there.
//
// Formats with a codebook (Q_CODEBOOK_AT, from graph/dtype.def) have one more binding, and
//   uint  q_entry(i)                entry i of it, 16 bits
// They define Q_CODES_OF in place of Q_CHUNK_OF: lib/quant/iq_codes.glsl.
//
// A format's file defines Q_CHUNK, Q_RUNS, Q_HAS_MIN, Q_BLOCKS, q_raw, q_at, the functions of a chunk and the macro
// Q_CHUNK_OF(word, quad), the body of name_chunk(at, k, c), which reads memory through two functions alone: word(i) is
// the i-th 4 bytes, quad(i) the i-th 16 bytes; optionally Q_FOUR_OF, and Q_ROW_AT if it has no planes. How rows lie in
// memory: planes.glsl.

#include "planes.glsl"

// half i, counted from a position in units of 16 bytes
#define Q_HALF(word, at16, i) unpackHalf2x16(word(4u * (at16) + ((i) >> 1)) >> (16u * ((i) & 1u))).x

// ---- bytes to floats ----
vec4 q_unsigned(uint u) { return vec4(uvec4(u, u >> 8, u >> 16, u >> 24) & 255u); }
// four bits, the lowest first, to four bytes 0 or 1
uint q_spread(uint bits) { return ((bits & 15u) * 0x00204081u) & 0x01010101u; }
// two words of four: the first two for even i
uvec2 q_pair(uvec4 v, uint i) { return (i & 1u) == 0u ? v.xy : v.zw; }
vec4 q_signed(uint u) { return vec4(ivec4(u << 24, u << 16, u << 8, u) >> 24); }

// ---- the codebook ----
#ifdef Q_CODEBOOK_AT
#ifdef PUM_TEXEL
layout(set = 0, binding = Q_CODEBOOK_BINDING) uniform usamplerBuffer codebooks_t;
uint codebook_word(uint i)
{
    uvec4 v = texelFetch(codebooks_t, int(i >> 2));
    uvec2 pair = q_pair(v, i >> 1);
    return (i & 1u) != 0u ? pair.y : pair.x;
}
#else
layout(set = 0, binding = Q_CODEBOOK_BINDING) readonly buffer codebooks_words { uint codebooks_w[]; };
uint codebook_word(uint i) { return codebooks_w[i]; }
#endif
uint q_entry(uint i)
{
    i += Q_CODEBOOK_AT;
    return (codebook_word(i >> 1) >> (16u * (i & 1u))) & 0xffffu;
}
#endif

#if defined(PUM_W_F32)
#include "quant/f32.glsl"
#elif defined(PUM_W_F16)
#include "quant/f16.glsl"
#elif defined(PUM_W_BF16)
#include "quant/bf16.glsl"
#elif defined(PUM_W_Q8_0)
#include "quant/q8_0.glsl"
#elif defined(PUM_W_Q4_0)
#include "quant/q4_0.glsl"
#elif defined(PUM_W_Q4_1)
#include "quant/q4_1.glsl"
#elif defined(PUM_W_Q5_0)
#include "quant/q5_0.glsl"
#elif defined(PUM_W_Q5_1)
#include "quant/q5_1.glsl"
#elif defined(PUM_W_Q2_K)
#include "quant/q2_k.glsl"
#elif defined(PUM_W_Q3_K)
#include "quant/q3_k.glsl"
#elif defined(PUM_W_Q4_K)
#include "quant/q4_k.glsl"
#elif defined(PUM_W_Q5_K)
#include "quant/q5_k.glsl"
#elif defined(PUM_W_Q6_K)
#include "quant/q6_k.glsl"
#elif defined(PUM_W_IQ4_NL)
#include "quant/iq4_nl.glsl"
#elif defined(PUM_W_IQ4_XS)
#include "quant/iq4_xs.glsl"
#elif defined(PUM_W_IQ3_XXS)
#include "quant/iq3_xxs.glsl"
#elif defined(PUM_W_IQ3_S)
#include "quant/iq3_s.glsl"
#elif defined(PUM_W_IQ2_XXS)
#include "quant/iq2_xxs.glsl"
#elif defined(PUM_W_IQ2_XS)
#include "quant/iq2_xs.glsl"
#elif defined(PUM_W_IQ2_S)
#include "quant/iq2_s.glsl"
#elif defined(PUM_W_IQ1_S)
#include "quant/iq1_s.glsl"
#elif defined(PUM_W_IQ1_M)
#include "quant/iq1_m.glsl"
#elif defined(PUM_W_MXFP4)
#include "quant/mxfp4.glsl"
#elif defined(PUM_W_NVFP4)
#include "quant/nvfp4.glsl"
#elif defined(PUM_W_Q1_0)
#include "quant/q1_0.glsl"
#elif defined(PUM_W_Q2_0)
#include "quant/q2_0.glsl"
#elif defined(PUM_W_TQ1_0)
#include "quant/tq1_0.glsl"
#elif defined(PUM_W_TQ2_0)
#include "quant/tq2_0.glsl"
#endif

// where a row begins: loops over chunks compute it once
#ifndef Q_ROW_AT
#define Q_ROW_AT (row * q_row(k))
#endif
uint q_row_at(uint row, uint k) { return Q_ROW_AT; }

#ifndef Q_HAS_MIN
#define Q_HAS_MIN 0
#endif
#define Q_VECS (Q_CHUNK / 4)
#define Q_RUN_VECS (Q_VECS / Q_RUNS)
#if Q_CHUNK == 8
#define Q_EACH(OP) OP(0) OP(1)
#elif Q_CHUNK == 16
#define Q_EACH(OP) OP(0) OP(1) OP(2) OP(3)
#elif Q_CHUNK == 32
#define Q_EACH(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#elif Q_CHUNK == 64
#define Q_EACH(OP) \
    OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11) OP(12) OP(13) OP(14) OP(15)
#endif
#if Q_RUNS == 1
#define Q_EACH_RUN(OP) OP(0)
#elif Q_RUNS == 2
#define Q_EACH_RUN(OP) OP(0) OP(1)
#elif Q_RUNS == 4
#define Q_EACH_RUN(OP) OP(0) OP(1) OP(2) OP(3)
#endif

#ifdef Q_BYTES
#ifndef Q_SIGNED
#define Q_SIGNED 0
#endif
vec4 q_vec(q_raw r, uint i)
{
#if Q_SIGNED
    return q_signed(q_word(r, i));
#elif Q_ZERO
    return q_unsigned(q_word(r, i)) - float(Q_ZERO);
#else
    return q_unsigned(q_word(r, i));
#endif
}
#endif

// Tier texel multiplies bytes where they stand in their word, times 1, 2^8, 2^16 and 1 (signed ones times 2^24), and x
// by the inverse (x_chunk): a mask instead of a shift and a mask. What Q_ZERO is too much goes by the sum of x.
#if defined(PUM_TEXEL) && defined(Q_BYTES)
#define Q_IN_PLACE 1
#if Q_SIGNED
const vec4 Q_X_FACTOR = vec4(1.0 / 16777216.0);
vec4 q_in_place(uint u) { return vec4(ivec4(uvec4(u << 24, u << 16, u << 8, u) & 0xff000000u)); }
#else
const vec4 Q_X_FACTOR = vec4(1.0, 1.0 / 256.0, 1.0 / 65536.0, 1.0);
vec4 q_in_place(uint u) { return vec4(uvec4(u & 0xffu, u & 0xff00u, u & 0xff0000u, u >> 24)); }
#endif
#define Q_HAS_SUM (Q_HAS_MIN || Q_ZERO)
#else
#define Q_IN_PLACE 0
#define Q_HAS_SUM Q_HAS_MIN
#endif

vec4 q_weights(q_raw r, uint i)
{
    uint s = i / Q_RUN_VECS;
#if Q_HAS_MIN
    return q_scale(r, s) * q_vec(r, i) + q_min(r, s);
#else
    return q_scale(r, s) * q_vec(r, i);
#endif
}

float q_dot(q_raw r, vec4 x[Q_VECS], float x_sum[Q_RUNS])
{
    float total = 0.0, sum[Q_RUNS];
#define Q_CLEAR(s) sum[s] = 0.0;
    Q_EACH_RUN(Q_CLEAR)
#if Q_IN_PLACE
#define Q_ADD(i) sum[i / Q_RUN_VECS] += dot(q_in_place(q_word(r, i)), x[i]);
    Q_EACH(Q_ADD)
#if Q_ZERO
#define Q_BACK(s) sum[s] -= float(Q_ZERO) * x_sum[s];
    Q_EACH_RUN(Q_BACK)
#endif
#else
#define Q_ADD(i) sum[i / Q_RUN_VECS] += dot(q_vec(r, i), x[i]);
    Q_EACH(Q_ADD)
#endif
#if Q_HAS_MIN
#define Q_TOTAL(s) total += q_scale(r, s) * sum[s] + q_min(r, s) * x_sum[s];
#else
#define Q_TOTAL(s) total += q_scale(r, s) * sum[s];
#endif
    Q_EACH_RUN(Q_TOTAL)
    return total;
}

#ifndef Q_FOUR_OF
// the chunk and the vec of it that hold weights 4i .. 4i + 3: the inverse of q_at. Formats whose runs are not
// neighbours define it themselves.
#ifndef Q_FIND
uvec2 q_find(uint i) { return uvec2(i / Q_VECS, i % Q_VECS); }
#endif
#define Q_FOUR_OF(name) \
    uvec2 at = q_find(i); \
    return q_weights(name##_chunk(q_row_at(row, k), k, at.x), at.y);
#endif

#if Q_BLOCKS
#define Q_ONE(name)
#else
#define Q_ONE(name) float name##_one(uint row, uint k, uint i) { Q_ONE_OF(name##_word) }
#endif

// Through storage buffers the range is bound as words and as groups of four, since one load of four words costs much
// less than four loads; through texel buffers (tier texel) there are only groups of four.
#ifdef PUM_TEXEL
#define WEIGHTS_READ(slot, name) \
    layout(set = 0, binding = slot) uniform usamplerBuffer name##_t; \
    uvec4 name##_quad(uint i) { return texelFetch(name##_t, int(i)); } \
    uint name##_word(uint i) \
    { \
        uvec4 v = name##_quad(i >> 2); \
        uvec2 pair = (i & 2u) != 0u ? v.zw : v.xy; \
        return (i & 1u) != 0u ? pair.y : pair.x; \
    }
#else
#define WEIGHTS_READ(slot, name) \
    layout(set = 0, binding = slot) readonly buffer name##_words { uint name##_w[]; }; \
    layout(set = 0, binding = slot) readonly buffer name##_quads { uvec4 name##_q[]; }; \
    uvec4 name##_quad(uint i) { return name##_q[i]; } \
    uint name##_word(uint i) { return name##_w[i]; }
#endif

#ifdef Q_CODES_OF
#define Q_CHUNK_READ(name) \
    q_raw name##_codes(uint at, uint k, uint c) { Q_CODES_OF(name##_word, name##_quad) } \
    q_raw name##_chunk(uint at, uint k, uint c) { return q_look_up(name##_codes(at, k, c)); }
#else
#define Q_CHUNK_READ(name) \
    q_raw name##_chunk(uint at, uint k, uint c) { Q_CHUNK_OF(name##_word, name##_quad) }
#endif

#define WEIGHTS(slot, name) \
    WEIGHTS_READ(slot, name) \
    Q_CHUNK_READ(name) \
    vec4 name##_four(uint row, uint k, uint i) { Q_FOUR_OF(name) } \
    Q_ONE(name)
