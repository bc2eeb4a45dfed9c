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

enum { OPENING_MS = 30 }; /* of the second device */

uint32_t pum_vk_compile_cost(uint32_t kernel)
{
    /* reading the module and the first dispatch, lavapipe; of others by the size of the module */
    static const uint16_t measured[PUM_FAMILY_COUNT] = {
        [PUM_FAMILY_MATMUL_TEXEL] = 210, [PUM_FAMILY_ATTENTION] = 170, [PUM_FAMILY_ROPE_KV] = 110,
        [PUM_FAMILY_ARGMAX] = 65,        [PUM_FAMILY_SAMPLE] = 280,    [PUM_FAMILY_NORM] = 45,
    };
    uint32_t ms = measured[pum_kernels[kernel].family];
    return ms ? ms : 35 + (uint32_t)(pum_kernel_spirv[kernel].bytes >> 8);
}

/* The twin's keys, which are moved to the end: each goes to whoever has less to do. */
static size_t choose(pum_vk_device *device, pum_vk_pipeline_key *keys, size_t count)
{
    uint64_t own_ms = 0, its_ms = OPENING_MS;
    size_t its = 0;
    for (size_t i = 0; i + its < count;) {
        pum_vk_pipeline_key key = keys[i];
        uint32_t ms = pum_vk_compile_cost(key.kernel);
        bool proven = pum_vk_is_proven(device, &key);
        if (proven || its_ms >= own_ms) {
            if (!proven) own_ms += ms;
            i++;
        } else {
            its_ms += ms;
            its++;
            memmove(&keys[i], &keys[i + 1], (count - 1 - i) * sizeof *keys);
            keys[count - 1] = key;
        }
    }
    return own_ms ? its : 0;
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
