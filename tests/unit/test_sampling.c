/* SPDX-License-Identifier: Apache-2.0
 * The reference sampling chain: against probabilities stored from transformers, where the order of its steps is ours;
 * against the published vectors of Philox4x32-10; and that the draw follows the probabilities. */
#include <math.h>

#include <jansson.h>

#include "ref_sample.h"
#include "testing.h"

enum { MAX_TOKENS = 1024 };

static void test_philox(void **state)
{
    (void)state;
    /* Salmon et al., known answers of philox4x32-10 for all zeros */
    assert_int_equal(pum_ref_philox(0, 0), 0x6627e8d5u);
    assert_true(pum_ref_uniform(0, 0) == (double)(0x6627e8d5u >> 8) / 16777216.0);
    assert_int_not_equal(pum_ref_philox(1, 0), pum_ref_philox(0, 0));
    assert_int_not_equal(pum_ref_philox(1ull << 32, 0), pum_ref_philox(0, 0));
    double sum = 0.0;
    for (uint32_t i = 0; i < 4096; i++) {
        double u = pum_ref_uniform(77, i);
        assert_true(u >= 0.0 && u < 1.0);
        sum += u;
    }
    assert_true(fabs(sum / 4096 - 0.5) < 0.02);
}

static uint32_t read_floats(const json_t *array, float *out)
{
    uint32_t n = 0;
    const json_t *item;
    size_t i;
    json_array_foreach(array, i, item)
    {
        assert_true(i < MAX_TOKENS);
        out[n++] = json_is_null(item) ? -INFINITY : (float)json_number_value(item);
    }
    return n;
}

static double param(const json_t *params, const char *name)
{
    const json_t *v = json_object_get(params, name);
    return v ? json_number_value(v) : 0.0;
}

/* True if our chain has all that the case asks for; then *out_params is set. */
static bool ours(const json_t *params, pum_ref_sampling *out_params)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)params, name, value)
    {
        if (strcmp(name, "temperature") && strcmp(name, "top_k") && strcmp(name, "top_p") && strcmp(name, "min_p")) {
            return false;
        }
    }
    double temperature = param(params, "temperature");
    *out_params = (pum_ref_sampling){ .temperature = temperature > 0.0 ? (float)temperature : 1.0f,
                                      .top_k = (uint32_t)param(params, "top_k"),
                                      .top_p = (float)param(params, "top_p"), .min_p = (float)param(params, "min_p") };
    return true;
}

static void compare(const char *name, const float *logits, uint32_t n, const pum_ref_sampling *p, const json_t *want)
{
    double probs[MAX_TOKENS];
    assert_int_equal(json_array_size(want), n);
    assert_true(pum_ref_sample_chain(logits, n, p, 0.5, probs, NULL) < n);
    for (uint32_t i = 0; i < n; i++) {
        double w = json_number_value(json_array_get(want, i));
        if (fabs(probs[i] - w) > 1e-5 * w + 1e-9) fail_msg("%s: token %u: %g, stored %g", name, i, probs[i], w);
    }
}

static void test_stored(void **state)
{
    char path[TEST_PATH_BYTES];
    float logits[MAX_TOKENS], changed[MAX_TOKENS];
    json_error_t error;
    unsigned checked = 0;
    (void)state;
    if (!test_data("misc/sampling.json", path)) skip();
    json_t *root = json_load_file(path, 0, &error);
    if (!root) fail_msg("%s: %s", path, error.text);
    uint32_t n = read_floats(json_object_get(root, "logits_in"), logits);
    const json_t *item, *ids = json_object_get(root, "input_ids");
    size_t i, k;
    json_array_foreach(json_object_get(root, "cases"), i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        const json_t *params = json_object_get(item, "params"), *probs = json_object_get(item, "probs"), *id;
        pum_ref_sampling p;
        if (strcmp(name, "chain") == 0) {
            /* repetition penalty 1.1 and temperature 0.8 come first there: by hand; then top_k 40, top_p 0.95 */
            bool done[MAX_TOKENS] = { false };
            memcpy(changed, logits, sizeof changed);
            json_array_foreach(ids, k, id)
            {
                size_t token = (size_t)json_integer_value(id);
                if (token < n && !done[token]) changed[token] *= changed[token] > 0.0f ? 1.0f / 1.1f : 1.1f;
                if (token < n) done[token] = true;
            }
            for (uint32_t t = 0; t < n; t++) changed[t] /= 0.8f;
            p = (pum_ref_sampling){ .temperature = 1.0f, .top_k = 40, .top_p = 0.95f };
            compare(name, changed, n, &p, probs);
            checked++;
        } else if (ours(params, &p)) {
            compare(name, logits, n, &p, probs);
            checked++;
        }
    }
    json_decref(root);
    assert_true(checked >= 6);
}

static void test_ties_and_masks(void **state)
{
    const float ties[] = { 1.0f, 3.0f, 2.0f, 3.0f, 2.0f, -INFINITY, NAN }, none[] = { -INFINITY, NAN, -INFINITY };
    pum_ref_sampling p = { .temperature = 1.0f, .top_k = 3 };
    double probs[7];
    (void)state;
    pum_ref_sample_chain(ties, 7, &p, 0.0, probs, NULL); /* the third largest is tied with the fourth: both stay */
    assert_true(probs[2] > 0.0 && probs[2] == probs[4] && probs[0] == 0.0 && probs[5] == 0.0 && probs[6] == 0.0);
    p = (pum_ref_sampling){ .temperature = 1.0f, .top_p = 1e-6f };
    pum_ref_sample_chain(ties, 7, &p, 0.0, probs, NULL);
    assert_true(probs[1] == 0.5 && probs[3] == 0.5);
    p = (pum_ref_sampling){ .temperature = 1.0f, .min_p = 1.0f };
    pum_ref_sample_chain(ties, 7, &p, 0.0, probs, NULL);
    assert_true(probs[1] == 0.5 && probs[3] == 0.5);
    p = (pum_ref_sampling){ .temperature = 0.0f };
    assert_int_equal(pum_ref_sample_chain(ties, 7, &p, 0.99, NULL, NULL), 1); /* the first of equals */
    p.temperature = 1.0f;
    assert_int_equal(pum_ref_sample_chain(none, 3, &p, 0.99, NULL, NULL), 0);
}

/* The tokens that a fine comb of draws gives have the shares that the probabilities say, in index order. */
static void test_draw_follows_probabilities(void **state)
{
    enum { N = 40, DRAWS = 20000 };
    float logits[N];
    double probs[N], count[N] = { 0 }, margin;
    uint32_t last = 0;
    (void)state;
    for (uint32_t i = 0; i < N; i++) logits[i] = (float)(6.0 * pum_ref_uniform(5, i));
    pum_ref_sampling p = { .temperature = 0.7f, .top_k = 20, .top_p = 0.9f };
    for (uint32_t d = 0; d < DRAWS; d++) {
        uint32_t token = pum_ref_sample_chain(logits, N, &p, (d + 0.5) / DRAWS, probs, &margin);
        assert_true(token >= last && token < N && probs[token] > 0.0 && margin >= 0.0);
        last = token;
        count[token] += 1.0 / DRAWS;
    }
    for (uint32_t i = 0; i < N; i++) assert_true(fabs(count[i] - probs[i]) <= 1.01 / DRAWS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox),
        cmocka_unit_test(test_stored),
        cmocka_unit_test(test_ties_and_masks),
        cmocka_unit_test(test_draw_follows_probabilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
