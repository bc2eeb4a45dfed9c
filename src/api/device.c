/* SPDX-License-Identifier: Apache-2.0
 * Public device functions: params in, facts out. Opening and judging devices is vk/'s business. */
#include "api.h"

#include <stdio.h>
#include <string.h>

#include "family.h"
#include "quirks.h"

static void fill_info(const pum_caps *caps, uint32_t index, const char *uuid, const char *why_not,
                      pumice_device_info *info)
{
    uint32_t size = info->struct_size;
    pumice_device_info full = { .struct_size = size,
                                .index = index,
                                .kind = caps->kind,
                                .vendor_id = caps->vendor_id,
                                .device_id = caps->device_id,
                                .api_version = caps->api_version,
                                .subgroup_size = caps->subgroup_size,
                                .usable = why_not[0] == '\0',
                                .heap_bytes = caps->local_heap_bytes,
                                .budget_bytes = caps->local_budget_bytes,
                                .max_buffer_range_bytes = caps->max_buffer_range_bytes,
                                .max_allocation_bytes = caps->max_allocation_bytes,
                                .subgroup_min = caps->subgroup_min,
                                .subgroup_max = caps->subgroup_max,
                                .max_workgroup_invocations = caps->max_workgroup_invocations,
                                .shared_memory_bytes = caps->shared_memory_bytes,
                                .offset_align_bytes = caps->offset_align_bytes };
    snprintf(full.name, sizeof full.name, "%s", caps->name);
    snprintf(full.driver, sizeof full.driver, "%s", caps->driver_name);
    snprintf(full.family, sizeof full.family, "%s", pum_family_name(caps->family));
    pum_caps_tiers_text(caps->bits, full.tiers, sizeof full.tiers);
    snprintf(full.uuid, sizeof full.uuid, "%s", uuid);
    snprintf(full.why_not, sizeof full.why_not, "%s", why_not);
    pum_quirk_info quirk;
    for (size_t i = 0, n = 0; pum_quirk_get(i, &quirk); i++) {
        if (!(caps->quirks & 1u << i)) continue;
        int w = snprintf(full.quirks + n, sizeof full.quirks - n, "%s%s", n ? " " : "", quirk.name);
        n = PUM_MIN(n + (size_t)PUM_MAX(w, 0), sizeof full.quirks - 1);
    }
    memcpy(info, &full, PUM_MIN((size_t)size, sizeof full));
}

/* Translates the public params; cache_dir must outlive the result. */
static pumice_status vk_params(const pumice_device_params *params, char *cache, size_t cache_bytes,
                               pum_vk_params *out, pumice_error *err)
{
    pumice_device_params p;
    *out = (pum_vk_params){ 0 };
    if (params)
        PUM_TRY(
            pum_params_check(params->struct_size, sizeof(uint32_t), "pumice_device_params", err));
    pum_params_copy(&p, sizeof p, params);
    out->select = p.select;
    if (!pum_caps_wishes_parse(p.disable, p.caps, p.quirks, &out->wishes, err))
        return PUMICE_ERROR_INVALID;
    out->validation = p.validation;
    out->memory_budget_bytes = p.memory_budget_bytes;
    out->log = (pum_log){ p.log, p.log_user };
    out->get_instance_proc_addr = p.get_instance_proc_addr;
    out->no_twin = p.no_self_test; /* it goes by what was proven */
    if (!p.no_cache) {
        if (p.cache_dir) out->cache_dir = p.cache_dir;
        else if (pum_cache_folder(cache, cache_bytes)) out->cache_dir = cache;
    }
    return PUMICE_OK;
}

typedef struct list_target {
    pumice_device_info *infos;
    uint32_t capacity, count;
} list_target;

static void visit(void *user, uint32_t index, const pum_caps *caps, const char *uuid,
                  const char *why_not)
{
    list_target *t = user;
    if (t->count < t->capacity) fill_info(caps, index, uuid, why_not, &t->infos[t->count]);
    t->count++;
}

pumice_status pumice_device_list(const pumice_device_params *params, pumice_device_info *infos,
                                 uint32_t capacity, uint32_t *out_count, pumice_error *err)
{
    pum_error_clear(err);
    if (!out_count || (capacity && !infos))
        return pum_fail(err, PUMICE_ERROR_INVALID, "out_count and infos must be given");
    *out_count = 0;
    if (capacity && infos[0].struct_size != sizeof *infos) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "set infos[i].struct_size to sizeof(pumice_device_info)");
    }
    for (uint32_t i = 1; i < capacity; i++) infos[i].struct_size = infos[0].struct_size;
    pum_vk_params p;
    char cache[1024];
    list_target target = { infos, capacity, 0 };
    PUM_TRY(vk_params(params, cache, sizeof cache, &p, err));
    PUM_TRY(pum_vk_list(&p, visit, &target, err));
    *out_count = target.count;
    return PUMICE_OK;
}

pumice_status pumice_device_create(const pumice_device_params *params, pumice_device **out_device,
                                   pumice_error *err)
{
    pum_error_clear(err);
    if (!out_device) return pum_fail(err, PUMICE_ERROR_INVALID, "out_device must be given");
    *out_device = NULL;
    pum_vk_params p;
    char cache[1024];
    pumice_device_params own;
    PUM_TRY(vk_params(params, cache, sizeof cache, &p, err));
    pum_params_copy(&own, sizeof own, params);
    pumice_device *device = pum_alloc(sizeof *device);
    if (!device) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open a device");
    pumice_status status = pum_vk_device_create(&p, &device->vk, err);
    if (status != PUMICE_OK) {
        pum_free(device);
        return status;
    }
    atomic_init(&device->references, 1);
    device->no_self_test = own.no_self_test;
    pum_tuning_for(pum_vk_device_caps(device->vk), &device->tuning);
    *out_device = device;
    return PUMICE_OK;
}

void pum_device_keep(pumice_device *device) { atomic_fetch_add(&device->references, 1); }

void pumice_device_destroy(pumice_device **device)
{
    if (!device || !*device) return;
    pumice_device *d = *device;
    *device = NULL;
    if (atomic_fetch_sub(&d->references, 1) != 1) return;
    pum_vk_device_destroy(&d->vk);
    pum_free(d);
}

pumice_status pumice_device_get_info(pumice_device *device, pumice_device_info *info)
{
    if (!device || !info || info->struct_size < sizeof(uint32_t) || info->struct_size > 65536) {
        return PUMICE_ERROR_INVALID;
    }
    fill_info(pum_vk_device_caps(device->vk), pum_vk_device_index(device->vk),
              pum_vk_device_uuid(device->vk), "", info);
    return PUMICE_OK;
}

uint64_t pumice_device_validation_count(pumice_device *device)
{
    return device ? pum_vk_validation_count(device->vk) : 0;
}

int pumice_quirk_get(size_t index, pumice_quirk *out_quirk)
{
    pum_quirk_info info;
    if (!out_quirk || out_quirk->struct_size < sizeof(uint32_t) || out_quirk->struct_size > 65536 ||
        !pum_quirk_get(index, &info)) {
        return 0;
    }
    pumice_quirk full = { .struct_size = out_quirk->struct_size,
                          .name = info.name,
                          .text = info.text,
                          .seen = info.seen,
                          .link = info.link };
    pum_quirk_effect_text(&info, full.effect, sizeof full.effect);
    memcpy(out_quirk, &full, PUM_MIN((size_t)full.struct_size, sizeof full));
    return 1;
}
