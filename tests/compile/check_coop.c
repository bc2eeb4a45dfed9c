/* SPDX-License-Identifier: Apache-2.0
 * Shows every kernel with cooperative matrices to a current validator: the layer and the mock driver of Debian's
 * chromium package, which know VK_KHR_cooperative_matrix where the distribution's spirv-val does not. Counts what the
 * validator says of the modules, as they are and as plans for real GPUs specialise them. Then breaks a module, to see
 * that a fault is seen.
 *
 * usage: check_coop      (VK_ICD_FILENAMES and VK_LAYER_PATH chosen by test_coop.py). Exit code 77: not there. */
#define VK_NO_PROTOTYPES
#include <volk.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels_spv.h"
#include "kernel.h"

enum { SKIP = 77, OP_COOP_TYPE = 4456 };

typedef struct coop_features {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix, robust;
} coop_features;

static bool count_messages, quiet;
static int messages;

/* The mock driver has no features, so all that the layer says of those is left out: only SPIR-V's rules count. */
static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT type,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void)severity, (void)type, (void)user;
    const char *id = data->pMessageIdName ? data->pMessageIdName : "";
    bool spirv = strstr(id, "pCode-08737") || strstr(id, "StandaloneSpirv") || strstr(id, "06849");
    if (!count_messages || !spirv) return VK_FALSE;
    messages++;
    if (!quiet) printf("%s: %.600s\n", id, data->pMessage);
    return VK_FALSE;
}

static const VkDebugUtilsMessengerCreateInfoEXT messenger_info = {
    .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
    .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
    .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
    .pfnUserCallback = on_message
};

typedef struct checker {
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    VkDevice device;
    VkDescriptorSetLayout set;
    VkPipelineLayout layout;
} checker;

static bool open_device(checker *c)
{
    const char *layer = "VK_LAYER_KHRONOS_validation", *debug = VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
               *coop = "VK_KHR_cooperative_matrix";
    VkApplicationInfo app = { .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_3 };
    VkInstanceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                  .pNext = &messenger_info,
                                  .pApplicationInfo = &app,
                                  .enabledLayerCount = 1,
                                  .ppEnabledLayerNames = &layer,
                                  .enabledExtensionCount = 1,
                                  .ppEnabledExtensionNames = &debug };
    uint32_t one = 1;
    VkPhysicalDevice physical;
    if (volkInitialize() != VK_SUCCESS || vkCreateInstance(&info, NULL, &c->instance) != VK_SUCCESS) return false;
    volkLoadInstance(c->instance);
    vkCreateDebugUtilsMessengerEXT(c->instance, &messenger_info, NULL, &c->messenger);
    if (vkEnumeratePhysicalDevices(c->instance, &one, &physical) < VK_SUCCESS || !one) return false;
    coop_features f = { .sType = (VkStructureType)1000506000, .cooperativeMatrix = VK_TRUE };
    VkPhysicalDeviceVulkan12Features f12 = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                             .pNext = &f,
                                             .vulkanMemoryModel = VK_TRUE,
                                             .shaderFloat16 = VK_TRUE };
    float priority = 1.0f;
    VkDeviceQueueCreateInfo queue = { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                      .queueCount = 1,
                                      .pQueuePriorities = &priority };
    VkDeviceCreateInfo device = { .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                  .pNext = &f12,
                                  .queueCreateInfoCount = 1,
                                  .pQueueCreateInfos = &queue,
                                  .enabledExtensionCount = 1,
                                  .ppEnabledExtensionNames = &coop };
    if (vkCreateDevice(physical, &device, NULL, &c->device) != VK_SUCCESS) return false;
    volkLoadDevice(c->device);
    VkDescriptorSetLayoutBinding b[5];
    for (uint32_t i = 0; i < 5; i++) {
        b[i] = (VkDescriptorSetLayoutBinding){ i, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT,
                                               NULL };
    }
    VkDescriptorSetLayoutCreateInfo set = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                            .bindingCount = 5,
                                            .pBindings = b };
    VkPushConstantRange push = { VK_SHADER_STAGE_COMPUTE_BIT, 0, PUM_MAX_ARGS_BYTES };
    VkPipelineLayoutCreateInfo layout = { .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                          .setLayoutCount = 1,
                                          .pSetLayouts = &c->set,
                                          .pushConstantRangeCount = 1,
                                          .pPushConstantRanges = &push };
    return vkCreateDescriptorSetLayout(c->device, &set, NULL, &c->set) == VK_SUCCESS &&
           vkCreatePipelineLayout(c->device, &layout, NULL, &c->layout) == VK_SUCCESS;
}

