/* SPDX-License-Identifier: Apache-2.0
 * Tokenizers from Hugging Face's files: the stored answers of the original Python tokenizers and of
 * SentencePiece, and small files made here for the rules that those do not reach. */
#include "testing.h"

#include "hf.h"
#include "tokenizer.h"

#include <jansson.h>

/* ---- folders made here ---- */

typedef struct folder {
    char path[64];
} folder;

static folder make_folder(void)
{
    folder f = { "/tmp/pumice-tokenizer-XXXXXX" };
    if (!mkdtemp(f.path)) fail_msg("no temporary folder");
    return f;
}

static void put(const folder *f, const char *name, const char *text)
{
    char path[TEST_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    FILE *file = fopen(path, "wb");
    if (!file) fail_msg("cannot write %s", path);
    fwrite(text, 1, strlen(text), file);
    fclose(file);
}

static void put_link(const folder *f, const char *name, const char *target)
{
    char path[TEST_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    if (symlink(target, path) != 0) fail_msg("cannot link %s", path);
}

static void remove_folder(const folder *f)
{
    static const char *const names[] = { "tokenizer.json",        "tokenizer_config.json",
                                         "spiece.model",          "tokenizer.model",
                                         "vocab.json",            "merges.txt",
                                         "special_tokens_map.json", "added_tokens.json",
                                         "config.json",           "chat_template.jinja",
                                         "generation_config.json",  "sentencepiece.bpe.model" };
    char path[TEST_PATH_BYTES];
    for (size_t i = 0; i < PUM_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", f->path, names[i]);
        unlink(path);
    }
    rmdir(f->path);
}

static pum_tokenizer *load(const char *path)
{
    pum_tokenizer *t = NULL;
    pumice_error err = { 0 };
    if (pum_tokenizer_create_path(path, &t, &err) != PUMICE_OK) fail_msg("%s: %s", path, err.text);
    return t;
}

/* ---- stored answers ---- */

static bool same_ids(const pum_tokens *got, const json_t *want)
{
    if (got->count != json_array_size(want)) return false;
    for (size_t i = 0; i < got->count; i++) {
        if (got->data[i] != json_integer_value(json_array_get(want, i))) return false;
    }
    return true;
}

static void print_ids(const char *text, const pum_tokens *got, const json_t *want)
{
    print_message("'%s'\n  gives", text);
    for (size_t i = 0; i < got->count && i < 40; i++) print_message(" %d", got->data[i]);
    print_message("\n  not  ");
    for (size_t i = 0; i < json_array_size(want) && i < 40; i++)
        print_message(" %lld", json_integer_value(json_array_get(want, i)));
    print_message("\n");
}

/* The text of the ids as they stream, one by one. */
static void stream_all(const pum_tokenizer *t, const pum_tokens *ids, pum_text *out)
{
    pum_text_stream s = { 0 };
    for (size_t i = 0; i < ids->count; i++) {
        size_t before = out->count;
        assert_int_equal(pum_text_stream_push(&s, t, ids->data[i], out), PUMICE_OK);
        for (size_t k = before; k < out->count;) { /* whole characters only */
            int n = pum_utf8_length(out->data + k, out->count - k);
            assert_true(n > 0);
            k += (size_t)n;
        }
    }
    assert_int_equal(pum_text_stream_finish(&s, out), PUMICE_OK);
}

static bool check_ids_only;

static size_t check_case(const pum_tokenizer *t, const json_t *row, const char *key, uint32_t flags,
                         bool streams)
{
    const json_t *text = json_object_get(row, "text"), *want = json_object_get(row, key);
    const json_t *decoded = json_object_get(row, "decoded");
    size_t wrong = 0;
    pum_tokens ids = { 0 };
    pum_text back = { 0 }, streamed = { 0 };
    pum_text_add(&back, "", 0);
    pum_text_add(&streamed, "", 0);
    pumice_error err = { 0 };
    if (pum_tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, &ids,
                             &err) != PUMICE_OK) {
        fail_msg("%s", err.text);
    }
    if (!same_ids(&ids, want)) {
        print_ids(json_string_value(text), &ids, want);
        wrong++;
    }
    bool special = flags & PUMICE_TOKENIZE_PARSE_SPECIAL;
    assert_int_equal(pum_tokenizer_decode_all(t, ids.data, ids.count, special, &back), PUMICE_OK);
    if (decoded && !check_ids_only && !(flags & PUMICE_TOKENIZE_ADD_SPECIAL) &&
        strcmp(back.data, json_string_value(decoded)) != 0) {
        print_message("'%s' is decoded\n   '%s'\nnot '%s'\n", json_string_value(text), back.data,
                      json_string_value(decoded));
        wrong++;
    }
    stream_all(t, &ids, &streamed);
    if (streams && !special && strcmp(back.data, streamed.data) != 0) {
        print_message("'%s' is streamed '%s'\n", back.data, streamed.data);
        wrong++;
    }
    pum_array_free(&ids);
    pum_text_free(&back);
    pum_text_free(&streamed);
    return wrong;
}

static void check_golden(const pum_tokenizer *t, const char *golden, const char *key,
                         uint32_t flags, bool streams)
{
    char path[TEST_PATH_BYTES];
    json_error_t fault;
    if (!test_data(golden, path)) skip();
    json_t *root = json_load_file(path, 0, &fault);
    if (!root) fail_msg("%s: %s", path, fault.text);
    const json_t *cases = json_object_get(root, "cases");
    size_t wrong = 0, n = json_array_size(cases);
    for (size_t i = 0; i < n; i++)
        wrong += check_case(t, json_array_get(cases, i), key, flags, streams);
    print_message("%s (%s): %zu texts, %zu wrong\n", golden, key, n, wrong);
    json_decref(root);
    assert_true(n >= 70);
    assert_int_equal(wrong, 0);
}

static void check_file(const char *model, const char *golden, const char *key, uint32_t flags)
{
    char path[TEST_PATH_BYTES];
    if (!test_data(model, path)) skip();
    pum_tokenizer *t = load(path);
    check_golden(t, golden, key, flags, true);
    pum_tokenizer_destroy(&t);
}

static void test_sentencepiece(void **state)
{
    (void)state;
    static const char *const names[] = { "albert_spiece",
                                         "seqio_sentencepiece",
                                         "test_sentencepiece",
                                         "test_sentencepiece_bpe",
                                         "test_sentencepiece_bpe_char",
                                         "test_sentencepiece_no_bos",
                                         "test_sentencepiece_with_bytefallback" };
    for (size_t i = 0; i < PUM_COUNT(names); i++) {
        char model[128], golden[128];
        snprintf(model, sizeof model, "tokenizers/spm_small/%s.model", names[i]);
        snprintf(golden, sizeof golden, "tokenizers/spm_small/%s.golden.json", names[i]);
        check_file(model, golden, "ids", 0);
    }
    check_file("tokenizers/chatglm/ice_text.model", "tokenizers/chatglm/ice_text.golden.json", "ids",
               0);
}

static void test_byte_level(void **state)
{
    (void)state;
    static const char *const names[] = { "bart", "gpt2", "qwen2" };
    for (size_t i = 0; i < PUM_COUNT(names); i++) {
        char model[128], golden[128];
        snprintf(model, sizeof model, "tokenizers/%s", names[i]);
        snprintf(golden, sizeof golden, "tokenizers/%s/golden.json", names[i]);
        check_file(model, golden, "ids", PUMICE_TOKENIZE_PARSE_SPECIAL);
        check_file(model, golden, "ids_with_special",
                   PUMICE_TOKENIZE_PARSE_SPECIAL | PUMICE_TOKENIZE_ADD_SPECIAL);
    }
}

static void test_chatglm(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    if (!test_data("tokenizers/chatglm", path)) skip();
    pum_tokenizer *t = load(path);
    /* what is decoded is cleaned up as a whole, which no stream can do */
    check_golden(t, "tokenizers/chatglm/golden.json", "ids", 0, false);
    check_golden(t, "tokenizers/chatglm/golden.json", "input_ids", PUMICE_TOKENIZE_ADD_SPECIAL,
                 false);
    assert_int_equal(pum_tokenizer_bos(t), 130004);
    assert_int_equal(pum_tokenizer_eos(t), 130005);
    assert_true(pum_tokenizer_ends(t, 130005));
    pum_tokenizer_destroy(&t);
}

static void test_t5(void **state)
{
    (void)state;
    char path[TEST_PATH_BYTES];
    if (!test_data("tokenizers/spm_small/test_sentencepiece.model", path)) skip();
    folder f = make_folder();
    put_link(&f, "spiece.model", path);
    put(&f, "tokenizer_config.json",
        "{\"tokenizer_class\": \"T5Tokenizer\", \"extra_ids\": 100, \"legacy\": false,"
        " \"eos_token\": \"</s>\", \"unk_token\": \"<unk>\", \"pad_token\": \"<pad>\"}");
    pum_tokenizer *t = load(f.path);
    check_golden(t, "tokenizers/spm_small/t5_style.golden.json", "ids",
                 PUMICE_TOKENIZE_PARSE_SPECIAL | PUMICE_TOKENIZE_ADD_SPECIAL, false);
    pum_tokenizer_destroy(&t);
    remove_folder(&f);
}

/* Ids of a text, as far as there is room. */
static size_t ids_of(const pum_tokenizer *t, const char *text, uint32_t flags, int32_t out[64])
{
    pum_tokens ids = { 0 };
    pumice_error err = { 0 };
    if (pum_tokenizer_encode(t, text, strlen(text), flags, &ids, &err) != PUMICE_OK)
        fail_msg("%s", err.text);
    size_t n = ids.count;
    assert_true(n <= 64);
    memcpy(out, ids.data, n * sizeof *out);
    pum_array_free(&ids);
    return n;
}

/* ---- damaged files: the sentence names the file and what is wrong ---- */

#define JSON_OF(vocab, merges) \
    "{\"model\": {\"type\": \"BPE\", \"vocab\": " vocab ", \"merges\": " merges "}}"
#define ABC "{\"a\": 0, \"b\": 1, \"c\": 2, \"ab\": 3}"

static void test_damaged(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text, *more, *more_text; /* `more`: a second file */
        const char *place, *words;
    } rows[] = {
        { "tokenizer.model", "", NULL, NULL, "/tokenizer.model: ", "neither a SentencePiece model nor" },
        { "tokenizer.model", "version https://x\n", NULL, NULL, "/tokenizer.model: ", "nor tiktoken" },
        { "tokenizer.model", "YQ== 0\nYg== 1\nx\n", NULL, NULL, "/tokenizer.model: ", "line 3 is not" },
        { "spiece.model", "\n\5\n\3abc\n\x7f", NULL, NULL, "/spiece.model: ", "ends too early" },
        { "tokenizer.json", "{\"model\": {\"typ", NULL, NULL, "/tokenizer.json: ", "no valid JSON" },
        { "tokenizer.json", "{\"model\": {\"type\": \"WordPiece\"}}", NULL, NULL, "/tokenizer.json: ",
          "'WordPiece' is not supported" },
        { "tokenizer.json", JSON_OF("{\"a\": 0, \"b\": 1000000000}", "[]"), NULL, NULL,
          "/tokenizer.json: ", "'b' as its number 1000000000" },
        { "tokenizer.json", JSON_OF("{\"a\": 0, \"b\": \"1\"}", "[]"), NULL, NULL, "/tokenizer.json: ",
          "'b' as its number no integer" },
        { "tokenizer.json", JSON_OF(ABC, "[\"a b\", \"a b c\"]"), NULL, NULL, "/tokenizer.json: ",
          "number 1, 'a b c', is not two pieces" },
        { "tokenizer.json", JSON_OF(ABC, "[\"ab\"]"), NULL, NULL, "/tokenizer.json: ", "number 0, 'ab'" },
        { "tokenizer.json", JSON_OF(ABC, "[[\"a\"]]"), NULL, NULL, "/tokenizer.json: ", "number 0" },
        { "vocab.json", ABC, "merges.txt", "#version: 0.2\na b\n\na b c\n", "/merges.txt: ",
          "number 2, 'a b c', is not" },
        { "vocab.json", "[1]", "merges.txt", "", "/vocab.json: ", "no object of pieces" },
        { "tokenizer.json", JSON_OF(ABC, "[\"a b\"]"), "tokenizer_config.json", "{",
          "/tokenizer_config.json: ", "no valid JSON" },
    };
    size_t wrong = 0;
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        folder f = make_folder();
        put(&f, rows[i].file, rows[i].text);
        if (rows[i].more) put(&f, rows[i].more, rows[i].more_text);
        pum_tokenizer *t = NULL;
        pumice_error err = { 0 };
        char place[TEST_PATH_BYTES];
        snprintf(place, sizeof place, "%s%s", f.path, rows[i].place);
        pumice_status status = pum_tokenizer_create_path(f.path, &t, &err);
        bool good = status != PUMICE_OK && !t && strncmp(err.text, place, strlen(place)) == 0 &&
                    strstr(err.text, rows[i].words);
        if (!good) print_message("row %zu: '%s' does not say '%s'\n", i, err.text, rows[i].words);
        wrong += !good;
        pum_tokenizer_destroy(&t);
        remove_folder(&f);
    }
    assert_int_equal(wrong, 0);
}

