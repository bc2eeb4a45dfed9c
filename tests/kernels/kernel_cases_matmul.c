/* SPDX-License-Identifier: Apache-2.0
 * Cases of the kernels that read weight matrices: embed, matvec, matmul,
 * matmul_reg, matmul_texel; and of those that make 8-bit inputs for them.
 * The fast paths (ALIGNED) are taken as the planner takes them: rows of whole blocks or of whole
 * 16-byte units. */
#include "kernel_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static pum_dtype weight_of(int kernel) { return (pum_dtype)pum_kernels[kernel].weight; }

/* Drivers compile a pipeline for nearly every case, so the formats share the cases out: F32 and Q8_0
 * take all, of the others each takes every fourth, beginning elsewhere. */
static bool takes(int kernel, uint32_t variant)
{
    pum_dtype type = weight_of(kernel);
    return type == PUM_DTYPE_F32 || type == PUM_DTYPE_Q8_0 || (variant + (uint32_t)type) % 4 == 0;
}

static size_t row_bytes(pum_dtype type, uint32_t cols)
{
    uint64_t bytes = 0;
    pum_dtype_device_row_bytes(type, cols, &bytes);
    return (size_t)bytes;
}

static bool aligned(pum_dtype type, uint32_t cols)
{
    return pum_dtype_get(type)->block_elems > 1 ||
           (row_bytes(type, cols) % 16 == 0 && cols % 8 == 0);
}

/* A length near `want` that the type can have. */
static uint32_t fit_cols(pum_dtype type, uint32_t want)
{
    uint32_t block = pum_dtype_get(type)->block_elems;
    return (uint32_t)pum_align_up(want, block);
}

/* Makes a block's bits extreme or random, but for its factors, which could become infinite: F16
 * numbers at `where`, or the first byte. NVFP4's cannot. */
static void make_extreme(case_rng *rng, pum_dtype type, uint8_t *block)
{
    static const struct factors {
        pum_dtype type;
        uint8_t at, bytes;
    } where[] = { { PUM_DTYPE_Q4_1, 0, 4 },    { PUM_DTYPE_Q5_1, 0, 4 },    { PUM_DTYPE_Q2_K, 80, 4 },
                  { PUM_DTYPE_Q3_K, 108, 2 },  { PUM_DTYPE_Q4_K, 0, 4 },    { PUM_DTYPE_Q5_K, 0, 4 },
                  { PUM_DTYPE_Q6_K, 208, 2 },  { PUM_DTYPE_TQ1_0, 52, 2 },  { PUM_DTYPE_TQ2_0, 64, 2 },
                  { PUM_DTYPE_MXFP4, 0, 1 },   { PUM_DTYPE_IQ1_M, 48, 8 },
                  { PUM_DTYPE_NVFP4, 0, 4 } };
    struct factors f = { type, 0, 2 };
    uint8_t kept[8];
    uint32_t bytes = pum_dtype_get(type)->block_bytes, kind = case_range(rng, 0, 7);
    for (size_t i = 0; i < PUM_COUNT(where); i++) {
        if (where[i].type == type) f = where[i];
    }
    memcpy(kept, block + f.at, f.bytes);
    if (kind == 0) memset(block, 0x80, bytes);
    if (kind == 1) memset(block, 0x7f, bytes);
    for (uint32_t i = 0; kind >= 2 && kind <= 3 && i < bytes; i++) block[i] = (uint8_t)case_next(rng);
    memcpy(block + f.at, kept, f.bytes);
    for (int i = 0; type == PUM_DTYPE_NVFP4 && kind >= 4 && kind <= 5 && i < 4; i++) { /* any, or subnormal ones */
        block[i] = (uint8_t)(kind == 4 ? case_next(rng) : case_range(rng, 0, 7));
    }
}

/* Random blocks of a type that nothing here rounds to, their factor from 2^-7 to 2^-6. */
static void random_blocks(case_rng *rng, pum_dtype type, size_t count, uint8_t *out)
{
    uint32_t bytes = pum_dtype_get(type)->block_bytes;
    for (uint8_t *block = out; block < out + count * bytes; block += bytes) {
        for (uint32_t i = 0; i < bytes; i++) block[i] = (uint8_t)case_next(rng);
        if (type == PUM_DTYPE_IQ1_M) { /* four bits in each of the last four words */
            block[53] &= 0x3f;
            block[55] = (uint8_t)((block[55] & 0x0f) | 0x20);
        } else {
            block[1] = (uint8_t)((block[1] & 3) | 0x20);
        }
    }
}

