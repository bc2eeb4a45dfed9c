// SPDX-License-Identifier: Apache-2.0
// Reads the input x of the matmul families, in chunks that match those of the weights. Define X_BINDING first; needs
// `a` and weights.glsl. Where weights come in whole chunks, batch rows begin on 16 bytes: x_stride is a multiple of 4.
layout(set = 0, binding = X_BINDING) readonly buffer x_words { float x[]; };
layout(set = 0, binding = X_BINDING) readonly buffer x_quads { vec4 x4[]; };

void x_chunk(uint t, uint c, out vec4 v[Q_VECS]) /* of rows of whole chunks */
{
    uint quad = (t * a.x_stride + c * Q_CHUNK) >> 2;
#define X_LOAD(i) v[i] = x4[quad + i];
    Q_EACH(X_LOAD)
}

/* How far a row is read in chunks, and how far weight by weight: one of the two is nothing. They bound loops, which
 * drivers drop when the bound is a constant 0; a branch would do too, but SwiftShader computes both sides of it. */
#if Q_BLOCKS
uint whole_chunks() { return a.k / Q_CHUNK; }
#else
uint whole_chunks() { return ALIGNED != 0u ? a.k / Q_CHUNK : 0u; }
uint slow_end() { return ALIGNED != 0u ? 0u : a.k; }
#endif