/* What merges of two pieces mean, in both forms; the blank lines of a merges.txt mean nothing. */
static void test_merges(void **state)
{
    (void)state;
    static const char *const jsons[] = { JSON_OF(ABC, "[\"a b\"]"), JSON_OF(ABC, "[[\"a\", \"b\"]]") };
    int32_t ids[64];
    for (size_t i = 0; i < 3; i++) {
        folder f = make_folder();
        put(&f, i < 2 ? "tokenizer.json" : "vocab.json", i < 2 ? jsons[i] : ABC);
        if (i == 2) put(&f, "merges.txt", "#version: 0.2\r\na b\r\n\r\n\n");
        pum_tokenizer *t = load(f.path);
        assert_int_equal(ids_of(t, "abc", 0, ids), 2);
        assert_int_equal(ids[0], 3);
        assert_int_equal(ids[1], 2);
        pum_tokenizer_destroy(&t);
        remove_folder(&f);
    }
}

/* ---- Falcon's order of steps ---- */

/* Digits stands behind ByteLevel and sees its alphabet, where the byte 0xbd is a number. */
static void test_falcon_order(void **state)
{
    (void)state;
    static const char json[] =
        "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": ["
        "{\"type\": \"Punctuation\", \"behavior\": \"Contiguous\"},"
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true},"
        "{\"type\": \"Digits\", \"individual_digits\": false},"
        "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[0-9][0-9][0-9]\"}, \"behavior\": \"Isolated\","
        " \"invert\": false}]}, \"decoder\": {\"type\": \"ByteLevel\"},"
        "\"model\": {\"type\": \"BPE\", \"vocab\": {\"\\u00ef\": 0, \"\\u00bd\": 1, \"\\u0140\": 2,"
        " \"\\u00ef\\u00bd\": 3, \"\\u00ef\\u00bd\\u0140\": 4, \"1\": 5, \"11\": 6, \"\\u0120\": 7,"
        " \"\\u01201\": 8, \"\\u01bd\": 9, \"\\u00c3\": 10, \"\\u00a9\": 11, \"\\u00c3\\u00a9\": 12},"
        "\"merges\": [\"\\u00ef \\u00bd\", \"\\u00ef\\u00bd \\u0140\", \"1 1\", \"\\u0120 1\","
        " \"\\u00c3 \\u00a9\"]}}";
    static const struct {
        const char *text;
        size_t count;
        int32_t ids[6];
    } rows[] = {
        { "\xef\xbd\x9e", 3, { 0, 1, 2 } },  /* U+FF5E, cut at its second byte */
        { "\xc3\xa9", 1, { 12 } },          /* no byte of this one is a number */
        { " 1111", 4, { 7, 6, 5, 5 } },
    };
    folder f = make_folder();
    put(&f, "tokenizer.json", json);
    pum_tokenizer *t = load(f.path);
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        int32_t got[64];
        assert_int_equal(ids_of(t, rows[i].text, 0, got), rows[i].count);
        assert_memory_equal(got, rows[i].ids, rows[i].count * sizeof *got);
    }
    pum_tokenizer_destroy(&t);
    remove_folder(&f);
}

