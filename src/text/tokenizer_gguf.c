/* SPDX-License-Identifier: Apache-2.0
 * A tokenizer from a GGUF file's metadata. It is as hostile as the rest of the file: ids out of
 * range count as absent. */
#include "normalize.h"
#include "pretok.h"

#include <stdio.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

enum { MAX_TOKENS = 1 << 24 };

/* A string of the file for messages and comparisons: control characters become '?', the rest is
 * cut. */
static void clean_copy(pum_str s, char *out, size_t capacity)
{
    size_t n = PUM_MIN(s.count, capacity - 1);
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)s.data[i] < 0x20 || s.data[i] == 0x7f ? '?' : s.data[i];
    out[n] = '\0';
}

static pumice_status read_kind(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    pum_str s;
    char name[64];
    if (!pum_gguf_str(gguf, KEY("model"), &s)) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "the file has no tokenizer: " KEY("model") " is missing");
    }
    if (pum_str_equal(s, "llama")) {
        t->kind = PUM_TOKENIZER_SPM;
    } else if (pum_str_equal(s, "gpt2")) {
        t->kind = PUM_TOKENIZER_BPE;
    } else if (pum_str_equal(s, "t5")) {
        t->kind = PUM_TOKENIZER_UNIGRAM;
    } else {
        clean_copy(s, name, sizeof name);
        return pum_fail(
            err, PUMICE_ERROR_UNSUPPORTED,
            "the tokenizer '%s' (" KEY("model") ") is not supported; 'llama', 'gpt2' and 't5' are",
            name);
    }
    if (pum_gguf_str(gguf, KEY("pre"), &s)) clean_copy(s, t->pre, sizeof t->pre);
    return PUMICE_OK;
}

static pumice_status read_pieces(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    const pum_gguf_value *v = pum_gguf_find(gguf, KEY("tokens"));
    if (!v || v->type != PUM_GGUF_ARRAY || v->item_type != PUM_GGUF_STRING || v->count == 0) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        KEY("tokens") " is missing or no list of strings");
    }
    if (v->count > MAX_TOKENS) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        KEY("tokens") " has %llu tokens; at most %d are supported",
                        (unsigned long long)v->count, MAX_TOKENS);
    }
    t->count = (uint32_t)v->count;
    const uint8_t *cursor = NULL;
    uint64_t i = 0;
    pum_str s;
    while (pum_gguf_next_str(v, &cursor, &i, &s)) {
        if (!pum_strings_add(&t->pieces, s.data, s.count)) return pum_no_memory(err);
    }
    return PUMICE_OK;
}

static pumice_status read_types(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    const pum_gguf_value *v = pum_gguf_find(gguf, KEY("token_type"));
    int64_t x;
    if (v && (v->count < t->count || !pum_gguf_item_i64(v, 0, &x))) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        KEY("token_type") " must be a list of %u integers", t->count);
    }
    PUM_TRY(pum_tokenizer_allocate(t, err));
    for (uint32_t i = 0; i < t->count; i++) {
        bool known =
            v && pum_gguf_item_i64(v, i, &x) && x >= PUM_TOKEN_NORMAL && x <= PUM_TOKEN_BYTE;
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        t->types[i] = known ? (uint8_t)x : PUM_TOKEN_NORMAL;
        if (!v && pum_byte_of_piece(piece, n) >= 0 && t->kind == PUM_TOKENIZER_SPM)
            t->types[i] = PUM_TOKEN_BYTE;
    }
    pum_tokenizer_note_bytes(t);
    return PUMICE_OK;
}

static int32_t read_id(const pum_gguf *gguf, const char *key, int32_t if_absent, uint32_t count)
{
    uint32_t id;
    if (pum_gguf_u32(gguf, key, &id)) return id < count ? (int32_t)id : -1;
    return if_absent < (int32_t)count ? if_absent : -1;
}

/* Models converted without token types still have control tokens: those the file names. */
static void type_by_id(pum_tokenizer *t, int32_t id, pum_token_type type)
{
    if (id >= 0 && t->types[id] == PUM_TOKEN_NORMAL) t->types[id] = (uint8_t)type;
}

