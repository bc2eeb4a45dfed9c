/* SPDX-License-Identifier: Apache-2.0
 * Whole models on a real driver: the published story of stories260K word for word, its logits, the
 * same tokens under every tier, fusion setting, submit split, batch split and KV type that must not
 * matter, several sequences at once, and the bundled model against what its maker's numpy computed.
 * Validation is on. */
#include <jansson.h>
#include <math.h>

#include <pumice/pumice_profile.h>

#include "testing.h"

enum { MAX_TOKENS = 600 };

typedef struct run {
    int32_t tokens[MAX_TOKENS];
    uint32_t count;
    char text[16384];
    size_t bytes;
} run;

static int on_token(void *user, int32_t token, const char *text, size_t bytes)
{
    run *r = user;
    if (token >= 0) r->tokens[r->count++] = token;
    assert_true(r->bytes + bytes < sizeof r->text);
    memcpy(r->text + r->bytes, text, bytes);
    r->bytes += bytes;
    r->text[r->bytes] = '\0';
    return 0;
}

typedef struct setting {
    const char *name, *disable;
    pumice_session_params session;
} setting;

static void greedy(pumice_model *model, const pumice_session_params *params, const int32_t *prompt,
                   size_t n_prompt, uint32_t n, int ignore_eos, run *out)
{
    pumice_session *s = test_session(model, params);
    memset(out, 0, sizeof *out);
    assert_pumice_ok(s, pumice_session_sync(s, 0, prompt, n_prompt));
    pumice_generate_params g = { .struct_size = sizeof g,
                                 .max_tokens = n,
                                 .ignore_eos = (uint32_t)ignore_eos,
                                 .token = on_token,
                                 .user = out };
    uint32_t count;
    assert_pumice_ok(s, pumice_session_generate(s, 0, &g, &count));
    assert_int_equal(count, out->count);
    pumice_session_destroy(&s);
}

static size_t read_ids(const char *path, int32_t *ids, size_t capacity)
{
    json_error_t e;
    json_t *root = json_load_file(path, 0, &e), *list = root;
    if (json_is_object(root)) list = json_object_get(root, "greedy_tokens");
    assert_true(json_is_array(list));
    size_t n = json_array_size(list);
    assert_true(n <= capacity);
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    json_decref(root);
    return n;
}

static char *read_text(const char *path)
{
    static char text[16384];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    return text;
}

/* Every setting must give the same tokens: they change the order of sums at most. */
static const setting settings[] = {
    { "default",
      NULL,
      { .struct_size = sizeof(pumice_session_params),
        .kv_type_k = PUMICE_KV_F32,
        .kv_type_v = PUMICE_KV_F32 } },
    { "no fusion",
      NULL,
      { .struct_size = sizeof(pumice_session_params),
        .no_fusion = 1,
        .kv_type_k = PUMICE_KV_F32,
        .kv_type_v = PUMICE_KV_F32 } },
    { "a submit a step",
      NULL,
      { .struct_size = sizeof(pumice_session_params),
        .max_submit_us = 1,
        .kv_type_k = PUMICE_KV_F32,
        .kv_type_v = PUMICE_KV_F32 } },
    { "base tier",
      "sub",
      { .struct_size = sizeof(pumice_session_params),
        .kv_type_k = PUMICE_KV_F32,
        .kv_type_v = PUMICE_KV_F32 } },
    { "fences",
      "timeline",
      { .struct_size = sizeof(pumice_session_params),
        .kv_type_k = PUMICE_KV_F32,
        .kv_type_v = PUMICE_KV_F32 } },
    { "staging",
      "unified",
      { .struct_size = sizeof(pumice_session_params),
        .kv_type_k = PUMICE_KV_F32,
        .kv_type_v = PUMICE_KV_F32 } },
    { "profiled",
      NULL,
      { .struct_size = sizeof(pumice_session_params),
        .profile = 1,
        .kv_type_k = PUMICE_KV_F32,
        .kv_type_v = PUMICE_KV_F32 } },
};

