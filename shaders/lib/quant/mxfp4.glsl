// SPDX-License-Identifier: Apache-2.0
// MXFP4 (OCP microscaling): blocks of 32 numbers of 4 bits (sign, 2 bits exponent, 1 bit mantissa), nibbles as in Q4_0,
// with one exponent byte e. Quants are twice the numbers, so the scale is 2^(e - 128). Planes: nibbles 16, exponent 1.
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
struct q_raw { uvec4 a; float scale; };
q_raw q_make(uvec4 a, uint exponents, uint c)
{
    uint e = (exponents >> (8u * (c & 3u))) & 255u;
    return q_raw(a, uintBitsToFloat(e < 2u ? 0x00200000u << e : (e - 1u) << 23));
}
#define Q_CHUNK_OF(word, quad) \
    uint at = row * q_row(k); \
    return q_make(quad(at + c), word(4u * (at + q_plane1(k)) + (c >> 2)), c);
uint q_at(uint c, uint s) { return 8u * c; }
vec4 q_vec(q_raw r, uint i)
{
    uint u = r.a[i & 3u] >> (i & 4u);
    uvec4 q = uvec4(u, u >> 8, u >> 16, u >> 24);
    vec4 v = vec4((uvec4(0xc8643210u) >> ((q & 7u) << 2)) & 15u); /* 0 1 2 3 4 6 8 12 */
    return mix(v, -v, notEqual(q & 8u, uvec4(0u)));
}
float q_scale(q_raw r, uint s) { return r.scale; }
