/* SPDX-License-Identifier: Apache-2.0
 * Cases of the kernels that read no weight matrix: norm, softmax, rope, the paged cache and
 * attention over it, the element-wise ones, argmax and sample. Workgroup sizes run from what the
 * software drivers like (4) to the largest a device must have (128) and beyond; cells that no row
 * may see hold NaN, block tables are scrambled. */
#include "kernel_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "family.h"
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
    uint32_t cols = widths[variant % PUM_COUNT(widths)], rows = case_range(rng, 1, 5),
             wg = wg_of(caps, variant / 2);
    uint32_t kind = variant % 2, has_w = case_range(rng, 0, 3) != 0,
             has_b = kind == NORM_LAYER ? coin(rng) : 0;
    pum_args_norm args = { .cols = cols,
                           .rows = rows,
                           .x_stride = cols + coin(rng) * 3,
                           .y_stride = cols + coin(rng) * 4,
                           .eps = coin(rng) ? 1e-5f : 1e-6f,
                           .w_add = case_range(rng, 0, 3) == 0 ? 1.0f : 0.0f };
    (void)kernel;
    float *x = case_bind(out, 0, CASE_INPUT, words(rows, args.x_stride, 0, cols));
    float *w = case_bind(out, 1, CASE_INPUT, has_w ? 4 * (size_t)cols : 4);
    float *b = case_bind(out, 2, CASE_INPUT, has_b ? 4 * (size_t)cols : 4);
    if (!case_bind(out, 3, CASE_F32, words(rows, args.y_stride, 0, cols)) || !x || !w || !b)
        return false;
    float shift =
        variant % 5 == 3 ? 1000.0f : 0.0f; /* a mean far from 0: E[x^2] - mean^2 would cancel */
    case_fill_f32(rng, x, out->bind[0].bytes / 4, variant % 7 == 5 ? 1e-4f : 2.0f);
    for (size_t i = 0; i < out->bind[0].bytes / 4; i++) x[i] += shift;
    if (has_w) case_fill_f32(rng, w, cols, 1.0f);
    if (has_b) case_fill_f32(rng, b, cols, 1.0f);
    const uint32_t spec[] = { wg, kind, has_w, has_b };
    memcpy(out->spec, spec, sizeof spec);
    memcpy(out->args, &args, sizeof args);
    grid(out, rows, 1);
    snprintf(out->name, sizeof out->name, "cols %u rows %u kind %u w %u b %u shift %g wg %u", cols,
             rows, kind, has_w, has_b, (double)shift, wg);
    return true;
}