/* Rounds random values to the type; then, in block formats, makes some quants extreme, which
 * rounding never does. */
static bool fill_weights(case_rng *rng, pum_dtype type, size_t rows, uint32_t cols, uint8_t *out,
                         bool fast)
{
    const pum_dtype_info *info = pum_dtype_get(type);
    size_t bytes = row_bytes(type, cols);
    float *values = pum_alloc_array(cols, sizeof *values);
    uint8_t *blocks = pum_alloc((size_t)cols / info->block_elems * info->block_bytes);
    if (!values || !blocks) return false;
    for (size_t r = 0; r < rows; r++) {
        if (fast && r >= 64) { /* for benches, whose values nobody checks */
            memcpy(out + r * bytes, out + (r % 64) * bytes, bytes);
            continue;
        }
        case_fill_f32(rng, values, cols, 0.5f);
        if (!pum_ref_quantize(type, values, cols, blocks)) {
            random_blocks(rng, type, cols / info->block_elems, blocks);
        }
        for (size_t b = 0; info->block_elems > 1 && b < cols / info->block_elems; b++) {
            uint8_t *block = blocks + b * info->block_bytes;
            make_extreme(rng, type, block);
        }
        pum_dtype_pack_rows(type, 1, cols, blocks, out + r * bytes);
    }
    pum_free(values);
    pum_free(blocks);
    return true;
}

bool case_fill_weights(case_rng *rng, pum_dtype type, size_t rows, uint32_t cols, uint8_t *out)
{
    return fill_weights(rng, type, rows, cols, out, false);
}

bool case_takes(int kernel, uint32_t variant) { return takes(kernel, variant); }

size_t case_row_bytes(pum_dtype type, uint32_t cols) { return row_bytes(type, cols); }

bool case_aligned(pum_dtype type, uint32_t cols) { return aligned(type, cols); }

uint32_t case_fit_cols(pum_dtype type, uint32_t want) { return fit_cols(type, want); }

/* ---- embed ---- */

static bool make_embed(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                       kernel_case *out)
{
    if (!takes(kernel, variant)) return false;
    static const uint32_t widths[] = { 32, 64, 256, 512, 1, 7, 33, 288, 130, 3 },
                          wgs[] = { 4, 32, 64, 128 };
    pum_dtype type = weight_of(kernel);
    uint32_t cols = fit_cols(type, widths[variant % PUM_COUNT(widths)]),
             table = case_range(rng, 1, 60);
    uint32_t rows = case_range(rng, 1, 20),
             wg = PUM_MIN(case_pick(rng, wgs), caps->max_workgroup_invocations);
    uint32_t first = case_range(rng, 0, 1) ? case_range(rng, 1, 50) : 0,
             pad = case_range(rng, 0, 1) * 5;
    pum_args_embed args = { .cols = cols,
                            .rows = rows,
                            .first = first,
                            .count = table,
                            .y_stride = cols + pad,
                            .scale = case_range(rng, 0, 1) ? 1.0f : 11.3137f,
                            .last = case_range(rng, 0, 1),
                            .field = case_range(rng, 0, 1) ? ROW_TOKEN : ROW_POS };
    uint64_t y_cols = cols;
    if (case_range(rng, 0, 1)) { /* a norm is begun */
        y_cols = 2ull * cols + pum_ceil_div(cols, NORM_EMBED_COLS);
        args.norm_at = cols;
        args.y_stride = (uint32_t)y_cols + pad;
    }
    uint8_t *w = case_bind(out, 0, CASE_INPUT, table * row_bytes(type, cols));
    uint32_t *step = case_bind(out, 1, CASE_INPUT, 4 * (STEP_ROWS_AT + rows * STEP_ROW_WORDS));
    float *y = case_bind(out, 2, CASE_F32, 4 * ((size_t)(rows - 1) * args.y_stride + y_cols));
    float *norm = case_bind(out, 3, CASE_INPUT, 4 * (size_t)(args.norm_at ? cols : 1));
    if (norm) case_fill_f32(rng, norm, args.norm_at ? cols : 1, 1.0f);
    if (!w || !step || !y || !norm || !fill_weights(rng, type, table, cols, w, false)) return false;
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t *row = step + STEP_ROWS_AT + r * STEP_ROW_WORDS;
        for (uint32_t i = 0; i < STEP_ROW_WORDS; i++) row[i] = (uint32_t)case_next(rng);
        row[args.field] = case_range(rng, 0, 5)   ? case_range(rng, 0, first + table + 4)
                         : case_range(rng, 0, 1) ? 0xffffffffu
                                                 : first + table - 1;
    }
    out->spec[PUM_SPEC_EMBED_WG] = wg;
    out->spec[PUM_SPEC_EMBED_ALIGNED] = aligned(type, cols);
    out->grid[0] = (uint32_t)pum_ceil_div(cols, 4 * wg);
    out->grid[1] = rows;
    out->grid[2] = 1;
    memcpy(out->args, &args, sizeof args);
    snprintf(out->name, sizeof out->name, "cols %u rows %u table [%u, +%u) last %u wg %u norm %u", cols,
             rows, first, table, args.last, wg, args.norm_at);
    return true;
}

