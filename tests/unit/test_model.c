/* SPDX-License-Identifier: Apache-2.0
 * Models without a device: loading of real files, one sentence for every fault, the options of the
 * builder, and graphs run on the host in double precision against the logits of stories260K. */
#include <math.h>

#include "arch.h"
#include "graph_on_host.h"
#include "small_model.h"

/* ---- a small model to break ---- */

static void put_biases(gguf_builder *b, const char *const *names, const uint32_t *sizes, size_t n)
{
    char name[GB_NAME_BYTES];
    uint64_t seed = 11;
    for (int i = 0; i < LAYERS; i++) {
        for (size_t k = 0; k < n; k++) {
            snprintf(name, sizeof name, "blk.%d.%s", i, names[k]);
            put_tensor(b, name, 0, sizes[k], &seed);
        }
    }
}

static const char *const qkv_biases[] = { "attn_q.bias", "attn_k.bias", "attn_v.bias" };
static const uint32_t qkv_bias_sizes[] = { HEADS * HEAD, KV_HEADS * HEAD, KV_HEADS * HEAD };

/* ---- faults ---- */

/* One change to the small model. */
typedef struct change {
    enum { DROP, SET_U32, SET_I32, SET_F32, SET_BOOL, SET_TEXT, SET_ARRAY, SET_TENSOR } how;
    const char *name, *text;
    double number;      /* of tensors: every item (F32 only) */
    int32_t items[2];   /* of arrays: the first and all others */
    pum_dtype type;
    uint32_t rows, cols; /* of tensors; rows: the items of an array */
} change;

