/* SPDX-License-Identifier: Apache-2.0
 * What case generators share: bindings and data. See kernel_case.h. */
#include "kernel_case.h"

#include <string.h>

void *case_bind(kernel_case *out, int slot, case_compare compare, size_t bytes)
{
    case_binding *b = &out->bind[slot];
    b->bytes = pum_align_up(bytes ? bytes : 4, 4);
    b->compare = compare;
    b->data = pum_alloc(b->bytes);
    if (!b->data) out->failed = true;
    return b->data;
}

void case_share(kernel_case *out, int slot, int same_as)
{
    out->bind[slot] = (case_binding){ .bytes = out->bind[same_as].bytes, .compare = out->bind[same_as].compare,
                                      .same_as = same_as };
}

void case_fill_f32(case_rng *rng, float *data, size_t count, float scale)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t kind = case_range(rng, 0, 63);
        float v = case_uniform(rng, -scale, scale);
        data[i] = kind == 0 ? 0.0f : kind == 1 ? 100.0f * v : v;
    }
}

void case_free(kernel_case *c)
{
    for (int i = 0; i < PUM_MAX_BINDINGS; i++) pum_free(c->bind[i].data);
    *c = (kernel_case){ 0 };
}
