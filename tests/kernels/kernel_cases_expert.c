/* SPDX-License-Identifier: Apache-2.0
 * Cases of the kernels of mixtures of experts: one expert and many, ties and NaN in the router, experts that nobody
 * chose, stacks of which only some rows are bound. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernel_case.h"

static uint32_t coin(case_rng *rng) { return case_range(rng, 0, 1); }

static uint32_t wg_of(const pum_caps *caps, uint32_t variant)
{
    static const uint32_t wgs[] = { 8, 64, 32, 128 };
    uint32_t whole = (uint32_t)pum_align_up(wgs[variant % PUM_COUNT(wgs)], PUM_MAX(caps->subgroup_size, 1u));
    return PUM_MIN(whole, caps->max_workgroup_invocations);
}

static void grid(kernel_case *out, uint64_t x, uint64_t y)
{
    out->grid[0] = (uint32_t)x;
    out->grid[1] = (uint32_t)y;
    out->grid[2] = 1;
}

/* Routes of rows: different experts for the places of a row, weights between 0 and 1. */
static void fill_routes(case_rng *rng, float *route, uint32_t rows, uint32_t stride, uint32_t used, uint32_t experts)
{
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t first = case_range(rng, 0, experts - 1);
        for (uint32_t j = 0; j < used; j++) {
            route[r * stride + j] = (float)((first + j) % experts);
            route[r * stride + used + j] = case_uniform(rng, 0.0f, 1.0f);
        }
    }
}

static bool make_route(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant, kernel_case *out)
{
    static const uint32_t counts[] = { 8, 1, 60, 128, 4, 257, 2 };
    uint32_t experts = counts[variant % PUM_COUNT(counts)], wg = wg_of(caps, variant);
    uint32_t used = case_range(rng, 1, PUM_MIN(8u, experts)), rows = case_range(rng, 1, 5);
    pum_args_route args = { .experts = experts, .used = used, .rows = rows, .x_stride = experts + coin(rng),
                            .y_stride = 2 * used + coin(rng), .renorm = coin(rng),
                            .scale = coin(rng) ? 1.0f : 2.5f };
    (void)kernel;
    float *x = case_bind(out, 0, CASE_INPUT, 4 * ((size_t)(rows - 1) * args.x_stride + experts));
    if (!case_bind(out, 1, CASE_F32, 4 * ((size_t)(rows - 1) * args.y_stride + 2 * used)) || !x) return false;
    for (size_t i = 0; i < out->bind[0].bytes / 4; i++) {
        x[i] = variant % 3 == 0 ? (float)case_range(rng, 0, 3) : case_uniform(rng, -6.0f, 6.0f); /* ties */
        if (variant % 5 == 4 && case_range(rng, 0, 2) == 0) x[i] = NAN;
    }
    out->spec[PUM_SPEC_ROUTE_WG] = wg;
    out->spec[PUM_SPEC_ROUTE_USED] = used;
    memcpy(out->args, &args, sizeof args);
    grid(out, rows, 1);
    snprintf(out->name, sizeof out->name, "experts %u used %u rows %u renorm %u wg %u", experts, used, rows,
             args.renorm, wg);
    return true;
}

static bool make_group(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant, kernel_case *out)
{
    static const uint32_t counts[] = { 8, 1, 60, 128, 4 };
    uint32_t experts = counts[variant % PUM_COUNT(counts)], wg = wg_of(caps, variant);
    uint32_t used = case_range(rng, 1, PUM_MIN(4u, experts)), rows = case_range(rng, 1, 40), pairs = rows * used;
    pum_args_expert_group args = { .experts = experts, .used = used, .rows = rows, .x_stride = 2 * used + coin(rng) };
    args.tiles = PUM_MIN(pairs, (uint32_t)pum_ceil_div(pairs, EXPERT_TILE) + experts);
    (void)kernel;
    float *x = case_bind(out, 0, CASE_INPUT, 4 * ((size_t)(rows - 1) * args.x_stride + 2 * used));
    if (!case_bind(out, 1, CASE_WORDS, 4 * (pairs + 3 * (size_t)args.tiles)) || !x) return false;
    fill_routes(rng, x, rows, args.x_stride, used, variant % 4 == 3 ? used : experts);
    out->spec[PUM_SPEC_EXPERT_GROUP_WG] = wg;
    out->spec[PUM_SPEC_EXPERT_GROUP_EXPERTS] = experts;
    memcpy(out->args, &args, sizeof args);
    grid(out, 1, 1);
    snprintf(out->name, sizeof out->name, "experts %u used %u rows %u wg %u", experts, used, rows, wg);
    return true;
}

