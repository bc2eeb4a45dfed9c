/* SPDX-License-Identifier: Apache-2.0
 * The self-test: a driver that computes a kernel wrongly (code of the kernel with one operation
 * exchanged stands in for it) is found out, named once, and gives the same tokens as a right one
 * through another kernel, now and in the next run; where there is no other, one sentence says so. */
#include <dirent.h>

#include "api.h"
#include "kernels_spv.h"
#include "task.h"
#include "testing.h"

enum { TOKENS = 12, SPIRV_HEAD = 5, MOST_WORDS = 1 << 16 };
enum { OP_U_TO_F = 112, OP_S_TO_F = 111, OP_FADD = 129, OP_FMUL = 133 };

typedef struct outcome {
    pumice_status status;
    int warnings;
    int apart; /* times that a second device compiled something */
    int made;  /* times that pipelines were made */
    char warning[512], error[512];
    int32_t tokens[TOKENS];
    uint64_t self_test_ns;
} outcome;

typedef struct fixture {
    char cache[64];
    uint32_t words[MOST_WORDS];
    pum_vk_kernel_words wrong;
} fixture;

static int32_t right[TOKENS]; /* of a run without the self-test */

/* The kernel with its multiplications made additions and its negative weights huge. */
static const pum_vk_kernel_words *spoil(fixture *f, uint32_t kernel)
{
    const pum_spirv *code = &pum_kernel_spirv[kernel];
    assert_true(code->bytes <= sizeof f->words);
    memcpy(f->words, code->words, code->bytes);
    for (size_t i = SPIRV_HEAD; i < code->bytes / 4; i += f->words[i] >> 16) {
        uint32_t op = f->words[i] & 0xffff, kept = f->words[i] & 0xffff0000u;
        if (op == OP_FMUL) f->words[i] = kept | OP_FADD;
        if (op == OP_S_TO_F) f->words[i] = kept | OP_U_TO_F;
    }
    f->wrong = (pum_vk_kernel_words){ kernel, f->words, code->bytes };
    return &f->wrong;
}

static void on_log(void *user, pumice_log_level level, const char *text)
{
    outcome *o = user;
    if (level == PUMICE_LOG_ERROR) print_message("[error] %s\n", text);
    if (strstr(text, " pipelines created in ")) o->made++;
    if (strstr(text, " compiled by a second device") && !strstr(text, ", 0 compiled")) o->apart++;
    if (level != PUMICE_LOG_WARNING) return;
    o->warnings++;
    snprintf(o->warning, sizeof o->warning, "%s", text);
}

/* A device as pumice_device_create makes it, but with other code for a kernel. */
static pumice_device *open_device(const pum_vk_params *params, bool no_self_test)
{
    pumice_device *d = pum_alloc(sizeof *d);
    pumice_error err = { 0 };
    assert_non_null(d);
    if (pum_vk_device_create(params, &d->vk, &err) != PUMICE_OK) fail_msg("no device: %s", err.text);
    atomic_init(&d->references, 1);
    pum_tuning_for(pum_vk_device_caps(d->vk), &d->tuning);
    d->no_self_test = no_self_test;
    return d;
}

static void run(const fixture *f, const pum_vk_kernel_words *wrong, bool no_self_test, outcome *out)
{
    char path[TEST_PATH_BYTES];
    pum_vk_params params = { .cache_dir = f->cache, .replaced = wrong, .log = { on_log, out },
                             .validation = !getenv("PUMICE_TEST_NO_VALIDATION") };
    *out = (outcome){ 0 };
    test_source("models/pumice-stories.gguf", path);
    pumice_device *device = open_device(&params, no_self_test);
    pumice_model *model = test_model(device, path);
    /* batches that the prompt does not fit, so that it does not go row by row and takes the kernel of norms */
    pumice_session_params sp = { .struct_size = sizeof sp, .n_ctx_tokens = 64, .n_batch_tokens = 8 };
    pumice_session *s = NULL;
    pumice_error err = { 0 };
    out->status = pumice_session_create(model, &sp, &s, &err);
    int32_t prompt[] = { 1, 300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310 };
    uint32_t seq = 0;
    if (out->status == PUMICE_OK) out->status = pumice_session_sync(s, 0, prompt, PUM_COUNT(prompt));
    for (int i = 0; i < TOKENS && out->status == PUMICE_OK; i++) {
        out->status = pumice_session_next(s, &seq, 1, NULL, &out->tokens[i]);
    }
    snprintf(out->error, sizeof out->error, "%s", s ? pumice_session_error(s) : err.text);
    pumice_timings t = { .struct_size = sizeof t };
    if (s) pumice_session_get_timings(s, &t);
    out->self_test_ns = t.self_test_ns;
    assert_int_equal(pumice_device_validation_count(device), 0);
    pumice_session_destroy(&s);
    pumice_model_destroy(&model);
    pumice_device_destroy(&device);
}

