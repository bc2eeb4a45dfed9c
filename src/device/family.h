/* SPDX-License-Identifier: Apache-2.0
 * Which family a device belongs to: the key of tuning and quirk rows. The only reader of vendor and driver ids. */
#ifndef PUM_FAMILY_H
#define PUM_FAMILY_H

#include "caps.h"

typedef enum pum_family_id {
    PUM_GPU_UNKNOWN, PUM_GPU_LAVAPIPE, PUM_GPU_SWIFTSHADER,
    PUM_GPU_AMD_GCN, PUM_GPU_AMD_CDNA, PUM_GPU_AMD_RDNA1, PUM_GPU_AMD_RDNA2, PUM_GPU_AMD_RDNA3, PUM_GPU_AMD_RDNA4,
    PUM_GPU_INTEL_GEN9, PUM_GPU_INTEL_XE_LP, PUM_GPU_INTEL_XE_HPG, PUM_GPU_INTEL_XE2,
    PUM_GPU_NVIDIA, PUM_GPU_APPLE, PUM_GPU_ADRENO, PUM_GPU_MALI, PUM_GPU_VIDEOCORE, PUM_GPU_COUNT
} pum_family_id;

const char *pum_family_name(uint32_t family);
/* From caps' ids and name, in the order of the table in family.c. Pure. */
pum_family_id pum_family_find(const pum_caps *caps);

#endif
