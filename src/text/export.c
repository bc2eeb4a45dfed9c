/* SPDX-License-Identifier: Apache-2.0
 * A tokenizer as GGUF metadata, under the keys that llama.cpp reads; what those cannot say goes
 * under pumice.tokenizer.*, which others pass over. The pre-tokenizer's name is found by trial: the
 * known one that cuts a text made to tell them apart in the same places. */
#include "normalize.h"
#include "pretok.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

/* Contractions, digits, capitals, blanks, line ends, punctuation, marks and scripts that the known
 * expressions treat differently. */
static const char probe[] =
    "I'm you'RE he'll WE'D it's 'tis  two   blanks\t\ttabs \n\n three\n\n\n  end \r\n x\r\r y"
    " 1 12 123 1234 12345 1234567 v2.0 3.14 a1b22c333 x=10;\n}\n//end\n */ ){\n "
    " camelCase HTTPServer aB ABc \xc3\x89t\xc3\xa9 na\xc3\xafve cafe\xcc\x81 "
    "\xe0\xa4\x95\xe0\xa5\x8d\xe0\xa4\xb7 \xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96 "
    "\xe3\x81\x93\xe3\x82\x93 \xed\x95\x9c\xea\xb5\xad \xd0\x9f\xd1\x80\xd0\xb8 "
    "\xc2\xb2\xc2\xbd \xd9\xa1\xd9\xa2\xd9\xa3 !!! ... ?!\n(a)[b]{c}<d> \"q\" `t` $5 +6 ~7 ^8 |9 "
    "#tag @me &x %y \xf0\x9f\x98\x80\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 "
    "\xe2\x80\x9cq\xe2\x80\x9d \xe2\x80\xa6        eight  \xc2\xa0 \xe3\x80\x80 end  ";

#define CALL(fn, ...) (sink->fn ? sink->fn(sink->user, __VA_ARGS__) : PUMICE_OK)

static pumice_status text_key(const pum_tokenizer_sink *sink, const char *key, const char *text)
{
    return CALL(text, key, text, strlen(text));
}

static pumice_status id_key(const pum_tokenizer_sink *sink, const char *key, int32_t id)
{
    return id < 0 ? PUMICE_OK : CALL(number, key, (uint32_t)id);
}

/* ---- tokens, types, scores ---- */

typedef struct piece_list {
    const pum_tokenizer *t;
    pum_text padding; /* names of the tokens beyond the vocabulary, NUL-terminated, all of one length */
    size_t pad_bytes;
} piece_list;

enum { PAD_NAME_BYTES = 16 };

static pum_str piece_at(void *user, size_t i)
{
    piece_list *list = user;
    size_t n;
    if (i < list->t->count) {
        const char *piece = pum_strings_at(&list->t->pieces, (uint32_t)i, &n);
        return (pum_str){ piece, n };
    }
    const char *name = list->padding.data + (i - list->t->count) * PAD_NAME_BYTES;
    return (pum_str){ name, strlen(name) };
}

static pumice_status export_pieces(const pum_tokenizer *t, const pum_tokenizer_sink *sink,
                                   uint32_t count, pumice_error *err)
{
    pumice_status status = PUMICE_OK;
    piece_list list = { .t = t };
    int32_t *types = pum_alloc_array(count, sizeof *types);
    for (uint32_t i = t->count; i < count; i++) {
        char name[PAD_NAME_BYTES] = { 0 };
        snprintf(name, sizeof name, "[PAD%u]", i);
        pum_text_add(&list.padding, name, sizeof name);
    }
    if (!types || list.padding.failed) PUM_GOTO(pum_no_memory(err));
    for (uint32_t i = 0; i < count; i++)
        types[i] = i < t->count ? t->types[i] : PUM_TOKEN_UNUSED;
    PUM_GOTO(CALL(texts, KEY("tokens"), count, piece_at, &list));
    PUM_GOTO(CALL(i32s, KEY("token_type"), types, count));
fail:
    pum_free(types);
    pum_text_free(&list.padding);
    return status;
}

