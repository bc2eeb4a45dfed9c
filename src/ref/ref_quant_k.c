/* SPDX-License-Identifier: Apache-2.0
 * The formats with super-blocks of 256 weights in double precision: what a stored block means, and
 * how values are rounded to it. Written from the formats' definitions; bit for bit what files hold.
 * Those that `pumice quantize` makes are searched for the least weighted error, as its kernels
 * search (shaders/quantize.comp); the others are rounded plainly. */
#include <math.h>
#include <string.h>

#include "ref_quant.h"

enum { SUPER = 256 };

static int clamp_int(double v, int lo, int hi)
{
    double r = rint(v);
    return r < lo ? lo : r > hi ? hi : (int)r;
}

static double half_at(const uint8_t *p)
{
    return pum_ref_f16_to_f32(ref_load_u16(p));
}

/* Stores a half and gives the value it has then. */
static double store_half(uint8_t *p, double v)
{
    ref_store_u16(p, pum_ref_f32_to_f16((float)v));
    return half_at(p);
}

/* ---- groups ---- */

/* Least-squares scale and minimum of a group for given quants: x ~ scale * q + min, min <= 0. */
typedef struct fit {
    double scale, min, error;
} fit;

static fit fit_group(const float *x, const double *weight, const int *q, int n)
{
    double w = 0, wq = 0, wqq = 0, wx = 0, wqx = 0;
    fit f = { 0 };
    for (int i = 0; i < n; i++) {
        w += weight[i];
        wq += weight[i] * q[i];
        wqq += weight[i] * q[i] * q[i];
        wx += weight[i] * (double)x[i];
        wqx += weight[i] * q[i] * (double)x[i];
    }
    double det = w * wqq - wq * wq;
    if (det > 0) {
        f.scale = (w * wqx - wq * wx) / det;
        f.min = (wqq * wx - wq * wqx) / det;
    }
    if (det <= 0 || f.min > 0) { /* a minimum above 0 cannot be stored */
        f.min = 0;
        f.scale = wqq > 0 ? wqx / wqq : 0;
    }
    for (int i = 0; i < n; i++) {
        double e = f.scale * q[i] + f.min - (double)x[i];
        f.error += weight[i] * e * e;
    }
    return f;
}

/* Scale and minimum of a group of `n` for quants 0..levels: tries step sizes around the range. */
static fit search_affine(const float *x, int n, int levels)
{
    double weight[32], lo = 0, hi = -INFINITY, squares = 0;
    int q[32];
    fit best = { .error = INFINITY };
    for (int i = 0; i < n; i++) {
        lo = fmin(lo, (double)x[i]);
        hi = fmax(hi, (double)x[i]);
        squares += (double)x[i] * (double)x[i];
    }
    if (hi <= lo) return (fit){ .min = lo };
    double typical = sqrt(squares / n);
    for (int i = 0; i < n; i++) weight[i] = typical + fabs((double)x[i]);
    for (int t = 0; t <= 20; t++) {
        double inverse = (levels - 1.0 + 0.1 * t) / (hi - lo);
        for (int i = 0; i < n; i++) q[i] = clamp_int(inverse * ((double)x[i] - lo), 0, levels);
        fit f = fit_group(x, weight, q, n);
        if (f.error < best.error) best = f;
    }
    return best;
}

/* Scale of a group of `n` for quants -half .. half - 1, weighted by x^2. May be negative: the
 * largest value takes the longer side. */
static double search_symmetric(const float *x, int n, int half)
{
    double most = 0, best = 0, best_gain = -1;
    for (int i = 0; i < n; i++) {
        if (fabs((double)x[i]) > fabs(most)) most = (double)x[i];
    }
    if (most == 0) return 0;
    for (int t = -9; t <= 9; t++) {
        double inverse = -(half + 0.1 * t) / most, wqx = 0, wqq = 0;
        for (int i = 0; i < n; i++) {
            double v = (double)x[i], w = v * v;
            int q = clamp_int(inverse * v, -half, half - 1);
            wqx += w * q * v;
            wqq += w * q * q;
        }
        if (wqq > 0 && wqx * wqx / wqq > best_gain) {
            best_gain = wqx * wqx / wqq;
            best = wqx / wqq;
        }
    }
    return best;
}

