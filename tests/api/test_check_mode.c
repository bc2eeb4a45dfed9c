/* SPDX-License-Identifier: Apache-2.0
 * Check mode on the bundled model: every step of a prompt and of single tokens, on the driver that
 * is there, agrees with the host's reference kernels on the same inputs; with KV caches of both
 * types, fused and not, with and without subgroups. A step that was tampered with is named. */
#include "api.h"
#include "vk_tools.h"

typedef struct bench {
    vk_log log;
    pum_vk_device *device;
    const pum_caps *caps;
    pum_gguf *gguf;
    pum_model_def def;
    pum_tuning tuning;
    pum_session_size size;
    pum_placement weights_at, kv_at;
    pum_vk_buffer *weights, *kv, arena, step, logits;
} bench;

enum { PROMPT = 12, ARENA_BYTES = 32 << 20 };

static pum_vk_buffer *make_buffers(bench *b, const pum_placement *place, const char *what)
{
    pumice_error err = { 0 };
    size_t n = place->buffer_bytes.count;
    pum_vk_buffer *buffers = calloc(n, sizeof *buffers);
    assert_non_null(buffers);
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = place->buffer_bytes.data[i];
        assert_vk_ok(pum_vk_buffer_create(b->device, PUM_VK_DEVICE, bytes, what, &buffers[i], &err),
                     err);
        assert_vk_ok(pum_vk_buffer_fill(b->device, &buffers[i], 0, bytes / 4 * 4, 0, &err), err);
    }
    return buffers;
}

static void bench_open(bench *b, uint32_t disable, pumice_kv_type kv)
{
    pumice_error err = { 0 };
    char path[TEST_PATH_BYTES];
    pumice_session_params params = { .struct_size = sizeof params,
                                     .n_ctx_tokens = 64,
                                     .n_batch_tokens = 16,
                                     .kv_type_k = kv,
                                     .kv_type_v = kv };
    *b = (bench){ 0 };
    pum_vk_params p = vk_params(&b->log, disable);
    b->device = vk_open(&p);
    b->caps = pum_vk_device_caps(b->device);
    pum_tuning_for(b->caps, &b->tuning);
    test_source("models/pumice-stories.gguf", path);
    assert_vk_ok(pum_gguf_open(path, &b->gguf, &err), err);
    assert_vk_ok(pum_model_def_load(b->gguf, &b->def, &err), err);
    assert_vk_ok(pum_session_size_make(&b->def, &params, &b->size, &err), err);
    assert_vk_ok(pum_weights_place(&b->def, b->caps, false, &b->weights_at, &err), err);
    assert_vk_ok(
        pum_kv_place(&b->def, b->caps, b->size.kv_k, b->size.kv_v, b->size.pages, &b->kv_at, &err),
        err);
    b->weights = make_buffers(b, &b->weights_at, "weights");
    b->kv = make_buffers(b, &b->kv_at, "KV cache");
    for (size_t i = 0; i < b->weights_at.pieces.count; i++) {
        const pum_piece *piece = &b->weights_at.pieces.data[i];
        const pum_weight *w = &b->def.weights.data[piece->tensor];
        uint64_t row_bytes;
        assert_true(pum_dtype_device_row_bytes(w->dtype, w->cols, &row_bytes));
        void *packed = malloc((size_t)(piece->row_count * row_bytes));
        assert_non_null(packed);
        pum_dtype_pack_rows(w->dtype, piece->row_count, w->cols,
                            (const uint8_t *)w->data + piece->row_first * w->row_bytes, packed);
        assert_vk_ok(pum_vk_buffer_write(b->device, &b->weights[piece->buffer], piece->offset_bytes,
                                         packed, piece->row_count * row_bytes, &err),
                     err);
        free(packed);
    }
    b->size.logits_rows = 16;
    uint64_t logits = (uint64_t)b->size.logits_rows * b->def.hp.n_vocab * 4,
             step = (uint64_t)b->size.step.words * 4;
    assert_vk_ok(
        pum_vk_buffer_create(b->device, PUM_VK_DEVICE, ARENA_BYTES, "arena", &b->arena, &err), err);
    assert_vk_ok(pum_vk_buffer_fill(b->device, &b->arena, 0, ARENA_BYTES, 0xffffffffu, &err),
                 err); /* NaN */
    assert_vk_ok(pum_vk_buffer_create(b->device, PUM_VK_DEVICE, logits, "logits", &b->logits, &err),
                 err);
    assert_vk_ok(
        pum_vk_buffer_create(b->device, PUM_VK_SHARED, step, "step buffer", &b->step, &err), err);
    memset(b->step.mapped, 0, step);
    uint32_t *table = (uint32_t *)b->step.mapped + b->size.step.table_at;
    for (uint32_t i = 0; i < b->size.pages_per_sequence; i++) {
        table[i] = b->size.pages_per_sequence - 1 - i;
    }
}

static void bench_close(bench *b)
{
    for (size_t i = 0; i < b->weights_at.buffer_bytes.count; i++) {
        pum_vk_buffer_destroy(b->device, &b->weights[i]);
    }
    for (size_t i = 0; i < b->kv_at.buffer_bytes.count; i++) {
        pum_vk_buffer_destroy(b->device, &b->kv[i]);
    }
    pum_vk_buffer_destroy(b->device, &b->arena);
    pum_vk_buffer_destroy(b->device, &b->step);
    pum_vk_buffer_destroy(b->device, &b->logits);
    pum_vk_device_destroy(&b->device);
    free(b->weights);
    free(b->kv);
    pum_placement_free(&b->weights_at);
    pum_placement_free(&b->kv_at);
    pum_model_def_free(&b->def);
    pum_gguf_close(&b->gguf);
    assert_int_equal(b->log.errors, 0);
}

