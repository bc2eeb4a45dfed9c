/* SPDX-License-Identifier: Apache-2.0
 * Hugging Face directories against the original implementations: for every directory under
 * PUMICE_TEST_DATA/golden (and stories260K/hf) the logits of every case and its greedy continuation,
 * with the KV cache in f32. A directory whose architecture does not run yet must be listed below,
 * and one that is listed must not run: nothing passes silently. */
#include "golden.h"

static const double MAX_DIFFERENCE = 2e-3, MAX_RELATIVE = 1e-3;

/* Directories whose networks this version does not have; none now. */
static const char *const not_yet[] = { NULL };

static bool is_listed(const char *name)
{
    for (size_t i = 0; not_yet[i]; i++) {
        if (strcmp(name, not_yet[i]) == 0) return true;
    }
    return false;
}

/* ---- one case ---- */

typedef struct compare {
    const json_t *positions;
    const float *want;
    size_t next; /* row of `want` */
    double largest, difference2, want2;
} compare;

static int on_row(void *user, size_t position, const float *logits, uint32_t n_vocab)
{
    compare *c = user;
    json_int_t at = json_integer_value(json_array_get(c->positions, c->next));
    if (c->next >= json_array_size(c->positions) || at != (json_int_t)position) return 0;
    const float *want = c->want + c->next++ * n_vocab;
    for (uint32_t i = 0; i < n_vocab; i++) {
        double d = fabs((double)logits[i] - (double)want[i]);
        if (!(d <= c->largest)) c->largest = d; /* NaN stays */
        c->difference2 += d * d;
        c->want2 += (double)want[i] * want[i];
    }
    return 0;
}

static const json_t *logits_of(const json_t *test_case)
{
    const json_t *logits = json_object_get(test_case, "logits");
    return logits ? logits : json_object_get(test_case, "decoder_logits");
}

static int check_logits(pumice_session *s, const char *folder, const char *name,
                        const json_t *test_case, const ids *prompt)
{
    const json_t *logits = logits_of(test_case);
    const json_t *shape = json_object_get(logits, "shape");
    size_t n = (size_t)(json_integer_value(json_array_get(shape, 0)) *
                        json_integer_value(json_array_get(shape, 1)));
    float *want = read_f32(folder, json_string_value(json_object_get(logits, "file")), n);
    compare c = { .positions = json_object_get(logits, "positions"), .want = want };
    golden_begin(s, test_case);
    assert_pumice_ok(s, pumice_session_eval_logits(s, 0, prompt->data, prompt->count, on_row, &c));
    free(want);
    assert_int_equal(c.next, json_array_size(c.positions));
    double relative = sqrt(c.difference2 / c.want2);
    bool good = c.largest <= MAX_DIFFERENCE && relative <= MAX_RELATIVE;
    if (!good) {
        print_message("%s: logits differ by %.2e, relative %.2e\n", name, c.largest, relative);
    }
    return !good;
}

/* ---- one directory ---- */

static int check_cases(pumice_model *model, const char *folder, const char *label,
                       const json_t *cases)
{
    pumice_session_params params = { .struct_size = sizeof params,
                                     .n_ctx_tokens = 512,
                                     .kv_type_k = PUMICE_KV_F32,
                                     .kv_type_v = PUMICE_KV_F32 };
    pumice_model_info info = { .struct_size = sizeof info };
    assert_int_equal(pumice_model_get_info(model, &info), PUMICE_OK);
    if (info.n_ctx_train < params.n_ctx_tokens) params.n_ctx_tokens = info.n_ctx_train;
    pumice_session *s = test_session(model, &params);
    int bad = 0, done = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i);
        char name[256];
        const json_t *decoder = json_object_get(one, "decoder_input_ids");
        if (!logits_of(one) || !json_object_get(one, "input_ids")) continue;
        snprintf(name, sizeof name, "%s, %s", label,
                 json_string_value(json_object_get(one, "name")));
        ids prompt = read_ids(decoder ? decoder : json_object_get(one, "input_ids"));
        bad += check_logits(s, folder, name, one, &prompt);
        if (decoder) prompt.count = 1; /* generation begins with the start token alone */
        if (json_object_get(one, "greedy")) bad += golden_greedy(s, name, one, &prompt, MAX_IDS);
        done++;
    }
    pumice_session_destroy(&s);
    assert_true(done > 0);
    return bad;
}