/* ---- classes with numbers of their own ---- */

/* fairseq's order: <s> <pad> </s> <unk>, then the file's pieces from number 3 on, languages, mask. */
static void test_renumbered(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        uint32_t before, after;
        int32_t around[3]; /* less the size of the file for those above 99 */
    } rows[] = {
        { "{\"tokenizer_class\": \"MBartTokenizer\"}", 0, 2, { 2, 100 + 4 } },
        { "{\"tokenizer_class\": \"MBart50TokenizerFast\", \"src_lang\": \"sl_SI\"}", 1, 1, { 100 + 52, 2 } },
        { "{\"tokenizer_class\": \"XLMRobertaTokenizer\"}", 1, 1, { 0, 2 } },
        { "{\"tokenizer_class\": \"NllbTokenizer\", \"additional_special_tokens\": [\"ace_Arab\", "
          "\"eng_Latn\"]}", 1, 1, { 100 + 2, 2 } },
        { "{\"tokenizer_class\": \"NllbTokenizer\", \"legacy_behaviour\": true, \"src_lang\": "
          "\"ace_Arab\", \"additional_special_tokens\": [\"ace_Arab\", \"eng_Latn\"]}", 0, 2,
          { 2, 100 + 1 } },
    };
    static const char text[] = "I saw a girl with a telescope. \xe2\x98\x83!";
    char path[TEST_PATH_BYTES];
    int32_t plain[64], got[64];
    if (!test_data("tokenizers/spm_small/test_sentencepiece.model", path)) skip();
    pum_tokenizer *file = load(path);
    size_t n = ids_of(file, text, 0, plain);
    int32_t size = (int32_t)pum_tokenizer_count(file);
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        folder f = make_folder();
        put_link(&f, "sentencepiece.bpe.model", path);
        put(&f, "tokenizer_config.json", rows[i].config);
        pum_tokenizer *t = load(f.path);
        assert_int_equal(ids_of(t, text, PUMICE_TOKENIZE_ADD_SPECIAL, got), n + 2);
        for (uint32_t k = 0; k < 2; k++) {
            int32_t want = rows[i].around[k];
            size_t at = k < rows[i].before ? k : n + k;
            assert_int_equal(got[at], want < 100 ? want : want - 100 + size);
        }
        for (size_t k = 0; k < n; k++) {
            int32_t want = plain[k] == 0 ? 3 : plain[k] + 1;
            assert_int_equal(got[k + rows[i].before], want);
        }
        assert_int_equal(ids_of(t, "<mask>", PUMICE_TOKENIZE_PARSE_SPECIAL, got), 1);
        assert_int_equal(got[0], (int32_t)pum_tokenizer_count(t) - 1);
        pum_tokenizer_destroy(&t);
        remove_folder(&f);
    }
    pum_tokenizer_destroy(&file);
}

