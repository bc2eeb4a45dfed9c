/* SPDX-License-Identifier: Apache-2.0
 * pumice bench: tokens per second of prompt evaluation (ppN) and of generation (tgN), in
 * llama-bench's table and field names so that its readers and scripts can be used. Decides what is
 * timed: pp is one pumice_session_sync of N random tokens on an empty sequence (with an encoder its
 * pass over them, and what the decoder keeps of it); tg is N forward passes with greedy sampling, by
 * pumice_session_generate. Beside the speed stands what a wrong fast path would change, a hash of
 * greedy tokens, and with --roof the share of the device's limit.
 */
#include "common.h"

#include <math.h>
#include <pumice/pumice_profile.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEFAULT_PROMPT = 512, DEFAULT_GEN = 128, DEFAULT_REPETITIONS = 5, LIBRARY_BATCH = 256 };
enum { PROOF_TOKENS = 8 /* generated after a prompt, for its hash */ };

typedef struct bench {
    cli_run run;
    const cli_options *options;
    const char *path;
    uint32_t repetitions;
    uint64_t *samples_ns, *samples_cpu_ns;
    pumice_roof roof; /* zero without --roof */
    json_t *results;  /* array, or NULL for the table */
    bool head_printed;
} bench;

typedef struct test {
    uint32_t n_prompt, n_gen; /* one of them is 0 */
    char time[32];            /* ISO 8601, when it began */
    double avg_ns, stddev_ns, avg_ts, stddev_ts;
    double host_us; /* CPU time of the calling thread for a decoded token; 0 for prompts */
    double at_work; /* of several devices: how many are at once, on average; 0 with one */
    uint64_t hash;  /* of the tokens that were generated */
} test;

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool is_json(const cli_options *o) { return o->json || o->output_format == 2; }

/* ---- measuring ---- */

/* FNV-1a over the tokens' bytes, low byte first. */
static int hash_token(void *user, int32_t token, const char *text, size_t bytes)
{
    uint64_t *hash = user;
    (void)text;
    (void)bytes;
    for (int i = 0; i < 4 && token >= 0; i++)
        *hash = (*hash ^ ((uint32_t)token >> 8 * i & 255u)) * 0x100000001b3u;
    return 0;
}

/* *out_hash may be NULL. */
static pumice_status generate(pumice_session *session, uint32_t count, uint64_t *out_hash)
{
    pumice_generate_params params = { .struct_size = sizeof params,
                                      .max_tokens = count,
                                      .ignore_eos = 1 };
    params.sampling.struct_size = sizeof params.sampling;
    if (out_hash) {
        *out_hash = 0xcbf29ce484222325u;
        params.token = hash_token;
        params.user = out_hash;
    }
    uint32_t got;
    return pumice_session_generate(session, 0, &params, &got);
}

/* One repetition; *out_ns and *out_cpu_ns are of the part that counts. */
static pumice_status measure(const cli_run *run, test *t, const cli_list *tokens, uint64_t *out_ns,
                             uint64_t *out_cpu_ns)
{
    pumice_session *session = run->session;
    pumice_timings before = { .struct_size = sizeof before }, after = before;
    pumice_status status = pumice_session_clear(session, 0);
    pumice_session_get_timings(session, &before);
    uint64_t begin = cli_now_ns(), cpu = cpu_ns();
    if (t->n_prompt) {
        if (status == PUMICE_OK) status = cli_evaluate(run, tokens->data, t->n_prompt);
    } else {
        if (status == PUMICE_OK) status = cli_evaluate(run, tokens->data, 1);
        /* One token more, so that the next call begins with a forward pass and not with ready
         * logits: what is timed is then exactly n_gen forward passes. */
        if (status == PUMICE_OK) status = generate(session, 1, NULL);
        pumice_session_get_timings(session, &before);
        begin = cli_now_ns();
        cpu = cpu_ns();
        if (status == PUMICE_OK) status = generate(session, t->n_gen, &t->hash);
    }
    *out_ns = cli_now_ns() - begin;
    *out_cpu_ns = cpu_ns() - cpu;
    pumice_session_get_timings(session, &after);
    t->at_work = (double)(after.devices_busy_ns - before.devices_busy_ns) / (double)(*out_ns + 1);
    if (t->n_gen)
        t->host_us = (double)(after.submit_cpu_ns - before.submit_cpu_ns) / 1e3 / t->n_gen;
    return status;
}

