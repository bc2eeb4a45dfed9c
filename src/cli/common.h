/* SPDX-License-Identifier: Apache-2.0
 * What the commands share: opening device, model and session with their messages, ending with the
 * right exit code, Ctrl-C (common.c), prompts (prompt.c), files that appear whole or not at all,
 * JSON (output.c). Results go to standard output, all else to standard error. */
#ifndef PUMICE_CLI_COMMON_H
#define PUMICE_CLI_COMMON_H

#include <stdio.h>

#include <jansson.h>
#include <pumice/pumice.h>

#include "options.h"

#if defined(__GNUC__)
#define CLI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define CLI_PRINTF(fmt, args)
#endif

#define CLI_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- errors: the one sentence of a failure ---- */

/* Prints "pumice: <sentence>" on standard error and returns CLI_FAILURE (or CLI_USAGE). */
int cli_fail(const char *fmt, ...) CLI_PRINTF(1, 2);
int cli_usage(const char *fmt, ...) CLI_PRINTF(1, 2);
int cli_no_memory(void);
/* Exit code of a library call that failed; after Ctrl-C it is CLI_INTERRUPTED and nothing is
 * printed. */
int cli_fail_error(pumice_status status, const pumice_error *err);
int cli_fail_session(pumice_status status, const pumice_session *session);
/* Flushes standard output; CLI_FAILURE with its sentence if anything could not be written. */
int cli_flush(void);

/* ---- Ctrl-C: the first ends the work cleanly, the second the program ---- */

void cli_interrupt_install(void);
/* The session that Ctrl-C cancels; NULL = none. Set it to NULL before destroying the session. */
void cli_interrupt_watch(pumice_session *session);
bool cli_interrupted(void);
/* In a conversation on a terminal: begins or ends a stretch of work that Ctrl-C ends, and forgets
 * earlier ones. Between such stretches Ctrl-C ends nothing. */
void cli_interrupt_work(bool working);

/* ---- device, model, session ---- */

typedef struct cli_run {
    const cli_options *options;
    pumice_device **devices; /* of --device; the first is `device` */
    pumice_device_info *device_infos;
    uint32_t n_devices;
    pumice_device *device;
    pumice_model *model;
    pumice_session *session;
    const pumice_sampling *sampling; /* of a command that samples, set before the model is opened */
    bool measures; /* decoding, not loading: set before the model is opened */
    pumice_device_info device_info; /* of the first; its name tells all */
    pumice_model_info model_info;
    uint64_t device_ns, load_ns; /* what opening them took */
    bool announced;              /* the device's line was printed */
} cli_run;

/* Each returns CLI_OK, or an exit code after its sentence. Close in any case. */
int cli_open_device(cli_run *run); /* or several */
int cli_one_device(const cli_run *run, const char *what); /* CLI_USAGE if `what` got several */
/* Samples as the options say. */
pumice_sampling cli_sampling(const cli_options *options, uint64_t seed);
int cli_open_model(cli_run *run, const char *path);
int cli_open_vocabulary(cli_run *run, const char *path); /* needs no device */
/* A session with the command line's settings; n_ctx 0 = those. The first one prints the device's
 * line. */
int cli_open_session(cli_run *run, uint32_t n_ctx, bool profile);
void cli_close_session(cli_run *run);
void cli_close_model(cli_run *run);
/* Destroys all. Returns `code`, or CLI_FAILURE if the validation layers complained. */
int cli_close(cli_run *run, int code);

void cli_device_params(const cli_options *options, pumice_device_params *out_params);
const char *cli_device_kind(pumice_device_kind kind);

/* ---- MPI (mpi.c): ranks of one model; without MPI at build time cli_mpi_begin fails ---- */

int cli_mpi_begin(void);
/* Ends it, in any case; aborts the group where a rank could not be reached. */
void cli_mpi_end(int code);
/* `code` if this rank has failed, else the code of another that has: quietly. Once a run. */
int cli_mpi_agree(int code);
uint32_t cli_mpi_rank(void);
uint32_t cli_mpi_ranks(void); /* 1 without MPI */
const pumice_transport *cli_mpi_transport(void); /* NULL without others */

/* ---- progress: a bar on a terminal after 0.2 s, elsewhere one line after a second ---- */