static void put_varint(pum_text *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) pum_text_add(out, &(char){ (char)(v | 0x80) }, 1);
    pum_text_add(out, &(char){ (char)v }, 1);
}

static void put_bytes(pum_text *out, uint32_t field, const char *data, size_t bytes)
{
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes);
    pum_text_add(out, data, bytes);
}

/* The SentencePiece model that Pegasus' tokenizer.json was made from: its pieces from number 105 on
 * are 2, 3 ... there, where 0 and 1 are <pad> and </s>. */
static void write_pegasus(const char *json, const folder *f)
{
    json_error_t fault;
    json_t *root = json_load_file(json, 0, &fault);
    if (!root) fail_msg("%s: %s", json, fault.text);
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    const json_t *steps = json_object_get(json_object_get(root, "normalizer"), "normalizers");
    const char *map = json_string_value(
        json_object_get(json_array_get(steps, 0), "precompiled_charsmap"));
    pum_text file = { 0 }, blob = { 0 }, part = { 0 };
    for (size_t i = 0; i + 103 < json_array_size(vocab); i++) {
        const json_t *row = json_array_get(vocab, i < 2 ? i : i + 103);
        float score = (float)json_number_value(json_array_get(row, 1));
        part.count = 0;
        put_bytes(&part, 1, json_string_value(json_array_get(row, 0)),
                  json_string_length(json_array_get(row, 0)));
        put_varint(&part, 2 << 3 | 5);
        pum_text_add(&part, (const char *)&score, sizeof score);
        put_varint(&part, 3 << 3);
        put_varint(&part, i < 2 ? 3 : i == 2 ? 2 : i == 3 ? 4 : 1);
        put_bytes(&file, 1, part.data, part.count);
    }
    assert_true(map && pum_base64(map, strlen(map), &blob));
    part.count = 0;
    put_bytes(&part, 2, blob.data, blob.count);
    put_bytes(&file, 3, part.data, part.count);
    char path[TEST_PATH_BYTES];
    snprintf(path, sizeof path, "%s/spiece.model", f->path);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(file.data, 1, file.count, out), file.count);
    fclose(out);
    pum_text_free(&file);
    pum_text_free(&blob);
    pum_text_free(&part);
    json_decref(root);
}

