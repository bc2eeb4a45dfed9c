/* SPDX-License-Identifier: Apache-2.0
 * The `pumice` program: the table of its commands, and help. Everything else is in the command's
 * own file. */
#include "common.h"

#include <string.h>

static const cli_command *const commands[] = {
    &cli_cmd_run, &cli_cmd_chat,      &cli_cmd_devices, &cli_cmd_info,  &cli_cmd_plan,
    &cli_cmd_tokenize, &cli_cmd_logits, &cli_cmd_score,  &cli_cmd_bench, &cli_cmd_profile,
    &cli_cmd_warmup, &cli_cmd_quantize, &cli_cmd_convert,
};

static const cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < CLI_COUNT(commands); i++) {
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    }
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *best = NULL;
    size_t best_distance = 3;
    for (size_t i = 0; i < CLI_COUNT(commands); i++) {
        size_t d = cli_distance(name, commands[i]->name);
        if (d < best_distance) best = commands[i]->name, best_distance = d;
    }
    if (best) return cli_usage("unknown command '%.60s': did you mean %s?", name, best);
    return cli_usage("unknown command '%.60s' (see pumice --help)", name);
}

static void help(FILE *file)
{
    fputs("usage: pumice COMMAND [arguments]\n\n"
          "Runs transformer language models (GGUF files, Hugging Face directories) on any Vulkan\n"
          "device.\n\ncommands:\n",
          file);
    for (size_t i = 0; i < CLI_COUNT(commands); i++) {
        fprintf(file, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    }
    fputs("\n`pumice COMMAND --help` shows a command's options, `pumice --version` the version.\n"
          "Exit codes: 0 done, 1 failed (one sentence on standard error), 2 wrong usage,\n"
          "130 after Ctrl-C.\n",
          file);
}

static int run_command(const cli_command *command, int argc, char **argv)
{
    cli_options options;
    int code = cli_options_parse(command, argc, argv, &options);
    if (code == CLI_OK && options.help) {
        cli_options_help(command);
        code = cli_flush();
    } else if (code == CLI_OK) {
        cli_interrupt_install();
        if (options.mpi) code = cli_mpi_begin();
        if (code == CLI_OK) code = command->run(&options);
        cli_mpi_end(code);
    }
    cli_options_free(&options);
    return code;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (!name[0]) {
        help(stderr);
        return CLI_USAGE;
    }
    bool wants_help =
        strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0;
    if (wants_help && argc == 2) {
        help(stdout);
        return cli_flush();
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("pumice %s\n", pumice_version());
        return cli_flush();
    }
    if (wants_help) name = argv[2];
    const cli_command *command = find_command(name);
    if (!command && name[0] == '-')
        return cli_usage("'%.60s' stands where a command must (see pumice --help)", name);
    if (!command) return unknown_command(name);
    if (wants_help) {
        cli_options_help(command);
        return cli_flush();
    }
    return run_command(command, argc - 2, argv + 2);
}
