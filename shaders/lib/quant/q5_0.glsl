// SPDX-License-Identifier: Apache-2.0
// Q5_0: blocks of 32 weights with one scale: nibbles as in Q4_0, and bit i of a word of high bits is bit 4 of weight i;
// weight = scale * (bits - 16). Planes: nibbles 16, high bits 4, scale 2 (F16).
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
#define Q_BYTES 1
#define Q_ZERO 16
struct q_raw { uvec4 a; uint high; float scale; };
#define Q_CHUNK_OF(word, quad) \
    return q_raw(quad(at + c), word(4u * (at + q_plane1(k)) + c), Q_HALF(word, at + q_plane2(k), c));
uint q_at(uint c, uint s) { return 8u * c; }
uint q_word(q_raw r, uint i)
{
    return ((r.a[i & 3u] >> (i & 4u)) & 0x0f0f0f0fu) | (q_spread(r.high >> (4u * i)) << 4);
}
float q_scale(q_raw r, uint s) { return r.scale; }
