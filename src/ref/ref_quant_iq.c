/* SPDX-License-Identifier: Apache-2.0
 * The formats with codebooks (IQ1, IQ2, IQ3) in double precision: what a stored block means. Written
 * from their definitions; bit for bit what files hold. They are only read: to round to them well is
 * a search that must know how much each weight matters, so there is no writing here. */
#include "ref_quant.h"

enum { SUPER = 256 };

static double half_at(const uint8_t *p)
{
    return pum_ref_f16_to_f32(ref_load_u16(p));
}

static uint32_t word_at(const uint8_t *p)
{
    return (uint32_t)ref_load_u16(p) | (uint32_t)ref_load_u16(p + 2) << 16;
}

/* Level `i` of entry `code` of a type's codebook, whose levels have `bits` bits. */
static int level_of(pum_dtype type, int code, int i, int bits)
{
    return pum_codebooks[pum_dtype_get(type)->codebook + code] >> (bits * i) & ((1 << bits) - 1);
}

/* Sign `i` of 8, of which 7 are stored: an even number of them is minus. */
static int sign_of(uint32_t seven, int i)
{
    int ones = 0;
    for (int b = 0; b < 7; b++) ones += seven >> b & 1;
    return (i < 7 ? seven >> i & 1 : (uint32_t)ones & 1) ? -1 : 1;
}

static const int8_t iq2_levels[] = { 8, 25, 43 };
static const int8_t iq3_xxs_levels[] = { 4, 12, 20, 28, 36, 44, 52, 62 };

/* Groups of 8 bytes: 4 codes; 4 times 7 signs and a scale. */
void ref_iq2_xxs_read(const uint8_t *block, double *out)
{
    double d = half_at(block);
    for (int i = 0; i < SUPER; i++) {
        const uint8_t *group = block + 2 + 8 * (i / 32);
        int part = i % 32 / 8;
        uint32_t more = word_at(group + 4);
        int level = iq2_levels[level_of(PUM_DTYPE_IQ2_XXS, group[part], i % 8, 2)];
        out[i] = d * (0.5 + (more >> 28)) * 0.25 * level * sign_of(more >> (7 * part) & 127, i % 8);
    }
}

/* 16 bits for 8 weights: 9 of the code, 7 signs; then a scale for each 16 weights. */
void ref_iq2_xs_read(const uint8_t *block, double *out)
{
    double d = half_at(block);
    for (int i = 0; i < SUPER; i++) {
        uint16_t part = ref_load_u16(block + 2 + 2 * (i / 8));
        int scale = block[66 + i / 32] >> (i % 32 / 16 * 4) & 15;
        int level = iq2_levels[level_of(PUM_DTYPE_IQ2_XS, part & 511, i % 8, 2)];
        out[i] = d * (0.5 + scale) * 0.25 * level * sign_of(part >> 9, i % 8);
    }
}

/* Codes of 10 bits, low bits first; all 8 signs. */
void ref_iq2_s_read(const uint8_t *block, double *out)
{
    double d = half_at(block);
    for (int i = 0; i < SUPER; i++) {
        int part = i / 8, group = i / 32;
        int code = block[2 + part] | (block[66 + group] >> (part % 4 * 2) & 3) << 8;
        int scale = block[74 + group] >> (i % 32 / 16 * 4) & 15;
        int level = iq2_levels[level_of(PUM_DTYPE_IQ2_S, code, i % 8, 2)];
        out[i] = d * (0.5 + scale) * 0.25 * level * (block[34 + part] >> (i % 8) & 1 ? -1 : 1);
    }
}

void ref_iq3_xxs_read(const uint8_t *block, double *out)
{
    double d = half_at(block);
    for (int i = 0; i < SUPER; i++) {
        uint32_t more = word_at(block + 66 + 4 * (i / 32));
        int level = iq3_xxs_levels[level_of(PUM_DTYPE_IQ3_XXS, block[2 + i / 4], i % 4, 3)];
        out[i] = d * (0.5 + (more >> 28)) * 0.5 * level * sign_of(more >> (i % 32 / 8 * 7) & 127, i % 8);
    }
}

void ref_iq3_s_read(const uint8_t *block, double *out)
{
    double d = half_at(block);
    for (int i = 0; i < SUPER; i++) {
        int group = i / 32;
        int code = block[2 + i / 4] | (block[66 + group] >> (i % 32 / 4) & 1) << 8;
        int scale = block[106 + group / 2] >> (group % 2 * 4) & 15;
        int level = 2 * level_of(PUM_DTYPE_IQ3_S, code, i % 4, 3) + 1;
        out[i] = d * (2 * scale + 1) * level * (block[74 + i / 8] >> (i % 8) & 1 ? -1 : 1);
    }
}

/* Levels -1, 0, 1, all of a group shifted by 1/8. */
void ref_iq1_s_read(const uint8_t *block, double *out)
{
    double d = half_at(block);
    for (int i = 0; i < SUPER; i++) {
        uint16_t more = ref_load_u16(block + 34 + 2 * (i / 32));
        int code = block[2 + i / 8] | (more >> (i % 32 / 8 * 3) & 7) << 8;
        int level = level_of(PUM_DTYPE_IQ1_S, code, i % 8, 2) - 1;
        out[i] = d * (2 * (more >> 12 & 7) + 1) * (level + (more & 0x8000 ? -0.125 : 0.125));
    }
}

/* The same, shifted in eights; d lies in the top four bits of the four words of scales. */
void ref_iq1_m_read(const uint8_t *block, double *out)
{
    unsigned half = 0;
    for (int i = 0; i < 4; i++) half |= (unsigned)(ref_load_u16(block + 48 + 2 * i) >> 12) << (4 * i);
    double d = pum_ref_f16_to_f32((uint16_t)half);
    for (int i = 0; i < SUPER; i++) {
        int part = i / 8, more = block[32 + part / 2] >> (part % 2 * 4) & 15;
        int scale = ref_load_u16(block + 48 + 2 * (i / 64)) >> (i % 64 / 16 * 3) & 7;
        int level = level_of(PUM_DTYPE_IQ1_M, block[part] | (more & 7) << 8, i % 8, 2) - 1;
        out[i] = d * (2 * scale + 1) * (level + (more & 8 ? -0.125 : 0.125));
    }
}
