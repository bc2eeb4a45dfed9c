/* SPDX-License-Identifier: Apache-2.0
 * Models in parts: the cut is the best there is (compared with all there are) and says why none
 * fits; parts that hand rows on compute what the whole model does; their plans are proven on every
 * profile. */
#include "graph_on_host.h"
#include "part.h"
#include "plan.h"
#include "small_model.h"
#include "tuning.h"

/* ---- where to cut ---- */

enum { MAX_LAYERS = 9 };

typedef struct costs {
    uint64_t bytes[MAX_LAYERS], read[MAX_LAYERS];
    pum_split_sizes sizes;
} costs;

static void even_costs(costs *c, uint32_t n, uint64_t bytes)
{
    *c = (costs){ 0 };
    for (uint32_t i = 0; i < n; i++) c->bytes[i] = c->read[i] = bytes;
    c->sizes = (pum_split_sizes){ .n_layers = n, .layer_bytes = c->bytes, .layer_read = c->read };
}

static void expect_cut(const costs *c, const pum_split_device *devices, uint32_t n,
                       const uint32_t *want)
{
    uint32_t got[MAX_LAYERS];
    pumice_error err = { 0 };
    if (pum_split_layers(&c->sizes, devices, n, got, &err)) fail_msg("%s", err.text);
    for (uint32_t i = 0; i < n; i++) assert_int_equal(got[i], want[i]);
}

static void test_cut(void **state)
{
    (void)state;
    costs c;
    even_costs(&c, 8, 100);
    pum_split_device d[3] = { { "a", 1000, 1e9 }, { "b", 1000, 1e9 }, { "c", 1000, 1e9 } };
    expect_cut(&c, d, 1, (uint32_t[]){ 8 });
    expect_cut(&c, d, 2, (uint32_t[]){ 4, 4 });
    d[0].bytes_per_second = 3e9; /* three times as fast, three times as much */
    expect_cut(&c, d, 2, (uint32_t[]){ 6, 2 });
    d[0].budget_bytes = 500; /* as far as it fits */
    expect_cut(&c, d, 2, (uint32_t[]){ 5, 3 });
    c.sizes.every_bytes = 120;
    expect_cut(&c, d, 2, (uint32_t[]){ 3, 5 });
    c.sizes.every_bytes = 0;
    c.sizes.first_bytes = 300; /* the embedding takes room and no time */
    expect_cut(&c, d, 3, (uint32_t[]){ 2, 3, 3 });
    c.sizes.first_bytes = 0;
    d[0].bytes_per_second = 1e9;
    d[0].budget_bytes = 1000;
    c.sizes.last_bytes = c.sizes.last_read = 200; /* the head takes both */
    expect_cut(&c, d, 2, (uint32_t[]){ 5, 3 });
}

/* Four layers of an encoder and four of its decoder, whose first needs the words too. */
static void test_cut_of_two_stacks(void **state)
{
    (void)state;
    costs c;
    even_costs(&c, 8, 100);
    pum_split_device d[3] = { { "a", 1000, 1e9 }, { "b", 1000, 1e9 }, { "c", 1000, 1e9 } };
    c.sizes.n_encoder = 4;
    c.sizes.first_bytes = c.sizes.last_bytes = c.sizes.words_bytes = 300;
    expect_cut(&c, d, 2, (uint32_t[]){ 4, 4 });
    d[1].budget_bytes = 990; /* 300 + 300 + 400: too much by 10; the words are with the first part then */
    expect_cut(&c, d, 2, (uint32_t[]){ 5, 3 });
    c.sizes.tied = true; /* the head is the words */
    expect_cut(&c, d, 2, (uint32_t[]){ 4, 4 });
    d[0].budget_bytes = 710; /* the encoder alone would have a cache besides */
    c.sizes.encoder_bytes = 20;
    expect_cut(&c, d, 2, (uint32_t[]){ 3, 5 });
    d[0].budget_bytes = 510;
    d[1].budget_bytes = 690; /* less than four layers with the words */
    expect_cut(&c, d, 3, (uint32_t[]){ 1, 3, 4 });
}

