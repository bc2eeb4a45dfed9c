/* SPDX-License-Identifier: Apache-2.0
 * pumice tokenize: text on standard input to token ids, and with --decode back. Needs no device. */
#include "common.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int print_ids(const cli_run *run, const char *text, size_t bytes)
{
    const cli_options *o = run->options;
    cli_list ids;
    uint32_t flags = (o->bos ? (uint32_t)PUMICE_TOKENIZE_ADD_SPECIAL : 0) |
                     (o->special ? (uint32_t)PUMICE_TOKENIZE_PARSE_SPECIAL : 0);
    int code = cli_tokenize(run, text, bytes, flags, &ids);
    if (code == CLI_OK && o->json) {
        code =
            cli_print_json(json_pack("{s:o, s:o}", "tokens", cli_json_tokens(ids.data, ids.count),
                                     "text", cli_json_text_n(text, bytes)));
    } else if (code == CLI_OK) {
        for (size_t i = 0; i < ids.count; i++) printf("%s%d", i ? " " : "", (int)ids.data[i]);
        putchar('\n');
        code = cli_flush();
    }
    free(ids.data);
    return code;
}

/* Ids separated by blanks, newlines or commas. */
static int parse_ids(const char *text, size_t bytes, cli_list *ids)
{
    for (size_t i = 0; i < bytes;) {
        if (strchr(" \t\r\n,", text[i]) && text[i]) {
            i++;
            continue;
        }
        char word[24];
        size_t n = 0;
        while (i + n < bytes && !strchr(" \t\r\n,", text[i + n])) n++;
        snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), text + i);
        char *end;
        long id = strtol(word, &end, 10);
        if (!n || *end || n >= sizeof word || id < INT32_MIN || id > INT32_MAX) {
            return cli_fail(
                "'%s' is not a token id: --decode reads whole numbers separated by blanks", word);
        }
        if (!cli_list_add(ids, (int32_t)id)) return cli_no_memory();
        i += n;
    }
    return CLI_OK;
}

static int print_text(const cli_run *run, const char *input, size_t input_bytes)
{
    cli_list ids = { 0 };
    char *text = NULL;
    size_t bytes = 0;
    int code = parse_ids(input, input_bytes, &ids);
    if (code == CLI_OK) code = cli_detokenize(run, ids.data, ids.count, &text, &bytes);
    if (code == CLI_OK && run->options->json) {
        code =
            cli_print_json(json_pack("{s:o, s:o}", "tokens", cli_json_tokens(ids.data, ids.count),
                                     "text", cli_json_text_n(text, bytes)));
    } else if (code == CLI_OK) {
        fwrite(text, 1, bytes, stdout);
        if (isatty(STDOUT_FILENO)) putchar('\n');
        code = cli_flush();
    }
    free(ids.data);
    free(text);
    return code;
}

static int run_tokenize(const cli_options *options)
{
    cli_run run = { .options = options };
    char *text = NULL;
    size_t bytes = 0;
    int code = cli_open_vocabulary(&run, options->models[0]);
    if (code == CLI_OK) code = cli_read("-", &text, &bytes);
    if (code == CLI_OK)
        code = options->decode ? print_text(&run, text, bytes) : print_ids(&run, text, bytes);
    free(text);
    return cli_close(&run, code);
}

static const cli_option tokenize_options[] = {
    CLI_ROW_FLAG(NULL, "special", special, "text such as </s> becomes the control token"),
    CLI_ROW_FLAG(NULL, "bos", bos, "add BOS (and EOS) as the model asks"),
    CLI_ROW_FLAG(NULL, "decode", decode, "read ids, print their text"), CLI_ROW_END
};

const cli_command cli_cmd_tokenize = {
    .name = "tokenize",
    .arguments = "MODEL [options] < TEXT",
    .summary = "Turn standard input into token ids, or back with --decode",
    .min_models = 1,
    .max_models = 1,
    .groups = { tokenize_options, cli_json_options, cli_model_options },
    .run = run_tokenize,
};
