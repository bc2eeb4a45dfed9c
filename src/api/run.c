/* SPDX-License-Identifier: Apache-2.0
 * The driver: runs passes over a session's stages. With one stage that is all there is to it; with
 * several the first runs here, and a message with the words of the step buffer and the hidden rows
 * goes round the others. Decides how many messages are under way, and what a failure leaves. */
#include "session.h"

#include <string.h>

/* ---- threads ---- */

static void work(void *user)
{
    pum_worker *w = user;
    pum_port port = pum_thread_port_of(&w->port);
    pum_stage_serve(w->stage, &port, &w->err);
}

static pumice_status no_memory(pumice_session *s)
{
    return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for a session");
}

static pumice_status begin_threads(pumice_session *s)
{
    pum_driver *d = &s->driver;
    uint32_t n = d->n_all = s->n_stages;
    d->channels = pum_alloc_array(n, sizeof(pum_channel *));
    d->workers = pum_alloc_array(n - 1, sizeof *d->workers);
    if (!d->channels || !d->workers) return no_memory(s);
    for (; d->n_channels < n; d->n_channels++) {
        d->channels[d->n_channels] = pum_channel_create();
        if (!d->channels[d->n_channels]) return no_memory(s);
    }
    d->thread_port = (pum_thread_port){ .in = d->channels[0], .out = d->channels[1] };
    d->port = pum_thread_port_of(&d->thread_port);
    for (uint32_t i = 1; i < n; i++) {
        pum_worker *w = &d->workers[i - 1];
        w->stage = &s->stages[i];
        w->stage->err = &w->err;
        w->port = (pum_thread_port){ .in = d->channels[i], .out = d->channels[(i + 1) % n] };
        if (!pum_task_start(&w->task, work, w)) {
            return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY,
                            "no thread to be had for the session's device %u", i);
        }
        d->n_workers++;
    }
    return PUMICE_OK;
}

/* ---- messages of the driver ---- */

/* Those of the encoder never change. */
static uint32_t count_tables(const pum_pass_key *key)
{
    return key->rows == 0 || key->encode ? 0 : key->one_sequence ? 1 : key->rows;
}

static const pum_sequence *sequence_of_row(const pumice_session *s, uint32_t row, uint32_t *out_seq)
{
    *out_seq = pum_session_words(s)[STEP_ROWS_AT + (size_t)row * STEP_ROW_WORDS + ROW_SEQ];
    return &s->sequences[*out_seq];
}

static void pack_control(const pumice_session *s, const pum_pass_key *key, uint32_t *w)
{
    size_t rows = (size_t)key->rows * STEP_ROW_WORDS, slots = (size_t)key->n_slots * STEP_SLOT_WORDS;
    const uint32_t *words = pum_session_words(s);
    memcpy(w, words + STEP_ROWS_AT, rows * sizeof *w);
    memcpy(w + rows, words + pum_session_step(s)->slot_at, slots * sizeof *w);
    w += rows + slots;
    for (uint32_t i = 0; i < count_tables(key); i++) {
        const pum_sequence *q = sequence_of_row(s, i, &w[0]);
        w[1] = (uint32_t)q->pages.count;
        memcpy(w + 2, q->pages.data, q->pages.count * sizeof *w);
        w += 2 + q->pages.count;
    }
}

static pum_message *make_run(const pumice_session *s, const pum_pass_key *key)
{
    uint32_t n = key->rows * STEP_ROW_WORDS + key->n_slots * STEP_SLOT_WORDS, seq;
    for (uint32_t i = 0; i < count_tables(key); i++) {
        n += 2 + (uint32_t)sequence_of_row(s, i, &seq)->pages.count;
    }
    bool begun = pum_stage_has_part(s->stages[0].part->def, key);
    pum_message *m = pum_message_make(PUM_MESSAGE_RUN, n, begun ? key->rows * s->model->def.hp.n_embd : 0);
    if (!m) return NULL;
    m->key = *key;
    pack_control(s, key, m->words);
    return m;
}

static pumice_status send(pumice_session *s, pum_message *m)
{
    pum_driver *d = &s->driver;
    pumice_status status = d->port.send(d->port.user, m, &s->err);
    if (status == PUMICE_OK) d->in_flight++;
    else d->lost = true;
    return status;
}

/* Waits for the oldest message and takes its status. */
static pumice_status receive(pumice_session *s, pum_message **out_message)
{
    pum_driver *d = &s->driver;
    *out_message = NULL;
    d->in_flight--;
    pumice_status status = d->lost ? PUMICE_ERROR_INTERNAL
                                   : d->port.receive(d->port.user, out_message, &s->err);
    if (status != PUMICE_OK) {
        d->lost = true;
        return pum_fail(&s->err, status, "the other stages are lost: create the session again");
    }
    status = (*out_message)->status;
    return status == PUMICE_OK ? status : pum_fail(&s->err, status, "%s", (*out_message)->text);
}

/* ---- the others begin and end ---- */