/* What a prompt leads to; not timed. */
static pumice_status prove(pumice_session *session, test *t)
{
    return t->n_prompt ? generate(session, PROOF_TOKENS, &t->hash) : PUMICE_OK;
}

/* The same passes as the test, so that plans, pipelines and clocks are ready. */
static pumice_status warm_up(const cli_run *run, const test *t, const cli_list *tokens)
{
    test shorter = *t;
    uint64_t ignored, ignored_cpu;
    if (shorter.n_gen > 8) shorter.n_gen = 8;
    return measure(run, &shorter, tokens, &ignored, &ignored_cpu);
}

static void mean_and_deviation(const double *values, uint32_t count, double *out_mean,
                               double *out_deviation)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < count; i++) sum += values[i];
    *out_mean = sum / count;
    for (uint32_t i = 0; i < count; i++)
        squares += (values[i] - *out_mean) * (values[i] - *out_mean);
    *out_deviation = count > 1 ? sqrt(squares / (count - 1)) : 0;
}

static double speed(const test *t, uint64_t ns)
{
    return ns ? (t->n_prompt + t->n_gen) * 1e9 / (double)ns : 0;
}

static int summarise(const bench *b, test *t)
{
    double *values = calloc(b->repetitions, sizeof *values);
    if (!values) return cli_no_memory();
    for (uint32_t i = 0; i < b->repetitions; i++) values[i] = (double)b->samples_ns[i];
    mean_and_deviation(values, b->repetitions, &t->avg_ns, &t->stddev_ns);
    for (uint32_t i = 0; i < b->repetitions; i++) values[i] = speed(t, b->samples_ns[i]);
    mean_and_deviation(values, b->repetitions, &t->avg_ts, &t->stddev_ts);
    free(values);
    return CLI_OK;
}

static int run_repetitions(bench *b, test *t, const cli_list *tokens)
{
    pumice_session *session = b->run.session;
    pumice_status status = b->options->no_warmup ? PUMICE_OK : warm_up(&b->run, t, tokens);
    double at_work = 0;
    for (uint32_t i = 0; i < b->repetitions && status == PUMICE_OK; i++) {
        if (cli_interrupted()) return CLI_INTERRUPTED;
        status = measure(&b->run, t, tokens, &b->samples_ns[i], &b->samples_cpu_ns[i]);
        at_work += t->at_work / b->repetitions;
    }
    t->at_work = at_work;
    if (status == PUMICE_OK && !cli_interrupted()) status = prove(session, t);
    if (status != PUMICE_OK) return cli_fail_session(status, session);
    return cli_interrupted() ? CLI_INTERRUPTED : summarise(b, t);
}

/* Which part of the device's limit a test reached: of decoding the memory, of a prompt the
 * arithmetic. 0 when it was not measured. */
static double share_of_limit(const bench *b, const test *t)
{
    const pumice_model_info *m = &b->run.model_info;
    if (b->roof.read_gbs <= 0 || b->roof.f32_gflops <= 0) return 0;
    if (t->n_prompt && cli_has_encoder(&b->run)) return 0; /* the operations are known of the decoder alone */
    if (t->n_gen) return t->avg_ts * (double)m->decode_bytes / (b->roof.read_gbs * 1e9);
    double flops = (double)(m->decode_flops - m->head_flops) * t->n_prompt + (double)m->head_flops;
    return t->avg_ts / t->n_prompt * flops / (b->roof.f32_gflops * 1e9);
}

