/* SPDX-License-Identifier: Apache-2.0
 * A model over several devices gives what it gives on one: logits, greedy tokens, sequences,
 * prefixes, roll-back. Cancelling, a device that is lost and one that is full end with a sentence
 * and hang nothing. Devices: those of the drivers that VK_DRIVER_FILES names, each also twice. */
#include <pthread.h>
#include <stdbool.h>

#include "same_results.h"
#include "several_devices.h"

static void bundled(char path[TEST_PATH_BYTES]) { test_source("models/pumice-stories.gguf", path); }

/* One device object for all parts: their threads share its queue and its pipelines. */
static void test_one_device_object(void **state)
{
    (void)state;
    static const uint32_t split[] = { 2, 2, 2 };
    char path[TEST_PATH_BYTES];
    results want = { 0 }, got = { 0 };
    setup s;
    pumice_error err = { 0 };
    bundled(path);
    open_setup(&s, path, one, 1, NULL);
    use(s.model, 9, &want);
    pumice_model_destroy(&s.model);
    s.devices[1] = s.devices[2] = s.devices[0];
    s.n = 3;
    if (load(&s, path, split, &err)) fail_msg("%s", err.text);
    use(s.model, 9, &got);
    expect_same(&want, &got, "one object");
    free(want.logits);
    free(got.logits);
    pumice_model_destroy(&s.model);
}

/* One model on one device, and on the first `n_rows` of these. */
static void compare(const char *path, uint32_t n_layers, int32_t prefix, size_t n_rows)
{
    static const struct {
        const uint32_t *which;
        uint32_t n, needs, layers;
    } rows[] = { { twice, 2, 1, 2 },
                 { mixed, 2, 2, 2 },
                 { thrice, 3, 1, 3 },
                 { back, 2, 2, 2 },
                 { three, 3, 2, 3 } };
    results want = { 0 };
    setup s;
    uint32_t drivers = n_drivers();
    open_setup(&s, path, one, 1, NULL);
    use(s.model, prefix, &want);
    pumice_model_destroy(&s.model);
    for (size_t i = 0; i < n_rows; i++) {
        results got = { 0 };
        char what[64];
        if (drivers < rows[i].needs || n_layers < rows[i].layers) continue;
        snprintf(what, sizeof what, "combination %zu", i);
        uint32_t split[3] = { 1, rows[i].n == 2 ? n_layers - 1 : 1, n_layers - 2 };
        open_setup(&s, path, rows[i].which, rows[i].n, i % 2 ? split : NULL);
        use(s.model, prefix, &got);
        expect_same(&want, &got, what);
        free(got.logits);
        pumice_model_destroy(&s.model);
    }
    free(want.logits);
}

static void test_bundled(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    bundled(path);
    compare(path, 6, PUMICE_PREFIX_MODEL, 5);
    compare(path, 6, 25, 2); /* more than a batch: all stages grow */
}

static void test_goldens(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t n_layers;
        int32_t prefix;
        size_t combinations;
    } rows[] = { { "golden/mistral_swa", 3, PUMICE_PREFIX_MODEL, 2 },
                 { "golden/chatglm_6b", 3, 12, 2 },
                 { "golden/mixtral", 2, PUMICE_PREFIX_MODEL, 1 },
                 { "golden/gemma", 3, PUMICE_PREFIX_MODEL, 3 } };
    char path[TEST_PATH_BYTES];
    int32_t kept[N];
    memcpy(kept, prompt, sizeof kept);
    for (int i = 0; i < N; i++) prompt[i] = 3 + i * 7 % 290; /* ids that all have */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!test_data(rows[i].name, path)) continue;
        compare(path, rows[i].n_layers, rows[i].prefix, rows[i].combinations);
    }
    memcpy(prompt, kept, sizeof kept);
}

/* ---- how it is cut ---- */

