/* SPDX-License-Identifier: Apache-2.0
 * The VkInstance: the version asked for, validation with its messenger, the list of physical
 * devices. Decides nothing about devices. A loader or driver that fails to start is NO_DEVICE with
 * a sentence of what to install. */
#include "vk_internal.h"

#include <string.h>

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";

#define RESULT(name)                                                                               \
    case name:                                                                                     \
        return #name
const char *pum_vk_result_name(VkResult result)
{
    switch (result) {
        RESULT(VK_SUCCESS);
        RESULT(VK_NOT_READY);
        RESULT(VK_TIMEOUT);
        RESULT(VK_INCOMPLETE);
        RESULT(VK_ERROR_OUT_OF_HOST_MEMORY);
        RESULT(VK_ERROR_OUT_OF_DEVICE_MEMORY);
        RESULT(VK_ERROR_INITIALIZATION_FAILED);
        RESULT(VK_ERROR_DEVICE_LOST);
        RESULT(VK_ERROR_MEMORY_MAP_FAILED);
        RESULT(VK_ERROR_LAYER_NOT_PRESENT);
        RESULT(VK_ERROR_EXTENSION_NOT_PRESENT);
        RESULT(VK_ERROR_FEATURE_NOT_PRESENT);
        RESULT(VK_ERROR_INCOMPATIBLE_DRIVER);
        RESULT(VK_ERROR_TOO_MANY_OBJECTS);
        RESULT(VK_ERROR_FRAGMENTED_POOL);
        RESULT(VK_ERROR_UNKNOWN);
        RESULT(VK_ERROR_OUT_OF_POOL_MEMORY);
        RESULT(VK_ERROR_FRAGMENTATION);
        RESULT(VK_ERROR_NOT_PERMITTED_KHR);
        RESULT(VK_ERROR_INVALID_SHADER_NV);
    default:
        return "an unknown VkResult";
    }
}
#undef RESULT

pumice_status pum_vk_fail_early(VkResult result, const char *what, pumice_error *err)
{
    pumice_status status = result == VK_ERROR_OUT_OF_HOST_MEMORY     ? PUMICE_ERROR_HOST_MEMORY
                           : result == VK_ERROR_OUT_OF_DEVICE_MEMORY ? PUMICE_ERROR_DEVICE_MEMORY
                           : result == VK_ERROR_DEVICE_LOST          ? PUMICE_ERROR_DEVICE_LOST
                                                                     : PUMICE_ERROR_NO_DEVICE;
    return pum_fail(err, status, "%s failed with %s", what, pum_vk_result_name(result));
}

/* ---- validation ---- */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT type,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *user)
{
    pum_vk_messages *messages = user;
    bool error = severity & VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
    /* loaders and drivers chat under GENERAL; only their errors concern us */
    if (!(type & VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT) && !error) return VK_FALSE;
    atomic_fetch_add(&messages->count, 1);
    pum_log_write(&messages->log, PUMICE_LOG_ERROR, "Vulkan validation: %s",
                  data->pMessage ? data->pMessage : "");
    return VK_FALSE;
}

static VkDebugUtilsMessengerCreateInfoEXT messenger_info(pum_vk_messages *messages)
{
    return (VkDebugUtilsMessengerCreateInfoEXT){
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT
                           | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT
                       | VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = messages,
    };
}

static pumice_status check_layer(const pum_vk_functions *f, pumice_error *err)
{
    uint32_t count = 0;
    bool found = false;
    VkLayerProperties *layers = NULL;
    VkResult r = f->vkEnumerateInstanceLayerProperties(&count, NULL);
    if (r == VK_SUCCESS && count) {
        layers = pum_alloc_array(count, sizeof *layers);
        if (!layers) {
            return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to list Vulkan layers");
        }
        r = f->vkEnumerateInstanceLayerProperties(&count, layers);
    }
    for (uint32_t i = 0; r >= VK_SUCCESS && i < count; i++) {
        if (strcmp(layers[i].layerName, validation_layer) == 0) found = true;
    }
    pum_free(layers);
    if (r < VK_SUCCESS) return pum_vk_fail_early(r, "listing Vulkan layers", err);
    if (found) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                    "validation was asked for, but the layer %s is not installed (Debian, "
                    "Ubuntu: vulkan-validationlayers)",
                    validation_layer);
}

