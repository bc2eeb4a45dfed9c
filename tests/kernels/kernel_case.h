/* SPDX-License-Identifier: Apache-2.0
 * One test case of one kernel: everything of a dispatch, and how its outputs are compared. Case generators
 * (kernel_cases_*.c, one row per kernel family) fill it; test_kernels.c runs it on the device and through
 * pum_ref_run and compares. A family without a row fails the test, so an untested kernel cannot exist.
 *
 * The driver poisons every output binding before both runs: what the reference leaves alone must still hold the
 * poison on the device. Around each binding lie guard bands on the device that must stay untouched. */
#ifndef KERNEL_CASE_H
#define KERNEL_CASE_H

#include "args.h"
#include "caps.h"
#include "ref.h"

/* How a binding is used and compared. */
typedef enum case_compare {
    CASE_INPUT,  /* only read: must be unchanged */
    CASE_F32,    /* |got - want| <= tol * max(scale, floor): scale from the reference for "y", else |want| */
    CASE_F16,    /* the same for packed f16, plus one unit in the last place of f16 */
    CASE_WORDS,  /* bit by bit */
    CASE_KV,     /* a quantized cache: quants one step apart and scales one unit in the last place are equal */
    CASE_CHECK   /* by the binding's own function */
} case_compare;

struct kernel_case;
/* Is `got` as good as the reference's `want`? If not, `why` says what is wrong. */
typedef bool (*case_check_fn)(const struct kernel_case *c, const void *want, const void *got,
                              char *why, size_t capacity);

typedef struct case_binding {
    void *data;            /* host copy, a whole number of words; NULL: shares binding `same_as` */
    size_t bytes;          /* the range bound on the device: exactly this */
    case_compare compare;
    bool keep;             /* output that starts with `data` instead of poison (it is read, or updated in part) */
    int same_as;           /* index of an earlier binding with the same range (in-place), when data is NULL */
    uint32_t kv_type, head_dim; /* of CASE_KV */
    case_check_fn check;   /* CASE_CHECK */
    double floor;          /* least scale of an item's error bound (outputs with cancellation) */
} case_binding;

typedef struct kernel_case {
    int kernel;
    uint32_t spec[PUM_MAX_SPEC];
    uint8_t args[PUM_MAX_ARGS_BYTES];   /* the family's struct of args.h */
    uint32_t grid[3];
    case_binding bind[PUM_MAX_BINDINGS];
    char name[240];        /* what distinguishes the case: sizes, options */
    double bytes, flops;   /* bench: compulsory traffic and arithmetic of a dispatch */
    bool failed;           /* out of memory while it was made */
} kernel_case;

/* ---- random numbers: SplitMix64, so that a printed seed repeats a failure anywhere ---- */
typedef struct case_rng { uint64_t state; } case_rng;

static inline uint64_t case_next(case_rng *rng)
{
    uint64_t z = (rng->state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
/* Uniform in [lo, hi], both included. */
static inline uint32_t case_range(case_rng *rng, uint32_t lo, uint32_t hi)
{
    return lo + (uint32_t)((case_next(rng) >> 32) * ((uint64_t)hi - lo + 1) >> 32);
}
static inline float case_uniform(case_rng *rng, float lo, float hi)
{
    return lo + (hi - lo) * (float)(case_next(rng) >> 40) * (1.0f / 16777216.0f);
}
#define case_pick(rng, array) ((array)[case_range(rng, 0, (uint32_t)(sizeof(array) / sizeof((array)[0])) - 1)])

/* Adds a binding of `bytes`, rounded up to words, zeroed; returns its host copy. NULL when out of memory, and then
 * out->failed is set: the generator returns at once. */
void *case_bind(kernel_case *out, int slot, case_compare compare, size_t bytes);
/* The binding is the same range as an earlier one (in-place). */
void case_share(kernel_case *out, int slot, int same_as);
/* Fills f32s: mostly uniform in [-scale, scale], some zeros, some 100 times larger. */
void case_fill_f32(case_rng *rng, float *data, size_t count, float scale);
void case_free(kernel_case *c);

/* ---- families ---- */
/* Makes the case of number `variant` for a kernel of the family; false: this kernel has no such variant. Must respect
 * caps (max_workgroup_invocations, shared memory). All choices come from rng or variant. */
typedef bool (*case_make_fn)(case_rng *rng, const pum_caps *caps, int kernel, uint32_t variant, kernel_case *out);

typedef struct case_family {
    uint32_t family;       /* pum_kernel_family */
    uint32_t variants;     /* cases 0 .. variants - 1 are run by the test */
    case_make_fn make;
    uint32_t benches;      /* cases of --bench */
    case_make_fn bench;    /* NULL = none */
} case_family;

extern const case_family case_families_matmul[];
extern const uint32_t case_families_matmul_count;
extern const case_family case_families_misc[];
extern const uint32_t case_families_misc_count;
extern const case_family case_families_attn[];
extern const uint32_t case_families_attn_count;
extern const case_family case_families_quantize[];
extern const uint32_t case_families_quantize_count;
extern const case_family case_families_expert[];
extern const uint32_t case_families_expert_count;

/* Random weights of the kernel's type as they lie on the device (kernel_cases_matmul.c). */
bool case_fill_weights(case_rng *rng, pum_dtype type, size_t rows, uint32_t cols, uint8_t *out);
size_t case_row_bytes(pum_dtype type, uint32_t cols);
bool case_takes(int kernel, uint32_t variant); /* whether this format has that case */
bool case_aligned(pum_dtype type, uint32_t cols);
uint32_t case_fit_cols(pum_dtype type, uint32_t want);
/* Compares rows of activations of 8 bits, for kernels whose first arguments are cols and rows. */
bool case_check_q8(const kernel_case *c, const void *want, const void *got, char *why, size_t capacity);

#endif
