/* SPDX-License-Identifier: Apache-2.0
 * What a stage that is not the driver's does with a message, and how threads pass them on. A pass
 * arrives as the words of the step buffer that it reads: rows, slots, and the block tables of their
 * sequences; a stage writes them to its own. */
#include "ring.h"

#include <stdio.h>
#include <string.h>

/* ---- messages ---- */

pum_message *pum_message_make(pum_message_kind kind, uint32_t n_control, uint32_t n_data)
{
    size_t words = (size_t)n_control + n_data;
    pum_message *m = pum_alloc(sizeof *m + words * sizeof m->words[0]);
    if (!m) return NULL;
    m->kind = kind;
    m->n_control = n_control;
    m->n_data = n_data;
    return m;
}

void pum_message_fail(pum_message *message, pumice_status status, const char *text)
{
    message->status = status;
    message->n_control = message->n_data = 0;
    snprintf(message->text, sizeof message->text, "%s", text);
}

/* ---- threads ---- */

static pumice_status thread_send(void *user, pum_message *message, pumice_error *err)
{
    (void)err;
    pum_channel_put(((pum_thread_port *)user)->out, &message->link);
    return PUMICE_OK;
}

static pumice_status thread_receive(void *user, pum_message **out_message, pumice_error *err)
{
    (void)err;
    *out_message = (pum_message *)pum_channel_take(((pum_thread_port *)user)->in);
    return PUMICE_OK;
}

pum_port pum_thread_port_of(pum_thread_port *channels)
{
    return (pum_port){ thread_send, thread_receive, channels };
}

/* ---- a stage's answer ---- */

static pumice_status damaged(pum_stage *s)
{
    return pum_fail(s->err, PUMICE_ERROR_INTERNAL,
                    "a stage got a message that is not what it says");
}

/* The message's block tables: (sequence, pages, page...) for each sequence. */
static pumice_status unpack_tables(pum_stage *s, const uint32_t *w, const uint32_t *end)
{
    const pum_step_layout *step = &s->size.step;
    while (w < end) {
        if (end - w < 2 || w[0] >= step->sequences || w[1] > step->pages_per_sequence ||
            (size_t)(end - w) < 2 + (size_t)w[1]) {
            return damaged(s);
        }
        memcpy(s->words + step->table_at + (size_t)w[0] * step->table_stride, w + 2,
               w[1] * sizeof *w);
        w += 2 + w[1];
    }
    return PUMICE_OK;
}

static pumice_status unpack(pum_stage *s, const pum_message *m)
{
    const pum_step_layout *step = &s->size.step;
    const pum_model_def *def = s->part->def;
    size_t rows = (size_t)m->key.rows * STEP_ROW_WORDS, slots = (size_t)m->key.n_slots * STEP_SLOT_WORDS;
    const uint32_t *w = m->words, *end = m->words + m->n_control;
    bool takes = m->key.encode || def->first_layer; /* else it begins with the words */
    if (m->key.rows > step->rows || m->key.n_slots > step->slots || m->n_control < rows + slots ||
        m->n_data != (takes ? (uint64_t)m->key.rows * def->hp.n_embd : 0)) {
        return damaged(s);
    }
    memcpy(s->words + STEP_ROWS_AT, w, rows * sizeof *w);
    memcpy(s->words + step->slot_at, w + rows, slots * sizeof *w);
    PUM_TRY(unpack_tables(s, w + rows + slots, end));
    return m->n_data ? pum_vk_buffer_write(s->vk, &s->hidden, 0, end,
                                           (uint64_t)m->n_data * 4, s->err)
                     : PUMICE_OK;
}

/* What the pass found becomes the data: the token that each slot chose, or two words a row. */
static pumice_status give_results(pum_stage *s, pum_message **message)
{
    const pum_message *m = *message;
    bool scores = m->key.sampler == PUM_SAMPLER_SCORE;
    pum_message *made =
        pum_message_make(PUM_MESSAGE_RUN, 0, scores ? 2 * m->key.rows : m->key.n_slots);
    if (!made) return pum_fail(s->err, PUMICE_ERROR_HOST_MEMORY, "no memory to hand results on");
    made->key = m->key;
    for (uint32_t i = 0; scores && i < m->key.rows; i++) {
        const uint32_t *row = s->words + STEP_ROWS_AT + (size_t)i * STEP_ROW_WORDS;
        made->words[2 * i] = row[ROW_LOGPROB];
        made->words[2 * i + 1] = row[ROW_TOP];
    }
    for (uint32_t i = 0; !scores && i < m->key.n_slots; i++) {
        const uint32_t *sent = m->words + (size_t)m->key.rows * STEP_ROW_WORDS + (size_t)i * STEP_SLOT_WORDS;
        const uint32_t *slot = s->words + s->size.step.slot_at + (size_t)i * STEP_SLOT_WORDS;
        made->words[i] = slot[SLOT_RING + sent[SLOT_COUNTER] % STEP_RING];
    }
    pum_free(*message);
    *message = made;
    return PUMICE_OK;
}

