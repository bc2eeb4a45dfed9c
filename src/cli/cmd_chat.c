/* SPDX-License-Identifier: Apache-2.0
 * pumice chat: a conversation in the model's own chat template. Every turn formats all messages
 * anew and hands all tokens to the session, which keeps the KV cache of what is the same. Decides
 * what a line of input means and what Ctrl-C ends: the reply, not the conversation. */
#include "common.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct turn {
    char *role, *content;
    /* of the assistant's: */
    uint32_t n_prompt, n_kept; /* tokens of the whole conversation before it; of these, kept */
    uint32_t n_tokens;
    const char *stop;
} turn;

typedef struct chat {
    cli_run *run;
    turn *turns;
    size_t count, capacity;
    char *text; /* of the reply in work, NUL-terminated */
    size_t bytes, text_capacity;
    uint32_t n_tokens;
    bool no_memory, ended, told_form, terminal;
    const char *template_text; /* NULL = the model's own */
    char *template_owned;
    uint64_t seed;
} chat;

static void clear_turns(chat *c, size_t keep)
{
    while (c->count > keep) {
        turn *t = &c->turns[--c->count];
        free(t->role);
        free(t->content);
    }
}

static char *copy_text(const char *text, size_t bytes)
{
    char *copy = malloc(bytes + 1);
    if (copy) memcpy(copy, text, bytes), copy[bytes] = '\0';
    return copy;
}

static bool add_turn(chat *c, const char *role, const char *text, size_t bytes)
{
    if (c->count == c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 16;
        turn *more = realloc(c->turns, capacity * sizeof *more);
        if (!more) return false;
        c->turns = more;
        c->capacity = capacity;
    }
    turn *t = &c->turns[c->count++];
    *t = (turn){ copy_text(role, strlen(role)), copy_text(text, bytes), 0, 0, 0, NULL };
    if (t->role && t->content) return true;
    clear_turns(c, c->count - 1);
    return false;
}

static bool has_system(const chat *c)
{
    return c->count && strcmp(c->turns[0].role, "system") == 0;
}

/* ---- one reply ---- */

/* The conversation's text; *out_text is the caller's to free. */
static int format(chat *c, char **out_text, size_t *out_bytes, uint32_t *out_flags)
{
    pumice_chat_message *messages = malloc((c->count + 1) * sizeof *messages);
    pumice_chat_result result = { .struct_size = sizeof result };
    pumice_chat_params params = { .struct_size = sizeof params,
                                  .messages = messages,
                                  .n_messages = c->count,
                                  .template_text = c->template_text,
                                  .variables_json = c->run->options->variables };
    size_t capacity = 0;
    int code = messages ? CLI_OK : cli_no_memory();
    *out_text = NULL;
    for (size_t i = 0; i < c->count && messages; i++)
        messages[i] = (pumice_chat_message){ c->turns[i].role, c->turns[i].content };
    params.now = time(NULL);
    while (code == CLI_OK) {
        pumice_error err = { 0 };
        pumice_status status =
            pumice_chat_format(c->run->model, &params, *out_text, capacity, out_bytes, &result, &err);
        if (status != PUMICE_OK) code = cli_fail_error(status, &err);
        if (code != CLI_OK || *out_bytes <= capacity) break;
        char *larger = realloc(*out_text, *out_bytes + 1);
        if (!larger) code = cli_no_memory();
        else *out_text = larger, capacity = *out_bytes;
    }
    free(messages);
    if (code != CLI_OK) {
        free(*out_text);
        *out_text = NULL;
        return code;
    }
    *out_flags = result.tokenize_flags;
    if (result.form && !c->told_form && !c->run->options->quiet)
        fprintf(stderr, "the model has no chat template: %s form is used\n", result.form);
    c->told_form = true;
    return CLI_OK;
}

static bool keep(chat *c, const char *text, size_t bytes)
{
    if (c->text_capacity - c->bytes < bytes + 1) {
        size_t capacity = 2 * c->text_capacity + bytes + 1024;
        char *larger = realloc(c->text, capacity);
        if (!larger) return false;
        c->text = larger;
        c->text_capacity = capacity;
    }
    memcpy(c->text + c->bytes, text, bytes);
    c->bytes += bytes;
    c->text[c->bytes] = '\0';
    return true;
}

