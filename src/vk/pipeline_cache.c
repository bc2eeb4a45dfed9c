/* SPDX-License-Identifier: Apache-2.0
 * The driver's pipeline cache in a file, one per (device, driver version, shaders), so that a
 * second start compiles nothing. The data goes to the driver, so a head of our own proves it whole
 * first; a file that is damaged or of another driver is a miss and is replaced. Nothing here can
 * make opening a device fail but running out of memory. */
#include "vk_internal.h"

#include <stdio.h>
#include <string.h>

#include "kernels_spv.h"

enum { MAX_CACHE_BYTES = 256 << 20 };

typedef struct cache_head {
    char magic[8];
    uint64_t data_bytes;
    uint64_t data_hash;
} cache_head;

static const char magic[8] = "PUMCACH1";

/* The 32 bytes every driver's data begins with (VkPipelineCacheHeaderVersionOne). */
enum { VK_HEAD_BYTES = 32, VK_HEAD_UUID_AT = 16 };

static bool is_ours(const pum_vk_device *device, const uint8_t *file, size_t bytes,
                    cache_head *out_head)
{
    if (bytes < sizeof *out_head + VK_HEAD_BYTES) return false;
    memcpy(out_head, file, sizeof *out_head);
    const uint8_t *data = file + sizeof *out_head;
    return memcmp(out_head->magic, magic, sizeof magic) == 0
           && out_head->data_bytes == bytes - sizeof *out_head
           && out_head->data_hash == pum_hash(PUM_HASH_START, data, (size_t)out_head->data_bytes)
           && memcmp(data + VK_HEAD_UUID_AT, device->snapshot.cache_uuid, VK_UUID_SIZE) == 0;
}

char *pum_vk_cache_file(const pum_vk_device *device, const char *cache_dir, const char *ending)
{
    pum_text path = { 0 };
    pum_text_printf(&path, "%s/%s-%08x-%016llx.%s", cache_dir, device->snapshot.uuid,
                    device->snapshot.caps.driver_version,
                    (unsigned long long)pum_kernel_spirv_hash, ending);
    if (path.failed) pum_text_free(&path);
    return path.data;
}

static pumice_status make_path(pum_vk_device *device, const char *cache_dir, pumice_error *err)
{
    pum_vk_pipelines *p = &device->pipelines;
    p->cache_dir = pum_strdup(cache_dir);
    p->cache_path = pum_vk_cache_file(device, cache_dir, "bin");
    return p->cache_dir && p->cache_path
               ? PUMICE_OK
               : pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the pipeline cache");
}

pumice_status pum_vk_pipeline_cache_load(pum_vk_device *device, const char *cache_dir,
                                         pumice_error *err)
{
    pum_vk_pipelines *p = &device->pipelines;
    PUM_TRY(make_path(device, cache_dir, err));
    uint8_t *file = NULL;
    size_t bytes = 0;
    cache_head head = { 0 };
    pumice_error ignored = { 0 };
    bool usable = false;
    if (pum_file_read(p->cache_path, MAX_CACHE_BYTES, &file, &bytes, &ignored) == PUMICE_OK) {
        usable = is_ours(device, file, bytes, &head);
        if (!usable) {
            pum_log_write(&device->log, PUMICE_LOG_DEBUG,
                          "the pipeline cache '%s' is damaged or foreign and will be "
                          "replaced",
                          p->cache_path);
        }
    }
    VkPipelineCacheCreateInfo info = { .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                       .initialDataSize = usable ? (size_t)head.data_bytes : 0,
                                       .pInitialData = usable ? file + sizeof head : NULL };
    VkResult r = device->table.vkCreatePipelineCache(device->handle, &info, NULL, &p->cache);
    if (r != VK_SUCCESS && usable) { /* a driver that dislikes its own data */
        usable = false;
        info.initialDataSize = 0;
        info.pInitialData = NULL;
        r = device->table.vkCreatePipelineCache(device->handle, &info, NULL, &p->cache);
    }
    pum_free(file);
    if (r != VK_SUCCESS) {
        p->cache = VK_NULL_HANDLE;
        return pum_vk_fail(device, r, "creating a pipeline cache", err);
    }
    p->cache_hash = usable ? head.data_hash : 0;
    return PUMICE_OK;
}

/* The file's content; false (nothing to free) when there is none to be had. */
static bool get_data(pum_vk_device *device, uint8_t **out_file, size_t *out_bytes,
                     cache_head *out_head)
{
    size_t bytes = 0;
    VkPipelineCache cache = device->pipelines.cache;
    *out_head = (cache_head){ 0 };
    if (device->table.vkGetPipelineCacheData(device->handle, cache, &bytes, NULL) != VK_SUCCESS
        || bytes < VK_HEAD_BYTES || bytes > MAX_CACHE_BYTES) {
        return false;
    }
    uint8_t *file = pum_alloc(sizeof *out_head + bytes);
    if (!file) return false;
    if (device->table.vkGetPipelineCacheData(device->handle, cache, &bytes, file + sizeof *out_head)
        != VK_SUCCESS) {
        pum_free(file);
        return false;
    }
    memcpy(out_head->magic, magic, sizeof magic);
    out_head->data_bytes = bytes;
    out_head->data_hash = pum_hash(PUM_HASH_START, file + sizeof *out_head, bytes);
    memcpy(file, out_head, sizeof *out_head);
    *out_file = file;
    *out_bytes = sizeof *out_head + bytes;
    return true;
}

void pum_vk_pipeline_cache_save(pum_vk_device *device)
{
    pum_vk_pipelines *p = &device->pipelines;
    if (!p->cache || !device->have_pipelines_lock) return;
    uint8_t *file;
    size_t bytes;
    cache_head head;
    pumice_error err = { 0 };
    pthread_mutex_lock(&p->lock);
    bool added = p->count > p->cache_saved_count;
    p->cache_saved_count = p->count;
    if (added && get_data(device, &file, &bytes, &head)) {
        /* the same pipelines as in the file give the same data */
        if (head.data_hash != p->cache_hash) {
            if (pum_folder_create(p->cache_dir, &err) == PUMICE_OK
                && pum_file_write(p->cache_path, file, bytes, &err) == PUMICE_OK) {
                p->cache_hash = head.data_hash;
            } else {
                pum_log_write(&device->log, PUMICE_LOG_DEBUG, "the pipeline cache is not kept: %s",
                              err.text);
            }
        }
        pum_free(file);
    }
    pthread_mutex_unlock(&p->lock);
}
