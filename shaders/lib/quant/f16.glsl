// SPDX-License-Identifier: Apache-2.0
// F16 (IEEE 754 binary16): two weights a word, the first in the low half. A row of odd length begins at a half word.
#define Q_CHUNK 8
#define Q_RAW 4
#define Q_FETCH(name, view, row, k, c, raw) \
    { uvec4 q_u = view.w[((row) * (k) >> 3) + (c)]; raw = uint[Q_RAW](q_u.x, q_u.y, q_u.z, q_u.w); }
void q_decode(uint raw[Q_RAW], out vec4 v[2])
{
    v[0] = vec4(unpackHalf2x16(raw[0]), unpackHalf2x16(raw[1]));
    v[1] = vec4(unpackHalf2x16(raw[2]), unpackHalf2x16(raw[3]));
}
vec4 q_pair(uint a, uint b)
{
    return vec4(unpackHalf2x16(a), unpackHalf2x16(b));
}
float q_half(uint word, uint high)
{
    return unpackHalf2x16(word >> (16u * high)).x;
}
#define Q_LOAD4(name, view, row, k, i) \
    q_pair(name.w[((row) * (k) >> 1) + 2u * (i)], name.w[((row) * (k) >> 1) + 2u * (i) + 1u])
#define Q_ONE(name, row, k, i) q_half(name.w[((row) * (k) + (i)) >> 1], ((row) * (k) + (i)) & 1u)
