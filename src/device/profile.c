/* SPDX-License-Identifier: Apache-2.0
 * Devices that are not there, so that plans for them can be made and proven anywhere. Per row: M = taken from the
 * driver itself where it runs without the card (lavapipe, SwiftShader; tiers and some limits of RADV's null device,
 * Mesa 22.3.6; dg2 of ANV over Mesa's noop DRM shim, other Intel rows after it); R and D = what such devices and
 * drivers are known to report. "Seen:" says what was found in public reports (excerpts of GitHub threads) of the row's
 * device or one next to it and agrees, or was corrected after them; the rest of R and D has not been compared with a
 * report yet: correct a row when one is at hand. Memory is the
 * card's, and so is its bandwidth: transfers a second times the width of the bus, as published. Of those without
 * memory of their own it is that of the fastest memory their chip takes (bits of the bus behind it): uhd-630
 * DDR4-2666 (128), iris-xe LPDDR4X-4267 (128), lunar-lake LPDDR5X-8533 (128), apple-m2 LPDDR5-6400 (128), adreno-730
 * LPDDR5-6400 (64), adreno-740 LPDDR5X-8400 (64), mali-g715 LPDDR5X-8533 (64), raspberry-pi-5 LPDDR4X-4267 (32),
 * minimal DDR3-1600 (64); of software it is what it reads itself (tuning.def). "minimal" is the weakest device
 * Pumice runs on: Vulkan 1.1's required minimum with no optional feature, but eight storage buffers (4 are
 * required). The numbers go through the same families, quirks and tuning as a real device's. */
#include <stdio.h>
#include <string.h>

#include "family.h"
#include "tuning.h"
#include "wishes.h"

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define VULKAN(major, minor) ((uint32_t)(major) << 22 | (uint32_t)(minor) << 12)

enum {
    V12 = PUM_CAP_TIMELINE | PUM_CAP_HOST_QUERY_RESET, /* required since Vulkan 1.2 */
    SIZES = PUM_CAP_SUBGROUP_SIZE_CONTROL | PUM_CAP_FULL_SUBGROUPS, /* both required since Vulkan 1.3 */
    SOFTWARE = V12 | PUM_CAP_SUBGROUP | PUM_CAP_TIMESTAMPS | PUM_CAP_UNIFIED | SIZES,
    GPU = V12 | PUM_CAP_SUBGROUP | PUM_CAP_TIMESTAMPS | PUM_CAP_MEMORY_BUDGET,
    HALF = PUM_CAP_F16 | PUM_CAP_I8,
    DOT8 = PUM_CAP_DOT8 | PUM_CAP_DOT8_FAST,
    COOP = PUM_CAP_COOP,
    UNIFIED = PUM_CAP_UNIFIED
};

typedef struct profile_row {
    const char *name, *device;
    uint32_t vendor, id, driver, version, api; /* driver: VkDriverId; version as it packs it */
    pumice_device_kind kind;
    uint32_t bits;
    uint32_t subgroup[3];             /* size, min, max */
    uint32_t invocations, size[3], count[3];
    uint32_t shared_bytes, push_bytes, storage_buffers, align_bytes;
    uint64_t range, allocation, heap, texel;
    double gbs;                       /* memory bandwidth, 10^9 bytes a second */
    double tick_ns;
    uint32_t coop[3];                 /* with COOP, M N K; 0 = 16 x 16 x 16 */
} profile_row;

/* What all devices of a driver share. */
#define RADV \
    .vendor = 0x1002, .driver = 3, .api = VULKAN(1, 3), .kind = PUMICE_DEVICE_DISCRETE, .invocations = 1024, \
    .size = { 1024, 1024, 1024 }, .count = { UINT32_MAX, 65535, 65535 }, .shared_bytes = 64 * KIB, .push_bytes = 256, \
    .storage_buffers = 8388606, .align_bytes = 4, .range = 4 * GIB - 1, .allocation = 4 * GIB - 4
#define ANV \
    .vendor = 0x8086, .driver = 6, .api = VULKAN(1, 3), .invocations = 1024, .size = { 1024, 1024, 1024 }, \
    .count = { 65535, 65535, 65535 }, .push_bytes = 128, .storage_buffers = 65535, .align_bytes = 4
