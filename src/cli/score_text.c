/* SPDX-License-Identifier: Apache-2.0
 * Scoring a text by the objective of the model's family: every token in overlapping windows, what
 * follows a prefix, or spans that were taken out of it. Decides how windows become sequences. */
#include "score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SPAN_WINDOW = 512, MAX_SENTINELS = 100 };

typedef struct text_work {
    cli_run *run;
    cli_list tokens;
    cli_frame frame; /* empty for --tokens */
    bool ids;        /* --tokens: scored as they are */
    int32_t prefix;
    cli_list sequence, sentinels;
    pumice_token_score *scores;
    cli_text_score *out;
} text_work;

static void count_scores(text_work *w, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (w->scores[i].top < 0) continue;
        cli_mean_add(&w->out->loss, -(double)w->scores[i].logprob);
        cli_mean_add(&w->out->top1, w->scores[i].top == w->sequence.data[i]);
    }
}

/* Scores w->sequence from `first` on; 0 = as the model's objective has it. */
static int score_sequence(text_work *w, size_t first)
{
    size_t n = w->sequence.count;
    pumice_token_score *scores = realloc(w->scores, n * sizeof *scores);
    if (!scores) return cli_no_memory();
    w->scores = scores;
    int code = cli_score_sequence(w->run, w->sequence.data, n, first, scores);
    if (code == CLI_OK) count_scores(w, n);
    w->out->n_windows++;
    return code;
}

/* Of --tokens: the sequence is that of the tokens from `at` on. */
static int keep_logprobs(text_work *w, size_t at)
{
    float *all = w->out->logprobs;
    size_t total = w->tokens.count;
    if (!w->ids) return CLI_OK;
    if (!all) {
        all = w->out->logprobs = malloc(total * sizeof *all);
        if (!all) return cli_no_memory();
        for (size_t i = 0; i < total; i++) all[i] = NAN;
    }
    for (size_t i = 0; i < w->sequence.count; i++) {
        if (w->scores[i].top >= 0) all[at + i] = w->scores[i].logprob;
    }
    return CLI_OK;
}

/* ---- windows ---- */

static int make_sequence(text_work *w, const cli_window *window)
{
    const int32_t *tokens = w->tokens.data + window->begin;
    bool fine = true;
    w->sequence.count = 0;
    fine = cli_list_append(&w->sequence, &w->frame.before);
    for (size_t i = 0; i < window->context + window->count; i++) {
        if (i == window->context) fine = fine && cli_list_append(&w->sequence, &w->frame.after);
        fine = fine && cli_list_add(&w->sequence, tokens[i]);
    }
    return fine ? CLI_OK : cli_no_memory();
}

static int make_cut(const text_work *w, cli_cut *out)
{
    const cli_options *o = w->run->options;
    size_t frame = w->frame.before.count + w->frame.after.count;
    bool prefix = w->run->model_info.objective == PUMICE_OBJECTIVE_PREFIX;
    size_t context = cli_context(w->run), total = w->tokens.count;
    if (context <= frame + 1) return cli_fail("a context of %zu tokens is too small", context);
    *out = (cli_cut){ .total = total, .room = context - frame };
    if (out->room > total) out->room = total;
    size_t before = w->frame.before.count, least = before ? 0 : 1;
    if (w->prefix > 0 && (size_t)w->prefix > before + least) least = (size_t)w->prefix - before;
    out->stride = o->stride ? o->stride : (out->room + 1) / 2;
    if (out->room < least + 1) {
        return cli_fail("of %zu token%s none is left to score: give a longer text%s", total,
                        total == 1 ? "" : "s",
                        w->prefix > 0 ? ", a larger context or a shorter prefix" : "");
    }
    if (!o->stride && out->stride > out->room - least) out->stride = out->room - least;
    if (out->stride > out->room - (prefix ? 1 : least)) {
        return cli_usage("--stride %zu is more than the %zu tokens that a window can score",
                         out->stride, out->room - (prefix ? 1 : least));
    }
    out->least_context = prefix ? out->room - out->stride : least;
    return CLI_OK;
}

