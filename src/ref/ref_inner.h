/* SPDX-License-Identifier: Apache-2.0
 * What the reference functions share: range checks of bindings, activations in double, reads of the step's
 * specialisation constants. Not included outside ref/. */
#ifndef PUM_REF_INNER_H
#define PUM_REF_INNER_H

#include <math.h>

#include "args.h"
#include "ref.h"

/* True when the binding holds `rows` rows of `cols` 32-bit words, `stride` words apart, from word `first` on. */
static inline bool ref_holds(const pum_ref_binding *b, uint64_t rows, uint64_t stride, uint64_t first, uint64_t cols)
{
    if (rows == 0 || cols == 0) return true;
    return b->data && (first + (rows - 1) * stride + cols) <= b->bytes / 4;
}

typedef struct ref_kv_shape {
    uint32_t kv_heads, head_dim, table_at, table_stride;
} ref_kv_shape;

/* The number of the (page, kv head) a cell of a sequence lies in; false when it is outside the bindings. */
bool ref_kv_find(const pum_ref_binding *words, const pum_ref_binding *cache, uint32_t type, const ref_kv_shape *shape,
                 uint32_t seq, uint32_t cell, uint32_t head, uint64_t *out_page);

static inline double ref_activate(uint32_t kind, double x)
{
    switch (kind) {
    case ACT_SILU: return x / (1.0 + exp(-x));
    case ACT_GELU_TANH: return 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case ACT_GELU_ERF: return 0.5 * x * (1.0 + erf(x * 0.70710678118654752440));
    case ACT_RELU: return x > 0.0 ? x : 0.0;
    case ACT_RELU2: return x > 0.0 ? x * x : 0.0;
    case ACT_GELU_QUICK: return x / (1.0 + exp(-1.702 * x));
    default: return x;
    }
}

#endif
