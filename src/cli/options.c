/* SPDX-License-Identifier: Apache-2.0
 * The option parser and the help printer. Knows kinds of values and the shared rows, no command. An
 * option may be written -x VALUE, --name VALUE or --name=VALUE; short names may have several
 * letters (-ctk), so flags are never bundled. What follows "--" is a model. The value of an option
 * is the next argument whatever it looks like. */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

const cli_option cli_general_options[] = {
    CLI_ROW_FLAG("h", "help", help, "show this help"),
    CLI_ROW_FLAG("q", "quiet", quiet, "no device line, no progress"),
    CLI_ROW_FLAG("v", "verbose", verbose, "the library's log on standard error"), CLI_ROW_END
};

const cli_option cli_json_options[] = {
    CLI_ROW_FLAG(NULL, "json", json, "print the result as JSON"), CLI_ROW_END
};

const cli_option cli_model_options[] = { CLI_ROW_MODEL("the model file, instead of the argument"),
                                         CLI_ROW_END };

const cli_option cli_device_options[] = {
    CLI_ROW_TEXT("dev", "device", device, "D",
                 "auto, cpu, an index or UUID of `pumice devices`, or a part of a name (auto);\n"
                 "                               several, such as 0,1: each gets a part of the layers"),
    CLI_ROW_LIST(NULL, "split", split, "N,N...", 1,
                 "how many layers each device gets (by memory and measured speed)"),
    CLI_ROW_TEXT(NULL, "disable", disable, "CAPS",
                 "capabilities not to use: sub,f16,dot8,coop,timeline"),
    CLI_ROW_TEXT(NULL, "caps", caps, "LIMITS",
                 "limits: subgroup=16,shared=16K,range=64M,transfer=1,repack=1,host-import=1,fast-dot8=1"),
    CLI_ROW_TEXT(NULL, "quirk", quirks, "NAME=on|off",
                 "act upon a driver bug, or not, whatever the driver: see pumice devices -v"),
    CLI_ROW_U32(NULL, "memory", memory_mib, "MIB", 1, "use at most this much device memory"),
    CLI_ROW_FLAG(NULL, "no-cache", no_cache, "neither read nor write the pipeline cache"),
    CLI_ROW_FLAG(NULL, "no-self-test", no_self_test,
                 "trust the driver: compare no kernel with the reference at its first use"),
    CLI_ROW_FLAG(NULL, "validation", validation,
                 "Vulkan's validation layers on; a message is a failure"),
    CLI_ROW_END
};

const cli_option cli_session_options[] = {
    CLI_ROW_U32("c", "ctx-size", n_ctx, "CTX", 0, "context in tokens (the model's, at most 4096)"),
    CLI_ROW_U32("b", "batch-size", n_batch, "BATCH", 0, "tokens computed at once (256)"),
    CLI_ROW_CHOICE("ctk", "cache-type-k", kv_type_k, "TYPE", "f32|f16|q8_0|q4_0",
                   "type of the K cache: f32, f16, q8_0 or q4_0 (f16)"),
    CLI_ROW_CHOICE("ctv", "cache-type-v", kv_type_v, "TYPE", "f32|f16|q8_0|q4_0",
                   "type of the V cache: f32, f16, q8_0 or q4_0 (f16)"),
    CLI_ROW_ACTIVATIONS,
    CLI_ROW_FLAG(NULL, "no-fusion", no_fusion, "plan without merging operations"),
    CLI_ROW_QUANT,
    CLI_ROW_FLAG(NULL, "mpi", mpi, "under mpirun: each process runs a part of the layers"),
    CLI_ROW_END
};

const cli_option cli_prompt_options[] = {
    CLI_ROW_TEXT("p", "prompt", prompt, "TEXT", "the prompt"),
    CLI_ROW_TEXT("f", "file", prompt_file, "FILE",
                 "the prompt from a file (- = standard input), less one final newline"),
    CLI_ROW_LIST(NULL, "tokens", tokens, "IDS", INT32_MIN,
                 "the prompt as token ids, such as 1,2,3"),
    CLI_ROW_END
};

/* ---- suggestions ---- */

size_t cli_distance(const char *a, const char *b)
{
    size_t row[64];
    size_t na = strlen(a), nb = strlen(b);
    if (na >= CLI_COUNT(row) || nb >= CLI_COUNT(row)) return CLI_COUNT(row);
    for (size_t j = 0; j <= nb; j++) row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[nb];
}

