/* SPDX-License-Identifier: Apache-2.0
 * Buffers, each with memory of its own, and the ways into them: directly where the host sees the
 * memory, else through a staging ring that copies one chunk while the host fills the next, uploads
 * on the transfer queue where there is one. Decides memory types, and says no honestly when a budget
 * or limit is reached. Knows nothing of what buffers are for but the three uses of vk.h. */
#include "vk_internal.h"

#include <string.h>

typedef unsigned long long ull;

static ull mib(uint64_t bytes) { return (ull)pum_ceil_div(bytes, 1 << 20); }

/* ---- memory types ---- */

enum {
    LOCAL = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
    VISIBLE = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,
    COHERENT = VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    CACHED = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
    PLAIN = LOCAL | VISIBLE | COHERENT | CACHED /* other kinds need features or protected queues */
};

/* Rows by use, weights in the order LOCAL, VISIBLE, COHERENT, CACHED. On unified memory every type
 * is the same DRAM, so nothing is required; on a discrete GPU weights never fall back to host
 * memory behind the user's back, and keep out of the window the host sees, which may be small. */
typedef struct use_row {
    VkMemoryPropertyFlags required;
    int weight[4];
    bool fall_back; /* when a type is full, take the next best */
} use_row;

static const use_row unified_row = { 0, { 8, 4, 1, 2 }, true };
static const use_row use_rows[] = {
    [PUM_VK_DEVICE] = { LOCAL, { 0, -2, 0, -1 }, false },
    [PUM_VK_SHARED] = { VISIBLE | COHERENT, { 2, 0, 0, 1 }, true },
    [PUM_VK_READBACK] = { VISIBLE, { -1, 0, 2, 4 }, true },
};

static int score_of(const use_row *row, VkMemoryPropertyFlags flags)
{
    static const VkMemoryPropertyFlags bits[4] = { LOCAL, VISIBLE, COHERENT, CACHED };
    int score = 0;
    for (int i = 0; i < 4; i++) {
        if (flags & bits[i]) score += row->weight[i];
    }
    return score;
}

/* The best type of `allowed` (VkMemoryRequirements.memoryTypeBits), -1 when none is left. */
static int best_type(const pum_vk_device *device, const use_row *row, uint32_t allowed)
{
    const VkPhysicalDeviceMemoryProperties *m = &device->snapshot.memory;
    int best = -1;
    for (uint32_t i = 0; i < m->memoryTypeCount; i++) {
        VkMemoryPropertyFlags flags = m->memoryTypes[i].propertyFlags;
        if (!(allowed >> i & 1u) || (flags & ~(VkMemoryPropertyFlags)PLAIN)) continue;
        if ((flags & row->required) != row->required) continue;
        if (best < 0 || score_of(row, flags) > score_of(row, m->memoryTypes[best].propertyFlags)) {
            best = (int)i;
        }
    }
    return best;
}

/* ---- accounting ---- */

static pumice_status fail_full(pum_vk_device *device, const char *what, uint64_t asked,
                               uint64_t allowed, pumice_error *err)
{
    return pum_fail(err, PUMICE_ERROR_DEVICE_MEMORY,
                    "no room on '%s' for %s: %llu MiB asked, %llu MiB used, %llu MiB "
                    "allowed",
                    device->snapshot.caps.name, what, mib(asked),
                    mib(atomic_load(&device->used_bytes)), mib(allowed));
}

/* Takes bytes out of the caller's budget; false when they are not there. */
static bool account(pum_vk_device *device, uint64_t bytes, bool within_budget)
{
    uint64_t before = atomic_fetch_add(&device->used_bytes, bytes);
    if (!within_budget || !device->budget_bytes) return true;
    if (before <= device->budget_bytes && bytes <= device->budget_bytes - before) return true;
    atomic_fetch_sub(&device->used_bytes, bytes);
    return false;
}

