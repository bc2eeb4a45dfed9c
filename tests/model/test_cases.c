/* SPDX-License-Identifier: Apache-2.0
 * What the golden directories say beyond logits and one greedy continuation: the log-likelihood of
 * every token and the losses of each objective (causal, prefix, encoder-decoder and restored spans),
 * several sequences in one session, tokens that a model's files force; and the trained models, whose
 * answers must survive caches and weights of fewer bits. test_golden.c has the rest. A kind of case that nobody
 * reads fails. */
#include "golden.h"

enum { N_SEQUENCES = 4 };

static const double MAX_LOGPROB = 2e-3, MAX_LOSS = 1e-4, MAX_DIFFERENCE = 2e-3;

static double number(const json_t *value) { return json_number_value(value); }

static const char *text(const json_t *value)
{
    const char *s = json_string_value(value);
    return s ? s : "?";
}

typedef struct bench {
    pumice_session *session;
    const char *folder, *label; /* of the directory */
    uint32_t n_vocab;
    int start_token;
    int n_scores, n_losses; /* compared so far */
} bench;

static int complain(const bench *b, const json_t *one, const char *what, double got, double want)
{
    print_message("%s, %s: %s is %.7g, not %.7g\n", b->label, text(json_object_get(one, "name")),
                  what, got, want);
    return 1;
}

static int check_loss(bench *b, const json_t *one, const json_t *where, const char *name, double got)
{
    const json_t *want = json_object_get(where, name);
    if (!want) return 0;
    b->n_losses++;
    return fabs(got - number(want)) <= MAX_LOSS ? 0 : complain(b, one, name, got, number(want));
}

/* Mean of -logprob over [first, end). */
static double mean_loss(const pumice_token_score *scores, size_t first, size_t end)
{
    double sum = 0;
    for (size_t i = first; i < end; i++) sum -= (double)scores[i].logprob;
    return sum / (double)(end - first);
}

static int check_logprobs(bench *b, const json_t *one, const json_t *want,
                          const pumice_token_score *scores)
{
    double worst = 0;
    for (size_t i = 0; i < json_array_size(want); i++) {
        double d = fabs((double)scores[i + 1].logprob - number(json_array_get(want, i)));
        if (!(d <= worst)) worst = d;
        b->n_scores++;
    }
    return worst <= MAX_LOGPROB ? 0 : complain(b, one, "largest error of a logprob", worst, 0);
}

/* ---- losses ---- */

static int check_causal(bench *b, const json_t *one)
{
    ids all = read_ids(json_object_get(one, "input_ids"));
    pumice_token_score scores[MAX_IDS];
    const json_t *prefix = json_object_get(one, "prefix_len");
    if (!json_object_get(one, "token_logprob")) return 0;
    assert_pumice_ok(b->session, pumice_session_set_prefix(b->session, 0, 0));
    assert_pumice_ok(b->session,
                     pumice_session_score(b->session, 0, all.data, all.count, 0, scores));
    assert_int_equal(scores[0].top, -1);
    int bad = check_logprobs(b, one, json_object_get(one, "token_logprob"), scores);
    bad += check_loss(b, one, one, "loss_all", mean_loss(scores, 1, all.count));
    if (prefix) {
        size_t first = (size_t)json_integer_value(prefix);
        bad += check_loss(b, one, one, "loss_target", mean_loss(scores, first, all.count));
    }
    return bad;
}

