/* SPDX-License-Identifier: Apache-2.0
 * The command line as data: options are rows of tables, a command names the groups it takes, and
 * the one parser and the one help printer below read those tables. Values are checked for their
 * kind and range here; whether a combination makes sense is the command's business. Everything a
 * user can get wrong here ends in exit code 2. */
#ifndef PUMICE_CLI_OPTIONS_H
#define PUMICE_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* exit codes, and CLI_SERVED: an MPI rank has done what there was to do, which is no failure */
enum { CLI_SERVED = -1, CLI_OK = 0, CLI_FAILURE = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 }; /* exit codes */

/* Whole numbers in a growing array: token ids, or the values of an option such as "1,2,3" (then
 * never empty). */
typedef struct cli_list {
    int32_t *data;
    size_t count, capacity;
} cli_list;

/* Appends; false when out of memory. */
bool cli_list_add(cli_list *list, int32_t value);

/* Every value that an option can set, of all commands. Zero means "not given" unless a default is
 * written here. */
typedef struct cli_options {
    bool help, json, quiet, verbose;
    const char **models; /* positional arguments and -m, in order */
    size_t n_models, models_capacity;
    /* device */
    const char *device, *disable, *caps, *quirks; /* device: one, or several with commas between */
    cli_list split;
    bool validation, no_cache, no_self_test;
    uint32_t memory_mib;
    /* session */
    uint32_t kv_type_k, kv_type_v; /* values of pumice_kv_type */
    uint32_t activations;          /* of pumice_activations */
    uint32_t n_ctx, n_batch;
    bool no_fusion, mpi;
    /* prompt */
    const char *prompt, *prompt_file;
    cli_list tokens, encoder_tokens;
    const char *prefix; /* "all" or a number; NULL = the model's own */
    /* generation */
    uint32_t n_predict;
    float temperature, top_p, min_p;
    uint32_t top_k;
    uint64_t seed;
    bool seed_given, ignore_eos, no_echo, timings;
    uint32_t beams, no_repeat_ngram;
    float length_penalty;
    /* chat */
    const char *system, *template_file, *variables;
    bool once;
    /* the rest */
    const char *output;       /* -o FILE, --trace FILE */
    const char *type;         /* convert */
    const char *quant;
    uint32_t output_format;   /* bench: 0 or 1 = md, 2 = json */
    cli_list n_prompt, n_gen; /* bench */
    uint32_t repetitions;
    bool no_warmup, roof;
    bool special, bos, decode; /* tokenize */
    const char *tasks;         /* score */
    uint32_t stride, sentinel;
    uint32_t n_rows;           /* plan */
    bool check, profiles, sizes, encoder;
} cli_options;

typedef enum cli_option_type {
    CLI_FLAG,   /* bool */
    CLI_TEXT,   /* const char * */
    CLI_U32,    /* uint32_t within [min, max] */
    CLI_SEED,   /* uint64_t; also sets seed_given */
    CLI_REAL,   /* float within [min, max] */
    CLI_LIST,   /* cli_list, items within [min, max] */
    CLI_CHOICE, /* uint32_t: 1 + index into `choices`, words separated by '|' */
    CLI_MODEL   /* another model */
} cli_option_type;

typedef struct cli_option {
    const char *short_name; /* without the dash, may have several letters ("ctk"); NULL = none */
    const char *long_name;  /* without the dashes; never NULL */
    cli_option_type type;
    size_t offset;     /* of the value in cli_options */
    const char *value; /* what help calls the value; NULL for flags */
    const char *help;
    double min, max;
    const char *choices;
} cli_option;

#define CLI_AT(field) offsetof(cli_options, field)
/* clang-format off */
#define CLI_ROW_FLAG(s, l, field, help) \
    { s, l, CLI_FLAG, CLI_AT(field), NULL, help, 0, 0, NULL }
#define CLI_ROW_TEXT(s, l, field, value, help) \
    { s, l, CLI_TEXT, CLI_AT(field), value, help, 0, 0, NULL }
#define CLI_ROW_U32(s, l, field, value, min, help) \
    { s, l, CLI_U32, CLI_AT(field), value, help, min, UINT32_MAX, NULL }
#define CLI_ROW_REAL(s, l, field, value, max, help) \
    { s, l, CLI_REAL, CLI_AT(field), value, help, 0, max, NULL }
#define CLI_ROW_LIST(s, l, field, value, min, help) \
    { s, l, CLI_LIST, CLI_AT(field), value, help, min, INT32_MAX, NULL }
#define CLI_ROW_CHOICE(s, l, field, value, choices, help) \
    { s, l, CLI_CHOICE, CLI_AT(field), value, help, 0, 0, choices }
#define CLI_ROW_QUANT \
    CLI_ROW_TEXT(NULL, "quant", quant, "TYPE", \
                 "round the weights while they are loaded, as `pumice quantize` does")
#define CLI_ROW_ACTIVATIONS \
    CLI_ROW_CHOICE(NULL, "activations", activations, "TYPE", "f32|q8", \
                   "f32, or q8: rounded to 8 bits in decoding, where the device gains by it (f32)")
#define CLI_ROW_SEED(help) { "s", "seed", CLI_SEED, CLI_AT(seed), "S", help, 0, 0, NULL }
#define CLI_ROW_PREFIX \
    CLI_ROW_TEXT(NULL, "prefix", prefix, "N", \
                 "the first N tokens, or `all`, see each other in both directions (the model's own)")
#define CLI_ROW_MODEL(help) { "m", "model", CLI_MODEL, 0, "MODEL", help, 0, 0, NULL }
#define CLI_ROW_END { NULL, NULL, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL }
/* clang-format on */

/* Rows that several commands share; each table ends with a row whose long_name is NULL. */
extern const cli_option cli_general_options[]; /* help, quiet, verbose: every command */
extern const cli_option cli_json_options[];
extern const cli_option cli_model_options[];
extern const cli_option cli_device_options[];
extern const cli_option cli_session_options[];
extern const cli_option cli_prompt_options[];

enum { CLI_MAX_GROUPS = 8 };

typedef struct cli_command {
    const char *name;
    const char *arguments; /* of the usage line: "MODEL [-p TEXT]" */
    const char *summary;   /* one line */
    const char *details;   /* more for `pumice CMD --help`; may be NULL */
    size_t min_models, max_models;
    const cli_option *groups[CLI_MAX_GROUPS]; /* besides cli_general_options; NULL-terminated */
    int (*run)(const cli_options *options);   /* returns the exit code */
} cli_command;

/* Fills *out_options (free it in any case) from argv. CLI_OK, or CLI_USAGE or CLI_FAILURE after one
 * sentence. */
int cli_options_parse(const cli_command *command, int argc, char **argv, cli_options *out_options);
void cli_options_free(cli_options *options);

/* Help of one command, to standard output. */
void cli_options_help(const cli_command *command);

/* Number of single-letter changes that make b of a; for suggestions. */
size_t cli_distance(const char *a, const char *b);

#endif
