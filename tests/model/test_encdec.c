/* SPDX-License-Identifier: Apache-2.0
 * Encoder-decoders through the library, on the golden BART: the encoder's output, what is kept and
 * what is dropped, two sequences with inputs of different lengths, tokens that the model's files
 * force, a cancel in the middle of the encoder, and everything that is refused. */
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "testing.h"

enum { MAX_IDS = 512, GREEDY = 32 };

typedef struct ids {
    int32_t data[MAX_IDS];
    size_t count;
} ids;

static struct {
    pumice_device *device;
    pumice_model *model;
    json_t *golden;
    char folder[TEST_PATH_BYTES];
} bart;

static ids read_ids(const json_t *list)
{
    ids out = { .count = json_array_size(list) };
    assert_true(json_is_array(list) && out.count <= MAX_IDS);
    for (size_t i = 0; i < out.count; i++) {
        out.data[i] = (int32_t)json_integer_value(json_array_get(list, i));
    }
    return out;
}

static json_t *find_case(const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(bart.golden, "cases"), i, one) {
        if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0) return one;
    }
    fail_msg("no case %s", name);
    return NULL;
}

static pumice_session *session(uint32_t n_sequences, uint32_t max_submit_us)
{
    pumice_session_params p = { .struct_size = sizeof p, .n_sequences = n_sequences,
                                .max_submit_us = max_submit_us, .n_batch_tokens = 16,
                                .kv_type_k = PUMICE_KV_F32, .kv_type_v = PUMICE_KV_F32 };
    return test_session(bart.model, &p);
}

static int open_bart(void **state)
{
    char path[TEST_PATH_BYTES + 16];
    json_error_t e;
    (void)state;
    if (!test_data("golden/bart", bart.folder)) return 0; /* the tests skip */
    test_keep_modules();
    snprintf(path, sizeof path, "%s/golden.json", bart.folder);
    bart.golden = json_load_file(path, 0, &e);
    bart.device = test_device_proving(NULL, 1, 1);
    bart.model = test_model(bart.device, bart.folder);
    return bart.golden == NULL;
}

static int close_bart(void **state)
{
    (void)state;
    if (!bart.model) return 0;
    pumice_model_destroy(&bart.model);
    uint64_t messages = pumice_device_validation_count(bart.device);
    pumice_device_destroy(&bart.device);
    json_decref(bart.golden);
    return messages != 0;
}

static uint32_t evaluated(pumice_session *s)
{
    pumice_timings t = { .struct_size = sizeof t };
    assert_int_equal(pumice_session_get_timings(s, &t), PUMICE_OK);
    return t.n_prompt_tokens;
}

static void test_encoder_output(void **state)
{
    (void)state;
    if (!bart.model) skip();
    const json_t *one = find_case("long"), *output = json_object_get(one, "encoder_output");
    const json_t *positions = json_object_get(output, "positions");
    ids input = read_ids(json_object_get(one, "input_ids"));
    pumice_model_info info = { .struct_size = sizeof info };
    assert_int_equal(pumice_model_get_info(bart.model, &info), PUMICE_OK);
    size_t width = info.n_embd, n = json_array_size(positions);
    float *got = malloc(input.count * width * sizeof *got), *want = malloc(n * width * sizeof *want);
    char path[TEST_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", bart.folder,
             json_string_value(json_object_get(output, "file")));
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(want, sizeof *want, n * width, f), n * width);
    fclose(f);
    pumice_session *s = session(1, 0);
    assert_pumice_ok(s, pumice_session_encode(s, 0, input.data, input.count));
    for (int pass = 0; pass < 2; pass++) { /* kept at first, then computed again */
        double worst = 0;
        assert_pumice_ok(s, pumice_session_encoder_states(s, 0, got));
        for (size_t i = 0; i < n; i++) {
            size_t at = (size_t)json_integer_value(json_array_get(positions, i));
            for (size_t k = 0; k < width; k++) {
                double d = fabs((double)got[at * width + k] - want[i * width + k]);
                worst = d > worst ? d : worst;
            }
        }
        print_message("encoder output: worst %.2e\n", worst);
        assert_true(worst <= 2e-4);
        int32_t token;
        assert_pumice_ok(s, pumice_session_next(s, &(uint32_t){ 0 }, 1, NULL, &token));
    }
    pumice_session_destroy(&s);
    free(got);
    free(want);
}