#define DROPPED(n) { .how = DROP, .name = n }
#define U32(n, v) { .how = SET_U32, .name = n, .number = v }
#define I32(n, v) { .how = SET_I32, .name = n, .number = v }
#define F32(n, v) { .how = SET_F32, .name = n, .number = v }
#define BOOL(n, v) { .how = SET_BOOL, .name = n, .number = v }
#define TEXT(n, v) { .how = SET_TEXT, .name = n, .text = v }
#define ARRAY(n, count, a, b) { .how = SET_ARRAY, .name = n, .rows = count, .items = { a, b } }
#define TENSOR(n, t, r, c, v) \
    { .how = SET_TENSOR, .name = n, .type = PUM_DTYPE_##t, .rows = r, .cols = c, .number = v }

static const struct {
    change change;
    pumice_status status;
    const char *says, *and_says;
} faults[] = {
    /* the file as a whole */
    { DROPPED("general.architecture"), PUMICE_ERROR_FORMAT, "general.architecture", NULL },
    { U32("general.architecture", 1), PUMICE_ERROR_FORMAT, "general.architecture", NULL },
    { TEXT("general.architecture", "mam\nba"), PUMICE_ERROR_UNSUPPORTED,
      "'mam?ba'", "llama" },
    { TEXT("general.architecture", "a name that goes on and on and on and on and on and on and on"),
      PUMICE_ERROR_UNSUPPORTED, "'a name", "llama" },
    { U32("split.count", 3), PUMICE_ERROR_UNSUPPORTED, "split.count", NULL },
    { U32("llama.expert_count", 8), PUMICE_ERROR_FORMAT,
      "llama.expert_used_count is 0", "expert_count, 8" },
    { BOOL("llama.attention.causal", 0), PUMICE_ERROR_UNSUPPORTED, "llama.attention.causal", NULL },
    /* sizes */
    { DROPPED("llama.context_length"), PUMICE_ERROR_FORMAT,
      "llama.context_length is missing", NULL },
    { TEXT("llama.context_length", "many"), PUMICE_ERROR_FORMAT, "llama.context_length", NULL },
    { U32("llama.context_length", 0), PUMICE_ERROR_FORMAT, "llama.context_length is 0", NULL },
    { U32("llama.block_count", 10001), PUMICE_ERROR_FORMAT, "llama.block_count is 10001", NULL },
    { U32("llama.block_count", 0), PUMICE_ERROR_FORMAT, "llama.block_count is 0", NULL },
    { U32("llama.block_count", LAYERS + 1), PUMICE_ERROR_FORMAT,
      "'blk.2.attn_norm.weight' is missing", NULL },
    { U32("llama.vocab_size", 0), PUMICE_ERROR_FORMAT, "llama.vocab_size is 0", NULL },
    { U32("llama.vocab_size", VOCAB_N + 1), PUMICE_ERROR_FORMAT,
      "'token_embd.weight' has the shape [100 x 64]", "[101 x 64]" },
    { ARRAY("llama.feed_forward_length", 2, -1, -1), PUMICE_ERROR_FORMAT,
      "llama.feed_forward_length", NULL },
    /* heads */
    { U32("llama.attention.head_count", 0), PUMICE_ERROR_FORMAT,
      "llama.attention.head_count is 0", NULL },
    { I32("llama.attention.head_count", -4), PUMICE_ERROR_FORMAT,
      "llama.attention.head_count", NULL },
    { U32("llama.attention.head_count_kv", 3), PUMICE_ERROR_FORMAT,
      "llama.attention.head_count is 4", "head_count_kv, 3" },
    { U32("llama.embedding_length", 66), PUMICE_ERROR_FORMAT,
      "llama.embedding_length is 66", "head_count, 4" },
    { ARRAY("llama.attention.head_count", 2, 4, 2), PUMICE_ERROR_UNSUPPORTED,
      "llama.attention.head_count differs", NULL },
    { ARRAY("llama.attention.head_count", 3, 4, 4), PUMICE_ERROR_FORMAT,
      "llama.attention.head_count has 3 items", "2 layers" },
    { U32("llama.attention.key_length", 15), PUMICE_ERROR_UNSUPPORTED,
      "heads of 15", "key_length" },
    { U32("llama.attention.key_length", 512), PUMICE_ERROR_UNSUPPORTED,
      "heads of 512", "key_length" },
    { U32("llama.attention.value_length", 32), PUMICE_ERROR_UNSUPPORTED,
      "llama.attention.value_length is 32", NULL },
    { F32("llama.attention.layer_norm_rms_epsilon", NAN), PUMICE_ERROR_FORMAT,
      "llama.attention.layer_norm_rms_epsilon is", "nan" },
    { F32("llama.attention.layer_norm_rms_epsilon", 0), PUMICE_ERROR_FORMAT,
      "llama.attention.layer_norm_rms_epsilon is 0", NULL },
    { DROPPED("llama.attention.layer_norm_rms_epsilon"), PUMICE_ERROR_FORMAT,
      "llama.attention.layer_norm_rms_epsilon is missing", NULL },
    /* keys that would change the result */
    { F32("llama.attention.temperature_scale", 2), PUMICE_ERROR_UNSUPPORTED,
      "llama.attention.temperature_scale", NULL },
    { TEXT("llama.hidden_activation", "mish"), PUMICE_ERROR_UNSUPPORTED,
      "llama.hidden_activation is 'mish'", NULL },
    { U32("llama.use_parallel_residual", 2), PUMICE_ERROR_FORMAT,
      "llama.use_parallel_residual is neither", NULL },
    /* rotary embedding */
    { U32("llama.rope.dimension_count", HEAD + 2), PUMICE_ERROR_FORMAT,
      "llama.rope.dimension_count is 18", NULL },
    { U32("llama.rope.dimension_count", 7), PUMICE_ERROR_FORMAT,
      "llama.rope.dimension_count is 7", NULL },
    { F32("llama.rope.freq_base", 0), PUMICE_ERROR_FORMAT, "llama.rope.freq_base is 0", NULL },
    { F32("llama.rope.freq_base", INFINITY), PUMICE_ERROR_FORMAT,
      "llama.rope.freq_base is inf", NULL },
    { TEXT("llama.rope.scaling.type", "su"), PUMICE_ERROR_UNSUPPORTED,
      "llama.rope.scaling.type is 'su'", NULL },
    { TEXT("llama.rope.scaling.type", "longrope"), PUMICE_ERROR_FORMAT,
      "'rope_factors_long.weight' is missing", NULL },
    { U32("llama.rope.scaling.type", 1), PUMICE_ERROR_FORMAT, "llama.rope.scaling.type", NULL },
    { F32("llama.rope.scaling.factor", -2), PUMICE_ERROR_FORMAT,
      "llama.rope.scaling.factor is -2", NULL },
    { F32("llama.rope.scaling.factor", 1e-6), PUMICE_ERROR_FORMAT,
      "llama.rope.scaling.factor is 1e-06", NULL },
    { TENSOR("rope_freqs.weight", F32, 0, HEAD, 1), PUMICE_ERROR_FORMAT,
      "'rope_freqs.weight' has the shape [16]", "[8]" },
    { TENSOR("rope_freqs.weight", F16, 0, HEAD / 2, 0), PUMICE_ERROR_FORMAT,
      "'rope_freqs.weight'", "F32" },
    { TENSOR("rope_freqs.weight", F32, 0, HEAD / 2, 0), PUMICE_ERROR_FORMAT,
      "'rope_freqs.weight' is 0", NULL },
    { TENSOR("rope_freqs.weight", F32, 0, HEAD / 2, NAN), PUMICE_ERROR_FORMAT,
      "'rope_freqs.weight' is", "nan" },
    /* tensors */
    { DROPPED("token_embd.weight"), PUMICE_ERROR_FORMAT, "'token_embd.weight' is missing", NULL },
    { DROPPED("blk.1.ffn_down.weight"), PUMICE_ERROR_FORMAT,
      "'blk.1.ffn_down.weight' is missing", NULL },
    { DROPPED("output_norm.weight"), PUMICE_ERROR_FORMAT, "'output_norm.weight' is missing", NULL },
    { TENSOR("blk.1.attn_q.weight", F32, 32, EMBD_N, 0), PUMICE_ERROR_FORMAT,
      "'blk.1.attn_q.weight' has the shape [32 x 64]", "[64 x 64]" },
    { TENSOR("blk.0.attn_norm.weight", F32, 0, 32, 0), PUMICE_ERROR_FORMAT,
      "'blk.0.attn_norm.weight' has the shape [32]", "[64]" },
    { TENSOR("blk.0.ffn_norm.weight", F32, 2, EMBD_N, 0), PUMICE_ERROR_FORMAT,
      "'blk.0.ffn_norm.weight' has the shape [2 x 64]", "[64]" },
    { TENSOR("blk.0.attn_q.bias", F32, 0, 63, 0), PUMICE_ERROR_FORMAT,
      "'blk.0.attn_q.bias' has the shape [63]", "[64]" },
    { TENSOR("output.weight", F32, VOCAB_N - 1, EMBD_N, 0), PUMICE_ERROR_FORMAT,
      "'output.weight' has the shape [99 x 64]", "[100 x 64]" },
    { TENSOR("blk.0.attn_sinks.weight", F32, 0, HEADS, 0), PUMICE_ERROR_UNSUPPORTED,
      "'blk.0.attn_sinks.weight'", "'llama'" },
    { TENSOR("blk.0.ffn_up.weight", I8, FF_N, EMBD_N, 0), PUMICE_ERROR_UNSUPPORTED,
      "'blk.0.ffn_up.weight' is of type I8", "F32, F16" },
    { TENSOR("blk.0.attn_norm.weight", Q8_0, 0, EMBD_N, 0), PUMICE_ERROR_UNSUPPORTED,
      "'blk.0.attn_norm.weight' is of type Q8_0", NULL },
    { TENSOR("blk.1.ffn_up.scale", F32, 0, 2, 1), PUMICE_ERROR_FORMAT,
      "'blk.1.ffn_up.scale' has the shape [2]", "[1]" },
    { TENSOR("blk.1.ffn_up.scale", F32, 0, 1, 0), PUMICE_ERROR_FORMAT, "'blk.1.ffn_up.scale' holds 0", NULL },
    { TENSOR("blk.1.ffn_up.scale", F32, 0, 1, NAN), PUMICE_ERROR_FORMAT, "'blk.1.ffn_up.scale' holds", "nan" },
    { TENSOR("blk.1.ffn_up.scale", F16, 0, 1, 0), PUMICE_ERROR_FORMAT, "'blk.1.ffn_up.scale'", "F32" },
    { TENSOR("blk.1.ffn_up_exps.scale", F32, 0, 4, 1), PUMICE_ERROR_UNSUPPORTED,
      "'blk.1.ffn_up_exps.scale'", "'llama'" },
    { TENSOR("blk.1.ffn_norm.scale", F32, 0, 1, 1), PUMICE_ERROR_UNSUPPORTED, "'blk.1.ffn_norm.scale'", "'llama'" },
};

static void put_change(gguf_builder *b, const change *c)
{
    const int32_t items[] = { c->items[0], c->items[1], c->items[1] };
    float *x = NULL;
    switch (c->how) {
    case DROP: gb_drop(b, c->name); break;
    case SET_U32: gb_u32(b, c->name, (uint32_t)c->number); break;
    case SET_I32: gb_i32(b, c->name, (int32_t)c->number); break;
    case SET_F32: gb_f32(b, c->name, (float)c->number); break;
    case SET_BOOL: gb_bool(b, c->name, c->number != 0); break;
    case SET_TEXT: gb_str(b, c->name, c->text); break;
    case SET_ARRAY: gb_array(b, c->name, PUM_GGUF_I32, items, c->rows, 4); break;
    case SET_TENSOR:
        if (c->type == PUM_DTYPE_F32) {
            uint64_t seed = 0;
            x = random_floats((c->rows ? c->rows : 1) * c->cols, 0, (float)c->number, &seed);
        }
        gb_tensor(b, c->name, c->type, c->rows, c->cols, x);
        free(x);
        break;
    }
}

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(faults); i++) {
        gguf_builder b;
        pum_gguf *gguf;
        pum_model_def def, nothing = { 0 };
        pumice_error err = { 0 };
        small_model(&b, "llama");
        put_change(&b, &faults[i].change);
        gb_image(&b);
        if (pum_gguf_open_memory(b.image, b.image_bytes, "small", &gguf, &err)) {
            fail_msg("%s", err.text);
        }
        memset(&def, 0x55, sizeof def);
        pumice_status status = pum_model_def_load(gguf, &def, &err);
        if (status != faults[i].status || err.status != status ||
            !strstr(err.text, faults[i].says) ||
            (faults[i].and_says && !strstr(err.text, faults[i].and_says)) ||
            !strstr(err.text, "'small'") || strchr(err.text, '\n')) {
            fail_msg("%s: status %d: '%s'", faults[i].says, (int)status, err.text);
        }
        assert_memory_equal(&def, &nothing, sizeof def);
        pum_gguf_close(&gguf);
        gb_free(&b);
    }
}