/* Targets after a prefix. Scored by the objective first, then every token with the beginning kept. */
static int check_prefix(bench *b, const json_t *one)
{
    const json_t *lm = json_object_get(one, "lm"), *mask = json_object_get(one, "prefix_len_mask");
    pumice_token_score scores[MAX_IDS], all[MAX_IDS];
    if (!lm) return 0;
    ids sequence = read_ids(json_object_get(lm, "sequence"));
    size_t first = sequence.count - json_array_size(json_object_get(lm, "target"));
    int32_t prefix = mask ? (int32_t)json_integer_value(mask) : PUMICE_PREFIX_MODEL;
    assert_pumice_ok(b->session, pumice_session_clear(b->session, 0));
    assert_pumice_ok(b->session, pumice_session_set_prefix(b->session, 0, prefix));
    assert_pumice_ok(b->session, pumice_session_score(b->session, 0, sequence.data, sequence.count,
                                                      0, scores));
    assert_pumice_ok(b->session, pumice_session_score(b->session, 0, sequence.data, sequence.count,
                                                      1, all));
    assert_int_equal(scores[first - 1].top, -1); /* the objective begins with the target */
    assert_true(scores[first].top >= 0);
    for (size_t i = first; i < sequence.count; i++) {
        assert_true(fabs((double)scores[i].logprob - (double)all[i].logprob) < 1e-3);
    }
    int bad = check_logprobs(b, one, json_object_get(lm, "token_logprob"), all);
    double targets = mean_loss(scores, first, sequence.count);
    bad += check_loss(b, one, lm, "loss_all_positions", mean_loss(all, 1, sequence.count));
    bad += check_loss(b, one, lm, "loss_targets", targets);
    bad += check_loss(b, one, lm, "loss_targets_after_sop", targets);
    bad += check_loss(b, one, lm, "loss_original_labels_sop_and_targets",
                      mean_loss(all, first - 1, sequence.count));
    return bad;
}

static int check_encdec(bench *b, const json_t *one)
{
    ids input = read_ids(json_object_get(one, "input_ids"));
    ids labels = read_ids(json_object_get(one, "labels"));
    ids decoder = read_ids(json_object_get(one, "decoder_input_ids"));
    pumice_token_score scores[MAX_IDS];
    assert_int_equal(decoder.data[0], b->start_token);
    decoder.data[decoder.count++] = labels.data[labels.count - 1];
    assert_memory_equal(decoder.data + 1, labels.data, labels.count * sizeof *labels.data);
    assert_pumice_ok(b->session, pumice_session_encode(b->session, 0, input.data, input.count));
    assert_pumice_ok(b->session, pumice_session_score(b->session, 0, decoder.data, decoder.count,
                                                      0, scores));
    int bad = check_logprobs(b, one, json_object_get(one, "label_logprob"), scores);
    return bad + check_loss(b, one, one, "loss", mean_loss(scores, 1, decoder.count));
}

/* ---- several sequences ---- */

static int check_last_logits(bench *b, const json_t *one, uint32_t seq)
{
    const json_t *file = json_object_get(one, "last_logits");
    if (!file) file = json_object_get(one, "first_logits");
    float *want = read_f32(b->folder, text(json_object_get(file, "file")), 2 * (size_t)b->n_vocab);
    float *got = malloc(b->n_vocab * sizeof *got);
    double worst = 0;
    assert_non_null(got);
    assert_pumice_ok(b->session, pumice_session_logits(b->session, seq, got));
    for (uint32_t i = 0; i < b->n_vocab; i++) {
        double d = fabs((double)got[i] - (double)want[(size_t)seq * b->n_vocab + i]);
        if (!(d <= worst)) worst = d;
    }
    free(got);
    free(want);
    return worst <= MAX_DIFFERENCE ? 0 : complain(b, one, "largest error of a logit", worst, 0);
}

/* Both sequences in one session, each step of both in one pass. */
static int check_batch(bench *b, const json_t *one)
{
    const json_t *seqs = json_object_get(one, "seqs"), *greedy = json_object_get(one, "greedy");
    int bad = 0;
    assert_int_equal(json_array_size(seqs), 2);
    for (uint32_t i = 0; i < 2; i++) {
        ids prompt = read_ids(json_array_get(seqs, i));
        assert_pumice_ok(b->session, pumice_session_clear(b->session, i));
        if (b->start_token >= 0) {
            assert_pumice_ok(b->session,
                             pumice_session_encode(b->session, i, prompt.data, prompt.count));
        } else {
            int32_t prefix = PUMICE_PREFIX_MODEL;
            assert_pumice_ok(b->session, pumice_session_set_prefix(b->session, i, prefix));
            assert_pumice_ok(b->session,
                             pumice_session_sync(b->session, i, prompt.data, prompt.count));
        }
    }
    for (uint32_t i = 0; i < 2; i++) bad += check_last_logits(b, one, i);
    ids want[2] = { read_ids(json_array_get(greedy, 0)), read_ids(json_array_get(greedy, 1)) };
    for (size_t step = 0; step < want[0].count; step++) {
        int32_t got[2];
        assert_pumice_ok(b->session, pumice_session_next(b->session, (const uint32_t[]){ 0, 1 }, 2,
                                                         NULL, got));
        for (int i = 0; i < 2; i++) {
            if (got[i] == want[i].data[step]) continue;
            return bad + complain(b, one, "a greedy token", got[i], want[i].data[step]);
        }
    }
    return bad;
}