static void test_pegasus(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "PG&E stated it scheduled the blackouts in response to forecasts for high winds.",
        "The tower is 324 metres (1,063 ft) tall; \xc3\xa9t\xc3\xa9, na\xc3\xafve \xef\xac\x81ne print.",
        "  two  blanks\tand a tab ", "", "unknown \xe2\x98\x83\xe2\x98\x83 signs",
    };
    char path[TEST_PATH_BYTES];
    if (!test_data("tokenizers/pegasus/tokenizer.json", path)) skip();
    folder f = make_folder();
    write_pegasus(path, &f);
    put(&f, "config.json", "{\"model_type\": \"pegasus\"}");
    pum_tokenizer *by_json = load(path), *by_model = load(f.path);
    assert_int_equal(pum_tokenizer_count(by_model), pum_tokenizer_count(by_json));
    for (size_t i = 0; i < PUM_COUNT(texts); i++) {
        int32_t want[64], got[64];
        size_t n = ids_of(by_json, texts[i], PUMICE_TOKENIZE_ADD_SPECIAL, want);
        size_t m = ids_of(by_model, texts[i], PUMICE_TOKENIZE_ADD_SPECIAL, got);
        assert_int_equal(m, n);
        assert_memory_equal(got, want, n * sizeof *want);
    }
    for (int32_t id = 0; id < 110; id++) {
        size_t n;
        assert_string_equal(pum_tokenizer_piece(by_model, id, &n), pum_tokenizer_piece(by_json, id, &n));
    }
    pum_tokenizer_destroy(&by_json);
    pum_tokenizer_destroy(&by_model);
    remove_folder(&f);
}

