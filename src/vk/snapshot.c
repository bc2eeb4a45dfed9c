/* SPDX-License-Identifier: Apache-2.0
 * VkPhysicalDevice -> pum_caps, or the reason why Pumice cannot run on it. Everything optional
 * becomes a capability bit or a number; nothing optional is required. Structures newer than
 * Vulkan 1.1 are chained only where the device has the version or the extension. Also turns
 * capability bits back into what vkCreateDevice must enable. */
#include "vk_internal.h"

#include <stdio.h>
#include <string.h>

#include "family.h"
#include "tuning.h"

/* ---- extensions ---- */

typedef struct extension_list {
    VkExtensionProperties *data;
    uint32_t count;
} extension_list;

static pumice_status list_extensions(const pum_vk_instance *vi, VkPhysicalDevice physical,
                                     extension_list *out, pumice_error *err)
{
    *out = (extension_list){ 0 };
    VkResult r = vi->f.vkEnumerateDeviceExtensionProperties(physical, NULL, &out->count, NULL);
    if (r == VK_SUCCESS && out->count) {
        out->data = pum_alloc_array(out->count, sizeof *out->data);
        if (!out->data) {
            return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to list device extensions");
        }
        r = vi->f.vkEnumerateDeviceExtensionProperties(physical, NULL, &out->count, out->data);
    }
    if (r >= VK_SUCCESS) return PUMICE_OK;
    pum_free(out->data);
    *out = (extension_list){ 0 };
    return pum_vk_fail_early(r, "listing device extensions", err);
}

static bool has_extension(const extension_list *list, const char *name)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (strcmp(list->data[i].extensionName, name) == 0) return true;
    }
    return false;
}

/* ---- features ---- */

static const struct {
    uint32_t core;         /* version that has it without an extension; 0 = none */
    const char *extension; /* NULL: core in 1.1 */
} feature_rows[PUM_VK_FEATURE_COUNT] = {
#define X(member, type, stype, core, extension) [PUM_VK_FEATURE_##member] = { core, extension },
    PUM_VK_FEATURE_ROWS(X)
#undef X
};

