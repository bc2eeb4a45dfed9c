/* SPDX-License-Identifier: Apache-2.0
 * Everything that reads or makes weight matrices, in double precision: the embedding gather, the forms of
 * y = act(W x + bias) + residual or of the gated pair (one truth for all), and rounding to a format. */
#include "ref_inner.h"

/* Reads rows of a weight matrix that lies in a binding as it does on the device. */
typedef struct matrix {
    const uint8_t *data;
    pum_dtype type;
    uint64_t cols, row_bytes; /* on the device */
    uint8_t *blocks;          /* one row in the file's form */
    double *values;           /* the row that was read last, */
    double *sizes;            /* and the scales of its weights' rounding errors */
    double *input;            /* room for a row to multiply by */
} matrix;

/* False when the binding does not hold rows [0, rows) of `cols` weights, or without memory. */
static bool matrix_open(const pum_ref_binding *b, pum_dtype type, uint64_t rows, uint64_t cols, matrix *out)
{
    uint64_t all, file_bytes;
    matrix m = { .data = b->data, .type = type, .cols = cols };
    *out = (matrix){ 0 };
    if (!pum_dtype_row_bytes(type, cols, &file_bytes) || !pum_dtype_device_row_bytes(type, cols, &m.row_bytes)
        || !pum_mul_u64(m.row_bytes, rows, &all) || all > b->bytes) return false;
    m.blocks = pum_alloc((size_t)file_bytes);
    m.values = pum_alloc_array(cols, sizeof *m.values);
    m.sizes = pum_alloc_array(cols, sizeof *m.sizes);
    m.input = pum_alloc_array(cols, sizeof *m.input);
    *out = m;
    return m.blocks && m.values && m.sizes && m.input;
}

static const double *matrix_row(const matrix *m, uint64_t row)
{
    pum_dtype_unpack_rows(m->type, 1, m->cols, m->data + row * m->row_bytes, m->blocks);
    pum_ref_dequantize(m->type, m->blocks, (size_t)m->cols, m->values);
    pum_ref_magnitudes(m->type, m->blocks, (size_t)m->cols, m->values, m->sizes);
    return m->values;
}

static void matrix_close(matrix *m)
{
    pum_free(m->blocks);
    pum_free(m->values);
    pum_free(m->sizes);
    pum_free(m->input);
}

/* Which columns' squares are added up together where a norm is begun: `cols` neighbours, or as many that are as far
 * apart as there are sums. */
typedef struct norm_sums {
    uint32_t cols;
    bool apart;
} norm_sums;

static uint32_t count_sums(norm_sums sums, uint32_t n) { return (n + sums.cols - 1) / sums.cols; }

/* Columns that a kernel writes which makes n and may begin a norm of them (pum_args_matmul). */
static uint64_t begun_cols(uint32_t n, uint32_t norm_at, norm_sums sums)
{
    return norm_at ? 2ull * norm_at + count_sums(sums, n) : n;
}

static void put(const pum_ref_step *step, float *y, uint64_t at, double v, double scale)
{
    y[at] = (float)v;
    if (step->scale) step->scale[at] = scale;
}

/* Column c of n, v of error scale `scale`, of row y whose norm of norm_at columns is begun: v times the weight, and v^2
 * to its sum. Only a part of a product has n below norm_at. */
static void put_begun(const pum_ref_step *step, float *y, uint64_t row_at, uint32_t norm_at, uint32_t n, norm_sums sums,
                      uint32_t c, double v, double scale, double w)
{
    uint32_t count = count_sums(sums, n);
    uint64_t at = row_at + norm_at, sum_at = at + norm_at + (sums.apart ? c % count : c / sums.cols);
    bool first = sums.apart ? c < count : c % sums.cols == 0;
    put(step, y, at + c, v * w, fabs(w) * scale);
    double sum = first ? 0.0 : y[sum_at], sum_scale = first || !step->scale ? 0.0 : step->scale[sum_at];
    put(step, y, sum_at, sum + v * v, sum_scale + v * v + 2.0 * fabs(v) * scale);
}