static pumice_status allocate(pum_vk_device *device, const use_row *row, const char *what,
                              bool within_budget, pum_vk_buffer *b,
                              VkMemoryPropertyFlags *out_flags, pumice_error *err)
{
    const struct VolkDeviceTable *t = &device->table;
    VkMemoryRequirements need;
    t->vkGetBufferMemoryRequirements(device->handle, b->buffer, &need);
    if (!account(device, need.size, within_budget)) {
        return fail_full(device, what, b->size_bytes, device->budget_bytes, err);
    }
    uint32_t allowed = need.memoryTypeBits;
    uint64_t room = 0;
    for (int type; (type = best_type(device, row, allowed)) >= 0; allowed &= ~(1u << type)) {
        uint32_t heap = device->snapshot.memory.memoryTypes[type].heapIndex;
        uint64_t left = pum_vk_heap_free_bytes(&device->instance, &device->snapshot, heap);
        VkResult r = VK_ERROR_OUT_OF_DEVICE_MEMORY;
        left = PUM_MIN(left, device->snapshot.memory.memoryHeaps[heap].size);
        room = PUM_MAX(room, left);
        if (need.size <= left) {
            VkMemoryDedicatedAllocateInfo dedicated = {
                .sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO, .buffer = b->buffer
            };
            VkMemoryAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                          .pNext = &dedicated,
                                          .allocationSize = need.size,
                                          .memoryTypeIndex = (uint32_t)type };
            r = t->vkAllocateMemory(device->handle, &info, NULL, &b->memory);
        }
        if (r == VK_SUCCESS) {
            *out_flags = device->snapshot.memory.memoryTypes[type].propertyFlags;
            b->allocated_bytes = need.size;
            return PUMICE_OK;
        }
        b->memory = VK_NULL_HANDLE;
        if (r != VK_ERROR_OUT_OF_DEVICE_MEMORY) {
            atomic_fetch_sub(&device->used_bytes, need.size);
            return pum_vk_fail(device, r, "allocating device memory", err);
        }
        if (!row->fall_back) break;
    }
    atomic_fetch_sub(&device->used_bytes, need.size);
    /* what the driver refused although the heap is larger is used by others: it does not tell how
     * much */
    return fail_full(device, what, b->size_bytes, atomic_load(&device->used_bytes) + room, err);
}

/* ---- buffers ---- */

static pumice_status create_handle(pum_vk_device *device, uint64_t bytes, const void *next, VkBuffer *out_buffer,
                                   pumice_error *err)
{
    const pum_caps *caps = &device->snapshot.caps;
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .pNext = next,
        .size = bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT
                 | VK_BUFFER_USAGE_TRANSFER_DST_BIT
                 | (caps->bits & PUM_CAP_TEXEL ? VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT : 0)
    };
    const uint32_t families[2] = { device->snapshot.queue_family, device->snapshot.transfer_family };
    if ((caps->bits & PUM_CAP_TRANSFER) && families[0] != families[1]) { /* both queues use it, in turn */
        info.sharingMode = VK_SHARING_MODE_CONCURRENT;
        info.queueFamilyIndexCount = 2;
        info.pQueueFamilyIndices = families;
    }
    VkResult r = device->table.vkCreateBuffer(device->handle, &info, NULL, out_buffer);
    if (r == VK_SUCCESS) return PUMICE_OK;
    *out_buffer = VK_NULL_HANDLE;
    return pum_vk_fail(device, r, "creating a buffer", err);
}

/* Where pipelines are compiled again for texels in a buffer of a power of two bytes, and for views of another kind of
 * length (pum_vk_texel_range), there are a few bytes more than was asked for. */
enum { TEXEL_SPARE = 256 };

static uint64_t handle_bytes(const pum_caps *caps, uint64_t bytes)
{
    uint64_t whole = pum_align_up(bytes, PUM_TEXEL_BYTES);
    if (caps->flags & PUM_FLAG_LATE_COMPILE) {
        whole += TEXEL_SPARE;
        if ((whole & (whole - 1)) == 0) whole += PUM_TEXEL_BYTES;
    }
    return PUM_MAX(bytes, PUM_MIN(whole, caps->max_allocation_bytes));
}

/* lavapipe (Mesa 22.3) takes bits 8 to 15 of a view's length for a number of mip levels: kernels are compiled once for
 * views where they are zero, as they are with many matrices, and once for others. They are made to be not zero. */
uint64_t pum_vk_texel_range(const pum_vk_device *device, const pum_vk_buffer *buffer, uint64_t offset, uint64_t bytes)
{
    const pum_caps *caps = &device->snapshot.caps;
    uint64_t texels = bytes / PUM_TEXEL_BYTES * PUM_TEXEL_BYTES, more = texels + TEXEL_SPARE;
    if (!(caps->flags & PUM_FLAG_LATE_COMPILE) || (texels >> 8 & 0xff)) return texels;
    bool fits = more <= buffer->size_bytes + buffer->spare_bytes - offset && more <= caps->max_texel_bytes;
    return fits ? more : texels;
}

