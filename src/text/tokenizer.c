/* SPDX-License-Identifier: Apache-2.0
 * What both kinds of tokenizer share: reading the vocabulary from a file's metadata, which tokens
 * are special or end a reply, and the outer loop of encoding. How text becomes tokens is in
 * tokenizer_spm.c and tokenizer_bpe.c, what is cut out before that in special.c. The metadata is as
 * hostile as the rest of the file: ids out of range count as absent. */
#include "tokenizer_impl.h"

#include <stdio.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

/* <|end_of_sentence|> with a wide bar and U+2581 for the blanks. */
#define DEEPSEEK_END "<\xef\xbd\x9c" "end" PUM_BLANK "of" PUM_BLANK "sentence\xef\xbd\x9c>"

enum { MAX_TOKENS = 1 << 24 };

/* Pieces that end a reply in models whose files do not say so by id. `control_only`: such a text is
 * an ordinary piece in other vocabularies, so it counts only if its type is control. */
static const struct {
    const char *text;
    bool control_only;
} ending_pieces[] = {
    { "<|end|>", false },
    { "<|return|>", false },
    { "<|call|>", false },
    { "<|calls|>", false },
    { "<|flush|>", true },
    { "<|eot_id|>", false },
    { "<|im_end|>", false },
    { "<end_of_turn>", false },
    { "<|endoftext|>", false },
    { "<|eom_id|>", false },
    { "<|end_of_text|>", false },
    { "<end_of_utterance>", false },
    { "<turn|>", false },
    { "</s>", true },
    { "<eos>", true },
    { "<EOT>", true },
    { "_<EOT>", true },
    { "[EOT]", true },
    { "[EOS]", true },
    { "[e~[", true },
    { "<|fim_pad|>", true },
    { "<|fim_repo|>", true },
    { "<|repo_name|>", true },
    { "<|file_sep|>", true },
    { DEEPSEEK_END, true },
};
enum { ROW_END, ROW_RETURN, ROW_CALL, ROW_CALLS, ROW_FLUSH }; /* the first rows above */