/* SentencePiece's own numbers where the file is silent; -1 = none. */
static const struct {
    int32_t bos, eos, unk, pad;
} default_ids[] = { [PUM_TOKENIZER_SPM] = { 1, 2, 0, -1 },
                    [PUM_TOKENIZER_BPE] = { -1, -1, -1, -1 },
                    [PUM_TOKENIZER_UNIGRAM] = { -1, 1, 2, 0 } };

static void read_ids(const pum_gguf *gguf, pum_tokenizer *t)
{
    t->bos = read_id(gguf, KEY("bos_token_id"), default_ids[t->kind].bos, t->count);
    t->eos = read_id(gguf, KEY("eos_token_id"), default_ids[t->kind].eos, t->count);
    t->unk = read_id(gguf, KEY("unknown_token_id"), default_ids[t->kind].unk, t->count);
    t->pad = read_id(gguf, KEY("padding_token_id"), default_ids[t->kind].pad, t->count);
    t->mask = read_id(gguf, KEY("mask_token_id"), -1, t->count);
    t->eot = read_id(gguf, KEY("eot_token_id"), -1, t->count);
    const int32_t ends[] = { t->eos, t->eot,
                             read_id(gguf, KEY("eom_token_id"), -1, t->count) };
    for (size_t i = 0; i < PUM_COUNT(ends); i++) {
        if (ends[i] >= 0) t->flags[ends[i]] |= PUM_TOKEN_ENDS;
    }
    const pum_gguf_value *more = pum_gguf_find(gguf, KEY("eot_token_ids"));
    int64_t id;
    for (uint64_t i = 0; more && i < 64 && pum_gguf_item_i64(more, i, &id); i++) {
        if (id >= 0 && id < t->count) t->flags[id] |= PUM_TOKEN_ENDS;
    }
    if (!pum_gguf_find(gguf, KEY("token_type"))) {
        type_by_id(t, t->bos, PUM_TOKEN_CONTROL);
        type_by_id(t, t->eos, PUM_TOKEN_CONTROL);
        type_by_id(t, t->unk, PUM_TOKEN_UNKNOWN);
    }
}

/* A key of ours: which tokens are cut out of a text and how, where types cannot say it. */
static pumice_status read_added(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    const pum_gguf_value *ids = pum_gguf_find(gguf, "pumice.tokenizer.added");
    const pum_gguf_value *rules = pum_gguf_find(gguf, "pumice.tokenizer.added_rules");
    if (!ids) return PUMICE_OK;
    t->split_longest = t->lists_added = true;
    for (uint64_t i = 0; i < ids->count; i++) {
        int64_t id, rule;
        if (!rules || !pum_gguf_item_i64(ids, i, &id) || !pum_gguf_item_i64(rules, i, &rule)) {
            return pum_fail(err, PUMICE_ERROR_FORMAT,
                            "pumice.tokenizer.added and pumice.tokenizer.added_rules must be lists "
                            "of integers of the same length");
        }
        if (id < 0 || id >= t->count) continue;
        t->flags[id] = (uint8_t)((t->flags[id] & ~PUM_TOKEN_RULES) | PUM_TOKEN_ADDED |
                                 (rule & PUM_TOKEN_RULES));
    }
    return PUMICE_OK;
}

/* Phi-3's special tokens swallow the white space after them, which no metadata tells: the name
 * must. */
static void mark_eating_tokens(const pum_gguf *gguf, pum_tokenizer *t)
{
    pum_str s;
    char name[128];
    if (t->lists_added || !pum_gguf_str(gguf, "general.name", &s)) return;
    clean_copy(s, name, sizeof name);
    for (char *p = name; *p; p++) {
        if (*p >= 'A' && *p <= 'Z') *p = (char)(*p - 'A' + 'a');
    }
    if (!strstr(name, "phi-3") && !strstr(name, "phi3")) return;
    for (uint32_t i = 0; i < t->count; i++) {
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        if (t->types[i] == PUM_TOKEN_CONTROL && strcmp(piece, "<s>") != 0 &&
            strcmp(piece, "<unk>") != 0 && strcmp(piece, "<|endoftext|>") != 0) {
            t->flags[i] |= PUM_TOKEN_EATS_RIGHT;
        }
    }
}

