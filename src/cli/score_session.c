/* SPDX-License-Identifier: Apache-2.0
 * What scoring a text and scoring tasks share: how the tokenizer frames a text, one call of the
 * library, and the line that tells how far it is. */
#include "score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- frames ---- */

bool cli_list_append(cli_list *list, const cli_list *more)
{
    for (size_t i = 0; i < more->count; i++) {
        if (!cli_list_add(list, more->data[i])) return false;
    }
    return true;
}

/* Splits `framed` around the tokens that it has in common with `plain`. */
static int split(const cli_list *framed, const cli_list *plain, cli_frame *out)
{
    size_t n = plain->count, at = 0;
    while (at + n <= framed->count &&
           memcmp(framed->data + at, plain->data, n * sizeof *plain->data) != 0) at++;
    if (!n || at + n > framed->count) return CLI_OK; /* nothing that could be told */
    bool fine = true;
    for (size_t i = 0; i < framed->count; i++) {
        if (i < at) fine = fine && cli_list_add(&out->before, framed->data[i]);
        if (i >= at + n) fine = fine && cli_list_add(&out->after, framed->data[i]);
    }
    return fine ? CLI_OK : cli_no_memory();
}

static int find_mask(const cli_run *run, cli_frame *out)
{
    cli_list mask = { 0 };
    int code = cli_tokenize(run, "[MASK]", 6, PUMICE_TOKENIZE_PARSE_SPECIAL, &mask);
    if (code == CLI_OK && mask.count == 1) out->mask = mask.data[0];
    free(mask.data);
    return code;
}

int cli_frame_make(const cli_run *run, cli_frame *out_frame)
{
    cli_list plain = { 0 }, framed = { 0 };
    uint32_t objective = run->model_info.objective;
    *out_frame = (cli_frame){ .mask = -1 };
    if (!run->model_info.tokenizer[0]) return CLI_OK;
    if (objective != PUMICE_OBJECTIVE_CAUSAL) out_frame->flags = PUMICE_TOKENIZE_PARSE_SPECIAL;
    int code = cli_tokenize(run, "a", 1, 0, &plain);
    if (code == CLI_OK) code = cli_tokenize(run, "a", 1, PUMICE_TOKENIZE_ADD_SPECIAL, &framed);
    if (code == CLI_OK) code = split(&framed, &plain, out_frame);
    if (code == CLI_OK && objective == PUMICE_OBJECTIVE_PREFIX) code = find_mask(run, out_frame);
    /* an EOS in the middle of a text is not meant */
    if (objective == PUMICE_OBJECTIVE_CAUSAL) out_frame->after.count = 0;
    free(plain.data);
    free(framed.data);
    return code;
}

void cli_frame_free(cli_frame *frame)
{
    free(frame->before.data);
    free(frame->after.data);
    *frame = (cli_frame){ 0 };
}

/* ---- one sequence ---- */

int cli_score_sequence(cli_run *run, const int32_t *tokens, size_t count, size_t first,
                       pumice_token_score *out_scores)
{
    pumice_status status =
        pumice_session_score(run->session, 0, tokens, count, first, out_scores);
    if (status != PUMICE_OK) return cli_fail_session(status, run->session);
    for (size_t i = 0; i < count; i++) {
        if (out_scores[i].top < 0 || !isnan(out_scores[i].logprob)) continue;
        return cli_fail("the model's output before token %zu is not a number", i);
    }
    return cli_interrupted() ? CLI_INTERRUPTED : CLI_OK;
}

double cli_score_speed(const cli_run *run)
{
    pumice_timings t = { .struct_size = sizeof t };
    if (pumice_session_get_timings(run->session, &t) != PUMICE_OK || !t.prompt_ns) return 0;
    return (double)t.n_prompt_tokens * 1e9 / (double)t.prompt_ns;
}

/* ---- the meter ---- */

void cli_meter_begin(cli_meter *m, const cli_run *run, const char *unit, size_t total)
{
    *m = (cli_meter){ .run = run, .unit = unit, .total = total, .begin_ns = cli_now_ns() };
    m->last_ns = m->begin_ns;
}

void cli_meter_step(cli_meter *m, size_t done, const char *figure, double value)
{
    const uint64_t often_ns = 200000000u, seldom_ns = 10000000000u;
    bool terminal = isatty(STDERR_FILENO);
    uint64_t now = cli_now_ns();
    if (m->run->options->quiet || now - m->last_ns < (terminal ? often_ns : seldom_ns)) return;
    double left = (double)(now - m->begin_ns) / 1e9 * (double)(m->total - done) / (double)done;
    m->last_ns = now;
    fprintf(stderr, "%s%s %zu of %zu, %s %.4f, %.0f tokens/s, %.0f s left%s",
            terminal ? "\r" : "", m->unit, done, m->total, figure, value, cli_score_speed(m->run),
            left, terminal ? "\033[K" : "\n");
    fflush(stderr);
    m->shown = terminal;
}

void cli_meter_end(cli_meter *m)
{
    if (m->shown) fputs("\r\033[K", stderr);
    m->shown = false;
}
