/* SPDX-License-Identifier: Apache-2.0
 * Devices that are not there: capabilities from public capability reports (vulkan.gpuinfo.org, and
 * vulkaninfo of the two software drivers), so that plans for them can be made and proven anywhere.
 * "minimal" is the weakest device Pumice runs on: Vulkan 1.1's required minimum with no optional
 * feature, but eight storage buffers (4 are required). The reports' numbers go through the same
 * families, quirks and tuning as a real device's. */
#include <stdio.h>
#include <string.h>

#include "family.h"
#include "quirks.h"

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define VULKAN(major, minor) ((uint32_t)(major) << 22 | (uint32_t)(minor) << 12)

enum {
    SOFTWARE = PUM_CAP_SUBGROUP | PUM_CAP_TIMELINE | PUM_CAP_TIMESTAMPS | PUM_CAP_UNIFIED
        | PUM_CAP_SUBGROUP_SIZE_CONTROL | PUM_CAP_HOST_QUERY_RESET,
    DESKTOP = PUM_CAP_SUBGROUP | PUM_CAP_F16 | PUM_CAP_I8 | PUM_CAP_DOT8 | PUM_CAP_TIMELINE | PUM_CAP_TIMESTAMPS
        | PUM_CAP_MEMORY_BUDGET | PUM_CAP_SUBGROUP_SIZE_CONTROL | PUM_CAP_HOST_QUERY_RESET
};

typedef struct profile_row {
    const char *name, *device;
    uint32_t vendor, id, driver, api; /* driver: VkDriverId */
    pumice_device_kind kind;
    uint32_t bits;
    uint32_t subgroup[3];             /* size, min, max */
    uint32_t invocations, size[3], count[3];
    uint32_t shared_bytes, push_bytes, storage_buffers, align_bytes;
    uint64_t range, allocation, heap;
    double tick_ns;
} profile_row;