/* All rows of a command, one after the other: start with *group = -1 and *row = NULL. */
static const cli_option *next_row(const cli_command *command, int *group, const cli_option *row)
{
    if (row && row[1].long_name) return row + 1;
    ++*group;
    if (*group == 0) return cli_general_options;
    return command->groups[*group - 1]; /* never an empty group; the NULL at the end is the end */
}

/* How far a name is from what was given; 0 for a beginning of it or a longer form ("temperature"
 * for temp). */
static size_t name_distance(const char *given, const char *name)
{
    size_t shorter = strlen(given) < strlen(name) ? strlen(given) : strlen(name);
    if (shorter >= 3 && strncmp(given, name, shorter) == 0) return 0;
    return cli_distance(given, name);
}

static int unknown_option(const cli_command *command, const char *given, size_t length)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1),
             given);
    const char *bare = name + strspn(name, "-"), *best = NULL, *dash = "-";
    size_t best_distance = 3;
    int group = -1;
    for (const cli_option *o = NULL; (o = next_row(command, &group, o));) {
        size_t d = name_distance(bare, o->long_name), limit = strlen(o->long_name) / 2 + 1;
        if (d < best_distance && d < limit) best = o->long_name, best_distance = d, dash = "--";
        if (!o->short_name || strlen(o->short_name) < 2) continue;
        d = cli_distance(bare, o->short_name);
        if (d < best_distance && d < 2) best = o->short_name, best_distance = d, dash = "-";
    }
    if (!best) return cli_usage("unknown option '%s' (see pumice %s --help)", name, command->name);
    return cli_usage("unknown option '%s': did you mean %s%s?", name, dash, best);
}

/* ---- values ---- */

bool cli_list_add(cli_list *list, int32_t value)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity * 2 + 64;
        int32_t *data = realloc(list->data, capacity * sizeof *data);
        if (!data) return false;
        list->data = data;
        list->capacity = capacity;
    }
    list->data[list->count++] = value;
    return true;
}

/* A whole number that fills the text up to `end`; false otherwise. */
static bool parse_integer(const char *text, const char *end, long long *out)
{
    char *stop = NULL;
    if (text == end || *text == ' ' || *text == '+') return false;
    errno = 0;
    *out = strtoll(text, &stop, 10);
    return stop == end && errno == 0;
}

static int parse_list(const cli_option *o, const char *name, const char *text, cli_list *list)
{
    for (const char *p = text;; p++) {
        const char *end = p + strcspn(p, ",");
        long long value;
        if (!parse_integer(p, end, &value) || (double)value < o->min || (double)value > o->max) {
            return cli_usage("%s needs whole numbers separated by commas%s, not '%s'", name,
                             o->min == 0 ? ", none below 0" : "", text);
        }
        if (!cli_list_add(list, (int32_t)value)) return cli_no_memory();
        if (!*end) return CLI_OK;
        p = end;
    }
}

static int parse_choice(const cli_option *o, const char *name, const char *text, uint32_t *out)
{
    size_t length = strlen(text);
    uint32_t index = 1;
    for (const char *p = o->choices;; p++, index++) {
        size_t n = strcspn(p, "|");
        if (n == length && strncmp(p, text, n) == 0) {
            *out = index;
            return CLI_OK;
        }
        p += n;
        if (!*p) return cli_usage("%s needs one of %s, not '%s'", name, o->choices, text);
    }
}

static int parse_real(const cli_option *o, const char *name, const char *text, float *out)
{
    char *stop = NULL;
    double value = strtod(text, &stop);
    if (stop == text || *stop || !(value >= o->min) || !(value <= o->max) || !isfinite(value)) {
        return cli_usage("%s needs a number from %g to %g, not '%s'", name, o->min, o->max, text);
    }
    *out = (float)value;
    return CLI_OK;
}

static int add_model(cli_options *options, const char *text)
{
    if (options->n_models == options->models_capacity) {
        size_t capacity = options->models_capacity * 2 + 4;
        const char **models = realloc(options->models, capacity * sizeof *models);
        if (!models) return cli_no_memory();
        options->models = models;
        options->models_capacity = capacity;
    }
    options->models[options->n_models++] = text;
    return CLI_OK;
}

