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

/* ---- trie.c: strings by their bytes, and which of them begin at a place ---- */

typedef struct pum_trie_edge {
    uint32_t key; /* parent's number and the byte */
    uint32_t child; /* 0 = a free slot: the root is nobody's child */
} pum_trie_edge;

typedef struct pum_trie {
    pum_trie_edge *edges;
    uint32_t mask;
    PUM_ARRAY(int32_t) values; /* by node, -1 = no string ends here; node 0 is the root */
    uint64_t steps;            /* of all insertions */
} pum_trie;

/* false when out of memory, beyond 16 million nodes, or when the edges were made to collide. */
bool pum_trie_add(pum_trie *t, const char *bytes, size_t count, int32_t value);
/* The node that `byte` leads to, 0 = none. */
uint32_t pum_trie_step(const pum_trie *t, uint32_t node, char byte);
/* The value of the longest string that begins here, -1 = none. */
int32_t pum_trie_longest(const pum_trie *t, const char *bytes, size_t count, size_t *out_length);
void pum_trie_free(pum_trie *t);

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

/* ---- normalize.c, pretok.c, words.c: from a text to the words that a model sees ---- */

/* When a blank is put before a text. */
typedef enum pum_prepend { PUM_PREPEND_NEVER, PUM_PREPEND_FIRST, PUM_PREPEND_ALWAYS } pum_prepend;

typedef struct pum_normalizer pum_normalizer;
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
bool pum_pretok_rebuilds(const pum_pretok *pretok); /* pum_words_make, not pum_pretok_split */
pumice_status pum_pretok_split(const pum_pretok *pretok, const char *text, size_t bytes,
                               pum_positions *ends, pumice_error *err);
/* The i-th known name, for tests; NULL past the end. */
const char *pum_pretok_name(size_t i);

/* The same for a pre-tokenizer whose steps drop or change text: words with their own text. The text
 * must be UTF-8. */
typedef struct pum_words {
    pum_text text;
    pum_positions ends;
} pum_words;
pumice_status pum_words_make(const pum_pretok *pretok, const char *text, size_t bytes,
                             bool at_start, pum_words *out, pumice_error *err);
void pum_words_free(pum_words *words);

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
/* Length in bytes of the white space character at s, 0 if it is none (Unicode's White_Space). */
size_t pum_space_length(const char *s, size_t bytes);

/* ---- the tokenizer ---- */

typedef enum pum_tokenizer_kind_id {
    PUM_TOKENIZER_SPM,    /* merges by score */
    PUM_TOKENIZER_BPE,    /* merges by rank */
    PUM_TOKENIZER_UNIGRAM /* best sum of scores */
} pum_tokenizer_kind_id;

/* Flags of a token. The values of the rules stand in files: pumice.tokenizer.added_rules. */
enum {
    PUM_TOKEN_ENDS = 1,        /* ends a reply */
    PUM_TOKEN_EATS_RIGHT = 2,  /* white space after it is part of it (Phi-3) */
    PUM_TOKEN_INDEXED = 4,     /* it is the one that its bytes are looked up to (BPE) */
    PUM_TOKEN_EATS_LEFT = 8,   /* white space before it is part of it */
    PUM_TOKEN_WHOLE_WORD = 16, /* only where no letter or digit stands beside it */
    PUM_TOKEN_ADDED = 32,      /* listed as an added token: cut out by the trie `added` */
    PUM_TOKEN_RULES = PUM_TOKEN_EATS_RIGHT | PUM_TOKEN_EATS_LEFT | PUM_TOKEN_WHOLE_WORD
};

typedef struct pum_pair {               /* a merge: strings `left` and `right` become `result` */
    uint32_t left, right, rank, result; /* left == PUM_NO_ID: a free slot */
} pum_pair;

enum { PUM_MAX_AROUND = 4 };

struct pum_tokenizer {
    pum_tokenizer_kind_id kind;
    char pre[64];
    uint32_t count;
    int32_t bos, eos, unk;
    int32_t pad, mask;
    int32_t eot;
    /* What ADD_SPECIAL puts around a text. */
    int32_t before[PUM_MAX_AROUND], after[PUM_MAX_AROUND];
    uint32_t n_before, n_after;
    pum_strings pieces; /* as the file has them; indexed for SPM */
    uint8_t *types;     /* pum_token_type */
    uint8_t *flags;
    double *scores;               /* SPM and UNIGRAM */
    PUM_ARRAY(uint32_t) specials; /* ids, longest piece first */
    int32_t byte_token[256];      /* the token that is this byte alone, or -1 */
    bool wraps;                   /* BOS and EOS stand around a text unless a file says no */
    bool split_longest;           /* cut out by `added`: leftmost, longest; else by `specials` */
    bool lists_added;             /* a GGUF file lists the tokens of `added`; else types tell */
    pum_trie added;
    pum_normalizer *normalizer; /* NULL: as the kind does it by itself */
    pum_pretok *pretok;         /* NULL: no words */
    char *chat_template;        /* NULL: none */
    char *source_json;          /* the tokenizer.json it was made from; NULL: another file */
    size_t source_json_bytes;