/* ---- forced tokens ---- */

/* The file forces other tokens than its config.json may: what is forced there is not given here. */
static int check_forced(bench *b, const json_t *one)
{
    ids input = read_ids(json_object_get(one, "input_ids"));
    ids want = read_ids(json_object_get(one, "output")), got;
    size_t n = want.count - 1; /* less the start token */
    int32_t tokens[2] = { want.data[0], want.data[1] };
    pumice_generate_params p = { .struct_size = sizeof p, .max_tokens = (uint32_t)n - 2,
                                 .ignore_eos = 1, .token = collect_token, .user = &got };
    got.count = 0;
    assert_int_equal(want.data[1], json_integer_value(json_object_get(one, "forced_bos_token_id")));
    assert_int_equal(want.data[n], json_integer_value(json_object_get(one, "forced_eos_token_id")));
    assert_pumice_ok(b->session, pumice_session_encode(b->session, 0, input.data, input.count));
    assert_pumice_ok(b->session, pumice_session_sync(b->session, 0, tokens, 2));
    assert_pumice_ok(b->session, pumice_session_generate(b->session, 0, &p, NULL));
    for (size_t i = 0; i < n - 2; i++) {
        if (got.data[i] == want.data[i + 2]) continue;
        return complain(b, one, "a token after the forced one", got.data[i], want.data[i + 2]);
    }
    return 0;
}

/* ---- beam search ---- */

static uint32_t option(const json_t *one, const char *name)
{
    const json_t *value = json_object_get(one, name);
    return json_is_true(value) ? 1 : (uint32_t)json_integer_value(value);
}

static int check_beams(bench *b, const json_t *one)
{
    ids input = read_ids(json_object_get(one, "input_ids"));
    ids want = read_ids(json_object_get(one, "output")), got;
    uint32_t n = option(one, "num_beams");
    static const uint32_t seqs[] = { 1, 0, 3, 2 };
    pumice_beam_params p = { .struct_size = sizeof p,
                             .max_tokens = option(one, "max_new_tokens"),
                             .length_penalty = (float)number(json_object_get(one, "length_penalty")),
                             .no_repeat_ngram = option(one, "no_repeat_ngram_size"),
                             .stop_early = option(one, "early_stopping"),
                             .no_forced = 1 };
    float score;
    assert_int_equal(n, N_SEQUENCES);
    assert_pumice_ok(b->session, pumice_session_encode(b->session, 1, input.data, input.count));
    assert_pumice_ok(b->session, pumice_session_beam_search(b->session, seqs, n, &p, got.data,
                                                            MAX_IDS, &got.count, &score));
    assert_int_equal(pumice_session_length(b->session, 1), 1);
    assert_int_equal(pumice_session_length(b->session, 3), 0);
    double best = number(json_object_get(one, "sequence_score"));
    int bad = fabs((double)score - best) > MAX_LOSS ? complain(b, one, "the score", score, best) : 0;
    if (got.count + 1 != want.count) {
        return bad + complain(b, one, "number of tokens", (double)got.count, (double)want.count - 1);
    }
    for (size_t i = 0; i < got.count; i++) {
        if (got.data[i] == want.data[i + 1]) continue;
        return bad + complain(b, one, "a token of the best beam", got.data[i], want.data[i + 1]);
    }
    return bad;
}

/* ---- all cases of a directory ---- */

