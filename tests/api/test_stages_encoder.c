/* SPDX-License-Identifier: Apache-2.0
 * An encoder-decoder over several devices gives what it gives on one, wherever its two stacks are cut:
 * the encoder's output, logits, tokens, scores, copies, beams. A stage that fails or is cancelled in the
 * middle of the encoder ends the call with a sentence. Devices: those of the drivers that
 * VK_DRIVER_FILES names, each also twice. */
#include <pthread.h>

#include "same_results.h"
#include "several_devices.h"

/* ---- the same as on one device ---- */

typedef struct combination {
    const uint32_t *which;
    uint32_t n, split[MAX_DEVICES]; /* split[0] 0: as it is cut */
} combination;

static void compare(const char *name, const combination *rows, size_t n_rows)
{
    static input_results want, got;
    char path[TEST_PATH_BYTES], what[64];
    uint32_t drivers = n_drivers();
    setup s;
    if (!test_data(name, path)) skip();
    open_setup(&s, path, one, 1, NULL);
    use_encoder(s.model, &want);
    pumice_model_destroy(&s.model);
    for (size_t i = 0; i < n_rows; i++) {
        const combination *c = &rows[i];
        if (drivers < 2 && c->which != twice && c->which != thrice) continue;
        snprintf(what, sizeof what, "%s, combination %zu", name, i);
        open_setup(&s, path, c->which, c->n, c->split[0] ? c->split : NULL);
        use_encoder(s.model, &got);
        expect_same_encoder(&want, &got, what);
        free(got.decoded.logits);
        pumice_model_destroy(&s.model);
    }
    free(want.decoded.logits);
}

/* Two layers and three. */
static void test_bart(void **state)
{
    (void)state;
    static const combination rows[] = {
        { twice, 2, { 2, 3 } },     /* between the stacks */
        { twice, 2, { 1, 4 } },     /* in the encoder */
        { mixed, 2, { 3, 2 } },     /* in the decoder */
        { thrice, 3, { 1, 2, 2 } }, /* in both: the one in the middle ends one and begins the other */
    };
    compare("golden/bart", rows, sizeof rows / sizeof *rows);
}

static void test_flan_t5(void **state)
{
    (void)state;
    static const combination rows[] = {
        { twice, 2, { 0 } },
        { back, 2, { 2, 3 } },
        { thrice, 3, { 2, 1, 2 } }, /* the last two have the decoder alone */
    };
    compare("golden/flan_t5", rows, sizeof rows / sizeof *rows);
}

/* Three layers and three; the head is the table of words, which every part here needs. */
static void test_t5_tied(void **state)
{
    (void)state;
    static const combination rows[] = {
        { three, 3, { 1, 1, 4 } }, /* the first two have the encoder alone */
        { thrice, 3, { 2, 2, 2 } },
        { twice, 2, { 0 } },
    };
    compare("golden/t5_v10", rows, sizeof rows / sizeof *rows);
}

static int32_t input[INPUT_N];

/* ---- how it is cut ---- */

