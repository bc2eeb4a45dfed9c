// SPDX-License-Identifier: Apache-2.0
// What Q4_K and Q5_K share: 8 groups of 32 weights, each with a scale and a minimum of 6 bits in 12 bytes. Groups 0-3:
// the low 6 bits of bytes 0-3 (scales) and 4-7 (minimums). Group 4 + t: low 4 bits in the nibbles of byte 8 + t, high 2
// in the top bits of bytes t and 4 + t. Byte 32j + l of the nibbles holds weight 64j + l of group 2j in its low and
// weight 64j + 32 + l of group 2j + 1 in its high nibble.
// Chunk 8b + g: bytes 16g .. 16g + 15 (j = g / 2); run 0 low, run 1 high nibbles.
// head: factors of scales and of minimums (F16 each), then the 12 bytes
void q_k_scales(uvec4 head, uint g, out vec2 scale, out vec2 minimum)
{
    bool first = g < 4u;
    uint scales = first ? head.y & 0x3f3f3f3fu : (head.w & 0x0f0f0f0fu) | ((head.y >> 2) & 0x30303030u);
    uint minimums = first ? head.z & 0x3f3f3f3fu : ((head.w >> 4) & 0x0f0f0f0fu) | ((head.z >> 2) & 0x30303030u);
    uint shift = 8u * (g & 2u);
    vec2 d = unpackHalf2x16(head.x);
    scales >>= shift;
    minimums >>= shift;
    scale = d.x * vec2(scales & 63u, (scales >> 8) & 63u);
    minimum = -d.y * vec2(minimums & 63u, (minimums >> 8) & 63u);
}
uint q_at(uint c, uint s) { return 8u * (c & ~1u) + 4u * (c & 1u) + 8u * s; }
#define Q_FIND 1
uvec2 q_find(uint i) { return uvec2(2u * (i >> 4) + ((i >> 2) & 1u), (i & 3u) + ((i >> 1) & 4u)); }
