/* SPDX-License-Identifier: Apache-2.0
 * A module is known by the address of its words: the library creates modules from its table alone. */
#include "subgroups_vk.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "caps.h"
#include "fault_vk.h"
#include "kernel.h"

enum { SIZE_CONSTANT = 99, HEADER_WORDS = 5, OP_DECORATE = 71, OP_SPEC_CONSTANT = 50, SPEC_ID = 1 };

static uint32_t wanted, own = 1;
static atomic_uint emulated, not_emulated;
static uint32_t *patched[PUM_KERNEL_COUNT]; /* copies with the size, made when first asked for and kept */
static uint32_t patched_size[PUM_KERNEL_COUNT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The default of the constant SUB_SIZE becomes the size: pipelines are not told of that constant. */
static bool write_size(uint32_t *words, size_t count, uint32_t size)
{
    uint32_t id = 0;
    for (size_t at = HEADER_WORDS; at < count && words[at] >> 16; at += words[at] >> 16) {
        uint32_t op = words[at] & 0xffff;
        if (op == OP_DECORATE && words[at + 2] == SPEC_ID && words[at + 3] == SIZE_CONSTANT) id = words[at + 1];
        if (op != OP_SPEC_CONSTANT || !id || words[at + 2] != id) continue;
        words[at + 3] = size;
        return true;
    }
    return false;
}

static const uint32_t *with_size(int kernel)
{
    const pum_spirv *code = &subgroups_vk_spirv[kernel];
    pthread_mutex_lock(&lock);
    if (!patched[kernel]) patched[kernel] = malloc(code->bytes);
    if (patched[kernel] && patched_size[kernel] != wanted) {
        memcpy(patched[kernel], code->words, code->bytes);
        bool found = write_size(patched[kernel], code->bytes / 4, wanted);
        patched_size[kernel] = found ? wanted : 0;
        if (!found) fprintf(stderr, "%s has no size of subgroups to set\n", pum_kernels[kernel].name);
    }
    const uint32_t *words = patched_size[kernel] == wanted ? patched[kernel] : NULL;
    pthread_mutex_unlock(&lock);
    return words;
}

static void emulate(VkShaderModuleCreateInfo *code)
{
    int kernel = 0;
    while (kernel < PUM_KERNEL_COUNT && pum_kernel_spirv[kernel].words != code->pCode) kernel++;
    if (kernel == PUM_KERNEL_COUNT || pum_kernels[kernel].tier != PUM_TIER_SUB) return;
    const uint32_t *words = subgroups_vk_spirv[kernel].words ? with_size(kernel) : NULL;
    atomic_fetch_add(words ? &emulated : &not_emulated, 1);
    if (!words) return;
    code->pCode = words;
    code->codeSize = subgroups_vk_spirv[kernel].bytes;
}

static void pretend(VkPhysicalDeviceProperties2 *p)
{
    VkPhysicalDeviceProperties *basic = &p->properties;
    basic->vendorID = basic->deviceID = 0;
    snprintf(basic->deviceName, sizeof basic->deviceName, "emulated subgroups of %u", wanted);
    basic->limits.maxTexelBufferElements = 65536; /* what Vulkan requires */
    for (VkBaseOutStructure *s = p->pNext; s; s = s->pNext) {
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES) {
            own = ((VkPhysicalDeviceSubgroupProperties *)s)->subgroupSize;
            ((VkPhysicalDeviceSubgroupProperties *)s)->subgroupSize = wanted;
        } else if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES) {
            VkPhysicalDeviceSubgroupSizeControlProperties *sizes = (void *)s;
            sizes->minSubgroupSize = sizes->maxSubgroupSize = wanted;
        } else if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES) {
            ((VkPhysicalDeviceDriverProperties *)s)->driverID = 0;
        }
    }
}

void *subgroups_vk_loader(uint32_t size)
{
    wanted = size;
    atomic_store(&emulated, 0);
    atomic_store(&not_emulated, 0);
    fault_vk_pretend_properties(pretend);
    fault_vk_pretend_code(emulate);
    return fault_vk_loader();
}

uint32_t subgroups_vk_own(void) { return own; }

unsigned subgroups_vk_emulated(void) { return atomic_load(&emulated); }
unsigned subgroups_vk_not_emulated(void) { return atomic_load(&not_emulated); }
