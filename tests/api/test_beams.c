/* SPDX-License-Identifier: Apache-2.0
 * Copies of sequences and beam search on the bundled model: copies go their own ways as if each had
 * been alone, whatever the pages; no page is lost; a search of one beam is greedy; its score is that
 * of the tokens; what is refused. Against another implementation: tests/model/test_cases.c. */
#include <math.h>

#include "testing.h"

enum { CONTEXT = 96, MAX_TOKENS = 80, SEQUENCES = 4 };

static struct {
    pumice_device *device;
    pumice_model *model;
    pumice_model_info info;
    int32_t tokens[CONTEXT];
} fixture;

static int open_model(void **state)
{
    (void)state;
    test_open_bundled(&fixture.device, &fixture.model, &fixture.info, fixture.tokens, CONTEXT);
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    pumice_model_destroy(&fixture.model);
    uint64_t messages = pumice_device_validation_count(fixture.device);
    pumice_device_destroy(&fixture.device);
    return messages != 0;
}

static pumice_session *session(pumice_kv_type kv)
{
    pumice_session_params p = { .struct_size = sizeof p, .n_sequences = SEQUENCES,
                                .n_ctx_tokens = CONTEXT, .kv_type_k = kv, .kv_type_v = kv };
    return test_session(fixture.model, &p);
}

static void go_on(pumice_session *s, uint32_t seq, size_t count, int32_t out[4])
{
    for (size_t i = 0; i < count; i++) {
        assert_pumice_ok(s, pumice_session_next(s, &seq, 1, NULL, &out[i]));
    }
}

/* What four greedy tokens follow `count` tokens and one more, in a session of its own. */
static void alone(pumice_kv_type kv, int32_t prefix, size_t count, int32_t more, int32_t out[4])
{
    int32_t tokens[CONTEXT];
    pumice_session *s = session(kv);
    memcpy(tokens, fixture.tokens, sizeof tokens);
    tokens[count] = more;
    assert_pumice_ok(s, pumice_session_set_prefix(s, 2, prefix));
    assert_pumice_ok(s, pumice_session_sync(s, 2, tokens, count + 1));
    go_on(s, 2, 4, out);
    pumice_session_destroy(&s);
}

static void check_copy(pumice_kv_type kv, int32_t prefix, size_t count)
{
    int32_t tokens[CONTEXT], want[4], got[4];
    pumice_session *s = session(kv);
    memcpy(tokens, fixture.tokens, sizeof tokens);
    assert_pumice_ok(s, pumice_session_set_prefix(s, 0, prefix));
    assert_pumice_ok(s, pumice_session_sync(s, 0, tokens, count));
    assert_pumice_ok(s, pumice_session_copy(s, 0, 3));
    assert_pumice_ok(s, pumice_session_copy(s, 3, 1));
    assert_int_equal(pumice_session_length(s, 1), count);
    pumice_timings before = { .struct_size = sizeof before }, after = before;
    assert_int_equal(pumice_session_get_timings(s, &before), PUMICE_OK);
    static const uint32_t seqs[] = { 3, 0, 1 };
    for (int32_t i = 0; i < 3; i++) { /* the original in the middle */
        tokens[count] = 10 + i;
        assert_pumice_ok(s, pumice_session_sync(s, seqs[i], tokens, count + 1));
        go_on(s, seqs[i], 2, got);
    }
    assert_int_equal(pumice_session_get_timings(s, &after), PUMICE_OK);
    assert_int_equal(after.n_prompt_tokens - before.n_prompt_tokens, 3); /* nothing twice */
    for (int32_t i = 0; i < 3; i++) {
        alone(kv, prefix, count, 10 + i, want);
        assert_pumice_ok(s, pumice_session_sync(s, seqs[i],
                                                (tokens[count] = 10 + i, tokens), count + 1));
        go_on(s, seqs[i], 4, got);
        assert_memory_equal(got, want, sizeof got);
    }
    /* what is left lives on without the others */
    assert_pumice_ok(s, pumice_session_clear(s, 0));
    assert_pumice_ok(s, pumice_session_clear(s, 3));
    assert_pumice_ok(s, pumice_session_sync(s, 2, fixture.tokens + 5, MAX_TOKENS));
    tokens[count] = 12;
    assert_pumice_ok(s, pumice_session_sync(s, 1, tokens, count + 1));
    go_on(s, 1, 4, got);
    assert_memory_equal(got, want, sizeof got);
    pumice_session_destroy(&s);
}

static void test_copies(void **state)
{
    static const size_t counts[] = { 1, 31, 32, 33, 64, 70 };
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        check_copy(PUMICE_KV_F32, PUMICE_PREFIX_MODEL, counts[i]);
    }
    check_copy(PUMICE_KV_F16, 20, 45);
    if (fixture.info.head_dim % 32 == 0) check_copy(PUMICE_KV_Q8_0, PUMICE_PREFIX_MODEL, 45);
}

/* As many pages as there are must do, however often they are shared and given back. */
static void test_no_page_is_lost(void **state)
{
    pumice_session *s = session(PUMICE_KV_F16);
    uint32_t random = 1;
    (void)state;
    for (int round = 0; round < 60; round++) {
        random = random * 1664525u + 1013904223u;
        uint32_t a = random >> 30, b = random >> 28 & 3, n = 1 + (random >> 16 & 63);
        switch (random >> 8 & 3) {
        case 0: assert_pumice_ok(s, pumice_session_copy(s, a, b)); break;
        case 1: assert_pumice_ok(s, pumice_session_clear(s, a)); break;
        default: assert_pumice_ok(s, pumice_session_sync(s, a, fixture.tokens + (n & 1), n));
        }
    }
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        assert_pumice_ok(s, pumice_session_sync(s, i, fixture.tokens, CONTEXT));
    }
    pumice_session_destroy(&s);
}

