/* SPDX-License-Identifier: Apache-2.0
 * pumice_session_score on the bundled model: its numbers against a softmax of the logits in double,
 * whatever the batch; what is computed once and what is kept; what a sequence is afterwards; what is
 * refused. Objectives of other families: tests/model/test_cases.c. */
#include <math.h>

#include "testing.h"

enum { COUNT = 41 };

static struct {
    pumice_device *device;
    pumice_model *model;
    pumice_model_info info;
    int32_t tokens[COUNT];
    double logprob[COUNT]; /* of tokens[i], from the logits; 0 for the first */
    int32_t top[COUNT];
} fixture;

static int on_row(void *user, size_t position, const float *logits, uint32_t n_vocab)
{
    double sum = 0;
    uint32_t best = 0;
    (void)user;
    if (position + 1 == COUNT) return 0;
    for (uint32_t i = 0; i < n_vocab; i++) best = logits[i] > logits[best] ? i : best;
    for (uint32_t i = 0; i < n_vocab; i++) sum += exp((double)logits[i] - (double)logits[best]);
    int32_t next = fixture.tokens[position + 1];
    fixture.logprob[position + 1] = (double)logits[next] - (double)logits[best] - log(sum);
    fixture.top[position + 1] = (int32_t)best;
    return 0;
}

static pumice_session *session(uint32_t n_batch)
{
    pumice_session_params p = { .struct_size = sizeof p, .n_batch_tokens = n_batch,
                                .n_sequences = 2, .n_ctx_tokens = 64, .kv_type_k = PUMICE_KV_F32,
                                .kv_type_v = PUMICE_KV_F32 };
    return test_session(fixture.model, &p);
}

static int open_model(void **state)
{
    (void)state;
    test_open_bundled(&fixture.device, &fixture.model, &fixture.info, fixture.tokens, COUNT);
    pumice_session *s = session(0);
    pumice_status status =
        pumice_session_eval_logits(s, 0, fixture.tokens, COUNT, on_row, NULL);
    pumice_session_destroy(&s);
    return status;
}

static int close_model(void **state)
{
    (void)state;
    pumice_model_destroy(&fixture.model);
    uint64_t messages = pumice_device_validation_count(fixture.device);
    pumice_device_destroy(&fixture.device);
    return messages != 0;
}

static void check_scores(const pumice_token_score *scores, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i < first) {
            assert_int_equal(scores[i].top, -1);
            assert_true(scores[i].logprob == 0);
            continue;
        }
        if (fabs((double)scores[i].logprob - fixture.logprob[i]) > 1e-4) {
            fail_msg("token %zu: %.7g, not %.7g", i, (double)scores[i].logprob, fixture.logprob[i]);
        }
        assert_int_equal(scores[i].top, fixture.top[i]);
    }
}

static void test_every_batch(void **state)
{
    static const uint32_t batches[] = { 1, 3, 7, 32, 64 };
    (void)state;
    assert_int_equal(fixture.info.objective, PUMICE_OBJECTIVE_CAUSAL);
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
        pumice_session *s = session(batches[b]);
        pumice_token_score scores[COUNT];
        static const size_t firsts[] = { 0, 40, 17, 1, 2 };
        for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
            uint32_t seq = i == 2; /* a fresh one in the middle, and not row 0's */
            assert_pumice_ok(s, pumice_session_score(s, seq, fixture.tokens, COUNT, firsts[i], scores));
            check_scores(scores, firsts[i] ? firsts[i] : 1, COUNT);
        }
        pumice_session_destroy(&s);
    }
}

static uint32_t evaluated(pumice_session *s)
{
    pumice_timings t = { .struct_size = sizeof t };
    assert_int_equal(pumice_session_get_timings(s, &t), PUMICE_OK);
    return t.n_prompt_tokens;
}