/* Starts a chain with every known feature struct, all switched off. */
static void chain_features(pum_vk_features *f)
{
    f->head = (VkPhysicalDeviceFeatures2){ .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2 };
#define X(member, type, stype, core, extension)                                                    \
    f->member = (type){ .sType = stype };                                                          \
    if (f->known[PUM_VK_FEATURE_##member]) {                                                       \
        f->member.pNext = f->head.pNext;                                                           \
        f->head.pNext = &f->member;                                                                \
    }
    PUM_VK_FEATURE_ROWS(X)
#undef X
}

static void read_features(const pum_vk_instance *vi, pum_vk_snapshot *s,
                          const extension_list *extensions)
{
    pum_vk_features *f = &s->features;
    for (uint32_t i = 0; i < PUM_VK_FEATURE_COUNT; i++) {
        bool core = feature_rows[i].core && s->version >= feature_rows[i].core;
        f->known[i] = core
                      || (feature_rows[i].extension
                          && has_extension(extensions, feature_rows[i].extension));
        f->extension[i] = core ? NULL : feature_rows[i].extension;
    }
    chain_features(f);
    vi->f.vkGetPhysicalDeviceFeatures2(s->physical, &f->head);
}

const void *pum_vk_features_enable(pum_vk_snapshot *snapshot,
                                   const char *out_extensions[PUM_VK_MAX_EXTENSIONS],
                                   uint32_t *out_count)
{
    pum_vk_features *f = &snapshot->features;
    uint32_t bits = snapshot->caps.bits, n = 0;
    bool used[PUM_VK_FEATURE_COUNT] = {
        [PUM_VK_FEATURE_storage16] = bits & PUM_CAP_F16,
        [PUM_VK_FEATURE_storage8] = bits & PUM_CAP_I8,
        [PUM_VK_FEATURE_float16] = bits & (PUM_CAP_F16 | PUM_CAP_I8),
        [PUM_VK_FEATURE_timeline] = bits & PUM_CAP_TIMELINE,
        [PUM_VK_FEATURE_query_reset] = bits & PUM_CAP_HOST_QUERY_RESET,
        [PUM_VK_FEATURE_memory_model] = bits & PUM_CAP_COOP,
        [PUM_VK_FEATURE_size_control] = bits & (PUM_CAP_SUBGROUP_SIZE_CONTROL | PUM_CAP_FULL_SUBGROUPS),
        [PUM_VK_FEATURE_dot8] = bits & PUM_CAP_DOT8,
        [PUM_VK_FEATURE_coop] = bits & PUM_CAP_COOP,
    };
    for (uint32_t i = 0; i < PUM_VK_FEATURE_COUNT; i++) {
        f->known[i] = f->known[i] && used[i];
        if (f->known[i] && f->extension[i]) out_extensions[n++] = f->extension[i];
    }
    if (bits & PUM_CAP_MEMORY_BUDGET) out_extensions[n++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    if (bits & PUM_CAP_HOST_IMPORT) out_extensions[n++] = VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME;
    if (snapshot->portability) out_extensions[n++] = "VK_KHR_portability_subset";
    chain_features(f);
    f->storage16.storageBuffer16BitAccess = VK_TRUE;
    f->storage8.storageBuffer8BitAccess = VK_TRUE;
    f->float16.shaderFloat16 = (bits & PUM_CAP_F16) != 0;
    f->float16.shaderInt8 = (bits & PUM_CAP_I8) != 0;
    f->timeline.timelineSemaphore = VK_TRUE;
    f->query_reset.hostQueryReset = VK_TRUE;
    f->memory_model.vulkanMemoryModel = VK_TRUE;
    f->size_control.subgroupSizeControl = (bits & PUM_CAP_SUBGROUP_SIZE_CONTROL) != 0;
    f->size_control.computeFullSubgroups = (bits & PUM_CAP_FULL_SUBGROUPS) != 0;
    f->dot8.shaderIntegerDotProduct = VK_TRUE;
    f->coop.cooperativeMatrix = VK_TRUE;
    *out_count = n;
    return &f->head;
}

/* ---- properties ---- */

typedef struct properties {
    VkPhysicalDeviceProperties2 head;
    VkPhysicalDeviceIDProperties id;
    VkPhysicalDeviceSubgroupProperties subgroup;
    VkPhysicalDeviceMaintenance3Properties maintenance3;
    VkPhysicalDeviceDriverProperties driver;
    VkPhysicalDeviceMaintenance4Properties maintenance4;
    VkPhysicalDeviceSubgroupSizeControlProperties size_control;
    VkPhysicalDeviceShaderIntegerDotProductProperties dot8;
    VkPhysicalDeviceExternalMemoryHostPropertiesEXT host;
} properties;

static void read_properties(const pum_vk_instance *vi, const pum_vk_snapshot *s,
                            const extension_list *extensions, properties *p)
{
    *p = (properties){ .head.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2 };
    bool v12 = s->version >= VK_API_VERSION_1_2, v13 = s->version >= VK_API_VERSION_1_3;
#define CHAIN(member, type, when)                                                                  \
    if (when) {                                                                                    \
        p->member.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_##type##_PROPERTIES;                   \
        p->member.pNext = p->head.pNext;                                                           \
        p->head.pNext = &p->member;                                                                \
    }
    CHAIN(id, ID, true)
    CHAIN(subgroup, SUBGROUP, true)
    CHAIN(maintenance3, MAINTENANCE_3, true)
    CHAIN(driver, DRIVER, v12 || has_extension(extensions, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME))
    CHAIN(maintenance4, MAINTENANCE_4,
          v13 || has_extension(extensions, VK_KHR_MAINTENANCE_4_EXTENSION_NAME))
    CHAIN(size_control, SUBGROUP_SIZE_CONTROL, s->features.known[PUM_VK_FEATURE_size_control])
    if (has_extension(extensions, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME)) {
        p->host.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT;
        p->host.pNext = p->head.pNext;
        p->head.pNext = &p->host;
    }
    CHAIN(dot8, SHADER_INTEGER_DOT_PRODUCT, s->features.known[PUM_VK_FEATURE_dot8])
#undef CHAIN
    vi->f.vkGetPhysicalDeviceProperties2(s->physical, &p->head);
}

static pumice_device_kind kind_of(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return PUMICE_DEVICE_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return PUMICE_DEVICE_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return PUMICE_DEVICE_VIRTUAL;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return PUMICE_DEVICE_SOFTWARE;
    default:
        return PUMICE_DEVICE_OTHER;
    }
}

static void uuid_text(const uint8_t uuid[VK_UUID_SIZE], char out[33])
{
    for (uint32_t i = 0; i < VK_UUID_SIZE; i++) snprintf(out + 2 * i, 3, "%02x", uuid[i]);
}

static void fill_identity(const VkPhysicalDeviceProperties *p, pum_caps *c)
{
    snprintf(c->name, sizeof c->name, "%s", p->deviceName);
    c->vendor_id = p->vendorID;
    c->device_id = p->deviceID;
    c->driver_version = p->driverVersion;
    c->api_version = p->apiVersion;
    c->kind = kind_of(p->deviceType);
    snprintf(c->driver_name, sizeof c->driver_name, "driver version 0x%08x", p->driverVersion);
}

static void fill_limits(const properties *p, pum_vk_snapshot *s)
{
    const VkPhysicalDeviceLimits *l = &p->head.properties.limits;
    pum_caps *c = &s->caps;
    uuid_text(p->id.deviceUUID, s->uuid);
    memcpy(s->cache_uuid, p->head.properties.pipelineCacheUUID, VK_UUID_SIZE);
    s->atom_bytes = PUM_MAX(l->nonCoherentAtomSize, 1u);
    if (p->driver.sType) {
        c->driver_id = p->driver.driverID;
        snprintf(c->driver_name, sizeof c->driver_name, "%.120s%s%.120s", p->driver.driverName,
                 p->driver.driverInfo[0] ? " " : "", p->driver.driverInfo);
    }
    s->subgroup_size = p->subgroup.subgroupSize;
    c->subgroup_size = c->subgroup_min = c->subgroup_max = p->subgroup.subgroupSize;
    if (p->size_control.sType && p->size_control.minSubgroupSize) {
        c->subgroup_min = p->size_control.minSubgroupSize;
        c->subgroup_max = p->size_control.maxSubgroupSize;
    }
    c->max_workgroup_invocations = l->maxComputeWorkGroupInvocations;
    for (int i = 0; i < 3; i++) {
        c->max_workgroup_size[i] = l->maxComputeWorkGroupSize[i];
        c->max_workgroup_count[i] = l->maxComputeWorkGroupCount[i];
    }
    c->shared_memory_bytes = l->maxComputeSharedMemorySize;
    c->max_push_bytes = l->maxPushConstantsSize;
    c->max_storage_buffers = PUM_MIN(l->maxPerStageDescriptorStorageBuffers,
                                     l->maxDescriptorSetStorageBuffers);
    c->max_storage_buffers = PUM_MIN(c->max_storage_buffers, l->maxPerStageResources);
    c->max_buffer_range_bytes = l->maxStorageBufferRange;
    c->max_allocation_bytes = p->maintenance3.maxMemoryAllocationSize;
    if (p->maintenance4.sType && p->maintenance4.maxBufferSize) {
        c->max_allocation_bytes = PUM_MIN(c->max_allocation_bytes, p->maintenance4.maxBufferSize);
    }
    c->max_texel_bytes = (uint64_t)l->maxTexelBufferElements * PUM_TEXEL_BYTES;
    /* any range may be bound either way */
    c->offset_align_bytes = (uint32_t)PUM_MAX(
        PUM_MAX(l->minStorageBufferOffsetAlignment, l->minTexelBufferOffsetAlignment), 1u);
    if (s->timestamp_bits && l->timestampPeriod > 0 && l->timestampPeriod < 1e9f) {
        c->timestamp_period_ns = (double)l->timestampPeriod;
    }
}

/* A compute-only family keeps out of the way of the desktop's graphics; else the first that
 * computes. */
static bool choose_compute(const VkQueueFamilyProperties2 *q, uint32_t count, pum_vk_snapshot *s)
{
    for (int graphics = 0; graphics < 2; graphics++) {
        for (uint32_t i = 0; i < count; i++) {
            VkQueueFlags flags = q[i].queueFamilyProperties.queueFlags;
            if (!(flags & VK_QUEUE_COMPUTE_BIT) || (!graphics && (flags & VK_QUEUE_GRAPHICS_BIT))) {
                continue;
            }
            s->queue_family = i;
            s->timestamp_bits = q[i].queueFamilyProperties.timestampValidBits;
            return true;
        }
    }
    return false;
}

/* A family that does nothing but copy (video engines copy too, but are not for this). Where a wish
 * emulates it: the compute family's second queue, or its only one. */
static void choose_transfer(const VkQueueFamilyProperties2 *q, uint32_t count, pum_vk_snapshot *s)
{
    const VkQueueFlags idle = VK_QUEUE_SPARSE_BINDING_BIT | VK_QUEUE_PROTECTED_BIT;
    s->transfer_family = s->queue_family;
    s->transfer_index = q[s->queue_family].queueFamilyProperties.queueCount > 1;
    for (uint32_t i = 0; i < count; i++) {
        VkQueueFlags flags = q[i].queueFamilyProperties.queueFlags & ~idle;
        if (flags != VK_QUEUE_TRANSFER_BIT || !q[i].queueFamilyProperties.queueCount) continue;
        s->transfer_family = i;
        s->transfer_index = 0;
        s->caps.bits |= PUM_CAP_TRANSFER;
        return;
    }
}

static pumice_status choose_queues(const pum_vk_instance *vi, pum_vk_snapshot *s, bool *out_found,
                                   pumice_error *err)
{
    uint32_t count = 0;
    *out_found = false;
    vi->f.vkGetPhysicalDeviceQueueFamilyProperties2(s->physical, &count, NULL);
    if (!count) return PUMICE_OK;
    VkQueueFamilyProperties2 *q = pum_alloc_array(count, sizeof *q);
    if (!q) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to list queue families");
    for (uint32_t i = 0; i < count; i++) q[i].sType = VK_STRUCTURE_TYPE_QUEUE_FAMILY_PROPERTIES_2;
    vi->f.vkGetPhysicalDeviceQueueFamilyProperties2(s->physical, &count, q);
    *out_found = choose_compute(q, count, s);
    if (*out_found) choose_transfer(q, count, s);
    pum_free(q);
    return PUMICE_OK;
}

/* ---- memory ---- */

uint64_t pum_vk_heap_free_bytes(const pum_vk_instance *instance, const pum_vk_snapshot *snapshot,
                                uint32_t heap)
{
    if (!(snapshot->caps.bits & PUM_CAP_MEMORY_BUDGET)) return UINT64_MAX;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT
    };
    VkPhysicalDeviceMemoryProperties2 p = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget
    };
    instance->f.vkGetPhysicalDeviceMemoryProperties2(snapshot->physical, &p);
    uint64_t all = budget.heapBudget[heap], used = budget.heapUsage[heap];
    return all > used ? all - used : 0;
}

