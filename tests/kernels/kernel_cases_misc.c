/* SPDX-License-Identifier: Apache-2.0
 * Cases of the kernels that read no weight matrix: norm, softmax, rope, the paged cache and
 * attention over it, the element-wise ones, argmax, sample and score. Workgroup sizes run from what the
 * software drivers like (4) to the largest a device must have (128) and beyond; cells that no row
 * may see hold NaN, block tables are scrambled. */
#include "kernel_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ref_sample.h"

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

/* ---- norm, softmax ---- */

static bool make_norm(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                      kernel_case *out)
{
    static const uint32_t widths[] = { 64, 288, 1, 2048, 7, 4097, 33, 512, 1023 };
    bool q8 = pum_kernels[kernel].family == PUM_FAMILY_NORM_Q8;
    uint32_t cols = widths[variant % PUM_COUNT(widths)], rows = case_range(rng, 1, 5),
             wg = wg_of(caps, variant / 2);
    if (q8) cols = (uint32_t)pum_align_up(cols, 32);
    uint32_t kind = variant % 2, has_w = case_range(rng, 0, 3) != 0,
             has_b = kind == NORM_LAYER ? coin(rng) : 0;
    pum_args_norm args = { .cols = cols,
                           .rows = rows,
                           .x_stride = cols + coin(rng) * (q8 ? 4 : 3),
                           .y_stride = cols + coin(rng) * 4,
                           .eps = coin(rng) ? 1e-5f : 1e-6f,
                           .w_add = case_range(rng, 0, 3) == 0 ? 1.0f : 0.0f,
                           .w_rows = variant % 3 == 1 ? case_range(rng, 1, rows) : 1 };
    float *x = case_bind(out, 0, CASE_INPUT, words(rows, args.x_stride, 0, cols));
    float *w = case_bind(out, 1, CASE_INPUT, has_w ? 4 * (size_t)cols * args.w_rows : 4);
    float *b = case_bind(out, 2, CASE_INPUT, has_b ? 4 * (size_t)cols : 4);
    size_t y_bytes = q8 ? rows * (size_t)pum_ref_q8_row_bytes(cols) : words(rows, args.y_stride, 0, cols);
    if (!case_bind(out, 3, q8 ? CASE_CHECK : CASE_F32, y_bytes) || !x || !w || !b) return false;
    out->bind[3].check = case_check_q8;
    float shift =
        variant % 5 == 3 && !q8 ? 1000.0f : 0.0f; /* a mean far from 0: E[x^2] - mean^2 would cancel */
    case_fill_f32(rng, x, out->bind[0].bytes / 4, variant % 7 == 5 ? 1e-4f : 2.0f);
    for (size_t i = 0; i < out->bind[0].bytes / 4; i++) x[i] += shift;
    if (has_w) case_fill_f32(rng, w, (size_t)cols * args.w_rows, 1.0f);
    if (has_b) case_fill_f32(rng, b, cols, 1.0f);
    const uint32_t spec[] = { wg, kind, has_w, has_b };
    memcpy(out->spec, spec, sizeof spec);
    memcpy(out->args, &args, sizeof args);
    grid(out, rows, 1);
    snprintf(out->name, sizeof out->name, "cols %u rows %u kind %u w %u x %u b %u shift %g wg %u", cols,
             rows, kind, has_w, args.w_rows, has_b, (double)shift, wg);
    return true;
}

