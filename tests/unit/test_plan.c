/* SPDX-License-Identifier: Apache-2.0
 * The planner without a GPU: random graphs on every device profile are planned and proven, broken
 * plans are caught, fusions and reuse do what they claim, large tensors are split, plans are the
 * same every time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "random_graph.h"

static pum_caps profile(const char *name)
{
    pum_caps caps;
    assert_true(pum_caps_profile(name, &caps));
    return caps;
}

typedef struct planned {
    random_graph r;
    pum_caps caps;
    pum_tuning tuning;
    pum_placement weights, kv;
    pum_plan plan;
} planned;

/* Plans the graph in p, and proves the plan. */
static void plan_graph(planned *p, uint64_t seed, const pum_plan_options *options)
{
    pumice_error err = { 0 };
    if (pum_placement_make(p->r.weights, p->r.n_weights, &p->caps, &p->weights, &err) != PUMICE_OK ||
        pum_placement_make(p->r.kv, p->r.n_kv, &p->caps, &p->kv, &err) != PUMICE_OK ||
        pum_plan_make(&p->r.graph, &p->caps, &p->tuning, &p->weights, &p->kv, options, &p->plan, &err) != PUMICE_OK ||
        pum_plan_check(&p->plan, &p->caps, &p->weights, &p->kv, &err) != PUMICE_OK) {
        fail_msg("seed %llu on %s: %s", (unsigned long long)seed, p->caps.name, err.text);
    }
}

static void plan_seed(planned *p, uint64_t seed, const pum_caps *caps, const pum_plan_options *options)
{
    *p = (planned){ .caps = *caps };
    random_graph_make(&p->r, seed);
    pum_tuning_for(caps, &p->tuning);
    plan_graph(p, seed, options);
}

/* Begins a graph to be made by hand: rows of d columns. */
static void begin_graph(planned *p, const pum_caps *caps, uint32_t rows, uint32_t d)
{
    pum_step_layout step = pum_step_layout_make(64, 4, 4, 512);
    *p = (planned){ .r = { .d = d }, .caps = *caps };
    pum_tuning_for(caps, &p->tuning);
    pum_graph_init(&p->r.graph, rows, &step);
}

static void planned_free(planned *p)
{
    pum_plan_free(&p->plan);
    pum_placement_free(&p->weights);
    pum_placement_free(&p->kv);
    pum_graph_free(&p->r.graph);
}

static void test_random_graphs_on_all_profiles(void **state)
{
    (void)state;
    const char *name;
    size_t plans = 0;
    for (size_t i = 0; (name = pum_caps_profile_name(i)); i++) {
        pum_caps caps = profile(name);
        for (uint64_t seed = 1; seed <= 150; seed++, plans++) {
            planned p;
            pum_plan_options options = { .no_fusion = seed % 5 == 0, .no_reuse = seed % 7 == 0,
                                         .q8_activations = seed % 2 };
            plan_seed(&p, seed, &caps, &options);
            planned_free(&p);
        }
    }
    print_message("%zu plans proven\n", plans);
}

static size_t attentions_with_subgroups(const char *name, uint32_t without)
{
    pum_caps caps = profile(name);
    size_t count = 0;
    caps.bits &= ~without;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        planned p;
        plan_seed(&p, seed, &caps, NULL);
        for (size_t i = 0; i < p.plan.steps.count; i++) {
            uint32_t kernel = p.plan.steps.data[i].kernel;
            count += kernel == PUM_KERNEL_attention_sub || kernel == PUM_KERNEL_attention_float_sub;
        }
        planned_free(&p);
    }
    return count;
}

/* It takes a workgroup for one subgroup: only where size and fullness can both be asked for. */
static void test_attention_with_subgroups(void **state)
{
    (void)state;
    assert_true(attentions_with_subgroups("navi31", 0) > 0);
    assert_int_equal(attentions_with_subgroups("navi31", PUM_CAP_FULL_SUBGROUPS), 0);
    assert_int_equal(attentions_with_subgroups("navi31", PUM_CAP_SUBGROUP_SIZE_CONTROL), 0);
}