static pumice_status find_extension(const pum_vk_functions *f, const char *layer, const char *name,
                                    bool *out_found, pumice_error *err)
{
    uint32_t count = 0;
    *out_found = false;
    VkExtensionProperties *list = NULL;
    VkResult r = f->vkEnumerateInstanceExtensionProperties(layer, &count, NULL);
    if (r == VK_SUCCESS && count) {
        list = pum_alloc_array(count, sizeof *list);
        if (!list) {
            return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to list Vulkan extensions");
        }
        r = f->vkEnumerateInstanceExtensionProperties(layer, &count, list);
    }
    for (uint32_t i = 0; r >= VK_SUCCESS && i < count; i++) {
        if (strcmp(list[i].extensionName, name) == 0) *out_found = true;
    }
    pum_free(list);
    return r < VK_SUCCESS ? pum_vk_fail_early(r, "listing Vulkan extensions", err) : PUMICE_OK;
}

/* ---- create ---- */

static pumice_status create_instance(const pum_vk_params *params, pum_vk_instance *vi,
                                     pumice_error *err)
{
    const char *extensions[2];
    uint32_t n_extensions = 0;
    VkInstanceCreateFlags flags = 0;
    bool portability = false, utils = false;
#ifdef VK_KHR_portability_enumeration
    PUM_TRY(find_extension(&vi->f, NULL, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME,
                           &portability, err));
    if (portability) { /* else MoltenVK is not listed */
        extensions[n_extensions++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
        flags |= VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
    }
#endif
    static const VkValidationFeatureEnableEXT enable[] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT
    };
    VkValidationFeaturesEXT features = { .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                         .enabledValidationFeatureCount = PUM_COUNT(enable),
                                         .pEnabledValidationFeatures = enable };
    VkDebugUtilsMessengerCreateInfoEXT messenger = { 0 };
    const char *layer = validation_layer;
    if (params->validation) {
        PUM_TRY(check_layer(&vi->f, err));
        PUM_TRY(find_extension(&vi->f, NULL, VK_EXT_DEBUG_UTILS_EXTENSION_NAME, &utils, err));
        if (!utils) {
            PUM_TRY(find_extension(&vi->f, layer, VK_EXT_DEBUG_UTILS_EXTENSION_NAME, &utils, err));
        }
        if (!utils) {
            return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                            "validation was asked for, but Vulkan here has "
                            "no " VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
        }
        vi->messages = pum_alloc(sizeof *vi->messages);
        if (!vi->messages) {
            return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for a Vulkan instance");
        }
        vi->messages->log = params->log;
        extensions[n_extensions++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
        messenger = messenger_info(vi->messages);
        messenger.pNext = &features;
    }
    VkApplicationInfo app = { .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                              .pApplicationName = "pumice",
                              .pEngineName = "pumice",
                              .apiVersion = vi->version };
    VkInstanceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                  .pNext = params->validation ? &messenger : NULL,
                                  .flags = flags,
                                  .pApplicationInfo = &app,
                                  .enabledLayerCount = params->validation ? 1 : 0,
                                  .ppEnabledLayerNames = &layer,
                                  .enabledExtensionCount = n_extensions,
                                  .ppEnabledExtensionNames = extensions };
    pum_vk_lists_lock();
    VkResult r = vi->f.vkCreateInstance(&info, NULL, &vi->handle);
    pum_vk_lists_unlock();
    if (r == VK_SUCCESS) return PUMICE_OK;
    vi->handle = VK_NULL_HANDLE;
    if (r == VK_ERROR_INCOMPATIBLE_DRIVER || r == VK_ERROR_INITIALIZATION_FAILED) {
        return pum_fail(err, PUMICE_ERROR_NO_DEVICE,
                        "no Vulkan driver could be started: install one for the GPU (Debian, "
                        "Ubuntu: mesa-vulkan-drivers, which also has a software device)");
    }
    return pum_vk_fail_early(r, "creating a Vulkan instance", err);
}