/* The words of expert_group for routes that are already chosen. */
static void order_pairs(const float *route, const pum_args_expert *a, uint32_t experts, uint32_t tiles, uint32_t *group)
{
    uint32_t at = 0, *tile = group + a->pairs;
    memset(tile, 0, 12 * (size_t)tiles);
    for (uint32_t e = 0; e < experts; e++) {
        uint32_t first = at;
        for (uint32_t p = 0; p < a->pairs; p++) {
            if ((uint32_t)route[p / a->used * a->route_stride + p % a->used] == e) group[at++] = p;
        }
        for (; first < at; first += EXPERT_TILE, tile += 3) {
            tile[0] = e;
            tile[1] = first;
            tile[2] = PUM_MIN(at - first, EXPERT_TILE);
        }
    }
}

static bool make_expert(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant, kernel_case *out)
{
    static const uint32_t inner[] = { 32, 256, 64, 33, 288, 5 }, outer[] = { 1, 7, 8, 33, 64 };
    bool vec = pum_kernels[kernel].family == PUM_FAMILY_EXPERT_MATVEC;
    pum_dtype type = (pum_dtype)pum_kernels[kernel].weight;
    if (!case_takes(kernel, variant)) return false;
    uint32_t experts = case_range(rng, 1, 6), used = case_range(rng, 1, experts), n = case_pick(rng, outer);
    uint32_t rows = vec ? case_range(rng, 1, 3) : case_range(rng, 1, 24), wg = wg_of(caps, variant), set_rows = 2;
    pum_args_expert a = { .k = case_fit_cols(type, inner[variant % PUM_COUNT(inner)]), .n = n, .used = used,
                          .pairs = rows * used, .x_div = coin(rng) ? used : 1, .route_stride = 2 * used,
                          .y_stride = n + coin(rng) * 3, .count = experts * n };
    uint32_t tiles = PUM_MIN(a.pairs, (uint32_t)pum_ceil_div(a.pairs, EXPERT_TILE) + experts);
    a.x_stride = a.k + coin(rng) * (case_aligned(type, a.k) ? 4 : 3);
    if (variant % 2) { /* a piece of the stack */
        a.first = case_range(rng, 0, a.count - 1);
        a.count = case_range(rng, 1, a.count - a.first);
    }
    size_t x_count = (size_t)((a.pairs - 1) / a.x_div) * a.x_stride + a.k;
    uint8_t *w = case_bind(out, 0, CASE_INPUT, a.count * case_row_bytes(type, a.k));
    float *x = case_bind(out, 1, CASE_INPUT, 4 * x_count);
    float *route = pum_alloc_array((size_t)rows * 2 * used, sizeof *route);
    void *third = case_bind(out, 2, CASE_INPUT, vec ? 8 * (size_t)rows * used : 4 * (a.pairs + 3 * (size_t)tiles));
    bool ok = w && x && route && third && case_bind(out, 3, CASE_F32, 4 * ((size_t)(a.pairs - 1) * a.y_stride + n))
              && case_fill_weights(rng, type, a.count, a.k, w);
    if (ok) {
        case_fill_f32(rng, x, x_count, 1.0f);
        fill_routes(rng, route, rows, a.route_stride, used, experts);
        if (vec) memcpy(third, route, 8 * (size_t)rows * used);
        else order_pairs(route, &a, experts, tiles, third);
    }
    pum_free(route);
    if (!ok) return false;
    if (vec) {
        uint32_t group = 1u << case_range(rng, 0, 3);
        const uint32_t spec[] = { wg, set_rows, case_aligned(type, a.k), group };
        bool base = pum_kernels[kernel].tier == PUM_TIER_BASE;
        uint32_t lanes = base ? group : PUM_MAX(caps->subgroup_size, 1u);
        memcpy(out->spec, spec, sizeof spec);
        grid(out, pum_ceil_div(n, PUM_MAX(wg / lanes, 1u) * set_rows), a.pairs);
    } else {
        const uint32_t spec[] = { wg, case_aligned(type, a.k) };
        memcpy(out->spec, spec, sizeof spec);
        grid(out, pum_ceil_div(n, 8 * wg), tiles);
    }
    memcpy(out->args, &a, sizeof a);
    snprintf(out->name, sizeof out->name, "k %u n %u experts %u used %u rows %u x_div %u rows [%u, +%u) wg %u", a.k,
             n, experts, used, rows, a.x_div, a.first, a.count, wg);
    return true;
}

