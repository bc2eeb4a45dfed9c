/* SPDX-License-Identifier: Apache-2.0
 * Scoring tasks: the likelihood of each choice or target after its context, whose KV cache the
 * choices share, and what the model says by itself where a target is wanted. Decides how texts
 * become sequences and what counts as right. */
#include "score.h"

#include <stdlib.h>
#include <string.h>

enum { MORE_THAN_TARGET = 16 }; /* tokens that a reply may be longer than its target */

typedef struct ending {
    cli_list tokens; /* the whole sequence */
    size_t first;    /* token that is scored first */
    size_t length;   /* of the ending: bytes of its text, or its tokens */
} ending;

/* A task as tokens. */
typedef struct question {
    cli_list input;   /* the encoder's */
    cli_list context; /* what a reply follows; an encoder-decoder's is empty */
    ending *endings;
    size_t n_endings;
} question;

typedef struct tasks_work {
    cli_run *run;
    const cli_tasks *tasks;
    cli_tasks_score *out;
    cli_frame frame;
    question *questions;
    pumice_token_score *scores;
    cli_list reply;
    char *text; /* of the reply */
    size_t text_bytes;
} tasks_work;

/* ---- tokens ---- */

static bool has_encoder(const tasks_work *w) { return w->run->model_info.n_encoder_layers > 0; }

static int append_words(const tasks_work *w, const cli_words *words, uint32_t flags, cli_list *out)
{
    cli_list ids = { 0 };
    if (!words->text) {
        return cli_list_append(out, &words->tokens) ? CLI_OK : cli_no_memory();
    }
    int code = cli_tokenize(w->run, words->text, words->bytes, w->frame.flags | flags, &ids);
    if (code == CLI_OK && !cli_list_append(out, &ids)) code = cli_no_memory();
    free(ids.data);
    return code;
}

static bool holds(const cli_list *list, int32_t token)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->data[i] == token) return true;
    }
    return false;
}

/* A context with what the tokenizer puts around it. A [MASK] in it is what ChatGLM-6B fills, and
 * then there is no [gMASK]. */
static int make_context(const tasks_work *w, const cli_words *words, cli_list *out)
{
    bool text = words->text != NULL;
    if (text && !cli_list_append(out, &w->frame.before)) return cli_no_memory();
    int code = append_words(w, words, 0, out);
    if (code != CLI_OK || !text) return code;
    cli_list after = w->frame.after;
    if (w->frame.mask >= 0 && after.count > 1 && holds(out, w->frame.mask)) {
        after.data++;
        after.count--;
    }
    return cli_list_append(out, &after) ? CLI_OK : cli_no_memory();
}

static size_t common(const cli_list *a, const cli_list *b)
{
    size_t n = 0;
    while (n < a->count && n < b->count && a->data[n] == b->data[n]) n++;
    return n;
}

/* Context and ending as one text, since tokens may span both: what they do not share is scored. */
static int join_texts(const tasks_work *w, const cli_words *context, const cli_words *words,
                      const question *q, ending *out)
{
    cli_words both = { .bytes = context->bytes + words->bytes };
    char *text = malloc(both.bytes + 1);
    if (!text) return cli_no_memory();
    memcpy(text, context->text, context->bytes);
    memcpy(text + context->bytes, words->text, words->bytes);
    both.text = text;
    int code = cli_list_append(&out->tokens, &w->frame.before) ? CLI_OK : cli_no_memory();
    if (code == CLI_OK) code = append_words(w, &both, 0, &out->tokens);
    free(text);
    out->first = common(&out->tokens, &q->context);
    return code;
}

static int make_ending(const tasks_work *w, const cli_task *task, const cli_words *words,
                       const question *q, ending *out)
{
    const pumice_model_info *info = &w->run->model_info;
    const cli_words *context = &task->context;
    bool causal = info->objective == PUMICE_OBJECTIVE_CAUSAL;
    int code = CLI_OK;
    if (has_encoder(w)) {
        if (!cli_list_add(&out->tokens, info->token_start)) return cli_no_memory();
        code = append_words(w, words, PUMICE_TOKENIZE_ADD_SPECIAL, &out->tokens);
        out->first = 1;
    } else if (causal && words->text && context->text && context->bytes) {
        code = join_texts(w, context, words, q, out);
    } else {
        if (!cli_list_append(&out->tokens, &q->context)) return cli_no_memory();
        code = append_words(w, words, 0, &out->tokens);
        out->first = q->context.count;
        bool ends = !causal && words->text && info->token_eos >= 0;
        if (ends && !cli_list_add(&out->tokens, info->token_eos)) return cli_no_memory();
    }
    out->length = words->text ? words->bytes : words->tokens.count;
    if (code == CLI_OK && out->first == 0) out->first = 1; /* no BOS, no context */
    if (code == CLI_OK && out->first >= out->tokens.count) {
        return cli_fail("'%s', line %zu: field '%s' has no token to score", w->tasks->path, task->line,
                        words->field);
    }
    return code;
}

