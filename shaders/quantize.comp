#version 450
// SPDX-License-Identifier: Apache-2.0
// Rounds rows of F32, F16 or BF16 numbers to a weight format, in the form rows have on the device (lib/planes.glsl),
// and measures the error. An invocation takes a group of neighbouring weights that has a scale of its own; where a
// block has several groups, its invocations agree through shared memory. Groups of K formats are searched: of 21 (19)
// step sizes around the range, that with the least weighted square error, each with its best scale and minimum.
// F16 and BF16 have no groups: rows = 1 and cols = all numbers of a tensor.
// WG: workgroup, a multiple of 32; SRC: type of x (args.h). grid (ceil(groups of a row / WG), rows)
// stats: for workgroup i of the grid four words: sum of squared errors, sum of squares of x, largest error, 0
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 64;
layout(constant_id = 1) const uint SRC = 0;
layout(push_constant) uniform push { pum_args_quantize a; };
#include "lib/planes.glsl"
layout(set = 0, binding = 0) readonly buffer x_words { uint xw[]; };
layout(set = 0, binding = 0) readonly buffer x_quads { vec4 x4[]; };
layout(set = 0, binding = 1) writeonly buffer q_words { uint q[]; };
layout(set = 0, binding = 2) writeonly buffer stats_words { vec4 stats[]; };

#if defined(PUM_W_Q6_K)
#define VECS 4
#define GROUPS 16u
#elif defined(PUM_W_Q4_K) || defined(PUM_W_Q5_K)
#define VECS 8
#define GROUPS 8u
#else
#define VECS 8
#define GROUPS 1u
#endif

shared uint quants[WG * VECS]; // four quants a word, not negative
shared vec2 found[WG];         // of K formats: scale and minus the minimum of each group
shared uint coded[WG];         // a group's coded scale (and minimum), or its block's factor as a half
shared vec4 sums[WG];

vec4 v[VECS];

// ---- numbers ----

// to the nearest half, ties to even: packHalf2x16 leaves the rounding to the driver
uint half_of(float f)
{
    uint b = floatBitsToUint(f), s = (b >> 16) & 0x8000u, m = b & 0x7fffffffu;
    if (m > 0x7f800000u) return s | 0x7e00u;
    if (m >= 0x477ff000u) return s | 0x7c00u;
    if (m < 0x38800000u) return s | uint(roundEven(uintBitsToFloat(m) * 16777216.0));
    m -= 0x38000000u;
    return s | ((m + 0xfffu + ((m >> 13) & 1u)) >> 13);
}

uint bf16_of(float f)
{
    uint b = floatBitsToUint(f);
    if ((b & 0x7fffffffu) > 0x7f800000u) return (b >> 16) | 0x40u;
    return (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
}

float of_half(uint h) { return unpackHalf2x16(h).x; }

// numbers 4i .. 4i + 3 of x, all of them there
vec4 x_four(uint i)
{
    if (SRC == SOURCE_F32) return x4[i];
    uvec2 w = uvec2(xw[2u * i], xw[2u * i + 1u]);
    if (SRC == SOURCE_F16) return vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
    return uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u));
}

float x_one(uint i)
{
    if (SRC == SOURCE_F32) return uintBitsToFloat(xw[i]);
    uint h = (xw[i >> 1] >> (16u * (i & 1u))) & 0xffffu;
    return SRC == SOURCE_F16 ? of_half(h) : uintBitsToFloat(h << 16);
}

float sum4(vec4 u) { return dot(u, vec4(1.0)); }
float min4(vec4 u) { return min(min(u.x, u.y), min(u.z, u.w)); }
float max4(vec4 u) { return max(max(u.x, u.y), max(u.z, u.w)); }
vec4 nearest(vec4 u) { return floor(u + 0.5); }

uint pack(vec4 quant)
{
    uvec4 u = uvec4(quant);
    return u.x | u.y << 8 | u.z << 16 | u.w << 24;
}

// ---- the group's range ----