/* ---- y = W x: sizes, then what every family of it shares ---- */

typedef struct shape {
    uint32_t k, n, rows;
    uint32_t x_pad, y_pad, y_first;
    uint32_t epi, act;
    bool glu, q8; /* q8: x has 8 bits */
    uint32_t x_sums;    /* of an input whose norm is ended: mat-vecs */
    uint32_t norm_cols; /* columns of a sum of squares, where a norm is begun: mat-vecs; else 0 */
    uint32_t norm_more; /* columns of that norm beyond n, as where a part of a product is proven */
} shape;

static void shape_name(kernel_case *out, const shape *s, const char *more)
{
    snprintf(out->name, sizeof out->name,
             "k %u n %u rows %u strides +%u +%u first %u epi %u act %u%s%s, %u sums%s", s->k, s->n,
             s->rows, s->x_pad, s->y_pad, s->y_first, s->epi, s->act, s->glu ? " glu" : "", more, s->x_sums,
             s->norm_cols ? ", begins a norm" : "");
}

static shape random_shape(case_rng *rng, pum_dtype type, uint32_t variant, uint32_t max_rows)
{
    static const uint32_t inner[] = { 32, 256, 64, 288, 512, 33, 1, 768, 160, 1023, 2048, 5 };
    static const uint32_t outer[] = { 1, 2, 7, 8, 9, 31, 32, 33, 64, 65, 100, 129 };
    shape s = { .k = fit_cols(type, inner[variant % PUM_COUNT(inner)]),
                .n = case_pick(rng, outer) };
    s.rows = variant % 3 == 0 ? 1 : case_range(rng, 1, max_rows);
    s.epi = case_range(rng, 0, 3);
    s.act = case_range(rng, 0, 1) ? case_range(rng, ACT_NONE, ACT_GELU_QUICK) : ACT_NONE;
    s.x_pad = case_range(rng, 0, 1) *
              (aligned(type, s.k) || pum_dtype_get(type)->block_elems > 1 ? 4 : 3);
    s.y_pad = case_range(rng, 0, 1) * 7;
    s.y_first = case_range(rng, 0, 1) * case_range(rng, 1, 40);
    return s;
}

static bool bind_f32(case_rng *rng, int slot, size_t count, kernel_case *out)
{
    float *x = case_bind(out, slot, CASE_INPUT, 4 * count);
    if (x) case_fill_f32(rng, x, count, 1.0f);
    return x != NULL;
}

/* Batch rows of 8 bits, a few of them with a block of zeros. */
static bool bind_q8(case_rng *rng, const shape *s, kernel_case *out)
{
    size_t bytes = (size_t)pum_ref_q8_row_bytes(s->k);
    uint8_t *rows = case_bind(out, 1, CASE_INPUT, s->rows * bytes);
    float *x = pum_alloc_array(s->k, sizeof *x);
    for (uint32_t r = 0; rows && x && r < s->rows; r++) {
        case_fill_f32(rng, x, s->k, 1.0f);
        if (r % 4 == 2) memset(x, 0, 32 * sizeof *x);
        pum_ref_q8_put(s->k, x, rows + r * bytes);
    }
    pum_free(x);
    out->failed = out->failed || !x;
    return rows && x;
}

/* Bindings w x bias res y and the arguments; with glu two matrices' rows in w, no bias, no residual.
 */
