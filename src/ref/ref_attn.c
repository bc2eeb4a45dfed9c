/* SPDX-License-Identifier: Apache-2.0
 * Attention in double precision: softmax(cap(scale q k) + extras) v over the visible cells of each row, in two plain
 * passes; the splits of a long range by the rule of args.h, and what puts them together. */
#include "ref_inner.h"

typedef struct attn {
    const pum_args_attn *a;
    const pum_ref_step *step;
    const pum_ref_binding *q, *kc, *vc, *bias, *words;
    uint32_t kt, vt, extra, tile;
    ref_kv_shape shape;
} attn;

static const double LOWEST = -3.0e38;

static double slope_of(const pum_args_attn *a, uint32_t head)
{
    uint32_t n = 1;
    while (2 * n <= a->heads) n *= 2;
    double exponent = head < n ? (head + 1.0) / n : (2.0 * (head - n) + 1.0) / (2.0 * n);
    return a->alibi_scale * exp2(-(double)a->alibi_max * exponent);
}

static const uint32_t *row_of(const attn *t, uint64_t r)
{
    return (const uint32_t *)t->words->data + STEP_ROWS_AT + r * STEP_ROW_WORDS;
}

/* What a row sees: [*out_lo, *out_hi), empty as 0, 0 */
static void visible(const attn *t, uint64_t r, uint64_t *out_lo, uint64_t *out_hi)
{
    const pum_args_attn *a = t->a;
    const uint32_t *row = row_of(t, r);
    bool active = row[ROW_SEQ] != ROW_INACTIVE && row[a->row_seq] != ROW_INACTIVE;
    uint64_t lo = row[a->row_lo], hi = active ? row[a->row_hi] : 0;
    if (a->window && (uint64_t)row[ROW_CELL] + 1 > a->window) lo = PUM_MAX(lo, (uint64_t)row[ROW_CELL] + 1 - a->window);
    *out_lo = lo < hi ? lo : 0;
    *out_hi = lo < hi ? hi : 0;
}

/* The part of it that is split `part`'s: pages are dealt out over what any row of the tile sees. */
static void visible_part(const attn *t, uint64_t r, uint32_t part, uint64_t *out_lo, uint64_t *out_hi)
{
    uint64_t first = UINT64_MAX, end = 0;
    visible(t, r, out_lo, out_hi);
    if (t->a->splits == 1) return;
    for (uint64_t i = r / t->tile * t->tile; i < PUM_MIN((r / t->tile + 1) * t->tile, (uint64_t)t->a->rows); i++) {
        uint64_t lo, hi;
        visible(t, i, &lo, &hi);
        if (lo >= hi) continue;
        first = PUM_MIN(first, lo / KV_PAGE);
        end = PUM_MAX(end, (hi - 1) / KV_PAGE + 1);
    }
    if (first >= end) return;
    uint64_t share = PUM_MAX((end - first + t->a->splits - 1) / t->a->splits, (uint64_t)ATTN_SPLIT_PAGES);
    uint64_t begin = (first + part * share) * KV_PAGE;
    *out_lo = PUM_MAX(*out_lo, begin);
    *out_hi = PUM_MIN(*out_hi, begin + share * KV_PAGE);
}

/* The score of a cell with all extras; the sum of the terms' absolute values into *out_abs */
static double score(const attn *t, const uint32_t *row, uint32_t head, const float *q, uint64_t page, uint32_t cell,
                    double *out_abs)
{
    const pum_args_attn *a = t->a;
    double sum = 0.0, abs = 0.0, extra = 0.0;
    for (uint32_t d = 0; d < a->head_dim; d++) {
        double term = q[d] * pum_ref_kv_get(t->kc->data, t->kt, page, cell % KV_PAGE, a->head_dim, d) * a->scale;
        sum += term;
        abs += fabs(term);
    }
    if (t->extra & ATTN_CAP) {
        sum = a->softcap * tanh(sum / a->softcap);
        abs += a->softcap;
    }
    if (t->extra & ATTN_ALIBI) extra += slope_of(a, head) * cell;
    if (t->extra & ATTN_BIAS) {
        int64_t most = a->bias_max, far = (int64_t)cell - row[ROW_CELL];
        far = PUM_MIN(PUM_MAX(far, -most), most) + most;
        extra += ((const float *)t->bias->data)[head * (2 * most + 1) + far];
    }
    *out_abs = abs + fabs(extra);
    return sum + extra;
}

/* One head of one row over [lo, hi) into y and scale (may be NULL); work holds three numbers a cell. *out_log: the log
 * of the sum of exponentials, *out_log_abs: the scale of its error. */
static bool one(const attn *t, uint32_t head, uint64_t r, uint64_t lo, uint64_t hi, double *work, float *y,
                double *scale, double *out_log, double *out_log_abs)
{
    const pum_args_attn *a = t->a;
    const uint32_t *row = row_of(t, r);
    const float *q = (const float *)t->q->data + r * a->q_stride + a->q_first + (uint64_t)head * a->head_dim;
    double top = -INFINITY, sum = 0.0, spread = 0.0;
    for (uint32_t d = 0; d < a->head_dim; d++) {
        y[d] = 0.0f;
        if (scale) scale[d] = 0.0;
    }
    *out_log = LOWEST;
    *out_log_abs = 0.0;
    if (lo >= hi) return true;
    for (uint64_t c = lo; c < hi; c++) {
        uint64_t page, v_page;
        uint32_t kv_head = head / (a->heads / a->kv_heads), cell = (uint32_t)c;
        if (!ref_kv_find(t->words, t->kc, t->kt, &t->shape, row[a->row_seq], cell, kv_head, &page)
            || !ref_kv_find(t->words, t->vc, t->vt, &t->shape, row[a->row_seq], cell, kv_head, &v_page)) return false;
        work[3 * (c - lo)] = score(t, row, head, q, page, cell, &work[3 * (c - lo) + 1]);
        work[3 * (c - lo) + 2] = (double)page;
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
            double v = pum_ref_kv_get(t->vc->data, t->vt, (uint64_t)work[3 * c + 2], (uint32_t)((lo + c) % KV_PAGE),
                                      a->head_dim, d);
            double term = work[3 * c] / sum * v;
            value += term;
            abs += fabs(term) * (1.0 + work[3 * c + 1] + spread / sum);
        }
        y[d] = (float)value;
        if (scale) scale[d] = abs;
    }
    *out_log = top + log(sum);
    *out_log_abs = 1.0 + fabs(top) + fabs(log(sum)) + spread / sum;
    return true;
}

