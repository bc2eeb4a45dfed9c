// SPDX-License-Identifier: Apache-2.0
// What attention does with a score, and how it reads the cache: 8 dims of 4 neighbouring cells at once, in any type.

// SwiftShader computes both sides of a branch, even one on a constant, but leaves a loop that has no rounds. Mesa drops
// a branch that a constant excludes, but keeps a loop of no rounds that has loops within.
#define WHEN(condition) if (condition) for (uint once_ = 0u; once_ < uint(condition); once_++)

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
// multiples of half that exponent; times alibi_scale
float alibi_slope(uint head)
{
    uint n = 1u;
    while (2u * n <= a.heads) n *= 2u;
    float e = head < n ? float(head + 1u) / float(n) : float(2u * (head - n) + 1u) / float(2u * n);
    return a.alibi_scale * exp2(-a.alibi_max * e);
}

vec4 tanh_a(vec4 x)
{
    vec4 t = abs(x), e = exp(-2.0 * min(t, 40.0));
    vec4 big = (1.0 - e) / (1.0 + e), small = t * (1.0 - t * t * (1.0 / 3.0));
    return sign(x) * mix(big, small, lessThan(t, vec4(0.02)));
}

// ---- 8 dims (group g) of 4 cells: low four into lo[i], high four into hi[i] ----
// at: the page's (kv head, page) number; c: cells in the page; only: 1 for cells that count, else 0 (then any number
// may come out, but a number).

struct cells { vec4 lo0, lo1, lo2, lo3, hi0, hi1, hi2, hi3; };

#define CELLS_F32(name, quads) \
    cells name(uint at, uvec4 c, vec4 only, uint g) \
    { \
        uvec4 i = ((at * KV_PAGE + c) * GROUPS + g) * 2u; \
        return cells(uintBitsToFloat(quads[i.x]), uintBitsToFloat(quads[i.y]), uintBitsToFloat(quads[i.z]), \
                     uintBitsToFloat(quads[i.w]), uintBitsToFloat(quads[i.x + 1u]), uintBitsToFloat(quads[i.y + 1u]), \
                     uintBitsToFloat(quads[i.z + 1u]), uintBitsToFloat(quads[i.w + 1u])); \
    }

vec4 halves(uint u, uint v) { return vec4(unpackHalf2x16(u), unpackHalf2x16(v)); }

#define CELLS_F16(name, quads) \
    cells name(uint at, uvec4 c, vec4 only, uint g) \
    { \
        uvec4 i = (at * KV_PAGE + c) * GROUPS + g; \
        uvec4 w0 = quads[i.x], w1 = quads[i.y], w2 = quads[i.z], w3 = quads[i.w]; \
        return cells(halves(w0.x, w0.y), halves(w1.x, w1.y), halves(w2.x, w2.y), halves(w3.x, w3.y), \
                     halves(w0.z, w0.w), halves(w1.z, w1.w), halves(w2.z, w2.w), halves(w3.z, w3.w)); \
    }

// Scales of four cells: f16, [block of 32 dims][cell]; pairs: index of the page's first pair of words of scales
vec4 cell_scales(uvec2 w, vec4 only)
{
    return mix(vec4(0.0), halves(w.x, w.y), greaterThan(only, vec4(0.0)));
}

vec4 bytes(uint w) /* biased by 128 */
{
    return vec4(uvec4(w, w >> 8, w >> 16, w >> 24) & 255u) - 128.0;
}

#define CELLS_Q8_0(name, pairs) \
    cells name(uint at, uvec4 c, vec4 only, uint g) \
    { \
        uint page = at * KV_PAGE / 8u * (HEAD_DIM + HEAD_DIM / 16u); \
        uvec4 i = page + c * GROUPS + g; \
        uvec2 w0 = pairs[i.x], w1 = pairs[i.y], w2 = pairs[i.z], w3 = pairs[i.w]; \
        vec4 s = cell_scales(pairs[page + KV_PAGE * GROUPS + (g / 4u * KV_PAGE + c.w) / 4u], only); \
        return cells(s.x * bytes(w0.x), s.y * bytes(w1.x), s.z * bytes(w2.x), s.w * bytes(w3.x), \
                     s.x * bytes(w0.y), s.y * bytes(w1.y), s.z * bytes(w2.y), s.w * bytes(w3.y)); \
    }

vec4 nibbles(uint w) { return vec4(uvec4(w, w >> 4, w >> 8, w >> 12) & 15u) - 8.0; }

#define CELLS_Q4_0(name, words, pairs) \
    cells name(uint at, uvec4 c, vec4 only, uint g) \
    { \
        uint page = at * KV_PAGE / 8u * (HEAD_DIM / 2u + HEAD_DIM / 16u); \
        uvec4 i = page * 2u + c * GROUPS + g; \
        uint w0 = words[i.x], w1 = words[i.y], w2 = words[i.z], w3 = words[i.w]; \
        vec4 s = cell_scales(pairs[page + KV_PAGE * GROUPS / 2u + (g / 4u * KV_PAGE + c.w) / 4u], only); \
        return cells(s.x * nibbles(w0), s.y * nibbles(w1), s.z * nibbles(w2), s.w * nibbles(w3), \
                     s.x * nibbles(w0 >> 16), s.y * nibbles(w1 >> 16), s.z * nibbles(w2 >> 16), \
                     s.w * nibbles(w3 >> 16)); \
    }

CELLS_F32(k_f32, k4)
CELLS_F16(k_f16, k4)
CELLS_Q8_0(k_q8_0, k2)
CELLS_Q4_0(k_q4_0, k1, k2)
CELLS_F32(v_f32, v4)
CELLS_F16(v_f16, v4)
CELLS_Q8_0(v_q8_0, v2)
CELLS_Q4_0(v_q4_0, v1, v2)