static void test_qwen2_bias_missing(void **state)
{
    (void)state;
    gguf_builder b;
    pum_gguf *gguf;
    pum_model_def def;
    pumice_error err = { 0 };
    small_model(&b, "qwen2");
    put_biases(&b, qkv_biases, qkv_bias_sizes, 3);
    gb_drop(&b, "blk.1.attn_v.bias");
    gb_image(&b);
    assert_int_equal(pum_gguf_open_memory(b.image, b.image_bytes, "small", &gguf, &err), PUMICE_OK);
    assert_int_equal(pum_model_def_load(gguf, &def, &err), PUMICE_ERROR_FORMAT);
    assert_non_null(strstr(err.text, "'blk.1.attn_v.bias' is missing"));
    pum_gguf_close(&gguf);
    gb_free(&b);
}

/* ---- loading ---- */

static void test_small_model(void **state)
{
    (void)state;
    gguf_builder b;
    pum_gguf *gguf;
    pum_model_def def;
    const uint32_t heads[] = { HEADS, HEADS };
    const uint16_t halves[EMBD_N] = {
        0x3c00, 0xc000, 0x0001, 0x8000, 0x7bff, 0xfc00, 0x03ff, 0x0400
    };
    const uint16_t brains[EMBD_N] = { 0x3f80, 0xc000, 0x0001 };
    const float factors[] = { 1, 1, 1, 2, 4, 8, 8, 8 };
    small_model(&b, "llama");
    /* equal items are one number */
    gb_array(&b, "llama.attention.head_count", PUM_GGUF_U32, heads, 2, 4);
    gb_u32(&b, "llama.rope.dimension_count", HEAD);
    gb_u32(&b, "llama.attention.sliding_window", 32);
    gb_tensor(&b, "blk.0.attn_norm.weight", PUM_DTYPE_F16, 0, EMBD_N, halves);
    gb_tensor(&b, "blk.1.attn_norm.weight", PUM_DTYPE_BF16, 0, EMBD_N, brains);
    gb_tensor(&b, "rope_freqs.weight", PUM_DTYPE_F32, 0, HEAD / 2, factors);
    gb_tensor(&b, "blk.0.attn_rot_embd.weight", PUM_DTYPE_I32, 3, 5, NULL); /* without effect */
    gb_tensor(&b, "output.weight", PUM_DTYPE_Q8_0, VOCAB_N, EMBD_N, NULL);
    load_small(&b, &gguf, &def);
    const pum_hparams *hp = &def.hp;
    assert_string_equal(hp->architecture, "llama");
    assert_string_equal(hp->name, "small");
    assert_string_equal(hp->license, "none??");
    assert_string_equal(hp->file_type, "all F32");
    assert_int_equal(hp->head_dim, HEAD);
    assert_int_equal(hp->rot_dim, HEAD);
    assert_int_equal(hp->window, 32);
    assert_int_equal(hp->n_vocab, VOCAB_N);
    assert_true(hp->gated && !hp->parallel && !hp->tied_head);
    assert_int_equal(hp->rope_pairing, ROPE_INTERLEAVED);
    assert_int_equal(hp->rope.kind, PUM_ROPE_LLAMA3);
    assert_true(hp->rope.factor == 8.0f && hp->attn_scale == 0.25f && hp->embed_scale == 1.0f);
    const pum_weight *norm0 = &def.weights.data[def.layers.data[0].attn_norm];
    const pum_weight *norm1 = &def.weights.data[def.layers.data[1].attn_norm];
    const float *x = norm0->data, *y = norm1->data;
    const float want[] = { 1, -2, 0x1p-24f, -0.0f, 65504, -INFINITY, 1023 * 0x1p-24f, 0x1p-14f };
    assert_int_equal(norm0->dtype, PUM_DTYPE_F32);
    assert_int_equal(norm0->row_bytes, 4 * EMBD_N);
    assert_memory_equal(x, want, sizeof want);
    assert_true(y[0] == 1 && y[1] == -2 && y[2] == 0x1p-133f);
    assert_false(norm0->splittable);
    const pum_weight *freq = &def.weights.data[def.rope_freq];
    assert_true(freq->is_constant && freq->rows == 1 && freq->cols == HEAD && freq->owned);
    const pum_weight *head = &def.weights.data[def.head];
    assert_true(head->dtype == PUM_DTYPE_Q8_0 && head->row_bytes == EMBD_N / 32 * 34 &&
                head->splittable);
    uint64_t layer =
        2 * EMBD_N + 2 * EMBD_N * HEADS * HEAD + 2 * EMBD_N * KV_HEADS * HEAD + 3 * EMBD_N * FF_N;
    assert_int_equal(def.parameters, LAYERS * layer + EMBD_N + 2 * VOCAB_N * EMBD_N);
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
    gb_free(&b);
}