/* ---- the table ---- */

static const char *kv_name(uint32_t type)
{
    static const char *const names[] = { "f16", "f32", "f16", "q8_0", "q4_0" };
    return type < sizeof names / sizeof names[0] ? names[type] : "?";
}

static const char *act_name(uint32_t type) { return type == PUMICE_ACTIVATIONS_Q8 ? "q8" : "f32"; }

/* "llama 1.10 B Q8_0": what llama-bench calls a model's type. */
static void model_type(const pumice_model_info *info, char *out, size_t capacity)
{
    const char *file_type = info->file_type;
    char count[32];
    if (strncmp(file_type, "mostly ", 7) == 0) file_type += 7;
    else if (strncmp(file_type, "all ", 4) == 0) file_type += 4;
    snprintf(out, capacity, "%s %s %s", info->architecture,
             cli_count_text(info->parameters, count, sizeof count), file_type);
}

static void test_name(const test *t, char *out, size_t capacity)
{
    snprintf(out, capacity, "%s%u", t->n_prompt ? "pp" : "tg",
             t->n_prompt ? t->n_prompt : t->n_gen);
}

/* Columns beyond the usual ones stand in the table when they were asked for, as llama-bench has it.
 */
static void print_head(const cli_options *o, bool several)
{
    printf("| model                          |       size |     params | backend    |");
    if (o->n_batch) printf(" n_batch |");
    if (o->kv_type_k) printf(" type_k |");
    if (o->kv_type_v) printf(" type_v |");
    if (o->activations) printf(" act |");
    printf("            test |                  t/s |");
    if (o->roof) printf(" limit %% |");
    if (several) printf(" at work |");
    printf(" host us/t |           output |\n");
    printf("| ------------------------------ | ---------: | ---------: | ---------- |");
    if (o->n_batch) printf(" ------: |");
    if (o->kv_type_k) printf(" -----: |");
    if (o->kv_type_v) printf(" -----: |");
    if (o->activations) printf(" --: |");
    printf(" --------------: | -------------------: |");
    if (o->roof) printf(" ------: |");
    if (several) printf(" ------: |");
    printf(" --------: | ---------------: |\n");
}

static int print_row(bench *b, const test *t)
{
    const cli_options *o = b->options;
    const pumice_model_info *info = &b->run.model_info;
    char type[160], size[32], count[32], name[32], ts[64];
    model_type(info, type, sizeof type);
    test_name(t, name, sizeof name);
    snprintf(ts, sizeof ts, "%.2f ± %.2f", t->avg_ts, t->stddev_ts);
    bool several = b->run.n_devices > 1;
    if (!b->head_printed) print_head(o, several);
    b->head_printed = true;
    fputs("| ", stdout);
    cli_print_plain(stdout, type);
    printf("%*s | %10s | %10s | %-10s |", strlen(type) < 30 ? 30 - (int)strlen(type) : 0, "",
           cli_bytes_text(info->weight_bytes, size, sizeof size),
           cli_count_text(info->parameters, count, sizeof count), "Vulkan");
    if (o->n_batch) printf(" %7u |", o->n_batch);
    if (o->kv_type_k) printf(" %6s |", kv_name(o->kv_type_k));
    if (o->kv_type_v) printf(" %6s |", kv_name(o->kv_type_v));
    if (o->activations) printf(" %3s |", act_name(o->activations));
    printf(" %15s | %*s |", name, 21, ts); /* the sign has two bytes and one column */
    double share = o->roof ? share_of_limit(b, t) : 0;
    if (share > 0) printf(" %7.1f |", 100 * share);
    else if (o->roof) printf(" %7s |", "");
    if (several) printf(" %7.2f |", t->at_work);
    if (t->n_gen) printf(" %9.1f |", t->host_us);
    else printf(" %9s |", "");
    printf(" %016llx |\n", (unsigned long long)t->hash);
    return cli_flush();
}