/* ---- by kind ---- */

static pumice_status read_scores(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    const pum_gguf_value *v = pum_gguf_find(gguf, KEY("scores"));
    double score = 0;
    if (v && (v->count < t->count || !pum_gguf_item_f64(v, 0, &score))) {
        return pum_fail(err, PUMICE_ERROR_FORMAT, KEY("scores") " must be a list of %u numbers",
                        t->count);
    }
    t->scores = pum_alloc_array(t->count, sizeof *t->scores);
    if (!t->scores) return pum_no_memory(err);
    for (uint32_t i = 0; i < t->count; i++) {
        if (v) pum_gguf_item_f64(v, i, &score);
        t->scores[i] = score;
    }
    return PUMICE_OK;
}

/* SentencePiece's normalizer, with the rules the file has. */
static pumice_status read_normalizer(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    const pum_gguf_value *v = pum_gguf_find(gguf, KEY("precompiled_charsmap"));
    if (v && (v->type != PUM_GGUF_ARRAY ||
              (v->item_type != PUM_GGUF_U8 && v->item_type != PUM_GGUF_I8))) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        KEY("precompiled_charsmap") " must be a list of bytes");
    }
    t->normalizer = pum_alloc(sizeof *t->normalizer);
    if (!t->normalizer) return pum_no_memory(err);
    pum_normalizer *n = t->normalizer;
    n->escape = true;
    bool first = false;
    pum_gguf_bool(gguf, "pumice.tokenizer.space_prefix_first", &first);
    n->prefix = !t->add_space_prefix ? PUM_PREPEND_NEVER
                : first              ? PUM_PREPEND_FIRST
                                     : PUM_PREPEND_ALWAYS;
    pum_gguf_bool(gguf, KEY("remove_extra_whitespaces"), &n->remove_extra);
    pum_gguf_bool(gguf, "pumice.tokenizer.whitespace_suffix", &n->suffix);
    t->drop_until_text = n->remove_extra;
    t->inline_user = true;
    pum_gguf_bool(gguf, "pumice.tokenizer.chatglm", &t->chatglm);
    t->clean_up = t->chatglm;
    if (t->chatglm)
        PUM_TRY(pum_normalizer_add(n, (pum_norm_step){ .op = PUM_NORM_CHATGLM }, err));
    PUM_TRY(pum_normalizer_add(n, (pum_norm_step){ .op = PUM_NORM_SENTENCEPIECE }, err));
    if (v) PUM_TRY(pum_charsmap_create(v->data, (size_t)v->count, &n->map, err));
    return pum_normalizer_add_user(t, err);
}

static pumice_status create_spm(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    t->add_space_prefix = true;
    t->byte_fallback = true;
    pum_gguf_bool(gguf, KEY("add_space_prefix"), &t->add_space_prefix);
    t->drop_first = t->add_space_prefix;
    t->drop_after_token = true;
    PUM_TRY(read_scores(gguf, t, err));
    /* Files made elsewhere have no such key for this kind. */
    if (pum_gguf_find(gguf, KEY("precompiled_charsmap"))) {
        PUM_TRY(read_normalizer(gguf, t, err));
        t->drop_first = t->add_space_prefix || t->drop_until_text;
        t->drop_after_token = false;
        t->fuse_unknown = true;
        pum_gguf_bool(gguf, "pumice.tokenizer.no_merges", &t->no_merges);
    }
    pum_tokenizer_around(t, true, false);
    return pum_spm_index(t, err);
}

