/* SPDX-License-Identifier: Apache-2.0
 * What happens to a text before it is cut into words: a list of steps, from a SentencePiece file
 * or the "normalizer" of a tokenizer.json. */
#ifndef PUM_NORMALIZE_H
#define PUM_NORMALIZE_H

#include "regex.h"

/* ---- charsmap.c: SentencePiece's compiled replacement rules ---- */

typedef struct pum_charsmap {
    uint8_t *blob; /* as in the file: size of the trie, the trie, the replacements */
    size_t blob_bytes;
    uint32_t *units; /* the trie: a double array as darts-clone writes it */
    uint32_t n_units;
    const char *texts; /* in blob; each NUL-terminated */
    size_t texts_bytes;
} pum_charsmap;

/* Copies the blob. FORMAT if it is damaged. */
pumice_status pum_charsmap_create(const void *blob, size_t bytes, pum_charsmap *out_map,
                                  pumice_error *err);
void pum_charsmap_free(pum_charsmap *map);
/* The replacement of the longest (or shortest) rule that s begins with; NULL if there is none. */
const char *pum_charsmap_find(const pum_charsmap *map, const char *s, size_t bytes, bool longest,
                              size_t *out_length);

/* ---- the steps ---- */

typedef enum pum_norm_op {
    PUM_NORM_NFC, PUM_NORM_NFD, PUM_NORM_NFKC, PUM_NORM_NFKD,
    PUM_NORM_LOWER,
    PUM_NORM_STRIP_ACCENTS,
    PUM_NORM_NMT,          /* control characters away, odd blanks to a blank */
    PUM_NORM_CHARSMAP,     /* by grapheme, as tokenizers' Precompiled does */
    PUM_NORM_REPLACE,      /* a by b */
    PUM_NORM_REPLACE_REGEX, /* what the expression matches by b */
    PUM_NORM_PREPEND,      /* a, unless the text is empty */
    PUM_NORM_STRIP,        /* white space at the left and right */
    PUM_NORM_SENTENCEPIECE, /* all of SentencePiece's normalizer */
    PUM_NORM_CHATGLM       /* newlines, tabs and runs of blanks to ChatGLM-6B's own pieces */
} pum_norm_op;

typedef struct pum_norm_step {
    pum_norm_op op;
    pum_text a, b;
    pum_regex *regex;
    bool left, right; /* STRIP */
} pum_norm_step;

struct pum_normalizer {
    pum_norm_step steps[12];
    size_t count;
    pum_charsmap map;
    /* SENTENCEPIECE */
    pum_prepend prefix; /* U+2581 before the text: never, if it is the first fragment, always */
    bool remove_extra, escape, suffix; /* suffix: the blank goes after the text instead */
    pum_trie user;                     /* pieces that are left as they are, and their ids */
};

/* Takes over what the step owns, also on failure. */
pumice_status pum_normalizer_add(pum_normalizer *n, pum_norm_step step, pumice_error *err);
/* Lists the tokenizer's inline user-defined pieces, which SentencePiece leaves as they are. */
pumice_status pum_normalizer_add_user(pum_tokenizer *t, pumice_error *err);
void pum_normalizer_destroy(pum_normalizer **normalizer);
/* Replaces *out by the normalized text. Bytes that are no UTF-8 become U+FFFD. `at_start`: the
 * text is the first fragment. */
pumice_status pum_normalize(const pum_normalizer *n, const char *text, size_t bytes, bool at_start,
                            pum_text *out, pumice_error *err);

#endif
