/* SPDX-License-Identifier: Apache-2.0
 * Tokenizers without a model: the vocabularies and texts of llama.cpp's own tests must give the
 * same ids and come back as the same text (needs PUMICE_TEST_DATA); small vocabularies made here
 * test the rest: special tokens, BOS and EOS, invalid UTF-8, unknown names, damaged metadata. */
#include "testing.h"

#include "tokenizer_impl.h"
#include "vocab_image.h"

#define SEPARATOR "\n__ggml_vocab_test__\n"

static pum_tokenizer *create(const pum_gguf *g)
{
    pum_tokenizer *t = NULL;
    pumice_error err = { 0 };
    if (pum_tokenizer_create(g, &t, &err) != PUMICE_OK) fail_msg("%s", err.text);
    return t;
}

static pum_tokenizer *create_from(gguf_image *image)
{
    pum_gguf *g = NULL;
    pumice_error err = { 0 };
    gguf_image_finish(image);
    if (pum_gguf_open_memory(image->data, image->count, "image", &g, &err) != PUMICE_OK)
        fail_msg("%s", err.text);
    pum_tokenizer *t = create(g);
    pum_gguf_close(&g); /* the tokenizer keeps copies */
    gguf_image_free(image);
    return t;
}

static pum_tokens encode(const pum_tokenizer *t, const char *text, size_t bytes, uint32_t flags)
{
    pum_tokens tokens = { 0 };
    pumice_error err = { 0 };
    if (pum_tokenizer_encode(t, text, bytes, flags, &tokens, &err) != PUMICE_OK)
        fail_msg("%s", err.text);
    return tokens;
}

static void check_ids(const pum_tokenizer *t, const char *text, uint32_t flags, size_t count,
                      const int32_t *want)
{
    pum_tokens tokens = encode(t, text, strlen(text), flags);
    bool same = tokens.count == count;
    for (size_t i = 0; same && i < count; i++) same = tokens.data[i] == want[i];
    if (!same) {
        for (size_t i = 0; i < tokens.count; i++) print_message("%d ", tokens.data[i]);
        fail_msg("'%s' gives other ids", text);
    }
    pum_array_free(&tokens);
}
#define CHECK_IDS(t, text, flags, ...)                                                             \
    do {                                                                                           \
        const int32_t want_[] = { __VA_ARGS__ };                                                   \
        check_ids(t, text, flags, sizeof want_ / sizeof *want_, want_);                            \
    } while (0)

static void check_round_trip(const pum_tokenizer *t, const char *text, size_t bytes, uint32_t flags)
{
    pum_tokens tokens = encode(t, text, bytes, flags);
    pum_text back = { 0 };
    pum_text_add(&back, "", 0);
    assert_int_equal(pum_tokenizer_decode_all(t, tokens.data, tokens.count, flags != 0, &back),
                     PUMICE_OK);
    if (back.count != bytes || memcmp(back.data, text, bytes) != 0) {
        fail_msg("'%.*s' came back as '%s'", (int)bytes, text, back.data);
    }
    pum_text_free(&back);
    pum_array_free(&tokens);
}

#define CHECK_ROUND_TRIP(t, text, flags) check_round_trip(t, text, sizeof(text) - 1, flags)

/* ---- llama.cpp's pairs ---- */

static char *read_text(const char *name, size_t *out_bytes)
{
    char path[TEST_PATH_BYTES];
    pumice_error err = { 0 };
    uint8_t *data = NULL;
    if (!test_data(name, path)) skip();
    if (pum_file_read(path, 64 << 20, &data, out_bytes, &err) != PUMICE_OK)
        fail_msg("%s", err.text);
    return (char *)data; /* NUL-terminated: the reader leaves a zero after the end */
}

static size_t check_pair(const pum_tokenizer *t, const char *text, size_t bytes, const char *line,
                         size_t index)
{
    pum_tokens tokens = encode(t, text, bytes, 0);
    size_t n = 0;
    bool same = true;
    char *end = NULL;
    for (const char *p = line; *p && *p != '\n'; p = end) {
        long want = strtol(p, &end, 10);
        if (end == p) break; /* trailing blank */
        same = same && n < tokens.count && tokens.data[n] == want;
        n++;
    }
    same = same && n == tokens.count;
    if (!same) {
        print_message("text %zu '%.*s'\n  gives", index, (int)bytes, text);
        for (size_t i = 0; i < tokens.count; i++) print_message(" %d", tokens.data[i]);
        print_message("\n  not %.*s\n", (int)strcspn(line, "\n"), line);
    }
    pum_array_free(&tokens);
    check_round_trip(t, text, bytes, 0);
    return same ? 0 : 1;
}

