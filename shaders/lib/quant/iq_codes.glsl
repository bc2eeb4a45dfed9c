// SPDX-License-Identifier: Apache-2.0
// What IQ1, IQ2 and IQ3 share: weights are levels of an entry of the format's codebook, chosen by a code, and signs
// that stand beside the codes. A chunk is 32 neighbouring weights: with Q_LEVEL_BITS 2 it has 4 codes of 8 weights,
// with 3 it has 8 codes of 4. When it is loaded it has its codes, of 16 bits; looked up, the entries in their place.
// A format's file defines Q_RUNS (2: each half of a chunk has a scale of its own), Q_LEVEL_BITS, Q_ZERO, Q_SIGNED and
//   uint q_bytes(levels, nibble)    bytes of four weights (see q_word), from four levels, a byte each, and their signs
// then includes this one, then defines the macro Q_CODES_OF(word, quad), the body of name_codes.
#define Q_CHUNK 32
#define Q_BLOCKS 1
#define Q_BYTES 1
#if Q_LEVEL_BITS == 3
#define Q_CODES uvec4
#else
#define Q_CODES uvec2
#endif
struct q_raw { Q_CODES codes; uint signs; vec2 scale; };
uint q_at(uint c, uint s) { return 8u * c + 32u / (4u * Q_RUNS) * s; }
float q_scale(q_raw r, uint s) { return r.scale[s]; }

// ---- what blocks hold ----
// four bytes to two pairs of 16 bits
uvec2 q_widen(uint w) { return uvec2((w & 255u) | ((w & 0xff00u) << 8), ((w >> 16) & 255u) | ((w >> 8) & 0xff0000u)); }
// four times seven signs, a byte each, get their eighth: the number of minuses is even
uint q_even(uint signs)
{
    uint p = signs ^ (signs >> 4);
    p ^= p >> 2;
    p ^= p >> 1;
    return signs | ((p & 0x01010101u) << 7);
}
// four times seven bits to four bytes
uint q_sevens(uint w) { return (w & 0x7fu) | ((w << 1) & 0x7f00u) | ((w << 2) & 0x7f0000u) | ((w << 3) & 0x7f000000u); }
// byte i of 8
uint q_byte(uvec2 v, uint i) { return ((i < 4u ? v.x : v.y) >> (8u * (i & 3u))) & 255u; }

// ---- entries ----
uint q_entries(uint codes) { return q_entry(codes & 0xffffu) | (q_entry(codes >> 16) << 16); }
q_raw q_look_up(q_raw r)
{
    r.codes.x = q_entries(r.codes.x);
    r.codes.y = q_entries(r.codes.y);
#if Q_LEVEL_BITS == 3
    r.codes.z = q_entries(r.codes.z);
    r.codes.w = q_entries(r.codes.w);
#endif
    return r;
}
uint q_word(q_raw r, uint i)
{
#if Q_LEVEL_BITS == 3
    uint u = (r.codes[i >> 1] >> (16u * (i & 1u))) & 0xfffu;
    u = (u | (u << 10)) & 0x003f003fu;
    u = (u | (u << 5)) & 0x07070707u;
#else
    uint u = (r.codes[i >> 2] >> (8u * (i & 3u))) & 255u;
    u = (u | (u << 12)) & 0x000f000fu;
    u = (u | (u << 6)) & 0x03030303u;
#endif
    return q_bytes(u, r.signs >> (4u * i));
}
// one entry alone, for kernels that want four weights: it stands in the place of all
#define Q_FOUR_OF(name) \
    q_raw r = name##_codes(q_row_at(row, k), k, i >> 3); \
    uint v = i & 7u, code = Q_LEVEL_BITS == 3u ? v : v >> 1; \
    r.codes = Q_CODES(q_entry((r.codes[code >> 1] >> (16u * (code & 1u))) & 0xffffu) * 0x00010001u); \
    return q_weights(r, v);