static void test_what_is_kept(void **state)
{
    (void)state;
    if (!bart.model) skip();
    ids a = read_ids(json_object_get(find_case("short"), "input_ids"));
    ids b = read_ids(json_object_get(find_case("long"), "input_ids"));
    ids greedy = read_ids(json_object_get(find_case("short"), "greedy"));
    pumice_session *s = session(1, 0);
    uint32_t zero = 0;
    int32_t token, other;
    assert_pumice_ok(s, pumice_session_encode(s, 0, a.data, a.count));
    assert_int_equal(evaluated(s), a.count);
    assert_int_equal(pumice_session_length(s, 0), 1);
    assert_pumice_ok(s, pumice_session_next(s, &zero, 1, NULL, &token));
    assert_int_equal(token, greedy.data[0]);
    assert_pumice_ok(s, pumice_session_encode(s, 0, a.data, a.count)); /* nothing to compute */
    assert_int_equal(evaluated(s), a.count);
    assert_int_equal(pumice_session_length(s, 0), 1);
    assert_pumice_ok(s, pumice_session_next(s, &zero, 1, NULL, &token));
    assert_int_equal(token, greedy.data[0]);
    assert_pumice_ok(s, pumice_session_encode(s, 0, b.data, b.count)); /* another input */
    assert_int_equal(evaluated(s), a.count + b.count);
    assert_pumice_ok(s, pumice_session_next(s, &zero, 1, NULL, &other));
    assert_int_equal(other,
                     json_integer_value(json_array_get(
                         json_object_get(find_case("long"), "greedy"), 0)));
    assert_pumice_ok(s, pumice_session_clear(s, 0));
    assert_int_equal(pumice_session_next(s, &zero, 1, NULL, &token), PUMICE_ERROR_INVALID);
    pumice_session_destroy(&s);
}

static void test_two_sequences(void **state)
{
    (void)state;
    if (!bart.model) skip();
    const json_t *one = find_case("batch2"), *seqs = json_object_get(one, "seqs");
    ids want[2];
    pumice_session *s = session(3, 0);
    const uint32_t at[] = { 2, 0 };
    for (size_t i = 0; i < 2; i++) {
        ids input = read_ids(json_array_get(seqs, i));
        want[i] = read_ids(json_array_get(json_object_get(one, "greedy"), i));
        assert_pumice_ok(s, pumice_session_encode(s, at[i], input.data, input.count));
    }
    for (size_t step = 0; step < GREEDY; step++) {
        int32_t got[2];
        assert_pumice_ok(s, pumice_session_next(s, at, 2, NULL, got));
        for (int i = 0; i < 2; i++) assert_int_equal(got[i], want[i].data[step]);
    }
    pumice_session_destroy(&s);
}

/* A copy has an input of its own: another one for the original changes nothing. */
static void test_copy(void **state)
{
    (void)state;
    if (!bart.model) skip();
    ids input = read_ids(json_object_get(find_case("long"), "input_ids"));
    ids other = read_ids(json_object_get(find_case("short"), "input_ids"));
    ids greedy = read_ids(json_object_get(find_case("long"), "greedy"));
    pumice_session *s = session(2, 0);
    int32_t got[2], token;
    assert_pumice_ok(s, pumice_session_encode(s, 1, input.data, input.count));
    assert_pumice_ok(s, pumice_session_next(s, &(uint32_t){ 1 }, 1, NULL, &token));
    assert_pumice_ok(s, pumice_session_copy(s, 1, 0));
    assert_int_equal(pumice_session_length(s, 0), 2);
    for (size_t step = 1; step < GREEDY; step++) {
        assert_pumice_ok(s, pumice_session_next(s, (uint32_t[]){ 0, 1 }, 2, NULL, got));
        assert_int_equal(got[0], greedy.data[step]);
        assert_int_equal(got[1], greedy.data[step]);
        if (step == 20) break;
    }
    uint32_t before = evaluated(s);
    assert_pumice_ok(s, pumice_session_encode(s, 1, other.data, other.count));
    for (size_t step = 21; step < GREEDY; step++) {
        assert_pumice_ok(s, pumice_session_next(s, &(uint32_t){ 0 }, 1, NULL, &token));
        assert_int_equal(token, greedy.data[step]);
    }
    assert_int_equal(evaluated(s), before + other.count); /* the copy's encoder never ran */
    pumice_session_destroy(&s);
}

static int on_token(void *user, int32_t token, const char *text, size_t bytes)
{
    ids *out = user;
    (void)text, (void)bytes;
    if (token >= 0) out->data[out->count++] = token;
    return 0;
}

