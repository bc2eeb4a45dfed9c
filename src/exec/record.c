/* SPDX-License-Identifier: Apache-2.0
 * Steps to commands: the only place in the project that dispatches work. Walks the plan's steps in order
 * and writes down what they say; barriers stand where the plan has them, and between passes.
 * Decides nothing. The command buffers may be submitted again while they are pending, so that
 * several passes are in flight. */
#include "exec_internal.h"

#include <string.h>

pum_vk_buffer *pum_exec_buffer(const pum_exec_buffers *buffers, uint32_t number)
{
    if (number >= PUM_BUFFER_WEIGHT) {
        uint32_t i = number - PUM_BUFFER_WEIGHT;
        return i < buffers->n_weights ? &buffers->weights[i] : NULL;
    }
    if (number >= PUM_BUFFER_KV) {
        uint32_t i = number - PUM_BUFFER_KV;
        return i < buffers->n_kv ? &buffers->kv[i] : NULL;
    }
    switch (number) {
    case PUM_BUFFER_ARENA:
        return buffers->arena;
    case PUM_BUFFER_STEP:
        return buffers->step;
    case PUM_BUFFER_LOGITS:
        return buffers->logits;
    case PUM_BUFFER_HIDDEN:
        return buffers->hidden;
    default:
        return NULL;
    }
}

pumice_status pum_exec_check_kernels(const pum_plan *plan, pumice_error *err)
{
    for (size_t i = 0; i < plan->steps.count; i++) {
        const pum_step *step = &plan->steps.data[i];
        if (step->kernel < PUM_KERNEL_COUNT) continue;
        return pum_fail(err, PUMICE_ERROR_INTERNAL, "step '%s' names no kernel", step->label);
    }
    return PUMICE_OK;
}

pum_vk_pipeline_key pum_exec_key(const pum_step *step)
{
    pum_vk_pipeline_key key = { .kernel = step->kernel };
    for (uint32_t s = 0; s < pum_kernels[step->kernel].n_spec; s++) key.spec[s] = step->spec[s];
    return key;
}

/* ---- descriptors ---- */

static pumice_status create_pool(pum_exec *x, const pum_plan *plan, pumice_error *err)
{
    uint32_t n_storage = 0, n_texel = 0;
    for (size_t i = 0; i < x->n_steps; i++) {
        const pum_kernel_info *k = &pum_kernels[plan->steps.data[i].kernel];
        for (uint32_t b = 0; b < k->n_bindings; b++) {
            if (k->access[b] == PUM_ACCESS_TEXEL) n_texel++;
            else n_storage++;
        }
    }
    VkDescriptorPoolSize sizes[2] = { { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, n_storage },
                                      { VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, n_texel } };
    VkDescriptorPoolCreateInfo info = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                        .maxSets = (uint32_t)x->n_steps,
                                        .poolSizeCount = n_texel ? 2 : 1,
                                        .pPoolSizes = sizes };
    VkResult r = pum_vk_table(x->device)->vkCreateDescriptorPool(pum_vk_handle(x->device), &info,
                                                                 NULL, &x->descriptor_pool);
    if (r != VK_SUCCESS) {
        x->descriptor_pool = VK_NULL_HANDLE;
        return pum_vk_fail(x->device, r, "creating a descriptor pool", err);
    }
    if (!n_texel) return PUMICE_OK;
    x->views = pum_alloc_array(n_texel, sizeof *x->views);
    return x->views ? PUMICE_OK
                    : pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to record a plan");
}

/* The range as texels. Owned by the exec. */
static pumice_status make_view(pum_exec *x, const pum_vk_buffer *buffer, const pum_binding *b,
                               VkBufferView *out_view, pumice_error *err)
{
    VkBufferViewCreateInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
                                    .buffer = buffer->buffer,
                                    .format = PUM_VK_TEXEL_FORMAT,
                                    .offset = b->offset_bytes,
                                    .range = pum_vk_texel_range(x->device, buffer, b->offset_bytes, b->size_bytes) };
    VkResult r = pum_vk_table(x->device)->vkCreateBufferView(pum_vk_handle(x->device), &info, NULL,
                                                             out_view);
    if (r != VK_SUCCESS) return pum_vk_fail(x->device, r, "creating a buffer view", err);
    x->views[x->n_views++] = *out_view;
    return PUMICE_OK;
}

