/* SPDX-License-Identifier: Apache-2.0
 * Prefixes of sequences, on the bundled model: a prefix changes what its rows see and nothing
 * depends on how it is cut into passes; what is cached is kept exactly as long as it may be. */
#include <math.h>

#include "testing.h"

enum { N = 12, VOCAB = 4096 };
static const int32_t ids[N] = { 1, 20, 33, 40, 51, 62, 73, 84, 95, 106, 117, 128 };

typedef struct rows {
    float *data; /* [N][n_vocab] */
    uint32_t n_vocab;
    size_t count;
} rows;

static int on_row(void *user, size_t position, const float *logits, uint32_t n_vocab)
{
    rows *r = user;
    assert_true(n_vocab <= VOCAB && position == r->count);
    r->n_vocab = n_vocab;
    memcpy(r->data + position * VOCAB, logits, n_vocab * sizeof *logits);
    r->count++;
    return 0;
}

static float all[4][N * VOCAB];

static void logits(pumice_model *model, uint32_t batch, int32_t prefix, float *out)
{
    pumice_session_params p = { .struct_size = sizeof p, .n_batch_tokens = batch,
                                .n_ctx_tokens = 96, .kv_type_k = PUMICE_KV_F32,
                                .kv_type_v = PUMICE_KV_F32 };
    pumice_session *s = test_session(model, &p);
    rows r = { .data = out };
    assert_pumice_ok(s, pumice_session_set_prefix(s, 0, prefix));
    assert_pumice_ok(s, pumice_session_eval_logits(s, 0, ids, N, on_row, &r));
    assert_int_equal(r.count, N);
    pumice_session_destroy(&s);
}

static double worst(const float *a, const float *b, size_t row)
{
    double d = 0;
    for (size_t i = 0; i < VOCAB; i++) {
        d = fmax(d, fabs((double)a[row * VOCAB + i] - b[row * VOCAB + i]));
    }
    return d;
}

static pumice_model *bundled(pumice_device **out_device)
{
    char path[TEST_PATH_BYTES];
    test_source("models/pumice-stories.gguf", path);
    *out_device = test_device(NULL, 1);
    return test_model(*out_device, path);
}

static void close_all(pumice_device **device, pumice_model **model)
{
    pumice_model_destroy(model);
    assert_int_equal(pumice_device_validation_count(*device), 0);
    pumice_device_destroy(device);
}

static void test_rows_see_the_prefix(void **state)
{
    (void)state;
    pumice_device *device;
    pumice_model *model = bundled(&device);
    logits(model, 0, PUMICE_PREFIX_MODEL, all[0]);
    logits(model, 0, 8, all[1]);
    logits(model, 5, 8, all[2]); /* computed in one pass all the same */
    logits(model, 5, 1, all[3]);
    for (size_t i = 0; i < N; i++) {
        assert_true(worst(all[0], all[3], i) < 1e-3); /* a prefix of one token is none */
        assert_true(worst(all[1], all[2], i) < 1e-3);
        assert_true(worst(all[0], all[1], i) > 1e-2); /* also behind it: its K and V differ */
    }
    close_all(&device, &model);
}

static uint32_t evaluated(pumice_session *s)
{
    pumice_timings t = { .struct_size = sizeof t };
    assert_int_equal(pumice_session_get_timings(s, &t), PUMICE_OK);
    return t.n_prompt_tokens;
}

static void test_what_is_kept(void **state)
{
    (void)state;
    pumice_device *device;
    pumice_model *model = bundled(&device);
    pumice_session_params p = { .struct_size = sizeof p, .n_batch_tokens = 4, .n_ctx_tokens = 96,
                                .n_sequences = 2 };
    pumice_session *s = test_session(model, &p);
    static float want[VOCAB], got[VOCAB];
    int32_t other[N];
    memcpy(other, ids, sizeof other);
    assert_pumice_ok(s, pumice_session_set_prefix(s, 1, 6));
    assert_pumice_ok(s, pumice_session_sync(s, 1, ids, 8));
    uint32_t n = evaluated(s);
    assert_int_equal(n, 8);
    assert_pumice_ok(s, pumice_session_sync(s, 1, ids, N)); /* longer: the new tokens alone */
    assert_int_equal(evaluated(s) - n, N - 8);
    n = evaluated(s);
    other[9]++; /* behind the prefix: from there on */
    assert_pumice_ok(s, pumice_session_sync(s, 1, other, N));
    assert_int_equal(evaluated(s) - n, N - 9);
    n = evaluated(s);
    other[4]++; /* within the prefix: all */
    assert_pumice_ok(s, pumice_session_sync(s, 1, other, N));
    assert_int_equal(evaluated(s) - n, N);
    assert_pumice_ok(s, pumice_session_logits(s, 1, got));
    assert_pumice_ok(s, pumice_session_set_prefix(s, 0, 6));
    assert_pumice_ok(s, pumice_session_sync(s, 0, other, N));
    assert_pumice_ok(s, pumice_session_logits(s, 0, want));
    assert_memory_equal(got, want, sizeof want);
    /* the same prefix again drops nothing, another one all */
    assert_pumice_ok(s, pumice_session_set_prefix(s, 1, 6));
    assert_int_equal(pumice_session_length(s, 1), N);
    assert_pumice_ok(s, pumice_session_set_prefix(s, 1, 7));
    assert_int_equal(pumice_session_length(s, 1), 0);
    /* generation goes on behind the prefix */
    uint32_t both[] = { 0, 1 };
    int32_t a[2], b[2];
    assert_pumice_ok(s, pumice_session_set_prefix(s, 1, 6));
    assert_pumice_ok(s, pumice_session_sync(s, 1, other, N));
    for (int i = 0; i < 5; i++) {
        assert_pumice_ok(s, pumice_session_next(s, both, 2, NULL, a));
        assert_int_equal(a[0], a[1]);
        b[i % 2] = a[0];
    }
    assert_true(b[0] >= 0);
    pumice_session_destroy(&s);
    close_all(&device, &model);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    pumice_device *device;
    pumice_model *model = bundled(&device);
    pumice_session_params p = { .struct_size = sizeof p, .n_ctx_tokens = 32 };
    pumice_session *s = test_session(model, &p);
    assert_int_equal(pumice_session_set_prefix(NULL, 0, 0), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_set_prefix(s, 1, 0), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_set_prefix(s, 0, -2), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_set_prefix(s, 0, 33), PUMICE_ERROR_INVALID);
    assert_non_null(strstr(pumice_session_error(s), "33"));
    assert_pumice_ok(s, pumice_session_set_prefix(s, 0, 9));
    assert_int_equal(pumice_session_sync(s, 0, ids, 8), PUMICE_ERROR_INVALID);
    assert_non_null(strstr(pumice_session_error(s), "prefix of 9"));
    assert_int_equal(pumice_session_length(s, 0), 0);
    assert_pumice_ok(s, pumice_session_sync(s, 0, ids, 9));
    pumice_session_destroy(&s);
    close_all(&device, &model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_see_the_prefix),
        cmocka_unit_test(test_what_is_kept),
        cmocka_unit_test(test_what_is_refused),
    };
    test_keep_modules();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
