// SPDX-License-Identifier: Apache-2.0
// BF16: the upper half of an F32, two weights a word, the first in the low half.
#define Q_CHUNK 8
#define Q_RAW 4
#define Q_FETCH(name, view, row, k, c, raw) \
    { uvec4 q_u = view.w[((row) * (k) >> 3) + (c)]; raw = uint[Q_RAW](q_u.x, q_u.y, q_u.z, q_u.w); }
vec4 q_pair(uint a, uint b)
{
    return uintBitsToFloat(uvec4(a << 16, a & 0xffff0000u, b << 16, b & 0xffff0000u));
}
void q_decode(uint raw[Q_RAW], out vec4 v[2])
{
    v[0] = q_pair(raw[0], raw[1]);
    v[1] = q_pair(raw[2], raw[3]);
}
float q_half(uint word, uint high)
{
    return uintBitsToFloat((word >> (16u * high)) << 16);
}
#define Q_LOAD4(name, view, row, k, i) \
    q_pair(name.w[((row) * (k) >> 1) + 2u * (i)], name.w[((row) * (k) >> 1) + 2u * (i) + 1u])
#define Q_ONE(name, row, k, i) q_half(name.w[((row) * (k) + (i)) >> 1], ((row) * (k) + (i)) & 1u)