/* Merges by rank as scores: what is made first is best. */
static void scores_of_ranks(const pum_tokenizer *t, float *scores)
{
    for (uint32_t i = 0; i < t->count; i++) scores[i] = -1e6f;
    for (uint32_t i = 0; i <= t->pair_mask; i++) {
        const pum_pair *p = &t->pairs[i];
        if (p->left == PUM_NO_ID || p->result >= t->count) continue;
        scores[p->result] = PUM_MAX(scores[p->result], -(float)p->rank);
    }
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->types[i] != PUM_TOKEN_NORMAL) scores[i] = 0;
    }
}

static pumice_status export_scores(const pum_tokenizer *t, const pum_tokenizer_sink *sink,
                                   uint32_t count, pumice_error *err)
{
    float *scores = pum_alloc_array(count, sizeof *scores);
    if (!scores) return pum_no_memory(err);
    if (!t->scores) scores_of_ranks(t, scores);
    for (uint32_t i = 0; t->scores && i < t->count; i++) scores[i] = (float)t->scores[i];
    pumice_status status = CALL(f32s, KEY("scores"), scores, count);
    pum_free(scores);
    return status;
}

/* ---- merges ---- */

typedef struct merge_lines {
    const pum_tokenizer *t;
    const pum_pair **by_rank;
    size_t count;
    pum_text line;
} merge_lines;

static int compare_ranks(const void *a, const void *b)
{
    uint32_t x = (*(const pum_pair *const *)a)->rank, y = (*(const pum_pair *const *)b)->rank;
    return (x > y) - (x < y);
}

static pum_str merge_at(void *user, size_t i)
{
    merge_lines *m = user;
    size_t n;
    m->line.count = 0;
    const char *side = pum_strings_at(&m->t->raw, m->by_rank[i]->left, &n);
    pum_bpe_spell(side, n, &m->line);
    pum_text_add(&m->line, " ", 1);
    side = pum_strings_at(&m->t->raw, m->by_rank[i]->right, &n);
    pum_bpe_spell(side, n, &m->line);
    return (pum_str){ m->line.failed ? "" : m->line.data, m->line.failed ? 0 : m->line.count };
}

static pumice_status export_merges(const pum_tokenizer *t, const pum_tokenizer_sink *sink,
                                   pumice_error *err)
{
    merge_lines m = { .t = t };
    m.by_rank = pum_alloc_array((size_t)t->pair_mask + 1, sizeof *m.by_rank);
    if (!m.by_rank) return pum_no_memory(err);
    for (uint32_t i = 0; i <= t->pair_mask; i++) {
        if (t->pairs[i].left != PUM_NO_ID) m.by_rank[m.count++] = &t->pairs[i];
    }
    if (m.count) qsort(m.by_rank, m.count, sizeof *m.by_rank, compare_ranks);
    pumice_status status = CALL(texts, KEY("merges"), m.count, merge_at, &m);
    if (m.line.failed && status == PUMICE_OK) status = pum_no_memory(err);
    pum_text_free(&m.line);
    pum_free(m.by_rank);
    return status;
}

/* ---- the pre-tokenizer's name ---- */

static bool same_cuts(const pum_positions *a, const pum_positions *b)
{
    return a->count == b->count && memcmp(a->data, b->data, a->count * sizeof *a->data) == 0;
}

/* The cuts of the probe; words with changed text match no name. */
static pumice_status cuts_of(const pum_pretok *p, pum_positions *out, pumice_error *err)
{
    pum_words words = { 0 };
    out->count = 0;
    if (!p->rebuilds) return pum_pretok_split(p, probe, sizeof probe - 1, out, err);
    pumice_status status = pum_words_make(p, probe, sizeof probe - 1, false, &words, err);
    bool same = words.text.count == sizeof probe - 1 &&
                memcmp(words.text.data, probe, sizeof probe - 1) == 0;
    for (size_t i = 0; status == PUMICE_OK && same && i < words.ends.count; i++) {
        if (!pum_array_push(out, words.ends.data[i])) status = pum_no_memory(err);
    }
    pum_words_free(&words);
    return status;
}

