/* SPDX-License-Identifier: Apache-2.0
 * pumice plan: prints the plan of one pass, for a device that is here or for a built-in profile of
 * one that is not. Decides only which of the two --device means; the text is the library's. */
#include "common.h"

#include <pumice/pumice_profile.h>
#include <stdlib.h>
#include <string.h>

static int on_text(void *user, const char *text, size_t bytes)
{
    (void)user;
    return fwrite(text, 1, bytes, stdout) != bytes;
}

static int print_profiles(const cli_options *options)
{
    json_t *array = json_array();
    const char *profile;
    for (size_t i = 0; (profile = pumice_profile_name(i)); i++) {
        if (!options->json) puts(profile);
        else if (json_array_append_new(array, cli_json_text(profile)) != 0) {
            json_decref(array);
            return cli_no_memory();
        }
    }
    if (options->json) return cli_print_json(array);
    json_decref(array);
    return cli_flush();
}

/* The profiles that `device` names, by the names they have here, with commas between; NULL in
 * *out_names if one of them is none. */
static int find_profiles(const char *device, char **out_names)
{
    size_t capacity = device ? 32 * (strlen(device) + 2) : 1, used = 0;
    char *names = *out_names = NULL, *copy = device ? strdup(device) : NULL, *rest = copy;
    if (!device) return CLI_OK;
    if (copy) names = calloc(1, capacity);
    bool known = names != NULL;
    for (char *next; known && rest; rest = next) {
        next = strchr(rest, ',');
        if (next) *next++ = '\0';
        const char *profile = pumice_profile_find(rest);
        known = profile && strlen(profile) < capacity - used - 1;
        if (known) used += (size_t)sprintf(names + used, "%s%s", used ? "," : "", profile);
    }
    free(copy);
    if (known) *out_names = names;
    else free(names);
    return names ? CLI_OK : cli_no_memory();
}

static int work(cli_run *run, char *profiles)
{
    const cli_options *o = run->options;
    pumice_plan_params params = { .struct_size = sizeof params,
                                  .path = o->models[0],
                                  .profile = profiles,
                                  .split = (const uint32_t *)o->split.data, /* all above 0 */
                                  .n_split = (uint32_t)o->split.count,
                                  .n_rows = o->n_rows,
                                  .n_ctx_tokens = o->n_ctx,
                                  .kv_type_k = (pumice_kv_type)o->kv_type_k,
                                  .kv_type_v = (pumice_kv_type)o->kv_type_v,
                                  .no_fusion = o->no_fusion,
                                  .activations = (pumice_activations)o->activations,
                                  .check = o->check,
                                  .sizes = o->sizes,
                                  .encoder = o->encoder,
                                  .disable = o->disable,
                                  .caps = o->caps,
                                  .quirks = o->quirks,
                                  .quant = o->quant,
                                  .format = o->json ? PUMICE_PLAN_JSON : PUMICE_PLAN_TEXT };
    pumice_error err = { 0 };
    if (o->sizes && o->device && strchr(o->device, ',')) {
        return cli_usage("--sizes is about one device: it tells how many of them it takes");
    }
    if (!params.profile) {
        int code = cli_open_device(run);
        if (code != CLI_OK) return code;
        params.devices = run->devices;
        params.n_devices = run->n_devices;
    }
    pumice_status status = pumice_plan(&params, on_text, NULL, &err);
    if (status == PUMICE_ERROR_CANCELLED) return cli_flush(); /* on_text could not write */
    return status == PUMICE_OK ? cli_flush() : cli_fail_error(status, &err);
}

static int run_plan(const cli_options *options)
{
    if (options->profiles) return print_profiles(options);
    cli_run run = { .options = options };
    char *profiles;
    int code = find_profiles(options->device, &profiles);
    if (code == CLI_OK) code = work(&run, profiles);
    free(profiles);
    return cli_close(&run, code);
}

static const cli_option plan_options[] = {
    CLI_ROW_TEXT("dev", "device", device, "D",
                 "a device as in `pumice run`, or a profile's name such as rtx-4090 (auto);\n"
                 "                               several, such as navi31,intel-a770: the cut, and each plan"),
    CLI_ROW_LIST(NULL, "split", split, "N,N...", 1,
                 "how many layers each device gets (by memory and speed)"),
    CLI_ROW_U32(NULL, "rows", n_rows, "N", 0, "tokens of the pass: 1 = decode (1)"),
    CLI_ROW_U32("c", "ctx-size", n_ctx, "CTX", 0, "context in tokens (the model's, at most 4096)"),
    CLI_ROW_CHOICE("ctk", "cache-type-k", kv_type_k, "TYPE", "f32|f16|q8_0|q4_0",
                   "type of the K cache: f32, f16, q8_0 or q4_0 (f16)"),
    CLI_ROW_CHOICE("ctv", "cache-type-v", kv_type_v, "TYPE", "f32|f16|q8_0|q4_0",
                   "type of the V cache: f32, f16, q8_0 or q4_0 (f16)"),
    CLI_ROW_ACTIVATIONS,
    CLI_ROW_FLAG(NULL, "no-fusion", no_fusion, "plan without merging operations"),
    CLI_ROW_QUANT,
    CLI_ROW_FLAG(NULL, "encoder", encoder, "the encoder's pass, of a model that has one"),
    CLI_ROW_FLAG(NULL, "check", check, "also prove the plan by a second algorithm"),
    CLI_ROW_FLAG(NULL, "sizes", sizes,
                 "no plan, but parameters, memory by format, the bound on tokens/s, devices"),
    CLI_ROW_FLAG(NULL, "profiles", profiles, "list the built-in device profiles"),
    CLI_ROW_TEXT(NULL, "disable", disable, "CAPS",
                 "capabilities not to use: sub,f16,dot8,coop,timeline"),
    CLI_ROW_TEXT(NULL, "caps", caps, "LIMITS",
                 "limits: subgroup=16,shared=16K,range=64M,transfer=1,repack=1,host-import=1,fast-dot8=1"),
    CLI_ROW_TEXT(NULL, "quirk", quirks, "NAME=on|off",
                 "act upon a driver bug, or not, whatever the driver: see pumice devices -v"),
    CLI_ROW_END
};

const cli_command cli_cmd_plan = {
    .name = "plan",
    .arguments = "MODEL [--device D | --device PROFILE] [options]",
    .summary = "Print the plan of one pass: steps, barriers, memory",
    .details = "With a profile no device is needed. The same arguments print the same text.\n"
               "MODEL may be the config.json of a Hugging Face model alone.",
    .min_models = 1,
    .max_models = 1,
    .groups = { plan_options, cli_json_options, cli_model_options },
    .run = run_plan,
};