static int score_windows(text_work *w)
{
    cli_cut cut;
    cli_window window = { 0 };
    cli_meter meter;
    int code = make_cut(w, &cut);
    size_t frame = w->frame.before.count + w->frame.after.count;
    if (code == CLI_OK) code = cli_open_session(w->run, (uint32_t)(cut.room + frame), false);
    if (code != CLI_OK) return code;
    w->out->room = cut.room + frame;
    w->out->stride = cli_window_number(&cut) > 1 ? cut.stride : 0;
    pumice_status status = pumice_session_set_prefix(w->run->session, 0, w->prefix);
    if (status != PUMICE_OK) return cli_fail_session(status, w->run->session);
    cli_meter_begin(&meter, w->run, "window", cli_window_number(&cut));
    while (code == CLI_OK && cli_window_next(&cut, &window)) {
        code = make_sequence(w, &window);
        size_t first = frame + window.context;
        if (code == CLI_OK) code = score_sequence(w, first);
        if (code == CLI_OK) code = keep_logprobs(w, window.begin);
        cli_meter_step(&meter, w->out->n_windows, "perplexity", exp(w->out->loss.mean));
    }
    cli_meter_end(&meter);
    return code;
}

/* Ids that are a whole sequence of a model with a prefix or an encoder. */
static int score_ids(text_work *w)
{
    const cli_list *input = &w->run->options->encoder_tokens;
    size_t n = w->tokens.count > input->count ? w->tokens.count : input->count;
    int code = cli_check_context(w->run, n);
    if (code == CLI_OK) code = cli_open_session(w->run, (uint32_t)n, false);
    if (code != CLI_OK) return code;
    pumice_status status =
        input->count ? pumice_session_encode(w->run->session, 0, input->data, input->count)
                     : pumice_session_set_prefix(w->run->session, 0, w->prefix);
    if (status != PUMICE_OK) return cli_fail_session(status, w->run->session);
    w->out->room = n;
    if (!cli_list_append(&w->sequence, &w->tokens)) return cli_no_memory();
    code = score_sequence(w, 0);
    return code == CLI_OK ? keep_logprobs(w, 0) : code;
}

/* ---- restored spans ---- */

static int find_sentinels(text_work *w)
{
    const cli_options *o = w->run->options;
    int code = CLI_OK;
    for (int32_t i = 0; i < MAX_SENTINELS && (int32_t)o->sentinel - i > 0; i++) {
        if (!cli_list_add(&w->sentinels, (int32_t)o->sentinel - i)) return cli_no_memory();
    }
    for (int i = 0; i < MAX_SENTINELS && code == CLI_OK && !w->ids && !o->sentinel; i++) {
        char name[32];
        cli_list ids = { 0 };
        int n = snprintf(name, sizeof name, "<extra_id_%d>", i);
        code = cli_tokenize(w->run, name, (size_t)n, PUMICE_TOKENIZE_PARSE_SPECIAL, &ids);
        bool one = code == CLI_OK && ids.count == 1;
        if (one && !cli_list_add(&w->sentinels, ids.data[0])) code = cli_no_memory();
        free(ids.data);
        if (!one) break;
    }
    if (code != CLI_OK || w->sentinels.count > 1) return code;
    return cli_fail("this model has no sentinels <extra_id_0> ... to take spans of a text out with: "
                    "%s", w->ids ? "give --sentinel, or the input with --encoder-tokens"
                                 : "give inputs and targets with --tasks");
}

