/* SPDX-License-Identifier: Apache-2.0
 * The n-th host allocation fails, for every n in turn: each time the library must return
 * HOST_MEMORY with a sentence, leak nothing (checked by the sanitizer build) and work again at
 * once. Linked with --wrap, so that only Pumice's own allocations are counted. */
#include "testing.h"

void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);

static long fail_at = -1, allocations;

static int must_fail(void)
{
    return __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED) ==
           __atomic_load_n(&fail_at, __ATOMIC_RELAXED);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return must_fail() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
    return must_fail() ? NULL : __real_realloc(p, bytes);
}

/* Likelihoods and beams. After a failure the sequences still work. */
static pumice_status search(pumice_session *session, const int32_t *ids, size_t n)
{
    static const uint32_t seqs[] = { 0, 1 };
    pumice_token_score scores[32];
    int32_t found[4];
    size_t count;
    pumice_beam_params p = { .struct_size = sizeof p, .max_tokens = 4 };
    pumice_status status = pumice_session_score(session, 1, ids, n, 0, scores);
    if (status == PUMICE_OK) {
        status = pumice_session_beam_search(session, seqs, 2, &p, found, 4, &count, NULL);
    }
    if (status == PUMICE_OK) status = pumice_session_copy(session, 0, 1);
    if (status == PUMICE_ERROR_HOST_MEMORY && pumice_session_sync(session, 1, ids, n) != PUMICE_OK) {
        return PUMICE_ERROR_INTERNAL;
    }
    return status;
}

static pumice_status whole_use(pumice_device *device, const char *path, const char *quant,
                               uint32_t n_parts, char *text, size_t text_bytes)
{
    pumice_device *devices[] = { device, device };
    pumice_error err = { 0 };
    pumice_model *model = NULL;
    pumice_session *session = NULL;
    pumice_session_params sp = { .struct_size = sizeof sp,
                                 .n_ctx_tokens = 64,
                                 .n_sequences = 2,
                                 .n_batch_tokens = 16 };
    pumice_model_params mp = {
        .struct_size = sizeof mp, .path = path, .session = &sp, .quant = quant,
        .devices = devices, .n_devices = n_parts
    };
    int32_t ids[32];
    size_t n = 0;
    pumice_status status = pumice_model_load(device, &mp, &model, &err);
    if (status == PUMICE_OK)
        status = pumice_tokenize(model, "Once upon a time", 16, PUMICE_TOKENIZE_ADD_SPECIAL, ids,
                                 32, &n);
    if (status == PUMICE_OK) status = pumice_session_create(model, &sp, &session, &err);
    if (status == PUMICE_OK) status = pumice_session_sync(session, 0, ids, n);
    if (status == PUMICE_OK) {
        pumice_generate_params g = { .struct_size = sizeof g, .max_tokens = 3 };
        status = pumice_session_generate(session, 0, &g, NULL);
    }
    if (status == PUMICE_OK) status = search(session, ids, n);
    if (session && status != PUMICE_OK)
        snprintf(text, text_bytes, "%s", pumice_session_error(session));
    else snprintf(text, text_bytes, "%s", err.text);
    pumice_session_destroy(&session);
    pumice_model_destroy(&model);
    return status;
}

static void fail_each(const char *path, const char *quant, uint32_t n_parts)
{
    char text[512];
    pumice_device *device = test_device_proving(NULL, 0, 1);
    long runs = 0, n = 1;
    for (;; n += 1 + n / 24) { /* all of the first few, then ever fewer */
        allocations = 0;
        fail_at = n;
        pumice_status status = whole_use(device, path, quant, n_parts, text, sizeof text);
        long reached = allocations;
        fail_at = -1;
        runs++;
        if (reached < n) {
            assert_int_equal(status, PUMICE_OK);
            break;
        }
        /* an optional allocation may be done without, but nothing may go wrong in another way */
        if (status != PUMICE_OK && status != PUMICE_ERROR_HOST_MEMORY) {
            fail_msg("allocation %ld: %s: %s", n, pumice_status_name(status), text);
        }
    }
    assert_int_equal(whole_use(device, path, quant, n_parts, text, sizeof text), PUMICE_OK);
    print_message("%ld runs, %ld allocations in one use\n", runs, n);
    pumice_device_destroy(&device);
}

static void test_every_allocation_fails_once(void **state)
{
    char path[TEST_PATH_BYTES];
    (void)state;
    test_source("models/pumice-stories.gguf", path);
    fail_each(path, NULL, 1);
}

static void test_in_two_parts(void **state)
{
    char path[TEST_PATH_BYTES];
    (void)state;
    test_source("models/pumice-stories.gguf", path);
    fail_each(path, NULL, 2);
}

/* Matrices that a software device uses in the file at first. */
static void test_in_the_file(void **state)
{
    char path[TEST_PATH_BYTES];
    (void)state;
    if (!test_data("stories260K/stories260K-F16.gguf", path)) skip();
    fail_each(path, NULL, 1);
}

static void test_quantizing_while_loading(void **state)
{
    char path[TEST_PATH_BYTES];
    (void)state;
    if (!test_data("stories260K/stories260K-F16.gguf", path)) skip();
    fail_each(path, "q4_0", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_allocation_fails_once),
                                        cmocka_unit_test(test_in_two_parts),
                                        cmocka_unit_test(test_in_the_file),
                                        cmocka_unit_test(test_quantizing_while_loading) };
    test_keep_modules();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
