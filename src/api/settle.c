/* SPDX-License-Identifier: Apache-2.0
 * A thread that copies a part's weights out of the file's pages. Sessions go on using those until all are copied, and
 * change over between two passes (pum_stage_settle); the pages stay bound as long as the model lives. */
#include "settle.h"

#include "task.h"

static const uint64_t AFTER_NS = 1000000000; /* loading: most have their first token by then */
static const uint64_t STEP_BYTES = 1u << 20; /* whoever frees the model waits for one */

struct pum_settling {
    pum_model_part *part;
    pum_task task;
    pum_lock *lock;
    atomic_bool ends; /* asked to; set under the lock, for who waits */
};

/* Copies a piece, if not told to end. */
static pumice_status copy_piece(struct pum_settling *s, uint32_t index, pumice_error *err)
{
    const pum_model_part *part = s->part;
    const pum_piece *piece = &part->placement.pieces.data[index];
    uint64_t row_bytes = part->def->weights.data[piece->tensor].row_bytes;
    uint64_t step = PUM_MAX(STEP_BYTES / row_bytes, 1u);
    for (uint64_t row = 0; row < piece->row_count && !atomic_load(&s->ends); row += step) {
        PUM_TRY(pum_rows_copy(part, &part->settled, index, row, PUM_MIN(step, piece->row_count - row), err));
    }
    return PUMICE_OK;
}

static void copy(struct pum_settling *s)
{
    pum_model_part *part = s->part;
    const pum_placement *from = &part->placement;
    pumice_error err = { 0 };
    pumice_status status = PUMICE_OK;
    for (uint32_t i = 0; i < from->pieces.count && status == PUMICE_OK; i++) {
        if (pum_placement_in_pages(from, &from->pieces.data[i])) status = copy_piece(s, i, &err);
    }
    pumice_status ended = pum_vk_stream_end(part->device->vk, status == PUMICE_OK ? &err : NULL);
    if (status == PUMICE_OK) status = ended;
    if (atomic_load(&s->ends)) return; /* nobody will look */
    if (status == PUMICE_OK) {
        atomic_store(&part->is_settled, true);
    } else {
        pum_log_write(pum_vk_device_log(part->device->vk), PUMICE_LOG_WARNING,
                      "weights are used in the file as long as the model is loaded, since they could not be copied: %s",
                      err.text);
    }
}

static void work(void *user)
{
    struct pum_settling *s = user;
    uint64_t now = pum_now_ns(), begin = now + AFTER_NS;
    pum_lock_take(s->lock);
    for (; !atomic_load(&s->ends) && now < begin; now = pum_now_ns()) pum_lock_wait_for(s->lock, begin - now);
    pum_lock_give(s->lock);
    copy(s);
}

pumice_status pum_settle_make(pum_model_part *part, pumice_error *err)
{
    if (!part->settled.pieces.count) return PUMICE_OK;
    struct pum_settling *s = part->settling = pum_alloc(sizeof *s);
    if (s) {
        s->part = part;
        s->lock = pum_lock_create();
        atomic_init(&s->ends, false);
    }
    return s && s->lock ? PUMICE_OK : pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to load the model");
}

void pum_settle_begin(pum_model_part *part)
{
    struct pum_settling *s = part->settling;
    if (s && !pum_task_start(&s->task, work, s)) copy(s); /* no thread to be had: now */
}

void pum_settle_end(pum_model_part *part)
{
    struct pum_settling *s = part->settling;
    if (!s) return;
    if (s->lock) {
        pum_lock_take(s->lock);
        atomic_store(&s->ends, true);
        pum_lock_wake(s->lock);
        pum_lock_give(s->lock);
    }
    pum_task_join(&s->task);
    pum_lock_destroy(&s->lock);
    pum_free(s);
    part->settling = NULL;
}
