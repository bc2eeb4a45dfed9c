/* SPDX-License-Identifier: Apache-2.0
 * The sampling chain of the sample kernel, callable on the host: for tests, which compare it with other
 * implementations and look for draws that rounding cannot change. Pure; thread-safe. */
#ifndef PUM_REF_SAMPLE_H
#define PUM_REF_SAMPLE_H

#include "ref.h"

/* Off: top_k 0, top_p 0 or >= 1, min_p 0. temperature <= 0 is arg-max. */
typedef struct pum_ref_sampling {
    float temperature;
    uint32_t top_k;
    float top_p, min_p;
} pum_ref_sampling;

/* First output word of Philox4x32-10 for a key (low word first) and a 128-bit counter whose low word is `counter`. */
uint32_t pum_ref_philox(uint64_t key, uint32_t counter);
/* The draw in [0, 1) that a slot makes: 24 bits of pum_ref_philox. */
double pum_ref_uniform(uint64_t seed, uint32_t counter);

/* The token chosen of n >= 1 logits for a draw u in [0, 1): top_k, top_p and min_p leave the tokens above a
 * threshold (ties stay), temperature weighs them, and the first in index order whose running sum exceeds
 * u * total is taken. NaN counts as -inf. out_probs (n, may be NULL) receives the final probabilities, out_margin
 * (may be NULL) how far u is from the nearest u that gives another token. Returns UINT32_MAX when out of memory. */
uint32_t pum_ref_sample_chain(const float *logits, uint32_t n, const pum_ref_sampling *params, double u,
                              double *out_probs, double *out_margin);

#endif