vec2 range()
{
    float lo = min4(v[0]), hi = max4(v[0]);
    [[unroll]] for (uint i = 1u; i < VECS; i++) lo = min(lo, min4(v[i])), hi = max(hi, max4(v[i]));
    return vec2(lo, hi);
}

// the first of the largest absolute values, with its sign
float most()
{
    float m = 0.0;
    [[unroll]] for (uint i = 0u; i < VECS; i++) {
        [[unroll]] for (uint j = 0u; j < 4u; j++) m = abs(v[i][j]) > abs(m) ? v[i][j] : m;
    }
    return m;
}

// ---- searches of K formats ----

// scale and minus the minimum (0 or more) for quants 0 .. levels
vec2 search_affine(float levels)
{
    vec2 lo_hi = range();
    float lo = min(lo_hi.x, 0.0), width = lo_hi.y - lo, squares = 0.0;
    if (!(width > 0.0)) return vec2(0.0, -lo);
    [[unroll]] for (uint i = 0u; i < VECS; i++) squares += dot(v[i], v[i]);
    float typical = sqrt(squares / float(4 * VECS)), w = 0.0, wx = 0.0, least = 3.4e38;
    [[unroll]] for (uint i = 0u; i < VECS; i++) {
        vec4 weight = typical + abs(v[i]);
        w += sum4(weight);
        wx += dot(weight, v[i]);
    }
    vec2 best = vec2(0.0);
    for (uint t = 0u; t <= 20u; t++) {
        float inverse = (levels - 1.0 + 0.1 * float(t)) / width, wq = 0.0, wqq = 0.0, wqx = 0.0, e = 0.0;
        [[unroll]] for (uint i = 0u; i < VECS; i++) {
            vec4 n = min(nearest(inverse * (v[i] - lo)), vec4(levels)), wn = (typical + abs(v[i])) * n;
            wq += sum4(wn);
            wqq += dot(wn, n);
            wqx += dot(wn, v[i]);
        }
        float det = w * wqq - wq * wq, scale = 0.0, low = 1.0;
        if (det > 0.0) {
            scale = (w * wqx - wq * wx) / det;
            low = (wqq * wx - wq * wqx) / det;
        }
        if (low > 0.0) { /* cannot be stored */
            low = 0.0;
            scale = wqq > 0.0 ? wqx / wqq : 0.0;
        }
        [[unroll]] for (uint i = 0u; i < VECS; i++) {
            vec4 off = scale * min(nearest(inverse * (v[i] - lo)), vec4(levels)) + low - v[i];
            e += dot(typical + abs(v[i]), off * off);
        }
        if (e < least) {
            least = e;
            best = vec2(scale, -low);
        }
    }
    return best;
}

// scale for quants -levels .. levels - 1, weighted by the values' squares; negative if the longer side is the upper
float search_symmetric(float levels)
{
    float m = most(), best = 0.0, gain = -1.0;
    if (m == 0.0) return 0.0;
    for (uint t = 0u; t <= 18u; t++) {
        float inverse = -(levels + 0.1 * (float(t) - 9.0)) / m, wqx = 0.0, wqq = 0.0;
        [[unroll]] for (uint i = 0u; i < VECS; i++) {
            vec4 n = clamp(nearest(inverse * v[i]), vec4(-levels), vec4(levels - 1.0)), wn = v[i] * v[i] * n;
            wqx += dot(wn, v[i]);
            wqq += dot(wn, n);
        }
        if (wqq > 0.0 && wqx * wqx > gain * wqq) {
            gain = wqx * wqx / wqq;
            best = wqx / wqq;
        }
    }
    return best;
}

// ---- quants and their error ----

vec4 errors; // sums, as in stats

