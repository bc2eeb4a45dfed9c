/* SPDX-License-Identifier: Apache-2.0
 * What a session can do, on a model of at most VOCAB words, and whether two models did the same: for
 * tests of models that are spread over devices or processes. */
#ifndef SAME_RESULTS_H
#define SAME_RESULTS_H

#include <math.h>

#include "testing.h"

enum { N = 60, VOCAB = 1024, BATCH = 16 };

static int32_t prompt[N];

static inline void make_prompt(void)
{
    for (int i = 0; i < N; i++) prompt[i] = i ? 3 + i * 37 % 900 : 1;
}

static inline pumice_session *open_session(pumice_model *model, uint32_t n_sequences)
{
    pumice_session_params p = { .struct_size = sizeof p, .n_batch_tokens = BATCH,
                                .n_ctx_tokens = 128, .n_sequences = n_sequences,
                                .kv_type_k = PUMICE_KV_F32, .kv_type_v = PUMICE_KV_F32 };
    return test_session(model, &p);
}

typedef struct results {
    float *logits; /* [N][n_vocab], of an evaluation from the beginning */
    float last[VOCAB]; /* after sync */
    int32_t tokens[32], next[3][8];
    pumice_token_score scores[N];
    int32_t copied[2][8], beam[8];
    uint32_t n_vocab;
} results;

static inline int on_row(void *user, size_t position, const float *logits, uint32_t n_vocab)
{
    results *r = user;
    assert_true(n_vocab <= VOCAB && position < N);
    r->n_vocab = n_vocab;
    memcpy(r->logits + position * VOCAB, logits, n_vocab * sizeof *logits);
    return 0;
}

typedef struct generated {
    int32_t *tokens;
    size_t count;
} generated;

static inline int on_token(void *user, int32_t token, const char *text, size_t bytes)
{
    generated *g = user;
    (void)text;
    (void)bytes;
    if (token >= 0) g->tokens[g->count++] = token;
    return 0;
}

static inline void generate(pumice_session *s, uint32_t seq, uint32_t n, int32_t *out_tokens)
{
    generated g = { .tokens = out_tokens };
    pumice_generate_params p = { .struct_size = sizeof p, .max_tokens = n, .ignore_eos = 1,
                                 .token = on_token, .user = &g };
    uint32_t count;
    assert_pumice_ok(s, pumice_session_generate(s, seq, &p, &count));
    assert_int_equal(count, n);
    assert_int_equal(g.count, n);
}

/* All that a session can do, `prefix` tokens of the sequences being one. */
static inline void use(pumice_model *on, int32_t prefix, results *r)
{
    pumice_session *s = open_session(on, 3);
    r->logits = calloc(N * VOCAB, sizeof *r->logits);
    assert_non_null(r->logits);
    assert_pumice_ok(s, pumice_session_set_prefix(s, 1, prefix));
    assert_pumice_ok(s, pumice_session_eval_logits(s, 1, prompt, N, on_row, r));
    assert_pumice_ok(s, pumice_session_sync(s, 0, prompt, N)); /* four batches, one behind the other */
    assert_pumice_ok(s, pumice_session_logits(s, 0, r->last));
    generate(s, 0, 32, r->tokens);
    assert_pumice_ok(s, pumice_session_score(s, 2, prompt, N, 0, r->scores));
    /* back to an earlier token, and three sequences in one pass */
    uint32_t seqs[] = { 2, 0, 1 };
    assert_pumice_ok(s, pumice_session_sync(s, 0, prompt, N - 7));
    assert_pumice_ok(s, pumice_session_sync(s, 2, prompt + 3, 20));
    assert_int_equal(pumice_session_length(s, 0), N - 7);
    for (int i = 0; i < 8; i++) {
        int32_t chosen[3];
        assert_pumice_ok(s, pumice_session_next(s, seqs, 3, NULL, chosen));
        for (int k = 0; k < 3; k++) r->next[k][i] = chosen[k];
    }
    /* copies that share pages until they part, and beams, which are such copies */
    size_t n_beam;
    assert_pumice_ok(s, pumice_session_sync(s, 0, prompt, 40));
    assert_pumice_ok(s, pumice_session_copy(s, 0, 2));
    generate(s, 2, 8, r->copied[0]);
    assert_pumice_ok(s, pumice_session_sync(s, 0, prompt, 39));
    generate(s, 0, 8, r->copied[1]);
    pumice_beam_params beams = { .struct_size = sizeof beams, .max_tokens = 8, .ignore_eos = 1 };
    uint32_t order[] = { 1, 0, 2 };
    assert_pumice_ok(s, pumice_session_set_prefix(s, 1, PUMICE_PREFIX_MODEL));
    assert_pumice_ok(s, pumice_session_sync(s, 1, prompt, 10));
    assert_pumice_ok(s, pumice_session_beam_search(s, order, 3, &beams, r->beam, 8, &n_beam, NULL));
    assert_int_equal(n_beam, 8);
    pumice_session_destroy(&s);
}

