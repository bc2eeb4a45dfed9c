/* SPDX-License-Identifier: Apache-2.0
 * Every Vulkan call that vk/ and exec/ make fails once: each time the right status and a sentence
 * must come out, every object must be gone, and the next use must work. Then the devices one does
 * not have at hand: lost ones, an old loader, Vulkan 1.1 with extensions, too few buffers, memory
 * that is not coherent, a queue that copies alone. */
#include "fault_vk.h"
#include "two_families_vk.h"
#include "vk_tools.h"

#include <sys/stat.h>

typedef enum upload_queue { ONE_QUEUE, EMULATED, APART } upload_queue;

typedef struct config {
    const char *name;
    uint32_t disable;
    bool validation, cache;
    upload_queue uploads;
    bool twin; /* a second device may compile, whose failures nobody notices */
} config;

static const config configs[] = {
    { "mapped, timeline", 0, false, false, ONE_QUEUE },
    { "staged, fences", PUM_CAP_UNIFIED | PUM_CAP_TIMELINE, false, true, ONE_QUEUE },
    { "staged, two families", PUM_CAP_UNIFIED, false, false, APART },
    { "a second device compiles", 0, false, true, ONE_QUEUE, .twin = true },
};

static vk_log messages; /* of devices with validation */

static char cache_dir[] = "/tmp/pumice-fault-XXXXXX";

static int no_log(void **state)
{
    (void)state;
    return mkdtemp(cache_dir) ? 0 : -1;
}

static int clean(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", cache_dir);
    return system(command);
}

static pum_vk_params params_of(const config *c)
{
    return (pum_vk_params){ .disable_bits = c->disable,
                            .wishes = { .force_bits = c->uploads == EMULATED ? PUM_CAP_TRANSFER : 0,
                                        .quirks_off = vk_quirks_off() },
                            .validation = c->validation,
                            .log = { c->validation ? vk_on_log : NULL, &messages },
                            .cache_dir = c->cache ? cache_dir : NULL,
                            .no_twin = !c->twin,
                            .get_instance_proc_addr = c->uploads == APART ? two_families_vk_loader()
                                                                          : fault_vk_loader() };
}

static void produce(void *user, void *to, uint64_t first, uint64_t count)
{
    memcpy(to, (const uint8_t *)user + first * 1000, (size_t)count * 1000);
}

/* A device's life: buffers in and out, a plan with times, replays in flight. */
static pumice_status whole_life(const config *c, pumice_error *err)
{
    enum { BYTES = (4 << 20) + 5 }; /* two chunks of the staging ring */
    pum_vk_params p = params_of(c);
    pum_vk_device *d = NULL;
    pum_vk_buffer arena = { 0 }, shared = { 0 }, big = { 0 };
    pum_exec *exec = NULL;
    pum_plan plan = { 0 };
    uint64_t times[6], ticket;
    float words[VK_COLS];
    uint8_t *bytes = calloc(1, BYTES);
    pumice_status status;
    pum_exec_buffers buffers = { .arena = &arena };
    assert_non_null(bytes);
    vk_counter_plan(&plan, true);
    for (int i = 0; i < VK_COLS; i++) words[i] = 1.0f;
    PUM_GOTO(pum_vk_device_create(&p, &d, err));
    PUM_GOTO(pum_vk_buffer_create(d, PUM_VK_DEVICE, plan.arena_bytes, "arena", &arena, err));
    PUM_GOTO(pum_vk_buffer_create(d, PUM_VK_SHARED, 4096, "shared", &shared, err));
    PUM_GOTO(pum_vk_buffer_create(d, PUM_VK_DEVICE, BYTES, "big", &big, err));
    PUM_GOTO(pum_vk_buffer_write(d, &big, 0, bytes, BYTES, err));
    PUM_GOTO(pum_vk_buffer_read(d, &big, 0, bytes, BYTES, err));
    PUM_GOTO(pum_vk_buffer_stream(d, &big, 1, 1000, BYTES / 1000, produce, bytes, err));
    PUM_GOTO(pum_vk_stream_end(d, err));
    const pum_vk_move moves[] = { { 0, 4096, 1000 }, { 2000, 8192, 4 } };
    PUM_GOTO(pum_vk_buffer_move(d, &big, moves, 2, err));
    PUM_GOTO(pum_vk_buffer_fill(d, &arena, 0, plan.arena_bytes, 0, err));
    PUM_GOTO(pum_vk_buffer_write(d, &arena, VK_SLOT_BYTES, words, sizeof words, err));
    PUM_GOTO(pum_exec_create(d, &plan, &buffers, pum_vk_timestamp_bits(d) > 0, &exec, err));
    PUM_GOTO(pum_exec_run(exec, NULL, err));
    if (pum_vk_timestamp_bits(d)) PUM_GOTO(pum_exec_step_times(exec, times, times + 3, 3, err));
    for (int i = 0; i < 4; i++) PUM_GOTO(pum_exec_submit(exec, NULL, &ticket, err));
    pum_vk_done(d, ticket);
    PUM_GOTO(pum_vk_wait(d, ticket, err));
    PUM_GOTO(pum_exec_submit(exec, NULL, &ticket, err));
    PUM_GOTO(pum_vk_wait(d, ticket, err));
    PUM_GOTO(pum_vk_buffer_read(d, &arena, 0, words, sizeof words, err));
    assert_true(words[0] == 6.0f && words[VK_COLS - 1] == 6.0f);
fail:
    pum_exec_destroy(&exec);
    if (d) {
        pum_vk_buffer_destroy(d, &arena);
        pum_vk_buffer_destroy(d, &shared);
        pum_vk_buffer_destroy(d, &big);
    }
    pum_vk_device_destroy(&d);
    pum_plan_free(&plan);
    free(bytes);
    return status;
}