/* ---- JSON ---- */

static void cpu_name(char *out, size_t capacity)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(out, capacity, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !value) continue;
        value += 1 + strspn(value + 1, " ");
        value[strcspn(value, "\n")] = '\0';
        snprintf(out, capacity, "%s", value);
        break;
    }
    if (file) fclose(file);
}

static json_t *samples(const bench *b, const test *t, const uint64_t *ns, bool as_speed)
{
    json_t *array = json_array();
    for (uint32_t i = 0; array && i < b->repetitions; i++) {
        json_t *item = as_speed ? json_real(speed(t, ns[i])) : json_integer((json_int_t)ns[i]);
        if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

/* What the faster way to read memory goes through. */
static const char *read_way(const pumice_roof *r) { return r->texel_gbs > r->storage_gbs ? "texel" : "storage"; }

static json_t *roof_json(const pumice_roof *r)
{
    /* clang-format off */
    return json_pack(
        "{s:I, s:f, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}",
        "read_bytes", (json_int_t)r->read_bytes,
        "read_gbs", r->read_gbs,
        "read_through", read_way(r),
        "storage_gbs", r->storage_gbs,
        "texel_gbs", r->texel_gbs,
        "f32_gflops", r->f32_gflops,
        "f16_gflops", r->f16_gflops,
        "dot8_gops", r->dot8_gops,
        "dispatch_us", r->dispatch_us,
        "barrier_us", r->barrier_us,
        "submit_us", r->submit_us,
        "submit_wait_us", r->submit_wait_us);
    /* clang-format on */
}

static int add_result(bench *b, const test *t)
{
    const cli_options *o = b->options;
    const pumice_model_info *info = &b->run.model_info;
    json_int_t batch = o->n_batch ? o->n_batch : LIBRARY_BATCH;
    int build_number =
        PUMICE_VERSION_MAJOR * 10000 + PUMICE_VERSION_MINOR * 100 + PUMICE_VERSION_PATCH;
    char type[160], cpu[256], hash[20];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)t->hash);
    model_type(info, type, sizeof type);
    cpu_name(cpu, sizeof cpu);
    /* clang-format off */
    json_t *about = json_pack(
        "{s:s, s:i, s:o, s:o, s:o, s:s, s:o, s:o, s:I, s:I}",
        "build_commit", pumice_version(),
        "build_number", build_number,
        "cpu_info", cli_json_text(cpu),
        "gpu_info", cli_json_text(b->run.device_info.name),
        "driver_info", cli_json_text(b->run.device_info.driver),
        "backends", "Vulkan",
        "model_filename", cli_json_text(b->path),
        "model_type", cli_json_text(type),
        "model_size", (json_int_t)info->weight_bytes,
        "model_n_params", (json_int_t)info->parameters);
    json_t *numbers = json_pack(
        "{s:I, s:I, s:s, s:s, s:s, s:I, s:I, s:i, s:s, s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:f, s:s}",
        "n_batch", batch,
        "n_ubatch", batch,
        "type_k", kv_name(o->kv_type_k),
        "type_v", kv_name(o->kv_type_v),
        "activations", act_name(o->activations),
        "n_prompt", (json_int_t)t->n_prompt,
        "n_gen", (json_int_t)t->n_gen,
        "n_depth", 0,
        "test_time", t->time,
        "avg_ns", (json_int_t)t->avg_ns,
        "stddev_ns", (json_int_t)t->stddev_ns,
        "avg_ts", t->avg_ts,
        "stddev_ts", t->stddev_ts,
        "samples_ns", samples(b, t, b->samples_ns, false),
        "samples_ts", samples(b, t, b->samples_ns, true),
        "samples_cpu_ns", samples(b, t, b->samples_cpu_ns, false),
        "host_us_per_token", t->host_us,
        "output_hash", hash);
    /* clang-format on */
    bool good = about && numbers && json_object_update(about, numbers) == 0;
    if (good && o->roof)
        good = json_object_set_new(about, "roof", roof_json(&b->roof)) == 0 &&
               json_object_set_new(about, "share_of_limit", json_real(share_of_limit(b, t))) == 0;
    if (good && b->run.n_devices > 1)
        good = json_object_set_new(about, "devices_at_work", json_real(t->at_work)) == 0;
    good = good && json_array_append(b->results, about) == 0;
    json_decref(about);
    json_decref(numbers);
    return good ? CLI_OK : cli_no_memory();
}