static pumice_status create_buffer(pum_vk_device *device, pum_vk_use use, uint64_t bytes,
                                   const char *what, bool within_budget, pum_vk_buffer *out_buffer,
                                   pumice_error *err)
{
    const struct VolkDeviceTable *t = &device->table;
    const pum_caps *caps = &device->snapshot.caps;
    bool unified = caps->bits & PUM_CAP_UNIFIED;
    pum_vk_buffer b = { 0 };
    pumice_status status;
    *out_buffer = b;
    if (bytes == 0) {
        return pum_fail(err, PUMICE_ERROR_INTERNAL, "a buffer of no bytes was asked for (%s)",
                        what);
    }
    if (bytes > caps->max_allocation_bytes) {
        return pum_fail(err, PUMICE_ERROR_DEVICE_MEMORY,
                        "a buffer of %llu MiB for %s is too large: '%s' takes at most "
                        "%llu MiB in one piece",
                        mib(bytes), what, caps->name, (ull)caps->max_allocation_bytes >> 20);
    }
    uint64_t whole = handle_bytes(caps, bytes);
    PUM_TRY(create_handle(device, whole, NULL, &b.buffer, err));
    b.size_bytes = bytes;
    b.spare_bytes = whole - bytes;
    VkResult r;
    VkMemoryPropertyFlags flags = 0;
    const use_row *row = use == PUM_VK_DEVICE && unified ? &unified_row : &use_rows[use];
    PUM_GOTO(allocate(device, row, what, within_budget, &b, &flags, err));
    r = t->vkBindBufferMemory(device->handle, b.buffer, b.memory, 0);
    if (r != VK_SUCCESS) PUM_GOTO(pum_vk_fail(device, r, "binding device memory", err));
    b.coherent = flags & COHERENT;
    if ((flags & VISIBLE) && (use != PUM_VK_DEVICE || unified)) {
        r = t->vkMapMemory(device->handle, b.memory, 0, VK_WHOLE_SIZE, 0, &b.mapped);
        if (r != VK_SUCCESS) {
            b.mapped = NULL;
            PUM_GOTO(pum_vk_fail(device, r, "mapping device memory", err));
        }
    }
    pum_vk_name(device, VK_OBJECT_TYPE_BUFFER, (uint64_t)b.buffer, what);
    *out_buffer = b;
    return PUMICE_OK;
fail:
    pum_vk_buffer_destroy(device, &b);
    return status;
}

pumice_status pum_vk_buffer_create(pum_vk_device *device, pum_vk_use use, uint64_t bytes,
                                   const char *what, pum_vk_buffer *out_buffer, pumice_error *err)
{
    return create_buffer(device, use, bytes, what, true, out_buffer, err);
}

pumice_status pum_vk_buffer_import(pum_vk_device *device, const void *host, uint64_t bytes,
                                   const char *what, pum_vk_buffer *out_buffer, pumice_error *err)
{
    const struct VolkDeviceTable *t = &device->table;
    const VkExternalMemoryHandleTypeFlagBits kind = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
    const VkExternalMemoryBufferCreateInfo external = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO, .handleTypes = kind
    };
    void *pages = (void *)(uintptr_t)host; /* only read: the buffer's users never write to it */
    pum_vk_buffer b = { .mapped = pages, .imported = true, .coherent = true, .size_bytes = bytes };
    VkMemoryHostPointerPropertiesEXT found = { .sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT };
    VkMemoryRequirements need;
    pumice_status status;
    *out_buffer = (pum_vk_buffer){ 0 };
    if (!(device->snapshot.caps.bits & PUM_CAP_HOST_IMPORT) || (uintptr_t)host % PUM_VK_PAGE_BYTES ||
        bytes % PUM_VK_PAGE_BYTES || bytes == 0 || bytes > device->snapshot.caps.max_allocation_bytes) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED, "'%s' cannot read the host's memory (%s)",
                        device->snapshot.caps.name, what);
    }
    PUM_GOTO(create_handle(device, bytes, &external, &b.buffer, err));
    t->vkGetBufferMemoryRequirements(device->handle, b.buffer, &need);
    VkResult r = t->vkGetMemoryHostPointerPropertiesEXT(device->handle, kind, pages, &found);
    if (r != VK_SUCCESS) PUM_GOTO(pum_vk_fail(device, r, "asking for the host's memory", err));
    int type = best_type(device, &unified_row, found.memoryTypeBits & need.memoryTypeBits);
    if (type < 0 || need.size > bytes) {
        PUM_GOTO(pum_fail(err, PUMICE_ERROR_UNSUPPORTED, "no type of memory of '%s' is the host's",
                          device->snapshot.caps.name));
    }
    VkImportMemoryHostPointerInfoEXT import = { .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
                                                .handleType = kind,
                                                .pHostPointer = pages };
    VkMemoryAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                  .pNext = &import,
                                  .allocationSize = bytes,
                                  .memoryTypeIndex = (uint32_t)type };
    r = t->vkAllocateMemory(device->handle, &info, NULL, &b.memory);
    if (r != VK_SUCCESS) {
        b.memory = VK_NULL_HANDLE;
        PUM_GOTO(pum_vk_fail(device, r, "importing the host's memory", err));
    }
    r = t->vkBindBufferMemory(device->handle, b.buffer, b.memory, 0);
    if (r != VK_SUCCESS) PUM_GOTO(pum_vk_fail(device, r, "binding the host's memory", err));
    pum_vk_name(device, VK_OBJECT_TYPE_BUFFER, (uint64_t)b.buffer, what);
    *out_buffer = b;
    return PUMICE_OK;
