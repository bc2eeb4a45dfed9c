/* SPDX-License-Identifier: Apache-2.0
 * T5's relative bias (Raffel et al., 2020): distances fall into buckets, exact ones for what is near,
 * logarithmic ones beyond. Attention wants a bias by distance, so the table by bucket is spread out
 * here, once. The borders of buckets are where the original's single precision puts them. */
#include <math.h>

#include "arch.h"

uint32_t pum_relative_bucket(int32_t distance, bool both_ways, uint32_t n_buckets,
                             uint32_t max_distance)
{
    uint32_t first = 0, n = n_buckets;
    uint32_t far = distance < 0 ? 0u - (uint32_t)distance : (uint32_t)distance;
    if (both_ways) { /* half of the buckets for what comes after */
        n /= 2;
        if (distance > 0) first = n;
    } else if (distance > 0) {
        far = 0;
    }
    uint32_t exact = n / 2;
    if (far < exact || exact == 0) return first + PUM_MIN(far, n - 1);
    float part = logf((float)far / (float)exact) / (float)log((double)max_distance / exact);
    float steps = part * (float)(n - exact);
    uint32_t more = steps < (float)(n - exact) ? (uint32_t)steps : n - 1 - exact;
    return first + exact + more;
}

void pum_relative_expand(const float *table, uint32_t n_buckets, uint32_t n_heads, bool both_ways,
                         uint32_t max_distance, float *out)
{
    uint32_t width = 2 * max_distance + 1;
    for (uint32_t i = 0; i < width; i++) {
        int32_t distance = (int32_t)i - (int32_t)max_distance;
        uint32_t bucket = pum_relative_bucket(distance, both_ways, n_buckets, max_distance);
        for (uint32_t head = 0; head < n_heads; head++) {
            out[(size_t)head * width + i] = table[(size_t)bucket * n_heads + head];
        }
    }
}
