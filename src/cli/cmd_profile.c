/* SPDX-License-Identifier: Apache-2.0
 * pumice profile: where the device's time goes, kernel by kernel, for a prompt and for decoding;
 * --trace writes every dispatch as a Chrome trace for ui.perfetto.dev. Collects and sums records;
 * the times are the device's own. The first run of both phases is thrown away: it would measure the
 * waking of clocks. */
#include "common.h"

#include <pumice/pumice_profile.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_PROMPT = 32, DEFAULT_PREDICT = 16, WARM_UP_TOKENS = 2, LABEL_BYTES = 64 };

typedef enum phase { PREFILL, DECODE, PHASES, NOT_RECORDED } phase;
static const char *const phase_names[PHASES] = { "prefill", "decode" };

typedef struct record {
    uint32_t kernel; /* into profile.kernels */
    phase phase;
    int32_t layer;
    uint64_t begin_ns, duration_ns, bytes, flops; /* begin: the passes one after the other */
    char label[LABEL_BYTES];
} record;

typedef struct sum {
    uint32_t kernel;
    uint64_t calls, ns, bytes, flops;
} sum;

typedef struct profile {
    cli_run run;
    cli_prompt prompt;
    phase phase;
    record *records;
    size_t n_records, capacity;
    char **kernels; /* names, each once */
    uint32_t n_kernels;
    uint64_t pass, pass_begin_ns, end_ns; /* of the pass that is being told */
    uint64_t n_passes[PHASES], span_ns[PHASES];
    uint32_t n_tokens[PHASES];
    bool no_memory;
} profile;

/* ---- collecting ---- */

static bool kernel_number(profile *p, const char *name, uint32_t *out)
{
    for (*out = 0; *out < p->n_kernels; ++*out) {
        if (strcmp(p->kernels[*out], name) == 0) return true;
    }
    char **kernels = realloc(p->kernels, (p->n_kernels + 1) * sizeof *kernels);
    if (!kernels) return false;
    p->kernels = kernels;
    kernels[p->n_kernels] = strdup(name);
    if (!kernels[p->n_kernels]) return false;
    p->n_kernels++;
    return true;
}

/* The next free record; NULL when out of memory. */
static record *new_record(profile *p)
{
    if (p->n_records == p->capacity) {
        size_t capacity = p->capacity * 2 + 1024;
        record *records = realloc(p->records, capacity * sizeof *records);
        if (!records) return NULL;
        p->records = records;
        p->capacity = capacity;
    }
    return &p->records[p->n_records];
}

static void on_dispatch(void *user, const pumice_dispatch *d)
{
    profile *p = user;
    if (p->phase >= PHASES) return;
    record *r = new_record(p);
    uint32_t kernel;
    if (!r || !kernel_number(p, d->kernel, &kernel)) {
        p->no_memory = true;
        return;
    }
    if (p->n_records == 0 || d->pass != p->pass) { /* begin_ns counts from the pass's own start */
        p->pass = d->pass;
        p->pass_begin_ns = p->end_ns;
        p->n_passes[p->phase]++;
    }
    *r = (record){ .kernel = kernel,
                   .phase = p->phase,
                   .layer = d->layer,
                   .bytes = d->bytes,
                   .flops = d->flops,
                   .begin_ns = p->pass_begin_ns + d->begin_ns,
                   .duration_ns = d->duration_ns };
    snprintf(r->label, sizeof r->label, "%s", d->label);
    uint64_t end = r->begin_ns + r->duration_ns;
    if (end > p->end_ns) {
        p->span_ns[p->phase] += end - p->end_ns;
        p->end_ns = end;
    }
    p->n_records++;
}

static pumice_status run_phases(profile *p, uint32_t n_decode, bool recorded)
{
    pumice_session *session = p->run.session;
    pumice_generate_params params = { .struct_size = sizeof params,
                                      .max_tokens = n_decode,
                                      .ignore_eos = 1 };
    params.sampling.struct_size = sizeof params.sampling;
    uint32_t count = 0;
    pumice_status status = pumice_session_clear(session, 0);
    p->phase = recorded ? PREFILL : NOT_RECORDED;
    if (status == PUMICE_OK) {
        status = cli_evaluate(&p->run, p->prompt.tokens.data, p->prompt.tokens.count);
    }
    p->phase = recorded ? DECODE : NOT_RECORDED;
    if (status == PUMICE_OK && n_decode)
        status = pumice_session_generate(session, 0, &params, &count);
    p->phase = NOT_RECORDED;
    p->n_tokens[PREFILL] = (uint32_t)p->prompt.tokens.count;
    p->n_tokens[DECODE] = count;
    return status;
}

