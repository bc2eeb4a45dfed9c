/* SPDX-License-Identifier: Apache-2.0
 * Models without a device: rotary frequencies against other people's arithmetic, loading of real files, one sentence for
 * every fault, and graphs run on the host in double precision, by an interpreter that knows nothing of the builder,
 * against the logits of stories260K. */
#include <math.h>

#include "arch.h"
#include "gguf_builder.h"
#include "op.h"
#include "testing.h"

static const double PI = 3.14159265358979323846;

/* ---- rotary frequencies ---- */

typedef struct rope_case {
    const char *name;
    pum_hparams hp;
    struct {
        uint32_t pair;
        uint64_t turns; /* in 2^-64 */
    } want[7];
    double scale;
} rope_case;

#define ROPE(k, ...) .rope = { .kind = k, .attn_factor = 1, .ext_factor = 1, .beta_fast = 32, .beta_slow = 1, __VA_ARGS__ }

/* Computed with 200 bits from the formulas of Hugging Face transformers 4.44.2 (modeling_rope_utils.py). */
static const rope_case rope_cases[] = {
    { "plain, few", { .rot_dim = 8, .rope_base = 10000, ROPE(PUM_ROPE_NONE, .factor = 1) },
      { { 0, 0x28be60db9391054a }, { 1, 0x041309af8ec1b3bb }, { 2, 0x00684dc4c179c52c }, { 3, 0x000a6e2d468c2d51 } }, 1 },
    { "plain, large base", { .rot_dim = 128, .rope_base = 500000, ROPE(PUM_ROPE_NONE, .factor = 1) },
      { { 1, 0x2130c415f3514ea0 }, { 17, 0x013f8796b76e6bcd }, { 63, 0x0000068e3fbde7a8 } }, 1 },
    { "linear", { .rot_dim = 128, .rope_base = 10000, ROPE(PUM_ROPE_LINEAR, .factor = 3) },
      { { 0, 0x0d94caf3dbdb01c3 }, { 1, 0x0bc2c74c7216ccba }, { 63, 0x000066c84ba7300c } }, 1 },
    { "NTK", { .rot_dim = 128, .rope_base = 10000, ROPE(PUM_ROPE_NTK, .factor = 2.5f) },
      { { 0, 0x28be60db9391054a }, { 1, 0x22c5ead2ab0acf50 }, { 63, 0x00007b56c12f0675 } }, 1 },
    { "YaRN", { .rot_dim = 128, .rope_base = 10000, ROPE(PUM_ROPE_YARN, .factor = 16, .original_ctx = 4096) },
      { { 0, 0x28be60db9391054a }, { 20, 0x024a8b144acc0654 }, { 21, 0x01e99c65e67a0c6a }, { 33, 0x002ffbf9f037e225 },
        { 45, 0x00019541cc7f0562 }, { 46, 0x0000de8bcf1fccef }, { 63, 0x000013458e2f5902 } }, 1.2772588722239782 },
    { "Llama 3", { .rot_dim = 128, .rope_base = 500000, ROPE(PUM_ROPE_LLAMA3, .factor = 8, .original_ctx = 8192,
                                                             .low_freq_factor = 1, .high_freq_factor = 4) },
      { { 0, 0x28be60db9391054a }, { 28, 0x00217f20f7661d20 }, { 29, 0x001699208a7fa1d9 }, { 32, 0x0005796e9c552800 },
        { 35, 0x0000ff2af3061d47 }, { 63, 0x000000d1c7f7bcf5 } }, 1 },
};

static uint64_t turns_at(const uint32_t *words, uint32_t pair)
{
    return (uint64_t)words[2 * pair + 1] << 32 | words[2 * pair];
}

static void test_rope_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(rope_cases); i++) {
        const rope_case *c = &rope_cases[i];
        uint32_t words[256];
        float scale;
        pum_rope_frequencies(&c->hp, NULL, words, &scale);
        assert_float_equal(scale, c->scale, 1e-6);
        for (size_t k = 0; k < PUM_COUNT(c->want) && c->want[k].turns; k++) {
            uint64_t got = turns_at(words, c->want[k].pair), want = c->want[k].turns;
            uint64_t off = got > want ? got - want : want - got;
            /* the ramp of YaRN and Llama 3 is a double: 2^-53 of the frequency, which is below 2^-5 there */
            if (off > 16) fail_msg("%s, pair %u: %016llx, not %016llx", c->name, c->want[k].pair,
                                   (unsigned long long)got, (unsigned long long)want);
        }
    }
}

static void test_rope_factors(void **state)
{
    (void)state;
    /* the divisors of a file take the place of Llama 3's formula, and come before other scaling */
    const int kinds[] = { PUM_ROPE_NONE, PUM_ROPE_LLAMA3, PUM_ROPE_LINEAR };
    const float factors[] = { 1, 1.5f, 3, 8 };
    for (size_t i = 0; i < PUM_COUNT(kinds); i++) {
        pum_hparams hp = { .rot_dim = 8, .rope_base = 10000, ROPE(kinds[i], .factor = 2, .original_ctx = 64,
                                                                  .low_freq_factor = 1, .high_freq_factor = 4) };
        uint32_t words[8];
        float scale;
        pum_rope_frequencies(&hp, factors, words, &scale);
        assert_true(scale == 1.0f);
        for (uint32_t k = 0; k < 4; k++) {
            double want = pow(10000, -0.25 * k) / factors[k] / (2 * PI) / (kinds[i] == PUM_ROPE_LINEAR ? 2 : 1);
            assert_true(fabs(ldexp((double)turns_at(words, k), -64) / want - 1) < 1e-14);
        }
    }
}