static pumice_status write_set(pum_exec *x, const pum_step *step, const pum_exec_buffers *buffers,
                               VkDescriptorSetLayout layout, VkDescriptorSet *out_set,
                               pumice_error *err)
{
    const struct VolkDeviceTable *t = pum_vk_table(x->device);
    const pum_kernel_info *k = &pum_kernels[step->kernel];
    VkDescriptorBufferInfo ranges[PUM_MAX_BINDINGS];
    VkBufferView views[PUM_MAX_BINDINGS];
    VkWriteDescriptorSet writes[PUM_MAX_BINDINGS];
    VkDescriptorSetAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                         .descriptorPool = x->descriptor_pool,
                                         .descriptorSetCount = 1,
                                         .pSetLayouts = &layout };
    VkResult r = t->vkAllocateDescriptorSets(pum_vk_handle(x->device), &info, out_set);
    if (r != VK_SUCCESS) return pum_vk_fail(x->device, r, "allocating a descriptor set", err);
    for (uint32_t i = 0; i < k->n_bindings; i++) {
        const pum_binding *b = &step->bind[i];
        const pum_vk_buffer *buffer = pum_exec_buffer(buffers, b->buffer);
        if (!buffer || !buffer->buffer || b->size_bytes == 0 || b->offset_bytes > buffer->size_bytes
            || b->size_bytes > buffer->size_bytes - b->offset_bytes) {
            return pum_fail(err, PUMICE_ERROR_INTERNAL, "step '%s' binds '%s' beyond its buffer",
                            step->label, k->binding[i]);
        }
        ranges[i] = (VkDescriptorBufferInfo){ buffer->buffer, b->offset_bytes, b->size_bytes };
        writes[i] = (VkWriteDescriptorSet){ .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                            .dstSet = *out_set,
                                            .dstBinding = i,
                                            .descriptorCount = 1,
                                            .pBufferInfo = &ranges[i],
                                            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER };
        if (k->access[i] == PUM_ACCESS_TEXEL) {
            PUM_TRY(make_view(x, buffer, b, &views[i], err));
            writes[i].descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
            writes[i].pBufferInfo = NULL;
            writes[i].pTexelBufferView = &views[i];
        }
    }
    t->vkUpdateDescriptorSets(pum_vk_handle(x->device), k->n_bindings, writes, 0, NULL);
    return PUMICE_OK;
}

/* ---- commands ---- */

/* Everything before is done and seen by every shader after. At the beginning of a pass that
 * includes copies and the host's writes. */
static void wait_before(const struct VolkDeviceTable *t, VkCommandBuffer commands, bool pass_begins)
{
    VkMemoryBarrier memory = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_SHADER_READ_BIT
                                                | VK_ACCESS_SHADER_WRITE_BIT };
    VkPipelineStageFlags before = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    if (pass_begins) {
        memory.srcAccessMask |= VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_WRITE_BIT;
        before |= VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT;
    }
    t->vkCmdPipelineBarrier(commands, before, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &memory,
                            0, NULL, 0, NULL);
}

/* What the pass wrote is seen by the host and by copies. */
static void end_pass(const struct VolkDeviceTable *t, VkCommandBuffer commands)
{
    VkMemoryBarrier memory = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_HOST_READ_BIT
                                                | VK_ACCESS_TRANSFER_READ_BIT
                                                | VK_ACCESS_TRANSFER_WRITE_BIT };
    t->vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                            VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1,
                            &memory, 0, NULL, 0, NULL);
}

static pumice_status record_step(pum_exec *x, VkCommandBuffer commands, size_t i,
                                 const pum_step *step, const pum_exec_buffers *buffers,
                                 VkPipeline *bound, pumice_error *err)
{
    const struct VolkDeviceTable *t = pum_vk_table(x->device);
    const pum_kernel_info *k = &pum_kernels[step->kernel];
    pum_vk_pipeline_key key = pum_exec_key(step);
    pum_vk_pipeline p;
    PUM_TRY(pum_vk_pipeline_get(x->device, &key, &p, err));
    PUM_TRY(write_set(x, step, buffers, p.set_layout, &x->sets[i], err));
    pum_vk_label_begin(x->device, commands, step->label);
    if (*bound != p.pipeline) {
        t->vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, p.pipeline);
    }
    *bound = p.pipeline;
    t->vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, p.layout, 0, 1,
                               &x->sets[i], 0, NULL);
    if (k->args_bytes) {
        t->vkCmdPushConstants(commands, p.layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, k->args_bytes,
                              step->args);
    }
    t->vkCmdDispatch(commands, step->grid[0], step->grid[1], step->grid[2]);
    pum_vk_label_end(x->device, commands);
    return PUMICE_OK;
}

/* Records steps from `first` to the end of their submit into `commands`; *out_next is the step
 * after. */