static int collect(profile *p)
{
    const cli_options *o = p->run.options;
    uint32_t n_decode = o->n_gen.count ? (uint32_t)o->n_gen.data[0] : (uint32_t)DEFAULT_PREDICT;
    uint32_t n_warm_up = n_decode < WARM_UP_TOKENS ? n_decode : (uint32_t)WARM_UP_TOKENS;
    pumice_status status = pumice_session_set_profile(p->run.session, on_dispatch, p);
    if (status == PUMICE_OK && !o->no_warmup) status = run_phases(p, n_warm_up, false);
    if (status == PUMICE_OK && !cli_interrupted()) status = run_phases(p, n_decode, true);
    if (p->no_memory) return cli_no_memory();
    if (status != PUMICE_OK) return cli_fail_session(status, p->run.session);
    if (cli_interrupted()) return CLI_INTERRUPTED;
    if (!p->n_records)
        return cli_fail("the device gave no times: its queue may have no timestamps");
    return CLI_OK;
}

/* ---- summing ---- */

static int by_time(const void *a, const void *b)
{
    const sum *x = a, *y = b;
    if (x->ns != y->ns) return x->ns < y->ns ? 1 : -1;
    return x->kernel < y->kernel ? -1 : x->kernel > y->kernel; /* a stable order */
}

/* Sums by kernel, largest first; returns the total. `sums` has room for every kernel. */
static sum sum_phase(const profile *p, phase which, sum *sums, uint32_t *out_count)
{
    sum total = { 0 };
    for (uint32_t i = 0; i < p->n_kernels; i++) sums[i] = (sum){ .kernel = i };
    for (size_t i = 0; i < p->n_records; i++) {
        const record *r = &p->records[i];
        if (r->phase != which) continue;
        sum *targets[] = { &sums[r->kernel], &total };
        for (size_t k = 0; k < CLI_COUNT(targets); k++) {
            targets[k]->calls++;
            targets[k]->ns += r->duration_ns;
            targets[k]->bytes += r->bytes;
            targets[k]->flops += r->flops;
        }
    }
    qsort(sums, p->n_kernels, sizeof *sums, by_time);
    *out_count = p->n_kernels;
    while (*out_count && !sums[*out_count - 1].calls) --*out_count;
    return total;
}

static double per_ns(uint64_t amount, uint64_t ns) { return ns ? (double)amount / (double)ns : 0; }

static double share(const sum *s, const sum *total)
{
    return total->ns ? 100.0 * (double)s->ns / (double)total->ns : 0;
}

/* ---- printing ---- */

static void print_sum(const char *name, int width, const sum *s, const sum *total)
{
    printf("%-*s %7llu %12.1f %10.2f %9.2f %10.2f %7.1f\n", width, name,
           (unsigned long long)s->calls, (double)s->ns / 1e3,
           s->calls ? (double)s->ns / 1e3 / (double)s->calls : 0, per_ns(s->bytes, s->ns),
           per_ns(s->flops, s->ns), share(s, total));
}

static void print_phase(const profile *p, phase which, sum *sums)
{
    uint32_t count, tokens = p->n_tokens[which];
    sum total = sum_phase(p, which, sums, &count);
    int width = 24;
    for (uint32_t i = 0; i < count; i++) {
        int length = (int)strlen(p->kernels[sums[i].kernel]);
        if (length > width) width = length;
    }
    printf("%s: %u token%s in %llu passes, %.1f us on the device, %.2f us a token\n",
           phase_names[which], tokens, tokens == 1 ? "" : "s",
           (unsigned long long)p->n_passes[which], (double)p->span_ns[which] / 1e3,
           tokens ? (double)p->span_ns[which] / 1e3 / tokens : 0);
    printf("%-*s %7s %12s %10s %9s %10s %7s\n", width, "kernel", "calls", "total us", "mean us",
           "GB/s", "GFLOP/s", "share %");
    for (uint32_t i = 0; i < count; i++)
        print_sum(p->kernels[sums[i].kernel], width, &sums[i], &total);
    print_sum("total", width, &total, &total);
}

static json_t *sum_json(const char *name, const sum *s, const sum *total)
{
    /* clang-format off */
    return json_pack(
        "{s:s, s:I, s:I, s:f, s:I, s:I, s:f, s:f, s:f}",
        "kernel", name,
        "calls", (json_int_t)s->calls,
        "total_ns", (json_int_t)s->ns,
        "mean_ns", per_ns(s->ns, s->calls),
        "bytes", (json_int_t)s->bytes,
        "flops", (json_int_t)s->flops,
        "gb_per_s", per_ns(s->bytes, s->ns),
        "gflop_per_s", per_ns(s->flops, s->ns),
        "share_percent", share(s, total));
    /* clang-format on */
}

static json_t *phase_json(const profile *p, phase which, sum *sums)
{
    uint32_t count;
    sum total = sum_phase(p, which, sums, &count);
    json_t *kernels = json_array();
    for (uint32_t i = 0; kernels && i < count; i++) {
        if (json_array_append_new(kernels,
                                  sum_json(p->kernels[sums[i].kernel], &sums[i], &total)) != 0) {
            json_decref(kernels);
            kernels = NULL;
        }
    }
    /* clang-format off */
    return json_pack(
        "{s:I, s:I, s:I, s:o, s:o}",
        "tokens", (json_int_t)p->n_tokens[which],
        "passes", (json_int_t)p->n_passes[which],
        "device_ns", (json_int_t)p->span_ns[which],
        "kernels", kernels,
        "total", sum_json("total", &total, &total));
    /* clang-format on */
}

