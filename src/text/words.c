/* SPDX-License-Identifier: Apache-2.0
 * Pre-tokenizer steps of a tokenizer.json that drop or change text: each step turns a list of words
 * into another. The rules are those of Hugging Face's tokenizers (PreTokenizedString::split,
 * SplitDelimiterBehavior, Metaspace, ByteLevel). */
#include "pretok.h"

#include <string.h>

typedef struct part {
    size_t start, end;
    bool match;
} part;
typedef PUM_ARRAY(part) part_list;

typedef struct word_maker {
    pum_words from, to;
    part_list parts, merged;
    pum_text spelled;
    pcre2_match_data *match;
    pumice_error *err;
} word_maker;

static bool add_word(pum_words *w, const char *s, size_t bytes)
{
    if (bytes == 0) return true;
    pum_text_add(&w->text, s, bytes);
    return !w->text.failed && pum_array_push(&w->ends, (uint32_t)w->text.count);
}

/* ---- cutting by an expression ---- */

static bool add_part(part_list *list, size_t start, size_t end, bool match)
{
    part p = { start, end, match };
    return start == end || pum_array_push(list, p);
}

static pumice_status find_parts(word_maker *m, const pum_pretok_step *step, const char *s,
                                size_t bytes)
{
    size_t pos = 0, from = 0;
    m->parts.count = 0;
    while (from < bytes) {
        bool found;
        size_t a, b;
        PUM_TRY(pum_regex_find(step->regex, m->match, s, bytes, from, &found, &a, &b, m->err));
        if (!found) break;
        if (a == b) {
            int n = a < bytes ? pum_utf8_length(s + a, bytes - a) : 1;
            from = a + (n > 0 ? (size_t)n : 1);
            continue;
        }
        if (!add_part(&m->parts, pos, a, step->invert) ||
            !add_part(&m->parts, a, b, !step->invert)) {
            return pum_no_memory(m->err);
        }
        pos = from = b;
    }
    return add_part(&m->parts, pos, bytes, step->invert) ? PUMICE_OK : pum_no_memory(m->err);
}

/* The same for an expression that sees bytes spelled: each is one character there. */
static pumice_status find_spelled_parts(word_maker *m, const pum_pretok_step *step, const char *s,
                                        size_t bytes)
{
    size_t at = 0, raw = 0;
    m->spelled.count = 0;
    pum_bpe_spell(s, bytes, &m->spelled);
    if (m->spelled.failed) return pum_no_memory(m->err);
    PUM_TRY(find_parts(m, step, m->spelled.data, m->spelled.count));
    for (size_t i = 0; i < m->parts.count; i++) {
        part *p = &m->parts.data[i];
        size_t end = p->end;
        p->start = raw;
        for (; at < end; at++) raw += ((uint8_t)m->spelled.data[at] & 0xc0) != 0x80;
        p->end = raw;
    }
    return PUMICE_OK;
}

/* Joins parts as the behaviour says, into m->merged, in order. */
static bool merge_parts(word_maker *m, pum_cut cut)
{
    bool backwards = cut == PUM_CUT_MERGED_NEXT, before = false;
    m->merged.count = 0;
    for (size_t k = 0; k < m->parts.count; k++) {
        part p = m->parts.data[backwards ? m->parts.count - 1 - k : k];
        part *last = m->merged.count ? &m->merged.data[m->merged.count - 1] : NULL;
        bool join = last && (cut == PUM_CUT_CONTIGUOUS ? p.match == before : p.match && !before);
        before = p.match;
        if (join && backwards) last->start = p.start;
        else if (join) last->end = p.end;
        else if (!pum_array_push(&m->merged, p)) return false;
    }
    for (size_t i = 0, n = m->merged.count; backwards && i < n / 2; i++) {
        part swap = m->merged.data[i];
        m->merged.data[i] = m->merged.data[n - 1 - i];
        m->merged.data[n - 1 - i] = swap;
    }
    return true;
}