static void test_split_tensors(void **state)
{
    (void)state;
    pum_caps caps = profile("minimal");
    caps.max_buffer_range_bytes = 64 << 10; /* everything of any size is cut */
    caps.max_allocation_bytes = 256 << 10;
    size_t split = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        random_graph r;
        pumice_error err = { 0 };
        pum_placement weights, kv;
        pum_plan plan;
        pum_tuning tuning;
        random_graph_make(&r, seed);
        pum_tuning_for(&caps, &tuning);
        bool ok = pum_placement_make(r.weights, r.n_weights, &caps, &weights, &err) == PUMICE_OK;
        if (ok && pum_placement_make(r.kv, r.n_kv, &caps, &kv, &err) == PUMICE_OK) {
            pumice_status s =
                pum_plan_make(&r.graph, &caps, &tuning, &weights, &kv, NULL, &plan, &err);
            if (s == PUMICE_OK) {
                split += weights.pieces.count > r.n_weights;
                assert_int_equal(pum_plan_check(&plan, &caps, &weights, &kv, &err), PUMICE_OK);
                pum_plan_free(&plan);
            } else {
                assert_int_equal(
                    s, PUMICE_ERROR_UNSUPPORTED); /* activations too large for such a device */
                assert_non_null(strstr(err.text, "smaller batch"));
            }
            pum_placement_free(&kv);
        }
        if (ok) pum_placement_free(&weights);
        pum_graph_free(&r.graph);
    }
    assert_true(split > 50);
}

/* The prover must see a missing barrier: taking any one away must be found, or the barrier was not
 * needed. */
static void test_every_barrier_is_needed(void **state)
{
    (void)state;
    pum_caps caps = profile("lavapipe");
    for (uint64_t seed = 1; seed <= 60; seed++) {
        planned p;
        plan_seed(&p, seed, &caps, NULL);
        for (size_t i = 0; i < p.plan.steps.count; i++) {
            if (!p.plan.steps.data[i].barrier) continue;
            pumice_error err = { 0 };
            p.plan.steps.data[i].barrier = 0;
            assert_int_equal(pum_plan_check(&p.plan, &caps, &p.weights, &p.kv, &err),
                             PUMICE_ERROR_INTERNAL);
            p.plan.steps.data[i].barrier = 1;
        }
        planned_free(&p);
    }
}

static void test_checker_finds_faults(void **state)
{
    (void)state;
    pum_caps caps = profile("lavapipe");
    planned p;
    plan_seed(&p, 3, &caps, NULL);
    pumice_error err = { 0 };
    pum_step *last = &p.plan.steps.data[p.plan.steps.count - 1];
    pum_step saved = *last;
    last->bind[0].offset_bytes += 4;
    assert_int_equal(pum_plan_check(&p.plan, &caps, &p.weights, &p.kv, &err),
                     PUMICE_ERROR_INTERNAL);
    *last = saved;
    last->grid[0] = 0;
    assert_int_equal(pum_plan_check(&p.plan, &caps, &p.weights, &p.kv, &err),
                     PUMICE_ERROR_INTERNAL);
    *last = saved;
    last->spec[0] = 1u << 20;
    assert_int_equal(pum_plan_check(&p.plan, &caps, &p.weights, &p.kv, &err),
                     PUMICE_ERROR_INTERNAL);
    *last = saved;
    last->submit_end = 0;
    assert_int_equal(pum_plan_check(&p.plan, &caps, &p.weights, &p.kv, &err),
                     PUMICE_ERROR_INTERNAL);
    *last = saved;
    /* an activation moved onto its neighbour */
    bool moved = false;
    for (size_t i = 0; i + 1 < p.plan.values.count && !moved; i++) {
        pum_plan_value *a = &p.plan.values.data[i], *b = &p.plan.values.data[i + 1];
        if (a->last_step <= b->first_step || a->offset_bytes == b->offset_bytes) continue;
        uint64_t keep = b->offset_bytes;
        b->offset_bytes = a->offset_bytes;
        assert_int_equal(pum_plan_check(&p.plan, &caps, &p.weights, &p.kv, &err),
                         PUMICE_ERROR_INTERNAL);
        b->offset_bytes = keep;
        moved = true;
    }
    assert_true(moved);
    pum_error_clear(&err);
    assert_int_equal(pum_plan_check(&p.plan, &caps, &p.weights, &p.kv, &err), PUMICE_OK);
    planned_free(&p);
}