static void test_rope_metadata(void **state)
{
    (void)state;
    gguf_builder b;
    pum_gguf *gguf;
    pum_model_def def;
    small_model(&b, "llama");
    gb_f32(&b, "llama.rope.scale_linear", 4);
    load_small(&b, &gguf, &def);
    assert_int_equal(def.hp.rope.kind, PUM_ROPE_LINEAR);
    assert_true(def.hp.rope.factor == 4.0f);
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);

    gb_drop(&b, "llama.rope.scale_linear");
    gb_str(&b, "llama.rope.scaling.type", "yarn");
    gb_f32(&b, "llama.rope.scaling.factor", 4);
    gb_f32(&b, "llama.rope.scaling.attn_factor", 0.5f);
    gb_f32(&b, "llama.rope.scaling.yarn_attn_factor", 3);
    gb_f32(&b, "llama.rope.scaling.yarn_beta_fast", 16);
    gb_u32(&b, "llama.rope.scaling.original_context_length", 32);
    load_small(&b, &gguf, &def);
    assert_int_equal(def.hp.rope.kind, PUM_ROPE_YARN);
    assert_int_equal(def.hp.rope.original_ctx, 32);
    assert_true(def.hp.rope.beta_fast == 16.0f && def.hp.rope.beta_slow == 1.0f);
    assert_float_equal(def.rope_scale, 1.5 * (1 + 0.1 * log(4)), 1e-6);
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);

    gb_str(&b, "llama.rope.scaling.type", "none"); /* "none" means none, whatever the factor */
    load_small(&b, &gguf, &def);
    assert_int_equal(def.hp.rope.kind, PUM_ROPE_NONE);
    assert_true(def.hp.rope.factor == 1.0f && def.hp.rope.original_ctx == 32);
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
    gb_free(&b);
}