static int check_directory(pumice_device *device, const char *folder, const char *label)
{
    char path[2 * TEST_PATH_BYTES];
    json_error_t e;
    pumice_error err = { 0 };
    pumice_model *model = NULL;
    pumice_model_params params = { .struct_size = sizeof params, .path = folder };
    pumice_status status = pumice_model_load(device, &params, &model, &err);
    bool listed = is_listed(label);
    if (status != PUMICE_OK && listed && status == PUMICE_ERROR_UNSUPPORTED) {
        print_message("not yet: %s\n", err.text);
        return 0;
    }
    if (status != PUMICE_OK || listed) {
        print_message("%s: %s\n", label, listed ? "runs now: take it off the list" : err.text);
        pumice_model_destroy(&model);
        return 1;
    }
    snprintf(path, sizeof path, "%s/golden.json", folder);
    json_t *golden = json_load_file(path, 0, &e);
    assert_non_null(golden);
    int bad = check_cases(model, folder, label, json_object_get(golden, "cases"));
    json_decref(golden);
    pumice_model_destroy(&model);
    return bad;
}

/* ---- all of them ---- */

static int check_golden(void *user, const char *folder, const char *name)
{
    return check_directory(user, folder, name);
}

static void test_golden(void **state)
{
    char root[TEST_PATH_BYTES];
    (void)state;
    if (!test_data("golden", root)) skip();
    pumice_device *device = test_device_proving(NULL, 1, 1);
    int bad = golden_each(root, device, check_golden);
    pumice_device_destroy(&device);
    assert_int_equal(bad, 0);
}

/* ---- variants of ChatGLM-6B that differ in one key, which only a GGUF file can say ---- */

/* Overwrites the value of a key in a GGUF file: it stands behind the name and its type. */
static void patch_key(const char *path, const char *key, const void *value, size_t bytes)
{
    static char data[4 << 20];
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    size_t n = fread(data, 1, sizeof data, f);
    const char *at = memmem(data, n, key, strlen(key));
    assert_non_null(at);
    assert_int_equal(fseek(f, (long)(at - data) + (long)strlen(key) + 4, SEEK_SET), 0);
    assert_int_equal(fwrite(value, 1, bytes, f), bytes);
    fclose(f);
}

static int check_variant(pumice_device *device, const char *folder, const char *name,
                         const char *key, const void *value, size_t bytes)
{
    char file[] = "/tmp/pumice-variant-XXXXXX", path[TEST_PATH_BYTES + 64];
    json_error_t e;
    pumice_error err = { 0 };
    int fd = mkstemp(file);
    assert_true(fd >= 0);
    close(fd);
    pumice_quantize_params p = { .struct_size = sizeof p, .in_path = folder, .out_path = file };
    assert_int_equal(pumice_convert(device, &p, &err), PUMICE_OK);
    patch_key(file, key, value, bytes);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    json_t *golden = json_load_file(path, 0, &e);
    assert_non_null(golden);
    pumice_model *model = test_model(device, file);
    int bad = check_cases(model, folder, name, json_object_get(golden, "cases"));
    pumice_model_destroy(&model);
    json_decref(golden);
    unlink(file);
    return bad;
}

static void test_variants(void **state)
{
    char folder[TEST_PATH_BYTES];
    const float alpha = 2.44948974f; /* sqrt(2 * 3 layers), and not of 28 */
    const uint8_t exact = 0;
    (void)state;
    if (!test_data("golden/chatglm_6b", folder)) skip();
    pumice_device *device = test_device(NULL, 1);
    int bad = check_variant(device, folder, "golden_alpha_num_layers.json", "deepnorm_alpha",
                            &alpha, sizeof alpha);
    bad += check_variant(device, folder, "golden_exact_inv_freq.json", "rope.freq_f16", &exact, 1);
    pumice_device_destroy(&device);
    assert_int_equal(bad, 0);
}

static void test_stories(void **state)
{
    char folder[TEST_PATH_BYTES];
    (void)state;
    if (!test_data("stories260K/hf", folder)) skip();
    pumice_device *device = test_device_proving(NULL, 1, 1);
    int bad = check_directory(device, folder, "stories260K/hf");
    pumice_device_destroy(&device);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_stories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
