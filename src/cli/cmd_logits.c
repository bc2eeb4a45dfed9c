/* SPDX-License-Identifier: Apache-2.0
 * pumice logits: writes the logits after every token, float32 little-endian, one row a token, to a
 * file that appears only when it is whole. For comparing with other implementations. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

typedef struct sink {
    FILE *file;
    uint8_t *row; /* one row, little-endian */
    uint64_t rows;
} sink;

static int on_row(void *user, size_t position, const float *logits, uint32_t n_vocab)
{
    sink *s = user;
    (void)position;
    for (uint32_t i = 0; i < n_vocab; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof bits);
        for (int k = 0; k < 4; k++) s->row[(size_t)i * 4 + k] = (uint8_t)(bits >> (8 * k));
    }
    s->rows++;
    return fwrite(s->row, 4, n_vocab, s->file) != n_vocab || cli_interrupted();
}

/* What comes before the tokens: the encoder's input, or the prefix. */
static pumice_status prepare(cli_run *run, int32_t prefix)
{
    const cli_list *input = &run->options->encoder_tokens;
    if (!input->count) return pumice_session_set_prefix(run->session, 0, prefix);
    return pumice_session_encode(run->session, 0, input->data, input->count);
}

static int write_rows(cli_run *run, cli_output *output)
{
    const cli_list *ids = &run->options->tokens;
    int32_t prefix;
    int code = cli_prefix_read(run->options, ids->count, &prefix);
    if (code != CLI_OK) return code;
    sink s = { .file = output->file, .row = malloc((size_t)run->model_info.n_vocab * 4 + 1) };
    if (!s.row) return cli_no_memory();
    pumice_status status = prepare(run, prefix);
    if (status == PUMICE_OK) {
        status = pumice_session_eval_logits(run->session, 0, ids->data, ids->count, on_row, &s);
    }
    free(s.row);
    if (status == PUMICE_ERROR_CANCELLED && !cli_interrupted()) {
        return cli_fail("'%s' cannot be written", run->options->output);
    }
    return status == PUMICE_OK ? CLI_OK : cli_fail_session(status, run->session);
}

static int print_facts(const cli_run *run)
{
    const cli_options *o = run->options;
    if (!o->json) return CLI_OK;
    /* clang-format off */
    return cli_print_json(json_pack(
        "{s:o, s:o, s:o, s:I, s:I, s:s}",
        "model", cli_json_text(o->models[0]),
        "device", cli_json_text(run->device_info.name),
        "file", cli_json_text(o->output),
        "rows", (json_int_t)o->tokens.count,
        "n_vocab", (json_int_t)run->model_info.n_vocab,
        "type", "f32le"));
    /* clang-format on */
}

static int check_encoder(const cli_run *run)
{
    const cli_options *o = run->options;
    bool has = run->model_info.n_encoder_layers > 0;
    if (has && !o->encoder_tokens.count) {
        return cli_usage("this model has an encoder: logits also needs --encoder-tokens IDS");
    }
    if (!has && o->encoder_tokens.count) {
        return cli_usage("this model has no encoder for --encoder-tokens");
    }
    if (has && o->prefix) return cli_usage("a model with an encoder takes no --prefix");
    return cli_check_ids(run, o->encoder_tokens.data, o->encoder_tokens.count);
}

static int work(cli_run *run)
{
    const cli_options *o = run->options;
    cli_output output = { 0 };
    if (!o->tokens.count) return cli_usage("logits needs --tokens IDS");
    if (!o->output) return cli_usage("logits needs -o FILE");
    int code = cli_open_device(run);
    if (code == CLI_OK) code = cli_open_model(run, o->models[0]);
    if (code == CLI_OK) code = check_encoder(run);
    if (code == CLI_OK) code = cli_check_ids(run, o->tokens.data, o->tokens.count);
    if (code == CLI_OK) code = cli_check_context(run, o->tokens.count);
    if (code == CLI_OK) code = cli_check_context(run, o->encoder_tokens.count);
    if (code == CLI_OK) code = cli_output_open(o->output, &output);
    if (code == CLI_OK) code = cli_open_session(run, 0, false);
    if (code == CLI_OK) code = write_rows(run, &output);
    if (code == CLI_OK) code = cli_output_commit(&output);
    cli_output_discard(&output);
    return code == CLI_OK ? print_facts(run) : code;
}

static int run_logits(const cli_options *options)
{
    cli_run run = { .options = options };
    return cli_close(&run, work(&run));
}

static const cli_option logits_options[] = {
    CLI_ROW_LIST(NULL, "tokens", tokens, "IDS", INT32_MIN,
                 "token ids, such as 1,2,3; BOS is not added (with an encoder: the decoder's)"),
    CLI_ROW_LIST(NULL, "encoder-tokens", encoder_tokens, "IDS", INT32_MIN,
                 "the encoder's token ids, where the model has one"),
    CLI_ROW_PREFIX,
    CLI_ROW_TEXT("o", "output", output, "FILE",
                 "where the rows go: float32 little-endian, tokens x vocabulary"),
    CLI_ROW_END
};

const cli_command cli_cmd_logits = {
    .name = "logits",
    .arguments = "MODEL --tokens IDS -o FILE [options]",
    .summary = "Write the logits after every token to a file",
    .min_models = 1,
    .max_models = 1,
    .groups = { logits_options, cli_session_options, cli_device_options, cli_json_options,
                cli_model_options },
    .run = run_logits,
};