pumice_status pum_driver_claim(pumice_model *model, pumice_error *err)
{
    const pumice_transport *t = &model->transport;
    if (t->n_ranks < 2) return PUMICE_OK;
    if (t->rank != 0) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "rank 0 alone creates sessions: rank %u calls pumice_model_serve", t->rank);
    }
    if (!atomic_exchange(&model->in_session, true)) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_INVALID,
                    "the ranks serve one session at a time: destroy the other first");
}

void pum_driver_release(pumice_model *model) { atomic_store(&model->in_session, false); }

static pumice_status begin_ranks(pumice_session *s, const pumice_session_params *params)
{
    pum_driver *d = &s->driver;
    uint32_t words = (uint32_t)pum_ceil_div(sizeof *params, sizeof(uint32_t));
    d->n_all = s->model->transport.n_ranks;
    d->port = pum_rank_port_of(&s->model->transport);
    pum_message *m = pum_message_make(PUM_MESSAGE_BEGIN, words, 0);
    if (!m) return no_memory(s);
    memcpy(m->words, params, sizeof *params);
    d->ranks = true;
    PUM_TRY(send(s, m));
    pumice_status status = receive(s, &m);
    pum_free(m);
    return status;
}

pumice_status pum_driver_begin(pumice_session *s, const pumice_session_params *params)
{
    pum_driver *d = &s->driver;
    bool ranks = s->model->transport.n_ranks > 1;
    if (s->n_stages == 1 && !ranks) return PUMICE_OK;
    d->several = true;
    d->end = pum_message_make(PUM_MESSAGE_END, 0, 0);
    if (!d->end) return no_memory(s);
    return ranks ? begin_ranks(s, params) : begin_threads(s);
}

void pum_driver_end(pumice_session *s)
{
    pum_driver *d = &s->driver;
    pum_message *end = d->end;
    if (d->ranks && !d->lost) { /* sending takes it, and gives it back when it was all round */
        if (send(s, d->end) != PUMICE_OK || receive(s, &end) != PUMICE_OK) end = NULL;
    }
    /* in any order of failures: threads that run get it in turn, and the last one's stays */
    if (d->n_workers) pum_channel_put(d->channels[1], &end->link);
    for (uint32_t i = 0; i < d->n_workers; i++) pum_task_join(&d->workers[i].task);
    for (uint32_t i = 0; i < d->n_channels; i++) pum_channel_destroy(&d->channels[i]);
    pum_free(end);
    pum_free(d->states);
    pum_free(d->channels);
    pum_free(d->workers);
    *d = (pum_driver){ 0 };
}

/* What the last stage found goes where a device that is alone writes it. */
static void take_results(pumice_session *s, const pum_message *m)
{
    bool scores = m->key.sampler == PUM_SAMPLER_SCORE;
    for (uint32_t i = 0; scores && i < m->n_data / 2; i++) {
        uint32_t *row = pum_session_words(s) + STEP_ROWS_AT + (size_t)i * STEP_ROW_WORDS;
        row[ROW_LOGPROB] = m->words[2 * i];
        row[ROW_TOP] = m->words[2 * i + 1];
    }
    for (uint32_t i = 0; !scores && i < m->n_data; i++) {
        uint32_t *w = pum_session_words(s) + pum_session_step(s)->slot_at + (size_t)i * STEP_SLOT_WORDS;
        w[SLOT_RING + w[SLOT_COUNTER] % STEP_RING] = m->words[i];
    }
}

/* ---- passes ---- */

pumice_status pum_run_prepare(pumice_session *s, const pum_pass_key *key, const char *what)
{
    pum_stage *first = &s->stages[0];
    pum_pass_key k = pum_stage_key(first->part->def, key);
    pum_pass *pass;
    bool several = s->driver.several;
    pum_stage_settle(first);
    if (key->head != PUM_HEAD_NONE && !several) s->states_seq = -1; /* logits come where they are */
    if (several && !pum_stage_has_part(first->part->def, key)) return pum_pass_grow(first, key->rows);
    return pum_pass_get_large(first, &k, what, &pass);
}

static pumice_status run_first(pumice_session *s, const pum_pass_key *key)
{
    pum_stage *first = &s->stages[0];
    pum_pass_key k = pum_stage_key(first->part->def, key);
    pum_pass *pass;
    s->run_began_ns = pum_now_ns();
    first->last = NULL;
    if (s->driver.several && !pum_stage_has_part(first->part->def, key)) return PUMICE_OK;
    PUM_TRY(pum_pass_get(first, &k, &pass));
    return pum_pass_run(first, pass);
}

pumice_status pum_run_start(pumice_session *s, const pum_pass_key *key)
{
    pum_stage *first = &s->stages[0];
    PUM_TRY(run_first(s, key));
    if (!s->driver.several) return PUMICE_OK;
    pum_message *m = make_run(s, key);
    if (!m) return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory to hand rows on");
    if (m->n_data) {
        pumice_status status =
            pum_vk_buffer_read(first->vk, &first->logits, 0, m->words + m->n_control,
                               (uint64_t)m->n_data * 4, &s->err);
        if (status != PUMICE_OK) {
            pum_free(m);
            return status;
        }
    }
    return send(s, m);
}

