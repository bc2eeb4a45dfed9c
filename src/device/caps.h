/* SPDX-License-Identifier: Apache-2.0
 * What a device can do, as plain numbers and bits: all that planning knows of it. Filled by
 * vk/snapshot.c from a real device, by profile.c from a text, or by a test. 0 means absent. No
 * Vulkan here. */
#ifndef PUM_CAPS_H
#define PUM_CAPS_H

#include "base.h"

/* Capability bits. A kernel's `needs` is a set of the first group. Names (for --disable) in caps.c.
 */
#define PUM_CAP_SUBGROUP (1u << 0)   /* subgroup basic + arithmetic + shuffle in compute shaders */
#define PUM_CAP_F16 (1u << 1)        /* 16-bit storage and arithmetic */
#define PUM_CAP_I8 (1u << 2)         /* 8-bit storage */
#define PUM_CAP_DOT8 (1u << 3)       /* packed 4x8 dot product, fast or not */
#define PUM_CAP_COOP (1u << 4)       /* KHR cooperative matrix with such a product: coop_m, n, k */
#define PUM_CAP_TEXEL (1u << 5)      /* texel buffers are worth reading large arrays through */
#define PUM_CAP_DOT8_FAST (1u << 6)  /* the hardware has an instruction for it; never without PUM_CAP_DOT8 */
#define PUM_CAP_TIMELINE (1u << 8)   /* timeline semaphores */
#define PUM_CAP_TIMESTAMPS (1u << 9) /* timestamp queries on the compute queue */
#define PUM_CAP_MEMORY_BUDGET (1u << 10)
#define PUM_CAP_UNIFIED (1u << 11) /* all device-local memory is host-visible */
#define PUM_CAP_SUBGROUP_SIZE_CONTROL (1u << 12)
#define PUM_CAP_HOST_QUERY_RESET (1u << 13)
#define PUM_CAP_TRANSFER (1u << 14) /* uploads have a queue of their own: a family that does nothing but copy */
#define PUM_CAP_REPACK (1u << 15) /* may bring weights into its own form: every device, unless it is wished away */
#define PUM_CAP_FULL_SUBGROUPS (1u << 16) /* workgroups of whole subgroups can be made to have no other */
#define PUM_CAP_HOST_IMPORT (1u << 17) /* unified memory: may read the host's own pages, whole ones of 4 KiB */

/* What a driver bug (quirks.def) or a wish asks of tuning, the planner and the Vulkan layer. */
#define PUM_FLAG_SHORT_LOOPS (1u << 0)   /* few rounds per invocation: large workgroups for long rows */
#define PUM_FLAG_SHORT_SUBMITS (1u << 1) /* cut work into submits of at most a millisecond */
#define PUM_FLAG_REPACK (1u << 2) /* bring weights into the device's form on the device, whatever its family */
#define PUM_FLAG_LATE_COMPILE (1u << 3) /* pipelines are compiled when they are first dispatched */
#define PUM_FLAG_HOST_IMPORT (1u << 4) /* use the host's pages, whatever its family and the caller's word */
#define PUM_FLAG_FENCES (1u << 5) /* the end of a submit is a fence though there are timeline semaphores */

typedef enum pum_tier {
    PUM_TIER_BASE,
    PUM_TIER_SUB,
    PUM_TIER_TEXEL,
    PUM_TIER_F16,
    PUM_TIER_DOT8,
    PUM_TIER_COOP,
    PUM_TIER_COUNT
} pum_tier;

enum { PUM_CAPS_KERNELS = 512 }; /* room for so many */

typedef struct pum_caps {
    char name[256];
    char driver_name[256];
    uint32_t vendor_id, device_id, driver_id, driver_version, api_version;
    pumice_device_kind kind;
    uint32_t family; /* pum_family_id (family.h) */
    uint32_t bits;   /* PUM_CAP_* */
    uint32_t flags;  /* PUM_FLAG_* */
    uint32_t quirks; /* bit i: row i of quirks.def was applied */
    uint32_t subgroup_size, subgroup_min, subgroup_max;
    uint32_t max_workgroup_invocations;
    uint32_t max_workgroup_size[3];
    uint32_t max_workgroup_count[3];
    uint32_t shared_memory_bytes;
    uint32_t max_push_bytes;
    uint32_t max_storage_buffers;    /* bindings per shader stage */
    uint64_t max_buffer_range_bytes; /* maxStorageBufferRange */
    uint64_t max_texel_bytes;        /* of one texel buffer view; 0 = none */
    uint64_t max_allocation_bytes;   /* maxMemoryAllocationSize and maxBufferSize, the smaller */
    uint32_t offset_align_bytes;     /* minStorageBufferOffsetAlignment */
    uint64_t local_heap_bytes;       /* largest device-local heap */
    uint64_t local_budget_bytes;     /* free of it now, where known, else the heap */
    double timestamp_period_ns;      /* 0 = no timestamps */
    double peak_gbs;                 /* of its memory by specification, GB/s: no driver tells, 0 = unknown */
    uint32_t coop_m, coop_n, coop_k; /* a cooperative f16 x f16 -> f32 product of a subgroup; 0 = none */
    uint32_t distrusted[PUM_CAPS_KERNELS / 32]; /* bit i: kernel i computed something wrong here */
} pum_caps;

static inline bool pum_caps_trusts(const pum_caps *caps, uint32_t kernel)
{
    return !(caps->distrusted[kernel / 32] >> kernel % 32 & 1);
}

/* Pipelines may be given subgroups of this size: what plans count on can be less real (wishes.h). */
static inline bool pum_caps_may_pin(const pum_caps *caps, uint32_t subgroup_size)
{
    return (caps->bits & PUM_CAP_SUBGROUP_SIZE_CONTROL) && subgroup_size >= caps->subgroup_min &&
           subgroup_size <= caps->subgroup_max;
}

static inline void pum_caps_distrust(pum_caps *caps, uint32_t kernel)
{
    caps->distrusted[kernel / 32] |= 1u << kernel % 32;
}

/* Bits for a comma-separated list of names ("sub,f16"); false and err names the unknown one. */
bool pum_caps_bits_from_names(const char *names, uint32_t *out_bits, pumice_error *err);
/* The names of a set of bits, separated by commas. */
void pum_caps_bits_text(uint32_t bits, char *out, size_t capacity);
/* Usable tiers of a set of bits as text: "base sub f16". */
void pum_caps_tiers_text(uint32_t bits, char *out, size_t capacity);
const char *pum_tier_name(pum_tier tier);

/* A built-in device profile by name ("lavapipe", "swiftshader", "navi31", ...); false if unknown.
 */
bool pum_caps_profile(const char *name, pum_caps *out_caps);
/* The name of the profile that `name` or one of its other names ("arc-a770") means; NULL if unknown. */
const char *pum_caps_profile_find(const char *name);
/* The i-th profile's name, NULL past the end. */
const char *pum_caps_profile_name(size_t index);

#endif