static void test_cut_refused(void **state)
{
    (void)state;
    costs c;
    uint32_t counts[MAX_LAYERS];
    pumice_error err = { 0 };
    pum_split_device d[3] = { { "a", 300u << 20, 1e9 }, { "b", 250u << 20, 1e9 },
                              { "c", 1u << 20, 1e9 } };
    even_costs(&c, 6, 100u << 20);
    assert_int_equal(pum_split_layers(&c.sizes, d, 2, counts, &err), PUMICE_ERROR_DEVICE_MEMORY);
    assert_string_equal(err.text,
                        "the 6 layers need 600.0 MiB in all, and no cut of them fits the devices, "
                        "which have 300.0, 250.0 MiB: add a device, or take a smaller context or fewer "
                        "bits");
    /* the third one is too small for a layer */
    assert_int_equal(pum_split_layers(&c.sizes, d, 3, counts, &err), PUMICE_ERROR_DEVICE_MEMORY);
    even_costs(&c, 2, 1);
    err = (pumice_error){ 0 };
    assert_int_equal(pum_split_layers(&c.sizes, d, 3, counts, &err), PUMICE_ERROR_INVALID);
    assert_string_equal(err.text, "a model of 2 layers cannot be cut for 3 devices: give 1 to 2 of "
                                  "them");
    assert_int_equal(pum_split_layers(&c.sizes, d, 0, counts, &err), PUMICE_ERROR_INVALID);
}

/* Slowest part's time of a cut; negative if it does not fit. */
static double time_of(const costs *c, const pum_split_device *d, const uint32_t *counts, uint32_t n,
                      double *out_sum)
{
    double slowest = 0;
    *out_sum = 0;
    for (uint32_t i = 0, layer = 0; i < n; i++) {
        uint64_t bytes = c->sizes.every_bytes, read = 0;
        if (i == 0) bytes += c->sizes.first_bytes;
        if (i + 1 == n) bytes += c->sizes.last_bytes, read += c->sizes.last_read;
        bool words = i == 0 || (i + 1 == n && c->sizes.tied), decodes = false;
        for (uint32_t k = 0; k < counts[i]; k++, layer++) {
            decodes = decodes || layer >= c->sizes.n_encoder;
            if (c->sizes.n_encoder && layer == c->sizes.n_encoder && !words) bytes += c->sizes.words_bytes;
            bytes += c->bytes[layer];
            read += c->read[layer];
        }
        if (!decodes) bytes += c->sizes.encoder_bytes;
        if (bytes > d[i].budget_bytes) return -1;
        double time = (double)read / d[i].bytes_per_second;
        slowest = fmax(slowest, time);
        *out_sum += time;
    }
    return slowest;
}

static uint32_t random_below(uint64_t *seed, uint32_t n)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*seed >> 33) % n;
}

static void random_costs(costs *c, pum_split_device d[3], uint64_t *seed)
{
    uint32_t n = 3 + random_below(seed, MAX_LAYERS - 2);
    even_costs(c, n, 0);
    for (uint32_t i = 0; i < n; i++) {
        c->bytes[i] = 1 + random_below(seed, 100);
        c->read[i] = 1 + random_below(seed, (uint32_t)c->bytes[i]);
    }
    c->sizes.first_bytes = random_below(seed, 80);
    c->sizes.last_bytes = random_below(seed, 80);
    c->sizes.last_read = random_below(seed, (uint32_t)c->sizes.last_bytes + 1);
    c->sizes.every_bytes = random_below(seed, 20);
    c->sizes.n_encoder = random_below(seed, 2) ? 1 + random_below(seed, n - 1) : 0;
    if (c->sizes.n_encoder) {
        c->sizes.words_bytes = random_below(seed, 80);
        c->sizes.tied = random_below(seed, 2);
        c->sizes.encoder_bytes = random_below(seed, 30);
    }
    for (int i = 0; i < 3; i++) {
        d[i] = (pum_split_device){ "d", 40 + random_below(seed, 400), 1 + random_below(seed, 9) };
    }
}

