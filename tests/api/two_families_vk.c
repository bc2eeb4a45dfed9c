/* SPDX-License-Identifier: Apache-2.0
 * Handles of the second family are the first one's, but for the queue, which is an address of this file. */
#include "two_families_vk.h"

#include <stdio.h>
#include <string.h>

#include "fault_vk.h"

enum { MOST = 64 };

static PFN_vkGetInstanceProcAddr next_get;
static PFN_vkGetDeviceProcAddr next_get_device;
static struct {
    uint32_t family; /* the pretended one's index */
    VkQueue real;
    VkCommandPool pool;
    VkCommandBuffer commands[MOST]; /* of that pool, the last ones */
    unsigned n_commands, uploads, waits, faults;
    VkQueue last_queue;
    uint64_t last_value; /* signalled by the last submit */
} at;
static char copying_queue[64]; /* its address is the queue */
#define COPYING ((VkQueue)(void *)copying_queue)

static void rule(bool kept, const char *text)
{
    if (kept) return;
    printf("two families: %s\n", text);
    at.faults++;
}

#define NEXT() \
    X(vkGetPhysicalDeviceQueueFamilyProperties2) X(vkCreateDevice) X(vkGetDeviceQueue) X(vkCreateBuffer) \
    X(vkCreateCommandPool) X(vkAllocateCommandBuffers) X(vkCmdPipelineBarrier) X(vkCmdDispatch) \
    X(vkCmdDispatchIndirect) X(vkQueueSubmit) X(vkQueueWaitIdle)
#define X(name) static PFN_##name next_##name;
NEXT()
#undef X

static bool is_copying(VkCommandBuffer commands)
{
    for (unsigned i = 0; i < at.n_commands && i < MOST; i++) {
        if (at.commands[i] == commands) return true;
    }
    return false;
}

static VKAPI_ATTR void VKAPI_CALL my_vkGetPhysicalDeviceQueueFamilyProperties2(VkPhysicalDevice device, uint32_t *count,
                                                                               VkQueueFamilyProperties2 *out)
{
    uint32_t real = *count - 1;
    if (!out) {
        next_vkGetPhysicalDeviceQueueFamilyProperties2(device, count, NULL);
        at.family = (*count)++;
        return;
    }
    next_vkGetPhysicalDeviceQueueFamilyProperties2(device, &real, out);
    out[real].queueFamilyProperties = (VkQueueFamilyProperties){ .queueFlags = VK_QUEUE_TRANSFER_BIT, .queueCount = 1 };
    *count = real + 1;
}

static VKAPI_ATTR VkResult VKAPI_CALL my_vkCreateDevice(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                        const VkAllocationCallbacks *allocator, VkDevice *out)
{
    VkDeviceCreateInfo real = *info;
    rule(info->queueCreateInfoCount == 2 && info->pQueueCreateInfos[1].queueFamilyIndex == at.family,
         "the device is made without the copying queue");
    real.queueCreateInfoCount = 1;
    at.n_commands = 0;
    at.pool = VK_NULL_HANDLE;
    at.last_queue = VK_NULL_HANDLE;
    at.last_value = 0;
    return next_vkCreateDevice(physical, &real, allocator, out);
}

static VKAPI_ATTR void VKAPI_CALL my_vkGetDeviceQueue(VkDevice device, uint32_t family, uint32_t index, VkQueue *out)
{
    if (family != at.family) {
        next_vkGetDeviceQueue(device, family, index, out);
        at.real = *out;
    } else {
        *out = COPYING;
    }
}

