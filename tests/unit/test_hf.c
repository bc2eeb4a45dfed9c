/* SPDX-License-Identifier: Apache-2.0
 * Hugging Face directories without a device: the safetensors reader on good and damaged images, the
 * parameter counts of published models from their config.json alone, every family's keys against
 * the architecture that reads them, the rearrangement of rows, and damaged directories, each of
 * which must be refused with a sentence that names the file and the field. */
#include <math.h>
#include <sys/stat.h>

#include "testing.h"

#include "gguf_image.h"
#include "model.h"
#include "safetensors.h"
#include "sizes.h"

/* ---- files to read ---- */

typedef struct folder {
    char path[64];
} folder;

static folder make_folder(void)
{
    folder f = { "/tmp/pumice-hf-XXXXXX" };
    assert_non_null(mkdtemp(f.path));
    return f;
}

static void write_bytes(const folder *f, const char *name, const void *data, size_t bytes)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static void write_text(const folder *f, const char *name, const char *text)
{
    write_bytes(f, name, text, strlen(text));
}

static void remove_folder(const folder *f)
{
    static const char *const names[] = { "config.json", "model.safetensors", "a.safetensors",
                                         "model.safetensors.index.json", "generation_config.json",
                                         "model-00001-of-00002.safetensors", "pytorch_model.bin",
                                         "adapter_model.safetensors" };
    char path[256];
    for (size_t i = 0; i < PUM_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", f->path, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(f->path), 0);
}

/* A safetensors image: the header as given, then `bytes` bytes whose floats count up from 0. */
typedef struct image {
    uint8_t data[1 << 16];
    size_t count;
} image;

static const image *make_image(const char *header, size_t bytes)
{
    static image x;
    uint64_t n = strlen(header);
    x.count = 8 + n + bytes;
    assert_true(x.count <= sizeof x.data);
    memcpy(x.data, &n, 8);
    memcpy(x.data + 8, header, n);
    for (size_t i = 0; i < bytes / 4; i++) {
        float v = (float)i;
        memcpy(x.data + 8 + n + 4 * i, &v, 4);
    }
    return &x;
}

/* ---- safetensors ---- */

static void test_safetensors(void **state)
{
    (void)state;
    const image *x = make_image("{\"__metadata__\":{\"format\":\"pt\"},"
                                "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                                "\"s\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[24,25]},"
                                "\"n\":{\"dtype\":\"F8_X\",\"shape\":[7],\"data_offsets\":[25,28]}}",
                                28);
    pum_st *st;
    pumice_error err = { 0 };
    assert_int_equal(pum_st_open_memory(x->data, x->count, "x", &st, &err), PUMICE_OK);
    const pum_st_tensor *t = pum_st_find(st, "a");
    assert_non_null(t);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->shape[0], 2);
    assert_true(t->is_weight && t->type == PUM_DTYPE_F32 && t->bytes == 24);
    assert_int_equal(pum_st_find(st, "s")->elems, 1);
    assert_false(pum_st_find(st, "n")->is_weight);
    assert_null(pum_st_find(st, "__metadata__"));
    pum_st_close(&st);
    for (size_t cut = 0; cut < x->count; cut++) { /* every truncation is refused */
        assert_int_not_equal(pum_st_open_memory(x->data, cut, "x", &st, &err), PUMICE_OK);
        assert_null(st);
    }
}

static void test_safetensors_damage(void **state)
{
    static const struct {
        const char *header, *words;
    } cases[] = {
        { "{", "no valid JSON" },
        { "[]", "no JSON object" },
        { "{\"a\":3}", "'a' is no JSON object" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
          "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
          "duplicate" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
          "overlap" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", "do not fit" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}", "pass the end" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", "pass the end" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "impossible shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,4]}}",
          "impossible shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}",
          "0 to 8 dimensions" },
        { "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", "no dtype" },
        { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", "has no shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", "two whole numbers" },
        { "{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "bad name" },
    };
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(cases); i++) {
        const image *x = make_image(cases[i].header, 8);
        pum_st *st;
        pumice_error err = { 0 };
        pumice_status status = pum_st_open_memory(x->data, x->count, "file.st", &st, &err);
        assert_null(st);
        if (status != PUMICE_ERROR_FORMAT || !strstr(err.text, cases[i].words) ||
            !strstr(err.text, "file.st")) {
            fail_msg("%s: %d '%s'", cases[i].header, status, err.text);
        }
    }
}

/* ---- published models, from their config.json alone ---- */

/* Counts are of learned numbers; a head that is tied to the embedding counts once; T5's position
 * biases and BART's learned positions count, BART's final_logits_bias does not. LLaMA: as its
 * checkpoints hold. PaLM: 540.35 billion (Chowdhery et al., table 1). GPT-3 175B: as GPT-2's
 * network with the paper's numbers. */
