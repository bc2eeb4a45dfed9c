// SPDX-License-Identifier: Apache-2.0
// What the attention kernels share: loads of four (or two) elements of K and V in either type, slopes, the window.
// A head's vector is handled in groups of GS dims: 4, or 2 when head_dim is no multiple of 4.
const uint GS = HEAD_DIM % 4u == 0u ? 4u : 2u;
const uint GROUPS = HEAD_DIM / GS;
const float LOWEST = -3.0e38;

#define KV_LOAD(name, type, words) \
    vec4 name(uint e) \
    { \
        if (type == KV_F16) { \
            vec2 lo = unpackHalf2x16(words[e >> 1]); \
            return vec4(lo, GS == 4u ? unpackHalf2x16(words[(e >> 1) + 1u]) : vec2(0.0)); \
        } \
        vec2 lo = vec2(uintBitsToFloat(words[e]), uintBitsToFloat(words[e + 1u])); \
        if (GS == 2u) return vec4(lo, 0.0, 0.0); \
        return vec4(lo, uintBitsToFloat(words[e + 2u]), uintBitsToFloat(words[e + 3u])); \
    }
KV_LOAD(k_load, KT, kc)
KV_LOAD(v_load, VT, vc)

// First visible cell of a row under the sliding window
uint visible_from(uint r)
{
    uint lo = step_row(r, a.row_lo), cell = step_row(r, ROW_CELL);
    return a.window != 0u && cell + 1u > a.window ? max(lo, cell + 1u - a.window) : lo;
}

uint visible_to(uint r)
{
    return step_row(r, ROW_SEQ) == ROW_INACTIVE || step_row(r, a.row_seq) == ROW_INACTIVE ? 0u : step_row(r, a.row_hi);
}

// ALiBi (Press et al., 2022): slopes 2^(-max (h+1) / n) for the n heads up to a power of two, then the odd
// multiples of half that exponent
float alibi_slope(uint head)
{
    if (a.alibi_max == 0.0) return 0.0;
    uint n = 1u;
    while (2u * n <= a.heads) n *= 2u;
    float e = head < n ? float(head + 1u) / float(n) : float(2u * (head - n) + 1u) / float(2u * n);
    return exp2(-a.alibi_max * e);
}

float tanh_a(float x)
{
    float t = abs(x);
    if (t < 0.02) return x * (1.0 - x * x * (1.0 / 3.0));
    float e = exp(-2.0 * min(t, 40.0));
    t = (1.0 - e) / (1.0 + e);
    return x < 0.0 ? -t : t;
}

float finish_score(float s, float slope, uint cell)
{
    s = a.scale * s;
    if (a.softcap != 0.0) s = a.softcap * tanh_a(s / a.softcap);
    return s + slope * float(cell);
}