fail:
    pum_vk_buffer_destroy(device, &b);
    return status;
}

void pum_vk_buffer_destroy(pum_vk_device *device, pum_vk_buffer *buffer)
{
    const struct VolkDeviceTable *t = &device->table;
    if (buffer->mapped && !buffer->imported) t->vkUnmapMemory(device->handle, buffer->memory);
    if (buffer->buffer) t->vkDestroyBuffer(device->handle, buffer->buffer, NULL);
    if (buffer->memory) {
        t->vkFreeMemory(device->handle, buffer->memory, NULL);
        atomic_fetch_sub(&device->used_bytes, buffer->allocated_bytes);
    }
    *buffer = (pum_vk_buffer){ 0 };
}

static pumice_status check_range(const pum_vk_buffer *buffer, uint64_t offset, uint64_t bytes,
                                 pumice_error *err)
{
    if (buffer->buffer && offset <= buffer->size_bytes && bytes <= buffer->size_bytes - offset) {
        return PUMICE_OK;
    }
    return pum_fail(err, PUMICE_ERROR_INTERNAL, "bytes %llu to %llu are beyond a buffer of %llu",
                    (ull)offset, (ull)(offset + bytes), (ull)buffer->size_bytes);
}

/* Makes what the host wrote visible to the device, or the other way round, where memory is not
 * coherent. */
static pumice_status sync_mapped(pum_vk_device *device, const pum_vk_buffer *b, uint64_t offset,
                                 uint64_t bytes, bool to_device, pumice_error *err)
{
    if (b->coherent || bytes == 0) return PUMICE_OK;
    uint64_t atom = device->snapshot.atom_bytes, begin = offset / atom * atom,
             end = pum_align_up(offset + bytes, atom);
    VkMappedMemoryRange range = { .sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE,
                                  .memory = b->memory,
                                  .offset = begin,
                                  .size = end >= b->allocated_bytes ? VK_WHOLE_SIZE : end - begin };
    VkResult r = to_device
                     ? device->table.vkFlushMappedMemoryRanges(device->handle, 1, &range)
                     : device->table.vkInvalidateMappedMemoryRanges(device->handle, 1, &range);
    return r == VK_SUCCESS ? PUMICE_OK : pum_vk_fail(device, r, "synchronising mapped memory", err);
}

/* ---- staging ring; its lock is held from begin to end ---- */

pumice_status pum_vk_memory_init(pum_vk_device *device, pumice_error *err)
{
    if (pthread_mutex_init(&device->staging.lock, NULL) != 0) {
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the staging ring's lock");
    }
    device->have_staging_lock = true;
    return PUMICE_OK;
}

static void staging_free(pum_vk_device *device)
{
    pum_vk_staging *s = &device->staging;
    /* frees its command buffers too */
    if (s->pool) device->table.vkDestroyCommandPool(device->handle, s->pool, NULL);
    if (s->upload_pool) device->table.vkDestroyCommandPool(device->handle, s->upload_pool, NULL);
    s->pool = s->upload_pool = VK_NULL_HANDLE;
    pum_vk_buffer_destroy(device, &s->buffer);
}

void pum_vk_memory_free(pum_vk_device *device)
{
    staging_free(device);
    if (device->have_staging_lock) pthread_mutex_destroy(&device->staging.lock);
    device->have_staging_lock = false;
}

