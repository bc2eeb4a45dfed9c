/* SPDX-License-Identifier: Apache-2.0
 * Times of steps by timestamp queries: one before the first step of each submit, one after every
 * step. A timestamp is written when all before it has finished, so a step's time is the difference
 * to the one before, and the times of a submit add up. Timestamps make steps that could overlap end
 * one after the other only on paper: where the plan has no barrier, a step's share is not exact. */
#include "exec_internal.h"

pumice_status pum_exec_profile_init(pum_exec *exec, pumice_error *err)
{
    pum_exec *x = exec;
    if (pum_vk_timestamp_bits(x->device) == 0) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "'%s' has no timestamps, so steps cannot be timed",
                        pum_vk_device_caps(x->device)->name);
    }
    x->query_of_step = pum_alloc_array(x->n_steps, sizeof *x->query_of_step);
    if (!x->query_of_step) {
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for timestamps");
    }
    VkQueryPoolCreateInfo info = { .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                   .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                   .queryCount = (uint32_t)(x->n_steps + x->n_submits) };
    VkResult r = pum_vk_table(x->device)->vkCreateQueryPool(pum_vk_handle(x->device), &info, NULL,
                                                            &x->queries);
    if (r == VK_SUCCESS) return PUMICE_OK;
    x->queries = VK_NULL_HANDLE;
    return pum_vk_fail(x->device, r, "creating a query pool", err);
}

void pum_exec_profile_reset(const pum_exec *exec, VkCommandBuffer commands)
{
    pum_vk_table(exec->device)
        ->vkCmdResetQueryPool(commands, exec->queries, 0,
                              (uint32_t)(exec->n_steps + exec->n_submits));
}

void pum_exec_profile_stamp(const pum_exec *exec, VkCommandBuffer commands, uint32_t query)
{
    pum_vk_table(exec->device)
        ->vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, exec->queries, query);
}

pumice_status pum_exec_step_times(pum_exec *exec, uint64_t *out_begin_ns, uint64_t *out_ns,
                                  size_t count, pumice_error *err)
{
    pum_exec *x = exec;
    for (size_t i = 0; i < count; i++) out_begin_ns[i] = out_ns[i] = 0;
    if (!x->queries) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "the plan was recorded without timestamps");
    }
    if (count != x->n_steps) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "the plan has %zu steps, not %zu", x->n_steps,
                        count);
    }
    if (!x->finished) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "no pass has finished that could have times");
    }
    PUM_TRY(pum_vk_wait(x->device, x->last_ticket, err));
    size_t n = x->n_steps + x->n_submits;
    uint64_t *ticks = pum_alloc_array(n, sizeof *ticks);
    if (!ticks) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for timestamps");
    VkResult r = pum_vk_table(x->device)->vkGetQueryPoolResults(
        pum_vk_handle(x->device), x->queries, 0, (uint32_t)n, n * sizeof *ticks, ticks,
        sizeof *ticks, VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    pumice_status status = PUMICE_OK;
    if (r == VK_SUCCESS) {
        uint32_t bits = pum_vk_timestamp_bits(x->device);
        uint64_t mask = bits >= 64 ? UINT64_MAX
                                   : (1ull << bits) - 1; /* counters of fewer bits wrap */
        double period = pum_vk_device_caps(x->device)->timestamp_period_ns;
        for (size_t i = 0; i < n; i++) ticks[i] = ticks[i] & mask;
        for (size_t i = 0; i < x->n_steps; i++) {
            uint64_t end = ticks[x->query_of_step[i]], begin = ticks[x->query_of_step[i] - 1];
            out_begin_ns[i] = (uint64_t)((double)((begin - ticks[0]) & mask) * period);
            out_ns[i] = (uint64_t)((double)((end - begin) & mask) * period);
        }
    } else {
        status = pum_vk_fail(x->device, r, "reading timestamps", err);
    }
    pum_free(ticks);
    return status;
}
