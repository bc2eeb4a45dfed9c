/* SPDX-License-Identifier: Apache-2.0
 * Stages in a ring: whoever holds the sequences (the driver) runs the first stage, which hands its
 * rows to the second, and so on; the last one hands its result back to the driver. What goes round
 * is a message; it carries a status, so that a stage that fails is told of where the others wait. How
 * a message gets to the next stage is a port's business: two functions. */
#ifndef PUM_RING_H
#define PUM_RING_H

#include "stage.h"
#include "task.h"

typedef enum pum_message_kind {
    PUM_MESSAGE_RUN,  /* one pass: control is what it reads of the step buffer, data its rows, if there
                       * are any yet; an encoder's comes back with its output as the data */
    PUM_MESSAGE_READ, /* the last stage puts row `row` of the logits into data */
    PUM_MESSAGE_COPY, /* copy pages of the KV cache, or with `cross` of the encoder's: control is pairs
                       * of them, from and to */
    PUM_MESSAGE_END,  /* goes round once, and every stage it passes is done */
    PUM_MESSAGE_BEGIN, /* between ranks: make a stage for the session whose params are the control */
    PUM_MESSAGE_QUIT   /* between ranks: the model is no more */
} pum_message_kind;

/* Without pointers but for the link, so that it may be sent as it is, head and words. */
typedef struct pum_message {
    pum_link link;
    uint32_t kind;
    pumice_status status; /* of the first stage that failed; the others then only pass it on */
    pum_pass_key key;
    bool cross;
    uint32_t row;
    uint32_t n_control, n_data; /* words */
    char text[508];             /* the sentence of a failure */
    uint32_t words[];           /* control, then data */
} pum_message;

/* NULL when there is no memory; free it with pum_free. */
pum_message *pum_message_make(pum_message_kind kind, uint32_t n_control, uint32_t n_data);
/* Makes it the message of a failure, without words. */
void pum_message_fail(pum_message *message, pumice_status status, const char *text);

/* Where messages of a stage go and come from. A port takes what it sends; it never waits for the
 * receiver. A port that fails has lost the ring. */
typedef struct pum_port {
    pumice_status (*send)(void *user, pum_message *message, pumice_error *err);
    pumice_status (*receive)(void *user, pum_message **out_message, pumice_error *err);
    void *user;
} pum_port;

/* Between threads: what the stage before puts into `in`, and the next takes out of `out`. */
typedef struct pum_thread_port {
    pum_channel *in, *out;
} pum_thread_port;
pum_port pum_thread_port_of(pum_thread_port *channels);

/* Between processes: to the next rank, from the one before. */
pum_port pum_rank_port_of(const pumice_transport *transport);

/* Does what a message asks of a stage that is not the driver's; *message may become another one. */
void pum_stage_answer(pum_stage *stage, pum_message **message);
/* Takes, answers and sends on until a message says END or the port fails. */
pumice_status pum_stage_serve(pum_stage *stage, const pum_port *port, pumice_error *err);

#endif