static bool bench_norm(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                       kernel_case *out)
{
    uint32_t wg = wg_of(caps, variant), cols = 4096;
    pum_args_norm args = {
        .cols = cols, .rows = 1, .x_stride = cols, .y_stride = cols, .eps = 1e-5f
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
    uint32_t *freq = case_bind(out, 1, CASE_INPUT, 4 * (size_t)rot);
    uint32_t *step = case_bind(out, 2, CASE_INPUT, 4 * (STEP_ROWS_AT + rows * STEP_ROW_WORDS));
    if (!x || !freq || !step) return false;
    case_fill_f32(rng, x, out->bind[0].bytes / 4, 2.0f);
    fill_words(rng, freq, 4 * (size_t)rot);
    if (rot > 2) freq[2] = 0, freq[3] = 0x40000000u; /* exactly a quarter turn */
    fill_words(rng, step, out->bind[2].bytes);
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t *row = step + STEP_ROWS_AT + r * STEP_ROW_WORDS;
        row[ROW_POS] = case_range(rng, 0, 9) ? case_range(rng, 0, 131072) : 0xffffffffu;
        row[ROW_POS2] = case_range(rng, 0, 4096);
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
    /* lavapipe ends the loops of an invocation after 65,535 rounds in all: long rows need many */
    if (caps->family == PUM_GPU_LAVAPIPE && cols > 4096) wg = 256;
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
    return (size_t)(w->seqs * w->pages + 1) * w->kv_heads * KV_PAGE * w->head_dim *
           (type == KV_F16 ? 2 : 4);
}

/* A cache of NaN, for the cells nobody may look at. */
static void *make_cache(const world *w, uint32_t type, kernel_case *out, int slot)
{
    uint32_t *data = case_bind(out, slot, CASE_INPUT, cache_bytes(w, type));
    for (size_t i = 0; data && i < out->bind[slot].bytes / 4; i++)
        data[i] = type == KV_F16 ? 0x7e007e00u : 0x7fc00000u;
    return data;
}

static void fill_cell(case_rng *rng, const world *w, void *cache, uint32_t type, uint32_t seq,
                      uint32_t cell)
{
    size_t page = w->step[w->table_at + seq * w->table_stride + cell / KV_PAGE];
    for (uint32_t h = 0; h < w->kv_heads; h++) {
        size_t at = ((page * w->kv_heads + h) * KV_PAGE + cell % KV_PAGE) * w->head_dim;
        for (uint32_t d = 0; d < w->head_dim; d++) {
            float v = case_uniform(rng, -2.0f, 2.0f);
            if (type == KV_F16) ((uint16_t *)cache)[at + d] = pum_ref_f32_to_f16(v);
            else ((float *)cache)[at + d] = v;
        }
    }
}

/* Rows with distinct cells, for the kernels that write the cache. */
static bool make_writer(case_rng *rng, world *w, uint32_t variant, kernel_case *out, int slot)
{
    static const uint32_t dims[] = { 64, 8, 128, 80, 2, 256, 24, 10, 96, 6 };
    *w = (world){ .rows = case_range(rng, 1, 12),
                  .seqs = case_range(rng, 1, 3),
                  .pages = case_range(rng, 1, 4),
                  .kv_heads = case_range(rng, 1, 4),
                  .head_dim = dims[variant % PUM_COUNT(dims)],
                  .kt = variant % 2,
                  .vt = variant / 2 % 2 };
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

static bool bind_caches(const world *w, kernel_case *out, int k_slot, double floor)
{
    case_bind(out, k_slot, w->kt == KV_F16 ? CASE_F16 : CASE_F32, cache_bytes(w, w->kt));
    case_bind(out, k_slot + 1, w->vt == KV_F16 ? CASE_F16 : CASE_F32, cache_bytes(w, w->vt));
    out->bind[k_slot].floor = floor;
    return !out->failed;
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
    grid(out, pum_ceil_div(width / 2, wg), w.rows);
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
    uint32_t heads = w.kv_heads * case_range(rng, 1, 3), kv_width = w.kv_heads * w.head_dim,
             width = heads * w.head_dim;
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
    uint32_t *freq = case_bind(out, 3, CASE_INPUT, 4 * (size_t)rot);
    if (!q || !k || !v || !freq || !bind_caches(&w, out, 6, 6.0)) return false;
    for (size_t i = 0; i < out->bind[0].bytes / 4; i++) q[i] = case_uniform(rng, -3.0f, 3.0f);
    for (size_t i = 0; i < out->bind[1].bytes / 4; i++) k[i] = case_uniform(rng, -3.0f, 3.0f);
    case_fill_f32(rng, v, out->bind[2].bytes / 4, 3.0f);
    fill_words(rng, freq, 4 * (size_t)rot);
    if (in_place) {
        out->bind[0].keep = true;
        case_share(out, 5, 0);
    } else if (!case_bind(out, 5, CASE_F32, words(w.rows, args.y_stride, 0, width))) {
        return false;
    }
    const uint32_t spec[] = { wg, pairing, w.kt, w.vt };
    memcpy(out->spec, spec, sizeof spec);
    memcpy(out->args, &args, sizeof args);
    grid(out, pum_ceil_div((width + 2 * kv_width) / 2, wg), w.rows);
    snprintf(out->name, sizeof out->name,
             "heads %u/%u x %u rot %u rows %u pairing %u kt %u vt %u%s wg %u", heads, w.kv_heads,
             w.head_dim, rot, w.rows, pairing, w.kt, w.vt, in_place ? " in place" : "", wg);
    return true;
}

/* ---- attention ---- */

/* Makes the cells that rows may see valid. */
static void fill_visible(case_rng *rng, const world *w, const pum_args_attn *a, void *kc, void *vc)
{
    for (uint32_t r = 0; r < w->rows; r++) {
        const uint32_t *row = row_of(w, r);
        uint32_t lo = row[a->row_lo], seq = row[a->row_seq];
        if (row[ROW_SEQ] == ROW_INACTIVE || seq == ROW_INACTIVE) continue;
        if (a->window && row[ROW_CELL] + 1 > a->window)
            lo = PUM_MAX(lo, row[ROW_CELL] + 1 - a->window);
        for (uint32_t c = lo; c < row[a->row_hi]; c++) {
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

static bool make_attn(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                      kernel_case *out)
{
    static const uint32_t dims[] = { 64, 8, 128, 80, 24, 256, 10, 96, 2, 40, 12, 6 },
                          tiles[] = { 8, 4, 1, 16, 3 };
    static const uint32_t groups[][2] = { { 4, 4 }, { 8, 2 }, { 1, 1 }, { 6, 3 }, { 12, 1 } };
    bool prefill = pum_kernels[kernel].family == PUM_FAMILY_ATTN_PREFILL;
    const uint32_t *heads = groups[variant % PUM_COUNT(groups)];
    uint32_t dim = dims[variant % PUM_COUNT(dims)], wg = wg_of(caps, variant / 3),
             br = tiles[variant / 2 % PUM_COUNT(tiles)];
    uint32_t pages = variant % 16 == 15 ? 70 : case_range(rng, 2, 12);
    if (dim == 256) br = PUM_MIN(br, 8);
    world w = { .rows = prefill ? case_range(rng, 1, 41) : case_range(rng, 1, 5),
                .seqs = case_range(rng, 1, 3),
                .pages = pages,
                .kv_heads = heads[1],
                .head_dim = dim,
                .kt = variant % 2,
                .vt = variant / 2 % 2 };
    pum_args_attn args = { .heads = heads[0],
                           .kv_heads = heads[1],
                           .head_dim = dim,
                           .rows = w.rows,
                           .q_first = coin(rng) * 3,
                           .y_stride = heads[0] * dim + coin(rng) * 5,
                           .scale = 1.0f / sqrtf((float)dim),
                           .softcap = variant % 6 == 3 ? 5.0f : 0.0f,
                           .window = variant % 3 == 1 ? case_range(rng, 1, 70) : 0,
                           .alibi_max = variant % 7 == 4 ? 8.0f : 0.0f,
                           .row_seq = variant % 9 == 5 ? ROW_SEQ2 : ROW_SEQ,
                           .row_lo = variant % 9 == 5 ? ROW_LO2 : ROW_LO,
                           .row_hi = variant % 9 == 5 ? ROW_HI2 : ROW_HI };
    args.q_stride = args.q_first + heads[0] * dim + coin(rng) * 2;
    if (w.rows > w.pages * KV_PAGE || !make_world(rng, &w, out, 3)) return false;
    args.table_at = w.table_at;
    args.table_stride = w.table_stride;
    make_rows(rng, &w, prefill, variant);
    float *q =
        case_bind(out, 0, CASE_INPUT, words(w.rows, args.q_stride, args.q_first, heads[0] * dim));
    void *kc = make_cache(&w, w.kt, out, 1), *vc = make_cache(&w, w.vt, out, 2);
    if (!q || !kc || !vc ||
        !case_bind(out, 4, CASE_F32, words(w.rows, args.y_stride, 0, heads[0] * dim)))
        return false;
    fill_visible(rng, &w, &args, kc, vc);
    case_fill_f32(rng, q, out->bind[0].bytes / 4, variant % 2 ? 3.0f : 0.5f);
    const uint32_t spec[] = { wg, dim, w.kt, w.vt, br };
    memcpy(out->spec, spec, sizeof spec);
    memcpy(out->args, &args, sizeof args);
    grid(out, heads[0], prefill ? (uint32_t)pum_ceil_div(w.rows, br) : w.rows);
    snprintf(out->name, sizeof out->name,
             "heads %u/%u x %u rows %u pages %u kt %u vt %u window %u cap %g alibi %g br %u wg %u",
             heads[0], heads[1], dim, w.rows, pages, w.kt, w.vt, args.window, (double)args.softcap,
             (double)args.alibi_max, prefill ? br : 1, wg);
    return true;
}

/* 8 heads of 64: a row over 512 cells, or 128 rows that see each other */
static bool bench_attn(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                       kernel_case *out)
{
    static const uint32_t wgs[] = { 8, 4, 16, 32, 64, 128 };
    bool prefill = pum_kernels[kernel].family == PUM_FAMILY_ATTN_PREFILL;
    uint32_t wg = wgs[variant % PUM_COUNT(wgs)], type = variant / (uint32_t)PUM_COUNT(wgs),
             cells = prefill ? 128 : 512;
    world w = { .rows = prefill ? 128 : 1,
                .seqs = 1,
                .pages = cells / KV_PAGE,
                .kv_heads = 8,
                .head_dim = 64,
                .kt = type,
                .vt = type };
    if (wg > caps->max_workgroup_invocations || !make_world(rng, &w, out, 3)) return false;
    pum_args_attn args = { .heads = 8,
                           .kv_heads = 8,
                           .head_dim = 64,
                           .rows = w.rows,
                           .q_stride = 512,
                           .y_stride = 512,
                           .scale = 0.125f,
                           .table_at = w.table_at,
                           .table_stride = w.table_stride,
                           .row_seq = ROW_SEQ,
                           .row_lo = ROW_LO,
                           .row_hi = ROW_HI };
    double seen = 0.0;
    for (uint32_t r = 0; r < w.rows; r++) {
        uint32_t *row = row_of(&w, r);
        row[ROW_SEQ] = 0;
        row[ROW_CELL] = cells - w.rows + r;
        row[ROW_LO] = 0;
        row[ROW_HI] = row[ROW_CELL] + 1;
        seen += row[ROW_HI];
    }
    float *q = case_bind(out, 0, CASE_INPUT, 4 * (size_t)w.rows * 512);
    void *kc = make_cache(&w, type, out, 1), *vc = make_cache(&w, type, out, 2);
    if (!q || !kc || !vc || !case_bind(out, 4, CASE_F32, 4 * (size_t)w.rows * 512)) return false;
    fill_visible(rng, &w, &args, kc, vc);
    case_fill_f32(rng, q, out->bind[0].bytes / 4, 1.0f);
    const uint32_t spec[] = { wg, 64, type, type, 8 };
    memcpy(out->spec, spec, sizeof spec);
    memcpy(out->args, &args, sizeof args);
    grid(out, 8, prefill ? 16 : 1);
    out->bytes = 2.0 * cells * 512 * (type == KV_F16 ? 2 : 4) + 2.0 * 4 * w.rows * 512;
    out->flops = 4.0 * seen * 512;
    snprintf(out->name, sizeof out->name, "8 x 64 rows %u cells %u %s wg %u", w.rows, cells,
             type ? "f16" : "f32", wg);
    return true;
}

/* ---- roof: the output is as long as there are invocations ---- */

static bool roof_case(const pum_caps *caps, int kernel, uint32_t wg, uint32_t groups,
                      uint32_t rounds, kernel_case *out)
{
    bool read = pum_kernels[kernel].family == PUM_FAMILY_ROOF_READ;
    pum_args_roof args = { .rounds = rounds, .scale = 0.75f, .shift = 0.5f };
    size_t count = (size_t)wg * groups;
    if (wg > caps->max_workgroup_invocations) return false;
    if (read && !case_bind(out, 0, CASE_INPUT, count * rounds * ROOF_LOADS * 16)) return false;
    if (!case_bind(out, read ? 1 : 0, read ? CASE_WORDS : CASE_F32, count * 4)) return false;
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
    if (pum_kernels[kernel].family == PUM_FAMILY_ROOF_READ)
        fill_words(rng, out->bind[0].data, out->bind[0].bytes);
    return true;
}

static bool bench_roof(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                       kernel_case *out)
{
    static const uint32_t wgs[] = { 8, 64, 256 };
    uint32_t wg = wgs[variant % PUM_COUNT(wgs)];
    bool read = pum_kernels[kernel].family == PUM_FAMILY_ROOF_READ;
    (void)rng;
    return roof_case(caps, kernel, wg, read ? (64u << 20) / (wg * 128 * 32) : 16384 / wg,
                     read ? 32 : 256, out);
}

const case_family case_families_misc[] = {
    { PUM_FAMILY_NORM, 36, make_norm, 6, bench_norm },
    { PUM_FAMILY_SOFTMAX, 28, make_softmax, 0, NULL },
    { PUM_FAMILY_ROPE, 36, make_rope, 0, NULL },
    { PUM_FAMILY_KV_STORE, 24, make_kv_store, 0, NULL },
    { PUM_FAMILY_ROPE_KV, 36, make_rope_kv, 0, NULL },
    { PUM_FAMILY_ATTN_DECODE, 64, make_attn, 12, bench_attn },
    { PUM_FAMILY_ATTN_PREFILL, 64, make_attn, 12, bench_attn },
    { PUM_FAMILY_LIMIT, 12, make_limit, 0, NULL },
    { PUM_FAMILY_ACT, 42, make_act, 0, NULL },
    { PUM_FAMILY_ADD, 12, make_add, 0, NULL },
    { PUM_FAMILY_COPY, 8, make_copy, 0, NULL },
    { PUM_FAMILY_GATHER_ROWS, 8, make_copy, 0, NULL },
    { PUM_FAMILY_ARGMAX, 40, make_choice, 4, bench_choice },
    { PUM_FAMILY_SAMPLE, 70, make_choice, 8, bench_choice },
    { PUM_FAMILY_ROOF_READ, 6, make_roof, 3, bench_roof },
    { PUM_FAMILY_ROOF_MATH, 6, make_roof, 3, bench_roof },
};
const uint32_t case_families_misc_count = PUM_COUNT(case_families_misc);