static void test_rope_edges(void **state)
{
    (void)state;
    uint32_t words[256];
    float scale;
    /* two pairs' worth of NTK, a single pair, a tiny base, a huge one, a factor below one: all finite, pair 0 right */
    const struct { uint32_t dim; float base, factor; int kind; double first; } cases[] = {
        { 2, 10000, 4, PUM_ROPE_NTK, 1 }, { 4, 10000, 4, PUM_ROPE_NTK, 1 }, { 256, 1.0001f, 1, PUM_ROPE_NONE, 1 },
        { 256, 1e30f, 1, PUM_ROPE_NONE, 1 }, { 64, 10000, 0.5f, PUM_ROPE_LINEAR, 2 },
        { 64, 10000, 0.01f, PUM_ROPE_LINEAR, 100 }, { 64, 1.0001f, 1000, PUM_ROPE_YARN, 1 },
    };
    for (size_t i = 0; i < PUM_COUNT(cases); i++) {
        pum_hparams hp = { .rot_dim = cases[i].dim, .rope_base = cases[i].base,
                           ROPE(cases[i].kind, .factor = cases[i].factor, .original_ctx = 1u << 20) };
        pum_rope_frequencies(&hp, NULL, words, &scale);
        double want = cases[i].first / (double)(cases[i].factor < 1 ? cases[i].factor * cases[i].first : 1) / (2 * PI);
        double got = ldexp((double)turns_at(words, 0), -64);
        assert_true(isfinite(scale));
        assert_true(fabs(got - (want - floor(want))) < 1e-6);
    }
}

/* ---- a small model to break ---- */

enum { EMBD_N = 64, HEADS = 4, KV_HEADS = 2, HEAD = 16, FF_N = 96, VOCAB_N = 100, LAYERS = 2 };

static float *random_floats(size_t n, float size, float centre, uint64_t *seed)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
        x[i] = centre + size * ((float)(*seed >> 40) / (1 << 23) - 1.0f);
    }
    return x;
}

static void put_tensor(gguf_builder *b, const char *name, uint64_t rows, uint64_t cols, uint64_t *seed)
{
    float *x = random_floats((rows ? rows : 1) * cols, 0.2f, strstr(name, "norm.weight") ? 1.0f : 0.0f, seed);
    gb_tensor(b, name, PUM_DTYPE_F32, rows, cols, x);
    free(x);
}

static void key(gguf_builder *b, const char *arch, const char *suffix, uint32_t value)
{
    char name[GB_NAME_BYTES];
    snprintf(name, sizeof name, "%s.%s", arch, suffix);
    gb_u32(b, name, value);
}

static void small_model(gguf_builder *b, const char *arch)
{
    static const struct { const char *name; uint32_t rows, cols; } layer[] = {
        { "attn_norm.weight", 0, EMBD_N }, { "attn_q.weight", HEADS * HEAD, EMBD_N },
        { "attn_k.weight", KV_HEADS * HEAD, EMBD_N }, { "attn_v.weight", KV_HEADS * HEAD, EMBD_N },
        { "attn_output.weight", EMBD_N, HEADS * HEAD }, { "ffn_norm.weight", 0, EMBD_N },
        { "ffn_gate.weight", FF_N, EMBD_N }, { "ffn_up.weight", FF_N, EMBD_N }, { "ffn_down.weight", EMBD_N, FF_N },
    };
    char name[GB_NAME_BYTES];
    uint64_t seed = 7;
    *b = (gguf_builder){ 0 };
    gb_str(b, "general.architecture", arch);
    gb_str(b, "general.name", "small");
    gb_str(b, "general.license", "none\n\xff");
    gb_u32(b, "general.file_type", 0);
    key(b, arch, "context_length", 128);
    key(b, arch, "embedding_length", EMBD_N);
    key(b, arch, "block_count", LAYERS);
    key(b, arch, "feed_forward_length", FF_N);
    key(b, arch, "attention.head_count", HEADS);
    key(b, arch, "attention.head_count_kv", KV_HEADS);
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", arch);
    gb_f32(b, name, 1e-5f);
    put_tensor(b, "token_embd.weight", VOCAB_N, EMBD_N, &seed);
    for (int i = 0; i < LAYERS; i++) {
        for (size_t k = 0; k < PUM_COUNT(layer); k++) {
            snprintf(name, sizeof name, "blk.%d.%s", i, layer[k].name);
            put_tensor(b, name, layer[k].rows, layer[k].cols, &seed);
        }
    }
    put_tensor(b, "output_norm.weight", 0, EMBD_N, &seed);
}

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

static void load_small(gguf_builder *b, pum_gguf **out_gguf, pum_model_def *out_def)
{
    pumice_error err = { 0 };
    gb_image(b);
    if (pum_gguf_open_memory(b->image, b->image_bytes, "small", out_gguf, &err)) fail_msg("%s", err.text);
    if (pum_model_def_load(*out_gguf, out_def, &err)) fail_msg("%s", err.text);
}

/* ---- faults ---- */