/* ---- what is run ---- */

static int run_test(bench *b, uint32_t n_prompt, uint32_t n_gen)
{
    test t = { .n_prompt = n_prompt, .n_gen = n_gen };
    cli_list tokens = { 0 };
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(t.time, sizeof t.time, "%Y-%m-%dT%H:%M:%SZ", &utc);
    /* for tg one token before and one to begin with */
    uint32_t need = n_prompt ? n_prompt + PROOF_TOKENS : n_gen + 2;
    if (n_prompt && cli_has_encoder(&b->run)) { /* the proof is the decoder's, which has a context of its own */
        need = n_prompt > PROOF_TOKENS + 1 ? n_prompt : (uint32_t)PROOF_TOKENS + 1;
    }
    int code = cli_random_tokens(&b->run, b->options->seed, n_prompt ? n_prompt : 1, &tokens);
    if (code == CLI_OK)
        code = cli_open_session(&b->run, b->options->n_ctx ? b->options->n_ctx : need, false);
    if (code == CLI_OK) code = run_repetitions(b, &t, &tokens);
    if (code == CLI_OK) code = b->results ? add_result(b, &t) : print_row(b, &t);
    cli_close_session(&b->run);
    free(tokens.data);
    return code;
}

static int run_model(bench *b)
{
    static const int32_t default_prompt = DEFAULT_PROMPT, default_gen = DEFAULT_GEN;
    const cli_list *prompts = &b->options->n_prompt, *gens = &b->options->n_gen;
    b->run.measures = true;
    int code = cli_open_model(&b->run, b->path);
    for (size_t i = 0; code == CLI_OK && i < (prompts->count ? prompts->count : 1); i++) {
        int32_t n = prompts->count ? prompts->data[i] : default_prompt;
        if (n > 0) code = run_test(b, (uint32_t)n, 0);
    }
    for (size_t i = 0; code == CLI_OK && i < (gens->count ? gens->count : 1); i++) {
        int32_t n = gens->count ? gens->data[i] : default_gen;
        if (n > 0) code = run_test(b, 0, (uint32_t)n);
    }
    cli_close_model(&b->run);
    if (code == CLI_SERVED) code = CLI_OK; /* another model may follow */
    return code;
}

/* An argument may hold several models, separated by commas. */
static int run_argument(bench *b, const char *argument)
{
    int code = CLI_OK;
    char *copy = strdup(argument), *rest = NULL;
    if (!copy) return cli_no_memory();
    for (char *path = strtok_r(copy, ",", &rest); path && code == CLI_OK;
         path = strtok_r(NULL, ",", &rest)) {
        b->path = path;
        code = run_model(b);
    }
    free(copy);
    return code;
}

/* Measures the device; the table of it is printed, in JSON it stands with every result, or alone
 * when there is no model. */
