/* SPDX-License-Identifier: Apache-2.0
 * The steps of a pre-tokenizer, for pretok.c (tables, cutting in place), words.c (steps that drop
 * or change text) and the readers that make them. */
#ifndef PUM_PRETOK_H
#define PUM_PRETOK_H

#include "regex.h"

typedef enum pum_step_kind {
    PUM_STEP_CUT,          /* by the matches of an expression */
    PUM_STEP_PREFIX_BLANK, /* a blank before every word that has none (ByteLevel) */
    PUM_STEP_METASPACE     /* blanks become U+2581, which begins words */
} pum_step_kind;

/* What becomes of a match (tokenizers' SplitDelimiterBehavior). */
typedef enum pum_cut {
    PUM_CUT_ISOLATED, PUM_CUT_REMOVED, PUM_CUT_MERGED_PREVIOUS, PUM_CUT_MERGED_NEXT,
    PUM_CUT_CONTIGUOUS
} pum_cut;

typedef struct pum_pretok_step {
    pum_step_kind kind;
    pum_regex *regex; /* CUT; owned */
    pum_cut cut;
    bool invert;        /* CUT: what lies between matches is the match */
    bool spelled;       /* CUT: the expression sees bytes in GPT-2's alphabet (it stands after ByteLevel) */
    pum_prepend prepend; /* METASPACE */
    bool split;         /* METASPACE: cut before each U+2581 */
} pum_pretok_step;

struct pum_pretok {
    pum_pretok_step steps[8];
    size_t count;
    bool rebuilds; /* some step drops or changes text: pum_words_make, not pum_pretok_split */
};

pumice_status pum_pretok_create_empty(pum_pretok **out_pretok, pumice_error *err);
/* Takes over step.regex, also on failure. */
pumice_status pum_pretok_add(pum_pretok *pretok, pum_pretok_step step, pumice_error *err);

#endif
