/* SPDX-License-Identifier: Apache-2.0
 * pumice run: continues a prompt and streams the text. Decides what is printed and when; standard
 * output holds the text alone (or one JSON object). On a terminal a newline ends the text; into a
 * pipe not a byte is added. */
#include "common.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DEFAULT_PREDICT = 256 };

typedef struct generation {
    const cli_options *options;
    cli_prompt prompt;
    int32_t prefix;
    cli_list tokens; /* generated */
    char *text;      /* generated, for JSON */
    size_t bytes, capacity;
    bool no_memory, ended_on_newline, ended_by_eos;
    bool ids_only; /* the model has no tokenizer: ids are shown instead of text */
    int32_t eos;
    uint64_t seed;
    float beam_score; /* with --beams */
    uint64_t begin_ns, first_token_ns; /* of the command; from there to the first token */
} generation;

/* Keeps text for JSON; false when out of memory. */
static bool keep(generation *g, const char *text, size_t bytes)
{
    if (g->capacity - g->bytes < bytes) {
        size_t capacity = g->capacity * 2 + bytes + 1024;
        char *larger = realloc(g->text, capacity);
        if (!larger) return false;
        g->text = larger;
        g->capacity = capacity;
    }
    memcpy(g->text + g->bytes, text, bytes);
    g->bytes += bytes;
    return true;
}

static void show(generation *g, const char *text, size_t bytes)
{
    if (!bytes) return;
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
    g->ended_on_newline = text[bytes - 1] == '\n';
}

static int on_token(void *user, int32_t token, const char *text, size_t bytes)
{
    generation *g = user;
    if (!g->first_token_ns) g->first_token_ns = cli_now_ns() - g->begin_ns;
    if (token >= 0) { /* -1: the last bytes of the text, no token */
        if (!cli_list_add(&g->tokens, token)) g->no_memory = true;
        g->ended_by_eos = token == g->eos && !g->options->ignore_eos;
    }
    if (!g->options->json && g->ids_only && token >= 0) printf("%d ", (int)token);
    else if (!g->options->json) show(g, text, bytes);
    else if (bytes && !keep(g, text, bytes)) g->no_memory = true;
    return g->no_memory || cli_interrupted() || ferror(stdout);
}

/* A seed that differs from run to run, short enough to type again. */
static uint64_t random_seed(void)
{
    uint32_t seed = 0;
    FILE *file = fopen("/dev/urandom", "rb");
    bool good = file && fread(&seed, sizeof seed, 1, file) == 1;
    if (file) fclose(file);
    if (good) return seed;
    return (cli_now_ns() ^ ((uint64_t)time(NULL) << 20) ^ (uint64_t)getpid()) & 0xffffffffu;
}

static double per_second(uint64_t count, uint64_t ns)
{
    return ns ? (double)count * 1e9 / (double)ns : 0;
}

static const char *stop_reason(const cli_run *run, const generation *g)
{
    uint32_t want = run->options->n_predict ? run->options->n_predict : (uint32_t)DEFAULT_PREDICT;
    if (cli_interrupted()) return "cancelled";
    if (g->tokens.count >= want) return "length";
    if (g->ended_by_eos) return "eos";
    size_t before = cli_has_encoder(run) ? 1 : g->prompt.tokens.count;
    if (before + g->tokens.count >= cli_context(run)) return "context";
    return "end"; /* another token that ends a reply: only the library knows them all */
}