static void test_parts(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    setup s;
    pumice_error err = { 0 };
    static const uint32_t split[] = { 1, 3, 2 };
    bundled(path);
    open_setup(&s, path, thrice, 3, split);
    pumice_model_part part = { .struct_size = sizeof part };
    pumice_model_info info = { .struct_size = sizeof info };
    uint64_t bytes = 0;
    uint32_t first = 0, i = 0;
    for (; pumice_model_get_part(s.model, i, &part); i++) {
        assert_int_equal(part.first_layer, first);
        assert_int_equal(part.n_layers, split[i]);
        assert_int_equal(part.row_bytes, i < 2 ? 128 * 4 : 0);
        first += part.n_layers;
        bytes += part.weight_bytes;
    }
    assert_int_equal(i, 3);
    assert_int_equal(pumice_model_get_info(s.model, &info), PUMICE_OK);
    assert_int_equal(info.weight_bytes, bytes);
    assert_int_equal(info.n_layers, 6); /* the whole */
    pumice_model_destroy(&s.model);

    /* the same device twice: equally fast, however busy the machine; the head counts too */
    open_setup(&s, path, twice, 2, NULL);
    assert_true(pumice_model_get_part(s.model, 0, &part));
    assert_in_range(part.n_layers, 3, 4);
    pumice_model_destroy(&s.model);

    /* by memory: the less the second device has, the less it gets */
    pumice_session_params few = { .struct_size = sizeof few, .n_ctx_tokens = 128,
                                  .n_batch_tokens = BATCH };
    static const uint64_t budgets[] = { 4400000, 1400000 };
    uint32_t got[2];
    for (int round = 0; round < 2; round++) {
        pumice_device *devices[] = { pooled(0, 0), open_device(0, false, budgets[round]) };
        pumice_model_params p = { .struct_size = sizeof p, .path = path, .devices = devices,
                                  .n_devices = 2, .session = &few };
        if (pumice_model_load(NULL, &p, &s.model, &err)) fail_msg("%s", err.text);
        assert_true(pumice_model_get_part(s.model, 1, &part));
        got[round] = part.n_layers;
        pumice_session *session = test_session(s.model, &few); /* and it fits */
        assert_pumice_ok(session, pumice_session_sync(session, 0, prompt, N));
        pumice_session_destroy(&session);
        pumice_model_destroy(&s.model);
        pumice_device_destroy(&devices[1]);
    }
    assert_true(got[1] < got[0]);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t split[3];
        const char *says;
    } bad[] = { { { 3, 4, 0 }, "the split gives 7 layers to 2 devices, but the model has 6" },
                { { 6, 0, 0 }, "the split gives 6 layers to 2 devices, none to one of them, but the "
                               "model has 6" } };
    char path[TEST_PATH_BYTES];
    setup s;
    bundled(path);
    take_devices(&s, twice, 2);
    for (size_t i = 0; i < 2; i++) {
        pumice_error err = { 0 };
        assert_int_equal(load(&s, path, bad[i].split, &err), PUMICE_ERROR_INVALID);
        assert_string_equal(err.text, bad[i].says);
        assert_null(s.model);
    }
    bundled(path);
    open_devices(&s, 2, UINT32_MAX, 300000);
    pumice_error err = { 0 };
    assert_int_equal(load(&s, path, NULL, &err), PUMICE_ERROR_DEVICE_MEMORY);
    print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, "no cut of them fits the devices"));
    close_devices(&s);
}

/* ---- a prompt's batches follow one another ---- */

static void test_pipeline(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    setup s = { .n = 3 };
    pumice_error err = { 0 };
    int32_t token;
    uint32_t seq = 0;
    bundled(path);
    for (uint32_t i = 0; i < s.n; i++) s.devices[i] = open_device(0, true, 0);
    if (load(&s, path, NULL, &err)) fail_msg("%s", err.text);
    pumice_session_params p = { .struct_size = sizeof p, .n_batch_tokens = 6, .n_ctx_tokens = 128 };
    pumice_session *session = test_session(s.model, &p);
    assert_pumice_ok(session, pumice_session_sync(session, 0, prompt, N)); /* makes the passes */
    assert_pumice_ok(session, pumice_session_next(session, &seq, 1, NULL, &token));
    assert_pumice_ok(session, pumice_session_clear(session, 0));
    pumice_timings at[3] = { { .struct_size = sizeof at[0] }, { .struct_size = sizeof at[0] },
                             { .struct_size = sizeof at[0] } };
    pumice_session_get_timings(session, &at[0]);
    fault_vk_delay(20000);
    assert_pumice_ok(session, pumice_session_sync(session, 0, prompt, N));
    assert_int_equal(fault_vk_together(), 3); /* each works on another batch */
    pumice_session_get_timings(session, &at[1]);
    fault_vk_delay(2000);
    for (int i = 0; i < 5; i++) {
        assert_pumice_ok(session, pumice_session_next(session, &seq, 1, NULL, &token));
    }
    assert_int_equal(fault_vk_together(), 1); /* a token goes round */
    pumice_session_get_timings(session, &at[2]);
    /* ten batches take three devices as long as twelve take one: 2.5 are at work; then one is */
    double at_work = (double)(at[1].devices_busy_ns - at[0].devices_busy_ns) /
                     (double)(at[1].prompt_ns - at[0].prompt_ns);
    print_message("%.2f of 3 devices at work on a prompt\n", at_work);
    assert_true(at_work > 1.5 && at_work <= 3);
    at_work = (double)(at[2].devices_busy_ns - at[1].devices_busy_ns) /
              (double)(at[2].decode_ns - at[1].decode_ns);
    print_message("%.2f of 3 devices at work on a token\n", at_work);
    assert_true(at_work > 0 && at_work <= 1);
    fault_vk_delay(0);
    pumice_session_destroy(&session);
    close_devices(&s);
}