/* ---- as GGUF metadata, and back ---- */

/* Exports the tokenizer of a path and reads it again. */
static pum_tokenizer *load_exported(const char *path, const char *want_model, const char *want_pre)
{
    pumice_error err = { 0 };
    pum_gguf *g = NULL;
    pum_tokenizer *t = load(path), *again = NULL;
    assert_int_equal(pum_gguf_create("exported", NULL, NULL, &g, &err), PUMICE_OK);
    if (pum_tokenizer_export_gguf(t, pum_tokenizer_count(t) + 3, g, &err) != PUMICE_OK ||
        pum_gguf_seal(g, &err) != PUMICE_OK) {
        fail_msg("%s", err.text);
    }
    if (pum_tokenizer_create(g, &again, &err) != PUMICE_OK) fail_msg("%s", err.text);
    assert_string_equal(pum_tokenizer_kind(again), want_model);
    assert_string_equal(pum_tokenizer_pre(again), want_pre);
    uint32_t padding = want_pre[0] ? 3 : 0; /* none if it is the tokenizer.json that is read again */
    assert_int_equal(pum_tokenizer_count(again), pum_tokenizer_count(t) + padding);
    /* GGUF has a default where there is no such token */
    if (pum_tokenizer_bos(t) >= 0)
        assert_int_equal(pum_tokenizer_bos(again), pum_tokenizer_bos(t));
    if (pum_tokenizer_eos(t) >= 0)
        assert_int_equal(pum_tokenizer_eos(again), pum_tokenizer_eos(t));
    pum_tokenizer_destroy(&t);
    pum_gguf_close(&g);
    return again;
}

