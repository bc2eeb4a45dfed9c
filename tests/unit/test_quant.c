/* SPDX-License-Identifier: Apache-2.0
 * The reference of the weight formats against stored blocks, and what rounding to each costs. */
#include <math.h>

#include "ref.h"
#include "testing.h"

/* A block of bytes 73 * i + 29, but its factors: F16 0.0625 (the first or only one) and 0.125;
 * MXFP4's exponent is 125. IQ1_M's factor lies in pieces. NVFP4's scales are what they are. Some of its values, as ggml
 * reads them. */
typedef struct stored {
    pum_dtype type;
    int count;
    uint16_t at[8];
    double value[8];
} stored;

static const stored blocks[] = {
    { PUM_DTYPE_Q4_0, 4, { 0, 5, 17, 31 },
      { 0.4375, 0.25, 0.4375, 0.4375 } },
    { PUM_DTYPE_Q8_0, 4, { 0, 5, 17, 31 },
      { -5.0625, 1.75, -7.5, -7.625 } },
    { PUM_DTYPE_Q4_1, 4, { 0, 5, 17, 31 },
      { 0.1875, 1, 0.625, 0.625 } },
    { PUM_DTYPE_Q5_0, 4, { 0, 5, 17, 31 },
      { 0.1875, 0, -0.9375, 0.0625 } },
    { PUM_DTYPE_Q5_1, 4, { 0, 5, 17, 31 },
      { 1.4375, 0.25, 1.75, 0.75 } },
    { PUM_DTYPE_Q2_K, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { 0.6875, 0.625, -0.375, -1.0625, 1.375, -0.4375, 1.9375, -0.25 } },
    { PUM_DTYPE_Q3_K, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { -0.1875, 3.875, 0.9375, 1.625, 1.25, -3.25, 2.4375, 0 } },
    { PUM_DTYPE_Q4_K, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { -3.8125, -5.125, -3.3125, 1.75, 1.6875, 45.5, -2.75, 0.75 } },
    { PUM_DTYPE_Q5_K, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { -2.8125, 6.125, -3.3125, 5.25, 26.6875, 45.5, 1.75, 1.25 } },
    { PUM_DTYPE_Q6_K, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { 6.5625, 69.375, -0.1875, -163.5, 130.625, -82.125, -16.1875, 11.25 } },
    { PUM_DTYPE_IQ4_NL, 4, { 0, 5, 17, 31 },
      { 7.0625, 3.3125, 7.0625, 7.0625 } },
    { PUM_DTYPE_IQ4_XS, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { -37.1875, -103.75, 23.75, 26.5, 63.4375, -38.5, -69.0625, 13.8125 } },
    { PUM_DTYPE_TQ1_0, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { -0.0625, 0, 0, 0, -0.0625, -0.0625, 0.0625, 0.0625 } },
    { PUM_DTYPE_TQ2_0, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { 0, 0.0625, 0, 0, 0.125, -0.0625, -0.0625, -0.0625 } },
    { PUM_DTYPE_MXFP4, 4, { 0, 5, 17, 31 },
      { 1, 0.375, -0.25, -0.25 } },
    { PUM_DTYPE_NVFP4, 8, { 0, 5, 17, 31, 32, 40, 50, 63 },
      { 0.05078125, -0.40625, 56, 0, 0.234375, -1.40625, -384, 128 } },
    { PUM_DTYPE_Q1_0, 8, { 0, 37, 70, 77, 85, 101, 111, 127 },
      { 0.0625, -0.0625, 0.0625, -0.0625, -0.0625, -0.0625, -0.0625, 0.0625 } },
    { PUM_DTYPE_Q2_0, 8, { 0, 5, 17, 31, 32, 40, 50, 63 },
      { 0.125, 0.0625, -0.0625, 0.0625, 0.125, 0, 0, 0.125 } },
    { PUM_DTYPE_IQ2_XXS, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { -1.3125, 10.4140625, -0.4375, 3.3203125, 4.8828125, 0.6875, 4.1015625, -1.3125 } },
    { PUM_DTYPE_IQ2_XS, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { 6.0546875, -5.7109375, -0.1875, -1.3125, 1.0078125, 3.6953125, -1.8125, 1.8125 } },
    { PUM_DTYPE_IQ2_S, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { -0.9375, -0.0625, 1.1875, -0.9765625, -3.6953125, 1.6875, 4.3671875, -2.3515625 } },
    { PUM_DTYPE_IQ3_XXS, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { -24.21875, 12.6875, 2.90625, 2.1875, -0.6875, 6.5625, -14.0625, 10.9375 } },
    { PUM_DTYPE_IQ3_S, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { -10.3125, 4.8125, -0.1875, -11.8125, -8.3125, 3.4375, -3.9375, 4.8125 } },
    { PUM_DTYPE_IQ1_S, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { 0.2109375, -0.3515625, 0.0546875, -0.6328125, 0.1015625, 0.0546875, 0.2109375, 0.0234375 } },
    { PUM_DTYPE_IQ1_M, 8, { 0, 37, 70, 111, 150, 201, 238, 255 },
      { -0.7734375, 0.3828125, 0.1171875, 0.1640625, -0.9140625, 0.3828125, 0.0390625, -0.9140625 } },
};