static bool bench_norm(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                       kernel_case *out)
{
    uint32_t wg = wg_of(caps, variant), cols = 4096;
    pum_args_norm args = {
        .cols = cols, .rows = 1, .x_stride = cols, .y_stride = cols, .eps = 1e-5f, .w_rows = 1
    };
    (void)kernel;
    for (int i = 0; i < 3; i++) {
        float *data = case_bind(out, i, CASE_INPUT, 4 * cols);
        if (!data) return false;
        case_fill_f32(rng, data, cols, 1.0f);
    }
    if (!case_bind(out, 3, CASE_F32, 4 * cols)) return false;
    out->spec[PUM_SPEC_NORM_WG] = wg;
    out->spec[PUM_SPEC_NORM_HAS_W] = 1;
    memcpy(out->args, &args, sizeof args);
    grid(out, 1, 1);
    out->bytes = 12.0 * cols;
    out->flops = 4.0 * cols;
    snprintf(out->name, sizeof out->name, "cols %u wg %u", cols, wg);
    return true;
}

static bool make_softmax(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                         kernel_case *out)
{
    static const uint32_t widths[] = { 33, 1, 4096, 257, 5, 1000, 64 };
    uint32_t cols = widths[variant % PUM_COUNT(widths)], rows = case_range(rng, 1, 4),
             wg = wg_of(caps, variant);
    pum_args_softmax args = { .cols = cols,
                              .rows = rows,
                              .x_stride = cols + coin(rng),
                              .y_stride = cols + coin(rng) * 2,
                              .scale = coin(rng) ? 1.0f : 0.125f };
    (void)kernel;
    float *x = case_bind(out, 0, CASE_INPUT, words(rows, args.x_stride, 0, cols));
    if (!case_bind(out, 1, CASE_F32, words(rows, args.y_stride, 0, cols)) || !x) return false;
    case_fill_f32(rng, x, out->bind[0].bytes / 4, variant % 3 == 0 ? 30.0f : 3.0f);
    for (size_t i = 0; i < out->bind[0].bytes / 4 && variant % 2; i++) {
        if (case_range(rng, 0, 3) == 0 || (variant % 4 == 3 && i < args.x_stride)) x[i] = -INFINITY;
    }
    out->spec[PUM_SPEC_SOFTMAX_WG] = wg;
    memcpy(out->args, &args, sizeof args);
    grid(out, rows, 1);
    snprintf(out->name, sizeof out->name, "cols %u rows %u wg %u", cols, rows, wg);
    return true;
}

/* ---- rope ---- */

/* Dims of a head that one rotation takes: often all there are */
static uint32_t rot_of(case_rng *rng, uint32_t head_dim, uint32_t pairing)
{
    uint32_t most = pairing == ROPE_2D ? head_dim / 4 * 2 : head_dim;
    return case_range(rng, 0, 2) ? most : case_range(rng, 0, most / 2) * 2;
}