static int on_token(void *user, int32_t token, const char *text, size_t bytes)
{
    chat *c = user;
    if (token >= 0) c->n_tokens++;
    if (!keep(c, text, bytes)) c->no_memory = true;
    if (bytes && !c->run->options->json) {
        fwrite(text, 1, bytes, stdout);
        fflush(stdout);
    }
    return c->no_memory || cli_interrupted() || ferror(stdout);
}

static int generate(chat *c, uint32_t max_tokens)
{
    const cli_options *o = c->run->options;
    pumice_generate_params params = { .struct_size = sizeof params,
                                      .max_tokens = max_tokens,
                                      .token = on_token,
                                      .user = c };
    uint32_t count = 0;
    params.sampling = cli_sampling(o, c->seed);
    pumice_status status = pumice_session_generate(c->run->session, 0, &params, &count);
    if (c->no_memory) return cli_no_memory();
    if (status == PUMICE_OK || cli_interrupted() || status == PUMICE_ERROR_CONTEXT_FULL)
        return CLI_OK;
    return cli_fail_session(status, c->run->session);
}

static const char *stop_reason(const chat *c, uint32_t max_tokens, uint32_t room)
{
    if (cli_interrupted()) return "cancelled";
    if (c->n_tokens < max_tokens) return "end";
    return max_tokens == room ? "context" : "length";
}

/* Evaluates the conversation and generates the assistant's turn. */
static int reply(chat *c)
{
    char *text;
    size_t bytes;
    uint32_t flags = 0;
    cli_list tokens = { 0 };
    int code = format(c, &text, &bytes, &flags);
    if (code == CLI_OK) code = cli_tokenize(c->run, text, bytes, flags, &tokens);
    free(text);
    uint32_t context = cli_context(c->run);
    if (code == CLI_OK && tokens.count == 0) code = cli_fail("the chat template gives no tokens");
    if (code == CLI_OK && tokens.count >= context) {
        code = cli_fail("the conversation of %zu tokens fills the context of %u: /reset begins anew, "
                        "-c asks for more",
                        tokens.count, context);
    }
    if (code != CLI_OK) {
        free(tokens.data);
        return code;
    }
    uint32_t room = context - (uint32_t)tokens.count, before = pumice_session_length(c->run->session, 0);
    uint32_t most = c->run->options->n_predict;
    if (!most || most > room) most = room;
    c->bytes = 0;
    c->n_tokens = 0;
    if (!keep(c, "", 0)) code = cli_no_memory();
    uint64_t prompt_before = 0, prompt_after = 0;
    pumice_timings t = { .struct_size = sizeof t };
    if (pumice_session_get_timings(c->run->session, &t) == PUMICE_OK) prompt_before = t.n_prompt_tokens;
    if (code == CLI_OK) {
        pumice_status status = pumice_session_sync(c->run->session, 0, tokens.data, tokens.count);
        if (status != PUMICE_OK && !cli_interrupted())
            code = cli_fail_session(status, c->run->session);
    }
    if (pumice_session_get_timings(c->run->session, &t) == PUMICE_OK) prompt_after = t.n_prompt_tokens;
    if (code == CLI_OK && !cli_interrupted()) code = generate(c, most);
    if (code == CLI_OK && !add_turn(c, "assistant", c->text, c->bytes)) code = cli_no_memory();
    if (code == CLI_OK) {
        turn *last = &c->turns[c->count - 1];
        last->n_prompt = (uint32_t)tokens.count;
        last->n_kept = before ? (uint32_t)(tokens.count - (prompt_after - prompt_before)) : 0;
        last->n_tokens = c->n_tokens;
        last->stop = stop_reason(c, most, room);
    }
    free(tokens.data);
    return code;
}

/* ---- commands ---- */

static void show_help(void)
{
    fputs("/help       show these\n"
          "/reset      begin anew (the system prompt stays)\n"
          "/undo       forget the last turn\n"
          "/save FILE  write the conversation as JSON\n"
          "/quit       end, as Ctrl-D does; Ctrl-C stops a reply\n",
          stderr);
}

static json_t *messages_json(const chat *c)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->count && list; i++) {
        const turn *t = &c->turns[i];
        json_t *row = json_pack("{s:o, s:o}", "role", cli_json_text(t->role), "content",
                                cli_json_text(t->content));
        if (t->stop && row) {
            json_object_set_new(row, "prompt_tokens", json_integer(t->n_prompt));
            json_object_set_new(row, "kept_tokens", json_integer(t->n_kept));
            json_object_set_new(row, "tokens", json_integer(t->n_tokens));
            json_object_set_new(row, "stop", json_string(t->stop));
        }
        json_array_append_new(list, row);
    }
    return list;
}