static pumice_status cut_word(word_maker *m, const pum_pretok_step *step, const char *s,
                              size_t bytes)
{
    PUM_TRY(step->spelled ? find_spelled_parts(m, step, s, bytes) : find_parts(m, step, s, bytes));
    const part_list *list = &m->parts;
    if (step->cut != PUM_CUT_ISOLATED && step->cut != PUM_CUT_REMOVED) {
        if (!merge_parts(m, step->cut)) return pum_no_memory(m->err);
        list = &m->merged;
    }
    for (size_t i = 0; i < list->count; i++) {
        const part *p = &list->data[i];
        if (step->cut == PUM_CUT_REMOVED && p->match) continue;
        if (!add_word(&m->to, s + p->start, p->end - p->start)) return pum_no_memory(m->err);
    }
    return PUMICE_OK;
}

/* ---- U+2581 ---- */

static bool end_word(pum_words *w)
{
    size_t last = w->ends.count ? w->ends.data[w->ends.count - 1] : 0;
    return !w->text.failed &&
           (w->text.count == last || pum_array_push(&w->ends, (uint32_t)w->text.count));
}

static bool metaspace_word(pum_words *w, const pum_pretok_step *step, const char *s, size_t bytes,
                           bool at_start)
{
    bool begins = bytes && (s[0] == ' ' || (bytes >= PUM_BLANK_BYTES &&
                                            memcmp(s, PUM_BLANK, PUM_BLANK_BYTES) == 0));
    bool prepend =
        step->prepend == PUM_PREPEND_ALWAYS || (step->prepend == PUM_PREPEND_FIRST && at_start);
    if (prepend && !begins) pum_text_add(&w->text, PUM_BLANK, PUM_BLANK_BYTES);
    for (size_t i = 0; i < bytes;) {
        bool blank = s[i] == ' ';
        bool mark = bytes - i >= PUM_BLANK_BYTES && memcmp(s + i, PUM_BLANK, PUM_BLANK_BYTES) == 0;
        if ((blank || mark) && step->split && !end_word(w)) return false;
        if (blank) pum_text_add(&w->text, PUM_BLANK, PUM_BLANK_BYTES);
        else pum_text_add(&w->text, s + i, mark ? PUM_BLANK_BYTES : 1);
        i += mark ? PUM_BLANK_BYTES : 1;
    }
    return end_word(w);
}

/* ---- all steps ---- */

static pumice_status run_step(word_maker *m, const pum_pretok_step *step, bool at_start)
{
    m->to.text.count = m->to.ends.count = 0;
    size_t from = 0;
    for (size_t i = 0; i < m->from.ends.count; i++) {
        const char *s = m->from.text.data + from;
        size_t bytes = m->from.ends.data[i] - from;
        bool good = true;
        if (step->kind == PUM_STEP_CUT) {
            PUM_TRY(cut_word(m, step, s, bytes));
        } else if (step->kind == PUM_STEP_METASPACE) {
            good = metaspace_word(&m->to, step, s, bytes, at_start && i == 0);
        } else {
            if (bytes && s[0] != ' ') pum_text_add(&m->to.text, " ", 1);
            good = add_word(&m->to, s, bytes);
        }
        if (!good) return pum_no_memory(m->err);
        from = m->from.ends.data[i];
    }
    pum_words swap = m->from;
    m->from = m->to;
    m->to = swap;
    return PUMICE_OK;
}

pumice_status pum_words_make(const pum_pretok *pretok, const char *text, size_t bytes,
                             bool at_start, pum_words *out, pumice_error *err)
{
    pumice_status status = PUMICE_OK;
    word_maker m = { .from = *out, .err = err };
    m.from.text.count = m.from.ends.count = 0;
    m.match = pum_regex_match_data();
    if (!m.match) PUM_GOTO(pum_no_memory(err));
    if (!add_word(&m.from, text, bytes)) PUM_GOTO(pum_no_memory(err));
    for (size_t i = 0; i < pretok->count; i++) PUM_GOTO(run_step(&m, &pretok->steps[i], at_start));
fail:
    *out = m.from;
    pcre2_match_data_free(m.match);
    pum_words_free(&m.to);
    pum_text_free(&m.spelled);
    pum_array_free(&m.parts);
    pum_array_free(&m.merged);
    return status;
}

void pum_words_free(pum_words *words)
{
    pum_text_free(&words->text);
    pum_array_free(&words->ends);
}
