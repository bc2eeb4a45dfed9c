/* SPDX-License-Identifier: Apache-2.0
 * For drivers that compile a pipeline in the queue, when it is first dispatched (PUM_FLAG_LATE_COMPILE), and keep the
 * code in a folder of their own: a second device of the same driver compiles a part of the pipelines at the same time,
 * so that the first finds them there. Only for pipelines that this driver version has not proven, which are those that
 * it has never compiled, unless its folder was emptied since. Decides which; whatever fails here costs time alone. */
#include "vk_internal.h"

#include <stdio.h>
#include <string.h>

#include "kernels_spv.h"

void pum_vk_twin_init(pum_vk_device *device, const pum_vk_params *params)
{
    bool late = device->snapshot.caps.flags & PUM_FLAG_LATE_COMPILE;
    if (!late || params->no_twin || !params->cache_dir || pum_core_count() < 2) return;
    pum_vk_twin *t = &device->twin;
    t->params = *params;
    t->params.select = t->select;
    t->params.validation = t->params.no_twin = false;
    t->params.cache_dir = NULL; /* so that it has no twin and proves nothing */
    t->params.memory_budget_bytes = 0;
    t->params.log = (pum_log){ 0 };
    snprintf(t->select, sizeof t->select, "%u", device->index);
    t->is_possible = true;
}

/* Of the second device; and so many pipelines are divided at most: those that are asked for first. */
enum { OPENING_MS = 30, MOST_DIVIDED = 10 };

static uint32_t reading_cost(uint32_t kernel) { return pum_kernel_spirv[kernel].bytes / 1700; }

uint32_t pum_vk_compile_cost(uint32_t kernel)
{
    /* the first dispatch, lavapipe; of others by the size of the module */
    static const uint16_t measured[PUM_FAMILY_COUNT] = {
        [PUM_FAMILY_MATVEC_TEXEL] = 190, [PUM_FAMILY_ATTENTION_FLOAT] = 140, [PUM_FAMILY_ROPE_KV_FLOAT] = 85,
        [PUM_FAMILY_ATTENTION] = 140,    [PUM_FAMILY_ROPE_KV] = 85,          [PUM_FAMILY_ARGMAX] = 65,
        [PUM_FAMILY_SAMPLE] = 280,       [PUM_FAMILY_NORM] = 45,
    };
    uint32_t ms = measured[pum_kernels[kernel].family];
    return ms ? ms : 35 + (uint32_t)(pum_kernel_spirv[kernel].bytes >> 8);
}

/* When all is compiled, if the twin takes the keys in `its` (bits). Each device compiles one after the other, both read
 * the twin's modules, and all of it has so many cores. */
static uint64_t end_of(const pum_vk_pipeline_key *keys, size_t count, uint32_t its, uint32_t cores)
{
    uint64_t own_ms = 0, its_ms = OPENING_MS, all_ms = OPENING_MS;
    for (size_t i = 0; i < count; i++) {
        uint32_t reading = reading_cost(keys[i].kernel), ms = pum_vk_compile_cost(keys[i].kernel);
        bool is_its = its >> i & 1;
        if (is_its) its_ms += reading + ms;
        else own_ms += ms;
        all_ms += ms + (is_its ? 2 : 1) * reading;
    }
    return PUM_MAX(PUM_MAX(own_ms, its_ms), all_ms / cores);
}

/* The twin's keys, which are moved to the end: of those that are not proven the part with which all ends soonest. */
static size_t choose(pum_vk_device *device, pum_vk_pipeline_key *keys, size_t count)
{
    pum_vk_pipeline_key divided[MOST_DIVIDED];
    size_t at[MOST_DIVIDED], n = 0, its = 0;
    for (size_t i = 0; i < count && n < MOST_DIVIDED; i++) {
        if (pum_vk_is_proven(device, &keys[i])) continue;
        divided[n] = keys[i];
        at[n++] = i;
    }
    uint32_t best = 0, cores = pum_core_count();
    uint64_t best_ms = end_of(divided, n, best, cores);
    for (uint32_t part = 1; part + 1 < 1u << n; part++) { /* neither none nor all */
        uint64_t ms = end_of(divided, n, part, cores);
        if (ms >= best_ms) continue;
        best = part;
        best_ms = ms;
    }
    for (size_t i = 0; i < n; i++) {
        if (!(best >> i & 1)) continue;
        size_t here = at[i] - its++;
        memmove(&keys[here], &keys[here + 1], (count - 1 - here) * sizeof *keys);
        keys[count - 1] = divided[i];
    }
    return its;
}

static void work(void *user)
{
    pum_vk_twin_work *w = user;
    pum_vk_device *twin;
    if (pum_vk_device_create(w->params, &twin, NULL) != PUMICE_OK) return;
    (void)pum_vk_pipelines_prepare(twin, w->keys, w->count, NULL);
    pum_vk_device_destroy(&twin); /* the driver ends its writing with the instance */
}

size_t pum_vk_twin_begin(pum_vk_device *device, pum_vk_pipeline_key *keys, size_t count, pum_vk_twin_work *out_work)
{
    *out_work = (pum_vk_twin_work){ .params = &device->twin.params };
    size_t its = device->twin.is_possible ? choose(device, keys, count) : 0;
    out_work->keys = keys + (count - its);
    out_work->count = its;
    return its && pum_task_start(&out_work->task, work, out_work) ? its : 0;
}

void pum_vk_twin_end(pum_vk_twin_work *twin) { pum_task_join(&twin->task); }
