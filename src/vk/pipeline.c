/* SPDX-License-Identifier: Apache-2.0
 * Pipelines by (kernel, specialisation constants): a hash map that only grows, filled by as many
 * threads as there are cores, since drivers take milliseconds to seconds for one. Layouts depend on
 * the number and kinds of bindings alone, so that one descriptor set layout serves many kernels. Which
 * pipelines are needed is the caller's business. */
#include "vk_internal.h"

#include <stdlib.h>
#include <string.h>

#include "kernels_spv.h"

enum { MAX_WORKERS = 16, FIRST_CAPACITY = 64 };

/* ---- layouts ---- */

static pumice_status create_layout(pum_vk_device *device, struct pum_vk_layout *l, pumice_error *err)
{
    VkDescriptorSetLayoutBinding bindings[PUM_MAX_BINDINGS];
    for (uint32_t i = 0; i < PUM_MAX_BINDINGS; i++) {
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorCount = 1,
            .descriptorType = l->texel_bits >> i & 1 ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER
                                                     : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT
        };
    }
    VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = l->n_bindings,
        .pBindings = bindings
    };
    VkResult r = device->table.vkCreateDescriptorSetLayout(device->handle, &set, NULL, &l->set);
    if (r != VK_SUCCESS) {
        l->set = VK_NULL_HANDLE;
        return pum_vk_fail(device, r, "creating a descriptor set layout", err);
    }
    VkPushConstantRange push = { .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
                                 .size = PUM_MAX_ARGS_BYTES };
    VkPipelineLayoutCreateInfo layout = { .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                          .setLayoutCount = 1,
                                          .pSetLayouts = &l->set,
                                          .pushConstantRangeCount = 1,
                                          .pPushConstantRanges = &push };
    r = device->table.vkCreatePipelineLayout(device->handle, &layout, NULL, &l->pipeline);
    if (r != VK_SUCCESS) {
        l->pipeline = VK_NULL_HANDLE;
        return pum_vk_fail(device, r, "creating a pipeline layout", err);
    }
    return PUMICE_OK;
}

static pumice_status create_layouts(pum_vk_device *device, pumice_error *err)
{
    pum_vk_pipelines *p = &device->pipelines;
    for (uint32_t k = 0; k < PUM_KERNEL_COUNT; k++) {
        const pum_kernel_info *info = &pum_kernels[k];
        uint32_t texel_bits = 0, i = 0;
        for (uint32_t b = 0; b < info->n_bindings; b++) {
            if (info->access[b] == PUM_ACCESS_TEXEL) texel_bits |= 1u << b;
        }
        while (i < p->n_layouts && (p->layout[i].n_bindings != info->n_bindings
                                    || p->layout[i].texel_bits != texel_bits)) {
            i++;
        }
        if (i == PUM_VK_MAX_LAYOUTS) {
            return pum_fail(err, PUMICE_ERROR_INTERNAL, "kernels need more than %d layouts",
                            PUM_VK_MAX_LAYOUTS);
        }
        p->layout_of[k] = (uint8_t)i;
        if (i < p->n_layouts) continue;
        p->layout[p->n_layouts] =
            (struct pum_vk_layout){ .n_bindings = info->n_bindings, .texel_bits = texel_bits };
        PUM_TRY(create_layout(device, &p->layout[p->n_layouts++], err));
    }
    return PUMICE_OK;
}

pumice_status pum_vk_pipelines_init(pum_vk_device *device, const char *cache_dir, pumice_error *err)
{
    if (pthread_mutex_init(&device->pipelines.lock, NULL) != 0) {
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the pipelines' lock");
    }
    device->have_pipelines_lock = true;
    PUM_TRY(create_layouts(device, err));
    return cache_dir ? pum_vk_pipeline_cache_load(device, cache_dir, err) : PUMICE_OK;
}

void pum_vk_pipelines_free(pum_vk_device *device)
{
    pum_vk_pipelines *p = &device->pipelines;
    const struct VolkDeviceTable *t = &device->table;
    for (size_t i = 0; i < p->capacity; i++) {
        if (p->slots[i].pipeline) t->vkDestroyPipeline(device->handle, p->slots[i].pipeline, NULL);
    }
    for (uint32_t i = 0; i < p->n_layouts; i++) {
        const struct pum_vk_layout *l = &p->layout[i];
        if (l->pipeline) t->vkDestroyPipelineLayout(device->handle, l->pipeline, NULL);
        if (l->set) t->vkDestroyDescriptorSetLayout(device->handle, l->set, NULL);
    }
    if (p->cache) t->vkDestroyPipelineCache(device->handle, p->cache, NULL);
    pum_free(p->slots);
    pum_free(p->cache_dir);
    pum_free(p->cache_path);
    if (device->have_pipelines_lock) pthread_mutex_destroy(&p->lock);
    device->have_pipelines_lock = false;
    *p = (pum_vk_pipelines){ 0 };
}

