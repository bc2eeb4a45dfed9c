/* SPDX-License-Identifier: Apache-2.0
 * For drivers that compile a pipeline when it is first dispatched (PUM_FLAG_LATE_COMPILE): a dispatch
 * of no workgroups as soon as there is the pipeline, so that the driver's compiler is busy while other
 * pipelines are made and weights are loaded. What is bound is a few bytes that nobody reads. Which
 * drivers those are is not decided here. */
#include "vk_internal.h"

/* the kind of number that memory.c makes of all others: handle_bytes, pum_vk_texel_range */
enum { BUFFER_BYTES = 3 * 64 * PUM_TEXEL_BYTES };

pumice_status pum_vk_first_use_init(pum_vk_device *device, pumice_error *err)
{
    pum_vk_first_use *f = &device->first_use;
    if (!(device->snapshot.caps.flags & PUM_FLAG_LATE_COMPILE)) return PUMICE_OK;
    if (pthread_mutex_init(&f->lock, NULL) != 0) {
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the pipelines' lock");
    }
    f->have_lock = true;
    return PUMICE_OK;
}

void pum_vk_first_use_free(pum_vk_device *device)
{
    pum_vk_first_use *f = &device->first_use;
    const struct VolkDeviceTable *t = &device->table;
    if (f->commands) t->vkDestroyCommandPool(device->handle, f->commands, NULL);
    if (f->descriptors) t->vkDestroyDescriptorPool(device->handle, f->descriptors, NULL);
    if (f->view) t->vkDestroyBufferView(device->handle, f->view, NULL);
    pum_vk_buffer_destroy(device, &f->buffer);
    if (f->have_lock) pthread_mutex_destroy(&f->lock);
    *f = (pum_vk_first_use){ 0 };
}

/* ---- under the lock ---- */

static pumice_status create_descriptor_pool(pum_vk_device *device, pumice_error *err)
{
    pum_vk_first_use *f = &device->first_use;
    VkDescriptorPoolSize sizes[2] = {
        { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, PUM_VK_MAX_LAYOUTS * PUM_MAX_BINDINGS },
        { VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, PUM_VK_MAX_LAYOUTS * PUM_MAX_BINDINGS }
    };
    VkDescriptorPoolCreateInfo info = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                        .maxSets = PUM_VK_MAX_LAYOUTS,
                                        .poolSizeCount = PUM_COUNT(sizes),
                                        .pPoolSizes = sizes };
    VkResult r = device->table.vkCreateDescriptorPool(device->handle, &info, NULL, &f->descriptors);
    if (r == VK_SUCCESS) return PUMICE_OK;
    f->descriptors = VK_NULL_HANDLE;
    return pum_vk_fail(device, r, "creating a descriptor pool", err);
}

static pumice_status create_command_pool(pum_vk_device *device, pumice_error *err)
{
    pum_vk_first_use *f = &device->first_use;
    VkCommandPoolCreateInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                     .queueFamilyIndex = device->snapshot.queue_family };
    VkResult r = device->table.vkCreateCommandPool(device->handle, &info, NULL, &f->commands);
    if (r == VK_SUCCESS) return PUMICE_OK;
    f->commands = VK_NULL_HANDLE;
    return pum_vk_fail(device, r, "creating a command pool", err);
}

static pumice_status create_view(pum_vk_device *device, pumice_error *err)
{
    pum_vk_first_use *f = &device->first_use;
    VkBufferViewCreateInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
                                    .buffer = f->buffer.buffer,
                                    .format = PUM_VK_TEXEL_FORMAT,
                                    .range = BUFFER_BYTES };
    VkResult r = device->table.vkCreateBufferView(device->handle, &info, NULL, &f->view);
    if (r == VK_SUCCESS) return PUMICE_OK;
    f->view = VK_NULL_HANDLE;
    return pum_vk_fail(device, r, "creating a buffer view", err);
}