static void no_arch(gguf_builder *b) { gb_drop(b, "general.architecture"); }
static void odd_arch(gguf_builder *b) { gb_str(b, "general.architecture", "mam\nba"); }
static void long_arch(gguf_builder *b)
{
    char name[200];
    memset(name, 'x', sizeof name);
    name[199] = '\0';
    gb_str(b, "general.architecture", name);
}
static void split(gguf_builder *b) { gb_u32(b, "split.count", 3); }
static void experts(gguf_builder *b) { gb_u32(b, "llama.expert_count", 8); }
static void encoder(gguf_builder *b) { gb_bool(b, "llama.attention.causal", false); }
static void no_ctx(gguf_builder *b) { gb_drop(b, "llama.context_length"); }
static void text_ctx(gguf_builder *b) { gb_str(b, "llama.context_length", "many"); }
static void zero_heads(gguf_builder *b) { gb_u32(b, "llama.attention.head_count", 0); }
static void negative_heads(gguf_builder *b) { gb_i32(b, "llama.attention.head_count", -4); }
static void heads_by_kv(gguf_builder *b) { gb_u32(b, "llama.attention.head_count_kv", 3); }
static void heads_by_embd(gguf_builder *b)
{
    gb_u32(b, "llama.attention.head_count", 5);
    gb_u32(b, "llama.attention.head_count_kv", 5);
}
static void head_array(gguf_builder *b)
{
    const uint32_t n[] = { 4, 2 };
    gb_array(b, "llama.attention.head_count", PUM_GGUF_U32, n, 2, 4);
}
static void short_array(gguf_builder *b)
{
    const uint32_t n[] = { 4, 4, 4 };
    gb_array(b, "llama.attention.head_count", PUM_GGUF_U32, n, 3, 4);
}
static void negative_array(gguf_builder *b)
{
    const int32_t n[] = { -1, -1 };
    gb_array(b, "llama.feed_forward_length", PUM_GGUF_I32, n, 2, 4);
}
static void odd_head(gguf_builder *b) { gb_u32(b, "llama.attention.key_length", 15); }
static void large_head(gguf_builder *b) { gb_u32(b, "llama.attention.key_length", 512); }
static void value_length(gguf_builder *b) { gb_u32(b, "llama.attention.value_length", 32); }
static void layers(gguf_builder *b) { gb_u32(b, "llama.block_count", 10001); }
static void no_layers(gguf_builder *b) { gb_u32(b, "llama.block_count", 0); }
static void more_layers(gguf_builder *b) { gb_u32(b, "llama.block_count", LAYERS + 1); }
static void nan_eps(gguf_builder *b) { gb_f32(b, "llama.attention.layer_norm_rms_epsilon", NAN); }
static void no_eps(gguf_builder *b) { gb_drop(b, "llama.attention.layer_norm_rms_epsilon"); }
static void zero_eps(gguf_builder *b) { gb_f32(b, "llama.attention.layer_norm_rms_epsilon", 0); }
static void large_rot(gguf_builder *b) { gb_u32(b, "llama.rope.dimension_count", HEAD + 2); }
static void odd_rot(gguf_builder *b) { gb_u32(b, "llama.rope.dimension_count", 7); }
static void zero_base(gguf_builder *b) { gb_f32(b, "llama.rope.freq_base", 0); }
static void inf_base(gguf_builder *b) { gb_f32(b, "llama.rope.freq_base", INFINITY); }
static void rope_type(gguf_builder *b) { gb_str(b, "llama.rope.scaling.type", "longrope"); }
static void rope_type_kind(gguf_builder *b) { gb_u32(b, "llama.rope.scaling.type", 1); }
static void rope_factor(gguf_builder *b)
{
    gb_str(b, "llama.rope.scaling.type", "linear");
    gb_f32(b, "llama.rope.scaling.factor", -2);
}
static void rope_small_factor(gguf_builder *b) { gb_f32(b, "llama.rope.scaling.factor", 1e-6f); }
static void vocab_size(gguf_builder *b) { gb_u32(b, "llama.vocab_size", VOCAB_N + 1); }
static void zero_vocab(gguf_builder *b) { gb_u32(b, "llama.vocab_size", 0); }
static void no_embd(gguf_builder *b) { gb_drop(b, "token_embd.weight"); }
static void no_down(gguf_builder *b) { gb_drop(b, "blk.1.ffn_down.weight"); }
static void no_norm(gguf_builder *b) { gb_drop(b, "output_norm.weight"); }
static void q_shape(gguf_builder *b) { gb_tensor(b, "blk.1.attn_q.weight", PUM_DTYPE_F32, 32, EMBD_N, NULL); }
static void norm_shape(gguf_builder *b) { gb_tensor(b, "blk.0.attn_norm.weight", PUM_DTYPE_F32, 0, 32, NULL); }
static void norm_two(gguf_builder *b) { gb_tensor(b, "blk.0.ffn_norm.weight", PUM_DTYPE_F32, 2, EMBD_N, NULL); }
static void bias_shape(gguf_builder *b) { gb_tensor(b, "blk.0.attn_q.bias", PUM_DTYPE_F32, 0, 63, NULL); }
static void head_shape(gguf_builder *b) { gb_tensor(b, "output.weight", PUM_DTYPE_F32, VOCAB_N - 1, EMBD_N, NULL); }
static void up_type(gguf_builder *b) { gb_tensor(b, "blk.0.ffn_up.weight", PUM_DTYPE_I8, FF_N, EMBD_N, NULL); }
static void norm_type(gguf_builder *b) { gb_tensor(b, "blk.0.attn_norm.weight", PUM_DTYPE_Q8_0, 0, EMBD_N, NULL); }
static void freqs_shape(gguf_builder *b) { gb_tensor(b, "rope_freqs.weight", PUM_DTYPE_F32, 0, HEAD, NULL); }
static void freqs_type(gguf_builder *b) { gb_tensor(b, "rope_freqs.weight", PUM_DTYPE_F16, 0, HEAD / 2, NULL); }
static void freqs_zero(gguf_builder *b) { gb_tensor(b, "rope_freqs.weight", PUM_DTYPE_F32, 0, HEAD / 2, NULL); }
static void freqs_nan(gguf_builder *b)
{
    const float x[] = { 1, 1, NAN, 1, 1, 1, 1, 1 };
    gb_tensor(b, "rope_freqs.weight", PUM_DTYPE_F32, 0, HEAD / 2, x);
}

