/* SPDX-License-Identifier: Apache-2.0
 * What the commands share: the one sentence of a failure, Ctrl-C, and opening device, model and
 * session. Decides what is said on standard error and which exit code a status becomes; knows no
 * command. */
#include "common.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- errors ---- */

static int say(int code, const char *fmt, va_list args) CLI_PRINTF(2, 0);
static int say(int code, const char *fmt, va_list args)
{
    char text[1200];
    vsnprintf(text, sizeof text, fmt, args);
    fflush(stdout); /* what was printed before comes before, where both go to one place */
    fputs("pumice: ", stderr);
    cli_print_plain(stderr, text);
    fputc('\n', stderr);
    return code;
}

int cli_fail(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int code = say(CLI_FAILURE, fmt, args);
    va_end(args);
    return code;
}

int cli_usage(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int code = say(CLI_USAGE, fmt, args);
    va_end(args);
    return code;
}

int cli_no_memory(void) { return cli_fail("out of memory"); }

static int fail_status(pumice_status status, const char *text)
{
    if (cli_interrupted()) return CLI_INTERRUPTED;
    return cli_fail("%s", text && text[0] ? text : pumice_status_name(status));
}

int cli_fail_error(pumice_status status, const pumice_error *err)
{
    return fail_status(status, err->text);
}

int cli_fail_session(pumice_status status, const pumice_session *session)
{
    return fail_status(status, pumice_session_error(session));
}

/* ---- Ctrl-C ---- */

/* A signal handler has no other way to its data than static variables. They are written on the main
 * thread alone: the handler runs there too, so that it never meets a session that is just being
 * destroyed. */
static struct {
    pthread_t main_thread;
    pumice_session *volatile session;
    volatile sig_atomic_t count;
    volatile sig_atomic_t working; /* there is something to end cleanly */
    volatile sig_atomic_t idle;    /* a conversation waits for the user: nothing to end */
} interrupt;

static void on_interrupt(int signal_number)
{
    if (!pthread_equal(pthread_self(),
                       interrupt.main_thread)) { /* a driver's thread got it: pass it on */
        pthread_kill(interrupt.main_thread, signal_number);
        return;
    }
    if (interrupt.idle) {
        /* the prompt again: with the key a terminal forgets what it has not shown yet */
        static const char hint[] = "\n(Ctrl-D ends)\n" CLI_PROMPT;
        if (write(STDERR_FILENO, hint, sizeof hint - 1) < 0) return;
        return;
    }
    interrupt.count = interrupt.count + 1;
    if (interrupt.count > 1 || !interrupt.working) _exit(CLI_INTERRUPTED);
    pumice_session *session = interrupt.session;
    if (session) pumice_session_cancel(session);
}

void cli_interrupt_install(void)
{
    struct sigaction action = { .sa_flags = SA_RESTART };
    action.sa_handler = on_interrupt;
    sigemptyset(&action.sa_mask);
    interrupt.main_thread = pthread_self();
    sigaction(SIGINT, &action, NULL);
}

void cli_interrupt_watch(pumice_session *session) { interrupt.session = session; }

void cli_interrupt_work(bool working)
{
    interrupt.idle = !working;
    interrupt.count = 0;
}

bool cli_interrupted(void) { return interrupt.count > 0; }

uint64_t cli_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- device ---- */

const char *cli_device_kind(pumice_device_kind kind)
{
    static const char *const names[] = { "other", "integrated", "discrete", "virtual", "software" };
    return kind >= 0 && (size_t)kind < CLI_COUNT(names) ? names[kind] : "other";
}

/* The library's log: warnings, and validation's messages where they are wanted. A failure's own
 * sentence is not among what is shown unless the user asked for more. */
static void on_log(void *user, pumice_log_level level, const char *text)
{
    static const char *const names[] = { "", "error", "warning", "info", "debug" };
    const cli_options *options = user;
    bool shown = options->verbose ? level <= PUMICE_LOG_INFO
                                  : level == PUMICE_LOG_WARNING
                                        || (options->validation && level == PUMICE_LOG_ERROR);
    if (!shown) return;
    fprintf(stderr, "%s: ", level >= 0 && (size_t)level < CLI_COUNT(names) ? names[level] : "log");
    cli_print_plain(stderr, text);
    fputc('\n', stderr);
}

