/* SPDX-License-Identifier: Apache-2.0
 * Compiles, on whatever Vulkan driver is selected, every pipeline that plans for a device profile need, and prints what
 * the driver says of each (VK_KHR_pipeline_executable_properties): registers, spills, shared memory, occupancy, size.
 * Nothing is run, so a driver without a GPU will do: RADV's null device, or ANV over Mesa's noop DRM shim.
 *
 * usage: compile_pipelines PROFILE SUBGROUP MODEL.gguf...
 *        SUBGROUP is what to plan for and to require of the driver where it lets one choose
 * Prints a line with the device and the driver's version, then one per pipeline: kernel, constants as NAME=VALUE,...,
 * statistics as NAME=VALUE;..., separated by tabs.
 * Exit code 77: the driver cannot say. */
#define VK_NO_PROTOTYPES
#include <volk.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels_spv.h"
#include "session.h"

enum { SKIP = 77, MAX_KEYS = 4096, MAX_STATISTICS = 64 };

typedef struct key {
    uint32_t kernel;
    uint32_t spec[PUM_MAX_SPEC];
} key;

static struct {
    key keys[MAX_KEYS];
    size_t count;
} all;

static int die(const char *what, const char *why)
{
    fprintf(stderr, "compile_pipelines: %s: %s\n", what, why);
    return 1;
}

/* ---- which pipelines ---- */

static void add_steps(const pum_plan *plan)
{
    for (size_t i = 0; i < plan->steps.count; i++) {
        const pum_step *s = &plan->steps.data[i];
        key k = { .kernel = s->kernel };
        memcpy(k.spec, s->spec, sizeof k.spec[0] * pum_kernels[s->kernel].n_spec);
        size_t n = 0;
        while (n < all.count && memcmp(&all.keys[n], &k, sizeof k) != 0) n++;
        if (n == all.count && n < MAX_KEYS) all.keys[all.count++] = k;
    }
}

/* One row draws a token, few are scored, many end with the likeliest one. */
static pum_pass_key key_of(uint32_t rows)
{
    bool score = rows > 1 && rows < 256;
    return (pum_pass_key){ .rows = rows,
                           .n_slots = 1,
                           .one_sequence = true,
                           .head = score ? PUM_HEAD_ALL : PUM_HEAD_SLOTS,
                           .sampler = rows == 1 ? PUM_SAMPLER_CHAIN
                                      : score   ? PUM_SAMPLER_SCORE
                                                : PUM_SAMPLER_ARGMAX };
}

static pumice_status plan_pass(const pum_model_def *def, const pum_caps *caps, uint32_t rows, pumice_kv_type kv_type,
                               pum_plan_options options, pumice_error *err)
{
    pum_tuning tuning;
    pum_session_size size;
    pum_placement weights = { 0 }, kv = { 0 };
    pum_plan plan = { 0 };
    pumice_status status;
    pumice_session_params params = { .struct_size = sizeof params, .kv_type_k = kv_type, .kv_type_v = kv_type };
    pum_pass_key pass = key_of(rows);
    pum_tuning_for(caps, &tuning);
    PUM_GOTO(pum_session_size_make(def, &params, &size, err));
    PUM_GOTO(pum_weights_place(def, caps, false, &weights, err));
    PUM_GOTO(pum_kv_place(def, caps, size.kv_k, size.kv_v, size.pages, &kv, err));
    PUM_GOTO(pum_pass_plan(def, &size, caps, &tuning, &weights, &kv, &options, &pass, &plan, err));
    add_steps(&plan);
fail:
    pum_plan_free(&plan);
    pum_placement_free(&weights);
    pum_placement_free(&kv);
    return status;
}

/* Every tier the device has, not its best alone: a quirk or the caller may take the better ones away. */
static pumice_status plan_tiers(const pum_model_def *def, const pum_caps *caps, uint32_t rows, pumice_error *err)
{
    static const uint32_t without[] = { 0, PUM_CAP_COOP, PUM_CAP_COOP | PUM_CAP_DOT8,
                                        PUM_CAP_COOP | PUM_CAP_DOT8 | PUM_CAP_F16,
                                        PUM_CAP_COOP | PUM_CAP_DOT8 | PUM_CAP_F16 | PUM_CAP_SUBGROUP };
    for (size_t i = 0; i < PUM_COUNT(without); i++) {
        pum_caps c = *caps;
        c.bits &= ~without[i];
        PUM_TRY(plan_pass(def, &c, rows, PUMICE_KV_DEFAULT, (pum_plan_options){ 0 }, err));
        PUM_TRY(plan_pass(def, &c, rows, PUMICE_KV_DEFAULT, (pum_plan_options){ .no_fusion = true }, err));
        for (pumice_kv_type t = PUMICE_KV_Q8_0; t <= PUMICE_KV_Q4_0 && def->hp.head_dim % 32 == 0; t++)
            PUM_TRY(plan_pass(def, &c, rows, t, (pum_plan_options){ 0 }, err));
    }
    return plan_pass(def, caps, rows, PUMICE_KV_DEFAULT, (pum_plan_options){ .q8_activations = true }, err);
}