static bool fits(const attn *t)
{
    const pum_args_attn *a = t->a;
    uint64_t width = (uint64_t)a->heads * a->head_dim, rows = (uint64_t)a->rows * a->splits;
    bool parts = t->extra & ATTN_PARTS;
    return a->head_dim == t->step->spec[PUM_SPEC_ATTENTION_HEAD_DIM] && a->kv_heads > 0 && a->heads % a->kv_heads == 0
           && t->tile > 0 && a->row_seq < STEP_ROW_WORDS && a->row_lo < STEP_ROW_WORDS && a->row_hi < STEP_ROW_WORDS
           && (parts ? a->splits > 0 && a->y_stride == width : a->splits == 1)
           && ref_holds(t->q, a->rows, a->q_stride, a->q_first, width)
           && ref_holds(t->words, a->rows, STEP_ROW_WORDS, STEP_ROWS_AT, STEP_ROW_WORDS)
           && (!(t->extra & ATTN_BIAS) || ref_holds(t->bias, 1, 0, 0, a->heads * (2 * (uint64_t)a->bias_max + 1)))
           && ref_holds(&t->step->bind[5], rows, a->y_stride, 0, width)
           && (!parts || ref_holds(&t->step->bind[5], rows, a->heads, rows * width, a->heads));
}

static bool split(const attn *t, uint32_t part, double *work, float *y, double *scale)
{
    const pum_args_attn *a = t->a;
    for (uint64_t r = 0; r < a->rows; r++) {
        uint64_t lo, hi, row = part * (uint64_t)a->rows + r;
        visible_part(t, r, part, &lo, &hi);
        if (lo < hi && hi > (uint64_t)a->table_stride * KV_PAGE) return false;
        for (uint32_t h = 0; h < a->heads; h++) {
            uint64_t at = row * a->y_stride + (uint64_t)h * a->head_dim;
            double log, log_abs;
            if (!one(t, h, r, lo, hi, work, y + at, scale ? scale + at : NULL, &log, &log_abs)) return false;
            if (!(t->extra & ATTN_PARTS)) continue;
            at = (uint64_t)a->splits * a->rows * a->y_stride + row * a->heads + h;
            y[at] = (float)log;
            if (scale) scale[at] = log_abs;
        }
    }
    return true;
}

bool pum_ref_attention(const pum_ref_step *step)
{
    const pum_args_attn *a = step->args;
    attn t = { .a = a, .step = step, .q = &step->bind[0], .kc = &step->bind[1], .vc = &step->bind[2],
               .bias = &step->bind[3], .words = &step->bind[4],
               .kt = step->spec[PUM_SPEC_ATTENTION_KT], .vt = step->spec[PUM_SPEC_ATTENTION_VT],
               .extra = step->spec[PUM_SPEC_ATTENTION_EXTRA], .tile = step->spec[PUM_SPEC_ATTENTION_BR],
               .shape = { a->kv_heads, a->head_dim, a->table_at, a->table_stride } };
    if (!fits(&t)) return false;
    size_t cells = (size_t)a->table_stride * KV_PAGE; /* no range is longer than a block table */
    double *work = pum_alloc_array(3 * cells, sizeof *work);
    bool ok = work != NULL;
    for (uint32_t part = 0; part < a->splits && ok; part++) {
        ok = split(&t, part, work, step->bind[5].data, step->scale);
    }
    pum_free(work);
    return ok;
}

bool pum_ref_attn_merge(const pum_ref_step *step)
{
    const pum_args_attn_merge *a = step->args;
    const float *x = step->bind[0].data;
    float *y = step->bind[1].data;
    uint64_t cols = (uint64_t)a->heads * a->head_dim, rows = (uint64_t)a->rows * a->splits;
    if (!ref_holds(&step->bind[0], rows, cols, 0, cols)
        || !ref_holds(&step->bind[0], rows, a->heads, rows * cols, a->heads)
        || !ref_holds(&step->bind[1], a->rows, a->y_stride, 0, cols) || a->head_dim == 0) return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        for (uint64_t i = 0; i < cols; i++) {
            double top = LOWEST, sum = 0.0, value = 0.0, abs = 0.0;
            const float *logs = x + rows * cols + r * a->heads + i / a->head_dim;
            for (uint64_t s = 0; s < a->splits; s++) top = fmax(top, logs[s * a->rows * a->heads]);
            for (uint64_t s = 0; s < a->splits; s++) {
                double log = logs[s * a->rows * a->heads];
                if (log <= LOWEST) continue;
                double w = exp(log - top), term = w * x[(s * a->rows + r) * cols + i];
                sum += w;
                value += term;
                abs += fabs(term) * (1.0 + fabs(log) + fabs(top));
            }
            y[r * a->y_stride + i] = sum > 0.0 ? (float)(value / sum) : 0.0f;
            if (step->scale) step->scale[r * a->y_stride + i] = sum > 0.0 ? abs / sum : 0.0;
        }
    }
    return true;
}
