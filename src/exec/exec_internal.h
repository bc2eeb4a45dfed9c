/* SPDX-License-Identifier: Apache-2.0
 * What the files of exec/ share: the recorded plan. */
#ifndef PUM_EXEC_INTERNAL_H
#define PUM_EXEC_INTERNAL_H

#include "exec.h"

struct pum_exec {
    pum_vk_device *device;
    size_t n_steps, n_submits;
    VkCommandPool command_pool;
    VkCommandBuffer *commands; /* one per submit */
    VkDescriptorPool descriptor_pool;
    VkDescriptorSet *sets; /* one per step; bound for the life of the exec */
    VkBufferView *views; /* of texel bindings, n_views of them */
    size_t n_views;
    VkQueryPool queries;   /* n_steps + n_submits timestamps, see profile.c; null without profile */
    uint32_t
        *query_of_step;   /* the timestamp after each step; the one before it is where it began */
    uint64_t last_ticket; /* of the last submit */
    uint64_t pipeline_ns; /* creating pipelines */
    bool finished;        /* at least one whole pass was submitted */
};

/* record.c: the buffer a binding names; NULL when there is no such buffer. */
pum_vk_buffer *pum_exec_buffer(const pum_exec_buffers *buffers, uint32_t number);
/* record.c: fails where a step names no kernel. */
pumice_status pum_exec_check_kernels(const pum_plan *plan, pumice_error *err);
/* record.c: the pipeline of a step, whose kernel is one. */
pum_vk_pipeline_key pum_exec_key(const pum_step *step);
pumice_status pum_exec_record(pum_exec *exec, const pum_plan *plan, const pum_exec_buffers *buffers,
                              pumice_error *err);

/* profile.c */
pumice_status pum_exec_profile_init(pum_exec *exec, pumice_error *err);
void pum_exec_profile_reset(const pum_exec *exec, VkCommandBuffer commands);
/* Writes timestamp number `query`: everything before it has finished. */
void pum_exec_profile_stamp(const pum_exec *exec, VkCommandBuffer commands, uint32_t query);

#endif
