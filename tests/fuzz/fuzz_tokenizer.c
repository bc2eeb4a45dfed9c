/* SPDX-License-Identifier: Apache-2.0
 * Any bytes -> ids -> the same bytes, with both kinds of tokenizer and several pre-tokenizers,
 * plain and with special tokens. SentencePiece gives U+2581 back as a blank; nothing else may
 * change. Two ways to run it: fuzz_tokenizer [VOCAB.gguf ...] [SEED [COUNT]]   COUNT (1000) random
 * texts, also with the files' vocabularies -DPUM_LIBFUZZER                                  as a
 * libFuzzer target */
#include "tokenizer.h"
#include "vocab_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int pum_fuzz_tokenizer(const pum_tokenizer *t, const bool has[256], const uint8_t *data,
                       size_t size);

static void require(bool ok, const char *what, const pum_tokenizer *t)
{
    if (ok) return;
    fprintf(stderr, "fuzz_tokenizer: %s ('%s', pre-tokenizer '%s')\n", what, pum_tokenizer_kind(t),
            pum_tokenizer_pre(t));
    abort();
}

/* Which bytes come back alone. Vocabularies may lack bytes that their makers never saw: Falcon's
 * has neither 0xff nor most control characters. */
static void find_bytes(const pum_tokenizer *t, bool has[256])
{
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        pum_tokens tokens = { 0 };
        pum_text back = { 0 };
        pum_text_add(&back, "", 0);
        require(pum_tokenizer_encode(t, &c, 1, 0, &tokens, NULL) == PUMICE_OK, "a byte fails", t);
        require(pum_tokenizer_decode_all(t, tokens.data, tokens.count, true, &back) == PUMICE_OK,
                "no text", t);
        has[b] = back.count == 1 && back.data[0] == c;
        pum_array_free(&tokens);
        pum_text_free(&back);
    }
}

/* What decoding is to give: SentencePiece takes U+2581 for a blank, bytes without a token become
 * U+FFFD. */
static pum_text normalised(const pum_tokenizer *t, const bool has[256], const char *text, size_t n)
{
    pum_text out = { 0 };
    bool spm = strcmp(pum_tokenizer_kind(t), "llama") == 0;
    pum_text_add(&out, "", 0);
    for (size_t i = 0; i < n;) {
        bool blank = spm && n - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0;
        if (blank) pum_text_add(&out, " ", 1);
        else if (has[(uint8_t)text[i]]) pum_text_add(&out, text + i, 1);
        else pum_text_add(&out, "\xef\xbf\xbd", 3);
        i += blank ? 3 : 1;
    }
    return out;
}

static void check_stream(const pum_tokenizer *t, const pum_tokens *tokens)
{
    pum_text_stream s = { 0 };
    pum_text out = { 0 };
    for (size_t i = 0; i < tokens->count; i++) {
        require(pum_text_stream_push(&s, t, tokens->data[i], &out) == PUMICE_OK, "the stream fails",
                t);
    }
    require(pum_text_stream_finish(&s, &out) == PUMICE_OK, "the stream fails", t);
    for (size_t i = 0; i < out.count;) {
        int n = pum_utf8_length(out.data + i, out.count - i);
        require(n > 0, "the stream gives bytes that are not UTF-8", t);
        i += (size_t)n;
    }
    pum_text_free(&out);
}

int pum_fuzz_tokenizer(const pum_tokenizer *t, const bool has[256], const uint8_t *data,
                       size_t size)
{
    const char *text = (const char *)data;
    pum_text want = normalised(t, has, text, size);
    for (uint32_t flags = 0; flags <= PUMICE_TOKENIZE_PARSE_SPECIAL;
         flags += PUMICE_TOKENIZE_PARSE_SPECIAL) {
        pum_tokens tokens = { 0 };
        pum_text back = { 0 };
        pumice_error err = { 0 };
        pum_text_add(&back, "", 0);
        require(pum_tokenizer_encode(t, text, size, flags, &tokens, &err) == PUMICE_OK, err.text,
                t);
        for (size_t i = 0; i < tokens.count; i++) {
            pum_token_type type = pum_tokenizer_type(t, tokens.data[i]);
            require(tokens.data[i] >= 0 && (uint32_t)tokens.data[i] < pum_tokenizer_count(t),
                    "a bad id", t);
            require(flags || type != PUM_TOKEN_CONTROL, "plain text became a control token", t);
        }
        require(pum_tokenizer_decode_all(t, tokens.data, tokens.count, true, &back) == PUMICE_OK,
                "no text", t);
        require(back.count == want.count && memcmp(back.data, want.data, want.count) == 0,
                "another text", t);
        check_stream(t, &tokens);
        pum_array_free(&tokens);
        pum_text_free(&back);
    }
    pum_text_free(&want);
    return 0;
}

static pum_tokenizer *make(const gguf_image *image, const char *path)
{
    pum_gguf *g = NULL;
    pum_tokenizer *t = NULL;
    pumice_error err = { 0 };
    pumice_status status = path
                               ? pum_gguf_open(path, &g, &err)
                               : pum_gguf_open_memory(image->data, image->count, "image", &g, &err);
    if (status != PUMICE_OK || pum_tokenizer_create(g, &t, &err) != PUMICE_OK) {
        fprintf(stderr, "fuzz_tokenizer: %s\n", err.text);
        exit(2);
    }
    pum_gguf_close(&g);
    return t;
}

