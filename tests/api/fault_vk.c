/* SPDX-License-Identifier: Apache-2.0
 * The wrappers are made by macros from the list of calls that vk/ and exec/ make. Real functions
 * are the loader's trampolines, which serve every instance and device. */
#include "fault_vk.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static PFN_vkGetInstanceProcAddr real_get;
static PFN_vkGetDeviceProcAddr real_get_device;
static _Atomic(VkInstance) last_instance;
static atomic_long calls, live, fail_at;
static atomic_int fail_error;
static const char *_Atomic fail_name;
static const char *_Atomic failed;
static atomic_bool lost;
static uint32_t pretend_version = UINT32_MAX;
static void (*edit_properties)(VkPhysicalDeviceProperties2 *);
static void (*edit_memory)(VkPhysicalDeviceMemoryProperties *);
static void (*edit_code)(VkShaderModuleCreateInfo *);
static void (*see_pipeline)(const VkComputePipelineCreateInfo *);

static atomic_uint delay_us;
static atomic_int delayed, together;

static void take_longer(unsigned us)
{
    int now = atomic_fetch_add(&delayed, 1) + 1, most = atomic_load(&together);
    while (now > most && !atomic_compare_exchange_weak(&together, &most, now)) {}
    usleep(us);
    atomic_fetch_sub(&delayed, 1);
}

void fault_vk_delay(unsigned us)
{
    atomic_store(&delay_us, us);
    atomic_store(&together, 0);
}

int fault_vk_together(void) { return atomic_load(&together); }

/* Counts a call; VK_SUCCESS = make it. */
static VkResult before(const char *name, bool queue)
{
    long n = atomic_fetch_add(&calls, 1) + 1;
    unsigned us = atomic_load(&delay_us);
    if (us && strcmp(name, "vkQueueSubmit") == 0) take_longer(us);
    if (queue && atomic_load(&lost)) return VK_ERROR_DEVICE_LOST;
    const char *wanted = atomic_load(&fail_name);
    if (n != atomic_load(&fail_at) && !(wanted && strcmp(wanted, name) == 0)) return VK_SUCCESS;
    atomic_store(&fail_name, NULL);
    atomic_store(&failed, name);
    VkResult error = (VkResult)atomic_load(&fail_error);
    if (error == VK_ERROR_DEVICE_LOST) atomic_store(&lost, true);
    return error;
}

/* ---- the calls: X(name, parameters, arguments, on a queue, objects made by a success) ---- */

