// SPDX-License-Identifier: Apache-2.0
// Weights of one format, chosen by -DPUM_W_<FORMAT>. A kernel declares its matrix with WEIGHTS(binding, name) and
// reads it through two accessors that the format's file defines over the bound 32-bit words:
//   Q_CHUNK                       weights per chunk, the unit of the mat-vec loop
//   Q_FETCH(name, row, k, c, raw) loads the words of chunk c of a row; uint raw[Q_RAW]
//   q_decode(raw, v)              turns them into vec4 v[Q_CHUNK / 4]
//   Q_LOAD4(name, row, k, i)      weights 4i .. 4i+3 of a row
//   Q_ONE(name, row, k, i)        one weight, for rows whose length is no multiple of the chunk
// Rows are contiguous as in the file. `name.w` are words, `name##4` is not used: the vec4 view is `name`_v.
#define WEIGHTS(slot, name, view) \
    layout(set = 0, binding = slot) readonly buffer name##_words { uint w[]; } name; \
    layout(set = 0, binding = slot) readonly buffer view##_words { uvec4 w[]; } view

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
