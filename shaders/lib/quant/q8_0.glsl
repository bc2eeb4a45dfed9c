// SPDX-License-Identifier: Apache-2.0
// Q8_0: blocks of 32 weights in 34 bytes: an F16 scale, then 32 signed bytes; weight = scale * byte.
// A block begins on any half word, so its nine words are shifted into place.
#define Q_CHUNK 32
#define Q_RAW 10
#define Q_FETCH(name, view, row, k, c, raw) \
    { uint q_h = ((row) * ((k) >> 5) + (c)) * 17u, q_a = q_h >> 1; \
      for (uint q_i = 0u; q_i < 9u; q_i++) raw[q_i] = name.w[q_a + q_i]; raw[9] = q_h & 1u; }
vec4 q_bytes(uint u)
{
    u ^= 0x80808080u; /* signed to unsigned: cheaper everywhere than sign extension */
    return vec4(float(u & 255u), float((u >> 8) & 255u), float((u >> 16) & 255u), float(u >> 24)) - 128.0;
}
void q_decode(uint raw[Q_RAW], out vec4 v[8])
{
    bool odd = raw[9] != 0u;
    float d = unpackHalf2x16(odd ? raw[0] >> 16 : raw[0]).x;
    for (uint i = 0u; i < 8u; i++) {
        uint u = odd ? raw[i + 1u] : (raw[i] >> 16) | (raw[i + 1u] << 16);
        v[i] = d * q_bytes(u);
    }
}
vec4 q_part(uint scale_word, uint h, uint lo, uint hi)
{
    bool odd = (h & 1u) != 0u;
    float d = unpackHalf2x16(odd ? scale_word >> 16 : scale_word).x;
    return d * q_bytes(odd ? hi : (lo >> 16) | (hi << 16));
}
uint q_block(uint row, uint k, uint i)
{
    return (row * (k >> 5) + (i >> 3)) * 17u; /* half word where the block of weights 4i.. begins */
}
#define Q_LOAD4(name, view, row, k, i) \
    q_part(name.w[q_block(row, k, i) >> 1], q_block(row, k, i), \
           name.w[(q_block(row, k, i) >> 1) + ((i) & 7u)], name.w[(q_block(row, k, i) >> 1) + ((i) & 7u) + 1u])
#define Q_ONE(name, row, k, i) 0.0 /* rows are whole blocks */
