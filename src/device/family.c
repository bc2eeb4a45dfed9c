/* SPDX-License-Identifier: Apache-2.0
 * One table from ids and names to GPU families. First match wins, so names (which drivers print exactly) come before
 * ranges of device ids, and ranges before the vendor's last resort. Ranges are those of the vendors' public tables
 * (pci.ids, Mesa's include/pci_ids, NVIDIA's supported-GPU lists); a card newer than the table lands on a row
 * of its vendor that goes by the smallest subgroup, or on its vendor's last row. Adding a generation = one row of
 * PUM_GPU_ROWS and a few here. */
#include "family.h"

#include <string.h>

enum {
    VENDOR_AMD = 0x1002,
    VENDOR_IMAGINATION = 0x1010,
    VENDOR_APPLE = 0x106b,
    VENDOR_NVIDIA = 0x10de,
    VENDOR_ARM = 0x13b5,
    VENDOR_BROADCOM = 0x14e4,
    VENDOR_QUALCOMM = 0x5143,
    VENDOR_INTEL = 0x8086,
    VENDOR_MESA = 0x10005
};

typedef struct family_row {
    uint32_t vendor;           /* 0 = any */
    pum_driver driver;         /* UNKNOWN = any */
    const char *name;          /* part of the device's name, any case; NULL = any */
    uint32_t first, last;      /* device ids; 0, 0 = any */
    uint32_t subgroup_min;     /* smallest subgroup; 0 = any */
    pum_family_id family;
} family_row;

#define NAME(vendor, name, family) { VENDOR_##vendor, PUM_DRIVER_UNKNOWN, name, 0, 0, 0, PUM_GPU_##family }
#define IDS(vendor, first, last, family) { VENDOR_##vendor, PUM_DRIVER_UNKNOWN, NULL, first, last, 0, PUM_GPU_##family }
#define SUBGROUP(vendor, least, family) { VENDOR_##vendor, PUM_DRIVER_UNKNOWN, NULL, 0, 0, least, PUM_GPU_##family }
#define VENDOR(vendor, family) { VENDOR_##vendor, PUM_DRIVER_UNKNOWN, NULL, 0, 0, 0, PUM_GPU_##family }
#define DRIVER(driver, family) { 0, PUM_DRIVER_##driver, NULL, 0, 0, 0, PUM_GPU_##family }

