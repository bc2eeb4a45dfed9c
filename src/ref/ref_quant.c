/* SPDX-License-Identifier: Apache-2.0
 * The weight formats in double precision, written from their definitions: what a stored block means, and how a
 * row of floats is rounded to it. A new format adds a row to `formats`. Knows nothing of kernels. */
#include <math.h>
#include <string.h>

#include "ref.h"

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

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void store_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
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
    *out = pum_ref_f16_to_f32(load_u16(block));
}

static void f16_write(const float *in, uint8_t *block)
{
    store_u16(block, pum_ref_f32_to_f16(*in));
}

static void bf16_read(const uint8_t *block, double *out)
{
    uint32_t bits = (uint32_t)load_u16(block) << 16;
    float v;
    memcpy(&v, &bits, 4);
    *out = v;
}

static void bf16_write(const float *in, uint8_t *block)
{
    store_u16(block, f32_to_bf16(*in));
}

static void q8_0_read(const uint8_t *block, double *out)
{
    double d = pum_ref_f16_to_f32(load_u16(block));
    for (int i = 0; i < 32; i++) out[i] = d * (int8_t)block[2 + i];
}

static void q8_0_write(const float *in, uint8_t *block)
{
    float most = 0.0f;
    for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(in[i]));
    float d = most / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    store_u16(block, pum_ref_f32_to_f16(d));
    for (int i = 0; i < 32; i++) block[2 + i] = (uint8_t)(int8_t)roundf(in[i] * inverse);
}

static void q4_0_read(const uint8_t *block, double *out)
{
    double d = pum_ref_f16_to_f32(load_u16(block));
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
    store_u16(block, pum_ref_f32_to_f16(d));
    for (int i = 0; i < 16; i++) {
        block[2 + i] = (uint8_t)(q4_0_level(in[i] * inverse) | q4_0_level(in[i + 16] * inverse) << 4);
    }
}

typedef struct format {
    void (*read)(const uint8_t *block, double *out);
    void (*write)(const float *in, uint8_t *block);
} format;

static const format formats[PUM_DTYPE_COUNT] = {
    [PUM_DTYPE_F32] = { f32_read, f32_write },    [PUM_DTYPE_F16] = { f16_read, f16_write },
    [PUM_DTYPE_BF16] = { bf16_read, bf16_write }, [PUM_DTYPE_Q8_0] = { q8_0_read, q8_0_write },
    [PUM_DTYPE_Q4_0] = { q4_0_read, q4_0_write },
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

void pum_ref_quantize(pum_dtype type, const float *in, size_t count, void *out_bytes)
{
    const pum_dtype_info *info = pum_dtype_get(type);
    uint8_t *block = out_bytes;
    if (!info || !formats[type].write) return;
    for (size_t i = 0; i < count; i += info->block_elems, block += info->block_bytes) {
        formats[type].write(in + i, block);
    }
}