static int set_value(const cli_option *o, const char *name, const char *text, cli_options *options)
{
    void *at = (char *)options + o->offset;
    long long value;
    switch (o->type) {
    case CLI_FLAG:
        *(bool *)at = true;
        return CLI_OK;
    case CLI_TEXT:
        *(const char **)at = text;
        return CLI_OK;
    case CLI_U32:
        if (!parse_integer(text, text + strlen(text), &value) || (double)value < o->min ||
            (double)value > o->max) {
            return cli_usage("%s needs a whole number from %.0f to %.0f, not '%s'", name, o->min,
                             o->max, text);
        }
        *(uint32_t *)at = (uint32_t)value;
        return CLI_OK;
    case CLI_SEED:
        if (!parse_integer(text, text + strlen(text), &value) || value < 0) {
            return cli_usage("%s needs a whole number from 0 to 9223372036854775807, not '%s'",
                             name, text);
        }
        *(uint64_t *)at = (uint64_t)value;
        options->seed_given = true;
        return CLI_OK;
    case CLI_REAL:
        return parse_real(o, name, text, at);
    case CLI_LIST:
        return parse_list(o, name, text, at);
    case CLI_CHOICE:
        return parse_choice(o, name, text, at);
    case CLI_MODEL:
        return add_model(options, text);
    }
    return CLI_OK;
}

/* ---- the parser ---- */

/* The row that `given` (with its dashes, `length` bytes) names. One dash finds short names, two
 * find long ones. */
static const cli_option *find_option(const cli_command *command, const char *given, size_t length)
{
    size_t dashes = given[1] == '-' ? 2 : 1;
    int group = -1;
    for (const cli_option *o = NULL; (o = next_row(command, &group, o));) {
        const char *name = dashes == 2 ? o->long_name : o->short_name;
        if (name && strlen(name) == length - dashes &&
            strncmp(name, given + dashes, length - dashes) == 0)
            return o;
    }
    return NULL;
}

static int parse_option(const cli_command *command, int argc, char **argv, int *at,
                        cli_options *options)
{
    const char *given = argv[*at],
               *equals = strncmp(given, "--", 2) == 0 ? strchr(given, '=') : NULL;
    size_t length = equals ? (size_t)(equals - given) : strlen(given);
    const cli_option *o = find_option(command, given, length);
    if (!o) return unknown_option(command, given, length);
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)length, given);
    if (o->type == CLI_FLAG) {
        return equals ? cli_usage("%s takes no value", name) : set_value(o, name, NULL, options);
    }
    if (equals) return set_value(o, name, equals + 1, options);
    if (*at + 1 >= argc) return cli_usage("%s needs a value (%s)", name, o->value);
    return set_value(o, name, argv[++*at], options);
}

int cli_options_parse(const cli_command *command, int argc, char **argv, cli_options *out_options)
{
    *out_options =
        (cli_options){ .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f };
    bool only_models = false;
    for (int i = 0; i < argc; i++) {
        int code;
        if (!only_models && strcmp(argv[i], "--") == 0) {
            only_models = true;
            continue;
        }
        if (only_models || argv[i][0] != '-' || !argv[i][1]) code = add_model(out_options, argv[i]);
        else code = parse_option(command, argc, argv, &i, out_options);
        if (code != CLI_OK) return code;
        if (out_options->help) return CLI_OK; /* help wins over what is missing */
    }
    if (out_options->profiles || out_options->roof) return CLI_OK; /* needs no model */
    if (out_options->n_models < command->min_models) {
        return cli_usage("%s needs a model file (see pumice %s --help)", command->name,
                         command->name);
    }
    if (out_options->n_models > command->max_models) {
        return cli_usage(command->max_models
                             ? "%s takes one model, so '%s' is one argument too many"
                             : "%s takes no model, so '%s' is one argument too many",
                         command->name, out_options->models[command->max_models]);
    }
    return CLI_OK;
}

void cli_options_free(cli_options *options)
{
    free(options->models);
    free(options->split.data);
    free(options->tokens.data);
    free(options->encoder_tokens.data);
    free(options->n_prompt.data);
    free(options->n_gen.data);
    *options = (cli_options){ 0 };
}

/* ---- help ---- */

void cli_options_help(const cli_command *command)
{
    printf("usage: pumice %s%s%s\n\n%s.\n", command->name, command->arguments[0] ? " " : "",
           command->arguments, command->summary);
    if (command->details) printf("%s\n", command->details);
    printf("\noptions:\n");
    int group = -1;
    for (const cli_option *o = NULL; (o = next_row(command, &group, o));) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s--%s%s%s", o->short_name ? "-" : "",
                 o->short_name ? o->short_name : "", o->short_name ? ", " : "", o->long_name,
                 o->value ? " " : "", o->value ? o->value : "");
        printf("  %-28s %s\n", left, o->help);
    }
}
