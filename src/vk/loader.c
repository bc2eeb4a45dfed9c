/* SPDX-License-Identifier: Apache-2.0
 * Finds Vulkan's entry points. volk opens the system's loader and fills device tables; instance
 * functions are in a table of our own per instance, because volk's are global. volk's globals are
 * read and written here alone, under a lock, so that devices may be created from several threads.
 */
#include "vk_internal.h"

#define VOLK_IMPLEMENTATION
#include <volk.h>

static pthread_mutex_t volk_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lists_lock = PTHREAD_MUTEX_INITIALIZER;

void pum_vk_lists_lock(void) { pthread_mutex_lock(&lists_lock); }
void pum_vk_lists_unlock(void) { pthread_mutex_unlock(&lists_lock); }

pumice_status pum_vk_loader_open(void *given, PFN_vkGetInstanceProcAddr *out_get, pumice_error *err)
{
    *out_get = NULL;
    if (given) {
        /* ISO C has no conversion from an object pointer to a function pointer; POSIX and Windows
         * both have it */
        union {
            void *object;
            PFN_vkGetInstanceProcAddr function;
        } cast = { given };
        *out_get = cast.function;
        return PUMICE_OK;
    }
    pthread_mutex_lock(&volk_lock);
    if (volkInitialize() == VK_SUCCESS) *out_get = vkGetInstanceProcAddr;
    pthread_mutex_unlock(&volk_lock);
    if (*out_get) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_NO_DEVICE,
                    "there is no Vulkan loader on this system: install it (Debian, Ubuntu: "
                    "libvulkan1; Fedora: vulkan-loader; Windows: a current graphics driver)");
}

pumice_status pum_vk_load_global(PFN_vkGetInstanceProcAddr get, pum_vk_functions *f,
                                 pumice_error *err)
{
    const char *missing = NULL;
#define X(name)                                                                                    \
    f->name = (PFN_##name)get(NULL, #name);                                                        \
    if (!f->name) missing = #name;
    PUM_VK_GLOBAL_FUNCTIONS(X)
#undef X
    f->vkEnumerateInstanceVersion = (PFN_vkEnumerateInstanceVersion)get(
        NULL, "vkEnumerateInstanceVersion");
    if (!missing) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_NO_DEVICE, "the Vulkan loader is broken: it has no %s",
                    missing);
}

pumice_status pum_vk_load_instance(PFN_vkGetInstanceProcAddr get, VkInstance instance,
                                   pum_vk_functions *f, pumice_error *err)
{
    const char *missing = NULL;
#define X(name)                                                                                    \
    f->name = (PFN_##name)get(instance, #name);                                                    \
    if (!f->name) missing = #name;
    PUM_VK_INSTANCE_FUNCTIONS(X)
#undef X
#define X(name) f->name = (PFN_##name)get(instance, #name);
    PUM_VK_OPTIONAL_FUNCTIONS(X)
#undef X
    f->get_coop_products = (pum_vk_get_coop_products)get(instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    if (!missing) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_NO_DEVICE, "the Vulkan loader is broken: it has no %s",
                    missing);
}

void pum_vk_load_device(const pum_vk_functions *f, VkDevice device,
                        struct VolkDeviceTable *out_table)
{
    pthread_mutex_lock(&volk_lock);
    PFN_vkGetDeviceProcAddr before = vkGetDeviceProcAddr;
    vkGetDeviceProcAddr = f->vkGetDeviceProcAddr;
    volkLoadDeviceTable(out_table, device);
    vkGetDeviceProcAddr = before;
    pthread_mutex_unlock(&volk_lock);
}
