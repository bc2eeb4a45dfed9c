/* SPDX-License-Identifier: Apache-2.0
 * Weights that are used in the file at first and copied a moment later: a session gives the same before, after, and
 * when they move in the middle of what it does, on one device and on two. A caller can have them stay or copied at
 * once, and a model that is freed before they are copied, or meanwhile, leaves nothing. */
#include <pthread.h>
#include <time.h>

#include "same_results.h"
#include "small_model.h"

enum { LONG = 48, MOVES_AT = 5, SPOILED_AT = 12, THREADS = 2 };

static pumice_device *device;
static char path[64];
static struct timespec loaded_at;

/* ---- models ---- */

static long tensors_at;
static uint64_t tensors_bytes;

/* A model in F32 whose tensors begin where every device can bind them. */
static void make_file(void)
{
    enum { ALIGN = 256 };
    char filler[ALIGN] = "";
    gguf_builder b;
    uint64_t tensors = 0;
    small_model(&b, "llama");
    gb_str(&b, "tokenizer.ggml.model", "none");
    for (size_t i = 0; i < b.n_tensors; i++) tensors += b.tensors[i].bytes; /* whole rows of ALIGN bytes */
    do {
        gb_str(&b, "general.description", filler);
        gb_image(&b);
        filler[strlen(filler)] = '.';
    } while ((b.image_bytes - tensors) % ALIGN);
    tensors_at = (long)(b.image_bytes - tensors);
    tensors_bytes = tensors;
    snprintf(path, sizeof path, "/tmp/pumice-settle-%ld.gguf", (long)getpid());
    unlink(path); /* what was mapped stays */
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(b.image, 1, b.image_bytes, f) != b.image_bytes || fclose(f)) fail_msg("cannot write %s", path);
    gb_free(&b);
}

/* Nobody may need the weights in it any more. */
static void spoil_file(void)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, tensors_at, SEEK_SET), 0);
    for (uint64_t i = 0; i < tensors_bytes; i++) fputc(0x7f, f);
    assert_int_equal(fclose(f), 0);
}

static pumice_status load(uint32_t in_place, uint32_t n_parts, pumice_model **out_model)
{
    pumice_device *devices[] = { device, device };
    pumice_error err = { 0 };
    pumice_model_params p = { .struct_size = sizeof p, .path = path, .in_place = in_place, .devices = devices,
                              .n_devices = n_parts };
    pumice_status status = pumice_model_load(device, &p, out_model, &err);
    if (status != PUMICE_OK) print_message("%s\n", err.text);
    return status;
}

static pumice_model *load_well(uint32_t in_place, uint32_t n_parts)
{
    pumice_model *model = NULL;
    make_file();
    assert_int_equal(load(in_place, n_parts, &model), PUMICE_OK);
    clock_gettime(CLOCK_MONOTONIC, &loaded_at);
    return model;
}

static pumice_timings timings_of(const pumice_session *s)
{
    pumice_timings t = { .struct_size = sizeof t };
    assert_int_equal(pumice_session_get_timings(s, &t), PUMICE_OK);
    return t;
}

static void wait_until_copied(const pumice_session *s)
{
    pumice_timings t = timings_of(s);
    uint64_t all = t.in_place_bytes + t.copied_bytes;
    for (int i = 0; i < 6000 && timings_of(s).in_place_bytes; i++) usleep(10000);
    assert_int_equal(timings_of(s).in_place_bytes, 0);
    assert_int_equal(timings_of(s).copied_bytes, all);
}

/* Right after loading, unless the machine was away for so long that the thread has begun. */
static void expect_in_place(const pumice_session *s)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double since = (double)(now.tv_sec - loaded_at.tv_sec) + 1e-9 * (double)(now.tv_nsec - loaded_at.tv_nsec);
    if (since < 0.9) assert_true(timings_of(s).in_place_bytes > 0);
}

/* ---- tests ---- */

