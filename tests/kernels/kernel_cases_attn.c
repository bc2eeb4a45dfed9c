/* SPDX-License-Identifier: Apache-2.0
 * Cases of the kernels around the paged KV cache: the stores into it and attention over it. Cells
 * that no row may see hold NaN, block tables are scrambled. */
#include "kernel_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tuning.h"

static uint32_t wg_of(const pum_caps *caps, uint32_t variant)
{
    static const uint32_t wgs[] = { 8, 64, 4, 256, 32, 128, 12, 96 };
    /* whole subgroups, as the planner has it: lavapipe (Mesa 22.3) miscounts the subgroups of
     * others */
    uint32_t whole =
        (uint32_t)pum_align_up(wgs[variant % PUM_COUNT(wgs)], PUM_MAX(caps->subgroup_size, 1u));
    return PUM_MIN(whole, caps->max_workgroup_invocations);
}

static uint32_t coin(case_rng *rng) { return case_range(rng, 0, 1); }

static void grid(kernel_case *out, uint64_t x, uint32_t y)
{
    out->grid[0] = (uint32_t)x;
    out->grid[1] = y;
    out->grid[2] = 1;
}

static size_t words(uint32_t rows, uint32_t stride, uint32_t first, uint32_t cols)
{
    return 4 * ((size_t)(rows - 1) * stride + first + cols);
}

static void fill_words(case_rng *rng, uint32_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes / 4; i++) data[i] = (uint32_t)case_next(rng);
}

/* Dims of a head that one rotation takes: often all there are */
static uint32_t rot_of(case_rng *rng, uint32_t head_dim, uint32_t pairing)
{
    uint32_t most = pairing == ROPE_2D ? head_dim / 4 * 2 : head_dim;
    return case_range(rng, 0, 2) ? most : case_range(rng, 0, most / 2) * 2;
}

/* ---- the paged cache ---- */

/* Sequences whose logical pages are scattered over the cache; what no table names is garbage, and
 * so is what follows a sequence's last page in its table. */
typedef struct world {
    uint32_t rows, seqs, pages; /* pages: of one sequence */
    uint32_t table_at, table_stride;
    uint32_t kv_heads, head_dim, kt, vt;
    uint32_t *step;
} world;

static uint32_t *row_of(const world *w, uint32_t r)
{
    return w->step + STEP_ROWS_AT + r * STEP_ROW_WORDS;
}

