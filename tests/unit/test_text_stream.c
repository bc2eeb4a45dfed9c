/* SPDX-License-Identifier: Apache-2.0
 * The text stream: tokens that are single bytes go in, only whole UTF-8 sequences come out, and
 * what cannot become one turns into U+FFFD. */
#include "testing.h"

#include "gguf_image.h"
#include "tokenizer.h"

#define FFFD "\xef\xbf\xbd"

enum { BOS = 1, BYTES = 3, BLANK_A = 259, BLANK_B, NOTE, COUNT };

/* A SentencePiece vocabulary of bytes, two words, a control and a user-defined token. */
static pum_tokenizer *make(void)
{
    gguf_image image = { 0 };
    gguf_image_string(&image, "tokenizer.ggml.model", "llama");
    gguf_image_array(&image, "tokenizer.ggml.tokens", PUM_GGUF_STRING, COUNT);
    gguf_image_text(&image, "<unk>");
    gguf_image_text(&image, "<s>");
    gguf_image_text(&image, "</s>");
    for (int i = 0; i < 256; i++) {
        char byte[8];
        snprintf(byte, sizeof byte, "<0x%02X>", (unsigned)i);
        gguf_image_text(&image, byte);
    }
    gguf_image_text(&image, "\xe2\x96\x81"
                            "a");
    gguf_image_text(&image, "\xe2\x96\x81"
                            "b");
    gguf_image_text(&image, "<note>");
    gguf_image_array(&image, "tokenizer.ggml.token_type", PUM_GGUF_I32, COUNT);
    for (int i = 0; i < COUNT; i++) {
        gguf_image_u32(&image, i == 0 ? 2 : i < BYTES ? 3 : i < BLANK_A ? 6 : i == NOTE ? 4 : 1);
    }
    gguf_image_finish(&image);
    pum_gguf *g = NULL;
    pum_tokenizer *t = NULL;
    pumice_error err = { 0 };
    if (pum_gguf_open_memory(image.data, image.count, "image", &g, &err) != PUMICE_OK ||
        pum_tokenizer_create(g, &t, &err) != PUMICE_OK) {
        fail_msg("%s", err.text);
    }
    pum_gguf_close(&g);
    gguf_image_free(&image);
    return t;
}

static void push(pum_text_stream *s, const pum_tokenizer *t, int32_t token, pum_text *out,
                 const char *want)
{
    size_t before = out->count;
    assert_int_equal(pum_text_stream_push(s, t, token, out), PUMICE_OK);
    const char *got = out->data ? out->data + before : "";
    if (out->count - before != strlen(want) || memcmp(got, want, strlen(want)) != 0) {
        fail_msg("token %d gives '%s', not '%s'", token, got, want);
    }
}

static void test_sequences(void **state)
{
    (void)state;
    pum_tokenizer *t = make();
    pum_text_stream s = { 0 };
    pum_text out = { 0 };
    push(&s, t, BOS, &out, "");
    push(&s, t, BLANK_A, &out, "a"); /* the blank before a text is SentencePiece's own */
    push(&s, t, BLANK_B, &out, " b");
    push(&s, t, BYTES + 0xf0, &out, "");
    push(&s, t, BYTES + 0x9f, &out, "");
    push(&s, t, BYTES + 0x8c, &out, "");
    push(&s, t, BOS, &out, ""); /* control tokens are silent, in between too */
    push(&s, t, BYTES + 0x8b, &out, "\xf0\x9f\x8c\x8b");
    push(&s, t, NOTE, &out, "<note>");
    push(&s, t, BLANK_A, &out, "a"); /* encoding puts a blank after what it cuts out */
    size_t before = out.count;
    assert_int_equal(pum_text_stream_push(&s, t, BYTES + 0, &out), PUMICE_OK);
    assert_int_equal(out.count, before + 1); /* NUL is text like any other */
    assert_int_equal(pum_text_stream_finish(&s, &out), PUMICE_OK);
    s = (pum_text_stream){ .started = true }; /* goes on after a prompt */
    push(&s, t, BLANK_A, &out, " a");
    pum_text_free(&out);
    pum_tokenizer_destroy(&t);
}

static void test_bad_bytes(void **state)
{
    (void)state;
    pum_tokenizer *t = make();
    pum_text_stream s = { 0 };
    pum_text out = { 0 };
    push(&s, t, BYTES + 0x80, &out, FFFD);
    push(&s, t, BYTES + 0xff, &out, FFFD);
    push(&s, t, BYTES + 0xe2, &out, "");
    push(&s, t, BYTES + 0x96, &out, "");
    push(&s, t, BLANK_B, &out,
         FFFD " b"); /* a beginning that does not go on is one fault, however long */
    push(&s, t, BYTES + 0xe2, &out, "");
    push(&s, t, BYTES + 0xc3, &out, FFFD); /* ... and a new one may begin */
    push(&s, t, BYTES + 0xa9, &out, "\xc3\xa9");
    push(&s, t, BYTES + 0xed, &out, "");
    push(&s, t, BYTES + 0xa0, &out, FFFD FFFD); /* a surrogate: never valid */
    push(&s, t, BYTES + 0xf0, &out, "");
    push(&s, t, BYTES + 0x9f, &out, "");
    size_t before = out.count;
    assert_int_equal(pum_text_stream_finish(&s, &out), PUMICE_OK);
    assert_string_equal(out.data + before, FFFD);
    assert_int_equal(s.n_held, 0);
    before = out.count;
    assert_int_equal(pum_text_stream_finish(&s, &out), PUMICE_OK); /* nothing left */
    assert_int_equal(out.count, before);
    assert_int_equal(pum_text_stream_push(&s, t, COUNT, &out), PUMICE_ERROR_INVALID);
    assert_int_equal(pum_text_stream_push(&s, t, -1, &out), PUMICE_ERROR_INVALID);
    pum_text_free(&out);
    pum_tokenizer_destroy(&t);
}

/* Whatever the bytes, what has come out at any time is valid UTF-8, and valid input comes out as it
 * is. */
static void test_random_bytes(void **state)
{
    (void)state;
    pum_tokenizer *t = make();
    uint64_t r = 88172645463325252ull;
    for (int round = 0; round < 2000; round++) {
        pum_text_stream s = { .started = true };
        pum_text out = { 0 };
        for (int i = 0; i < 24; i++) {
            static const uint8_t likely[] = { 0xf0, 0x9f, 0x8c, 0xe2, 0x96, 0x81,
                                              0xc3, 0x80, 'x',  0xed, 0xf4, 0xbf };
            r ^= r << 13, r ^= r >> 7, r ^= r << 17;
            uint8_t byte = r % 3 ? likely[r / 3 % sizeof likely] : (uint8_t)(r >> 32);
            assert_int_equal(pum_text_stream_push(&s, t, BYTES + byte, &out), PUMICE_OK);
            for (size_t k = 0; k < out.count;) {
                int n = pum_utf8_length(out.data + k, out.count - k);
                assert_true(n > 0);
                k += (size_t)n;
            }
        }
        assert_int_equal(pum_text_stream_finish(&s, &out), PUMICE_OK);
        pum_text_free(&out);
    }
    pum_tokenizer_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_bad_bytes),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