static bool bind_shape(case_rng *rng, pum_dtype type, const shape *s, bool fast, kernel_case *out)
{
    uint32_t x_cols = s->x_sums ? 2 * s->k + s->x_sums : s->k;
    pum_args_matmul args = { .k = s->k,
                             .n = s->n,
                             .rows = s->rows,
                             .x_stride = x_cols + s->x_pad,
                             .x_sums = s->x_sums,
                             .eps = 1e-5f,
                             .y_first = s->y_first,
                             .norm_at = s->norm_cols ? s->n + s->norm_more : 0,
                             .scale = case_range(rng, 0, 1) ? 1.0f : case_uniform(rng, 0.5f, 2.0f),
                             .epi = s->epi };
    size_t matrices = s->glu ? 2 : 1;
    size_t y_cols = s->y_first + s->n;
    if (s->norm_cols) y_cols = 2 * (size_t)args.norm_at + (size_t)pum_ceil_div(s->n, s->norm_cols);
    args.y_stride = (uint32_t)y_cols + s->y_pad;
    size_t y_count = (size_t)(s->rows - 1) * args.y_stride + y_cols;
    /* ranges end on 16 bytes, as the planner's do */
    uint8_t *w = case_bind(out, 0, CASE_INPUT,
                           (size_t)pum_align_up(matrices * s->n * row_bytes(type, s->k), 16));
    if (!w || !fill_weights(rng, type, matrices * s->n, s->k, w, fast)) return false;
    size_t x_count = (size_t)pum_align_up((uint64_t)(s->rows - 1) * args.x_stride + x_cols, 4);
    if (!(s->q8 ? bind_q8(rng, s, out) : bind_f32(rng, 1, x_count, out))) return false;
    for (uint32_t i = 0; i < s->rows * s->x_sums; i++) { /* sums of squares are not negative */
        float *sum = (float *)out->bind[1].data + i / s->x_sums * args.x_stride + 2 * s->k + i % s->x_sums;
        *sum = fabsf(*sum);
    }
    /* switched off, the two optional bindings are bound to something small that must not be read */
    float *bias = case_bind(out, 2, CASE_INPUT,
                            s->epi & EPI_BIAS ? 4 * (size_t)(s->y_first + s->n) : 4);
    if (!bias) return false;
    if (s->epi & EPI_BIAS) case_fill_f32(rng, bias, s->y_first + s->n, 1.0f);
    bool in_place = (s->epi & EPI_RESIDUAL) && case_range(rng, 0, 1);
    args.res_stride = in_place ? args.y_stride : s->y_first + s->n + 2;
    size_t res_count = in_place ? y_count : (size_t)(s->rows - 1) * args.res_stride + s->y_first + s->n;
    float *res = case_bind(out, 3, in_place ? CASE_F32 : CASE_INPUT,
                           s->epi & EPI_RESIDUAL ? 4 * res_count : 4);
    if (!res) return false;
    if (s->epi & EPI_RESIDUAL) case_fill_f32(rng, res, res_count, 1.0f);
    if (in_place) {
        out->bind[3].keep = true;
        case_share(out, 4, 3);
    } else if (!case_bind(out, 4, CASE_F32, 4 * y_count)) {
        return false;
    }
    if (pum_kernels[out->kernel].n_bindings > 5) {
        float *norm = case_bind(out, 5, CASE_INPUT, 4 * (size_t)(s->norm_cols ? s->n : 1));
        if (!norm) return false;
        case_fill_f32(rng, norm, s->norm_cols ? s->n : 1, 1.0f);
    }
    memcpy(out->args, &args, sizeof args);
    double weights = (double)matrices * (double)s->n * (double)row_bytes(type, s->k);
    out->bytes = weights + 4.0 * s->rows * ((double)s->k + s->n);
    out->flops = 2.0 * (double)matrices * s->n * s->k * s->rows;
    for (int i = 0; i < 3; i++) out->grid[i] = 1;
    return true;
}

/* Half of the cases of a family that can: gate and up in one. */
static void make_glu(case_rng *rng, shape *s)
{
    s->glu = case_range(rng, 0, 1);
    if (s->glu) s->epi = 0;
}

/* Half of the cases of a mat-vec end a norm, half of those that can begin one; `cols` to a sum of squares. */
static void make_norms(case_rng *rng, uint32_t cols, shape *s)
{
    if (case_range(rng, 0, 1) && s->k % 4 == 0) {
        s->x_sums = 4 * case_range(rng, 1, 20);
        s->x_pad = s->x_pad ? 4 : 0;
    }
    if (case_range(rng, 0, 1) && !s->glu) {
        s->norm_cols = cols;
        s->norm_more = case_range(rng, 0, 1) * 24;
        s->y_first = 0;
    }
}

/* ---- matvec ---- */

typedef struct vec_spec {
    uint32_t wg, rows, cols, group;
} vec_spec;

