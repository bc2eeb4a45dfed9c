/* SPDX-License-Identifier: Apache-2.0
 * Where a model is cut for several devices: gathers what model, session and devices say in numbers
 * and asks split.c. Decides what a device is worth: its free memory and the rate at which it reads,
 * which is what decoding spends its time on. */
#include "session.h"

#include <stdio.h>
#include <string.h>

#include "part.h"

/* The activations of a pass over one layer: they depend on widths and not on the number of layers. */
static pumice_status arena_of(const pum_model_def *def, uint32_t layer, const pum_pass_key *key,
                              const pum_session_size *size, const pum_cut_device *device,
                              uint64_t *io_bytes, pumice_error *err)
{
    pum_model_def one = { 0 };
    pum_placement weights = { 0 }, kv = { 0 };
    pum_plan plan = { 0 };
    pumice_status status;
    const pum_plan_options options = { 0 };
    PUM_GOTO(pum_model_def_part(def, layer, 1, &one, err));
    PUM_GOTO(pum_weights_place(&one, device->caps, false, &weights, err));
    PUM_GOTO(pum_kv_place(&one, device->caps, size->kv_k, size->kv_v, size->pages, &kv, err));
    PUM_GOTO(pum_pass_plan(&one, size, device->caps, device->tuning, &weights, &kv, &options, key,
                           &plan, err));
    *io_bytes = PUM_MAX(*io_bytes, plan.arena_bytes);
fail:
    pum_plan_free(&plan);
    pum_placement_free(&weights);
    pum_placement_free(&kv);
    pum_model_def_free(&one);
    return status;
}

/* What every part holds besides its layers: the activations of the largest passes, the rows that come
 * and go, the step buffer. */
static pumice_status fixed_bytes(const pum_model_def *def, const pum_session_size *size,
                                 const pum_cut_device *device, uint64_t *out_bytes,
                                 pumice_error *err)
{
    const pum_pass_key prompt = { .rows = size->n_batch, .n_slots = 1, .one_sequence = true,
                                  .head = PUM_HEAD_SLOTS };
    const pum_pass_key input = { .rows = size->n_batch, .one_sequence = true, .encode = true };
    uint32_t last = pum_model_def_layers(def) - 1, n_encoder = def->hp.encoder.n_layers;
    uint64_t arena = 0;
    *out_bytes = 0;
    PUM_TRY(arena_of(def, last, &prompt, size, device, &arena, err));
    if (n_encoder) PUM_TRY(arena_of(def, n_encoder - 1, &input, size, device, &arena, err));
    *out_bytes = arena + 2 * (uint64_t)size->step.rows * def->hp.n_embd * 4 +
                 (uint64_t)size->step.words * 4;
    return PUMICE_OK;
}

/* Of a layer's K and V. */
static uint64_t kv_bytes(const pum_session_size *size, uint32_t heads, uint32_t head_dim)
{
    uint64_t k = 0, v = 0, cells = size->pages * KV_PAGE * heads;
    pum_dtype_row_bytes(size->kv_k, pum_kv_cols(head_dim), &k);
    pum_dtype_row_bytes(size->kv_v, pum_kv_cols(head_dim), &v);
    return cells * (k + v);
}

static pumice_status measure(const pum_model_def *def, const pum_session_size *size,
                             pum_split_sizes *out, pumice_error *err)
{
    const pum_hparams *hp = &def->hp;
    bool encoder = hp->encoder.n_layers > 0; /* then each layer of the decoder has two caches */
    uint64_t own = kv_bytes(size, hp->n_kv_heads, hp->head_dim);
    PUM_TRY(pum_split_measure(def, encoder ? 2 * own : own, out, err));
    if (encoder) out->encoder_bytes = kv_bytes(size, hp->encoder.n_heads, hp->encoder.head_dim);
    return PUMICE_OK;
}

pumice_status pum_cut_make(const pum_model_def *def, const pumice_session_params *session,
                           const pum_cut_device *devices, uint32_t n, uint32_t *out_counts,
                           pumice_error *err)
{
    const pumice_session_params usual = { .struct_size = sizeof usual };
    pum_split_device split[PUM_MAX_PARTS];
    pum_split_sizes sizes = { 0 };
    pum_session_size size;
    uint64_t fixed;
    pumice_status status;
    if (n > PUM_MAX_PARTS) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "at most %d devices are possible, not %u",
                        PUM_MAX_PARTS, n);
    }
    PUM_TRY(pum_session_size_make(def, session ? session : &usual, &size, err));
    PUM_GOTO(measure(def, &size, &sizes, err));
    PUM_GOTO(fixed_bytes(def, &size, &devices[0], &fixed, err));
    sizes.every_bytes += fixed;
    sizes.last_bytes += size.logits_bytes;
    for (uint32_t i = 0; i < n; i++) {
        split[i] = (pum_split_device){ devices[i].caps->name, devices[i].room_bytes,
                                       devices[i].bytes_per_second };
    }
    status = pum_split_layers(&sizes, split, n, out_counts, err);
fail:
    pum_free((void *)(uintptr_t)sizes.layer_bytes);
    return status;
}

void pum_cut_device_of(pumice_device *const *devices, uint32_t n, uint32_t index,
                       pum_cut_device *out)
{
    pumice_device *device = devices[index];
    const char *uuid = pum_vk_device_uuid(device->vk);
    uint32_t same = 0;
    double rate = 0; /* the best that was measured: what else the machine does takes from it */
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(pum_vk_device_uuid(devices[i]->vk), uuid) != 0) continue;
        rate = PUM_MAX(rate, pum_device_read_rate(devices[i]));
        same++;
    }
    *out = (pum_cut_device){ .caps = pum_vk_device_caps(device->vk),
                             .tuning = &device->tuning,
                             .room_bytes = pum_vk_device_room_bytes(device->vk) / PUM_MAX(same, 1u),
                             .bytes_per_second = rate };
}

pumice_status pum_cut_check(const pum_model_def *def, const uint32_t *counts, uint32_t n,
                            pumice_error *err)
{
    uint64_t sum = 0;
    bool none = false;
    char encoder[64] = "";
    for (uint32_t i = 0; i < n; i++) {
        sum += counts[i];
        none = none || counts[i] == 0;
    }
    if (sum == pum_model_def_layers(def) && !none) return PUMICE_OK;
    if (def->hp.encoder.n_layers) {
        snprintf(encoder, sizeof encoder, ", %u of them its encoder's", def->hp.encoder.n_layers);
    }
    return pum_fail(err, PUMICE_ERROR_INVALID,
                    "the split gives %llu layers to %u devices%s, but the model has %u%s",
                    (unsigned long long)sum, n, none ? ", none to one of them" : "",
                    pum_model_def_layers(def), encoder);
}