/* ---- the map; under the lock ---- */

static bool same_key(const pum_vk_pipeline_key *a, const pum_vk_pipeline_key *b)
{
    return a->kernel == b->kernel && memcmp(a->spec, b->spec, sizeof a->spec) == 0;
}

static uint64_t hash_key(const pum_vk_pipeline_key *key)
{
    uint64_t h = pum_hash(PUM_HASH_START, &key->kernel, sizeof key->kernel);
    return pum_hash(h, key->spec, sizeof key->spec);
}

/* The key's slot, or the free one where it belongs; NULL while there is no table. */
static pum_vk_pipeline_slot *find_slot(const pum_vk_pipelines *p, const pum_vk_pipeline_key *key)
{
    if (!p->capacity) return NULL;
    size_t i = (size_t)hash_key(key) & (p->capacity - 1);
    while (p->slots[i].pipeline && !same_key(&p->slots[i].key, key)) {
        i = (i + 1) & (p->capacity - 1);
    }
    return &p->slots[i];
}

/* Room for `more` keys with at least half of the slots free. */
static bool reserve(pum_vk_pipelines *p, size_t more)
{
    size_t capacity = PUM_MAX(p->capacity, (size_t)FIRST_CAPACITY);
    while (capacity < 2 * (p->count + more)) capacity *= 2;
    if (capacity == p->capacity) return true;
    pum_vk_pipeline_slot *slots = pum_alloc_array(capacity, sizeof *slots);
    if (!slots) return false;
    pum_vk_pipelines grown = { .slots = slots, .capacity = capacity };
    for (size_t i = 0; i < p->capacity; i++) {
        if (p->slots[i].pipeline) *find_slot(&grown, &p->slots[i].key) = p->slots[i];
    }
    pum_free(p->slots);
    p->slots = slots;
    p->capacity = capacity;
    return true;
}

static bool has_key(const pum_vk_pipelines *p, const pum_vk_pipeline_key *key)
{
    const pum_vk_pipeline_slot *slot = find_slot(p, key);
    return slot && slot->pipeline;
}

/* ---- creation ---- */

/* Kernels with subgroups count on full ones wherever the workgroup is a whole number of them; where it is not, they
 * count their lanes, and Vulkan does not allow to ask (VUID-VkPipelineShaderStageCreateInfo-flags-02759 and
 * pNext-02757). */
static bool wants_full(const pum_vk_device *device, const pum_vk_pipeline_key *key, bool pinned)
{
    const pum_caps *c = &device->snapshot.caps;
    uint32_t size = pinned ? c->subgroup_size : device->snapshot.subgroup_size, wg = key->spec[0];
    return (pum_kernels[key->kernel].needs & PUM_CAP_SUBGROUP) && (c->bits & PUM_CAP_FULL_SUBGROUPS) && size &&
           wg % size == 0;
}

static pumice_status create_pipeline(pum_vk_device *device, const pum_vk_pipeline_key *key,
                                     VkPipeline *out_pipeline, pumice_error *err)
{
    const struct VolkDeviceTable *t = &device->table;
    const pum_kernel_info *k = &pum_kernels[key->kernel];
    VkShaderModuleCreateInfo module = { .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                        .codeSize = pum_kernel_spirv[key->kernel].bytes,
                                        .pCode = pum_kernel_spirv[key->kernel].words };
    const pum_vk_kernel_words *other = device->replaced;
    if (other && other->kernel == key->kernel) {
        module.codeSize = other->bytes;
        module.pCode = other->words;
    }
    VkShaderModule shader;
    *out_pipeline = VK_NULL_HANDLE;
    VkResult r = t->vkCreateShaderModule(device->handle, &module, NULL, &shader);
    if (r != VK_SUCCESS) return pum_vk_fail(device, r, "creating a shader module", err);
    VkSpecializationMapEntry entries[PUM_MAX_SPEC];
    for (uint32_t i = 0; i < k->n_spec; i++) entries[i] = (VkSpecializationMapEntry){ i, 4 * i, 4 };
    VkSpecializationInfo spec = { .mapEntryCount = k->n_spec,
                                  .pMapEntries = entries,
                                  .dataSize = 4u * k->n_spec,
                                  .pData = key->spec };
    /* what the plan counted on, where the driver could do otherwise */
    const pum_caps *c = &device->snapshot.caps;
    bool pin = (k->needs & PUM_CAP_SUBGROUP) && c->subgroup_min < c->subgroup_max &&
               pum_caps_may_pin(c, c->subgroup_size);
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = c->subgroup_size
    };
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = { .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                   .pNext = pin ? &size : NULL,
                   .flags = wants_full(device, key, pin) ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT
                                                         : 0,
                   .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                   .module = shader,
                   .pName = "main",
                   .pSpecializationInfo = &spec },
        .layout = device->pipelines.layout[device->pipelines.layout_of[key->kernel]].pipeline,
    };
    r = t->vkCreateComputePipelines(device->handle, device->pipelines.cache, 1, &info, NULL,
                                    out_pipeline);
    t->vkDestroyShaderModule(device->handle, shader, NULL);
    if (r != VK_SUCCESS) {
        char what[96] = "creating the pipeline of ";
        strncat(what, k->name, sizeof what - strlen(what) - 1);
        *out_pipeline = VK_NULL_HANDLE;
        return pum_vk_fail(device, r, what, err);
    }
    pum_vk_name(device, VK_OBJECT_TYPE_PIPELINE, (uint64_t)*out_pipeline, k->name);
    return PUMICE_OK;
}

