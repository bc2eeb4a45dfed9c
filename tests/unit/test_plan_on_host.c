/* SPDX-License-Identifier: Apache-2.0
 * Whole plans run on the host's reference kernels, in double precision and without any driver: if
 * the stored logits come out, then the loader, the graph, fusion, memory reuse and the arguments of
 * every step are right, and what is left to the device is its kernels. Skipped without the test
 * data. */
#include <math.h>

#include "ref.h"
#include "stage.h"
#include "testing.h"

typedef struct host {
    pum_gguf *gguf;
    pum_model_def def;
    pum_caps caps;
    pum_tuning tuning;
    pum_session_size size;
    pum_placement weights, kv;
    uint8_t *arena, *step, *logits, **weight_data, **kv_data;
} host;

static void host_open(host *h, const char *path, const char *profile)
{
    pumice_error err = { 0 };
    pumice_session_params params = { .struct_size = sizeof params,
                                     .n_ctx_tokens = 96,
                                     .n_batch_tokens = 64,
                                     .kv_type_k = PUMICE_KV_F32,
                                     .kv_type_v = PUMICE_KV_F32 };
    *h = (host){ 0 };
    if (pum_gguf_open(path, &h->gguf, &err) || pum_model_def_load(h->gguf, &h->def, &err))
        fail_msg("%s", err.text);
    assert_true(pum_caps_profile(profile, &h->caps));
    if (strcmp(profile, "minimal") == 0)
        h->caps.max_buffer_range_bytes = 100 << 10; /* even this model is cut */
    pum_tuning_for(&h->caps, &h->tuning);
    if (pum_session_size_make(&h->def, &params, &h->size, &err) ||
        pum_weights_place(&h->def, &h->caps, false, &h->weights, &err) ||
        pum_kv_place(&h->def, &h->caps, h->size.kv_k, h->size.kv_v, h->size.pages, &h->kv, &err)) {
        fail_msg("%s", err.text);
    }
    h->size.logits_rows = 32;
    h->weight_data = calloc(h->weights.buffer_bytes.count, sizeof *h->weight_data);
    h->kv_data = calloc(h->kv.buffer_bytes.count, sizeof *h->kv_data);
    for (size_t i = 0; i < h->weights.buffer_bytes.count; i++)
        h->weight_data[i] = calloc(1, h->weights.buffer_bytes.data[i]);
    for (size_t i = 0; i < h->kv.buffer_bytes.count; i++)
        h->kv_data[i] = calloc(1, h->kv.buffer_bytes.data[i]);
    for (size_t i = 0; i < h->weights.pieces.count; i++) {
        const pum_piece *p = &h->weights.pieces.data[i];
        const pum_weight *w = &h->def.weights.data[p->tensor];
        pum_dtype_pack_rows(w->dtype, p->row_count, w->cols,
                            (const uint8_t *)w->data + p->row_first * w->row_bytes,
                            h->weight_data[p->buffer] + p->offset_bytes);
    }
    h->step = calloc(4, h->size.step.words);
    h->logits = calloc(4, (size_t)h->size.logits_rows * h->def.hp.n_vocab);
    h->arena = malloc(64 << 20);
    memset(h->arena, 0xff, 64 << 20); /* NaN: what is read must have been written */
    uint32_t *table = (uint32_t *)h->step + h->size.step.table_at;
    for (uint32_t i = 0; i < h->size.pages_per_sequence; i++)
        table[i] = h->size.pages_per_sequence - 1 - i;
}

static void host_close(host *h)
{
    for (size_t i = 0; i < h->weights.buffer_bytes.count; i++) free(h->weight_data[i]);
    for (size_t i = 0; i < h->kv.buffer_bytes.count; i++) free(h->kv_data[i]);
    free(h->weight_data);
    free(h->kv_data);
    free(h->step);
    free(h->logits);
    free(h->arena);
    pum_placement_free(&h->weights);
    pum_placement_free(&h->kv);
    pum_model_def_free(&h->def);
    pum_gguf_close(&h->gguf);
}