void cli_device_params(const cli_options *options, pumice_device_params *out_params)
{
    *out_params =
        (pumice_device_params){ .struct_size = sizeof *out_params,
                                .select = options->device,
                                .disable = options->disable,
                                .caps = options->caps,
                                .quirks = options->quirks,
                                .no_cache = options->no_cache,
                                .no_self_test = options->no_self_test,
                                .validation = options->validation,
                                .memory_budget_bytes = (uint64_t)options->memory_mib << 20,
                                .log = on_log,
                                /* only read; the public field is not const */
                                .log_user = (void *)(uintptr_t)options };
}

static void name_layers(const char *of, uint32_t first, uint32_t count)
{
    if (count) fprintf(stderr, "%slayers %u to %u, ", of, first, first + count - 1);
}

static void announce_part(const pumice_device_info *info, const pumice_model_part *part, bool has_encoder)
{
    char size[32];
    if (cli_mpi_ranks() > 1) fprintf(stderr, "rank %u: ", cli_mpi_rank());
    fputs("device: ", stderr);
    cli_print_plain(stderr, info->name);
    fputs(" (", stderr);
    cli_print_plain(stderr, info->driver);
    fputs("): ", stderr);
    name_layers("encoder ", part->first_encoder_layer, part->n_encoder_layers);
    name_layers(has_encoder ? "decoder " : "", part->first_layer, part->n_layers);
    fprintf(stderr, "%s of weights\n", cli_bytes_text(part->weight_bytes, size, sizeof size));
}

/* Says once which device does the work: only when work begins, so that a failure before is the only
 * line. */
static void announce_device(cli_run *run)
{
    const pumice_device_info *info = &run->device_info;
    if (run->announced || run->options->quiet) return;
    run->announced = true;
    pumice_model_part part = { .struct_size = sizeof part };
    bool several = run->n_devices > 1 || cli_mpi_ranks() > 1;
    for (uint32_t i = 0; several && pumice_model_get_part(run->model, i, &part); i++) {
        announce_part(&run->device_infos[i], &part, cli_has_encoder(run));
    }
    if (several) return;
    const char *select = run->options->device;
    bool chosen = select && strcmp(select, "auto") != 0;
    fputs("device: ", stderr);
    cli_print_plain(stderr, info->name);
    fputs(" (", stderr);
    cli_print_plain(stderr, info->driver);
    fputs(info->kind == PUMICE_DEVICE_SOFTWARE && !chosen
              ? "): software on the CPU, because no usable GPU was found\n"
              : ")\n",
          stderr);
}

/* Opens the device that `select` names, as the next of the run's. */
static int open_next(cli_run *run, const char *select)
{
    pumice_device_params params;
    pumice_error err = { 0 };
    uint32_t n = run->n_devices;
    pumice_device **devices = realloc(run->devices, (n + 1) * sizeof *devices);
    if (devices) run->devices = devices;
    pumice_device_info *infos = realloc(run->device_infos, (n + 1) * sizeof *infos);
    if (infos) run->device_infos = infos;
    if (!devices || !infos) return cli_no_memory();
    cli_device_params(run->options, &params);
    params.select = select;
    pumice_status status = pumice_device_create(&params, &devices[n], &err);
    if (status != PUMICE_OK) return cli_fail_error(status, &err);
    run->n_devices++;
    infos[n] = (pumice_device_info){ .struct_size = sizeof infos[n] };
    status = pumice_device_get_info(devices[n], &infos[n]);
    return status == PUMICE_OK ? CLI_OK
                               : cli_fail("the device tells nothing about itself: %s",
                                          pumice_status_name(status));
}

/* The first device's facts, with the names of all. */
static void sum_up_devices(cli_run *run)
{
    size_t used = 0;
    run->device = run->devices[0];
    run->device_info = run->device_infos[0];
    char *name = run->device_info.name;
    for (uint32_t i = 0; i < run->n_devices && used < sizeof run->device_info.name; i++) {
        used += (size_t)snprintf(name + used, sizeof run->device_info.name - used, "%s%s",
                                 i ? " + " : "", run->device_infos[i].name);
    }
}

