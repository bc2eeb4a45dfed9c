// SPDX-License-Identifier: Apache-2.0
// Q4_0: blocks of 32 weights in 16 bytes with one scale: byte j holds weight j in its low and weight j + 16 in its
// high nibble; weight = scale * (nibble - 8). Planes: nibbles 16, scale 2 (F16).
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
#define Q_BYTES 1
#define Q_ZERO 8
struct q_raw { uvec4 a; float scale; };
#define Q_CHUNK_OF(word, quad) return q_raw(quad(at + c), Q_HALF(word, at + q_plane1(k), c));
#define Q_FOUR_OF(name) \
    uint at = q_row_at(row, k), u = name##_word(4u * (at + (i >> 3)) + (i & 3u)) >> (i & 4u); \
    return Q_HALF(name##_word, at + q_plane1(k), i >> 3) * (q_unsigned(u & 0x0f0f0f0fu) - 8.0);
uint q_at(uint c, uint s) { return 8u * c; }
uint q_word(q_raw r, uint i) { return (r.a[i & 3u] >> (i & 4u)) & 0x0f0f0f0fu; }
float q_scale(q_raw r, uint s) { return r.scale; }