static int save(const chat *c, const char *path)
{
    int code = CLI_OK;
    cli_output output = { 0 };
    json_t *list = messages_json(c);
    char *text = list ? json_dumps(list, JSON_INDENT(2)) : NULL;
    if (!text) {
        code = cli_no_memory();
    } else if (!path[0]) {
        code = cli_fail("/save needs the name of a file");
    } else {
        code = cli_output_open(path, &output);
        if (code == CLI_OK) fprintf(output.file, "%s\n", text);
        if (code == CLI_OK) code = cli_output_commit(&output);
    }
    cli_output_discard(&output);
    free(text);
    json_decref(list);
    return code;
}

/* A line that begins with a slash and is one of the commands; false for others. */
static bool run_command(chat *c, const char *line, int *out_code)
{
    *out_code = CLI_OK;
    if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0) {
        c->ended = true;
    } else if (strcmp(line, "/help") == 0) {
        show_help();
    } else if (strcmp(line, "/reset") == 0) {
        clear_turns(c, has_system(c));
    } else if (strcmp(line, "/undo") == 0) {
        size_t from = has_system(c), last = c->count;
        while (last > from && strcmp(c->turns[last - 1].role, "user") != 0) last--;
        clear_turns(c, last > from ? last - 1 : from);
    } else if (strncmp(line, "/save", 5) == 0 && (line[5] == ' ' || !line[5])) {
        *out_code = save(c, line + 5 + (line[5] == ' '));
    } else {
        return false;
    }
    return true;
}

/* ---- the conversation ---- */

/* One turn of the user's and the reply. After a failure the turn is forgotten. */
static int take_turn(chat *c, const char *text, size_t bytes)
{
    size_t before = c->count;
    if (!add_turn(c, "user", text, bytes)) return cli_no_memory();
    if (c->terminal) cli_interrupt_work(true);
    int code = reply(c);
    bool stopped = cli_interrupted();
    if (c->terminal) cli_interrupt_work(false);
    if (code != CLI_OK) clear_turns(c, before);
    else if (!c->run->options->json && (c->terminal || !c->bytes || c->text[c->bytes - 1] != '\n'))
        putchar('\n');
    fflush(stdout);
    return stopped && !c->terminal ? CLI_INTERRUPTED : code;
}

static int converse(chat *c)
{
    int code = CLI_OK;
    while (!c->ended) {
        char *line = cli_line_read();
        if (!line) break;
        bool command = line[0] == '/' && run_command(c, line, &code);
        if (line[0] && !command) code = take_turn(c, line, strlen(line));
        if (c->terminal && code != CLI_INTERRUPTED) code = CLI_OK; /* it was said; go on */
        free(line);
        if (code != CLI_OK) break;
    }
    if (c->terminal && !c->ended) putchar('\n');
    return code;
}

static int print_transcript(const chat *c)
{
    return cli_print_json(json_pack(
        "{s:o, s:o, s:o, s:I}", "model", cli_json_text(c->run->options->models[0]), "device",
        cli_json_text(c->run->device_info.name), "messages", messages_json(c), "seed",
        (json_int_t)c->seed));
}

static int talk(chat *c)
{
    const cli_options *o = c->run->options;
    cli_prompt prompt;
    int code = cli_prompt_read(o, &prompt);
    char *text = NULL;
    size_t bytes = 0;
    if (code != CLI_OK) return code;
    if (prompt.text) {
        code = take_turn(c, prompt.text, prompt.bytes);
    } else if (o->once) {
        code = cli_read("-", &text, &bytes);
        if (code == CLI_OK && bytes && text[bytes - 1] == '\n') bytes--;
        if (code == CLI_OK) code = take_turn(c, text, bytes);
    } else {
        code = converse(c);
    }
    free(text);
    cli_prompt_free(&prompt);
    if (code == CLI_OK) code = o->json ? print_transcript(c) : cli_flush();
    return code;
}

static uint64_t random_seed(void)
{
    return (cli_now_ns() ^ ((uint64_t)time(NULL) << 20) ^ (uint64_t)getpid()) & 0xffffffffu;
}