static pumice_status make_set(pum_vk_device *device, const struct pum_vk_layout *l, VkDescriptorSet *out_set,
                              pumice_error *err)
{
    pum_vk_first_use *f = &device->first_use;
    const struct VolkDeviceTable *t = &device->table;
    VkDescriptorSetAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                         .descriptorPool = f->descriptors,
                                         .descriptorSetCount = 1,
                                         .pSetLayouts = &l->set };
    VkDescriptorBufferInfo range = { f->buffer.buffer, 0, BUFFER_BYTES };
    VkWriteDescriptorSet writes[PUM_MAX_BINDINGS];
    VkResult r = t->vkAllocateDescriptorSets(device->handle, &info, out_set);
    if (r != VK_SUCCESS) {
        *out_set = VK_NULL_HANDLE;
        return pum_vk_fail(device, r, "allocating a descriptor set", err);
    }
    for (uint32_t i = 0; i < l->n_bindings; i++) {
        bool texel = l->texel_bits >> i & 1;
        writes[i] = (VkWriteDescriptorSet){ .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                            .dstSet = *out_set,
                                            .dstBinding = i,
                                            .descriptorCount = 1,
                                            .descriptorType = texel ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER
                                                                    : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                            .pBufferInfo = texel ? NULL : &range,
                                            .pTexelBufferView = texel ? &f->view : NULL };
    }
    t->vkUpdateDescriptorSets(device->handle, l->n_bindings, writes, 0, NULL);
    return PUMICE_OK;
}

static pumice_status record(pum_vk_device *device, uint32_t layout, VkPipeline pipeline,
                            VkCommandBuffer *out_commands, pumice_error *err)
{
    static const uint8_t no_args[PUM_MAX_ARGS_BYTES];
    pum_vk_first_use *f = &device->first_use;
    const struct VolkDeviceTable *t = &device->table;
    const struct pum_vk_layout *l = &device->pipelines.layout[layout];
    VkCommandBufferAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                         .commandPool = f->commands,
                                         .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                         .commandBufferCount = 1 };
    VkCommandBufferBeginInfo begin = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                       .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT };
    VkResult r = t->vkAllocateCommandBuffers(device->handle, &info, out_commands);
    if (r == VK_SUCCESS) r = t->vkBeginCommandBuffer(*out_commands, &begin);
    if (r != VK_SUCCESS) return pum_vk_fail(device, r, "beginning a command buffer", err);
    t->vkCmdBindPipeline(*out_commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    t->vkCmdBindDescriptorSets(*out_commands, VK_PIPELINE_BIND_POINT_COMPUTE, l->pipeline, 0, 1,
                               &f->sets[layout], 0, NULL);
    t->vkCmdPushConstants(*out_commands, l->pipeline, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof no_args, no_args);
    t->vkCmdDispatch(*out_commands, 0, 1, 1);
    r = t->vkEndCommandBuffer(*out_commands);
    return r == VK_SUCCESS ? PUMICE_OK : pum_vk_fail(device, r, "ending a command buffer", err);
}

static pumice_status dispatch_nothing(pum_vk_device *device, uint32_t layout, VkPipeline pipeline, pumice_error *err)
{
    pum_vk_first_use *f = &device->first_use;
    VkCommandBuffer commands;
    bool texels = device->snapshot.caps.bits & PUM_CAP_TEXEL;
    if (!f->descriptors) PUM_TRY(create_descriptor_pool(device, err));
    if (!f->commands) PUM_TRY(create_command_pool(device, err));
    if (!f->buffer.buffer) {
        PUM_TRY(pum_vk_buffer_create(device, PUM_VK_DEVICE, BUFFER_BYTES, "first use", &f->buffer, err));
    }
    if (!f->view && texels) PUM_TRY(create_view(device, err));
    if (!f->sets[layout]) PUM_TRY(make_set(device, &device->pipelines.layout[layout], &f->sets[layout], err));
    PUM_TRY(record(device, layout, pipeline, &commands, err));
    return pum_vk_submit(device, &commands, 1, &f->last, err);
}

/* ---- */

pumice_status pum_vk_first_use_begin(pum_vk_device *device, uint32_t kernel, VkPipeline pipeline, pumice_error *err)
{
    pum_vk_first_use *f = &device->first_use;
    if (!f->have_lock) return PUMICE_OK;
    pthread_mutex_lock(&f->lock);
    pumice_status status = dispatch_nothing(device, device->pipelines.layout_of[kernel], pipeline, err);
    pthread_mutex_unlock(&f->lock);
    return status;
}

void pum_vk_first_use_wait(pum_vk_device *device)
{
    pum_vk_first_use *f = &device->first_use;
    if (!f->have_lock) return;
    pthread_mutex_lock(&f->lock);
    (void)pum_vk_wait(device, f->last, NULL); /* a lost device runs nothing */
    pthread_mutex_unlock(&f->lock);
}