static void test_reuse_and_fusion_pay(void **state)
{
    (void)state;
    pum_caps caps = profile("lavapipe");
    uint64_t arena = 0, plain = 0, steps = 0, unfused = 0, extra_barriers = 0, barriers = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        planned a, b, c;
        plan_seed(&a, seed, &caps, NULL);
        plan_seed(&b, seed, &caps, &(pum_plan_options){ .no_reuse = true });
        plan_seed(&c, seed, &caps, &(pum_plan_options){ .no_fusion = true });
        assert_true(a.plan.arena_bytes <= b.plan.arena_bytes);
        assert_true(a.plan.steps.count <= c.plan.steps.count);
        assert_int_equal(a.plan.steps.count + a.plan.n_fused <= c.plan.steps.count, 1);
        arena += a.plan.arena_bytes;
        plain += b.plan.arena_bytes;
        steps += a.plan.steps.count;
        unfused += c.plan.steps.count;
        barriers += b.plan.n_barriers;
        extra_barriers += a.plan.n_barriers - b.plan.n_barriers;
        planned_free(&a);
        planned_free(&b);
        planned_free(&c);
    }
    print_message(
        "arena %.0f %% of no reuse, %.0f %% of the unfused steps, %llu barriers more for %llu\n",
        100.0 * (double)arena / (double)plain, 100.0 * (double)steps / (double)unfused,
        (unsigned long long)extra_barriers, (unsigned long long)barriers);
    assert_true(arena * 10 < plain * 8);
    assert_true(steps < unfused);
    assert_int_equal(extra_barriers, 0); /* reuse must not serialise what could overlap */
}

/* embed -> gate, up -> activation: one product if the scales of their matrices are alike, else two with their own. */
static void test_scales_of_products(void **state)
{
    (void)state;
    static const float scales[][2] = { { 0.0f, 0.0f }, { 0.5f, 0.5f }, { 0.5f, 0.25f }, { 0.0f, 0.25f } };
    static const char *const profiles[] = { "lavapipe", "navi31", "minimal" };
    for (size_t i = 0; i < PUM_COUNT(scales) * PUM_COUNT(profiles); i++) {
        const float *want = scales[i / PUM_COUNT(profiles)];
        pum_caps caps = profile(profiles[i % PUM_COUNT(profiles)]);
        planned all;
        random_graph *r = &all.r;
        pum_value_id product[2];
        begin_graph(&all, &caps, 1, 256);
        pum_value_id table = rg_weight(r, PUM_DTYPE_F16, 100, 256);
        pum_value_id x = rg_node(r, PUM_OP_EMBED, &table, 1, (pum_params){ .scale = 1 }, 256);
        for (int k = 0; k < 2; k++) {
            pum_value_id in[] = { rg_weight(r, PUM_DTYPE_Q8_0, 64, 256), x, PUM_NO_VALUE, PUM_NO_VALUE };
            product[k] = rg_node(r, PUM_OP_MATMUL, in, 4, (pum_params){ .scale = want[k] }, 64);
        }
        rg_keep(r, rg_node(r, PUM_OP_ACT, product, 2, (pum_params){ .act = ACT_SILU }, 64));
        plan_graph(&all, 0, NULL);
        size_t n = 0;
        for (size_t j = 0; j < all.plan.steps.count; j++) {
            const pum_step *s = &all.plan.steps.data[j];
            pum_args_matmul args;
            if (pum_kernels[s->kernel].args != PUM_ARGS_MATMUL) continue;
            memcpy(&args, s->args, sizeof args);
            assert_true(n < 2 && args.scale == (want[n] != 0.0f ? want[n] : 1.0f));
            n++;
        }
        assert_int_equal(n, want[0] == want[1] ? 1 : 2);
        planned_free(&all);
    }
}

