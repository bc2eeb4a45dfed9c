// SPDX-License-Identifier: Apache-2.0
// The 16 levels of IQ4_NL and IQ4_XS, four a word, and how nibbles become them: by selection, since an array indexed by
// a variable is dear on software drivers.
vec4 q_levels(uint u) /* of the low nibbles of four bytes */
{
    uvec4 q = uvec4(u, u >> 8, u >> 16, u >> 24) & 15u;
    // -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113
    uvec4 low = mix(uvec4(0xbfad9881u), uvec4(0xf6eaddcfu), greaterThanEqual(q, uvec4(4u)));
    uvec4 high = mix(uvec4(0x26190d01u), uvec4(0x71594535u), greaterThanEqual(q, uvec4(12u)));
    uvec4 four = mix(low, high, greaterThanEqual(q, uvec4(8u)));
    return vec4(ivec4(four << (24u - 8u * (q & 3u))) >> 24);
}
