/* SPDX-License-Identifier: Apache-2.0
 * Rotary frequencies to the last bits of their 64, for every way of scaling, against values that
 * were computed elsewhere with more precision; and no parameter a file may have gives nonsense. */
#include <math.h>

#include "args.h"
#include "model.h"
#include "testing.h"

static const double PI = 3.14159265358979323846;

typedef struct rope_case {
    const char *name;
    pum_hparams hp;
    struct {
        uint32_t pair;
        uint64_t turns; /* in 2^-64 */
    } want[7];
    double scale;
} rope_case;

#define ROPE(k, ...) \
    .rope = { .kind = k, .attn_factor = 1, .ext_factor = 1, .beta_fast = 32, .beta_slow = 1, \
              __VA_ARGS__ }

/* Computed with 200 bits from the formulas of Hugging Face transformers 4.44.2
 * (modeling_rope_utils.py). */
static const rope_case rope_cases[] = {
    { "plain, few",
      { .rot_dim = 8, .rope_base = 10000, ROPE(PUM_ROPE_NONE, .factor = 1) },
      { { 0, 0x28be60db9391054a }, { 1, 0x041309af8ec1b3bb }, { 2, 0x00684dc4c179c52c },
        { 3, 0x000a6e2d468c2d51 } },
      1 },
    { "plain, large base",
      { .rot_dim = 128, .rope_base = 500000, ROPE(PUM_ROPE_NONE, .factor = 1) },
      { { 1, 0x2130c415f3514ea0 }, { 17, 0x013f8796b76e6bcd }, { 63, 0x0000068e3fbde7a8 } },
      1 },
    { "linear",
      { .rot_dim = 128, .rope_base = 10000, ROPE(PUM_ROPE_LINEAR, .factor = 3) },
      { { 0, 0x0d94caf3dbdb01c3 }, { 1, 0x0bc2c74c7216ccba }, { 63, 0x000066c84ba7300c } },
      1 },
    { "NTK",
      { .rot_dim = 128, .rope_base = 10000, ROPE(PUM_ROPE_NTK, .factor = 2.5f) },
      { { 0, 0x28be60db9391054a }, { 1, 0x22c5ead2ab0acf50 }, { 63, 0x00007b56c12f0675 } },
      1 },
    { "YaRN",
      { .rot_dim = 128, .rope_base = 10000,
        ROPE(PUM_ROPE_YARN, .factor = 16, .original_ctx = 4096) },
      { { 0, 0x28be60db9391054a }, { 20, 0x024a8b144acc0654 }, { 21, 0x01e99c65e67a0c6a },
        { 33, 0x002ffbf9f037e225 }, { 45, 0x00019541cc7f0562 }, { 46, 0x0000de8bcf1fccef },
        { 63, 0x000013458e2f5902 } },
      1.2772588722239782 },
    { "Llama 3",
      { .rot_dim = 128, .rope_base = 500000,
        ROPE(PUM_ROPE_LLAMA3, .factor = 8, .original_ctx = 8192, .low_freq_factor = 1,
             .high_freq_factor = 4) },
      { { 0, 0x28be60db9391054a }, { 28, 0x00217f20f7661d20 }, { 29, 0x001699208a7fa1d9 },
        { 32, 0x0005796e9c552800 }, { 35, 0x0000ff2af3061d47 }, { 63, 0x000000d1c7f7bcf5 } },
      1 },
};

/* Frequency of a pair in 2^-64 turns. */
static uint64_t turns_at(const uint32_t *words, uint32_t pair)
{
    return (uint64_t)words[2 * pair + 1] << 32 | words[2 * pair];
}

static void test_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(rope_cases); i++) {
        const rope_case *c = &rope_cases[i];
        uint32_t words[256];
        float scale;
        pum_rope_frequencies(&c->hp, NULL, words, &scale);
        assert_float_equal(scale, c->scale, 1e-6);
        for (size_t k = 0; k < PUM_COUNT(c->want) && c->want[k].turns; k++) {
            uint64_t got = turns_at(words, c->want[k].pair), want = c->want[k].turns;
            uint64_t off = got > want ? got - want : want - got;
            /* 16: a ramp is a double, so 2^-53 of a frequency that is below 2^-5 there */
            if (off <= 16) continue;
            fail_msg("%s, pair %u: %016llx, not %016llx", c->name, c->want[k].pair,
                     (unsigned long long)got, (unsigned long long)want);
        }
    }
}

static void test_factors(void **state)
{
    (void)state;
    /* the divisors of a file take the place of Llama 3's formula, and come before other scaling */
    const int kinds[] = { PUM_ROPE_NONE, PUM_ROPE_LLAMA3, PUM_ROPE_LINEAR };
    const float factors[] = { 1, 1.5f, 3, 8 };
    for (size_t i = 0; i < PUM_COUNT(kinds); i++) {
        pum_hparams hp = { .rot_dim = 8,
                           .rope_base = 10000,
                           ROPE(kinds[i], .factor = 2, .original_ctx = 64, .low_freq_factor = 1,
                                .high_freq_factor = 4) };
        uint32_t words[8];
        float scale;
        pum_rope_frequencies(&hp, factors, words, &scale);
        assert_true(scale == 1.0f);
        for (uint32_t k = 0; k < 4; k++) {
            double want = pow(10000, -0.25 * k) / factors[k] / (2 * PI) /
                          (kinds[i] == PUM_ROPE_LINEAR ? 2 : 1);
            assert_true(fabs(ldexp((double)turns_at(words, k), -64) / want - 1) < 1e-14);
        }
    }
}

static void test_edges(void **state)
{
    (void)state;
    uint32_t words[256];
    float scale;
    /* NTK of one and two pairs, a tiny base, a huge one, factors below one: finite, pair 0 right */
    const struct {
        uint32_t dim;
        float base, factor;
        int kind;
        double first;
    } cases[] = {
        { 2, 10000, 4, PUM_ROPE_NTK, 1 },        { 4, 10000, 4, PUM_ROPE_NTK, 1 },
        { 256, 1.0001f, 1, PUM_ROPE_NONE, 1 },   { 256, 1e30f, 1, PUM_ROPE_NONE, 1 },
        { 64, 10000, 0.5f, PUM_ROPE_LINEAR, 2 }, { 64, 10000, 0.01f, PUM_ROPE_LINEAR, 100 },
        { 64, 1.0001f, 1000, PUM_ROPE_YARN, 1 },
    };
    for (size_t i = 0; i < PUM_COUNT(cases); i++) {
        pum_hparams hp = { .rot_dim = cases[i].dim,
                           .rope_base = cases[i].base,
                           ROPE(cases[i].kind, .factor = cases[i].factor,
                                .original_ctx = 1u << 20) };
        pum_rope_frequencies(&hp, NULL, words, &scale);
        double want = cases[i].first / (2 * PI);
        double got = ldexp((double)turns_at(words, 0), -64);
        assert_true(isfinite(scale));
        assert_true(fabs(got - (want - floor(want))) < 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_factors),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
