/* SPDX-License-Identifier: Apache-2.0
 * Damaged tokenizer files: tokenizer.json of three kinds, a SentencePiece model, a directory's
 * configuration. Each must load and work, or fail with one sentence; the sanitizers watch. */
#include "testing.h"

#include "tokenizer.h"

static const char byte_level[] =
    "{\"added_tokens\":[{\"id\":5,\"content\":\"<|end|>\",\"special\":true,\"lstrip\":true,"
    "\"rstrip\":false,\"single_word\":true}],\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":"
    "[{\"type\":\"NFC\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":"
    "{\"Regex\":\"\\\\p{N}{1,3}|\\\\s+\"},\"behavior\":\"MergedWithNext\",\"invert\":false},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":true}]},\"post_processor\":"
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<|end|>\"}},"
    "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<|end|>\":{\"ids\":[5]}}},\"decoder\":"
    "{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,"
    "\"\xc4\xa0\":3,\"abab\":4},\"merges\":[\"a b\",[\"ab\",\"ab\"]]}}";
static const char byte_fallback[] =
    "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
    "\"\xe2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":"
    "\"\xe2\x96\x81\"}]},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
    "\"pattern\":{\"String\":\"\xe2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},\"model\":{\"type\":\"BPE\","
    "\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{\"<unk>\":0,"
    "\"<0x61>\":1,\"\xe2\x96\x81\":2,\"a\":3,\"b\":4,\"ab\":5},\"merges\":[\"a b\"]}}";
static const char unigram[] =
    "{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":"
    "\"CAAAAAEAAAAAAAAAYQA=\"},\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":"
    "\"\xe2\x96\x81\",\"prepend_scheme\":\"first\",\"split\":true},\"model\":{\"type\":\"Unigram\","
    "\"unk_id\":0,\"byte_fallback\":false,\"vocab\":[[\"<unk>\",0.0],[\"a\",-1.5],[\"ab\",-2.25],"
    "[\"\xe2\x96\x81\",-3.0]]}}";
static const char config[] =
    "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"bos_token\":{\"content\":\"<|end|>\"},"
    "\"added_tokens_decoder\":{\"7\":{\"content\":\"<x>\",\"special\":false}},\"chat_template\":"
    "[{\"name\":\"default\",\"template\":\"{{ x }}\"}]}";

/* ---- a SentencePiece model ---- */

static void put_piece(pum_text *out, const char *piece, float score, int type)
{
    char message[64];
    size_t n = strlen(piece), k = 0;
    message[k++] = 0x0a;
    message[k++] = (char)n;
    memcpy(message + k, piece, n);
    k += n;
    message[k++] = 0x15;
    memcpy(message + k, &score, 4);
    k += 4;
    message[k++] = 0x18;
    message[k++] = (char)type;
    pum_text_add(out, (char[]){ 0x0a, (char)k }, 2);
    pum_text_add(out, message, k);
}

static void make_model(pum_text *out, char kind)
{
    put_piece(out, "<unk>", 0, 2);
    put_piece(out, "<s>", 0, 3);
    put_piece(out, "</s>", 0, 3);
    put_piece(out, "<0x61>", 0, 6);
    put_piece(out, "\xe2\x96\x81", -3, 1);
    put_piece(out, "a", -1, 1);
    put_piece(out, "b", -2, 1);
    put_piece(out, "ab", -1.5f, 1);
    put_piece(out, "<u>", 0, 4);
    pum_text_add(out, (char[]){ 0x12, 5, 0x18, kind, (char)0x98, 2, 1 }, 7);
    /* normalizer: a charsmap of one unit, and its switches */
    pum_text_add(out,
                 (char[]){ 0x1a, 22, 0x12, 14, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 0x18, 1, 0x20, 1,
                           0x28, 1 },
                 24);
}

/* ---- damage ---- */

