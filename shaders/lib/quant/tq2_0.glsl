// SPDX-License-Identifier: Apache-2.0
// TQ2_0: blocks of 256 weights -1, 0, 1 of 2 bits each, with one scale; weight = d * (bits - 1). Planes: bits 64,
// d 2 (F16). Bits, chunks and runs as in Q2_K.
#define Q_CHUNK 32
#define Q_RUNS 2
#define Q_BLOCKS 1
#define Q_BYTES 1
#define Q_ZERO 1
struct q_raw { uvec4 a; float scale; };
#define Q_CHUNK_OF(word, quad) \
    uint b = c >> 3, g = c & 7u; \
    return q_raw(quad(at + 4u * b + (g >> 1)) >> (4u * (g & 1u)), Q_HALF(word, at + q_plane1(k), b));
uint q_at(uint c, uint s)
{
    return 64u * (c >> 3) + 8u * (c & 4u) + 16u * (c & 1u) + 8u * s + 2u * (c & 2u);
}
#define Q_FIND 1
uvec2 q_find(uint i)
{
    return uvec2(8u * (i >> 6) + ((i >> 3) & 4u) + ((i >> 1) & 2u) + ((i >> 4) & 1u), (i & 3u) + ((i >> 1) & 4u));
}
uint q_word(q_raw r, uint i) { return (r.a[i & 3u] >> ((i & 4u) >> 1)) & 0x03030303u; }
float q_scale(q_raw r, uint s) { return r.scale; }