#define CALLS(X)                                                                                   \
    X(vkCreateInstance,                                                                            \
      (const VkInstanceCreateInfo *a, const VkAllocationCallbacks *b, VkInstance *c), (a, b, c),   \
      0, 1)                                                                                        \
    X(vkEnumerateInstanceLayerProperties, (uint32_t * a, VkLayerProperties * b), (a, b), 0, 0)     \
    X(vkEnumerateInstanceExtensionProperties,                                                      \
      (const char *a, uint32_t *b, VkExtensionProperties *c), (a, b, c), 0, 0)                     \
    X(vkEnumeratePhysicalDevices, (VkInstance a, uint32_t * b, VkPhysicalDevice * c), (a, b, c),   \
      0, 0)                                                                                        \
    X(vkEnumerateDeviceExtensionProperties,                                                        \
      (VkPhysicalDevice a, const char *b, uint32_t *c, VkExtensionProperties *d), (a, b, c, d), 0, \
      0)                                                                                           \
    X(vkCreateDevice,                                                                              \
      (VkPhysicalDevice a, const VkDeviceCreateInfo *b, const VkAllocationCallbacks *c,            \
       VkDevice *d),                                                                               \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkCreateDebugUtilsMessengerEXT,                                                              \
      (VkInstance a, const VkDebugUtilsMessengerCreateInfoEXT *b, const VkAllocationCallbacks *c,  \
       VkDebugUtilsMessengerEXT *d),                                                               \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkCreateBuffer,                                                                              \
      (VkDevice a, const VkBufferCreateInfo *b, const VkAllocationCallbacks *c, VkBuffer *d),      \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkAllocateMemory,                                                                            \
      (VkDevice a, const VkMemoryAllocateInfo *b, const VkAllocationCallbacks *c,                  \
       VkDeviceMemory *d),                                                                         \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkBindBufferMemory, (VkDevice a, VkBuffer b, VkDeviceMemory c, VkDeviceSize d),              \
      (a, b, c, d), 0, 0)                                                                          \
    X(vkMapMemory,                                                                                 \
      (VkDevice a, VkDeviceMemory b, VkDeviceSize c, VkDeviceSize d, VkMemoryMapFlags e,           \
       void **f),                                                                                  \
      (a, b, c, d, e, f), 0, 0)                                                                    \
    X(vkFlushMappedMemoryRanges, (VkDevice a, uint32_t b, const VkMappedMemoryRange *c),           \
      (a, b, c), 0, 0)                                                                             \
    X(vkInvalidateMappedMemoryRanges, (VkDevice a, uint32_t b, const VkMappedMemoryRange *c),      \
      (a, b, c), 0, 0)                                                                             \
    X(vkCreateCommandPool,                                                                         \
      (VkDevice a, const VkCommandPoolCreateInfo *b, const VkAllocationCallbacks *c,               \
       VkCommandPool *d),                                                                          \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkAllocateCommandBuffers,                                                                    \
      (VkDevice a, const VkCommandBufferAllocateInfo *b, VkCommandBuffer *c), (a, b, c), 0, 0)     \
    X(vkBeginCommandBuffer, (VkCommandBuffer a, const VkCommandBufferBeginInfo *b), (a, b), 0, 0)  \
    X(vkEndCommandBuffer, (VkCommandBuffer a), (a), 0, 0)                                          \
    X(vkQueueSubmit, (VkQueue a, uint32_t b, const VkSubmitInfo *c, VkFence d), (a, b, c, d), 1,   \
      0)                                                                                           \
    X(vkCreateSemaphore,                                                                           \
      (VkDevice a, const VkSemaphoreCreateInfo *b, const VkAllocationCallbacks *c,                 \
       VkSemaphore *d),                                                                            \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkGetSemaphoreCounterValue, (VkDevice a, VkSemaphore b, uint64_t * c), (a, b, c), 1, 0)      \
    X(vkGetSemaphoreCounterValueKHR, (VkDevice a, VkSemaphore b, uint64_t * c), (a, b, c), 1, 0)   \
    X(vkCreateFence,                                                                               \
      (VkDevice a, const VkFenceCreateInfo *b, const VkAllocationCallbacks *c, VkFence *d),        \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkResetFences, (VkDevice a, uint32_t b, const VkFence *c), (a, b, c), 0, 0)                  \
    X(vkGetFenceStatus, (VkDevice a, VkFence b), (a, b), 1, 0)                                     \
    X(vkCreateDescriptorSetLayout,                                                                 \
      (VkDevice a, const VkDescriptorSetLayoutCreateInfo *b, const VkAllocationCallbacks *c,       \
       VkDescriptorSetLayout *d),                                                                  \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkCreatePipelineLayout,                                                                      \
      (VkDevice a, const VkPipelineLayoutCreateInfo *b, const VkAllocationCallbacks *c,            \
       VkPipelineLayout *d),                                                                       \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkCreatePipelineCache,                                                                       \
      (VkDevice a, const VkPipelineCacheCreateInfo *b, const VkAllocationCallbacks *c,             \
       VkPipelineCache *d),                                                                        \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkGetPipelineCacheData, (VkDevice a, VkPipelineCache b, size_t * c, void *d), (a, b, c, d),  \
      0, 0)                                                                                        \
    X(vkCreateDescriptorPool,                                                                      \
      (VkDevice a, const VkDescriptorPoolCreateInfo *b, const VkAllocationCallbacks *c,            \
       VkDescriptorPool *d),                                                                       \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkAllocateDescriptorSets,                                                                    \
      (VkDevice a, const VkDescriptorSetAllocateInfo *b, VkDescriptorSet *c), (a, b, c), 0, 0)     \
    X(vkCreateBufferView,                                                                          \
      (VkDevice a, const VkBufferViewCreateInfo *b, const VkAllocationCallbacks *c,                \
       VkBufferView *d),                                                                           \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkCreateQueryPool,                                                                           \
      (VkDevice a, const VkQueryPoolCreateInfo *b, const VkAllocationCallbacks *c,                 \
       VkQueryPool *d),                                                                            \
      (a, b, c, d), 0, 1)                                                                          \
    X(vkGetQueryPoolResults,                                                                       \
      (VkDevice a, VkQueryPool b, uint32_t c, uint32_t d, size_t e, void *f, VkDeviceSize g,       \
       VkQueryResultFlags h),                                                                      \
      (a, b, c, d, e, f, g, h), 1, 0)