/* Invocations that share a set of rows, as the planner sees it. */
static uint32_t vec_lanes(const pum_caps *caps, int kernel, const vec_spec *v)
{
    return pum_kernels[kernel].tier == PUM_TIER_BASE ? v->group : PUM_MAX(caps->subgroup_size, 1u);
}

static void set_vec(const pum_caps *caps, int kernel, const shape *s, const vec_spec *v,
                    kernel_case *out)
{
    bool fast = aligned(weight_of(kernel), s->k);
    uint32_t per_group = PUM_MAX(v->wg / vec_lanes(caps, kernel, v), 1u) * v->rows;
    const uint32_t spec[] = { v->wg, v->rows, v->cols, s->act, fast, v->group, s->glu };
    memcpy(out->spec, spec, sizeof spec);
    out->grid[0] = (uint32_t)pum_ceil_div(s->glu ? 2 * s->n : s->n, per_group);
}

/* Mat-vecs of 8 bits are for 1 to 8 rows: cases 0 to 7 have one number each. */
static void make_dot8(int kernel, uint32_t variant, shape *s)
{
    s->q8 = pum_kernels[kernel].family == PUM_FAMILY_MATVEC_DOT8;
    if (!s->q8) return;
    if (variant < 8) s->rows = variant + 1;
    s->x_pad = 0;
}

static bool make_vec(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                     kernel_case *out)
{
    bool dot8 = pum_kernels[kernel].family == PUM_FAMILY_MATVEC_DOT8;
    uint32_t most = weight_of(kernel) == PUM_DTYPE_Q8_0 ? 12 : 8; /* of dot8: all formats take eight */
    if (dot8 ? variant >= most : !takes(kernel, variant)) return false;
    /* what tuning chooses for the kinds of devices, and odd corners */
    static const vec_spec specs[] = { { 64, 2, 1, 32 },   { 8, 8, 1, 1 },  { 128, 4, 2, 64 },
                                      { 32, 1, 8, 8 },    { 4, 4, 4, 1 },  { 64, 3, 3, 1 },
                                      { 256, 1, 1, 256 }, { 32, 4, 1, 32 } };
    pum_dtype type = weight_of(kernel);
    vec_spec v = specs[variant % PUM_COUNT(specs)];
    char more[64];
    if (v.wg > caps->max_workgroup_invocations) return false;
    shape s = random_shape(rng, type, variant, 11);
    if (v.rows % 2 == 0) make_glu(rng, &s);
    make_dot8(kernel, variant, &s);
    if (!s.q8) make_norms(rng, v.rows, &s);
    if (!bind_shape(rng, type, &s, false, out)) return false;
    set_vec(caps, kernel, &s, &v, out);
    /* the answer must not depend on the grid: fewer workgroups than the planner asks for */
    if (variant % 5 == 4) out->grid[0] = PUM_MAX(out->grid[0] / 3, 1u);
    snprintf(more, sizeof more, " wg %u rows %u cols %u group %u grid %u", v.wg, v.rows, v.cols,
             v.group, out->grid[0]);
    shape_name(out, &s, more);
    return true;
}

static bool bench_vec(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                      kernel_case *out)
{
    static const vec_spec specs[] = { { 8, 2, 1, 1 },   { 8, 4, 1, 1 },   { 8, 8, 1, 1 },
                                      { 16, 4, 1, 8 },  { 32, 4, 1, 32 }, { 64, 1, 1, 32 },
                                      { 64, 2, 1, 32 }, { 64, 4, 1, 64 }, { 128, 1, 1, 128 },
                                      { 8, 4, 4, 1 },   { 64, 2, 4, 32 } };
    vec_spec v = specs[variant];
    shape s = { .k = 2048, .n = 2048, .rows = v.cols };
    s.q8 = pum_kernels[kernel].family == PUM_FAMILY_MATVEC_DOT8;
    if (v.wg > caps->max_workgroup_invocations ||
        !bind_shape(rng, weight_of(kernel), &s, true, out))
        return false;
    set_vec(caps, kernel, &s, &v, out);
    snprintf(out->name, sizeof out->name, "%ux%u x%u wg %u rows %u group %u", s.n, s.k, s.rows,
             v.wg, v.rows, v.group);
    return true;
}

/* ---- activations to 8 bits ---- */