static uint64_t state = 88172645463325252ull;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void damage(const char *from, size_t bytes, pum_text *out)
{
    static const char swaps[] = "{}[]\",:0-9\\nul\xff";
    out->count = 0;
    pum_text_add(out, from, bytes);
    uint64_t times = 1 + next_random() % 4;
    for (uint64_t i = 0; i < times && out->count > 1; i++) {
        size_t at = next_random() % out->count, n = 1 + next_random() % 12;
        switch (next_random() % 5) {
        case 0:
            out->data[at] = (char)next_random();
            break;
        case 1:
            out->data[at] = swaps[next_random() % (sizeof swaps - 1)];
            break;
        case 2: /* cut out */
            n = PUM_MIN(n, out->count - at);
            memmove(out->data + at, out->data + at + n, out->count - at - n);
            out->count -= n;
            break;
        case 3:
            out->data[at] = (char)(out->data[at] ^ (1 << next_random() % 8));
            break;
        default:
            if (next_random() % 8 == 0) out->count = at;
        }
    }
}

static char folder[] = "/tmp/pumice-fuzz-XXXXXX";

static void write_file(const char *name, const char *data, size_t bytes)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file) abort();
    fwrite(data, 1, bytes, file);
    fclose(file);
}

static void remove_file(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

static size_t loaded, refused;

static void use(void)
{
    static const char text[] = "ab  a\xc3\xa9 <|end|> <u>b \xff </s>12345\n\n\xe4\xbd\xa0<x>";
    pum_tokenizer *t = NULL;
    pumice_error err = { 0 };
    pumice_status status = pum_tokenizer_create_path(folder, &t, &err);
    if ((status == PUMICE_OK) != (t != NULL) || (status != PUMICE_OK && !err.text[0])) {
        fprintf(stderr, "a tokenizer and a failure, or a failure without a sentence\n");
        exit(1);
    }
    if (!t) {
        refused++;
        return;
    }
    loaded++;
    pum_tokens tokens = { 0 };
    pum_text back = { 0 };
    pum_text_stream stream = { 0 };
    for (uint32_t flags = 0; flags < 4; flags++)
        pum_tokenizer_encode(t, text, sizeof text - 1, flags, &tokens, NULL);
    if (pum_tokenizer_decode_all(t, tokens.data, tokens.count, true, &back) != PUMICE_OK) exit(1);
    for (size_t i = 0; i < tokens.count; i++)
        pum_text_stream_push(&stream, t, tokens.data[i], &back);
    pum_text_stream_finish(&stream, &back);
    pum_tokenizer_sink none = { 0 };
    pum_tokenizer_export(t, &none, &err);
    pum_array_free(&tokens);
    pum_text_free(&back);
    pum_tokenizer_destroy(&t);
}

static void run(const char *name, const char *data, size_t bytes, int times)
{
    pum_text text = { 0 };
    size_t before = loaded, not_loaded = refused;
    write_file(name, data, bytes);
    use();
    if (loaded != before + 1) {
        fprintf(stderr, "the undamaged %s does not load\n", name);
        exit(1);
    }
    for (int i = 0; i < times; i++) {
        damage(data, bytes, &text);
        write_file(name, text.data, text.count);
        use();
    }
    printf("%s: %zu loaded, %zu refused\n", name, loaded - before, refused - not_loaded);
    remove_file(name);
    pum_text_free(&text);
}

int main(void)
{
    char path[TEST_PATH_BYTES];
    pum_text model = { 0 };
    if (!mkdtemp(folder)) return 1;
    run("tokenizer.json", byte_level, sizeof byte_level - 1, 600);
    run("tokenizer.json", byte_fallback, sizeof byte_fallback - 1, 600);
    run("tokenizer.json", unigram, sizeof unigram - 1, 600);
    write_file("tokenizer.json", byte_level, sizeof byte_level - 1);
    run("tokenizer_config.json", config, sizeof config - 1, 400);
    remove_file("tokenizer.json");
    for (char kind = 1; kind <= 2; kind++) {
        model.count = 0;
        make_model(&model, kind);
        run("spiece.model", model.data, model.count, 800);
    }
    pum_text_free(&model);
    uint8_t *data = NULL;
    size_t bytes;
    pumice_error err = { 0 };
    if (test_data("tokenizers/spm_small/seqio_sentencepiece.model", path) &&
        pum_file_read(path, 1 << 24, &data, &bytes, &err) == PUMICE_OK) {
        run("spiece.model", (const char *)data, bytes, 60);
        pum_free(data);
    }
    rmdir(folder);
    return 0;
}