static void test_published_story(void **state)
{
    (void)state;
    char model_path[TEST_PATH_BYTES], story_path[TEST_PATH_BYTES], ids_path[TEST_PATH_BYTES];
    if (!test_data("stories260K/stories260K-F32.gguf", model_path) ||
        !test_data("stories260K/story.txt", story_path) ||
        !test_data("stories260K/greedy_ids.json", ids_path)) {
        skip();
    }
    int32_t ids[MAX_TOKENS];
    size_t n_ids = read_ids(ids_path, ids, MAX_TOKENS);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        pumice_device *device = test_device(settings[i].disable, 1);
        pumice_model *model = test_model(device, model_path);
        run r;
        greedy(model, &settings[i].session, ids, 1, (uint32_t)n_ids - 1, 1, &r);
        print_message("%s: %u tokens\n", settings[i].name, r.count);
        assert_int_equal(r.count, n_ids - 1);
        assert_memory_equal(r.tokens, ids + 1, (n_ids - 1) * sizeof *ids);
        char *story = read_text(story_path), *a = r.text;
        while (*a == ' ' || *a == '\n') a++;
        while (*story == ' ' || *story == '\n') story++;
        size_t n = strlen(story);
        while (n && (story[n - 1] == '\n' || story[n - 1] == ' ')) n--;
        assert_int_equal(strncmp(a, story, n), 0);
        pumice_model_destroy(&model);
        assert_int_equal(pumice_device_validation_count(device), 0);
        pumice_device_destroy(&device);
    }
}

typedef struct compare {
    const float *want;
    uint32_t n_vocab;
    double worst, diff2, want2;
    size_t rows, same_top;
} compare;

static int on_logits(void *user, size_t position, const float *logits, uint32_t n_vocab)
{
    compare *c = user;
    const float *want = c->want + position * c->n_vocab;
    size_t top = 0, want_top = 0;
    assert_int_equal(n_vocab, c->n_vocab);
    assert_int_equal(position, c->rows);
    for (uint32_t i = 0; i < n_vocab; i++) {
        double d = fabs((double)logits[i] - want[i]);
        assert_true(isfinite(logits[i]));
        if (d > c->worst) c->worst = d;
        c->diff2 += d * d;
        c->want2 += (double)want[i] * want[i];
        if (logits[i] > logits[top]) top = i;
        if (want[i] > want[want_top]) want_top = i;
    }
    c->same_top += top == want_top;
    c->rows++;
    return 0;
}

static void check_logits(const char *file, double worst, double relative, uint32_t batch)
{
    char model_path[TEST_PATH_BYTES], ids_path[TEST_PATH_BYTES], logits_path[TEST_PATH_BYTES];
    if (!test_data(file, model_path) || !test_data("stories260K/greedy_ids.json", ids_path) ||
        !test_data("stories260K/logits64.f32", logits_path)) {
        skip();
    }
    enum { ROWS = 64, VOCAB = 512 };
    static float want[ROWS * VOCAB];
    int32_t ids[MAX_TOKENS];
    read_ids(ids_path, ids, MAX_TOKENS);
    FILE *f = fopen(logits_path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(want, sizeof *want, ROWS * VOCAB, f), ROWS * VOCAB);
    fclose(f);
    pumice_device *device = test_device(NULL, 1);
    pumice_model *model = test_model(device, model_path);
    pumice_session_params p = { .struct_size = sizeof p,
                                .kv_type_k = PUMICE_KV_F32,
                                .kv_type_v = PUMICE_KV_F32,
                                .n_batch_tokens = batch };
    pumice_session *s = test_session(model, &p);
    compare c = { .want = want, .n_vocab = VOCAB };
    assert_pumice_ok(s, pumice_session_eval_logits(s, 0, ids, ROWS, on_logits, &c));
    double rel = sqrt(c.diff2 / c.want2);
    print_message("%s, batch %u: worst %.2e, relative %.2e, top token %zu/%d\n", file, batch,
                  c.worst, rel, c.same_top, ROWS);
    assert_int_equal(c.rows, ROWS);
    assert_true(c.worst <= worst);
    assert_true(rel <= relative);
    pumice_session_destroy(&s);
    pumice_model_destroy(&model);
    assert_int_equal(pumice_device_validation_count(device), 0);
    pumice_device_destroy(&device);
}

static void test_logits_f32(void **state)
{
    (void)state;
    static const uint32_t batches[] = { 0, 1, 7, 16 };
    for (size_t i = 0; i < 4; i++)
        check_logits("stories260K/stories260K-F32.gguf", 2e-3, 1e-3, batches[i]);
}

static void test_logits_f16_and_q8_0(void **state)
{
    (void)state;
    /* bounds: rounding of the weights themselves, measured once with the reference */
    check_logits("stories260K/stories260K-F16.gguf", 0.05, 2e-3, 0);
    check_logits("stories260K/stories260K-Q8_0.gguf", 0.5, 2e-2, 0);
}