static void check_vocab(const char *name)
{
    char file[128], path[TEST_PATH_BYTES];
    size_t bytes, unused, wrong = 0, n = 0;
    pumice_error err = { 0 };
    pum_gguf *g = NULL;
    snprintf(file, sizeof file, "vocab/ggml-vocab-%s.gguf", name);
    if (!test_data(file, path)) skip();
    if (pum_gguf_open(path, &g, &err) != PUMICE_OK) fail_msg("%s", err.text);
    uint64_t begin = pum_now_ns();
    pum_tokenizer *t = create(g);
    uint64_t ms = (pum_now_ns() - begin) / 1000000;
    pum_gguf_close(&g);
    strcat(file, ".inp");
    char *texts = read_text(file, &bytes);
    strcpy(file + strlen(file) - 3, "out");
    char *lines = read_text(file, &unused);
    const char *text = texts, *line = lines;
    while (*line) {
        const char *end = strstr(text, SEPARATOR);
        size_t length = end ? (size_t)(end - text) : strlen(text);
        wrong += check_pair(t, text, length, line, n++);
        line += strcspn(line, "\n");
        line += *line == '\n';
        if (!end) break;
        text = end + strlen(SEPARATOR);
    }
    print_message("%s: %u tokens, loaded in %llu ms, %zu texts, %zu wrong\n", name,
                  pum_tokenizer_count(t), (unsigned long long)ms, n, wrong);
    assert_int_equal(*line, 0);
    assert_int_equal(wrong, 0);
    assert_true(n >= 46);
    pum_free(texts);
    pum_free(lines);
    pum_tokenizer_destroy(&t);
}

static void test_vocab_deepseek_coder(void **state)
{
    (void)state;
    check_vocab("deepseek-coder");
}
static void test_vocab_deepseek_llm(void **state)
{
    (void)state;
    check_vocab("deepseek-llm");
}
static void test_vocab_falcon(void **state)
{
    (void)state;
    check_vocab("falcon");
}
static void test_vocab_gpt2(void **state)
{
    (void)state;
    check_vocab("gpt-2");
}
static void test_vocab_llama_spm(void **state)
{
    (void)state;
    check_vocab("llama-spm");
}
static void test_vocab_phi3(void **state)
{
    (void)state;
    check_vocab("phi-3");
}
static void test_vocab_starcoder(void **state)
{
    (void)state;
    check_vocab("starcoder");
}

/* ---- vocabularies made here ---- */

static void test_spm(void **state)
{
    (void)state;
    gguf_image image = vocab_image_spm();
    pum_tokenizer *t = create_from(&image);
    uint32_t parse = PUMICE_TOKENIZE_PARSE_SPECIAL, add = PUMICE_TOKENIZE_ADD_SPECIAL;
    assert_string_equal(pum_tokenizer_kind(t), "llama");
    assert_int_equal(pum_tokenizer_bos(t), 1);
    assert_int_equal(pum_tokenizer_eos(t), 2);
    assert_true(pum_tokenizer_ends(t, 2));
    assert_false(pum_tokenizer_ends(t, SPM_A));
    assert_false(pum_tokenizer_ends(t, -1));
    CHECK_IDS(t, "ab", 0, SPM_BLANK_AB);
    CHECK_IDS(t, "ab", add, 1, SPM_BLANK_AB); /* BOS by default, no EOS */
    CHECK_IDS(t, "abab", 0, SPM_BLANK_AB, SPM_AB);
    CHECK_IDS(t, "b ab a", 0, SPM_BLANK, SPM_B, SPM_BLANK_AB, SPM_BLANK_A);
    CHECK_IDS(t, "a\xc3\xa9", 0, SPM_BLANK_A, 3 + 0xc3, 3 + 0xa9);
    CHECK_IDS(t,
              "\xff"
              "ab",
              0, SPM_BLANK, 3 + 0xff, SPM_AB);                         /* bytes that are no UTF-8 */
    CHECK_IDS(t, "a<note>ab", 0, SPM_BLANK_A, SPM_NOTE, SPM_BLANK_AB); /* user-defined: always */
    CHECK_IDS(t, "<|tag|>a</s>", parse, SPM_TAG, SPM_BLANK_A, 2);
    pum_tokens plain =
        encode(t, "<|tag|></s>", 11, 0); /* no text becomes a control token by itself */
    for (size_t i = 0; i < plain.count; i++)
        assert_true(plain.data[i] != SPM_TAG && plain.data[i] > 2);
    pum_array_free(&plain);
    pum_tokens none = encode(t, "", 0, 0);
    assert_int_equal(none.count, 0);
    pum_array_free(&none);
    CHECK_ROUND_TRIP(t, "  a b\n\n  ab  ", 0);
    CHECK_ROUND_TRIP(t, " <note> a<note>", 0);
    CHECK_ROUND_TRIP(t, "a<|tag|>b </s> ", parse);
    CHECK_ROUND_TRIP(t, "\xff\xfe a\xe2\x96 b", 0);
    CHECK_ROUND_TRIP(t, "a\0b", 0);
    pum_tokenizer_destroy(&t);
    pum_tokenizer_destroy(&t); /* NULL is fine */
}