bool pum_ref_embed(const pum_ref_step *step)
{
    const pum_args_embed *a = step->args;
    const pum_ref_binding *table = &step->bind[0], *words = &step->bind[1], *out = &step->bind[2];
    const uint32_t *step_words = words->data;
    float *y = out->data;
    matrix m = { 0 };
    const float *norm = step->bind[3].data;
    norm_sums sums = { NORM_EMBED_COLS, false };
    bool ok = a->field < STEP_ROW_WORDS
              && (!a->norm_at || ref_holds(&step->bind[3], 1, 0, 0, a->cols))
              && matrix_open(table, step->weight, a->count, a->cols, &m)
              && ref_holds(words, a->rows, STEP_ROW_WORDS, STEP_ROWS_AT, STEP_ROW_WORDS)
              && ref_holds(out, a->rows, a->y_stride, 0, begun_cols(a->cols, a->norm_at, sums));
    for (uint32_t r = 0; ok && r < a->rows; r++) {
        uint32_t token = step_words[STEP_ROWS_AT + r * STEP_ROW_WORDS + a->field];
        bool here = token >= a->first && token - a->first < a->count;
        bool beyond = token >= a->first && !here;
        if (!here && !(beyond && a->last)) continue;
        const double *w = here ? matrix_row(&m, token - a->first) : NULL;
        for (uint32_t c = 0; c < a->cols; c++) {
            uint64_t at = (uint64_t)r * a->y_stride + c;
            double v = here ? a->scale * w[c] : 0.0, scale = here ? fabs(a->scale) * m.sizes[c] : 0.0;
            put(step, y, at, v, scale);
            if (!a->norm_at) continue;
            put_begun(step, y, (uint64_t)r * a->y_stride, a->norm_at, a->cols, sums, c, v, scale, norm[c]);
        }
    }
    matrix_close(&m);
    return ok;
}

/* sum_k w[k] x[k] of the row that was read last, and the sum of the terms' absolute values */
static double dot(const matrix *m, const double *x, uint32_t k, double *out_scale)
{
    double sum = 0.0, scale = 0.0;
    for (uint32_t i = 0; i < k; i++) {
        sum += m->values[i] * x[i];
        scale += m->sizes[i] * fabs(x[i]);
    }
    *out_scale = scale;
    return sum;
}

/* What ends the norm of batch row r: 1 / sqrt(mean(x^2) + eps), or 1. */
static double norm_end(const pum_ref_step *step, uint64_t r)
{
    const pum_args_matmul *a = step->args;
    const float *sums = (const float *)step->bind[1].data + r * a->x_stride + 2ull * a->k;
    double sum = 0.0;
    for (uint32_t i = 0; i < a->x_sums; i++) sum += sums[i];
    return a->x_sums ? 1.0 / sqrt(sum / a->k + a->eps) : 1.0;
}

static void widen(const float *x, uint32_t k, double *out)
{
    for (uint32_t i = 0; i < k; i++) out[i] = x[i];
}

/* The batch rows of a product, one behind the other; NULL without memory or when the binding does not hold them. */
static double *read_inputs(const pum_ref_step *step, bool q8)
{
    const pum_args_matmul *a = step->args;
    const uint8_t *from = step->bind[1].data;
    uint64_t q8_bytes = pum_ref_q8_row_bytes(a->k);
    bool holds = q8 ? a->k % 32 == 0 && q8_bytes * a->rows <= step->bind[1].bytes
                    : ref_holds(&step->bind[1], a->rows, a->x_stride, 0, a->x_sums ? 2ull * a->k + a->x_sums : a->k);
    double *x = holds ? pum_alloc_array((uint64_t)a->rows * a->k, sizeof *x) : NULL;
    for (uint64_t r = 0; x && r < a->rows; r++) {
        if (q8) pum_ref_q8_get(a->k, from + r * q8_bytes, x + r * a->k);
        else widen((const float *)from + r * a->x_stride + (a->x_sums ? a->k : 0), a->k, x + r * a->k);
    }
    return x;
}

/* The row of weights that was read last times batch row r, with the epilogue of column `col`; *out_scale is the size of
 * the terms. */
static double finish(const pum_ref_step *step, const double *x, uint64_t col, uint64_t r, uint32_t epi, uint32_t act,
                     const matrix *w, double *out_scale)
{
    const pum_args_matmul *a = step->args;
    const float *bias = step->bind[2].data, *res = step->bind[3].data;
    double scale, v = dot(w, x + r * a->k, a->k, &scale), end = norm_end(step, r) * a->scale;
    v *= end, scale *= fabs(end);
    if (epi & EPI_BIAS) v += bias[col], scale += fabs((double)bias[col]);
    if (act == ACT_RELU2) scale *= fmax(1.0, 2.0 * fabs(v)); /* the slope; those of the others are at most about 1 */
    v = ref_activate(act, v);
    if (epi & EPI_RESIDUAL) {
        double add = res[r * a->res_stride + col];
        v += add, scale += fabs(add);
    }
    *out_scale = scale;
    return v;
}

