/* SPDX-License-Identifier: Apache-2.0
 * Looks kernels up in the generated table. "Is it supported" is whether this finds one. */
#include "kernel.h"

_Static_assert((int)PUM_KERNEL_COUNT <= (int)PUM_CAPS_KERNELS, "a bit for every kernel");

int pum_kernel_find(uint32_t family, pum_dtype weight, const pum_caps *caps, uint32_t without)
{
    int best = -1;
    for (int i = 0; i < PUM_KERNEL_COUNT; i++) {
        const pum_kernel_info *k = &pum_kernels[i];
        if (k->family != family || k->weight != weight || (k->needs & ~(caps->bits & ~without))
            || !pum_caps_trusts(caps, (uint32_t)i)) {
            continue;
        }
        if (best < 0 || k->tier > pum_kernels[best].tier) best = i;
    }
    return best;
}