/* Calls that wait: when they are made to say that the device is lost, the real device finishes
 * first, because what Pumice frees then must not be in use. X(name, parameters, arguments) */
#define WAITS(X)                                                                                   \
    X(vkWaitSemaphores, (VkDevice a, const VkSemaphoreWaitInfo *b, uint64_t c), (a, b, c))         \
    X(vkWaitSemaphoresKHR, (VkDevice a, const VkSemaphoreWaitInfo *b, uint64_t c), (a, b, c))      \
    X(vkWaitForFences, (VkDevice a, uint32_t b, const VkFence *c, VkBool32 d, uint64_t e),         \
      (a, b, c, d, e))                                                                             \
    X(vkQueueWaitIdle, (VkQueue a), (a))

/* X(name, parameters, arguments, handle) */
#define DESTROYS(X)                                                                                \
    X(vkDestroyInstance, (VkInstance a, const VkAllocationCallbacks *b), (a, b), a)                \
    X(vkDestroyDevice, (VkDevice a, const VkAllocationCallbacks *b), (a, b), a)                    \
    X(vkDestroyDebugUtilsMessengerEXT,                                                             \
      (VkInstance a, VkDebugUtilsMessengerEXT b, const VkAllocationCallbacks *c), (a, b, c), b)    \
    X(vkDestroyBuffer, (VkDevice a, VkBuffer b, const VkAllocationCallbacks *c), (a, b, c), b)     \
    X(vkFreeMemory, (VkDevice a, VkDeviceMemory b, const VkAllocationCallbacks *c), (a, b, c), b)  \
    X(vkDestroyCommandPool, (VkDevice a, VkCommandPool b, const VkAllocationCallbacks *c),         \
      (a, b, c), b)                                                                                \
    X(vkDestroySemaphore, (VkDevice a, VkSemaphore b, const VkAllocationCallbacks *c), (a, b, c),  \
      b)                                                                                           \
    X(vkDestroyFence, (VkDevice a, VkFence b, const VkAllocationCallbacks *c), (a, b, c), b)       \
    X(vkDestroyDescriptorSetLayout,                                                                \
      (VkDevice a, VkDescriptorSetLayout b, const VkAllocationCallbacks *c), (a, b, c), b)         \
    X(vkDestroyPipelineLayout, (VkDevice a, VkPipelineLayout b, const VkAllocationCallbacks *c),   \
      (a, b, c), b)                                                                                \
    X(vkDestroyPipelineCache, (VkDevice a, VkPipelineCache b, const VkAllocationCallbacks *c),     \
      (a, b, c), b)                                                                                \
    X(vkDestroyShaderModule, (VkDevice a, VkShaderModule b, const VkAllocationCallbacks *c),       \
      (a, b, c), b)                                                                                \
    X(vkDestroyPipeline, (VkDevice a, VkPipeline b, const VkAllocationCallbacks *c), (a, b, c), b) \
    X(vkDestroyDescriptorPool, (VkDevice a, VkDescriptorPool b, const VkAllocationCallbacks *c),   \
      (a, b, c), b)                                                                                \
    X(vkDestroyBufferView, (VkDevice a, VkBufferView b, const VkAllocationCallbacks *c),           \
      (a, b, c), b)                                                                                \
    X(vkDestroyQueryPool, (VkDevice a, VkQueryPool b, const VkAllocationCallbacks *c), (a, b, c), b)

/* ---- real functions, found when first asked for ---- */

typedef enum call_id {
#define X(name, ...) ID_##name,
    CALLS(X) WAITS(X) DESTROYS(X)
#undef X
        ID_vkEnumerateInstanceVersion,
    ID_vkCreateShaderModule,
    ID_vkCreateComputePipelines,
    ID_vkGetPhysicalDeviceProperties,
    ID_vkGetPhysicalDeviceProperties2,
    ID_vkGetPhysicalDeviceMemoryProperties2,
    ID_COUNT
} call_id;

