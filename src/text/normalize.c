/* SPDX-License-Identifier: Apache-2.0
 * The steps of a normalizer. Unicode's forms come from utf8proc; SentencePiece's normalizer follows
 * its normalizer.cc: rules first, then blanks. */
#include "normalize.h"

#include <string.h>
#include <utf8proc.h>

pumice_status pum_normalizer_add(pum_normalizer *n, pum_norm_step step, pumice_error *err)
{
    pumice_status status = PUMICE_OK;
    if (step.a.failed || step.b.failed) {
        status = pum_no_memory(err);
    } else if (n->count == PUM_COUNT(n->steps)) {
        status = pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                          "the tokenizer has more than %zu normalizer steps", PUM_COUNT(n->steps));
    }
    if (status == PUMICE_OK) {
        n->steps[n->count++] = step;
        return status;
    }
    pum_text_free(&step.a);
    pum_text_free(&step.b);
    pum_regex_destroy(&step.regex);
    return status;
}

pumice_status pum_normalizer_add_user(pum_tokenizer *t, pumice_error *err)
{
    pum_trie *user = &t->normalizer->user;
    for (uint32_t i = 0; i < t->count; i++) {
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        if (n == 0 || t->types[i] != PUM_TOKEN_USER_DEFINED || (t->flags[i] & PUM_TOKEN_ADDED))
            continue;
        if (!pum_trie_add(user, piece, n, (int32_t)i))
            return pum_tokenizer_degenerate(err, "the user-defined tokens", user->steps,
                                            user->mask);
    }
    return PUMICE_OK;
}

void pum_normalizer_destroy(pum_normalizer **normalizer)
{
    if (!normalizer || !*normalizer) return;
    pum_normalizer *n = *normalizer;
    for (size_t i = 0; i < n->count; i++) {
        pum_text_free(&n->steps[i].a);
        pum_text_free(&n->steps[i].b);
        pum_regex_destroy(&n->steps[i].regex);
    }
    pum_charsmap_free(&n->map);
    pum_trie_free(&n->user);
    pum_free(n);
    *normalizer = NULL;
}

static size_t char_length(const char *s, size_t bytes)
{
    int n = (uint8_t)s[0] < 0x80 ? 1 : pum_utf8_length(s, bytes);
    return n > 0 ? (size_t)n : 1;
}

static void add_valid(const char *text, size_t bytes, pum_text *out)
{
    for (size_t i = 0; i < bytes;) {
        int n = (uint8_t)text[i] < 0x80 ? 1 : pum_utf8_length(text + i, bytes - i);
        if (n > 0) pum_text_add(out, text + i, (size_t)n);
        else pum_text_add(out, "\xef\xbf\xbd", 3);
        i += n > 0 ? (size_t)n : 1;
    }
}

/* ---- Unicode ---- */

static pumice_status unicode_form(const char *s, size_t bytes, utf8proc_option_t options,
                                  pum_text *out, pumice_error *err)
{
    utf8proc_ssize_t need =
        utf8proc_decompose((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)bytes, NULL, 0, options);
    /* one more unit, since reencoding ends with a NUL */
    utf8proc_int32_t *buffer =
        need < 0 ? NULL : pum_alloc_array((size_t)need + 1, sizeof *buffer);
    if (!buffer) return pum_no_memory(err);
    need = utf8proc_decompose((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)bytes, buffer, need,
                              options);
    if (need >= 0) need = utf8proc_reencode(buffer, need, options);
    if (need >= 0) pum_text_add(out, (const char *)buffer, (size_t)need);
    pum_free(buffer);
    return need >= 0 ? PUMICE_OK : pum_no_memory(err);
}

static bool nmt_drops(utf8proc_int32_t c)
{
    return (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f ||
           c == 0x9f;
}

static bool nmt_is_blank(utf8proc_int32_t c)
{
    return c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
           (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
           c == 0xfeff || c == 0xfffd;
}

/* The steps that treat each character by itself. */
static void each_char(pum_norm_op op, const char *s, size_t bytes, pum_text *out)
{
    for (size_t i = 0; i < bytes;) {
        utf8proc_int32_t c;
        utf8proc_uint8_t lower[4];
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s + i,
                                              (utf8proc_ssize_t)(bytes - i), &c);
        if (n <= 0) { /* the text is valid: not reached */
            i++;
        } else if (op == PUM_NORM_LOWER) {
            utf8proc_ssize_t m = utf8proc_encode_char(utf8proc_tolower(c), lower);
            pum_text_add(out, (const char *)lower, (size_t)m);
            i += (size_t)n;
        } else {
            utf8proc_category_t g = utf8proc_category(c);
            bool mark = g >= UTF8PROC_CATEGORY_MN && g <= UTF8PROC_CATEGORY_ME;
            bool drop = op == PUM_NORM_NMT ? nmt_drops(c) : mark;
            if (op == PUM_NORM_NMT && nmt_is_blank(c)) pum_text_add(out, " ", 1);
            else if (!drop) pum_text_add(out, s + i, (size_t)n);
            i += (size_t)n;
        }
    }
}

/* ---- rules ---- */

static size_t grapheme_length(const char *s, size_t bytes)
{
    utf8proc_int32_t state = 0, before, c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)bytes,
                                          &before);
    size_t length = n > 0 ? (size_t)n : 1;
    while (length < bytes) {
        n = utf8proc_iterate((const utf8proc_uint8_t *)s + length,
                             (utf8proc_ssize_t)(bytes - length), &c);
        if (n <= 0 || utf8proc_grapheme_break_stateful(before, c, &state)) break;
        before = c;
        length += (size_t)n;
    }
    return length;
}

