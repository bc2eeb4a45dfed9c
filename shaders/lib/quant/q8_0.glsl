// SPDX-License-Identifier: Apache-2.0
// Q8_0: blocks of 32 signed bytes with one scale; weight = scale * byte. Planes: bytes 32, scale 2 (F16).
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
#define Q_BYTES 1
#define Q_SIGNED 1
#define Q_ZERO 0
struct q_raw { uvec4 a, b; float scale; };
#define Q_CHUNK_OF(word, quad) \
    return q_raw(quad(at + 2u * c), quad(at + 2u * c + 1u), Q_HALF(word, at + q_plane1(k), c));
#define Q_FOUR_OF(name) \
    uint at = q_row_at(row, k); \
    return Q_HALF(name##_word, at + q_plane1(k), i >> 3) * q_signed(name##_word(4u * at + i));
uint q_at(uint c, uint s) { return 8u * c; }
uint q_word(q_raw r, uint i) { return i < 4u ? r.a[i & 3u] : r.b[i & 3u]; }
float q_scale(q_raw r, uint s) { return r.scale; }
