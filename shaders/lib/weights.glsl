// SPDX-License-Identifier: Apache-2.0
// Weights of one format, chosen by -DPUM_W_<FORMAT>. Rows are contiguous, as in the file; a row's length is k.
// A kernel declares a matrix with WEIGHTS(binding, name) and gets functions to read it:
//   q_raw name_chunk(row, k, c)   chunk c of a row: Q_CHUNK weights that lie together
//   vec4 q_vec(q_raw, i)          its weights 4i .. 4i + 3, still to be multiplied by
//   float q_scale(q_raw)          the chunk's scale
//   vec4 name_four(row, k, i)     weights 4i .. 4i + 3 of a row
//   float name_one(row, k, i)     weight i of a row
// One format's file defines the macros Q_CHUNK_OF, Q_FOUR_OF and Q_ONE_OF that these functions are made from, and
//   Q_BLOCKS                      1: rows are whole chunks, name_chunk and name_four are always right;
//                                 0: they are right only if rows begin on 16 bytes and are whole chunks (ALIGNED)
// Software drivers turn an array indexed by a variable into memory, so loops over a chunk are written out with
// Q_EACH(OP) = OP(0) .. OP(Q_VECS - 1).
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
#endif

// the same buffer as words and as groups of four: one load of four words costs much less than four loads
#define WEIGHTS(slot, name) \
    layout(set = 0, binding = slot) readonly buffer name##_words { uint name##_w[]; }; \
    layout(set = 0, binding = slot) readonly buffer name##_quads { uvec4 name##_q[]; }; \
    q_raw name##_chunk(uint row, uint k, uint c) { Q_CHUNK_OF(name##_w, name##_q) } \
    vec4 name##_four(uint row, uint k, uint i) { Q_FOUR_OF(name##_w, name##_q) } \
    float name##_one(uint row, uint k, uint i) { Q_ONE_OF(name##_w) }