static int check_ids(const tasks_work *w, const cli_task *task, const cli_words *words)
{
    uint32_t n_vocab = w->run->model_info.n_vocab;
    for (size_t i = 0; i < words->tokens.count; i++) {
        if ((uint32_t)words->tokens.data[i] < n_vocab) continue;
        return cli_fail("'%s', line %zu: field '%s' has token %d, which is not in the vocabulary of %u", w->tasks->path,
                        task->line, words->field, (int)words->tokens.data[i], n_vocab);
    }
    return CLI_OK;
}

static int make_question(const tasks_work *w, const cli_task *task, question *out)
{
    int code = check_ids(w, task, &task->context);
    for (size_t i = 0; i < task->n_endings && code == CLI_OK; i++) {
        code = check_ids(w, task, &task->endings[i]);
    }
    if (code == CLI_OK) code = make_context(w, &task->context, has_encoder(w) ? &out->input : &out->context);
    if (code != CLI_OK) return code;
    if (has_encoder(w) && !out->input.count) {
        return cli_fail("'%s', line %zu: field '%s' gives the encoder no token", w->tasks->path, task->line,
                        task->context.field);
    }
    out->endings = calloc(task->n_endings, sizeof *out->endings);
    if (!out->endings) return cli_no_memory();
    out->n_endings = task->n_endings;
    for (size_t i = 0; i < task->n_endings && code == CLI_OK; i++) {
        code = make_ending(w, task, &task->endings[i], out, &out->endings[i]);
    }
    return code;
}

/* ---- lengths ---- */

static size_t reply_tokens(const tasks_work *w, const question *q)
{
    const ending *e = &q->endings[0];
    uint32_t n = w->run->options->n_predict;
    return n ? n : e->tokens.count - e->first + MORE_THAN_TARGET;
}

static size_t needed(const tasks_work *w, const cli_task *task, const question *q)
{
    size_t n = q->input.count;
    for (size_t i = 0; i < q->n_endings; i++) {
        if (q->endings[i].tokens.count > n) n = q->endings[i].tokens.count;
    }
    size_t reply = (has_encoder(w) ? 1 : q->context.count) + reply_tokens(w, q);
    return !task->is_choice && reply > n ? reply : n;
}

/* Opens a session that holds the longest task. Replies are cut where the context ends; tasks must fit. */
static int open_session(tasks_work *w)
{
    size_t most = 0, context = cli_context(w->run);
    for (size_t i = 0; i < w->tasks->count; i++) {
        const question *q = &w->questions[i];
        size_t n = needed(w, &w->tasks->data[i], q), given = q->input.count;
        for (size_t k = 0; k < q->n_endings; k++) {
            if (q->endings[k].tokens.count > given) given = q->endings[k].tokens.count;
        }
        if (given > context) {
            return cli_fail("'%s', line %zu has %zu tokens, which do not fit the context of %zu",
                            w->tasks->path, w->tasks->data[i].line, given, context);
        }
        if (n > most) most = n;
    }
    w->scores = calloc(context, sizeof *w->scores);
    if (!w->scores) return cli_no_memory();
    return cli_open_session(w->run, (uint32_t)(most < context ? most : context), false);
}

/* ---- likelihoods ---- */

static int begin_question(tasks_work *w, const question *q)
{
    pumice_status status;
    pumice_session *s = w->run->session;
    if (has_encoder(w)) {
        status = pumice_session_encode(s, 0, q->input.data, q->input.count);
    } else {
        int32_t prefix = PUMICE_PREFIX_MODEL;
        if (w->run->options->prefix) {
            size_t n = q->context.count;
            for (size_t i = 0; i < q->n_endings; i++) {
                if (q->endings[i].first < n) n = q->endings[i].first;
            }
            prefix = (int32_t)n;
        }
        status = pumice_session_set_prefix(s, 0, prefix);
    }
    return status == PUMICE_OK ? CLI_OK : cli_fail_session(status, s);
}

typedef struct likelihood {
    double logprob;
    size_t n, n_top; /* tokens; of them the model's first choice */
} likelihood;