static int check_case(bench *b, const json_t *one)
{
    const char *name = text(json_object_get(one, "name"));
    if (strcmp(name, "batch2") == 0) return check_batch(b, one);
    if (strcmp(name, "forced") == 0) return check_forced(b, one);
    if (strcmp(name, "beam4") == 0) return check_beams(b, one);
    if (json_object_get(one, "labels")) return check_encdec(b, one);
    if (json_object_get(one, "lm")) return check_prefix(b, one);
    if (json_object_get(one, "token_logprob")) return check_causal(b, one);
    if (json_object_get(one, "logits")) return 0; /* test_golden.c */
    print_message("%s: nobody reads case '%s'\n", b->label, name);
    return 1;
}

static pumice_session *open_session(pumice_model *model, pumice_kv_type kv)
{
    pumice_session_params params = { .struct_size = sizeof params, .n_ctx_tokens = 512,
                                     .n_sequences = N_SEQUENCES, .kv_type_k = kv, .kv_type_v = kv };
    pumice_model_info info = { .struct_size = sizeof info };
    assert_int_equal(pumice_model_get_info(model, &info), PUMICE_OK);
    if (info.n_ctx_train < params.n_ctx_tokens) params.n_ctx_tokens = info.n_ctx_train;
    return test_session(model, &params);
}

static json_t *read_golden(const char *folder)
{
    char path[2 * TEST_PATH_BYTES + 16];
    json_error_t e;
    snprintf(path, sizeof path, "%s/golden.json", folder);
    json_t *golden = json_load_file(path, 0, &e);
    assert_non_null(golden);
    return golden;
}

static int check_directory(void *device, const char *folder, const char *name)
{
    pumice_model *model = test_model(device, folder);
    pumice_model_info info = { .struct_size = sizeof info };
    assert_int_equal(pumice_model_get_info(model, &info), PUMICE_OK);
    bench b = { .session = open_session(model, PUMICE_KV_F32), .folder = folder, .label = name,
                .n_vocab = info.n_vocab, .start_token = info.token_start };
    json_t *golden = read_golden(folder), *one;
    size_t i;
    int bad = 0;
    json_array_foreach(json_object_get(golden, "cases"), i, one) bad += check_case(&b, one);
    if (b.n_scores == 0 || b.n_losses == 0) bad += complain(&b, golden, "number of losses", 0, 1);
    json_decref(golden);
    pumice_session_destroy(&b.session);
    pumice_model_destroy(&model);
    return bad;
}

static int check_folders(const char *data, int (*check)(void *, const char *, const char *))
{
    char root[TEST_PATH_BYTES];
    if (!test_data(data, root)) return -1;
    pumice_device *device = test_device(NULL, 1);
    int bad = golden_each(root, device, check);
    bad += pumice_device_validation_count(device) != 0;
    pumice_device_destroy(&device);
    return bad;
}

static void test_golden(void **state)
{
    (void)state;
    int bad = check_folders("golden", check_directory);
    if (bad < 0) skip();
    assert_int_equal(bad, 0);
}

/* ---- trained models ---- */

/* 0 = the same answer; each step's token is held to the reference's, with the margins it has. */
static int answer_differs(pumice_session *s, const json_t *one, bool encoder)
{
    ids want = read_ids(json_object_get(one, "output")), got;
    const json_t *mask = json_object_get(one, "prefix_len_mask");
    ids prompt = read_ids(json_object_get(one, encoder ? "input_ids" : "prompt_ids"));
    pumice_generate_params p = { .struct_size = sizeof p, .max_tokens = (uint32_t)want.count + 2,
                                 .token = collect_token, .user = &got };
    got.count = 0;
    assert_pumice_ok(s, pumice_session_clear(s, 0));
    if (encoder) {
        assert_pumice_ok(s, pumice_session_encode(s, 0, prompt.data, prompt.count));
    } else {
        int32_t prefix = mask ? (int32_t)json_integer_value(mask) : PUMICE_PREFIX_MODEL;
        assert_pumice_ok(s, pumice_session_set_prefix(s, 0, prefix));
        assert_pumice_ok(s, pumice_session_sync(s, 0, prompt.data, prompt.count));
    }
    assert_pumice_ok(s, pumice_session_generate(s, 0, &p, NULL));
    return got.count != want.count ||
           memcmp(got.data, want.data, want.count * sizeof *want.data) != 0;
}