/* Opens what --device lists, or this rank's of it, counted round. */
static int open_listed(cli_run *run, const char *list)
{
    uint32_t pieces = 1, number = 0;
    for (const char *p = list; *p; p++) pieces += *p == ',';
    for (const char *p = list; p; number++) {
        size_t length = strcspn(p, ",");
        char *select = malloc(length + 1);
        int code = CLI_OK;
        if (!select) return cli_no_memory();
        memcpy(select, p, length);
        select[length] = '\0';
        bool mine = cli_mpi_ranks() < 2 || cli_mpi_rank() % pieces == number;
        if (!length) code = cli_usage("--device needs a device on both sides of a comma, not '%s'", list);
        else if (mine) code = open_next(run, select);
        free(select);
        if (code != CLI_OK) return code;
        p = p[length] ? p + length + 1 : NULL;
    }
    return CLI_OK;
}

int cli_open_device(cli_run *run)
{
    const char *list = run->options->device;
    interrupt.working = 1;
    uint64_t begin = cli_now_ns();
    int code = list ? open_listed(run, list) : open_next(run, NULL);
    run->device_ns = cli_now_ns() - begin;
    if (code == CLI_OK) sum_up_devices(run);
    if (code == CLI_OK && cli_interrupted()) code = CLI_INTERRUPTED;
    return cli_mpi_agree(code);
}

int cli_one_device(const cli_run *run, const char *what)
{
    if (run->n_devices <= 1 && cli_mpi_ranks() < 2) return CLI_OK;
    return cli_usage("%s works on one device: give one to --device", what);
}

/* ---- model ---- */

static void draw_bar(const char *what, uint64_t done, uint64_t total)
{
    enum { WIDTH = 30 };
    char bar[WIDTH + 1], a[32], b[32];
    double part = total ? (double)done / (double)total : 0;
    for (int i = 0; i < WIDTH; i++) bar[i] = i < (int)(part * WIDTH) ? '#' : '.';
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r%s [%s] %3.0f %%  %s of %s\033[K", what, bar, part * 100,
            cli_bytes_text(done, a, sizeof a), cli_bytes_text(total, b, sizeof b));
    fflush(stderr);
}

void cli_progress_begin(cli_progress *p, const cli_run *run, const char *what, const char *path)
{
    *p = (cli_progress){ .what = what,
                         .path = path,
                         .start_ns = cli_now_ns(),
                         .quiet = run->options->quiet || cli_mpi_rank() > 0,
                         .terminal = isatty(STDERR_FILENO) };
}

void cli_progress_end(cli_progress *p)
{
    if (p->terminal && p->shown) fputs("\r\033[K", stderr);
}

int cli_progress_step(void *user, uint64_t done, uint64_t total)
{
    cli_progress *p = user;
    uint64_t now = cli_now_ns();
    if (cli_interrupted()) return 1;
    if (p->quiet) return 0;
    if (p->terminal && now - p->start_ns > 200000000u && now - p->last_ns > 100000000u) {
        draw_bar(p->what, done, total);
        p->last_ns = now;
        p->shown = true;
    } else if (!p->terminal && !p->shown && now - p->start_ns > 1000000000u) {
        char size[32];
        fprintf(stderr, "%s: ", p->what);
        cli_print_plain(stderr, p->path);
        fprintf(stderr, " (%s)\n", cli_bytes_text(total, size, sizeof size));
        p->shown = true;
    }
    return 0;
}

static pumice_session_params session_params(const cli_run *run)
{
    const cli_options *o = run->options;
    return (pumice_session_params){ .struct_size = sizeof(pumice_session_params),
                                    .n_ctx_tokens = o->n_ctx,
                                    .n_batch_tokens = o->n_batch,
                                    .n_sequences = o->beams,
                                    .kv_type_k = (pumice_kv_type)o->kv_type_k,
                                    .kv_type_v = (pumice_kv_type)o->kv_type_v,
                                    .no_fusion = o->no_fusion,
                                    .activations = (pumice_activations)o->activations };
}

/* What a rank other than 0 does with the model. */
static int serve(cli_run *run)
{
    pumice_error err = { 0 };
    announce_device(run);
    pumice_status status = pumice_model_serve(run->model, &err);
    return status == PUMICE_OK ? CLI_SERVED : cli_fail_error(status, &err);
}

