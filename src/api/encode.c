/* SPDX-License-Identifier: Apache-2.0
 * The encoder's side of a session: runs it over a sequence's input, whose keys and values for the
 * decoder then lie in the second half of the KV cache, and puts the decoder where it begins. */
#include "session.h"

#include <string.h>

bool pum_session_has_encoder(const pumice_session *s)
{
    return s->model->def.hp.encoder.n_layers > 0;
}

pumice_status pum_session_check_input(pumice_session *s, uint32_t seq)
{
    if (!pum_session_has_encoder(s) || s->sequences[seq].input.count) return PUMICE_OK;
    return pum_fail(&s->err, PUMICE_ERROR_INVALID,
                    "sequence %u has no input for the encoder: call pumice_session_encode first",
                    seq);
}

static pumice_status check_encoder(pumice_session *s, uint32_t seq)
{
    PUM_TRY(pum_session_begin(s));
    PUM_TRY(pum_session_check_seq(s, seq));
    if (pum_session_has_encoder(s)) return PUMICE_OK;
    return pum_fail(&s->err, PUMICE_ERROR_INVALID, "'%s' is a model without an encoder",
                    s->model->def.hp.architecture);
}

static pumice_status run_encoder(pumice_session *s, uint32_t seq)
{
    uint32_t n = (uint32_t)s->sequences[seq].input.count;
    pum_pass_key key = { .rows = n, .one_sequence = true, .encode = true };
    PUM_TRY(pum_run_prepare(s, &key, "an encoder's input"));
    for (uint32_t r = 0; r < n; r++) pum_input_row_write(s, r, seq, r);
    s->logits_seq = s->states_seq = -1;
    PUM_TRY(pum_run(s, &key));
    s->states_seq = seq;
    return PUMICE_OK;
}

/* The decoder's sequence becomes the start token, which is evaluated when it is needed. */
static pumice_status begin_decoder(pumice_session *s, uint32_t seq)
{
    int32_t start = (int32_t)s->model->def.hp.start_token;
    pum_sequence_truncate(s, seq, 0);
    s->sequences[seq].layout = pum_sequence_layout_of(s, seq, &start, 1);
    PUM_TRY(pum_sequence_reserve(s, seq, 1));
    return pum_sequence_append(s, seq, start);
}

pumice_status pumice_session_encode(pumice_session *session, uint32_t seq, const int32_t *tokens,
                                    size_t count)
{
    pumice_session *s = session;
    if (!s) return PUMICE_ERROR_INVALID;
    PUM_TRY(check_encoder(s, seq));
    PUM_TRY(pum_session_check_tokens(s, tokens, count));
    pum_tokens *input = &s->sequences[seq].input;
    if (input->count == count && memcmp(input->data, tokens, count * sizeof *tokens) == 0) {
        return begin_decoder(s, seq);
    }
    input->count = 0;
    pum_sequence_truncate(s, seq, 0);
    if (!pum_array_reserve(input, count)) {
        return pum_fail(&s->err, PUMICE_ERROR_HOST_MEMORY, "no memory for the tokens");
    }
    memcpy(input->data, tokens, count * sizeof *tokens);
    input->count = count;
    uint64_t t0 = pum_now_ns();
    pumice_status status = run_encoder(s, seq);
    if (status == PUMICE_OK) status = begin_decoder(s, seq);
    if (status != PUMICE_OK) {
        pum_sequence_truncate(s, seq, 0);
        input->count = 0;
    }
    s->timings.prompt_ns += pum_now_ns() - t0;
    s->timings.n_prompt_tokens += (uint32_t)input->count;
    return status;
}

pumice_status pumice_session_encoder_states(pumice_session *session, uint32_t seq,
                                            float *out_states)
{
    pumice_session *s = session;
    if (!s || !out_states) return PUMICE_ERROR_INVALID;
    PUM_TRY(check_encoder(s, seq));
    PUM_TRY(pum_session_check_input(s, seq));
    if (s->states_seq != (int64_t)seq) PUM_TRY(run_encoder(s, seq));
    return pum_run_read_states(s, (uint32_t)s->sequences[seq].input.count, out_states);
}