static void test_story_in_f16_and_q8_0(void **state)
{
    (void)state;
    static const char *const files[] = { "stories260K/stories260K-F16.gguf",
                                         "stories260K/stories260K-Q8_0.gguf" };
    for (size_t i = 0; i < 2; i++) {
        char path[TEST_PATH_BYTES];
        if (!test_data(files[i], path)) skip();
        pumice_device *device = test_device(NULL, 1);
        pumice_model *model = test_model(device, path);
        int32_t bos = 1;
        run r;
        greedy(model, NULL, &bos, 1, 200, 1, &r);
        print_message("%s: %.60s...\n", files[i], r.text);
        assert_int_equal(r.count, 200);
        assert_non_null(strstr(r.text, "Once upon a time"));
        pumice_model_destroy(&model);
        assert_int_equal(pumice_device_validation_count(device), 0);
        pumice_device_destroy(&device);
    }
}

static void test_bundled_story(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES], expected[TEST_PATH_BYTES];
    test_source("models/pumice-stories.gguf", path);
    test_source("models/pumice-stories.expected.json", expected);
    int32_t ids[MAX_TOKENS];
    size_t n = read_ids(expected, ids, MAX_TOKENS);
    for (int tier = 0; tier < 2; tier++) {
        pumice_device *device = test_device(tier ? "sub" : NULL, 1);
        pumice_model *model = test_model(device, path);
        int32_t bos = 1;
        run r;
        greedy(model, NULL, &bos, 1, (uint32_t)n + 8, 0, &r);
        print_message("%s\n", r.text);
        assert_int_equal(r.count, n);
        assert_memory_equal(r.tokens, ids, n * sizeof *ids);
        pumice_model_destroy(&model);
        assert_int_equal(pumice_device_validation_count(device), 0);
        pumice_device_destroy(&device);
    }
}

static int find_dot8(void *user, const char *text, size_t bytes)
{
    size_t *at = user;
    static const char what[] = "matvec_dot8_";
    for (size_t i = 0; i < bytes && what[*at]; i++) *at = text[i] == what[*at] ? *at + 1 : text[i] == what[0];
    return 0;
}

typedef struct logits_of {
    float *logits; /* of all positions; made by the first run, compared with by the second */
    double diff2, want2;
    int compare;
} logits_of;

static int keep_or_compare(void *user, size_t position, const float *logits, uint32_t n_vocab)
{
    logits_of *l = user;
    float *here = l->logits + position * n_vocab;
    if (!l->compare) memcpy(here, logits, n_vocab * sizeof *here);
    for (uint32_t i = 0; l->compare && i < n_vocab; i++) {
        double d = (double)logits[i] - here[i];
        l->diff2 += d * d;
        l->want2 += (double)here[i] * here[i];
    }
    return 0;
}

/* Activations of 8 bits, also where the device's dot product is not fast: the greedy story is the stored one, hence
 * the same on every driver, and logits are within the error of rounding. */
static void test_bundled_story_in_8_bits(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES], expected[TEST_PATH_BYTES];
    test_source("models/pumice-stories.gguf", path);
    test_source("models/pumice-stories.expected.json", expected);
    int32_t ids[MAX_TOKENS];
    size_t n = read_ids(expected, ids, MAX_TOKENS), found = 0;
    pumice_device *device = test_device_open((pumice_device_params){ .caps = "fast-dot8=1", .validation = 1,
                                                                     .log = test_log_strictly });
    pumice_model *model = test_model(device, path);
    pumice_error err = { 0 };
    pumice_plan_params plan = { .struct_size = sizeof plan, .path = path, .device = device,
                                .activations = PUMICE_ACTIVATIONS_Q8 };
    if (pumice_plan(&plan, find_dot8, &found, &err) != PUMICE_OK) fail_msg("%s", err.text);
    assert_int_equal(found, strlen("matvec_dot8_"));
    pumice_session_params p = { .struct_size = sizeof p, .n_batch_tokens = 1, .activations = PUMICE_ACTIVATIONS_F32 };
    pumice_model_info info = { .struct_size = sizeof info };
    assert_int_equal(pumice_model_get_info(model, &info), PUMICE_OK);
    logits_of l = { .logits = calloc(n * info.n_vocab, sizeof(float)) };
    assert_non_null(l.logits);
    for (; l.compare < 2; l.compare++, p.activations = PUMICE_ACTIVATIONS_Q8) {
        pumice_session *s = test_session(model, &p);
        assert_pumice_ok(s, pumice_session_eval_logits(s, 0, ids, n, keep_or_compare, &l));
        pumice_session_destroy(&s);
    }
    print_message("8 bits: relative error of the logits %.2e\n", sqrt(l.diff2 / l.want2));
    assert_true(l.diff2 > 0.0 && l.diff2 <= l.want2 * 0.02 * 0.02);
    free(l.logits);
    int32_t bos = 1;
    run r;
    greedy(model, &p, &bos, 1, (uint32_t)n + 8, 0, &r);
    assert_int_equal(r.count, n);
    assert_memory_equal(r.tokens, ids, n * sizeof *ids);
    pumice_model_destroy(&model);
    assert_int_equal(pumice_device_validation_count(device), 0);
    pumice_device_destroy(&device);
}

