/* SPDX-License-Identifier: Apache-2.0
 * Ranks: messages between processes, and what a rank other than 0 does all day. It has a stage while
 * rank 0 has a session; whatever fails goes on to rank 0 in the message. */
#include "session.h"

#include <stdio.h>
#include <string.h>

/* ---- messages between processes ---- */

enum { MAX_WORDS = 1 << 28 }; /* a gigabyte: more is not what was sent */

static pumice_status lost(uint32_t rank, pumice_error *err)
{
    return pum_fail(err, PUMICE_ERROR_INTERNAL, "rank %u cannot be reached any more", rank);
}

static pumice_status rank_send(void *user, pum_message *message, pumice_error *err)
{
    const pumice_transport *t = user;
    uint32_t to = (t->rank + 1) % t->n_ranks;
    size_t words = (size_t)message->n_control + message->n_data;
    message->link.next = NULL; /* an address of this process */
    int failed = t->send(t->user, to, message, sizeof *message);
    if (!failed && words)
        failed = t->send(t->user, to, message->words, words * sizeof message->words[0]);
    pum_free(message);
    return failed ? lost(to, err) : PUMICE_OK;
}

static pumice_status rank_receive(void *user, pum_message **out_message, pumice_error *err)
{
    const pumice_transport *t = user;
    uint32_t from = (t->rank + t->n_ranks - 1) % t->n_ranks;
    pum_message head;
    *out_message = NULL;
    if (t->receive(t->user, from, &head, sizeof head)) return lost(from, err);
    size_t words = (size_t)head.n_control + head.n_data;
    if (words > MAX_WORDS) {
        return pum_fail(err, PUMICE_ERROR_INTERNAL, "rank %u sent what is no message", from);
    }
    pum_message *m = pum_message_make(PUM_MESSAGE_RUN, head.n_control, head.n_data);
    if (!m) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for a message");
    memcpy(m, &head, sizeof head);
    m->text[sizeof m->text - 1] = '\0';
    *out_message = m;
    if (!words || !t->receive(t->user, from, m->words, words * sizeof m->words[0])) return PUMICE_OK;
    pum_free(m);
    *out_message = NULL;
    return lost(from, err);
}

pum_port pum_rank_port_of(const pumice_transport *transport)
{
    return (pum_port){ rank_send, rank_receive, (void *)(uintptr_t)transport };
}

/* ---- serving ---- */

typedef struct server {
    pumice_model *model;
    pum_stage stage; /* vk NULL: no session now */
    atomic_int cancel;
    pumice_error err; /* of the stage */
} server;

static pumice_status begin(server *s, const pum_message *m)
{
    pumice_session_params p;
    pum_session_size size;
    if (m->n_control * sizeof m->words[0] < sizeof p) {
        return pum_fail(&s->err, PUMICE_ERROR_INTERNAL, "a session came without its params");
    }
    memcpy(&p, m->words, sizeof p);
    pum_stage_destroy(&s->stage);
    PUM_TRY(pum_session_size_make(&s->model->def, &p, &size, &s->err));
    s->stage = pum_stage_for(&s->model->parts[0], &size, &p, &s->cancel, &s->err);
    pumice_status status = pum_stage_create(&s->stage);
    if (status != PUMICE_OK) pum_stage_destroy(&s->stage);
    return status;
}

/* Puts this rank's number before the sentence of its failure. */
static void name_rank(const server *s, pum_message *m)
{
    char text[sizeof m->text];
    if (m->status == PUMICE_OK) return;
    memcpy(text, m->text, sizeof text);
    snprintf(m->text, sizeof m->text, "rank %u: %.490s", s->model->transport.rank, text);
}

/* Does what a message asks of this rank. */
static void answer(server *s, pum_message **message)
{
    pum_message *m = *message;
    pumice_status status = PUMICE_OK;
    pum_error_clear(&s->err);
    switch (m->kind) {
    case PUM_MESSAGE_BEGIN:
        if (m->status != PUMICE_OK) return;
        status = begin(s, m);
        break;
    case PUM_MESSAGE_END:
    case PUM_MESSAGE_QUIT:
        pum_stage_destroy(&s->stage);
        return;
    default:
        if (m->status != PUMICE_OK) return;
        if (s->stage.vk) {
            pum_stage_answer(&s->stage, message);
            name_rank(s, *message);
            return;
        }
        status = pum_fail(&s->err, PUMICE_ERROR_INTERNAL, "there is no session");
    }
    if (status != PUMICE_OK && m->status == PUMICE_OK) {
        pum_message_fail(m, status, s->err.text);
        name_rank(s, m);
    }
}

pumice_status pumice_model_serve(pumice_model *model, pumice_error *err)
{
    pum_error_clear(err);
    if (!model || model->transport.n_ranks < 2 || model->transport.rank == 0) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "only ranks behind rank 0 serve, of a model loaded with a transport");
    }
    server s = { .model = model };
    atomic_init(&s.cancel, 0);
    pum_port port = pum_rank_port_of(&model->transport);
    pumice_status status = PUMICE_OK;
    bool quit = false;
    while (status == PUMICE_OK && !quit) {
        pum_message *m;
        PUM_GOTO(port.receive(port.user, &m, err));
        answer(&s, &m);
        quit = m->kind == PUM_MESSAGE_QUIT;
        status = port.send(port.user, m, err);
    }
fail:
    pum_stage_destroy(&s.stage);
    return status;
}

void pum_group_quit(pumice_model *model)
{
    pum_port port = pum_rank_port_of(&model->transport);
    pum_message *m = model->quit;
    pumice_error ignored = { 0 };
    model->joined = false;
    model->quit = NULL;
    if (port.send(port.user, m, &ignored) != PUMICE_OK) return;
    if (port.receive(port.user, &m, &ignored) == PUMICE_OK) pum_free(m);
}