/* embed -> norm -> product -> add -> norm -> product: how many steps of the norm kernel are left, and begun norms. */
static void count_norms(const pum_tuning *tuning, const pum_caps *caps, uint32_t rows, uint32_t d, uint32_t norm,
                        bool other_reader, uint32_t *out_norms, uint32_t *out_begun)
{
    planned all;
    random_graph *r = &all.r;
    pum_params p = { .eps = 1e-5f, .norm = norm, .scale = 1 };
    begin_graph(&all, caps, rows, d);
    all.tuning = *tuning;
    pum_value_id table = rg_weight(r, PUM_DTYPE_F16, 100, d);
    pum_value_id x = rg_node(r, PUM_OP_EMBED, &table, 1, p, d);
    for (int i = 0; i < 2; i++) {
        pum_value_id in[] = { x, rg_weight(r, PUM_DTYPE_F32, 1, d), PUM_NO_VALUE };
        pum_value_id h = rg_node(r, PUM_OP_NORM, in, 3, p, d);
        if (other_reader) rg_node(r, PUM_OP_COPY, &h, 1, p, d);
        pum_value_id mm[] = { rg_weight(r, PUM_DTYPE_F16, d, d), h, PUM_NO_VALUE, PUM_NO_VALUE };
        pum_value_id add[] = { x, rg_node(r, PUM_OP_MATMUL, mm, 4, (pum_params){ 0 }, d) };
        x = rg_node(r, PUM_OP_ADD, add, 2, p, d);
    }
    plan_graph(&all, 0, NULL);
    *out_norms = *out_begun = 0;
    for (size_t i = 0; i < all.plan.steps.count; i++) {
        const pum_step *s = &all.plan.steps.data[i];
        pum_args_matmul product;
        pum_args_embed embed;
        memcpy(&product, s->args, sizeof product);
        memcpy(&embed, s->args, sizeof embed);
        uint32_t family = pum_kernels[s->kernel].family;
        *out_norms += family == PUM_FAMILY_NORM;
        if (family == PUM_FAMILY_EMBED) *out_begun += embed.norm_at == d;
        else if (family != PUM_FAMILY_NORM && family != PUM_FAMILY_COPY) *out_begun += product.norm_at == d;
    }
    planned_free(&all);
}

static void test_norms_between_matvecs(void **state)
{
    (void)state;
    const struct {
        const char *profile;
        uint32_t rows, d, norm;
        bool other_reader, off;
        uint32_t norms, begun;
    } cases[] = {
        { "lavapipe", 1, 256, NORM_RMS, false, false, 0, 2 },   { "lavapipe", 3, 256, NORM_RMS, false, false, 0, 2 },
        { "lavapipe", 4, 256, NORM_RMS, false, false, 2, 0 },   { "navi31", 8, 256, NORM_RMS, false, false, 0, 2 },
        { "navi31", 9, 256, NORM_RMS, false, false, 2, 0 },     { "minimal", 1, 256, NORM_RMS, false, false, 0, 2 },
        { "swiftshader", 1, 256, NORM_RMS, true, false, 2, 0 }, { "navi31", 1, 256, NORM_LAYER, false, false, 2, 0 },
        { "navi31", 1, 256, NORM_RMS, false, true, 2, 0 },      { "lavapipe", 1, 24, NORM_RMS, false, false, 2, 0 },
        { "lavapipe", 1, 48, NORM_RMS, false, false, 1, 1 },
    };
    for (size_t i = 0; i < PUM_COUNT(cases); i++) {
        pum_caps caps = profile(cases[i].profile);
        pum_tuning tuning;
        uint32_t norms, begun;
        pum_tuning_for(&caps, &tuning);
        if (cases[i].off) tuning.norm_split = 0;
        count_norms(&tuning, &caps, cases[i].rows, cases[i].d, cases[i].norm, cases[i].other_reader, &norms, &begun);
        if (norms != cases[i].norms || begun != cases[i].begun)
            fail_msg("case %zu: %u steps of the norm kernel, %u norms begun", i, norms, begun);
    }
}

/* What the last layer of a pass without logits is: keys and values, and no queries */
static void test_keys_without_queries(void **state)
{
    (void)state;
    const char *names[] = { "lavapipe", "navi31", "minimal" };
    for (size_t n = 0; n < PUM_COUNT(names); n++) {
        enum { KVH = 2, HD = 32, D = KVH * HD, CELLS = 4 * KV_PAGE };
        pum_caps caps = profile(names[n]);
        planned all;
        random_graph *r = &all.r;
        pum_params p = { .heads = KVH, .kv_heads = KVH, .head_dim = HD, .rot_dim = HD, .scale = 1 };
        pum_value_id cache[2];
        begin_graph(&all, &caps, 1, D);
        pum_value_id table = rg_weight(r, PUM_DTYPE_F16, 100, D);
        pum_value_id x = rg_node(r, PUM_OP_EMBED, &table, 1, p, D);
        for (int i = 0; i < 2; i++) {
            r->kv[r->n_kv++] = (pum_tensor_size){ .name = "kv", .rows = CELLS * KVH, .row_bytes = 2 * pum_kv_cols(HD) };
            cache[i] = pum_graph_value(&r->graph, PUM_VALUE_KV, PUM_DTYPE_F16, CELLS * KVH, pum_kv_cols(HD), i, "kv");
        }
        pum_value_id k = rg_matmul(r, x, D, D, false), v = rg_matmul(r, x, D, D, false);
        pum_value_id rope[] = { k, rg_weight(r, PUM_DTYPE_F32, 1, HD) };
        pum_value_id store[] = { rg_node(r, PUM_OP_ROPE, rope, 2, p, D), v, cache[0], cache[1] };
        rg_node(r, PUM_OP_KV_STORE, store, 4, p, 0);
        plan_graph(&all, 0, NULL);
        size_t both = 0, single = 0;
        for (size_t i = 0; i < all.plan.steps.count; i++) {
            uint32_t family = pum_kernels[all.plan.steps.data[i].kernel].family;
            pum_args_rope_kv args;
            memcpy(&args, all.plan.steps.data[i].args, sizeof args);
            both += family == PUM_FAMILY_ROPE_KV_FLOAT && args.heads == 0 && args.kv_heads == KVH;
            single += family == PUM_FAMILY_ROPE || family == PUM_FAMILY_KV_STORE;
        }
        bool fits = caps.max_storage_buffers >= 8;
        assert_int_equal(both, fits ? 1 : 0);
        assert_int_equal(single, fits ? 0 : 2);
        planned_free(&all);
    }
}

