/* SPDX-License-Identifier: Apache-2.0
 * Ranks that share a model, here threads with a transport of queues between them: what one process
 * gives, several give; what fails on one fails with its sentence on the one that asked, and nothing
 * hangs, not even when a rank cannot be reached any more. */
#include <pthread.h>
#include <stdbool.h>

#include "fault_vk.h"
#include "same_results.h"

enum { MAX_RANKS = 3 };

/* ---- a transport ---- */

typedef struct block {
    struct block *next;
    size_t bytes;
    unsigned char data[];
} block;

typedef struct queue {
    block *first, *last;
} queue;

/* One lock for all: this is about order, not speed. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    queue queues[MAX_RANKS][MAX_RANKS]; /* [from][to] */
    long left; /* blocks until the network is gone; < 0 = never */
    bool gone;
} net = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .left = -1 };

typedef struct rank {
    pthread_t thread;
    uint32_t number, n;
    const char *path;
    uint64_t budget;
    bool faulty;
    const uint32_t *split;
    /* what came out */
    pumice_device *device;
    pumice_model *model;
    pumice_status loaded, served;
    pumice_error err;
} rank;

static int net_send(void *user, uint32_t to, const void *data, size_t bytes)
{
    const rank *r = user;
    block *b = malloc(sizeof *b + bytes);
    if (!b) return 1;
    b->next = NULL;
    b->bytes = bytes;
    memcpy(b->data, data, bytes);
    pthread_mutex_lock(&net.lock);
    if (net.left == 0) net.gone = true;
    if (net.left > 0) net.left--;
    bool gone = net.gone;
    queue *q = &net.queues[r->number][to];
    if (!gone) {
        if (q->last) q->last->next = b;
        else q->first = b;
        q->last = b;
    }
    pthread_cond_broadcast(&net.changed);
    pthread_mutex_unlock(&net.lock);
    if (gone) free(b);
    return gone;
}

static int net_receive(void *user, uint32_t from, void *data, size_t bytes)
{
    const rank *r = user;
    queue *q = &net.queues[from][r->number];
    pthread_mutex_lock(&net.lock);
    while (!q->first && !net.gone) pthread_cond_wait(&net.changed, &net.lock);
    block *b = net.gone ? NULL : q->first;
    if (b) q->first = b->next;
    if (!q->first) q->last = NULL;
    pthread_mutex_unlock(&net.lock);
    if (!b) return 1;
    bool same = b->bytes == bytes; /* just as many as were sent */
    if (same) memcpy(data, b->data, bytes);
    free(b);
    return !same;
}

static void net_reset(void)
{
    net.gone = false;
    net.left = -1;
    for (int i = 0; i < MAX_RANKS * MAX_RANKS; i++) {
        queue *q = &net.queues[i / MAX_RANKS][i % MAX_RANKS];
        for (block *b = q->first; b; b = q->first) {
            q->first = b->next;
            free(b);
        }
        q->last = NULL;
    }
}

/* ---- ranks ---- */

static pumice_status load(rank *r)
{
    pumice_transport t = { .struct_size = sizeof t, .rank = r->number, .n_ranks = r->n, .user = r,
                           .send = net_send, .receive = net_receive };
    pumice_session_params few = { .struct_size = sizeof few, .n_ctx_tokens = 128,
                                  .n_batch_tokens = BATCH };
    pumice_model_params p = { .struct_size = sizeof p, .path = r->path, .transport = &t,
                              .split = r->split, .session = &few };
    return pumice_model_load(r->device, &p, &r->model, &r->err);
}

/* The life of a rank other than 0. */
static void *live(void *user)
{
    rank *r = user;
    r->loaded = load(r);
    if (r->loaded == PUMICE_OK) r->served = pumice_model_serve(r->model, &r->err);
    pumice_model_destroy(&r->model);
    return NULL;
}

static pumice_device *open_device(bool faulty, uint64_t budget)
{
    return test_device_open((pumice_device_params){
        .memory_budget_bytes = budget,
        .get_instance_proc_addr = faulty ? fault_vk_loader() : NULL,
        .validation = 1 });
}

static void bundled(char path[TEST_PATH_BYTES]) { test_source("models/pumice-stories.gguf", path); }

/* Starts ranks, of which 0 is this thread; what else differs is set before. */
static void prepare(rank *ranks, uint32_t n, const char *path)
{
    net_reset();
    for (uint32_t i = 0; i < n; i++) {
        ranks[i] = (rank){ .number = i, .n = n, .path = path };
    }
}

static pumice_status start(rank *ranks, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        ranks[i].device = open_device(ranks[i].faulty, ranks[i].budget);
    }
    for (uint32_t i = 1; i < n; i++) {
        assert_int_equal(pthread_create(&ranks[i].thread, NULL, live, &ranks[i]), 0);
    }
    return ranks[0].loaded = load(&ranks[0]);
}

