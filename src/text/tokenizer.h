/* SPDX-License-Identifier: Apache-2.0
 * Text <-> token ids, from a GGUF file's metadata or from the tokenizer files of a Hugging Face
 * directory. Kinds: SentencePiece-style BPE ("llama": merges by score or rank over characters, byte
 * fallback), byte-level BPE ("gpt2": merges by rank within the words of a pre-tokenizer) and the
 * unigram model ("t5"). Immutable after creation: any thread may use it. */
#ifndef PUM_TOKENIZER_H
#define PUM_TOKENIZER_H

#include "gguf.h"

typedef struct pum_tokenizer pum_tokenizer;

/* As in tokenizer.ggml.token_type. */
typedef enum pum_token_type {
    PUM_TOKEN_NORMAL = 1,
    PUM_TOKEN_UNKNOWN = 2,
    PUM_TOKEN_CONTROL = 3,
    PUM_TOKEN_USER_DEFINED = 4,
    PUM_TOKEN_UNUSED = 5,
    PUM_TOKEN_BYTE = 6
} pum_token_type;

/* Copies what it needs out of the file. Fails with FORMAT or UNSUPPORTED (names the key). */
pumice_status pum_tokenizer_create(const pum_gguf *gguf, pum_tokenizer **out_tokenizer,
                                   pumice_error *err);
/* Whether the file says that it has none: then its model works on token ids alone. */
bool pum_tokenizer_is_none(const pum_gguf *gguf);
/* From the tokenizer files of a Hugging Face directory (tokenizer.json, a SentencePiece model,
 * vocab.json with merges.txt, and the configuration files beside them), or from one such file. */
pumice_status pum_tokenizer_create_path(const char *path, pum_tokenizer **out_tokenizer,
                                        pumice_error *err);
/* Whether the path holds tokenizer files at all. */
bool pum_tokenizer_path_ok(const char *path);
/* Whether it holds such files and no model beside them. */
bool pum_tokenizer_path_alone(const char *path);
void pum_tokenizer_destroy(pum_tokenizer **tokenizer);

const char *pum_tokenizer_kind(const pum_tokenizer *t); /* "llama", "gpt2" or "t5" */
const char *pum_tokenizer_pre(const pum_tokenizer *t);  /* "" when the file names none */
uint32_t pum_tokenizer_count(const pum_tokenizer *t);   /* vocabulary size */
int32_t pum_tokenizer_bos(const pum_tokenizer *t);      /* -1 = none */
int32_t pum_tokenizer_eos(const pum_tokenizer *t);
int32_t pum_tokenizer_unk(const pum_tokenizer *t);
/* The model's chat template (Jinja), NULL = none. */
const char *pum_tokenizer_chat_template(const pum_tokenizer *t);
/* true for EOS and for every other token that ends a reply (end of turn, of message; by id or by
 * its text). */
bool pum_tokenizer_ends(const pum_tokenizer *t, int32_t token);
pum_token_type pum_tokenizer_type(const pum_tokenizer *t, int32_t token);
/* The piece as the file stores it (NUL-terminated; '▁' or GPT-2's byte alphabet); NULL if out of
 * range. */
const char *pum_tokenizer_piece(const pum_tokenizer *t, int32_t token, size_t *out_bytes);

/* Receives a tokenizer as GGUF metadata, key by key. A callback that is NULL is not called; a failure
 * of one ends the export. Strings and lists are valid during the call. */
typedef struct pum_tokenizer_sink {
    void *user;
    uint32_t n_vocab; /* rows of the model's embedding; more than there are tokens: padded */
    pumice_status (*text)(void *user, const char *key, const char *s, size_t bytes);
    pumice_status (*number)(void *user, const char *key, uint32_t value);
    pumice_status (*flag)(void *user, const char *key, bool value);
    pumice_status (*f32s)(void *user, const char *key, const float *v, size_t n);
    pumice_status (*i32s)(void *user, const char *key, const int32_t *v, size_t n);
    pumice_status (*bytes)(void *user, const char *key, const uint8_t *v, size_t n);
    /* Item i is at(at_user, i), valid until the next call of `at`. */
    pumice_status (*texts)(void *user, const char *key, size_t n,
                           pum_str (*at)(void *at_user, size_t i), void *at_user);
} pum_tokenizer_sink;
pumice_status pum_tokenizer_export(const pum_tokenizer *t, const pum_tokenizer_sink *sink,
                                   pumice_error *err);
/* The same as keys of an object that is being built (gguf.h). */
pumice_status pum_tokenizer_export_gguf(const pum_tokenizer *t, uint32_t n_vocab, pum_gguf *gguf,
                                        pumice_error *err);

/* Text to ids; `flags` are PUMICE_TOKENIZE_*. Appends to a growing array (unchanged on failure).
 * Any bytes are legal input, up to 1 GiB. Without PARSE_SPECIAL no text becomes a control token.
 * Fails with HOST_MEMORY, or with INVALID when the text is too long or too hard for the
 * pre-tokenizer's expressions. */
typedef PUM_ARRAY(int32_t) pum_tokens;
pumice_status pum_tokenizer_encode(const pum_tokenizer *t, const char *text, size_t bytes,
                                   uint32_t flags, pum_tokens *tokens, pumice_error *err);

/* Appends the raw bytes of one token to text (maybe a part of a UTF-8 sequence). Control and
 * unknown tokens give nothing unless `special`. *first = nothing of the text came yet: then a blank
 * at the token's beginning may be the one SentencePiece puts before a text, and is dropped. It is
 * set for the next token; begin with true. */
pumice_status pum_tokenizer_decode(const pum_tokenizer *t, int32_t token, bool *first, bool special,
                                   pum_text *text);
/* Appends the text of many tokens: what encode made of a text gives that text back, byte for byte.
 * Except that the "llama" kind takes U+2581 for a blank, that a byte no token stands for becomes
 * U+FFFD ("gpt2") or the unknown token ("llama"), and that some control tokens swallow the white
 * space after them. */
pumice_status pum_tokenizer_decode_all(const pum_tokenizer *t, const int32_t *tokens, size_t count,
                                       bool special, pum_text *text);

/* A stream that holds back incomplete UTF-8: push ids, take whole sequences. Zero-initialise; set
 * `started` when the text continues one (so that a leading blank is not SentencePiece's own). Bytes
 * that can never become valid UTF-8 come out as U+FFFD; finish() gives what is left. One thread at
 * a time. */
typedef struct pum_text_stream {
    char held[4];
    uint32_t n_held;
    bool started;
} pum_text_stream;
pumice_status pum_text_stream_push(pum_text_stream *s, const pum_tokenizer *t, int32_t token,
                                   pum_text *out);
pumice_status pum_text_stream_finish(pum_text_stream *s, pum_text *out);

#endif