/* lavapipe ends the loops of an invocation after 65,535 rounds, so a workgroup may not get too many tiles. */
static void test_few_rounds(void **state)
{
    (void)state;
    const struct {
        uint64_t n, k;
        uint32_t rows;
    } sizes[] = { { 4096, 4096, 1 },     { 4096, 4096, 3 },   { 152000, 8192, 1 }, { 152000, 8192, 3 },
                  { 152000, 8192, 64 }, { 2000000, 192, 1 }, { 8, 64, 1 } };
    pum_caps caps = profile("lavapipe");
    caps.max_buffer_range_bytes = caps.max_texel_bytes = UINT32_MAX; /* as later versions have it */
    for (size_t i = 0; i < PUM_COUNT(sizes); i++) {
        planned all;
        random_graph *r = &all.r;
        uint64_t n = sizes[i].n, k = sizes[i].k;
        begin_graph(&all, &caps, sizes[i].rows, (uint32_t)k);
        pum_value_id table = rg_weight(r, PUM_DTYPE_F16, 100, k);
        pum_value_id in[] = { rg_weight(r, PUM_DTYPE_Q4_0, n, k),
                              rg_node(r, PUM_OP_EMBED, &table, 1, (pum_params){ .scale = 1 }, k), PUM_NO_VALUE,
                              PUM_NO_VALUE };
        rg_keep(r, rg_node(r, PUM_OP_MATMUL, in, 4, (pum_params){ 0 }, n));
        plan_graph(&all, 0, NULL);
        for (size_t j = 0; j < all.plan.steps.count; j++) {
            const pum_step *s = &all.plan.steps.data[j];
            if (pum_kernels[s->kernel].tier != PUM_TIER_TEXEL) continue;
            pum_args_matmul args;
            memcpy(&args, s->args, sizeof args);
            bool square = sizes[i].rows > all.tuning.matmul_texel_vec_rows, share = args.epi & EPI_SHARE;
            uint64_t sets = (uint64_t)s->grid[0] * (share ? 1 : all.tuning.matmul_wg), chunks = k / 32;
            uint64_t tiles = pum_ceil_div(pum_ceil_div(args.n, 8), sets);
            uint64_t lanes = share ? caps.subgroup_size : 1, rows = sizes[i].rows;
            uint64_t each = square ? chunks * 9 + 8 * 9 : rows * (pum_ceil_div(chunks, lanes) + 9);
            assert_true(tiles * each < 65535);
            assert_true(s->grid[0] <= pum_ceil_div(args.n, 8));
        }
        planned_free(&all);
    }
}

static void test_plans_are_stable(void **state)
{
    (void)state;
    pum_caps caps = profile("navi31");
    planned a, b;
    plan_seed(&a, 11, &caps, NULL);
    plan_seed(&b, 11, &caps, NULL);
    pum_text x = { 0 }, y = { 0 };
    pum_plan_dump(&a.plan, &x);
    pum_plan_dump(&b.plan, &y);
    assert_false(x.failed || y.failed);
    assert_string_equal(x.data, y.data);
    assert_true(pum_plan_hash(&a.plan) == pum_plan_hash(&b.plan));
    pum_text_free(&x);
    pum_text_free(&y);
    planned_free(&a);
    planned_free(&b);
}