static void test_cut_is_best(void **state)
{
    (void)state;
    uint64_t seed = 3;
    int fitting = 0, not_fitting = 0;
    for (int round = 0; round < 2000; round++) {
        costs c;
        pum_split_device d[3];
        random_costs(&c, d, &seed);
        double best = -1, best_sum = 0, sum;
        uint32_t got[3];
        pumice_error err = { 0 };
        for (uint32_t a = 1; a + 2 <= c.sizes.n_layers; a++) {
            for (uint32_t b = 1; a + b + 1 <= c.sizes.n_layers; b++) {
                uint32_t counts[] = { a, b, c.sizes.n_layers - a - b };
                double t = time_of(&c, d, counts, 3, &sum);
                if (t < 0 || (best >= 0 && (t > best || (t == best && sum >= best_sum)))) continue;
                best = t;
                best_sum = sum;
            }
        }
        pumice_status status = pum_split_layers(&c.sizes, d, 3, got, &err);
        assert_int_equal(status, best < 0 ? PUMICE_ERROR_DEVICE_MEMORY : PUMICE_OK);
        if (best < 0) {
            not_fitting++;
            continue;
        }
        fitting++;
        assert_int_equal(got[0] + got[1] + got[2], c.sizes.n_layers);
        assert_true(fabs(time_of(&c, d, got, 3, &sum) - best) <= 1e-9 * best);
    }
    assert_true(fitting > 200 && not_fitting > 200);
}

/* ---- parts compute what the whole does ---- */

enum { PART_LAYERS = 5, ROWS_N = 6 };
static const uint32_t cuts[][3] = { { 2, 3, 0 }, { 1, 4, 0 }, { 1, 3, 1 }, { 2, 1, 2 } };

static void expect_parts(const pum_model_def *def, const uint32_t *counts, pum_head head,
                         uint32_t n_slots)
{
    static const int32_t tokens[ROWS_N] = { 1, 17, 4, 99, 0, 63 };
    double want[ROWS_N * VOCAB_N] = { 0 }, got[ROWS_N * VOCAB_N] = { 0 };
    double rows[2][ROWS_N * EMBD_N];
    host whole = host_make(def);
    whole.slot_row[0] = 4;
    whole.slot_row[1] = 1;
    host_pass(&whole, head, n_slots, tokens, 0, ROWS_N, want);
    uint32_t first = 0;
    for (int i = 0; i < 3 && counts[i]; i++) {
        pum_model_def part;
        pumice_error err = { 0 };
        if (pum_model_def_part(def, first, counts[i], &part, &err)) fail_msg("%s", err.text);
        host h = host_make(&part);
        memcpy(h.slot_row, whole.slot_row, sizeof h.slot_row);
        h.hidden = first ? rows[(i + 1) % 2] : NULL;
        host_pass(&h, head, n_slots, tokens, 0, ROWS_N, part.goes_on ? rows[i % 2] : got);
        for (uint32_t l = 0; l < 2 * counts[i]; l++) { /* its caches are the whole's */
            size_t n = (size_t)h.cells * KV_HEADS * HEAD;
            assert_memory_equal(h.kv + l * n, whole.kv + (2 * first + l) * n, n * sizeof *h.kv);
        }
        free(h.kv);
        first += counts[i];
        pum_model_def_free(&part);
    }
    assert_int_equal(first, PART_LAYERS);
    assert_memory_equal(got, want, sizeof want);
    free(whole.kv);
}

static void test_parts(void **state)
{
    (void)state;
    gguf_builder b;
    pum_gguf *gguf;
    pum_model_def def;
    small_model_of(&b, "llama", PART_LAYERS);
    load_small(&b, &gguf, &def);
    for (size_t i = 0; i < PUM_COUNT(cuts); i++) {
        expect_parts(&def, cuts[i], PUM_HEAD_ALL, 0);
        expect_parts(&def, cuts[i], PUM_HEAD_SLOTS, 2);
        expect_parts(&def, cuts[i], PUM_HEAD_NONE, 0);
    }
    /* what each part holds: the tied head is the embedding table, which is in the first and the last */
    pum_model_def parts[3];
    uint64_t n = 0;
    pumice_error err = { 0 };
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(pum_model_def_part(&def, i, i == 2 ? 3 : 1, &parts[i], &err), PUMICE_OK);
        n += parts[i].weights.count;
    }
    assert_true(parts[0].embed >= 0 && parts[0].output_norm < 0 && parts[0].head < 0);
    assert_true(parts[1].embed < 0 && parts[1].head < 0 && parts[1].output_norm < 0);
    assert_true(parts[2].head >= 0 && parts[2].output_norm >= 0);
    assert_int_equal(n, def.weights.count + 1 + 2); /* the table twice, the frequencies thrice */
    for (int i = 0; i < 3; i++) pum_model_def_free(&parts[i]);
    assert_int_equal(pum_model_def_part(&def, 4, 2, &parts[0], &err), PUMICE_ERROR_INTERNAL);
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
    gb_free(&b);
}