static pumice_status create_unigram(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    pum_gguf_bool(gguf, KEY("add_space_prefix"), &t->add_space_prefix);
    t->byte_fallback = true;
    t->split_longest = true;
    for (uint32_t i = 0; i < t->count && !t->lists_added; i++) {
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        if (t->types[i] == PUM_TOKEN_CONTROL || t->types[i] == PUM_TOKEN_UNKNOWN) {
            t->flags[i] |= PUM_TOKEN_ADDED;
        } else if (t->types[i] == PUM_TOKEN_USER_DEFINED && strncmp(piece, "<extra_id_", 10) == 0) {
            /* T5's sentinels swallow the blanks around them. */
            t->flags[i] |= PUM_TOKEN_ADDED | PUM_TOKEN_EATS_LEFT | PUM_TOKEN_EATS_RIGHT;
        }
    }
    PUM_TRY(read_scores(gguf, t, err));
    PUM_TRY(read_normalizer(gguf, t, err));
    t->drop_first = t->add_space_prefix || t->drop_until_text;
    pum_tokenizer_around(t, false, true);
    return pum_unigram_index(t, err);
}

typedef struct line_reader {
    const pum_gguf_value *lines;
    const uint8_t *cursor;
    uint64_t index;
} line_reader;

static bool next_merge(void *user, pum_str *out_left, pum_str *out_right)
{
    line_reader *r = user;
    pum_str line;
    if (!pum_gguf_next_str(r->lines, &r->cursor, &r->index, &line)) return false;
    pum_merge_of_line(line, false, out_left, out_right);
    return true;
}

/* A key of ours: letters and marks become one character first. */
static pumice_status read_composing(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    bool composes = false;
    pum_gguf_bool(gguf, "pumice.tokenizer.nfc", &composes);
    if (!composes) return PUMICE_OK;
    t->normalizer = pum_alloc(sizeof *t->normalizer);
    if (!t->normalizer) return pum_no_memory(err);
    return pum_normalizer_add(t->normalizer, (pum_norm_step){ .op = PUM_NORM_NFC }, err);
}

static pumice_status create_bpe(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    uint32_t flags;
    PUM_TRY(pum_pretok_create(t->pre, &t->pretok, &flags, err));
    t->ignore_merges = flags & PUM_PRETOK_IGNORE_MERGES;
    PUM_TRY(read_composing(gguf, t, err));
    pum_tokenizer_around(t, flags & PUM_PRETOK_ADD_BOS, false);
    const pum_gguf_value *v = pum_gguf_find(gguf, KEY("merges"));
    if (!v || v->type != PUM_GGUF_ARRAY || v->item_type != PUM_GGUF_STRING) {
        return pum_fail(err, PUMICE_ERROR_FORMAT, KEY("merges") " is missing or no list of strings");
    }
    line_reader reader = { .lines = v };
    pum_merge_list list = { KEY("merges"), v->count, &reader, next_merge, false };
    return pum_bpe_index(t, &list, err);
}

/* ---- all ---- */

static uint32_t read_around(const pum_gguf *gguf, const char *key, uint32_t count, int32_t *ids)
{
    const pum_gguf_value *v = pum_gguf_find(gguf, key);
    int64_t x;
    uint32_t n = 0;
    for (uint64_t i = 0; v && n < PUM_MAX_AROUND && pum_gguf_item_i64(v, i, &x); i++) {
        if (x >= 0 && x < count) ids[n++] = (int32_t)x;
    }
    return n;
}

/* What stands around a text: the kind's default, the file's word, or tokens it names outright. */
static void read_surroundings(const pum_gguf *gguf, pum_tokenizer *t)
{
    bool bos = t->n_before > 0, eos = t->n_after > 0, set = false;
    if (pum_gguf_bool(gguf, KEY("add_bos_token"), &bos)) set = true;
    if (pum_gguf_bool(gguf, KEY("add_eos_token"), &eos)) set = true;
    if (set) pum_tokenizer_around(t, bos, eos);
    if (pum_gguf_find(gguf, "pumice.tokenizer.before"))
        t->n_before = read_around(gguf, "pumice.tokenizer.before", t->count, t->before);
    if (pum_gguf_find(gguf, "pumice.tokenizer.after"))
        t->n_after = read_around(gguf, "pumice.tokenizer.after", t->count, t->after);
}