/* Makes the plan of a pass over `rows` tokens from position `at` on, with the step buffer written
 * for it. */
static void plan_pass(bench *b, uint32_t at, uint32_t rows, const pum_plan_options *options,
                      pum_plan *out_plan)
{
    pumice_error err = { 0 };
    pum_graph graph;
    pum_build build = { .rows = rows,
                        .one_sequence = true,
                        .head = PUM_HEAD_ALL,
                        .sampler = PUM_SAMPLER_SCORE,
                        .kv_type_k = b->size.kv_k,
                        .kv_type_v = b->size.kv_v,
                        .kv_cells = b->size.pages * KV_PAGE,
                        .step = b->size.step,
                        .logits_rows = b->size.logits_rows };
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t *w = (uint32_t *)b->step.mapped + STEP_ROWS_AT + r * STEP_ROW_WORDS;
        w[ROW_TOKEN] = (1 + 37 * (at + r)) % b->def.hp.n_vocab;
        w[ROW_POS] = w[ROW_CELL] = at + r;
        w[ROW_SEQ] = w[ROW_LO] = 0;
        w[ROW_HI] = at + r + 1;
        w[ROW_TARGET] = (1 + 37 * (at + r + 1)) % b->def.hp.n_vocab;
    }
    assert_vk_ok(pum_model_build(&b->def, &build, &graph, &err), err);
    assert_vk_ok(pum_plan_make(&graph, b->caps, &b->tuning, &b->weights_at, &b->kv_at, options,
                               out_plan, &err),
                 err);
    assert_true(out_plan->arena_bytes <= ARENA_BYTES);
    pum_graph_free(&graph);
}

static pum_exec_check check_plan(bench *b, const pum_plan *plan)
{
    pumice_error err = { 0 };
    pum_exec_check check;
    pum_exec_buffers buffers = { .arena = &b->arena,
                                 .step = &b->step,
                                 .logits = &b->logits,
                                 .kv = b->kv,
                                 .n_kv = b->kv_at.buffer_bytes.count,
                                 .weights = b->weights,
                                 .n_weights = b->weights_at.buffer_bytes.count };
    assert_vk_ok(pum_exec_check_run(b->device, plan, &buffers, &check, &err), err);
    return check;
}

static void check_all(uint32_t disable, pumice_kv_type kv, const pum_plan_options *options)
{
    bench b;
    double worst = 0;
    size_t steps = 0;
    bench_open(&b, disable, kv);
    for (uint32_t at = 0; at < PROMPT + 2;) {
        uint32_t rows = at == 0 ? PROMPT : 1;
        pum_plan plan;
        plan_pass(&b, at, rows, options, &plan);
        pum_exec_check c = check_plan(&b, &plan);
        if (c.bad) {
            fail_msg("position %u, step %zu '%s' (%s): %s[%llu]: got %.9g, want %.9g, bound %.3g; "
                     "%llu of %llu bad",
                     at, c.step, c.label, c.kernel, c.binding, (unsigned long long)c.element, c.got,
                     c.want, c.bound, (unsigned long long)c.n_bad,
                     (unsigned long long)c.n_elements);
        }
        assert_int_equal(c.n_steps, plan.steps.count);
        worst = c.worst > worst ? c.worst : worst;
        steps += c.n_steps;
        pum_plan_free(&plan);
        at += rows;
    }
    print_message("%zu steps agree; the worst error is %.2f of its bound\n", steps, worst);
    bench_close(&b);
}

static void test_whole_model(void **state)
{
    (void)state;
    check_all(0, PUMICE_KV_F16, NULL);
}

static void test_model_base_tier_unfused(void **state)
{
    (void)state;
    pum_plan_options options = { .no_fusion = true };
    check_all(PUM_CAP_SUBGROUP | PUM_CAP_UNIFIED, PUMICE_KV_F32, &options);
}

/* A step that computes something else is found, and the first of its kind. */
static void test_tampered_step(void **state)
{
    (void)state;
    bench b;
    pum_plan plan;
    bench_open(&b, 0, PUMICE_KV_F16);
    plan_pass(&b, 0, PROMPT, NULL, &plan);
    size_t victim = plan.steps.count / 2;
    /* not one whose workgroups take more tiles where there are fewer of them */
    while (plan.steps.data[victim].grid[0] < 2 ||
           pum_kernels[plan.steps.data[victim].kernel].tier == PUM_TIER_TEXEL) {
        victim++;
    }
    plan.steps.data[victim].grid[0] /= 2; /* half of the work is not done */
    pum_exec_check c = check_plan(&b, &plan);
    assert_true(c.bad);
    assert_int_equal(c.step, victim);
    assert_string_equal(c.label, plan.steps.data[victim].label);
    assert_true(c.n_bad > 0 && c.n_bad <= c.n_elements);
    print_message("found: step %zu '%s' %s: %llu of %llu\n", c.step, c.label, c.binding,
                  (unsigned long long)c.n_bad, (unsigned long long)c.n_elements);
    pum_plan_free(&plan);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_model),
        cmocka_unit_test(test_model_base_tier_unfused),
        cmocka_unit_test(test_tampered_step),
    };
    test_keep_modules();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