static void read_memory(const pum_vk_instance *vi, pum_vk_snapshot *s)
{
    VkPhysicalDeviceMemoryProperties2 p = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2
    };
    vi->f.vkGetPhysicalDeviceMemoryProperties2(s->physical, &p);
    s->memory = p.memoryProperties;
    pum_caps *c = &s->caps;
    uint32_t largest = 0;
    bool all_visible = true;
    for (uint32_t h = 0; h < s->memory.memoryHeapCount; h++) {
        if (!(s->memory.memoryHeaps[h].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)) continue;
        if (s->memory.memoryHeaps[h].size > c->local_heap_bytes) {
            c->local_heap_bytes = s->memory.memoryHeaps[h].size;
            largest = h;
        }
        bool visible = false;
        for (uint32_t t = 0; t < s->memory.memoryTypeCount; t++) {
            VkMemoryPropertyFlags flags = s->memory.memoryTypes[t].propertyFlags;
            VkMemoryPropertyFlags both = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
                                         | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
            if (s->memory.memoryTypes[t].heapIndex == h && (flags & both) == both) visible = true;
        }
        all_visible = all_visible && visible;
    }
    /* A discrete GPU may show all its memory through a resizable BAR, but reading that is slow and
     * writing it moves nothing faster than a copy does: staging is right there. */
    if (all_visible && c->local_heap_bytes && c->kind != PUMICE_DEVICE_DISCRETE
        && c->kind != PUMICE_DEVICE_VIRTUAL) {
        c->bits |= PUM_CAP_UNIFIED;
    }
    uint64_t left = pum_vk_heap_free_bytes(vi, s, largest);
    c->local_budget_bytes = left == UINT64_MAX ? c->local_heap_bytes : left;
}

