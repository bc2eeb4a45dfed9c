/* SPDX-License-Identifier: Apache-2.0
 * Inside pumice score: figures with their standard errors and the cutting of texts, both pure
 * (score_figures.c), spans that are taken out to be restored (score_spans.c), task files
 * (score_tasks.c), what both ways of scoring share (score_session.c), and those (score_text.c,
 * score_answers.c), of which cmd_score.c chooses one. */
#ifndef PUMICE_CLI_SCORE_H
#define PUMICE_CLI_SCORE_H

#include "common.h"

/* ---- figures (score_figures.c) ---- */

/* A mean and its standard error: sample standard deviation over the root of the number. */
typedef struct cli_mean {
    double sum, mean, squares; /* squares: of differences from the mean (Welford, 1962) */
    size_t count;
} cli_mean;
void cli_mean_add(cli_mean *m, double value);
double cli_mean_error(const cli_mean *m); /* 0 for fewer than two values */

/* What one multiple-choice question is worth. */
typedef struct cli_choice_figures {
    size_t best, best_per_length; /* indices; the first of equals */
    double answer_probability;    /* of the answer among the choices, softmax of their logprobs */
} cli_choice_figures;
cli_choice_figures cli_choose(const double *logprobs, const size_t *lengths, size_t count,
                              size_t answer);

/* How a text is cut into windows that overlap. Window: [begin, begin + context) is only seen,
 * [begin + context, begin + context + count) is scored; every token from `least_context` on is
 * scored once, with at least room - stride tokens before it where there are so many. */
typedef struct cli_cut {
    size_t total, room, stride, least_context;
} cli_cut;
typedef struct cli_window {
    size_t begin, context, count;
} cli_window;
/* Start with a zeroed window; false after the last. Needs 0 < stride <= room - least_context. */
bool cli_window_next(const cli_cut *cut, cli_window *window);
size_t cli_window_number(const cli_cut *cut);

/* ---- spans (score_spans.c) ---- */

/* Takes spans of about 3 tokens out, 15 % of all (Raffel et al., 2020, 3.1.4): `input` gets a
 * sentinel for each, `labels` sentinel and span for each and a last sentinel. sentinels[i] is the
 * i-th; there must be n_sentinels > spans. Both lists are appended to. count >= 2. */
int cli_spans(const int32_t *tokens, size_t count, const int32_t *sentinels, size_t n_sentinels,
              uint64_t *seed, cli_list *input, cli_list *labels);
/* Number of spans that a text of so many tokens gets. */
size_t cli_spans_number(size_t count);

/* ---- what a model's texts look like as tokens (score_session.c) ---- */

typedef struct cli_frame {
    cli_list before, after; /* what the tokenizer puts around a text: BOS, EOS, [gMASK] <sop> */
    int32_t mask;           /* [MASK] of ChatGLM-6B; -1 = none */
    uint32_t flags;         /* for cli_tokenize: whether special tokens in texts are meant */
} cli_frame;
int cli_frame_make(const cli_run *run, cli_frame *out_frame);
void cli_frame_free(cli_frame *frame);
bool cli_list_append(cli_list *list, const cli_list *more);

/* ---- task files (score_tasks.c) ---- */

/* A text or its tokens, as a line gives them. */
typedef struct cli_words {
    const char *field; /* of the line */
    const char *text; /* NULL: tokens */
    size_t bytes;
    cli_list tokens;
} cli_words;

typedef struct cli_task {
    size_t line;     /* in the file, from 1 */
    json_t *json;    /* owns the texts */
    const json_t *id; /* NULL = none */
    cli_words context;
    cli_words *endings; /* choices, or the one target */
    size_t n_endings, answer;
    bool is_choice;
} cli_task;
typedef struct cli_tasks {
    const char *path; /* the caller's */
    cli_task *data;
    size_t count, capacity;
} cli_tasks;
/* One JSON object a line; each fault is a sentence with line and field. */
int cli_tasks_read(const char *path, cli_tasks *out_tasks);
void cli_tasks_free(cli_tasks *tasks);

/* ---- scoring (score_text.c, score_answers.c) ---- */

/* Token figures of a text. */
typedef struct cli_text_score {
    const char *objective;
    cli_mean loss, top1; /* of scored tokens: -logprob; 1 if it was the model's first choice */
    size_t n_tokens, n_windows, room, stride; /* stride 0: one window, or no overlap */
    size_t n_bytes; /* of the text, if all of it was scored; else 0 */
    float *logprobs; /* of --tokens that are scored as they are, NaN = not scored; NULL */
} cli_text_score;
int cli_score_text(cli_run *run, const cli_prompt *prompt, cli_text_score *out_score);

typedef struct cli_tasks_score {
    const char *objective;
    /* multiple choice */
    cli_mean accuracy, accuracy_norm, answer_probability, answer_logprob;
    /* targets */
    cli_mean exact, greedy, token_top1, target_logprob;
    json_t *examples;
} cli_tasks_score;
int cli_score_tasks(cli_run *run, const cli_tasks *tasks, cli_tasks_score *out_score);

/* ---- shared (score_session.c) ---- */

/* A line on standard error that tells how far it is: on a terminal, else every ten seconds. */
typedef struct cli_meter {
    const cli_run *run;
    const char *unit;
    size_t total;
    uint64_t begin_ns, last_ns;
    bool shown;
} cli_meter;
void cli_meter_begin(cli_meter *meter, const cli_run *run, const char *unit, size_t total);
void cli_meter_step(cli_meter *meter, size_t done, const char *figure, double value);
void cli_meter_end(cli_meter *meter);
/* Tokens that were evaluated, a second. */
double cli_score_speed(const cli_run *run);

/* One scored sequence; out_scores has `count` items. The sentence for a NaN is this one's. */
int cli_score_sequence(cli_run *run, const int32_t *tokens, size_t count, size_t first,
                       pumice_token_score *out_scores);

#endif
