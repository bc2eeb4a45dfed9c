// SPDX-License-Identifier: Apache-2.0
// MXFP4 (OCP microscaling): blocks of 32 numbers of 4 bits, nibbles as in Q4_0, with one exponent byte e. Quants are
// twice the numbers, so the scale is 2^(e - 128). Planes: nibbles 16, exponent 1.
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
#include "fp4.glsl"
struct q_raw { uvec4 a; float scale; };
q_raw q_make(uvec4 a, uint exponents, uint c)
{
    uint e = (exponents >> (8u * (c & 3u))) & 255u;
    return q_raw(a, uintBitsToFloat(e < 2u ? 0x00200000u << e : (e - 1u) << 23));
}
#define Q_CHUNK_OF(word, quad) return q_make(quad(at + c), word(4u * (at + q_plane1(k)) + (c >> 2)), c);
uint q_at(uint c, uint s) { return 8u * c; }
uint q_word(q_raw r, uint i) { return q_fp4(r.a[i & 3u] >> (i & 4u)); }
float q_scale(q_raw r, uint s) { return r.scale; }