static void test_before_and_after(void **state)
{
    (void)state;
    for (uint32_t n_parts = 1; n_parts <= 2; n_parts++) {
        results want = { 0 }, first = { 0 }, later = { 0 };
        pumice_model *model = load_well(PUMICE_IN_PLACE_NEVER, n_parts);
        use(model, 9, &want);
        pumice_model_destroy(&model);
        model = load_well(PUMICE_IN_PLACE_AT_FIRST, n_parts);
        pumice_session *s = open_session(model, 1);
        expect_in_place(s);
        use(model, 9, &first); /* it may move meanwhile */
        expect_same(&want, &first, "at first");
        wait_until_copied(s);
        spoil_file();
        use(model, 9, &later);
        expect_same(&want, &later, "later");
        pumice_session_destroy(&s);
        pumice_model_destroy(&model);
        free(want.logits);
        free(first.logits);
        free(later.logits);
    }
}

typedef struct run {
    pumice_session *session;
    bool waits; /* at a token, until the weights have moved; a few later, when what was under way is done, they are no
                 * longer in the file */
    int32_t tokens[LONG];
    uint32_t count;
} run;

static int on_next_token(void *user, int32_t token, const char *text, size_t bytes)
{
    run *r = user;
    (void)text;
    (void)bytes;
    assert_true(r->count < LONG);
    r->tokens[r->count++] = token;
    if (r->waits && r->count == MOVES_AT) wait_until_copied(r->session);
    if (r->waits && r->count == SPOILED_AT) spoil_file();
    return 0;
}

static void generate_run(pumice_model *model, float temperature, run *r)
{
    uint32_t count;
    r->session = open_session(model, 1);
    pumice_generate_params p = { .struct_size = sizeof p, .max_tokens = LONG, .ignore_eos = 1, .token = on_next_token,
                                 .user = r, .sampling = { .struct_size = sizeof p.sampling, .temperature = temperature,
                                                          .top_p = 0.9f, .seed = 11 } };
    if (r->waits) expect_in_place(r->session);
    assert_pumice_ok(r->session, pumice_session_sync(r->session, 0, prompt, N / 2));
    assert_pumice_ok(r->session, pumice_session_generate(r->session, 0, &p, &count));
    assert_int_equal(count, LONG);
    assert_int_equal(r->count, LONG);
    assert_int_equal(timings_of(r->session).n_decode_tokens, LONG);
    pumice_session_destroy(&r->session);
}

/* Tokens that were under way when they moved count, and the draws go on where they were. */
static void test_in_the_middle(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        uint32_t n_parts = 1 + i % 2;
        float temperature = i < 2 ? 0 : 0.8f;
        run want = { 0 }, got = { .waits = true };
        pumice_model *model = load_well(PUMICE_IN_PLACE_NEVER, n_parts);
        generate_run(model, temperature, &want);
        pumice_model_destroy(&model);
        model = load_well(PUMICE_IN_PLACE_AT_FIRST, n_parts);
        generate_run(model, temperature, &got);
        pumice_model_destroy(&model);
        assert_memory_equal(want.tokens, got.tokens, sizeof want.tokens);
    }
}

/* A session that has computed something before, one token or beam at a time. */
static void test_between_calls(void **state)
{
    (void)state;
    int32_t tokens[2][8], beam[2][8];
    for (int moves = 0; moves < 2; moves++) {
        pumice_model *model = load_well(moves ? PUMICE_IN_PLACE_AT_FIRST : PUMICE_IN_PLACE_NEVER, 1);
        pumice_session *s = open_session(model, 2);
        pumice_beam_params p = { .struct_size = sizeof p, .max_tokens = 8, .ignore_eos = 1 };
        uint32_t seqs[] = { 0, 1 };
        size_t n;
        assert_pumice_ok(s, pumice_session_sync(s, 0, prompt, N / 2));
        for (int i = 0; i < 8; i++) {
            if (moves && i == 4) {
                wait_until_copied(s);
                spoil_file();
            }
            assert_pumice_ok(s, pumice_session_next(s, seqs, 1, NULL, &tokens[moves][i]));
        }
        assert_pumice_ok(s, pumice_session_beam_search(s, seqs, 2, &p, beam[moves], 8, &n, NULL));
        assert_int_equal(n, 8);
        pumice_session_destroy(&s);
        pumice_model_destroy(&model);
    }
    assert_memory_equal(tokens[0], tokens[1], sizeof tokens[0]);
    assert_memory_equal(beam[0], beam[1], sizeof beam[0]);
}