/* Calls whose failure may cost nothing: the cache, the state of fences, and the waits of destroy
 * functions, which then wait in another way. */
static bool may_be_absorbed(const char *name)
{
    static const char *const names[] = { "vkGetPipelineCacheData",
                                         "vkCreatePipelineCache",
                                         "vkResetFences",
                                         "vkGetFenceStatus",
                                         "vkGetSemaphoreCounterValue",
                                         "vkQueueWaitIdle",
                                         "vkWaitSemaphores",
                                         "vkWaitForFences" };
    for (size_t i = 0; i < PUM_COUNT(names); i++) {
        if (strcmp(names[i], name) == 0) return true;
    }
    return false;
}

static pumice_status expected(VkResult error)
{
    return error == VK_ERROR_OUT_OF_HOST_MEMORY ? PUMICE_ERROR_HOST_MEMORY
           : error == VK_ERROR_DEVICE_LOST      ? PUMICE_ERROR_DEVICE_LOST
                                                : PUMICE_ERROR_DEVICE_MEMORY;
}

/* `thin`: of the later calls only some, since what differs between errors is only what they are
 * turned into. */
static long fail_every_call(const config *c, VkResult error, bool thin)
{
    for (long n = 1;; n += thin ? 1 + n / 16 : 1) {
        pumice_error err = { 0 };
        fault_vk_arm(n, error);
        pumice_status status = whole_life(c, &err);
        const char *name = fault_vk_failed();
        if (fault_vk_live() != 0) {
            fail_msg("%s: call %ld (%s) left %ld objects", c->name, n, name ? name : "none",
                     fault_vk_live());
        }
        if (!name) {
            assert_int_equal(status, PUMICE_OK);
            return n - 1;
        }
        if (status == PUMICE_OK) {
            if (!may_be_absorbed(name) && !c->twin) {
                fail_msg("%s: the failure of %s (call %ld) went unnoticed", c->name, name, n);
            }
            continue;
        }
        if (status != expected(error) || err.status != status || strlen(err.text) < 10) {
            fail_msg("%s: %s (call %ld) gave status %d: '%s'", c->name, name, n, (int)status,
                     err.text);
        }
    }
}

static void test_every_call_fails_once(void **state)
{
    (void)state;
    static const VkResult errors[] = { VK_ERROR_OUT_OF_HOST_MEMORY, VK_ERROR_OUT_OF_DEVICE_MEMORY,
                                       VK_ERROR_DEVICE_LOST };
    const char *driver = getenv("VK_ICD_FILENAMES");
    bool slow = driver && strstr(driver, "swiftshader"); /* takes half a second for a life */
    for (size_t c = 0; c < PUM_COUNT(configs); c++) {
        for (size_t e = 0; e < PUM_COUNT(errors); e++) {
            long calls = fail_every_call(&configs[c], errors[e], slow || e > 0 || configs[c].twin);
            print_message("%s: %s of %ld calls failed with %d\n", configs[c].name,
                          slow || e || configs[c].twin ? "some" : "each", calls, (int)errors[e]);
            assert_true(calls > 50);
        }
    }
    fault_vk_honest();
}