static void test_forced_tokens(void **state)
{
    (void)state;
    if (!bart.model) skip();
    const json_t *one = find_case("short");
    ids input = read_ids(json_object_get(one, "input_ids"));
    ids greedy = read_ids(json_object_get(one, "greedy"));
    pumice_session *s = session(1, 0);
    for (uint32_t way = 0; way < 3; way++) { /* this config.json forces EOS, 2, as the last token */
        ids got = { .count = 0 };
        pumice_generate_params p = { .struct_size = sizeof p, .max_tokens = 6, .token = on_token,
                                     .user = &got, .ignore_eos = way == 1, .no_forced = way == 2 };
        uint32_t count;
        assert_pumice_ok(s, pumice_session_encode(s, 0, input.data, input.count));
        assert_pumice_ok(s, pumice_session_generate(s, 0, &p, &count));
        assert_int_equal(count, 6);
        assert_memory_equal(got.data, greedy.data, 5 * sizeof *got.data);
        assert_int_equal(got.data[5], way == 0 ? 2 : greedy.data[5]);
        assert_int_equal(pumice_session_length(s, 0), 7);
        /* and it goes on from there */
        int32_t token;
        assert_pumice_ok(s, pumice_session_next(s, &(uint32_t){ 0 }, 1, NULL, &token));
    }
    pumice_session_destroy(&s);
}

static atomic_int stop;

static void *cancel_all_the_time(void *session)
{
    while (!atomic_load(&stop)) pumice_session_cancel(session);
    return NULL;
}

static void test_cancel(void **state)
{
    (void)state;
    if (!bart.model) skip();
    ids input = read_ids(json_object_get(find_case("long"), "input_ids"));
    ids greedy = read_ids(json_object_get(find_case("long"), "greedy"));
    pumice_session *s = session(1, 1); /* a submit a step */
    pthread_t thread;
    int32_t token;
    atomic_store(&stop, 0);
    assert_int_equal(pthread_create(&thread, NULL, cancel_all_the_time, s), 0);
    assert_int_equal(pumice_session_encode(s, 0, input.data, input.count), PUMICE_ERROR_CANCELLED);
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    assert_int_equal(pumice_session_length(s, 0), 0);
    assert_int_equal(pumice_session_next(s, &(uint32_t){ 0 }, 1, NULL, &token),
                     PUMICE_ERROR_INVALID);
    assert_pumice_ok(s, pumice_session_encode(s, 0, input.data, input.count));
    assert_pumice_ok(s, pumice_session_next(s, &(uint32_t){ 0 }, 1, NULL, &token));
    assert_int_equal(token, greedy.data[0]);
    pumice_session_destroy(&s);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    if (!bart.model) skip();
    pumice_session *s = session(1, 0);
    int32_t start = 2, bad = 330, token;
    float states[64];
    static int32_t many[300];
    assert_int_equal(pumice_session_encode(NULL, 0, &start, 1), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_sync(s, 0, &start, 1), PUMICE_ERROR_INVALID);
    assert_non_null(strstr(pumice_session_error(s), "pumice_session_encode"));
    assert_int_equal(pumice_session_next(s, &(uint32_t){ 0 }, 1, NULL, &token),
                     PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_encoder_states(s, 0, states), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_encode(s, 1, &start, 1), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_encode(s, 0, &start, 0), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_encode(s, 0, &bad, 1), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_session_encode(s, 0, many, 300), PUMICE_ERROR_CONTEXT_FULL);
    assert_int_equal(pumice_session_set_prefix(s, 0, 2), PUMICE_ERROR_INVALID);
    assert_pumice_ok(s, pumice_session_set_prefix(s, 0, 0));
    pumice_session_destroy(&s);
    char path[TEST_PATH_BYTES];
    test_source("models/pumice-stories.gguf", path);
    pumice_model *decoder = test_model(bart.device, path);
    s = test_session(decoder, NULL);
    assert_int_equal(pumice_session_encode(s, 0, &start, 1), PUMICE_ERROR_INVALID);
    assert_non_null(strstr(pumice_session_error(s), "without an encoder"));
    pumice_session_destroy(&s);
    pumice_model_destroy(&decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encoder_output), cmocka_unit_test(test_what_is_kept),
        cmocka_unit_test(test_two_sequences),  cmocka_unit_test(test_copy),
         cmocka_unit_test(test_forced_tokens),
        cmocka_unit_test(test_cancel),         cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, open_bart, close_bart);
}