static const struct {
    const char *name, *config;
    uint64_t parameters;
} published[] = {
    { "LLaMA-7B",
      "{\"model_type\":\"llama\",\"hidden_size\":4096,\"intermediate_size\":11008,"
      "\"num_attention_heads\":32,\"num_hidden_layers\":32,\"rms_norm_eps\":1e-06,"
      "\"max_sequence_length\":2048,\"torch_dtype\":\"float16\",\"vocab_size\":32000}",
      6738415616u },
    { "LLaMA-65B",
      "{\"model_type\":\"llama\",\"hidden_size\":8192,\"intermediate_size\":22016,"
      "\"num_attention_heads\":64,\"num_hidden_layers\":80,\"rms_norm_eps\":1e-05,"
      "\"vocab_size\":32000}",
      65285660672u },
    { "GPT-3 175B",
      "{\"model_type\":\"gpt2\",\"n_embd\":12288,\"n_layer\":96,\"n_head\":96,\"n_ctx\":2048,"
      "\"n_positions\":2048,\"vocab_size\":50257}",
      174604259328u },
    { "PaLM 540B",
      "{\"model_type\":\"palm\",\"dim\":18432,\"depth\":118,\"heads\":48,\"dim_head\":256,"
      "\"ff_mult\":4,\"num_tokens\":256000}",
      540356474880u },
    { "ChatGLM-6B",
      "{\"model_type\":\"chatglm\",\"hidden_size\":4096,\"inner_hidden_size\":16384,"
      "\"num_attention_heads\":32,\"num_layers\":28,\"position_encoding_2d\":true,"
      "\"max_sequence_length\":2048,\"vocab_size\":130528,\"bos_token_id\":130004,"
      "\"eos_token_id\":130005,\"gmask_token_id\":130001,\"mask_token_id\":130000}",
      6173286400u },
    { "T5-11B",
      "{\"model_type\":\"t5\",\"d_model\":1024,\"d_kv\":128,\"d_ff\":65536,\"num_heads\":128,"
      "\"num_layers\":24,\"vocab_size\":32128,\"relative_attention_num_buckets\":32}",
      11307321344u },
    { "BART-large",
      "{\"model_type\":\"bart\",\"d_model\":1024,\"encoder_layers\":12,\"decoder_layers\":12,"
      "\"encoder_attention_heads\":16,\"decoder_attention_heads\":16,\"encoder_ffn_dim\":4096,"
      "\"decoder_ffn_dim\":4096,\"max_position_embeddings\":1024,\"num_hidden_layers\":12,"
      "\"activation_function\":\"gelu\",\"vocab_size\":50265}",
      406291456u },
    { "BART-large-CNN",
      "{\"model_type\":\"bart\",\"d_model\":1024,\"encoder_layers\":12,\"decoder_layers\":12,"
      "\"encoder_attention_heads\":16,\"decoder_attention_heads\":16,\"encoder_ffn_dim\":4096,"
      "\"decoder_ffn_dim\":4096,\"max_position_embeddings\":1024,\"vocab_size\":50264}",
      406290432u },
    { "mBART-large-50",
      "{\"model_type\":\"mbart\",\"d_model\":1024,\"encoder_layers\":12,\"decoder_layers\":12,"
      "\"encoder_attention_heads\":16,\"decoder_attention_heads\":16,\"encoder_ffn_dim\":4096,"
      "\"decoder_ffn_dim\":4096,\"max_position_embeddings\":1024,\"scale_embedding\":true,"
      "\"activation_function\":\"relu\",\"vocab_size\":250054}",
      610879488u },
};

static pum_gguf *open_config(const folder *f, const char *config)
{
    char path[256];
    pum_gguf *g = NULL;
    pumice_error err = { 0 };
    write_text(f, "config.json", config);
    snprintf(path, sizeof path, "%s/config.json", f->path);
    if (pum_model_open(path, &g, &err) != PUMICE_OK) fail_msg("%s: %s", config, err.text);
    return g;
}

static void test_published(void **state)
{
    folder f = make_folder();
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(published); i++) {
        pum_sizes s;
        pum_gguf *g = open_config(&f, published[i].config);
        pum_sizes_measure(g, &s);
        if (s.parameters != published[i].parameters) {
            fail_msg("%s: %llu parameters, published are %llu", published[i].name,
                     (unsigned long long)s.parameters,
                     (unsigned long long)published[i].parameters);
        }
        pum_model_def def;
        pumice_error err = { 0 };
        if (pum_model_def_load(g, &def, &err) != PUMICE_OK) fail_msg("%s", err.text);
        if (def.parameters != s.parameters) {
            fail_msg("%s: %llu parameters, loaded %llu", published[i].name,
                     (unsigned long long)s.parameters, (unsigned long long)def.parameters);
        }
        pum_model_def_free(&def);
        pum_gguf_close(&g);
    }
    remove_folder(&f);
}

/* What a decoded token reads: of BART the decoder and the tied head, but neither the encoder nor what
 * makes the K and V of cross-attention of its output, nor positions. As F32, all have four bytes. */