/* ---- Q4_K and Q5_K: 8 groups with 6-bit scales and minimums ---- */

static void k_scale(const uint8_t *s, int group, int *out_scale, int *out_min)
{
    if (group < 4) {
        *out_scale = s[group] & 63;
        *out_min = s[group + 4] & 63;
    } else {
        *out_scale = (s[group + 4] & 15) | (s[group - 4] >> 6) << 4;
        *out_min = (s[group + 4] >> 4) | (s[group] >> 6) << 4;
    }
}

static void k_set_scale(uint8_t *s, int group, int scale, int min)
{
    if (group < 4) {
        s[group] |= (uint8_t)scale;
        s[group + 4] |= (uint8_t)min;
    } else {
        s[group + 4] = (uint8_t)((scale & 15) | (min & 15) << 4);
        s[group - 4] |= (uint8_t)(scale >> 4 << 6);
        s[group] |= (uint8_t)(min >> 4 << 6);
    }
}

static void k_read(const uint8_t *block, const uint8_t *high, const uint8_t *low, double *out)
{
    double d = half_at(block), dmin = half_at(block + 2);
    for (int i = 0; i < SUPER; i++) {
        int group = i / 32, l = i % 32, scale, min;
        int q = low[group / 2 * 32 + l] >> (group % 2 * 4) & 15;
        if (high) q |= (high[l] >> group & 1) << 4;
        k_scale(block + 4, group, &scale, &min);
        out[i] = d * scale * q - dmin * min;
    }
}

/* Head (16 bytes) and quants of a block of 8 affine groups. */
static void k_quants(const float *in, int levels, uint8_t *head, uint8_t *q)
{
    fit fits[8];
    double most_scale = 0, most_min = 0;
    memset(head, 0, 16);
    for (int g = 0; g < 8; g++) {
        fits[g] = search_affine(in + 32 * g, 32, levels);
        most_scale = fmax(most_scale, fits[g].scale);
        most_min = fmax(most_min, -fits[g].min);
    }
    double d = store_half(head, most_scale / 63), dmin = store_half(head + 2, most_min / 63);
    for (int g = 0; g < 8; g++) {
        int scale = d > 0 ? clamp_int(fits[g].scale / d, 0, 63) : 0;
        int min = dmin > 0 ? clamp_int(-fits[g].min / dmin, 0, 63) : 0;
        k_set_scale(head + 4, g, scale, min);
        for (int i = 32 * g; i < 32 * g + 32; i++) {
            double step = d * scale;
            q[i] = step > 0 ? (uint8_t)clamp_int(((double)in[i] + dmin * min) / step, 0, levels) : 0;
        }
    }
}

void ref_q4_k_read(const uint8_t *block, double *out)
{
    k_read(block, NULL, block + 16, out);
}

void ref_q4_k_write(const float *in, uint8_t *block)
{
    uint8_t q[SUPER];
    k_quants(in, 15, block, q);
    for (int i = 0; i < 128; i++) {
        int at = i / 32 * 64 + i % 32;
        block[16 + i] = (uint8_t)(q[at] | q[at + 32] << 4);
    }
}

void ref_q5_k_read(const uint8_t *block, double *out)
{
    k_read(block, block + 16, block + 48, out);
}

void ref_q5_k_write(const float *in, uint8_t *block)
{
    uint8_t q[SUPER];
    k_quants(in, 31, block, q);
    memset(block + 16, 0, 32);
    for (int i = 0; i < SUPER; i++) block[16 + i % 32] |= (uint8_t)(q[i] >> 4 << i / 32);
    for (int i = 0; i < 128; i++) {
        int at = i / 32 * 64 + i % 32;
        block[48 + i] = (uint8_t)((q[at] & 15) | (q[at + 32] & 15) << 4);
    }
}

/* ---- Q6_K: 16 groups with 8-bit scales ---- */

void ref_q6_k_read(const uint8_t *block, double *out)
{
    const uint8_t *low = block, *high = block + 128, *scales = block + 192;
    double d = half_at(block + 208);
    for (int i = 0; i < SUPER; i++) {
        int n = i / 128, part = i % 128 / 32, l = i % 32; /* part: 0, 1 low nibbles, 2, 3 high */
        int q = (low[64 * n + part % 2 * 32 + l] >> (part / 2 * 4) & 15) |
                (high[32 * n + l] >> (2 * part) & 3) << 4;
        out[i] = d * (int8_t)scales[i / 16] * (q - 32);
    }
}

