/* SPDX-License-Identifier: Apache-2.0
 * The weight formats in double precision, written from their definitions: what a stored block means, and how a
 * row of floats is rounded to it. A new format adds a row to `formats`. Knows nothing of kernels. */
#include <math.h>
#include <string.h>

#include "ref_quant.h"

/* ---- scalars ---- */

float pum_ref_f16_to_f32(uint16_t half)
{
    double sign = half & 0x8000 ? -1.0 : 1.0;
    uint32_t exponent = (half >> 10) & 31, fraction = half & 1023;
    if (exponent == 31) return fraction ? (float)NAN : (float)(sign * INFINITY);
    if (exponent == 0) return (float)(sign * ldexp(fraction, -24));
    return (float)(sign * ldexp(1024.0 + fraction, (int)exponent - 25));
}

uint16_t pum_ref_f32_to_f16(float value)
{
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double a = fabs((double)value);
    if (isnan(value)) return sign | 0x7e00;
    if (a >= 65520.0) return sign | 0x7c00; /* half way to the next would-be value rounds to infinity */
    if (a < 0x1p-14) return (uint16_t)(sign | (uint16_t)nearbyint(a * 0x1p24)); /* may carry into 2^-14: right too */
    int exponent;
    double fraction = frexp(a, &exponent); /* [0.5, 1) */
    uint32_t units = (uint32_t)nearbyint(fraction * 2048.0); /* 1024 .. 2048: the carry moves the exponent */
    return (uint16_t)(sign | (((uint32_t)(exponent + 13) << 10) + units));
}

static uint16_t f32_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (isnan(value)) return (uint16_t)((bits >> 16) | 0x40);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* ---- one block: bytes -> values, values -> bytes ---- */

static void f32_read(const uint8_t *block, double *out)
{
    float v;
    memcpy(&v, block, 4);
    *out = v;
}

static void f32_write(const float *in, uint8_t *block)
{
    memcpy(block, in, 4);
}

static void f16_read(const uint8_t *block, double *out)
{
    *out = pum_ref_f16_to_f32(ref_load_u16(block));
}

static void f16_write(const float *in, uint8_t *block)
{
    ref_store_u16(block, pum_ref_f32_to_f16(*in));
}

static void bf16_read(const uint8_t *block, double *out)
{
    uint32_t bits = (uint32_t)ref_load_u16(block) << 16;
    float v;
    memcpy(&v, &bits, 4);
    *out = v;
}

static void bf16_write(const float *in, uint8_t *block)
{
    ref_store_u16(block, f32_to_bf16(*in));
}

static void q8_0_read(const uint8_t *block, double *out)
{
    double d = pum_ref_f16_to_f32(ref_load_u16(block));
    for (int i = 0; i < 32; i++) out[i] = d * (int8_t)block[2 + i];
}

static void q8_0_write(const float *in, uint8_t *block)
{
    float most = 0.0f;
    for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(in[i]));
    float d = most / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    ref_store_u16(block, pum_ref_f32_to_f16(d));
    for (int i = 0; i < 32; i++) block[2 + i] = (uint8_t)(int8_t)roundf(in[i] * inverse);
}

static void q4_0_read(const uint8_t *block, double *out)
{
    double d = pum_ref_f16_to_f32(ref_load_u16(block));
    for (int i = 0; i < 16; i++) {
        out[i] = d * ((block[2 + i] & 15) - 8);
        out[i + 16] = d * ((block[2 + i] >> 4) - 8);
    }
}

static uint8_t q4_0_level(float scaled)
{
    int level = (int)(scaled + 8.5f);
    return (uint8_t)(level < 0 ? 0 : level > 15 ? 15 : level);
}

static void q4_0_write(const float *in, uint8_t *block)
{
    float most = 0.0f; /* with its sign: it becomes level 0, the longer side */
    for (int i = 0; i < 32; i++) {
        if (fabsf(in[i]) > fabsf(most)) most = in[i];
    }
    float d = most / -8.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    ref_store_u16(block, pum_ref_f32_to_f16(d));
    for (int i = 0; i < 16; i++) {
        block[2 + i] = (uint8_t)(q4_0_level(in[i] * inverse) | q4_0_level(in[i + 16] * inverse) << 4);
    }
}

/* Smallest and largest value of 32. */
static void range_of(const float *in, float *out_lo, float *out_hi)
{
    *out_lo = *out_hi = in[0];
    for (int i = 1; i < 32; i++) {
        *out_lo = fminf(*out_lo, in[i]);
        *out_hi = fmaxf(*out_hi, in[i]);
    }
}

