/* SPDX-License-Identifier: Apache-2.0
 * A Vulkan loader that fails on demand: a vkGetInstanceProcAddr which wraps the system loader's and
 * makes the n-th call that returns a VkResult fail, counts live objects, and can pretend to be
 * older or weaker than it is. For pumice_device_params.get_instance_proc_addr and
 * pum_vk_params.get_instance_proc_addr. State is global: one test at a time; calls may come from
 * any thread. */
#ifndef FAULT_VK_H
#define FAULT_VK_H

#include <stdbool.h>

#define VK_NO_PROTOTYPES
#include <volk.h>

/* The loader to hand to Pumice; NULL where the system has none. */
void *fault_vk_loader(void);

/* Starts counting anew: call number `nth` (from 1) returns `error` instead of being made; 0 = none
 * fails. After VK_ERROR_DEVICE_LOST every later call on the queue fails the same way, as on a
 * device that is really gone. */
void fault_vk_arm(long nth, VkResult error);
/* The first call of this name from now on returns `error`. */
void fault_vk_arm_name(const char *name, VkResult error);
/* Calls since the last fault_vk_arm. */
long fault_vk_calls(void);
/* Name of the call that was made to fail since the last fault_vk_arm, NULL if none. */
const char *fault_vk_failed(void);
/* Vulkan objects and memory blocks that were created and not destroyed. */
long fault_vk_live(void);

/* Every submit from now on takes `us` microseconds longer; 0 = as long as it takes. How many were so
 * delayed at the same time since then, at most: on how many devices work was under way. */
void fault_vk_delay(unsigned us);
int fault_vk_together(void);

/* Pretends. All of it ends with fault_vk_honest. */
void fault_vk_honest(void);
void fault_vk_pretend_version(
    uint32_t api_version); /* what vkEnumerateInstanceVersion says; 0 = it does not exist */
/* Also asked for the first of the properties alone, without a chain. */
void fault_vk_pretend_properties(void (*edit)(VkPhysicalDeviceProperties2 *properties));
void fault_vk_pretend_memory(void (*edit)(VkPhysicalDeviceMemoryProperties *memory));
/* What a shader module is made from, from a copy of what the caller said; any thread. */
void fault_vk_pretend_code(void (*edit)(VkShaderModuleCreateInfo *code));
/* Shown every compute pipeline that is asked for, on any thread, until fault_vk_honest. */
void fault_vk_watch_pipelines(void (*see)(const VkComputePipelineCreateInfo *pipeline));

#endif