static int run_roof(bench *b)
{
    pumice_roof *r = &b->roof;
    pumice_error err = { 0 };
    r->struct_size = sizeof *r;
    pumice_status status = pumice_device_measure(b->run.device, r, &err);
    if (status != PUMICE_OK) return cli_fail_error(status, &err);
    if (b->results) {
        if (b->options->n_models) return CLI_OK;
        return json_array_append_new(b->results, roof_json(r)) == 0 ? CLI_OK : cli_no_memory();
    }
    printf("| limit of the device  |      value |\n");
    printf("| -------------------- | ---------: |\n");
    printf("| memory read, GB/s    | %10.2f |\n", r->read_gbs);
    printf("| by storage buffers   | %10.2f |\n", r->storage_gbs);
    if (r->texel_gbs > 0) printf("| by texel buffers     | %10.2f |\n", r->texel_gbs);
    printf("| f32, GFLOP/s         | %10.1f |\n", r->f32_gflops);
    if (r->f16_gflops > 0) printf("| f16, GFLOP/s         | %10.1f |\n", r->f16_gflops);
    if (r->dot8_gops > 0) printf("| dot8, GOP/s          | %10.1f |\n", r->dot8_gops);
    printf("| dispatch, us         | %10.2f |\n", r->dispatch_us);
    printf("| barrier, us          | %10.2f |\n", r->barrier_us);
    printf("| submit, us           | %10.2f |\n", r->submit_us);
    printf("| submit and wait, us  | %10.2f |\n\n", r->submit_wait_us);
    return cli_flush();
}

static int run_bench(const cli_options *options)
{
    bench b = { .options = options,
                .run = { .options = options },
                .repetitions =
                    options->repetitions ? options->repetitions : (uint32_t)DEFAULT_REPETITIONS };
    b.samples_ns = calloc(b.repetitions, sizeof *b.samples_ns);
    b.samples_cpu_ns = calloc(b.repetitions, sizeof *b.samples_cpu_ns);
    if (is_json(options)) b.results = json_array();
    bool good = b.samples_ns && b.samples_cpu_ns && (!is_json(options) || b.results);
    int code = good ? cli_open_device(&b.run) : cli_no_memory();
    if (code == CLI_OK && options->roof) code = cli_one_device(&b.run, "--roof");
    if (code == CLI_OK && options->roof) code = run_roof(&b);
    for (size_t i = 0; i < options->n_models && code == CLI_OK; i++)
        code = run_argument(&b, options->models[i]);
    if (b.results && cli_mpi_rank() == 0 && (code == CLI_OK ||
                      code == CLI_INTERRUPTED)) { /* after Ctrl-C what was measured still counts */
        int printed = cli_print_json(b.results);
        if (code == CLI_OK) code = printed;
    } else {
        json_decref(b.results);
    }
    free(b.samples_ns);
    free(b.samples_cpu_ns);
    return cli_close(&b.run, code);
}

static const cli_option bench_options[] = {
    CLI_ROW_LIST("p", "n-prompt", n_prompt, "N", 0,
                 "prompt lengths, such as 128,512; 0 = none (512)"),
    CLI_ROW_LIST("n", "n-gen", n_gen, "N", 0, "numbers of tokens to generate; 0 = none (128)"),
    CLI_ROW_U32("r", "repetitions", repetitions, "R", 1, "repetitions of each test (5)"),
    CLI_ROW_CHOICE("o", "output", output_format, "FORMAT", "md|json",
                   "md = a table, json = an array (md)"),
    CLI_ROW_FLAG(NULL, "roof", roof,
                 "measure the device's limits first, and show which share is reached"),
    CLI_ROW_FLAG(NULL, "no-warmup", no_warmup, "no run before the timed ones"),
    CLI_ROW_SEED("seed of the random prompts (0)"),
    CLI_ROW_MODEL("a model file, as the arguments; may be given several times"),
    CLI_ROW_END
};

const cli_command cli_cmd_bench = {
    .name = "bench",
    .arguments = "MODEL[,MODEL...] [options]",
    .summary = "Measure tokens per second, in llama-bench's formats",
    .details = "The context is as long as a test needs unless -c says otherwise.",
    .min_models = 1,
    .max_models = SIZE_MAX,
    .groups = { bench_options, cli_session_options, cli_device_options, cli_json_options },
    .run = run_bench,
};
