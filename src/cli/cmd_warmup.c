/* SPDX-License-Identifier: Apache-2.0
 * pumice warmup: compiles ahead what a model needs on this device, so that the first words of the next run come at
 * once. It runs the passes themselves, a whole batch, a short one and single tokens by both samplers, since some
 * drivers compile only then; what they make is kept by the pipeline cache and by the driver's own. */
#include "common.h"

#include <stdlib.h>

/* A prompt of so many tokens, then a few generated ones. */
static int run_passes(cli_run *run, const cli_list *tokens, size_t count, float temperature)
{
    pumice_generate_params params = { .struct_size = sizeof params,
                                      .max_tokens = 2,
                                      .ignore_eos = 1,
                                      .sampling = { .struct_size = sizeof params.sampling,
                                                    .temperature = temperature,
                                                    .top_k = 40,
                                                    .top_p = 0.95f } };
    uint32_t made = 0;
    pumice_status status = pumice_session_clear(run->session, 0);
    if (status == PUMICE_OK) status = cli_evaluate(run, tokens->data, count);
    if (status == PUMICE_OK) status = pumice_session_generate(run->session, 0, &params, &made);
    if (status != PUMICE_OK) return cli_fail_session(status, run->session);
    return cli_interrupted() ? CLI_INTERRUPTED : CLI_OK;
}

static int report(const cli_run *run, uint64_t begin_ns)
{
    pumice_timings t = { .struct_size = sizeof t };
    double total = (double)(cli_now_ns() - begin_ns) * 1e-6, pipelines;
    pumice_status status = pumice_session_get_timings(run->session, &t);
    if (status != PUMICE_OK) return cli_fail_session(status, run->session);
    pipelines = (double)t.pipeline_ns * 1e-6;
    if (run->options->json) {
        return cli_print_json(json_pack("{s:o, s:o, s:f, s:f, s:f}", "model",
                                        cli_json_text(run->options->models[0]), "device",
                                        cli_json_text(run->device_info.name), "load_ms",
                                        (double)run->load_ns * 1e-6, "pipelines_ms", pipelines, "total_ms",
                                        total));
    }
    printf("warm after %.0f ms: %.0f ms to load, %.0f ms to create pipelines, the rest to run them once\n", total,
           (double)run->load_ns * 1e-6, pipelines);
    return cli_flush();
}

static int work(cli_run *run)
{
    enum { SHORT = 4, ROOM = 8, DEFAULT_BATCH = 256 };
    const cli_options *o = run->options;
    cli_list tokens = { 0 };
    uint64_t begin_ns = cli_now_ns();
    int code = cli_open_device(run);
    if (code == CLI_OK) code = cli_open_model(run, o->models[0]);
    if (code == CLI_OK) code = cli_open_session(run, 0, false);
    if (code == CLI_OK) {
        uint32_t context = cli_context(run), batch = o->n_batch ? o->n_batch : DEFAULT_BATCH;
        if (batch + ROOM > context) batch = context > 2 * ROOM ? context - ROOM : 1;
        code = cli_random_tokens(run, 0, batch, &tokens);
        if (code == CLI_OK) code = run_passes(run, &tokens, tokens.count, 0.8f);
        if (code == CLI_OK) code = run_passes(run, &tokens, tokens.count < SHORT ? tokens.count : SHORT, 0.0f);
    }
    if (code == CLI_OK) code = report(run, begin_ns);
    free(tokens.data);
    return code;
}

static int run_warmup(const cli_options *options)
{
    cli_run run = { .options = options };
    return cli_close(&run, work(&run));
}

const cli_command cli_cmd_warmup = {
    .name = "warmup",
    .arguments = "MODEL [options]",
    .summary = "Compile ahead what a model needs on this device",
    .details = "The next start finds it in the pipeline cache and in the driver's own.",
    .min_models = 1,
    .max_models = 1,
    .groups = { cli_device_options, cli_session_options, cli_json_options, cli_model_options },
    .run = run_warmup,
};
