/* SPDX-License-Identifier: Apache-2.0
 * pumice info: what a model file says of itself, and with --device what it takes on that device.
 * Without --device only the file's head is read, no weight. */
#include "common.h"

#include <string.h>

typedef enum field_kind { TEXT, U32, U64, BYTES, TOKEN, YES_NO } field_kind;

/* Every field of pumice_model_info: its name in JSON, its name for people, its kind. */
static const struct {
    const char *key, *label;
    field_kind kind;
    size_t offset;
} fields[] = {
#define FIELD(name, label, kind)                                                                   \
    {                                                                                              \
#name, label, kind, offsetof(pumice_model_info, name)                                      \
    }
    FIELD(name, "name", TEXT),
    FIELD(architecture, "architecture", TEXT),
    FIELD(file_type, "file type", TEXT),
    FIELD(license, "license", TEXT),
    FIELD(parameters, "parameters", U64),
    FIELD(file_bytes, "file", BYTES),
    FIELD(weight_bytes, "weights on the device", BYTES),
    FIELD(n_layers, "layers", U32),
    FIELD(n_encoder_layers, "encoder layers", U32),
    FIELD(n_embd, "embedding", U32),
    FIELD(n_heads, "heads", U32),
    FIELD(n_kv_heads, "KV heads", U32),
    FIELD(head_dim, "head size", U32),
    FIELD(n_ff, "feed-forward", U32),
    FIELD(n_vocab, "vocabulary", U32),
    FIELD(n_ctx_train, "trained context", U32),
    FIELD(token_bos, "BOS token", TOKEN),
    FIELD(token_eos, "EOS token", TOKEN),
    FIELD(token_unk, "unknown token", TOKEN),
    FIELD(token_start, "decoder's start token", TOKEN),
    FIELD(tied_head, "head tied to embedding", YES_NO),
    FIELD(tokenizer, "tokenizer", TEXT),
    FIELD(rope_scaling, "rotary scaling", TEXT),
    FIELD(left_out, "left out", TEXT),
#undef FIELD
};

static json_t *field_json(const pumice_model_info *info, size_t i)
{
    const void *at = (const char *)info + fields[i].offset;
    switch (fields[i].kind) {
    case TEXT:
        return cli_json_text(at);
    case U32:
        return json_integer(*(const uint32_t *)at);
    case TOKEN:
        return json_integer(*(const int32_t *)at);
    case YES_NO:
        return json_boolean(*(const uint32_t *)at != 0);
    case U64:
    case BYTES:
        break;
    }
    return json_integer((json_int_t) * (const uint64_t *)at);
}

static int print_json(const cli_run *run)
{
    json_t *object = json_object();
    bool good =
        object && json_object_set_new(object, "file", cli_json_text(run->options->models[0])) == 0;
    for (size_t i = 0; good && i < CLI_COUNT(fields); i++) {
        good = json_object_set_new(object, fields[i].key, field_json(&run->model_info, i)) == 0;
    }
    if (good && run->device) {
        good = json_object_set_new(object, "device", cli_json_text(run->device_info.name)) == 0;
    }
    if (good) return cli_print_json(object);
    json_decref(object);
    return cli_no_memory();
}

/* The value for people; "" if there is none to show. */
static const char *field_text(const pumice_model_info *info, size_t i, char *out, size_t capacity)
{
    const void *at = (const char *)info + fields[i].offset;
    char size[32];
    uint64_t n;
    out[0] = '\0';
    switch (fields[i].kind) {
    case TEXT:
        return at;
    case TOKEN:
        if (*(const int32_t *)at >= 0) snprintf(out, capacity, "%d", (int)*(const int32_t *)at);
        return out;
    case YES_NO:
        return info->n_layers == 0 ? "" : *(const uint32_t *)at ? "yes" : "no";
    case U32:
        if (*(const uint32_t *)at) snprintf(out, capacity, "%u", *(const uint32_t *)at);
        return out;
    case U64:
    case BYTES:
        n = *(const uint64_t *)at;
        if (n) {
            snprintf(out, capacity, "%llu (%s)", (unsigned long long)n,
                     fields[i].kind == BYTES ? cli_bytes_text(n, size, sizeof size)
                                             : cli_count_text(n, size, sizeof size));
        }
        return out;
    }
    return out;
}

static int print_text(const cli_run *run)
{
    for (size_t i = 0; i < CLI_COUNT(fields); i++) {
        char buffer[80];
        const char *text = field_text(&run->model_info, i, buffer, sizeof buffer);
        if (!text[0]) continue;
        printf("%-24s", fields[i].label);
        cli_print_plain(stdout, text);
        putchar('\n');
    }
    return cli_flush();
}

static int work(cli_run *run)
{
    const cli_options *o = run->options;
    int code = CLI_OK;
    if (o->device) {
        code = cli_open_device(run);
        if (code == CLI_OK) code = cli_open_model(run, o->models[0]);
    } else {
        code = cli_open_vocabulary(run, o->models[0]);
    }
    if (code != CLI_OK) return code;
    return o->json ? print_json(run) : print_text(run);
}

static int run_info(const cli_options *options)
{
    cli_run run = { .options = options };
    return cli_close(&run, work(&run));
}

const cli_command cli_cmd_info = {
    .name = "info",
    .arguments = "MODEL [options]",
    .summary = "Show what a model file says of itself",
    .details = "With --device the weights are loaded too, and what they take there is shown.",
    .min_models = 1,
    .max_models = 1,
    .groups = { cli_device_options, cli_json_options, cli_model_options },
    .run = run_info,
};