static bool make_rope(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                      kernel_case *out)
{
    static const uint32_t dims[] = { 64, 8, 80, 128, 2, 24, 256, 10, 96 };
    uint32_t dim = dims[variant % PUM_COUNT(dims)], heads = case_range(rng, 1, 7),
             rows = case_range(rng, 1, 9);
    uint32_t pairing = variant / 9 % 3, rot = rot_of(rng, dim, pairing), wg = wg_of(caps, variant);
    bool in_place = variant % 3 == 2;
    pum_args_rope args = { .heads = heads,
                           .head_dim = dim,
                           .rot_dim = rot,
                           .rows = rows,
                           .x_first = coin(rng) * case_range(rng, 1, 20),
                           .scale = coin(rng) ? 1.0f : 1.13f };
    args.x_stride = args.x_first + heads * dim + coin(rng) * 6;
    args.y_first = in_place ? args.x_first : coin(rng) * 3;
    args.y_stride = in_place ? args.x_stride : args.y_first + heads * dim + coin(rng);
    (void)kernel;
    float *x = case_bind(out, 0, in_place ? CASE_F32 : CASE_INPUT,
                         words(rows, args.x_stride, args.x_first, heads * dim));
    uint32_t tables = variant % 4 == 3 ? 2 : 1;
    uint32_t *freq = case_bind(out, 1, CASE_INPUT, 4 * (size_t)rot * tables);
    uint32_t *step = case_bind(out, 2, CASE_INPUT, 4 * (STEP_ROWS_AT + rows * STEP_ROW_WORDS));
    if (!x || !freq || !step) return false;
    case_fill_f32(rng, x, out->bind[0].bytes / 4, 2.0f);
    fill_words(rng, freq, 4 * (size_t)rot * tables);
    if (rot > 2) freq[2] = 0, freq[3] = 0x40000000u; /* exactly a quarter turn */
    fill_words(rng, step, out->bind[2].bytes);
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t *row = step + STEP_ROWS_AT + r * STEP_ROW_WORDS;
        row[ROW_POS] = case_range(rng, 0, 9) ? case_range(rng, 0, 131072) : 0xffffffffu;
        row[ROW_POS2] = case_range(rng, 0, 4096);
        row[ROW_ROPE] = case_range(rng, 0, tables - 1);
        if (coin(rng)) row[ROW_SEQ] = ROW_INACTIVE; /* of no concern to rope */
    }
    if (in_place) {
        out->bind[0].keep = true;
        case_share(out, 3, 0);
    } else if (!case_bind(out, 3, CASE_F32,
                          words(rows, args.y_stride, args.y_first, heads * dim))) {
        return false;
    }
    out->spec[PUM_SPEC_ROPE_WG] = wg;
    out->spec[PUM_SPEC_ROPE_PAIRING] = pairing;
    memcpy(out->args, &args, sizeof args);
    grid(out, pum_ceil_div((uint64_t)heads * dim / 2, wg), rows);
    snprintf(out->name, sizeof out->name, "heads %u x %u rot %u rows %u pairing %u%s wg %u", heads,
             dim, rot, rows, pairing, in_place ? " in place" : "", wg);
    return true;
}

/* ---- element-wise ---- */

static bool make_act(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                     kernel_case *out)
{
    uint32_t cols = case_range(rng, 1, 400), rows = case_range(rng, 1, 6),
             wg = wg_of(caps, variant);
    uint32_t act = variant % 7, gated = variant / 7 % 2;
    bool in_place = variant % 3 == 1;
    pum_args_act args = { .cols = cols,
                          .rows = rows,
                          .gate_first = in_place ? 0 : coin(rng) * 9,
                          .up_first = coin(rng) * 5 };
    args.gate_stride = args.gate_first + cols + coin(rng);
    args.up_stride = args.up_first + cols + coin(rng) * 2;
    args.y_stride = in_place ? args.gate_stride : cols + coin(rng) * 3;
    (void)kernel;
    float *gate = case_bind(out, 0, in_place ? CASE_F32 : CASE_INPUT,
                            words(rows, args.gate_stride, args.gate_first, cols));
    float *up =
        case_bind(out, 1, CASE_INPUT, gated ? words(rows, args.up_stride, args.up_first, cols) : 4);
    if (!gate || !up) return false;
    case_fill_f32(rng, gate, out->bind[0].bytes / 4, variant % 4 == 0 ? 0.02f : 4.0f);
    case_fill_f32(rng, up, out->bind[1].bytes / 4, 2.0f);
    if (in_place) {
        out->bind[0].keep = true;
        case_share(out, 2, 0);
    } else if (!case_bind(out, 2, CASE_F32, words(rows, args.y_stride, 0, cols))) {
        return false;
    }
    const uint32_t spec[] = { wg, act, gated };
    memcpy(out->spec, spec, sizeof spec);
    memcpy(out->args, &args, sizeof args);
    grid(out, pum_ceil_div(cols, wg), rows);
    snprintf(out->name, sizeof out->name, "cols %u rows %u act %u gated %u%s wg %u", cols, rows,
             act, gated, in_place ? " in place" : "", wg);
    return true;
}

