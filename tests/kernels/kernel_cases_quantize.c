/* SPDX-License-Identifier: Apache-2.0
 * Cases of the kernel that makes weight formats. Its quants need not be the reference's, bit by bit:
 * where scales are searched, others may be as good. What must hold: the error is no larger than the
 * reference's by more than the row's tolerance, and the sums of errors are those of the quants. */
#include "kernel_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const pum_dtype sources[] = { PUM_DTYPE_F32, PUM_DTYPE_F16, PUM_DTYPE_BF16 };

/* Values of all rows, as the kernel gets them and as quants in the device's form mean them. */
typedef struct values {
    size_t count;
    double *x, *q;
} case_values;

static bool read_values(const kernel_case *c, const void *device, case_values *out)
{
    const pum_args_quantize *a = (const void *)c->args;
    pum_dtype type = (pum_dtype)pum_kernels[c->kernel].weight;
    pum_dtype from = sources[c->spec[PUM_SPEC_QUANTIZE_SRC]];
    uint64_t file_bytes = 0;
    *out = (case_values){ .count = (size_t)a->rows * a->cols };
    pum_dtype_row_bytes(type, a->cols, &file_bytes);
    uint8_t *blocks = pum_alloc((size_t)(file_bytes * a->rows));
    out->x = pum_alloc_array(out->count, sizeof(double));
    out->q = pum_alloc_array(out->count, sizeof(double));
    bool ok = blocks && out->x && out->q;
    if (ok) {
        pum_dtype_unpack_rows(type, a->rows, a->cols, device, blocks);
        pum_ref_dequantize(type, blocks, out->count, out->q);
        pum_ref_dequantize(from, c->bind[0].data, out->count, out->x);
    }
    pum_free(blocks);
    return ok;
}

static double error_of(const case_values *v, double *out_size, double *out_most)
{
    double sum = 0;
    *out_size = *out_most = 0;
    for (size_t i = 0; i < v->count; i++) {
        double e = v->q[i] - v->x[i];
        sum += e * e;
        *out_size += v->x[i] * v->x[i];
        *out_most = fmax(*out_most, fabs(e));
    }
    return sum;
}

static void values_free(case_values *v)
{
    pum_free(v->x);
    pum_free(v->q);
}

static bool check_quants(const kernel_case *c, const void *want, const void *got, char *why,
                         size_t capacity)
{
    case_values ours, theirs = { 0 };
    double size, most, tol = pum_kernels[c->kernel].tolerance;
    bool ok = read_values(c, got, &ours) && read_values(c, want, &theirs);
    if (ok) {
        double a = sqrt(error_of(&ours, &size, &most)), b = sqrt(error_of(&theirs, &size, &most));
        ok = a <= (1 + tol) * b + 1e-9 * sqrt(size);
        snprintf(why, capacity, "error %.6g, the reference's is %.6g (size %.6g)", a, b, sqrt(size));
    }
    values_free(&ours);
    values_free(&theirs);
    return ok;
}

/* The device's quants are not at hand here: the sums must fit the reference's error instead. */
static bool check_sums(const kernel_case *c, const void *want, const void *got, char *why,
                       size_t capacity)
{
    case_values v;
    const float *stats = got;
    double size, most, sum = 0, sum_size = 0, got_most = 0, tol = 2 * pum_kernels[c->kernel].tolerance;
    (void)want;
    bool ok = read_values(c, c->bind[1].data, &v);
    if (ok) {
        double error = error_of(&v, &size, &most);
        for (size_t i = 0; i < c->bind[2].bytes / 16; i++) {
            sum += (double)stats[4 * i];
            sum_size += (double)stats[4 * i + 1];
            got_most = fmax(got_most, (double)stats[4 * i + 2]);
        }
        ok = fabs(sum_size - size) <= 1e-5 * size &&
             fabs(sqrt(sum) - sqrt(error)) <= tol * sqrt(error) + 1e-9 * sqrt(size) &&
             got_most >= 0.5 * most && got_most <= 2 * most + 1e-30;
        snprintf(why, capacity, "sums %.6g %.6g %.6g, should be near %.6g %.6g %.6g", sum, sum_size,
                 got_most, error, size, most);
    }
    values_free(&v);
    return ok;
}

/* Bell-shaped, with whole groups of zeros, of one value and of one sign among them. */
static void fill(case_rng *rng, float *x, size_t count)
{
    uint32_t kind = 0;
    for (size_t i = 0; i < count; i++) {
        if (i % 32 == 0) kind = case_range(rng, 0, 19);
        float v = 0;
        for (int k = 0; k < 4; k++) v += case_uniform(rng, -0.03f, 0.03f);
        x[i] = kind == 0 ? 0.0f : kind == 1 ? 0.25f : kind == 2 ? fabsf(v) : kind == 3 ? -fabsf(v) : v;
    }
}

