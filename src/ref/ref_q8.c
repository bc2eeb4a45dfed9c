/* SPDX-License-Identifier: Apache-2.0
 * Activations of 8 bits: their layout (shaders/lib/q8_a.glsl) on the host, and the kernel that rounds to it. Scales are
 * f32 on the device, so they are here. */
#include <string.h>

#include "ref_inner.h"

enum { BLOCK = 32, HALF = 16 };

uint64_t pum_ref_q8_row_bytes(uint32_t cols) { return cols + pum_align_up(cols / 4, 16); }

static float scale_of(const float *x)
{
    float most = 0.0f;
    for (int i = 0; i < BLOCK; i++) most = fmaxf(most, fabsf(x[i]));
    return most > 1e-30f ? most / 127.0f : 0.0f;
}

void pum_ref_q8_put(uint32_t cols, const float *x, void *out_row)
{
    int8_t *quants = out_row;
    uint8_t *heads = (uint8_t *)out_row + cols;
    for (uint32_t b = 0; b < cols / BLOCK; b++) {
        float scale = scale_of(x + b * BLOCK);
        int16_t sums[2] = { 0 };
        for (uint32_t i = 0; i < BLOCK; i++) {
            double q = scale > 0.0f ? nearbyint((double)x[b * BLOCK + i] / scale) : 0.0;
            quants[b * BLOCK + i] = (int8_t)fmax(-127.0, fmin(127.0, q));
            sums[i / HALF] = (int16_t)(sums[i / HALF] + quants[b * BLOCK + i]);
        }
        memcpy(heads + 8 * b, &scale, 4);
        memcpy(heads + 8 * b + 4, sums, 4);
    }
}

void pum_ref_q8_get(uint32_t cols, const void *row, double *out)
{
    const int8_t *quants = row;
    for (uint32_t i = 0; i < cols; i++) {
        float scale;
        memcpy(&scale, (const uint8_t *)row + cols + 8 * (i / BLOCK), 4);
        out[i] = (double)scale * quants[i];
    }
}

bool pum_ref_q8_near(uint32_t cols, uint64_t at, uint32_t want, uint32_t got, double tolerance)
{
    uint64_t word = at % (pum_ref_q8_row_bytes(cols) / 4);
    if (word < cols / 4) {
        for (uint32_t i = 0; i < 32; i += 8) {
            int w = (int8_t)(want >> i), g = (int8_t)(got >> i);
            if (g < w - 1 || g > w + 1) return false;
        }
        return true;
    }
    if ((word - cols / 4) % 2) {
        for (uint32_t i = 0; i < 32; i += 16) {
            int w = (int16_t)(want >> i), g = (int16_t)(got >> i);
            if (g < w - HALF || g > w + HALF) return false;
        }
        return true;
    }
    float w, g;
    memcpy(&w, &want, 4);
    memcpy(&g, &got, 4);
    return fabs((double)w - g) <= tolerance * fabs((double)w) || (isnan(w) && isnan(g));
}

bool pum_ref_quantize_act(const pum_ref_step *step)
{
    const pum_args_quantize_act *a = step->args;
    const float *x = step->bind[0].data;
    uint64_t row_bytes = pum_ref_q8_row_bytes(a->cols);
    if (a->cols % BLOCK || !ref_holds(&step->bind[0], a->rows, a->x_stride, 0, a->cols)
        || row_bytes * a->rows > step->bind[1].bytes) return false;
    for (uint64_t r = 0; r < a->rows; r++) {
        pum_ref_q8_put(a->cols, x + r * a->x_stride, (uint8_t *)step->bind[1].data + r * row_bytes);
    }
    return true;
}