static const family_row rows[] = {
    /* software */
    DRIVER(LAVAPIPE, LAVAPIPE),
    DRIVER(SWIFTSHADER, SWIFTSHADER),
    NAME(MESA, "llvmpipe", LAVAPIPE),
    { 0, PUM_DRIVER_UNKNOWN, "SwiftShader", 0, 0, 0, PUM_GPU_SWIFTSHADER },

    /* AMD: RADV prints the chip */
    NAME(AMD, "NAVI44", AMD_RDNA4),
    NAME(AMD, "NAVI48", AMD_RDNA4),
    NAME(AMD, "GFX12", AMD_RDNA4),
    NAME(AMD, "NAVI31", AMD_RDNA3),
    NAME(AMD, "NAVI32", AMD_RDNA3),
    NAME(AMD, "NAVI33", AMD_RDNA3),
    NAME(AMD, "PHOENIX", AMD_RDNA3),
    NAME(AMD, "STRIX", AMD_RDNA3),
    NAME(AMD, "GFX11", AMD_RDNA3),
    NAME(AMD, "NAVI2", AMD_RDNA2),
    NAME(AMD, "VANGOGH", AMD_RDNA2),
    NAME(AMD, "REMBRANDT", AMD_RDNA2),
    NAME(AMD, "RAPHAEL", AMD_RDNA2),
    NAME(AMD, "GFX103", AMD_RDNA2),
    NAME(AMD, "NAVI1", AMD_RDNA1),
    NAME(AMD, "ARCTURUS", AMD_CDNA),
    NAME(AMD, "ALDEBARAN", AMD_CDNA),
    NAME(AMD, "Instinct", AMD_CDNA),
    NAME(AMD, "MI100", AMD_CDNA),
    NAME(AMD, "MI200", AMD_CDNA),
    NAME(AMD, "GFX940", AMD_CDNA),
    NAME(AMD, "RADV VEGAM", AMD_GCN), /* Polaris beside an Intel processor */
    NAME(AMD, "RADV VEGA", AMD_GCN5),
    NAME(AMD, "RADV RAVEN", AMD_GCN5),
    NAME(AMD, "RADV RENOIR", AMD_GCN5),
    NAME(AMD, "POLARIS", AMD_GCN),
    NAME(AMD, "FIJI", AMD_GCN),
    NAME(AMD, "TONGA", AMD_GCN),
    NAME(AMD, "ICELAND", AMD_GCN),
    NAME(AMD, "CARRIZO", AMD_GCN),
    NAME(AMD, "STONEY", AMD_GCN),
    /* other drivers print the card: device ids */
    IDS(AMD, 0x7388, 0x738e, AMD_CDNA),
    IDS(AMD, 0x7408, 0x7410, AMD_CDNA),
    IDS(AMD, 0x74a0, 0x74bf, AMD_CDNA),
    IDS(AMD, 0x15d8, 0x15dd, AMD_GCN5), /* Raven, Picasso */
    IDS(AMD, 0x15e7, 0x15e7, AMD_GCN5), /* Barcelo */
    IDS(AMD, 0x1636, 0x1638, AMD_GCN5), /* Renoir, Cezanne */
    IDS(AMD, 0x164c, 0x164c, AMD_GCN5), /* Lucienne */
    IDS(AMD, 0x66a0, 0x66af, AMD_GCN5), /* Vega 20 */
    IDS(AMD, 0x6860, 0x687f, AMD_GCN5), /* Vega 10 */
    IDS(AMD, 0x69a0, 0x69af, AMD_GCN5), /* Vega 12 */
    IDS(AMD, 0x7310, 0x731f, AMD_RDNA1),
    IDS(AMD, 0x7340, 0x734f, AMD_RDNA1),
    IDS(AMD, 0x7360, 0x7362, AMD_RDNA1),
    IDS(AMD, 0x73a0, 0x73ff, AMD_RDNA2),
    IDS(AMD, 0x7420, 0x743f, AMD_RDNA2),
    IDS(AMD, 0x1435, 0x1435, AMD_RDNA2),
    IDS(AMD, 0x1506, 0x1506, AMD_RDNA2),
    IDS(AMD, 0x163f, 0x163f, AMD_RDNA2),
    IDS(AMD, 0x164d, 0x164e, AMD_RDNA2),
    IDS(AMD, 0x1681, 0x1681, AMD_RDNA2),
    IDS(AMD, 0x7440, 0x749f, AMD_RDNA3),
    IDS(AMD, 0x1114, 0x1114, AMD_RDNA3),
    IDS(AMD, 0x150e, 0x150e, AMD_RDNA3),
    IDS(AMD, 0x1586, 0x1586, AMD_RDNA3),
    IDS(AMD, 0x15bf, 0x15c8, AMD_RDNA3),
    IDS(AMD, 0x1900, 0x1901, AMD_RDNA3),
    IDS(AMD, 0x7550, 0x75ff, AMD_RDNA4),
    IDS(AMD, 0x7600, 0xffff, AMD_RDNA4), /* newer than this table */
    /* not in the table: a subgroup of 32 is RDNA, and what is left knows only 64 */
    SUBGROUP(AMD, 32, AMD_RDNA2),
    VENDOR(AMD, AMD_GCN),

    /* Intel */
    IDS(INTEL, 0x1902, 0x193d, INTEL_GEN9),  /* Skylake */
    IDS(INTEL, 0x5902, 0x593b, INTEL_GEN9),  /* Kaby Lake */
    IDS(INTEL, 0x3184, 0x3185, INTEL_GEN9),  /* Gemini Lake */
    IDS(INTEL, 0x3e90, 0x3eab, INTEL_GEN9),  /* Coffee Lake */
    IDS(INTEL, 0x5a84, 0x5a85, INTEL_GEN9),  /* Apollo Lake */
    IDS(INTEL, 0x87c0, 0x87ca, INTEL_GEN9),
    IDS(INTEL, 0x9b21, 0x9bf6, INTEL_GEN9),  /* Comet Lake */
    IDS(INTEL, 0x8a50, 0x8a71, INTEL_GEN9),  /* Ice Lake: gen 11, close enough */
    IDS(INTEL, 0x4905, 0x490f, INTEL_XE_LP), /* DG1 */
    IDS(INTEL, 0x4c80, 0x4c9a, INTEL_XE_LP), /* Rocket Lake */
    IDS(INTEL, 0x4600, 0x46ff, INTEL_XE_LP), /* Alder Lake */
    IDS(INTEL, 0x9a40, 0x9af8, INTEL_XE_LP), /* Tiger Lake */
    IDS(INTEL, 0xa700, 0xa7ff, INTEL_XE_LP), /* Raptor Lake */
    IDS(INTEL, 0x4f80, 0x4f88, INTEL_XE_HPG),
    IDS(INTEL, 0x5690, 0x56ff, INTEL_XE_HPG), /* Arc A */
    IDS(INTEL, 0x7d40, 0x7ddf, INTEL_XE_HPG), /* Meteor and Arrow Lake */
    IDS(INTEL, 0x6400, 0x64ff, INTEL_XE2),    /* Lunar Lake */
    IDS(INTEL, 0xb080, 0xb0ff, INTEL_XE2),    /* Panther Lake */
    IDS(INTEL, 0xe200, 0xe2ff, INTEL_XE2),    /* Arc B */
    SUBGROUP(INTEL, 16, INTEL_XE2), /* every generation before has subgroups of 8 */
    NAME(INTEL, "Arc", INTEL_XE_HPG),
    VENDOR(INTEL, INTEL_XE_LP),

    /* NVIDIA; Tegra has ids of its own */
    NAME(NVIDIA, "Tegra X1", NVIDIA_MAXWELL),
    NAME(NVIDIA, "Tegra X2", NVIDIA_PASCAL),
    NAME(NVIDIA, "Xavier", NVIDIA_VOLTA),
    NAME(NVIDIA, "Orin", NVIDIA_AMPERE),
    NAME(NVIDIA, "Thor", NVIDIA_BLACKWELL),
    IDS(NVIDIA, 0x0f00, 0x12ff, NVIDIA_MAXWELL), /* Kepler, the oldest with Vulkan 1.1 */
    IDS(NVIDIA, 0x1340, 0x143f, NVIDIA_MAXWELL),
    IDS(NVIDIA, 0x15f0, 0x15ff, NVIDIA_PASCAL),  /* GP100 */
    IDS(NVIDIA, 0x1600, 0x17ff, NVIDIA_MAXWELL),
    IDS(NVIDIA, 0x1b00, 0x1d7f, NVIDIA_PASCAL),
    IDS(NVIDIA, 0x1d80, 0x1dff, NVIDIA_VOLTA),
    IDS(NVIDIA, 0x1e00, 0x1fff, NVIDIA_TURING),
    IDS(NVIDIA, 0x2080, 0x20ff, NVIDIA_AMPERE),  /* GA100 */
    IDS(NVIDIA, 0x2180, 0x21ff, NVIDIA_TURING),  /* TU116 */
    IDS(NVIDIA, 0x2300, 0x237f, NVIDIA_HOPPER),
    IDS(NVIDIA, 0x2200, 0x25ff, NVIDIA_AMPERE),
    IDS(NVIDIA, 0x2680, 0x28ff, NVIDIA_ADA),
    IDS(NVIDIA, 0x2900, 0xffff, NVIDIA_BLACKWELL),
    VENDOR(NVIDIA, NVIDIA_TURING),

    /* the rest: one family a vendor */
    VENDOR(APPLE, APPLE),
    DRIVER(HONEYKRISP, APPLE),
    NAME(QUALCOMM, "Adreno", ADRENO),
    VENDOR(QUALCOMM, ADRENO),
    DRIVER(TURNIP, ADRENO),
    VENDOR(ARM, MALI),
    VENDOR(IMAGINATION, POWERVR),
    VENDOR(BROADCOM, VIDEOCORE),
    DRIVER(V3DV, VIDEOCORE),
};