// Quants nearest to (v - minimum) * inverse + zero, 0 .. levels, into shared memory; v is worth scale * (quant - zero)
// + minimum then.
void set_quants(float scale, float minimum, float inverse, float zero, float levels)
{
    uint me = gl_LocalInvocationID.x;
    [[unroll]] for (uint i = 0u; i < VECS; i++) {
        vec4 n = clamp(nearest((v[i] - minimum) * inverse + zero), vec4(0.0), vec4(levels));
        vec4 off = scale * (n - zero) + minimum - v[i];
        quants[me * VECS + i] = pack(n);
        errors.x += dot(off, off);
        errors.y += dot(v[i], v[i]);
        errors.z = max(errors.z, max4(abs(off)));
    }
}

float inverse_of(float scale) { return scale != 0.0 ? 1.0 / scale : 0.0; }

uint quant(uint group, uint i) { return quants[group * VECS + i]; }

// bit 4 of four quants, as four bits
uint high_bits(uint w) { return ((w >> 4) & 1u) | ((w >> 11) & 2u) | ((w >> 18) & 4u) | ((w >> 25) & 8u); }

// ---- formats: choose() all invocations, then store() those within the row. `at` is the row's first word, `group` the
// invocation's group of it ----

#if defined(PUM_W_Q8_0)
void choose(bool inside)
{
    uint me = gl_LocalInvocationID.x;
    float m = abs(most()), d = m / 127.0, inverse = inverse_of(d), scale = of_half(half_of(d));
    coded[me] = inside ? half_of(d) : 0u;
    [[unroll]] for (uint i = 0u; i < VECS; i++) {
        vec4 n = sign(v[i]) * nearest(abs(v[i]) * inverse), off = scale * n - v[i];
        ivec4 s = ivec4(n) & 255;
        quants[me * VECS + i] = uint(s.x | s.y << 8 | s.z << 16 | s.w << 24);
        errors.x += dot(off, off);
        errors.y += dot(v[i], v[i]);
        errors.z = max(errors.z, max4(abs(off)));
    }
}

void store(uint at, uint group)
{
    uint me = gl_LocalInvocationID.x;
    [[unroll]] for (uint i = 0u; i < VECS; i++) q[at + 8u * group + i] = quant(me, i);
    if ((me & 1u) == 0u) q[at + 4u * q_plane1(a.cols) + group / 2u] = coded[me] | coded[me + 1u] << 16;
}

#elif defined(PUM_W_Q4_0) || defined(PUM_W_Q5_0)
#ifdef PUM_W_Q4_0
#define HALF_LEVELS 8.0
#else
#define HALF_LEVELS 16.0
#endif
void choose(bool inside)
{
    float d = most() / -HALF_LEVELS;
    coded[gl_LocalInvocationID.x] = inside ? half_of(d) : 0u;
    set_quants(of_half(half_of(d)), 0.0, inverse_of(d), HALF_LEVELS, 2.0 * HALF_LEVELS - 1.0);
}

void store(uint at, uint group)
{
    uint me = gl_LocalInvocationID.x, halves = at + 4u * q_plane1(a.cols);
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        q[at + 4u * group + i] = (quant(me, i) & 0x0f0f0f0fu) | (quant(me, i + 4u) & 0x0f0f0f0fu) << 4;
    }
#ifdef PUM_W_Q5_0
    uint high = 0u;
    [[unroll]] for (uint i = 0u; i < VECS; i++) high |= high_bits(quant(me, i)) << (4u * i);
    q[halves + group] = high;
    halves = at + 4u * q_plane2(a.cols);
#endif
    if ((me & 1u) == 0u) q[halves + group / 2u] = coded[me] | coded[me + 1u] << 16;
}

#elif defined(PUM_W_Q4_1) || defined(PUM_W_Q5_1)
#ifdef PUM_W_Q4_1
#define LEVELS 15.0
#else
#define LEVELS 31.0
#endif
void choose(bool inside)
{
    vec2 lo_hi = range();
    float d = (lo_hi.y - lo_hi.x) / LEVELS;
    uint half_d = half_of(d), half_lo = half_of(lo_hi.x);
    coded[gl_LocalInvocationID.x] = half_d | half_lo << 16;
    /* quants by the range itself, as files of this format are made */
    float scale = of_half(half_d), low = of_half(half_lo), inverse = inverse_of(d);
    [[unroll]] for (uint i = 0u; i < VECS; i++) {
        vec4 n = clamp(nearest((v[i] - lo_hi.x) * inverse), vec4(0.0), vec4(LEVELS)), off = scale * n + low - v[i];
        quants[gl_LocalInvocationID.x * VECS + i] = pack(n);
        errors.x += dot(off, off);
        errors.y += dot(v[i], v[i]);
        errors.z = max(errors.z, max4(abs(off)));
    }
}