static void test_opening_with_validation_fails_once(void **state)
{
    (void)state;
    if (!vk_want_validation()) skip();
    config c = { "validation", 0, true, false, ONE_QUEUE };
    for (long n = 1;; n++) {
        pum_vk_params p = params_of(&c);
        pum_vk_device *d = NULL;
        pumice_error err = { 0 };
        fault_vk_arm(n, VK_ERROR_OUT_OF_HOST_MEMORY);
        pumice_status status = pum_vk_device_create(&p, &d, &err);
        assert_int_equal(status != PUMICE_OK, d == NULL);
        bool untouched = !fault_vk_failed();
        pum_vk_device_destroy(&d);
        assert_int_equal(fault_vk_live(), 0);
        if (untouched) break;
        if (fault_vk_failed() && status == PUMICE_OK) continue;
        assert_int_equal(status, PUMICE_ERROR_HOST_MEMORY);
    }
    fault_vk_honest();
}

static void test_no_driver(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        VkResult error;
        const char *word;
    } rows[] = {
        { "vkCreateInstance", VK_ERROR_INCOMPATIBLE_DRIVER, "driver" },
        { "vkCreateInstance", VK_ERROR_LAYER_NOT_PRESENT, "VK_ERROR_LAYER_NOT_PRESENT" },
        { "vkEnumeratePhysicalDevices", VK_ERROR_INITIALIZATION_FAILED, "driver" },
        { "vkCreateDevice", VK_ERROR_INITIALIZATION_FAILED, "opening the device" },
    };
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        pum_vk_params p = params_of(&configs[0]);
        pum_vk_device *d = NULL;
        pumice_error err = { 0 };
        fault_vk_arm_name(rows[i].call, rows[i].error);
        assert_int_equal(pum_vk_device_create(&p, &d, &err), PUMICE_ERROR_NO_DEVICE);
        print_message("%s\n", err.text);
        assert_non_null(strstr(err.text, rows[i].word));
        assert_int_equal(fault_vk_live(), 0);
    }
    fault_vk_honest();
}

static void test_lost_device(void **state)
{
    (void)state;
    static const char *const by[2][2] = { { "vkQueueSubmit", "vkWaitSemaphores" },
                                          { "vkQueueSubmit", "vkWaitForFences" } };
    for (size_t c = 0; c < 2; c++) {
        for (size_t i = 0; i < 2; i++) {
            pum_vk_params p = params_of(&configs[c]);
            pum_vk_device *d = vk_open(&p);
            pum_vk_buffer arena;
            pum_exec *exec = NULL, *second = NULL;
            pum_plan plan;
            pumice_error err = { 0 };
            uint64_t ticket;
            vk_counter_plan(&plan, false);
            assert_vk_ok(
                pum_vk_buffer_create(d, PUM_VK_DEVICE, plan.arena_bytes, "arena", &arena, &err),
                err);
            pum_exec_buffers buffers = { .arena = &arena };
            assert_vk_ok(pum_exec_create(d, &plan, &buffers, false, &exec, &err), err);
            assert_false(pum_vk_device_is_lost(d));
            fault_vk_arm_name(by[c][i], VK_ERROR_DEVICE_LOST);
            assert_int_equal(pum_exec_run(exec, NULL, &err), PUMICE_ERROR_DEVICE_LOST);
            if (c == 0 && i == 0) print_message("%s\n", err.text);
            assert_non_null(strstr(err.text, "destroy it"));
            assert_true(pum_vk_device_is_lost(d));
            fault_vk_arm(0, VK_SUCCESS); /* even if the driver came back to life: lost is lost */
            pum_error_clear(&err);
            assert_int_equal(pum_exec_submit(exec, NULL, &ticket, &err), PUMICE_ERROR_DEVICE_LOST);
            pum_error_clear(&err);
            assert_int_equal(pum_vk_wait(d, 1, &err), PUMICE_ERROR_DEVICE_LOST);
            pum_error_clear(&err);
            assert_int_equal(pum_exec_create(d, &plan, &buffers, false, &second, &err),
                             PUMICE_ERROR_DEVICE_LOST);
            assert_null(second);
            pum_exec_destroy(&exec);
            pum_vk_buffer_destroy(d, &arena);
            pum_vk_device_destroy(&d);
            pum_plan_free(&plan);
            assert_int_equal(fault_vk_live(), 0);
            pum_error_clear(&err);
            assert_vk_ok(whole_life(&configs[c], &err), err); /* a new device works */
        }
    }
    fault_vk_honest();
}