static void test_spm_settings(void **state)
{
    (void)state;
    gguf_image image = vocab_image_spm();
    gguf_image_bool(&image, "tokenizer.ggml.add_space_prefix", 0);
    gguf_image_bool(&image, "tokenizer.ggml.add_bos_token", 0);
    gguf_image_bool(&image, "tokenizer.ggml.add_eos_token", 1);
    gguf_image_key_u32(&image, "tokenizer.ggml.bos_token_id", 100000); /* out of range: none */
    gguf_image_key_u32(&image, "tokenizer.ggml.eot_token_id", SPM_TAG);
    pum_tokenizer *t = create_from(&image);
    assert_int_equal(pum_tokenizer_bos(t), -1);
    assert_true(pum_tokenizer_ends(t, SPM_TAG));
    CHECK_IDS(t, "ab", PUMICE_TOKENIZE_ADD_SPECIAL, SPM_AB, 2);
    CHECK_ROUND_TRIP(t, " a b", 0);
    pum_tokenizer_destroy(&t);
}

static void test_bpe(void **state)
{
    (void)state;
    gguf_image image = vocab_image_bpe("gpt-2");
    pum_tokenizer *t = create_from(&image);
    assert_string_equal(pum_tokenizer_kind(t), "gpt2");
    assert_string_equal(pum_tokenizer_pre(t), "gpt-2");
    assert_int_equal(pum_tokenizer_eos(t), -1);
    assert_true(pum_tokenizer_ends(t, BPE_END));
    CHECK_IDS(t, "hell hello", 0, BPE_HELL, BPE_G_HELL, 'o');
    CHECK_IDS(t, "12", PUMICE_TOKENIZE_ADD_SPECIAL, BPE_TWO); /* no BOS by default */
    CHECK_IDS(t, "whole", 0, 'w', 'h', 'o', 'l', 'e');
    CHECK_IDS(t, "xy", 0, 'x', 'y'); /* merged to a string that is no token, spelled again */
    CHECK_IDS(t, "\xff\xc3", 0, 0xff, 0xc3); /* bytes pass through */
    CHECK_IDS(t, "a  b", 0, 'a', BPE_SPACES, 'b');
    CHECK_IDS(t, "hell<|im_end|>", PUMICE_TOKENIZE_PARSE_SPECIAL, BPE_HELL, BPE_END);
    CHECK_IDS(t, "<|im_end|>", 0, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>');
    char all[256];
    for (int i = 0; i < 256; i++) all[i] = (char)i;
    check_round_trip(t, all, 256, 0);
    CHECK_ROUND_TRIP(t, "a  b   c\r\n\xf0\x9f\x8c\x8b <|im_end|>", PUMICE_TOKENIZE_PARSE_SPECIAL);
    pum_tokenizer_destroy(&t);

    image = vocab_image_bpe("llama-bpe"); /* a word that is a token is that token; BOS by default */
    t = create_from(&image);
    CHECK_IDS(t, "whole", PUMICE_TOKENIZE_ADD_SPECIAL, BPE_END, BPE_WHOLE);
    pum_tokenizer_destroy(&t);
}

/* The words that a pre-tokenizer makes show as tokens when no merge joins across them: "1 2" joins
 * two digits. */
static void test_pre_tokenizers(void **state)
{
    (void)state;
    gguf_image image = vocab_image_bpe("qwen2"); /* digits one by one */
    pum_tokenizer *t = create_from(&image);
    CHECK_IDS(t, "12", 0, '1', '2');
    pum_tokenizer_destroy(&t);
    static const char text[] = "We've 123456 caf\xc3\xa9s,\r\n\r\n  \t x\xe2\x80\xa8 "
                               "\xe4\xbd\xa0\xe5\xa5\xbd!! HTTPServer's\xe3\x80\x80 "
                               "\xd0\x9d\xd0\xb5 \xf0\x9f\x9a\x80\xe2\x80\x8d  ";
    const char *name = "";
    for (size_t i = 0; name;
         name = pum_pretok_name(i++)) { /* every name compiles, the empty one too */
        image = vocab_image_bpe(name);
        t = create_from(&image);
        check_round_trip(t, text, sizeof text - 1, 0);
        pum_tokenizer_destroy(&t);
    }
    image = vocab_image_bpe(NULL); /* no name at all: "default" */
    t = create_from(&image);
    check_round_trip(t, text, sizeof text - 1, 0);
    pum_tokenizer_destroy(&t);
}

/* What becomes of a text, by name of the pre-tokenizer: words between bars. */
static const struct {
    const char *name, *words;
} word_cases[] = {
    { "gpt-2", "Hello| | world|'s| 123|!|\n\n| x" },
    { "starcoder", "a|1|2| b|'ll" },
    { "llama-bpe", "Hello| | world|'s| |123|45|!\n\n| x" },
    { "llama-bpe", " \n\n|  | z|  " },
    { "qwen2", "abc|'LL| |1|2|.\r\n|\tx" },
    { "gpt-4o", "HTTPServer's| camel|Case| \xc3\x89"
                "COLE|123|4" },
    { "tekken", "HTTPServer|'s| |4|2" },
    { "deepseek-v3", "a|123|4|\xe3\x80\x82|\xe4\xbd\xa0\xe5\xa5\xbd| b" },
    { "deepseek-coder", "x|\n| y|1|2|(" },
    { "deepseek-llm", "ab| cd|12345|\r|\n|  " },
    { "falcon", "a|`|b| |123|45" },
    { "bloom", " hello| (|world|)" },
    { "viking", "a|1|2|,| b" },
    { "kimi-k2", "\xe4\xbd\xa0\xe5\xa5\xbd|abc's| |123|4" },
    { "exaone-moe", "ab cd|1|  \n" },
    { "qwen2", "a|\xff\xfe|b|\xe2\x96|c" }, /* what is no UTF-8 is a word of its own */
    { "default", "x|=|y| |123|4" },
    { "superbpe", "in |1|234|,|567| or |12|345" },
    { "afmoe", "a|1|234|567|\xe4\xbd\xa0\xe5\xa5\xbd|,x| b" },
    { "tiny_aya", "camel|Case| |1|234|,| |123|4|abc" }, /* digits that a letter follows: from the left */
    { "roberta-bpe", "a| b|12" },
};

static void test_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < PUM_COUNT(word_cases); i++) {
        char text[128], got[256];
        size_t n = 0, m = 0;
        pumice_error err = { 0 };
        pum_pretok *p = NULL;
        uint32_t flags;
        pum_positions ends = { 0 };
        for (const char *c = word_cases[i].words; *c; c++) {
            if (*c != '|') text[n++] = *c;
        }
        assert_int_equal(pum_pretok_create(word_cases[i].name, &p, &flags, &err), PUMICE_OK);
        assert_int_equal(pum_pretok_split(p, text, n, &ends, &err), PUMICE_OK);
        for (size_t k = 0, from = 0; k < ends.count; from = ends.data[k++]) {
            if (k) got[m++] = '|';
            memcpy(got + m, text + from, ends.data[k] - from);
            m += ends.data[k] - from;
        }
        got[m] = 0;
        if (strcmp(got, word_cases[i].words) != 0) {
            fail_msg("%s: '%s', not '%s'", word_cases[i].name, got, word_cases[i].words);
        }
        pum_array_free(&ends);
        pum_pretok_destroy(&p);
    }
}