#define NVIDIA \
    .vendor = 0x10de, .driver = 4, .api = VULKAN(1, 3), .kind = PUMICE_DEVICE_DISCRETE, .subgroup = { 32, 32, 32 }, \
    .invocations = 1024, .size = { 1024, 1024, 64 }, .count = { 2147483647, 65535, 65535 }, .shared_bytes = 48 * KIB, \
    .push_bytes = 256, .storage_buffers = 1048576, .align_bytes = 16, .range = 4 * GIB - 1, \
    .allocation = 4 * GIB - 2 * MIB, .tick_ns = 1.0

/* clang-format off */
static const profile_row rows[] = {
    { .name = "lavapipe", .device = "llvmpipe (LLVM 15.0.6, 256 bits)", .vendor = 0x10005, .driver = 13, /* M */
      .api = VULKAN(1, 3), .kind = PUMICE_DEVICE_SOFTWARE, .bits = SOFTWARE | HALF | PUM_CAP_TEXEL | PUM_CAP_DOT8,
      .subgroup = { 8, 8, 8 },
      .invocations = 1024, .size = { 1024, 1024, 1024 }, .count = { 65535, 65535, 65535 },
      .shared_bytes = 32 * KIB, .push_bytes = 128, .storage_buffers = 32, .align_bytes = 16, .range = 128 * MIB,
      .allocation = 2 * GIB, .heap = 2 * GIB, .gbs = 8, .texel = 2 * GIB, .tick_ns = 1.0 },
    { .name = "swiftshader", .device = "SwiftShader Device (Subzero)", .vendor = 0x1ae0, .id = 0xc0de, /* M */
      .driver = 10, .api = VULKAN(1, 3), .kind = PUMICE_DEVICE_SOFTWARE, .bits = SOFTWARE | PUM_CAP_DOT8,
      .subgroup = { 4, 4, 4 }, .invocations = 256, .size = { 256, 256, 64 }, .count = { 65535, 65535, 65535 },
      .shared_bytes = 32 * KIB, .push_bytes = 128, .storage_buffers = 30, .align_bytes = 256, .range = GIB,
      .allocation = GIB, .heap = 2 * GIB, .gbs = 2, .tick_ns = 1.0 },

    /* AMD: M but for memory, clock and, from RDNA3 on, cooperative matrices (R). Seen: of RADV grid, shared memory and
     * invocations (ggml-org/llama.cpp#17117), subgroup and allocation (llama.cpp#2059), dot products of Vega 20
     * (llama.cpp#13016), f16, dot products and matrices of RDNA3.5 (GPUOpen-Drivers/AMDVLK#413); of an RX 6650 XT sizes
     * of subgroups, grid, workgroups and alignment (sharpemu/sharpemu#332) */
    { .name = "rx-580", .device = "AMD Radeon RX 580 Series (RADV POLARIS10)", .id = 0x67df, RADV,
      .bits = GPU | PUM_CAP_I8, .subgroup = { 64, 64, 64 }, .heap = 8 * GIB, .gbs = 256, .tick_ns = 40.0 },
    { .name = "vega-64", .device = "AMD Radeon RX Vega (RADV VEGA10)", .id = 0x687f, RADV, .bits = GPU | HALF,
      .subgroup = { 64, 64, 64 }, .heap = 8 * GIB, .gbs = 483.8, .tick_ns = 37.037037 },
    { .name = "radeon-vii", .device = "AMD Radeon VII (RADV VEGA20)", .id = 0x66af, RADV, .bits = GPU | HALF | DOT8,
      .subgroup = { 64, 64, 64 }, .heap = 16 * GIB, .gbs = 1024, .tick_ns = 10.0 },
    { .name = "rx-5700-xt", .device = "AMD Radeon RX 5700 XT (RADV NAVI10)", .id = 0x731f, RADV,
      .bits = GPU | HALF | SIZES, .subgroup = { 64, 32, 64 }, .heap = 8 * GIB, .gbs = 448, .tick_ns = 10.0 },
    { .name = "navi21", .device = "AMD Radeon RX 6800 XT (RADV NAVI21)", .id = 0x73bf, RADV,
      .bits = GPU | HALF | SIZES | DOT8, .subgroup = { 64, 32, 64 }, .heap = 16 * GIB, .gbs = 512, .tick_ns = 10.0 },
    { .name = "navi31", .device = "AMD Radeon RX 7900 XTX (RADV NAVI31)", .id = 0x744c, RADV,
      .bits = GPU | HALF | SIZES | DOT8 | COOP, .subgroup = { 64, 32, 64 }, .heap = 24 * GIB,
      .gbs = 960, .tick_ns = 10.0 },
    { .name = "rx-9070-xt", .device = "AMD Radeon RX 9070 XT (RADV GFX1201)", .id = 0x7550, RADV,
      .bits = GPU | HALF | SIZES | DOT8 | COOP, .subgroup = { 64, 32, 64 }, .heap = 16 * GIB,
      .gbs = 644.6, .tick_ns = 10.0 },
    { .name = "mi210", .device = "AMD Instinct MI210 (RADV ALDEBARAN)", .id = 0x740f, RADV, .bits = GPU | HALF | DOT8,
      .subgroup = { 64, 64, 64 }, .heap = 64 * GIB, .gbs = 1638.4, .tick_ns = 10.0 },

    /* Intel: M up to Alchemist, Xe2 R. Seen: range and push constants of gen 9 (KhronosGroup/Vulkan-Tools#106), sizes
     * of subgroups and storage buffers (smxi/inxi#284), shared memory, subgroup and dot products of Meteor Lake
     * (llama.cpp#16463), of Lunar Lake (llama.cpp#14001) and, with matrices, of BMG G21 (llama.cpp#25380). Younger
     * Mesas bind 4 GiB - 1 (inxi#284). Not of these rows is Intel's own driver: 32 KiB of shared memory and no fast dot
     * product on the A770 (llama.cpp#14001), a range of 1 GiB - 4 (KhronosGroup/Vulkan-Profiles#621) */
    { .name = "uhd-630", .device = "Intel(R) UHD Graphics 630 (CFL GT2)", .id = 0x3e92, ANV,
      .kind = PUMICE_DEVICE_INTEGRATED, .bits = GPU | HALF | SIZES | UNIFIED, .subgroup = { 32, 8, 32 },
      .shared_bytes = 64 * KIB, .range = GIB, .allocation = GIB, .heap = 12 * GIB, .gbs = 42.7, .tick_ns = 83.333333 },
    { .name = "iris-xe", .device = "Intel(R) Xe Graphics (TGL GT2)", .id = 0x9a49, ANV,
      .kind = PUMICE_DEVICE_INTEGRATED, .bits = GPU | HALF | SIZES | DOT8 | UNIFIED, .subgroup = { 32, 8, 32 },
      .shared_bytes = 64 * KIB, .range = GIB, .allocation = GIB, .heap = 12 * GIB, .gbs = 68.3, .tick_ns = 52.083333 },
    { .name = "intel-a770", .device = "Intel(R) Arc(tm) A770 Graphics (DG2)", .id = 0x56a0, ANV,
      .kind = PUMICE_DEVICE_DISCRETE, .bits = GPU | HALF | SIZES | DOT8 | COOP, .subgroup = { 32, 8, 32 },
      .shared_bytes = 64 * KIB, .range = GIB, .allocation = GIB, .heap = 16 * GIB, .gbs = 560, .tick_ns = 52.083333,
      .coop = { 8, 8, 16 } },
    { .name = "intel-b580", .device = "Intel(R) Arc(tm) B580 Graphics (BMG G21)", .id = 0xe20b, ANV,
      .kind = PUMICE_DEVICE_DISCRETE, .bits = GPU | HALF | SIZES | DOT8 | COOP, .subgroup = { 32, 16, 32 },
      .shared_bytes = 48 * KIB, .range = 4 * GIB - 1, .allocation = 4 * GIB - 4 * KIB, .heap = 12 * GIB, .gbs = 456,
      .tick_ns = 52.083333, .coop = { 8, 16, 16 } },
    { .name = "lunar-lake", .device = "Intel(R) Graphics (LNL)", .id = 0x64a0, ANV,
      .kind = PUMICE_DEVICE_INTEGRATED, .bits = GPU | HALF | SIZES | DOT8 | COOP | UNIFIED,
      .subgroup = { 32, 16, 32 }, .shared_bytes = 128 * KIB, .range = 4 * GIB - 1, .allocation = 4 * GIB - 4 * KIB,
      .heap = 16 * GIB, .gbs = 136.5, .tick_ns = 52.083333, .coop = { 8, 16, 16 } },

    /* NVIDIA: R. Before Turing the driver offers no 16-bit arithmetic, before Pascal no fast integer dot product. Seen:
     * range, push constants and storage buffers (GTX 1050 Ti: Vulkan-Tools#106), shared memory, subgroup, dot products
     * and matrices (RTX 4070: llama.cpp#14903, 3070: #12833, 3090: #11595), sizes of subgroups
     * (nihui/realsr-ncnn-vulkan#2), Pascal without f16 and with dot products (llama.cpp#22933) */
    { .name = "gtx-970", .device = "NVIDIA GeForce GTX 970", .id = 0x13c2, NVIDIA, .bits = GPU | PUM_CAP_I8 | SIZES,
      .heap = 4 * GIB, .gbs = 224 },
    { .name = "gtx-1080", .device = "NVIDIA GeForce GTX 1080", .id = 0x1b80, NVIDIA,
      .bits = GPU | PUM_CAP_I8 | SIZES | DOT8, .heap = 8 * GIB, .gbs = 320 },
    { .name = "titan-v", .device = "NVIDIA TITAN V", .id = 0x1d81, NVIDIA, .bits = GPU | HALF | SIZES | DOT8,
      .heap = 12 * GIB, .gbs = 652.8 },
    { .name = "rtx-2080", .device = "NVIDIA GeForce RTX 2080", .id = 0x1e87, NVIDIA,
      .bits = GPU | HALF | SIZES | DOT8 | COOP, .heap = 8 * GIB, .gbs = 448 },
    { .name = "rtx-3090", .device = "NVIDIA GeForce RTX 3090", .id = 0x2204, NVIDIA,
      .bits = GPU | HALF | SIZES | DOT8 | COOP, .heap = 24 * GIB, .gbs = 936 },
    { .name = "rtx-4090", .device = "NVIDIA GeForce RTX 4090", .id = 0x2684, NVIDIA,
      .bits = GPU | HALF | SIZES | DOT8 | COOP, .heap = 24564 * MIB, .gbs = 1008 },
    { .name = "rtx-5090", .device = "NVIDIA GeForce RTX 5090", .id = 0x2b85, NVIDIA,
      .bits = GPU | HALF | SIZES | DOT8 | COOP, .heap = 32 * GIB, .gbs = 1792 },
    { .name = "h100", .device = "NVIDIA H100 80GB HBM3", .id = 0x2330, NVIDIA,
      .bits = GPU | HALF | SIZES | DOT8 | COOP, .heap = 80 * GIB, .gbs = 3350 },

    /* the rest: R; V3DV also D (no subgroup arithmetic). Seen of MoltenVK: range, push constants and storage buffers
     * (M1 Pro: hanatos/vkdt#87), grid, workgroups, shared memory and sizes of subgroups, none of which can be asked for
     * (gfx-rs/wgpu#5551) */
    { .name = "apple-m2", .device = "Apple M2", .vendor = 0x106b, .id = 0x0f0203ef, .driver = 14, .version = 10300,
      .api = VULKAN(1, 3),
      .kind = PUMICE_DEVICE_INTEGRATED, .bits = GPU | HALF | UNIFIED, .subgroup = { 32, 4, 32 }, .invocations = 1024,
      .size = { 1024, 1024, 1024 }, .count = { 1 << 30, 1 << 30, 1 << 30 }, .shared_bytes = 32 * KIB,
      .push_bytes = 4096, .storage_buffers = 31, .align_bytes = 16, .range = 4 * GIB - 1, .allocation = 4 * GIB,
      .heap = 11 * GIB, .gbs = 102.4, .tick_ns = 1.0 },
    /* seen: sizes of subgroups (Adreno 620: termux/termux-packages#7165, Turnip: llama.cpp#22690), allocations of 1 GiB
     * (llama.cpp#8743), range and push constants of Turnip (meta-flutter/workspace-automation#150) */
    { .name = "adreno-730", .device = "Adreno (TM) 730", .vendor = 0x5143, .id = 0x43050a01, .driver = 8,
      .api = VULKAN(1, 1), .kind = PUMICE_DEVICE_INTEGRATED,
      .bits = PUM_CAP_SUBGROUP | HALF | PUM_CAP_TIMELINE | PUM_CAP_TIMESTAMPS | UNIFIED, .subgroup = { 64, 64, 128 },
      .invocations = 1024, .size = { 1024, 1024, 64 }, .count = { 65535, 65535, 65535 }, .shared_bytes = 32 * KIB,
      .push_bytes = 256, .storage_buffers = 24, .align_bytes = 64, .range = 128 * MIB, .allocation = GIB,
      .heap = 8 * GIB, .gbs = 51.2, .tick_ns = 52.083333 },
    { .name = "adreno-740", .device = "Adreno (TM) 740", .vendor = 0x5143, .id = 0x43050b00, .driver = 8,
      .api = VULKAN(1, 3), .kind = PUMICE_DEVICE_INTEGRATED,
      .bits = V12 | PUM_CAP_SUBGROUP | HALF | SIZES | DOT8 | PUM_CAP_TIMESTAMPS | UNIFIED,
      .subgroup = { 64, 64, 128 }, .invocations = 1024, .size = { 1024, 1024, 64 }, .count = { 65535, 65535, 65535 },
      .shared_bytes = 32 * KIB, .push_bytes = 256, .storage_buffers = 24, .align_bytes = 64, .range = 128 * MIB,
      .allocation = GIB, .heap = 10 * GIB, .gbs = 67.2, .tick_ns = 52.083333 },
    /* seen: subgroup, shared memory, dot products (G720: llama.cpp#27163; PanVK lacks the last: llama.cpp#17783) */
    { .name = "mali-g715", .device = "Mali-G715", .vendor = 0x13b5, .id = 0xb8a20000, .driver = 9, .api = VULKAN(1, 3),
      .kind = PUMICE_DEVICE_INTEGRATED, .bits = V12 | PUM_CAP_SUBGROUP | HALF | DOT8 | PUM_CAP_TIMESTAMPS | UNIFIED,
      .subgroup = { 16, 16, 16 }, .invocations = 1024, .size = { 1024, 1024, 1024 }, .count = { 65535, 65535, 65535 },
      .shared_bytes = 32 * KIB, .push_bytes = 128, .storage_buffers = 35, .align_bytes = 16, .range = 256 * MIB,
      .allocation = 2 * GIB, .heap = 10 * GIB, .gbs = 68.3, .tick_ns = 38.461538 },
    /* seen: range, push constants and storage buffers (bevyengine/bevy#18867), shared memory, invocations, subgroup and
     * no 16- or 8-bit types (llama.cpp#26213), heap and budget (llama.cpp#5237), Vulkan 1.2 with Mesa 23 and 24
     * (llama.cpp#9801, b4rtaz/distributed-llama#259), id (distributed-llama#50) */
    { .name = "raspberry-pi-5", .device = "V3D 7.1.7", .vendor = 0x14e4, .id = 0x55701c33, .driver = 19,
      .api = VULKAN(1, 2), .kind = PUMICE_DEVICE_INTEGRATED,
      .bits = V12 | PUM_CAP_TIMESTAMPS | PUM_CAP_MEMORY_BUDGET | UNIFIED, .subgroup = { 16, 16, 16 },
      .invocations = 256, .size = { 256, 256, 256 }, .count = { 65535, 65535, 65535 }, .shared_bytes = 16 * KIB,
      .push_bytes = 128, .storage_buffers = 8, .align_bytes = 32, .range = GIB, .allocation = GIB, .heap = 4 * GIB,
      .gbs = 17.1, .tick_ns = 1.0 },
    { .name = "minimal", .device = "minimal Vulkan 1.1 device", .api = VULKAN(1, 1), .kind = PUMICE_DEVICE_OTHER,
      .subgroup = { 1, 1, 1 }, .invocations = 128, .size = { 128, 128, 64 }, .count = { 65535, 65535, 65535 },
      .shared_bytes = 16 * KIB, .push_bytes = 128, .storage_buffers = 8, .align_bytes = 256, .range = 128 * MIB,
      .allocation = GIB, .heap = GIB, .gbs = 12.8 },
};