static void test_stories_files(void **state)
{
    (void)state;
    static const struct {
        const char *file, *type;
    } files[] = {
        { "stories260K/stories260K-F32.gguf", "all F32" },
        { "stories260K/stories260K-F16.gguf", "mostly F16" },
        { "stories260K/stories260K-Q8_0.gguf", "mostly Q8_0" },
    };
    for (size_t i = 0; i < PUM_COUNT(files); i++) {
        char path[TEST_PATH_BYTES];
        pumice_error err = { 0 };
        pum_gguf *gguf;
        pum_model_def def;
        if (!test_data(files[i].file, path)) skip();
        if (pum_gguf_open(path, &gguf, &err)) fail_msg("%s", err.text);
        if (pum_model_def_load(gguf, &def, &err)) fail_msg("%s", err.text);
        const pum_hparams *hp = &def.hp;
        assert_string_equal(hp->file_type, files[i].type);
        assert_int_equal(hp->n_layers, 5);
        assert_int_equal(hp->n_embd, 64);
        assert_int_equal(hp->n_heads, 8);
        assert_int_equal(hp->n_kv_heads, 4);
        assert_int_equal(hp->head_dim, 8);
        assert_int_equal(hp->n_ff, 172);
        assert_int_equal(hp->n_vocab, 512);
        assert_true(hp->tied_head && def.head == def.embed);
        assert_int_equal(def.layers.count, 5);
        assert_int_equal(def.weights.count, 1 + 1 + 5 * 9 + 1);
        assert_int_equal(def.parameters,
                         512 * 64 + 64 + 5 * (2 * 64 + 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 172));
        pum_model_def_free(&def);
        pum_gguf_close(&gguf);
    }
}

/* ---- graphs on the host ---- */

/* ids of the file's JSON list, which holds nothing but numbers */
static size_t read_numbers(const char *path, int32_t *out, size_t capacity)
{
    FILE *f = fopen(path, "rb");
    size_t n = 0;
    int c;
    assert_non_null(f);
    while (n < capacity && (c = fgetc(f)) != EOF) {
        if (c < '0' || c > '9') continue;
        ungetc(c, f);
        if (fscanf(f, "%d", &out[n]) == 1) n++;
    }
    fclose(f);
    return n;
}

static void test_stories_logits(void **state)
{
    (void)state;
    enum { ROWS = 64, VOCABULARY = 512 };
    char model_path[TEST_PATH_BYTES], ids_path[TEST_PATH_BYTES], logits_path[TEST_PATH_BYTES];
    static float want32[ROWS * VOCABULARY];
    static double want[ROWS * VOCABULARY], got[ROWS * VOCABULARY], last[2 * VOCABULARY];
    int32_t ids[ROWS];
    pumice_error err = { 0 };
    pum_gguf *gguf;
    pum_model_def def;
    if (!test_data("stories260K/stories260K-F32.gguf", model_path) ||
        !test_data("stories260K/logits64.f32", logits_path) ||
        !test_data("stories260K/greedy_ids.json", ids_path)) {
        skip();
    }
    assert_int_equal(read_numbers(ids_path, ids, ROWS), ROWS);
    FILE *f = fopen(logits_path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(want32, sizeof *want32, ROWS * VOCABULARY, f), ROWS * VOCABULARY);
    fclose(f);
    for (size_t i = 0; i < ROWS * VOCABULARY; i++) want[i] = want32[i];
    if (pum_gguf_open(model_path, &gguf, &err)) fail_msg("%s", err.text);
    if (pum_model_def_load(gguf, &def, &err)) fail_msg("%s", err.text);

    host h = host_make(&def);
    host_pass(&h, PUM_HEAD_ALL, 0, ids, 0, ROWS, got);
    double worst = worst_difference(got, want, ROWS * VOCABULARY);
    print_message("worst logit: %g\n", worst);
    assert_true(worst < 2e-5); /* the file's float32 rounding */

    /* the same in parts: fill the cache, then two slots out of order, then one row at a time */
    h.slot_row[0] = 39;
    h.slot_row[1] = 3;
    memset(h.kv, 0, (size_t)2 * 5 * h.cells * 32 * sizeof *h.kv);
    host_pass(&h, PUM_HEAD_NONE, 0, ids, 0, 20, got);
    host_pass(&h, PUM_HEAD_SLOTS, 2, ids + 20, 20, 40, last);
    assert_true(worst_difference(last, want + 59 * VOCABULARY, VOCABULARY) < 2e-5);
    assert_true(worst_difference(last + VOCABULARY, want + 23 * VOCABULARY, VOCABULARY) < 2e-5);
    for (uint32_t i = 60; i < ROWS; i++) {
        host_pass(&h, PUM_HEAD_SLOTS, 1, ids + i, i, 1, last);
        assert_true(worst_difference(last, want + i * VOCABULARY, VOCABULARY) < 2e-5);
    }
    free(h.kv);
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
}

/* ---- options ---- */

static size_t count_nodes(const pum_graph *g, pum_op op)
{
    size_t n = 0;
    for (size_t i = 0; i < g->nodes.count; i++) n += g->nodes.data[i].op == op;
    return n;
}

static const pum_node *find_node(const pum_graph *g, pum_op op, size_t index)
{
    for (size_t i = 0; i < g->nodes.count; i++) {
        if (g->nodes.data[i].op == op && index-- == 0) return &g->nodes.data[i];
    }
    return NULL;
}

static const pum_build all_rows = { .rows = 5, .head = PUM_HEAD_ALL, .kv_type_k = PUM_DTYPE_F16,
                                    .kv_type_v = PUM_DTYPE_F32, .kv_cells = 64, .logits_rows = 8 };