static pumice_status create_commands(pum_vk_device *device, uint32_t family, VkCommandPool *out_pool,
                                     VkCommandBuffer out_commands[PUM_VK_CHUNKS], pumice_error *err)
{
    VkCommandPoolCreateInfo pool = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                     .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT
                                              | VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
                                     .queueFamilyIndex = family };
    VkResult r = device->table.vkCreateCommandPool(device->handle, &pool, NULL, out_pool);
    if (r != VK_SUCCESS) {
        *out_pool = VK_NULL_HANDLE;
        return pum_vk_fail(device, r, "creating a command pool", err);
    }
    VkCommandBufferAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                         .commandPool = *out_pool,
                                         .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                         .commandBufferCount = PUM_VK_CHUNKS };
    r = device->table.vkAllocateCommandBuffers(device->handle, &info, out_commands);
    return r == VK_SUCCESS ? PUMICE_OK : pum_vk_fail(device, r, "allocating command buffers", err);
}

/* Takes the lock; copies of a stream may be under way. */
static pumice_status staging_open(pum_vk_device *device, pumice_error *err)
{
    pum_vk_staging *s = &device->staging;
    pthread_mutex_lock(&s->lock);
    if (s->pool) return PUMICE_OK;
    pumice_status status;
    PUM_GOTO(create_buffer(device, PUM_VK_READBACK, (uint64_t)PUM_VK_CHUNKS * PUM_VK_CHUNK_BYTES,
                           "the staging ring", false, &s->buffer, err));
    if (device->snapshot.caps.bits & PUM_CAP_TRANSFER) {
        PUM_GOTO(create_commands(device, device->snapshot.transfer_family, &s->upload_pool, s->upload_commands, err));
    }
    PUM_GOTO(create_commands(device, device->snapshot.queue_family, &s->pool, s->commands, err));
    if (!s->upload_pool) memcpy(s->upload_commands, s->commands, sizeof s->commands);
    return PUMICE_OK;
fail:
    staging_free(device);
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* Waits for a chunk's copy, if any. */
static pumice_status staging_wait(pum_vk_device *device, uint32_t chunk, pumice_error *err)
{
    uint64_t ticket = device->staging.ticket[chunk];
    if (!ticket) return PUMICE_OK;
    PUM_TRY(pum_vk_wait(device, ticket, err));
    device->staging.ticket[chunk] = 0;
    return PUMICE_OK;
}

/* Waits for everything, gives the lock back and hands the status on. */
static pumice_status staging_end(pum_vk_device *device, pumice_status status, pumice_error *err)
{
    pum_vk_staging *s = &device->staging;
    for (uint32_t i = 0; i < PUM_VK_CHUNKS; i++) {
        pumice_status waited = staging_wait(device, i, status == PUMICE_OK ? err : NULL);
        if (waited == PUMICE_OK) continue;
        if (status == PUMICE_OK) status = waited;
        pum_vk_idle(device); /* the chunks will be written again */
        s->ticket[i] = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* Takes the lock of a ring that nobody uses. */
static pumice_status staging_begin(pum_vk_device *device, pumice_error *err)
{
    PUM_TRY(staging_open(device, err));
    for (uint32_t i = 0; i < PUM_VK_CHUNKS; i++) {
        pumice_status status = staging_wait(device, i, err);
        if (status != PUMICE_OK) return staging_end(device, status, err);
    }
    return PUMICE_OK;
}

typedef enum copy_kind { COPY_TO_DEVICE, COPY_TO_HOST, COPY_FILL } copy_kind;

static const VkPipelineStageFlags work_stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT
                                                | VK_PIPELINE_STAGE_TRANSFER_BIT;

/* Barriers keep copies apart from work submitted before and after: those ranges are others by
 * contract, but caches are shared. */
static void record_before(pum_vk_device *device, VkCommandBuffer commands)
{
    VkMemoryBarrier before = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT
    };
    device->table.vkCmdPipelineBarrier(commands, work_stages, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1,
                                       &before, 0, NULL, 0, NULL);
}

static void record_after(pum_vk_device *device, VkCommandBuffer commands)
{
    VkMemoryBarrier after = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                              .dstAccessMask = VK_ACCESS_SHADER_READ_BIT
                                               | VK_ACCESS_SHADER_WRITE_BIT
                                               | VK_ACCESS_TRANSFER_READ_BIT
                                               | VK_ACCESS_TRANSFER_WRITE_BIT
                                               | VK_ACCESS_HOST_READ_BIT };
    device->table.vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                                       work_stages | VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &after, 0,
                                       NULL, 0, NULL);
}

