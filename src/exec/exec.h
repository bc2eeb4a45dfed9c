/* SPDX-License-Identifier: Apache-2.0
 * Executes plans: records a plan's steps into command buffers once and replays them. A dumb loop:
 * no decision about kernels, memory or barriers is made here. One thread at a time per pum_exec. */
#ifndef PUM_EXEC_H
#define PUM_EXEC_H

#include <stdatomic.h>

#include "plan.h"
#include "vk.h"

/* The buffers a plan's binding numbers stand for; owned by others and must outlive the exec. */
typedef struct pum_exec_buffers {
    pum_vk_buffer *arena, *step, *logits, *hidden; /* NULL: no plan binds it */
    pum_vk_buffer *kv;
    size_t n_kv;
    pum_vk_buffer *weights;
    size_t n_weights;
} pum_exec_buffers;

typedef struct pum_exec pum_exec;

/* Creates a plan's pipelines and no more; a non-zero `cancel` (may be NULL) ends it with CANCELLED.
 */
pumice_status pum_exec_prepare(pum_vk_device *device, const pum_plan *plan, atomic_int *cancel,
                               pumice_error *err);
/* Creates pipelines, descriptor sets and command buffers (one per submit of the plan). Nothing of
 * the plan is kept. With `profile`, timestamps are written around every step (UNSUPPORTED where the
 * device has none). */
pumice_status pum_exec_create(pum_vk_device *device, const pum_plan *plan,
                              const pum_exec_buffers *buffers, bool profile, pum_exec **out_exec,
                              pumice_error *err);
/* Of its creation, what went into pipelines. */
uint64_t pum_exec_pipeline_ns(const pum_exec *exec);
/* Waits for the exec's last submit before freeing. */
void pum_exec_destroy(pum_exec **exec);

/* Submits one pass. Several passes may be in flight: order on the queue and the plan's barriers
 * keep them apart. `cancel` (may be NULL) is read before every submit: non-zero stops and returns
 * CANCELLED after waiting for what was submitted; *out_ticket is the last submit's. */
pumice_status pum_exec_submit(pum_exec *exec, atomic_int *cancel, uint64_t *out_ticket,
                              pumice_error *err);
/* Submit and wait; with more than one submit in the plan waits between them so that cancel takes
 * effect. */
pumice_status pum_exec_run(pum_exec *exec, atomic_int *cancel, pumice_error *err);

/* Times of each step of the last finished pass; needs profile and no pass in flight. Both arrays
 * have room for the plan's `count` steps. begin is relative to the pass's first timestamp, on the
 * device's clock; a step's time ends when it and all before it are done, so that the times of a
 * submit add up to its length. */
pumice_status pum_exec_step_times(pum_exec *exec, uint64_t *out_begin_ns, uint64_t *out_ns,
                                  size_t count, pumice_error *err);

/* ---- check mode ---- */

typedef struct pum_exec_check {
    size_t n_steps; /* steps run and compared */
    double worst;   /* largest error / bound seen in them; a bad step's is > 1 */
    bool bad;       /* a step differs from the reference; the rest describes the first such step */
    size_t step;
    const char *kernel, *binding;
    char label[56];
    uint64_t element, n_elements,
        n_bad; /* the worst element, of how many, how many are beyond the bound */
    double got, want, bound;
} pum_exec_check;

/* Runs a plan step by step with the step buffer as it is, each on what the device itself computed
 * so far, and compares everything a step writes with the reference kernels on the host (ref/): |got
 * - want| <= tolerance of the kernel x the size of the terms summed. Stops at the first bad step,
 * which is no failure: PUMICE_OK with out_check->bad. Slow: reads every binding of every step. For
 * tests and `pumice run --check`. */
pumice_status pum_exec_check_run(pum_vk_device *device, const pum_plan *plan,
                                 const pum_exec_buffers *buffers, pum_exec_check *out_check,
                                 pumice_error *err);

/* The self-test: the same for those steps alone whose pipelines this driver version has not proven
 * yet, of large products a part, with as much of the plan as they need; nothing at all when there
 * are none. What is right is remembered by the device. Leaves what the pass leaves: a step buffer
 * that it writes is the caller's to restore. `cancel` may be NULL. */
pumice_status pum_exec_prove(pum_vk_device *device, const pum_plan *plan,
                             const pum_exec_buffers *buffers, atomic_int *cancel,
                             pum_exec_check *out_check, pumice_error *err);

#endif