typedef struct job {
    pumice_model *model;
    run first, run;
    uint32_t differ;
} job;

static void *generate_all_along(void *user)
{
    job *j = user;
    for (bool copied = false; !copied;) {
        pumice_session_params p = { .struct_size = sizeof p, .n_ctx_tokens = 128 };
        j->run = (run){ 0 };
        if (pumice_session_create(j->model, &p, &j->run.session, NULL) != PUMICE_OK) break;
        pumice_generate_params g = { .struct_size = sizeof g, .max_tokens = LONG, .ignore_eos = 1,
                                     .token = on_next_token, .user = &j->run };
        copied = timings_of(j->run.session).in_place_bytes == 0; /* once more with the copies */
        if (pumice_session_sync(j->run.session, 0, prompt, N / 2) != PUMICE_OK ||
            pumice_session_generate(j->run.session, 0, &g, NULL) != PUMICE_OK) {
            j->differ++;
        }
        pumice_session_destroy(&j->run.session);
        if (!j->first.count) j->first = j->run;
        j->differ += memcmp(j->first.tokens, j->run.tokens, sizeof j->run.tokens) != 0;
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    (void)state;
    static job jobs[THREADS];
    pthread_t threads[THREADS];
    pumice_model *model = load_well(PUMICE_IN_PLACE_AT_FIRST, 1);
    for (int i = 0; i < THREADS; i++) {
        jobs[i].model = model;
        assert_int_equal(pthread_create(&threads[i], NULL, generate_all_along, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(jobs[i].differ, 0);
        assert_int_equal(jobs[i].run.count, LONG);
        assert_memory_equal(jobs[0].first.tokens, jobs[i].first.tokens, sizeof jobs[0].first.tokens);
    }
    pumice_model_destroy(&model);
}

static void test_as_asked(void **state)
{
    (void)state;
    pumice_model *models[] = { load_well(PUMICE_IN_PLACE_ALWAYS, 1), load_well(PUMICE_IN_PLACE_NEVER, 1),
                               load_well(PUMICE_IN_PLACE_AT_FIRST, 1) };
    pumice_session *s[3];
    pumice_memory memory[3];
    for (int i = 0; i < 3; i++) {
        s[i] = open_session(models[i], 1);
        memory[i] = (pumice_memory){ .struct_size = sizeof memory[i] };
        assert_int_equal(pumice_session_get_memory(s[i], &memory[i]), PUMICE_OK);
    }
    wait_until_copied(s[2]);
    usleep(300000);
    assert_true(timings_of(s[0]).in_place_bytes > 0);
    assert_int_equal(timings_of(s[1]).in_place_bytes, 0);
    assert_int_equal(memory[2].weights_bytes, memory[1].weights_bytes);
    for (int i = 0; i < 3; i++) {
        pumice_session_destroy(&s[i]);
        pumice_model_destroy(&models[i]);
    }
    pumice_model *none = NULL;
    assert_int_equal(load(PUMICE_IN_PLACE_NEVER + 1, 1, &none), PUMICE_ERROR_INVALID);
    assert_null(none);
}

/* At any time: while the thread waits, when it copies, after it. */
static void test_freed_early(void **state)
{
    (void)state;
    static const useconds_t after_us[] = { 0, 0, 300000, 990000, 1000000, 1001000, 1100000 };
    for (size_t i = 0; i < sizeof after_us / sizeof after_us[0]; i++) {
        pumice_model *model = load_well(PUMICE_IN_PLACE_AT_FIRST, 1 + i % 2);
        usleep(after_us[i]);
        pumice_model_destroy(&model);
    }
}

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++) prompt[i] = 3 + i * 37 % (VOCAB_N - 3);
    device = test_device(NULL, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(pumice_device_validation_count(device), 0);
    pumice_device_destroy(&device);
    unlink(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_and_after), cmocka_unit_test(test_in_the_middle),
        cmocka_unit_test(test_between_calls),    cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_as_asked),         cmocka_unit_test(test_freed_early),
    };
    test_keep_modules();
    return cmocka_run_group_tests(tests, setup, teardown);
}