static const char *const family_names[PUM_GPU_COUNT] = {
#define X(id, name) [PUM_GPU_##id] = name,
    PUM_GPU_ROWS(X)
#undef X
};

static const struct {
    const char *name;
    uint32_t vk;
} drivers[PUM_DRIVER_COUNT] = {
#define X(id, name, vk) [PUM_DRIVER_##id] = { name, vk },
    PUM_DRIVER_ROWS(X)
#undef X
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool contains(const char *text, const char *part)
{
    for (; *text; text++) {
        size_t i = 0;
        while (part[i] && lower(text[i]) == lower(part[i])) i++;
        if (!part[i]) return true;
    }
    return false;
}

pum_driver pum_driver_of(const pum_caps *caps)
{
    for (uint32_t i = 1; i < PUM_DRIVER_COUNT; i++) {
        if (drivers[i].vk == caps->driver_id) return (pum_driver)i;
    }
    return PUM_DRIVER_UNKNOWN;
}

pum_family_id pum_family_find(const pum_caps *caps)
{
    pum_driver driver = pum_driver_of(caps);
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        const family_row *r = &rows[i];
        if (r->vendor && r->vendor != caps->vendor_id) continue;
        if (r->driver != PUM_DRIVER_UNKNOWN && r->driver != driver) continue;
        if (r->last && (caps->device_id < r->first || caps->device_id > r->last)) continue;
        if (r->subgroup_min && r->subgroup_min != caps->subgroup_min) continue;
        if (r->name && !contains(caps->name, r->name)) continue;
        return r->family;
    }
    return PUM_GPU_UNKNOWN;
}

const char *pum_family_name(uint32_t family)
{
    return family_names[family < PUM_GPU_COUNT ? family : PUM_GPU_UNKNOWN];
}

const char *pum_driver_name(uint32_t driver)
{
    return drivers[driver < PUM_DRIVER_COUNT ? driver : PUM_DRIVER_UNKNOWN].name;
}

pum_family_id pum_family_from_name(const char *name)
{
    for (uint32_t i = 0; i < PUM_GPU_COUNT; i++) {
        if (strcmp(family_names[i], name) == 0) return (pum_family_id)i;
    }
    return PUM_GPU_COUNT;
}