/* Where a block's F16 factors are; two if the second is not 0xffff. */
static void factors_of(pum_dtype type, uint16_t at[2])
{
    static const struct {
        pum_dtype type;
        uint16_t at[2];
    } where[] = { { PUM_DTYPE_Q4_1, { 0, 2 } },        { PUM_DTYPE_Q5_1, { 0, 2 } },
                  { PUM_DTYPE_Q2_K, { 80, 82 } },      { PUM_DTYPE_Q3_K, { 108, 0xffff } },
                  { PUM_DTYPE_Q4_K, { 0, 2 } },        { PUM_DTYPE_Q5_K, { 0, 2 } },
                  { PUM_DTYPE_Q6_K, { 208, 0xffff } }, { PUM_DTYPE_TQ1_0, { 52, 0xffff } },
                  { PUM_DTYPE_TQ2_0, { 64, 0xffff } } };
    at[0] = 0, at[1] = 0xffff;
    for (size_t i = 0; i < PUM_COUNT(where); i++) {
        if (where[i].type == type) memcpy(at, where[i].at, sizeof where[i].at);
    }
}

static void set_factors(pum_dtype type, uint8_t *block)
{
    uint16_t at[2];
    if (type == PUM_DTYPE_NVFP4) return;
    if (type == PUM_DTYPE_MXFP4) {
        block[0] = 125;
        return;
    }
    if (type == PUM_DTYPE_IQ1_M) {
        static const uint8_t top[] = { 0, 0, 0xc0, 0x20 };
        for (int i = 0; i < 4; i++) block[49 + 2 * i] = (uint8_t)((block[49 + 2 * i] & 15) | top[i]);
        return;
    }
    factors_of(type, at);
    block[at[0]] = 0, block[at[0] + 1] = 0x2c;
    if (at[1] != 0xffff) block[at[1]] = 0, block[at[1] + 1] = 0x30;
}

static void test_stored_blocks(void **state)
{
    (void)state;
    for (size_t t = 0; t < PUM_COUNT(blocks); t++) {
        const pum_dtype_info *info = pum_dtype_get(blocks[t].type);
        uint8_t block[256];
        double values[256];
        for (uint32_t i = 0; i < info->block_bytes; i++) block[i] = (uint8_t)(i * 73 + 29);
        set_factors(blocks[t].type, block);
        pum_ref_dequantize(blocks[t].type, block, info->block_elems, values);
        for (int i = 0; i < blocks[t].count; i++) {
            if (values[blocks[t].at[i]] == blocks[t].value[i]) continue;
            fail_msg("%s: value %d is %.9g, should be %.9g", info->name, blocks[t].at[i],
                     values[blocks[t].at[i]], blocks[t].value[i]);
        }
    }
}

/* All values of 512 random blocks, as ggml reads them: so many that nearly every entry of a codebook
 * is among them. Their bits as float, hashed by FNV-1a word by word. */