static bool make_add(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                     kernel_case *out)
{
    uint32_t cols = case_range(rng, 1, 700), rows = case_range(rng, 1, 6),
             wg = wg_of(caps, variant);
    bool in_place = variant % 3 == 1, bias = variant % 2;
    pum_args_add args = { .cols = cols,
                          .rows = rows,
                          .a_stride = cols + coin(rng),
                          .b_stride = bias ? 0 : cols + coin(rng) * 2,
                          .scale = coin(rng) ? 1.0f : case_uniform(rng, -3.0f, 3.0f) };
    args.y_stride = in_place ? args.a_stride : cols + coin(rng) * 3;
    (void)kernel;
    float *a =
        case_bind(out, 0, in_place ? CASE_F32 : CASE_INPUT, words(rows, args.a_stride, 0, cols));
    float *b = case_bind(out, 1, CASE_INPUT, words(rows, args.b_stride, 0, cols));
    if (!a || !b) return false;
    case_fill_f32(rng, a, out->bind[0].bytes / 4, 2.0f);
    case_fill_f32(rng, b, out->bind[1].bytes / 4, 2.0f);
    if (in_place) {
        out->bind[0].keep = true;
        case_share(out, 2, 0);
    } else if (!case_bind(out, 2, CASE_F32, words(rows, args.y_stride, 0, cols))) {
        return false;
    }
    out->spec[PUM_SPEC_ADD_WG] = wg;
    memcpy(out->args, &args, sizeof args);
    grid(out, pum_ceil_div(cols, wg), rows);
    snprintf(out->name, sizeof out->name, "cols %u rows %u%s%s wg %u", cols, rows,
             bias ? " bias" : "", in_place ? " in place" : "", wg);
    return true;
}

static bool make_limit(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                       kernel_case *out)
{
    uint32_t cols = case_range(rng, 1, 700), rows = case_range(rng, 1, 6),
             wg = wg_of(caps, variant), kind = variant % 3;
    bool in_place = variant % 2;
    pum_args_limit args = { .cols = cols,
                            .rows = rows,
                            .x_stride = cols + coin(rng),
                            .scale = coin(rng) ? 1.0f : case_uniform(rng, -3.0f, 3.0f),
                            .limit = case_uniform(rng, 0.5f, 50.0f) };
    args.y_stride = in_place ? args.x_stride : cols + coin(rng) * 3;
    (void)kernel;
    float *x =
        case_bind(out, 0, in_place ? CASE_F32 : CASE_INPUT, words(rows, args.x_stride, 0, cols));
    if (!x) return false;
    case_fill_f32(rng, x, out->bind[0].bytes / 4, variant % 4 == 0 ? 0.02f : 20.0f);
    if (in_place) {
        out->bind[0].keep = true;
        case_share(out, 1, 0);
    } else if (!case_bind(out, 1, CASE_F32, words(rows, args.y_stride, 0, cols))) {
        return false;
    }
    const uint32_t spec[] = { wg, kind };
    memcpy(out->spec, spec, sizeof spec);
    memcpy(out->args, &args, sizeof args);
    grid(out, pum_ceil_div(cols, wg), rows);
    snprintf(out->name, sizeof out->name, "cols %u rows %u kind %u%s wg %u", cols, rows, kind,
             in_place ? " in place" : "", wg);
    return true;
}