static uint8_t *host_buffer(host *h, uint32_t buffer)
{
    if (buffer >= PUM_BUFFER_WEIGHT) return h->weight_data[buffer - PUM_BUFFER_WEIGHT];
    if (buffer >= PUM_BUFFER_KV) return h->kv_data[buffer - PUM_BUFFER_KV];
    return buffer == PUM_BUFFER_ARENA ? h->arena : buffer == PUM_BUFFER_STEP ? h->step : h->logits;
}

static void host_run(host *h, const pum_build *build, const pum_plan_options *options)
{
    pum_graph graph;
    pum_plan plan;
    pumice_error err = { 0 };
    if (pum_model_build(&h->def, build, &graph, &err) ||
        pum_plan_make(&graph, &h->caps, &h->tuning, &h->weights, &h->kv, options, &plan, &err) ||
        pum_plan_check(&plan, &h->caps, &h->weights, &h->kv, &err)) {
        fail_msg("%s", err.text);
    }
    assert_true(plan.arena_bytes <= 64 << 20);
    for (size_t i = 0; i < plan.steps.count; i++) {
        const pum_step *s = &plan.steps.data[i];
        const pum_kernel_info *k = &pum_kernels[s->kernel];
        pum_ref_step ref = {
            .family = k->family, .weight = (pum_dtype)k->weight, .spec = s->spec, .args = s->args
        };
        for (uint32_t b = 0; b < k->n_bindings; b++) {
            ref.bind[b].data = host_buffer(h, s->bind[b].buffer) + s->bind[b].offset_bytes;
            ref.bind[b].bytes = s->bind[b].size_bytes;
        }
        if (!pum_ref_run(&ref)) fail_msg("step %zu (%s): the reference refuses it", i, s->label);
    }
    pum_plan_free(&plan);
    pum_graph_free(&graph);
}

static void write_row(host *h, uint32_t row, int32_t token, uint32_t position)
{
    uint32_t *w = (uint32_t *)h->step + STEP_ROWS_AT + row * STEP_ROW_WORDS;
    w[ROW_TOKEN] = (uint32_t)token;
    w[ROW_POS] = w[ROW_CELL] = position;
    w[ROW_SEQ] = w[ROW_LO] = 0;
    w[ROW_HI] = position + 1;
}

static size_t read_ids(const char *path, int32_t *ids, size_t capacity)
{
    FILE *f = fopen(path, "r");
    size_t n = 0;
    int c;
    assert_non_null(f);
    while (n < capacity && (c = fgetc(f)) != EOF) {
        if (c >= '0' && c <= '9') {
            ungetc(c, f);
            assert_int_equal(fscanf(f, "%d", &ids[n++]), 1);
        }
    }
    fclose(f);
    return n;
}

enum { ROWS = 48, VOCAB = 512 };

static void check(const char *model, const char *profile, const pum_plan_options *options,
                  double worst_allowed)
{
    char path[TEST_PATH_BYTES], ids_path[TEST_PATH_BYTES], logits_path[TEST_PATH_BYTES];
    if (!test_data(model, path) || !test_data("stories260K/greedy_ids.json", ids_path) ||
        !test_data("stories260K/logits64.f32", logits_path)) {
        skip();
    }
    static float want[64 * VOCAB];
    int32_t ids[64];
    assert_int_equal(read_ids(ids_path, ids, 64), 64);
    FILE *f = fopen(logits_path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(want, sizeof *want, 64 * VOCAB, f), 64 * VOCAB);
    fclose(f);
    host h;
    host_open(&h, path, profile);
    pum_build build = { .rows = 32,
                        .one_sequence = true,
                        .head = PUM_HEAD_ALL,
                        .kv_type_k = h.size.kv_k,
                        .kv_type_v = h.size.kv_v,
                        .kv_cells = h.size.pages * KV_PAGE,
                        .step = h.size.step,
                        .logits_rows = h.size.logits_rows };
    double worst = 0;
    for (uint32_t at = 0; at < ROWS;) { /* a prompt of 32 rows, then steps of one */
        build.rows = at == 0 ? 32 : 1;
        for (uint32_t r = 0; r < build.rows; r++) write_row(&h, r, ids[at + r], at + r);
        host_run(&h, &build, options);
        for (uint32_t i = 0; i < build.rows * VOCAB; i++) {
            double d = fabs((double)((float *)h.logits)[i] - want[at * VOCAB + i]);
            assert_true(d <= 1e6);
            worst = d > worst ? d : worst;
        }
        at += build.rows;
    }
    print_message("%s on %s: worst difference %.2e\n", model, profile, worst);
    assert_true(worst <= worst_allowed);
    host_close(&h);
}

