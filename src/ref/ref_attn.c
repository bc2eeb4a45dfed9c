/* SPDX-License-Identifier: Apache-2.0
 * Attention in double precision: softmax(cap(scale q k) + slope c) v over the visible cells of each row, in two plain
 * passes. Both kernel families have this one truth: how rows are grouped must not change the answer. */
#include "ref_inner.h"

typedef struct attn {
    const pum_args_attn *a;
    const pum_ref_step *step;
    uint32_t kt, vt;
} attn;

/* BLOOM's slopes: powers of 2^(-max / n) for the largest power of two n <= heads, then every other power of its root */
static double slope_of(const pum_args_attn *a, uint32_t head)
{
    uint32_t n = 1;
    if (a->alibi_max == 0.0f) return 0.0;
    while (2 * n <= a->heads) n *= 2;
    double exponent = head < n ? (head + 1.0) / n : (2.0 * (head - n) + 1.0) / (2.0 * n);
    return exp2(-(double)a->alibi_max * exponent);
}

static double element(const pum_ref_binding *cache, uint32_t type, uint64_t i)
{
    return type == KV_F16 ? pum_ref_f16_to_f32(((const uint16_t *)cache->data)[i]) : ((const float *)cache->data)[i];
}

/* First elements of the K and V vectors of a cell; false when they are outside the bindings. */
static bool locate(const attn *t, uint32_t seq, uint32_t cell, uint32_t kv_head, uint64_t *out_element)
{
    const pum_args_attn *a = t->a;
    const pum_ref_binding *kc = &t->step->bind[1], *vc = &t->step->bind[2], *words = &t->step->bind[3];
    uint64_t word = a->table_at + (uint64_t)seq * a->table_stride + cell / KV_PAGE;
    if (cell / KV_PAGE >= a->table_stride || word >= words->bytes / 4) return false;
    uint64_t page = ((const uint32_t *)words->data)[word];
    *out_element = ((page * a->kv_heads + kv_head) * KV_PAGE + cell % KV_PAGE) * a->head_dim;
    uint64_t end = *out_element + a->head_dim;
    return end * (t->kt == KV_F16 ? 2 : 4) <= kc->bytes && end * (t->vt == KV_F16 ? 2 : 4) <= vc->bytes;
}

/* scale q k, capped, with the slope; the sum of the terms' absolute values into *out_abs */
static double score(const attn *t, const float *q, uint64_t k_at, double slope, uint32_t cell, double *out_abs)
{
    const pum_args_attn *a = t->a;
    double sum = 0.0, abs = 0.0;
    for (uint32_t d = 0; d < a->head_dim; d++) {
        double term = q[d] * element(&t->step->bind[1], t->kt, k_at + d) * a->scale;
        sum += term;
        abs += fabs(term);
    }
    if (a->softcap != 0.0f) {
        sum = a->softcap * tanh(sum / a->softcap);
        abs += a->softcap;
    }
    *out_abs = abs + fabs(slope * cell);
    return sum + slope * cell;
}

static bool is_active(const pum_args_attn *a, const uint32_t *row)
{
    return row[ROW_SEQ] != ROW_INACTIVE && row[a->row_seq] != ROW_INACTIVE;
}

