/* SPDX-License-Identifier: Apache-2.0
 * The device's queue, and a second one for uploads where there is one: submits get rising tickets,
 * which finish in order, whichever queue they go to. Completion is a timeline semaphore, or a fence
 * per submit from a pool where there are none or they wake too often (PUM_FLAG_FENCES). A submit to
 * another queue than the last one's waits for that on the device, so what either wrote is seen by
 * the other. Waits sleep in the driver in slices, never spin, and end when the device is lost. Knows
 * nothing of what is in the command buffers. */
#include "vk_internal.h"

#define SLICE_NS                                                                                   \
    1000000000ull /* a wait looks every second whether another thread saw the device die */

pumice_status pum_vk_fail(pum_vk_device *device, VkResult result, const char *what,
                          pumice_error *err)
{
    if (result == VK_ERROR_DEVICE_LOST) {
        if (!atomic_exchange(&device->lost, true)) {
            pum_log_write(&device->log, PUMICE_LOG_ERROR, "the device was lost: %s", what);
        }
        return pum_fail(err, PUMICE_ERROR_DEVICE_LOST,
                        "the device '%s' was reset by its driver (%s): destroy it and "
                        "create it again",
                        device->snapshot.caps.name, what);
    }
    pumice_status status = result == VK_ERROR_OUT_OF_HOST_MEMORY ? PUMICE_ERROR_HOST_MEMORY
                           : result == VK_ERROR_OUT_OF_DEVICE_MEMORY
                                   || result == VK_ERROR_OUT_OF_POOL_MEMORY
                                   || result == VK_ERROR_FRAGMENTED_POOL
                                   || result == VK_ERROR_TOO_MANY_OBJECTS
                               ? PUMICE_ERROR_DEVICE_MEMORY
                               : PUMICE_ERROR_INTERNAL;
    return pum_fail(err, status, "%s failed with %s on '%s'", what, pum_vk_result_name(result),
                    device->snapshot.caps.name);
}

static pumice_status lost(pum_vk_device *device, pumice_error *err)
{
    return pum_vk_fail(device, VK_ERROR_DEVICE_LOST, "it was lost earlier", err);
}

/* ---- create ---- */

pumice_status pum_vk_queue_init(pum_vk_device *device, pumice_error *err)
{
    pum_vk_queue *q = &device->queue;
    const struct VolkDeviceTable *t = &device->table;
    if (pthread_mutex_init(&q->lock, NULL) != 0) {
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the queue's lock");
    }
    device->have_queue_lock = true;
    uint32_t *bits = &device->snapshot.caps.bits;
    t->vkGetDeviceQueue(device->handle, device->snapshot.queue_family, 0, &q->handle);
    q->transfer = q->handle;
    bool fences = (device->snapshot.caps.flags & PUM_FLAG_FENCES) && !(*bits & PUM_CAP_TRANSFER);
    if (!(*bits & PUM_CAP_TIMELINE) || fences) return PUMICE_OK; /* no transfer queue without (wishes.c) */
    if (*bits & PUM_CAP_TRANSFER) {
        t->vkGetDeviceQueue(device->handle, device->snapshot.transfer_family, device->snapshot.transfer_index,
                            &q->transfer);
    }
    bool core = device->snapshot.version >= VK_API_VERSION_1_2;
    q->wait_semaphores = core ? t->vkWaitSemaphores : t->vkWaitSemaphoresKHR;
    q->get_counter = core ? t->vkGetSemaphoreCounterValue : t->vkGetSemaphoreCounterValueKHR;
    if (!q->wait_semaphores || !q->get_counter) { /* fences will do, for one queue */
        *bits &= ~PUM_CAP_TRANSFER;
        q->transfer = q->handle;
        return PUMICE_OK;
    }
    VkSemaphoreTypeCreateInfo type = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                       .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE };
    VkSemaphoreCreateInfo info = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                   .pNext = &type };
    VkResult r = t->vkCreateSemaphore(device->handle, &info, NULL, &q->timeline);
    if (r == VK_SUCCESS) return PUMICE_OK;
    q->timeline = VK_NULL_HANDLE;
    return pum_vk_fail(device, r, "creating a timeline semaphore", err);
}

void pum_vk_queue_free(pum_vk_device *device)
{
    pum_vk_queue *q = &device->queue;
    const struct VolkDeviceTable *t = &device->table;
    if (q->timeline) t->vkDestroySemaphore(device->handle, q->timeline, NULL);
    for (size_t i = 0; i < q->pending.count; i++) {
        t->vkDestroyFence(device->handle, q->pending.data[i].fence, NULL);
    }
    for (size_t i = 0; i < q->idle.count; i++) {
        t->vkDestroyFence(device->handle, q->idle.data[i], NULL);
    }
    pum_array_free(&q->pending);
    pum_array_free(&q->idle);
    if (device->have_queue_lock) pthread_mutex_destroy(&q->lock);
    device->have_queue_lock = false;
}