static const struct {
    void (*make)(gguf_builder *b);
    pumice_status status;
    const char *says, *and_says;
} faults[] = {
    { no_arch, PUMICE_ERROR_FORMAT, "general.architecture", NULL },
    { odd_arch, PUMICE_ERROR_UNSUPPORTED, "'mam?ba'", "llama, qwen2" },
    { long_arch, PUMICE_ERROR_UNSUPPORTED, "'xxxxxxxx", "llama, qwen2" },
    { split, PUMICE_ERROR_UNSUPPORTED, "split.count", NULL },
    { experts, PUMICE_ERROR_UNSUPPORTED, "llama.expert_count is 8", NULL },
    { encoder, PUMICE_ERROR_UNSUPPORTED, "llama.attention.causal", NULL },
    { no_ctx, PUMICE_ERROR_FORMAT, "llama.context_length is missing", NULL },
    { text_ctx, PUMICE_ERROR_FORMAT, "llama.context_length", NULL },
    { zero_heads, PUMICE_ERROR_FORMAT, "llama.attention.head_count is 0", NULL },
    { negative_heads, PUMICE_ERROR_FORMAT, "llama.attention.head_count", NULL },
    { heads_by_kv, PUMICE_ERROR_FORMAT, "llama.attention.head_count is 4", "head_count_kv, 3" },
    { heads_by_embd, PUMICE_ERROR_FORMAT, "llama.embedding_length is 64", "head_count, 5" },
    { head_array, PUMICE_ERROR_UNSUPPORTED, "llama.attention.head_count differs", NULL },
    { short_array, PUMICE_ERROR_FORMAT, "llama.attention.head_count has 3 items for 2 layers", NULL },
    { negative_array, PUMICE_ERROR_FORMAT, "llama.feed_forward_length", NULL },
    { odd_head, PUMICE_ERROR_UNSUPPORTED, "heads of 15", "key_length" },
    { large_head, PUMICE_ERROR_UNSUPPORTED, "heads of 512", "key_length" },
    { value_length, PUMICE_ERROR_UNSUPPORTED, "llama.attention.value_length is 32", NULL },
    { layers, PUMICE_ERROR_FORMAT, "llama.block_count is 10001", NULL },
    { no_layers, PUMICE_ERROR_FORMAT, "llama.block_count is 0", NULL },
    { more_layers, PUMICE_ERROR_FORMAT, "'blk.2.attn_norm.weight' is missing", NULL },
    { nan_eps, PUMICE_ERROR_FORMAT, "llama.attention.layer_norm_rms_epsilon is", "nan" },
    { no_eps, PUMICE_ERROR_FORMAT, "llama.attention.layer_norm_rms_epsilon is missing", NULL },
    { zero_eps, PUMICE_ERROR_FORMAT, "llama.attention.layer_norm_rms_epsilon is 0", NULL },
    { large_rot, PUMICE_ERROR_FORMAT, "llama.rope.dimension_count is 18", NULL },
    { odd_rot, PUMICE_ERROR_FORMAT, "llama.rope.dimension_count is 7", NULL },
    { zero_base, PUMICE_ERROR_FORMAT, "llama.rope.freq_base is 0", NULL },
    { inf_base, PUMICE_ERROR_FORMAT, "llama.rope.freq_base is inf", NULL },
    { rope_type, PUMICE_ERROR_UNSUPPORTED, "llama.rope.scaling.type is 'longrope'", NULL },
    { rope_type_kind, PUMICE_ERROR_FORMAT, "llama.rope.scaling.type", NULL },
    { rope_factor, PUMICE_ERROR_FORMAT, "llama.rope.scaling.factor is -2", NULL },
    { rope_small_factor, PUMICE_ERROR_FORMAT, "llama.rope.scaling.factor is 1e-06", NULL },
    { vocab_size, PUMICE_ERROR_FORMAT, "'token_embd.weight' has the shape [100 x 64]", "[101 x 64]" },
    { zero_vocab, PUMICE_ERROR_FORMAT, "llama.vocab_size is 0", NULL },
    { no_embd, PUMICE_ERROR_FORMAT, "'token_embd.weight' is missing", NULL },
    { no_down, PUMICE_ERROR_FORMAT, "'blk.1.ffn_down.weight' is missing", NULL },
    { no_norm, PUMICE_ERROR_FORMAT, "'output_norm.weight' is missing", NULL },
    { q_shape, PUMICE_ERROR_FORMAT, "'blk.1.attn_q.weight' has the shape [32 x 64]", "[64 x 64]" },
    { norm_shape, PUMICE_ERROR_FORMAT, "'blk.0.attn_norm.weight' has the shape [32]", "[64]" },
    { norm_two, PUMICE_ERROR_FORMAT, "'blk.0.ffn_norm.weight' has the shape [2 x 64]", NULL },
    { bias_shape, PUMICE_ERROR_FORMAT, "'blk.0.attn_q.bias' has the shape [63]", NULL },
    { head_shape, PUMICE_ERROR_FORMAT, "'output.weight' has the shape [99 x 64]", NULL },
    { up_type, PUMICE_ERROR_UNSUPPORTED, "'blk.0.ffn_up.weight' is of type I8", "F32, F16, BF16, Q4_0, Q8_0" },
    { norm_type, PUMICE_ERROR_UNSUPPORTED, "'blk.0.attn_norm.weight' is of type Q8_0", NULL },
    { freqs_shape, PUMICE_ERROR_FORMAT, "'rope_freqs.weight' has the shape [16]", "[8]" },
    { freqs_type, PUMICE_ERROR_FORMAT, "'rope_freqs.weight'", NULL },
    { freqs_zero, PUMICE_ERROR_FORMAT, "'rope_freqs.weight' is 0", NULL },
    { freqs_nan, PUMICE_ERROR_FORMAT, "item 2 of tensor 'rope_freqs.weight'", "nan" },
};

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(faults); i++) {
        gguf_builder b;
        pum_gguf *gguf;
        pum_model_def def, nothing = { 0 };
        pumice_error err = { 0 };
        small_model(&b, "llama");
        faults[i].make(&b);
        gb_image(&b);
        if (pum_gguf_open_memory(b.image, b.image_bytes, "small", &gguf, &err)) fail_msg("%s", err.text);
        memset(&def, 0x55, sizeof def);
        pumice_status status = pum_model_def_load(gguf, &def, &err);
        if (status != faults[i].status || err.status != status || !strstr(err.text, faults[i].says)
            || (faults[i].and_says && !strstr(err.text, faults[i].and_says)) || !strstr(err.text, "'small'")
            || strchr(err.text, '\n')) {
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
    const uint16_t halves[EMBD_N] = { 0x3c00, 0xc000, 0x0001, 0x8000, 0x7bff, 0xfc00, 0x03ff, 0x0400 };
    const uint16_t brains[EMBD_N] = { 0x3f80, 0xc000, 0x0001 };
    const float factors[] = { 1, 1, 1, 2, 4, 8, 8, 8 };
    small_model(&b, "llama");
    gb_array(&b, "llama.attention.head_count", PUM_GGUF_U32, heads, 2, 4); /* equal items are one number */
    gb_u32(&b, "llama.rope.dimension_count", HEAD);
    gb_u32(&b, "llama.attention.sliding_window", 32);
    gb_tensor(&b, "blk.0.attn_norm.weight", PUM_DTYPE_F16, 0, EMBD_N, halves);
    gb_tensor(&b, "blk.1.attn_norm.weight", PUM_DTYPE_BF16, 0, EMBD_N, brains);
    gb_tensor(&b, "rope_freqs.weight", PUM_DTYPE_F32, 0, HEAD / 2, factors);
    gb_tensor(&b, "blk.0.attn_rot_embd.weight", PUM_DTYPE_I32, 3, 5, NULL); /* unknown: ignored */
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
    assert_true(head->dtype == PUM_DTYPE_Q8_0 && head->row_bytes == EMBD_N / 32 * 34 && head->splittable);
    uint64_t layer = 2 * EMBD_N + 2 * EMBD_N * HEADS * HEAD + 2 * EMBD_N * KV_HEADS * HEAD + 3 * EMBD_N * FF_N;
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
    static const struct { const char *file, *type; } files[] = {
        { "stories260K/stories260K-F32.gguf", "all F32" }, { "stories260K/stories260K-F16.gguf", "mostly F16" },
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
        assert_int_equal(def.parameters, 512 * 64 + 64 + 5 * (2 * 64 + 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 172));
        pum_model_def_free(&def);
        pum_gguf_close(&gguf);
    }
}

/* ---- graphs on the host ---- */

enum { MAX_ROWS = 256, MAX_SLOTS = 8 };

typedef struct host {
    const pum_model_def *def;
    const pum_graph *graph;
    const int32_t *tokens;         /* of the rows, one sequence: row i has position and cell first + i */
    uint32_t first;
    uint32_t slot_row[MAX_SLOTS];
    double **values;               /* by value id; weights are converted when first read */
    double *kv;                    /* [2 * layers][cell][kv head * head_dim] */
    uint32_t cells;
} host;

static double *host_value(host *h, pum_value_id id)
{
    if (id < 0) return NULL;
    const pum_value *v = &h->graph->values.data[id];
    if (!h->values[id]) {
        h->values[id] = calloc(v->rows * v->cols, sizeof(double));
        assert_non_null(h->values[id]);
        if (v->kind == PUM_VALUE_WEIGHT) {
            assert_int_equal(v->dtype, PUM_DTYPE_F32);
            for (uint64_t i = 0; i < v->rows * v->cols; i++) {
                float x;
                memcpy(&x, (const char *)h->def->weights.data[v->source].data + 4 * i, 4);
                h->values[id][i] = x;
            }
        }
    }
    return h->values[id];
}

static void host_norm(const pum_node *n, const double *x, const double *w, const double *b, uint64_t cols, double *y)
{
    double mean = 0, squares = 0;
    if (n->params.norm == NORM_LAYER) {
        for (uint64_t i = 0; i < cols; i++) mean += x[i] / (double)cols;
    }
    for (uint64_t i = 0; i < cols; i++) squares += (x[i] - mean) * (x[i] - mean) / (double)cols;
    for (uint64_t i = 0; i < cols; i++) {
        y[i] = (x[i] - mean) / sqrt(squares + (double)n->params.eps) * (w[i] + (double)n->params.w_add);
        if (b) y[i] += b[i];
    }
}

static void host_rope(host *h, const pum_node *n, const double *x, uint32_t row, double *y)
{
    const pum_params *p = &n->params;
    uint32_t words[256], half = p->rot_dim / 2;
    const pum_value *table = &h->graph->values.data[n->in[PUM_IN_ROPE_FREQ]];
    memcpy(words, h->def->weights.data[table->source].data, 4 * p->rot_dim);
    memcpy(y, x, p->heads * p->head_dim * sizeof *y);
    for (uint32_t head = 0; head < p->heads; head++) {
        for (uint32_t i = 0; i < half; i++) {
            double turns = ldexp((double)((h->first + row) * turns_at(words, i)), -64);
            double c = cos(2 * PI * turns) * (double)p->scale, s = sin(2 * PI * turns) * (double)p->scale;
            uint32_t at = head * p->head_dim;
            uint32_t a = at + (p->pairing == ROPE_HALVES ? i : 2 * i);
            uint32_t b = at + (p->pairing == ROPE_HALVES ? i + half : 2 * i + 1);
            y[a] = x[a] * c - x[b] * s;
            y[b] = x[a] * s + x[b] * c;
        }
    }
}

static double *host_cell(host *h, pum_value_id cache, uint32_t cell, uint64_t width)
{
    return h->kv + ((uint64_t)h->graph->values.data[cache].source * h->cells + cell) * width;
}

static void host_attention(host *h, const pum_node *n, const double *q, uint32_t row, double *y)
{
    const pum_params *p = &n->params;
    uint32_t cell = h->first + row, lo = p->window && cell + 1 > p->window ? cell + 1 - p->window : 0, d = p->head_dim;
    uint64_t width = (uint64_t)p->kv_heads * d;
    for (uint32_t head = 0; head < p->heads; head++) {
        double score[MAX_ROWS], largest = -INFINITY, sum = 0;
        uint32_t kv = head / (p->heads / p->kv_heads) * d;
        for (uint32_t c = lo; c <= cell; c++) {
            const double *k = host_cell(h, n->in[PUM_IN_ATTN_KC], c, width) + kv;
            score[c] = 0;
            for (uint32_t i = 0; i < d; i++) score[c] += q[head * d + i] * k[i] * (double)p->scale;
            if (p->softcap != 0) score[c] = (double)p->softcap * tanh(score[c] / (double)p->softcap);
            largest = fmax(largest, score[c]);
        }
        for (uint32_t c = lo; c <= cell; c++) sum += score[c] = exp(score[c] - largest);
        for (uint32_t i = 0; i < d; i++) {
            y[head * d + i] = 0;
            for (uint32_t c = lo; c <= cell; c++) {
                y[head * d + i] += score[c] / sum * host_cell(h, n->in[PUM_IN_ATTN_VC], c, width)[kv + i];
            }
        }
    }
}

static double host_act(uint32_t act, double x)
{
    switch (act) {
    case ACT_SILU: return x / (1 + exp(-x));
    case ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / PI) * (x + 0.044715 * x * x * x)));
    case ACT_GELU_ERF: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case ACT_RELU: return x > 0 ? x : 0;
    default: return x;
    }
}

