/* SPDX-License-Identifier: Apache-2.0
 * Regular expressions over UTF-8, with bounds: PCRE2 with its just-in-time compiler where there is
 * one. Expressions come from the tables of pretok.c, or from a tokenizer.json, whose dialect is
 * Oniguruma's: what PCRE2 would read otherwise is rewritten, or refused. */
#include "regex.h"

#include <string.h>

enum { MATCH_LIMIT = 50000000, HEAP_LIMIT_KIB = 256 * 1024, MAX_EXPRESSION_BYTES = 1 << 16 };

static void *take_memory(size_t bytes, void *user)
{
    (void)user;
    return pum_alloc(bytes);
}

static void give_memory(void *p, void *user)
{
    (void)user;
    pum_free(p);
}

pumice_status pum_regex_create(const char *expression, size_t bytes, pum_regex **out_regex,
                               pumice_error *err)
{
    *out_regex = NULL;
    pumice_status status = PUMICE_OK;
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_compile_context *context = NULL;
    pum_regex *re = pum_alloc(sizeof *re);
    if (!re) return pum_no_memory(err);
    re->memory = pcre2_general_context_create(take_memory, give_memory, NULL);
    re->limits = re->memory ? pcre2_match_context_create(re->memory) : NULL;
    context = re->limits ? pcre2_compile_context_create(re->memory) : NULL;
    if (!context) PUM_GOTO(pum_no_memory(err));
    pcre2_set_match_limit(re->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(re->limits, HEAP_LIMIT_KIB);
    re->code =
        pcre2_compile((PCRE2_SPTR)expression, bytes,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C, &code,
                      &at, context);
    if (!re->code && code == PCRE2_ERROR_HEAP_FAILED) PUM_GOTO(pum_no_memory(err));
    if (!re->code) {
        PUM_GOTO(pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                          "the tokenizer's regular expression does not compile here (PCRE2 error "
                          "%d at byte %zu)",
                          code, (size_t)at));
    }
    re->jit = pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE) == 0; /* else it is only slower */
    *out_regex = re;
    re = NULL;
fail:
    pcre2_compile_context_free(context);
    pum_regex_destroy(&re);
    return status;
}

void pum_regex_destroy(pum_regex **regex)
{
    if (!regex || !*regex) return;
    pcre2_code_free((*regex)->code);
    pcre2_match_context_free((*regex)->limits);
    pcre2_general_context_free((*regex)->memory);
    pum_free(*regex);
    *regex = NULL;
}

pcre2_match_data *pum_regex_match_data(void)
{
    pcre2_general_context *memory = pcre2_general_context_create(take_memory, give_memory, NULL);
    if (!memory) return NULL;
    pcre2_match_data *match = pcre2_match_data_create(1, memory); /* keeps its own copy */
    pcre2_general_context_free(memory);
    return match;
}

pumice_status pum_regex_find(const pum_regex *re, pcre2_match_data *match, const char *s,
                             size_t bytes, size_t from, bool *out_found, size_t *out_start,
                             size_t *out_end, pumice_error *err)
{
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    *out_found = false;
    if (re->jit) rc = pcre2_jit_match(re->code, (PCRE2_SPTR)s, bytes, from, 0, match, re->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) { /* the interpreter takes its memory from the heap */
        rc = pcre2_match(re->code, (PCRE2_SPTR)s, bytes, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         match, re->limits);
    }
    if (rc == PCRE2_ERROR_NOMATCH) return PUMICE_OK;
    if (rc == PCRE2_ERROR_NOMEMORY) return pum_no_memory(err);
    if (rc < 0) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "the text is too hard for the model's pre-tokenizer (PCRE2 error %d); try "
                        "shorter pieces",
                        rc);
    }
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(match);
    *out_found = true;
    *out_start = at[0];
    *out_end = at[1];
    return PUMICE_OK;
}

/* ---- from Oniguruma's dialect ---- */

static bool starts(const char *s, size_t left, const char *what)
{
    size_t n = strlen(what);
    return left >= n && memcmp(s, what, n) == 0;
}

static pumice_status refuse(pumice_error *err, const char *what)
{
    return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                    "the tokenizer's regular expression has %s, which this version cannot run",
                    what);
}

/* One escape at s (a backslash and what follows). Returns the bytes read. */
static size_t translate_escape(const char *s, size_t left, bool in_class, pum_text *out)
{
    if (left < 2) {
        pum_text_add(out, "\\\\", 2);
        return left;
    }
    if (s[1] == 's') {
        pum_text_printf(out, in_class ? "%s" : "[%s]", PUM_REGEX_SPACES);
        return 2;
    }
    if (s[1] == 'S' && !in_class) {
        pum_text_printf(out, "[^%s]", PUM_REGEX_SPACES);
        return 2;
    }
    if (s[1] == 'u' && left >= 6) {
        pum_text_add(out, "\\x{", 3);
        pum_text_add(out, s + 2, 4);
        pum_text_add(out, "}", 1);
        return 6;
    }
    pum_text_add(out, s, 2);
    return 2;
}

pumice_status pum_regex_translate(const char *s, size_t bytes, pum_text *out, pumice_error *err)
{
    if (bytes > MAX_EXPRESSION_BYTES) return refuse(err, "more than 65536 bytes");
    bool in_class = false;
    size_t class_start = 0;
    for (size_t i = 0; i < bytes;) {
        if (s[i] == '\\') {
            i += translate_escape(s + i, bytes - i, in_class, out);
            continue;
        }
        if (!in_class && s[i] == '[') {
            in_class = true;
            class_start = i + 1 + (i + 1 < bytes && s[i + 1] == '^');
        } else if (in_class && s[i] == ']' && i > class_start) {
            in_class = false;
        } else if (in_class && s[i] == '[' && !starts(s + i, bytes - i, "[:")) {
            return refuse(err, "a class inside a class");
        } else if (in_class && starts(s + i, bytes - i, "&&")) {
            return refuse(err, "an intersection of classes (&&)");
        }
        pum_text_add(out, s + i, 1);
        i++;
    }
    pum_text_add(out, "", 0);
    return out->failed ? pum_no_memory(err) : PUMICE_OK;
}

pumice_status pum_regex_create_onig(const char *expression, size_t bytes, pum_regex **out_regex,
                                    pumice_error *err)
{
    *out_regex = NULL;
    pum_text text = { 0 };
    pumice_status status = pum_regex_translate(expression, bytes, &text, err);
    if (status == PUMICE_OK) status = pum_regex_create(text.data, text.count, out_regex, err);
    pum_text_free(&text);
    return status;
}
