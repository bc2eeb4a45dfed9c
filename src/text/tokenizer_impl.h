/* SPDX-License-Identifier: Apache-2.0
 * What the files of text/ share: the tokenizer's tables, the table of strings with look-up by
 * content, the merge engine both kinds run on, and the pre-tokenizer. Nothing here is for other
 * folders. */
#ifndef PUM_TOKENIZER_IMPL_H
#define PUM_TOKENIZER_IMPL_H

#include "tokenizer.h"

#define PUM_NO_ID UINT32_MAX
/* Looking up takes one or two steps; a table filled with this many per slot was attacked. */
#define PUM_STEPS_PER_SLOT 64
/* U+2581, which stands for a blank in SentencePiece vocabularies. */
#define PUM_BLANK "\xe2\x96\x81"
#define PUM_BLANK_BYTES 3
/* Positions in a text are 32 bits, and escaping blanks makes it three times as long. */
#define PUM_MAX_TEXT_BYTES ((size_t)1 << 30)

/* ---- strings.c: many strings in one block, numbered from 0, found by content ---- */

typedef struct pum_string_slot {
    uint32_t tag;          /* high half of the hash */
    uint32_t id;           /* id + 1, 0 = free */
    uint32_t start, count; /* the string again, so that comparing takes one cache miss less */
} pum_string_slot;

typedef struct pum_strings {
    PUM_ARRAY(char) bytes;     /* each string NUL-terminated */
    PUM_ARRAY(uint32_t) start; /* where string i begins; one more at the end */
    pum_string_slot *slots;    /* NULL until pum_strings_index */
    uint32_t mask;
    uint32_t n_indexed;
    uint64_t steps; /* of all insertions: bounded, since a file can be made to collide */
} pum_strings;

/* Appends a string, which gets the next number; false when out of memory or beyond 2 GiB in all. */
bool pum_strings_add(pum_strings *s, const char *bytes, size_t count);
void pum_strings_free(pum_strings *s);
/* Makes room in the index for `count` strings (more may be added); only those added to it are
 * found. */
bool pum_strings_index(pum_strings *s, uint32_t count);
/* Puts string `id` in the index unless an equal one is there; *out_id is the one that is found from
 * now on. false when out of memory, or when so many strings collide that the file must have been
 * made for it. */
bool pum_strings_index_add(pum_strings *s, uint32_t id, uint32_t *out_id);
/* PUM_NO_ID if absent. */
uint32_t pum_strings_find(const pum_strings *s, const char *bytes, size_t count);

static inline uint32_t pum_strings_count(const pum_strings *s)
{
    return s->start.count ? (uint32_t)s->start.count - 1 : 0;
}
static inline const char *pum_strings_at(const pum_strings *s, uint32_t id, size_t *out_bytes)
{
    *out_bytes = s->start.data[id + 1] - s->start.data[id] - 1;
    return s->bytes.data + s->start.data[id];
}

/* ---- merge.c: joins neighbouring symbols, best pair first ---- */

typedef struct pum_symbol {
    uint32_t start, length; /* bytes of the text; length 0 = swallowed by its left neighbour */
    int32_t prev, next;     /* -1 = none */
    uint32_t id;            /* string number, or PUM_NO_ID */
} pum_symbol;

typedef struct pum_candidate {
    uint64_t order;      /* key of the pair, then its left symbol: the smallest is joined first */
    uint32_t length, id; /* of the joined symbol */
} pum_candidate;

typedef struct pum_merger {
    PUM_ARRAY(pum_symbol) symbols;
    PUM_ARRAY(pum_candidate) heap;
} pum_merger;

/* Can the two neighbours be joined? If so, the pair's key (smaller = earlier) and the joined
 * symbol's id. */
typedef bool (*pum_merge_find)(const pum_tokenizer *t, const char *text, const pum_symbol *a,
                               const pum_symbol *b, uint32_t *out_key, uint32_t *out_id);

/* Appends a symbol to the chain; false when out of memory. Clear `symbols.count` to begin a new
 * chain. */
bool pum_merger_push(pum_merger *m, uint32_t start, uint32_t length, uint32_t id);
/* Joins until no pair is left: then walk the chain from symbol 0 by `next`. false when out of
 * memory. */
bool pum_merger_run(pum_merger *m, const pum_tokenizer *t, const char *text, pum_merge_find find);
void pum_merger_free(pum_merger *m);

/* ---- pretok.c: cuts a text into words by the expressions that tokenizer.ggml.pre names ---- */

typedef struct pum_pretok pum_pretok;

enum {
    PUM_PRETOK_IGNORE_MERGES = 1, /* a word that is a token is that token */
    PUM_PRETOK_ADD_BOS = 2        /* BOS is added unless the file says otherwise */
};

/* "" means "default". UNSUPPORTED, naming it, for an unknown name. */
pumice_status pum_pretok_create(const char *name, pum_pretok **out_pretok, uint32_t *out_flags,
                                pumice_error *err);
