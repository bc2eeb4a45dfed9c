/* SPDX-License-Identifier: Apache-2.0
 * Writing models without a device: which type a mix gives a tensor, the header of a GGUF file, files
 * that appear whole or not at all, and pumice_convert on all of that, while each allocation and each
 * call that touches a file fails in turn. Linked with --wrap, so that Pumice's own calls can be made
 * to fail. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "testing.h"

#include "gguf_rows.h"
#include "gguf_write.h"
#include "quant_mix.h"

/* ---- calls that fail ---- */

typedef enum fault { NO_FAULT, NO_MEMORY, NO_FILE, FAULT_COUNT } fault;

static fault failing; /* the kind whose call number fail_at fails */
static long fail_at, calls[FAULT_COUNT];

static bool must_fail(fault kind)
{
    calls[kind]++;
    if (failing != kind || calls[kind] != fail_at) return false;
    errno = ENOSPC;
    return true;
}

static void set_fault(fault kind, long at)
{
    memset(calls, 0, sizeof calls);
    failing = kind;
    fail_at = at;
}

void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
int __real_mkstemp(char *name);
int __real_fchmod(int fd, mode_t mode);
FILE *__real_fdopen(int fd, const char *mode);
size_t __real_fwrite(const void *data, size_t bytes, size_t count, FILE *file);
int __real_fclose(FILE *file);
int __real_rename(const char *from, const char *to);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
int __wrap_mkstemp(char *name);
int __wrap_fchmod(int fd, mode_t mode);
FILE *__wrap_fdopen(int fd, const char *mode);
size_t __wrap_fwrite(const void *data, size_t bytes, size_t count, FILE *file);
int __wrap_fclose(FILE *file);
int __wrap_rename(const char *from, const char *to);

void *__wrap_calloc(size_t count, size_t bytes)
{
    return must_fail(NO_MEMORY) ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
    return must_fail(NO_MEMORY) ? NULL : __real_realloc(p, bytes);
}

int __wrap_mkstemp(char *name) { return must_fail(NO_FILE) ? -1 : __real_mkstemp(name); }

int __wrap_fchmod(int fd, mode_t mode)
{
    return must_fail(NO_FILE) ? -1 : __real_fchmod(fd, mode);
}

FILE *__wrap_fdopen(int fd, const char *mode)
{
    return must_fail(NO_FILE) ? NULL : __real_fdopen(fd, mode);
}

/* A full disk takes the first half. */
size_t __wrap_fwrite(const void *data, size_t bytes, size_t count, FILE *file)
{
    bool bad = must_fail(NO_FILE);
    size_t n = __real_fwrite(data, bytes, bad ? count / 2 : count, file);
    if (bad) errno = ENOSPC;
    return n;
}

/* What was in the buffer is lost, the file is closed all the same. */
int __wrap_fclose(FILE *file)
{
    bool bad = must_fail(NO_FILE);
    int status = __real_fclose(file);
    if (bad) errno = ENOSPC;
    return bad ? EOF : status;
}

int __wrap_rename(const char *from, const char *to)
{
    return must_fail(NO_FILE) ? -1 : __real_rename(from, to);
}

/* ---- folders ---- */

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[4][512];
    static unsigned next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