static const char *const pre_names[] = { "default",     "llama-bpe", "tekken", "deepseek-llm",
                                         "deepseek-v3", "bloom",     "gpt-4o", "kimi-k2",
                                         "exaone-moe",  "chameleon" };

static size_t make_all(pum_tokenizer *out[PUM_COUNT(pre_names) + 1])
{
    for (size_t i = 0; i <= PUM_COUNT(pre_names); i++) {
        gguf_image image = i ? vocab_image_bpe(pre_names[i - 1]) : vocab_image_spm();
        gguf_image_finish(&image);
        out[i] = make(&image, NULL);
        gguf_image_free(&image);
    }
    return PUM_COUNT(pre_names) + 1;
}

#ifdef PUM_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static pum_tokenizer *all[PUM_COUNT(pre_names) + 1];
    static bool has[256];
    memset(has, 1, sizeof has); /* the small vocabularies have every byte */
    if (!all[0]) make_all(all);
    if (size) pum_fuzz_tokenizer(all[data[0] % PUM_COUNT(all)], has, data + 1, size - 1);
    return 0;
}

#else

static uint64_t next_random(uint64_t *state) /* SplitMix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* Random bytes alone would never be words: pieces of text that matter, with noise between them. */
static size_t make_text(uint8_t *out, size_t capacity, uint64_t *r)
{
    static const char *const pieces[] = { " ",
                                          "  ",
                                          "\n",
                                          "\r\n",
                                          "\t",
                                          "a",
                                          "ab",
                                          "hell",
                                          "whole",
                                          "12",
                                          "1234567",
                                          "'s",
                                          "'LL",
                                          "<|im_end|>",
                                          "<|tag|>",
                                          "<note>",
                                          "</s>",
                                          "<0x41>",
                                          "\xe2\x96\x81",
                                          "\xe2\x96",
                                          "\xc3\xa9",
                                          "\xcc\x81",
                                          "\xe4\xbd\xa0\xe5\xa5\xbd",
                                          "\xe3\x80\x80",
                                          "\xc2\xa0",
                                          "\xf0\x9f\x8c\x8b",
                                          "\xd0\x9d\xd0\xb5",
                                          "\xff",
                                          "\xed\xa0\x80",
                                          ".",
                                          "!?",
                                          "($",
                                          "^~|`",
                                          "\xe2\x80\xa8",
                                          "\xc2\x85",
                                          "\xd9\xa3",
                                          "HTTPServer",
                                          "\xef\xbf\xbd",
                                          "<sentinel:7>",
                                          "IMGIMGABZ" };
    uint64_t y = next_random(r);
    size_t n = 0, want = (size_t)((y >> 8) % (y % 16 ? 60 : capacity - 16));
    while (n < want) {
        uint64_t x = next_random(r);
        if (x % 8 == 0) {
            out[n++] = (uint8_t)(x >> 8);
        } else if (x % 8 == 1 && n) { /* again, from somewhere before */
            size_t from = (size_t)((x >> 8) % n),
                   length = PUM_MIN((size_t)((x >> 40) % 12), n - from);
            memmove(out + n, out + from, length);
            n += length;
        } else {
            const char *p = pieces[(x >> 8) % PUM_COUNT(pieces)];
            memcpy(out + n, p, strlen(p));
            n += strlen(p);
        }
    }
    return n;
}

int main(int argc, char **argv)
{
    enum { CAPACITY = 4096, MAX_TOKENIZERS = 32 };
    pum_tokenizer *all[MAX_TOKENIZERS];
    static bool has[MAX_TOKENIZERS][256];
    uint64_t numbers[] = { 1, 1000 }; /* seed, count */
    size_t n = make_all(all), n_numbers = 0, bytes = 0;
    for (int i = 1; i < argc; i++) {
        char *end;
        uint64_t number = strtoull(argv[i], &end, 10);
        if (*end == '\0' && n_numbers < 2) numbers[n_numbers++] = number;
        else if (n < MAX_TOKENIZERS) all[n++] = make(NULL, argv[i]);
    }
    for (size_t k = 0; k < n; k++) find_bytes(all[k], has[k]);
    for (uint64_t i = 0; i < numbers[1]; i++) {
        uint64_t r = numbers[0] * 1000003 + i;
        uint8_t buffer[CAPACITY];
        size_t size = make_text(buffer, CAPACITY, &r);
        uint8_t *exact = malloc(size ? size : 1); /* its own block: reading past its end is seen */
        if (!exact) return 2;
        memcpy(exact, buffer, size);
        for (size_t k = 0; k < n; k++) pum_fuzz_tokenizer(all[k], has[k], exact, size);
        bytes += size;
        free(exact);
    }
    printf("fuzz_tokenizer: seed %llu, %llu texts, %zu bytes, %zu tokenizers\n",
           (unsigned long long)numbers[0], (unsigned long long)numbers[1], bytes, n);
    for (size_t k = 0; k < n; k++) pum_tokenizer_destroy(&all[k]);
    return 0;
}

#endif