/* ---- cooperative matrices ---- */

/* The first f16 x f16 -> f32 product of a subgroup; 16 x 16 x 16 is preferred. None is no fault. */
static void read_coop(const pum_vk_instance *vi, pum_vk_snapshot *s)
{
    enum { FLOAT16 = 0, FLOAT32 = 1, SUBGROUP = 3, MOST = 256 };
    const VkStructureType stype = (VkStructureType)1000506001;
    uint32_t count = 0;
    pum_caps *c = &s->caps;
    if (!s->features.coop.cooperativeMatrix || !vi->f.get_coop_products ||
        vi->f.get_coop_products(s->physical, &count, NULL) < VK_SUCCESS || !count) {
        return;
    }
    count = PUM_MIN(count, (uint32_t)MOST);
    pum_vk_coop_product *list = pum_alloc_array(count, sizeof *list);
    if (!list) return;
    for (uint32_t i = 0; i < count; i++) list[i].sType = stype;
    if (vi->f.get_coop_products(s->physical, &count, list) < VK_SUCCESS) count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const pum_vk_coop_product *p = &list[i];
        bool fits = p->a_type == FLOAT16 && p->b_type == FLOAT16 && p->c_type == FLOAT32 &&
                    p->result_type == FLOAT32 && p->scope == SUBGROUP;
        bool best = p->m == 16 && p->n == 16 && p->k == 16;
        if (!fits || (c->coop_m && !best)) continue;
        c->coop_m = p->m;
        c->coop_n = p->n;
        c->coop_k = p->k;
    }
    pum_free(list);
}