static void test_export(void **state)
{
    (void)state;
    static const struct {
        const char *model, *golden, *kind, *pre;
        uint32_t flags;
        bool streams;
    } rows[] = {
        { "spm_small/albert_spiece.model", "spm_small/albert_spiece.golden.json", "t5", "default",
          0, false },
        { "spm_small/test_sentencepiece_with_bytefallback.model",
          "spm_small/test_sentencepiece_with_bytefallback.golden.json", "t5", "default", 0, true },
        { "spm_small/test_sentencepiece_bpe.model", "spm_small/test_sentencepiece_bpe.golden.json",
          "llama", "default", 0, false },
        { "chatglm", "chatglm/golden.json", "t5", "default", 0, false },
        { "gpt2", "gpt2/golden.json", "gpt2", "gpt-2", PUMICE_TOKENIZE_PARSE_SPECIAL, true },
        /* composes letters and marks first, as llama.cpp does not */
        { "qwen2", "qwen2/golden.json", "gpt2", "qwen2", PUMICE_TOKENIZE_PARSE_SPECIAL, false },
    };
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        char path[TEST_PATH_BYTES], model[128], golden[128];
        snprintf(model, sizeof model, "tokenizers/%s", rows[i].model);
        snprintf(golden, sizeof golden, "tokenizers/%s", rows[i].golden);
        if (!test_data(model, path)) skip();
        pum_tokenizer *t = load_exported(path, rows[i].kind, rows[i].pre);
        check_ids_only = !rows[i].streams; /* the unknown token's sign is not in a GGUF file */
        check_golden(t, golden, "ids", rows[i].flags, rows[i].streams);
        check_ids_only = false;
        pum_tokenizer_destroy(&t);
    }
}

/* Tokens of a text by two tokenizers, for every combination of flags. */
static size_t count_differences(const pum_tokenizer *a, const pum_tokenizer *b, const char *text,
                                size_t bytes)
{
    static const uint32_t flags[] = { 0, PUMICE_TOKENIZE_PARSE_SPECIAL, PUMICE_TOKENIZE_ADD_SPECIAL,
                                      PUMICE_TOKENIZE_PARSE_SPECIAL | PUMICE_TOKENIZE_ADD_SPECIAL };
    size_t wrong = 0;
    for (size_t i = 0; i < PUM_COUNT(flags); i++) {
        pum_tokens want = { 0 }, got = { 0 };
        pumice_error err = { 0 };
        if (pum_tokenizer_encode(a, text, bytes, flags[i], &want, &err) != PUMICE_OK ||
            pum_tokenizer_encode(b, text, bytes, flags[i], &got, &err) != PUMICE_OK) {
            fail_msg("%s", err.text);
        }
        bool same = got.count == want.count &&
                    (!want.count ||
                     memcmp(got.data, want.data, want.count * sizeof *want.data) == 0);
        if (!same) print_message("'%.60s' (flags %u) differs\n", text, flags[i]);
        wrong += !same;
        pum_array_free(&want);
        pum_array_free(&got);
    }
    return wrong;
}

/* The exported tokenizer of a path does what the path's own does. */
static void check_same(const char *path, const char *kind, const char *pre, const char *golden)
{
    static const char *const texts[] = {
        "A <extra_id_0> walks <extra_id_1> park", "<s>a</s> <s> b </s><unk> c<pad>d <mask> e<mask>",
        " <|endoftext|> x<|endoftext|> <|im_end|>y", "[gMASK]<sop> a [MASK]<eop>", "\xe2\x96\x81 a  b "
    };
    char file[TEST_PATH_BYTES];
    json_error_t fault;
    pum_tokenizer *t = load(path), *again = load_exported(path, kind, pre);
    size_t wrong = 0;
    for (size_t i = 0; i < PUM_COUNT(texts); i++)
        wrong += count_differences(t, again, texts[i], strlen(texts[i]));
    if (!test_data(golden, file)) skip();
    json_t *root = json_load_file(file, 0, &fault), *row;
    size_t i, n = 0;
    json_array_foreach(json_object_get(root, "cases"), i, row) {
        const json_t *text = json_object_get(row, "text");
        wrong += count_differences(t, again, json_string_value(text), json_string_length(text));
        n++;
    }
    json_decref(root);
    pum_tokenizer_destroy(&t);
    pum_tokenizer_destroy(&again);
    assert_true(n >= 70);
    assert_int_equal(wrong, 0);
}