/* tokenizers' Precompiled: a short grapheme by the first rule it begins with, else by character. */
static void charsmap(const pum_charsmap *map, const char *s, size_t bytes, pum_text *out)
{
    for (size_t i = 0; i < bytes;) {
        size_t n = grapheme_length(s + i, bytes - i), used;
        const char *to = n < 6 ? pum_charsmap_find(map, s + i, n, false, &used) : NULL;
        if (to) pum_text_add(out, to, strlen(to));
        for (size_t k = 0; !to && k < n;) {
            size_t m = char_length(s + i + k, n - k);
            const char *one = pum_charsmap_find(map, s + i + k, m, false, &used);
            if (one) pum_text_add(out, one, strlen(one));
            else pum_text_add(out, s + i + k, m);
            k += m;
        }
        i += n;
    }
}

static void replace(const pum_text *what, const pum_text *by, const char *s, size_t bytes,
                    pum_text *out)
{
    size_t from = 0;
    for (size_t i = 0; what->count && i + what->count <= bytes;) {
        if (memcmp(s + i, what->data, what->count) != 0) {
            i++;
            continue;
        }
        pum_text_add(out, s + from, i - from);
        pum_text_add(out, by->data, by->count);
        from = i += what->count;
    }
    pum_text_add(out, s + from, bytes - from);
}

static pumice_status replace_regex(const pum_norm_step *step, const char *s, size_t bytes,
                                   pum_text *out, pumice_error *err)
{
    pcre2_match_data *match = pum_regex_match_data();
    if (!match) return pum_no_memory(err);
    pumice_status status = PUMICE_OK;
    size_t from = 0, pos = 0;
    while (pos <= bytes && status == PUMICE_OK) {
        bool found;
        size_t a, b;
        status = pum_regex_find(step->regex, match, s, bytes, pos, &found, &a, &b, err);
        if (status != PUMICE_OK || !found) break;
        pum_text_add(out, s + from, a - from);
        pum_text_add(out, step->b.data, step->b.count);
        from = b;
        pos = b > a ? b : b + (b < bytes ? char_length(s + b, bytes - b) : 1);
    }
    pum_text_add(out, s + from, bytes - from);
    pcre2_match_data_free(match);
    return status;
}

static void strip(const pum_norm_step *step, const char *s, size_t bytes, pum_text *out)
{
    size_t start = 0, end = bytes;
    while (step->left && start < end && pum_space_length(s + start, end - start))
        start += pum_space_length(s + start, end - start);
    while (step->right && end > start) {
        size_t last = end - 1;
        while (last > start && ((uint8_t)s[last] & 0xc0) == 0x80) last--;
        if (pum_space_length(s + last, end - last) != end - last) break;
        end = last;
    }
    pum_text_add(out, s + start, end - start);
}

/* ---- ChatGLM-6B ---- */

/* Newlines and tabs become pieces of the vocabulary, and so do runs of 2 to 80 blanks, the longest
 * first. */
static void chatglm(const char *s, size_t bytes, pum_text *out)
{
    for (size_t i = 0; i < bytes;) {
        size_t blanks = 0;
        while (blanks < 80 && i + blanks < bytes && s[i + blanks] == ' ') blanks++;
        if (blanks >= 2) {
            pum_text_printf(out, "<|blank_%zu|>", blanks);
            i += blanks;
            continue;
        }
        if (s[i] == '\n') pum_text_add(out, "<n>", 3);
        else if (s[i] == '\t') pum_text_add(out, "<|tab|>", 7);
        else pum_text_add(out, s + i, 1);
        i++;
    }
}

/* ---- SentencePiece ---- */

typedef struct prefix {
    const char *text; /* what the beginning of the input becomes */
    size_t text_bytes, consumed;
} prefix;

static prefix normalize_prefix(const pum_normalizer *n, const char *s, size_t bytes)
{
    size_t length;
    if (pum_trie_longest(&n->user, s, bytes, &length) >= 0) return (prefix){ s, length, length };
    const char *to = pum_charsmap_find(&n->map, s, bytes, true, &length);
    if (to) return (prefix){ to, strlen(to), length };
    int valid = pum_utf8_length(s, bytes);
    if (valid > 0) return (prefix){ s, (size_t)valid, (size_t)valid };
    return (prefix){ "\xef\xbf\xbd", 3, 1 };
}