static int set_up(void **state)
{
    (void)state;
    set_fault(NO_FAULT, 0);
    strcpy(folder, "/tmp/pumice-writing-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

/* Number of entries whose names begin so; removes them if asked to. */
static int entries(const char *begin, bool and_remove)
{
    int n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.' || strncmp(e->d_name, begin, strlen(begin)) != 0) continue;
        n++;
        if (and_remove) assert_int_equal(unlink(path_of(e->d_name)), 0);
    }
    closedir(dir);
    return n;
}

static int tear_down(void **state)
{
    (void)state;
    set_fault(NO_FAULT, 0);
    entries("", true);
    return rmdir(folder);
}

static size_t read_file(const char *path, char *out, size_t capacity)
{
    FILE *f = fopen(path, "rb");
    if (!f) return 0;
    size_t n = fread(out, 1, capacity, f);
    fclose(f);
    return n;
}

static void write_file(const char *name, const void *data, size_t bytes)
{
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

/* ---- mixes ---- */

static pum_str str_of(const char *s) { return (pum_str){ s, strlen(s) }; }

static const char *chosen(const char *mix, const pum_quant_model *model, const char *name,
                          uint64_t cols, bool *out_fallback)
{
    const pum_quant_mix *m = pum_quant_mix_find(mix);
    assert_non_null(m);
    return pum_dtype_get(pum_quant_mix_choose(m, model, str_of(name), 2, cols, PUM_DTYPE_F32,
                                              out_fallback))
        ->name;
}

/* llama.cpp's choices for a model of 16 layers: the first and last eighth are 0, 1 and 14, 15. */
static void test_mixes(void **state)
{
    static const struct {
        const char *mix, *name, *want;
    } cases[] = {
        { "Q8_0", "blk.0.attn_q.weight", "Q8_0" },      { "q8_0", "output.weight", "Q8_0" },
        { "Q4_0", "output.weight", "Q6_K" },            { "Q4_0", "token_embd.weight", "Q4_0" },
        { "Q4_0", "blk.0.ffn_down.weight", "Q4_0" },    { "F16", "output.weight", "F16" },
        { "Q4_K_M", "blk.0.attn_v.weight", "Q6_K" },    { "Q4_K_M", "blk.2.attn_v.weight", "Q4_K" },
        { "Q4_K_M", "blk.4.attn_v.weight", "Q6_K" },    { "Q4_K_M", "blk.5.ffn_down.weight", "Q4_K" },
        { "Q4_K_M", "blk.7.ffn_down.weight", "Q6_K" },  { "Q4_K_M", "blk.14.ffn_down.weight", "Q6_K" },
        { "q4_k", "blk.15.attn_v.weight", "Q6_K" },     { "Q4_K_M", "blk.3.attn_qkv.weight", "Q5_K" },
        { "Q4_K_S", "blk.3.attn_v.weight", "Q5_K" },    { "Q4_K_S", "blk.4.attn_v.weight", "Q4_K" },
        { "Q4_K_S", "blk.1.ffn_down.weight", "Q5_K" },  { "Q4_K_S", "blk.2.ffn_down.weight", "Q4_K" },
        { "Q5_K_M", "blk.0.attn_v.weight", "Q6_K" },    { "Q5_K_M", "blk.3.attn_qkv.weight", "Q6_K" },
        { "Q6_K", "blk.0.attn_v.weight", "Q6_K" },      { "Q4_K_M", "blk.0.ffn_norm.weight", "F32" },
        { "Q8_0", "blk.0.attn_q.bias", "F32" },         { "Q8_0", "position_embd.weight", "F32" },
        { "Q8_0", "enc.position_embd.weight", "F32" },  { "Q8_0", "blk.1.ffn_gate_inp.weight", "F32" },
        { "Q8_0", "enc.blk.0.attn_rel_b.weight", "F32" },
        { "Q4_K_M", "blk.1.ffn_up_exps.weight", "Q4_K" },
        { "Q4_K_M", "enc.blk.5.ffn_down.weight", "Q4_K" },
        { "Q4_K_M", "dec.blk.15.cross_attn_v.weight", "Q6_K" },
    };
    const pum_quant_model untied = { .n_layers = 16, .has_output = true };
    const pum_quant_model tied = { .n_layers = 16 };
    const pum_quant_model mixtral = { .n_layers = 16, .n_experts = 8, .has_output = true };
    bool fallback;
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(cases); i++) {
        const char *got = chosen(cases[i].mix, &untied, cases[i].name, 512, &fallback);
        if (strcmp(got, cases[i].want) != 0 || fallback) {
            fail_msg("%s gives %s the type %s, not %s", cases[i].mix, cases[i].name, got,
                     cases[i].want);
        }
    }
    assert_string_equal(chosen("Q4_K_M", &tied, "token_embd.weight", 512, &fallback), "Q6_K");
    assert_string_equal(chosen("Q4_K_M", &mixtral, "blk.5.attn_k.weight", 512, &fallback), "Q8_0");
    assert_string_equal(chosen("Q4_0", &mixtral, "blk.5.attn_k.weight", 512, &fallback), "Q4_0");
}

/* Rows that are no whole number of blocks take the next format whose blocks they are. */
static void test_fallbacks(void **state)
{
    static const struct {
        const char *mix;
        uint64_t cols;
        const char *want;
    } cases[] = {
        { "Q4_K_S", 320, "Q5_0" }, { "Q5_K_S", 320, "Q5_1" }, { "Q6_K", 320, "Q8_0" },
        { "Q4_K_S", 40, "F16" },   { "Q8_0", 40, "F16" },     { "Q4_0", 33, "F16" },
    };
    const pum_quant_model model = { .n_layers = 16, .has_output = true };
    bool fallback;
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(cases); i++) {
        const char *got = chosen(cases[i].mix, &model, "blk.9.ffn_up.weight", cases[i].cols,
                                 &fallback);
        assert_string_equal(got, cases[i].want);
        assert_true(fallback);
    }
}