static void host_row(host *h, const pum_node *n, uint32_t row)
{
    const pum_value *values = h->graph->values.data;
    uint64_t cols = n->out >= 0 ? values[n->out].cols : 0, width = (uint64_t)n->params.kv_heads * n->params.head_dim;
    double *y = n->out >= 0 ? host_value(h, n->out) + row * cols : NULL;
    const double *in[4] = { NULL };
    for (uint32_t i = 0; i < pum_op_inputs(n->op); i++) {
        if (n->in[i] < 0 || values[n->in[i]].kind == PUM_VALUE_KV) continue;
        bool by_row = values[n->in[i]].kind == PUM_VALUE_ACT && n->op != PUM_OP_GATHER_ROWS;
        in[i] = host_value(h, n->in[i]) + (by_row ? row * values[n->in[i]].cols : 0);
    }
    switch (n->op) {
    case PUM_OP_EMBED:
        for (uint64_t i = 0; i < cols; i++) {
            y[i] = (double)n->params.scale * in[0][(uint64_t)h->tokens[row] * cols + i];
        }
        break;
    case PUM_OP_NORM: host_norm(n, in[0], in[1], in[2], cols, y); break;
    case PUM_OP_MATMUL:
        for (uint64_t i = 0; i < cols; i++) {
            uint64_t k = values[n->in[PUM_IN_MATMUL_W]].cols;
            y[i] = in[2] ? in[2][i] : 0;
            for (uint64_t j = 0; j < k; j++) y[i] += in[0][i * k + j] * in[1][j];
        }
        break;
    case PUM_OP_ROPE: host_rope(h, n, in[0], row, y); break;
    case PUM_OP_KV_STORE:
        memcpy(host_cell(h, n->in[PUM_IN_KV_KC], h->first + row, width), in[0], width * sizeof(double));
        memcpy(host_cell(h, n->in[PUM_IN_KV_VC], h->first + row, width), in[1], width * sizeof(double));
        break;
    case PUM_OP_ATTENTION: host_attention(h, n, in[0], row, y); break;
    case PUM_OP_ACT:
        for (uint64_t i = 0; i < cols; i++) y[i] = host_act(n->params.act, in[0][i]) * (in[1] ? in[1][i] : 1);
        break;
    case PUM_OP_ADD:
        for (uint64_t i = 0; i < cols; i++) y[i] = (double)n->params.scale * in[0][i] + in[1][i];
        break;
    case PUM_OP_GATHER_ROWS: memcpy(y, in[0] + h->slot_row[row] * cols, cols * sizeof *y); break;
    default: fail_msg("the host cannot run '%s'", pum_op_name(n->op));
    }
}