static void test_decoding_reads(void **state)
{
    static const char config[] =
        "{\"model_type\":\"bart\",\"d_model\":64,\"encoder_layers\":3,\"decoder_layers\":2,"
        "\"encoder_attention_heads\":4,\"decoder_attention_heads\":4,\"encoder_ffn_dim\":96,"
        "\"decoder_ffn_dim\":128,\"max_position_embeddings\":32,\"vocab_size\":40}";
    const uint64_t d = 64, ff = 128, vocab = 40, norm = 2 * d, map = d * d + d;
    const uint64_t layer = 4 * map + norm + 2 * map + norm + 2 * d * ff + ff + d + norm;
    folder f = make_folder();
    pum_gguf *g = open_config(&f, config);
    uint64_t bytes, read;
    (void)state;
    pum_sizes_weights(g, PUM_DTYPE_F32, &bytes, &read);
    assert_int_equal(read, 4 * (vocab * d + vocab + norm + 2 * layer));
    assert_true(bytes > read);
    pum_gguf_close(&g);
    remove_folder(&f);
}

/* ---- rows ---- */

/* InternLM2: [kv head][its two q heads, k, v] of 4 rows each; q and k go to the interleaved pairing
 * of rotary embedding, in which row 2i + j was row j * 2 + i of the head. */
static void test_rows(void **state)
{
    static const char config[] =
        "{\"model_type\":\"internlm2\",\"hidden_size\":4,\"num_attention_heads\":4,"
        "\"num_key_value_heads\":2,\"head_dim\":4,\"intermediate_size\":4,\"num_hidden_layers\":1,"
        "\"vocab_size\":2,\"max_position_embeddings\":8,\"tie_word_embeddings\":true}";
    static const struct {
        const char *name;
        int rows;
    } tensors[] = {
        { "model.tok_embeddings.weight", 2 },
        { "model.norm.weight", 1 },
        { "model.layers.0.attention_norm.weight", 1 },
        { "model.layers.0.attention.wqkv.weight", 32 },
        { "model.layers.0.attention.wo.weight", 16 },
        { "model.layers.0.ffn_norm.weight", 1 },
        { "model.layers.0.feed_forward.w1.weight", 4 },
        { "model.layers.0.feed_forward.w2.weight", 4 },
        { "model.layers.0.feed_forward.w3.weight", 4 },
    };
    char header[4096] = "{";
    size_t n = 1, at = 0, wqkv = 0;
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(tensors); i++) {
        size_t bytes = (size_t)tensors[i].rows * 16;
        bool vector = tensors[i].rows == 1, wo = tensors[i].rows == 16;
        if (tensors[i].rows == 32) wqkv = at / 4;
        n += (size_t)snprintf(header + n, sizeof header - n,
                              "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                              i ? "," : "", tensors[i].name,
                              vector ? "4" : wo ? "4,16" : tensors[i].rows == 32  ? "32,4"
                                                      : tensors[i].rows == 2 ? "2,4"
                                                                             : "4,4",
                              at, at + bytes);
        at += bytes;
    }
    snprintf(header + n, sizeof header - n, "}");
    folder f = make_folder();
    write_text(&f, "config.json", config);
    const image *x = make_image(header, at);
    write_bytes(&f, "model.safetensors", x->data, x->count);
    pum_gguf *g = NULL;
    pumice_error err = { 0 };
    if (pum_model_open(f.path, &g, &err) != PUMICE_OK) fail_msg("%s", err.text);
    const pum_gguf_tensor *q = pum_gguf_tensor_find(g, "blk.0.attn_q.weight");
    const pum_gguf_tensor *k = pum_gguf_tensor_find(g, "blk.0.attn_k.weight");
    const pum_gguf_tensor *v = pum_gguf_tensor_find(g, "blk.0.attn_v.weight");
    float rows[16][4];
    static const int pair[4] = { 0, 2, 1, 3 };
    assert_int_equal(pum_gguf_read_rows(q, 0, 16, rows, &err), PUMICE_OK);
    for (int r = 0; r < 16; r++) { /* head r / 4, in group r / 8 of 16 rows */
        int source = r / 8 * 16 + r / 4 % 2 * 4 + pair[r % 4];
        assert_true(rows[r][1] == (float)(wqkv + (size_t)source * 4 + 1));
    }
    assert_int_equal(pum_gguf_read_rows(k, 0, 8, rows, &err), PUMICE_OK);
    for (int r = 0; r < 8; r++) {
        assert_true(rows[r][0] == (float)(wqkv + (size_t)(r / 4 * 16 + 8 + pair[r % 4]) * 4));
    }
    assert_int_equal(pum_gguf_read_rows(v, 3, 2, rows, &err), PUMICE_OK); /* over a border */
    assert_true(rows[0][0] == (float)(wqkv + (12 + 3) * 4));
    assert_true(rows[1][0] == (float)(wqkv + (16 + 12) * 4));
    assert_int_equal(pum_gguf_read_rows(v, 7, 2, rows, &err), PUMICE_ERROR_INVALID);
    pum_gguf_close(&g);
    remove_folder(&f);
}

/* ---- damaged directories ---- */

#define LLAMA_TAIL                                                                                  \
    "\"hidden_size\":4,\"num_attention_heads\":1,\"intermediate_size\":4,"                         \
    "\"num_hidden_layers\":1,\"vocab_size\":2,\"tie_word_embeddings\":true}"