static void test_export_special(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *kind, *pre;
    } folders[] = { { "chatglm", "t5", "default" }, { "bart", "gpt2", "gpt-2" },
                    { "gpt2", "gpt2", "gpt-2" },    { "qwen2", "gpt2", "qwen2" } };
    static const struct {
        const char *model, *config, *kind;
    } made[] = {
        { "test_sentencepiece",
          "{\"tokenizer_class\": \"T5Tokenizer\", \"legacy\": false, \"eos_token\": \"</s>\"}", "t5" },
        { "test_sentencepiece", "{\"tokenizer_class\": \"T5Tokenizer\", \"extra_ids\": 7}", "t5" },
        { "test_sentencepiece_bpe", "{\"tokenizer_class\": \"LlamaTokenizer\", \"legacy\": false}",
          "llama" },
        { "test_sentencepiece_bpe", "{\"tokenizer_class\": \"LlamaTokenizer\"}", "llama" },
        { "test_sentencepiece_bpe", "{}", "llama" },
    };
    char path[TEST_PATH_BYTES], name[128];
    for (size_t i = 0; i < PUM_COUNT(folders); i++) {
        char golden[128];
        snprintf(name, sizeof name, "tokenizers/%s", folders[i].folder);
        snprintf(golden, sizeof golden, "tokenizers/%s/golden.json", folders[i].folder);
        if (!test_data(name, path)) skip();
        check_same(path, folders[i].kind, folders[i].pre, golden);
    }
    for (size_t i = 0; i < PUM_COUNT(made); i++) {
        snprintf(name, sizeof name, "tokenizers/spm_small/%s.model", made[i].model);
        if (!test_data(name, path)) skip();
        folder f = make_folder();
        put_link(&f, "spiece.model", path);
        put(&f, "tokenizer_config.json", made[i].config);
        check_same(f.path, made[i].kind, "default", "tokenizers/spm_small/t5_style.golden.json");
        remove_folder(&f);
    }
}

/* Words are cut as no name of GGUF's says, so the tokenizer.json is in the file; what the
 * configuration files add to it is not, and yet must be known. */
static void test_export_json(void **state)
{
    (void)state;
    static const char *const texts[] = { "<s>a ab</s>", " <x>ab <y> b", "abyab" };
    folder f = make_folder();
    put(&f, "tokenizer.json",
        "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"\\u0120\": 3,"
        " \"<s>\": 4, \"<\": 5, \">\": 6, \"s\": 7, \"/\": 8, \"x\": 9, \"y\": 10}, \"merges\": [\"a b\"]},"
        " \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": ["
        "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": \"MergedWithPrevious\"},"
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}}");
    put(&f, "tokenizer_config.json",
        "{\"bos_token\": \"<s>\", \"added_tokens_decoder\": {\"11\": {\"content\": \"<x>\", \"special\": true,"
        " \"lstrip\": true}, \"12\": {\"content\": \"<y>\", \"rstrip\": true}}}");
    pum_tokenizer *t = load(f.path), *again = load_exported(f.path, "gpt2", "");
    size_t wrong = 0;
    for (size_t i = 0; i < PUM_COUNT(texts); i++)
        wrong += count_differences(t, again, texts[i], strlen(texts[i]));
    pum_tokenizer_destroy(&t);
    pum_tokenizer_destroy(&again);
    remove_folder(&f);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentencepiece),
        cmocka_unit_test(test_byte_level),
        cmocka_unit_test(test_chatglm),
        cmocka_unit_test(test_t5),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_falcon_order),
        cmocka_unit_test(test_renumbered),
        cmocka_unit_test(test_pegasus),
        cmocka_unit_test(test_export),
        cmocka_unit_test(test_export_special),
        cmocka_unit_test(test_export_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