/* copy and gather_rows: any bits must survive, those of NaN too */
static bool make_copy(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                      kernel_case *out)
{
    bool gather = pum_kernels[kernel].family == PUM_FAMILY_GATHER_ROWS;
    uint32_t cols = case_range(rng, 1, 500), rows = case_range(rng, 1, 6),
             wg = wg_of(caps, variant);
    uint32_t from_rows = gather ? case_range(rng, 1, 9) : rows;
    pum_args_copy args = { .cols = cols,
                           .rows = rows,
                           .x_stride = cols + coin(rng) * 2,
                           .y_stride = cols + coin(rng),
                           .slot_at = STEP_ROWS_AT + from_rows * STEP_ROW_WORDS + coin(rng) };
    uint32_t *x = case_bind(out, 0, CASE_INPUT, words(from_rows, args.x_stride, 0, cols));
    if (!x || !case_bind(out, gather ? 2 : 1, CASE_WORDS, words(rows, args.y_stride, 0, cols)))
        return false;
    fill_words(rng, x, out->bind[0].bytes);
    if (gather) {
        uint32_t *step = case_bind(out, 1, CASE_INPUT, 4 * (args.slot_at + rows * STEP_SLOT_WORDS));
        if (!step) return false;
        fill_words(rng, step, out->bind[1].bytes);
        for (uint32_t i = 0; i < rows; i++) {
            step[args.slot_at + i * STEP_SLOT_WORDS + SLOT_SRC_ROW] =
                case_range(rng, 0, from_rows - 1);
        }
    }
    out->spec[0] = wg;
    memcpy(out->args, &args, sizeof args);
    grid(out, pum_ceil_div(cols, wg), rows);
    snprintf(out->name, sizeof out->name, "cols %u rows %u of %u wg %u", cols, rows, from_rows, wg);
    return true;
}

/* ---- argmax, sample ---- */

static uint32_t bits_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* Logits of several characters: bell-shaped, full of ties, with tokens masked, all alike, with NaN
 * and signed zeros */
static void fill_logits(case_rng *rng, float *x, size_t count, uint32_t kind)
{
    for (size_t i = 0; i < count; i++) {
        float v = 0.0f;
        for (int j = 0; j < 6; j++) v += case_uniform(rng, -2.5f, 2.5f);
        if (kind == 1) v = floorf(2.0f * v) / 2.0f;
        if (kind == 2 && case_range(rng, 0, 2)) v = -INFINITY;
        if (kind == 3) v = case_range(rng, 0, 1) ? 0.0f : -0.0f;
        if (kind == 4) v -= 1e4f;
        if (kind == 5 && case_range(rng, 0, 9) == 0) v = NAN;
        if (kind == 6) v = -INFINITY;
        x[i] = v;
    }
}

/* True if no rounding error of a device can change the choice: neighbouring draws and thresholds
 * agree. */
static bool robust(const float *logits, uint32_t cols, const pum_ref_sampling *p, double u)
{
    const double by = 1e-4;
    uint32_t token = pum_ref_sample_chain(logits, cols, p, u, NULL, NULL);
    for (int i = 0; i < 4 && p->temperature > 0.0f; i++) {
        pum_ref_sampling near = *p;
        double at = u;
        if (i < 2) at = fmin(fmax(u + (i ? by : -by), 0.0), 1.0 - 1e-7);
        else if (p->top_p <= 0.0f && p->min_p <= 0.0f) break;
        else
            near.top_p *= i == 2 ? 1.0f + 1e-4f : 1.0f - 1e-4f,
                near.min_p *= i == 2 ? 1.0f + 1e-4f : 1.0f - 1e-4f;
        if (p->top_p >= 1.0f) near.top_p = p->top_p;
        if (pum_ref_sample_chain(logits, cols, &near, at, NULL, NULL) != token) return false;
    }
    return true;
}