/* A chunk of the same bytes may have been copied by the submit before. */
static void record_between_uploads(pum_vk_device *device, VkCommandBuffer commands)
{
    const VkPipelineStageFlags copies = VK_PIPELINE_STAGE_TRANSFER_BIT;
    VkMemoryBarrier between = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                                .dstAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT };
    device->table.vkCmdPipelineBarrier(commands, copies, copies, 0, 1, &between, 0, NULL, 0, NULL);
}

/* Copies between a chunk and the buffer, or fills the buffer with a word. */
static void record_copy(pum_vk_device *device, VkCommandBuffer commands, copy_kind kind,
                        const pum_vk_buffer *b, uint64_t offset, uint64_t bytes,
                        uint64_t chunk_offset, uint32_t word)
{
    const struct VolkDeviceTable *t = &device->table;
    VkBuffer ring = device->staging.buffer.buffer;
    if (kind == COPY_FILL) {
        t->vkCmdFillBuffer(commands, b->buffer, offset, bytes, word);
    } else if (kind == COPY_TO_DEVICE) {
        VkBufferCopy copy = { .srcOffset = chunk_offset, .dstOffset = offset, .size = bytes };
        t->vkCmdCopyBuffer(commands, ring, b->buffer, 1, &copy);
    } else {
        VkBufferCopy copy = { .srcOffset = offset, .dstOffset = chunk_offset, .size = bytes };
        t->vkCmdCopyBuffer(commands, b->buffer, ring, 1, &copy);
    }
}

static pumice_status begin_commands(pum_vk_device *device, VkCommandBuffer commands,
                                    pumice_error *err)
{
    VkCommandBufferBeginInfo begin = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                       .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT };
    VkResult r = device->table.vkBeginCommandBuffer(commands, &begin);
    return r == VK_SUCCESS ? PUMICE_OK : pum_vk_fail(device, r, "beginning a command buffer", err);
}

static pumice_status submit_commands(pum_vk_device *device, uint32_t chunk, pumice_error *err)
{
    pum_vk_staging *s = &device->staging;
    VkResult r = device->table.vkEndCommandBuffer(s->commands[chunk]);
    if (r != VK_SUCCESS) return pum_vk_fail(device, r, "ending a command buffer", err);
    return pum_vk_submit(device, &s->commands[chunk], 1, &s->ticket[chunk], err);
}

static pumice_status submit_copy(pum_vk_device *device, copy_kind kind, uint32_t chunk,
                                 const pum_vk_buffer *b, uint64_t offset, uint64_t bytes,
                                 uint32_t word, pumice_error *err)
{
    VkCommandBuffer commands = device->staging.commands[chunk];
    PUM_TRY(begin_commands(device, commands, err));
    record_before(device, commands);
    record_copy(device, commands, kind, b, offset, bytes, (uint64_t)chunk * PUM_VK_CHUNK_BYTES,
                word);
    record_after(device, commands);
    return submit_commands(device, chunk, err);
}

/* To the transfer queue, where there is one: no barrier of its could name shaders, and what lies
 * between the queues' work are semaphores. */
static pumice_status submit_upload(pum_vk_device *device, uint32_t chunk, const pum_vk_buffer *b,
                                   uint64_t offset, uint64_t bytes, pumice_error *err)
{
    pum_vk_staging *s = &device->staging;
    VkCommandBuffer commands = s->upload_commands[chunk];
    if (!s->upload_pool) return submit_copy(device, COPY_TO_DEVICE, chunk, b, offset, bytes, 0, err);
    PUM_TRY(begin_commands(device, commands, err));
    record_between_uploads(device, commands);
    record_copy(device, commands, COPY_TO_DEVICE, b, offset, bytes, (uint64_t)chunk * PUM_VK_CHUNK_BYTES, 0);
    VkResult r = device->table.vkEndCommandBuffer(commands);
    if (r != VK_SUCCESS) return pum_vk_fail(device, r, "ending a command buffer", err);
    return pum_vk_submit_upload(device, commands, &s->ticket[chunk], err);
}

/* ---- transfers ---- */

static pumice_status write_staged(pum_vk_device *device, const pum_vk_buffer *b, uint64_t offset,
                                  const uint8_t *data, uint64_t bytes, pumice_error *err)
{
    pum_vk_staging *s = &device->staging;
    pumice_status status;
    PUM_TRY(staging_begin(device, err));
    uint32_t chunk = 0;
    for (uint64_t at = 0; at < bytes;
         at += PUM_VK_CHUNK_BYTES, chunk = (chunk + 1) % PUM_VK_CHUNKS) {
        uint64_t n = PUM_MIN(bytes - at, (uint64_t)PUM_VK_CHUNK_BYTES),
                 ring = (uint64_t)chunk * PUM_VK_CHUNK_BYTES;
        PUM_GOTO(staging_wait(device, chunk, err));
        memcpy((uint8_t *)s->buffer.mapped + ring, data + at, (size_t)n);
        PUM_GOTO(sync_mapped(device, &s->buffer, ring, n, true, err));
        PUM_GOTO(submit_upload(device, chunk, b, offset + at, n, err));
    }
    status = PUMICE_OK;
fail:
    return staging_end(device, status, err);
}