/* ---- plans ---- */

static pum_placement place(const pum_model_def *def, const pum_caps *caps, bool kv)
{
    pum_placement p;
    pumice_error err = { 0 };
    size_t n = kv ? 2 * (size_t)def->hp.n_layers : def->weights.count;
    pum_tensor_size *sizes = calloc(n, sizeof *sizes);
    assert_non_null(sizes);
    for (size_t i = 0; i < n; i++) {
        const pum_weight *w = &def->weights.data[i];
        if (kv) sizes[i] = (pum_tensor_size){ "kv", 64 * KV_HEADS, HEAD * 2, false };
        else sizes[i] = (pum_tensor_size){ w->name, w->rows, w->row_bytes, w->splittable };
    }
    if (pum_placement_make(sizes, n, caps, &p, &err)) fail_msg("%s", err.text);
    free(sizes);
    return p;
}

static void expect_plan(const pum_model_def *part, const pum_caps *caps, pum_head head,
                        uint32_t rows)
{
    pum_build build = { .rows = rows, .n_slots = 1, .one_sequence = true, .head = head,
                        .sampler = head == PUM_HEAD_SLOTS ? PUM_SAMPLER_ARGMAX : PUM_SAMPLER_NONE,
                        .kv_type_k = PUM_DTYPE_F16, .kv_type_v = PUM_DTYPE_F16, .kv_cells = 64,
                        .step = pum_step_layout_make(8, 1, 1, 64), .logits_rows = 8 };
    pum_tuning tuning;
    pum_graph graph;
    pum_plan plan;
    pumice_error err = { 0 };
    pum_placement weights = place(part, caps, false), kv = place(part, caps, true);
    pum_tuning_for(caps, &tuning);
    if (pum_model_build(part, &build, &graph, &err) ||
        pum_plan_make(&graph, caps, &tuning, &weights, &kv, NULL, &plan, &err) ||
        pum_plan_check(&plan, caps, &weights, &kv, &err)) {
        fail_msg("%s, layers from %u: %s", caps->name, part->first_layer, err.text);
    }
    uint64_t row_bytes = (uint64_t)rows * EMBD_N * 4;
    assert_int_equal(plan.hidden_bytes, part->first_layer ? row_bytes : 0);
    if (part->goes_on) assert_int_equal(plan.logits_bytes, row_bytes);
    pum_plan_free(&plan);
    pum_graph_free(&graph);
    pum_placement_free(&weights);
    pum_placement_free(&kv);
}

static void test_plans(void **state)
{
    (void)state;
    gguf_builder b;
    pum_gguf *gguf;
    pum_model_def def;
    const char *name;
    static const uint32_t ranges[][2] = { { 0, 2 }, { 2, 2 }, { 4, 1 } };
    small_model_of(&b, "llama", PART_LAYERS);
    load_small(&b, &gguf, &def);
    for (size_t r = 0; r < PUM_COUNT(ranges); r++) {
        pum_model_def part;
        pumice_error err = { 0 };
        assert_int_equal(pum_model_def_part(&def, ranges[r][0], ranges[r][1], &part, &err),
                         PUMICE_OK);
        for (size_t i = 0; (name = pum_caps_profile_name(i)); i++) {
            pum_caps caps;
            assert_true(pum_caps_profile(name, &caps));
            expect_plan(&part, &caps, PUM_HEAD_SLOTS, 1);
            expect_plan(&part, &caps, PUM_HEAD_NONE, 8);
            expect_plan(&part, &caps, PUM_HEAD_ALL, 7);
        }
        pum_model_def_free(&part);
    }
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
    gb_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut),         cmocka_unit_test(test_cut_refused),
        cmocka_unit_test(test_cut_of_two_stacks),
        cmocka_unit_test(test_cut_is_best), cmocka_unit_test(test_parts),
        cmocka_unit_test(test_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