/* What cannot hold a conversation. */
static int check_model(const cli_run *run)
{
    const char *path = run->options->models[0];
    if (cli_has_encoder(run)) {
        return cli_fail("'%s' has an encoder, which answers a text and holds no conversation: see pumice run", path);
    }
    if (run->model_info.tokenizer[0]) return CLI_OK;
    return cli_fail("'%s' comes without a tokenizer, which a conversation needs: put its files "
                    "(tokenizer.json or the like) beside the model",
                    path);
}

static int work(chat *c)
{
    cli_run *run = c->run;
    const cli_options *o = run->options;
    size_t bytes;
    const pumice_sampling sampling = cli_sampling(o, 0);
    run->sampling = &sampling;
    int code = CLI_OK;
    if (o->tokens.count) return cli_usage("a conversation has no --tokens: give a text");
    if (o->template_file) {
        code = cli_read(o->template_file, &c->template_owned, &bytes);
        char *text = code == CLI_OK ? realloc(c->template_owned, bytes + 1) : NULL;
        if (code == CLI_OK && !text) code = cli_no_memory();
        if (text) text[bytes] = '\0', c->template_owned = text;
        c->template_text = c->template_owned;
    }
    if (code == CLI_OK) code = cli_open_device(run);
    if (code == CLI_OK) code = cli_open_model(run, o->models[0]);
    if (code == CLI_OK) code = check_model(run);
    if (code == CLI_OK) code = cli_open_session(run, 0, false);
    if (code != CLI_OK) return code;
    c->seed = o->seed_given ? o->seed : random_seed();
    if (o->system && !add_turn(c, "system", o->system, strlen(o->system))) return cli_no_memory();
    if (c->terminal) cli_interrupt_work(false);
    if (c->terminal && !o->quiet)
        fputs("/help shows the commands, Ctrl-C stops a reply, Ctrl-D ends\n", stderr);
    return talk(c);
}

static int run_chat(const cli_options *options)
{
    cli_run run = { .options = options };
    chat c = { .run = &run };
    c.terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !options->prompt &&
                 !options->prompt_file && !options->once;
    int code = cli_close(&run, work(&c));
    clear_turns(&c, 0);
    free(c.turns);
    free(c.text);
    free(c.template_owned);
    return code;
}

static const cli_option chat_options[] = {
    CLI_ROW_TEXT(NULL, "system", system, "TEXT", "the system prompt"),
    CLI_ROW_FLAG(NULL, "once", once, "all of standard input is one turn"),
    CLI_ROW_TEXT(NULL, "template", template_file, "FILE",
                 "a Jinja template instead of the model's own"),
    CLI_ROW_TEXT(NULL, "variables", variables, "JSON",
                 "more that the template may name, such as {\"enable_thinking\": false}"),
    CLI_ROW_U32("n", "predict", n_predict, "N", 0,
                "tokens of a reply at most (what the context holds)"),
    CLI_ROW_REAL(NULL, "temp", temperature, "T", 100,
                 "temperature; 0 = always the likeliest token (0.8)"),
    CLI_ROW_U32(NULL, "top-k", top_k, "K", 0, "choose among the K likeliest; 0 = all (40)"),
    CLI_ROW_REAL(NULL, "top-p", top_p, "P", 1,
                 "choose among the likeliest that hold P together; 1 = all (0.95)"),
    CLI_ROW_REAL(NULL, "min-p", min_p, "P", 1,
                 "choose among those with P times the best's probability (0.05)"),
    CLI_ROW_SEED("seed of the choice (random)"), CLI_ROW_END
};

static const cli_option prompt_options[] = {
    CLI_ROW_TEXT("p", "prompt", prompt, "TEXT", "one turn, then end"),
    CLI_ROW_TEXT("f", "file", prompt_file, "FILE", "one turn from a file"), CLI_ROW_END
};

const cli_command cli_cmd_chat = {
    .name = "chat",
    .arguments = "MODEL [--system TEXT] [options]",
    .summary = "Talk with a model in its own chat template",
    .details = "On a terminal: a line is a turn, /help shows the commands, Ctrl-C stops a reply,\n"
               "Ctrl-D ends. From a pipe each line is a turn, or all of it with --once.",
    .min_models = 1,
    .max_models = 1,
    .groups = { chat_options, prompt_options, cli_session_options, cli_device_options,
                cli_json_options, cli_model_options },
    .run = run_chat,
};