/* Runs a graph on the host; the logits' rows are copied to out_logits. Every node also passes its op's shape rule. */
static void host_run(host *h, const pum_graph *graph, const int32_t *tokens, uint32_t first, double *out_logits)
{
    h->graph = graph;
    h->tokens = tokens;
    h->first = first;
    h->values = calloc(graph->values.count, sizeof *h->values);
    assert_non_null(h->values);
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const pum_node *n = &graph->nodes.data[i];
        pumice_error err = { 0 };
        if (pum_op_get(n->op)->check(graph, n, &err)) fail_msg("%s", err.text);
        if (n->op == PUM_OP_ARGMAX || n->op == PUM_OP_SAMPLE) continue;
        bool logits = n->out >= 0 && graph->values.data[n->out].kind == PUM_VALUE_LOGITS;
        uint64_t rows = n->out < 0 ? graph->rows : graph->values.data[logits ? n->in[PUM_IN_MATMUL_X] : n->out].rows;
        for (uint32_t row = 0; row < rows; row++) host_row(h, n, row);
        if (logits) {
            memcpy(out_logits, h->values[n->out], rows * graph->values.data[n->out].cols * sizeof *out_logits);
        }
    }
    for (size_t i = 0; i < graph->values.count; i++) free(h->values[i]);
    free(h->values);
    h->values = NULL;
}