/* Binds a step buffer with random rows and scrambled block tables. */
static bool make_world(case_rng *rng, world *w, kernel_case *out, int slot)
{
    uint32_t physical = w->seqs * w->pages + 1, at = 0;
    uint32_t *order = pum_alloc_array(physical, sizeof *order);
    w->table_at = STEP_ROWS_AT + w->rows * STEP_ROW_WORDS + coin(rng) * 5;
    w->table_stride = w->pages + coin(rng) * 3;
    w->step =
        case_bind(out, slot, CASE_INPUT, 4 * (w->table_at + (size_t)w->seqs * w->table_stride));
    if (!order || !w->step) {
        pum_free(order);
        return false;
    }
    fill_words(rng, w->step, out->bind[slot].bytes);
    for (uint32_t i = 0; i < physical; i++) order[i] = i;
    for (uint32_t i = physical - 1; i > 0; i--) {
        uint32_t j = case_range(rng, 0, i), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    for (uint32_t s = 0; s < w->seqs; s++) {
        for (uint32_t p = 0; p < w->pages; p++)
            w->step[w->table_at + s * w->table_stride + p] = order[at++];
    }
    pum_free(order);
    return true;
}

static size_t cache_bytes(const world *w, uint32_t type)
{
    return (size_t)((w->seqs * w->pages + 1) * w->kv_heads *
                    pum_ref_kv_page_bytes(type, w->head_dim));
}

/* A cache of NaN (of a quantized one, the scales), for the cells nobody may look at. */
static void *make_cache(const world *w, uint32_t type, kernel_case *out, int slot)
{
    uint32_t *data = case_bind(out, slot, CASE_INPUT, cache_bytes(w, type));
    for (size_t i = 0; data && i < out->bind[slot].bytes / 4; i++)
        data[i] = type == KV_F32 ? 0x7fc00000u : 0x7e007e00u;
    return data;
}

static void fill_cell(case_rng *rng, const world *w, void *cache, uint32_t type, uint32_t seq,
                      uint32_t cell)
{
    uint64_t page = w->step[w->table_at + seq * w->table_stride + cell / KV_PAGE];
    for (uint32_t h = 0; h < w->kv_heads; h++) {
        float v[256];
        for (uint32_t d = 0; d < w->head_dim; d++) v[d] = case_uniform(rng, -2.0f, 2.0f);
        pum_ref_kv_put(cache, type, page * w->kv_heads + h, cell % KV_PAGE, w->head_dim, v);
    }
}

/* Is the kernel one for caches that are not quantized? */
static bool floats_alone(uint32_t kernel)
{
    uint32_t family = pum_kernels[kernel].family;
    return family == PUM_FAMILY_ROPE_KV_FLOAT || family == PUM_FAMILY_ATTENTION_FLOAT;
}

/* Any two types that the kernel takes, and a head that they can hold: quantized ones take multiples of 32. */
static void pick_types(world *w, uint32_t kernel, uint32_t variant)
{
    static const uint32_t dims[] = { 64, 8, 128, 80, 48, 2, 256, 24, 10, 96, 6 },
                          whole[] = { 64, 128, 32, 96, 256 };
    uint32_t types = floats_alone(kernel) ? 2 : 4;
    w->kt = variant % types;
    w->vt = (variant / types + variant) % types;
    w->head_dim = w->kt > KV_F16 || w->vt > KV_F16 ? whole[variant % PUM_COUNT(whole)]
                                                   : dims[variant % PUM_COUNT(dims)];
}

/* Rows with distinct cells, for the kernels that write the cache. */
static bool make_writer(case_rng *rng, world *w, uint32_t variant, kernel_case *out, int slot)
{
    *w = (world){ .rows = case_range(rng, 1, 12),
                  .seqs = case_range(rng, 1, 3),
                  .pages = case_range(rng, 1, 4),
                  .kv_heads = case_range(rng, 1, 4) };
    pick_types(w, out->kernel, variant);
    if (!make_world(rng, w, out, slot)) return false;
    for (uint32_t r = 0; r < w->rows; r++) {
        uint32_t *row = row_of(w, r);
        row[ROW_SEQ] = r % w->seqs;
        row[ROW_CELL] = (r / w->seqs * 5 + variant) %
                        (w->pages * KV_PAGE); /* 5 is prime to the number of cells */
        row[ROW_POS] = case_range(rng, 0, 40000);
        row[ROW_POS2] = case_range(rng, 0, 40000);
        if (case_range(rng, 0, 4) == 0) row[ROW_SEQ] = ROW_INACTIVE;
    }
    return true;
}

static void bind_cache(const world *w, uint32_t type, kernel_case *out, int slot)
{
    case_bind(out, slot, type == KV_F32 ? CASE_F32 : type == KV_F16 ? CASE_F16 : CASE_KV,
              cache_bytes(w, type));
    out->bind[slot].kv_type = type;
    out->bind[slot].head_dim = w->head_dim;
}

static bool bind_caches(const world *w, kernel_case *out, int k_slot, double floor)
{
    bind_cache(w, w->kt, out, k_slot);
    bind_cache(w, w->vt, out, k_slot + 1);
    out->bind[k_slot].floor = floor;
    return !out->failed;
}

/* Parts of a head that one invocation stores */
static uint32_t items_of(const world *w)
{
    return (uint32_t)pum_ceil_div(w->head_dim, 8) * 8 / (w->kt > KV_F16 || w->vt > KV_F16 ? 32 : 2);
}

static bool make_kv_store(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                          kernel_case *out)
{
    world w;
    uint32_t wg = wg_of(caps, variant);
    (void)kernel;
    if (!make_writer(rng, &w, variant, out, 2)) return false;
    uint32_t width = w.kv_heads * w.head_dim;
    pum_args_kv_store args = { .kv_heads = w.kv_heads,
                               .head_dim = w.head_dim,
                               .rows = w.rows,
                               .k_first = coin(rng) * 7,
                               .v_first = coin(rng) * width,
                               .table_at = w.table_at,
                               .table_stride = w.table_stride };
    args.k_stride = args.k_first + width + coin(rng);
    args.v_stride = args.v_first + width + coin(rng);
    float *k = case_bind(out, 0, CASE_INPUT, words(w.rows, args.k_stride, args.k_first, width));
    float *v = case_bind(out, 1, CASE_INPUT, words(w.rows, args.v_stride, args.v_first, width));
    if (!k || !v || !bind_caches(&w, out, 3, 0.0)) return false;
    case_fill_f32(rng, k, out->bind[0].bytes / 4, 3.0f);
    case_fill_f32(rng, v, out->bind[1].bytes / 4, 3.0f);
    const uint32_t spec[] = { wg, w.kt, w.vt };
    memcpy(out->spec, spec, sizeof spec);
    memcpy(out->args, &args, sizeof args);
    grid(out, pum_ceil_div(2 * w.kv_heads * items_of(&w), wg), w.rows);
    snprintf(out->name, sizeof out->name, "kv heads %u x %u rows %u seqs %u kt %u vt %u wg %u",
             w.kv_heads, w.head_dim, w.rows, w.seqs, w.kt, w.vt, wg);
    return true;
}

static bool make_rope_kv(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                         kernel_case *out)
{
    world w;
    uint32_t wg = wg_of(caps, variant / 2), pairing = variant / 4 % 3;
    bool in_place = variant % 3 == 1;
    (void)kernel;
    if (!make_writer(rng, &w, variant, out, 4)) return false;
    bool queries = variant % 7 != 6;
    uint32_t heads = queries ? w.kv_heads * case_range(rng, 1, 3) : 0, kv_width = w.kv_heads * w.head_dim,
             width = queries ? heads * w.head_dim : kv_width; /* of what is bound as q and y */
    uint32_t rot = rot_of(rng, w.head_dim, pairing);
    pum_args_rope_kv args = { .heads = heads,
                              .kv_heads = w.kv_heads,
                              .head_dim = w.head_dim,
                              .rot_dim = rot,
                              .rows = w.rows,
                              .q_first = in_place ? 0 : coin(rng) * 3,
                              .k_first = coin(rng) * 5,
                              .v_first = coin(rng) * kv_width,
                              .table_at = w.table_at,
                              .table_stride = w.table_stride,
                              .scale = coin(rng) ? 1.0f : 0.9f };
    args.q_stride = args.q_first + width + coin(rng) * 2;
    args.k_stride = args.k_first + kv_width + coin(rng);
    args.v_stride = args.v_first + kv_width + coin(rng);
    args.y_stride = in_place ? args.q_stride : width + coin(rng) * 3;
    float *q = case_bind(out, 0, in_place ? CASE_F32 : CASE_INPUT,
                         words(w.rows, args.q_stride, args.q_first, width));
    float *k = case_bind(out, 1, CASE_INPUT, words(w.rows, args.k_stride, args.k_first, kv_width));
    float *v = case_bind(out, 2, CASE_INPUT, words(w.rows, args.v_stride, args.v_first, kv_width));
    uint32_t tables = variant % 5 == 2 ? 2 : 1, *step = out->bind[4].data;
    uint32_t *freq = case_bind(out, 3, CASE_INPUT, 4 * (size_t)rot * tables);
    if (!q || !k || !v || !freq || !bind_caches(&w, out, 6, 6.0)) return false;
    for (size_t i = 0; i < out->bind[0].bytes / 4; i++) q[i] = case_uniform(rng, -3.0f, 3.0f);
    for (size_t i = 0; i < out->bind[1].bytes / 4; i++) k[i] = case_uniform(rng, -3.0f, 3.0f);
    case_fill_f32(rng, v, out->bind[2].bytes / 4, 3.0f);
    fill_words(rng, freq, 4 * (size_t)rot * tables);
    for (uint32_t r = 0; r < w.rows; r++) {
        step[STEP_ROWS_AT + r * STEP_ROW_WORDS + ROW_ROPE] = case_range(rng, 0, tables - 1);
    }
    if (in_place) {
        out->bind[0].keep = true;
        case_share(out, 5, 0);
    } else if (!case_bind(out, 5, CASE_F32, words(w.rows, args.y_stride, 0, width))) {
        return false;
    }
    const uint32_t spec[] = { wg, pairing, w.kt, w.vt };
    memcpy(out->spec, spec, sizeof spec);
    memcpy(out->args, &args, sizeof args);
    grid(out, pum_ceil_div((heads + 2 * w.kv_heads) * items_of(&w), wg), w.rows);
    snprintf(out->name, sizeof out->name,
             "heads %u/%u x %u rot %u rows %u pairing %u kt %u vt %u%s wg %u", heads, w.kv_heads,
             w.head_dim, rot, w.rows, pairing, w.kt, w.vt, in_place ? " in place" : "", wg);
    return true;
}

/* ---- attention ---- */

/* Makes the cells that rows may see valid, and those between what the rows of a tile see. */
static void fill_visible(case_rng *rng, const world *w, const pum_args_attn *a, uint32_t tile,
                         void *kc, void *vc)
{
    for (uint32_t t = 0; t < w->rows; t += tile) {
        uint32_t from = UINT32_MAX, to = 0, seq = 0;
        for (uint32_t r = t; r < PUM_MIN(t + tile, w->rows); r++) {
            const uint32_t *row = row_of(w, r);
            uint32_t lo = row[a->row_lo], hi = row[a->row_hi];
            if (row[ROW_SEQ] == ROW_INACTIVE || row[a->row_seq] == ROW_INACTIVE) continue;
            if (a->window && row[ROW_CELL] + 1 > a->window)
                lo = PUM_MAX(lo, row[ROW_CELL] + 1 - a->window);
            if (lo >= hi) continue;
            seq = row[a->row_seq];
            from = PUM_MIN(from, lo);
            to = PUM_MAX(to, hi);
        }
        for (uint32_t c = from; c < to; c++) {
            fill_cell(rng, w, kc, w->kt, seq, c);
            fill_cell(rng, w, vc, w->vt, seq, c);
        }
    }
}

/* Rows of one sequence behind each other (prefill), or of several anywhere (decode), with the
 * exceptions that occur: prefixes seen from before, empty ranges, inactive rows, left parts cut
 * off, ranges with a gap between them. */
static void make_rows(case_rng *rng, const world *w, bool prefill, uint32_t variant)
{
    uint32_t cells = w->pages * KV_PAGE, past = case_range(rng, 0, cells - w->rows),
             prefix = case_range(rng, 0, cells);
    for (uint32_t r = 0; r < w->rows; r++) {
        uint32_t *row = row_of(w, r);
        row[ROW_SEQ] = prefill ? w->seqs - 1 : case_range(rng, 0, w->seqs - 1);
        row[ROW_CELL] = prefill ? past + r : case_range(rng, 0, cells - 1);
        row[ROW_LO] = variant % 5 == 2 ? case_range(rng, 0, row[ROW_CELL]) : 0;
        row[ROW_HI] = row[ROW_CELL] + 1;
        if (variant % 4 == 1) row[ROW_HI] = PUM_MAX(row[ROW_HI], prefix);
        if (variant % 11 == 7 && prefill && r % 8 >= 4)
            row[ROW_LO] = row[ROW_HI] - 1; /* a gap to the rows before */
        if (variant % 11 == 7 && prefill && r % 8 < 4) row[ROW_HI] = PUM_MIN(row[ROW_HI], 3 + r);
        if (case_range(rng, 0, 15) == 0) row[ROW_HI] = row[ROW_LO];
        if (variant % 9 == 5) { /* a second set of cells: the first one's words mislead */
            row[ROW_SEQ2] = row[ROW_SEQ];
            row[ROW_LO2] = row[ROW_LO];
            row[ROW_HI2] = row[ROW_HI];
            row[ROW_SEQ] = row[ROW_LO] = row[ROW_HI] = 1;
        }
        if (case_range(rng, 0, variant % 3 == 0 ? 3 : 15) == 0)
            row[variant % 9 == 5 && coin(rng) ? ROW_SEQ2 : ROW_SEQ] = ROW_INACTIVE;
    }
}

/* Tier sub takes one subgroup, tier base any power of two. */
static void shape_of(const pum_caps *caps, int kernel, uint32_t variant, uint32_t *out_wg,
                     uint32_t *out_lanes)
{
    static const uint32_t wgs[] = { 8, 64, 4, 16, 1, 32 }, lanes[] = { 1, 4, 1, 2 };
    bool sub = pum_kernels[kernel].tier == PUM_TIER_SUB;
    *out_wg = sub ? caps->subgroup_size : wgs[variant % PUM_COUNT(wgs)];
    *out_lanes = sub ? PUM_MIN(lanes[variant % PUM_COUNT(lanes)], caps->subgroup_size) : 1;
}

enum { ATTN_CASES = 28, LONG_CELLS = 70000 };

static bool make_attn(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                      kernel_case *out)
{
    static const struct {
        uint32_t heads, kv_heads, rows, at_once;
    } tiles[] = { { 4, 4, 8, 1 }, { 8, 2, 1, 4 }, { 1, 1, 4, 1 }, { 6, 3, 3, 2 }, { 7, 1, 1, 3 },
                  { 2, 2, 1, 1 }, { 8, 1, 1, 8 } };
    uint32_t tile = variant % PUM_COUNT(tiles), heads = tiles[tile].heads, br = tiles[tile].rows,
             hq = tiles[tile].at_once, kv_heads = tiles[tile].kv_heads, wg, lanes,
             splits = variant % 3 == 1 ? case_range(rng, 2, 5) : 1;
    uint32_t extra = (variant % 6 == 3 ? ATTN_CAP : 0) | (variant % 7 == 4 ? ATTN_ALIBI : 0) |
                     (variant % 4 == 2 ? ATTN_BIAS : 0) | (splits > 1 ? ATTN_PARTS : 0);
    bool cross = variant % 9 == 5;
    /* software drivers take a second to compile one: the base tier's barriers are the dearest */
    if (pum_kernels[kernel].tier == PUM_TIER_BASE && variant >= 14) return false;
    world w = { .rows = br > 1 ? case_range(rng, 1, 29) : case_range(rng, 1, 4),
                .seqs = case_range(rng, 1, 3),
                .pages = variant % 16 == 15 ? 40 : case_range(rng, 2, 12),
                .kv_heads = kv_heads };
    pick_types(&w, out->kernel, variant);
    /* last, a row over more cells than lavapipe's loops have rounds, cut as the planner cuts it */
    bool is_long = variant == ATTN_CASES;
    if (is_long) {
        pum_tuning t;
        pum_tuning_for(caps, &t);
        w = (world){ .rows = 1, .seqs = 1, .pages = LONG_CELLS / KV_PAGE + 1, .kv_heads = 1,
                     .head_dim = 64, .kt = KV_F16, .vt = KV_F16 };
        heads = kv_heads = br = hq = 1;
        cross = false;
        splits = (uint32_t)pum_ceil_div(LONG_CELLS, PUM_MIN(t.attn_most_cells, 16384u));
        extra = ATTN_PARTS;
    }
    shape_of(caps, kernel, variant, &wg, &lanes);
    uint32_t dim = w.head_dim;
    pum_args_attn args = { .heads = heads,
                           .kv_heads = kv_heads,
                           .head_dim = dim,
                           .rows = w.rows,
                           .q_first = coin(rng) * 3,
                           .y_stride = heads * dim + (splits > 1 ? 0 : coin(rng) * 5),
                           .scale = variant % 10 == 9 ? 1.0f : 1.0f / sqrtf((float)dim),
                           .softcap = extra & ATTN_CAP ? 5.0f : 0.0f,
                           .window = variant % 5 == 1 ? case_range(rng, 1, 70) : 0,
                           .alibi_max = extra & ATTN_ALIBI ? 8.0f : 0.0f,
                           .alibi_scale = variant % 2 ? 1.0f : 0.125f,
                           .row_seq = cross ? ROW_SEQ2 : ROW_SEQ,
                           .row_lo = cross ? ROW_LO2 : ROW_LO,
                           .row_hi = cross ? ROW_HI2 : ROW_HI,
                           .bias_max = case_range(rng, 0, 50),
                           .splits = splits };
    args.q_stride = args.q_first + heads * dim + coin(rng) * 2;
    if (is_long) args.window = 0;
    if (!make_world(rng, &w, out, 4)) return false;
    args.table_at = w.table_at;
    args.table_stride = w.table_stride;
    make_rows(rng, &w, br > 1, variant);
    if (is_long) {
        uint32_t *row = row_of(&w, 0);
        row[ROW_SEQ] = row[ROW_LO] = 0;
        row[ROW_CELL] = LONG_CELLS - 1;
        row[ROW_HI] = LONG_CELLS;
    }
    float *q =
        case_bind(out, 0, CASE_INPUT, words(w.rows, args.q_stride, args.q_first, heads * dim));
    void *kc = make_cache(&w, w.kt, out, 1), *vc = make_cache(&w, w.vt, out, 2);
    float *bias = case_bind(out, 3, CASE_INPUT, 4 * (size_t)heads * (2 * args.bias_max + 1));
    size_t logs = splits > 1 ? 4 * (size_t)splits * w.rows * heads : 0;
    if (!q || !kc || !vc || !bias ||
        !case_bind(out, 5, CASE_F32,
                   words(w.rows * splits, args.y_stride, 0, heads * dim) + logs))
        return false;
    fill_visible(rng, &w, &args, br, kc, vc);
    case_fill_f32(rng, q, out->bind[0].bytes / 4, variant % 2 ? 3.0f : 0.5f);
    for (size_t i = 0; i < out->bind[3].bytes / 4; i++) bias[i] = case_uniform(rng, -4.0f, 4.0f);
    const uint32_t spec[] = { wg, dim, w.kt, w.vt, br, hq, lanes, extra };
    memcpy(out->spec, spec, sizeof spec);
    memcpy(out->args, &args, sizeof args);
    grid(out, kv_heads * pum_ceil_div(heads / kv_heads, hq), (uint32_t)pum_ceil_div(w.rows, br));
    out->grid[2] = splits;
    snprintf(out->name, sizeof out->name,
             "heads %u/%u x %u rows %u pages %u kt %u vt %u window %u extra %u cross %d splits %u tile %u x %u "
             "wg %u/%u",
             heads, kv_heads, dim, w.rows, w.pages, w.kt, w.vt, args.window, extra, cross, splits, br, hq, wg,
             lanes);
    return true;
}

/* What decides the speed: the head's width, the cache's type, the cells or rows, heads that share K and V. The numbers
 * of the kernel are the device's own (tuning.def). The last case is longer than lavapipe's loops. */
static bool bench_attn(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                       kernel_case *out)
{
    static const uint32_t dims[] = { 64, 128, 48 }, cells_of[2][3] = { { 512, 4096, 128 }, { 128, 512, 128 } };
    bool prefill = variant % 2;
    variant /= 2;
    uint32_t dim = dims[variant % 3], type = variant / 3 % 4, kv_heads = variant / 12 % 2 ? 2 : 8,
             cells = cells_of[prefill][variant / 24], heads = 8;
    if (variant / 24 == 2 && (prefill || kv_heads == 2)) return false;
    if (type > KV_F16 && dim % 32) return false;
    bool sub = pum_kernels[kernel].tier == PUM_TIER_SUB;
    pum_tuning t;
    pum_tuning_for(caps, &t);
    world w = { .rows = prefill ? cells : 1,
                .seqs = 1,
                .pages = cells / KV_PAGE,
                .kv_heads = kv_heads,
                .head_dim = dim,
                .kt = type,
                .vt = type };
    if (!make_world(rng, &w, out, 4)) return false;
    pum_args_attn args = { .heads = heads,
                           .kv_heads = kv_heads,
                           .head_dim = dim,
                           .rows = w.rows,
                           .q_stride = heads * dim,
                           .y_stride = heads * dim,
                           .scale = 0.125f,
                           .table_at = w.table_at,
                           .table_stride = w.table_stride,
                           .row_seq = ROW_SEQ,
                           .row_lo = ROW_LO,
                           .row_hi = ROW_HI,
                           .splits = 1 };
    double seen = 0.0;
    for (uint32_t r = 0; r < w.rows; r++) {
        uint32_t *row = row_of(&w, r);
        row[ROW_SEQ] = 0;
        row[ROW_CELL] = cells - w.rows + r;
        row[ROW_LO] = 0;
        row[ROW_HI] = row[ROW_CELL] + 1;
        seen += row[ROW_HI];
    }
    uint32_t br = prefill ? t.attn_rows : 1, hq = prefill ? 1 : PUM_MIN(heads / kv_heads, t.attn_heads);
    float *q = case_bind(out, 0, CASE_INPUT, 4 * (size_t)w.rows * heads * dim);
    void *kc = make_cache(&w, type, out, 1), *vc = make_cache(&w, type, out, 2);
    if (!q || !kc || !vc || !case_bind(out, 3, CASE_INPUT, 4) ||
        !case_bind(out, 5, CASE_F32, 4 * (size_t)w.rows * heads * dim)) return false;
    fill_visible(rng, &w, &args, w.rows, kc, vc);
    case_fill_f32(rng, q, out->bind[0].bytes / 4, 1.0f);
    uint32_t wg = sub ? caps->subgroup_size : t.attn_wg, lanes = sub ? t.attn_lanes : 1;
    const uint32_t spec[] = { wg, dim, type, type, br, hq, lanes, 0 };
    memcpy(out->spec, spec, sizeof spec);
    memcpy(out->args, &args, sizeof args);
    grid(out, kv_heads * pum_ceil_div(heads / kv_heads, hq), (uint32_t)pum_ceil_div(w.rows, br));
    out->bytes = 2.0 * w.pages * kv_heads * (double)pum_ref_kv_page_bytes(type, dim) + 2.0 * 4 * w.rows * heads * dim;
    out->flops = 4.0 * seen * heads * dim;
    static const char *const types[] = { "f32", "f16", "q8_0", "q4_0" };
    snprintf(out->name, sizeof out->name, "%u/%u x %u rows %u cells %u %s", heads, kv_heads, dim, w.rows, cells,
             types[type]);
    return true;
}

static bool make_merge(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                       kernel_case *out)
{
    static const uint32_t dims[] = { 64, 48, 2, 130 };
    uint32_t heads = case_range(rng, 1, 5), dim = dims[variant % PUM_COUNT(dims)], wg = wg_of(caps, variant);
    pum_args_attn_merge args = { .heads = heads, .head_dim = dim, .rows = case_range(rng, 1, 4),
                                 .splits = 1 + variant % 7, .y_stride = heads * dim + coin(rng) };
    (void)kernel;
    size_t vectors = (size_t)args.splits * args.rows * heads * dim, logs = (size_t)args.splits * args.rows * heads;
    float *x = case_bind(out, 0, CASE_INPUT, 4 * (vectors + logs));
    if (!x || !case_bind(out, 1, CASE_F32, words(args.rows, args.y_stride, 0, heads * dim))) return false;
    case_fill_f32(rng, x, vectors, 2.0f);
    for (size_t i = 0; i < logs; i++) {
        x[vectors + i] = case_range(rng, 0, 3) == 0 ? -3.0e38f : case_uniform(rng, -30.0f, 10.0f);
    }
    memcpy(out->spec, &wg, sizeof wg);
    memcpy(out->args, &args, sizeof args);
    grid(out, pum_ceil_div(heads * dim, wg), args.rows);
    snprintf(out->name, sizeof out->name, "heads %u x %u rows %u splits %u wg %u", heads, dim, args.rows, args.splits,
             wg);
    return true;
}

const case_family case_families_attn[] = {
    { PUM_FAMILY_KV_STORE, 32, make_kv_store, 0, NULL },
    { PUM_FAMILY_ROPE_KV, 48, make_rope_kv, 0, NULL },
    { PUM_FAMILY_ROPE_KV_FLOAT, 24, make_rope_kv, 0, NULL },
    { PUM_FAMILY_ATTENTION, ATTN_CASES + 1, make_attn, 120, bench_attn },
    { PUM_FAMILY_ATTENTION_FLOAT, ATTN_CASES + 1, make_attn, 120, bench_attn },
    { PUM_FAMILY_ATTN_MERGE, 14, make_merge, 0, NULL },
};
const uint32_t case_families_attn_count = PUM_COUNT(case_families_attn);