static int score_ending(tasks_work *w, const ending *e, likelihood *out)
{
    *out = (likelihood){ 0 };
    int code =
        cli_score_sequence(w->run, e->tokens.data, e->tokens.count, e->first, w->scores);
    for (size_t i = e->first; i < e->tokens.count && code == CLI_OK; i++) {
        out->logprob += (double)w->scores[i].logprob;
        out->n++;
        out->n_top += w->scores[i].top == e->tokens.data[i];
    }
    return code;
}

static json_t *id_of(const cli_task *task)
{
    return task->id ? json_deep_copy(task->id) : json_integer((json_int_t)task->line);
}

static int add_example(tasks_work *w, json_t *example)
{
    if (example && json_array_append_new(w->out->examples, example) == 0) return CLI_OK;
    return cli_no_memory();
}

static int score_choices(tasks_work *w, const cli_task *task, const question *q, double *logprobs,
                         size_t *lengths)
{
    json_t *list = json_array();
    size_t answer_tokens = 1;
    int code = list ? CLI_OK : cli_no_memory();
    for (size_t i = 0; i < q->n_endings && code == CLI_OK; i++) {
        likelihood l;
        code = score_ending(w, &q->endings[i], &l);
        logprobs[i] = l.logprob;
        lengths[i] = q->endings[i].length;
        if (i == task->answer) answer_tokens = l.n;
        if (code == CLI_OK && json_array_append_new(list, json_real(l.logprob)) != 0) {
            code = cli_no_memory();
        }
    }
    if (code != CLI_OK) {
        json_decref(list);
        return code;
    }
    cli_choice_figures f = cli_choose(logprobs, lengths, q->n_endings, task->answer);
    cli_mean_add(&w->out->accuracy, f.best == task->answer);
    cli_mean_add(&w->out->accuracy_norm, f.best_per_length == task->answer);
    cli_mean_add(&w->out->answer_probability, f.answer_probability);
    cli_mean_add(&w->out->answer_logprob, logprobs[task->answer] / (double)answer_tokens);
    /* clang-format off */
    return add_example(w, json_pack("{s:o, s:I, s:I, s:I, s:f, s:o}",
        "id", id_of(task), "answer", (json_int_t)task->answer, "chosen", (json_int_t)f.best,
        "chosen_per_length", (json_int_t)f.best_per_length,
        "answer_probability", f.answer_probability, "logprobs", list));
    /* clang-format on */
}

/* ---- replies ---- */

static int on_token(void *user, int32_t token, const char *text, size_t bytes)
{
    tasks_work *w = user;
    char *larger = realloc(w->text, w->text_bytes + bytes + 1);
    if (!larger || (token >= 0 && !cli_list_add(&w->reply, token))) {
        w->text = larger ? larger : w->text;
        return 1;
    }
    memcpy(larger + w->text_bytes, text, bytes);
    w->text = larger;
    w->text_bytes += bytes;
    /* a decoder-only model of plain texts knows no other end of a reply */
    bool line = w->run->model_info.objective == PUMICE_OBJECTIVE_CAUSAL;
    const char *mark = line ? memchr(w->text, '\n', w->text_bytes) : NULL;
    while (mark && mark == w->text) { /* not of those that come before it */
        memmove(w->text, w->text + 1, --w->text_bytes);
        mark = memchr(w->text, '\n', w->text_bytes);
    }
    if (mark) w->text_bytes = (size_t)(mark - w->text);
    return mark != NULL || cli_interrupted();
}