void ref_q6_k_write(const float *in, uint8_t *block)
{
    double scale[16], most = 0;
    memset(block, 0, 210);
    for (int g = 0; g < 16; g++) {
        scale[g] = search_symmetric(in + 16 * g, 16, 32);
        if (fabs(scale[g]) > fabs(most)) most = scale[g];
    }
    double d = store_half(block + 208, most / -128);
    for (int i = 0; i < SUPER; i++) {
        int n = i / 128, part = i % 128 / 32, l = i % 32;
        int s = d != 0 ? clamp_int(scale[i / 16] / d, -128, 127) : 0;
        int q = s != 0 ? clamp_int((double)in[i] / (d * s), -32, 31) + 32 : 32;
        block[192 + i / 16] = (uint8_t)s;
        block[64 * n + part % 2 * 32 + l] |= (uint8_t)((q & 15) << (part / 2 * 4));
        block[128 + 32 * n + l] |= (uint8_t)(q >> 4 << (2 * part));
    }
}

/* ---- Q2_K, Q3_K: 16 groups ---- */

void ref_q2_k_read(const uint8_t *block, double *out)
{
    double d = half_at(block + 80), dmin = half_at(block + 82);
    for (int i = 0; i < SUPER; i++) {
        int q = block[16 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3, s = block[i / 16];
        out[i] = d * (s & 15) * q - dmin * (s >> 4);
    }
}

void ref_q2_k_write(const float *in, uint8_t *block)
{
    fit fits[16];
    double most_scale = 0, most_min = 0;
    memset(block, 0, 84);
    for (int g = 0; g < 16; g++) {
        fits[g] = search_affine(in + 16 * g, 16, 3);
        most_scale = fmax(most_scale, fits[g].scale);
        most_min = fmax(most_min, -fits[g].min);
    }
    double d = store_half(block + 80, most_scale / 15), dmin = store_half(block + 82, most_min / 15);
    for (int i = 0; i < SUPER; i++) {
        int scale = d > 0 ? clamp_int(fits[i / 16].scale / d, 0, 15) : 0;
        int min = dmin > 0 ? clamp_int(-fits[i / 16].min / dmin, 0, 15) : 0;
        double step = d * scale;
        int q = step > 0 ? clamp_int(((double)in[i] + dmin * min) / step, 0, 3) : 0;
        block[i / 16] = (uint8_t)(scale | min << 4);
        block[16 + i / 128 * 32 + i % 32] |= (uint8_t)(q << (i % 128 / 32 * 2));
    }
}

void ref_q3_k_read(const uint8_t *block, double *out)
{
    const uint8_t *high = block, *low = block + 32, *scales = block + 96;
    double d = half_at(block + 108);
    for (int i = 0; i < SUPER; i++) {
        int g = i / 16;
        int scale = (scales[g % 8] >> (g / 8 * 4) & 15) | (scales[8 + g % 4] >> (g / 4 * 2) & 3) << 4;
        int q = (low[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) | (high[i % 32] >> (i / 32) & 1) << 2;
        out[i] = d * (scale - 32) * (q - 4);
    }
}

void ref_q3_k_write(const float *in, uint8_t *block)
{
    double scale[16], most = 0;
    memset(block, 0, 110);
    for (int g = 0; g < 16; g++) {
        scale[g] = search_symmetric(in + 16 * g, 16, 4);
        if (fabs(scale[g]) > fabs(most)) most = scale[g];
    }
    double d = store_half(block + 108, most / -32);
    for (int g = 0; g < 16; g++) {
        int s = d != 0 ? clamp_int(scale[g] / d, -32, 31) : 0;
        block[96 + g % 8] |= (uint8_t)(((s + 32) & 15) << (g / 8 * 4));
        block[104 + g % 4] |= (uint8_t)((s + 32) >> 4 << (g / 4 * 2));
        for (int i = 16 * g; i < 16 * g + 16; i++) {
            int q = s != 0 ? clamp_int((double)in[i] / (d * s), -4, 3) + 4 : 4;
            block[32 + i / 128 * 32 + i % 32] |= (uint8_t)((q & 3) << (i % 128 / 32 * 2));
            block[i % 32] |= (uint8_t)(q >> 2 << (i / 32));
        }
    }
}

/* ---- ternary ---- */

static double ternary_scale(const float *in)
{
    double most = 0;
    for (int i = 0; i < SUPER; i++) most = fmax(most, fabs((double)in[i]));
    return most;
}

void ref_tq1_0_read(const uint8_t *block, double *out)
{
    static const int power[] = { 1, 3, 9, 27, 81 };
    double d = half_at(block + 52);
    for (int i = 0; i < SUPER; i++) {
        int byte = i < 160 ? i % 32 : i < 240 ? 32 + i % 16 : 48 + i % 4;
        int digit = i < 160 ? i / 32 : i < 240 ? (i - 160) / 16 : (i - 240) / 4;
        int top = (block[byte] * power[digit] & 255) * 3 >> 8;
        out[i] = d * (top - 1);
    }
}

void ref_tq1_0_write(const float *in, uint8_t *block)
{
    static const int power[] = { 81, 27, 9, 3, 1 };
    int number[52] = { 0 };
    double d = store_half(block + 52, ternary_scale(in));
    for (int i = 0; i < SUPER; i++) {
        int byte = i < 160 ? i % 32 : i < 240 ? 32 + i % 16 : 48 + i % 4;
        int digit = i < 160 ? i / 32 : i < 240 ? (i - 160) / 16 : (i - 240) / 4;
        number[byte] += power[digit] * (d > 0 ? clamp_int((double)in[i] / d, -1, 1) + 1 : 1);
    }
    for (int b = 0; b < 52; b++) block[b] = (uint8_t)((number[b] * 256 + 242) / 243);
}

void ref_tq2_0_read(const uint8_t *block, double *out)
{
    double d = half_at(block + 64);
    for (int i = 0; i < SUPER; i++) {
        out[i] = d * ((block[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) - 1);
    }
}

void ref_tq2_0_write(const float *in, uint8_t *block)
{
    memset(block, 0, 64);
    double d = store_half(block + 64, ternary_scale(in));
    for (int i = 0; i < SUPER; i++) {
        int q = d > 0 ? clamp_int((double)in[i] / d, -1, 1) + 1 : 1;
        block[i / 128 * 32 + i % 32] |= (uint8_t)(q << (i % 128 / 32 * 2));
    }
}

/* ---- IQ4_XS: the levels of IQ4_NL, 8 groups ---- */

void ref_iq4_xs_read(const uint8_t *block, double *out)
{
    double d = half_at(block);
    for (int i = 0; i < SUPER; i++) {
        int g = i / 32, l = i % 32;
        int scale = (block[4 + g / 2] >> (g % 2 * 4) & 15) | (ref_load_u16(block + 2) >> (2 * g) & 3) << 4;
        out[i] = d * (scale - 32) * ref_iq4_levels[block[8 + 16 * g + l % 16] >> (l / 16 * 4) & 15];
    }
}

void ref_iq4_xs_write(const float *in, uint8_t *block)
{
    double most = 0;
    unsigned high = 0;
    memset(block, 0, 136);
    for (int i = 0; i < SUPER; i++) most = fmax(most, fabs((double)in[i]));
    double d = store_half(block, most / 113 / 31);
    for (int g = 0; g < 8; g++) {
        double group = 0;
        for (int i = 0; i < 32; i++) group = fmax(group, fabs((double)in[32 * g + i]));
        int scale = d > 0 ? clamp_int(group / 113 / d, 0, 31) + 32 : 32;
        block[4 + g / 2] |= (uint8_t)((scale & 15) << (g % 2 * 4));
        high |= (unsigned)(scale >> 4) << (2 * g);
        for (int i = 0; i < 32; i++) {
            double step = d * (scale - 32);
            int q = ref_iq4_nearest(step > 0 ? (double)in[32 * g + i] / step : 0);
            block[8 + 16 * g + i % 16] |= (uint8_t)(q << (i / 16 * 4));
        }
    }
    ref_store_u16(block + 2, (uint16_t)high);
}