static void test_parts(void **state)
{
    (void)state;
    static const uint32_t split[] = { 1, 2, 2 }, wrong[] = { 1, 2, 1 };
    char path[TEST_PATH_BYTES];
    setup s;
    pumice_error err = { 0 };
    if (!test_data("golden/bart", path)) skip();
    open_setup(&s, path, thrice, 3, split);
    pumice_model_part part = { .struct_size = sizeof part };
    pumice_model_info info = { .struct_size = sizeof info };
    static const uint32_t want[][4] = { { 0, 1, 0, 0 }, { 1, 1, 0, 1 }, { 2, 0, 1, 2 } };
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(pumice_model_get_part(s.model, i, &part));
        assert_int_equal(part.first_encoder_layer, want[i][0]);
        assert_int_equal(part.n_encoder_layers, want[i][1]);
        assert_int_equal(part.first_layer, want[i][2]);
        assert_int_equal(part.n_layers, want[i][3]);
        assert_int_equal(part.row_bytes, i < 2 ? 64 * 4 : 0);
        bytes += part.weight_bytes;
    }
    assert_int_equal(pumice_model_get_info(s.model, &info), PUMICE_OK);
    assert_int_equal(info.weight_bytes, bytes);
    assert_int_equal(info.n_layers, 3);
    assert_int_equal(info.n_encoder_layers, 2);
    pumice_model_destroy(&s.model);

    assert_int_equal(load(&s, path, wrong, &err), PUMICE_ERROR_INVALID);
    assert_string_equal(err.text, "the split gives 4 layers to 3 devices, but the model has 5, 2 of "
                                  "them its encoder's");

    /* the same device twice: an even cut, in layers or nearly so */
    open_setup(&s, path, twice, 2, NULL);
    assert_true(pumice_model_get_part(s.model, 0, &part));
    assert_in_range(part.n_encoder_layers + part.n_layers, 2, 3);
    pumice_model_destroy(&s.model);

    /* by memory: the less the second device has, the fewer it gets, and what it gets fits */
    static const uint64_t budgets[] = { 2200000, 1500000, 1100000 };
    pumice_session_params few = { .struct_size = sizeof few, .n_ctx_tokens = 128, .n_batch_tokens = BATCH };
    uint32_t got[3];
    for (int round = 0; round < 3; round++) {
        pumice_device *devices[] = { pooled(0, 0), open_device(0, false, budgets[round]) };
        pumice_model_params p = { .struct_size = sizeof p, .path = path, .devices = devices,
                                  .n_devices = 2, .session = &few };
        err = (pumice_error){ 0 };
        if (pumice_model_load(NULL, &p, &s.model, &err)) fail_msg("%s", err.text);
        assert_true(pumice_model_get_part(s.model, 1, &part));
        got[round] = part.n_encoder_layers + part.n_layers;
        print_message("%u layers in %.1f MB\n", got[round], budgets[round] / 1e6);
        int32_t token;
        pumice_session *session = test_session(s.model, &few);
        assert_pumice_ok(session, pumice_session_encode(session, 0, input, BATCH));
        assert_pumice_ok(session, pumice_session_next(session, &(uint32_t){ 0 }, 1, NULL, &token));
        pumice_session_destroy(&session);
        pumice_model_destroy(&s.model);
        pumice_device_destroy(&devices[1]);
    }
    assert_true(got[2] <= got[1] && got[1] <= got[0] && got[2] < got[0]);

    open_devices(&s, 2, UINT32_MAX, 60000);
    err = (pumice_error){ 0 };
    assert_int_equal(load(&s, path, NULL, &err), PUMICE_ERROR_DEVICE_MEMORY);
    print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, "no cut of them fits the devices"));
    close_devices(&s);
}

/* ---- cancel, failures ---- */

/* Encodes and decodes; `out` gets the first tokens. */
static pumice_status translate(pumice_session *s, int32_t out[4])
{
    uint32_t zero = 0;
    pumice_status status = pumice_session_clear(s, 0);
    if (status == PUMICE_OK) status = pumice_session_encode(s, 0, input, INPUT_N);
    for (int i = 0; i < 4 && status == PUMICE_OK; i++) {
        status = pumice_session_next(s, &zero, 1, NULL, &out[i]);
    }
    return status;
}

static void *cancel_later(void *session)
{
    usleep(30000);
    pumice_session_cancel(session);
    return NULL;
}