/* Ends all, and says how the others fared. */
static void end(rank *ranks, uint32_t n, pumice_status loaded, pumice_status served)
{
    pumice_model_destroy(&ranks[0].model);
    for (uint32_t i = 1; i < n; i++) pthread_join(ranks[i].thread, NULL);
    for (uint32_t i = 0; i < n; i++) {
        if (!ranks[i].faulty) assert_int_equal(pumice_device_validation_count(ranks[i].device), 0);
        pumice_device_destroy(&ranks[i].device);
        assert_int_equal(ranks[i].loaded, loaded);
        if (i > 0) assert_int_equal(ranks[i].served, served);
    }
    net_reset();
}

/* ---- tests ---- */

static void test_same_results(void **state)
{
    (void)state;
    static const uint32_t split[] = { 2, 1, 3 };
    char path[TEST_PATH_BYTES];
    results want = { 0 };
    bundled(path);
    pumice_device *device = open_device(false, 0);
    pumice_model *alone = test_model(device, path);
    use(alone, 25, &want);
    pumice_model_destroy(&alone);
    pumice_device_destroy(&device);
    for (uint32_t n = 2; n <= 3; n++) {
        rank ranks[MAX_RANKS];
        prepare(ranks, n, path);
        if (n == 3) ranks[0].split = split;
        if (start(ranks, n)) fail_msg("%s", ranks[0].err.text);
        pumice_model_part part = { .struct_size = sizeof part };
        assert_true(pumice_model_get_part(ranks[0].model, 0, &part));
        assert_false(pumice_model_get_part(ranks[0].model, 1, &part));
        if (n == 3) assert_int_equal(part.n_layers, 2);
        for (int round = 0; round < 2; round++) { /* one session after another */
            results got = { 0 };
            use(ranks[0].model, 25, &got);
            expect_same(&want, &got, "ranks");
            free(got.logits);
        }
        end(ranks, n, PUMICE_OK, PUMICE_OK);
    }
    free(want.logits);
}

/* An encoder and its decoder, each over two ranks. */
static void test_encoder(void **state)
{
    (void)state;
    static const uint32_t split[] = { 1, 2, 2 };
    static input_results want, got;
    char path[TEST_PATH_BYTES];
    rank ranks[MAX_RANKS];
    if (!test_data("golden/bart", path)) skip();
    pumice_device *device = open_device(false, 0);
    pumice_model *alone = test_model(device, path);
    use_encoder(alone, &want);
    pumice_model_destroy(&alone);
    pumice_device_destroy(&device);
    prepare(ranks, 3, path);
    ranks[0].split = split;
    if (start(ranks, 3)) fail_msg("%s", ranks[0].err.text);
    use_encoder(ranks[0].model, &got);
    expect_same_encoder(&want, &got, "ranks");
    end(ranks, 3, PUMICE_OK, PUMICE_OK);
    free(want.decoded.logits);
    free(got.decoded.logits);
}

static void test_load_fails(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES], other[TEST_PATH_BYTES];
    static const uint32_t bad_split[] = { 1, 2, 2 };
    bundled(path);
    for (int what = 0; what < 4; what++) {
        rank ranks[MAX_RANKS];
        static const pumice_status want[] = { PUMICE_ERROR_IO, PUMICE_ERROR_DEVICE_MEMORY,
                                              PUMICE_ERROR_INVALID, PUMICE_ERROR_INVALID };
        static const char *const says[] = { "rank 1: ", "no cut of them fits", "the split gives 5",
                                            "rank 2 has another model" };
        prepare(ranks, 3, path);
        if (what == 0) ranks[1].path = "/nonexistent/model.gguf";
        if (what == 1) ranks[2].budget = 200000;
        if (what == 2) ranks[0].split = bad_split;
        if (what == 3 && !test_data("golden/mistral_swa", other)) continue;
        if (what == 3) ranks[2].path = other;
        assert_int_equal(start(ranks, 3), want[what]);
        print_message("%s\n", ranks[0].err.text);
        assert_non_null(strstr(ranks[0].err.text, says[what]));
        end(ranks, 3, want[what], PUMICE_OK);
        assert_string_equal(ranks[1].err.text, ranks[0].err.text);
        assert_string_equal(ranks[2].err.text, ranks[0].err.text);
    }
}