#define LLAMA "{\"model_type\":\"llama\"," LLAMA_TAIL
#define GEMMA3(rope) \
    "{\"model_type\":\"gemma3_text\",\"head_dim\":4,\"num_key_value_heads\":1,\"rope_parameters\":" rope "," LLAMA_TAIL
#define LLAMA3(members)                                                                            \
    "{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"llama3\"," members "}," LLAMA_TAIL
#define TENSOR(name, dtype, shape, a, b)                                                           \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #a "," #b "]}"

static void test_broken(void **state)
{
    static const struct {
        const char *config, *header, *index; /* header: of model.safetensors */
        const char *words[3];                /* that the sentence must have */
    } cases[] = {
        { NULL, NULL, NULL, { "without a config.json" } },
        { "{]", NULL, NULL, { "config.json", "no valid JSON" } },
        { "{}", NULL, NULL, { "config.json", "model_type" } },
        { "{\"model_type\":\"frog\"}", NULL, NULL, { "config.json", "frog", "llama" } },
        { "{\"model_type\":\"llama\",\"vocab_size\":3}", NULL, NULL,
          { "config.json", "missing" } },
        { "{\"model_type\":\"llama\",\"hidden_size\":\"x\"}", NULL, NULL,
          { "config.json", "hidden_size" } },
        { "{\"model_type\":\"llama\",\"hidden_act\":\"frog\"," LLAMA_TAIL, NULL, NULL,
          { "config.json", "hidden_act", "frog" } },
        { "{\"model_type\":\"llama\",\"rope_scaling\":{\"type\":\"frog\",\"factor\":2.0}," LLAMA_TAIL,
          NULL, NULL, { "config.json", "rope_scaling", "frog" } },
        { "{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"linear\"}," LLAMA_TAIL,
          NULL, NULL, { "config.json", "rope_scaling", "factor" } },
        { GEMMA3("{\"sliding_attention\":{\"rope_type\":\"spiral\"},\"full_attention\":{}}"), NULL, NULL,
          { "config.json", "rope_parameters.sliding_attention", "spiral" } },
        { GEMMA3("{\"sliding_attention\":{\"rope_type\":\"linear\",\"factor\":8.0}}"), NULL, NULL,
          { "config.json", "rope_parameters.sliding_attention", "linear" } },
        { GEMMA3("{\"full_attention\":{\"rope_type\":\"spiral\"}}"), NULL, NULL,
          { "config.json': rope_parameters.full_attention is", "spiral" } },
        { GEMMA3("{\"other_attention\":{\"rope_type\":\"default\"}}"), NULL, NULL,
          { "config.json", "rope_parameters.other_attention" } },
        { "{\"model_type\":\"llama\",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":5.0}}," LLAMA_TAIL,
          NULL, NULL, { "config.json", "rope_parameters.full_attention", "model_type" } },
        { "{\"model_type\":\"gemma3\",\"quantization_config\":{\"bits\":4},\"text_config\":{"
          "\"model_type\":\"gemma3_text\"}}",
          NULL, NULL, { "config.json", "quantization_config", "quantized already" } },
        { "{\"model_type\":\"gemma3\",\"text_config\":{\"quantization_config\":{\"bits\":4},"
          "\"model_type\":\"gemma3_text\"}}",
          NULL, NULL, { "config.json", "quantization_config", "quantized already" } },
        { "{\"model_type\":\"llama\",\"compression_config\":{\"format\":\"x\"}," LLAMA_TAIL, NULL, NULL,
          { "config.json", "compression_config" } },
        { "{\"model_type\":\"chatglm\",\"quantization_bit\":4," LLAMA_TAIL, NULL, NULL,
          { "config.json", "quantization_bit is 4" } },
        { "{\"model_type\":\"chatglm\",\"quantization_bit\":0,\"pre_seq_len\":128," LLAMA_TAIL, NULL, NULL,
          { "config.json", "pre_seq_len is 128" } },
        { "{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_type\":\"frog\"}," LLAMA_TAIL, NULL,
          NULL, { "config.json': rope_parameters is", "frog" } },
        { "{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_type\":\"yarn\"}," LLAMA_TAIL, NULL,
          NULL, { "config.json': rope_parameters is", "no factor" } },
        { "{\"model_type\":\"llama\",\"rope_parameters\":7," LLAMA_TAIL, NULL, NULL,
          { "config.json': rope_parameters must" } },
        { LLAMA3("\"low_freq_factor\":1.0"), NULL, NULL, { "config.json", "no factor" } },
        { LLAMA3("\"factor\":8.0"), NULL, NULL, { "config.json", "no low_freq_factor" } },
        { LLAMA3("\"factor\":8.0,\"low_freq_factor\":1.0"), NULL, NULL,
          { "config.json", "no high_freq_factor" } },
        { LLAMA3("\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0"), NULL, NULL,
          { "config.json", "no original_max_position_embeddings" } },
        { "{\"model_type\":\"llama\",\"head_dim\":512," LLAMA_TAIL, NULL, NULL,
          { "config.json': head_dim is 512", "even", "256" } },
        { "{\"model_type\":\"llama\",\"head_dim\":127," LLAMA_TAIL, NULL, NULL,
          { "config.json': head_dim is 127", "even", "256" } },
        { "{\"model_type\":\"gpt_neox\",\"rotary_pct\":0.3,\"head_dim\":64," LLAMA_TAIL, NULL, NULL,
          { "config.json", "19 of 64 elements" } },
        { "{\"model_type\":\"bart\",\"decoder_attention_heads\":3," LLAMA_TAIL, NULL, NULL,
          { "config.json': decoder_attention_heads is 3" } },
        { "{\"model_type\":\"bart\",\"decoder_attention_heads\":4," LLAMA_TAIL, NULL, NULL,
          { "config.json': decoder_attention_heads is 4" } },
        { "{\"model_type\":\"llama\",\"num_key_value_heads\":3," LLAMA_TAIL, NULL, NULL,
          { "config.json", "num_attention_heads", "KV heads" } },
        { "{\"model_type\":\"mixtral\"," LLAMA_TAIL, NULL, NULL,
          { "config.json", "num_local_experts" } },
        { LLAMA, "{}", NULL, { "model.embed_tokens.weight", "missing" } },
        { LLAMA, "{" TENSOR("model.embed_tokens.weight", "F32", "[3,4]", 0, 48) "}", NULL,
          { "model.safetensors", "model.embed_tokens.weight", "vocab_size" } },
        { LLAMA, "{" TENSOR("model.embed_tokens.weight", "F32", "[8]", 0, 32) "}", NULL,
          { "model.safetensors", "shape [8]", "[2 x 4]" } },
        { LLAMA, "{" TENSOR("model.embed_tokens.weight", "I32", "[2,4]", 0, 32) "}", NULL,
          { "model.safetensors", "dtype I32", "F32, F16 and BF16" } },
        { LLAMA, NULL, "{\"metadata\":{}}", { "index.json", "weight_map" } },
        { LLAMA, NULL, "{\"weight_map\":{\"a\":\"a.safetensors\"}}",
          { "a.safetensors", "is missing" } },
        { LLAMA, NULL, "{\"weight_map\":{\"a\":\"../a.safetensors\"}}",
          { "index.json", "../a.safetensors" } },
        { LLAMA, NULL, "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", { "index.json", "/etc/passwd" } },
        { LLAMA, NULL, "{\"weight_map\":{\"a\":\"model.safetensors.index.json\"}}",
          { "index.json", "no safetensors file" } },
        { LLAMA, NULL, "{\"weight_map\":{\"a\":7}}", { "index.json", "no safetensors file" } },
    };
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(cases); i++) {
        folder f = make_folder();
        pum_gguf *g = NULL;
        pumice_error err = { 0 };
        if (cases[i].config) write_text(&f, "config.json", cases[i].config);
        if (cases[i].index) write_text(&f, "model.safetensors.index.json", cases[i].index);
        if (cases[i].header) {
            const image *x = make_image(cases[i].header, 64);
            write_bytes(&f, "model.safetensors", x->data, x->count);
        }
        pumice_status status = pum_model_open(f.path, &g, &err);
        assert_null(g);
        assert_int_not_equal(status, PUMICE_OK);
        for (size_t k = 0; k < 3 && cases[i].words[k]; k++) {
            if (strstr(err.text, cases[i].words[k])) continue;
            fail_msg("case %zu: '%s' should say '%s'", i, err.text, cases[i].words[k]);
        }
        remove_folder(&f);
    }
}

