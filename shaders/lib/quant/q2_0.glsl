// SPDX-License-Identifier: Apache-2.0
// Q2_0: blocks of 64 weights -1, 0, 1, 2 of 2 bits each with one scale: byte j holds weights 4j .. 4j + 3, the first
// lowest; weight = scale * (bits - 1). Planes: bits 16, scale 2 (F16).
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
#define Q_BYTES 1
#define Q_ZERO 1
struct q_raw { uvec2 a; float scale; };
#define Q_CHUNK_OF(word, quad) \
    return q_raw(q_pair(quad(at + (c >> 1)), c), Q_HALF(word, at + q_plane1(k), c >> 1));
uint q_at(uint c, uint s) { return 8u * c; }
uint q_word(q_raw r, uint i)
{
    uint u = (r.a[i >> 2] >> (8u * (i & 3u))) & 255u;
    u = (u | (u << 12)) & 0x000f000fu;
    return (u | (u << 6)) & 0x03030303u;
}
float q_scale(q_raw r, uint s) { return r.scale; }
