/* SPDX-License-Identifier: Apache-2.0
 * Mixtures of experts in double precision: the router's choice, the order of pairs, the weighted sum. The experts'
 * matrices are in ref_matmul.c. */
#include "ref_inner.h"

static double logit_of(float v)
{
    return isnan(v) ? -3.4e38 : fmin(fmax(v, -3.4e38), 3.4e38);
}

/* The expert of the next place: the largest logit that is not taken, the lowest index on ties. */
static uint32_t next_expert(const float *x, uint32_t n, const bool *taken)
{
    uint32_t best = n;
    for (uint32_t e = 0; e < n; e++) {
        if (!taken[e] && (best == n || logit_of(x[e]) > logit_of(x[best]))) best = e;
    }
    return best;
}

bool pum_ref_route(const pum_ref_step *step)
{
    const pum_args_route *a = step->args;
    uint32_t used = step->spec[PUM_SPEC_ROUTE_USED];
    if (used == 0 || used != a->used || used > a->experts
        || !ref_holds(&step->bind[0], a->rows, a->x_stride, 0, a->experts)
        || !ref_holds(&step->bind[1], a->rows, a->y_stride, 0, 2 * used)) return false;
    bool *taken = pum_alloc_array(a->experts, sizeof *taken);
    if (!taken) return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        const float *x = (const float *)step->bind[0].data + r * a->x_stride;
        float *y = (float *)step->bind[1].data + r * a->y_stride;
        double top = 0.0, sum = 0.0;
        for (uint32_t e = 0; e < a->experts; e++) taken[e] = false;
        for (uint32_t j = 0; j < used; j++) {
            uint32_t e = next_expert(x, a->experts, taken);
            taken[e] = true;
            y[j] = (float)e;
            if (j == 0) top = logit_of(x[e]);
        }
        for (uint32_t e = 0; e < a->experts; e++) {
            if (taken[e] || !a->renorm) sum += exp(logit_of(x[e]) - top);
        }
        for (uint32_t j = 0; j < used; j++) {
            double distance = top - logit_of(x[(uint32_t)y[j]]), w = a->scale * exp(-distance) / sum;
            y[used + j] = (float)w;
            if (!step->scale) continue;
            step->scale[r * a->y_stride + j] = 0.0; /* ids are exact */
            step->scale[r * a->y_stride + used + j] = fabs(w) * (1.0 + distance) + 1e-30;
        }
    }
    pum_free(taken);
    return true;
}

bool pum_ref_expert_group(const pum_ref_step *step)
{
    const pum_args_expert_group *a = step->args;
    const float *x = step->bind[0].data;
    uint32_t *y = step->bind[1].data, pairs = a->rows * a->used, at = 0, tile = 0;
    if (a->used == 0 || step->spec[PUM_SPEC_EXPERT_GROUP_EXPERTS] != a->experts
        || !ref_holds(&step->bind[0], a->rows, a->x_stride, 0, a->used)
        || !ref_holds(&step->bind[1], 1, 0, 0, (uint64_t)pairs + 3ull * a->tiles)) return false;
    for (uint32_t e = 0; e < a->experts; e++) {
        uint32_t first = at;
        for (uint32_t p = 0; p < pairs; p++) {
            if ((uint32_t)x[(uint64_t)(p / a->used) * a->x_stride + p % a->used] == e) y[at++] = p;
        }
        for (uint32_t i = first; i < at; i += EXPERT_TILE, tile++) {
            if (tile == a->tiles) return false;
            y[pairs + 3 * tile] = e;
            y[pairs + 3 * tile + 1] = i;
            y[pairs + 3 * tile + 2] = PUM_MIN(at - i, EXPERT_TILE);
        }
    }
    for (; tile < a->tiles; tile++) {
        for (uint32_t i = 0; i < 3; i++) y[pairs + 3 * tile + i] = 0;
    }
    return at == pairs;
}

bool pum_ref_expert_scale(const pum_ref_step *step)
{
    const pum_args_expert_scale *a = step->args;
    const float *x = step->bind[0].data, *route = step->bind[1].data, *by = step->bind[2].data;
    float *y = step->bind[3].data;
    if (a->used == 0 || !ref_holds(&step->bind[0], a->pairs, a->x_stride, 0, a->cols)
        || !ref_holds(&step->bind[1], a->pairs / a->used, a->route_stride, 0, a->used)
        || !ref_holds(&step->bind[3], a->pairs, a->y_stride, 0, a->cols)) return false;
    for (uint64_t p = 0; p < a->pairs; p++) {
        uint32_t expert = (uint32_t)route[p / a->used * a->route_stride + p % a->used];
        if (!ref_holds(&step->bind[2], 1, 0, 0, expert + 1ull)) return false;
        for (uint64_t c = 0; c < a->cols; c++) {
            double v = (double)by[expert] * x[p * a->x_stride + c];
            y[p * a->y_stride + c] = (float)v;
            if (step->scale) step->scale[p * a->y_stride + c] = fabs(v);
        }
    }
    return true;
}

bool pum_ref_expert_sum(const pum_ref_step *step)
{
    const pum_args_expert_sum *a = step->args;
    const float *x = step->bind[0].data, *route = step->bind[1].data;
    const float *shared = step->bind[2].data, *gate = step->bind[3].data;
    float *y = step->bind[4].data;
    bool has_shared = step->spec[PUM_SPEC_EXPERT_SUM_SHARED] != 0;
    if (!ref_holds(&step->bind[0], (uint64_t)a->rows * a->used, a->x_stride, 0, a->cols)
        || !ref_holds(&step->bind[1], a->rows, a->route_stride, 0, 2 * a->used)
        || (has_shared && (!ref_holds(&step->bind[2], a->rows, a->shared_stride, 0, a->cols)
                           || !ref_holds(&step->bind[3], a->rows, 1, 0, 1)))
        || !ref_holds(&step->bind[4], a->rows, a->y_stride, 0, a->cols)) return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        for (uint64_t c = 0; c < a->cols; c++) {
            double sum = 0.0, scale = 0.0;
            for (uint32_t j = 0; j < a->used; j++) {
                double term = (double)route[r * a->route_stride + a->used + j] * x[(r * a->used + j) * a->x_stride + c];
                sum += term;
                scale += fabs(term);
            }
            if (has_shared) {
                double term = shared[r * a->shared_stride + c] / (1.0 + exp(-(double)gate[r]));
                sum += term;
                scale += fabs(term) * (1.0 + fabs((double)gate[r]));
            }
            y[r * a->y_stride + c] = (float)sum;
            if (step->scale) step->scale[r * a->y_stride + c] = scale;
        }
    }
    return true;
}
