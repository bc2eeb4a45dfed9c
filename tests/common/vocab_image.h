/* SPDX-License-Identifier: Apache-2.0
 * Two small vocabularies as GGUF images, one of each kind, for tests of the tokenizer and as seeds
 * of fuzzing. The image is not finished: a test may add metadata first. */
#ifndef VOCAB_IMAGE_H
#define VOCAB_IMAGE_H

#include "gguf_image.h"

#include <stdio.h>

/* SentencePiece: 0..2 special, 3..258 bytes, then pieces whose scores say which pair is joined
 * first. */
enum {
    SPM_A = 259, SPM_B, SPM_AB, SPM_BLANK, SPM_BLANK_A, SPM_BLANK_AB, SPM_ABAB, SPM_TAG, SPM_NOTE,
    SPM_COUNT
};

static inline gguf_image vocab_image_spm(void)
{
    static const char *const pieces[] = { "a",
                                          "b",
                                          "ab",
                                          "\xe2\x96\x81",
                                          "\xe2\x96\x81"
                                          "a",
                                          "\xe2\x96\x81"
                                          "ab",
                                          "abab",
                                          "<|tag|>",
                                          "<note>" };
    static const float scores[] = { -10, -11, -1, -12, -3, -2, -4, 0, 0 };
    gguf_image image = { 0 };
    gguf_image_string(&image, "tokenizer.ggml.model", "llama");
    gguf_image_array(&image, "tokenizer.ggml.tokens", PUM_GGUF_STRING, SPM_COUNT);
    gguf_image_text(&image, "<unk>");
    gguf_image_text(&image, "<s>");
    gguf_image_text(&image, "</s>");
    for (int i = 0; i < 256; i++) {
        char byte[8];
        snprintf(byte, sizeof byte, "<0x%02X>", (unsigned)i);
        gguf_image_text(&image, byte);
    }
    for (size_t i = 0; i < PUM_COUNT(pieces); i++) gguf_image_text(&image, pieces[i]);
    gguf_image_array(&image, "tokenizer.ggml.scores", PUM_GGUF_F32, SPM_COUNT);
    for (int i = 0; i < SPM_COUNT; i++) gguf_image_f32(&image, i < SPM_A ? 0 : scores[i - SPM_A]);
    gguf_image_array(&image, "tokenizer.ggml.token_type", PUM_GGUF_I32, SPM_COUNT);
    for (int i = 0; i < SPM_COUNT; i++) {
        gguf_image_u32(&image, i == 0          ? 2
                               : i < 3         ? 3
                               : i < SPM_A     ? 6
                               : i == SPM_TAG  ? 3
                               : i == SPM_NOTE ? 4
                                               : 1);
    }
    return image;
}

/* Byte-level BPE: all bytes in GPT-2's alphabet, what a few merges make, then special tokens. */
enum {
    BPE_HE = 256, BPE_LL, BPE_HELL, BPE_G_HELL, BPE_TWO, BPE_WHOLE, BPE_END, BPE_SPACES, BPE_COUNT
};

/* The character that stands for a byte in GPT-2's alphabet. */
static inline void vocab_image_letter(int byte, char out[4])
{
    int c = byte, next = 256;
    for (int b = 0; b <= byte; b++) {
        int printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        c = printable ? b : next++;
    }
    if (c < 0x80) snprintf(out, 4, "%c", c);
    else snprintf(out, 4, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
}

static inline gguf_image vocab_image_bpe(const char *pre)
{
    static const char *const pieces[] = { "he", "ll",    "hell",       "\xc4\xa0hell",
                                          "12", "whole", "<|im_end|>", "  " };
    static const char *const merges[] = { "h e", "l l", "he ll", "\xc4\xa0 hell",
                                          "1 2", "x y", "bad" };
    gguf_image image = { 0 };
    gguf_image_string(&image, "tokenizer.ggml.model", "gpt2");
    if (pre) gguf_image_string(&image, "tokenizer.ggml.pre", pre);
    gguf_image_array(&image, "tokenizer.ggml.tokens", PUM_GGUF_STRING, BPE_COUNT);
    for (int i = 0; i < 256; i++) {
        char c[4];
        vocab_image_letter(i, c);
        gguf_image_text(&image, c);
    }
    for (size_t i = 0; i < PUM_COUNT(pieces); i++) gguf_image_text(&image, pieces[i]);
    gguf_image_array(&image, "tokenizer.ggml.token_type", PUM_GGUF_I32, BPE_COUNT);
    for (int i = 0; i < BPE_COUNT; i++)
        gguf_image_u32(&image, i == BPE_END ? 3 : i == BPE_SPACES ? 4 : 1);
    gguf_image_array(&image, "tokenizer.ggml.merges", PUM_GGUF_STRING, PUM_COUNT(merges));
    for (size_t i = 0; i < PUM_COUNT(merges); i++) gguf_image_text(&image, merges[i]);
    gguf_image_key_u32(&image, "tokenizer.ggml.bos_token_id", BPE_END);
    return image;
}

#endif
