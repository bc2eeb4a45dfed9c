/* SPDX-License-Identifier: Apache-2.0
 * Element-wise kernels and row movers in double precision: act, add, copy, gather_rows. Copies move words, so that
 * any bits survive them. */
#include "ref_inner.h"

#include <string.h>

/* What rounding can do to an activation: GELU subtracts near-equal numbers for negative x, and the exponential in
 * SiLU loses precision as its argument grows. */
static double act_scale(uint32_t act, double x)
{
    switch (act) {
    case ACT_GELU_TANH:
    case ACT_GELU_ERF: return fabs(x);
    case ACT_GELU_QUICK:
    case ACT_SILU: return fabs(ref_activate(act, x)) * (1.0 + 1.702 * fabs(x));
    default: return fabs(ref_activate(act, x));
    }
}

bool pum_ref_act(const pum_ref_step *step)
{
    const pum_args_act *a = step->args;
    const float *gate = step->bind[0].data, *up = step->bind[1].data;
    float *y = step->bind[2].data;
    uint32_t act = step->spec[PUM_SPEC_ACT_ACT];
    bool gated = step->spec[PUM_SPEC_ACT_GATED] != 0;
    if (!ref_holds(&step->bind[0], a->rows, a->gate_stride, a->gate_first, a->cols)
        || (gated && !ref_holds(&step->bind[1], a->rows, a->up_stride, a->up_first, a->cols))
        || !ref_holds(&step->bind[2], a->rows, a->y_stride, 0, a->cols)) return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        for (uint64_t c = 0; c < a->cols; c++) {
            double x = gate[r * a->gate_stride + a->gate_first + c];
            double times = gated ? up[r * a->up_stride + a->up_first + c] : 1.0;
            y[r * a->y_stride + c] = (float)(ref_activate(act, x) * times);
            if (step->scale) step->scale[r * a->y_stride + c] = act_scale(act, x) * fabs(times);
        }
    }
    return true;
}

bool pum_ref_add(const pum_ref_step *step)
{
    const pum_args_add *p = step->args;
    const float *a = step->bind[0].data, *b = step->bind[1].data;
    float *y = step->bind[2].data;
    if (!ref_holds(&step->bind[0], p->rows, p->a_stride, 0, p->cols)
        || !ref_holds(&step->bind[1], p->rows, p->b_stride, 0, p->cols)
        || !ref_holds(&step->bind[2], p->rows, p->y_stride, 0, p->cols)) return false;
    for (uint64_t r = 0; r < p->rows; r++) {
        for (uint64_t c = 0; c < p->cols; c++) {
            double u = (double)p->scale * a[r * p->a_stride + c], v = b[r * p->b_stride + c];
            y[r * p->y_stride + c] = (float)(u + v);
            if (step->scale) step->scale[r * p->y_stride + c] = fabs(u) + fabs(v);
        }
    }
    return true;
}

bool pum_ref_limit(const pum_ref_step *step)
{
    const pum_args_limit *a = step->args;
    const float *x = step->bind[0].data;
    float *y = step->bind[1].data;
    uint32_t kind = step->spec[PUM_SPEC_LIMIT_KIND];
    if (!ref_holds(&step->bind[0], a->rows, a->x_stride, 0, a->cols)
        || !ref_holds(&step->bind[1], a->rows, a->y_stride, 0, a->cols)) return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        for (uint64_t c = 0; c < a->cols; c++) {
            double v = (double)a->scale * x[r * a->x_stride + c], l = a->limit;
            if (kind == LIMIT_CAP) v = l * tanh(v / l);
            if (kind == LIMIT_CLAMP) v = fmin(fmax(v, -l), l);
            y[r * a->y_stride + c] = (float)v;
            /* the kernel's tanh subtracts near-equal numbers: its error is absolute */
            if (step->scale) step->scale[r * a->y_stride + c] = kind == LIMIT_CAP ? fabs(l) : fabs(v);
        }
    }
    return true;
}

/* Moves a row of words; its error scale is 0: copies are exact. */
static void move_row(const pum_ref_step *step, const pum_ref_binding *from, uint64_t from_at, const pum_ref_binding *to,
                     uint64_t to_at, uint32_t cols)
{
    memmove((uint32_t *)to->data + to_at, (const uint32_t *)from->data + from_at, 4 * (size_t)cols);
    for (uint32_t c = 0; step->scale && c < cols; c++) step->scale[to_at + c] = 0.0;
}

bool pum_ref_copy(const pum_ref_step *step)
{
    const pum_args_copy *a = step->args;
    if (!ref_holds(&step->bind[0], a->rows, a->x_stride, 0, a->cols)
        || !ref_holds(&step->bind[1], a->rows, a->y_stride, 0, a->cols)) return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        move_row(step, &step->bind[0], r * a->x_stride, &step->bind[1], r * a->y_stride, a->cols);
    }
    return true;
}

bool pum_ref_gather_rows(const pum_ref_step *step)
{
    const pum_args_copy *a = step->args;
    const uint32_t *words = step->bind[1].data;
    if (!ref_holds(&step->bind[1], a->rows, STEP_SLOT_WORDS, a->slot_at, STEP_SLOT_WORDS)
        || !ref_holds(&step->bind[2], a->rows, a->y_stride, 0, a->cols)) return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        uint64_t from = (uint64_t)words[a->slot_at + r * STEP_SLOT_WORDS + SLOT_SRC_ROW] * a->x_stride;
        if (!ref_holds(&step->bind[0], 1, 0, from, a->cols)) return false;
        move_row(step, &step->bind[0], from, &step->bind[2], r * a->y_stride, a->cols);
    }
    return true;
}

/* Byte by byte. */
bool pum_ref_repack(const pum_ref_step *step)
{
    const pum_args_repack *a = step->args;
    const uint32_t at[] = { a->at0, a->at1, a->at2 }, bytes[] = { a->bytes0, a->bytes1, a->bytes2 };
    uint64_t row_bytes = (uint64_t)a->blocks * a->block_bytes, to_bytes = 0;
    for (int p = 0; p < 3; p++) to_bytes += pum_align_up((uint64_t)a->blocks * bytes[p], 16);
    if (a->first + a->rows * row_bytes > step->bind[0].bytes || a->rows * to_bytes > step->bind[1].bytes) return false;
    const uint8_t *from = (const uint8_t *)step->bind[0].data + a->first;
    uint8_t *to = step->bind[1].data;
    for (uint32_t r = 0; r < a->rows; r++, from += row_bytes) {
        for (int p = 0; p < 3; p++) {
            uint64_t used = (uint64_t)a->blocks * bytes[p], all = pum_align_up(used, 16);
            for (uint64_t i = 0; i < all; i++) {
                to[i] = i < used ? from[i / bytes[p] * a->block_bytes + at[p] + i % bytes[p]] : 0;
            }
            to += all;
        }
    }
    return true;
}