static int load(cli_run *run, const char *path, bool vocab_only)
{
    pumice_error err = { 0 };
    cli_progress p;
    const cli_list *split = &run->options->split;
    cli_progress_begin(&p, run, "loading", path);
    pumice_session_params session = session_params(run);
    pumice_model_params params = { .struct_size = sizeof params,
                                   .path = path,
                                   .progress = cli_progress_step,
                                   .progress_user = &p,
                                   .session = vocab_only ? NULL : &session,
                                   .sampling = run->sampling,
                                   .in_place = run->measures ? PUMICE_IN_PLACE_NEVER : PUMICE_IN_PLACE_AT_FIRST,
                                   .quant = run->options->quant,
                                   .vocab_only = vocab_only };
    if (!vocab_only && (run->n_devices > 1 || split->count)) {
        uint32_t n = run->n_devices * cli_mpi_ranks();
        params.devices = run->devices;
        params.n_devices = run->n_devices;
        params.split = split->count ? (const uint32_t *)split->data : NULL; /* all are above 0 */
        if (split->count && split->count != n) {
            if (cli_mpi_rank() > 0) return CLI_USAGE; /* rank 0 says so */
            return cli_usage("--split needs a number for each of the %u devices, not %zu", n,
                             split->count);
        }
    }
    params.transport = cli_mpi_transport();
    pumice_status status = pumice_model_load(run->device, &params, &run->model, &err);
    cli_progress_end(&p);
    if (status != PUMICE_OK && cli_mpi_rank() > 0) return CLI_FAILURE; /* rank 0 has the same sentence */
    if (status != PUMICE_OK) return cli_fail_error(status, &err);
    if (params.transport && cli_mpi_rank() > 0) return serve(run);
    run->load_ns = cli_now_ns() - p.start_ns;
    run->model_info = (pumice_model_info){ .struct_size = sizeof run->model_info };
    status = pumice_model_get_info(run->model, &run->model_info);
    if (status != PUMICE_OK)
        return cli_fail("the model tells nothing about itself: %s", pumice_status_name(status));
    return cli_interrupted() ? CLI_INTERRUPTED : CLI_OK;
}

pumice_sampling cli_sampling(const cli_options *options, uint64_t seed)
{
    return (pumice_sampling){ .struct_size = sizeof(pumice_sampling),
                              .temperature = options->temperature,
                              .top_k = options->top_k,
                              .top_p = options->top_p,
                              .min_p = options->min_p,
                              .seed = seed };
}

int cli_open_model(cli_run *run, const char *path) { return load(run, path, false); }

int cli_open_vocabulary(cli_run *run, const char *path) { return load(run, path, true); }

/* ---- session ---- */

int cli_open_session(cli_run *run, uint32_t n_ctx, bool profile)
{
    pumice_session_params params = session_params(run);
    params.profile = profile;
    if (n_ctx) params.n_ctx_tokens = n_ctx;
    pumice_error err = { 0 };
    pumice_status status = pumice_session_create(run->model, &params, &run->session, &err);
    if (status != PUMICE_OK) return cli_fail_error(status, &err);
    cli_interrupt_watch(run->session);
    announce_device(run);
    return cli_interrupted() ? CLI_INTERRUPTED : CLI_OK;
}

void cli_close_session(cli_run *run)
{
    cli_interrupt_watch(NULL);
    pumice_session_destroy(&run->session);
}

void cli_close_model(cli_run *run)
{
    cli_close_session(run);
    pumice_model_destroy(&run->model);
}

int cli_close(cli_run *run, int code)
{
    cli_close_model(run);
    /* counted late, since the layers also speak while things are destroyed */
    uint64_t messages = 0;
    for (uint32_t i = 0; i < run->n_devices; i++) {
        messages += pumice_device_validation_count(run->devices[i]);
        pumice_device_destroy(&run->devices[i]);
    }
    free(run->devices);
    free(run->device_infos);
    run->devices = NULL;
    run->device_infos = NULL;
    run->device = NULL;
    run->n_devices = 0;
    if (code == CLI_SERVED) code = CLI_OK;
    if (code == CLI_OK && cli_interrupted()) return CLI_INTERRUPTED;
    if (code == CLI_OK && messages) {
        return cli_fail("Vulkan's validation layers gave %llu message%s",
                        (unsigned long long)messages, messages == 1 ? "" : "s");
    }
    return code;
}

/* ---- tokens ---- */

