/* SPDX-License-Identifier: Apache-2.0
 * Makes the pipelines that decoding needs on a thread of its own. Decides which pass: the one that
 * every session has, and no pass of prompts, whose length nobody knows yet. */
#include "warm.h"

static pumice_status make_pipelines(pum_warm *w, const pum_model_part *part, pumice_error *err)
{
    const pum_model_def *def = part->def;
    pum_caps caps;
    const pum_plan_options options = pum_session_plan_options(&w->params);
    const pum_pass_key decode = { .rows = 1, .n_slots = 1, .head = PUM_HEAD_SLOTS, .sampler = w->sampler };
    const pum_pass_key key = pum_stage_key(def, &decode);
    pum_session_size size;
    pum_placement kv = { 0 };
    pum_plan plan = { 0 };
    pumice_status status;
    if (!pum_stage_has_part(def, &decode)) return PUMICE_OK;
    pum_vk_trusted_caps(part->device->vk, &caps);
    PUM_GOTO(pum_session_size_make(def, &w->params, &size, err));
    PUM_GOTO(pum_kv_place(def, &caps, size.kv_k, size.kv_v, size.pages, &kv, err));
    PUM_GOTO(pum_pass_plan(def, &size, &caps, &part->device->tuning, pum_part_weights(part), &kv, &options,
                           &key, &plan, err));
    status = pum_exec_prepare(part->device->vk, &plan, &w->stop, err);
fail:
    pum_plan_free(&plan);
    pum_placement_free(&kv);
    return status;
}

static void work(void *user)
{
    pum_warm *w = user;
    pum_heap_reserve();
    for (uint32_t i = 0; i < w->model->n_parts; i++) {
        const pum_model_part *part = &w->model->parts[i];
        pumice_error err = { 0 };
        if (make_pipelines(w, part, &err) == PUMICE_OK) continue;
        pum_log_write(pum_vk_device_log(part->device->vk), PUMICE_LOG_DEBUG,
                      "no pipelines were made ahead: %s", err.text);
    }
}

void pum_warm_begin(pum_warm *warm, const pumice_model *model, const pumice_session_params *params,
                    const pumice_sampling *sampling)
{
    pumice_sampling given = { 0 };
    *warm = (pum_warm){ .model = model };
    atomic_init(&warm->stop, 0);
    if (!params || pum_params_check(params->struct_size, sizeof(uint32_t), "", NULL) != PUMICE_OK)
        return;
    pum_params_copy(&warm->params, sizeof warm->params, params);
    if (sampling && pum_params_check(sampling->struct_size, sizeof(uint32_t), "", NULL) == PUMICE_OK) {
        pum_params_copy(&given, sizeof given, sampling);
        warm->sampler = pum_sampler_for(&given);
    }
    pum_task_start(&warm->task, work, warm);
}

void pum_warm_end(pum_warm *warm, bool cancel)
{
    if (cancel) atomic_store(&warm->stop, 1);
    pum_task_join(&warm->task);
}