/* How often pipelines are made after a model is loaded, up to the second token. */
static int made_late(const fixture *f, float temperature, bool told)
{
    char path[TEST_PATH_BYTES];
    outcome o = { 0 };
    pum_vk_params params = { .cache_dir = f->cache, .log = { on_log, &o },
                             .validation = !getenv("PUMICE_TEST_NO_VALIDATION") };
    test_source("models/pumice-stories.gguf", path);
    pumice_device *device = open_device(&params, false);
    const pumice_session_params sp = { .struct_size = sizeof sp, .n_ctx_tokens = 64 };
    const pumice_sampling sampling = { .struct_size = sizeof sampling, .temperature = temperature };
    const pumice_model_params mp = { .struct_size = sizeof mp, .path = path, .session = &sp,
                                     .sampling = told ? &sampling : NULL };
    pumice_model *model = NULL;
    pumice_error err = { 0 };
    if (pumice_model_load(device, &mp, &model, &err) != PUMICE_OK) fail_msg("no model: %s", err.text);
    int before = o.made;
    assert_true(before > 0);
    pumice_session *s = test_session(model, &sp);
    const int32_t bos = 1;
    int32_t token;
    uint32_t seq = 0;
    assert_pumice_ok(s, pumice_session_sync(s, 0, &bos, 1));
    assert_pumice_ok(s, pumice_session_next(s, &seq, 1, &sampling, &token));
    assert_pumice_ok(s, pumice_session_next(s, &seq, 1, &sampling, &token));
    pumice_session_destroy(&s);
    pumice_model_destroy(&model);
    pumice_device_destroy(&device);
    return o.made - before;
}

static void test_made_ahead(void **state)
{
    const fixture *f = *state;
    assert_int_equal(made_late(f, 0, true), 0);
    assert_int_equal(made_late(f, 0.8f, true), 0);
    assert_true(made_late(f, 0, false) > 0);
}

static uint32_t norm_in_use(const fixture *f)
{
    pum_vk_params params = { .cache_dir = f->cache };
    pumice_device *d = open_device(&params, false);
    pum_caps caps;
    pum_vk_trusted_caps(d->vk, &caps);
    int kernel = pum_kernel_find(PUM_FAMILY_NORM, PUM_DTYPE_COUNT, &caps, 0);
    pumice_device_destroy(&d);
    assert_true(kernel >= 0);
    return (uint32_t)kernel;
}

/* Of a driver that compiles late, where there are cores for two compilers. */
static bool compiles_apart(const fixture *f)
{
    pum_vk_params params = { .cache_dir = f->cache };
    pumice_device *d = open_device(&params, false);
    bool late = pum_vk_device_caps(d->vk)->flags & PUM_FLAG_LATE_COMPILE;
    pumice_device_destroy(&d);
    return late && pum_core_count() > 1;
}

static int begin(void **state)
{
    fixture *f = pum_alloc(sizeof *f);
    assert_non_null(f);
    snprintf(f->cache, sizeof f->cache, "/tmp/pumice-self-test-XXXXXX");
    assert_non_null(mkdtemp(f->cache));
    *state = f;
    return 0;
}