/* Other names people type. */
static const struct {
    const char *alias, *name;
} aliases[] = {
    { "rx-6800", "navi21" },       { "rx-6800-xt", "navi21" },       { "rx-7900-xtx", "navi31" },
    { "rx-5700", "rx-5700-xt" },   { "arc-a770", "intel-a770" },     { "arc-b580", "intel-b580" },
    { "intel-uhd-630", "uhd-630" },{ "intel-iris-xe", "iris-xe" },   { "vega64", "vega-64" },
    { "pi-5", "raspberry-pi-5" },  { "rpi5", "raspberry-pi-5" },     { "llvmpipe", "lavapipe" },
};
/* clang-format on */

/* "RX 7900 XTX" is rx-7900-xtx. */
static bool same_name(const char *name, const char *typed)
{
    for (; *name; name++, typed++) {
        char c = *typed >= 'A' && *typed <= 'Z' ? (char)(*typed - 'A' + 'a') : *typed;
        if (*name != (c == ' ' || c == '_' ? '-' : c)) return false;
    }
    return *typed == '\0';
}

static const profile_row *find_row(const char *name)
{
    for (size_t i = 0; i < PUM_COUNT(aliases); i++) {
        if (same_name(aliases[i].alias, name)) name = aliases[i].name;
    }
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        if (same_name(rows[i].name, name)) return &rows[i];
    }
    return NULL;
}

