/* SPDX-License-Identifier: Apache-2.0
 * Facts about the compiled kernels, generated from shaders/kernels.toml and checked against the
 * SPIR-V by tools/gen_kernels.py. Pure data: no code words here (those are in kernels_spv.c, for
 * vk/ alone). */
#ifndef PUM_KERNEL_H
#define PUM_KERNEL_H

#include "caps.h"
#include "dtype.h"
#include "kernels_meta.h" /* generated: enum pum_kernel_family PUM_FAMILY_x, PUM_KERNEL_COUNT,
                             PUM_SPEC_<FAMILY>_<NAME> = id, PUM_ARGS_<STRUCT> */

enum { PUM_MAX_BINDINGS = 8, PUM_MAX_SPEC = 12, PUM_MAX_ARGS_BYTES = 128 };

/* TEXEL: read, through a uniform texel buffer of 16-byte texels; all others are storage buffers. */
typedef enum pum_access {
    PUM_ACCESS_R = 1,
    PUM_ACCESS_W = 2,
    PUM_ACCESS_RW = 3,
    PUM_ACCESS_TEXEL = 4 | PUM_ACCESS_R
} pum_access;

enum { PUM_TEXEL_BYTES = 16 };

typedef struct pum_kernel_info {
    const char *name; /* "matvec_q8_0_sub" */
    uint16_t family;  /* pum_kernel_family */
    uint16_t weight;  /* pum_dtype of the weights, PUM_DTYPE_COUNT = none */
    uint16_t tier;    /* pum_tier */
    uint16_t args;    /* PUM_ARGS_<STRUCT> */
    uint16_t args_bytes;
    uint32_t needs; /* PUM_CAP_* bits (caps.h) */
    uint8_t n_bindings, n_spec;
    uint8_t access[PUM_MAX_BINDINGS]; /* pum_access */
    const char *binding[PUM_MAX_BINDINGS];
    const char *spec[PUM_MAX_SPEC];
    double tolerance;
} pum_kernel_info;

extern const pum_kernel_info pum_kernels[PUM_KERNEL_COUNT];
extern const char *const pum_family_names[PUM_FAMILY_COUNT];

/* The best kernel of a family for a weight type (PUM_DTYPE_COUNT = none) on a device: of those that
 * are not distrusted the one of the highest tier whose needs are covered, also without the
 * capabilities `without` (PUM_CAP_* bits). -1 if there is none. */
int pum_kernel_find(uint32_t family, pum_dtype weight, const pum_caps *caps, uint32_t without);

#endif