/* ---- fences: pending[] in ticket order, idle[] for re-use; both under the lock ---- */

/* Notes which submits have finished. A fence that somebody waits on stays until the waiter is gone.
 */
static void retire(pum_vk_device *device)
{
    pum_vk_queue *q = &device->queue;
    size_t keep = 0;
    for (size_t i = 0; i < q->pending.count; i++) {
        pum_vk_pending *p = &q->pending.data[i];
        bool finished = p->ticket <= q->done
                        || device->table.vkGetFenceStatus(device->handle, p->fence) == VK_SUCCESS;
        if (finished) q->done = PUM_MAX(q->done, p->ticket);
        if (finished && p->waiters == 0
            && device->table.vkGetFenceStatus(device->handle, p->fence) == VK_SUCCESS) {
            /* idle has room for every fence there is: get_fence saw to it */
            if (device->table.vkResetFences(device->handle, 1, &p->fence) == VK_SUCCESS) {
                q->idle.data[q->idle.count++] = p->fence;
            } else {
                device->table.vkDestroyFence(device->handle, p->fence, NULL);
            }
            continue;
        }
        q->pending.data[keep++] = *p;
    }
    q->pending.count = keep;
}

static pumice_status get_fence(pum_vk_device *device, VkFence *out_fence, pumice_error *err)
{
    pum_vk_queue *q = &device->queue;
    *out_fence = VK_NULL_HANDLE;
    retire(device);
    if (!pum_array_reserve(&q->pending, 1)
        || !pum_array_grow((void **)&q->idle.data, &q->idle.capacity,
                           q->idle.count + q->pending.count + 1, sizeof *q->idle.data)) {
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to submit work");
    }
    if (q->idle.count) {
        *out_fence = q->idle.data[--q->idle.count];
        return PUMICE_OK;
    }
    VkFenceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    VkResult r = device->table.vkCreateFence(device->handle, &info, NULL, out_fence);
    if (r == VK_SUCCESS) return PUMICE_OK;
    *out_fence = VK_NULL_HANDLE;
    return pum_vk_fail(device, r, "creating a fence", err);
}

/* ---- submit ---- */

static pumice_status submit_locked(pum_vk_device *device, bool upload, const VkCommandBuffer *buffers,
                                   uint32_t count, uint64_t *out_ticket, pumice_error *err)
{
    pum_vk_queue *q = &device->queue;
    uint64_t ticket = q->last + 1;
    VkFence fence = VK_NULL_HANDLE;
    const VkPipelineStageFlags all = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    bool other = upload != q->last_upload && q->last > 0;
    VkTimelineSemaphoreSubmitInfo timeline = { .sType =
                                                   VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                               .waitSemaphoreValueCount = other,
                                               .pWaitSemaphoreValues = &q->last,
                                               .signalSemaphoreValueCount = 1,
                                               .pSignalSemaphoreValues = &ticket };
    VkSubmitInfo info = { .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                          .commandBufferCount = count,
                          .pCommandBuffers = buffers };
    if (q->timeline) {
        info.pNext = &timeline;
        info.waitSemaphoreCount = other;
        info.pWaitSemaphores = &q->timeline;
        info.pWaitDstStageMask = &all;
        info.signalSemaphoreCount = 1;
        info.pSignalSemaphores = &q->timeline;
    } else {
        PUM_TRY(get_fence(device, &fence, err));
    }
    VkResult r = device->table.vkQueueSubmit(upload ? q->transfer : q->handle, 1, &info, fence);
    if (r != VK_SUCCESS) {
        if (fence) q->idle.data[q->idle.count++] = fence; /* nothing was submitted: unsignalled */
        return pum_vk_fail(device, r, "submitting work", err);
    }
    if (fence) {
        q->pending.data[q->pending.count++] = (pum_vk_pending){ .fence = fence, .ticket = ticket };
    }
    q->last = ticket;
    q->last_upload = upload;
    *out_ticket = ticket;
    return PUMICE_OK;
}

static pumice_status submit(pum_vk_device *device, bool upload, const VkCommandBuffer *buffers, uint32_t count,
                            uint64_t *out_ticket, pumice_error *err)
{
    *out_ticket = 0;
    if (atomic_load(&device->lost)) return lost(device, err);
    pthread_mutex_lock(&device->queue.lock);
    pumice_status status = submit_locked(device, upload, buffers, count, out_ticket, err);
    pthread_mutex_unlock(&device->queue.lock);
    return status;
}

