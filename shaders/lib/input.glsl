// SPDX-License-Identifier: Apache-2.0
// Reads the input x of the matmul families, in chunks that match those of the weights. Define X_BINDING first, and
// X_FIRST if x does not begin with column 0; needs `a` and weights.glsl. Where weights come in whole chunks, batch rows
// begin on 16 bytes: x_stride is a multiple of 4.
#ifndef X_FIRST
#define X_FIRST 0u
#endif
#ifdef PUM_TEXEL
layout(set = 0, binding = X_BINDING) uniform usamplerBuffer x_t;
vec4 x_quad(uint i) { return uintBitsToFloat(texelFetch(x_t, int(i))); }
float x_one(uint i) { return x_quad(i >> 2)[i & 3u]; }
#else
layout(set = 0, binding = X_BINDING) readonly buffer x_words { float x[]; };
layout(set = 0, binding = X_BINDING) readonly buffer x_quads { vec4 x4[]; };
vec4 x_quad(uint i) { return x4[i]; }
float x_one(uint i) { return x[i]; }
#endif

// where batch row t begins, in units of 16 bytes
uint x_row_at(uint t) { return (t * a.x_stride + X_FIRST) >> 2; }

/* For q_dot, of the row that begins at `at`, of whole chunks: vec i of chunk c, times what weights.glsl wants, and the
 * sum of each run for formats that need it (else nothing, and then it costs nothing). */
void x_chunk(uint at, uint c, out vec4 v[Q_VECS], out float sum[Q_RUNS])
{
#define X_LOAD(i) v[i] = x_quad(at + q_at(c, i / Q_RUN_VECS) + i % Q_RUN_VECS);
    Q_EACH(X_LOAD)
#define X_CLEAR(s) sum[s] = 0.0;
    Q_EACH_RUN(X_CLEAR)
#if Q_HAS_SUM
#define X_SUM(i) sum[i / Q_RUN_VECS] += dot(v[i], vec4(1.0));
    Q_EACH(X_SUM)
#endif
#if Q_IN_PLACE
#define X_FACTOR(i) v[i] *= Q_X_FACTOR;
    Q_EACH(X_FACTOR)
#endif
}

/* How far a row is read in chunks, and how far weight by weight: one of the two is nothing. They bound loops, which
 * drivers drop when the bound is a constant 0; a branch would do too, but SwiftShader computes both sides of it. */
#if Q_BLOCKS
uint whole_chunks() { return a.k / Q_CHUNK; }
#else
uint whole_chunks() { return ALIGNED != 0u ? a.k / Q_CHUNK : 0u; }
uint slow_end() { return ALIGNED != 0u ? 0u : a.k; }
#endif