/* ---- cancel ---- */

typedef struct canceller {
    pumice_session *session;
    useconds_t after;
} canceller;

static void *cancel_later(void *user)
{
    canceller *c = user;
    usleep(c->after);
    pumice_session_cancel(c->session);
    return NULL;
}

static void test_cancel(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    setup s;
    int32_t want[12], got[12];
    int cancelled = 0;
    bundled(path);
    open_setup(&s, path, n_drivers() > 1 ? mixed : twice, 2, NULL);
    pumice_session_params p = { .struct_size = sizeof p, .n_batch_tokens = 2, .n_ctx_tokens = 128 };
    pumice_session *session = test_session(s.model, &p);
    assert_pumice_ok(session, pumice_session_sync(session, 0, prompt, N));
    generate(session, 0, 12, want);
    for (useconds_t after = 200; after < 30000; after += 1500) {
        pthread_t thread;
        canceller c = { session, after };
        assert_pumice_ok(session, pumice_session_clear(session, 0));
        assert_int_equal(pthread_create(&thread, NULL, cancel_later, &c), 0);
        pumice_status status = pumice_session_sync(session, 0, prompt, N);
        pthread_join(thread, NULL);
        if (status == PUMICE_ERROR_CANCELLED) {
            cancelled++;
            assert_true(pumice_session_length(session, 0) < N);
        } else {
            assert_int_equal(status, PUMICE_OK);
        }
        /* what was evaluated until then is kept and right */
        assert_pumice_ok(session, pumice_session_sync(session, 0, prompt, N));
        generate(session, 0, 12, got);
        assert_memory_equal(got, want, sizeof want);
    }
    print_message("%d cancelled\n", cancelled);
    assert_true(cancelled > 0);
    pumice_session_destroy(&session);
    pumice_model_destroy(&s.model);
}

/* ---- failures ---- */

/* A stage other than the first fails in the middle of a prompt: the call tells why, whatever else is
 * under way comes back, and all can be destroyed. */
static void test_stage_fails(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        VkResult error;
        pumice_status status;
    } rows[] = { { "vkQueueSubmit", VK_ERROR_DEVICE_LOST, PUMICE_ERROR_DEVICE_LOST },
                 { "vkQueueSubmit", VK_ERROR_OUT_OF_HOST_MEMORY, PUMICE_ERROR_HOST_MEMORY } };
    char path[TEST_PATH_BYTES];
    bundled(path);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (uint32_t faulty = 0; faulty < 3; faulty++) {
            setup s;
            pumice_error err = { 0 };
            int32_t token[1];
            uint32_t seq = 0;
            open_devices(&s, 3, faulty, 0);
            if (load(&s, path, NULL, &err)) fail_msg("%s", err.text);
            pumice_session *session = open_session(s.model, 1);
            assert_pumice_ok(session, pumice_session_sync(session, 0, prompt, N));
            assert_pumice_ok(session, pumice_session_clear(session, 0));
            fault_vk_arm_name(rows[i].call, rows[i].error);
            assert_int_equal(pumice_session_sync(session, 0, prompt, N), rows[i].status);
            if (faulty == 1) print_message("%s\n", pumice_session_error(session));
            assert_true(pumice_session_error(session)[0] != '\0');
            assert_true(pumice_session_length(session, 0) < N);
            fault_vk_arm(0, VK_SUCCESS);
            pumice_status again = pumice_session_sync(session, 0, prompt, N);
            bool lost = rows[i].error == VK_ERROR_DEVICE_LOST; /* lost is lost, else all is well */
            assert_int_equal(again, lost ? PUMICE_ERROR_DEVICE_LOST : PUMICE_OK);
            if (!lost) assert_pumice_ok(session, pumice_session_next(session, &seq, 1, NULL, token));
            pumice_session_destroy(&session);
            close_devices(&s);
            assert_int_equal(fault_vk_live(), 0);
        }
    }
}

static pumice_status evaluate_and_choose(pumice_session *session)
{
    int32_t token[1];
    uint32_t seq = 0;
    pumice_status status = pumice_session_sync(session, 0, prompt, N);
    return status == PUMICE_OK ? pumice_session_next(session, &seq, 1, NULL, token) : status;
}

/* Every Vulkan call of one stage fails once, while the session is made and used. */
static void test_every_call_fails_once(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    const pumice_session_params p = { .struct_size = sizeof p, .n_batch_tokens = BATCH, .n_ctx_tokens = 128 };
    bundled(path);
    check_every_call(path, NULL, &p, evaluate_and_choose);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bundled),     cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_one_device_object),
        cmocka_unit_test(test_parts),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_pipeline),    cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_stage_fails),
        cmocka_unit_test(test_every_call_fails_once),
    };
    make_prompt();
    test_keep_modules();
    n_drivers();
    return cmocka_run_group_tests(tests, NULL, close_pool);
}