static void test_codebooks(void **state)
{
    static const struct {
        pum_dtype type;
        uint64_t hash;
    } known[] = {
        { PUM_DTYPE_IQ2_XXS, 0x236a3a6868d5c325 },
        { PUM_DTYPE_IQ2_XS, 0xa740a7e164968325 },
        { PUM_DTYPE_IQ2_S, 0xc98ff91258d7e325 },
        { PUM_DTYPE_IQ3_XXS, 0x4cdd49543b91e325 },
        { PUM_DTYPE_IQ3_S, 0x8ac6d56445db2325 },
        { PUM_DTYPE_IQ1_S, 0xd9512e19318d2325 },
        { PUM_DTYPE_IQ1_M, 0x19f7e50e000e2325 },
    };
    (void)state;
    for (size_t t = 0; t < PUM_COUNT(known); t++) {
        const pum_dtype_info *info = pum_dtype_get(known[t].type);
        uint64_t seed = 7, hash = 0xcbf29ce484222325u;
        for (int b = 0; b < 512; b++) {
            uint8_t block[256];
            double values[256];
            for (uint32_t i = 0; i < info->block_bytes; i++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                block[i] = (uint8_t)(seed >> 56);
            }
            set_factors(known[t].type, block);
            pum_ref_dequantize(known[t].type, block, 256, values);
            for (int i = 0; i < 256; i++) {
                float v = (float)values[i];
                uint32_t bits;
                memcpy(&bits, &v, 4);
                hash = (hash ^ bits) * 0x100000001b3u;
            }
        }
        if (hash != known[t].hash) fail_msg("%s: the values are others than ggml's", info->name);
    }
}

/* Every weight type has a row above, and the reference reads and rounds it. */
static void test_every_weight_type(void **state)
{
    (void)state;
    for (int t = 0; t < PUM_DTYPE_COUNT; t++) {
        const pum_dtype_info *info = pum_dtype_get((pum_dtype)t);
        if (!info->is_weight || info->block_elems == 1) continue;
        bool found = false;
        for (size_t i = 0; i < PUM_COUNT(blocks); i++) found |= blocks[i].type == (pum_dtype)t;
        if (!found) fail_msg("no stored block of %s", info->name);
    }
}

/* Root of the mean square error of rounding 4,096 values of a bell-like shape, relative to theirs,
 * must stay within 3 % of what the format is known to cost. */
static void test_rounding(void **state)
{
    static const struct {
        pum_dtype type;
        double error;
    } costs[] = { { PUM_DTYPE_F16, 0.00021 },  { PUM_DTYPE_BF16, 0.00162 },  { PUM_DTYPE_Q8_0, 0.0053 },
                  { PUM_DTYPE_Q4_0, 0.0843 },  { PUM_DTYPE_Q4_1, 0.0788 },  { PUM_DTYPE_Q5_0, 0.0432 },
                  { PUM_DTYPE_Q5_1, 0.0381 },  { PUM_DTYPE_Q2_K, 0.277 },   { PUM_DTYPE_Q3_K, 0.154 },
                  { PUM_DTYPE_Q4_K, 0.0708 },  { PUM_DTYPE_Q5_K, 0.0361 },  { PUM_DTYPE_Q6_K, 0.01765 },
                  { PUM_DTYPE_IQ4_NL, 0.0805 }, { PUM_DTYPE_IQ4_XS, 0.0896 }, { PUM_DTYPE_MXFP4, 0.115 },
                  { PUM_DTYPE_NVFP4, 0.0948 }, { PUM_DTYPE_Q1_0, 0.599 }, { PUM_DTYPE_Q2_0, 0.707 } };
    (void)state;
    enum { COUNT = 4096 };
    static float in[COUNT];
    static double out[COUNT];
    static uint8_t bytes[4 * COUNT];
    uint64_t seed = 7;
    for (int i = 0; i < COUNT; i++) {
        double sum = -6;
        for (int k = 0; k < 12; k++) {
            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            sum += (double)(seed >> 40) / (double)(1 << 24);
        }
        in[i] = (float)(0.05 * sum);
    }
    for (size_t t = 0; t < PUM_COUNT(costs); t++) {
        double error = 0, scale = 0;
        pum_ref_quantize(costs[t].type, in, COUNT, bytes);
        pum_ref_dequantize(costs[t].type, bytes, COUNT, out);
        for (int i = 0; i < COUNT; i++) {
            error += pow(out[i] - (double)in[i], 2);
            scale += pow((double)in[i], 2);
        }
        double relative = sqrt(error / scale);
        if (fabs(relative / costs[t].error - 1) > 0.03) {
            fail_msg("%s: error %.5f, known: %.5f", pum_dtype_get(costs[t].type)->name, relative,
                     costs[t].error);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_stored_blocks),
                                        cmocka_unit_test(test_codebooks),
                                        cmocka_unit_test(test_every_weight_type),
                                        cmocka_unit_test(test_rounding) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
