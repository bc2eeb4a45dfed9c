// SPDX-License-Identifier: Apache-2.0
// MXFP4 (OCP microscaling): blocks of 32 numbers of 4 bits (sign, 2 bits exponent, 1 bit mantissa), nibbles as in Q4_0,
// with one exponent byte e. Quants are twice the numbers, so the scale is 2^(e - 128). Planes: nibbles 16, exponent 1.
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
#define Q_BYTES 1
#define Q_ZERO 12
struct q_raw { uvec4 a; float scale; };
q_raw q_make(uvec4 a, uint exponents, uint c)
{
    uint e = (exponents >> (8u * (c & 3u))) & 255u;
    return q_raw(a, uintBitsToFloat(e < 2u ? 0x00200000u << e : (e - 1u) << 23));
}
#define Q_CHUNK_OF(word, quad) return q_make(quad(at + c), word(4u * (at + q_plane1(k)) + (c >> 2)), c);
uint q_at(uint c, uint s) { return 8u * c; }
// 0 1 2 3 4 6 8 12 by the low three bits eet: with the high e, 4 + 2 * et, and + 2 * t again with both, four at once;
// bit 3 is the sign, so 12 more or 12 less
uint q_word(q_raw r, uint i)
{
    uint u = r.a[i & 3u] >> (i & 4u), big = ((u >> 2) & 0x01010101u) | ((u >> 1) & 0x02020202u);
    uint v = (u & 0x07070707u) + (u & big) + ((u & (u >> 1) & big & 0x01010101u) << 1);
    uint sign = u & 0x08080808u, minus = (sign << 1) - (sign >> 3);
    return 0x0c0c0c0cu + (v & ~minus) - (v & minus);
}
float q_scale(q_raw r, uint s) { return r.scale; }