/* ---- reading ---- */

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
    } else {
        clean_copy(s, name, sizeof name);
        return pum_fail(
            err, PUMICE_ERROR_UNSUPPORTED,
            "the tokenizer '%s' (" KEY("model") ") is not supported; 'llama' and 'gpt2' are", name);
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

/* The value of "<0x41>", or -1. */
static int byte_of_piece(const char *piece, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    if (n != 6 || memcmp(piece, "<0x", 3) != 0 || piece[5] != '>') return -1;
    const char *high = memchr(digits, piece[3], 16), *low = memchr(digits, piece[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

static pumice_status read_types(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    const pum_gguf_value *v = pum_gguf_find(gguf, KEY("token_type"));
    int64_t x;
    if (v && (v->count < t->count || !pum_gguf_item_i64(v, 0, &x))) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        KEY("token_type") " must be a list of %u integers", t->count);
    }
    t->types = pum_alloc(t->count);
    t->flags = pum_alloc(t->count);
    if (!t->types || !t->flags) return pum_no_memory(err);
    memset(t->byte_token, 0xff, sizeof t->byte_token);
    for (uint32_t i = 0; i < t->count; i++) {
        bool known =
            v && pum_gguf_item_i64(v, i, &x) && x >= PUM_TOKEN_NORMAL && x <= PUM_TOKEN_BYTE;
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        int byte = byte_of_piece(piece, n);
        t->types[i] = known ? (uint8_t)x : PUM_TOKEN_NORMAL;
        if (!v && byte >= 0 && t->kind == PUM_TOKENIZER_SPM) t->types[i] = PUM_TOKEN_BYTE;
        if (t->types[i] == PUM_TOKEN_BYTE && byte >= 0 && t->byte_token[byte] < 0)
            t->byte_token[byte] = (int32_t)i;
    }
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

static void read_ids(const pum_gguf *gguf, pum_tokenizer *t)
{
    bool spm =
        t->kind == PUM_TOKENIZER_SPM; /* SentencePiece's own numbers where the file is silent */
    t->bos = read_id(gguf, KEY("bos_token_id"), spm ? 1 : -1, t->count);
    t->eos = read_id(gguf, KEY("eos_token_id"), spm ? 2 : -1, t->count);
    t->unk = read_id(gguf, KEY("unknown_token_id"), spm ? 0 : -1, t->count);
    const int32_t ends[] = { t->eos, read_id(gguf, KEY("eot_token_id"), -1, t->count),
                             read_id(gguf, KEY("eom_token_id"), -1, t->count) };
    for (size_t i = 0; i < PUM_COUNT(ends); i++) {
        if (ends[i] >= 0) t->flags[ends[i]] |= PUM_TOKEN_ENDS;
    }
    if (!pum_gguf_find(gguf, KEY("token_type"))) {
        type_by_id(t, t->bos, PUM_TOKEN_CONTROL);
        type_by_id(t, t->eos, PUM_TOKEN_CONTROL);
        type_by_id(t, t->unk, PUM_TOKEN_UNKNOWN);
    }
}

static void mark_ending_pieces(pum_tokenizer *t)
{
    int32_t found[PUM_COUNT(ending_pieces)];
    for (size_t r = 0; r < PUM_COUNT(ending_pieces); r++) found[r] = -1;
    for (uint32_t i = 0; i < t->count; i++) {
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        if (n < 4 || n > 40 || (piece[0] != '<' && piece[0] != '[' && piece[0] != '_')) continue;
        for (size_t r = 0; r < PUM_COUNT(ending_pieces); r++) {
            if (strlen(ending_pieces[r].text) != n || memcmp(piece, ending_pieces[r].text, n) != 0)
                continue;
            if (ending_pieces[r].control_only && t->types[i] != PUM_TOKEN_CONTROL) continue;
            if (found[r] >= 0) continue;
            found[r] = (int32_t)i;
            t->types[i] = PUM_TOKEN_CONTROL; /* some converters forget to say so */
            t->flags[i] |= PUM_TOKEN_ENDS;
        }
    }
    /* In gpt-oss and Solar <|end|> ends a message of several, not the reply. */
    bool many = (found[ROW_RETURN] >= 0 && found[ROW_CALL] >= 0) ||
                (found[ROW_CALLS] >= 0 && found[ROW_FLUSH] >= 0);
    if (many && found[ROW_END] >= 0 && found[ROW_END] != t->eos) {
        t->flags[found[ROW_END]] &= (uint8_t)~PUM_TOKEN_ENDS;
    }
}

/* Phi-3's special tokens swallow the white space after them, which no metadata tells: the name
 * must. */
static void mark_eating_tokens(const pum_gguf *gguf, pum_tokenizer *t)
{
    pum_str s;
    char name[128];
    if (!pum_gguf_str(gguf, "general.name", &s)) return;
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

pumice_status pum_tokenizer_create(const pum_gguf *gguf, pum_tokenizer **out_tokenizer,
                                   pumice_error *err)
{
    *out_tokenizer = NULL;
    pumice_status status = PUMICE_OK;
    pum_tokenizer *t = pum_alloc(sizeof *t);
    if (!t) return pum_no_memory(err);
    PUM_GOTO(read_kind(gguf, t, err));
    PUM_GOTO(read_pieces(gguf, t, err));
    PUM_GOTO(read_types(gguf, t, err));
    read_ids(gguf, t);
    mark_ending_pieces(t);
    mark_eating_tokens(gguf, t);
    if (!pum_special_init(t)) PUM_GOTO(pum_no_memory(err));
    PUM_GOTO(t->kind == PUM_TOKENIZER_SPM ? pum_spm_create(gguf, t, err)
                                          : pum_bpe_create(gguf, t, err));
    pum_gguf_bool(gguf, KEY("add_bos_token"), &t->add_bos); /* over the kind's own defaults */
    pum_gguf_bool(gguf, KEY("add_eos_token"), &t->add_eos);
    *out_tokenizer = t;
    return PUMICE_OK;
fail:
    pum_tokenizer_destroy(&t);
    return status;
}

void pum_tokenizer_destroy(pum_tokenizer **tokenizer)
{
    if (!tokenizer || !*tokenizer) return;
    pum_tokenizer *t = *tokenizer;
    pum_strings_free(&t->pieces);
    pum_strings_free(&t->raw);
    pum_array_free(&t->specials);
    pum_pretok_destroy(&t->pretok);
    pum_free(t->types);
    pum_free(t->flags);
    pum_free(t->keys);
    pum_free(t->pairs);
    pum_free(t);
    *tokenizer = NULL;
}

/* ---- facts ---- */

static bool in_range(const pum_tokenizer *t, int32_t token)
{
    return token >= 0 && (uint32_t)token < t->count;
}

const char *pum_tokenizer_kind(const pum_tokenizer *t)
{
    return t->kind == PUM_TOKENIZER_SPM ? "llama" : "gpt2";
}

const char *pum_tokenizer_pre(const pum_tokenizer *t) { return t->pre; }
uint32_t pum_tokenizer_count(const pum_tokenizer *t) { return t->count; }
int32_t pum_tokenizer_bos(const pum_tokenizer *t) { return t->bos; }
int32_t pum_tokenizer_eos(const pum_tokenizer *t) { return t->eos; }
int32_t pum_tokenizer_unk(const pum_tokenizer *t) { return t->unk; }

bool pum_tokenizer_ends(const pum_tokenizer *t, int32_t token)
{
    return in_range(t, token) && (t->flags[token] & PUM_TOKEN_ENDS);
}

pum_token_type pum_tokenizer_type(const pum_tokenizer *t, int32_t token)
{
    return in_range(t, token) ? (pum_token_type)t->types[token] : PUM_TOKEN_UNKNOWN;
}

const char *pum_tokenizer_piece(const pum_tokenizer *t, int32_t token, size_t *out_bytes)
{
    *out_bytes = 0;
    return in_range(t, token) ? pum_strings_at(&t->pieces, (uint32_t)token, out_bytes) : NULL;
}

/* ---- encoding ---- */

static pumice_status encode_fragments(const pum_tokenizer *t, const char *text,
                                      const pum_fragments *list, pum_merger *merger,
                                      pum_tokens *tokens, pumice_error *err)
{
    bool after_special = true; /* so is the beginning */
    for (size_t i = 0; i < list->count; i++) {
        const pum_fragment *f = &list->data[i];
        if (f->id >= 0) {
            if (!pum_array_push(tokens, f->id)) return pum_no_memory(err);
        } else if (t->kind == PUM_TOKENIZER_SPM) {
            bool prefix = t->add_space_prefix && after_special;
            PUM_TRY(pum_spm_encode(t, text + f->start, f->length, prefix, merger, tokens, err));
        } else {
            PUM_TRY(pum_bpe_encode(t, text + f->start, f->length, merger, tokens, err));
        }
        after_special = f->id >= 0;
    }
    return PUMICE_OK;
}

pumice_status pum_tokenizer_encode(const pum_tokenizer *t, const char *text, size_t bytes,
                                   uint32_t flags, pum_tokens *tokens, pumice_error *err)
{
    if (bytes > PUM_MAX_TEXT_BYTES) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "the text has %zu bytes; at most %zu can be tokenized at once", bytes,
                        PUM_MAX_TEXT_BYTES);
    }
    pumice_status status = PUMICE_OK;
    size_t before = tokens->count;
    pum_fragments list = { 0 };
    pum_merger merger = { 0 };
    bool special = flags & PUMICE_TOKENIZE_ADD_SPECIAL;
    if (!pum_special_split(t, text, bytes, flags & PUMICE_TOKENIZE_PARSE_SPECIAL, &list)) {
        PUM_GOTO(pum_no_memory(err));
    }
    if (special && t->add_bos && t->bos >= 0 && !pum_array_push(tokens, t->bos))
        PUM_GOTO(pum_no_memory(err));
    PUM_GOTO(encode_fragments(t, text, &list, &merger, tokens, err));
    if (special && t->add_eos && t->eos >= 0 && !pum_array_push(tokens, t->eos))
        PUM_GOTO(pum_no_memory(err));
fail:
    if (status != PUMICE_OK) tokens->count = before;
    pum_array_free(&list);
    pum_merger_free(&merger);
    return status;
}

/* ---- decoding ---- */

pumice_status pum_tokenizer_decode(const pum_tokenizer *t, int32_t token, bool first, bool special,
                                   pum_text *text)
{
    if (!in_range(t, token)) return PUMICE_ERROR_INVALID;
    uint8_t type = t->types[token];
    size_t n;
    const char *piece = pum_strings_at(&t->pieces, (uint32_t)token, &n);
    if (type == PUM_TOKEN_CONTROL || type == PUM_TOKEN_UNKNOWN) {
        if (special) pum_text_add(text, piece, n);
    } else if (type == PUM_TOKEN_USER_DEFINED) {
        pum_text_add(text, piece, n);
    } else if (type == PUM_TOKEN_BYTE && byte_of_piece(piece, n) >= 0) {
        char c = (char)byte_of_piece(piece, n);
        pum_text_add(text, &c, 1);
    } else if (t->kind == PUM_TOKENIZER_SPM) {
        pum_spm_decode(t, token, first, text);
    } else {
        pum_bpe_decode(t, token, text);
    }
    return text->failed ? PUMICE_ERROR_HOST_MEMORY : PUMICE_OK;
}

pumice_status pum_tokenizer_decode_all(const pum_tokenizer *t, const int32_t *tokens, size_t count,
                                       bool special, pum_text *text)
{
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        PUM_TRY(pum_tokenizer_decode(t, tokens[i], first, special, text));
        first = pum_token_is_cut_out(t, (uint32_t)tokens[i]);
    }
    return PUMICE_OK;
}