static void choose_params(case_rng *rng, const float *logits, uint32_t cols, uint32_t *slot)
{
    static const float temperatures[] = { 1.0f, 0.7f, 0.0f, 2.5f, 0.05f, 1.0f, -1.0f };
    static const uint32_t top_ks[] = { 0, 40, 1, 3, 100000000, 600 };
    static const float top_ps[] = { 0.0f, 0.9f, 0.5f, 1.0f, 0.95f, 0.001f },
                       min_ps[] = { 0.0f, 0.05f, 0.0f, 0.5f, 1.0f };
    for (int attempt = 0; attempt < 12; attempt++) {
        pum_ref_sampling p = { case_pick(rng, temperatures), case_pick(rng, top_ks),
                               case_pick(rng, top_ps), case_pick(rng, min_ps) };
        slot[SLOT_TEMPERATURE] = bits_of(p.temperature);
        slot[SLOT_TOP_K] = p.top_k;
        slot[SLOT_TOP_P] = bits_of(p.top_p);
        slot[SLOT_MIN_P] = bits_of(p.min_p);
        slot[SLOT_SEED_LO] = (uint32_t)case_next(rng);
        slot[SLOT_SEED_HI] = (uint32_t)case_next(rng);
        slot[SLOT_COUNTER] = case_range(rng, 0, 200);
        uint64_t seed = (uint64_t)slot[SLOT_SEED_HI] << 32 | slot[SLOT_SEED_LO];
        if (robust(logits, cols, &p, pum_ref_uniform(seed, slot[SLOT_COUNTER]))) return;
    }
    slot[SLOT_TEMPERATURE] = 0;
}

static bool make_choice(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                        kernel_case *out)
{
    static const uint32_t sizes[] = { 1000, 1, 32000, 5, 257, 4096, 511, 50257, 3, 2049 };
    bool draws = pum_kernels[kernel].family == PUM_FAMILY_SAMPLE;
    uint32_t cols = sizes[variant % PUM_COUNT(sizes)], slots = case_range(rng, 1, 3),
             wg = wg_of(caps, variant);
    uint32_t rows = case_range(rng, 1, 4), kind = variant / 2 % 7;
    /* long rows need many rounds */
    if ((caps->flags & PUM_FLAG_SHORT_LOOPS) && cols > 4096) wg = 256;
    pum_args_sample args = { .cols = cols,
                             .slots = slots,
                             .x_stride = cols + coin(rng) * case_range(rng, 0, 5),
                             .slot_at = STEP_ROWS_AT + rows * STEP_ROW_WORDS + coin(rng) * 3 };
    float *x = case_bind(out, 0, CASE_INPUT, words(slots, args.x_stride, 0, cols));
    uint32_t *step = case_bind(out, 1, CASE_WORDS, 4 * (args.slot_at + slots * STEP_SLOT_WORDS));
    if (!x || !step) return false;
    out->bind[1].keep = true;
    fill_logits(rng, x, out->bind[0].bytes / 4, kind);
    if (kind == 0 && coin(rng)) x[cols - 1] = INFINITY; /* alone, it is the answer */
    fill_words(rng, step, out->bind[1].bytes);
    for (uint32_t i = 0; i < slots; i++) {
        uint32_t *slot = step + args.slot_at + i * STEP_SLOT_WORDS;
        choose_params(rng, x + (size_t)i * args.x_stride, cols, slot);
        slot[SLOT_DST_ROW] = i < rows && case_range(rng, 0, 3) ? i : ROW_INACTIVE;
        if (!draws) slot[SLOT_COUNTER] = (uint32_t)case_next(rng);
    }
    out->spec[0] = wg;
    memcpy(out->args, &args, sizeof args);
    grid(out, slots, 1);
    const uint32_t *slot = step + args.slot_at;
    float f[3];
    memcpy(f, slot + SLOT_TOP_P, 8);
    memcpy(f + 2, slot + SLOT_TEMPERATURE, 4);
    snprintf(out->name, sizeof out->name,
             "cols %u slots %u logits %u T %g top_k %u top_p %g min_p %g wg %u", cols, slots, kind,
             (double)f[2], slot[SLOT_TOP_K], (double)f[0], (double)f[1], wg);
    return true;
}