/* ---- the verdict ---- */

static void fill_bits(const properties *p, const extension_list *extensions, pum_vk_snapshot *s)
{
    const pum_vk_features *f = &s->features;
    const VkSubgroupFeatureFlags needed = VK_SUBGROUP_FEATURE_BASIC_BIT
                                          | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT
                                          | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    const struct {
        uint32_t bit;
        bool present;
    } rows[] = {
        { PUM_CAP_SUBGROUP, (p->subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT)
                                && (p->subgroup.supportedOperations & needed) == needed },
        { PUM_CAP_F16, f->storage16.storageBuffer16BitAccess && f->float16.shaderFloat16 },
        { PUM_CAP_I8, f->storage8.storageBuffer8BitAccess && f->float16.shaderInt8 },
        { PUM_CAP_DOT8, f->dot8.shaderIntegerDotProduct },
        { PUM_CAP_DOT8_FAST, f->dot8.shaderIntegerDotProduct
                                 && p->dot8.integerDotProduct4x8BitPackedSignedAccelerated },
        { PUM_CAP_COOP, s->caps.coop_m && f->memory_model.vulkanMemoryModel },
        /* the required minimum is 1 MiB: not worth cutting weights for */
        { PUM_CAP_TEXEL, s->caps.max_texel_bytes >= 64ull << 20 },
        { PUM_CAP_TIMELINE, f->timeline.timelineSemaphore },
        { PUM_CAP_TIMESTAMPS, s->caps.timestamp_period_ns > 0 },
        { PUM_CAP_MEMORY_BUDGET, has_extension(extensions, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME) },
        { PUM_CAP_SUBGROUP_SIZE_CONTROL,
          f->size_control.subgroupSizeControl
              && (p->size_control.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) },
        { PUM_CAP_FULL_SUBGROUPS, f->size_control.computeFullSubgroups },
        { PUM_CAP_HOST_QUERY_RESET, f->query_reset.hostQueryReset },
        { PUM_CAP_REPACK, true },
        { PUM_CAP_HOST_IMPORT, p->host.sType && p->host.minImportedHostPointerAlignment <= PUM_VK_PAGE_BYTES },
    };
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        if (rows[i].present) s->caps.bits |= rows[i].bit;
    }
}

