/* SPDX-License-Identifier: Apache-2.0
 * Executes plans: records a plan's steps into command buffers once and replays them. A dumb loop: no decision
 * about kernels, memory or barriers is made here. One thread at a time per pum_exec. */
#ifndef PUM_EXEC_H
#define PUM_EXEC_H

#include "plan.h"
#include "vk.h"

/* The buffers a plan's binding numbers stand for; owned by others and must outlive the exec. */
typedef struct pum_exec_buffers {
    pum_vk_buffer *arena, *step, *logits;
    pum_vk_buffer *kv;       size_t n_kv;
    pum_vk_buffer *weights;  size_t n_weights;
} pum_exec_buffers;

typedef struct pum_exec pum_exec;

/* Creates pipelines, descriptor sets and command buffers (one per submit of the plan). The plan is copied as far as
 * needed. With `profile`, timestamps are written around every step. */
pumice_status pum_exec_create(pum_vk_device *device, const pum_plan *plan, const pum_exec_buffers *buffers,
                              bool profile, pum_exec **out_exec, pumice_error *err);
/* Waits for the exec's last submit before freeing. */
void pum_exec_destroy(pum_exec **exec);

/* Submits one pass. Several passes may be in flight: order on the queue and the plan's barriers keep them apart.
 * `cancel` (may be NULL) is read between submits: non-zero stops and returns CANCELLED after waiting for what was
 * submitted; *out_ticket is the last submit's. */
pumice_status pum_exec_submit(pum_exec *exec, const volatile int *cancel, uint64_t *out_ticket, pumice_error *err);
/* Submit and wait; with more than one submit in the plan waits between them so that cancel takes effect. */
pumice_status pum_exec_run(pum_exec *exec, const volatile int *cancel, pumice_error *err);

/* Nanoseconds of each step of the last finished pass; needs profile. `ns` has room for the plan's steps. */
pumice_status pum_exec_step_times(pum_exec *exec, uint64_t *out_begin_ns, uint64_t *out_ns, size_t count,
                                  pumice_error *err);

#endif