static void build(const pum_model_def *def, const pum_build *how, pum_graph *out_graph)
{
    pum_build b = *how;
    pumice_error err = { 0 };
    b.step = pum_step_layout_make(16, 4, 1, 64);
    if (pum_model_build(def, &b, out_graph, &err)) fail_msg("%s", err.text);
    for (size_t i = 0; i < out_graph->nodes.count; i++) {
        const pum_node *n = &out_graph->nodes.data[i];
        assert_false(pum_op_is_fused(n->op));
        if (pum_op_get(n->op)->check(out_graph, n, &err)) fail_msg("%s", err.text);
    }
}

static void test_qwen2(void **state)
{
    (void)state;
    gguf_builder b;
    pum_gguf *gguf;
    pum_model_def def;
    pum_graph g;
    small_model(&b, "qwen2");
    put_biases(&b, qkv_biases, qkv_bias_sizes, 3);
    const int32_t windowed[] = { 0, 1 };
    gb_u32(&b, "qwen2.attention.sliding_window", 8);
    gb_array(&b, "qwen2.attention.sliding_window_pattern", PUM_GGUF_I32, windowed, 2, 4);
    load_small(&b, &gguf, &def);
    assert_int_equal(def.layers.data[0].window, 0);
    assert_int_equal(def.layers.data[1].window, 8);
    build(&def, &all_rows, &g);
    for (size_t i = 0; i < 3; i++) {
        assert_true(find_node(&g, PUM_OP_MATMUL, i)->in[PUM_IN_MATMUL_BIAS] > 0);
    }
    assert_int_equal(find_node(&g, PUM_OP_MATMUL, 3)->in[PUM_IN_MATMUL_BIAS], PUM_NO_VALUE);
    assert_int_equal(find_node(&g, PUM_OP_ROPE, 0)->params.pairing, ROPE_HALVES);
    assert_int_equal(count_nodes(&g, PUM_OP_ROPE), 2 * LAYERS);
    const pum_node *attn = find_node(&g, PUM_OP_ATTENTION, 1);
    const pum_value *k = &g.values.data[attn->in[PUM_IN_ATTN_KC]],
                    *v = &g.values.data[attn->in[PUM_IN_ATTN_VC]];
    assert_true(k->source == 2 && v->source == 3 && k->dtype == PUM_DTYPE_F16 &&
                v->dtype == PUM_DTYPE_F32);
    assert_true(k->rows == 64 * KV_HEADS && k->cols == HEAD);
    pum_graph_free(&g);
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
    gb_free(&b);
}

/* Scales of whole matrices: of single ones, of one that holds q, k and v, and of a table that is the head too. */
static void test_scales(void **state)
{
    static const struct {
        const char *matrix;
        float scale;
    } scales[] = { { "token_embd", 2.0f },        { "blk.0.attn_qkv", 0.125f }, { "blk.1.attn_q", 0.25f },
                   { "blk.1.attn_k", 0.25f },     { "blk.1.ffn_up", 1.0f },     { "blk.1.ffn_down", 3.0f } };
    static const float want[] = { 0.125f, 0.125f, 0.125f, 0, 0, 0, 0, 0.25f, 0.25f, 0, 0, 0, 0, 3.0f, 2.0f };
    static const char *const parts[] = { "attn_q", "attn_k", "attn_v" };
    (void)state;
    gguf_builder b;
    pum_gguf *gguf;
    pum_model_def def;
    pum_graph g;
    char name[GB_NAME_BYTES];
    uint64_t seed = 3;
    small_model(&b, "llama");
    load_small(&b, &gguf, &def);
    uint64_t parameters = def.parameters;
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
    gb_free(&b);
    small_model(&b, "llama");
    for (size_t i = 0; i < PUM_COUNT(parts); i++) {
        snprintf(name, sizeof name, "blk.0.%s.weight", parts[i]);
        gb_drop(&b, name);
    }
    put_tensor(&b, "blk.0.attn_qkv.weight", (HEADS + 2 * KV_HEADS) * HEAD, EMBD_N, &seed);
    for (size_t i = 0; i < PUM_COUNT(scales); i++) {
        snprintf(name, sizeof name, "%s.scale", scales[i].matrix);
        gb_tensor(&b, name, PUM_DTYPE_F32, 0, 1, &scales[i].scale);
        snprintf(name, sizeof name, "%s.input_scale", scales[i].matrix);
        gb_tensor(&b, name, PUM_DTYPE_F32, 0, 1, &scales[i].scale);
    }
    load_small(&b, &gguf, &def);
    assert_true(def.parameters == parameters);
    build(&def, &all_rows, &g);
    assert_true(find_node(&g, PUM_OP_EMBED, 0)->params.scale == 2.0f);
    assert_int_equal(count_nodes(&g, PUM_OP_MATMUL), PUM_COUNT(want));
    for (size_t i = 0; i < PUM_COUNT(want); i++) {
        assert_true(find_node(&g, PUM_OP_MATMUL, i)->params.scale == want[i]);
    }
    pum_graph_free(&g);
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
    gb_free(&b);
}

/* A row that no architecture has, with every option: LayerNorm and biases everywhere, no gate,
 * parallel with two norms, norms after, partial rotary, windows in all but every other layer,
 * capped scores. */