static int score_spans(text_work *w, size_t at, size_t count, uint64_t *seed)
{
    cli_list input = { 0 };
    const pumice_model_info *info = &w->run->model_info;
    w->sequence.count = 0;
    bool fine = cli_list_append(&input, &w->frame.before) &&
                cli_list_add(&w->sequence, info->token_start);
    int code = fine ? cli_spans(w->tokens.data + at, count, w->sentinels.data, w->sentinels.count,
                                seed, &input, &w->sequence)
                    : cli_no_memory();
    bool ends = info->token_eos >= 0;
    fine = (w->ids ? !ends || cli_list_add(&input, info->token_eos)
                   : cli_list_append(&input, &w->frame.after)) &&
           (!ends || cli_list_add(&w->sequence, info->token_eos));
    if (code == CLI_OK && !fine) code = cli_no_memory();
    if (code == CLI_OK) {
        pumice_status status =
            pumice_session_encode(w->run->session, 0, input.data, input.count);
        if (status != PUMICE_OK) code = cli_fail_session(status, w->run->session);
    }
    free(input.data);
    return code == CLI_OK ? score_sequence(w, 0) : code;
}

static int score_denoising(text_work *w)
{
    size_t context = cli_context(w->run);
    size_t frame = w->frame.before.count + w->frame.after.count + w->ids;
    size_t room = (context < SPAN_WINDOW ? context : SPAN_WINDOW) - frame, total = w->tokens.count;
    uint64_t seed = w->run->options->seed;
    cli_meter meter;
    int code = find_sentinels(w);
    if (code == CLI_OK && (context < 16 || total < 2)) {
        code = cli_fail("%s is too short to take spans out of it",
                        total < 2 ? "the text" : "the context");
    }
    if (code == CLI_OK) code = cli_open_session(w->run, (uint32_t)(room + frame), false);
    if (code != CLI_OK) return code;
    w->out->objective = "denoising";
    w->out->room = room + frame;
    cli_meter_begin(&meter, w->run, "window", (total + room - 1) / room);
    for (size_t at = 0; at + 1 < total && code == CLI_OK; at += room) {
        code = score_spans(w, at, total - at < room ? total - at : room, &seed);
        cli_meter_step(&meter, w->out->n_windows, "loss", w->out->loss.mean);
    }
    cli_meter_end(&meter);
    return code;
}

/* ---- all ---- */

static int choose_way(text_work *w)
{
    const pumice_model_info *info = &w->run->model_info;
    const cli_options *o = w->run->options;
    static const char *const names[] = { "causal", "prefix", "encoder-decoder" };
    w->out->objective = w->prefix > 0 ? "prefix" : names[info->objective];
    if (info->n_encoder_layers && !(w->ids && o->encoder_tokens.count)) return score_denoising(w);
    if (w->ids && info->objective != PUMICE_OBJECTIVE_CAUSAL) return score_ids(w);
    return score_windows(w);
}

int cli_score_text(cli_run *run, const cli_prompt *prompt, cli_text_score *out_score)
{
    text_work w = { .run = run, .out = out_score, .ids = run->options->tokens.count > 0 };
    int code = CLI_OK;
    if (w.ids) {
        code = cli_check_ids(run, run->options->tokens.data, run->options->tokens.count);
        if (code == CLI_OK && !cli_list_append(&w.tokens, &run->options->tokens)) {
            code = cli_no_memory();
        }
    } else {
        code = cli_frame_make(run, &w.frame);
        if (code == CLI_OK) code = cli_tokenize(run, prompt->text, prompt->bytes, 0, &w.tokens);
    }
    out_score->n_tokens = w.tokens.count;
    if (code == CLI_OK) {
        code = cli_prefix_read(run->options, w.frame.before.count + w.tokens.count, &w.prefix);
    }
    if (code == CLI_OK) code = choose_way(&w);
    bool whole = w.frame.before.count && strcmp(out_score->objective, "causal") == 0;
    if (code == CLI_OK && whole) out_score->n_bytes = prompt->bytes;
    cli_frame_free(&w.frame);
    free(w.tokens.data);
    free(w.sequence.data);
    free(w.sentinels.data);
    free(w.scores);
    return code;
}