/* What the workers of one prepare share: each takes the next job until there is none or one has
 * failed. */
typedef struct job_list {
    pum_vk_device *device;
    const pum_vk_pipeline_key *keys;
    VkPipeline *made;
    size_t count, n_first; /* those behind n_first are compiled elsewhere first */
    atomic_size_t next;
    atomic_bool failed;
} job_list;

typedef struct worker {
    job_list *jobs;
    bool is_caller;
    pthread_t thread;
    pumice_status status;
    pumice_error err;
} worker;

static void *work(void *user)
{
    worker *w = user;
    job_list *j = w->jobs;
    if (!w->is_caller) pum_heap_reserve();
    while (w->status == PUMICE_OK && !atomic_load(&j->failed)) {
        size_t i = atomic_fetch_add(&j->next, 1);
        if (i >= j->count) break;
        w->status = create_pipeline(j->device, &j->keys[i], &j->made[i], &w->err);
        if (w->status == PUMICE_OK && i < j->n_first) {
            w->status = pum_vk_first_use_begin(j->device, j->keys[i].kernel, j->made[i], &w->err);
        }
        if (w->status != PUMICE_OK) atomic_store(&j->failed, true);
    }
    return NULL;
}

/* What takes the longest comes first, so that the workers end together. */
static int compare_costs(const void *a, const void *b)
{
    const pum_vk_pipeline_key *p = a, *q = b;
    uint32_t m = pum_vk_compile_cost(p->kernel), n = pum_vk_compile_cost(q->kernel);
    return m < n ? 1 : m > n ? -1 : 0;
}

static pumice_status run_jobs(job_list *jobs, pumice_error *err)
{
    size_t wanted = PUM_MIN(jobs->count, (size_t)PUM_MIN(pum_core_count(), (uint32_t)MAX_WORKERS)), n = 1;
    worker workers[MAX_WORKERS] = { 0 };
    for (size_t i = 0; i < wanted; i++) workers[i].jobs = jobs;
    /* the calling thread is worker 0: no thread at all is slower, not an error */
    workers[0].is_caller = true;
    while (n < wanted && pthread_create(&workers[n].thread, NULL, work, &workers[n]) == 0) n++;
    work(&workers[0]);
    for (size_t i = 1; i < n; i++) pthread_join(workers[i].thread, NULL);
    for (size_t i = 0; i < n; i++) {
        if (workers[i].status != PUMICE_OK) {
            return pum_fail(err, workers[i].status, "%s", workers[i].err.text);
        }
    }
    return PUMICE_OK;
}

/* Moves what was made into the map; a pipeline that another thread has made meanwhile is dropped.
 */
static pumice_status keep(pum_vk_device *device, job_list *jobs, pumice_error *err)
{
    pum_vk_pipelines *p = &device->pipelines;
    pumice_status status = PUMICE_OK;
    pthread_mutex_lock(&p->lock);
    if (!reserve(p, jobs->count)) {
        status = pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for pipelines");
    }
    for (size_t i = 0; i < jobs->count && status == PUMICE_OK; i++) {
        pum_vk_pipeline_slot *slot = find_slot(p, &jobs->keys[i]);
        if (!jobs->made[i] || slot->pipeline) continue;
        *slot = (pum_vk_pipeline_slot){ jobs->keys[i], jobs->made[i] };
        jobs->made[i] = VK_NULL_HANDLE;
        p->count++;
    }
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < jobs->count; i++) {
        if (!jobs->made[i]) continue;
        pum_vk_first_use_wait(device);
        device->table.vkDestroyPipeline(device->handle, jobs->made[i], NULL);
    }
    return status;
}