/* sums: where y's norm is begun; of kernels that begin none, no columns. */
static bool multiply(const pum_ref_step *step, bool q8, uint32_t act, bool glu, norm_sums sums)
{
    const pum_args_matmul *a = step->args;
    uint32_t epi = glu ? 0 : a->epi;
    float *y = step->bind[4].data;
    matrix m = { 0 }, ups = { 0 };
    uint64_t rows = glu ? 2ull * a->n : a->n;
    const float *norm = step->bind[5].data;
    uint32_t norm_at = glu ? 0 : a->norm_at;
    double *x = read_inputs(step, q8);
    bool ok = x && (!norm_at || (sums.cols && !a->y_first && ref_holds(&step->bind[5], 1, 0, 0, a->n)))
              && matrix_open(&step->bind[0], step->weight, rows, a->k, &m)
              && (!glu || matrix_open(&step->bind[0], step->weight, rows, a->k, &ups))
              && (!(epi & EPI_BIAS) || ref_holds(&step->bind[2], 1, 0, a->y_first, a->n))
              && (!(epi & EPI_RESIDUAL) || ref_holds(&step->bind[3], a->rows, a->res_stride, a->y_first, a->n))
              && ref_holds(&step->bind[4], a->rows, a->y_stride, a->y_first, begun_cols(a->n, norm_at, sums));
    for (uint32_t n = 0; ok && n < a->n; n++) {
        uint64_t col = (uint64_t)a->y_first + n;
        matrix_row(&m, n);
        if (glu) matrix_row(&ups, (uint64_t)a->n + n);
        for (uint64_t r = 0; r < a->rows; r++) {
            double scale, v = finish(step, x, col, r, epi, act, &m, &scale);
            if (glu) {
                double up_scale, u = finish(step, x, col, r, 0, ACT_NONE, &ups, &up_scale);
                /* error of a product: each factor's error times the other, and both errors; slopes of activations are
                 * below 1.2, errors below 1e-5 of a scale */
                scale = fabs(v) * up_scale + fabs(u) * 1.2 * scale + 1e-5 * scale * up_scale;
                v *= u;
            }
            put(step, y, r * a->y_stride + col, v, scale);
            if (!norm_at) continue;
            put_begun(step, y, r * a->y_stride, norm_at, a->n, sums, n, v, scale, norm[n]);
        }
    }
    matrix_close(&m);
    matrix_close(&ups);
    pum_free(x);
    return ok;
}

static bool matmul(const pum_ref_step *step, uint32_t act, bool glu, norm_sums sums)
{
    return multiply(step, false, act, glu, sums);
}

bool pum_ref_matvec_dot8(const pum_ref_step *step)
{
    return multiply(step, true, step->spec[PUM_SPEC_MATVEC_DOT8_ACT], step->spec[PUM_SPEC_MATVEC_DOT8_GLU],
                    (norm_sums){ 0 });
}

bool pum_ref_matvec(const pum_ref_step *step)
{
    const uint32_t *spec = step->spec;
    return matmul(step, spec[PUM_SPEC_MATVEC_ACT], spec[PUM_SPEC_MATVEC_GLU],
                  (norm_sums){ spec[PUM_SPEC_MATVEC_ROWS], false });
}

bool pum_ref_matmul(const pum_ref_step *step)
{
    return matmul(step, step->spec[PUM_SPEC_MATMUL_ACT], false, (norm_sums){ 0 });
}

bool pum_ref_matmul_reg(const pum_ref_step *step)
{
    return matmul(step, step->spec[PUM_SPEC_MATMUL_REG_ACT], false, (norm_sums){ 0 });
}

bool pum_ref_matmul_coop(const pum_ref_step *step)
{
    return matmul(step, step->spec[PUM_SPEC_MATMUL_COOP_ACT], false, (norm_sums){ 0 });
}

static bool by_texels(const pum_ref_step *step, norm_sums sums)
{
    uint32_t epi = ((const pum_args_matmul *)step->args)->epi;
    return matmul(step, epi & EPI_ACT ? step->spec[PUM_SPEC_MATMUL_TEXEL_ACT] : ACT_NONE, epi & EPI_GLU, sums);
}

bool pum_ref_matvec_texel(const pum_ref_step *step) { return by_texels(step, (norm_sums){ 8, true }); }
bool pum_ref_matmul_texel(const pum_ref_step *step) { return by_texels(step, (norm_sums){ 0 }); }

/* The quants only, as pum_ref_quantize makes them: kernels may find others that are as good, so the sums of errors are
 * left alone. */
