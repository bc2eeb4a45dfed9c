// SPDX-License-Identifier: Apache-2.0
// F32: one word a weight.
#define Q_CHUNK 4
#define Q_RAW 4
#define Q_FETCH(name, view, row, k, c, raw) \
    { uvec4 q_u = view.w[((row) * (k) >> 2) + (c)]; raw = uint[Q_RAW](q_u.x, q_u.y, q_u.z, q_u.w); }
void q_decode(uint raw[Q_RAW], out vec4 v[1])
{
    v[0] = vec4(uintBitsToFloat(raw[0]), uintBitsToFloat(raw[1]), uintBitsToFloat(raw[2]), uintBitsToFloat(raw[3]));
}
#define Q_LOAD4(name, view, row, k, i) uintBitsToFloat(view.w[((row) * (k) >> 2) + (i)])
#define Q_ONE(name, row, k, i) uintBitsToFloat(name.w[(row) * (k) + (i)])