static int print_json(const cli_run *run, const generation *g)
{
    pumice_timings t = { .struct_size = sizeof t };
    pumice_memory m = { .struct_size = sizeof m };
    pumice_session_get_timings(run->session, &t);
    pumice_session_get_memory(run->session, &m);
    json_t *beam_score =
        run->options->beams ? json_real((double)g->beam_score) : json_null();
    /* clang-format off */
    json_t *timings = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:f, s:f}",
        "n_prompt_tokens", (json_int_t)t.n_prompt_tokens,
        "n_decode_tokens", (json_int_t)t.n_decode_tokens,
        "load_ns", (json_int_t)run->load_ns,
        "prompt_ns", (json_int_t)t.prompt_ns,
        "decode_ns", (json_int_t)t.decode_ns,
        "plan_ns", (json_int_t)t.plan_ns,
        "pipeline_ns", (json_int_t)t.pipeline_ns,
        "device_ns", (json_int_t)run->device_ns,
        "model_open_ns", (json_int_t)t.model_open_ns,
        "model_upload_ns", (json_int_t)t.model_upload_ns,
        "model_ahead_ns", (json_int_t)t.model_ahead_ns,
        "in_place_bytes", (json_int_t)t.in_place_bytes,
        "copied_bytes", (json_int_t)t.copied_bytes,
        "repacked_device_bytes", (json_int_t)t.repacked_device_bytes,
        "repacked_host_bytes", (json_int_t)t.repacked_host_bytes,
        "rounded_bytes", (json_int_t)t.rounded_bytes,
        "first_pass_ns", (json_int_t)t.first_pass_ns,
        "self_test_ns", (json_int_t)t.self_test_ns,
        "first_token_ns", (json_int_t)g->first_token_ns,
        "submit_cpu_ns", (json_int_t)t.submit_cpu_ns,
        "prompt_tokens_per_second", per_second(t.n_prompt_tokens, t.prompt_ns),
        "decode_tokens_per_second", per_second(t.n_decode_tokens, t.decode_ns));
    json_t *memory = json_pack(
        "{s:I, s:I, s:I, s:I}",
        "weights_bytes", (json_int_t)m.weights_bytes,
        "kv_bytes", (json_int_t)m.kv_bytes,
        "activation_bytes", (json_int_t)m.activation_bytes,
        "step_bytes", (json_int_t)m.step_bytes);
    return cli_print_json(json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:I, s:o, s:o}",
        "model", cli_json_text(run->options->models[0]),
        "device", cli_json_text(run->device_info.name),
        "prompt", cli_json_text_n(g->prompt.text ? g->prompt.text : "", g->prompt.bytes),
        "prompt_tokens", cli_json_tokens(g->prompt.tokens.data, g->prompt.tokens.count),
        "tokens", cli_json_tokens(g->tokens.data, g->tokens.count),
        "text", cli_json_text_n(g->text ? g->text : "", g->bytes),
        "stop", stop_reason(run, g),
        "beam_score", beam_score,
        "seed", (json_int_t)g->seed,
        "timings", timings,
        "memory", memory));
    /* clang-format on */
}

/* How the weights got to the devices. */
static void print_weights(const pumice_timings *t)
{
    const struct {
        uint64_t bytes;
        const char *how;
    } rows[] = { { t->in_place_bytes, "used in the file" },
                 { t->copied_bytes, "copied" },
                 { t->repacked_device_bytes, "repacked on the device" },
                 { t->repacked_host_bytes, "repacked on the host" },
                 { t->rounded_bytes, "rounded on the device" } };
    const char *between = "weights: ";
    char size[32];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!rows[i].bytes) continue;
        fprintf(stderr, "%s%s %s", between, cli_bytes_text(rows[i].bytes, size, sizeof size), rows[i].how);
        between = ", ";
    }
    fputc('\n', stderr);
}

static void print_timings(const cli_run *run, const generation *g)
{
    pumice_timings t = { .struct_size = sizeof t };
    if (pumice_session_get_timings(run->session, &t) != PUMICE_OK) return;
    fprintf(stderr, "seed: %llu\n", (unsigned long long)g->seed);
    fprintf(stderr,
            "first token after %.1f ms: device %.1f, model %.1f, upload %.1f, pipelines ahead %.1f, plans %.1f, "
            "pipelines %.1f, self-test %.1f, first pass %.1f\n",
            (double)g->first_token_ns / 1e6, (double)run->device_ns / 1e6,
            (double)t.model_open_ns / 1e6, (double)t.model_upload_ns / 1e6, (double)t.model_ahead_ns / 1e6,
            (double)t.plan_ns / 1e6,
            (double)t.pipeline_ns / 1e6, (double)t.self_test_ns / 1e6, (double)t.first_pass_ns / 1e6);
    print_weights(&t);
    fprintf(stderr, "prompt: %9.1f ms, %6u tokens, %9.2f tokens/s\n", (double)t.prompt_ns / 1e6,
            t.n_prompt_tokens, per_second(t.n_prompt_tokens, t.prompt_ns));
    fprintf(stderr, "decode: %9.1f ms, %6u tokens, %9.2f tokens/s, host %.1f us/token\n",
            (double)t.decode_ns / 1e6, t.n_decode_tokens,
            per_second(t.n_decode_tokens, t.decode_ns),
            t.n_decode_tokens ? (double)t.submit_cpu_ns / 1e3 / t.n_decode_tokens : 0);
}