/* A wait that times out goes on waiting. */
static void test_long_waits(void **state)
{
    (void)state;
    static const char *const by[2] = { "vkWaitSemaphores", "vkWaitForFences" };
    for (size_t c = 0; c < 2; c++) {
        pumice_error err = { 0 };
        fault_vk_arm_name(by[c], VK_TIMEOUT);
        assert_vk_ok(whole_life(&configs[c], &err), err);
        assert_non_null(fault_vk_failed());
    }
    fault_vk_honest();
}

static void test_full_device(void **state)
{
    (void)state;
    pum_vk_params p = params_of(&configs[0]);
    pum_vk_device *d = vk_open(&p);
    pum_vk_buffer b;
    pumice_error err = { 0 };
    fault_vk_arm_name("vkAllocateMemory", VK_ERROR_OUT_OF_DEVICE_MEMORY);
    assert_int_equal(pum_vk_buffer_create(d, PUM_VK_DEVICE, 3 << 20, "weights", &b, &err),
                     PUMICE_ERROR_DEVICE_MEMORY);
    print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, "weights: 3 MiB asked, 0 MiB used"));
    assert_int_equal(pum_vk_device_used_bytes(d), 0);
    pum_vk_device_destroy(&d);
    fault_vk_honest();
}

/* ---- pretended devices ---- */

static void test_old_versions(void **state)
{
    (void)state;
    static const uint32_t too_old[] = { 0, VK_API_VERSION_1_0 };
    for (size_t i = 0; i < PUM_COUNT(too_old); i++) {
        pum_vk_params p = params_of(&configs[0]);
        pum_vk_device *d = NULL;
        pumice_error err = { 0 };
        fault_vk_pretend_version(too_old[i]);
        assert_int_equal(pum_vk_device_create(&p, &d, &err), PUMICE_ERROR_NO_DEVICE);
        assert_non_null(strstr(err.text, "1.1"));
    }
    static const uint32_t old[] = { VK_API_VERSION_1_1, VK_API_VERSION_1_2 };
    for (size_t i = 0; i < PUM_COUNT(old); i++) {
        vk_log log = { 0 };
        pumice_error err = { 0 };
        fault_vk_pretend_version(old[i]);
        pum_vk_params p = vk_params(&log,
                                    0); /* validation knows what may be chained in which version */
        p.get_instance_proc_addr = fault_vk_loader();
        pum_vk_device *d = vk_open(&p);
        print_message("Vulkan 1.%u: bits 0x%x\n", VK_API_VERSION_MINOR(old[i]),
                      pum_vk_device_caps(d)->bits);
        pum_vk_device_destroy(&d);
        assert_int_equal(log.errors, 0);
        assert_vk_ok(whole_life(&configs[0], &err), err);
        assert_vk_ok(whole_life(&configs[1], &err), err);
    }
    fault_vk_honest();
}

static void few_buffers(VkPhysicalDeviceProperties2 *p)
{
    p->properties.limits.maxPerStageDescriptorStorageBuffers = 4;
}

static void little_shared_memory(VkPhysicalDeviceProperties2 *p)
{
    p->properties.limits.maxComputeSharedMemorySize = 8192;
}

static void no_subgroup_arithmetic(VkPhysicalDeviceProperties2 *p)
{
    for (VkBaseOutStructure *s = (VkBaseOutStructure *)p; s; s = s->pNext) {
        if (s->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES) continue;
        ((VkPhysicalDeviceSubgroupProperties *)s)->supportedOperations =
            VK_SUBGROUP_FEATURE_BASIC_BIT;
    }
}

static void see_why_not(void *user, uint32_t index, const pum_caps *caps, const char *uuid,
                        const char *why_not)
{
    (void)index, (void)caps, (void)uuid;
    snprintf(user, 128, "%s", why_not);
}