static pumice_status read_template(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    pum_str s;
    if (!pum_gguf_str(gguf, "tokenizer.chat_template", &s)) return PUMICE_OK;
    t->chat_template = pum_alloc(s.count + 1);
    if (!t->chat_template) return pum_no_memory(err);
    memcpy(t->chat_template, s.data, s.count);
    return PUMICE_OK;
}

/* A pre-tokenizer that GGUF has no name for: the tokenizer.json is in the file. */
static pumice_status create_json(const pum_gguf *gguf, pum_str json, pum_tokenizer **out_tokenizer,
                                 pumice_error *err)
{
    pumice_status status = PUMICE_OK;
    pum_tokenizer *t = NULL, *keys = pum_alloc(sizeof *keys);
    if (!keys) return pum_no_memory(err);
    PUM_GOTO(read_pieces(gguf, keys, err));
    PUM_GOTO(read_types(gguf, keys, err));
    PUM_GOTO(read_added(gguf, keys, err));
    PUM_GOTO(pum_tokenizer_create_json(json.data, json.count, keys, &t, err));
    t->bos = read_id(gguf, KEY("bos_token_id"), t->bos, t->count);
    t->eos = read_id(gguf, KEY("eos_token_id"), t->eos, t->count);
    t->eot = read_id(gguf, KEY("eot_token_id"), -1, t->count);
    if (t->eos >= 0) t->flags[t->eos] |= PUM_TOKEN_ENDS;
    if (t->eot >= 0) t->flags[t->eot] |= PUM_TOKEN_ENDS;
    read_surroundings(gguf, t);
    PUM_GOTO(read_template(gguf, t, err));
    *out_tokenizer = t;
    t = NULL;
fail:
    pum_tokenizer_destroy(&keys);
    pum_tokenizer_destroy(&t);
    return status;
}

bool pum_tokenizer_is_none(const pum_gguf *gguf)
{
    pum_str s;
    return pum_gguf_str(gguf, KEY("model"), &s) &&
           (pum_str_equal(s, "none") || pum_str_equal(s, "no_vocab"));
}

pumice_status pum_tokenizer_create(const pum_gguf *gguf, pum_tokenizer **out_tokenizer,
                                   pumice_error *err)
{
    static pumice_status (*const create[])(const pum_gguf *, pum_tokenizer *, pumice_error *) = {
        [PUM_TOKENIZER_SPM] = create_spm,
        [PUM_TOKENIZER_BPE] = create_bpe,
        [PUM_TOKENIZER_UNIGRAM] = create_unigram,
    };
    *out_tokenizer = NULL;
    pumice_status status = PUMICE_OK;
    pum_str pre, json;
    if (pum_gguf_str(gguf, KEY("pre"), &pre) && pum_str_equal(pre, "huggingface") &&
        pum_gguf_str(gguf, "tokenizer.huggingface.json", &json)) {
        return create_json(gguf, json, out_tokenizer, err);
    }
    pum_tokenizer *t = pum_alloc(sizeof *t);
    if (!t) return pum_no_memory(err);
    PUM_GOTO(read_kind(gguf, t, err));
    PUM_GOTO(read_pieces(gguf, t, err));
    PUM_GOTO(read_types(gguf, t, err));
    read_ids(gguf, t);
    pum_tokenizer_mark_ends(t);
    PUM_GOTO(read_added(gguf, t, err));
    mark_eating_tokens(gguf, t);
    PUM_GOTO(create[t->kind](gguf, t, err));
    if (!pum_special_init(t)) PUM_GOTO(pum_no_memory(err));
    read_surroundings(gguf, t);
    PUM_GOTO(read_template(gguf, t, err));
    *out_tokenizer = t;
    return PUMICE_OK;
fail:
    pum_tokenizer_destroy(&t);
    return status;
}