/* The rows that the next stage goes on with become the data, for which there may be no room yet. */
static pumice_status give_rows(pum_stage *s, pum_message **message)
{
    pum_message *m = *message;
    uint32_t n_data = m->key.rows * s->part->def->hp.n_embd;
    if (m->n_data != n_data) {
        pum_message *made = pum_message_make(PUM_MESSAGE_RUN, m->n_control, n_data);
        if (!made) return pum_fail(s->err, PUMICE_ERROR_HOST_MEMORY, "no memory to hand rows on");
        made->key = m->key;
        memcpy(made->words, m->words, m->n_control * sizeof m->words[0]);
        pum_free(m);
        *message = m = made;
    }
    return pum_vk_buffer_read(s->vk, &s->logits, 0, m->words + m->n_control,
                              (uint64_t)m->n_data * 4, s->err);
}

static pumice_status run(pum_stage *s, pum_message **message)
{
    const pum_model_def *def = s->part->def;
    pum_message *m = *message;
    pum_pass_key key = pum_stage_key(def, &m->key);
    pum_pass *pass;
    s->last = NULL;
    if (!pum_stage_has_part(def, &m->key)) return PUMICE_OK;
    pum_stage_settle(s);
    PUM_TRY(pum_pass_get_large(s, &key, m->key.encode ? "an encoder's input" : "a prefix", &pass));
    PUM_TRY(unpack(s, m));
    PUM_TRY(pum_pass_run(s, pass));
    if (m->key.encode && !def->encoder.layers.count) return PUMICE_OK; /* its output goes round */
    if (m->key.encode || def->goes_on) return give_rows(s, message);
    if (m->key.sampler != PUM_SAMPLER_NONE) return give_results(s, message);
    m->n_control = m->n_data = 0;
    return PUMICE_OK;
}

static pumice_status read_logits(pum_stage *s, pum_message **message)
{
    const pum_model_def *def = s->part->def;
    uint64_t bytes = (uint64_t)def->hp.n_vocab * 4, at = (*message)->row * bytes;
    if (def->goes_on) return PUMICE_OK;
    if (at > s->logits.size_bytes || bytes > s->logits.size_bytes - at) return damaged(s);
    pum_message *made = pum_message_make(PUM_MESSAGE_READ, 0, def->hp.n_vocab);
    if (!made) return pum_fail(s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for the logits");
    pum_free(*message);
    *message = made;
    return pum_vk_buffer_read(s->vk, &s->logits, at, made->words, bytes, s->err);
}

static pumice_status copy_pages(pum_stage *s, const pum_message *m)
{
    uint32_t n = m->n_control / 2;
    pum_page_copy *copies = pum_alloc_array(n, sizeof *copies);
    if (!copies) return pum_fail(s->err, PUMICE_ERROR_HOST_MEMORY, "no memory to copy a sequence");
    pumice_status status = PUMICE_OK;
    for (uint32_t i = 0; i < n; i++) {
        copies[i] = (pum_page_copy){ m->words[2 * i], m->words[2 * i + 1] };
        if (copies[i].from >= s->size.pages || copies[i].to >= s->size.pages) status = damaged(s);
    }
    if (status == PUMICE_OK) status = pum_stage_copy_pages(s, m->cross, copies, n);
    pum_free(copies);
    return status;
}

void pum_stage_answer(pum_stage *stage, pum_message **message)
{
    pumice_status status = PUMICE_OK;
    if ((*message)->status != PUMICE_OK) return;
    pum_error_clear(stage->err);
    if ((*message)->kind == PUM_MESSAGE_RUN) status = run(stage, message);
    if ((*message)->kind == PUM_MESSAGE_COPY) status = copy_pages(stage, *message);
    if ((*message)->kind == PUM_MESSAGE_READ) status = read_logits(stage, message);
    if (status != PUMICE_OK) pum_message_fail(*message, status, stage->err->text);
}

pumice_status pum_stage_serve(pum_stage *stage, const pum_port *port, pumice_error *err)
{
    for (;;) {
        pum_message *m;
        PUM_TRY(port->receive(port->user, &m, err));
        bool end = m->kind == PUM_MESSAGE_END;
        pum_stage_answer(stage, &m);
        PUM_TRY(port->send(port->user, m, err));
        if (end) return PUMICE_OK;
    }
}