/* Builds and runs one pass; build.head and n_slots decide which logits come out. */
static void host_pass(host *h, pum_head head, uint32_t n_slots, const int32_t *tokens, uint32_t first, uint32_t rows,
                      double *out_logits)
{
    pum_graph graph;
    pumice_error err = { 0 };
    pum_build build = { .rows = rows, .n_slots = n_slots, .one_sequence = true, .head = head,
                        .kv_type_k = PUM_DTYPE_F32, .kv_type_v = PUM_DTYPE_F32, .kv_cells = h->cells,
                        .step = pum_step_layout_make(MAX_ROWS, MAX_SLOTS, 1, h->cells), .logits_rows = MAX_ROWS };
    if (pum_model_build(h->def, &build, &graph, &err)) fail_msg("%s", err.text);
    host_run(h, &graph, tokens, first, out_logits);
    pum_graph_free(&graph);
}

static host host_make(const pum_model_def *def)
{
    host h = { .def = def, .cells = MAX_ROWS };
    h.kv = calloc((size_t)2 * def->hp.n_layers * h.cells * def->hp.n_kv_heads * def->hp.head_dim, sizeof *h.kv);
    assert_non_null(h.kv);
    return h;
}

static double worst_difference(const double *a, const double *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs(a[i] - b[i]));
    return worst;
}

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
    if (!test_data("stories260K/stories260K-F32.gguf", model_path) || !test_data("stories260K/logits64.f32", logits_path)
        || !test_data("stories260K/greedy_ids.json", ids_path)) {
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
    gb_u32(&b, "qwen2.attention.sliding_window", 8); /* not obeyed: the original does not either */
    load_small(&b, &gguf, &def);
    assert_int_equal(def.hp.window, 0);
    build(&def, &all_rows, &g);
    for (size_t i = 0; i < 3; i++) assert_true(find_node(&g, PUM_OP_MATMUL, i)->in[PUM_IN_MATMUL_BIAS] > 0);
    assert_int_equal(find_node(&g, PUM_OP_MATMUL, 3)->in[PUM_IN_MATMUL_BIAS], PUM_NO_VALUE);
    assert_int_equal(find_node(&g, PUM_OP_ROPE, 0)->params.pairing, ROPE_HALVES);
    assert_int_equal(count_nodes(&g, PUM_OP_ROPE), 2 * LAYERS);
    const pum_node *attn = find_node(&g, PUM_OP_ATTENTION, 1);
    const pum_value *k = &g.values.data[attn->in[PUM_IN_ATTN_KC]], *v = &g.values.data[attn->in[PUM_IN_ATTN_VC]];
    assert_true(k->source == 2 && v->source == 3 && k->dtype == PUM_DTYPE_F16 && v->dtype == PUM_DTYPE_F32);
    assert_true(k->rows == 64 * KV_HEADS && k->cols == HEAD);
    pum_graph_free(&g);
    pum_model_def_free(&def);
    pum_gguf_close(&gguf);
    gb_free(&b);
}

/* A row that no architecture has, with every option: LayerNorm and biases everywhere, no gate, parallel with two
 * norms, norms after, partial rotary, windows in all but every other layer, capped scores. */