/* ---- tensors that the model does not ask for ---- */

static const struct {
    const char *name, *shape;
    size_t bytes;
} one_layer[] = {
    { "model.embed_tokens.weight", "[2,4]", 32 },
    { "model.norm.weight", "[4]", 16 },
    { "model.layers.0.input_layernorm.weight", "[4]", 16 },
    { "model.layers.0.post_attention_layernorm.weight", "[4]", 16 },
    { "model.layers.0.self_attn.q_proj.weight", "[4,4]", 64 },
    { "model.layers.0.self_attn.k_proj.weight", "[4,4]", 64 },
    { "model.layers.0.self_attn.v_proj.weight", "[4,4]", 64 },
    { "model.layers.0.self_attn.o_proj.weight", "[4,4]", 64 },
    { "model.layers.0.mlp.gate_proj.weight", "[4,4]", 64 },
    { "model.layers.0.mlp.up_proj.weight", "[4,4]", 64 },
    { "model.layers.0.mlp.down_proj.weight", "[4,4]", 64 },
};

static size_t put_tensor(char *out, size_t capacity, const char *name, const char *shape, size_t at,
                         size_t bytes)
{
    return (size_t)snprintf(out, capacity,
                            "%s\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                            at ? "," : "{", name, shape, at, at + bytes);
}

/* A model of one layer and one tensor more of `bytes` bytes, which are the embedding's if `same`. */
static void write_model(const folder *f, const char *file, const char *more, const char *shape,
                        size_t bytes, bool same)
{
    static image copy;
    char header[4096];
    size_t n = 0, at = 0;
    for (size_t i = 0; i < PUM_COUNT(one_layer); i++) {
        n += put_tensor(header + n, sizeof header - n, one_layer[i].name, one_layer[i].shape, at,
                        one_layer[i].bytes);
        at += one_layer[i].bytes;
    }
    n += put_tensor(header + n, sizeof header - n, more, shape, at, bytes);
    snprintf(header + n, sizeof header - n, "}");
    copy = *make_image(header, at + bytes);
    uint8_t *data = copy.data + copy.count - at - bytes;
    if (same) memcpy(data + at, data, bytes);
    write_bytes(f, file, copy.data, copy.count);
}

static void test_more_tensors(void **state)
{
    static const struct {
        const char *name, *shape;
        size_t bytes;
        bool same;
        const char *words; /* NULL: it means nothing, and the directory opens */
    } cases[] = {
        { "model.layers.0.self_attn.q_proj.bias", "[4]", 16, false, "not known" },
        { "model.layers.0.self_attn.q_norm.weight", "[4]", 16, false, "not known" },
        { "model.layers.0.self_attn.q_proj.lora_A.weight", "[1,4]", 16, false, "not known" },
        { "model.foo.weight", "[4]", 16, false, "not known" },
        { "model.layers.00x.weight", "[4]", 16, false, "not known" },
        { "model.layers.0.attn.bias", "[4]", 16, false, "not known" },
        { "model.layers.99.mlp.down_proj.weight", "[4,4]", 64, false, "num_hidden_layers" },
        { "model.layers.1.mlp.down_proj.weight", "[4,4]", 64, false, "there are 1" },
        { "lm_head.weight", "[2,4]", 32, false, "tie_word_embeddings" },
        { "lm_head.weight", "[1,4]", 16, true, "tie_word_embeddings" },
        { "lm_head.weight", "[2,4]", 32, true, NULL },
        { "model.layers.0.self_attn.rotary_emb.inv_freq", "[2]", 8, false, NULL },
        { "model.embeddings.position_ids", "[2]", 8, false, NULL },
        { "vision_tower.layers.0.weight", "[4]", 16, false, NULL },
    };
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(cases); i++) {
        folder f = make_folder();
        pum_gguf *g = NULL;
        pumice_error err = { 0 };
        write_text(&f, "config.json", LLAMA);
        write_model(&f, "model.safetensors", cases[i].name, cases[i].shape, cases[i].bytes,
                    cases[i].same);
        pumice_status status = pum_model_open(f.path, &g, &err);
        bool good = cases[i].words ? status != PUMICE_OK && strstr(err.text, cases[i].words) &&
                                         strstr(err.text, cases[i].name) &&
                                         strstr(err.text, "model.safetensors")
                                   : status == PUMICE_OK;
        if (!good) fail_msg("%s: '%s'", cases[i].name, err.text);
        pum_str told = { 0 };
        bool beside = strncmp(cases[i].name, "vision_tower", 12) == 0;
        assert_true((g && pum_gguf_str(g, "pumice.left_out", &told)) == beside);
        if (beside) assert_memory_equal(told.data, "1 tensor of networks that see, 16 bytes", told.count);
        pum_gguf_close(&g);
        remove_folder(&f);
    }
}

/* An index that leaves a tensor of a shard out leaves it in the directory. */
static void test_unlisted(void **state)
{
    char index[4096];
    size_t n = (size_t)snprintf(index, sizeof index, "{\"weight_map\":{");
    folder f = make_folder();
    pum_gguf *g = NULL;
    pumice_error err = { 0 };
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(one_layer); i++) {
        n += (size_t)snprintf(index + n, sizeof index - n, "%s\"%s\":\"a.safetensors\"",
                              i ? "," : "", one_layer[i].name);
    }
    snprintf(index + n, sizeof index - n, "}}");
    write_text(&f, "config.json", LLAMA);
    write_text(&f, "model.safetensors.index.json", index);
    write_model(&f, "a.safetensors", "model.foo.weight", "[4]", 16, false);
    assert_int_equal(pum_model_open(f.path, &g, &err), PUMICE_ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "model.foo.weight"));
    assert_non_null(strstr(err.text, "a.safetensors"));
    remove_folder(&f);
}

