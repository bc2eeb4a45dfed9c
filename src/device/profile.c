/* SPDX-License-Identifier: Apache-2.0
 * Devices that are not there: capabilities from public capability reports, so that plans for them can be made and
 * proven anywhere. "minimal" is the weakest device Pumice runs on. */
#include <stdio.h>
#include <string.h>

#include "family.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static const struct {
    const char *name, *device;
    uint32_t vendor, bits, subgroup, invocations, shared_bytes, align;
    pumice_device_kind kind;
    uint64_t range, allocation, heap;
} profiles[] = {
    { "lavapipe", "llvmpipe (LLVM 15.0.6, 256 bits)", 0x10005, PUM_CAP_SUBGROUP | PUM_CAP_F16 | PUM_CAP_I8
      | PUM_CAP_TIMELINE | PUM_CAP_TIMESTAMPS | PUM_CAP_UNIFIED, 8, 1024, 32768, 16, PUMICE_DEVICE_SOFTWARE,
      128 * MIB, 2 * GIB, 2 * GIB },
    { "swiftshader", "SwiftShader Device (Subzero)", 0x1ae0, PUM_CAP_SUBGROUP | PUM_CAP_TIMELINE | PUM_CAP_TIMESTAMPS
      | PUM_CAP_UNIFIED, 4, 256, 32768, 256, PUMICE_DEVICE_SOFTWARE, GIB, GIB, 2 * GIB },
    { "navi31", "AMD Radeon RX 7900 XTX (RADV NAVI31)", 0x1002, PUM_CAP_SUBGROUP | PUM_CAP_F16 | PUM_CAP_I8 | PUM_CAP_DOT8
      | PUM_CAP_COOP | PUM_CAP_TIMELINE | PUM_CAP_TIMESTAMPS | PUM_CAP_MEMORY_BUDGET, 64, 1024, 65536, 4,
      PUMICE_DEVICE_DISCRETE, 4 * GIB - 1, 4 * GIB - 4, 24 * GIB },
    { "navi21", "AMD Radeon RX 6800 XT (RADV NAVI21)", 0x1002, PUM_CAP_SUBGROUP | PUM_CAP_F16 | PUM_CAP_I8 | PUM_CAP_DOT8
      | PUM_CAP_TIMELINE | PUM_CAP_TIMESTAMPS | PUM_CAP_MEMORY_BUDGET, 64, 1024, 65536, 4, PUMICE_DEVICE_DISCRETE,
      4 * GIB - 1, 4 * GIB - 4, 16 * GIB },
    { "intel-a770", "Intel(R) Arc(tm) A770 Graphics (DG2)", 0x8086, PUM_CAP_SUBGROUP | PUM_CAP_F16 | PUM_CAP_I8
      | PUM_CAP_DOT8 | PUM_CAP_TIMELINE | PUM_CAP_TIMESTAMPS, 32, 1024, 65536, 4, PUMICE_DEVICE_DISCRETE, GIB, 4 * GIB - 1,
      16 * GIB },
    { "rtx-4090", "NVIDIA GeForce RTX 4090", 0x10de, PUM_CAP_SUBGROUP | PUM_CAP_F16 | PUM_CAP_I8 | PUM_CAP_DOT8
      | PUM_CAP_COOP | PUM_CAP_TIMELINE | PUM_CAP_TIMESTAMPS | PUM_CAP_MEMORY_BUDGET, 32, 1024, 49152, 16,
      PUMICE_DEVICE_DISCRETE, 4 * GIB - 1, 4 * GIB - 64 * 1024, 24 * GIB },
    { "minimal", "minimal Vulkan 1.1 device", 0, 0, 1, 128, 16384, 256, PUMICE_DEVICE_OTHER, 128 * MIB, GIB, GIB },
};

bool pum_caps_profile(const char *name, pum_caps *out_caps)
{
    *out_caps = (pum_caps){ 0 };
    for (size_t i = 0; i < PUM_COUNT(profiles); i++) {
        if (strcmp(profiles[i].name, name) != 0) continue;
        pum_caps c = { .vendor_id = profiles[i].vendor, .bits = profiles[i].bits, .kind = profiles[i].kind,
            .api_version = (1u << 22) | ((profiles[i].bits ? 3u : 1u) << 12),
            .subgroup_size = profiles[i].subgroup, .subgroup_min = profiles[i].subgroup,
            .subgroup_max = profiles[i].subgroup, .max_workgroup_invocations = profiles[i].invocations,
            .max_workgroup_size = { profiles[i].invocations, profiles[i].invocations, 64 },
            .max_workgroup_count = { 65535, 65535, 65535 }, .shared_memory_bytes = profiles[i].shared_bytes,
            .max_push_bytes = 128, .max_storage_buffers = 8, .max_buffer_range_bytes = profiles[i].range,
            .max_allocation_bytes = profiles[i].allocation, .offset_align_bytes = profiles[i].align,
            .local_heap_bytes = profiles[i].heap, .local_budget_bytes = profiles[i].heap,
            .timestamp_period_ns = profiles[i].bits & PUM_CAP_TIMESTAMPS ? 1.0 : 0.0 };
        snprintf(c.name, sizeof c.name, "%s", profiles[i].device);
        snprintf(c.driver_name, sizeof c.driver_name, "profile %s", name);
        c.family = pum_family_find(&c);
        *out_caps = c;
        return true;
    }
    return false;
}

const char *pum_caps_profile_name(size_t index)
{
    return index < PUM_COUNT(profiles) ? profiles[index].name : NULL;
}