/* Long words, runs and lines must neither crash nor take more than n log n. */
static void test_long_texts(void **state)
{
    (void)state;
    static const char *const names[] = { "default",    "deepseek-llm", "tekken",
                                         "exaone-moe", "kimi-k2",      "llama-bpe" };
    static const char *const units[] = { "h",   " ",  "\n",           "hell",
                                         "1",   "A",  "\xe4\xbd\xa0", "\xcc\x81",
                                         " \n", "!?", "\xff",         "A a " };
    enum { BYTES = 200000 };
    char *text = pum_alloc(BYTES + 8);
    assert_non_null(text);
    for (size_t k = 0; k <= PUM_COUNT(names); k++) {
        gguf_image image = k < PUM_COUNT(names) ? vocab_image_bpe(names[k]) : vocab_image_spm();
        pum_tokenizer *t = create_from(&image);
        for (size_t u = 0; u < PUM_COUNT(units); u++) {
            size_t n = 0, length = strlen(units[u]);
            while (n + length <= BYTES) {
                memcpy(text + n, units[u], length);
                n += length;
            }
            text[n++] = 'a';
            uint64_t begin = pum_now_ns();
            check_round_trip(t, text, n, 0);
            assert_true(pum_now_ns() - begin < 10000000000ull);
        }
        pum_tokenizer_destroy(&t);
    }
    pum_free(text);
}

