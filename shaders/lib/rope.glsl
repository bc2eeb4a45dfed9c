// SPDX-License-Identifier: Apache-2.0
// Exact rotary angles. A frequency is a 64-bit fraction of a turn per position (lo, hi words); position * frequency
// modulo one turn is integer arithmetic without error. Sine and cosine of the 32-bit fraction come from the
// quadrant and a polynomial, since Vulkan's own may be off by 2^-11. Error: below 1e-7.
uint rope_turn(uint position, uvec2 freq)
{
    uint high, low;
    umulExtended(position, freq.x, high, low);
    return position * freq.y + high;
}

// (cos, sin) of turn / 2^32 turns
vec2 rope_cos_sin(uint turn)
{
    uint quadrant = (turn + 0x20000000u) >> 30;          // nearest quarter turn
    int rest = int(turn - (quadrant << 30));             // -1/8 .. 1/8 turn
    float x = float(rest) * (6.283185307179586 / 4294967296.0);
    float x2 = x * x;
    float s = 8.3333333333e-3 + x2 * (-1.9841269841e-4 + x2 * 2.7557319224e-6);
    s = x * (1.0 + x2 * (-1.6666666667e-1 + x2 * s));
    float c = -1.3888888889e-3 + x2 * (2.4801587302e-5 - x2 * 2.7557319224e-7);
    c = 1.0 + x2 * (-0.5 + x2 * (4.1666666667e-2 + x2 * c));
    vec2 v = (quadrant & 1u) != 0u ? vec2(s, c) : vec2(c, s);
    return vec2(((quadrant + 1u) & 2u) != 0u ? -v.x : v.x, (quadrant & 2u) != 0u ? -v.y : v.y);
}

// How many dims of a head are rotated: the first ones
uint rope_width(uint pairing, uint rot_dim)
{
    return pairing == ROPE_2D ? 2u * rot_dim : rot_dim;
}

// Pair i of a head -> the two dims it rotates
uvec2 rope_dims(uint pairing, uint i, uint rot_dim)
{
    if (pairing == ROPE_INTERLEAVED) return uvec2(2u * i, 2u * i + 1u);
    uint half_dim = rot_dim / 2u, first = i + i / half_dim * half_dim; /* the second block begins at rot_dim */
    return uvec2(first, first + half_dim);
}

// The pair that dim d belongs to
uint rope_pair(uint pairing, uint d, uint rot_dim)
{
    uint half_dim = rot_dim / 2u;
    return pairing == ROPE_INTERLEAVED ? d / 2u : d / rot_dim * half_dim + d % half_dim;
}

// Rotates the dims of pair i; at: ROW_POS, ROW_POS2 and ROW_ROPE. Needs freq
vec2 rope_rotate_pair(vec2 v, uint i, uvec3 at, uint rot_dim, float scale)
{
    uint half_dim = rot_dim / 2u;
    bool second = i >= half_dim;
    uvec2 f = freq[at.z * half_dim + (second ? i - half_dim : i)];
    vec2 cs = rope_cos_sin(rope_turn(second ? at.y : at.x, f)) * scale;
    return vec2(v.x * cs.x - v.y * cs.y, v.x * cs.y + v.y * cs.x);
}