static void test_fused(void **state)
{
    (void)state;
    check("stories260K/stories260K-F32.gguf", "lavapipe", NULL, 2e-4);
}

static void test_unfused_without_reuse(void **state)
{
    (void)state;
    pum_plan_options options = { .no_fusion = true, .no_reuse = true };
    check("stories260K/stories260K-F32.gguf", "navi31", &options, 2e-4);
}

static void test_split_on_a_minimal_device(void **state)
{
    (void)state;
    check("stories260K/stories260K-F32.gguf", "minimal", NULL, 2e-4);
}

static void test_quantized(void **state)
{
    (void)state;
    check("stories260K/stories260K-Q8_0.gguf", "swiftshader", NULL, 0.5);
}

/* The whole in 8 bits but for the prompt, which has too many rows. The bound is of the logits, which are up to 20. */
static void test_q8_activations(void **state)
{
    (void)state;
    pum_plan_options options = { .q8_activations = true };
    check("stories260K/stories260K-Q8_0.gguf", "navi31", &options, 0.5);
}

static pum_plan plan_pass(host *h, pum_pass_key key)
{
    pum_plan_options options = { 0 };
    pum_plan plan;
    pumice_error err = { 0 };
    if (pum_pass_plan(&h->def, &h->size, &h->caps, &h->tuning, &h->weights, &h->kv, &options, &key, &plan, &err))
        fail_msg("%s", err.text);
    assert_true(plan.steps.count > 0);
    return plan;
}

/* Steps of a plan whose pipelines the other does not have. */
static size_t count_others(pum_plan plan, const pum_plan *other)
{
    size_t count = 0;
    for (size_t i = 0; i < plan.steps.count; i++) {
        const pum_step *a = &plan.steps.data[i], *b = other->steps.data, *end = b + other->steps.count;
        while (b < end && (a->kernel != b->kernel || memcmp(a->spec, b->spec, sizeof a->spec) != 0)) b++;
        count += b == end;
    }
    pum_plan_free(&plan);
    return count;
}

/* Prompts that go row by row take no pipeline that decoding does not have; others do. */
static void test_rows_by_row(void **state)
{
    (void)state;
    static const char *const profiles[] = { "lavapipe", "swiftshader" };
    static const uint32_t rows[] = { 2, 3, 4, 7, 8, 31, 64 };
    char path[TEST_PATH_BYTES];
    test_source("models/pumice-stories.gguf", path);
    for (size_t p = 0; p < PUM_COUNT(profiles); p++) {
        host h;
        host_open(&h, path, profiles[p]);
        pum_plan decode = plan_pass(&h, (pum_pass_key){ .rows = 1, .n_slots = 1, .head = PUM_HEAD_SLOTS });
        for (size_t i = 0; i < PUM_COUNT(rows); i++) {
            pum_pass_key key = { .rows = rows[i], .one_sequence = true, .row_by_row = true };
            assert_int_equal(count_others(plan_pass(&h, key), &decode), 0);
            key.row_by_row = false;
            if (rows[i] > 3) assert_true(count_others(plan_pass(&h, key), &decode) > 0);
        }
        pum_plan_free(&decode);
        host_close(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_by_row),
        cmocka_unit_test(test_fused),
        cmocka_unit_test(test_unfused_without_reuse),
        cmocka_unit_test(test_split_on_a_minimal_device),
        cmocka_unit_test(test_quantized),
        cmocka_unit_test(test_q8_activations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