void store(uint at, uint group)
{
    uint me = gl_LocalInvocationID.x, heads = at + 4u * q_plane1(a.cols);
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        q[at + 4u * group + i] = (quant(me, i) & 0x0f0f0f0fu) | (quant(me, i + 4u) & 0x0f0f0f0fu) << 4;
    }
#ifdef PUM_W_Q5_1
    uint high = 0u;
    [[unroll]] for (uint i = 0u; i < VECS; i++) high |= high_bits(quant(me, i)) << (4u * i);
    q[heads + 2u * group] = coded[me];
    q[heads + 2u * group + 1u] = high;
#else
    q[heads + group] = coded[me];
#endif
}

#elif defined(PUM_W_Q4_K) || defined(PUM_W_Q5_K)
#ifdef PUM_W_Q4_K
#define LEVELS 15.0
#define NIBBLES_AT 4u
#define BLOCK_WORDS 36u
#else
#define LEVELS 31.0
#define NIBBLES_AT 12u
#define BLOCK_WORDS 44u
#endif
uint factors; // of scales and of minimums, as halves

void choose(bool inside)
{
    uint me = gl_LocalInvocationID.x, first = me & ~7u;
    vec2 largest = vec2(0.0);
    found[me] = search_affine(LEVELS);
    barrier();
    for (uint g = 0u; g < 8u; g++) largest = max(largest, found[first + g]);
    factors = half_of(largest.x / 63.0) | half_of(largest.y / 63.0) << 16;
    vec2 d = unpackHalf2x16(factors);
    vec2 code = vec2(d.x > 0.0 ? found[me].x / d.x : 0.0, d.y > 0.0 ? found[me].y / d.y : 0.0);
    code = clamp(floor(code + 0.5), vec2(0.0), vec2(63.0));
    coded[me] = uint(code.x) | uint(code.y) << 8;
    float scale = d.x * code.x;
    set_quants(scale, -d.y * code.y, inverse_of(scale), 0.0, LEVELS);
}

void store(uint at, uint group)
{
    uint me = gl_LocalInvocationID.x, g = group & 7u, first = me & ~7u;
    at += BLOCK_WORDS * (group >> 3);
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        uint low = quant(first + (g & ~1u), 4u * (g & 1u) + i), high = quant(first + (g | 1u), 4u * (g & 1u) + i);
        q[at + NIBBLES_AT + 4u * g + i] = (low & 0x0f0f0f0fu) | (high & 0x0f0f0f0fu) << 4;
    }
#ifdef PUM_W_Q5_K
    uint bits = 0u;
    for (uint s = 0u; s < 8u; s++) bits |= ((quant(first + s, g) >> 4) & 0x01010101u) << s;
    q[at + 4u + g] = bits;
#endif
    if (g == 0u) q[at] = factors;
    if (g == 0u || g > 3u) return;
    uint word = 0u; /* 1: scales, 2: minimums, 3: low bits of the last four of both */
    for (uint t = 0u; t < 4u; t++) {
        uint near = coded[first + t], far = coded[first + 4u + t];
        uint b = g == 1u ? (near & 63u) | (far & 0x30u) << 2
               : g == 2u ? ((near >> 8) & 63u) | ((far >> 8) & 0x30u) << 2
                         : (far & 15u) | ((far >> 8) & 15u) << 4;
        word |= b << (8u * t);
    }
    q[at + g] = word;
}

#elif defined(PUM_W_Q6_K)
shared uint halves[WG];