static void test_all_options(void **state)
{
    (void)state;
    static const char *const names[] = {
        "attn_q.bias", "attn_k.bias", "attn_v.bias", "ffn_up.bias", "attn_norm.bias",
        "ffn_norm.bias", "attn_output.bias", "ffn_down.bias", "post_attention_norm.weight",
        "post_ffw_norm.weight", "attn_q_norm.weight", "attn_k_norm.weight",
    };
    static const uint32_t sizes[] = { HEADS * HEAD, KV_HEADS * HEAD, KV_HEADS * HEAD, FF_N, EMBD_N,
                                      EMBD_N, EMBD_N, EMBD_N, EMBD_N, EMBD_N, HEAD,
                                      HEAD };
    const uint32_t options = PUM_ARCH_QKV_BIAS | PUM_ARCH_UNGATED | PUM_ARCH_PARALLEL
                           | PUM_ARCH_BRANCH_NORMS | PUM_ARCH_WINDOW_EVERY(2)
                           | PUM_ARCH_QK_HEADS | PUM_ARCH_POSITIONS;
    const pum_arch arch = { "llama", ROPE_HALVES, NORM_LAYER, ACT_GELU_ERF, options,
                            pum_hparams_decoder, pum_build_decoder };
    gguf_builder b;
    pum_gguf *gguf;
    pum_model_def def;
    pum_graph g;
    pumice_error err = { 0 };
    uint64_t seed = 3;
    small_model(&b, "llama");
    put_biases(&b, names, sizes, PUM_COUNT(names));
    put_tensor(&b, "output_norm.bias", 0, EMBD_N, &seed);
    put_tensor(&b, "output.bias", 0, VOCAB_N, &seed);
    for (int i = 0; i < LAYERS; i++) {
        char gate[GB_NAME_BYTES];
        snprintf(gate, sizeof gate, "blk.%d.ffn_gate.weight", i);
        gb_drop(&b, gate);
    }
    put_tensor(&b, "position_embd.weight", 40, EMBD_N, &seed);
    gb_f32(&b, "llama.attention.layer_norm_epsilon", 1e-5f);
    gb_u32(&b, "llama.rope.dimension_count", 4);
    gb_u32(&b, "llama.attention.sliding_window", 3);
    gb_image(&b);
    assert_int_equal(pum_gguf_open_memory(b.image, b.image_bytes, "small", &gguf, &err), PUMICE_OK);
    if (pum_model_def_load_as(&arch, gguf, &def, &err)) fail_msg("%s", err.text);
    assert_int_equal(def.hp.n_ctx_train, 40); /* no row, no position */
    def.hp.attn_softcap = 30;
    def.hp.clamp_qkv = 0.4f;
    def.hp.logit_scale = 0.25f;
    def.hp.final_softcap = 3;
    def.hp.embed_scale = 8;
    build(&def, &all_rows, &g);
    assert_int_equal(count_nodes(&g, PUM_OP_NORM), 6 * LAYERS + 1);
    assert_int_equal(count_nodes(&g, PUM_OP_MATMUL), 6 * LAYERS + 1);
    assert_int_equal(count_nodes(&g, PUM_OP_ADD), 2 * LAYERS + 1);
    assert_int_equal(count_nodes(&g, PUM_OP_LIMIT), 3 * LAYERS + 1);
    assert_int_equal(find_node(&g, PUM_OP_EMBED, 1)->params.row_field, ROW_POS);
    for (size_t i = 0; i < 6 * LAYERS + 1; i++) {
        assert_true(find_node(&g, PUM_OP_MATMUL, i)->in[PUM_IN_MATMUL_BIAS] > 0);
    }
    assert_true(find_node(&g, PUM_OP_NORM, 0)->in[PUM_IN_NORM_B] > 0);
    assert_int_equal(find_node(&g, PUM_OP_NORM, 0)->params.norm, NORM_LAYER);
    assert_int_equal(find_node(&g, PUM_OP_ACT, 0)->in[PUM_IN_ACT_UP], PUM_NO_VALUE);
    assert_int_equal(find_node(&g, PUM_OP_ROPE, 1)->params.rot_dim, 4);
    assert_int_equal(find_node(&g, PUM_OP_ATTENTION, 0)->params.window, 3);
    assert_int_equal(find_node(&g, PUM_OP_ATTENTION, 1)->params.window, 0);
    assert_true(find_node(&g, PUM_OP_ATTENTION, 0)->params.softcap == 30.0f);
    assert_true(find_node(&g, PUM_OP_EMBED, 0)->params.scale == 8.0f);
    pum_graph_free(&g);

    /* rows taken out early give what all rows give, in every form of the block */
    pum_layer kept[LAYERS];
    memcpy(kept, def.layers.data, sizeof kept);
    for (int form = 0; form < 5; form++) {
        const int32_t tokens[] = { 5, 99, 0, 41, 17, 3 };
        static double all[6 * VOCAB_N], some[2 * VOCAB_N];
        if (form == 1) {
            def.layers.data[0].ffn_norm = def.layers.data[1].ffn_norm = -1; /* one norm for both */
        }
        if (form == 2) def.layers.data[0].attn_post_norm = def.layers.data[1].ffn_post_norm = -1;
        if (form == 3) {
            def.hp.norm_at = PUM_NORM_SUM;
            def.hp.parallel = false;
            memcpy(def.layers.data, kept, sizeof kept);
        }
        if (form == 4) def.hp.norm_at = PUM_NORM_BRANCH;
        host h = host_make(&def);
        h.slot_row[0] = 4;
        h.slot_row[1] = 1;
        host_pass(&h, PUM_HEAD_ALL, 0, tokens, 0, 6, all);
        host_pass(&h, PUM_HEAD_SLOTS, 2, tokens, 0, 6, some);
        assert_true(worst_difference(some, all + 4 * VOCAB_N, VOCAB_N) < 1e-12);
        assert_true(worst_difference(some + VOCAB_N, all + VOCAB_N, VOCAB_N) < 1e-12);
        free(h.kv);
    }
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
    gb_free(&b);
}