pumice_status pum_run_finish(pumice_session *s)
{
    if (s->driver.several) {
        pum_message *m;
        pumice_status status = receive(s, &m);
        if (status == PUMICE_OK && m->key.encode) {
            pum_free(s->driver.states);
            s->driver.states = m;
            m = NULL;
        } else if (status == PUMICE_OK) {
            take_results(s, m);
        }
        pum_free(m);
        if (status != PUMICE_OK) return status;
    }
    if (s->n_passes == 0) s->timings.first_pass_ns = pum_now_ns() - s->run_began_ns;
    pum_run_report(s);
    return PUMICE_OK;
}

uint32_t pum_run_depth(const pumice_session *s)
{
    /* the device's times are read between passes */
    return s->driver.several && !s->profile ? s->driver.n_all : 0;
}

pumice_status pum_run(pumice_session *s, const pum_pass_key *key)
{
    PUM_TRY(pum_run_start(s, key));
    return pum_run_finish(s);
}

pumice_status pum_run_read_logits(pumice_session *s, uint32_t row, float *out_logits)
{
    uint64_t bytes = (uint64_t)s->model->def.hp.n_vocab * 4;
    pum_stage *only = &s->stages[0];
    if (!s->driver.several) {
        return pum_vk_buffer_read(only->vk, &only->logits, row * bytes, out_logits, bytes, &s->err);
    }
    pum_message *m = pum_message_make(PUM_MESSAGE_READ, 0, 0);
    if (!m) return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for the logits");
    m->row = row;
    PUM_TRY(send(s, m));
    pumice_status status = receive(s, &m);
    if (status == PUMICE_OK) memcpy(out_logits, m->words, bytes);
    pum_free(m);
    return status;
}

pumice_status pum_run_read_states(pumice_session *s, uint32_t rows, float *out_states)
{
    size_t words = (size_t)rows * s->model->def.hp.n_embd;
    const pum_message *m = s->driver.states;
    pum_stage *only = &s->stages[0];
    if (!s->driver.several) {
        return pum_vk_buffer_read(only->vk, &only->logits, 0, out_states, words * 4, &s->err);
    }
    if (!m || m->n_data != words) {
        return pum_fail(&s->err, PUMICE_ERROR_INTERNAL, "the encoder's output did not come back");
    }
    memcpy(out_states, m->words + m->n_control, words * 4);
    return PUMICE_OK;
}

pumice_status pum_run_copy_pages(pumice_session *s, bool cross, const pum_page_copy *copies,
                                 uint32_t count)
{
    PUM_TRY(pum_stage_copy_pages(&s->stages[0], cross, copies, count));
    if (!s->driver.several || count == 0) return PUMICE_OK;
    if (s->driver.in_flight) {
        return pum_fail(&s->err, PUMICE_ERROR_INTERNAL, "pages are copied at the wrong time");
    }
    pum_message *m = pum_message_make(PUM_MESSAGE_COPY, 2 * count, 0);
    if (!m) return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory to copy a sequence");
    m->cross = cross;
    for (uint32_t i = 0; i < count; i++) {
        m->words[2 * i] = copies[i].from;
        m->words[2 * i + 1] = copies[i].to;
    }
    PUM_TRY(send(s, m));
    pumice_status status = receive(s, &m);
    pum_free(m);
    return status;
}

static void report(pumice_session *s, const pum_stage *stage)
{
    const pum_pass *pass = stage->last;
    size_t n = pass->plan.steps.count;
    uint64_t *times = pum_alloc_array(2 * n, sizeof *times);
    pumice_error ignored = { 0 };
    if (times && pum_exec_step_times(pass->exec, times, times + n, n, &ignored) == PUMICE_OK) {
        for (size_t i = 0; i < n; i++) {
            const pum_step *step = &pass->plan.steps.data[i];
            pumice_dispatch d = { .struct_size = sizeof d,
                                  .kernel = pum_kernels[step->kernel].name,
                                  .label = step->label,
                                  .layer = step->layer,
                                  .barrier = step->barrier,
                                  .n_rows = pass->plan.rows,
                                  .pass = s->n_passes - 1,
                                  .begin_ns = times[i],
                                  .duration_ns = times[n + i],
                                  .bytes = step->bytes,
                                  .flops = step->flops };
            s->dispatch_fn(s->dispatch_user, &d);
        }
    }
    pum_free(times);
}

void pum_run_report(pumice_session *s)
{
    s->n_passes++;
    if (!s->profile || !s->dispatch_fn) return;
    for (uint32_t i = 0; i < s->n_stages; i++) {
        if (s->stages[i].last) report(s, &s->stages[i]);
    }
}