static pumice_status list_devices(pum_vk_instance *vi, pumice_error *err)
{
    uint32_t count = 0;
    VkResult r = vi->f.vkEnumeratePhysicalDevices(vi->handle, &count, NULL);
    if (r == VK_SUCCESS && count) {
        if (!pum_array_reserve(&vi->devices, count)) {
            return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to list Vulkan devices");
        }
        r = vi->f.vkEnumeratePhysicalDevices(vi->handle, &count, vi->devices.data);
        if (r >= VK_SUCCESS) vi->devices.count = count;
    }
    /* a driver that cannot start its only device says so with INITIALIZATION_FAILED */
    if (r < VK_SUCCESS && r != VK_ERROR_INITIALIZATION_FAILED) {
        return pum_vk_fail_early(r, "listing Vulkan devices", err);
    }
    if (vi->devices.count) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_NO_DEVICE,
                    "Vulkan lists no device: install a driver for the GPU (Debian, Ubuntu: "
                    "mesa-vulkan-drivers, which also has a software device)");
}

pumice_status pum_vk_instance_create(const pum_vk_params *params, pum_vk_instance *out_instance,
                                     pumice_error *err)
{
    pum_vk_instance *vi = out_instance;
    PFN_vkGetInstanceProcAddr get;
    pumice_status status;
    *vi = (pum_vk_instance){ 0 };
    PUM_GOTO(pum_vk_loader_open(params->get_instance_proc_addr, &get, err));
    PUM_GOTO(pum_vk_load_global(get, &vi->f, err));
    uint32_t loader = VK_API_VERSION_1_0;
    if (vi->f.vkEnumerateInstanceVersion) {
        VkResult r = vi->f.vkEnumerateInstanceVersion(&loader);
        if (r != VK_SUCCESS) {
            PUM_GOTO(pum_vk_fail_early(r, "asking the Vulkan loader for its version", err));
        }
    }
    vi->version = PUM_MIN(loader, VK_API_VERSION_1_3);
    if (vi->version < VK_API_VERSION_1_1) {
        PUM_GOTO(pum_fail(err, PUMICE_ERROR_NO_DEVICE,
                          "the Vulkan loader is of version 1.0, but 1.1 is needed: update it"));
    }
    PUM_GOTO(create_instance(params, vi, err));
    PUM_GOTO(pum_vk_load_instance(get, vi->handle, &vi->f, err));
    if (params->validation && vi->f.vkCreateDebugUtilsMessengerEXT) {
        VkDebugUtilsMessengerCreateInfoEXT info = messenger_info(vi->messages);
        VkResult r = vi->f.vkCreateDebugUtilsMessengerEXT(vi->handle, &info, NULL, &vi->messenger);
        if (r != VK_SUCCESS) {
            vi->messenger = VK_NULL_HANDLE;
            PUM_GOTO(pum_vk_fail_early(r, "creating the validation messenger", err));
        }
    }
    PUM_GOTO(list_devices(vi, err));
    return PUMICE_OK;
fail:
    pum_vk_instance_destroy(vi);
    return status;
}

void pum_vk_instance_destroy(pum_vk_instance *instance)
{
    pum_vk_instance *vi = instance;
    if (vi->messenger && vi->f.vkDestroyDebugUtilsMessengerEXT) {
        vi->f.vkDestroyDebugUtilsMessengerEXT(vi->handle, vi->messenger, NULL);
    }
    if (vi->handle && vi->f.vkDestroyInstance) {
        pum_vk_lists_lock();
        vi->f.vkDestroyInstance(vi->handle, NULL);
        pum_vk_lists_unlock();
    }
    pum_array_free(&vi->devices);
    pum_free(vi->messages); /* last: destroying the instance may still report */
    *vi = (pum_vk_instance){ 0 };
}