static void add_escaped(const pum_normalizer *n, const char *s, size_t bytes, pum_text *out)
{
    for (size_t i = 0; i < bytes; i++) {
        if (s[i] == ' ' && n->escape) pum_text_add(out, PUM_BLANK, PUM_BLANK_BYTES);
        else pum_text_add(out, s + i, 1);
    }
}

static void sentencepiece(const pum_normalizer *n, const char *s, size_t bytes, bool at_start,
                          pum_text *out)
{
    size_t i = 0, before = out->count;
    const char *blank = n->escape ? PUM_BLANK : " ";
    size_t blank_bytes = strlen(blank);
    /* In a later fragment a blank at the beginning is the text's own, if only the first fragment
     * gets one. */
    bool trims = n->remove_extra && (at_start || n->prefix != PUM_PREPEND_FIRST);
    while (trims && i < bytes) {
        prefix p = normalize_prefix(n, s + i, bytes - i);
        if (p.text_bytes != 1 || p.text[0] != ' ') break;
        i += p.consumed;
    }
    if (i == bytes) return;
    bool dummy = n->prefix == PUM_PREPEND_ALWAYS || (n->prefix == PUM_PREPEND_FIRST && at_start);
    if (dummy && !n->suffix) pum_text_add(out, blank, blank_bytes);
    bool after_blank = trims;
    while (i < bytes) {
        prefix p = normalize_prefix(n, s + i, bytes - i);
        i += p.consumed;
        while (after_blank && p.text_bytes && p.text[0] == ' ') p.text++, p.text_bytes--;
        if (!p.text_bytes) continue;
        add_escaped(n, p.text, p.text_bytes, out);
        after_blank = n->remove_extra && p.text[p.text_bytes - 1] == ' ';
    }
    while (n->remove_extra && out->count - before >= blank_bytes &&
           memcmp(out->data + out->count - blank_bytes, blank, blank_bytes) == 0) {
        out->count -= blank_bytes;
    }
    if (dummy && n->suffix) pum_text_add(out, blank, blank_bytes);
}

/* ---- all steps ---- */

static const utf8proc_option_t form_options[] = {
    [PUM_NORM_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
    [PUM_NORM_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
    [PUM_NORM_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
    [PUM_NORM_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
};

static pumice_status run_step(const pum_normalizer *n, const pum_norm_step *step, const char *s,
                              size_t bytes, bool at_start, pum_text *out, pumice_error *err)
{
    switch (step->op) {
    case PUM_NORM_NFC:
    case PUM_NORM_NFD:
    case PUM_NORM_NFKC:
    case PUM_NORM_NFKD:
        return unicode_form(s, bytes, form_options[step->op], out, err);
    case PUM_NORM_LOWER:
    case PUM_NORM_STRIP_ACCENTS:
    case PUM_NORM_NMT:
        each_char(step->op, s, bytes, out);
        break;
    case PUM_NORM_CHARSMAP:
        charsmap(&n->map, s, bytes, out);
        break;
    case PUM_NORM_REPLACE:
        replace(&step->a, &step->b, s, bytes, out);
        break;
    case PUM_NORM_REPLACE_REGEX:
        return replace_regex(step, s, bytes, out, err);
    case PUM_NORM_PREPEND:
        if (bytes) pum_text_add(out, step->a.data, step->a.count);
        pum_text_add(out, s, bytes);
        break;
    case PUM_NORM_STRIP:
        strip(step, s, bytes, out);
        break;
    case PUM_NORM_SENTENCEPIECE:
        sentencepiece(n, s, bytes, at_start, out);
        break;
    case PUM_NORM_CHATGLM:
        chatglm(s, bytes, out);
        break;
    }
    return PUMICE_OK;
}

pumice_status pum_normalize(const pum_normalizer *n, const char *text, size_t bytes, bool at_start,
                            pum_text *out, pumice_error *err)
{
    pum_text next = { 0 };
    pumice_status status = PUMICE_OK;
    out->count = 0;
    pum_text_add(out, "", 0); /* never NULL */
    add_valid(text, bytes, out);
    for (size_t i = 0; i < n->count && status == PUMICE_OK && !out->failed; i++) {
        next.count = 0;
        pum_text_add(&next, "", 0);
        status = run_step(n, &n->steps[i], out->data, out->count, at_start, &next, err);
        pum_text swap = *out;
        *out = next;
        next = swap;
        if (out->count > PUM_MAX_TEXT_BYTES) {
            status = pum_fail(err, PUMICE_ERROR_INVALID,
                              "the tokenizer's normalizer makes the text longer than %zu bytes",
                              PUM_MAX_TEXT_BYTES);
        }
    }
    if (status == PUMICE_OK && (out->failed || next.failed)) status = pum_no_memory(err);
    pum_text_free(&next);
    return status;
}