static void test_submits_follow_predicted_time(void **state)
{
    (void)state;
    pum_caps caps = profile("lavapipe");
    planned one, many;
    plan_seed(&one, 5, &caps, &(pum_plan_options){ .max_submit_ns = UINT64_MAX });
    plan_seed(&many, 5, &caps, &(pum_plan_options){ .max_submit_ns = 1 });
    assert_int_equal(one.plan.n_submits, 1);
    assert_int_equal(many.plan.n_submits, many.plan.steps.count);
    planned_free(&one);
    planned_free(&many);
}

static void test_bad_graphs_are_refused(void **state)
{
    (void)state;
    pum_caps caps = profile("lavapipe");
    pum_tuning tuning;
    pum_tuning_for(&caps, &tuning);
    random_graph r;
    pum_placement weights, kv;
    pum_plan plan;
    pumice_error err = { 0 };
    random_graph_make(&r, 2);
    assert_int_equal(pum_placement_make(r.weights, r.n_weights, &caps, &weights, &err), PUMICE_OK);
    assert_int_equal(pum_placement_make(r.kv, r.n_kv, &caps, &kv, &err), PUMICE_OK);
    pum_node *last = &r.graph.nodes.data[r.graph.nodes.count - 1];
    last->in[0] = (pum_value_id)r.graph.values.count + 5;
    assert_int_equal(pum_plan_make(&r.graph, &caps, &tuning, &weights, &kv, NULL, &plan, &err),
                     PUMICE_ERROR_INTERNAL);
    last->in[0] = 0; /* the step buffer is no logits value */
    pum_error_clear(&err);
    assert_int_equal(pum_plan_make(&r.graph, &caps, &tuning, &weights, &kv, NULL, &plan, &err),
                     PUMICE_ERROR_INTERNAL);
    assert_null(plan.steps.data);
    pum_placement_free(&weights);
    pum_placement_free(&kv);
    pum_graph_free(&r.graph);
    pum_tensor_size huge = { .name = "huge", .rows = 1ull << 62, .row_bytes = 8, .splittable = true };
    pum_error_clear(&err);
    assert_int_equal(pum_placement_make(&huge, 1, &caps, &weights, &err), PUMICE_ERROR_FORMAT);
    pum_tensor_size wide = { .name = "wide", .rows = 2, .row_bytes = 1ull << 40, .splittable = true };
    pum_error_clear(&err);
    assert_int_equal(pum_placement_make(&wide, 1, &caps, &weights, &err), PUMICE_ERROR_UNSUPPORTED);
}

/* ---- tensors in the host's memory ---- */

enum { HOST = 1 << 20 };

static pum_tensor_size in_host(uint64_t at, uint64_t rows, bool joins)
{
    return (pum_tensor_size){ .name = "t", .rows = rows, .row_bytes = 256, .splittable = true, .host_at = HOST + at,
                              .host_bytes = rows * 256, .host_same = true, .joins = joins };
}

/* Those that stay at first come to buffers behind all others, and nothing else moves. */
static void assert_settles(const pum_placement *p, const pum_caps *caps, const bool *moves)
{
    pum_placement later;
    pumice_error err = { 0 };
    assert_int_equal(pum_placement_settle(p, caps, &later, &err), PUMICE_OK);
    assert_int_equal(later.pieces.count, p->pieces.count);
    assert_int_equal(later.total_bytes, p->total_bytes);
    assert_true(later.buffer_bytes.count > p->buffer_bytes.count);
    assert_memory_equal(later.buffer_bytes.data, p->buffer_bytes.data, p->buffer_bytes.count * sizeof(uint64_t));
    for (size_t i = 0; i < later.pieces.count; i++) {
        const pum_piece *piece = &later.pieces.data[i], *before = &p->pieces.data[i];
        assert_int_equal(piece->row_count, before->row_count);
        assert_int_equal(piece->size_bytes, before->size_bytes);
        if (!moves[piece->tensor]) assert_memory_equal(piece, before, sizeof *piece);
        else assert_true(piece->buffer >= p->buffer_bytes.count);
        assert_true(piece->offset_bytes + piece->size_bytes <= later.buffer_bytes.data[piece->buffer]);
        for (size_t k = 0; k < i; k++) {
            const pum_piece *other = &later.pieces.data[k];
            assert_true(other->buffer != piece->buffer ||
                        other->offset_bytes + other->size_bytes <= piece->offset_bytes ||
                        piece->offset_bytes + piece->size_bytes <= other->offset_bytes);
        }
    }
    pum_placement_free(&later);
}