    /* decoding */
    bool drop_first;       /* the blank at the beginning of a text is not the text's */
    bool drop_after_token; /* nor is one after a token that was cut out */
    bool drop_until_text;  /* all blanks before the first text go, not only one */
    bool clean_up;         /* no blank before . , ? ! and short forms (in whole texts) */
    bool chatglm;          /* pieces for newlines, tabs and runs of blanks stand for them */
    char unknown_text[16]; /* what the unknown token stands for; "" = nothing */

    /* SPM */
    uint32_t *keys; /* by token: the order of scores, best = smallest */
    bool add_space_prefix;
    bool blank_begins_word; /* no piece has a blank after something else: words can be merged one by
                               one */
    bool inline_user;       /* user-defined pieces are found while merging, not cut out before */
    bool no_merges;         /* each character by itself */
    bool fuse_unknown;      /* neighbouring unknowns are one */
    bool byte_fallback;     /* characters without a piece are spelled in byte tokens */
    uint32_t max_piece_bytes;

    /* UNIGRAM */
    pum_trie trie;
    bool sum_double;
    double unknown_score, best_score;

    /* BPE */
    bool char_level; /* symbols are characters, pieces stand for themselves; else bytes */
    bool ignore_merges;
    bool merge_any; /* any neighbours that make up a token are joined, the least id first */
    pum_strings raw; /* the bytes tokens stand for, then strings that only merges know; indexed */
    uint32_t byte_string[256]; /* the string (maybe not a token) that is this byte alone */
    pum_pair *pairs;
    uint32_t pair_mask;
};

/* tokenizer.c */
int pum_byte_of_piece(const char *piece, size_t n); /* the value of "<0x41>", or -1 */
/* Makes types and flags for all pieces, all NORMAL. */
pumice_status pum_tokenizer_allocate(pum_tokenizer *t, pumice_error *err);
/* Notes tokens of type BYTE in byte_token. */
void pum_tokenizer_note_bytes(pum_tokenizer *t);
/* Marks the tokens that end a reply by their text. */
void pum_tokenizer_mark_ends(pum_tokenizer *t);
/* Token of a piece, by search; -1 = none. */
int32_t pum_tokenizer_find(const pum_tokenizer *t, const char *piece);
/* Puts BOS before and EOS after a text. */
void pum_tokenizer_around(pum_tokenizer *t, bool bos, bool eos);

/* hf_dir.c: from the bytes of a tokenizer.json in a GGUF file. `keys` (may be NULL): what the file's own
 * keys say, whose added tokens are added, since configuration files named some of them. */
pumice_status pum_tokenizer_create_json(const char *data, size_t bytes, const pum_tokenizer *keys,
                                        pum_tokenizer **out_tokenizer, pumice_error *err);

/* tokenizer_spm.c: `scores` are set */
pumice_status pum_spm_index(pum_tokenizer *t, pumice_error *err);
pumice_status pum_spm_encode(const pum_tokenizer *t, const char *text, size_t bytes, bool prefix,
                             pum_merger *m, pum_tokens *tokens, pumice_error *err);
/* The same for a text whose blanks are U+2581 already. */
pumice_status pum_spm_encode_escaped(const pum_tokenizer *t, const char *text, uint32_t bytes,
                                     pum_merger *m, pum_tokens *tokens, pumice_error *err);

/* unigram.c: `scores` are set */
pumice_status pum_unigram_index(pum_tokenizer *t, pumice_error *err);
pumice_status pum_unigram_encode(const pum_tokenizer *t, const char *text, size_t bytes,
                                 pum_tokens *tokens, pumice_error *err);

/* tokenizer_bpe.c */
typedef struct pum_merge_list {
    const char *name; /* of the list, for messages */
    uint64_t count;
    void *user;
    /* The next merge; false at the end. A merge without a left or right is passed over, if `strict`
     * one without a right is refused. */
    bool (*next)(void *user, pum_str *out_left, pum_str *out_right);
    bool strict;
} pum_merge_list;
pumice_status pum_bpe_index(pum_tokenizer *t, const pum_merge_list *merges, pumice_error *err);
/* A line of a list: two strings and a blank between them. Of a line with no blank or, if `strict`, with
 * several, all is left. */
void pum_merge_of_line(pum_str line, bool strict, pum_str *out_left, pum_str *out_right);
pumice_status pum_bpe_encode_word(const pum_tokenizer *t, const char *word, uint32_t bytes,
                                  pum_merger *m, pum_tokens *tokens, pumice_error *err);
/* Appends bytes in GPT-2's alphabet. */
void pum_bpe_spell(const char *bytes, size_t count, pum_text *out);

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