bool pum_caps_profile(const char *name, pum_caps *out_caps)
{
    return pum_caps_profile_wish(name, &(pum_caps_wishes){ 0 }, out_caps);
}

bool pum_caps_profile_wish(const char *name, const pum_caps_wishes *wishes, pum_caps *out_caps)
{
    *out_caps = (pum_caps){ 0 };
    const profile_row *r = find_row(name);
    if (!r) return false;
    pum_caps c = { .vendor_id = r->vendor,
                   .device_id = r->id,
                   .driver_id = r->driver,
                   .driver_version = r->version,
                   .api_version = r->api,
                   .kind = r->kind,
                   .bits = r->bits,
                   .subgroup_size = r->subgroup[0],
                   .subgroup_min = r->subgroup[1],
                   .subgroup_max = r->subgroup[2],
                   .max_workgroup_invocations = r->invocations,
                   .shared_memory_bytes = r->shared_bytes,
                   .max_push_bytes = r->push_bytes,
                   .max_storage_buffers = r->storage_buffers,
                   .max_buffer_range_bytes = r->range,
                   .max_texel_bytes = r->texel,
                   .max_allocation_bytes = r->allocation,
                   .offset_align_bytes = r->align_bytes,
                   .local_heap_bytes = r->heap,
                   .local_budget_bytes = r->heap,
                   .timestamp_period_ns = r->tick_ns,
                   .peak_gbs = r->gbs };
    if (r->bits & PUM_CAP_COOP) {
        c.coop_m = r->coop[0] ? r->coop[0] : 16;
        c.coop_n = r->coop[1] ? r->coop[1] : 16;
        c.coop_k = r->coop[2] ? r->coop[2] : 16;
    }
    memcpy(c.max_workgroup_size, r->size, sizeof c.max_workgroup_size);
    memcpy(c.max_workgroup_count, r->count, sizeof c.max_workgroup_count);
    snprintf(c.name, sizeof c.name, "%s", r->device);
    snprintf(c.driver_name, sizeof c.driver_name, "profile %s", r->name);
    c.family = pum_family_find(&c);
    c.subgroup_size = pum_tuning_subgroup(&c);
    pum_caps_wishes_apply(wishes, &c);
    *out_caps = c;
    return true;
}

const char *pum_caps_profile_name(size_t index)
{
    return index < PUM_COUNT(rows) ? rows[index].name : NULL;
}

const char *pum_caps_profile_find(const char *name)
{
    const profile_row *r = find_row(name);
    return r ? r->name : NULL;
}