static void test_host_tensors(void **state)
{
    (void)state;
    pumice_error err = { 0 };
    pum_caps caps;
    pum_placement p;
    assert_true(pum_caps_profile("lavapipe", &caps));
    pum_tensor_size t[] = {
        in_host(256, 16, false), in_host(4352, 16, true), /* one right behind the other */
        in_host(8448, 16, false), in_host(16640, 16, true), /* apart: the second would not join the first */
        in_host(32776, 16, false), /* where nothing can be bound */
        in_host(40960, 16, false), /* otherwise on the device */
        in_host(1 << 20, 64, false),
    };
    t[5].host_same = false;
    assert_int_equal(pum_placement_make(t, PUM_COUNT(t), &caps, &p, &err), PUMICE_OK);
    static const bool stays[] = { true, true, false, false, false, false, true };
    uint64_t total = 0;
    for (size_t i = 0; i < PUM_COUNT(t); i++) {
        const pum_piece *piece = pum_placement_only_piece(&p, (int32_t)i);
        assert_non_null(piece);
        assert_int_equal(piece->buffer < p.n_host, stays[i]);
        if (stays[i]) assert_int_equal(p.host.data[piece->buffer] + piece->offset_bytes, t[i].host_at);
        assert_true(piece->offset_bytes + piece->size_bytes <= p.buffer_bytes.data[piece->buffer]);
        total += t[i].rows * t[i].row_bytes;
    }
    assert_int_equal(p.total_bytes, total);
    uint64_t used = 0;
    for (size_t i = 0; i < p.n_host; i++) {
        assert_int_equal(p.host.data[i] % PUM_PAGE_BYTES, 0);
        assert_int_equal(p.buffer_bytes.data[i] % PUM_PAGE_BYTES, 0);
        for (size_t k = 0; k < i; k++) assert_true(p.host.data[k] + p.buffer_bytes.data[k] < p.host.data[i]);
        used += p.buffer_bytes.data[i];
    }
    assert_true(used < 1 << 17); /* pages of tensors, not what is between */
    assert_settles(&p, &caps, stays);
    pum_placement_free(&p);

    caps.max_buffer_range_bytes = 1024; /* pieces of four rows */
    assert_int_equal(pum_placement_make(t, 2, &caps, &p, &err), PUMICE_OK);
    assert_int_equal(p.pieces.count, 8);
    for (size_t i = 0; i < p.pieces.count; i++) {
        const pum_piece *piece = &p.pieces.data[i];
        assert_int_equal(p.host.data[piece->buffer] + piece->offset_bytes,
                         t[piece->tensor].host_at + piece->row_first * 256);
    }
    pum_placement_free(&p);
    caps.offset_align_bytes = 4096; /* the pieces cannot be bound: copied */
    caps.max_buffer_range_bytes = 4096;
    assert_int_equal(pum_placement_make(t, 1, &caps, &p, &err), PUMICE_OK);
    assert_true(p.pieces.data[0].buffer >= p.n_host);
    pum_placement_free(&p);
}

static uint32_t count_family(const pum_plan *plan, uint32_t family)
{
    uint32_t n = 0;
    for (size_t i = 0; i < plan->steps.count; i++) n += pum_kernels[plan->steps.data[i].kernel].family == family;
    return n;
}

typedef struct q8_counts {
    uint32_t dot8, norm, quantize, plain;
} q8_counts;

