/* SPDX-License-Identifier: Apache-2.0
 * Row-wise reductions in double precision: RMSNorm, LayerNorm and softmax. The error scale of a norm counts the
 * mean that is subtracted; that of a softmax grows with the exponents, whose rounding the exponential magnifies. */
#include "ref_inner.h"

typedef struct row_stats {
    double mean, mean_abs, inverse; /* inverse: 1 / sqrt(mean square of (x - mean) + eps) */
} row_stats;

static row_stats stats_of(const float *x, uint32_t cols, uint32_t kind, double eps)
{
    row_stats s = { 0 };
    double square = 0.0;
    if (kind == NORM_LAYER) {
        for (uint32_t c = 0; c < cols; c++) {
            s.mean += (double)x[c] / cols;
            s.mean_abs += fabs((double)x[c]) / cols;
        }
    }
    for (uint32_t c = 0; c < cols; c++) square += (x[c] - s.mean) * (x[c] - s.mean) / cols;
    s.inverse = 1.0 / sqrt(square + eps);
    return s;
}

/* The norm in f32, then rounded: the bindings and arguments are norm's but for the result's type. */
bool pum_ref_norm_q8(const pum_ref_step *step)
{
    const pum_args_norm *a = step->args;
    pum_args_norm plain = *a;
    pum_ref_step wide = *step;
    uint64_t row_bytes = pum_ref_q8_row_bytes(a->cols), count = (uint64_t)a->rows * a->cols;
    if (a->cols % 32 || row_bytes * a->rows > step->bind[3].bytes) return false;
    float *y = pum_alloc_array(count, sizeof *y);
    plain.y_stride = a->cols;
    wide.args = &plain;
    wide.scale = NULL;
    wide.bind[3] = (pum_ref_binding){ y, count * sizeof *y };
    bool ok = y && pum_ref_norm(&wide);
    for (uint64_t r = 0; ok && r < a->rows; r++) {
        pum_ref_q8_put(a->cols, y + r * a->cols, (uint8_t *)step->bind[3].data + r * row_bytes);
    }
    pum_free(y);
    return ok;
}

bool pum_ref_norm(const pum_ref_step *step)
{
    const pum_args_norm *a = step->args;
    const float *x = step->bind[0].data, *w = step->bind[1].data, *b = step->bind[2].data;
    bool has_w = step->spec[PUM_SPEC_NORM_HAS_W] != 0, has_b = step->spec[PUM_SPEC_NORM_HAS_B] != 0;
    float *y = step->bind[3].data;
    if (!ref_holds(&step->bind[0], a->rows, a->x_stride, 0, a->cols)
        || (has_w && (a->w_rows == 0 || !ref_holds(&step->bind[1], a->w_rows, a->cols, 0, a->cols)))
        || (has_b && !ref_holds(&step->bind[2], 1, 0, 0, a->cols))
        || !ref_holds(&step->bind[3], a->rows, a->y_stride, 0, a->cols)) return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        const float *from = x + r * a->x_stride;
        const float *gains = w + (has_w ? r % a->w_rows * a->cols : 0);
        row_stats s = stats_of(from, a->cols, step->spec[PUM_SPEC_NORM_KIND], a->eps);
        for (uint32_t c = 0; c < a->cols; c++) {
            double gain = s.inverse * (has_w ? (double)gains[c] + a->w_add : 1.0), add = has_b ? b[c] : 0.0;
            uint64_t at = r * a->y_stride + c;
            double in = from[c];
            y[at] = (float)((in - s.mean) * gain + add);
            if (step->scale) step->scale[at] = (fabs(in) + s.mean_abs) * fabs(gain) + fabs(add);
        }
    }
    return true;
}

bool pum_ref_softmax(const pum_ref_step *step)
{
    const pum_args_softmax *a = step->args;
    const float *x = step->bind[0].data;
    float *y = step->bind[1].data;
    if (!ref_holds(&step->bind[0], a->rows, a->x_stride, 0, a->cols)
        || !ref_holds(&step->bind[1], a->rows, a->y_stride, 0, a->cols)) return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        const float *from = x + r * a->x_stride;
        double top = -INFINITY, sum = 0.0, spread = 0.0;
        for (uint32_t c = 0; c < a->cols; c++) top = fmax(top, (double)a->scale * from[c]);
        for (uint32_t c = 0; c < a->cols && top > -INFINITY; c++) {
            double v = (double)a->scale * from[c], e = exp(v - top);
            sum += e;
            if (e > 0.0) spread += e * fabs(v);
        }
        for (uint32_t c = 0; c < a->cols; c++) { /* a row of nothing but -inf gives zeros */
            double v = (double)a->scale * from[c], p = sum > 0.0 ? exp(v - top) / sum : 0.0;
            y[r * a->y_stride + c] = (float)p;
            if (step->scale) {
                step->scale[r * a->y_stride + c] = p > 0.0 ? p * (1.0 + fabs(v) + fabs(top) + spread / sum) : 0.0;
            }
        }
    }
    return true;
}
