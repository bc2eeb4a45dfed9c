// SPDX-License-Identifier: Apache-2.0
// Q4_0: blocks of 32 weights in 18 bytes: an F16 scale, then 16 bytes; byte j holds weight j in its low and weight
// j + 16 in its high nibble; weight = scale * (nibble - 8). A block begins on any half word.
#define Q_CHUNK 32
#define Q_RAW 6
#define Q_FETCH(name, view, row, k, c, raw) \
    { uint q_h = ((row) * ((k) >> 5) + (c)) * 9u, q_a = q_h >> 1; \
      for (uint q_i = 0u; q_i < 5u; q_i++) raw[q_i] = name.w[q_a + q_i]; raw[5] = q_h & 1u; }
vec4 q_nibbles(uint u)
{
    return vec4(float(u & 15u), float((u >> 8) & 15u), float((u >> 16) & 15u), float((u >> 24) & 15u)) - 8.0;
}
void q_decode(uint raw[Q_RAW], out vec4 v[8])
{
    bool odd = raw[5] != 0u;
    float d = unpackHalf2x16(odd ? raw[0] >> 16 : raw[0]).x;
    for (uint i = 0u; i < 4u; i++) {
        uint u = odd ? raw[i + 1u] : (raw[i] >> 16) | (raw[i + 1u] << 16);
        v[i] = d * q_nibbles(u);
        v[i + 4u] = d * q_nibbles(u >> 4);
    }
}
vec4 q_part(uint scale_word, uint h, uint lo, uint hi, uint i)
{
    bool odd = (h & 1u) != 0u;
    float d = unpackHalf2x16(odd ? scale_word >> 16 : scale_word).x;
    uint u = odd ? hi : (lo >> 16) | (hi << 16);
    return d * q_nibbles((i & 4u) != 0u ? u >> 4 : u);
}
uint q_block(uint row, uint k, uint i)
{
    return (row * (k >> 5) + (i >> 3)) * 9u; /* half word where the block of weights 4i.. begins */
}
#define Q_LOAD4(name, view, row, k, i) \
    q_part(name.w[q_block(row, k, i) >> 1], q_block(row, k, i), \
           name.w[(q_block(row, k, i) >> 1) + ((i) & 3u)], name.w[(q_block(row, k, i) >> 1) + ((i) & 3u) + 1u], i)
#define Q_ONE(name, row, k, i) 0.0 /* rows are whole blocks */
