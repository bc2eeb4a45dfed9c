/* SPDX-License-Identifier: Apache-2.0
 * T5's buckets of distances: the borders that single precision gives, and, where the data is, every
 * distance up to 300 as the original implementation has it. */
#include <jansson.h>

#include "arch.h"
#include "testing.h"

static void check_borders(bool both_ways, const int32_t *borders, size_t n, int sign)
{
    uint32_t last = pum_relative_bucket(sign * 1, both_ways, 32, 128), exact = both_ways ? 8 : 16;
    size_t seen = 0;
    for (int32_t d = 2; d <= 400; d++) {
        uint32_t bucket = pum_relative_bucket(sign * d, both_ways, 32, 128);
        assert_true(bucket == last || bucket == last + 1);
        if (bucket != last && d >= (int32_t)exact) {
            assert_true(seen < n);
            assert_int_equal(d, borders[seen++]);
        }
        last = bucket;
    }
    assert_int_equal(seen, n);
}

static void test_borders(void **state)
{
    (void)state;
    static const int32_t encoder[] = { 8, 12, 16, 23, 32, 46, 64, 91 };
    static const int32_t decoder[] = { 16, 19, 21, 24, 27, 31, 35, 40, 46,
                                       52, 59, 67, 77, 87, 99, 113 };
    check_borders(true, encoder, PUM_COUNT(encoder), -1);
    check_borders(true, encoder, PUM_COUNT(encoder), 1);
    check_borders(false, decoder, PUM_COUNT(decoder), -1);
    assert_int_equal(pum_relative_bucket(0, true, 32, 128), 0);
    assert_int_equal(pum_relative_bucket(1, true, 32, 128), 17);
    assert_int_equal(pum_relative_bucket(5, false, 32, 128), 0);
    /* what no model has must not do harm either */
    assert_true(pum_relative_bucket(-7, true, 4, 2) < 4);
    assert_true(pum_relative_bucket(-100000, false, 5, 3) < 5);
    assert_true(pum_relative_bucket(INT32_MIN, true, 32, 128) < 32);
}

static void test_original(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    json_error_t e;
    if (!test_data("misc/t5_buckets.json", path)) skip();
    json_t *root = json_load_file(path, 0, &e), *table;
    assert_non_null(root);
    const char *name;
    json_object_foreach(json_object_get(root, "tables"), name, table) {
        const json_t *buckets = json_object_get(table, "bucket");
        assert_int_equal(json_array_size(buckets), 601);
        for (int32_t i = 0; i < 601; i++) {
            uint32_t got = pum_relative_bucket(
                i - 300, json_is_true(json_object_get(table, "bidirectional")),
                (uint32_t)json_integer_value(json_object_get(table, "num_buckets")),
                (uint32_t)json_integer_value(json_object_get(table, "max_distance")));
            assert_int_equal(got, json_integer_value(json_array_get(buckets, (size_t)i)));
        }
        print_message("%s: 601 distances\n", name);
    }
    json_decref(root);
}

static void test_expansion(void **state)
{
    (void)state;
    enum { BUCKETS = 8, HEADS = 3, MOST = 20, WIDTH = 2 * MOST + 1 };
    float table[BUCKETS * HEADS], out[HEADS * WIDTH];
    for (int i = 0; i < BUCKETS * HEADS; i++) table[i] = (float)i;
    pum_relative_expand(table, BUCKETS, HEADS, true, MOST, out);
    for (int32_t d = -MOST; d <= MOST; d++) {
        for (int head = 0; head < HEADS; head++) {
            float want = table[pum_relative_bucket(d, true, BUCKETS, MOST) * HEADS + (uint32_t)head];
            assert_true(out[head * WIDTH + d + MOST] == want);
        }
    }
    /* distances beyond the table have its ends' buckets */
    assert_int_equal(pum_relative_bucket(-MOST, true, BUCKETS, MOST),
                     pum_relative_bucket(-1000, true, BUCKETS, MOST));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_borders),
        cmocka_unit_test(test_original),
        cmocka_unit_test(test_expansion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