/* Endings of one beginning: it is computed once, and a sequence goes on from what it holds. */
static void test_beginning_is_kept(void **state)
{
    int32_t tokens[COUNT];
    pumice_token_score scores[COUNT];
    pumice_session *s = session(16);
    (void)state;
    memcpy(tokens, fixture.tokens, sizeof tokens);
    assert_pumice_ok(s, pumice_session_score(s, 0, tokens, 33, 30, scores));
    check_scores(scores, 30, 33);
    assert_int_equal(evaluated(s), 32);
    tokens[30] ^= 1;
    assert_pumice_ok(s, pumice_session_score(s, 0, tokens, 32, 30, scores));
    assert_int_equal(evaluated(s), 32 + 2); /* rows 29 and 30 */
    assert_int_equal(scores[30].top, fixture.top[30]);
    assert_true(fabs((double)scores[30].logprob - fixture.logprob[30]) > 1e-3);
    assert_int_equal(pumice_session_length(s, 0), 32);
    /* the last token was only scored; what comes next needs it evaluated */
    int32_t a, b;
    assert_pumice_ok(s, pumice_session_next(s, &(uint32_t){ 0 }, 1, NULL, &a));
    assert_pumice_ok(s, pumice_session_sync(s, 1, tokens, 32));
    assert_pumice_ok(s, pumice_session_next(s, &(uint32_t){ 1 }, 1, NULL, &b));
    assert_int_equal(a, b);
    /* logits asked for before and after are those of the last token */
    float *want = malloc(fixture.info.n_vocab * 4), *got = malloc(fixture.info.n_vocab * 4);
    assert_pumice_ok(s, pumice_session_sync(s, 1, fixture.tokens, 20));
    assert_pumice_ok(s, pumice_session_logits(s, 1, want));
    assert_pumice_ok(s, pumice_session_score(s, 1, fixture.tokens, 20, 0, scores));
    assert_pumice_ok(s, pumice_session_logits(s, 1, got));
    for (uint32_t i = 0; i < fixture.info.n_vocab; i++) {
        assert_true(fabs((double)got[i] - (double)want[i]) < 1e-3);
    }
    free(want);
    free(got);
    pumice_session_destroy(&s);
}

/* A first inside the prefix scores tokens that have seen each other: more likely, if anything. */
static void test_prefix(void **state)
{
    pumice_token_score scores[COUNT], all[COUNT];
    pumice_session *s = session(8);
    (void)state;
    assert_pumice_ok(s, pumice_session_set_prefix(s, 0, 20));
    assert_pumice_ok(s, pumice_session_score(s, 0, fixture.tokens, COUNT, 0, scores));
    assert_int_equal(scores[19].top, -1);
    assert_true(scores[20].top >= 0);
    assert_pumice_ok(s, pumice_session_score(s, 0, fixture.tokens, COUNT, 5, all));
    assert_int_equal(all[4].top, -1);
    assert_true(all[5].top >= 0);
    for (size_t i = 20; i < COUNT; i++) {
        assert_true(fabs((double)all[i].logprob - (double)scores[i].logprob) < 1e-4);
        assert_int_equal(all[i].top, scores[i].top);
    }
    assert_int_equal(pumice_session_score(s, 0, fixture.tokens, 20, 0, scores), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_score(s, 0, fixture.tokens, 19, 1, scores), PUMICE_ERROR_INVALID);
    pumice_session_destroy(&s);
}

static void test_what_is_refused(void **state)
{
    pumice_token_score scores[65];
    int32_t tokens[65] = { 1 };
    pumice_session *s = session(0);
    (void)state;
    assert_int_equal(pumice_session_score(NULL, 0, tokens, 2, 0, scores), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_score(s, 0, tokens, 2, 0, NULL), PUMICE_ERROR_INVALID);
    static const struct {
        uint32_t seq;
        size_t count, first;
        pumice_status want;
    } bad[] = {
        { 0, 0, 0, PUMICE_ERROR_INVALID },  { 0, 1, 0, PUMICE_ERROR_INVALID },
        { 0, 5, 5, PUMICE_ERROR_INVALID },  { 0, 5, SIZE_MAX, PUMICE_ERROR_INVALID },
        { 2, 5, 1, PUMICE_ERROR_INVALID },  { 0, 65, 0, PUMICE_ERROR_CONTEXT_FULL },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pumice_status status =
            pumice_session_score(s, bad[i].seq, tokens, bad[i].count, bad[i].first, scores);
        assert_int_equal(status, bad[i].want);
        assert_true(pumice_session_error(s)[0] != '\0');
    }
    tokens[1] = (int32_t)fixture.info.n_vocab;
    scores[0].top = 7;
    assert_int_equal(pumice_session_score(s, 0, tokens, 2, 0, scores), PUMICE_ERROR_INVALID);
    assert_int_equal(scores[0].top, -1); /* zero on failure */
    tokens[1] = 5;
    assert_pumice_ok(s, pumice_session_score(s, 0, tokens, 64, 0, scores)); /* the whole context */
    pumice_session_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_batch),
        cmocka_unit_test(test_beginning_is_kept),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