/* Calls `visit` with the path of every file of the cache folder whose name ends so. */
static int each_file(const fixture *f, const char *ending, void (*visit)(const char *path))
{
    DIR *dir = opendir(f->cache);
    int n = 0;
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        char path[TEST_PATH_BYTES];
        size_t length = strlen(e->d_name), tail = strlen(ending);
        if (e->d_name[0] == '.' || length < tail || strcmp(e->d_name + length - tail, ending) != 0) continue;
        snprintf(path, sizeof path, "%s/%s", f->cache, e->d_name);
        visit(path);
        n++;
    }
    closedir(dir);
    return n;
}

static void delete(const char *path) { assert_int_equal(unlink(path), 0); }

static void damage(const char *path)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fputs("pumice-proven 1\nright zzz\nwrong \nwrong no_such_kernel\n\n\xff\xfe", file);
    fclose(file);
}

static int end(void **state)
{
    fixture *f = *state;
    each_file(f, "", delete);
    rmdir(f->cache);
    pum_free(f);
    return 0;
}

static void test_right(void **state)
{
    fixture *f = *state;
    outcome o;
    run(f, NULL, false, &o);
    assert_int_equal(o.status, PUMICE_OK);
    assert_int_equal(o.warnings, 0);
    assert_true(o.self_test_ns > 0);
    assert_memory_equal(o.tokens, right, sizeof right);
    assert_int_equal(o.apart > 0, compiles_apart(f));
    uint64_t first = o.self_test_ns;
    run(f, NULL, false, &o); /* known by now: only looking that up takes time */
    assert_true(o.self_test_ns < first / 2);
    assert_int_equal(o.apart, 0);
    assert_int_equal(each_file(f, ".proven", damage), 1);
    run(f, NULL, false, &o);
    assert_int_equal(o.status, PUMICE_OK);
    assert_int_equal(o.warnings, 0);
    assert_memory_equal(o.tokens, right, sizeof right);
}

static void test_wrong_and_replaced(void **state)
{
    fixture *f = *state;
    outcome o;
    uint32_t kernel = norm_in_use(f);
    if (pum_kernels[kernel].tier == PUM_TIER_BASE) skip();
    const pum_vk_kernel_words *wrong = spoil(f, kernel);
    run(f, wrong, true, &o); /* what a user would get */
    assert_int_equal(o.status, PUMICE_OK);
    assert_memory_not_equal(o.tokens, right, sizeof right);
    run(f, wrong, false, &o);
    if (o.status != PUMICE_OK) fail_msg("%s", o.error);
    assert_int_equal(o.warnings, 1);
    assert_non_null(strstr(o.warning, pum_kernels[kernel].name));
    assert_memory_equal(o.tokens, right, sizeof right);
    run(f, wrong, false, &o); /* remembered */
    assert_int_equal(o.status, PUMICE_OK);
    assert_int_equal(o.warnings, 0);
    assert_memory_equal(o.tokens, right, sizeof right);
    assert_int_equal(norm_in_use(f), PUM_KERNEL_norm_base);
}

static void test_wrong_without_another(void **state)
{
    fixture *f = *state;
    outcome o;
    run(f, spoil(f, PUM_KERNEL_embed_q8_0_base), false, &o);
    assert_int_equal(o.status, PUMICE_ERROR_UNSUPPORTED);
    assert_int_equal(o.warnings, 1);
    if (!strstr(o.error, "'embed' kernel")) fail_msg("%s", o.error);
    assert_non_null(strstr(o.error, "update the driver"));
    run(f, NULL, false, &o); /* the next run knows */
    assert_int_equal(o.status, PUMICE_ERROR_UNSUPPORTED);
    assert_int_equal(o.warnings, 0);
    assert_non_null(strstr(o.error, "update the driver"));
}

static int begin_all(void **state)
{
    outcome o;
    test_keep_modules();
    begin(state);
    run(*state, NULL, true, &o);
    if (o.status != PUMICE_OK) fail_msg("%s", o.error);
    memcpy(right, o.tokens, sizeof right);
    return end(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_made_ahead, begin, end),
        cmocka_unit_test_setup_teardown(test_right, begin, end),
        cmocka_unit_test_setup_teardown(test_wrong_and_replaced, begin, end),
        cmocka_unit_test_setup_teardown(test_wrong_without_another, begin, end),
    };
    return cmocka_run_group_tests(tests, begin_all, NULL);
}