bool case_check_q8(const kernel_case *c, const void *want, const void *got, char *why, size_t capacity)
{
    uint32_t cols, rows;
    memcpy(&cols, c->args, 4); /* the first two arguments of all that write such rows */
    memcpy(&rows, c->args + 4, 4);
    uint64_t row_words = pum_ref_q8_row_bytes(cols) / 4, used = (uint64_t)cols / 32 * 10;
    const uint32_t *w = want, *g = got;
    double tolerance = pum_kernels[c->kernel].tolerance;
    for (uint64_t i = 0; i < rows * row_words; i++) {
        bool near = i % row_words < used ? pum_ref_q8_near(cols, i, w[i], g[i], tolerance) : w[i] == g[i];
        if (near) continue;
        snprintf(why, capacity, "word %llu of row %llu: want %08x got %08x", (unsigned long long)(i % row_words),
                 (unsigned long long)(i / row_words), w[i], g[i]);
        return false;
    }
    for (uint32_t r = 0; r < rows; r++) {
        const int8_t *quants = (const int8_t *)(g + r * row_words);
        for (uint32_t h = 0; h < cols / 16; h++) { /* the sums of what is there, not of what is wanted */
            int16_t sum;
            int all = 0;
            memcpy(&sum, quants + cols + 8 * (h / 2) + 4 + 2 * (h % 2), 2);
            for (uint32_t i = 0; i < 16; i++) all += quants[16 * h + i];
            if (all == sum) continue;
            snprintf(why, capacity, "row %u half %u: sum %d, but the quants' is %d", r, h, sum, all);
            return false;
        }
    }
    return true;
}

static bool make_quantize_act(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant, kernel_case *out)
{
    static const uint32_t widths[] = { 32, 64, 288, 2048, 96, 11008, 4096, 160 }, wgs[] = { 64, 8, 128, 4 };
    static const float sizes[] = { 1.0f, 1e-4f, 3e4f, 1e-33f, 0.0f };
    uint32_t wg = PUM_MIN(wgs[variant % PUM_COUNT(wgs)], caps->max_workgroup_invocations);
    pum_args_quantize_act args = { .cols = widths[variant % PUM_COUNT(widths)], .rows = case_range(rng, 1, 9) };
    float size = sizes[variant % PUM_COUNT(sizes)];
    (void)kernel;
    args.x_stride = args.cols + 4 * case_range(rng, 0, 1);
    size_t count = (size_t)(args.rows - 1) * args.x_stride + args.cols;
    float *x = case_bind(out, 0, CASE_INPUT, 4 * count);
    if (!x || !case_bind(out, 1, CASE_CHECK, args.rows * (size_t)pum_ref_q8_row_bytes(args.cols))) return false;
    out->bind[1].check = case_check_q8;
    case_fill_f32(rng, x, count, size);
    out->spec[PUM_SPEC_QUANTIZE_ACT_WG] = wg;
    out->grid[0] = (uint32_t)pum_ceil_div(args.cols / 32, wg);
    out->grid[1] = args.rows;
    out->grid[2] = 1;
    memcpy(out->args, &args, sizeof args);
    snprintf(out->name, sizeof out->name, "cols %u rows %u stride %u size %g wg %u", args.cols, args.rows,
             args.x_stride, (double)size, wg);
    return true;
}

/* ---- matmul ---- */

typedef struct tile_spec {
    uint32_t wg, bm, bn, bk, tm, tn;
} tile_spec;
static const tile_spec tiles[] = { { 128, 64, 64, 16, 8, 4 }, { 64, 32, 32, 16, 4, 4 },
                                   { 16, 16, 16, 32, 4, 4 },  { 64, 64, 64, 16, 8, 8 },
                                   { 32, 16, 32, 8, 4, 4 },   { 128, 32, 64, 32, 4, 4 } };

static void set_tile(const shape *s, pum_dtype type, const tile_spec *t, kernel_case *out)
{
    const uint32_t spec[] = { t->wg,  t->bm,  t->bn,
                              t->bk,  t->tm,  t->tn,
                              s->act, aligned(type, s->k) };
    memcpy(out->spec, spec, sizeof spec);
    out->grid[0] = (uint32_t)pum_ceil_div(s->n, t->bn);
    out->grid[1] = (uint32_t)pum_ceil_div(s->rows, t->bm);
}

static bool make_tile(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                      kernel_case *out)
{
    if (!takes(kernel, variant)) return false;
    pum_dtype type = weight_of(kernel);
    tile_spec t = tiles[variant % PUM_COUNT(tiles)];
    char more[64];
    if (t.wg > caps->max_workgroup_invocations) return false;
    shape s = random_shape(rng, type, variant, 70);
    if (s.k > 512) s.k = fit_cols(type, 257); /* time */
    if (!bind_shape(rng, type, &s, false, out)) return false;
    set_tile(&s, type, &t, out);
    snprintf(more, sizeof more, " wg %u tile %ux%ux%u by %ux%u", t.wg, t.bm, t.bn, t.bk, t.tm,
             t.tn);
    shape_name(out, &s, more);
    return true;
}