/* Weights that are there, but not where or as they are read: such a directory can be measured, and says what
 * is wrong when its weights are asked for. */
static void test_weights_elsewhere(void **state)
{
    static const struct {
        const char *files[2], *words[2];
    } cases[] = {
        { { NULL }, { "without weights" } },
        { { "pytorch_model.bin" }, { "'pytorch_model.bin'", "convert it to safetensors" } },
        { { "model-00001-of-00002.safetensors", "pytorch_model.bin" },
          { "'model-00001-of-00002.safetensors'", "model.safetensors.index.json" } },
        { { "adapter_model.safetensors" }, { "'adapter_model.safetensors'", "merged" } },
        { { "a.safetensors" }, { "'a.safetensors'", "model.safetensors" } },
    };
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(cases); i++) {
        folder f = make_folder();
        pum_gguf *g = NULL;
        pumice_error err = { 0 };
        write_text(&f, "config.json", LLAMA);
        for (size_t k = 0; k < 2 && cases[i].files[k]; k++) write_text(&f, cases[i].files[k], "x");
        assert_int_equal(pum_model_open(f.path, &g, &err), PUMICE_OK);
        assert_int_equal(pum_model_need_weights(f.path, g, &err), PUMICE_ERROR_FORMAT);
        bool good = strstr(err.text, f.path) != NULL;
        for (size_t k = 0; k < 2 && cases[i].words[k]; k++) good = good && strstr(err.text, cases[i].words[k]);
        if (!good) fail_msg("case %zu: '%s'", i, err.text);
        pum_gguf_close(&g);
        remove_folder(&f);
    }
}

