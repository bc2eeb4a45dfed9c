// SPDX-License-Identifier: Apache-2.0
// Q5_1: blocks of 32 weights with a scale and a minimum: bits as in Q5_0; weight = scale * bits + minimum.
// Planes: nibbles 16; scale and minimum (F16 each) and the word of high bits 8.
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
#define Q_HAS_MIN 1
#define Q_BYTES 1
#define Q_ZERO 0
struct q_raw { uvec4 a; uint high; vec2 d; };
q_raw q_make(uvec4 a, uvec2 head) { return q_raw(a, head.y, unpackHalf2x16(head.x)); }
#define Q_CHUNK_OF(word, quad) return q_make(quad(at + c), q_pair(quad(at + q_plane1(k) + (c >> 1)), c));
uint q_at(uint c, uint s) { return 8u * c; }
uint q_word(q_raw r, uint i)
{
    return ((r.a[i & 3u] >> (i & 4u)) & 0x0f0f0f0fu) | (q_spread(r.high >> (4u * i)) << 4);
}
float q_scale(q_raw r, uint s) { return r.d.x; }
float q_min(q_raw r, uint s) { return r.d.y; }