static bool bench_tile(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                       kernel_case *out)
{
    tile_spec t = tiles[variant];
    shape s = { .k = 1024, .n = 1024, .rows = 128 };
    if (t.wg > caps->max_workgroup_invocations) return false;
    if (!bind_shape(rng, weight_of(kernel), &s, true, out)) return false;
    set_tile(&s, weight_of(kernel), &t, out);
    snprintf(out->name, sizeof out->name, "%ux%u x%u wg %u tile %ux%ux%u by %ux%u", s.n, s.k,
             s.rows, t.wg, t.bm, t.bn, t.bk, t.tm, t.tn);
    return true;
}

/* Tiles of other shapes than the planner's too; the product's size is the device's. */
static bool make_coop(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant, kernel_case *out)
{
    static const struct {
        uint32_t bm, bn, bk, sgs;
    } sizes[] = { { 64, 64, 32, 4 }, { 32, 32, 16, 1 }, { 64, 32, 64, 2 }, { 16, 64, 32, 2 } };
    pum_dtype type = weight_of(kernel);
    uint32_t v = variant % PUM_COUNT(sizes), wg = sizes[v].sgs * caps->subgroup_size;
    char more[80];
    shape s = random_shape(rng, type, variant, 70);
    if (!aligned(type, s.k) && pum_dtype_get(type)->block_elems == 1) s.k = 8 * (s.k / 8 + 1);
    s.x_pad = s.x_pad / 4 * 4;
    if (s.k > 512) s.k = 512;
    if (!caps->coop_m || wg > caps->max_workgroup_invocations || !bind_shape(rng, type, &s, false, out)) {
        return false;
    }
    const uint32_t spec[] = { wg,           sizes[v].bm,  sizes[v].bn, sizes[v].bk, sizes[v].sgs,
                              caps->coop_m, caps->coop_n, caps->coop_k, s.act };
    memcpy(out->spec, spec, sizeof spec);
    out->grid[0] = (uint32_t)pum_ceil_div(s.n, sizes[v].bn);
    out->grid[1] = (uint32_t)pum_ceil_div(s.rows, sizes[v].bm);
    snprintf(more, sizeof more, " tile %ux%ux%u, %u subgroups", sizes[v].bm, sizes[v].bn, sizes[v].bk, sizes[v].sgs);
    shape_name(out, &s, more);
    return true;
}

static void set_reg(const shape *s, pum_dtype type, uint32_t wg, kernel_case *out)
{
    const uint32_t spec[] = { wg, s->act, aligned(type, s->k) };
    memcpy(out->spec, spec, sizeof spec);
    out->grid[0] = (uint32_t)pum_ceil_div(s->n, 8 * wg);
    out->grid[1] = (uint32_t)pum_ceil_div(s->rows, 8);
}

static bool make_reg(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                     kernel_case *out)
{
    if (!takes(kernel, variant)) return false;
    static const uint32_t wgs[] = { 8, 4, 64, 16 };
    pum_dtype type = weight_of(kernel);
    char more[32];
    uint32_t wg = PUM_MIN(wgs[variant % PUM_COUNT(wgs)], caps->max_workgroup_invocations);
    shape s = random_shape(rng, type, variant, 40);
    if (!bind_shape(rng, type, &s, false, out)) return false;
    set_reg(&s, type, wg, out);
    snprintf(more, sizeof more, " wg %u", wg);
    shape_name(out, &s, more);
    return true;
}

static bool bench_reg(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                      kernel_case *out)
{
    static const uint32_t wgs[] = { 8, 4, 16 };
    shape s = { .k = 1024, .n = 1024, .rows = 128 };
    uint32_t wg = PUM_MIN(wgs[variant], caps->max_workgroup_invocations);
    if (!bind_shape(rng, weight_of(kernel), &s, true, out)) return false;
    set_reg(&s, weight_of(kernel), wg, out);
    snprintf(out->name, sizeof out->name, "%ux%u x%u wg %u", s.n, s.k, s.rows, wg);
    return true;
}

typedef struct texel_spec {
    uint32_t wg, share; /* matmul_texel.comp */
} texel_spec;

static bool is_texel_vec(uint32_t kernel) { return pum_kernels[kernel].family == PUM_FAMILY_MATVEC_TEXEL; }

