/* SPDX-License-Identifier: Apache-2.0
 * Threads: two sessions of one model at work at once, devices created at once, a cancel from
 * another thread in the middle of a prompt, and parents destroyed before their children. */
#include <pthread.h>

#include "testing.h"

enum { TOKENS = 24, THREADS = 2 };

typedef struct job {
    pumice_model *model;
    int32_t tokens[TOKENS];
    uint32_t count;
} job;

static int on_token(void *user, int32_t token, const char *text, size_t bytes)
{
    (void)text, (void)bytes;
    job *j = user;
    j->tokens[j->count++] = token;
    return 0;
}

static void *generate(void *user)
{
    job *j = user;
    pumice_session_params p = { .struct_size = sizeof p, .n_ctx_tokens = 64 };
    pumice_session *s = NULL;
    int32_t bos = 1;
    if (pumice_session_create(j->model, &p, &s, NULL) == PUMICE_OK &&
        pumice_session_sync(s, 0, &bos, 1) == PUMICE_OK) {
        pumice_generate_params g = { .struct_size = sizeof g,
                                     .max_tokens = TOKENS,
                                     .ignore_eos = 1,
                                     .token = on_token,
                                     .user = j };
        pumice_session_generate(s, 0, &g, NULL);
    }
    pumice_session_destroy(&s);
    return NULL;
}

static void test_two_sessions_at_once(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    test_source("models/pumice-stories.gguf", path);
    pumice_device *device = test_device(NULL, 0);
    pumice_model *model = test_model(device, path);
    pthread_t threads[THREADS];
    static job jobs[THREADS];
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (job){ .model = model };
        assert_int_equal(pthread_create(&threads[i], NULL, generate, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(jobs[0].count, TOKENS);
    assert_memory_equal(jobs[0].tokens, jobs[1].tokens, sizeof jobs[0].tokens);
    pumice_model_destroy(&model);
    pumice_device_destroy(&device);
}

static void *open_device(void *user)
{
    pumice_device_params p = { .struct_size = sizeof p, .no_cache = 1 };
    pumice_device *device = NULL;
    *(pumice_status *)user = pumice_device_create(&p, &device, NULL);
    pumice_device_destroy(&device);
    return NULL;
}

static void test_devices_at_once(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    pumice_status status[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_device, &status[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(status[i], PUMICE_OK);
    }
}

static void *cancel_soon(void *user)
{
    usleep(30000);
    for (int i = 0; i < 400;
         i++) { /* the call clears an earlier cancel when it begins, so insist */
        pumice_session_cancel(user);
        usleep(1000);
    }
    return NULL;
}

static void test_cancel_in_a_prompt(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    test_source("models/pumice-stories.gguf", path);
    pumice_device *device = test_device(NULL, 0);
    pumice_model *model = test_model(device, path);
    pumice_session_params p = { .struct_size = sizeof p, .n_batch_tokens = 1 }; /* many passes */
    pumice_session *s = test_session(model, &p);
    static int32_t ids[400];
    for (int i = 0; i < 400; i++) ids[i] = 1 + i % 200;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, s), 0);
    pumice_status status = PUMICE_OK;
    for (int i = 0; i < 50 && status == PUMICE_OK; i++) {
        pumice_session_clear(s, 0);
        status = pumice_session_sync(s, 0, ids, 400);
    }
    assert_int_equal(status, PUMICE_ERROR_CANCELLED);
    pthread_join(thread, NULL);
    uint32_t done = pumice_session_length(s, 0);
    assert_true(done < 400);
    assert_pumice_ok(s, pumice_session_sync(s, 0, ids, 20)); /* goes on from what is there */
    pumice_session_destroy(&s);
    pumice_model_destroy(&model);
    pumice_device_destroy(&device);
}

static void test_parents_first(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    test_source("models/pumice-stories.gguf", path);
    pumice_device *device = test_device(NULL, 1);
    pumice_model *model = test_model(device, path);
    pumice_session *s = test_session(model, NULL);
    pumice_device_destroy(&device);
    pumice_model_destroy(&model);
    assert_null(device);
    int32_t bos = 1, token;
    assert_pumice_ok(s, pumice_session_sync(s, 0, &bos, 1));
    assert_pumice_ok(s, pumice_session_next(s, &(uint32_t){ 0 }, 1, NULL, &token));
    pumice_session_destroy(&s);
    pumice_session_destroy(&s);
    pumice_session_destroy(NULL);
    pumice_model_destroy(NULL);
    pumice_device_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_sessions_at_once),
        cmocka_unit_test(test_devices_at_once),
        cmocka_unit_test(test_cancel_in_a_prompt),
        cmocka_unit_test(test_parents_first),
    };
    test_keep_modules();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