static bool bench_choice(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                         kernel_case *out)
{
    static const uint32_t top_ks[] = { 40, 0 };
    static const float top_ps[] = { 0.95f, 0.95f };
    uint32_t cols = 32000, wg = wg_of(caps, variant / 2);
    pum_args_sample args = {
        .cols = cols, .slots = 1, .x_stride = cols, .slot_at = STEP_ROWS_AT + STEP_ROW_WORDS
    };
    float *x = case_bind(out, 0, CASE_INPUT, 4 * cols);
    uint32_t *step = case_bind(out, 1, CASE_WORDS, 4 * (args.slot_at + STEP_SLOT_WORDS));
    (void)kernel;
    if (!x || !step) return false;
    fill_logits(rng, x, cols, 0);
    out->bind[1].keep = true;
    uint32_t *slot = step + args.slot_at;
    slot[SLOT_DST_ROW] = ROW_INACTIVE;
    slot[SLOT_TEMPERATURE] = bits_of(0.8f);
    slot[SLOT_TOP_K] = top_ks[variant % 2];
    slot[SLOT_TOP_P] = bits_of(top_ps[variant % 2]);
    out->spec[0] = wg;
    memcpy(out->args, &args, sizeof args);
    grid(out, 1, 1);
    out->bytes = 4.0 * cols;
    snprintf(out->name, sizeof out->name, "cols %u top_k %u top_p %g wg %u", cols,
             top_ks[variant % 2], (double)top_ps[variant % 2], wg);
    return true;
}

/* ---- score: y is the step buffer, of which it writes two words a row ---- */

static bool make_score(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                       kernel_case *out)
{
    static const uint32_t sizes[] = { 1000, 1, 32000, 5, 257, 4096, 50257, 3, 2049 };
    uint32_t cols = sizes[variant % PUM_COUNT(sizes)], rows = case_range(rng, 1, 5),
             wg = wg_of(caps, variant), kind = variant / 2 % 7;
    if ((caps->flags & PUM_FLAG_SHORT_LOOPS) && cols > 4096) wg = 256; /* see make_choice */
    pum_args_score args = { .cols = cols, .rows = rows,
                            .x_stride = cols + coin(rng) * case_range(rng, 0, 5) };
    size_t bytes = 4 * (STEP_ROWS_AT + (size_t)rows * STEP_ROW_WORDS);
    float *x = case_bind(out, 0, CASE_INPUT, words(rows, args.x_stride, 0, cols));
    uint32_t *step = case_bind(out, 1, CASE_F32, bytes);
    (void)kernel;
    if (!x || !step) return false;
    out->bind[1].keep = true;
    fill_logits(rng, x, out->bind[0].bytes / 4, kind);
    if (variant % 11 == 7) x[cols - 1] = INFINITY;
    for (size_t i = 0; i < bytes / 4; i++) step[i] = case_range(rng, 0, 0x7f000000);
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t target = case_range(rng, 0, cols - 1);
        step[STEP_ROWS_AT + r * STEP_ROW_WORDS + ROW_TARGET] =
            case_range(rng, 0, 4) ? target : ROW_INACTIVE;
    }
    out->spec[0] = wg;
    memcpy(out->args, &args, sizeof args);
    grid(out, rows, 1);
    snprintf(out->name, sizeof out->name, "cols %u rows %u logits %u wg %u", cols, rows, kind, wg);
    return true;
}

static bool bench_score(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                        kernel_case *out)
{
    uint32_t cols = 32000, rows = 16, wg = wg_of(caps, variant);
    pum_args_score args = { .cols = cols, .rows = rows, .x_stride = cols };
    float *x = case_bind(out, 0, CASE_INPUT, 4 * (size_t)cols * rows);
    (void)kernel;
    /* targets of zeroed rows are token 0 */
    if (!x || !case_bind(out, 1, CASE_F32, 4 * (STEP_ROWS_AT + rows * STEP_ROW_WORDS))) return false;
    fill_logits(rng, x, (size_t)cols * rows, 0);
    out->bind[1].keep = true;
    out->spec[0] = wg;
    memcpy(out->args, &args, sizeof args);
    grid(out, rows, 1);
    out->bytes = 4.0 * cols * rows;
    out->flops = 3.0 * cols * rows;
    snprintf(out->name, sizeof out->name, "cols %u rows %u wg %u", cols, rows, wg);
    return true;
}

