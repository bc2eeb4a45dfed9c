/* SPDX-License-Identifier: Apache-2.0
 * Everything that reads weight matrices, in double precision: the embedding gather, the three forms of
 * y = act(W x + bias) + residual (one truth for all), and the gated pair. */
#include "ref_inner.h"

/* True when the binding holds rows [0, rows) of `cols` weights. */
static bool holds_weights(const pum_ref_binding *b, pum_dtype type, uint64_t rows, uint64_t cols,
                          uint64_t *out_row_bytes)
{
    uint64_t all;
    return pum_dtype_row_bytes(type, cols, out_row_bytes) && pum_mul_u64(*out_row_bytes, rows, &all) && all <= b->bytes;
}

static const uint8_t *row_of(const pum_ref_binding *b, uint64_t row, uint64_t row_bytes)
{
    return (const uint8_t *)b->data + row * row_bytes;
}

bool pum_ref_embed(const pum_ref_step *step)
{
    const pum_args_embed *a = step->args;
    const pum_ref_binding *table = &step->bind[0], *words = &step->bind[1], *out = &step->bind[2];
    const uint32_t *step_words = words->data;
    float *y = out->data;
    uint64_t row_bytes;
    if (!holds_weights(table, step->weight, a->count, a->cols, &row_bytes)
        || !ref_holds(words, a->rows, STEP_ROW_WORDS, STEP_ROWS_AT, STEP_ROW_WORDS)
        || !ref_holds(out, a->rows, a->y_stride, 0, a->cols)) return false;
    double *w = pum_alloc_array(a->cols, sizeof *w);
    if (!w) return false;
    for (uint32_t r = 0; r < a->rows; r++) {
        uint32_t token = step_words[STEP_ROWS_AT + r * STEP_ROW_WORDS + ROW_TOKEN];
        bool here = token >= a->first && token - a->first < a->count;
        bool beyond = token >= a->first && !here;
        if (!here && !(beyond && a->last)) continue;
        if (here) pum_ref_dequantize(step->weight, row_of(table, token - a->first, row_bytes), a->cols, w);
        for (uint32_t c = 0; c < a->cols; c++) {
            uint64_t at = (uint64_t)r * a->y_stride + c;
            y[at] = here ? (float)(a->scale * w[c]) : 0.0f;
            if (step->scale) step->scale[at] = here ? fabs(a->scale * w[c]) : 0.0;
        }
    }
    pum_free(w);
    return true;
}

/* sum_k w[k] x[k] and the sum of the terms' absolute values */
static double dot(const double *w, const float *x, uint32_t k, double *out_scale)
{
    double sum = 0.0, scale = 0.0;
    for (uint32_t i = 0; i < k; i++) {
        sum += w[i] * x[i];
        scale += fabs(w[i] * x[i]);
    }
    *out_scale = scale;
    return sum;
}

static bool matmul(const pum_ref_step *step, uint32_t epi, uint32_t act)
{
    const pum_args_matmul *a = step->args;
    const float *x = step->bind[1].data, *bias = step->bind[2].data, *res = step->bind[3].data;
    float *y = step->bind[4].data;
    uint64_t row_bytes;
    if (!holds_weights(&step->bind[0], step->weight, a->n, a->k, &row_bytes)
        || !ref_holds(&step->bind[1], a->rows, a->x_stride, 0, a->k)
        || ((epi & EPI_BIAS) && !ref_holds(&step->bind[2], 1, 0, a->y_first, a->n))
        || ((epi & EPI_RESIDUAL) && !ref_holds(&step->bind[3], a->rows, a->res_stride, a->y_first, a->n))
        || !ref_holds(&step->bind[4], a->rows, a->y_stride, a->y_first, a->n)) return false;
    double *w = pum_alloc_array(a->k, sizeof *w);
    if (!w) return false;
    for (uint32_t n = 0; n < a->n; n++) {
        uint64_t col = (uint64_t)a->y_first + n;
        pum_ref_dequantize(step->weight, row_of(&step->bind[0], n, row_bytes), a->k, w);
        for (uint64_t r = 0; r < a->rows; r++) {
            double scale, v = dot(w, x + r * a->x_stride, a->k, &scale);
            if (epi & EPI_BIAS) v += bias[col], scale += fabs((double)bias[col]);
            v = ref_activate(act, v);
            if (epi & EPI_RESIDUAL) {
                double add = res[r * a->res_stride + col];
                v += add, scale += fabs(add);
            }
            y[r * a->y_stride + col] = (float)v;
            if (step->scale) step->scale[r * a->y_stride + col] = scale;
        }
    }
    pum_free(w);
    return true;
}

bool pum_ref_matvec(const pum_ref_step *step)
{
    return matmul(step, step->spec[PUM_SPEC_MATVEC_EPI], step->spec[PUM_SPEC_MATVEC_ACT]);
}

bool pum_ref_matmul(const pum_ref_step *step)
{
    return matmul(step, step->spec[PUM_SPEC_MATMUL_EPI], step->spec[PUM_SPEC_MATMUL_ACT]);
}

bool pum_ref_matmul_reg(const pum_ref_step *step)
{
    return matmul(step, step->spec[PUM_SPEC_MATMUL_REG_EPI], step->spec[PUM_SPEC_MATMUL_REG_ACT]);
}

bool pum_ref_matvec_glu(const pum_ref_step *step)
{
    const pum_args_matmul *a = step->args;
    const float *x = step->bind[2].data;
    float *y = step->bind[3].data;
    uint32_t act = step->spec[PUM_SPEC_MATVEC_GLU_ACT];
    uint64_t row_bytes;
    if (!holds_weights(&step->bind[0], step->weight, a->n, a->k, &row_bytes)
        || !holds_weights(&step->bind[1], step->weight, a->n, a->k, &row_bytes)
        || !ref_holds(&step->bind[2], a->rows, a->x_stride, 0, a->k)
        || !ref_holds(&step->bind[3], a->rows, a->y_stride, a->y_first, a->n)) return false;
    double *gate = pum_alloc_array(a->k, sizeof *gate), *up = pum_alloc_array(a->k, sizeof *up);
    bool ok = gate && up;
    for (uint32_t n = 0; ok && n < a->n; n++) {
        pum_ref_dequantize(step->weight, row_of(&step->bind[0], n, row_bytes), a->k, gate);
        pum_ref_dequantize(step->weight, row_of(&step->bind[1], n, row_bytes), a->k, up);
        for (uint64_t r = 0; r < a->rows; r++) {
            double gate_scale, up_scale;
            double g = dot(gate, x + r * a->x_stride, a->k, &gate_scale);
            double u = dot(up, x + r * a->x_stride, a->k, &up_scale), h = ref_activate(act, g);
            uint64_t at = r * a->y_stride + a->y_first + n;
            y[at] = (float)(h * u);
            /* error of a product: each factor's error times the other; slopes of activations are below 1.2 */
            if (step->scale) step->scale[at] = fabs(h) * up_scale + fabs(u) * 1.2 * gate_scale;
        }
    }
    pum_free(gate);
    pum_free(up);
    return ok;
}