static pumice_status record_submit(pum_exec *x, size_t number, VkCommandBuffer commands,
                                   const pum_plan *plan, size_t first,
                                   const pum_exec_buffers *buffers, size_t *out_next,
                                   pumice_error *err)
{
    const struct VolkDeviceTable *t = pum_vk_table(x->device);
    VkCommandBufferBeginInfo begin = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                       .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT };
    VkPipeline bound = VK_NULL_HANDLE;
    size_t i = first;
    bool last = false;
    VkResult r = t->vkBeginCommandBuffer(commands, &begin);
    if (r != VK_SUCCESS) return pum_vk_fail(x->device, r, "beginning a command buffer", err);
    if (x->queries && first == 0) pum_exec_profile_reset(x, commands);
    while (!last) {
        const pum_step *step = &plan->steps.data[i];
        if (step->barrier || i == 0) wait_before(t, commands, i == 0);
        if (x->queries && i == first) pum_exec_profile_stamp(x, commands, (uint32_t)(i + number));
        PUM_TRY(record_step(x, commands, i, step, buffers, &bound, err));
        if (x->queries) {
            x->query_of_step[i] = (uint32_t)(i + number + 1);
            pum_exec_profile_stamp(x, commands, x->query_of_step[i]);
        }
        i++;
        last = step->submit_end || i == x->n_steps;
    }
    if (i == x->n_steps) end_pass(t, commands);
    r = t->vkEndCommandBuffer(commands);
    if (r != VK_SUCCESS) return pum_vk_fail(x->device, r, "ending a command buffer", err);
    *out_next = i;
    return PUMICE_OK;
}

/* The keys of the plan's steps, each once; their number. */
static size_t collect_keys(const pum_plan *plan, pum_vk_pipeline_key *keys)
{
    size_t n = 0;
    for (size_t i = 0; i < plan->steps.count; i++) {
        pum_vk_pipeline_key key = pum_exec_key(&plan->steps.data[i]);
        size_t k = 0;
        while (k < n && memcmp(&keys[k], &key, sizeof key) != 0) k++;
        if (k == n) keys[n++] = key;
    }
    return n;
}

pumice_status pum_exec_prepare(pum_vk_device *device, const pum_plan *plan, atomic_int *cancel,
                               pumice_error *err)
{
    enum { SLICE = 16 }; /* between two looks at `cancel` */
    size_t n = 0;
    pum_vk_pipeline_key *keys = pum_alloc_array(plan->steps.count, sizeof *keys);
    if (!keys) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to record a plan");
    pumice_status status;
    PUM_GOTO(pum_exec_check_kernels(plan, err));
    n = collect_keys(plan, keys);
    for (size_t i = 0; i < n; i += SLICE) {
        if (cancel && atomic_load(cancel))
            PUM_GOTO(pum_fail(err, PUMICE_ERROR_CANCELLED, "the work was cancelled"));
        PUM_GOTO(pum_vk_pipelines_prepare(device, keys + i, PUM_MIN(n - i, (size_t)SLICE), err));
    }
fail:
    pum_free(keys);
    return status;
}

pumice_status pum_exec_record(pum_exec *exec, const pum_plan *plan, const pum_exec_buffers *buffers,
                              pumice_error *err)
{
    pum_exec *x = exec;
    const struct VolkDeviceTable *t = pum_vk_table(x->device);
    uint64_t begin = pum_now_ns();
    PUM_TRY(pum_exec_prepare(x->device, plan, NULL, err));
    x->pipeline_ns = pum_now_ns() - begin;
    PUM_TRY(create_pool(x, plan, err));
    VkCommandPoolCreateInfo pool = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                     .queueFamilyIndex = pum_vk_queue_family(x->device) };
    VkResult r = t->vkCreateCommandPool(pum_vk_handle(x->device), &pool, NULL, &x->command_pool);
    if (r != VK_SUCCESS) {
        x->command_pool = VK_NULL_HANDLE;
        return pum_vk_fail(x->device, r, "creating a command pool", err);
    }
    VkCommandBufferAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                         .commandPool = x->command_pool,
                                         .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                         .commandBufferCount = (uint32_t)x->n_submits };
    r = t->vkAllocateCommandBuffers(pum_vk_handle(x->device), &info, x->commands);
    if (r != VK_SUCCESS) return pum_vk_fail(x->device, r, "allocating command buffers", err);
    size_t next = 0;
    for (size_t i = 0; i < x->n_submits; i++) {
        PUM_TRY(record_submit(x, i, x->commands[i], plan, next, buffers, &next, err));
    }
    return PUMICE_OK;
}