static int print_tables(const profile *p)
{
    const cli_options *o = p->run.options;
    sum *sums = calloc((size_t)p->n_kernels + 1, sizeof *sums);
    int code;
    if (!sums) return cli_no_memory();
    if (o->json) {
        /* clang-format off */
        code = cli_print_json(json_pack(
        "{s:o, s:o, s:o, s:o}",
        "model", cli_json_text(o->models[0]),
        "device", cli_json_text(p->run.device_info.name),
        phase_names[PREFILL], phase_json(p, PREFILL, sums),
        phase_names[DECODE], phase_json(p, DECODE, sums)));
        /* clang-format on */
    } else {
        print_phase(p, PREFILL, sums);
        putchar('\n');
        print_phase(p, DECODE, sums);
        code = cli_flush();
    }
    free(sums);
    return code;
}

/* ---- the trace ---- */

/* One complete event of the trace; NULL when out of memory. */
static json_t *event_json(const profile *p, const record *r)
{
    /* clang-format off */
    return json_pack(
        "{s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:{s:o, s:i, s:I, s:I}}",
        "name", p->kernels[r->kernel],
        "cat", phase_names[r->phase],
        "ph", "X",
        "pid", 1,
        "tid", 1,
        "ts", (double)r->begin_ns / 1e3,
        "dur", (double)r->duration_ns / 1e3,
        "args",
            "label", cli_json_text(r->label),
            "layer", (int)r->layer,
            "bytes", (json_int_t)r->bytes,
            "flops", (json_int_t)r->flops);
    /* clang-format on */
}

static int write_trace(const profile *p)
{
    const char *path = p->run.options->output;
    cli_output output;
    int code = cli_output_open(path, &output);
    if (code != CLI_OK) return code;
    fputs("{\"displayTimeUnit\": \"ns\", \"traceEvents\": [", output.file);
    for (size_t i = 0; i < p->n_records && code == CLI_OK; i++) {
        json_t *event = event_json(p, &p->records[i]);
        fputs(i ? ",\n" : "\n", output.file);
        if (!event) code = cli_no_memory();
        else if (json_dumpf(event, output.file, JSON_COMPACT | JSON_REAL_PRECISION(15)) != 0) {
            code = cli_fail("'%s' cannot be written", path);
        }
        json_decref(event);
    }
    fputs("\n]}\n", output.file);
    if (code == CLI_OK) code = cli_output_commit(&output);
    cli_output_discard(&output);
    return code;
}

/* ---- the command ---- */

static int work(profile *p)
{
    const cli_options *o = p->run.options;
    int code =
        o->n_gen.count > 1 ? cli_usage("-n takes one number here") : cli_prompt_read(o, &p->prompt);
    p->run.measures = true;
    if (code == CLI_OK) code = cli_open_device(&p->run);
    if (code == CLI_OK) code = cli_open_model(&p->run, o->models[0]);
    if (code != CLI_OK) return code;
    if (p->prompt.text || o->tokens.count) code = cli_prompt_tokens(&p->run, &p->prompt);
    else code = cli_random_tokens(&p->run, o->seed, DEFAULT_PROMPT, &p->prompt.tokens);
    if (code == CLI_OK) code = cli_check_context(&p->run, p->prompt.tokens.count);
    if (code == CLI_OK) code = cli_open_session(&p->run, 0, true);
    if (code == CLI_OK) code = collect(p);
    if (code == CLI_OK && o->output) code = write_trace(p);
    return code == CLI_OK ? print_tables(p) : code;
}

static int run_profile(const cli_options *options)
{
    profile p = { .run = { .options = options }, .phase = NOT_RECORDED };
    int code = cli_close(&p.run, work(&p));
    cli_prompt_free(&p.prompt);
    for (uint32_t i = 0; i < p.n_kernels; i++) free(p.kernels[i]);
    free(p.kernels);
    free(p.records);
    return code;
}

static const cli_option profile_options[] = {
    CLI_ROW_LIST("n", "predict", n_gen, "N", 0, "tokens to decode (16)"),
    CLI_ROW_TEXT(NULL, "trace", output, "FILE",
                 "write every dispatch as a Chrome trace, for ui.perfetto.dev"),
    CLI_ROW_FLAG(NULL, "no-warmup", no_warmup,
                 "show the first run, with what the driver does at first use"),
    CLI_ROW_SEED("seed of the random prompt (0)"), CLI_ROW_END
};

const cli_command cli_cmd_profile = {
    .name = "profile",
    .arguments = "MODEL [-p TEXT] [-n N] [--trace FILE] [options]",
    .summary = "Show where the device's time goes, kernel by kernel",
    .details = "Without a prompt 32 random tokens are evaluated, by the encoder if there is one. Bytes\n"
               "and operations are the least that is needed, so GB/s and GFLOP/s say how close a\n"
               "kernel is to the device's limits.",
    .min_models = 1,
    .max_models = 1,
    .groups = { cli_prompt_options, profile_options, cli_session_options, cli_device_options,
                cli_json_options, cli_model_options },
    .run = run_profile,
};