static void test_weak_devices(void **state)
{
    (void)state;
    static const struct {
        void (*edit)(VkPhysicalDeviceProperties2 *);
        const char *why_not;
    } rows[] = {
        { few_buffers, "it has 4 storage buffers per shader, but 8 are needed" },
        { little_shared_memory, "it has 8192 bytes of shared memory, but 16384 are needed" },
    };
    pum_vk_params p = params_of(&configs[0]);
    pum_vk_device *d = NULL;
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        pumice_error err = { 0 };
        char why_not[128] = "";
        fault_vk_pretend_properties(rows[i].edit);
        assert_vk_ok(pum_vk_list(&p, see_why_not, why_not, &err), err);
        assert_string_equal(why_not, rows[i].why_not);
        const char *select[] = { NULL, "0", "cpu" };
        for (size_t k = 0; k < PUM_COUNT(select); k++) {
            p.select = select[k];
            pum_error_clear(&err);
            assert_int_equal(pum_vk_device_create(&p, &d, &err), PUMICE_ERROR_NO_DEVICE);
            assert_non_null(strstr(err.text, rows[i].why_not));
        }
        p.select = NULL;
    }
    fault_vk_pretend_properties(no_subgroup_arithmetic);
    d = vk_open(&p);
    assert_int_equal(pum_vk_device_caps(d)->bits & PUM_CAP_SUBGROUP, 0);
    pum_vk_device_destroy(&d);
    fault_vk_honest();
}

static VkPipelineShaderStageCreateFlags seen_flags;
static uint32_t seen_size; /* of subgroups asked for, 0 = none */

static void see_pipeline(const VkComputePipelineCreateInfo *p)
{
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo *size = p->stage.pNext;
    seen_flags = p->stage.flags;
    seen_size = size ? size->requiredSubgroupSize : 0;
}

/* One larger size than there is: then a size must be asked for. */
static void several_subgroup_sizes(VkPhysicalDeviceProperties2 *p)
{
    for (VkBaseOutStructure *s = (VkBaseOutStructure *)p; s; s = s->pNext) {
        if (s->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES) continue;
        ((VkPhysicalDeviceSubgroupSizeControlProperties *)s)->maxSubgroupSize *= 2;
    }
}

/* Full subgroups are asked for by kernels that have some, where the workgroup is a whole number of them. */
static void test_full_subgroups(void **state)
{
    (void)state;
    static const struct {
        uint32_t kernel, disable;
        uint32_t wg_quarters; /* of the driver's size of subgroups */
        bool several, full;
    } rows[] = {
        { PUM_KERNEL_softmax_sub, 0, 4, false, true },
        { PUM_KERNEL_softmax_sub, 0, 8, false, true },
        { PUM_KERNEL_softmax_sub, 0, 2, false, false }, /* half of a subgroup */
        { PUM_KERNEL_softmax_base, 0, 8, false, false },
        { PUM_KERNEL_softmax_sub, PUM_CAP_FULL_SUBGROUPS, 8, false, false },
        { PUM_KERNEL_softmax_sub, PUM_CAP_SUBGROUP_SIZE_CONTROL, 8, false, true },
        { PUM_KERNEL_softmax_sub, 0, 4, true, true },
        { PUM_KERNEL_softmax_sub, 0, 2, true, false },
    };
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        pumice_error err = { 0 };
        pum_vk_pipeline pipeline;
        vk_log log = { 0 };
        pum_vk_params p = vk_params(&log, rows[i].disable);
        p.get_instance_proc_addr = fault_vk_loader();
        if (rows[i].several) fault_vk_pretend_properties(several_subgroup_sizes);
        fault_vk_watch_pipelines(see_pipeline);
        pum_vk_device *d = vk_open(&p);
        uint32_t size = pum_vk_device_caps(d)->subgroup_size;
        pum_vk_pipeline_key key = { rows[i].kernel, { rows[i].wg_quarters * size / 4 } };
        assert_vk_ok(pum_vk_pipeline_get(d, &key, &pipeline, &err), err);
        assert_int_equal(seen_flags, rows[i].full ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0);
        assert_int_equal(seen_size, rows[i].several ? size : 0);
        pum_vk_device_destroy(&d);
        assert_int_equal(log.errors, 0);
        fault_vk_honest();
    }
}

static void not_coherent(VkPhysicalDeviceMemoryProperties *memory)
{
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
        memory->memoryTypes[i].propertyFlags &= ~(
            VkMemoryPropertyFlags)VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    }
}

/* Flushes and invalidations are made and are within the rules: offsets, sizes and ends of odd
 * lengths. */