/* A tensor that the index puts into a shard that does not have it. */
static void test_wrong_shard(void **state)
{
    folder f = make_folder();
    pum_gguf *g = NULL;
    pumice_error err = { 0 };
    (void)state;
    write_text(&f, "config.json", LLAMA);
    write_text(&f, "model.safetensors.index.json", "{\"weight_map\":{\"x\":\"a.safetensors\"}}");
    const image *x = make_image("{" TENSOR("y", "F32", "[1]", 0, 4) "}", 4);
    write_bytes(&f, "a.safetensors", x->data, x->count);
    assert_int_equal(pum_model_open(f.path, &g, &err), PUMICE_ERROR_FORMAT);
    assert_non_null(strstr(err.text, "'x'"));
    assert_non_null(strstr(err.text, "a.safetensors"));
    remove_folder(&f);
}

/* ---- keys of every family against the architecture that reads them ---- */

#define DIMS                                                                                       \
    "\"hidden_size\":64,\"num_attention_heads\":4,\"intermediate_size\":96,"                       \
    "\"num_hidden_layers\":2,\"vocab_size\":40,\"max_position_embeddings\":128"

static const char *const families[] = {
    "{\"model_type\":\"llama\"," DIMS "}",
    "{\"model_type\":\"llama\",\"attention_bias\":true,\"mlp_bias\":true,\"rope_scaling\":{"
    "\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
    "\"original_max_position_embeddings\":64}," DIMS "}",
    "{\"model_type\":\"mistral\",\"sliding_window\":32," DIMS "}",
    "{\"model_type\":\"qwen2\",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,"
    "\"original_max_position_embeddings\":32}," DIMS "}",
    "{\"model_type\":\"qwen3\",\"head_dim\":32," DIMS "}",
    "{\"model_type\":\"gemma\",\"head_dim\":32," DIMS "}",
    "{\"model_type\":\"gemma2\",\"head_dim\":32," DIMS "}",
    "{\"model_type\":\"gemma3\",\"text_config\":{\"model_type\":\"gemma3_text\",\"head_dim\":32," DIMS
    "}}",
    "{\"model_type\":\"gemma3_text\",\"head_dim\":32,\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":"
    "\"default\",\"rope_theta\":1e4},\"full_attention\":{\"rope_type\":\"linear\",\"factor\":8.0,"
    "\"rope_theta\":1e6}}," DIMS "}",
    "{\"model_type\":\"chatglm\",\"quantization_bit\":0,\"pre_seq_len\":null,\"quantization_config\":{},"
    "\"padded_vocab_size\":40,\"kv_channels\":16," DIMS "}",
    "{\"model_type\":\"phi\"," DIMS "}",
    "{\"model_type\":\"phi3\"," DIMS "}",
    "{\"model_type\":\"gpt2\"," DIMS "}",
    "{\"model_type\":\"gpt_neox\"," DIMS "}",
    "{\"model_type\":\"gptj\",\"rotary_dim\":8," DIMS "}",
    "{\"model_type\":\"falcon\"," DIMS "}",
    "{\"model_type\":\"falcon\",\"new_decoder_architecture\":true,\"num_kv_heads\":2," DIMS "}",
    "{\"model_type\":\"falcon\",\"alibi\":true,\"multi_query\":false,\"parallel_attn\":false,"
    "\"bias\":true," DIMS "}",
    "{\"model_type\":\"bloom\"," DIMS "}",
    "{\"model_type\":\"mpt\",\"attn_config\":{\"alibi\":true,\"clip_qkv\":6.0}," DIMS "}",
    "{\"model_type\":\"opt\"," DIMS "}",
    "{\"model_type\":\"opt\",\"do_layer_norm_before\":false,\"word_embed_proj_dim\":32," DIMS "}",
    "{\"model_type\":\"stablelm\",\"use_qkv_bias\":true," DIMS "}",
    "{\"model_type\":\"starcoder2\"," DIMS "}",
    "{\"model_type\":\"internlm2\",\"num_key_value_heads\":2," DIMS "}",
    "{\"model_type\":\"olmo\",\"clip_qkv\":8.0," DIMS "}",
    "{\"model_type\":\"olmo2\"," DIMS "}",
    "{\"model_type\":\"cohere\"," DIMS "}",
    "{\"model_type\":\"smollm3\"," DIMS "}",
    "{\"model_type\":\"stablelm\",\"use_parallel_residual\":true,\"qk_layernorm\":true," DIMS "}",
    "{\"model_type\":\"cohere\",\"use_qk_norm\":true," DIMS "}",
    "{\"model_type\":\"cohere2\",\"sliding_window\":16," DIMS "}",
    "{\"model_type\":\"granite\",\"logits_scaling\":8.0," DIMS "}",
    "{\"model_type\":\"granitemoe\",\"num_local_experts\":4,\"num_experts_per_tok\":2," DIMS "}",
    "{\"model_type\":\"nemotron\"," DIMS "}",
    "{\"model_type\":\"gpt_bigcode\"," DIMS "}",
};