/* Three sequences advance together and must tell what each tells alone. */
static void test_several_sequences(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    test_source("models/pumice-stories.gguf", path);
    pumice_device *device = test_device(NULL, 1);
    pumice_model *model = test_model(device, path);
    static const char *const prompts[] = { "Once upon a time", "The little dog", "" };
    enum { N = 3, STEPS = 40 };
    int32_t ids[N][64], alone[N][STEPS];
    size_t n_ids[N];
    for (int i = 0; i < N; i++) {
        assert_int_equal(pumice_tokenize(model, prompts[i], strlen(prompts[i]),
                                         PUMICE_TOKENIZE_ADD_SPECIAL, ids[i], 64, &n_ids[i]),
                         PUMICE_OK);
        run r;
        greedy(model, NULL, ids[i], n_ids[i], STEPS, 1, &r);
        memcpy(alone[i], r.tokens, sizeof alone[i]);
    }
    pumice_session_params p = {
        .struct_size = sizeof p, .n_sequences = N, .n_batch_tokens = 5, .n_ctx_tokens = 96
    };
    pumice_session *s = test_session(model, &p);
    for (uint32_t i = 0; i < N; i++)
        assert_pumice_ok(s, pumice_session_sync(s, i, ids[i], n_ids[i]));
    for (int step = 0; step < STEPS; step++) {
        uint32_t seqs[N] = { 2, 0, 1 };
        int32_t out[N];
        assert_pumice_ok(s, pumice_session_next(s, seqs, N, NULL, out));
        for (int i = 0; i < N; i++) assert_int_equal(out[i], alone[seqs[i]][step]);
    }
    /* going back: the common prefix stays, the rest is computed anew */
    assert_pumice_ok(s, pumice_session_sync(s, 1, ids[1], n_ids[1]));
    assert_int_equal(pumice_session_length(s, 1), n_ids[1]);
    uint32_t one = 1;
    int32_t token;
    assert_pumice_ok(s, pumice_session_next(s, &one, 1, NULL, &token));
    assert_int_equal(token, alone[1][0]);
    pumice_session_destroy(&s);
    pumice_model_destroy(&model);
    assert_int_equal(pumice_device_validation_count(device), 0);
    pumice_device_destroy(&device);
}

static void test_sampling_repeats(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    test_source("models/pumice-stories.gguf", path);
    pumice_device *device = test_device(NULL, 1);
    pumice_model *model = test_model(device, path);
    run r[3];
    for (int i = 0; i < 3; i++) {
        pumice_session *s = test_session(model, NULL);
        int32_t bos = 1;
        memset(&r[i], 0, sizeof r[i]);
        assert_pumice_ok(s, pumice_session_sync(s, 0, &bos, 1));
        pumice_generate_params g = { .struct_size = sizeof g,
                                     .max_tokens = 60,
                                     .token = on_token,
                                     .user = &r[i],
                                     .ignore_eos = 1,
                                     .sampling = { .struct_size = sizeof g.sampling,
                                                   .temperature = 1.0f,
                                                   .top_k = 40,
                                                   .top_p = 0.95f,
                                                   .min_p = 0.02f,
                                                   .seed = i == 2 ? 8 : 7 } };
        assert_pumice_ok(s, pumice_session_generate(s, 0, &g, NULL));
        pumice_session_destroy(&s);
    }
    assert_memory_equal(r[0].tokens, r[1].tokens, 60 * sizeof(int32_t));
    assert_memory_not_equal(r[0].tokens, r[2].tokens, 60 * sizeof(int32_t));
    pumice_model_destroy(&model);
    assert_int_equal(pumice_device_validation_count(device), 0);
    pumice_device_destroy(&device);
}

static int stop_at_five(void *user, int32_t token, const char *text, size_t bytes)
{
    (void)token, (void)text, (void)bytes;
    return ++*(int *)user == 5;
}

static int cancel_at_five(void *user, int32_t token, const char *text, size_t bytes)
{
    (void)token, (void)text, (void)bytes;
    pumice_session_cancel(user);
    return 0;
}

typedef struct stopping {
    run r;
    size_t at; /* stops when it has as many tokens */
} stopping;