static pumice_status find_pre(const pum_tokenizer *t, const char **out_name, pumice_error *err)
{
    pumice_status status = PUMICE_OK;
    pum_positions want = { 0 }, have = { 0 };
    pum_pretok *p = NULL;
    *out_name = NULL;
    PUM_GOTO(cuts_of(t->pretok, &want, err));
    for (size_t i = 0; pum_pretok_name(i) && !*out_name && want.count; i++) {
        uint32_t flags;
        PUM_GOTO(pum_pretok_create(pum_pretok_name(i), &p, &flags, err));
        PUM_GOTO(cuts_of(p, &have, err));
        pum_pretok_destroy(&p);
        if (!(flags & PUM_PRETOK_IGNORE_MERGES) != !(t->ignore_merges || t->merge_any)) continue;
        if (same_cuts(&want, &have)) *out_name = pum_pretok_name(i);
    }
fail:
    pum_pretok_destroy(&p);
    pum_array_free(&want);
    pum_array_free(&have);
    return status;
}

/* Does a text become another before it is cut? Composing (NFC) is not counted: others leave it out
 * for the models that do it, and it changes few texts. */
static bool changes_text(const pum_normalizer *n, bool *out_composes)
{
    bool changes = false;
    *out_composes = false;
    for (size_t i = 0; n && i < n->count; i++) {
        if (n->steps[i].op == PUM_NORM_NFC) *out_composes = true;
        else changes = true;
    }
    return changes;
}

static pumice_status export_bpe(const pum_tokenizer *t, const pum_tokenizer_sink *sink,
                                pumice_error *err)
{
    const char *name = NULL;
    bool composes;
    if (t->merge_any) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "a tokenizer of tiktoken's lines has no list of merges to convert: take a "
                        "tokenizer.json");
    }
    PUM_TRY(find_pre(t, &name, err));
    if (changes_text(t->normalizer, &composes)) name = NULL;
    if (!name && !t->source_json) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "the tokenizer changes or cuts words as no pre-tokenizer of GGUF does");
    }
    /* No name: others refuse the file, and Pumice reads the tokenizer.json within it. */
    PUM_TRY(text_key(sink, KEY("pre"), name ? name : "huggingface"));
    if (!name)
        PUM_TRY(CALL(text, "tokenizer.huggingface.json", t->source_json, t->source_json_bytes));
    else if (composes) PUM_TRY(CALL(flag, "pumice.tokenizer.nfc", true));
    return export_merges(t, sink, err);
}

/* ---- the rest ---- */

static pum_prepend blank_before(const pum_tokenizer *t)
{
    if (!t->normalizer) {
        bool adds = t->kind == PUM_TOKENIZER_SPM && t->add_space_prefix;
        return adds ? PUM_PREPEND_ALWAYS : PUM_PREPEND_NEVER;
    }
    if (t->normalizer->prefix != PUM_PREPEND_NEVER) return t->normalizer->prefix;
    for (size_t i = 0; i < t->normalizer->count; i++) {
        if (t->normalizer->steps[i].op == PUM_NORM_PREPEND) return PUM_PREPEND_ALWAYS;
    }
    for (size_t i = 0; t->pretok && i < t->pretok->count; i++) {
        const pum_pretok_step *s = &t->pretok->steps[i];
        if (s->kind == PUM_STEP_METASPACE && s->prepend != PUM_PREPEND_NEVER) return s->prepend;
    }
    return PUM_PREPEND_NEVER;
}

static pumice_status export_normalizer(const pum_tokenizer *t, const pum_tokenizer_sink *sink)
{
    const pum_normalizer *n = t->normalizer;
    pum_prepend blank = blank_before(t);
    PUM_TRY(CALL(flag, KEY("add_space_prefix"), blank != PUM_PREPEND_NEVER));
    if (!n) return PUMICE_OK;
    bool unigram = t->kind == PUM_TOKENIZER_UNIGRAM, first = blank == PUM_PREPEND_FIRST;
    bool remove = n->remove_extra || (unigram && t->sum_double);
    if (first) PUM_TRY(CALL(flag, "pumice.tokenizer.space_prefix_first", true));
    if (unigram || remove || first || n->map.blob_bytes || n->user.values.count > 1) {
        PUM_TRY(CALL(flag, KEY("remove_extra_whitespaces"), remove));
        PUM_TRY(CALL(bytes, KEY("precompiled_charsmap"), n->map.blob, n->map.blob_bytes));
    }
    if (n->suffix) PUM_TRY(CALL(flag, "pumice.tokenizer.whitespace_suffix", true));
    if (t->chatglm) PUM_TRY(CALL(flag, "pumice.tokenizer.chatglm", true));
    return t->no_merges ? CALL(flag, "pumice.tokenizer.no_merges", true) : PUMICE_OK;
}

