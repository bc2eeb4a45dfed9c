/* SPDX-License-Identifier: Apache-2.0
 * What is done with logits, in double precision: arg-max, the sampling chain, how a slot and its batch row advance,
 * and the likelihood of given tokens. The chain sorts; the kernel does not, so the two have little in common but the
 * answer. */
#include "ref_sample.h"

#include <stdlib.h>
#include <string.h>

#include "ref_inner.h"

uint32_t pum_ref_philox(uint64_t key, uint32_t counter)
{
    uint32_t c[4] = { counter, 0, 0, 0 }, k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = { (uint32_t)(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c[3] ^ k1,
                             (uint32_t)p0 };
        memcpy(c, next, sizeof c);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c[0];
}

double pum_ref_uniform(uint64_t seed, uint32_t counter)
{
    return (double)(pum_ref_philox(seed, counter) >> 8) / 16777216.0;
}

/* NaN is the least of all; infinities stay comparable with each other */
static double logit_of(float v)
{
    return isnan(v) ? -INFINITY : v > 3.0e38f ? 3.0e38 : v;
}

static uint32_t argmax_of(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (logit_of(logits[i]) > logit_of(logits[best])) best = i;
    }
    return best;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* The smallest logit that top_k, top_p and min_p keep; sorted has n logits, largest first and finite. */
static double threshold_of(const double *sorted, uint32_t n, const pum_ref_sampling *p)
{
    double top = sorted[0], least = -INFINITY, total = 0.0, sum = 0.0;
    if (p->top_k > 0 && p->top_k < n) least = sorted[p->top_k - 1];
    if (p->top_p > 0.0f && p->top_p < 1.0f) {
        for (uint32_t i = 0; i < n && sorted[i] >= least; i++) total += exp(sorted[i] - top);
        for (uint32_t i = 0; i < n; i++) {
            sum += exp(sorted[i] - top);
            if (sum >= p->top_p * total) {
                least = fmax(least, sorted[i]);
                break;
            }
        }
    }
    if (p->min_p > 0.0f) least = fmax(least, top + log(fmin(p->min_p, 1.0)));
    return least;
}

uint32_t pum_ref_sample_chain(const float *logits, uint32_t n, const pum_ref_sampling *params, double u,
                              double *out_probs, double *out_margin)
{
    uint32_t best = argmax_of(logits, n), token = UINT32_MAX;
    double top = logit_of(logits[best]), total = 0.0, sum = 0.0, margin = 1.0;
    if (!(params->temperature > 0.0f) || top == -INFINITY) {
        for (uint32_t i = 0; out_probs && i < n; i++) out_probs[i] = i == best;
        if (out_margin) *out_margin = 1.0;
        return best;
    }
    double *weights = pum_alloc_array(n, sizeof *weights);
    if (!weights) return UINT32_MAX;
    for (uint32_t i = 0; i < n; i++) weights[i] = logit_of(logits[i]);
    qsort(weights, n, sizeof *weights, descending);
    double least = threshold_of(weights, n, params);
    for (uint32_t i = 0; i < n; i++) {
        double v = logit_of(logits[i]);
        weights[i] = v >= least && v > -INFINITY ? exp((v - top) / params->temperature) : 0.0;
        total += weights[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        sum += weights[i];
        if (weights[i] > 0.0) margin = fmin(margin, fabs(sum / total - u));
        if (token == UINT32_MAX && sum > u * total) token = i;
        if (out_probs) out_probs[i] = weights[i] / total;
    }
    pum_free(weights);
    if (out_margin) *out_margin = margin;
    return token;
}

/* ---- the step buffer ---- */

static float float_of(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static bool advance(const pum_ref_binding *words, uint32_t *slot, uint32_t token)
{
    uint32_t row = slot[SLOT_DST_ROW];
    slot[SLOT_RING + slot[SLOT_COUNTER] % STEP_RING] = token;
    slot[SLOT_TOKEN] = token;
    if (row != ROW_INACTIVE) {
        if (!ref_holds(words, (uint64_t)row + 1, STEP_ROW_WORDS, STEP_ROWS_AT, STEP_ROW_WORDS)) return false;
        uint32_t *to = (uint32_t *)words->data + STEP_ROWS_AT + (size_t)row * STEP_ROW_WORDS;
        to[ROW_TOKEN] = token;
        to[ROW_POS] = slot[SLOT_POS];
        to[ROW_SEQ] = slot[SLOT_SEQ];
        to[ROW_CELL] = slot[SLOT_CELL];
        to[ROW_LO] = slot[SLOT_LO];
        to[ROW_HI] = slot[SLOT_CELL] + 1;
        to[ROW_POS2] = slot[SLOT_POS2];
    }
    slot[SLOT_POS] += slot[SLOT_POS_STEP];
    slot[SLOT_POS2] += slot[SLOT_POS2_STEP];
    slot[SLOT_CELL]++;
    slot[SLOT_COUNTER]++;
    return true;
}

static bool choose(const pum_ref_step *step, bool draws)
{
    const pum_args_sample *a = step->args;
    const float *logits = step->bind[0].data;
    const pum_ref_binding *words = &step->bind[1];
    if (a->cols == 0 || !ref_holds(&step->bind[0], a->slots, a->x_stride, 0, a->cols)
        || !ref_holds(words, a->slots, STEP_SLOT_WORDS, a->slot_at, STEP_SLOT_WORDS)) return false;
    for (uint64_t s = 0; s < a->slots; s++) {
        uint32_t *slot = (uint32_t *)words->data + a->slot_at + s * STEP_SLOT_WORDS;
        pum_ref_sampling p = { 0 };
        if (draws) {
            p = (pum_ref_sampling){ .temperature = float_of(slot[SLOT_TEMPERATURE]), .top_k = slot[SLOT_TOP_K],
                                    .top_p = float_of(slot[SLOT_TOP_P]), .min_p = float_of(slot[SLOT_MIN_P]) };
        }
        uint64_t seed = (uint64_t)slot[SLOT_SEED_HI] << 32 | slot[SLOT_SEED_LO];
        double u = pum_ref_uniform(seed, slot[SLOT_COUNTER]);
        uint32_t token = pum_ref_sample_chain(logits + s * a->x_stride, a->cols, &p, u, NULL, NULL);
        if (token == UINT32_MAX || !advance(words, slot, token)) return false;
    }
    return true;
}

bool pum_ref_argmax(const pum_ref_step *step)
{
    return choose(step, false);
}

bool pum_ref_sample(const pum_ref_step *step)
{
    return choose(step, true);
}

/* As the kernel has them: NaN is the least, infinities are the largest numbers. */
static double finite_logit(float v)
{
    return isnan(v) ? (double)-3.4e38f : fmin(fmax((double)v, (double)-3.4e38f), (double)3.4e38f);
}

static void score_row(const float *logits, uint32_t cols, uint32_t *row, double *scale)
{
    uint32_t best = argmax_of(logits, cols);
    double top = finite_logit(logits[best]), below = finite_logit(logits[row[ROW_TARGET]]) - top, sum = 0.0;
    bool broken = false;
    for (uint32_t i = 0; i < cols; i++) {
        sum += exp(finite_logit(logits[i]) - top);
        broken = broken || isnan(logits[i]);
    }
    float score = broken ? NAN : (float)(below - log(sum)), id = (float)best;
    memcpy(&row[ROW_LOGPROB], &score, sizeof score);
    memcpy(&row[ROW_TOP], &id, sizeof id);
    if (scale) scale[ROW_LOGPROB] = 1.0 + fabs(below) + log(sum);
}

bool pum_ref_score(const pum_ref_step *step)
{
    const pum_args_score *a = step->args;
    const float *logits = step->bind[0].data;
    uint32_t *words = step->bind[1].data;
    if (!ref_holds(&step->bind[0], a->rows, a->x_stride, 0, a->cols)
        || !ref_holds(&step->bind[1], a->rows, STEP_ROW_WORDS, STEP_ROWS_AT, STEP_ROW_WORDS)) return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        size_t at = STEP_ROWS_AT + (size_t)r * STEP_ROW_WORDS;
        if (words[at + ROW_TARGET] >= a->cols) continue;
        score_row(logits + r * a->x_stride, a->cols, words + at, step->scale ? step->scale + at : NULL);
    }
    return true;
}