static int stop_there(void *user, int32_t token, const char *text, size_t bytes)
{
    stopping *t = user;
    on_token(&t->r, token, text, bytes);
    return t->r.count == t->at;
}

/* Whichever token generation stops at, and whatever is in flight behind it: it goes on from there. */
static void test_stops_anywhere(void **state)
{
    (void)state;
    enum { ALL = 24 };
    char path[TEST_PATH_BYTES];
    test_source("models/pumice-stories.gguf", path);
    pumice_device *device = test_device(NULL, 1);
    pumice_model *model = test_model(device, path);
    int32_t bos = 1;
    run whole;
    greedy(model, NULL, &bos, 1, ALL, 1, &whole);
    for (size_t at = 4; at <= 11; at++) { /* passes are not known to be quick before the third */
        pumice_session *s = test_session(model, NULL);
        stopping t = { .at = at };
        pumice_generate_params g = {
            .struct_size = sizeof g, .max_tokens = ALL, .ignore_eos = 1, .token = stop_there, .user = &t
        };
        uint32_t count;
        assert_pumice_ok(s, pumice_session_sync(s, 0, &bos, 1));
        assert_pumice_ok(s, pumice_session_generate(s, 0, &g, &count));
        assert_int_equal(count, at);
        assert_int_equal(pumice_session_length(s, 0), 1 + at);
        g.max_tokens = ALL - count;
        assert_pumice_ok(s, pumice_session_generate(s, 0, &g, &count));
        assert_int_equal(t.r.count, ALL);
        assert_memory_equal(t.r.tokens, whole.tokens, ALL * sizeof(int32_t));
        pumice_session_destroy(&s);
    }
    pumice_model_destroy(&model);
    assert_int_equal(pumice_device_validation_count(device), 0);
    pumice_device_destroy(&device);
}

static void test_stop_cancel_and_limits(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    test_source("models/pumice-stories.gguf", path);
    pumice_device *device = test_device(NULL, 1);
    pumice_model *model = test_model(device, path);
    pumice_session_params p = { .struct_size = sizeof p, .n_ctx_tokens = 32 };
    pumice_session *s = test_session(model, &p);
    int32_t bos = 1, bad = 1 << 30, many[40];
    int seen = 0;
    uint32_t count;
    for (int i = 0; i < 40; i++) many[i] = 1;
    assert_int_equal(pumice_session_sync(s, 0, &bad, 1), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_sync(s, 1, &bos, 1), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_sync(s, 0, many, 40), PUMICE_ERROR_CONTEXT_FULL);
    assert_int_equal(pumice_session_next(s, &(uint32_t){ 0 }, 1, NULL, &bad), PUMICE_ERROR_INVALID);
    assert_pumice_ok(s, pumice_session_sync(s, 0, &bos, 1));
    pumice_generate_params g = {
        .struct_size = sizeof g, .ignore_eos = 1, .token = stop_at_five, .user = &seen
    };
    assert_pumice_ok(s, pumice_session_generate(s, 0, &g, &count));
    assert_int_equal(count, 5);
    assert_int_equal(pumice_session_length(s, 0), 6);
    g.token = cancel_at_five;
    g.user = s;
    assert_int_equal(pumice_session_generate(s, 0, &g, &count), PUMICE_ERROR_CANCELLED);
    assert_int_equal(count, 1);
    g.token = NULL; /* to the end of the context, then no further */
    assert_pumice_ok(s, pumice_session_generate(s, 0, &g, &count));
    assert_int_equal(pumice_session_length(s, 0), 32);
    assert_int_equal(pumice_session_generate(s, 0, &g, &count), PUMICE_ERROR_CONTEXT_FULL);
    assert_true(strlen(pumice_session_error(s)) > 10);
    assert_pumice_ok(s, pumice_session_clear(s, 0));
    assert_int_equal(pumice_session_length(s, 0), 0);
    pumice_session_destroy(&s);
    pumice_model_destroy(&model);
    assert_int_equal(pumice_device_validation_count(device), 0);
    pumice_device_destroy(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_story),     cmocka_unit_test(test_logits_f32),
        cmocka_unit_test(test_logits_f16_and_q8_0), cmocka_unit_test(test_story_in_f16_and_q8_0),
        cmocka_unit_test(test_bundled_story),       cmocka_unit_test(test_bundled_story_in_8_bits),
        cmocka_unit_test(test_several_sequences),   cmocka_unit_test(test_sampling_repeats),
        cmocka_unit_test(test_stops_anywhere), cmocka_unit_test(test_stop_cancel_and_limits),
    };
    test_keep_modules();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