static void test_memory_that_is_not_coherent(void **state)
{
    (void)state;
    static const uint32_t disable[] = { 0, PUM_CAP_UNIFIED };
    fault_vk_pretend_memory(not_coherent);
    for (size_t i = 0; i < PUM_COUNT(disable); i++) {
        vk_log log = { 0 };
        pum_vk_params p = vk_params(&log, disable[i]);
        p.get_instance_proc_addr = fault_vk_loader();
        pum_vk_device *d = vk_open(&p);
        pumice_error err = { 0 };
        pum_vk_buffer b, shared;
        uint8_t out[5000], in[5000];
        for (size_t k = 0; k < sizeof out; k++) out[k] = (uint8_t)(k * 7);
        for (uint64_t bytes = 1; bytes < sizeof out; bytes = bytes * 3 + 1) {
            assert_vk_ok(pum_vk_buffer_create(d, PUM_VK_DEVICE, bytes, "odd", &b, &err), err);
            assert_false(b.coherent);
            assert_vk_ok(pum_vk_buffer_write(d, &b, 0, out, bytes, &err), err);
            assert_vk_ok(
                pum_vk_buffer_write(d, &b, bytes / 2, out + bytes / 2, bytes - bytes / 2, &err),
                err);
            assert_vk_ok(pum_vk_buffer_read(d, &b, 0, in, bytes, &err), err);
            assert_memory_equal(in, out, bytes);
            pum_vk_buffer_destroy(d, &b);
        }
        /* Vulkan promises a coherent type; without it a shared buffer is refused, not handed out */
        assert_int_equal(pum_vk_buffer_create(d, PUM_VK_SHARED, 64, "shared", &shared, &err),
                         PUMICE_ERROR_DEVICE_MEMORY);
        fault_vk_arm_name("vkFlushMappedMemoryRanges", VK_ERROR_OUT_OF_HOST_MEMORY);
        pum_error_clear(&err);
        assert_vk_ok(pum_vk_buffer_create(d, PUM_VK_DEVICE, 100, "odd", &b, &err), err);
        assert_int_equal(pum_vk_buffer_write(d, &b, 0, out, 100, &err), PUMICE_ERROR_HOST_MEMORY);
        pum_vk_buffer_destroy(d, &b);
        pum_vk_device_destroy(&d);
        assert_int_equal(log.errors, 0);
    }
    fault_vk_honest();
}

/* Uploads go to the queue that copies alone, each change of queue waits, and only where there are timelines. */
static void test_transfer_queue(void **state)
{
    (void)state;
    const bool validate = vk_want_validation();
    const config rows[] = { { "two families", PUM_CAP_UNIFIED, validate, false, APART },
                            { "emulated", PUM_CAP_UNIFIED, validate, false, EMULATED },
                            { "emulated, but fences", PUM_CAP_UNIFIED | PUM_CAP_TIMELINE, validate, false, EMULATED } };
    messages = (vk_log){ 0 };
    two_families_vk_begin();
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        pumice_error err = { 0 };
        assert_vk_ok(whole_life(&rows[i], &err), err);
        pum_vk_params p = params_of(&rows[i]);
        pum_vk_device *d = vk_open(&p);
        bool timeline = !(rows[i].disable & PUM_CAP_TIMELINE);
        assert_int_equal(!!(pum_vk_device_caps(d)->bits & PUM_CAP_TRANSFER), timeline);
        pum_vk_device_destroy(&d);
    }
    assert_int_equal(messages.errors, 0);
    assert_int_equal(two_families_vk_faults(), 0);
    /* two chunks written, one of a stream, the arena; a read, a move and the plan between and after them */
    assert_int_equal(two_families_vk_uploads(), 4);
    assert_int_equal(two_families_vk_waits(), 5);
    fault_vk_honest();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_fails_once),
        cmocka_unit_test(test_opening_with_validation_fails_once),
        cmocka_unit_test(test_no_driver),
        cmocka_unit_test(test_lost_device),
        cmocka_unit_test(test_long_waits),
        cmocka_unit_test(test_full_device),
        cmocka_unit_test(test_old_versions),
        cmocka_unit_test(test_weak_devices),
        cmocka_unit_test(test_full_subgroups),
        cmocka_unit_test(test_memory_that_is_not_coherent),
        cmocka_unit_test(test_transfer_queue),
    };
    if (!fault_vk_loader()) {
        printf("no Vulkan loader\n");
        return 77;
    }
    test_keep_modules();
    return cmocka_run_group_tests(tests, no_log, clean);
}