/* clang-format off */
static const profile_row rows[] = {
    { .name = "lavapipe", .device = "llvmpipe (LLVM 15.0.6, 256 bits)", .vendor = 0x10005, .driver = 13,
      .api = VULKAN(1, 3), .kind = PUMICE_DEVICE_SOFTWARE, .bits = SOFTWARE | PUM_CAP_F16 | PUM_CAP_I8,
      .subgroup = { 8, 8, 8 }, .invocations = 1024, .size = { 1024, 1024, 1024 }, .count = { 65535, 65535, 65535 },
      .shared_bytes = 32 * KIB, .push_bytes = 128, .storage_buffers = 32, .align_bytes = 16, .range = 128 * MIB,
      .allocation = 2 * GIB, .heap = 2 * GIB, .tick_ns = 1.0 },
    { .name = "swiftshader", .device = "SwiftShader Device (Subzero)", .vendor = 0x1ae0, .id = 0xc0de, .driver = 10,
      .api = VULKAN(1, 3), .kind = PUMICE_DEVICE_SOFTWARE, .bits = SOFTWARE, .subgroup = { 4, 4, 4 },
      .invocations = 256, .size = { 256, 256, 64 }, .count = { 65535, 65535, 65535 }, .shared_bytes = 32 * KIB,
      .push_bytes = 128, .storage_buffers = 30, .align_bytes = 256, .range = GIB, .allocation = GIB,
      .heap = 2 * GIB, .tick_ns = 1.0 },
    { .name = "navi31", .device = "AMD Radeon RX 7900 XTX (RADV NAVI31)", .vendor = 0x1002, .id = 0x744c, .driver = 3,
      .api = VULKAN(1, 3), .kind = PUMICE_DEVICE_DISCRETE, .bits = DESKTOP | PUM_CAP_COOP, .subgroup = { 64, 32, 64 },
      .invocations = 1024, .size = { 1024, 1024, 1024 }, .count = { UINT32_MAX, 65535, 65535 },
      .shared_bytes = 64 * KIB, .push_bytes = 256, .storage_buffers = 8388606, .align_bytes = 4, .range = 4 * GIB - 1,
      .allocation = 4 * GIB - 4, .heap = 24 * GIB, .tick_ns = 10.0 },
    { .name = "navi21", .device = "AMD Radeon RX 6800 XT (RADV NAVI21)", .vendor = 0x1002, .id = 0x73bf, .driver = 3,
      .api = VULKAN(1, 3), .kind = PUMICE_DEVICE_DISCRETE, .bits = DESKTOP, .subgroup = { 64, 32, 64 },
      .invocations = 1024, .size = { 1024, 1024, 1024 }, .count = { UINT32_MAX, 65535, 65535 },
      .shared_bytes = 64 * KIB, .push_bytes = 256, .storage_buffers = 8388606, .align_bytes = 4, .range = 4 * GIB - 1,
      .allocation = 4 * GIB - 4, .heap = 16 * GIB, .tick_ns = 10.0 },
    { .name = "arc-a770", .device = "Intel(R) Arc(tm) A770 Graphics (DG2)", .vendor = 0x8086, .id = 0x56a0, .driver = 6,
      .api = VULKAN(1, 3), .kind = PUMICE_DEVICE_DISCRETE, .bits = DESKTOP, .subgroup = { 32, 8, 32 },
      .invocations = 1024, .size = { 1024, 1024, 1024 }, .count = { 65535, 65535, 65535 }, .shared_bytes = 64 * KIB,
      .push_bytes = 128, .storage_buffers = 65535, .align_bytes = 4, .range = GIB, .allocation = GIB, .heap = 16 * GIB,
      .tick_ns = 52.083333 },
    { .name = "rtx-4090", .device = "NVIDIA GeForce RTX 4090", .vendor = 0x10de, .id = 0x2684, .driver = 4,
      .api = VULKAN(1, 3), .kind = PUMICE_DEVICE_DISCRETE, .bits = DESKTOP | PUM_CAP_COOP, .subgroup = { 32, 32, 32 },
      .invocations = 1024, .size = { 1024, 1024, 64 }, .count = { 2147483647, 65535, 65535 }, .shared_bytes = 48 * KIB,
      .push_bytes = 256, .storage_buffers = 1048576, .align_bytes = 16, .range = 4 * GIB - 1,
      .allocation = 4 * GIB - 2 * MIB, .heap = 24564 * MIB, .tick_ns = 1.0 },
    { .name = "adreno-730", .device = "Adreno (TM) 730", .vendor = 0x5143, .id = 0x43050a01, .driver = 8,
      .api = VULKAN(1, 1), .kind = PUMICE_DEVICE_INTEGRATED,
      .bits = PUM_CAP_SUBGROUP | PUM_CAP_F16 | PUM_CAP_I8 | PUM_CAP_TIMELINE | PUM_CAP_TIMESTAMPS | PUM_CAP_UNIFIED,
      .subgroup = { 64, 64, 128 }, .invocations = 1024, .size = { 1024, 1024, 64 }, .count = { 65535, 65535, 65535 },
      .shared_bytes = 32 * KIB, .push_bytes = 256, .storage_buffers = 24, .align_bytes = 64, .range = 128 * MIB,
      .allocation = GIB, .heap = 8 * GIB, .tick_ns = 52.083333 },
    { .name = "minimal", .device = "minimal Vulkan 1.1 device", .api = VULKAN(1, 1), .kind = PUMICE_DEVICE_OTHER,
      .subgroup = { 1, 1, 1 }, .invocations = 128, .size = { 128, 128, 64 }, .count = { 65535, 65535, 65535 },
      .shared_bytes = 16 * KIB, .push_bytes = 128, .storage_buffers = 8, .align_bytes = 256, .range = 128 * MIB,
      .allocation = GIB, .heap = GIB },
};
/* clang-format on */

bool pum_caps_profile(const char *name, pum_caps *out_caps)
{
    *out_caps = (pum_caps){ 0 };
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        const profile_row *r = &rows[i];
        if (strcmp(r->name, name) != 0) continue;
        pum_caps c = { .vendor_id = r->vendor, .device_id = r->id, .driver_id = r->driver, .api_version = r->api,
                       .kind = r->kind, .bits = r->bits, .subgroup_size = r->subgroup[0],
                       .subgroup_min = r->subgroup[1], .subgroup_max = r->subgroup[2],
                       .max_workgroup_invocations = r->invocations, .shared_memory_bytes = r->shared_bytes,
                       .max_push_bytes = r->push_bytes, .max_storage_buffers = r->storage_buffers,
                       .max_buffer_range_bytes = r->range, .max_allocation_bytes = r->allocation,
                       .offset_align_bytes = r->align_bytes, .local_heap_bytes = r->heap,
                       .local_budget_bytes = r->heap, .timestamp_period_ns = r->tick_ns };
        memcpy(c.max_workgroup_size, r->size, sizeof c.max_workgroup_size);
        memcpy(c.max_workgroup_count, r->count, sizeof c.max_workgroup_count);
        snprintf(c.name, sizeof c.name, "%s", r->device);
        snprintf(c.driver_name, sizeof c.driver_name, "profile %s", name);
        c.family = pum_family_find(&c);
        pum_quirks_apply(&c);
        *out_caps = c;
        return true;
    }
    return false;
}

const char *pum_caps_profile_name(size_t index)
{
    return index < PUM_COUNT(rows) ? rows[index].name : NULL;
}