/* The likelihood of the answer is high: it is what the model was trained to say. */
static double answer_loss(pumice_session *s, const json_t *one, bool encoder, int32_t start)
{
    ids prompt = read_ids(json_object_get(one, encoder ? "input_ids" : "prompt_ids")), all;
    ids output = read_ids(json_object_get(one, "output"));
    pumice_token_score scores[MAX_IDS];
    all = prompt;
    if (encoder) {
        all.count = 1;
        all.data[0] = start;
        assert_pumice_ok(s, pumice_session_encode(s, 0, prompt.data, prompt.count));
    }
    size_t first = all.count;
    for (size_t i = 0; i < output.count; i++) all.data[all.count++] = output.data[i];
    assert_pumice_ok(s, pumice_session_score(s, 0, all.data, all.count, 0, scores));
    for (size_t i = first; i < all.count; i++) assert_int_equal(scores[i].top, all.data[i]);
    assert_int_equal(scores[first - 1].top, -1);
    return mean_loss(scores, first, all.count);
}

/* Weights of 8 bits keep every answer that has some margin. */
static int check_quantized(pumice_device *device, const char *folder, const char *name)
{
    pumice_model *model = NULL;
    pumice_model_info info = { .struct_size = sizeof info };
    pumice_model_params p = { .struct_size = sizeof p, .path = folder, .quant = "Q8_0" };
    pumice_error err = { 0 };
    if (pumice_model_load(device, &p, &model, &err) != PUMICE_OK) fail_msg("%s", err.text);
    assert_int_equal(pumice_model_get_info(model, &info), PUMICE_OK);
    pumice_session *s = open_session(model, PUMICE_KV_DEFAULT);
    json_t *golden = read_golden(folder), *one;
    size_t i;
    int n = 0, wrong = 0;
    json_array_foreach(json_object_get(golden, "cases"), i, one) {
        if (number(json_object_get(one, "min_margin")) < 1.0) continue;
        wrong += answer_differs(s, one, info.token_start >= 0);
        n++;
    }
    print_message("%s in Q8_0: %d of %d answers differ\n", name, wrong, n);
    json_decref(golden);
    pumice_session_destroy(&s);
    pumice_model_destroy(&model);
    return wrong + (n < 15);
}

static int check_trained(void *device, const char *folder, const char *name)
{
    static const pumice_kv_type types[] = { PUMICE_KV_F32, PUMICE_KV_F16, PUMICE_KV_Q8_0 };
    pumice_model *model = test_model(device, folder);
    pumice_model_info info = { .struct_size = sizeof info };
    assert_int_equal(pumice_model_get_info(model, &info), PUMICE_OK);
    json_t *golden = read_golden(folder), *one;
    int bad = 0;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        if (types[t] == PUMICE_KV_Q8_0 && info.head_dim % 32) continue; /* no such cache */
        pumice_session *s = open_session(model, types[t]);
        int n = 0, wrong = 0;
        size_t i;
        double loss = 0;
        json_array_foreach(json_object_get(golden, "cases"), i, one) {
            wrong += answer_differs(s, one, info.token_start >= 0);
            if (t == 0) loss += answer_loss(s, one, info.token_start >= 0, info.token_start);
            n++;
        }
        if (t == 0) print_message("%s: %d answers, mean loss %.4f\n", name, n, loss / n);
        if (wrong) print_message("%s, cache %zu: %d of %d answers differ\n", name, t, wrong, n);
        bad += wrong + (n < 20) + (loss / n > 0.2);
        pumice_session_destroy(&s);
    }
    json_decref(golden);
    pumice_model_destroy(&model);
    return bad + check_quantized(device, folder, name);
}

static void test_trained(void **state)
{
    (void)state;
    int bad = check_folders("trained", check_trained);
    if (bad < 0) skip();
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_trained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
