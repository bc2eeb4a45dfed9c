/* SPDX-License-Identifier: Apache-2.0
 * The kernels that measure the device, in double precision: what they compute is useless, but a
 * compiler that left part of it out would make the device look faster than it is. */
#include "ref_inner.h"

bool pum_ref_roof_read(const pum_ref_step *step)
{
    const pum_args_roof *a = step->args;
    const uint32_t *x = step->bind[0].data;
    uint32_t *y = step->bind[1].data;
    uint64_t wg = step->spec[PUM_SPEC_ROOF_READ_WG], loads = (uint64_t)a->rounds * ROOF_LOADS;
    uint64_t count = step->bind[1].bytes / 4;
    if (wg == 0 || count % wg || !ref_holds(&step->bind[0], 1, 0, 0, count * loads * 4)) return false;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t sum = 0;
        for (uint64_t k = 0; k < loads; k++) {
            const uint32_t *v = x + 4 * (i / wg * wg * loads + k * wg + i % wg);
            sum ^= v[0] ^ v[1] ^ v[2] ^ v[3];
        }
        y[i] = sum;
    }
    return true;
}

bool pum_ref_roof_dot8(const pum_ref_step *step)
{
    const pum_args_roof *a = step->args;
    uint32_t *y = step->bind[0].data;
    uint64_t wg = step->spec[PUM_SPEC_ROOF_DOT8_WG], count = step->bind[0].bytes / 4;
    if (wg == 0) return false;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t sum = 0;
        for (uint32_t c = 0; c < ROOF_CHAINS; c++) {
            uint32_t v = (uint32_t)(i % wg & 31) + c;
            for (uint64_t k = 0; k < (uint64_t)a->rounds * ROOF_STEPS; k++) {
                int dot = 0;
                for (uint32_t b = 0; b < 32; b += 8) dot += (int8_t)(v >> b) * (int8_t)(ROOF_BYTES >> b);
                v += (uint32_t)dot;
            }
            sum += v;
        }
        y[i] = sum;
        if (step->scale) step->scale[i] = 0.0;
    }
    return true;
}

bool pum_ref_roof_math(const pum_ref_step *step)
{
    const pum_args_roof *a = step->args;
    float *y = step->bind[0].data;
    uint64_t wg = step->spec[PUM_SPEC_ROOF_MATH_WG], count = step->bind[0].bytes / 4;
    if (wg == 0) return false;
    for (uint64_t i = 0; i < count; i++) {
        double sum = 0, terms = 0;
        for (uint32_t c = 0; c < ROOF_CHAINS; c++) {
            double v = (double)(i % wg & 31) + c;
            for (uint64_t k = 0; k < (uint64_t)a->rounds * ROOF_STEPS; k++) {
                v = v * (double)a->scale + (double)a->shift;
            }
            sum += v;
            terms += fabs(v) + fabs((double)a->shift);
        }
        y[i] = (float)sum;
        if (step->scale) step->scale[i] = terms;
    }
    return true;
}
