/* SPDX-License-Identifier: Apache-2.0
 * Which GPU family and which driver a device has: what tuning and quirk rows are keyed by. family.c is the only place
 * that reads vendor, device and driver ids. Pure; thread-safe. */
#ifndef PUM_FAMILY_H
#define PUM_FAMILY_H

#include "caps.h"

/* GPU families, by how they compute: X(id, name). Called GPU_ because PUM_FAMILY_* are families of
 * kernels. AMD_GCN is the 3rd and 4th generation (Tonga, Fiji, Polaris), AMD_GCN5 is Vega with its packed 16-bit math;
 * Kepler counts as Maxwell, Ice Lake as Gen9. */
#define PUM_GPU_ROWS(X)                 \
    X(UNKNOWN, "unknown")               \
    X(AMD_GCN, "amd-gcn")               \
    X(AMD_GCN5, "amd-gcn5")             \
    X(AMD_RDNA1, "amd-rdna1")           \
    X(AMD_RDNA2, "amd-rdna2")           \
    X(AMD_RDNA3, "amd-rdna3")           \
    X(AMD_RDNA4, "amd-rdna4")           \
    X(AMD_CDNA, "amd-cdna")             \
    X(INTEL_GEN9, "intel-gen9")         \
    X(INTEL_XE_LP, "intel-xe-lp")       \
    X(INTEL_XE_HPG, "intel-xe-hpg")     \
    X(INTEL_XE2, "intel-xe2")           \
    X(NVIDIA_MAXWELL, "nvidia-maxwell") \
    X(NVIDIA_PASCAL, "nvidia-pascal")   \
    X(NVIDIA_VOLTA, "nvidia-volta")     \
    X(NVIDIA_TURING, "nvidia-turing")   \
    X(NVIDIA_AMPERE, "nvidia-ampere")   \
    X(NVIDIA_ADA, "nvidia-ada")         \
    X(NVIDIA_HOPPER, "nvidia-hopper")   \
    X(NVIDIA_BLACKWELL, "nvidia-blackwell") \
    X(APPLE, "apple")                   \
    X(ADRENO, "adreno")                 \
    X(MALI, "mali")                     \
    X(POWERVR, "powervr")               \
    X(VIDEOCORE, "videocore")           \
    X(LAVAPIPE, "lavapipe")             \
    X(SWIFTSHADER, "swiftshader")

typedef enum pum_family_id {
#define X(id, name) PUM_GPU_##id,
    PUM_GPU_ROWS(X)
#undef X
    PUM_GPU_COUNT
} pum_family_id;

/* Drivers, for quirks: X(id, name, VkDriverId). */
#define PUM_DRIVER_ROWS(X)              \
    X(UNKNOWN, "unknown", 0)            \
    X(AMD, "amd", 1)                    \
    X(AMDVLK, "amdvlk", 2)              \
    X(RADV, "radv", 3)                  \
    X(NVIDIA, "nvidia", 4)              \
    X(INTEL_WINDOWS, "intel-windows", 5)\
    X(ANV, "anv", 6)                    \
    X(IMAGINATION, "imagination", 7)    \
    X(QUALCOMM, "qualcomm", 8)          \
    X(ARM, "arm", 9)                    \
    X(SWIFTSHADER, "swiftshader", 10)   \
    X(BROADCOM, "broadcom", 12)         \
    X(LAVAPIPE, "lavapipe", 13)         \
    X(MOLTENVK, "moltenvk", 14)         \
    X(TURNIP, "turnip", 18)             \
    X(V3DV, "v3dv", 19)                 \
    X(PANVK, "panvk", 20)               \
    X(SAMSUNG, "samsung", 21)           \
    X(VENUS, "venus", 22)               \
    X(DOZEN, "dozen", 23)               \
    X(NVK, "nvk", 24)                   \
    X(HONEYKRISP, "honeykrisp", 26)

typedef enum pum_driver {
#define X(id, name, vk) PUM_DRIVER_##id,
    PUM_DRIVER_ROWS(X)
#undef X
    PUM_DRIVER_COUNT
} pum_driver;

/* From caps' ids, driver, name and smallest subgroup; UNKNOWN when no row matches. */
pum_family_id pum_family_find(const pum_caps *caps);
pum_driver pum_driver_of(const pum_caps *caps);
/* "amd-rdna3"; "unknown" for what is out of range. */
const char *pum_family_name(uint32_t family);
const char *pum_driver_name(uint32_t driver);
/* PUM_GPU_COUNT when there is no such name. */
pum_family_id pum_family_from_name(const char *name);

#endif
