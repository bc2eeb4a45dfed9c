/* SPDX-License-Identifier: Apache-2.0
 * A thread that copies a part's weights out of the file's pages. Sessions go on using those until all are copied, and
 * change over between two passes (pum_stage_settle); the pages stay bound as long as the model lives. */
#include "settle.h"

#include "task.h"

static const uint64_t AFTER_NS = 1000000000; /* loading: most have their first token by then */
static const uint64_t SLICE_BYTES = 1u << 20; /* whoever frees the model waits for one */

struct pum_settling {
    pum_model_part *part;
    pum_slices slices;
    pum_task task;
    pum_lock *lock;
    bool ends; /* asked to, under the lock */
};

/* Waits, unless told to end; true: was told to. */
static bool wait_until(struct pum_settling *s, uint64_t time_ns)
{
    pum_lock_take(s->lock);
    for (uint64_t now = pum_now_ns(); !s->ends && now < time_ns; now = pum_now_ns()) {
        pum_lock_wait(s->lock, time_ns - now);
    }
    bool ends = s->ends;
    pum_lock_give(s->lock);
    return ends;
}

static void copy(struct pum_settling *s)
{
    pum_model_part *part = s->part;
    pumice_error err = { 0 };
    pumice_status status = PUMICE_OK;
    uint64_t bytes;
    bool ends = false;
    for (size_t i = 0; i < s->slices.count && status == PUMICE_OK && !ends; i++) {
        status = pum_slice_copy(part, &part->settled, &s->slices.data[i], &bytes, &err);
        ends = wait_until(s, 0);
    }
    if (status == PUMICE_OK && !ends) {
        atomic_store(&part->is_settled, true);
    } else if (!ends) {
        pum_log_write(pum_vk_device_log(part->device->vk), PUMICE_LOG_WARNING,
                      "weights are used in the file as long as the model is loaded, since they could not be copied: %s",
                      err.text);
    }
}

static void work(void *user)
{
    struct pum_settling *s = user;
    if (!wait_until(s, pum_now_ns() + AFTER_NS)) copy(s);
}

static pumice_status list_slices(struct pum_settling *s, pumice_error *err)
{
    const pum_placement *placement = &s->part->placement;
    for (uint32_t i = 0; i < placement->pieces.count; i++) {
        if (placement->pieces.data[i].buffer >= placement->n_host) continue;
        PUM_TRY(pum_slices_add(&s->slices, s->part, i, SLICE_BYTES, err));
    }
    return PUMICE_OK;
}

pumice_status pum_settle_begin(pum_model_part *part, pumice_error *err)
{
    struct pum_settling *s = part->settling = pum_alloc(sizeof *s);
    if (s) s->part = part;
    if (s) s->lock = pum_lock_create();
    if (!s || !s->lock) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to load the model");
    PUM_TRY(list_slices(s, err));
    if (!pum_task_start(&s->task, work, s)) copy(s); /* no thread to be had: now */
    return PUMICE_OK;
}

void pum_settle_end(pum_model_part *part)
{
    struct pum_settling *s = part->settling;
    if (!s) return;
    if (s->lock) {
        pum_lock_take(s->lock);
        s->ends = true;
        pum_lock_wake(s->lock);
        pum_lock_give(s->lock);
    }
    pum_task_join(&s->task);
    pum_lock_destroy(&s->lock);
    pum_array_free(&s->slices);
    pum_free(s);
    part->settling = NULL;
}