static uint8_t level_of(float scaled, int levels)
{
    int level = (int)(scaled + 0.5f);
    return (uint8_t)(level < 0 ? 0 : level > levels ? levels : level);
}

static void q4_1_read(const uint8_t *block, double *out)
{
    double d = pum_ref_f16_to_f32(ref_load_u16(block)), m = pum_ref_f16_to_f32(ref_load_u16(block + 2));
    for (int i = 0; i < 32; i++) out[i] = d * (block[4 + i % 16] >> (i / 16 * 4) & 15) + m;
}

static void q4_1_write(const float *in, uint8_t *block)
{
    float lo, hi;
    range_of(in, &lo, &hi);
    float d = (hi - lo) / 15.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    memset(block, 0, 20);
    ref_store_u16(block, pum_ref_f32_to_f16(d));
    ref_store_u16(block + 2, pum_ref_f32_to_f16(lo));
    for (int i = 0; i < 32; i++) {
        block[4 + i % 16] |= (uint8_t)(level_of((in[i] - lo) * inverse, 15) << (i / 16 * 4));
    }
}

/* Five bits: nibbles as in Q4_0, and bit i of the word of high bits for weight i. */
static int five_bits(const uint8_t *high, const uint8_t *low, int i)
{
    return (low[i % 16] >> (i / 16 * 4) & 15) | (high[i / 8] >> (i % 8) & 1) << 4;
}

static void set_five_bits(uint8_t *high, uint8_t *low, int i, int q)
{
    low[i % 16] |= (uint8_t)((q & 15) << (i / 16 * 4));
    high[i / 8] |= (uint8_t)(q >> 4 << (i % 8));
}

static void q5_0_read(const uint8_t *block, double *out)
{
    double d = pum_ref_f16_to_f32(ref_load_u16(block));
    for (int i = 0; i < 32; i++) out[i] = d * (five_bits(block + 2, block + 6, i) - 16);
}

static void q5_0_write(const float *in, uint8_t *block)
{
    float most = 0.0f; /* as in Q4_0 */
    for (int i = 0; i < 32; i++) {
        if (fabsf(in[i]) > fabsf(most)) most = in[i];
    }
    float d = most / -16.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    memset(block, 0, 22);
    ref_store_u16(block, pum_ref_f32_to_f16(d));
    for (int i = 0; i < 32; i++) set_five_bits(block + 2, block + 6, i, level_of(in[i] * inverse + 16.0f, 31));
}

static void q5_1_read(const uint8_t *block, double *out)
{
    double d = pum_ref_f16_to_f32(ref_load_u16(block)), m = pum_ref_f16_to_f32(ref_load_u16(block + 2));
    for (int i = 0; i < 32; i++) out[i] = d * five_bits(block + 4, block + 8, i) + m;
}

static void q5_1_write(const float *in, uint8_t *block)
{
    float lo, hi;
    range_of(in, &lo, &hi);
    float d = (hi - lo) / 31.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    memset(block, 0, 24);
    ref_store_u16(block, pum_ref_f32_to_f16(d));
    ref_store_u16(block + 2, pum_ref_f32_to_f16(lo));
    for (int i = 0; i < 32; i++) set_five_bits(block + 4, block + 8, i, level_of((in[i] - lo) * inverse, 31));
}