void pum_pretok_destroy(pum_pretok **pretok);
/* Appends the ends of the words of text (positions in bytes, ascending, the last = bytes). Any
 * bytes are legal; what is not UTF-8 becomes words of its own. */
typedef PUM_ARRAY(uint32_t) pum_positions;
pumice_status pum_pretok_split(const pum_pretok *pretok, const char *text, size_t bytes,
                               pum_positions *ends, pumice_error *err);
/* The i-th known name, for tests; NULL past the end. */
const char *pum_pretok_name(size_t i);

/* ---- special.c: finds tokens that are cut out of a text before anything else ---- */

/* A stretch of the text, or a token in its place (then id >= 0). */
typedef struct pum_fragment {
    uint32_t start, length;
    int32_t id;
} pum_fragment;
typedef PUM_ARRAY(pum_fragment) pum_fragments;

/* Lists the tokens to be cut out, longest first, from types and pieces. */
bool pum_special_init(pum_tokenizer *t);
/* User-defined tokens are always cut out, control and unknown ones only if `parse`. false: out of
 * memory. */
bool pum_special_split(const pum_tokenizer *t, const char *text, size_t bytes, bool parse,
                       pum_fragments *out);

/* ---- the tokenizer ---- */

typedef enum pum_tokenizer_kind_id { PUM_TOKENIZER_SPM, PUM_TOKENIZER_BPE } pum_tokenizer_kind_id;

/* Flags of a token. */
enum {
    PUM_TOKEN_ENDS = 1,       /* ends a reply */
    PUM_TOKEN_EATS_RIGHT = 2, /* white space after it is part of it (Phi-3) */
    PUM_TOKEN_INDEXED = 4     /* it is the one that its bytes are looked up to (BPE) */
};

typedef struct pum_pair {               /* a merge: strings `left` and `right` become `result` */
    uint32_t left, right, rank, result; /* left == PUM_NO_ID: a free slot */
} pum_pair;

struct pum_tokenizer {
    pum_tokenizer_kind_id kind;
    char pre[64];
    uint32_t count;
    int32_t bos, eos, unk;
    bool add_bos, add_eos;
    pum_strings pieces; /* as the file has them; indexed for SPM */
    uint8_t *types;     /* pum_token_type */
    uint8_t *flags;
    PUM_ARRAY(uint32_t) specials; /* ids, longest piece first */
    int32_t byte_token[256];      /* the token that is this byte alone, or -1 */

    /* SPM */
    uint32_t *keys; /* by token: the order of scores, best = smallest */
    bool add_space_prefix;
    bool blank_begins_word; /* no piece has a blank after something else: words can be merged one by
                               one */
    uint32_t max_piece_bytes;

    /* BPE */
    bool ignore_merges;
    pum_pretok *pretok;
    pum_strings raw; /* the bytes tokens stand for, then strings that only merges know; indexed */
    uint32_t byte_string[256]; /* the string (maybe not a token) that is this byte alone */
    pum_pair *pairs;
    uint32_t pair_mask;
};

/* tokenizer_spm.c */
pumice_status pum_spm_create(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err);
pumice_status pum_spm_encode(const pum_tokenizer *t, const char *text, size_t bytes, bool prefix,
                             pum_merger *m, pum_tokens *tokens, pumice_error *err);
void pum_spm_decode(const pum_tokenizer *t, int32_t token, bool first, pum_text *text);

/* tokenizer_bpe.c */
pumice_status pum_bpe_create(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err);
pumice_status pum_bpe_encode(const pum_tokenizer *t, const char *text, size_t bytes, pum_merger *m,
                             pum_tokens *tokens, pumice_error *err);
void pum_bpe_decode(const pum_tokenizer *t, int32_t token, pum_text *text);

/* Can plain text become this token? Not if it is control, unknown or a byte written as "<0x41>". */
static inline bool pum_token_is_text(const pum_tokenizer *t, uint32_t id)
{
    uint8_t type = t->types[id];
    return type != PUM_TOKEN_CONTROL && type != PUM_TOKEN_UNKNOWN && type != PUM_TOKEN_BYTE;
}

/* Does encoding cut this token out of the text, so that SentencePiece's blank is put after it
 * again? (Unknown tokens mostly stand for a character, not for their own name.) */
static inline bool pum_token_is_cut_out(const pum_tokenizer *t, uint32_t id)
{
    return t->types[id] == PUM_TOKEN_CONTROL || t->types[id] == PUM_TOKEN_USER_DEFINED;
}

static inline pumice_status pum_no_memory(pumice_error *err)
{
    return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory for the tokenizer");
}

/* Why a table could not be filled: too many steps mean strings chosen to collide, else memory is
 * short. */
static inline pumice_status pum_tokenizer_degenerate(pumice_error *err, const char *key,
                                                     uint64_t steps, uint32_t mask)
{
    if (steps <= PUM_STEPS_PER_SLOT * ((uint64_t)mask + 1)) return pum_no_memory(err);
    return pum_fail(err, PUMICE_ERROR_FORMAT, "the strings of %s were made to collide", key);
}

#endif