int cli_tokenize(const cli_run *run, const char *text, size_t bytes, uint32_t flags,
                 cli_list *out_tokens)
{
    *out_tokens = (cli_list){ 0 };
    size_t capacity = bytes / 2 + 16, count = 0;
    if (!run->model_info.tokenizer[0]) {
        return cli_fail("'%s' comes without a tokenizer: give token ids with --tokens",
                        run->options->models[0]);
    }
    for (;;) { /* twice at most: the first call says how many there are */
        int32_t *data = realloc(out_tokens->data, capacity * sizeof *data);
        if (!data) return cli_no_memory();
        out_tokens->data = data;
        out_tokens->capacity = capacity;
        pumice_status status =
            pumice_tokenize(run->model, text, bytes, flags, data, capacity, &count);
        if (status != PUMICE_OK) {
            return cli_fail("the text cannot be turned into tokens: %s",
                            pumice_status_name(status));
        }
        if (count <= capacity) break;
        capacity = count;
    }
    out_tokens->count = count;
    return CLI_OK;
}

/* A token that no vocabulary of the command line has: which file says so. */
static int outside(const cli_run *run, int32_t token, size_t number)
{
    const char *path = run->options->models[0];
    uint32_t n_vocab = run->model_info.n_vocab;
    struct stat s;
    if (!run->model_info.n_layers) { /* a tokenizer by itself */
        return cli_fail("token %d (number %zu) is not in the vocabulary of %u of '%s'", (int)token,
                        number, n_vocab, path);
    }
    return cli_fail("token %d (number %zu) is not in the vocabulary of %u (vocab_size of '%s%s'): "
                    "give ids below it, or take the tokenizer that belongs to the model",
                    (int)token, number, n_vocab, path,
                    stat(path, &s) == 0 && S_ISDIR(s.st_mode) ? "/config.json" : "");
}

int cli_check_ids(const cli_run *run, const int32_t *tokens, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= run->model_info.n_vocab) {
            return outside(run, tokens[i], i);
        }
    }
    return CLI_OK;
}

uint32_t cli_context(const cli_run *run)
{
    enum { DEFAULT_CONTEXT = 4096 }; /* as pumice_session_params has it */
    uint32_t train = run->model_info.n_ctx_train;
    if (run->options->n_ctx) return run->options->n_ctx;
    return train && train < DEFAULT_CONTEXT ? train : DEFAULT_CONTEXT;
}

bool cli_has_encoder(const cli_run *run) { return run->model_info.n_encoder_layers > 0; }

pumice_status cli_evaluate(const cli_run *run, const int32_t *tokens, size_t count)
{
    return cli_has_encoder(run) ? pumice_session_encode(run->session, 0, tokens, count)
                                : pumice_session_sync(run->session, 0, tokens, count);
}

int cli_check_context(const cli_run *run, size_t count)
{
    uint32_t context = cli_context(run);
    if (count <= context) return CLI_OK;
    return cli_fail("%zu tokens do not fit the context of %u: %s", count, context,
                    context < run->model_info.n_ctx_train
                        ? "ask for a larger one with -c, or give fewer"
                        : "give fewer");
}

int cli_detokenize(const cli_run *run, const int32_t *tokens, size_t count, char **out_text,
                   size_t *out_bytes)
{
    *out_text = NULL;
    *out_bytes = 0;
    size_t capacity = count * 8 + 16, bytes = 0;
    int code = cli_check_ids(run, tokens, count); /* the call below gives no sentence */
    if (code != CLI_OK || !run->model_info.tokenizer[0]) return code;
    for (;;) {
        char *text = realloc(*out_text, capacity);
        if (!text) return cli_no_memory();
        *out_text = text;
        pumice_status status =
            pumice_detokenize(run->model, tokens, count, 0, text, capacity, &bytes);
        if (status != PUMICE_OK)
            return cli_fail("the tokens have no text: %s", pumice_status_name(status));
        if (bytes <= capacity) break;
        capacity = bytes;
    }
    *out_bytes = bytes;
    return CLI_OK;
}

/* SplitMix64: G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number
 * generators", 2014. */
uint64_t cli_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int cli_random_tokens(const cli_run *run, uint64_t seed, size_t count, cli_list *out_tokens)
{
    const pumice_model_info *info = &run->model_info;
    if (info->n_vocab < 4)
        return cli_fail("a vocabulary of %u is too small for random tokens", info->n_vocab);
    while (count-- > 0) {
        int32_t token = (int32_t)(cli_random(&seed) % info->n_vocab);
        while (token == info->token_bos || token == info->token_eos || token == info->token_unk) {
            token = (int32_t)(((uint32_t)token + 1) % info->n_vocab);
        }
        if (!cli_list_add(out_tokens, token)) return cli_no_memory();
    }
    return CLI_OK;
}