typedef struct cli_progress {
    const char *what; /* "loading" */
    const char *path;
    uint64_t start_ns, last_ns;
    bool quiet, terminal, shown;
} cli_progress;
void cli_progress_begin(cli_progress *progress, const cli_run *run, const char *what,
                        const char *path);
int cli_progress_step(void *progress, uint64_t done, uint64_t total); /* a pumice_progress_fn */
void cli_progress_end(cli_progress *progress);

/* ---- tokens ---- */

int cli_tokenize(const cli_run *run, const char *text, size_t bytes, uint32_t flags,
                 cli_list *out_tokens);
/* CLI_OK if all are of the vocabulary; if so many fit the context of a session with the command
 * line's settings. */
int cli_check_ids(const cli_run *run, const int32_t *tokens, size_t count);
int cli_check_context(const cli_run *run, size_t count);
uint32_t cli_context(const cli_run *run);
bool cli_has_encoder(const cli_run *run);
/* Evaluates tokens in sequence 0: as a prompt, or as what an encoder reads. */
pumice_status cli_evaluate(const cli_run *run, const int32_t *tokens, size_t count);
/* *out_text is the caller's to free; not NUL-terminated. */
int cli_detokenize(const cli_run *run, const int32_t *tokens, size_t count, char **out_text,
                   size_t *out_bytes);
/* `count` tokens of the vocabulary by a seed, appended; never BOS, EOS or the unknown token. */
int cli_random_tokens(const cli_run *run, uint64_t seed, size_t count, cli_list *out_tokens);

/* The prompt of -p, -f or --tokens. Zero-initialise; read it before anything is opened, then make
 * the tokens. */
typedef struct cli_prompt {
    const char *text; /* as given, or what the given ids mean; NULL = none */
    size_t bytes;
    cli_list tokens;
    char *owned;
} cli_prompt;
int cli_prompt_read(const cli_options *options, cli_prompt *out_prompt);
int cli_prompt_tokens(const cli_run *run, cli_prompt *prompt);
void cli_prompt_free(cli_prompt *prompt);
/* Reads --prefix for a prompt of `count` tokens; PUMICE_PREFIX_MODEL if it is not given. */
int cli_prefix_read(const cli_options *options, size_t count, int32_t *out_prefix);

/* ---- files ---- */

#define CLI_PROMPT "> "

/* A line of standard input without its end, the caller's to free; NULL at its end. On a terminal
 * with CLI_PROMPT, with editing and history where libedit was there at build time. */
char *cli_line_read(void);

/* All of a file, or of standard input when path is "-". */
int cli_read(const char *path, char **out_data, size_t *out_bytes);

/* A file that appears under its name only when it is complete. */
typedef struct cli_output {
    FILE *file;
    char *path, *temporary;
} cli_output;
int cli_output_open(const char *path, cli_output *out_output);
int cli_output_commit(cli_output *output);
void cli_output_discard(cli_output *output); /* fine after commit and on a zeroed one */

/* ---- JSON and text ---- */

/* Prints a value on standard output and frees it; NULL means that memory ran out while it was made.
 */
int cli_print_json(json_t *value);
json_t *cli_json_text(const char *text); /* bytes that are not UTF-8 become U+FFFD */
json_t *cli_json_text_n(const char *text, size_t bytes);
json_t *cli_json_tokens(const int32_t *tokens, size_t count);
/* Prints text from a file or driver with control characters made harmless. */
void cli_print_plain(FILE *file, const char *text);

/* "3.56 GiB", "6.74 B" */
const char *cli_bytes_text(uint64_t bytes, char *out, size_t capacity);
const char *cli_count_text(uint64_t count, char *out, size_t capacity);

uint64_t cli_now_ns(void);
uint64_t cli_random(uint64_t *state); /* the next of the sequence that a seed begins */

/* ---- the commands ---- */
extern const cli_command cli_cmd_run, cli_cmd_chat, cli_cmd_devices, cli_cmd_info, cli_cmd_plan,
    cli_cmd_tokenize, cli_cmd_logits, cli_cmd_bench, cli_cmd_warmup, cli_cmd_profile,
    cli_cmd_quantize, cli_cmd_convert, cli_cmd_score;

#endif
