/* SPDX-License-Identifier: Apache-2.0
 * Opening a device: which of the machine's devices a `select` string means, and the VkDevice with
 * its parts. What a device can do was judged by snapshot.c; nothing is decided about memory,
 * pipelines or submits here. */
#include "vk_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- listing ---- */

pumice_status pum_vk_list(const pum_vk_params *params, pum_vk_visit visit, void *user,
                          pumice_error *err)
{
    pum_vk_instance instance;
    pumice_status status = pum_vk_instance_create(params, &instance, err);
    if (status != PUMICE_OK) return status;
    pum_vk_snapshot *s = pum_alloc(sizeof *s);
    if (!s) PUM_GOTO(pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to list devices"));
    for (size_t i = 0; i < instance.devices.count; i++) {
        PUM_GOTO(pum_vk_snapshot_make(&instance, instance.devices.data[i], params, s,
                                      err));
        visit(user, (uint32_t)i, &s->caps, s->uuid, s->why_not);
    }
fail:
    pum_free(s);
    pum_vk_instance_destroy(&instance);
    return status;
}

/* ---- selection ---- */

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

static bool same_text(const char *a, const char *b)
{
    while (*a && lower(*a) == lower(*b)) a++, b++;
    return lower(*a) == lower(*b);
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

/* "0", "12": a place in the list. */
static bool is_index(const char *select, uint32_t *out_index)
{
    uint32_t n = 0;
    size_t i = 0;
    for (; i < 4 && select[i] >= '0' && select[i] <= '9'; i++) {
        n = n * 10 + (uint32_t)(select[i] - '0');
    }
    *out_index = n;
    return i > 0 && select[i] == '\0';
}

/* 32 hex digits, dashes allowed anywhere. */
static bool is_uuid(const char *select, char out[33])
{
    size_t n = 0;
    for (; *select; select++) {
        char c = lower(*select);
        if (c == '-') continue;
        if (n == 32 || !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return n == 32;
}

/* Best kind first: what "auto" prefers. */
static int rank_of(pumice_device_kind kind)
{
    switch (kind) {
    case PUMICE_DEVICE_DISCRETE:
        return 5;
    case PUMICE_DEVICE_INTEGRATED:
        return 4;
    case PUMICE_DEVICE_VIRTUAL:
        return 3;
    case PUMICE_DEVICE_OTHER:
        return 2;
    default:
        return 1;
    }
}

typedef enum select_kind {
    SELECT_AUTO,
    SELECT_CPU,
    SELECT_INDEX,
    SELECT_UUID,
    SELECT_NAME
} select_kind;

typedef struct selector {
    select_kind kind;
    const char *text;
    uint32_t index;
    char uuid[33];
} selector;

static selector parse_select(const char *select)
{
    selector s = { .kind = SELECT_AUTO, .text = select ? select : "auto" };
    if (!select || !select[0] || same_text(select, "auto")) return s;
    if (same_text(select, "cpu")) s.kind = SELECT_CPU;
    else if (is_index(select, &s.index)) s.kind = SELECT_INDEX;
    else if (is_uuid(select, s.uuid)) s.kind = SELECT_UUID;
    else s.kind = SELECT_NAME;
    return s;
}

static bool matches(const selector *s, uint32_t index, const pum_vk_snapshot *snapshot)
{
    switch (s->kind) {
    case SELECT_CPU:
        return snapshot->caps.kind == PUMICE_DEVICE_SOFTWARE;
    case SELECT_INDEX:
        return s->index == index;
    case SELECT_UUID:
        return strcmp(s->uuid, snapshot->uuid) == 0;
    case SELECT_NAME:
        return contains(snapshot->caps.name, s->text);
    default:
        return true;
    }
}

/* "auto" takes the best kind, then the largest memory; the others take the first that matches and
 * can be used. */
static bool is_better(const selector *s, const pum_vk_snapshot *a, const pum_vk_snapshot *best)
{
    if (s->kind != SELECT_AUTO) return false;
    int ra = rank_of(a->caps.kind), rb = rank_of(best->caps.kind);
    return ra > rb || (ra == rb && a->caps.local_heap_bytes > best->caps.local_heap_bytes);
}

/* One sentence of what there is instead. */
static pumice_status fail_select(const selector *s, const char *unusable, const pum_text *listing,
                                 pumice_error *err)
{
    const char *there = listing->failed || !listing->data ? "none" : listing->data;
    if (unusable[0] && s->kind == SELECT_AUTO) {
        return pum_fail(err, PUMICE_ERROR_NO_DEVICE, "no Vulkan device here can be used: %s",
                        there);
    }
    if (unusable[0]) {
        return pum_fail(err, PUMICE_ERROR_NO_DEVICE, "the device '%s' cannot be used: %s", s->text,
                        unusable);
    }
    return pum_fail(err, PUMICE_ERROR_NO_DEVICE, "there is no device '%s' among these: %s", s->text,
                    there);
}

static pumice_status choose(pum_vk_device *device, const pum_vk_params *params, pumice_error *err)
{
    const pum_vk_instance *vi = &device->instance;
    selector s = parse_select(params->select);
    pum_text listing = { 0 };
    char unusable[128] = "";
    bool found = false;
    pumice_status status = PUMICE_OK;
    pum_vk_snapshot *candidate = pum_alloc(sizeof *candidate);
    if (!candidate) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to choose a device");
    for (uint32_t i = 0; i < vi->devices.count; i++) {
        PUM_GOTO(
            pum_vk_snapshot_make(vi, vi->devices.data[i], params, candidate, err));
        pum_text_printf(&listing, "%s%u: %s%s%s%s", i ? ", " : "", i, candidate->caps.name,
                        candidate->why_not[0] ? " (" : "", candidate->why_not,
                        candidate->why_not[0] ? ")" : "");
        if (!matches(&s, i, candidate)) continue;
        if (candidate->why_not[0]) {
            if (!unusable[0]) memcpy(unusable, candidate->why_not, sizeof unusable);
        } else if (!found || is_better(&s, candidate, &device->snapshot)) {
            device->snapshot = *candidate;
            device->index = i;
            found = true;
        }
    }
    if (!found) status = fail_select(&s, unusable, &listing, err);
fail:
    pum_text_free(&listing);
    pum_free(candidate);
    return status;
}

/* ---- create ---- */

static pumice_status create_handle(pum_vk_device *device, pumice_error *err)
{
    const char *extensions[PUM_VK_MAX_EXTENSIONS];
    uint32_t n_extensions = 0;
    const pum_vk_snapshot *s = &device->snapshot;
    const float priorities[2] = { 1.0f, 1.0f };
    bool transfer = s->caps.bits & PUM_CAP_TRANSFER, apart = transfer && s->transfer_family != s->queue_family;
    VkDeviceQueueCreateInfo queues[2] = {
        { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
          .queueFamilyIndex = s->queue_family,
          .queueCount = transfer && !apart ? s->transfer_index + 1 : 1,
          .pQueuePriorities = priorities },
        { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
          .queueFamilyIndex = s->transfer_family,
          .queueCount = 1,
          .pQueuePriorities = priorities },
    };
    const void *features = pum_vk_features_enable(&device->snapshot, extensions, &n_extensions);
    VkDeviceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                .pNext = features,
                                .queueCreateInfoCount = apart ? 2 : 1,
                                .pQueueCreateInfos = queues,
                                .enabledExtensionCount = n_extensions,
                                .ppEnabledExtensionNames = extensions };
    pum_vk_lists_lock();
    VkResult r = device->instance.f.vkCreateDevice(device->snapshot.physical, &info, NULL, &device->handle);
    pum_vk_lists_unlock();
    if (r != VK_SUCCESS) {
        device->handle = VK_NULL_HANDLE;
        return pum_vk_fail_early(r, "opening the device", err);
    }
    pum_vk_load_device(&device->instance.f, device->handle, &device->table);
    return PUMICE_OK;
}

pumice_status pum_vk_device_create(const pum_vk_params *params, pum_vk_device **out_device,
                                   pumice_error *err)
{
    *out_device = NULL;
    pum_vk_device *d = pum_alloc(sizeof *d);
    if (!d) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open a device");
    pumice_status status;
    pum_heap_reserve();
    d->log = params->log;
    d->budget_bytes = params->memory_budget_bytes;
    d->replaced = params->replaced;
    PUM_GOTO(pum_vk_instance_create(params, &d->instance, err));
    PUM_GOTO(choose(d, params, err));
    PUM_GOTO(create_handle(d, err));
    PUM_GOTO(pum_vk_queue_init(d, err));
    PUM_GOTO(pum_vk_memory_init(d, err));
    PUM_GOTO(pum_vk_pipelines_init(d, params->cache_dir, err));
    PUM_GOTO(pum_vk_first_use_init(d, err));
    PUM_GOTO(pum_vk_proven_init(d, err));
    pum_vk_twin_init(d, params);
    pum_log_write(&d->log, PUMICE_LOG_INFO, "device %u: %s, %s", d->index, d->snapshot.caps.name,
                  d->snapshot.caps.driver_name);
    *out_device = d;
    return PUMICE_OK;
fail:
    pum_vk_device_destroy(&d);
    return status;
}

void pum_vk_device_destroy(pum_vk_device **device)
{
    if (!device || !*device) return;
    pum_vk_device *d = *device;
    *device = NULL;
    if (d->handle) {
        if (d->have_queue_lock) pum_vk_idle(d);
        if (!atomic_load(&d->lost)) pum_vk_pipeline_cache_save(d);
        pum_vk_first_use_free(d);
        pum_vk_memory_free(d);
        pum_vk_proven_free(d);
        pum_vk_pipelines_free(d);
        pum_vk_queue_free(d);
        pum_vk_lists_lock();
        d->table.vkDestroyDevice(d->handle, NULL);
        pum_vk_lists_unlock();
    }
    pum_vk_instance_destroy(&d->instance);
    pum_free(d);
}

/* ---- facts ---- */

const pum_caps *pum_vk_device_caps(const pum_vk_device *device) { return &device->snapshot.caps; }

const char *pum_vk_device_uuid(const pum_vk_device *device) { return device->snapshot.uuid; }

uint32_t pum_vk_device_index(const pum_vk_device *device) { return device->index; }

const pum_log *pum_vk_device_log(const pum_vk_device *device) { return &device->log; }

uint64_t pum_vk_validation_count(const pum_vk_device *device)
{
    return device->instance.messages ? atomic_load(&device->instance.messages->count) : 0;
}

bool pum_vk_device_is_lost(const pum_vk_device *device) { return atomic_load(&device->lost); }

uint64_t pum_vk_device_used_bytes(const pum_vk_device *device)
{
    return atomic_load(&device->used_bytes);
}

uint64_t pum_vk_device_room_bytes(const pum_vk_device *device)
{
    uint64_t used = atomic_load(&device->used_bytes), room = device->snapshot.caps.local_budget_bytes;
    uint64_t asked = device->budget_bytes > used ? device->budget_bytes - used : 0;
    return device->budget_bytes ? PUM_MIN(asked, room) : room;
}

const struct VolkDeviceTable *pum_vk_table(const pum_vk_device *device) { return &device->table; }

VkDevice pum_vk_handle(const pum_vk_device *device) { return device->handle; }

uint32_t pum_vk_queue_family(const pum_vk_device *device) { return device->snapshot.queue_family; }

uint32_t pum_vk_timestamp_bits(const pum_vk_device *device)
{
    return device->snapshot.caps.bits & PUM_CAP_TIMESTAMPS ? device->snapshot.timestamp_bits : 0;
}

/* ---- names and labels: nothing unless validation brought VK_EXT_debug_utils ---- */

void pum_vk_name(const pum_vk_device *device, VkObjectType type, uint64_t handle, const char *text)
{
    if (!device->instance.messages || !device->instance.f.vkSetDebugUtilsObjectNameEXT) return;
    VkDebugUtilsObjectNameInfoEXT info = { .sType =
                                               VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
                                           .objectType = type,
                                           .objectHandle = handle,
                                           .pObjectName = text };
    pum_vk_lists_lock(); /* a name that is not set is no fault */
    (void)device->instance.f.vkSetDebugUtilsObjectNameEXT(device->handle, &info);
    pum_vk_lists_unlock();
}

void pum_vk_label_begin(const pum_vk_device *device, VkCommandBuffer commands, const char *text)
{
    if (!device->instance.messages || !device->instance.f.vkCmdBeginDebugUtilsLabelEXT) return;
    VkDebugUtilsLabelEXT info = { .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT,
                                  .pLabelName = text };
    device->instance.f.vkCmdBeginDebugUtilsLabelEXT(commands, &info);
}

void pum_vk_label_end(const pum_vk_device *device, VkCommandBuffer commands)
{
    if (!device->instance.messages || !device->instance.f.vkCmdEndDebugUtilsLabelEXT) return;
    device->instance.f.vkCmdEndDebugUtilsLabelEXT(commands);
}