static void test_all_options(void **state)
{
    (void)state;
    static const char *const names[] = {
        "attn_norm.bias", "ffn_norm.bias", "attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias",
        "ffn_up.bias", "ffn_down.bias", "post_attention_norm.weight", "post_ffw_norm.weight",
    };
    static const uint32_t sizes[] = { EMBD_N, EMBD_N, HEADS * HEAD, KV_HEADS * HEAD, KV_HEADS * HEAD, EMBD_N, FF_N,
                                      EMBD_N, EMBD_N, EMBD_N };
    const pum_arch arch = { "llama", ROPE_HALVES, NORM_LAYER, ACT_GELU_ERF,
                            PUM_ARCH_QKV_BIAS | PUM_ARCH_UNGATED | PUM_ARCH_PARALLEL | PUM_ARCH_POST_NORMS
                                | PUM_ARCH_WINDOW, pum_hparams_decoder, pum_build_decoder };
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
    gb_f32(&b, "llama.attention.layer_norm_epsilon", 1e-5f);
    gb_u32(&b, "llama.rope.dimension_count", 4);
    gb_u32(&b, "llama.attention.sliding_window", 3);
    gb_image(&b);
    assert_int_equal(pum_gguf_open_memory(b.image, b.image_bytes, "small", &gguf, &err), PUMICE_OK);
    if (pum_model_def_load_as(&arch, gguf, &def, &err)) fail_msg("%s", err.text);
    def.hp.window_every = 2;
    def.hp.attn_softcap = 30;
    def.hp.embed_scale = 8;
    build(&def, &all_rows, &g);
    assert_int_equal(count_nodes(&g, PUM_OP_NORM), 4 * LAYERS + 1);
    assert_int_equal(count_nodes(&g, PUM_OP_MATMUL), 6 * LAYERS + 1);
    assert_int_equal(count_nodes(&g, PUM_OP_ADD), 2 * LAYERS);
    for (size_t i = 0; i < 6 * LAYERS + 1; i++) assert_true(find_node(&g, PUM_OP_MATMUL, i)->in[PUM_IN_MATMUL_BIAS] > 0);
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
    for (int form = 0; form < 3; form++) {
        const int32_t tokens[] = { 5, 99, 0, 41, 17, 3 };
        static double all[6 * VOCAB_N], some[2 * VOCAB_N];
        if (form == 1) def.layers.data[0].ffn_norm = def.layers.data[1].ffn_norm = -1; /* one norm for both */
        if (form == 2) def.layers.data[0].attn_post_norm = def.layers.data[1].ffn_post_norm = -1;
        host h = host_make(&def);
        h.slot_row[0] = 4;
        h.slot_row[1] = 1;
        host_pass(&h, PUM_HEAD_ALL, 0, tokens, 0, 6, all);
        host_pass(&h, PUM_HEAD_SLOTS, 2, tokens, 0, 6, some);
        assert_true(worst_difference(some, all + 4 * VOCAB_N, VOCAB_N) < 1e-12);
        assert_true(worst_difference(some + VOCAB_N, all + VOCAB_N, VOCAB_N) < 1e-12);
        free(h.kv);
    }
    def.hp.final_softcap = 30;
    pum_build how = all_rows;
    how.step = pum_step_layout_make(16, 4, 1, 64);
    assert_int_equal(pum_model_build(&def, &how, &g, &err), PUMICE_ERROR_UNSUPPORTED);
    assert_int_equal(g.values.count, 0);
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

    how = (pum_build){ .rows = 1, .n_slots = 1, .head = PUM_HEAD_SLOTS, .sampler = PUM_SAMPLER_ARGMAX,
                       .kv_cells = 32, .logits_rows = 1 };
    build(&def, &how, &g); /* decode: nothing to gather */
    assert_int_equal(count_nodes(&g, PUM_OP_GATHER_ROWS), 0);
    assert_int_equal(count_nodes(&g, PUM_OP_MATMUL), 7 * LAYERS + 1);
    const pum_node *last = &g.nodes.data[g.nodes.count - 1], *head = &g.nodes.data[g.nodes.count - 2];
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

    how.rows = 0;
    build(&def, &how, &g); /* sampling from logits that are there already */
    assert_int_equal(g.nodes.count, 1);
    pum_graph_free(&g);

    static const pum_build bad[] = {
        { .rows = 0 },
        { .rows = 17, .kv_cells = 32 },
        { .rows = 1, .kv_cells = 31 },
        { .rows = 1, .kv_cells = 32, .kv_type_k = PUM_DTYPE_Q8_0 },
        { .rows = 1, .kv_cells = 32, .head = PUM_HEAD_SLOTS, .logits_rows = 4 },
        { .rows = 1, .kv_cells = 32, .head = PUM_HEAD_SLOTS, .n_slots = 5, .logits_rows = 8 },
        { .rows = 3, .kv_cells = 32, .head = PUM_HEAD_ALL, .logits_rows = 2 },
        { .rows = 0, .sampler = PUM_SAMPLER_ARGMAX, .n_slots = 2, .logits_rows = 1 },
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
        cmocka_unit_test(test_rope_exact),
        cmocka_unit_test(test_rope_factors),
        cmocka_unit_test(test_rope_edges),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_qwen2_bias_missing),
        cmocka_unit_test(test_small_model),
        cmocka_unit_test(test_rope_metadata),
        cmocka_unit_test(test_stories_files),
        cmocka_unit_test(test_stories_logits),
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_all_options),
        cmocka_unit_test(test_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