static pumice_status read_staged(pum_vk_device *device, const pum_vk_buffer *b, uint64_t offset,
                                 uint8_t *data, uint64_t bytes, pumice_error *err)
{
    pum_vk_staging *s = &device->staging;
    uint64_t pieces = pum_ceil_div(bytes, PUM_VK_CHUNK_BYTES), asked = 0;
    pumice_status status;
    PUM_TRY(staging_begin(device, err));
    for (uint64_t i = 0; i < pieces; i++) {
        for (; asked < pieces && asked < i + PUM_VK_CHUNKS; asked++) {
            uint64_t at = asked * PUM_VK_CHUNK_BYTES,
                     n = PUM_MIN(bytes - at, (uint64_t)PUM_VK_CHUNK_BYTES);
            PUM_GOTO(submit_copy(device, COPY_TO_HOST, asked % PUM_VK_CHUNKS, b, offset + at, n, 0,
                                 err));
        }
        uint64_t at = i * PUM_VK_CHUNK_BYTES, n = PUM_MIN(bytes - at, (uint64_t)PUM_VK_CHUNK_BYTES);
        uint64_t ring = i % PUM_VK_CHUNKS * PUM_VK_CHUNK_BYTES;
        PUM_GOTO(staging_wait(device, i % PUM_VK_CHUNKS, err));
        PUM_GOTO(sync_mapped(device, &s->buffer, ring, n, false, err));
        memcpy(data + at, (uint8_t *)s->buffer.mapped + ring, (size_t)n);
    }
    status = PUMICE_OK;
fail:
    return staging_end(device, status, err);
}

pumice_status pum_vk_buffer_write(pum_vk_device *device, pum_vk_buffer *buffer, uint64_t offset,
                                  const void *data, uint64_t bytes, pumice_error *err)
{
    PUM_TRY(check_range(buffer, offset, bytes, err));
    if (bytes == 0) return PUMICE_OK;
    if (!buffer->mapped) return write_staged(device, buffer, offset, data, bytes, err);
    memcpy((uint8_t *)buffer->mapped + offset, data, (size_t)bytes);
    return sync_mapped(device, buffer, offset, bytes, true, err);
}

/* An item that is larger than a chunk is made in memory of its own. */
static pumice_status stream_large(pum_vk_device *device, const pum_vk_buffer *b, uint64_t offset,
                                  uint64_t item_bytes, uint64_t first, pum_vk_produce_fn produce,
                                  void *user, pumice_error *err)
{
    void *item = pum_alloc((size_t)item_bytes);
    if (!item) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for a transfer");
    produce(user, item, first, 1);
    pumice_status status = write_staged(device, b, offset, item, item_bytes, err);
    pum_free(item);
    return status;
}

static pumice_status stream_chunks(pum_vk_device *device, const pum_vk_buffer *b, uint64_t offset,
                                   uint64_t item_bytes, uint64_t count, pum_vk_produce_fn produce,
                                   void *user, pumice_error *err)
{
    pum_vk_staging *s = &device->staging;
    uint64_t step = PUM_VK_CHUNK_BYTES / item_bytes;
    pumice_status status;
    PUM_TRY(staging_open(device, err));
    for (uint64_t at = 0; at < count; at += step) {
        uint64_t n = PUM_MIN(count - at, step);
        uint32_t chunk = s->next;
        uint64_t ring = (uint64_t)chunk * PUM_VK_CHUNK_BYTES;
        PUM_GOTO(staging_wait(device, chunk, err));
        produce(user, (uint8_t *)s->buffer.mapped + ring, at, n);
        PUM_GOTO(sync_mapped(device, &s->buffer, ring, n * item_bytes, true, err));
        PUM_GOTO(submit_upload(device, chunk, b, offset + at * item_bytes, n * item_bytes, err));
        s->next = (chunk + 1) % PUM_VK_CHUNKS;
    }
    pthread_mutex_unlock(&s->lock); /* the copies go on: staging_wait finds their tickets */
    return PUMICE_OK;
fail:
    return staging_end(device, status, err);
}