static _Atomic(PFN_vkVoidFunction) real[ID_COUNT];

#define REAL(name) ((PFN_##name)atomic_load(&real[ID_##name]))

/* ---- wrappers ---- */

#define X(name, parameters, arguments, queue, made)                                                \
    static VKAPI_ATTR VkResult VKAPI_CALL wrap_##name parameters                                   \
    {                                                                                              \
        VkResult r = before(#name, queue);                                                         \
        if (r != VK_SUCCESS) return r;                                                             \
        r = REAL(name) arguments;                                                                  \
        if (r == VK_SUCCESS) atomic_fetch_add(&live, made);                                        \
        return r;                                                                                  \
    }
CALLS(X)
#undef X

#define X(name, parameters, arguments)                                                             \
    static VKAPI_ATTR VkResult VKAPI_CALL wrap_##name parameters                                   \
    {                                                                                              \
        VkResult r = before(#name, true);                                                          \
        if (r == VK_ERROR_DEVICE_LOST) REAL(name) arguments;                                       \
        return r == VK_SUCCESS ? REAL(name) arguments : r;                                         \
    }
WAITS(X)
#undef X

#define X(name, parameters, arguments, handle)                                                     \
    static VKAPI_ATTR void VKAPI_CALL wrap_##name parameters                                       \
    {                                                                                              \
        if (handle) atomic_fetch_sub(&live, 1);                                                    \
        REAL(name) arguments;                                                                      \
    }
DESTROYS(X)
#undef X

static VKAPI_ATTR VkResult VKAPI_CALL wrap_vkEnumerateInstanceVersion(uint32_t *out_version)
{
    VkResult r = before("vkEnumerateInstanceVersion", false);
    if (r != VK_SUCCESS) return r;
    r = REAL(vkEnumerateInstanceVersion)(out_version);
    if (pretend_version != UINT32_MAX && *out_version > pretend_version) {
        *out_version = pretend_version;
    }
    return r;
}

static VKAPI_ATTR VkResult VKAPI_CALL wrap_vkCreateShaderModule(VkDevice device, const VkShaderModuleCreateInfo *info,
                                                                const VkAllocationCallbacks *allocator,
                                                                VkShaderModule *out_module)
{
    VkShaderModuleCreateInfo edited = *info;
    VkResult r = before("vkCreateShaderModule", false);
    if (r != VK_SUCCESS) return r;
    if (edit_code) edit_code(&edited);
    r = REAL(vkCreateShaderModule)(device, &edited, allocator, out_module);
    if (r == VK_SUCCESS) atomic_fetch_add(&live, 1);
    return r;
}

static VKAPI_ATTR VkResult VKAPI_CALL wrap_vkCreateComputePipelines(VkDevice device, VkPipelineCache cache,
                                                                    uint32_t count,
                                                                    const VkComputePipelineCreateInfo *infos,
                                                                    const VkAllocationCallbacks *allocator,
                                                                    VkPipeline *out_pipelines)
{
    VkResult r = before("vkCreateComputePipelines", false);
    if (r != VK_SUCCESS) return r;
    for (uint32_t i = 0; i < count && see_pipeline; i++) see_pipeline(&infos[i]);
    r = REAL(vkCreateComputePipelines)(device, cache, count, infos, allocator, out_pipelines);
    if (r == VK_SUCCESS) atomic_fetch_add(&live, count);
    return r;
}

static VKAPI_ATTR void VKAPI_CALL wrap_vkGetPhysicalDeviceProperties(VkPhysicalDevice device,
                                                                     VkPhysicalDeviceProperties *properties)
{
    VkPhysicalDeviceProperties2 alone = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2 };
    REAL(vkGetPhysicalDeviceProperties)(device, &alone.properties);
    if (edit_properties) edit_properties(&alone);
    *properties = alone.properties;
}

static VKAPI_ATTR void VKAPI_CALL wrap_vkGetPhysicalDeviceProperties2(
    VkPhysicalDevice device, VkPhysicalDeviceProperties2 *properties)
{
    REAL(vkGetPhysicalDeviceProperties2)(device, properties);
    if (edit_properties) edit_properties(properties);
}

static VKAPI_ATTR void VKAPI_CALL wrap_vkGetPhysicalDeviceMemoryProperties2(
    VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties2 *properties)
{
    REAL(vkGetPhysicalDeviceMemoryProperties2)(device, properties);
    if (edit_memory) edit_memory(&properties->memoryProperties);
}

static const struct {
    const char *name;
    PFN_vkVoidFunction wrapper;
} wrappers[ID_COUNT] = {
#define X(name, ...) [ID_##name] = { #name, (PFN_vkVoidFunction)wrap_##name },
    CALLS(X) WAITS(X) DESTROYS(X) X(vkEnumerateInstanceVersion) X(vkCreateShaderModule)
        X(vkCreateComputePipelines)
        X(vkGetPhysicalDeviceProperties) X(vkGetPhysicalDeviceProperties2)
        X(vkGetPhysicalDeviceMemoryProperties2)
#undef X
};

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice device, const char *name)
{
    PFN_vkVoidFunction f = real_get_device(device, name);
    for (int i = 0; f && i < ID_COUNT; i++) {
        if (strcmp(wrappers[i].name, name) != 0) continue;
        PFN_vkVoidFunction trampoline = real_get(atomic_load(&last_instance), name);
        atomic_store(&real[i], trampoline ? trampoline : f);
        return wrappers[i].wrapper;
    }
    return f;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get(VkInstance instance, const char *name)
{
    if (instance) atomic_store(&last_instance, instance);
    if (strcmp(name, "vkGetInstanceProcAddr") == 0) return (PFN_vkVoidFunction)get;
    PFN_vkVoidFunction f = real_get(instance, name);
    if (!f) return NULL;
    if (strcmp(name, "vkGetDeviceProcAddr") == 0) {
        real_get_device = (PFN_vkGetDeviceProcAddr)f;
        return (PFN_vkVoidFunction)get_device;
    }
    if (strcmp(name, "vkEnumerateInstanceVersion") == 0 && pretend_version == 0) return NULL;
    for (int i = 0; i < ID_COUNT; i++) {
        if (strcmp(wrappers[i].name, name) != 0) continue;
        atomic_store(&real[i], f);
        return wrappers[i].wrapper;
    }
    return f;
}

/* ---- for tests ---- */

void *fault_vk_loader(void)
{
    if (!real_get) {
        void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
        if (!library) library = dlopen("libvulkan.dylib", RTLD_NOW | RTLD_LOCAL);
        if (!library) return NULL;
        union {
            void *object;
            PFN_vkGetInstanceProcAddr function;
        } symbol = { dlsym(library, "vkGetInstanceProcAddr") };
        real_get = symbol.function;
        if (!real_get) return NULL;
    }
    union {
        PFN_vkGetInstanceProcAddr function;
        void *object;
    } mine = { get };
    return mine.object;
}

void fault_vk_arm(long nth, VkResult error)
{
    atomic_store(&calls, 0);
    atomic_store(&failed, NULL);
    atomic_store(&fail_name, NULL);
    atomic_store(&lost, false);
    atomic_store(&fail_error, error);
    atomic_store(&fail_at, nth);
}

void fault_vk_arm_name(const char *name, VkResult error)
{
    fault_vk_arm(0, error);
    atomic_store(&fail_name, name);
}

long fault_vk_calls(void) { return atomic_load(&calls); }

const char *fault_vk_failed(void) { return atomic_load(&failed); }

long fault_vk_live(void) { return atomic_load(&live); }

void fault_vk_honest(void)
{
    pretend_version = UINT32_MAX;
    edit_properties = NULL;
    edit_memory = NULL;
    edit_code = NULL;
    see_pipeline = NULL;
    fault_vk_arm(0, VK_SUCCESS);
}

void fault_vk_pretend_version(uint32_t api_version) { pretend_version = api_version; }

void fault_vk_pretend_properties(void (*edit)(VkPhysicalDeviceProperties2 *properties))
{
    edit_properties = edit;
}

void fault_vk_pretend_memory(void (*edit)(VkPhysicalDeviceMemoryProperties *memory))
{
    edit_memory = edit;
}

void fault_vk_pretend_code(void (*edit)(VkShaderModuleCreateInfo *code)) { edit_code = edit; }

void fault_vk_watch_pipelines(void (*see)(const VkComputePipelineCreateInfo *pipeline)) { see_pipeline = see; }