static void test_families(void **state)
{
    folder f = make_folder();
    int bad = 0;
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(families); i++) {
        pum_model_def def;
        pum_sizes s;
        pumice_error err = { 0 };
        pum_gguf *g = open_config(&f, families[i]);
        pum_sizes_measure(g, &s);
        if (pum_model_def_load(g, &def, &err) != PUMICE_OK) {
            print_message("%s: %s\n", families[i], err.text);
            bad++;
        } else if (def.parameters != s.parameters) {
            print_message("%s: %llu of %llu parameters are used\n", families[i],
                          (unsigned long long)def.parameters, (unsigned long long)s.parameters);
            bad++;
        }
        pum_model_def_free(&def);
        pum_gguf_close(&g);
    }
    remove_folder(&f);
    assert_int_equal(bad, 0);
}

/* ---- GGUF in several files ---- */

static void write_part(const folder *f, const char *name, uint32_t no, uint32_t of, uint32_t tensors)
{
    static const uint64_t ne[] = { 4 };
    gguf_image m = { 0 };
    if (no == 0) gguf_image_string(&m, "general.architecture", "llama");
    gguf_image_key_u32(&m, "split.no", no);
    gguf_image_key_u32(&m, "split.count", of);
    gguf_image_key_u32(&m, "split.tensors.count", tensors);
    gguf_image_tensor(&m, no == 0 ? "a" : "b", 1, ne, 0, 0);
    gguf_image_data(&m, 32, 16);
    gguf_image_finish(&m);
    write_bytes(f, name, m.data, m.count);
    gguf_image_free(&m);
}

static const char part_1[] = "m-00001-of-00002.gguf", part_2[] = "m-00002-of-00002.gguf";

static pumice_status open_part(const folder *f, const char *name, pum_gguf **out, pumice_error *err)
{
    char path[256];
    *err = (pumice_error){ 0 };
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    return pum_model_open(path, out, err);
}

static void test_split(void **state)
{
    folder f = make_folder();
    pum_gguf *g = NULL;
    pumice_error err;
    char path[256];
    (void)state;
    write_part(&f, part_1, 0, 2, 2);
    assert_int_equal(open_part(&f, part_1, &g, &err), PUMICE_ERROR_IO); /* the second is missing */
    assert_non_null(strstr(err.text, part_2));
    write_part(&f, part_2, 1, 2, 2);
    if (open_part(&f, part_1, &g, &err) != PUMICE_OK) fail_msg("%s", err.text);
    assert_int_equal(pum_gguf_tensor_count(g), 2);
    assert_non_null(pum_gguf_tensor_find(g, "b")->data);
    assert_null(pum_gguf_find(g, "split.count"));
    assert_non_null(pum_gguf_find(g, "general.architecture"));
    pum_gguf_close(&g);
    assert_int_equal(open_part(&f, part_2, &g, &err), PUMICE_ERROR_FORMAT); /* not the first */
    assert_non_null(strstr(err.text, "open the first"));
    write_part(&f, part_1, 0, 2, 3); /* one tensor too few */
    assert_int_equal(open_part(&f, part_1, &g, &err), PUMICE_ERROR_FORMAT);
    assert_non_null(strstr(err.text, "split.tensors.count"));
    write_part(&f, part_1, 0, 2, 2);
    write_part(&f, part_2, 0, 2, 2); /* the same tensor twice, and a wrong number */
    assert_int_equal(open_part(&f, part_1, &g, &err), PUMICE_ERROR_FORMAT);
    assert_non_null(strstr(err.text, "split.no"));
    assert_null(g);
    snprintf(path, sizeof path, "%s/%s", f.path, part_1);
    unlink(path);
    snprintf(path, sizeof path, "%s/%s", f.path, part_2);
    unlink(path);
    remove_folder(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors), cmocka_unit_test(test_safetensors_damage),
        cmocka_unit_test(test_published), cmocka_unit_test(test_decoding_reads),   cmocka_unit_test(test_rows),
        cmocka_unit_test(test_broken),      cmocka_unit_test(test_wrong_shard),
        cmocka_unit_test(test_more_tensors),
        cmocka_unit_test(test_unlisted),
        cmocka_unit_test(test_weights_elsewhere),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