/* ---- roof: the output is as long as there are invocations ---- */

static bool roof_reads(int kernel)
{
    uint32_t family = pum_kernels[kernel].family;
    return family == PUM_FAMILY_ROOF_READ || family == PUM_FAMILY_ROOF_TEXEL;
}

static bool roof_case(const pum_caps *caps, int kernel, uint32_t wg, uint32_t groups,
                      uint32_t rounds, kernel_case *out)
{
    bool read = roof_reads(kernel);
    bool whole = pum_kernels[kernel].family != PUM_FAMILY_ROOF_MATH; /* numbers */
    pum_args_roof args = { .rounds = rounds, .scale = 0.75f, .shift = 0.5f };
    size_t count = (size_t)wg * groups;
    if (wg > caps->max_workgroup_invocations) return false;
    if (read && !case_bind(out, 0, CASE_INPUT, count * rounds * ROOF_LOADS * 16)) return false;
    if (!case_bind(out, read ? 1 : 0, whole ? CASE_WORDS : CASE_F32, count * 4)) return false;
    out->spec[0] = wg;
    memcpy(out->args, &args, sizeof args);
    grid(out, groups, 1);
    if (read) out->bytes = (double)out->bind[0].bytes;
    else out->flops = 2.0 * (double)count * rounds * ROOF_STEPS * ROOF_CHAINS;
    snprintf(out->name, sizeof out->name, "groups %u rounds %u wg %u", groups, rounds, wg);
    return true;
}

static bool make_roof(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                      kernel_case *out)
{
    uint32_t wg = wg_of(caps, variant);
    if (!roof_case(caps, kernel, wg, case_range(rng, 1, 5), case_range(rng, 1, 4), out))
        return false;
    if (roof_reads(kernel))
        fill_words(rng, out->bind[0].data, out->bind[0].bytes);
    return true;
}

static bool bench_roof(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                       kernel_case *out)
{
    static const uint32_t wgs[] = { 8, 64, 256 };
    uint32_t wg = wgs[variant % PUM_COUNT(wgs)];
    bool read = roof_reads(kernel);
    (void)rng;
    return roof_case(caps, kernel, wg, read ? (64u << 20) / (wg * 128 * 32) : 16384 / wg,
                     read ? 32 : 256, out);
}

const case_family case_families_misc[] = {
    { PUM_FAMILY_NORM, 36, make_norm, 6, bench_norm },
    { PUM_FAMILY_NORM_Q8, 18, make_norm, 6, bench_norm },
    { PUM_FAMILY_SOFTMAX, 28, make_softmax, 0, NULL },
    { PUM_FAMILY_ROPE, 36, make_rope, 0, NULL },
    { PUM_FAMILY_LIMIT, 12, make_limit, 0, NULL },
    { PUM_FAMILY_ACT, 42, make_act, 0, NULL },
    { PUM_FAMILY_ADD, 12, make_add, 0, NULL },
    { PUM_FAMILY_COPY, 8, make_copy, 0, NULL },
    { PUM_FAMILY_GATHER_ROWS, 8, make_copy, 0, NULL },
    { PUM_FAMILY_ARGMAX, 40, make_choice, 4, bench_choice },
    { PUM_FAMILY_SAMPLE, 70, make_choice, 8, bench_choice },
    { PUM_FAMILY_SCORE, 40, make_score, 4, bench_score },
    { PUM_FAMILY_ROOF_READ, 6, make_roof, 3, bench_roof },
    { PUM_FAMILY_ROOF_TEXEL, 6, make_roof, 3, bench_roof },
    { PUM_FAMILY_ROOF_MATH, 6, make_roof, 3, bench_roof },
    { PUM_FAMILY_ROOF_DOT8, 6, make_roof, 3, bench_roof },
};
const uint32_t case_families_misc_count = PUM_COUNT(case_families_misc);