static inline void expect_same(const results *want, const results *got, const char *what)
{
    double worst = 0, worst_last = 0;
    for (size_t i = 0; i < (size_t)N * VOCAB; i++) {
        worst = fmax(worst, fabs((double)want->logits[i] - (double)got->logits[i]));
    }
    for (uint32_t i = 0; i < want->n_vocab; i++) {
        worst_last = fmax(worst_last, fabs((double)want->last[i] - (double)got->last[i]));
    }
    if (!(worst <= 1e-4) || !(worst_last <= 1e-4)) {
        fail_msg("%s: logits differ by %.2e, %.2e", what, worst, worst_last);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(got->scores[i].top, want->scores[i].top);
        assert_true(fabsf(got->scores[i].logprob - want->scores[i].logprob) <= 1e-4f);
    }
    assert_memory_equal(got->tokens, want->tokens, sizeof want->tokens);
    assert_memory_equal(got->next, want->next, sizeof want->next);
    assert_memory_equal(got->copied, want->copied, sizeof want->copied);
    assert_memory_equal(got->beam, want->beam, sizeof want->beam);
}

/* ---- encoder-decoders ---- */

enum { INPUT_N = 40, WIDTH = 128, TARGETS = 24 }; /* an input of more than a batch */

typedef struct input_results {
    float states[2][INPUT_N * WIDTH];
    results decoded; /* of it: logits, last, tokens, next, scores, copied, beam */
} input_results;

static inline void encode(pumice_session *s, uint32_t seq, int32_t first, size_t n)
{
    int32_t input[INPUT_N];
    for (size_t i = 0; i < n; i++) input[i] = 3 + (int32_t)((first + 11 * i) % 290);
    assert_pumice_ok(s, pumice_session_encode(s, seq, input, n));
}

/* All that a session on a model with an encoder can do. */
static inline void use_encoder(pumice_model *on, input_results *out)
{
    pumice_model_info info = { .struct_size = sizeof info };
    pumice_session *s = open_session(on, 3);
    results *r = &out->decoded;
    int32_t targets[TARGETS];
    uint32_t seqs[] = { 2, 0, 1 };
    *out = (input_results){ 0 };
    r->logits = calloc(N * VOCAB, sizeof *r->logits);
    assert_non_null(r->logits);
    assert_int_equal(pumice_model_get_info(on, &info), PUMICE_OK);
    assert_true(info.n_embd <= WIDTH);
    for (int i = 0; i < TARGETS; i++) targets[i] = i ? 5 + i * 13 % 290 : info.token_start;
    encode(s, 0, 1, INPUT_N);
    assert_pumice_ok(s, pumice_session_encoder_states(s, 0, out->states[0]));
    assert_pumice_ok(s, pumice_session_eval_logits(s, 0, targets, TARGETS, on_row, r));
    encode(s, 0, 1, INPUT_N); /* the same: nothing to compute, the decoder begins again */
    generate(s, 0, 32, r->tokens);
    assert_pumice_ok(s, pumice_session_logits(s, 0, r->last));
    assert_pumice_ok(s, pumice_session_score(s, 0, targets, TARGETS, 0, r->scores));
    /* three sequences, with inputs of their own, in one pass */
    encode(s, 0, 1, INPUT_N);
    encode(s, 1, 100, 7);
    encode(s, 2, 200, 33);
    assert_pumice_ok(s, pumice_session_encoder_states(s, 1, out->states[1])); /* computed again */
    for (int i = 0; i < 8; i++) {
        int32_t chosen[3];
        assert_pumice_ok(s, pumice_session_next(s, seqs, 3, NULL, chosen));
        for (int k = 0; k < 3; k++) r->next[k][i] = chosen[k];
    }
    /* a copy has an input of its own, whatever becomes of the original's; and beams, which are copies */
    assert_pumice_ok(s, pumice_session_copy(s, 2, 0));
    encode(s, 2, 50, 20);
    generate(s, 0, 8, r->copied[0]);
    generate(s, 2, 8, r->copied[1]);
    pumice_beam_params beams = { .struct_size = sizeof beams, .max_tokens = 8, .ignore_eos = 1,
                                 .no_forced = 1 };
    uint32_t order[] = { 1, 0, 2 };
    size_t n_beam;
    encode(s, 1, 30, 36);
    assert_pumice_ok(s, pumice_session_beam_search(s, order, 3, &beams, r->beam, 8, &n_beam, NULL));
    assert_int_equal(n_beam, 8);
    pumice_session_destroy(&s);
}

static inline void expect_same_encoder(const input_results *want, const input_results *got,
                                       const char *what)
{
    double worst = 0;
    for (size_t i = 0; i < 2 * INPUT_N * WIDTH; i++) {
        worst = fmax(worst, fabs((double)want->states[i / (INPUT_N * WIDTH)][i % (INPUT_N * WIDTH)] -
                                 (double)got->states[i / (INPUT_N * WIDTH)][i % (INPUT_N * WIDTH)]));
    }
    if (!(worst <= 1e-4)) fail_msg("%s: the encoder's output differs by %.2e", what, worst);
    expect_same(&want->decoded, &got->decoded, what);
}

#endif
