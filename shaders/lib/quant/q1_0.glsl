// SPDX-License-Identifier: Apache-2.0
// Q1_0: blocks of 128 weights of 1 bit with one scale d: weight i is d where bit i is set, else -d. Planes: bits 16,
// d 2 (F16). Quants are twice the bit, less 1.
#define Q_CHUNK 32
#define Q_RUNS 1
#define Q_BLOCKS 1
#define Q_BYTES 1
#define Q_ZERO 1
struct q_raw { uint a; float scale; };
#define Q_CHUNK_OF(word, quad) return q_raw(word(4u * at + c), Q_HALF(word, at + q_plane1(k), c >> 2));
uint q_at(uint c, uint s) { return 8u * c; }
uint q_word(q_raw r, uint i) { return q_spread(r.a >> (4u * i)) << 1; }
float q_scale(q_raw r, uint s) { return r.scale; }