static VKAPI_ATTR VkResult VKAPI_CALL my_vkCreateBuffer(VkDevice device, const VkBufferCreateInfo *info,
                                                        const VkAllocationCallbacks *allocator, VkBuffer *out)
{
    VkBufferCreateInfo real = *info;
    bool both = info->sharingMode == VK_SHARING_MODE_CONCURRENT && info->queueFamilyIndexCount == 2 &&
                info->pQueueFamilyIndices[0] != info->pQueueFamilyIndices[1];
    rule(both, "a buffer is not for both families");
    real.sharingMode = VK_SHARING_MODE_EXCLUSIVE;
    real.queueFamilyIndexCount = 0;
    return next_vkCreateBuffer(device, &real, allocator, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL my_vkCreateCommandPool(VkDevice device, const VkCommandPoolCreateInfo *info,
                                                             const VkAllocationCallbacks *allocator, VkCommandPool *out)
{
    VkCommandPoolCreateInfo real = *info;
    if (info->queueFamilyIndex == at.family) real.queueFamilyIndex = 0;
    VkResult r = next_vkCreateCommandPool(device, &real, allocator, out);
    if (r == VK_SUCCESS && info->queueFamilyIndex == at.family) {
        at.pool = *out;
        at.n_commands = 0;
    }
    return r;
}

static VKAPI_ATTR VkResult VKAPI_CALL my_vkAllocateCommandBuffers(VkDevice device,
                                                                  const VkCommandBufferAllocateInfo *info,
                                                                  VkCommandBuffer *out)
{
    VkResult r = next_vkAllocateCommandBuffers(device, info, out);
    for (uint32_t i = 0; r == VK_SUCCESS && info->commandPool == at.pool && i < info->commandBufferCount; i++) {
        at.commands[at.n_commands++ % MOST] = out[i];
    }
    return r;
}

static VKAPI_ATTR void VKAPI_CALL my_vkCmdPipelineBarrier(VkCommandBuffer commands, VkPipelineStageFlags from,
                                                          VkPipelineStageFlags to, VkDependencyFlags flags, uint32_t n,
                                                          const VkMemoryBarrier *barriers, uint32_t n_buffers,
                                                          const VkBufferMemoryBarrier *buffers, uint32_t n_images,
                                                          const VkImageMemoryBarrier *images)
{
    const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT | VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT |
                                        VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT |
                                        VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    const VkAccessFlags accesses = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT |
                                   VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT | VK_ACCESS_MEMORY_READ_BIT |
                                   VK_ACCESS_MEMORY_WRITE_BIT;
    if (is_copying(commands)) {
        rule(!((from | to) & ~stages), "a barrier of the copying queue names a stage that it has not");
        for (uint32_t i = 0; i < n; i++) {
            rule(!((barriers[i].srcAccessMask | barriers[i].dstAccessMask) & ~accesses),
                 "a barrier of the copying queue names an access that it has not");
        }
    }
    next_vkCmdPipelineBarrier(commands, from, to, flags, n, barriers, n_buffers, buffers, n_images, images);
}

static VKAPI_ATTR void VKAPI_CALL my_vkCmdDispatch(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z)
{
    rule(!is_copying(commands), "the copying queue is to compute");
    next_vkCmdDispatch(commands, x, y, z);
}

static VKAPI_ATTR void VKAPI_CALL my_vkCmdDispatchIndirect(VkCommandBuffer commands, VkBuffer b, VkDeviceSize offset)
{
    rule(!is_copying(commands), "the copying queue is to compute");
    next_vkCmdDispatchIndirect(commands, b, offset);
}

static VKAPI_ATTR VkResult VKAPI_CALL my_vkQueueSubmit(VkQueue queue, uint32_t count, const VkSubmitInfo *info,
                                                       VkFence fence)
{
    const VkTimelineSemaphoreSubmitInfo *values = info->pNext;
    bool changed = at.last_queue && at.last_queue != queue, waits = info->waitSemaphoreCount == 1;
    rule(count == 1 && values && info->signalSemaphoreCount == 1, "a submit does not signal the timeline");
    for (uint32_t i = 0; i < info->commandBufferCount; i++) {
        rule(is_copying(info->pCommandBuffers[i]) == (queue == COPYING), "commands go to a queue of another family");
    }
    rule(!changed || (waits && values->pWaitSemaphoreValues[0] == at.last_value &&
                      info->pWaitSemaphores[0] == info->pSignalSemaphores[0]),
         "a queue does not wait for the other");
    VkResult r = next_vkQueueSubmit(queue == COPYING ? at.real : queue, count, info, fence);
    if (r != VK_SUCCESS) return r;
    at.uploads += queue == COPYING;
    at.waits += waits;
    at.last_queue = queue;
    at.last_value = values->pSignalSemaphoreValues[0];
    return r;
}

static VKAPI_ATTR VkResult VKAPI_CALL my_vkQueueWaitIdle(VkQueue queue)
{
    return next_vkQueueWaitIdle(queue == COPYING ? at.real : queue);
}

static PFN_vkVoidFunction mine(const char *name, PFN_vkVoidFunction next)
{
#define X(call) \
    if (strcmp(name, #call) == 0) { \
        next_##call = (PFN_##call)next; \
        return (PFN_vkVoidFunction)my_##call; \
    }
    NEXT()
#undef X
    return next;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice device, const char *name)
{
    PFN_vkVoidFunction next = next_get_device(device, name);
    return next ? mine(name, next) : NULL;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction next = next_get(instance, name);
    if (!next) return NULL;
    if (strcmp(name, "vkGetInstanceProcAddr") == 0) return (PFN_vkVoidFunction)get;
    if (strcmp(name, "vkGetDeviceProcAddr") == 0) {
        next_get_device = (PFN_vkGetDeviceProcAddr)next;
        return (PFN_vkVoidFunction)get_device;
    }
    return mine(name, next);
}

void *two_families_vk_loader(void)
{
    union {
        void *object;
        PFN_vkGetInstanceProcAddr function;
    } next = { fault_vk_loader() }, result = { .function = get };
    next_get = next.function;
    return next.object ? result.object : NULL;
}

void two_families_vk_begin(void) { at.uploads = at.waits = at.faults = 0; }

unsigned two_families_vk_uploads(void) { return at.uploads; }

unsigned two_families_vk_waits(void) { return at.waits; }

unsigned two_families_vk_faults(void) { return at.faults; }
