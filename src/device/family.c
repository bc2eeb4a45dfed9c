/* SPDX-License-Identifier: Apache-2.0
 * The table that turns vendor, driver and name into a family. First match wins; a row's empty part matches all.
 * Names are parts of VkPhysicalDeviceProperties.deviceName as public capability reports show them. */
#include "family.h"

#include <string.h>

static const char *const names[PUM_GPU_COUNT] = {
    [PUM_GPU_UNKNOWN] = "unknown",         [PUM_GPU_LAVAPIPE] = "lavapipe",
    [PUM_GPU_SWIFTSHADER] = "swiftshader", [PUM_GPU_AMD_GCN] = "amd-gcn",
    [PUM_GPU_AMD_CDNA] = "amd-cdna",       [PUM_GPU_AMD_RDNA1] = "amd-rdna1",
    [PUM_GPU_AMD_RDNA2] = "amd-rdna2",     [PUM_GPU_AMD_RDNA3] = "amd-rdna3",
    [PUM_GPU_AMD_RDNA4] = "amd-rdna4",     [PUM_GPU_INTEL_GEN9] = "intel-gen9",
    [PUM_GPU_INTEL_XE_LP] = "intel-xe-lp", [PUM_GPU_INTEL_XE_HPG] = "intel-xe-hpg",
    [PUM_GPU_INTEL_XE2] = "intel-xe2",     [PUM_GPU_NVIDIA] = "nvidia",
    [PUM_GPU_APPLE] = "apple",             [PUM_GPU_ADRENO] = "adreno",
    [PUM_GPU_MALI] = "mali",               [PUM_GPU_VIDEOCORE] = "videocore",
};

enum { MESA = 0x10005, GOOGLE = 0x1ae0, AMD = 0x1002, INTEL = 0x8086, NVIDIA = 0x10de, APPLE = 0x106b,
       QUALCOMM = 0x5143, ARM = 0x13b5, BROADCOM = 0x14e4 };

static const struct {
    uint32_t vendor;
    const char *name; /* part of the device's name, NULL = any */
    pum_family_id family;
} rows[] = {
    { MESA, "llvmpipe", PUM_GPU_LAVAPIPE },
    { GOOGLE, "SwiftShader", PUM_GPU_SWIFTSHADER },
    { AMD, "GFX12", PUM_GPU_AMD_RDNA4 },      { AMD, "RX 90", PUM_GPU_AMD_RDNA4 },
    { AMD, "R9700", PUM_GPU_AMD_RDNA4 },      { AMD, "NAVI4", PUM_GPU_AMD_RDNA4 },
    { AMD, "GFX11", PUM_GPU_AMD_RDNA3 },      { AMD, "NAVI3", PUM_GPU_AMD_RDNA3 },
    { AMD, "RX 7", PUM_GPU_AMD_RDNA3 },       { AMD, "PHOENIX", PUM_GPU_AMD_RDNA3 },
    { AMD, "STRIX", PUM_GPU_AMD_RDNA3 },      { AMD, "780M", PUM_GPU_AMD_RDNA3 },
    { AMD, "8060S", PUM_GPU_AMD_RDNA3 },      { AMD, "890M", PUM_GPU_AMD_RDNA3 },
    { AMD, "NAVI2", PUM_GPU_AMD_RDNA2 },      { AMD, "RX 6", PUM_GPU_AMD_RDNA2 },
    { AMD, "VANGOGH", PUM_GPU_AMD_RDNA2 },    { AMD, "REMBRANDT", PUM_GPU_AMD_RDNA2 },
    { AMD, "680M", PUM_GPU_AMD_RDNA2 },       { AMD, "NAVI1", PUM_GPU_AMD_RDNA1 },
    { AMD, "RX 5", PUM_GPU_AMD_RDNA1 },       { AMD, "ARCTURUS", PUM_GPU_AMD_CDNA },
    { AMD, "ALDEBARAN", PUM_GPU_AMD_CDNA },   { AMD, "MI1", PUM_GPU_AMD_CDNA },
    { AMD, "MI2", PUM_GPU_AMD_CDNA },         { AMD, "MI3", PUM_GPU_AMD_CDNA },
    { AMD, NULL, PUM_GPU_AMD_GCN },
    { INTEL, "B580", PUM_GPU_INTEL_XE2 },     { INTEL, "B570", PUM_GPU_INTEL_XE2 },
    { INTEL, "(LNL)", PUM_GPU_INTEL_XE2 },    { INTEL, "(BMG", PUM_GPU_INTEL_XE2 },
    { INTEL, "140V", PUM_GPU_INTEL_XE2 },     { INTEL, "130V", PUM_GPU_INTEL_XE2 },
    { INTEL, "A770", PUM_GPU_INTEL_XE_HPG },  { INTEL, "A750", PUM_GPU_INTEL_XE_HPG },
    { INTEL, "A380", PUM_GPU_INTEL_XE_HPG },  { INTEL, "(DG2", PUM_GPU_INTEL_XE_HPG },
    { INTEL, "Arc", PUM_GPU_INTEL_XE_HPG },   { INTEL, "Xe", PUM_GPU_INTEL_XE_LP },
    { INTEL, "(TGL", PUM_GPU_INTEL_XE_LP },   { INTEL, "(ADL", PUM_GPU_INTEL_XE_LP },
    { INTEL, "(RPL", PUM_GPU_INTEL_XE_LP },   { INTEL, NULL, PUM_GPU_INTEL_GEN9 },
    { NVIDIA, NULL, PUM_GPU_NVIDIA },         { APPLE, NULL, PUM_GPU_APPLE },
    { QUALCOMM, NULL, PUM_GPU_ADRENO },       { ARM, NULL, PUM_GPU_MALI },
    { BROADCOM, NULL, PUM_GPU_VIDEOCORE },
};

const char *pum_family_name(uint32_t family)
{
    return family < PUM_GPU_COUNT ? names[family] : names[PUM_GPU_UNKNOWN];
}

pum_family_id pum_family_find(const pum_caps *caps)
{
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        if (rows[i].vendor == caps->vendor_id && (!rows[i].name || strstr(caps->name, rows[i].name))) {
            return rows[i].family;
        }
    }
    return PUM_GPU_UNKNOWN;
}
