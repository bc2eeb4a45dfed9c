/* SPDX-License-Identifier: Apache-2.0
 * pumice score: how likely a model finds a text, and how it does in tasks. Decides what is asked
 * for and how figures are printed; each stands with its standard error. */
#include "score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a text ---- */

static json_t *figure(double value, double error)
{
    return json_pack("{s:f, s:f}", "value", value, "stderr", error);
}

static json_t *mean_figure(const cli_mean *m) { return figure(m->mean, cli_mean_error(m)); }

/* of its error: the derivative of exp */
static json_t *perplexity_figure(const cli_mean *loss)
{
    double perplexity = exp(loss->mean);
    return figure(perplexity, perplexity * cli_mean_error(loss));
}

static double bits_per_byte(const cli_text_score *s)
{
    return s->n_bytes ? s->loss.sum / log(2.0) / (double)s->n_bytes : 0;
}

static json_t *logprobs_json(const cli_text_score *s)
{
    json_t *list = s->logprobs ? json_array() : NULL;
    for (size_t i = 0; list && i < s->n_tokens; i++) {
        bool none = isnan(s->logprobs[i]);
        if (json_array_append_new(list, none ? json_null() : json_real((double)s->logprobs[i]))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static int print_text_json(const cli_run *run, const cli_text_score *s)
{
    /* clang-format off */
    json_t *all = json_pack(
        "{s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:f}",
        "model", cli_json_text(run->options->models[0]),
        "device", cli_json_text(run->device_info.name),
        "objective", s->objective,
        "n_tokens", (json_int_t)s->n_tokens,
        "n_scored", (json_int_t)s->loss.count,
        "n_windows", (json_int_t)s->n_windows,
        "window_tokens", (json_int_t)s->room,
        "loss", mean_figure(&s->loss),
        "perplexity", perplexity_figure(&s->loss),
        "first_choice", mean_figure(&s->top1),
        "tokens_per_second", cli_score_speed(run));
    /* clang-format on */
    bool fine = all != NULL;
    if (fine && s->stride) {
        fine = json_object_set_new(all, "stride", json_integer((json_int_t)s->stride)) == 0;
    }
    if (fine && s->n_bytes) {
        fine = json_object_set_new(all, "bits_per_byte", json_real(bits_per_byte(s))) == 0;
    }
    if (fine && s->logprobs) fine = json_object_set_new(all, "logprobs", logprobs_json(s)) == 0;
    if (fine) return cli_print_json(all);
    json_decref(all);
    return cli_no_memory();
}

static int print_text(const cli_run *run, const cli_text_score *s)
{
    double error = cli_mean_error(&s->loss), perplexity = exp(s->loss.mean);
    if (run->options->json) return print_text_json(run, s);
    printf("objective: %s, %zu of %zu tokens scored in %zu window%s\n", s->objective, s->loss.count,
           s->n_tokens, s->n_windows, s->n_windows == 1 ? "" : "s");
    printf("loss per token        %10.4f ± %.4f\n", s->loss.mean, error);
    printf("perplexity            %10.4f ± %.4f\n", perplexity, perplexity * error);
    if (s->n_bytes) printf("bits per byte         %10.4f\n", bits_per_byte(s));
    printf("first choice          %9.2f%% ± %.2f\n", 100 * s->top1.mean,
           100 * cli_mean_error(&s->top1));
    printf("speed                 %10.1f tokens/s\n", cli_score_speed(run));
    return cli_flush();
}

/* ---- tasks ---- */

typedef struct row {
    const char *name, *title;
    const cli_mean *mean;
    bool percent;
} row;

static json_t *group_json(const row *rows, size_t count)
{
    json_t *group = json_pack("{s:I}", "n", (json_int_t)rows[0].mean->count);
    for (size_t i = 0; group && i < count; i++) {
        if (json_object_set_new(group, rows[i].name, mean_figure(rows[i].mean)) == 0) continue;
        json_decref(group);
        return NULL;
    }
    return group;
}

static void print_group(const char *title, const row *rows, size_t count)
{
    printf("%s: %zu\n", title, rows[0].mean->count);
    for (size_t i = 0; i < count; i++) {
        double times = rows[i].percent ? 100 : 1;
        printf("  %-38s %9.*f%s ± %.*f\n", rows[i].title, rows[i].percent ? 2 : 4,
               times * rows[i].mean->mean, rows[i].percent ? "%" : " ", rows[i].percent ? 2 : 4,
               times * cli_mean_error(rows[i].mean));
    }
}

static int print_tasks(const cli_run *run, cli_tasks_score *s)
{
    const row choices[] = {
        { "accuracy", "accuracy", &s->accuracy, true },
        { "accuracy_per_length", "accuracy, per byte", &s->accuracy_norm, true },
        { "answer_probability", "probability of the answer", &s->answer_probability, false },
        { "answer_logprob_per_token", "its log-likelihood per token", &s->answer_logprob, false },
    };
    const row targets[] = {
        { "exact_match", "exact match", &s->exact, true },
        { "greedy_match", "begins with the target", &s->greedy, true },
        { "first_choice", "target's tokens that are first choice", &s->token_top1, true },
        { "logprob_per_token", "its log-likelihood per token", &s->target_logprob, false },
    };
    bool has_choices = s->accuracy.count > 0, has_targets = s->exact.count > 0;
    if (!run->options->json) {
        printf("objective: %s\n", s->objective);
        if (has_choices) print_group("multiple choice", choices, CLI_COUNT(choices));
        if (has_targets) print_group("targets", targets, CLI_COUNT(targets));
        printf("speed %.1f tokens/s\n", cli_score_speed(run));
        return cli_flush();
    }
    json_t *examples = s->examples;
    s->examples = NULL; /* json_pack takes it */
    /* clang-format off */
    return cli_print_json(json_pack(
        "{s:o, s:o, s:s, s:o, s:o, s:o, s:f}",
        "model", cli_json_text(run->options->models[0]),
        "device", cli_json_text(run->device_info.name),
        "objective", s->objective,
        "choices", has_choices ? group_json(choices, CLI_COUNT(choices)) : json_null(),
        "targets", has_targets ? group_json(targets, CLI_COUNT(targets)) : json_null(),
        "examples", examples,
        "tokens_per_second", cli_score_speed(run)));
    /* clang-format on */
}

/* ---- the command ---- */

static int check_options(const cli_options *o)
{
    bool text = o->prompt || o->prompt_file || o->tokens.count;
    if (!text && !o->tasks) {
        return cli_usage("score needs a text (-f, -p or --tokens) or --tasks FILE");
    }
    if (text && o->tasks) return cli_usage("give either a text or --tasks");
    if (o->tasks && o->prefix && strcmp(o->prefix, "all") != 0) {
        return cli_usage("with --tasks, --prefix can only be `all`, which is each task's context");
    }
    if (o->encoder_tokens.count && !o->tokens.count) {
        return cli_usage("--encoder-tokens needs the decoder's --tokens");
    }
    return CLI_OK;
}

static int check_model(const cli_run *run)
{
    const cli_options *o = run->options;
    bool encoder = run->model_info.n_encoder_layers > 0;
    if (encoder && o->prefix) return cli_usage("a model with an encoder takes no --prefix");
    if (encoder && o->stride) return cli_usage("spans are taken out of windows that do not overlap: "
                                               "a model with an encoder takes no --stride");
    if (!encoder && o->encoder_tokens.count) {
        return cli_usage("this model has no encoder for --encoder-tokens");
    }
    return cli_check_ids(run, o->encoder_tokens.data, o->encoder_tokens.count);
}

static int work(cli_run *run, cli_prompt *prompt, cli_tasks *tasks, cli_text_score *text,
                cli_tasks_score *answers)
{
    const cli_options *o = run->options;
    int code = check_options(o);
    if (code == CLI_OK && !o->tasks) code = cli_prompt_read(o, prompt);
    if (code == CLI_OK && o->tasks) code = cli_tasks_read(o->tasks, tasks);
    if (code == CLI_OK) code = cli_open_device(run);
    if (code == CLI_OK) code = cli_open_model(run, o->models[0]);
    if (code == CLI_OK) code = check_model(run);
    if (code != CLI_OK) return code;
    if (o->tasks) {
        code = cli_score_tasks(run, tasks, answers);
        return code == CLI_OK ? print_tasks(run, answers) : code;
    }
    code = cli_score_text(run, prompt, text);
    return code == CLI_OK ? print_text(run, text) : code;
}

static int run_score(const cli_options *options)
{
    cli_run run = { .options = options };
    cli_prompt prompt = { 0 };
    cli_tasks tasks = { 0 };
    cli_text_score text = { 0 };
    cli_tasks_score answers = { 0 };
    int code = cli_close(&run, work(&run, &prompt, &tasks, &text, &answers));
    json_decref(answers.examples);
    free(text.logprobs);
    cli_tasks_free(&tasks);
    cli_prompt_free(&prompt);
    return code;
}

static const cli_option score_options[] = {
    CLI_ROW_TEXT("p", "prompt", prompt, "TEXT", "a text to score"),
    CLI_ROW_TEXT("f", "file", prompt_file, "FILE", "a text from a file (- = standard input)"),
    CLI_ROW_LIST(NULL, "tokens", tokens, "IDS", INT32_MIN,
                 "token ids to score as they are (with an encoder: the decoder's)"),
    CLI_ROW_LIST(NULL, "encoder-tokens", encoder_tokens, "IDS", INT32_MIN,
                 "the encoder's token ids, where the model has one"),
    CLI_ROW_TEXT(NULL, "tasks", tasks, "FILE",
                 "questions with choices, inputs with targets: one JSON object a line"),
    CLI_ROW_U32(NULL, "stride", stride, "N", 1,
                "tokens from one window to the next (half of the context)"),
    CLI_ROW_PREFIX,
    CLI_ROW_U32("n", "predict", n_predict, "N", 0,
                "tokens of a reply at most (the target's and 16)"),
    CLI_ROW_U32(NULL, "sentinel", sentinel, "ID", 1,
                "the first sentinel, others descend from it (<extra_id_0>)"),
    CLI_ROW_SEED("seed of the spans that are taken out (0)"),
    CLI_ROW_END
};

const cli_command cli_cmd_score = {
    .name = "score",
    .arguments = "MODEL (-f FILE | -p TEXT | --tokens IDS | --tasks FILE) [options]",
    .summary = "Measure how likely a text or an answer is",
    .details = "By what the model was trained to do: every token of a text, what follows a prefix,\n"
               "or spans that were taken out of it. The format of task files and what each figure\n"
               "means: docs/cli.md.",
    .min_models = 1,
    .max_models = 1,
    .groups = { score_options, cli_session_options, cli_device_options, cli_json_options,
                cli_model_options },
    .run = run_score,
};