/* The keys that are not in the map, each once, their unused constants zero. */
static pumice_status find_missing(pum_vk_device *device, const pum_vk_pipeline_key *keys,
                                  size_t count, pum_vk_pipeline_key *out_missing, size_t *out_count,
                                  pumice_error *err)
{
    pum_vk_pipelines seen = { 0 };
    pumice_status status = PUMICE_OK;
    *out_count = 0;
    if (!reserve(&seen, count)) {
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for pipelines");
    }
    pthread_mutex_lock(&device->pipelines.lock);
    for (size_t i = 0; i < count; i++) {
        if (keys[i].kernel >= PUM_KERNEL_COUNT
            || (pum_kernels[keys[i].kernel].needs & ~device->snapshot.caps.bits)) {
            status = pum_fail(err, PUMICE_ERROR_INTERNAL, "kernel '%s' does not run on '%s'",
                              keys[i].kernel < PUM_KERNEL_COUNT ? pum_kernels[keys[i].kernel].name
                                                                : "?",
                              device->snapshot.caps.name);
            break;
        }
        pum_vk_pipeline_slot *slot = find_slot(&seen, &keys[i]);
        if (slot->pipeline || has_key(&device->pipelines, &keys[i])) continue;
        slot->key = keys[i];
        slot->pipeline = (VkPipeline)(uintptr_t)1; /* only a mark */
        seen.count++;
        out_missing[(*out_count)++] = keys[i];
    }
    pthread_mutex_unlock(&device->pipelines.lock);
    pum_free(seen.slots);
    return status;
}

pumice_status pum_vk_pipelines_prepare(pum_vk_device *device, const pum_vk_pipeline_key *keys,
                                       size_t count, pumice_error *err)
{
    if (atomic_load(&device->lost)) {
        return pum_vk_fail(device, VK_ERROR_DEVICE_LOST, "it was lost earlier", err);
    }
    pum_vk_pipeline_key *missing = pum_alloc_array(count, sizeof *missing);
    job_list jobs = { .device = device, .keys = missing };
    pumice_status status = PUMICE_OK;
    if (!missing) PUM_GOTO(pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for pipelines"));
    PUM_GOTO(find_missing(device, keys, count, missing, &jobs.count, err));
    if (jobs.count) {
        jobs.made = pum_alloc_array(jobs.count, sizeof *jobs.made);
        if (!jobs.made) {
            PUM_GOTO(pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for pipelines"));
        }
        uint64_t begin = pum_now_ns();
        qsort(missing, jobs.count, sizeof *missing, compare_costs);
        pum_vk_twin_work twin;
        jobs.n_first = jobs.count - pum_vk_twin_begin(device, missing, jobs.count, &twin);
        status = run_jobs(&jobs, err);
        pum_vk_twin_end(&twin);
        for (size_t i = jobs.n_first; i < jobs.count && status == PUMICE_OK; i++) {
            status = pum_vk_first_use_begin(device, missing[i].kernel, jobs.made[i], err);
        }
        pumice_status kept = keep(device, &jobs, status == PUMICE_OK ? err : NULL);
        if (status == PUMICE_OK) status = kept;
        pum_log_write(&device->log, PUMICE_LOG_DEBUG,
                      "%zu pipelines created in %.1f ms, %zu compiled by a second device first", jobs.count,
                      (double)(pum_now_ns() - begin) * 1e-6, jobs.count - jobs.n_first);
    }
fail:
    pum_free(jobs.made);
    pum_free(missing);
    return status;
}

pumice_status pum_vk_pipeline_get(pum_vk_device *device, const pum_vk_pipeline_key *key,
                                  pum_vk_pipeline *out_pipeline, pumice_error *err)
{
    pum_vk_pipelines *p = &device->pipelines;
    *out_pipeline = (pum_vk_pipeline){ 0 };
    pthread_mutex_lock(&p->lock);
    bool there = has_key(p, key);
    pthread_mutex_unlock(&p->lock);
    if (!there) PUM_TRY(pum_vk_pipelines_prepare(device, key, 1, err));
    pthread_mutex_lock(&p->lock);
    VkPipeline pipeline = find_slot(p, key)->pipeline;
    pthread_mutex_unlock(&p->lock);
    const struct pum_vk_layout *l = &p->layout[p->layout_of[key->kernel]];
    *out_pipeline = (pum_vk_pipeline){ pipeline, l->pipeline, l->set };
    return PUMICE_OK;
}