/* The prompt is what the text continues, or what an encoder reads. */
static pumice_status evaluate_prompt(cli_run *run, const generation *g)
{
    const cli_list *tokens = &g->prompt.tokens;
    pumice_status status = PUMICE_OK;
    if (!cli_has_encoder(run)) status = pumice_session_set_prefix(run->session, 0, g->prefix);
    return status == PUMICE_OK ? cli_evaluate(run, tokens->data, tokens->count) : status;
}

/* The text of all tokens, less that of the first n: a token's blank may depend on what is before. */
static int text_after(const cli_run *run, const cli_list *all, size_t n, char **out_text,
                      size_t *out_bytes)
{
    char *before;
    size_t bytes;
    int code = cli_detokenize(run, all->data, n, &before, &bytes);
    if (code == CLI_OK) code = cli_detokenize(run, all->data, all->count, out_text, out_bytes);
    if (code == CLI_OK && bytes <= *out_bytes) {
        *out_bytes -= bytes;
        memmove(*out_text, *out_text + bytes, *out_bytes);
    }
    free(before);
    return code;
}

static void show_prompt(const cli_run *run, generation *g)
{
    const cli_options *o = run->options;
    if (!o->json && !o->no_echo && !cli_has_encoder(run)) show(g, g->prompt.text, g->prompt.bytes);
}

/* What the search found is shown as if it had been streamed. */
static int show_found(cli_run *run, generation *g, const int32_t *tokens, size_t count)
{
    cli_list all = { 0 };
    char *text = NULL;
    size_t bytes = 0, before = cli_has_encoder(run) ? 0 : g->prompt.tokens.count;
    bool fine = true;
    for (size_t i = 0; i < before; i++) fine = fine && cli_list_add(&all, g->prompt.tokens.data[i]);
    for (size_t i = 0; i < count; i++) fine = fine && cli_list_add(&all, tokens[i]);
    int code = fine ? text_after(run, &all, before, &text, &bytes) : cli_no_memory();
    if (code == CLI_OK) show_prompt(run, g);
    for (size_t i = 0; i < count && code == CLI_OK; i++) on_token(g, tokens[i], "", 0);
    if (code == CLI_OK && bytes) on_token(g, -1, text, bytes);
    free(all.data);
    free(text);
    return code;
}

static int search_beams(cli_run *run, generation *g, pumice_status *out_status)
{
    const cli_options *o = run->options;
    size_t capacity = o->n_predict ? o->n_predict : (size_t)DEFAULT_PREDICT, count = 0;
    int32_t *tokens = malloc(capacity * sizeof *tokens);
    uint32_t *seqs = malloc(o->beams * sizeof *seqs);
    int code = tokens && seqs ? CLI_OK : cli_no_memory();
    for (uint32_t i = 0; code == CLI_OK && i < o->beams; i++) seqs[i] = i;
    pumice_beam_params p = { .struct_size = sizeof p,
                             .max_tokens = (uint32_t)capacity,
                             .length_penalty = o->length_penalty,
                             .no_repeat_ngram = o->no_repeat_ngram,
                             .ignore_eos = o->ignore_eos };
    if (code == CLI_OK) {
        *out_status = pumice_session_beam_search(run->session, seqs, o->beams, &p, tokens, capacity,
                                                 &count, &g->beam_score);
        if (*out_status == PUMICE_OK) code = show_found(run, g, tokens, count);
    }
    free(tokens);
    free(seqs);
    return code;
}

/* Evaluates the prompt and generates. Ctrl-C is no failure here: what was said stays said. */
static int generate(cli_run *run, generation *g)
{
    const cli_options *o = run->options;
    pumice_generate_params params = { .struct_size = sizeof params,
                                      .ignore_eos = o->ignore_eos,
                                      .token = on_token,
                                      .user = g,
                                      .max_tokens =
                                          o->n_predict ? o->n_predict : (uint32_t)DEFAULT_PREDICT };
    params.sampling = cli_sampling(o, g->seed);
    pumice_status status = evaluate_prompt(run, g);
    if (status == PUMICE_OK && !cli_interrupted()) {
        uint32_t count;
        if (!o->beams) show_prompt(run, g);
        int code = o->beams ? search_beams(run, g, &status) : CLI_OK;
        if (code != CLI_OK) return code;
        if (!o->beams) status = pumice_session_generate(run->session, 0, &params, &count);
    }
    if (!o->json && isatty(STDOUT_FILENO) && !g->ended_on_newline) putchar('\n');
    if (g->no_memory) return cli_no_memory();
    if (status != PUMICE_OK && !cli_interrupted()) return cli_fail_session(status, run->session);
    int code = o->json ? print_json(run, g) : cli_flush();
    if (code == CLI_OK && o->timings) print_timings(run, g);
    return code;
}