static void test_mix_names(void **state)
{
    char all[160], rounding[160];
    (void)state;
    pum_quant_mix_names(true, all, sizeof all);
    pum_quant_mix_names(false, rounding, sizeof rounding);
    assert_string_equal(all + strlen("F32, "), rounding);
    assert_null(pum_quant_mix_find("Q3_K"));
    assert_null(pum_quant_mix_find(""));
    for (char *name = strtok(all, ", "); name; name = strtok(NULL, ", ")) {
        assert_non_null(pum_quant_mix_find(name));
    }
}

/* ---- the header ---- */

/* An object with a value of every kind and tensors of several shapes. */
static pum_gguf *make_object(void)
{
    static const float f32s[] = { 1.5f, -2.0f };
    static const int16_t i16s[] = { -1, 2, 3 };
    const pum_str strs[] = { { "one", 3 }, { "", 0 }, { "a\0b", 3 } };
    const uint64_t ne[] = { 64, 3, 2 };
    pum_gguf *g = NULL;
    pumice_error err = { 0 };
    assert_int_equal(pum_gguf_create("object", NULL, NULL, &g, &err), PUMICE_OK);
    pum_gguf_set_text(g, "general.architecture", "llama");
    pum_gguf_set_u32(g, "a.u32", 7);
    pum_gguf_set_i32(g, "a.i32", -7);
    pum_gguf_set_u64(g, "a.u64", 1ull << 40);
    pum_gguf_set_f32(g, "a.f32", 0.25f);
    pum_gguf_set_bool(g, "a.bool", true);
    pum_gguf_set_array(g, "a.f32s", PUM_GGUF_F32, f32s, PUM_COUNT(f32s));
    pum_gguf_set_array(g, "a.i16s", PUM_GGUF_I16, i16s, PUM_COUNT(i16s));
    pum_gguf_set_array(g, "a.none", PUM_GGUF_U8, NULL, 0);
    pum_gguf_set_strs(g, "a.strs", strs, PUM_COUNT(strs));
    assert_int_equal(pum_gguf_add_tensor(g, "one", PUM_DTYPE_F32, 1, ne, NULL, 0, &err), PUMICE_OK);
    assert_int_equal(pum_gguf_add_tensor(g, "three", PUM_DTYPE_F16, 3, ne, NULL, 0, &err),
                     PUMICE_OK);
    assert_int_equal(pum_gguf_seal(g, &err), PUMICE_OK);
    return g;
}

static void write_object(const pum_gguf *g, pum_gguf_writer *w, pum_text *out)
{
    for (size_t i = 0; i < pum_gguf_kv_count(g); i++) pum_gguf_put_copy(w, g, i);
    pum_gguf_put_u32(w, "last", 99);
    for (size_t i = 0; i < pum_gguf_tensor_count(g); i++) {
        const pum_gguf_tensor *t = pum_gguf_tensor_at(g, i);
        uint64_t offset;
        pum_gguf_put_tensor(w, t->name, t->n_dims, t->ne, PUM_DTYPE_Q8_0, &offset);
        if (!w->failed) assert_int_equal(offset % PUM_GGUF_ALIGN, 0);
    }
    pum_gguf_header(w, out);
}