/* ---- beams ---- */

static double mean_score(pumice_session *s, const int32_t *prompt, size_t n_prompt,
                         const int32_t *tokens, size_t n, double penalty)
{
    int32_t all[CONTEXT];
    pumice_token_score scores[CONTEXT];
    double sum = 0;
    memcpy(all, prompt, n_prompt * sizeof *all);
    memcpy(all + n_prompt, tokens, n * sizeof *all);
    assert_pumice_ok(s, pumice_session_score(s, 0, all, n_prompt + n, n_prompt, scores));
    for (size_t i = n_prompt; i < n_prompt + n; i++) sum += (double)scores[i].logprob;
    return sum / pow((double)n, penalty);
}

static void test_beams(void **state)
{
    static const uint32_t seqs[] = { 2, 0, 3, 1 };
    int32_t greedy[20], tokens[CONTEXT];
    double worse = 0;
    (void)state;
    pumice_session *s = session(PUMICE_KV_F32);
    pumice_beam_params p = { .struct_size = sizeof p, .max_tokens = 20, .ignore_eos = 1 };
    for (uint32_t n = 1; n <= SEQUENCES; n++) {
        size_t count;
        float score;
        assert_pumice_ok(s, pumice_session_sync(s, 2, fixture.tokens, 25));
        if (n == 1) go_on(s, 2, 20, greedy);
        assert_pumice_ok(s, pumice_session_sync(s, 2, fixture.tokens, 25));
        p.length_penalty = n == 2 ? 2.0f : 0;
        assert_pumice_ok(s, pumice_session_beam_search(s, seqs, n, &p, tokens, CONTEXT, &count, &score));
        assert_int_equal(count, 20);
        if (n == 1) assert_memory_equal(tokens, greedy, sizeof greedy);
        assert_int_equal(pumice_session_length(s, 2), 25);
        for (uint32_t i = 1; i < n; i++) assert_int_equal(pumice_session_length(s, seqs[i]), 0);
        double penalty = n == 2 ? 2 : 1, want = mean_score(s, fixture.tokens, 25, tokens, 20, penalty);
        assert_true(fabs((double)score - want) < 1e-4);
        if (n == 1) worse = (double)score;
        if (n == SEQUENCES) assert_true((double)score >= worse - 1e-4);
    }
    pumice_session_destroy(&s);
}

static void test_no_repeats_and_room(void **state)
{
    static const uint32_t seqs[] = { 0, 1, 2 };
    int32_t tokens[CONTEXT];
    size_t count;
    (void)state;
    pumice_session *s = session(PUMICE_KV_F16);
    pumice_beam_params p = { .struct_size = sizeof p, .no_repeat_ngram = 1, .ignore_eos = 1 };
    assert_pumice_ok(s, pumice_session_sync(s, 0, fixture.tokens, 60));
    /* fewer places than tokens: the number is told all the same */
    assert_pumice_ok(s, pumice_session_beam_search(s, seqs, 3, &p, tokens, 5, &count, NULL));
    assert_int_equal(count, CONTEXT - 60); /* to the context's end */
    assert_pumice_ok(s, pumice_session_beam_search(s, seqs, 3, &p, tokens, CONTEXT, &count, NULL));
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < 60; k++) assert_int_not_equal(tokens[i], fixture.tokens[k]);
        for (size_t k = 0; k < i; k++) assert_int_not_equal(tokens[i], tokens[k]);
    }
    pumice_session_destroy(&s);
}

static void test_what_is_refused(void **state)
{
    int32_t tokens[8];
    size_t count = 7;
    (void)state;
    pumice_session *s = session(PUMICE_KV_F16);
    pumice_beam_params p = { .struct_size = sizeof p };
    assert_int_equal(pumice_session_copy(NULL, 0, 1), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_copy(s, 0, SEQUENCES), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_copy(s, SEQUENCES, 0), PUMICE_ERROR_INVALID);
    assert_pumice_ok(s, pumice_session_copy(s, 0, 1)); /* of nothing */
    assert_int_equal(pumice_session_beam_search(s, (uint32_t[]){ 0 }, 1, &p, tokens, 8, &count, NULL),
                     PUMICE_ERROR_INVALID); /* empty */
    assert_int_equal(count, 0);
    assert_pumice_ok(s, pumice_session_sync(s, 0, fixture.tokens, 3));
    static const uint32_t twice[] = { 0, 0 }, beyond[] = { 0, SEQUENCES };
    assert_int_equal(pumice_session_beam_search(s, twice, 2, &p, tokens, 8, &count, NULL),
                     PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_beam_search(s, beyond, 2, &p, tokens, 8, &count, NULL),
                     PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_beam_search(s, twice, 0, &p, tokens, 8, &count, NULL),
                     PUMICE_ERROR_INVALID);
    p.length_penalty = NAN;
    assert_int_equal(pumice_session_beam_search(s, twice, 1, &p, tokens, 8, &count, NULL),
                     PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_beam_search(s, twice, 1, NULL, tokens, 8, NULL, NULL),
                     PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_beam_search(s, twice, 1, NULL, NULL, 8, &count, NULL),
                     PUMICE_ERROR_INVALID);
    pumice_session_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_no_page_is_lost),
        cmocka_unit_test(test_beams),
        cmocka_unit_test(test_no_repeats_and_room),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