static void test_stage_fails(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    bundled(path);
    for (uint32_t faulty = 1; faulty < 3; faulty++) {
        rank ranks[MAX_RANKS];
        pumice_session *session = NULL;
        pumice_session_params p = { .struct_size = sizeof p, .n_ctx_tokens = 128,
                                    .n_batch_tokens = BATCH };
        pumice_error err = { 0 };
        prepare(ranks, 3, path);
        ranks[faulty].faulty = true;
        if (start(ranks, 3)) fail_msg("%s", ranks[0].err.text);
        fault_vk_arm_name("vkAllocateMemory", VK_ERROR_OUT_OF_DEVICE_MEMORY);
        pumice_status status = pumice_session_create(ranks[0].model, &p, &session, &err);
        assert_int_equal(status, PUMICE_ERROR_DEVICE_MEMORY);
        assert_null(session);
        assert_true(err.text[0] != '\0');
        fault_vk_arm(0, VK_SUCCESS);
        session = test_session(ranks[0].model, &p); /* the next one is none the worse */
        assert_pumice_ok(session, pumice_session_sync(session, 0, prompt, N));
        assert_pumice_ok(session, pumice_session_clear(session, 0));
        fault_vk_arm_name("vkQueueSubmit", VK_ERROR_DEVICE_LOST);
        assert_int_equal(pumice_session_sync(session, 0, prompt, N), PUMICE_ERROR_DEVICE_LOST);
        print_message("%s\n", pumice_session_error(session));
        fault_vk_arm(0, VK_SUCCESS);
        assert_int_equal(pumice_session_sync(session, 0, prompt, N), PUMICE_ERROR_DEVICE_LOST);
        pumice_session_destroy(&session);
        end(ranks, 3, PUMICE_OK, PUMICE_OK);
        assert_int_equal(fault_vk_live(), 0);
    }
}

/* After any number of messages the network is gone, for all. */
static void test_unreachable(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    bool whole = false;
    int failures = 0;
    bundled(path);
    for (long left = 0; !whole; left += 1 + left / 4) {
        rank ranks[MAX_RANKS];
        pumice_session *session = NULL;
        pumice_session_params p = { .struct_size = sizeof p, .n_ctx_tokens = 128,
                                    .n_batch_tokens = BATCH };
        int32_t token[1];
        uint32_t seq = 0;
        pumice_error err = { 0 };
        prepare(ranks, 2, path);
        net.left = left;
        pumice_status status = start(ranks, 2);
        if (status == PUMICE_OK) status = pumice_session_create(ranks[0].model, &p, &session, &err);
        if (status == PUMICE_OK) status = pumice_session_sync(session, 0, prompt, N);
        if (status == PUMICE_OK) status = pumice_session_next(session, &seq, 1, NULL, token);
        whole = status == PUMICE_OK;
        if (!whole) {
            failures++;
            assert_int_equal(status, PUMICE_ERROR_INTERNAL);
            const char *text = session ? pumice_session_error(session)
                                       : err.text[0] ? err.text : ranks[0].err.text;
            assert_non_null(strstr(text, "cannot be reached"));
        }
        if (session && !whole) { /* lost is lost */
            assert_int_equal(pumice_session_sync(session, 0, prompt, 3), PUMICE_ERROR_INTERNAL);
        }
        pumice_session_destroy(&session);
        pumice_model_destroy(&ranks[0].model);
        pthread_mutex_lock(&net.lock);
        net.gone = true; /* as when the group is ended */
        pthread_cond_broadcast(&net.changed);
        pthread_mutex_unlock(&net.lock);
        pthread_join(ranks[1].thread, NULL);
        for (int i = 0; i < 2; i++) pumice_device_destroy(&ranks[i].device);
        net_reset();
    }
    print_message("%d failures\n", failures);
    assert_true(failures > 8);
}

static void test_misuse(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    rank ranks[MAX_RANKS];
    pumice_session *session = NULL, *second = NULL;
    pumice_error err = { 0 };
    bundled(path);
    prepare(ranks, 2, path);
    if (start(ranks, 2)) fail_msg("%s", ranks[0].err.text);
    assert_int_equal(pumice_model_serve(ranks[0].model, &err), PUMICE_ERROR_INVALID);
    session = test_session(ranks[0].model, NULL);
    err = (pumice_error){ 0 };
    assert_int_equal(pumice_session_create(ranks[0].model, NULL, &second, &err),
                     PUMICE_ERROR_INVALID);
    assert_non_null(strstr(err.text, "one session at a time"));
    pumice_session_destroy(&session);
    session = test_session(ranks[0].model, NULL);
    assert_pumice_ok(session, pumice_session_sync(session, 0, prompt, N));
    pumice_session_destroy(&session);
    end(ranks, 2, PUMICE_OK, PUMICE_OK);

    prepare(ranks, 1, path);
    ranks[0].device = open_device(false, 0);
    ranks[0].number = 1; /* of one */
    assert_int_equal(load(&ranks[0]), PUMICE_ERROR_INVALID);
    ranks[0].number = 0; /* alone it is as if there were no transport */
    ranks[0].err = (pumice_error){ 0 };
    assert_int_equal(load(&ranks[0]), PUMICE_OK);
    session = test_session(ranks[0].model, NULL);
    second = test_session(ranks[0].model, NULL);
    assert_pumice_ok(session, pumice_session_sync(session, 0, prompt, N));
    pumice_session_destroy(&session);
    pumice_session_destroy(&second);
    pumice_model_destroy(&ranks[0].model);
    pumice_device_destroy(&ranks[0].device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_results), cmocka_unit_test(test_encoder),
        cmocka_unit_test(test_load_fails),
        cmocka_unit_test(test_stage_fails),  cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_misuse),
    };
    make_prompt();
    test_keep_modules();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