/* One head of one row into y and scale (may be NULL); work holds three numbers a cell */
static bool one(const attn *t, uint32_t head, uint64_t r, double *work, float *y, double *scale)
{
    const pum_args_attn *a = t->a;
    const uint32_t *row = (const uint32_t *)t->step->bind[3].data + STEP_ROWS_AT + r * STEP_ROW_WORDS;
    const float *q = (const float *)t->step->bind[0].data + r * a->q_stride + a->q_first + (uint64_t)head * a->head_dim;
    uint64_t lo = row[a->row_lo], hi = is_active(a, row) ? row[a->row_hi] : 0;
    double slope = slope_of(a, head), top = -INFINITY, sum = 0.0, spread = 0.0;
    if (a->window && (uint64_t)row[ROW_CELL] + 1 > a->window) lo = PUM_MAX(lo, (uint64_t)row[ROW_CELL] + 1 - a->window);
    for (uint32_t d = 0; d < a->head_dim; d++) {
        y[d] = 0.0f;
        if (scale) scale[d] = 0.0;
    }
    if (lo >= hi) return true;
    for (uint64_t c = lo; c < hi; c++) {
        uint64_t at;
        if (!locate(t, row[a->row_seq], (uint32_t)c, head / (a->heads / a->kv_heads), &at)) return false;
        work[3 * (c - lo)] = score(t, q, at, slope, (uint32_t)c, &work[3 * (c - lo) + 1]);
        work[3 * (c - lo) + 2] = (double)at;
        top = fmax(top, work[3 * (c - lo)]);
    }
    for (uint64_t c = 0; c < hi - lo; c++) {
        work[3 * c] = exp(work[3 * c] - top);
        sum += work[3 * c];
        spread += work[3 * c] * work[3 * c + 1];
    }
    for (uint32_t d = 0; d < a->head_dim; d++) {
        double value = 0.0, abs = 0.0;
        for (uint64_t c = 0; c < hi - lo; c++) {
            double term = work[3 * c] / sum * element(&t->step->bind[2], t->vt, (uint64_t)work[3 * c + 2] + d);
            value += term;
            abs += fabs(term) * (1.0 + work[3 * c + 1] + spread / sum);
        }
        y[d] = (float)value;
        if (scale) scale[d] = abs;
    }
    return true;
}

static bool attention(const pum_ref_step *step, uint32_t head_dim, uint32_t kt, uint32_t vt)
{
    attn t = { .a = step->args, .step = step, .kt = kt, .vt = vt };
    const pum_args_attn *a = t.a;
    float *y = step->bind[4].data;
    uint64_t width = (uint64_t)a->heads * a->head_dim;
    if (a->head_dim != head_dim || a->kv_heads == 0 || a->row_seq >= STEP_ROW_WORDS || a->row_lo >= STEP_ROW_WORDS
        || a->row_hi >= STEP_ROW_WORDS || a->heads % a->kv_heads != 0
        || !ref_holds(&step->bind[0], a->rows, a->q_stride, a->q_first, width)
        || !ref_holds(&step->bind[3], a->rows, STEP_ROW_WORDS, STEP_ROWS_AT, STEP_ROW_WORDS)
        || !ref_holds(&step->bind[4], a->rows, a->y_stride, 0, width)) return false;
    size_t cells = (size_t)a->table_stride * KV_PAGE; /* no range is longer than a block table */
    double *work = pum_alloc_array(3 * cells, sizeof *work);
    bool ok = work != NULL;
    for (uint64_t r = 0; r < a->rows && ok; r++) {
        const uint32_t *row = (const uint32_t *)step->bind[3].data + STEP_ROWS_AT + r * STEP_ROW_WORDS;
        ok = !is_active(a, row) || row[a->row_lo] >= row[a->row_hi] || row[a->row_hi] <= cells;
        for (uint32_t h = 0; h < a->heads && ok; h++) {
            uint64_t at = r * a->y_stride + (uint64_t)h * a->head_dim;
            ok = one(&t, h, r, work, y + at, step->scale ? step->scale + at : NULL);
        }
    }
    pum_free(work);
    return ok;
}

bool pum_ref_attn_decode(const pum_ref_step *step)
{
    return attention(step, step->spec[PUM_SPEC_ATTN_DECODE_HEAD_DIM], step->spec[PUM_SPEC_ATTN_DECODE_KT],
                     step->spec[PUM_SPEC_ATTN_DECODE_VT]);
}

bool pum_ref_attn_prefill(const pum_ref_step *step)
{
    return attention(step, step->spec[PUM_SPEC_ATTN_PREFILL_HEAD_DIM], step->spec[PUM_SPEC_ATTN_PREFILL_KT],
                     step->spec[PUM_SPEC_ATTN_PREFILL_VT]);
}
