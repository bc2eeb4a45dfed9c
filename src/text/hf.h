/* SPDX-License-Identifier: Apache-2.0
 * Making a tokenizer from files other than GGUF: shared by the readers of SentencePiece's protobuf
 * (spm_file.c), of a tokenizer.json (hf_json.c, hf_pipeline.c), of vocab.json and merges.txt and
 * tiktoken's lines (hf_vocab.c), and by hf_dir.c, which knows the files of a directory. */
#ifndef PUM_HF_H
#define PUM_HF_H

#include "normalize.h"
#include "pretok.h"

#include <jansson.h>

enum { PUM_MAX_TOKENS = 1 << 24 };

typedef PUM_ARRAY(uint8_t) pum_type_list;

typedef struct pum_added {
    int32_t id; /* -1 = the one the piece has, or the next free one */
    const char *content;
    bool special, left, right, whole_word;
    bool existing; /* only if the vocabulary has such a piece */
} pum_added;
typedef PUM_ARRAY(pum_added) pum_added_list;

/* ---- hf_json.c: helpers ---- */

/* Parses a file's bytes. *out_json is json_decref'd by the caller. */
pumice_status pum_json_parse(const void *data, size_t bytes, json_t **out_json, pumice_error *err);
/* A member that is a string, else NULL; of tokens also {"content": "..."}. */
const char *pum_json_text(const json_t *object, const char *key);
bool pum_json_bool(const json_t *object, const char *key, bool if_absent);

/* ---- readers: fill an empty tokenizer as far as their file goes. Their sentences leave the file's
 * name to the caller (pum_error_place) ---- */

/* A SentencePiece model. */
pumice_status pum_spm_file_read(const void *data, size_t bytes, pum_tokenizer *t,
                                pumice_error *err);
/* Whether the bytes look like one (and not like tiktoken's text). */
bool pum_spm_file_is(const void *data, size_t bytes);
/* The model, the pipeline and the surroundings of a tokenizer.json. Index it with pum_hf_json_index
 * when all tokens are added. */
pumice_status pum_hf_json_read(const json_t *root, pum_tokenizer *t, pum_added_list *added,
                               pumice_error *err);
pumice_status pum_hf_json_index(const json_t *root, pum_tokenizer *t, pumice_error *err);
/* Its "normalizer", "pre_tokenizer" and "decoder". */
pumice_status pum_hf_pipeline_read(const json_t *root, pum_tokenizer *t, pumice_error *err);
/* The merges of a merges.txt, into a tokenizer whose pieces are there. */
pumice_status pum_hf_merges_index(const char *text, size_t bytes, pum_tokenizer *t,
                                  pumice_error *err);
/* tiktoken's lines: base64 of a token's bytes, a blank, its rank. Pieces first, then, when all
 * tokens are added, the index. */
pumice_status pum_tiktoken_read(const char *text, size_t bytes, pum_tokenizer *t,
                                pumice_error *err);
pumice_status pum_tiktoken_index(pum_tokenizer *t, pumice_error *err);

/* ---- added tokens (hf_added.c) ---- */

/* Reads {"content", "lstrip", ...}, or a string. false: neither. */
bool pum_added_of_json(const json_t *json, pum_added *out);
/* Gives each token its number, type and flags; the vocabulary grows, and pieces that have a token's
 * number are renamed. Of equal contents the last counts. Before the model's index is made. */
pumice_status pum_hf_add_tokens(pum_tokenizer *t, const pum_added_list *list, pumice_error *err);

/* ---- others ---- */

/* Appends what base64 spells; false if it is none. */
bool pum_base64(const char *s, size_t bytes, pum_text *out);

/* Makes pieces, types and flags from an object of pieces and ids. */
pumice_status pum_hf_pieces(const json_t *vocab, pum_tokenizer *t, pumice_error *err);

#endif
