/* SPDX-License-Identifier: Apache-2.0
 * Which pipelines have computed on this driver what the reference says, and which kernels have not:
 * sets that only grow, kept in a text file beside the pipeline cache, one per (device, driver
 * version, shaders). Who compares, and what follows, is not decided here. A file that cannot be
 * read or written costs time, nothing else. */
#include "vk_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FILE_BYTES = 1 << 20, LINE = 96 };

static const char title[] = "pumice-proven 1";

static uint64_t name_of(const pum_vk_device *device, const pum_vk_pipeline_key *key)
{
    const char *kernel = pum_kernels[key->kernel].name; /* numbers change with the table */
    uint64_t h = pum_hash(PUM_HASH_START, kernel, strlen(kernel));
    h = pum_hash(h, key->spec, sizeof key->spec);
    return pum_hash(h, &device->snapshot.caps.subgroup_size, sizeof(uint32_t));
}

static bool holds(const pum_vk_proven *p, uint64_t name)
{
    for (size_t i = 0; i < p->names.count; i++) {
        if (p->names.data[i] == name) return true;
    }
    return false;
}

/* ---- the file ---- */

static void read_line(pum_vk_device *device, const char *line)
{
    uint64_t name;
    if (sscanf(line, "right %16" SCNx64, &name) == 1) {
        if (!holds(&device->proven, name) && pum_array_reserve(&device->proven.names, 1)) {
            device->proven.names.data[device->proven.names.count++] = name;
        }
        return;
    }
    for (uint32_t k = 0; strncmp(line, "wrong ", 6) == 0 && k < PUM_KERNEL_COUNT; k++) {
        if (strcmp(line + 6, pum_kernels[k].name) == 0) {
            pum_caps_distrust(&device->snapshot.caps, k);
        }
    }
}

static void read_file(pum_vk_device *device)
{
    uint8_t *data = NULL;
    size_t bytes = 0, begin = 0;
    pumice_error ignored = { 0 };
    if (pum_file_read(device->proven.path, MAX_FILE_BYTES, &data, &bytes, &ignored) != PUMICE_OK) {
        return;
    }
    bool ours = bytes > sizeof title && memcmp(data, title, sizeof title - 1) == 0;
    for (size_t i = 0; ours && i < bytes; i++) {
        char line[LINE];
        if (data[i] != '\n') continue;
        if (i - begin < sizeof line) {
            memcpy(line, data + begin, i - begin);
            line[i - begin] = '\0';
            read_line(device, line);
        }
        begin = i + 1;
    }
    pum_free(data);
}

static void write_file(pum_vk_device *device)
{
    pum_vk_proven *p = &device->proven;
    pum_text text = { 0 };
    pumice_error err = { 0 };
    pum_text_printf(&text, "%s\n", title);
    for (size_t i = 0; i < p->names.count; i++) {
        pum_text_printf(&text, "right %016" PRIx64 "\n", p->names.data[i]);
    }
    for (uint32_t k = 0; k < PUM_KERNEL_COUNT; k++) {
        if (!pum_caps_trusts(&device->snapshot.caps, k)) {
            pum_text_printf(&text, "wrong %s\n", pum_kernels[k].name);
        }
    }
    if (!text.failed && (pum_folder_create(device->pipelines.cache_dir, &err) != PUMICE_OK
                         || pum_file_write(p->path, text.data, text.count, &err) != PUMICE_OK)) {
        pum_log_write(&device->log, PUMICE_LOG_DEBUG, "what was proven is not kept: %s", err.text);
    }
    pum_text_free(&text);
    p->changed = false;
}

/* ---- the device's part ---- */

pumice_status pum_vk_proven_init(pum_vk_device *device, pumice_error *err)
{
    pum_vk_proven *p = &device->proven;
    if (pthread_mutex_init(&p->lock, NULL) != 0) {
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the pipelines' lock");
    }
    p->have_lock = true;
    if (!device->pipelines.cache_dir) return PUMICE_OK;
    p->path = pum_vk_cache_file(device, device->pipelines.cache_dir, "proven");
    if (!p->path) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the pipeline cache");
    read_file(device);
    return PUMICE_OK;
}

void pum_vk_proven_free(pum_vk_device *device)
{
    pum_vk_proven *p = &device->proven;
    if (p->changed && p->path) write_file(device);
    if (p->have_lock) pthread_mutex_destroy(&p->lock);
    pum_array_free(&p->names);
    pum_free(p->path);
    *p = (pum_vk_proven){ 0 };
}

bool pum_vk_is_proven(pum_vk_device *device, const pum_vk_pipeline_key *key)
{
    pthread_mutex_lock(&device->proven.lock);
    bool found = holds(&device->proven, name_of(device, key));
    pthread_mutex_unlock(&device->proven.lock);
    return found;
}

void pum_vk_set_proven(pum_vk_device *device, const pum_vk_pipeline_key *key)
{
    pum_vk_proven *p = &device->proven;
    uint64_t name = name_of(device, key);
    pthread_mutex_lock(&p->lock);
    if (!holds(p, name) && pum_array_reserve(&p->names, 1)) {
        p->names.data[p->names.count++] = name;
        p->changed = true;
    }
    pthread_mutex_unlock(&p->lock);
}

void pum_vk_distrust(pum_vk_device *device, uint32_t kernel)
{
    pthread_mutex_lock(&device->proven.lock);
    pum_caps_distrust(&device->snapshot.caps, kernel);
    device->proven.changed = true;
    pthread_mutex_unlock(&device->proven.lock);
}

void pum_vk_trusted_caps(pum_vk_device *device, pum_caps *out_caps)
{
    pthread_mutex_lock(&device->proven.lock);
    *out_caps = device->snapshot.caps;
    pthread_mutex_unlock(&device->proven.lock);
}