/* The least Pumice needs. Numbers are Vulkan's required minimum but for the storage buffers (4
 * there). */
static void judge(const pum_caps *c, bool has_queue, char why_not[128])
{
    const struct {
        const char *what;
        uint64_t have, need;
    } rows[] = {
        { "queues that compute", has_queue, 1 },
        { "storage buffers per shader", c->max_storage_buffers, PUM_MAX_BINDINGS },
        { "bytes of push constants", c->max_push_bytes, PUM_MAX_ARGS_BYTES },
        { "invocations per workgroup", c->max_workgroup_invocations, 128 },
        { "bytes of shared memory", c->shared_memory_bytes, 16384 },
    };
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        if (rows[i].have >= rows[i].need) continue;
        snprintf(why_not, 128, "it has %llu %s, but %llu are needed",
                 (unsigned long long)rows[i].have, rows[i].what, (unsigned long long)rows[i].need);
        return;
    }
}

pumice_status pum_vk_snapshot_make(const pum_vk_instance *instance, VkPhysicalDevice physical,
                                   const pum_vk_params *params, pum_vk_snapshot *out_snapshot,
                                   pumice_error *err)
{
    const pum_vk_instance *vi = instance;
    pum_vk_snapshot *s = out_snapshot;
    pum_caps_wishes wishes = params->wishes;
    wishes.disable_bits |= params->disable_bits;
    *s = (pum_vk_snapshot){ .physical = physical };
    VkPhysicalDeviceProperties basic;
    vi->f.vkGetPhysicalDeviceProperties(physical, &basic);
    fill_identity(&basic, &s->caps);
    memset(s->uuid, '0', 32);
    s->version = PUM_MIN(basic.apiVersion, vi->version);
    if (s->version < VK_API_VERSION_1_1) { /* nothing below may be called on it */
        s->caps.family = pum_family_find(&s->caps);
        snprintf(s->why_not, sizeof s->why_not, "its driver has Vulkan 1.0, but 1.1 is needed");
        return PUMICE_OK;
    }
    extension_list extensions;
    bool has_queue = false;
    properties p;
    PUM_TRY(list_extensions(vi, physical, &extensions, err));
    pumice_status status;
    PUM_GOTO(choose_queues(vi, s, &has_queue, err));
    read_features(vi, s, &extensions);
    read_properties(vi, s, &extensions, &p);
    fill_limits(&p, s);
    read_coop(vi, s);
    fill_bits(&p, &extensions, s);
    read_memory(vi, s);
    s->portability = has_extension(&extensions, "VK_KHR_portability_subset");
    s->caps.family = pum_family_find(&s->caps);
    s->caps.subgroup_size = pum_tuning_subgroup(&s->caps);
    pum_caps_wishes_apply(&wishes, &s->caps);
    judge(&s->caps, has_queue, s->why_not);
fail:
    pum_free(extensions.data);
    return status;
}
