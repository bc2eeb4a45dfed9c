/* SPDX-License-Identifier: Apache-2.0
 * The life of a recorded plan: create, submit, run, destroy. Cancelling takes effect between
 * submits; how long those are is the plan's business. */
#include "exec_internal.h"

static size_t count_submits(const pum_plan *plan)
{
    size_t n = 0;
    for (size_t i = 0; i < plan->steps.count; i++) {
        if (plan->steps.data[i].submit_end || i + 1 == plan->steps.count) n++;
    }
    return n;
}

pumice_status pum_exec_create(pum_vk_device *device, const pum_plan *plan,
                              const pum_exec_buffers *buffers, bool profile, pum_exec **out_exec,
                              pumice_error *err)
{
    *out_exec = NULL;
    if (plan->steps.count == 0) return pum_fail(err, PUMICE_ERROR_INTERNAL, "the plan is empty");
    if (pum_vk_device_is_lost(device)) {
        return pum_vk_fail(device, VK_ERROR_DEVICE_LOST, "it was lost earlier", err);
    }
    pum_exec *x = pum_alloc(sizeof *x);
    if (!x) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to record a plan");
    pumice_status status;
    x->device = device;
    x->n_steps = plan->steps.count;
    x->n_submits = count_submits(plan);
    x->commands = pum_alloc_array(x->n_submits, sizeof *x->commands);
    x->sets = pum_alloc_array(x->n_steps, sizeof *x->sets);
    if (!x->commands || !x->sets) {
        PUM_GOTO(pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to record a plan"));
    }
    if (profile) PUM_GOTO(pum_exec_profile_init(x, err));
    PUM_GOTO(pum_exec_record(x, plan, buffers, err));
    *out_exec = x;
    return PUMICE_OK;
fail:
    pum_exec_destroy(&x);
    return status;
}

uint64_t pum_exec_pipeline_ns(const pum_exec *exec) { return exec->pipeline_ns; }

void pum_exec_destroy(pum_exec **exec)
{
    if (!exec || !*exec) return;
    pum_exec *x = *exec;
    *exec = NULL;
    const struct VolkDeviceTable *t = pum_vk_table(x->device);
    VkDevice device = pum_vk_handle(x->device);
    if (x->last_ticket && pum_vk_wait(x->device, x->last_ticket, NULL) != PUMICE_OK) {
        pum_vk_idle(x->device);
    }
    if (x->command_pool) {
        t->vkDestroyCommandPool(device, x->command_pool, NULL); /* frees its command buffers */
    }
    if (x->descriptor_pool) t->vkDestroyDescriptorPool(device, x->descriptor_pool, NULL);
    for (size_t i = 0; i < x->n_views; i++) t->vkDestroyBufferView(device, x->views[i], NULL);
    if (x->queries) t->vkDestroyQueryPool(device, x->queries, NULL);
    pum_free(x->commands);
    pum_free(x->sets);
    pum_free(x->views);
    pum_free(x->query_of_step);
    pum_free(x);
}

static pumice_status cancelled(pum_exec *x, pumice_error *err)
{
    if (x->last_ticket) PUM_TRY(pum_vk_wait(x->device, x->last_ticket, err));
    return pum_fail(err, PUMICE_ERROR_CANCELLED, "the work was cancelled");
}

/* Submits all parts; with `each`, waits for one before the next is submitted. */
static pumice_status submit_all(pum_exec *x, atomic_int *cancel, bool each, pumice_error *err)
{
    x->finished = false;
    for (size_t i = 0; i < x->n_submits; i++) {
        if (cancel && atomic_load(cancel)) return cancelled(x, err);
        uint64_t ticket = 0;
        PUM_TRY(pum_vk_submit(x->device, &x->commands[i], 1, &ticket, err));
        x->last_ticket = ticket;
        if (each) PUM_TRY(pum_vk_wait(x->device, ticket, err));
    }
    x->finished = true;
    return PUMICE_OK;
}

pumice_status pum_exec_submit(pum_exec *exec, atomic_int *cancel, uint64_t *out_ticket,
                              pumice_error *err)
{
    pumice_status status = submit_all(exec, cancel, false, err);
    *out_ticket = exec->last_ticket;
    return status;
}

pumice_status pum_exec_run(pum_exec *exec, atomic_int *cancel, pumice_error *err)
{
    return submit_all(exec, cancel, true, err);
}