/* ---- kinds of passes ---- */

static void test_passes(void **state)
{
    (void)state;
    gguf_builder b;
    pum_gguf *gguf;
    pum_model_def def;
    pum_graph g;
    pum_build how = all_rows;
    small_model(&b, "llama");
    load_small(&b, &gguf, &def);

    how.head = PUM_HEAD_NONE; /* ends with the last layer's store: no q, no MLP, no logits there */
    build(&def, &how, &g);
    assert_int_equal(g.nodes.data[g.nodes.count - 1].op, PUM_OP_KV_STORE);
    assert_int_equal(count_nodes(&g, PUM_OP_MATMUL), 7 * (LAYERS - 1) + 2);
    assert_int_equal(count_nodes(&g, PUM_OP_ATTENTION), LAYERS - 1);
    pum_graph_free(&g);

    how = (pum_build){ .rows = 1,
                       .n_slots = 1,
                       .head = PUM_HEAD_SLOTS,
                       .sampler = PUM_SAMPLER_ARGMAX,
                       .kv_cells = 32,
                       .logits_rows = 1 };
    build(&def, &how, &g); /* decode: nothing to gather */
    assert_int_equal(count_nodes(&g, PUM_OP_GATHER_ROWS), 0);
    assert_int_equal(count_nodes(&g, PUM_OP_MATMUL), 7 * LAYERS + 1);
    const pum_node *last = &g.nodes.data[g.nodes.count - 1],
                   *head = &g.nodes.data[g.nodes.count - 2];
    assert_int_equal(last->op, PUM_OP_ARGMAX);
    assert_int_equal(g.values.data[head->out].kind, PUM_VALUE_LOGITS);
    assert_int_equal(last->in[PUM_IN_X], head->out);
    assert_int_equal(last->params.slots, 1);
    /* the tied head reads the value that the embedding does */
    assert_int_equal(head->in[PUM_IN_MATMUL_W], g.nodes.data[0].in[PUM_IN_EMBED_TABLE]);
    pum_graph_free(&g);

    how.rows = how.n_slots = how.logits_rows = 3;
    how.sampler = PUM_SAMPLER_CHAIN;
    build(&def, &how, &g); /* several sequences: slots may be in another order than rows */
    assert_int_equal(count_nodes(&g, PUM_OP_GATHER_ROWS), 1);
    assert_int_equal(g.nodes.data[g.nodes.count - 1].op, PUM_OP_SAMPLE);
    pum_graph_free(&g);

    how.head = PUM_HEAD_ALL;
    how.sampler = PUM_SAMPLER_SCORE;
    build(&def, &how, &g); /* the rows themselves, and no slot */
    assert_int_equal(count_nodes(&g, PUM_OP_GATHER_ROWS), 0);
    assert_int_equal(g.nodes.data[g.nodes.count - 1].op, PUM_OP_SCORE);
    assert_int_equal(g.nodes.data[g.nodes.count - 1].params.rows, 3);
    pum_graph_free(&g);

    how.head = PUM_HEAD_SLOTS;
    how.sampler = PUM_SAMPLER_CHAIN;
    how.rows = 0;
    build(&def, &how, &g); /* sampling from logits that are there already */
    assert_int_equal(g.nodes.count, 1);
    pum_graph_free(&g);

    static const pum_build bad[] = {
        { .rows = 0 },
        { .rows = 17, .kv_cells = 32 },
        { .rows = 1, .kv_cells = 31 },
        { .rows = 1, .kv_cells = 32, .kv_type_k = PUM_DTYPE_BF16 },
        { .rows = 1, .kv_cells = 32, .head = PUM_HEAD_SLOTS, .logits_rows = 4 },
        { .rows = 1, .kv_cells = 32, .head = PUM_HEAD_SLOTS, .n_slots = 5, .logits_rows = 8 },
        { .rows = 3, .kv_cells = 32, .head = PUM_HEAD_ALL, .logits_rows = 2 },
        { .rows = 0, .sampler = PUM_SAMPLER_ARGMAX, .n_slots = 2, .logits_rows = 1 },
        { .rows = 1, .kv_cells = 32, .head = PUM_HEAD_SLOTS, .n_slots = 1, .logits_rows = 1,
          .sampler = PUM_SAMPLER_SCORE },
    };
    for (size_t i = 0; i < PUM_COUNT(bad); i++) {
        pumice_error err = { 0 };
        how = bad[i];
        how.step = pum_step_layout_make(16, 4, 1, 64);
        assert_int_equal(pum_model_build(&def, &how, &g, &err), PUMICE_ERROR_INVALID);
        assert_true(err.text[0] != '\0' && g.nodes.count == 0);
    }
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
    gb_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_qwen2_bias_missing),
        cmocka_unit_test(test_small_model),
        cmocka_unit_test(test_rope_metadata),
        cmocka_unit_test(test_stories_files),
        cmocka_unit_test(test_stories_logits),
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_scales),
        cmocka_unit_test(test_all_options),
        cmocka_unit_test(test_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