static bool make_quantize(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant,
                          kernel_case *out)
{
    static const uint32_t widths[] = { 256, 512, 2048, 288, 32, 768 };
    static const uint32_t wgs[] = { 64, 32, 64, 128, 64, 32 };
    pum_dtype type = (pum_dtype)pum_kernels[kernel].weight;
    const pum_dtype_info *info = pum_dtype_get(type);
    uint32_t src = variant % 3, wg = wgs[variant % 6], rows = case_range(rng, 1, 9);
    uint32_t cols = (uint32_t)pum_align_up(widths[variant % 6], info->block_elems);
    if (info->block_elems == 1) cols = cols * rows + variant % 2, rows = 1;
    if (wg > caps->max_workgroup_invocations) return false;
    pum_dtype from = sources[src];
    pum_args_quantize args = { .cols = cols, .rows = rows };
    uint64_t device_bytes = 0;
    size_t count = (size_t)rows * cols;
    uint32_t group = type == PUM_DTYPE_Q6_K ? 16 : 32;
    pum_dtype_device_row_bytes(type, cols, &device_bytes);
    out->grid[0] = (uint32_t)pum_ceil_div(pum_ceil_div(cols, group), wg);
    out->grid[1] = rows;
    out->grid[2] = 1;
    void *x = case_bind(out, 0, CASE_INPUT, count * pum_dtype_get(from)->block_bytes);
    float *values = pum_alloc_array(count, sizeof *values);
    bool ok = x && values && case_bind(out, 1, CASE_CHECK, (size_t)(device_bytes * rows)) &&
              case_bind(out, 2, CASE_CHECK, 16 * (size_t)out->grid[0] * rows);
    if (ok) {
        fill(rng, values, count);
        pum_ref_quantize(from, values, count, x);
    }
    pum_free(values);
    out->bind[1].check = check_quants;
    out->bind[2].check = check_sums;
    out->spec[PUM_SPEC_QUANTIZE_WG] = wg;
    out->spec[PUM_SPEC_QUANTIZE_SRC] = src;
    memcpy(out->args, &args, sizeof args);
    snprintf(out->name, sizeof out->name, "from %s cols %u rows %u wg %u", pum_dtype_get(from)->name,
             cols, rows, wg);
    return ok;
}

/* ---- repack ---- */

/* Types whose rows lie otherwise on the device than in a file, `index` counted round. */
static pum_dtype planed_type(uint32_t index)
{
    pum_dtype list[PUM_DTYPE_COUNT];
    uint32_t count = 0;
    for (int t = 0; t < PUM_DTYPE_COUNT; t++) {
        if (pum_dtype_get((pum_dtype)t)->planes[0].bytes) list[count++] = (pum_dtype)t;
    }
    return list[index % count];
}

/* Every type with planes, rows of 1 to 9 blocks that begin at any byte. */
static bool make_repack_of(case_rng *rng, const pum_caps *caps, uint32_t variant, uint32_t rows, uint32_t blocks,
                           kernel_case *out)
{
    pum_dtype type = planed_type(variant);
    const pum_dtype_info *info = pum_dtype_get(type);
    const pum_plane *p = info->planes;
    uint32_t wg = variant % 2 ? 64 : 32, first = case_range(rng, 0, 31);
    uint64_t row_bytes = 0;
    if (wg > caps->max_workgroup_invocations) return false;
    pum_dtype_device_row_bytes(type, (uint64_t)blocks * info->block_elems, &row_bytes);
    pum_args_repack args = { first, rows, blocks, info->block_bytes, p[0].at, p[0].bytes, p[1].at, p[1].bytes, p[2].at,
                             p[2].bytes };
    size_t bytes = (size_t)rows * blocks * info->block_bytes;
    uint64_t groups = pum_ceil_div(rows * row_bytes / 4, wg);
    out->grid[1] = 1 + variant % 3;
    out->grid[0] = (uint32_t)pum_ceil_div(groups, out->grid[1]);
    out->grid[2] = 1;
    uint8_t *x = case_bind(out, 0, CASE_INPUT, first + bytes);
    if (!x || !case_bind(out, 1, CASE_WORDS, (size_t)(rows * row_bytes))) return false;
    for (size_t i = 0; i < first + bytes; i++) x[i] = (uint8_t)case_next(rng);
    out->spec[PUM_SPEC_REPACK_WG] = wg;
    memcpy(out->args, &args, sizeof args);
    out->bytes = (double)bytes + (double)(rows * row_bytes);
    snprintf(out->name, sizeof out->name, "%s rows %u blocks %u from byte %u", info->name, rows, blocks, first);
    return true;
}

static bool make_repack(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant, kernel_case *out)
{
    (void)kernel;
    return make_repack_of(rng, caps, variant, case_range(rng, 1, 7), case_range(rng, 1, 9), out);
}

static bool bench_repack(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant, kernel_case *out)
{
    (void)kernel;
    return make_repack_of(rng, caps, variant, 2048, 2048 / pum_dtype_get(planed_type(variant))->block_elems, out);
}

const case_family case_families_quantize[] = {
    { PUM_FAMILY_QUANTIZE, 6, make_quantize, 0, NULL },
    { PUM_FAMILY_REPACK, 40, make_repack, 3, bench_repack },
};
const uint32_t case_families_quantize_count = PUM_COUNT(case_families_quantize);