/* The tokens that are cut out of a text, and each one's rules. Others go by the types, which say less:
 * a control token of the vocabulary may be a text like any other to the original. */
static pumice_status export_added(const pum_tokenizer *t, const pum_tokenizer_sink *sink,
                                  pumice_error *err)
{
    if (!t->split_longest) return PUMICE_OK;
    pumice_status status = PUMICE_OK;
    size_t n = 0;
    int32_t *ids = pum_alloc_array(t->count, sizeof *ids);
    uint8_t *rules = pum_alloc_array(t->count, sizeof *rules);
    if (!ids || !rules) PUM_GOTO(pum_no_memory(err));
    for (uint32_t i = 0; i < t->count; i++) {
        if (!(t->flags[i] & PUM_TOKEN_ADDED)) continue;
        ids[n] = (int32_t)i;
        rules[n++] = t->flags[i] & PUM_TOKEN_RULES;
    }
    PUM_GOTO(CALL(i32s, "pumice.tokenizer.added", ids, n));
    PUM_GOTO(CALL(bytes, "pumice.tokenizer.added_rules", rules, n));
fail:
    pum_free(ids);
    pum_free(rules);
    return status;
}

static pumice_status export_around(const pum_tokenizer *t, const pum_tokenizer_sink *sink)
{
    bool bos = t->n_before == 1 && t->before[0] == t->bos;
    bool eos = t->n_after == 1 && t->after[0] == t->eos;
    PUM_TRY(CALL(flag, KEY("add_bos_token"), bos));
    PUM_TRY(CALL(flag, KEY("add_eos_token"), eos));
    if (t->n_before && !bos) PUM_TRY(CALL(i32s, "pumice.tokenizer.before", t->before, t->n_before));
    if (t->n_after && !eos) PUM_TRY(CALL(i32s, "pumice.tokenizer.after", t->after, t->n_after));
    return PUMICE_OK;
}

pumice_status pum_tokenizer_export(const pum_tokenizer *t, const pum_tokenizer_sink *sink,
                                   pumice_error *err)
{
    uint32_t count = PUM_MAX(t->count, sink->n_vocab);
    bool bpe = t->kind == PUM_TOKENIZER_BPE && !t->char_level;
    PUM_TRY(text_key(sink, KEY("model"), pum_tokenizer_kind(t)));
    PUM_TRY(export_pieces(t, sink, count, err));
    if (bpe) PUM_TRY(export_bpe(t, sink, err));
    else PUM_TRY(text_key(sink, KEY("pre"), "default"));
    if (!bpe) PUM_TRY(export_scores(t, sink, count, err));
    if (!bpe) PUM_TRY(export_normalizer(t, sink));
    PUM_TRY(id_key(sink, KEY("bos_token_id"), t->bos));
    PUM_TRY(id_key(sink, KEY("eos_token_id"), t->eos));
    PUM_TRY(id_key(sink, KEY("unknown_token_id"), t->unk));
    PUM_TRY(id_key(sink, KEY("padding_token_id"), t->pad));
    PUM_TRY(id_key(sink, KEY("mask_token_id"), t->mask));
    PUM_TRY(id_key(sink, KEY("eot_token_id"), t->eot));
    PUM_TRY(export_added(t, sink, err));
    PUM_TRY(export_around(t, sink));
    if (!t->chat_template) return PUMICE_OK;
    return text_key(sink, "tokenizer.chat_template", t->chat_template);
}