/* Number of messages about a module and its pipeline with these constants. */
static int check_module(const checker *c, const uint32_t *words, size_t bytes, const uint32_t *spec, uint32_t n_spec)
{
    VkShaderModuleCreateInfo module = { .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                        .codeSize = bytes,
                                        .pCode = words };
    VkShaderModule shader = VK_NULL_HANDLE;
    VkSpecializationMapEntry entries[PUM_MAX_SPEC];
    for (uint32_t i = 0; i < n_spec; i++) entries[i] = (VkSpecializationMapEntry){ i, 4 * i, 4 };
    VkSpecializationInfo info = { n_spec, entries, 4u * n_spec, spec };
    messages = 0;
    count_messages = true;
    if (vkCreateShaderModule(c->device, &module, NULL, &shader) == VK_SUCCESS && messages == 0) {
        VkComputePipelineCreateInfo pipeline = {
            .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
            .stage = { .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                       .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                       .module = shader,
                       .pName = "main",
                       .pSpecializationInfo = &info },
            .layout = c->layout
        };
        VkPipeline made = VK_NULL_HANDLE;
        vkCreateComputePipelines(c->device, VK_NULL_HANDLE, 1, &pipeline, NULL, &made);
        if (made) vkDestroyPipeline(c->device, made, NULL);
    }
    count_messages = false;
    if (shader) vkDestroyShaderModule(c->device, shader, NULL);
    return messages;
}

/* A copy whose A matrices are declared as B's: 0 messages about it would mean that nothing is checked. */
static int check_broken(const checker *c, const pum_spirv *spirv, const uint32_t *spec, uint32_t n_spec)
{
    uint32_t *words = malloc(spirv->bytes);
    size_t count = spirv->bytes / 4;
    if (!words) return 0;
    memcpy(words, spirv->words, spirv->bytes);
    uint32_t uses[3] = { 0 }, n = 0;
    for (size_t at = 5; at < count; at += words[at] >> 16) {
        if ((words[at] & 0xffff) != OP_COOP_TYPE) continue;
        if (n < 3) uses[n++] = words[at + 6];
        words[at + 6] = uses[0];
    }
    quiet = true;
    int seen = check_module(c, words, spirv->bytes, spec, n_spec);
    quiet = false;
    free(words);
    return seen;
}

int main(void)
{
    /* as plans have them for 16 x 16 x 16 (AMD, NVIDIA) and 8 x 16 x 16 (Intel Xe2) */
    static const uint32_t specs[][10] = { { 256, 64, 64, 32, 4, 16, 16, 16, 3, 1 },
                                          { 128, 64, 64, 32, 4, 16, 16, 16, 0, 0 },
                                          { 64, 64, 64, 32, 4, 8, 16, 16, 0, 0 } };
    checker c = { 0 };
    int bad = 0, checked = 0, seen = 0;
    if (!open_device(&c)) {
        printf("skipped: the validator or the mock driver cannot be opened\n");
        return SKIP;
    }
    for (int k = 0; k < PUM_KERNEL_COUNT; k++) {
        if (pum_kernels[k].family != PUM_FAMILY_MATMUL_COOP) continue;
        for (size_t i = 0; i < PUM_COUNT(specs); i++, checked++) {
            int found = check_module(&c, pum_kernel_spirv[k].words, pum_kernel_spirv[k].bytes, specs[i],
                                     pum_kernels[k].n_spec);
            if (found) printf("%s: %d messages\n", pum_kernels[k].name, found);
            bad += found != 0;
        }
        if (!seen) seen = check_broken(&c, &pum_kernel_spirv[k], specs[0], pum_kernels[k].n_spec);
    }
    printf("%d pipelines checked, %d faulty; %d messages about one broken on purpose\n", checked, bad, seen);
    vkDestroyPipelineLayout(c.device, c.layout, NULL);
    vkDestroyDescriptorSetLayout(c.device, c.set, NULL);
    vkDestroyDevice(c.device, NULL);
    vkDestroyDebugUtilsMessengerEXT(c.instance, c.messenger, NULL);
    vkDestroyInstance(c.instance, NULL);
    return bad || !checked || !seen;
}
