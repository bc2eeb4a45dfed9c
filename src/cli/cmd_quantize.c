/* SPDX-License-Identifier: Apache-2.0
 * pumice convert and pumice quantize: a model to one GGUF file, as it is or with fewer bits, and
 * what that costs per tensor. */
#include "common.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct table {
    pumice_quantized_tensor *rows;
    size_t count, capacity;
    bool no_memory;
} table;

static void on_tensor(void *user, const pumice_quantized_tensor *tensor)
{
    table *t = user;
    if (t->count == t->capacity) {
        size_t capacity = 2 * t->capacity + 64;
        pumice_quantized_tensor *rows = realloc(t->rows, capacity * sizeof *rows);
        if (!rows) {
            t->no_memory = true;
            return;
        }
        t->rows = rows;
        t->capacity = capacity;
    }
    t->rows[t->count++] = *tensor;
}

/* Nothing was lost: copied, or widened. */
static bool is_exact(const pumice_quantized_tensor *r)
{
    return strcmp(r->type_before, r->type_after) == 0 || strcmp(r->type_after, "F32") == 0;
}

typedef struct totals {
    uint64_t before, after;
    size_t changed, fallbacks;
} totals;

static totals add_up(const table *t)
{
    totals sum = { 0 };
    for (size_t i = 0; i < t->count; i++) {
        sum.before += t->rows[i].bytes_before;
        sum.after += t->rows[i].bytes_after;
        sum.changed += !is_exact(&t->rows[i]);
        sum.fallbacks += t->rows[i].fallback;
    }
    return sum;
}

static void print_rows(const table *t)
{
    printf("%-32s %16s  %-4s to %-5s %9s %10s\n", "tensor", "shape", "", "", "rms error",
           "max error");
    for (size_t i = 0; i < t->count; i++) {
        const pumice_quantized_tensor *r = &t->rows[i];
        char shape[48];
        if (is_exact(r)) continue;
        snprintf(shape, sizeof shape, "%llu x %llu", (unsigned long long)r->rows,
                 (unsigned long long)r->cols);
        cli_print_plain(stdout, r->name);
        printf("%*s %16s  %-4s to %-5s %8.3f %% %10.3g%s\n",
               (int)(strlen(r->name) < 32 ? 32 - strlen(r->name) : 0), "", shape, r->type_before,
               r->type_after, 100 * r->rms_error, r->max_error,
               r->fallback ? "  (its rows are no whole blocks of the type asked for)" : "");
    }
}

static int print_table(const cli_run *run, const table *t, uint64_t ns)
{
    totals sum = add_up(t);
    char before[32], after[32];
    if (sum.changed) print_rows(t);
    printf("%zu of %zu tensors rounded, the others copied; %s to %s in %.1f s", sum.changed,
           t->count, cli_bytes_text(sum.before, before, sizeof before),
           cli_bytes_text(sum.after, after, sizeof after), (double)ns / 1e9);
    if (run->device) {
        fputs(" on ", stdout);
        cli_print_plain(stdout, run->device_info.name);
    }
    putchar('\n');
    return cli_flush();
}

static int print_json(const cli_run *run, const char *type, const table *t, uint64_t ns)
{
    const cli_options *o = run->options;
    totals sum = add_up(t);
    json_t *rows = json_array();
    for (size_t i = 0; rows && i < t->count; i++) {
        const pumice_quantized_tensor *r = &t->rows[i];
        /* clang-format off */
        json_t *row = json_pack(
            "{s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:b}",
            "name", cli_json_text(r->name),
            "type_before", r->type_before,
            "type_after", r->type_after,
            "rows", (json_int_t)r->rows,
            "cols", (json_int_t)r->cols,
            "bytes_before", (json_int_t)r->bytes_before,
            "bytes_after", (json_int_t)r->bytes_after,
            "rms_error", r->rms_error,
            "max_error", r->max_error,
            "fallback", (int)r->fallback);
        /* clang-format on */
        if (!row || json_array_append_new(rows, row) != 0) {
            json_decref(rows);
            rows = NULL;
        }
    }
    if (!rows) return cli_no_memory();
    /* clang-format off */
    return cli_print_json(json_pack(
        "{s:o, s:o, s:o, s:o, s:I, s:I, s:f, s:o}",
        "model", cli_json_text(o->models[0]),
        "file", cli_json_text(o->models[1]),
        "type", type ? cli_json_text(type) : json_null(),
        "device", run->device ? cli_json_text(run->device_info.name) : json_null(),
        "bytes_before", (json_int_t)sum.before,
        "bytes_after", (json_int_t)sum.after,
        "seconds", (double)ns / 1e9,
        "tensors", rows));
    /* clang-format on */
}