/* Two products of a norm, one of them of F16 weights if so asked, and one of the product. */
static q8_counts plan_q8(const pum_caps *caps, uint32_t rows, bool q8, bool no_fusion, pum_dtype second)
{
    pum_step_layout step = pum_step_layout_make(rows, 1, 1, 64);
    random_graph r = { .state = 1 };
    pum_graph_init(&r.graph, rows, &step);
    pum_tuning tuning;
    pum_placement weights, kv;
    pum_plan plan;
    pumice_error err = { 0 };
    pum_plan_options options = { .q8_activations = q8, .no_fusion = no_fusion };
    pum_value_id table = rg_weight(&r, PUM_DTYPE_F16, 10, 64), gain = rg_weight(&r, PUM_DTYPE_F32, 1, 64);
    pum_value_id x = rg_node(&r, PUM_OP_EMBED, &table, 1, (pum_params){ .scale = 1 }, 64);
    pum_value_id norm[] = { x, gain, PUM_NO_VALUE };
    pum_value_id h = rg_node(&r, PUM_OP_NORM, norm, 3, (pum_params){ .eps = 1e-5f }, 64);
    pum_dtype types[] = { PUM_DTYPE_Q8_0, second, PUM_DTYPE_Q4_0 };
    pum_value_id y[3] = { PUM_NO_VALUE, PUM_NO_VALUE, PUM_NO_VALUE };
    for (int i = 0; i < 3; i++) {
        pum_value_id in[] = { rg_weight(&r, types[i], 64, 64), i < 2 ? h : y[0], PUM_NO_VALUE, PUM_NO_VALUE };
        y[i] = rg_node(&r, PUM_OP_MATMUL, in, 4, (pum_params){ 0 }, 64);
    }
    pum_tuning_for(caps, &tuning);
    tuning.norm_split = 0; /* so that norms can be counted */
    if (pum_placement_make(r.weights, r.n_weights, caps, &weights, &err) ||
        pum_placement_make(r.kv, r.n_kv, caps, &kv, &err) ||
        pum_plan_make(&r.graph, caps, &tuning, &weights, &kv, &options, &plan, &err) ||
        pum_plan_check(&plan, caps, &weights, &kv, &err)) {
        fail_msg("%s", err.text);
    }
    q8_counts n = { count_family(&plan, PUM_FAMILY_MATVEC_DOT8), count_family(&plan, PUM_FAMILY_NORM_Q8),
                    count_family(&plan, PUM_FAMILY_QUANTIZE_ACT),
                    (uint32_t)plan.steps.count };
    n.plain = n.plain - n.dot8 - n.norm - n.quantize - 1; /* without the embedding */
    pum_plan_free(&plan);
    pum_placement_free(&weights);
    pum_placement_free(&kv);
    pum_graph_free(&r.graph);
    return n;
}

static void assert_q8(q8_counts n, uint32_t dot8, uint32_t norm, uint32_t quantize, uint32_t plain)
{
    assert_int_equal(n.dot8, dot8);
    assert_int_equal(n.norm, norm);
    assert_int_equal(n.quantize, quantize);
    assert_int_equal(n.plain, plain);
}

static void test_q8_activations(void **state)
{
    (void)state;
    pum_caps fast = profile("navi31"), slow = fast, without = fast, wrong = fast;
    slow.bits &= ~PUM_CAP_DOT8_FAST;
    without.bits &= ~PUM_CAP_DOT8;
    pum_caps_distrust(&wrong, PUM_KERNEL_norm_q8_dot8);
    assert_q8(plan_q8(&fast, 1, false, false, PUM_DTYPE_Q8_0), 0, 0, 0, 4); /* nobody asked */
    assert_q8(plan_q8(&fast, 1, true, false, PUM_DTYPE_Q8_0), 3, 1, 1, 0);
    assert_q8(plan_q8(&fast, 8, true, false, PUM_DTYPE_Q8_0), 3, 1, 1, 0);
    assert_q8(plan_q8(&fast, 9, true, false, PUM_DTYPE_Q8_0), 0, 0, 0, 4); /* matmul */
    assert_q8(plan_q8(&fast, 1, true, true, PUM_DTYPE_Q8_0), 3, 0, 2, 1);  /* the norm by itself */
    assert_q8(plan_q8(&fast, 1, true, false, PUM_DTYPE_F16), 2, 0, 2, 2);  /* F16 wants the norm as it is */
    assert_q8(plan_q8(&wrong, 1, true, false, PUM_DTYPE_Q8_0), 3, 0, 2, 1);
    assert_q8(plan_q8(&slow, 1, true, false, PUM_DTYPE_Q8_0), 0, 0, 0, 4);
    assert_q8(plan_q8(&without, 1, true, false, PUM_DTYPE_Q8_0), 0, 0, 0, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs_on_all_profiles),
        cmocka_unit_test(test_split_tensors),
        cmocka_unit_test(test_q8_activations),
        cmocka_unit_test(test_every_barrier_is_needed),
        cmocka_unit_test(test_checker_finds_faults),
        cmocka_unit_test(test_reuse_and_fusion_pay),
        cmocka_unit_test(test_attention_with_subgroups),
        cmocka_unit_test(test_scales_of_products),
        cmocka_unit_test(test_norms_between_matvecs),
        cmocka_unit_test(test_keys_without_queries),
        cmocka_unit_test(test_few_rounds),
        cmocka_unit_test(test_plans_are_stable),
        cmocka_unit_test(test_submits_follow_predicted_time),
        cmocka_unit_test(test_bad_graphs_are_refused),
        cmocka_unit_test(test_host_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