static int generate(tasks_work *w, const question *q)
{
    pumice_session *s = w->run->session;
    uint32_t count;
    pumice_generate_params p = { .struct_size = sizeof p,
                                 .max_tokens = (uint32_t)reply_tokens(w, q),
                                 .token = on_token,
                                 .user = w };
    w->reply.count = w->text_bytes = 0;
    pumice_status status =
        has_encoder(w) ? pumice_session_encode(s, 0, q->input.data, q->input.count)
                       : pumice_session_sync(s, 0, q->context.data, q->context.count);
    if (status == PUMICE_OK) status = pumice_session_generate(s, 0, &p, &count);
    return status == PUMICE_OK ? CLI_OK : cli_fail_session(status, s);
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static void trim(const char **text, size_t *bytes)
{
    while (*bytes && is_space(**text)) ++*text, --*bytes;
    while (*bytes && is_space((*text)[*bytes - 1])) --*bytes;
}

/* Text against text, without blanks around them; ids against ids, a final end token left out. */
static bool is_exact(const tasks_work *w, const cli_words *target)
{
    if (target->text) {
        const char *got = w->text ? w->text : "", *want = target->text;
        size_t got_bytes = w->text_bytes, want_bytes = target->bytes;
        trim(&got, &got_bytes);
        trim(&want, &want_bytes);
        return got_bytes == want_bytes && memcmp(got, want, want_bytes) == 0;
    }
    size_t n = w->reply.count, want = target->tokens.count;
    int32_t eos = w->run->model_info.token_eos;
    if (n && w->reply.data[n - 1] == eos) n--;
    if (want && target->tokens.data[want - 1] == eos) want--;
    return n == want && memcmp(w->reply.data, target->tokens.data, n * sizeof *w->reply.data) == 0;
}

static int score_target(tasks_work *w, const cli_task *task, const question *q)
{
    likelihood l;
    int code = score_ending(w, &q->endings[0], &l);
    bool replies = has_encoder(w) || q->context.count;
    if (code == CLI_OK && replies) code = generate(w, q);
    if (code != CLI_OK) return code;
    bool exact = replies && is_exact(w, &task->endings[0]), greedy = l.n_top == l.n;
    cli_mean_add(&w->out->exact, exact);
    cli_mean_add(&w->out->greedy, greedy);
    cli_mean_add(&w->out->token_top1, (double)l.n_top / (double)l.n);
    cli_mean_add(&w->out->target_logprob, l.logprob / (double)l.n);
    bool text = w->run->model_info.tokenizer[0] != '\0';
    /* clang-format off */
    return add_example(w, json_pack("{s:o, s:b, s:b, s:f, s:I, s:o, s:o}",
        "id", id_of(task), "exact_match", exact, "greedy_match", greedy, "logprob", l.logprob,
        "n_tokens", (json_int_t)l.n, "reply_tokens", cli_json_tokens(w->reply.data, w->reply.count),
        "reply", text ? cli_json_text_n(w->text ? w->text : "", w->text_bytes) : json_null()));
    /* clang-format on */
}

/* ---- all ---- */

static int score_task(tasks_work *w, size_t index)
{
    const cli_task *task = &w->tasks->data[index];
    const question *q = &w->questions[index];
    int code = begin_question(w, q);
    if (code != CLI_OK || !task->is_choice) return code == CLI_OK ? score_target(w, task, q) : code;
    double *logprobs = calloc(q->n_endings, sizeof *logprobs);
    size_t *lengths = calloc(q->n_endings, sizeof *lengths);
    code = logprobs && lengths ? score_choices(w, task, q, logprobs, lengths) : cli_no_memory();
    free(logprobs);
    free(lengths);
    return code;
}

static int work(tasks_work *w)
{
    size_t n = w->tasks->count;
    cli_meter meter;
    int code = cli_frame_make(w->run, &w->frame);
    w->questions = calloc(n, sizeof *w->questions);
    w->out->examples = json_array();
    if (!w->questions || !w->out->examples) return cli_no_memory();
    for (size_t i = 0; i < n && code == CLI_OK; i++) {
        code = make_question(w, &w->tasks->data[i], &w->questions[i]);
    }
    if (code == CLI_OK) code = open_session(w);
    cli_meter_begin(&meter, w->run, "task", n);
    for (size_t i = 0; i < n && code == CLI_OK; i++) {
        code = score_task(w, i);
        const cli_mean *m = w->out->accuracy.count ? &w->out->accuracy : &w->out->exact;
        cli_meter_step(&meter, i + 1, w->out->accuracy.count ? "accuracy" : "exact match", m->mean);
    }
    cli_meter_end(&meter);
    return code;
}

static void free_question(question *q)
{
    for (size_t i = 0; i < q->n_endings; i++) free(q->endings[i].tokens.data);
    free(q->endings);
    free(q->input.data);
    free(q->context.data);
}

int cli_score_tasks(cli_run *run, const cli_tasks *tasks, cli_tasks_score *out_score)
{
    static const char *const names[] = { "causal", "prefix", "encoder-decoder" };
    tasks_work w = { .run = run, .tasks = tasks, .out = out_score };
    out_score->objective = run->options->prefix ? "prefix" : names[run->model_info.objective];
    int code = work(&w);
    for (size_t i = 0; w.questions && i < tasks->count; i++) free_question(&w.questions[i]);
    free(w.questions);
    free(w.scores);
    free(w.reply.data);
    free(w.text);
    cli_frame_free(&w.frame);
    return code;
}
