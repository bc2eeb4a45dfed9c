/* SPDX-License-Identifier: Apache-2.0
 * The buffers of a stage: made, and freed; pages of its cache copied. */
#include "stage.h"

#include <string.h>

pum_stage pum_stage_for(const pum_model_part *part, const pum_session_size *size,
                        const pumice_session_params *params, atomic_int *cancel, pumice_error *err)
{
    return (pum_stage){ .part = part,
                        .vk = part->device->vk,
                        .size = *size,
                        .plan_options = pum_session_plan_options(params),
                        .profile = params->profile,
                        .err = err,
                        .cancel = cancel };
}

static uint64_t row_bytes(const pum_stage *s)
{
    return (uint64_t)s->size.step.rows * s->part->def->hp.n_embd * 4;
}

static pumice_status create_kv(pum_stage *s)
{
    size_t n_kv = s->kv_place.buffer_bytes.count;
    s->kv = pum_alloc_array(n_kv, sizeof *s->kv);
    if (!s->kv) return pum_fail(s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for a session");
    for (size_t i = 0; i < n_kv; i++) {
        PUM_TRY(pum_vk_buffer_create(s->vk, PUM_VK_DEVICE, s->kv_place.buffer_bytes.data[i],
                                     "KV cache", &s->kv[i], s->err));
        /* Cells beyond a row's range are never read, but a vector load may cover them: let them be
         * numbers. */
        PUM_TRY(pum_vk_buffer_fill(s->vk, &s->kv[i], 0, s->kv[i].size_bytes, 0, s->err));
    }
    return PUMICE_OK;
}

/* The block tables of what the encoder makes, which never change: page i of sequence q is the i-th of
 * its own. They stand behind those of the sequences. */
static void write_input_tables(pum_stage *s)
{
    uint32_t pages = s->size.pages_per_sequence, n = s->size.n_sequences;
    if (!s->part->def->hp.encoder.n_layers) return;
    for (uint32_t i = 0; i < n * pages; i++) {
        s->words[s->size.step.table_at + (n + i / pages) * s->size.step.table_stride + i % pages] = i;
    }
}

/* Enough for passes with the weights where they are and where they will be: what was bound as one may be cut there. */
static pumice_status size_arena(pum_stage *s, uint64_t *out_bytes)
{
    const pum_placement *now = s->weights, *later = &s->part->settled;
    PUM_TRY(pum_pass_arena(s, out_bytes));
    if (now == later || later->buffer_bytes.count <= s->part->placement.buffer_bytes.count + 1) return PUMICE_OK;
    uint64_t bytes;
    s->weights = later;
    pumice_status status = pum_pass_arena(s, &bytes);
    s->weights = now;
    *out_bytes = PUM_MAX(*out_bytes, bytes);
    return status;
}

pumice_status pum_stage_create(pum_stage *stage)
{
    pum_stage *s = stage;
    const pum_model_def *def = s->part->def;
    uint64_t arena;
    pum_vk_trusted_caps(s->vk, &s->caps);
    PUM_TRY(pum_kv_place(def, &s->caps, s->size.kv_k, s->size.kv_v, s->size.pages,
                         &s->kv_place, s->err));
    s->weights = pum_part_weights(s->part);
    PUM_TRY(create_kv(s));
    PUM_TRY(size_arena(s, &arena));
    PUM_TRY(pum_vk_buffer_create(s->vk, PUM_VK_DEVICE, arena, "activations", &s->arena, s->err));
    PUM_TRY(pum_vk_buffer_create(s->vk, PUM_VK_DEVICE,
                                 def->goes_on ? row_bytes(s) : s->size.logits_bytes, "logits",
                                 &s->logits, s->err));
    if (pum_stage_takes_rows(def)) {
        PUM_TRY(pum_vk_buffer_create(s->vk, PUM_VK_SHARED, row_bytes(s), "hidden rows", &s->hidden,
                                     s->err));
    }
    PUM_TRY(pum_vk_buffer_create(s->vk, PUM_VK_SHARED, (uint64_t)s->size.step.words * 4,
                                 "step buffer", &s->step, s->err));
    s->words = s->step.mapped;
    memset(s->words, 0, (size_t)s->size.step.words * 4);
    write_input_tables(s);
    s->exec_buffers = (pum_exec_buffers){ .arena = &s->arena,
                                          .step = &s->step,
                                          .logits = &s->logits,
                                          .hidden = &s->hidden,
                                          .kv = s->kv,
                                          .n_kv = s->kv_place.buffer_bytes.count,
                                          .weights = s->part->buffers,
                                          .n_weights = pum_part_buffers(s->part)->buffer_bytes.count };
    return PUMICE_OK;
}

bool pum_stage_is_settled(const pum_stage *stage) { return stage->weights == pum_part_weights(stage->part); }

void pum_stage_settle(pum_stage *stage)
{
    if (pum_stage_is_settled(stage)) return;
    pum_pass_clear(stage);
    stage->weights = pum_part_weights(stage->part);
}

void pum_stage_destroy(pum_stage *stage)
{
    pum_stage *s = stage;
    if (!s->vk) return;
    pum_pass_clear(s);
    pum_vk_buffer_destroy(s->vk, &s->arena);
    pum_vk_buffer_destroy(s->vk, &s->step);
    pum_vk_buffer_destroy(s->vk, &s->logits);
    pum_vk_buffer_destroy(s->vk, &s->hidden);
    if (s->kv) {
        for (size_t i = 0; i < s->kv_place.buffer_bytes.count; i++)
            pum_vk_buffer_destroy(s->vk, &s->kv[i]);
    }
    pum_free(s->kv);
    pum_placement_free(&s->kv_place);
    *s = (pum_stage){ 0 };
}

uint64_t pum_stage_activation_bytes(const pum_stage *stage)
{
    return stage->arena.size_bytes + stage->logits.size_bytes + stage->hidden.size_bytes;
}

bool pum_stage_has_part(const pum_model_def *def, const pum_pass_key *key)
{
    return key->encode || (def->hp.n_layers && (key->rows || !def->goes_on));
}

pum_pass_key pum_stage_key(const pum_model_def *def, const pum_pass_key *key)
{
    pum_pass_key rows_only = { .rows = key->rows, .one_sequence = key->one_sequence,
                               .encode = key->encode, .row_by_row = key->row_by_row };
    return def->goes_on ? rows_only : *key;
}

/* The moves of the caches that lie in one buffer; returns their number. */
static size_t list_moves(const pum_stage *s, bool cross, uint32_t buffer,
                         const pum_page_copy *copies, size_t count, pum_vk_move *out)
{
    const pum_hparams *hp = &s->part->def->hp;
    int32_t first = cross ? 2 * (int32_t)hp->n_layers : 0;
    size_t n = 0;
    for (int32_t i = 0; i < 2 * (int32_t)hp->n_layers; i++) {
        const pum_piece *p = pum_placement_only_piece(&s->kv_place, first + i);
        uint64_t bytes = 0;
        if (!p || p->buffer != buffer) continue;
        pum_dtype_row_bytes(i % 2 ? s->size.kv_v : s->size.kv_k, pum_kv_cols(hp->head_dim), &bytes);
        bytes *= (uint64_t)KV_PAGE * hp->n_kv_heads;
        for (size_t k = 0; k < count; k++) {
            out[n++] = (pum_vk_move){ p->offset_bytes + copies[k].from * bytes,
                                      p->offset_bytes + copies[k].to * bytes, bytes };
        }
    }
    return n;
}

pumice_status pum_stage_copy_pages(pum_stage *stage, bool cross, const pum_page_copy *copies,
                                   size_t count)
{
    pum_stage *s = stage;
    if (count == 0 || s->part->def->hp.n_layers == 0) return PUMICE_OK;
    size_t most = 2 * (size_t)s->part->def->hp.n_layers * count;
    pum_vk_move *moves = pum_alloc_array(most, sizeof *moves);
    if (!moves) return pum_fail(s->err, PUMICE_ERROR_HOST_MEMORY, "no memory to copy a sequence");
    pumice_status status = PUMICE_OK;
    for (uint32_t b = 0; b < s->kv_place.buffer_bytes.count && status == PUMICE_OK; b++) {
        size_t n = list_moves(s, cross, b, copies, count, moves);
        status = pum_vk_buffer_move(s->vk, &s->kv[b], moves, n, s->err);
    }
    pum_free(moves);
    return status;
}