static int work(cli_run *run, generation *g)
{
    const cli_options *o = run->options;
    if (!o->beams && (o->length_penalty != 0 || o->no_repeat_ngram)) {
        return cli_usage("--length-penalty and --no-repeat-ngram need --beams N");
    }
    const pumice_sampling sampling = cli_sampling(o, 0);
    if (!o->beams) run->sampling = &sampling;
    int code = cli_prompt_read(o, &g->prompt);
    if (code == CLI_OK) code = cli_open_device(run);
    if (code == CLI_OK) code = cli_open_model(run, o->models[0]);
    if (code == CLI_OK) code = cli_prompt_tokens(run, &g->prompt);
    if (code == CLI_OK) code = cli_check_context(run, g->prompt.tokens.count);
    if (code == CLI_OK && o->prefix && cli_has_encoder(run)) {
        code = cli_usage("a model with an encoder takes no --prefix");
    }
    if (code == CLI_OK) code = cli_prefix_read(o, g->prompt.tokens.count, &g->prefix);
    if (code == CLI_OK) code = cli_open_session(run, 0, false);
    if (code != CLI_OK) return code;
    g->eos = run->model_info.token_eos;
    g->ids_only = !run->model_info.tokenizer[0];
    g->seed = o->seed_given ? o->seed : random_seed();
    return generate(run, g);
}

static int run_run(const cli_options *options)
{
    cli_run run = { .options = options };
    generation g = { .options = options, .begin_ns = cli_now_ns() };
    int code = cli_close(&run, work(&run, &g));
    cli_prompt_free(&g.prompt);
    free(g.tokens.data);
    free(g.text);
    return code;
}

static const cli_option run_options[] = {
    CLI_ROW_U32("n", "predict", n_predict, "N", 0,
                "tokens to generate, at most what the context holds (256)"),
    CLI_ROW_REAL(NULL, "temp", temperature, "T", 100,
                 "temperature; 0 = always the likeliest token (0.8)"),
    CLI_ROW_U32(NULL, "top-k", top_k, "K", 0, "choose among the K likeliest; 0 = all (40)"),
    CLI_ROW_REAL(NULL, "top-p", top_p, "P", 1,
                 "choose among the likeliest that hold P together; 1 = all (0.95)"),
    CLI_ROW_REAL(NULL, "min-p", min_p, "P", 1,
                 "choose among those with P times the best's probability (0.05)"),
    CLI_ROW_U32(NULL, "beams", beams, "N", 1,
                "keep the N likeliest continuations, show the best at the end; no sampling"),
    CLI_ROW_REAL(NULL, "length-penalty", length_penalty, "X", 100,
                 "of beams: their score is divided by length ^ X (1)"),
    CLI_ROW_U32(NULL, "no-repeat-ngram", no_repeat_ngram, "N", 0,
                "of beams: no run of N tokens comes twice (off)"),
    CLI_ROW_PREFIX,
    CLI_ROW_SEED("seed of the choice (random; --timings tells it)"),
    CLI_ROW_FLAG(NULL, "ignore-eos", ignore_eos, "go on after the end-of-text token"),
    CLI_ROW_FLAG(NULL, "no-echo", no_echo, "do not print the prompt before its continuation"),
    CLI_ROW_FLAG(NULL, "timings", timings, "print the seed and the times on standard error"),
    CLI_ROW_END
};

const cli_command cli_cmd_run = {
    .name = "run",
    .arguments = "MODEL [-p TEXT | -f FILE | --tokens IDS] [options]",
    .summary = "Continue a prompt and stream the text",
    .details = "Without a prompt the model begins with its BOS token. BOS is added to a text as\n"
               "the model asks, never to ids. The first Ctrl-C ends the text cleanly, the second\n"
               "the program.",
    .min_models = 1,
    .max_models = 1,
    .groups = { cli_prompt_options, run_options, cli_session_options, cli_device_options,
                cli_json_options, cli_model_options },
    .run = run_run,
};