static bool make_sum(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant, kernel_case *out)
{
    uint32_t cols = case_range(rng, 1, 300), rows = case_range(rng, 1, 5), used = case_range(rng, 1, 8);
    uint32_t wg = wg_of(caps, variant), shared = variant % 2;
    pum_args_expert_sum args = { .cols = cols, .rows = rows, .used = used, .x_stride = cols + coin(rng),
                                 .route_stride = 2 * used, .shared_stride = cols + coin(rng),
                                 .y_stride = cols + coin(rng) };
    (void)kernel;
    float *x = case_bind(out, 0, CASE_INPUT, 4 * ((size_t)(rows * used - 1) * args.x_stride + cols));
    float *route = case_bind(out, 1, CASE_INPUT, 8 * (size_t)rows * used);
    float *other = case_bind(out, 2, CASE_INPUT,
                             shared ? 4 * ((size_t)(rows - 1) * args.shared_stride + cols) : 4);
    float *gate = case_bind(out, 3, CASE_INPUT, shared ? 4 * (size_t)rows : 4);
    void *y = case_bind(out, 4, CASE_F32, 4 * ((size_t)(rows - 1) * args.y_stride + cols));
    if (!x || !route || !other || !gate || !y) return false;
    case_fill_f32(rng, x, out->bind[0].bytes / 4, 2.0f);
    fill_routes(rng, route, rows, args.route_stride, used, 8);
    case_fill_f32(rng, other, out->bind[2].bytes / 4, 2.0f);
    for (uint32_t r = 0; shared && r < rows; r++) gate[r] = case_uniform(rng, -8.0f, 8.0f);
    const uint32_t spec[] = { wg, shared };
    memcpy(out->spec, spec, sizeof spec);
    memcpy(out->args, &args, sizeof args);
    grid(out, pum_ceil_div(cols, wg), rows);
    snprintf(out->name, sizeof out->name, "cols %u rows %u used %u shared %u wg %u", cols, rows, used, shared, wg);
    return true;
}

static bool make_scale(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant, kernel_case *out)
{
    uint32_t cols = case_range(rng, 1, 300), rows = case_range(rng, 1, 5), wg = wg_of(caps, variant);
    uint32_t experts = case_range(rng, 1, 9), used = case_range(rng, 1, experts), pairs = rows * used;
    pum_args_expert_scale args = { .cols = cols, .pairs = pairs, .used = used, .x_stride = cols + coin(rng),
                                   .route_stride = 2 * used + coin(rng), .y_stride = cols + coin(rng) };
    (void)kernel;
    bool in_place = variant % 2;
    if (in_place) args.y_stride = args.x_stride;
    float *x = case_bind(out, 0, in_place ? CASE_F32 : CASE_INPUT,
                         4 * ((size_t)(pairs - 1) * args.x_stride + cols));
    float *route = case_bind(out, 1, CASE_INPUT, 4 * ((size_t)(rows - 1) * args.route_stride + 2 * used));
    float *by = case_bind(out, 2, CASE_INPUT, 4 * (size_t)experts);
    if (!x || !route || !by) return false;
    if (in_place) {
        out->bind[0].keep = true;
        case_share(out, 3, 0);
    } else if (!case_bind(out, 3, CASE_F32, 4 * ((size_t)(pairs - 1) * args.y_stride + cols))) {
        return false;
    }
    case_fill_f32(rng, x, out->bind[0].bytes / 4, 2.0f);
    case_fill_f32(rng, by, experts, 2.0f);
    fill_routes(rng, route, rows, args.route_stride, used, experts);
    out->spec[PUM_SPEC_EXPERT_SCALE_WG] = wg;
    memcpy(out->args, &args, sizeof args);
    grid(out, pum_ceil_div(cols, wg), pairs);
    snprintf(out->name, sizeof out->name, "cols %u experts %u used %u rows %u wg %u", cols, experts, used, rows, wg);
    return true;
}

const case_family case_families_expert[] = {
    { PUM_FAMILY_ROUTE, 14, make_route, 0, NULL },
    { PUM_FAMILY_EXPERT_GROUP, 8, make_group, 0, NULL },
    { PUM_FAMILY_EXPERT_MATVEC, 8, make_expert, 0, NULL },
    { PUM_FAMILY_EXPERT_MATMUL, 6, make_expert, 0, NULL },
    { PUM_FAMILY_EXPERT_SCALE, 4, make_scale, 0, NULL },
    { PUM_FAMILY_EXPERT_SUM, 4, make_sum, 0, NULL },
};
const uint32_t case_families_expert_count = PUM_COUNT(case_families_expert);
