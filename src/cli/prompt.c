/* SPDX-License-Identifier: Apache-2.0
 * From -p, -f and --tokens to the tokens of a prompt. Decides which of them holds and when BOS is
 * added: to text as the model asks, never to ids; no prompt at all is BOS alone. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

int cli_prompt_read(const cli_options *options, cli_prompt *out_prompt)
{
    *out_prompt = (cli_prompt){ 0 };
    int given =
        (options->prompt != NULL) + (options->prompt_file != NULL) + (options->tokens.count > 0);
    if (given > 1) return cli_usage("give only one of -p, -f and --tokens");
    if (options->prompt_file) {
        int code = cli_read(options->prompt_file, &out_prompt->owned, &out_prompt->bytes);
        if (code != CLI_OK) return code;
        out_prompt->text = out_prompt->owned;
        if (out_prompt->bytes && out_prompt->text[out_prompt->bytes - 1] == '\n')
            out_prompt->bytes--;
    } else if (options->prompt) {
        out_prompt->text = options->prompt;
        out_prompt->bytes = strlen(options->prompt);
    }
    return CLI_OK;
}

int cli_prompt_tokens(const cli_run *run, cli_prompt *prompt)
{
    const cli_list *ids = &run->options->tokens;
    for (size_t i = 0; i < ids->count; i++) {
        if (!cli_list_add(&prompt->tokens, ids->data[i])) return cli_no_memory();
    }
    if (ids->count) {
        int code = cli_detokenize(run, ids->data, ids->count, &prompt->owned, &prompt->bytes);
        prompt->text = prompt->owned;
        return code;
    }
    int code = cli_tokenize(run, prompt->text ? prompt->text : "", prompt->bytes,
                            PUMICE_TOKENIZE_ADD_SPECIAL, &prompt->tokens);
    if (code != CLI_OK || prompt->tokens.count) return code;
    if (run->model_info.token_bos < 0) {
        return cli_fail("the prompt is empty and this model has no BOS token: give a prompt with "
                        "-p, -f or --tokens");
    }
    return cli_list_add(&prompt->tokens, run->model_info.token_bos) ? CLI_OK : cli_no_memory();
}

int cli_prefix_read(const cli_options *options, size_t count, int32_t *out_prefix)
{
    const char *text = options->prefix;
    char *end = NULL;
    *out_prefix = PUMICE_PREFIX_MODEL;
    if (!text) return CLI_OK;
    if (strcmp(text, "all") == 0) {
        *out_prefix = (int32_t)count;
        return CLI_OK;
    }
    bool digits = text[0] >= '0' && text[0] <= '9';
    unsigned long value = digits ? strtoul(text, &end, 10) : 0;
    if (!digits || *end || value > INT32_MAX) {
        return cli_usage("--prefix needs a number of tokens or `all`, not '%.60s'", text);
    }
    if (value > count) {
        return cli_usage("--prefix %lu is more than the %zu token%s that are given", value, count,
                         count == 1 ? "" : "s");
    }
    *out_prefix = (int32_t)value;
    return CLI_OK;
}

void cli_prompt_free(cli_prompt *prompt)
{
    free(prompt->owned);
    free(prompt->tokens.data);
    *prompt = (cli_prompt){ 0 };
}