static pumice_status plan_model(const char *path, const pum_caps *caps, pumice_error *err)
{
    static const uint32_t rows[] = { 1, 4, 256 };
    pum_gguf *gguf = NULL;
    pum_model_def def = { 0 };
    pumice_status status;
    PUM_GOTO(pum_gguf_open(path, &gguf, err));
    PUM_GOTO(pum_model_def_load(gguf, &def, err));
    for (size_t i = 0; i < PUM_COUNT(rows); i++) PUM_GOTO(plan_tiers(&def, caps, rows[i], err));
fail:
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
    return status;
}

/* What loads weights, which no plan of a model has. */
static void add_repack(const pum_caps *caps)
{
    pum_tuning tuning;
    pum_tuning_for(caps, &tuning);
    pum_step step = { .kernel = PUM_KERNEL_repack_base, .spec = { tuning.elementwise_wg } };
    add_steps(&(pum_plan){ .steps = { &step, 1, 1 } });
}

/* ---- the driver ---- */

typedef struct driver {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkDescriptorSetLayout set[PUM_MAX_BINDINGS + 1];
    VkPipelineLayout layout[PUM_MAX_BINDINGS + 1];
    bool may_choose; /* the subgroup size of a compute pipeline */
} driver;

static int open_driver(driver *d, uint32_t subgroup)
{
    VkApplicationInfo app = { .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_3 };
    VkInstanceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app };
    uint32_t one = 1;
    if (volkInitialize() != VK_SUCCESS || vkCreateInstance(&info, NULL, &d->instance) != VK_SUCCESS) {
        die("no Vulkan 1.3 driver", "is the ICD installed?");
        return SKIP;
    }
    volkLoadInstance(d->instance);
    VkResult r = vkEnumeratePhysicalDevices(d->instance, &one, &d->physical);
    if ((r != VK_SUCCESS && r != VK_INCOMPLETE) || !one) {
        die("the driver shows no device", "skipped");
        return SKIP;
    }
    VkPhysicalDeviceVulkan13Properties p13 = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES };
    VkPhysicalDeviceVulkan12Properties p12 = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES,
                                               .pNext = &p13 };
    VkPhysicalDeviceProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &p12 };
    vkGetPhysicalDeviceProperties2(d->physical, &p);
    printf("%s\t%s\n", p.properties.deviceName, p12.driverInfo);
    d->may_choose = p13.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
    if (d->may_choose && (subgroup < p13.minSubgroupSize || subgroup > p13.maxSubgroupSize)) {
        die(p.properties.deviceName, "has no subgroups of that size");
        return SKIP;
    }
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR pe = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR
    };
    VkPhysicalDeviceVulkan13Features f13 = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
                                             .pNext = &pe };
    VkPhysicalDeviceVulkan12Features f12 = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                             .pNext = &f13 };
    VkPhysicalDeviceVulkan11Features f11 = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                             .pNext = &f12 };
    VkPhysicalDeviceFeatures2 f = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &f11 };
    vkGetPhysicalDeviceFeatures2(d->physical, &f);
    if (!pe.pipelineExecutableInfo) {
        die(p.properties.deviceName, "has no VK_KHR_pipeline_executable_properties");
        return SKIP;
    }
    const char *extension = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    float priority = 1.0f;
    VkDeviceQueueCreateInfo queue = { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                      .queueCount = 1,
                                      .pQueuePriorities = &priority };
    VkDeviceCreateInfo device = { .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                  .pNext = &f,
                                  .queueCreateInfoCount = 1,
                                  .pQueueCreateInfos = &queue,
                                  .enabledExtensionCount = 1,
                                  .ppEnabledExtensionNames = &extension };
    if (vkCreateDevice(d->physical, &device, NULL, &d->device) != VK_SUCCESS) {
        return die("the device", "cannot be opened");
    }
    volkLoadDevice(d->device);
    return 0;
}

static int make_layouts(driver *d)
{
    VkDescriptorSetLayoutBinding b[PUM_MAX_BINDINGS];
    for (uint32_t i = 0; i < PUM_MAX_BINDINGS; i++) {
        b[i] = (VkDescriptorSetLayoutBinding){ i, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT,
                                               NULL };
    }
    for (uint32_t n = 0; n <= PUM_MAX_BINDINGS; n++) {
        VkDescriptorSetLayoutCreateInfo set = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                                .bindingCount = n,
                                                .pBindings = b };
        VkPushConstantRange push = { VK_SHADER_STAGE_COMPUTE_BIT, 0, PUM_MAX_ARGS_BYTES };
        VkPipelineLayoutCreateInfo layout = { .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                              .setLayoutCount = 1,
                                              .pSetLayouts = &d->set[n],
                                              .pushConstantRangeCount = 1,
                                              .pPushConstantRanges = &push };
        if (vkCreateDescriptorSetLayout(d->device, &set, NULL, &d->set[n]) != VK_SUCCESS ||
            vkCreatePipelineLayout(d->device, &layout, NULL, &d->layout[n]) != VK_SUCCESS) {
            return die("a pipeline layout", "cannot be created");
        }
    }
    return 0;
}