/* most_groups: workgroups side by side, which share all tiles */
static void set_texel(const pum_caps *caps, const shape *s, texel_spec v, uint32_t most_groups, kernel_case *out)
{
    uint32_t lanes = PUM_MAX(caps->subgroup_size, 1u), wg = (uint32_t)pum_align_up(v.wg, lanes);
    /* a constant that EPI_ACT switches off must do nothing */
    const uint32_t spec[] = { wg, s->act == ACT_NONE && s->n % 2 ? ACT_SILU : s->act };
    pum_args_matmul args;
    memcpy(out->spec, spec, sizeof spec);
    memcpy(&args, out->args, sizeof args);
    args.epi |= (s->act != ACT_NONE ? EPI_ACT : 0) | (s->glu ? EPI_GLU : 0) | (v.share ? EPI_SHARE : 0);
    memcpy(out->args, &args, sizeof args);
    uint32_t groups = (uint32_t)pum_ceil_div(s->glu ? 2 * s->n : s->n, 8 * (v.share ? wg / lanes : wg));
    out->grid[0] = PUM_MIN(groups, most_groups);
    out->grid[1] = is_texel_vec(out->kernel) ? 1 : (uint32_t)pum_ceil_div(s->rows, 8);
}

static bool make_texel(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                       kernel_case *out)
{
    static const texel_spec vec_specs[] = { { 8, 1 }, { 16, 1 }, { 8, 0 }, { 32, 1 } };
    static const texel_spec specs[] = { { 8, 0 }, { 64, 0 } };
    pum_dtype type = weight_of(kernel);
    bool vec = is_texel_vec((uint32_t)kernel);
    char more[48];
    texel_spec v = vec ? vec_specs[variant % PUM_COUNT(vec_specs)] : specs[variant % PUM_COUNT(specs)];
    if (variant >= (vec ? 4u : 3u) && pum_dtype_get(type)->codebook >= 0) return false; /* time */
    v.wg = PUM_MIN(v.wg, caps->max_workgroup_invocations);
    shape s = random_shape(rng, type, variant, vec ? 9 : 40);
    /* only what begins and ends on 16 bytes */
    if (!aligned(type, s.k)) s.k = fit_cols(type, 8);
    if (s.x_pad) s.x_pad = 4;
    make_glu(rng, &s);
    if (vec) make_norms(rng, 8, &s);
    if (!bind_shape(rng, type, &s, false, out)) return false;
    set_texel(caps, &s, v, variant % 3 ? variant % 3 : UINT32_MAX, out);
    snprintf(more, sizeof more, " wg %u share %u groups %u", v.wg, v.share, out->grid[0]);
    shape_name(out, &s, more);
    return true;
}

static bool bench_texel(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                        kernel_case *out)
{
    static const texel_spec vec_specs[] = { { 8, 1 }, { 32, 1 }, { 8, 0 } };
    bool vec = is_texel_vec((uint32_t)kernel);
    texel_spec v = vec ? vec_specs[variant] : (texel_spec){ 8, 0 };
    shape s = { .k = vec ? 2048 : 1024, .n = vec ? 2048 : 1024, .rows = vec ? 1 : 128 };
    v.wg = PUM_MIN(v.wg, caps->max_workgroup_invocations);
    if (!bind_shape(rng, weight_of(kernel), &s, true, out)) return false;
    set_texel(caps, &s, v, 32, out);
    snprintf(out->name, sizeof out->name, "%ux%u x%u wg %u share %u", s.n, s.k, s.rows, v.wg, v.share);
    return true;
}

const case_family case_families_matmul[] = {
    { PUM_FAMILY_EMBED, 10, make_embed, 0, NULL },
    { PUM_FAMILY_MATVEC, 16, make_vec, 11, bench_vec },
    { PUM_FAMILY_MATVEC_DOT8, 12, make_vec, 11, bench_vec },
    { PUM_FAMILY_QUANTIZE_ACT, 24, make_quantize_act, 0, NULL },
    { PUM_FAMILY_MATMUL, 8, make_tile, PUM_COUNT(tiles), bench_tile },
    { PUM_FAMILY_MATMUL_REG, 8, make_reg, 3, bench_reg },
    { PUM_FAMILY_MATMUL_COOP, 8, make_coop, 0, NULL },
    { PUM_FAMILY_MATVEC_TEXEL, 10, make_texel, 3, bench_texel },
    { PUM_FAMILY_MATMUL_TEXEL, 5, make_texel, 1, bench_texel },
};
const uint32_t case_families_matmul_count = PUM_COUNT(case_families_matmul);