typedef pumice_status (*writer)(pumice_device *device, const pumice_quantize_params *params,
                                pumice_error *err);

/* Writes and shows; the device is open if the type needs one. */
static int write_model(cli_run *run, writer write, const char *what, const char *type, table *t)
{
    const cli_options *o = run->options;
    pumice_error err = { 0 };
    cli_progress progress;
    cli_progress_begin(&progress, run, what, o->models[0]);
    pumice_quantize_params params = { .struct_size = sizeof params,
                                      .in_path = o->models[0],
                                      .out_path = o->models[1],
                                      .type = type,
                                      .progress = cli_progress_step,
                                      .progress_user = &progress,
                                      .on_tensor = on_tensor,
                                      .on_tensor_user = t };
    pumice_status status = write(run->device, &params, &err);
    uint64_t ns = cli_now_ns() - progress.start_ns;
    cli_progress_end(&progress);
    if (status == PUMICE_ERROR_INVALID) return cli_usage("%s", err.text);
    if (status != PUMICE_OK) return cli_fail_error(status, &err);
    if (t->no_memory) return cli_no_memory();
    return o->json ? print_json(run, type, t, ns) : print_table(run, t, ns);
}

static int quantize(cli_run *run, table *t)
{
    const cli_options *o = run->options;
    if (o->n_models != 3) return cli_usage("quantize needs three arguments: IN OUT TYPE");
    int code = cli_open_device(run);
    if (code == CLI_OK) code = cli_one_device(run, "quantize");
    if (code != CLI_OK) return code;
    return write_model(run, pumice_quantize, "quantizing", o->models[2], t);
}

/* Does the host make this type by itself? */
static bool is_plain(const char *type)
{
    return !type || strcasecmp(type, "f32") == 0 || strcasecmp(type, "f16") == 0 ||
           strcasecmp(type, "bf16") == 0;
}

static int convert(cli_run *run, table *t)
{
    const cli_options *o = run->options;
    if (o->n_models != 2) return cli_usage("convert needs two arguments: MODEL OUT.gguf");
    int code = is_plain(o->type) ? CLI_OK : cli_open_device(run);
    if (code == CLI_OK) code = cli_one_device(run, "convert");
    if (code != CLI_OK) return code;
    return write_model(run, pumice_convert, "converting", o->type, t);
}

static int run_with(const cli_options *options, int (*work)(cli_run *run, table *t))
{
    cli_run run = { .options = options };
    table t = { 0 };
    int code = work(&run, &t);
    free(t.rows);
    return cli_close(&run, code);
}

static int run_quantize(const cli_options *options) { return run_with(options, quantize); }

static int run_convert(const cli_options *options) { return run_with(options, convert); }

#define TYPES                                                                                      \
    "F16, BF16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q5_1, Q5_0,\n"                                         \
    "Q4_K_M, Q4_K_S, Q4_1 or Q4_0; Q4_K and Q5_K mean their _M."

const cli_command cli_cmd_quantize = {
    .name = "quantize",
    .arguments = "IN OUT TYPE [options]",
    .summary = "Write a GGUF file whose weights take fewer bits, and show the error",
    .details = "IN holds F32, F16 or BF16: a GGUF file or a Hugging Face directory.\n"
               "TYPE: F32, " TYPES,
    .min_models = 1,
    .max_models = 3,
    .groups = { cli_device_options, cli_json_options },
    .run = run_quantize,
};

static const cli_option convert_options[] = {
    CLI_ROW_TEXT(NULL, "type", type, "TYPE", "of the matrices, such as f16 or q4_k_m (as they are)"),
    CLI_ROW_END
};

const cli_command cli_cmd_convert = {
    .name = "convert",
    .arguments = "MODEL OUT.gguf [--type TYPE] [options]",
    .summary = "Write a Hugging Face directory or a split GGUF as one GGUF file",
    .details = "TYPE: F32, " TYPES "\nA device is needed for the types of blocks alone.",
    .min_models = 1,
    .max_models = 2,
    .groups = { convert_options, cli_device_options, cli_json_options },
    .run = run_convert,
};
