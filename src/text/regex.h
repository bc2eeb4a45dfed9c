/* SPDX-License-Identifier: Apache-2.0
 * Bounded regular expressions for the files of text/ (PCRE2). An expression is immutable after
 * creation; each thread that matches has its own match data. Texts must be valid UTF-8. */
#ifndef PUM_REGEX_H
#define PUM_REGEX_H

#include "tokenizer_impl.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Unicode's White_Space, for use inside a class. PCRE2's own \s has U+180E besides, which is none
 * since Unicode 6.3. */
#define PUM_REGEX_SPACES                                                                    \
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}" \
    "\\x{3000}"

typedef struct pum_regex {
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_code *code;
    bool jit;
} pum_regex;

pumice_status pum_regex_create(const char *expression, size_t bytes, pum_regex **out_regex,
                               pumice_error *err);
/* The same from an expression in Oniguruma's dialect (tokenizer.json). */
pumice_status pum_regex_create_onig(const char *expression, size_t bytes, pum_regex **out_regex,
                                    pumice_error *err);
/* Appends the expression as PCRE2 reads it. */
pumice_status pum_regex_translate(const char *expression, size_t bytes, pum_text *out,
                                  pumice_error *err);
void pum_regex_destroy(pum_regex **regex);

pcre2_match_data *pum_regex_match_data(void); /* pcre2_match_data_free it; NULL: out of memory */
/* The first match in s[from, bytes). Fails when memory or the bound on work is exceeded. */
pumice_status pum_regex_find(const pum_regex *regex, pcre2_match_data *match, const char *s,
                             size_t bytes, size_t from, bool *out_found, size_t *out_start,
                             size_t *out_end, pumice_error *err);

#endif