const int8_t ref_iq4_levels[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

int ref_iq4_nearest(double v)
{
    int best = 0;
    for (int i = 1; i < 16; i++) {
        if (fabs(ref_iq4_levels[i] - v) < fabs(ref_iq4_levels[best] - v)) best = i;
    }
    return best;
}

static void iq4_nl_read(const uint8_t *block, double *out)
{
    double d = pum_ref_f16_to_f32(ref_load_u16(block));
    for (int i = 0; i < 32; i++) out[i] = d * ref_iq4_levels[block[2 + i % 16] >> (i / 16 * 4) & 15];
}

static void iq4_nl_write(const float *in, uint8_t *block)
{
    float most = 0.0f;
    for (int i = 0; i < 32; i++) {
        if (fabsf(in[i]) > fabsf(most)) most = in[i];
    }
    float d = most / -127.0f; /* the largest takes the longer side */
    memset(block, 0, 18);
    ref_store_u16(block, pum_ref_f32_to_f16(d));
    for (int i = 0; i < 32; i++) {
        block[2 + i % 16] |= (uint8_t)(ref_iq4_nearest(d != 0.0f ? (double)in[i] / (double)d : 0.0) << (i / 16 * 4));
    }
}

/* Twice the numbers of 4 bits: sign, two bits of exponent, one of mantissa. */
static const int8_t fp4_doubled[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

/* The one that times d is nearest to v. */
static int fp4_nearest(double d, float v)
{
    int best = 0;
    for (int q = 1; q < 16; q++) {
        if (fabs(d * fp4_doubled[q] - (double)v) < fabs(d * fp4_doubled[best] - (double)v)) best = q;
    }
    return best;
}

static void mxfp4_read(const uint8_t *block, double *out)
{
    double d = ldexp(1.0, block[0] - 128);
    for (int i = 0; i < 32; i++) out[i] = d * fp4_doubled[block[1 + i % 16] >> (i / 16 * 4) & 15];
}

static void mxfp4_write(const float *in, uint8_t *block)
{
    float most = 0.0f;
    int exponent = 0;
    for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(in[i]));
    if (most > 0.0f) frexpf(most, &exponent); /* most = fraction * 2^exponent, up to 6 * 2^(exponent - 3) */
    int e = most > 0.0f ? exponent - 3 + 127 : 0;
    memset(block, 0, 17);
    block[0] = (uint8_t)(e < 0 ? 0 : e > 254 ? 254 : e);
    double d = ldexp(1.0, block[0] - 128);
    for (int i = 0; i < 32; i++) block[1 + i % 16] |= (uint8_t)(fp4_nearest(d, in[i]) << (i / 16 * 4));
}

/* UE4M3, 8 bits without a sign: 4 of exponent, 3 of mantissa. Its NaN is 0, as ggml has it, which drops the top bit. */
static double ue4m3_value(uint8_t bits)
{
    int exponent = bits >> 3 & 15, fraction = bits & 7;
    if (bits == 0x7f) return 0.0;
    return exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
}

static uint8_t ue4m3_nearest(double value)
{
    uint8_t best = 0;
    for (uint8_t i = 1; i < 0x7f; i++) {
        if (fabs(ue4m3_value(i) - value) < fabs(ue4m3_value(best) - value)) best = i;
    }
    return best;
}

static void nvfp4_read(const uint8_t *block, double *out)
{
    for (int i = 0; i < 64; i++) {
        uint8_t pair = block[4 + i / 16 * 8 + i % 8];
        out[i] = ue4m3_value(block[i / 16]) / 2 * fp4_doubled[pair >> (i / 8 % 2 * 4) & 15];
    }
}

static void nvfp4_write(const float *in, uint8_t *block)
{
    memset(block, 0, 36);
    for (int g = 0; g < 4; g++) {
        float most = 0.0f;
        for (int i = 0; i < 16; i++) most = fmaxf(most, fabsf(in[16 * g + i]));
        block[g] = ue4m3_nearest((double)most / 6.0);
        double d = ue4m3_value(block[g]) / 2;
        for (int i = 0; i < 16; i++) {
            block[4 + 8 * g + i % 8] |= (uint8_t)(fp4_nearest(d, in[16 * g + i]) << (i / 8 * 4));
        }
    }
}

static void q1_0_read(const uint8_t *block, double *out)
{
    double d = pum_ref_f16_to_f32(ref_load_u16(block));
    for (int i = 0; i < 128; i++) out[i] = block[2 + i / 8] >> (i % 8) & 1 ? d : -d;
}

static void q1_0_write(const float *in, uint8_t *block)
{
    float sum = 0.0f;
    memset(block, 0, 18);
    for (int i = 0; i < 128; i++) {
        sum += fabsf(in[i]);
        block[2 + i / 8] |= (uint8_t)((in[i] >= 0.0f) << (i % 8));
    }
    ref_store_u16(block, pum_ref_f32_to_f16(sum / 128.0f)); /* the mean: nearest by squares */
}

static void q2_0_read(const uint8_t *block, double *out)
{
    double d = pum_ref_f16_to_f32(ref_load_u16(block));
    for (int i = 0; i < 64; i++) out[i] = d * ((block[2 + i / 4] >> (i % 4 * 2) & 3) - 1);
}

static void q2_0_write(const float *in, uint8_t *block)
{
    float most = 0.0f;
    for (int i = 0; i < 64; i++) most = fmaxf(most, fabsf(in[i]));
    float inverse = most != 0.0f ? 1.0f / most : 0.0f;
    memset(block, 0, 18);
    ref_store_u16(block, pum_ref_f32_to_f16(most));
    for (int i = 0; i < 64; i++) block[2 + i / 4] |= (uint8_t)(level_of(in[i] * inverse + 1.0f, 3) << (i % 4 * 2));
}

/* Formats with minimums also say where the bytes of their quants are: all `fill`, a weight is its minimum. So do those
 * whose quants are stored as so much more than they are, since kernels may take that away from the sum. */
typedef struct format {
    void (*read)(const uint8_t *block, double *out);
    void (*write)(const float *in, uint8_t *block);
    uint32_t quants_at, quants_bytes;
    uint8_t fill;
} format;

static const format formats[PUM_DTYPE_COUNT] = {
    [PUM_DTYPE_F32] = { f32_read, f32_write },    [PUM_DTYPE_F16] = { f16_read, f16_write },
    [PUM_DTYPE_BF16] = { bf16_read, bf16_write }, [PUM_DTYPE_Q8_0] = { q8_0_read, q8_0_write },
    [PUM_DTYPE_Q4_0] = { q4_0_read, q4_0_write, 2, 16 },
    [PUM_DTYPE_Q4_1] = { q4_1_read, q4_1_write, 4, 16 },
    [PUM_DTYPE_Q5_0] = { q5_0_read, q5_0_write, 2, 20 },
    [PUM_DTYPE_Q5_1] = { q5_1_read, q5_1_write, 4, 20 },
    [PUM_DTYPE_Q2_K] = { ref_q2_k_read, ref_q2_k_write, 16, 64 },
    [PUM_DTYPE_Q3_K] = { ref_q3_k_read, ref_q3_k_write, 0, 96 },
    [PUM_DTYPE_Q4_K] = { ref_q4_k_read, ref_q4_k_write, 16, 128 },
    [PUM_DTYPE_Q5_K] = { ref_q5_k_read, ref_q5_k_write, 16, 160 },
    [PUM_DTYPE_Q6_K] = { ref_q6_k_read, ref_q6_k_write, 0, 192 },
    [PUM_DTYPE_IQ4_NL] = { iq4_nl_read, iq4_nl_write },
    [PUM_DTYPE_IQ4_XS] = { ref_iq4_xs_read, ref_iq4_xs_write },
    [PUM_DTYPE_MXFP4] = { mxfp4_read, mxfp4_write, 1, 16, 0xff },
    [PUM_DTYPE_NVFP4] = { nvfp4_read, nvfp4_write, 4, 32, 0xff },
    [PUM_DTYPE_Q1_0] = { q1_0_read, q1_0_write, 2, 16 },
    [PUM_DTYPE_Q2_0] = { q2_0_read, q2_0_write, 2, 16 },
    [PUM_DTYPE_TQ1_0] = { ref_tq1_0_read, ref_tq1_0_write, 0, 52 },
    [PUM_DTYPE_TQ2_0] = { ref_tq2_0_read, ref_tq2_0_write, 0, 64 },
    [PUM_DTYPE_IQ2_XXS] = { .read = ref_iq2_xxs_read },
    [PUM_DTYPE_IQ2_XS] = { .read = ref_iq2_xs_read },
    [PUM_DTYPE_IQ2_S] = { .read = ref_iq2_s_read },
    [PUM_DTYPE_IQ3_XXS] = { .read = ref_iq3_xxs_read },
    [PUM_DTYPE_IQ3_S] = { .read = ref_iq3_s_read },
    [PUM_DTYPE_IQ1_S] = { .read = ref_iq1_s_read },
    [PUM_DTYPE_IQ1_M] = { .read = ref_iq1_m_read },
};

/* ---- rows ---- */

void pum_ref_dequantize(pum_dtype type, const void *bytes, size_t count, double *out)
{
    const pum_dtype_info *info = pum_dtype_get(type);
    const uint8_t *block = bytes;
    if (!info || !formats[type].read) {
        for (size_t i = 0; i < count; i++) out[i] = NAN;
        return;
    }
    for (size_t i = 0; i < count; i += info->block_elems, block += info->block_bytes) {
        formats[type].read(block, out + i);
    }
}

void pum_ref_magnitudes(pum_dtype type, void *bytes, size_t count, const double *values, double *out)
{
    const pum_dtype_info *info = pum_dtype_get(type);
    const format *f = &formats[type];
    if (!f->quants_bytes) {
        for (size_t i = 0; i < count; i++) out[i] = fabs(values[i]);
        return;
    }
    for (size_t b = 0; b < count / info->block_elems; b++) {
        memset((uint8_t *)bytes + b * info->block_bytes + f->quants_at, f->fill, f->quants_bytes);
    }
    pum_ref_dequantize(type, bytes, count, out);
    for (size_t i = 0; i < count; i++) out[i] = fabs(values[i] - out[i]) + fabs(out[i]);
}

bool pum_ref_quantize(pum_dtype type, const float *in, size_t count, void *out_bytes)
{
    const pum_dtype_info *info = pum_dtype_get(type);
    uint8_t *block = out_bytes;
    if (!info || !formats[type].write) return false;
    for (size_t i = 0; i < count; i += info->block_elems, block += info->block_bytes) {
        formats[type].write(in + i, block);
    }
    return true;
}