void choose(bool inside)
{
    uint me = gl_LocalInvocationID.x, first = me & ~15u;
    float largest = 0.0;
    found[me] = vec2(search_symmetric(32.0), 0.0);
    barrier();
    for (uint g = 0u; g < 16u; g++) {
        float s = found[first + g].x;
        largest = abs(s) > abs(largest) ? s : largest;
    }
    halves[me] = inside ? half_of(largest / -128.0) : 0u;
    float d = of_half(half_of(largest / -128.0));
    float code = d != 0.0 ? clamp(floor(found[me].x / d + 0.5), -128.0, 127.0) : 0.0, scale = d * code;
    coded[me] = uint(int(code)) & 255u;
    set_quants(scale, 0.0, inverse_of(scale), 32.0, 63.0);
}

void store(uint at, uint group)
{
    uint me = gl_LocalInvocationID.x, g = group & 15u, first = me & ~15u, block = group >> 4;
    uint here = at + 52u * block;
    [[unroll]] for (uint j = 0u; j < 2u; j++) {
        uint w = 2u * g + j, from = first + 8u * (w >> 4) + ((w >> 2) & 3u), i = w & 3u;
        q[here + w] = (quant(from, i) & 0x0f0f0f0fu) | (quant(from + 4u, i) & 0x0f0f0f0fu) << 4;
    }
    uint from = first + 8u * (g >> 3) + ((g >> 2) & 1u), word = 0u;
    [[unroll]] for (uint j = 0u; j < 4u; j++) word |= ((quant(from + 2u * j, g & 3u) >> 4) & 0x03030303u) << (2u * j);
    q[here + 32u + g] = word;
    if ((g & 3u) == 0u) {
        q[here + 48u + g / 4u] = coded[me] | coded[me + 1u] << 8 | coded[me + 2u] << 16 | coded[me + 3u] << 24;
    }
    if (g == 0u && (block & 1u) == 0u) q[at + 4u * q_plane1(a.cols) + block / 2u] = halves[me] | halves[me + 16u] << 16;
}

#else /* F16, BF16: pairs of numbers, the last may stand alone */
#define PLAIN 1
#ifdef PUM_W_F16
uint bits_of(float f) { return half_of(f); }
float value_of(uint bits) { return of_half(bits); }
#else
uint bits_of(float f) { return bf16_of(f); }
float value_of(uint bits) { return uintBitsToFloat(bits << 16); }
#endif
void convert(uint first)
{
    for (uint i = first; i < min(first + 32u, a.cols); i += 2u) {
        float x0 = x_one(i), x1 = i + 1u < a.cols ? x_one(i + 1u) : 0.0;
        uint b0 = bits_of(x0), b1 = bits_of(x1);
        vec2 off = vec2(value_of(b0) - x0, value_of(b1) - x1);
        q[i >> 1] = b0 | b1 << 16;
        errors.x += dot(off, off);
        errors.y += x0 * x0 + x1 * x1;
        errors.z = max(errors.z, max(abs(off.x), abs(off.y)));
    }
}
#endif

void main()
{
    uint me = gl_LocalInvocationID.x, group = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
    errors = vec4(0.0);
#ifdef PLAIN
    convert(32u * group);
#else
    bool inside = group < a.cols / (4u * VECS) && row < a.rows;
    [[unroll]] for (uint i = 0u; i < VECS; i++) {
        v[i] = inside ? x_four((row * a.cols >> 2) + VECS * group + i) : vec4(0.0);
    }
    choose(inside);
    barrier();
    if (inside) store(4u * row * q_row(a.cols), group);
#endif
    sums[me] = errors;
    barrier();
    if (me != 0u) return;
    vec4 total = vec4(0.0);
    for (uint i = 0u; i < WG; i++) total = vec4(total.xy + sums[i].xy, max(total.z, sums[i].z), 0.0);
    stats[row * gl_NumWorkGroups.x + gl_WorkGroupID.x] = total;
}