/* In the middle of the encoder, on the stage behind the first. */
static void test_cancel(void **state)
{
    (void)state;
    static const uint32_t split[] = { 1, 4 };
    char path[TEST_PATH_BYTES];
    setup s;
    pumice_error err = { 0 };
    int32_t want[4], got[4];
    if (!test_data("golden/bart", path)) skip();
    open_devices(&s, 2, 1, 0);
    if (load(&s, path, split, &err)) fail_msg("%s", err.text);
    pumice_session_params p = { .struct_size = sizeof p, .max_submit_us = 1, .n_ctx_tokens = 128 };
    pumice_session *session = test_session(s.model, &p); /* a step is a submit */
    assert_pumice_ok(session, translate(session, want));
    pthread_t thread;
    fault_vk_delay(10000);
    assert_int_equal(pthread_create(&thread, NULL, cancel_later, session), 0);
    assert_int_equal(translate(session, got), PUMICE_ERROR_CANCELLED);
    pthread_join(thread, NULL);
    fault_vk_delay(0);
    print_message("%s\n", pumice_session_error(session));
    assert_int_equal(pumice_session_length(session, 0), 0);
    assert_pumice_ok(session, translate(session, got));
    assert_memory_equal(got, want, sizeof want);
    pumice_session_destroy(&session);
    close_devices(&s);
}

/* A stage fails in the encoder's pass: the call tells why, and all can be used again, unless the device
 * is lost, and destroyed. Parts: the encoder's begin; its end and the decoder's begin; the decoder's end. */
static void test_stage_fails(void **state)
{
    (void)state;
    static const struct {
        VkResult error;
        pumice_status status;
    } rows[] = { { VK_ERROR_DEVICE_LOST, PUMICE_ERROR_DEVICE_LOST },
                 { VK_ERROR_OUT_OF_HOST_MEMORY, PUMICE_ERROR_HOST_MEMORY } };
    static const uint32_t split[] = { 1, 2, 2 };
    char path[TEST_PATH_BYTES];
    if (!test_data("golden/bart", path)) skip();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (uint32_t faulty = 0; faulty < 3; faulty++) {
            setup s;
            pumice_error err = { 0 };
            int32_t want[4], got[4];
            bool lost = rows[i].error == VK_ERROR_DEVICE_LOST;
            open_devices(&s, 3, faulty, 0);
            if (load(&s, path, split, &err)) fail_msg("%s", err.text);
            pumice_session *session = open_session(s.model, 1);
            assert_pumice_ok(session, translate(session, want));
            fault_vk_arm_name("vkQueueSubmit", rows[i].error);
            assert_int_equal(translate(session, got), rows[i].status);
            assert_true(pumice_session_error(session)[0] != '\0');
            assert_int_equal(pumice_session_length(session, 0), 0);
            fault_vk_arm(0, VK_SUCCESS);
            assert_int_equal(translate(session, got), lost ? PUMICE_ERROR_DEVICE_LOST : PUMICE_OK);
            if (!lost) assert_memory_equal(got, want, sizeof want);
            pumice_session_destroy(&session);
            close_devices(&s);
            assert_int_equal(fault_vk_live(), 0);
        }
    }
}

static pumice_status translate_once(pumice_session *session)
{
    int32_t got[4];
    return translate(session, got);
}

/* Every Vulkan call of the stage with the encoder's end fails once, while the session is made and used. */
static void test_every_call_fails_once(void **state)
{
    (void)state;
    static const uint32_t split[] = { 1, 4 };
    char path[TEST_PATH_BYTES];
    const pumice_session_params p = { .struct_size = sizeof p, .n_batch_tokens = BATCH, .n_ctx_tokens = 128 };
    if (!test_data("golden/bart", path)) skip();
    check_every_call(path, split, &p, translate_once);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bart),   cmocka_unit_test(test_flan_t5),
        cmocka_unit_test(test_t5_tied), cmocka_unit_test(test_parts),
        cmocka_unit_test(test_cancel), cmocka_unit_test(test_stage_fails),
        cmocka_unit_test(test_every_call_fails_once),
    };
    for (int i = 0; i < INPUT_N; i++) input[i] = 3 + i * 11 % 290;
    test_keep_modules();
    n_drivers();
    return cmocka_run_group_tests(tests, NULL, close_pool);
}