bool pum_ref_quantize_rows(const pum_ref_step *step)
{
    const pum_args_quantize *a = step->args;
    static const pum_dtype sources[] = { PUM_DTYPE_F32, PUM_DTYPE_F16, PUM_DTYPE_BF16 };
    uint32_t src = step->spec[PUM_SPEC_QUANTIZE_SRC];
    uint64_t in_bytes, device_bytes, file_bytes;
    if (src >= PUM_COUNT(sources) || !pum_dtype_row_bytes(sources[src], a->cols, &in_bytes)
        || !pum_dtype_row_bytes(step->weight, a->cols, &file_bytes)
        || !pum_dtype_device_row_bytes(step->weight, a->cols, &device_bytes)
        || in_bytes * a->rows > step->bind[0].bytes || device_bytes * a->rows > step->bind[1].bytes) return false;
    double *wide = pum_alloc_array(a->cols, sizeof *wide);
    float *values = pum_alloc_array(a->cols, sizeof *values);
    uint8_t *blocks = pum_alloc((size_t)file_bytes);
    bool ok = wide && values && blocks;
    for (uint32_t r = 0; ok && r < a->rows; r++) {
        pum_ref_dequantize(sources[src], (const uint8_t *)step->bind[0].data + r * in_bytes, a->cols, wide);
        for (uint32_t i = 0; i < a->cols; i++) values[i] = (float)wide[i];
        pum_ref_quantize(step->weight, values, a->cols, blocks);
        pum_dtype_pack_rows(step->weight, 1, a->cols, blocks, (uint8_t *)step->bind[1].data + r * device_bytes);
    }
    pum_free(wide);
    pum_free(values);
    pum_free(blocks);
    return ok;
}

/* ---- experts ---- */

/* y[pair] = W[expert] x for one pair, as far as the expert's rows are bound. */
static void one_pair(const pum_ref_step *step, const matrix *m, uint32_t pair, uint64_t expert)
{
    const pum_args_expert *a = step->args;
    const float *x = (const float *)step->bind[1].data + (uint64_t)(pair / a->x_div) * a->x_stride;
    widen(x, a->k, m->input);
    for (uint32_t n = 0; n < a->n; n++) {
        uint64_t row = expert * a->n + n, at = (uint64_t)pair * a->y_stride + n;
        double scale;
        if (row < a->first || row - a->first >= a->count) continue;
        matrix_row(m, row - a->first);
        ((float *)step->bind[3].data)[at] = (float)dot(m, m->input, a->k, &scale);
        if (step->scale) step->scale[at] = scale;
    }
}

static bool open_experts(const pum_ref_step *step, matrix *out_matrix)
{
    const pum_args_expert *a = step->args;
    *out_matrix = (matrix){ 0 };
    return a->used > 0 && a->x_div > 0 && a->pairs > 0
           && matrix_open(&step->bind[0], step->weight, a->count, a->k, out_matrix)
           && ref_holds(&step->bind[1], (a->pairs - 1) / a->x_div + 1, a->x_stride, 0, a->k)
           && ref_holds(&step->bind[3], a->pairs, a->y_stride, 0, a->n);
}

bool pum_ref_expert_matvec(const pum_ref_step *step)
{
    const pum_args_expert *a = step->args;
    const float *route = step->bind[2].data;
    matrix m = { 0 };
    bool ok = open_experts(step, &m)
              && ref_holds(&step->bind[2], (a->pairs - 1) / a->used + 1, a->route_stride, 0, 2 * a->used);
    for (uint32_t p = 0; ok && p < a->pairs; p++) {
        one_pair(step, &m, p, (uint64_t)route[(uint64_t)(p / a->used) * a->route_stride + p % a->used]);
    }
    matrix_close(&m);
    return ok;
}

bool pum_ref_expert_matmul(const pum_ref_step *step)
{
    const pum_args_expert *a = step->args;
    const uint32_t *group = step->bind[2].data;
    matrix m = { 0 };
    bool ok = open_experts(step, &m) && step->bind[2].bytes / 4 >= a->pairs;
    uint64_t tiles = ok ? (step->bind[2].bytes / 4 - a->pairs) / 3 : 0;
    uint64_t done = 0; /* tiles with pairs come first; what is behind all pairs is not written */
    for (uint64_t t = 0; ok && t < tiles && done < a->pairs; t++) {
        const uint32_t *tile = group + a->pairs + 3 * t;
        done += tile[2];
        for (uint32_t i = 0; ok && i < tile[2]; i++) {
            ok = (uint64_t)tile[1] + i < a->pairs && group[tile[1] + i] < a->pairs;
            if (ok) one_pair(step, &m, group[tile[1] + i], tile[0]);
        }
    }
    matrix_close(&m);
    return ok;
}