pumice_status pum_vk_buffer_stream(pum_vk_device *device, pum_vk_buffer *buffer, uint64_t offset,
                                   uint64_t item_bytes, uint64_t count, pum_vk_produce_fn produce,
                                   void *user, pumice_error *err)
{
    uint64_t bytes;
    if (!pum_mul_u64(item_bytes, count, &bytes)) bytes = UINT64_MAX;
    PUM_TRY(check_range(buffer, offset, bytes, err));
    if (bytes == 0) return PUMICE_OK;
    if (buffer->mapped) {
        produce(user, (uint8_t *)buffer->mapped + offset, 0, count);
        return sync_mapped(device, buffer, offset, bytes, true, err);
    }
    if (item_bytes <= PUM_VK_CHUNK_BYTES)
        return stream_chunks(device, buffer, offset, item_bytes, count, produce, user, err);
    for (uint64_t i = 0; i < count; i++) {
        PUM_TRY(stream_large(device, buffer, offset + i * item_bytes, item_bytes, i, produce, user,
                             err));
    }
    return PUMICE_OK;
}

pumice_status pum_vk_stream_end(pum_vk_device *device, pumice_error *err)
{
    pthread_mutex_lock(&device->staging.lock);
    return staging_end(device, PUMICE_OK, err);
}

pumice_status pum_vk_buffer_read(pum_vk_device *device, pum_vk_buffer *buffer, uint64_t offset,
                                 void *data, uint64_t bytes, pumice_error *err)
{
    PUM_TRY(check_range(buffer, offset, bytes, err));
    if (bytes == 0) return PUMICE_OK;
    if (!buffer->mapped) return read_staged(device, buffer, offset, data, bytes, err);
    PUM_TRY(sync_mapped(device, buffer, offset, bytes, false, err));
    memcpy(data, (uint8_t *)buffer->mapped + offset, (size_t)bytes);
    return PUMICE_OK;
}

pumice_status pum_vk_buffer_fill(pum_vk_device *device, pum_vk_buffer *buffer, uint64_t offset,
                                 uint64_t bytes, uint32_t word, pumice_error *err)
{
    PUM_TRY(check_range(buffer, offset, bytes, err));
    if (offset % 4 || bytes % 4) {
        return pum_fail(err, PUMICE_ERROR_INTERNAL, "a fill must be of whole words");
    }
    if (bytes == 0) return PUMICE_OK;
    if (!buffer->mapped) {
        PUM_TRY(staging_begin(device, err));
        return staging_end(
            device, submit_copy(device, COPY_FILL, 0, buffer, offset, bytes, word, err), err);
    }
    uint32_t *words = (uint32_t *)((uint8_t *)buffer->mapped + offset);
    if (word == 0) memset(words, 0, (size_t)bytes);
    else
        for (uint64_t i = 0; i < bytes / 4; i++) words[i] = word;
    return sync_mapped(device, buffer, offset, bytes, true, err);
}

static pumice_status submit_moves(pum_vk_device *device, const pum_vk_buffer *buffer,
                                  const VkBufferCopy *copies, uint32_t count, pumice_error *err)
{
    VkCommandBuffer commands = device->staging.commands[0];
    PUM_TRY(begin_commands(device, commands, err));
    record_before(device, commands);
    device->table.vkCmdCopyBuffer(commands, buffer->buffer, buffer->buffer, count, copies);
    record_after(device, commands);
    return submit_commands(device, 0, err);
}

pumice_status pum_vk_buffer_move(pum_vk_device *device, pum_vk_buffer *buffer,
                                 const pum_vk_move *moves, size_t count, pumice_error *err)
{
    for (size_t i = 0; i < count; i++) {
        PUM_TRY(check_range(buffer, moves[i].from, moves[i].bytes, err));
        PUM_TRY(check_range(buffer, moves[i].to, moves[i].bytes, err));
    }
    if (count == 0) return PUMICE_OK;
    VkBufferCopy *copies = pum_alloc_array(count, sizeof *copies);
    if (!copies) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to copy device memory");
    for (size_t i = 0; i < count; i++) {
        copies[i] = (VkBufferCopy){ moves[i].from, moves[i].to, moves[i].bytes };
    }
    pumice_status status = staging_begin(device, err);
    if (status == PUMICE_OK) {
        status = submit_moves(device, buffer, copies, (uint32_t)count, err);
        status = staging_end(device, status, err);
    }
    pum_free(copies);
    return status;
}