static int compile(const driver *d, const key *k, uint32_t subgroup, VkPipeline *out)
{
    const pum_kernel_info *info = &pum_kernels[k->kernel];
    VkSpecializationMapEntry entries[PUM_MAX_SPEC];
    for (uint32_t i = 0; i < info->n_spec; i++) entries[i] = (VkSpecializationMapEntry){ i, 4 * i, 4 };
    VkSpecializationInfo spec = { info->n_spec, entries, 4u * info->n_spec, k->spec };
    VkShaderModuleCreateInfo module = { .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                        .codeSize = pum_kernel_spirv[k->kernel].bytes,
                                        .pCode = pum_kernel_spirv[k->kernel].words };
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = subgroup
    };
    VkShaderModule shader;
    /* as vk/pipeline.c does */
    bool with_subgroups = info->needs & PUM_CAP_SUBGROUP, pin = d->may_choose && with_subgroups;
    if (vkCreateShaderModule(d->device, &module, NULL, &shader) != VK_SUCCESS) {
        return die(info->name, "no shader module");
    }
    VkComputePipelineCreateInfo pipeline = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR,
        .stage = { .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                   .pNext = pin ? &size : NULL,
                   .flags = with_subgroups && k->spec[0] % subgroup == 0
                                ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                   .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                   .module = shader,
                   .pName = "main",
                   .pSpecializationInfo = &spec },
        .layout = d->layout[info->n_bindings],
    };
    VkResult r = vkCreateComputePipelines(d->device, VK_NULL_HANDLE, 1, &pipeline, NULL, out);
    vkDestroyShaderModule(d->device, shader, NULL);
    return r == VK_SUCCESS ? 0 : die(info->name, "does not compile");
}

static void print_value(const VkPipelineExecutableStatisticKHR *s)
{
    switch (s->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        printf("%s=%u;", s->name, s->value.b32);
        break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR:
        printf("%s=%g;", s->name, s->value.f64);
        break;
    default:
        printf("%s=%llu;", s->name, (unsigned long long)s->value.u64);
    }
}

/* Drivers that compile several widths report each; the first is the one the required size asked for. */
static int print_statistics(const driver *d, const key *k, VkPipeline pipeline)
{
    const pum_kernel_info *info = &pum_kernels[k->kernel];
    VkPipelineExecutableInfoKHR executable = { .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
                                               .pipeline = pipeline };
    VkPipelineExecutableStatisticKHR s[MAX_STATISTICS];
    uint32_t count = MAX_STATISTICS;
    for (uint32_t i = 0; i < count; i++) {
        s[i] = (VkPipelineExecutableStatisticKHR){ .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR };
    }
    if (vkGetPipelineExecutableStatisticsKHR(d->device, &executable, &count, s) < VK_SUCCESS) {
        return die(info->name, "no statistics");
    }
    printf("%s\t", info->name);
    for (uint32_t i = 0; i < info->n_spec; i++) printf("%s%s=%u", i ? "," : "", info->spec[i], k->spec[i]);
    printf("\t");
    for (uint32_t i = 0; i < count; i++) print_value(&s[i]);
    printf("\n");
    return 0;
}

static void close_driver(driver *d)
{
    for (uint32_t n = 0; n <= PUM_MAX_BINDINGS; n++) {
        if (d->layout[n]) vkDestroyPipelineLayout(d->device, d->layout[n], NULL);
        if (d->set[n]) vkDestroyDescriptorSetLayout(d->device, d->set[n], NULL);
    }
    if (d->device) vkDestroyDevice(d->device, NULL);
    if (d->instance) vkDestroyInstance(d->instance, NULL);
}

int main(int argc, char **argv)
{
    pum_caps caps;
    driver d = { 0 };
    pumice_error err = { 0 };
    uint32_t subgroup = argc > 2 ? (uint32_t)atoi(argv[2]) : 0;
    if (argc < 4 || !pum_caps_profile(argv[1], &caps) || !subgroup) {
        return die("usage", "compile_pipelines PROFILE SUBGROUP MODEL.gguf...");
    }
    caps.subgroup_size = subgroup;
    for (int i = 3; i < argc; i++) {
        if (plan_model(argv[i], &caps, &err) != PUMICE_OK) return die(argv[i], err.text);
    }
    add_repack(&caps);
    int code = open_driver(&d, subgroup);
    if (code == 0) code = make_layouts(&d);
    for (size_t i = 0; i < all.count && code == 0; i++) {
        if (pum_kernels[all.keys[i].kernel].tier == PUM_TIER_COOP) continue; /* these drivers are older than it */
        VkPipeline pipeline = VK_NULL_HANDLE;
        code = compile(&d, &all.keys[i], subgroup, &pipeline);
        if (code == 0) code = print_statistics(&d, &all.keys[i], pipeline);
        if (pipeline) vkDestroyPipeline(d.device, pipeline, NULL);
    }
    close_driver(&d);
    return code;
}