pumice_status pum_vk_submit(pum_vk_device *device, const VkCommandBuffer *buffers, uint32_t count,
                            uint64_t *out_ticket, pumice_error *err)
{
    return submit(device, false, buffers, count, out_ticket, err);
}

pumice_status pum_vk_submit_upload(pum_vk_device *device, VkCommandBuffer commands, uint64_t *out_ticket,
                                   pumice_error *err)
{
    bool transfer = device->snapshot.caps.bits & PUM_CAP_TRANSFER;
    return submit(device, transfer, &commands, 1, out_ticket, err);
}

/* ---- wait ---- */

static pumice_status wait_timeline(pum_vk_device *device, uint64_t ticket, pumice_error *err)
{
    pum_vk_queue *q = &device->queue;
    VkSemaphoreWaitInfo info = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                 .semaphoreCount = 1,
                                 .pSemaphores = &q->timeline,
                                 .pValues = &ticket };
    for (;;) {
        VkResult r = q->wait_semaphores(device->handle, &info, SLICE_NS);
        if (r == VK_SUCCESS) return PUMICE_OK;
        if (r != VK_TIMEOUT) return pum_vk_fail(device, r, "waiting for the device", err);
        if (atomic_load(&device->lost)) return lost(device, err);
    }
}

static pum_vk_pending *find_pending(pum_vk_queue *q, uint64_t ticket)
{
    for (size_t i = 0; i < q->pending.count; i++) {
        if (q->pending.data[i].ticket == ticket) return &q->pending.data[i];
    }
    return NULL;
}

static pumice_status wait_fence(pum_vk_device *device, uint64_t ticket, pumice_error *err)
{
    pum_vk_queue *q = &device->queue;
    pumice_status status = PUMICE_OK;
    pthread_mutex_lock(&q->lock);
    pum_vk_pending *p = find_pending(q, ticket);
    if (p && ticket > q->done) {
        VkFence fence = p->fence;
        VkResult r;
        p->waiters++;
        do {
            pthread_mutex_unlock(&q->lock);
            r = device->table.vkWaitForFences(device->handle, 1, &fence, VK_TRUE, SLICE_NS);
            pthread_mutex_lock(&q->lock);
        } while (r == VK_TIMEOUT && !atomic_load(&device->lost));
        find_pending(q, ticket)->waiters--; /* the array may have moved */
        if (r == VK_SUCCESS) q->done = PUM_MAX(q->done, ticket);
        else if (r == VK_TIMEOUT) status = lost(device, err);
        else status = pum_vk_fail(device, r, "waiting for the device", err);
    }
    pthread_mutex_unlock(&q->lock);
    return status;
}

pumice_status pum_vk_wait(pum_vk_device *device, uint64_t ticket, pumice_error *err)
{
    pum_vk_queue *q = &device->queue;
    if (atomic_load(&device->lost)) return lost(device, err);
    pthread_mutex_lock(&q->lock);
    uint64_t last = q->last;
    pthread_mutex_unlock(&q->lock);
    if (ticket > last) {
        return pum_fail(err, PUMICE_ERROR_INTERNAL, "nobody submitted the work that is waited for");
    }
    if (ticket == 0) return PUMICE_OK;
    return q->timeline ? wait_timeline(device, ticket, err) : wait_fence(device, ticket, err);
}

bool pum_vk_done(pum_vk_device *device, uint64_t ticket)
{
    pum_vk_queue *q = &device->queue;
    pthread_mutex_lock(&q->lock);
    if (q->timeline) {
        uint64_t value = 0;
        if (ticket > q->done) {
            VkResult r = q->get_counter(device->handle, q->timeline, &value);
            if (r == VK_SUCCESS) q->done = PUM_MAX(q->done, value);
            else pum_vk_fail(device, r, "asking the device how far it is", NULL);
        }
    } else if (ticket > q->done) {
        retire(device);
    }
    bool done = ticket <= q->done;
    pthread_mutex_unlock(&q->lock);
    return done;
}

static void queue_idle(pum_vk_device *device, VkQueue queue)
{
    /* out of memory may pass; a lost device has nothing left to wait for */
    for (int i = 0; i < 8; i++) {
        VkResult r = device->table.vkQueueWaitIdle(queue);
        if (r == VK_SUCCESS || r == VK_ERROR_DEVICE_LOST) break;
    }
}

void pum_vk_idle(pum_vk_device *device)
{
    pum_vk_queue *q = &device->queue;
    if (!device->handle) return;
    pthread_mutex_lock(&q->lock);
    queue_idle(device, q->handle);
    if (q->transfer != q->handle) queue_idle(device, q->transfer);
    pthread_mutex_unlock(&q->lock);
}