static void test_header(void **state)
{
    pum_gguf *g = make_object(), *back = NULL;
    pum_gguf_writer w = { 0 };
    pum_text file = { 0 };
    pumice_error err = { 0 };
    uint32_t last = 0;
    (void)state;
    write_object(g, &w, &file);
    assert_false(file.failed);
    assert_int_equal(file.count % PUM_GGUF_ALIGN, 0);
    for (uint64_t i = 0; i < w.data_bytes; i++) pum_text_add(&file, "", 1);
    if (pum_gguf_open_memory(file.data, file.count, "written", &back, &err) != PUMICE_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(pum_gguf_kv_count(back), pum_gguf_kv_count(g) + 1);
    assert_true(pum_gguf_u32(back, "last", &last) && last == 99);
    for (size_t i = 0; i < pum_gguf_kv_count(g); i++) {
        const pum_gguf_value *a = pum_gguf_kv_at(g, i), *b = pum_gguf_kv_at(back, i);
        assert_true(pum_gguf_kv_key(g, i).count == pum_gguf_kv_key(back, i).count);
        assert_true(a->type == b->type && a->count == b->count);
        if (a->type == PUM_GGUF_ARRAY) assert_int_equal(a->item_type, b->item_type);
        assert_int_equal(pum_gguf_payload_bytes(a), pum_gguf_payload_bytes(b));
        if (pum_gguf_payload_bytes(a)) {
            assert_memory_equal(a->data, b->data, pum_gguf_payload_bytes(a));
        }
    }
    const pum_gguf_tensor *t = pum_gguf_tensor_find(back, "three");
    assert_non_null(t);
    assert_true(t->type == PUM_DTYPE_Q8_0 && t->n_dims == 3 && t->ne[0] == 64 && t->ne[1] == 3 &&
                t->ne[2] == 2 && t->bytes == 6 * 68);
    pum_gguf_close(&back);
    pum_gguf_close(&g);
    pum_text_free(&file);
    pum_gguf_writer_free(&w);
}

static void test_header_without_memory(void **state)
{
    pum_gguf *g = make_object();
    long n = 0;
    bool failed = true;
    (void)state;
    while (failed) {
        pum_gguf_writer w = { 0 };
        pum_text file = { 0 };
        set_fault(NO_MEMORY, ++n);
        write_object(g, &w, &file);
        failed = calls[NO_MEMORY] >= n;
        set_fault(NO_FAULT, 0);
        assert_true(file.failed == failed);
        pum_text_free(&file);
        pum_gguf_writer_free(&w);
    }
    assert_true(n > 3);
    pum_gguf_close(&g);
}

/* ---- files ---- */

static pumice_status write_words(const char *path, pumice_error *err)
{
    pum_file_out out = { 0 };
    pumice_status status;
    PUM_GOTO(pum_file_create(path, &out, err));
    PUM_GOTO(pum_file_append(&out, "", 0, err));
    for (int i = 0; i < 3; i++) PUM_GOTO(pum_file_append(&out, "words", 5, err));
    PUM_GOTO(pum_file_commit(&out, err));
fail:
    pum_file_discard(&out);
    pum_file_discard(&out);
    return status;
}

/* The old file or the new one, and nothing beside it. */
static void check_file_fault(fault kind, long n, bool *out_reached)
{
    char text[32];
    const char *path = path_of("file");
    pumice_error err = { 0 };
    write_file("file", "old", 3);
    set_fault(kind, n);
    pumice_status status = write_words(path, &err);
    *out_reached = calls[kind] >= n;
    set_fault(NO_FAULT, 0);
    size_t bytes = read_file(path, text, sizeof text);
    assert_int_equal(entries("", false), 1);
    if (!*out_reached) {
        assert_int_equal(status, PUMICE_OK);
        assert_true(bytes == 15 && memcmp(text, "wordswordswords", 15) == 0);
        return;
    }
    assert_int_equal(status, kind == NO_FILE ? PUMICE_ERROR_IO : PUMICE_ERROR_HOST_MEMORY);
    assert_non_null(strstr(err.text, "file"));
    if (kind == NO_FILE) assert_non_null(strstr(err.text, strerror(ENOSPC)));
    assert_true(bytes == 3 && memcmp(text, "old", 3) == 0);
}

static void test_file_faults(void **state)
{
    bool reached = true;
    (void)state;
    for (fault kind = NO_MEMORY; kind < FAULT_COUNT; kind++, reached = true) {
        for (long n = 1; reached; n++) check_file_fault(kind, n, &reached);
    }
}

static void test_file_mode_and_places(void **state)
{
    struct stat info;
    pumice_error err = { 0 };
    mode_t mask = umask(022);
    (void)state;
    assert_int_equal(write_words(path_of("file"), &err), PUMICE_OK);
    umask(mask);
    assert_int_equal(stat(path_of("file"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0644); /* and not a temporary's 0600 */
    assert_int_equal(write_words(path_of("no/file"), &err), PUMICE_ERROR_IO);
    assert_non_null(strstr(err.text, "no/file"));
}

/* ---- pumice_convert ---- */

typedef struct tensor_row {
    const char *name;
    int rows, cols; /* rows 0: a vector */
} tensor_row;

/* A LLaMA of one layer with a tokenizer of a few pieces. */
static void make_directory(void)
{
    static const tensor_row rows[] = {
        { "model.embed_tokens.weight", 12, 64 },
        { "model.norm.weight", 0, 64 },
        { "model.layers.0.input_layernorm.weight", 0, 64 },
        { "model.layers.0.post_attention_layernorm.weight", 0, 64 },
        { "model.layers.0.self_attn.q_proj.weight", 64, 64 },
        { "model.layers.0.self_attn.k_proj.weight", 32, 64 },
        { "model.layers.0.self_attn.v_proj.weight", 32, 64 },
        { "model.layers.0.self_attn.o_proj.weight", 64, 64 },
        { "model.layers.0.mlp.gate_proj.weight", 96, 64 },
        { "model.layers.0.mlp.up_proj.weight", 96, 64 },
        { "model.layers.0.mlp.down_proj.weight", 64, 96 },
    };
    static const char config[] =
        "{\"model_type\":\"llama\",\"hidden_size\":64,\"num_attention_heads\":2,"
        "\"num_key_value_heads\":1,\"intermediate_size\":96,\"num_hidden_layers\":1,"
        "\"vocab_size\":12,\"max_position_embeddings\":128,\"rms_norm_eps\":1e-5,"
        "\"tie_word_embeddings\":true,\"torch_dtype\":\"float32\",\"bos_token_id\":9}";
    static const char vocab[] =
        "{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4,\"<|endoftext|>\":5}";
    static const char merges[] = "#version: 0.2\na b\nab c\n";
    char header[4096] = "{";
    size_t n = 1, at = 0;
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        const tensor_row *r = &rows[i];
        size_t bytes = 4 * (size_t)(r->rows ? r->rows : 1) * (size_t)r->cols;
        char shape[32];
        snprintf(shape, sizeof shape, r->rows ? "%d,%d" : "%.0d%d", r->rows, r->cols);
        n += (size_t)snprintf(header + n, sizeof header - n,
                              "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,"
                              "%zu]}",
                              i ? "," : "", r->name, shape, at, at + bytes);
        at += bytes;
    }
    n += (size_t)snprintf(header + n, sizeof header - n, "}");
    uint64_t length = n;
    char *file = calloc(1, 8 + n + at);
    assert_non_null(file);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, n);
    for (size_t i = 0; i < at / 4; i++) {
        float x = (float)(i % 1000) / 999.0f - 0.5f;
        memcpy(file + 8 + n + 4 * i, &x, 4);
    }
    write_file("model.safetensors", file, 8 + n + at);
    write_file("config.json", config, strlen(config));
    write_file("vocab.json", vocab, strlen(vocab));
    write_file("merges.txt", merges, strlen(merges));
    free(file);
}

static pumice_status convert(const char *type, pumice_progress_fn progress, void *user,
                             pumice_error *err)
{
    pumice_quantize_params p = { .struct_size = sizeof p,
                                 .in_path = folder,
                                 .type = type,
                                 .progress = progress,
                                 .progress_user = user };
    char out[128];
    snprintf(out, sizeof out, "%s/out.gguf", folder);
    p.out_path = out;
    return pumice_convert(NULL, &p, err);
}

static void test_convert(void **state)
{
    pumice_error err = { 0 };
    pum_gguf *g = NULL;
    pum_str kind = { 0 };
    uint32_t bos = 0;
    (void)state;
    make_directory();
    if (convert("f16", NULL, NULL, &err) != PUMICE_OK) fail_msg("%s", err.text);
    assert_int_equal(pum_gguf_open(path_of("out.gguf"), &g, &err), PUMICE_OK);
    const pum_gguf_value *tokens = pum_gguf_find(g, "tokenizer.ggml.tokens");
    assert_true(tokens && tokens->count == 12); /* padded to the rows of the embedding */
    assert_true(pum_gguf_str(g, "tokenizer.ggml.model", &kind) && pum_str_equal(kind, "gpt2"));
    assert_true(pum_gguf_u32(g, "tokenizer.ggml.bos_token_id", &bos) && bos == 9);
    assert_int_equal(pum_gguf_tensor_find(g, "blk.0.attn_q.weight")->type, PUM_DTYPE_F16);
    assert_int_equal(pum_gguf_tensor_find(g, "blk.0.attn_norm.weight")->type, PUM_DTYPE_F32);
    pum_gguf_close(&g);
}

/* No call that fails may leave anything but no file and a sentence. */
static void test_convert_faults(void **state)
{
    (void)state;
    make_directory();
    for (fault kind = NO_MEMORY; kind < FAULT_COUNT; kind++) {
        long n = 1, reached = 1;
        for (; reached; n += 1 + n / 24) {
            pumice_error err = { 0 };
            set_fault(kind, n);
            pumice_status status = convert("f16", NULL, NULL, &err);
            reached = calls[kind] >= n;
            set_fault(NO_FAULT, 0);
            if (status == PUMICE_OK) {
                assert_false(reached && kind == NO_FILE);
                assert_int_equal(entries("out.gguf", true), 1);
                continue;
            }
            assert_true(reached && err.text[0]);
            assert_int_equal(status, kind == NO_FILE ? PUMICE_ERROR_IO : PUMICE_ERROR_HOST_MEMORY);
            assert_int_equal(entries("out.gguf", false), 0);
        }
        assert_true(n > 10);
    }
}

static int cancel_at(void *user, uint64_t done, uint64_t total)
{
    int *left = user;
    assert_true(done <= total);
    return --*left <= 0;
}

static void test_convert_cancelled(void **state)
{
    pumice_error err = { 0 };
    int left = 5;
    (void)state;
    make_directory();
    assert_int_equal(convert(NULL, cancel_at, &left, &err), PUMICE_ERROR_CANCELLED);
    assert_int_equal(left, 0);
    assert_int_equal(entries("out.gguf", false), 0);
}

static void test_convert_refused(void **state)
{
    pumice_error err = { 0 };
    pumice_quantize_params p = { .struct_size = sizeof p };
    (void)state;
    make_directory();
    assert_int_equal(pumice_convert(NULL, NULL, &err), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_convert(NULL, &p, &err), PUMICE_ERROR_INVALID);
    assert_int_equal(convert("q8_0", NULL, NULL, &err), PUMICE_ERROR_INVALID); /* no device */
    assert_non_null(strstr(err.text, "device"));
    assert_int_equal(convert("q3", NULL, NULL, &err), PUMICE_ERROR_INVALID);
    assert_int_equal(pumice_quantize(NULL, &p, &err), PUMICE_ERROR_INVALID);
    assert_int_equal(unlink(path_of("model.safetensors")), 0);
    assert_int_equal(convert(NULL, NULL, NULL, &err), PUMICE_ERROR_FORMAT);
    assert_non_null(strstr(err.text, "without weights"));
    assert_int_equal(entries("out.gguf", false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixes),
        cmocka_unit_test(test_fallbacks),
        cmocka_unit_test(test_mix_names),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_header_without_memory),
        cmocka_unit_test_setup_teardown(test_file_faults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_file_mode_and_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_convert, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_convert_faults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_convert_cancelled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_convert_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