/* ---- what must be refused ---- */

static void expect_refusal(gguf_image *image, pumice_status want, const char *words)
{
    pum_gguf *g = NULL;
    pum_tokenizer *t = NULL;
    pumice_error err = { 0 };
    gguf_image_finish(image);
    assert_int_equal(pum_gguf_open_memory(image->data, image->count, "image", &g, &err), PUMICE_OK);
    assert_int_equal(pum_tokenizer_create(g, &t, &err), want);
    assert_null(t);
    if (!strstr(err.text, words)) fail_msg("'%s' does not say '%s'", err.text, words);
    pum_gguf_close(&g);
    gguf_image_free(image);
}

static void test_refusals(void **state)
{
    (void)state;
    gguf_image image = { 0 };
    expect_refusal(&image, PUMICE_ERROR_FORMAT, "tokenizer.ggml.model");
    gguf_image_string(&image, "tokenizer.ggml.model", "bert\n");
    expect_refusal(&image, PUMICE_ERROR_UNSUPPORTED, "'bert?'");
    gguf_image_string(&image, "tokenizer.ggml.model", "llama");
    expect_refusal(&image, PUMICE_ERROR_FORMAT, "tokenizer.ggml.tokens");
    image = vocab_image_bpe("no-such-name");
    expect_refusal(&image, PUMICE_ERROR_UNSUPPORTED, "'no-such-name'");
    gguf_image_string(&image, "tokenizer.ggml.model", "gpt2");
    gguf_image_array(&image, "tokenizer.ggml.tokens", PUM_GGUF_STRING, 1);
    gguf_image_text(&image, "a");
    expect_refusal(&image, PUMICE_ERROR_FORMAT, "tokenizer.ggml.merges");
    gguf_image_string(&image, "tokenizer.ggml.model", "llama");
    gguf_image_array(&image, "tokenizer.ggml.tokens", PUM_GGUF_STRING, 2);
    gguf_image_text(&image, "a");
    gguf_image_text(&image, "b");
    gguf_image_array(&image, "tokenizer.ggml.scores", PUM_GGUF_F32, 1);
    gguf_image_f32(&image, 0);
    expect_refusal(&image, PUMICE_ERROR_FORMAT, "tokenizer.ggml.scores");
    gguf_image_string(&image, "tokenizer.ggml.model", "llama");
    gguf_image_array(&image, "tokenizer.ggml.tokens", PUM_GGUF_STRING, 1);
    gguf_image_text(&image, "a");
    gguf_image_array(&image, "tokenizer.ggml.token_type", PUM_GGUF_STRING, 1);
    gguf_image_text(&image, "a");
    expect_refusal(&image, PUMICE_ERROR_FORMAT, "tokenizer.ggml.token_type");
}

static void test_too_long(void **state)
{
    (void)state;
    gguf_image image = vocab_image_spm();
    pum_tokenizer *t = create_from(&image);
    pum_tokens tokens = { 0 };
    pumice_error err = { 0 };
    assert_int_equal(pum_tokenizer_encode(t, "", (size_t)2 << 30, 0, &tokens, &err),
                     PUMICE_ERROR_INVALID);
    assert_int_equal(tokens.count, 0);
    assert_non_null(strstr(err.text, "at most"));
    pum_tokenizer_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocab_deepseek_coder),
        cmocka_unit_test(test_vocab_deepseek_llm),
        cmocka_unit_test(test_vocab_falcon),
        cmocka_unit_test(test_vocab_gpt2),
        cmocka_unit_test(test_vocab_llama_spm),
        cmocka_unit_test(test_vocab_phi3),
        cmocka_unit_test(test_vocab_starcoder),
        cmocka_unit_test(test_spm),
        cmocka_unit_test(test_spm_settings),
        cmocka_unit_test(test_bpe),
        cmocka_unit_test(test_pre_tokenizers),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
