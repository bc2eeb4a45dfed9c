// SPDX-License-Identifier: Apache-2.0
// Q4_1: blocks of 32 weights in 16 bytes, nibbles as in Q4_0, with a scale and a minimum; weight = scale * nibble +
// minimum. Planes: nibbles 16, scale and minimum 4 (F16 each).
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
#define Q_HAS_MIN 1
#define Q_BYTES 1
#define Q_ZERO 0
struct q_raw { uvec4 a; vec2 d; };
#define Q_CHUNK_OF(word, quad) return q_raw(quad(at + c), unpackHalf2x16(word(4u * (at + q_plane1(k)) + c)));
uint q_at(uint c, uint s) { return 8u * c; }
uint q_word(q_raw r, uint i) { return (r.a[i & 3u] >> (i & 4u)) & 0x0f0f0f0fu; }
float q_scale(q_raw r, uint s) { return r.d.x; }
float q_min(q_raw r, uint s) { return r.d.y; }
