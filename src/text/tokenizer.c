/* SPDX-License-Identifier: Apache-2.0
 * What all kinds of tokenizer share: which tokens end a reply, the outer loops of encoding and
 * decoding. Encoding: special tokens are cut out (special.c), the rest is normalized (normalize.c)
 * and cut into words (pretok.c, words.c), and the words become tokens (tokenizer_spm.c,
 * tokenizer_bpe.c, unigram.c). Tokenizers are made in tokenizer_gguf.c and hf_dir.c. */
#include "normalize.h"

#include <string.h>

/* <|end_of_sentence|> with a wide bar and U+2581 for the blanks. */
#define DEEPSEEK_END "<\xef\xbd\x9c" "end" PUM_BLANK "of" PUM_BLANK "sentence\xef\xbd\x9c>"

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

/* ---- making ---- */

int pum_byte_of_piece(const char *piece, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    if (n != 6 || memcmp(piece, "<0x", 3) != 0 || piece[5] != '>') return -1;
    const char *high = memchr(digits, piece[3], 16), *low = memchr(digits, piece[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

pumice_status pum_tokenizer_allocate(pum_tokenizer *t, pumice_error *err)
{
    t->types = pum_alloc(t->count);
    t->flags = pum_alloc(t->count);
    if (!t->types || !t->flags) return pum_no_memory(err);
    memset(t->types, PUM_TOKEN_NORMAL, t->count);
    memset(t->byte_token, 0xff, sizeof t->byte_token);
    return PUMICE_OK;
}

void pum_tokenizer_note_bytes(pum_tokenizer *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        int byte = pum_byte_of_piece(piece, n);
        if (t->types[i] == PUM_TOKEN_BYTE && byte >= 0 && t->byte_token[byte] < 0)
            t->byte_token[byte] = (int32_t)i;
    }
}

void pum_tokenizer_mark_ends(pum_tokenizer *t)
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

int32_t pum_tokenizer_find(const pum_tokenizer *t, const char *piece)
{
    size_t want = strlen(piece), n;
    for (uint32_t i = 0; i < t->count; i++) {
        const char *have = pum_strings_at(&t->pieces, i, &n);
        if (n == want && memcmp(have, piece, n) == 0) return (int32_t)i;
    }
    return -1;
}

void pum_tokenizer_around(pum_tokenizer *t, bool bos, bool eos)
{
    t->n_before = t->n_after = 0;
    if (bos && t->bos >= 0) t->before[t->n_before++] = t->bos;
    if (eos && t->eos >= 0) t->after[t->n_after++] = t->eos;
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
    pum_free(t->scores);
    pum_free(t->chat_template);
    pum_free(t->source_json);
    pum_trie_free(&t->added);
    pum_trie_free(&t->trie);
    pum_normalizer_destroy(&t->normalizer);
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
    static const char *const names[] = { "llama", "gpt2", "t5" };
    return t->kind == PUM_TOKENIZER_BPE && t->char_level ? "llama" : names[t->kind];
}

const char *pum_tokenizer_pre(const pum_tokenizer *t) { return t->pre; }
uint32_t pum_tokenizer_count(const pum_tokenizer *t) { return t->count; }
int32_t pum_tokenizer_bos(const pum_tokenizer *t) { return t->bos; }
int32_t pum_tokenizer_eos(const pum_tokenizer *t) { return t->eos; }
const char *pum_tokenizer_chat_template(const pum_tokenizer *t) { return t->chat_template; }
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

typedef struct encoder {
    const pum_tokenizer *t;
    pum_merger merger;
    pum_words words;
    pum_positions ends;
    pum_text normal;
    pum_tokens *tokens;
    pumice_error *err;
} encoder;

static pumice_status encode_word(encoder *e, const char *word, size_t bytes)
{
    const pum_tokenizer *t = e->t;
    if (t->kind == PUM_TOKENIZER_UNIGRAM)
        return pum_unigram_encode(t, word, bytes, e->tokens, e->err);
    if (t->kind == PUM_TOKENIZER_SPM)
        return pum_spm_encode_escaped(t, word, (uint32_t)bytes, &e->merger, e->tokens, e->err);
    return pum_bpe_encode_word(t, word, (uint32_t)bytes, &e->merger, e->tokens, e->err);
}

static pumice_status encode_words(encoder *e, const char *text, const pum_positions *ends)
{
    uint32_t from = 0;
    for (size_t i = 0; i < ends->count; i++) {
        PUM_TRY(encode_word(e, text + from, ends->data[i] - from));
        from = ends->data[i];
    }
    return PUMICE_OK;
}

/* A stretch of the text without special tokens. */
static pumice_status encode_stretch(encoder *e, const char *text, size_t bytes, bool at_start)
{
    const pum_tokenizer *t = e->t;
    if (t->normalizer) {
        PUM_TRY(pum_normalize(t->normalizer, text, bytes, at_start, &e->normal, e->err));
        text = e->normal.data;
        bytes = e->normal.count;
    }
    if (!t->pretok) return bytes ? encode_word(e, text, bytes) : PUMICE_OK;
    if (pum_pretok_rebuilds(t->pretok)) {
        PUM_TRY(pum_words_make(t->pretok, text, bytes, at_start, &e->words, e->err));
        return encode_words(e, e->words.text.data, &e->words.ends);
    }
    e->ends.count = 0;
    PUM_TRY(pum_pretok_split(t->pretok, text, bytes, &e->ends, e->err));
    return encode_words(e, text, &e->ends);
}

static pumice_status encode_fragments(encoder *e, const char *text, const pum_fragments *list)
{
    const pum_tokenizer *t = e->t;
    bool after_special = true; /* so is the beginning */
    for (size_t i = 0; i < list->count; i++) {
        const pum_fragment *f = &list->data[i];
        if (f->id >= 0) {
            if (!pum_array_push(e->tokens, f->id)) return pum_no_memory(e->err);
        } else if (t->kind == PUM_TOKENIZER_SPM && !t->normalizer) {
            bool prefix = t->add_space_prefix && after_special;
            PUM_TRY(pum_spm_encode(t, text + f->start, f->length, prefix, &e->merger, e->tokens,
                                   e->err));
        } else {
            PUM_TRY(encode_stretch(e, text + f->start, f->length, f->start == 0));
        }
        after_special = f->id >= 0;
    }
    return PUMICE_OK;
}

static bool add_all(pum_tokens *tokens, const int32_t *ids, uint32_t count)
{
    if (count && !pum_array_reserve(tokens, count)) return false;
    for (uint32_t i = 0; i < count; i++) tokens->data[tokens->count++] = ids[i];
    return true;
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
    size_t start = tokens->count;
    pum_fragments list = { 0 };
    encoder e = { .t = t, .tokens = tokens, .err = err };
    bool special = flags & PUMICE_TOKENIZE_ADD_SPECIAL;
    if (!pum_special_split(t, text, bytes, flags & PUMICE_TOKENIZE_PARSE_SPECIAL, &list))
        PUM_GOTO(pum_no_memory(err));
    if (special && !add_all(tokens, t->before, t->n_before)) PUM_GOTO(pum_no_memory(err));
    PUM_GOTO(encode_fragments(&e, text, &list));
    if (special && !add_all(tokens, t->after, t->n_after)) PUM_GOTO(pum_no_memory(err));
fail:
    if (status != PUMICE_OK) tokens->count = start;
    pum_array_free(&list);
    pum_merger_free(&e.merger);
    pum_words_free(&e.words);
    pum_array_free(&e.ends);
    pum_text_free(&e.normal);
    return status;
}

/* ---- decoding ---- */

static bool begins_with_mark(const char *piece, size_t n)
{
    return n >= PUM_BLANK_BYTES && memcmp(piece, PUM_BLANK, PUM_BLANK_BYTES) == 0;
}

/* A piece with U+2581 as blanks, without the first of them if `drop`. */
static void add_blanked(const char *piece, size_t n, bool drop, pum_text *text)
{
    size_t from = 0;
    for (size_t i = 0; i < n;) {
        if (!begins_with_mark(piece + i, n - i)) {
            i++;
            continue;
        }
        pum_text_add(text, piece + from, i - from);
        if (!(drop && i == 0)) pum_text_add(text, " ", 1);
        from = i += PUM_BLANK_BYTES;
    }
    pum_text_add(text, piece + from, n - from);
}

/* The pieces that ChatGLM-6B has for newlines, tabs and runs of blanks. */
static bool add_chatglm(const char *piece, size_t n, pum_text *text)
{
    static const char blank[] = "<|blank_";
    if (n == 3 && memcmp(piece, "<n>", 3) == 0) {
        pum_text_add(text, "\n", 1);
        return true;
    }
    if (n == 7 && memcmp(piece, "<|tab|>", 7) == 0) {
        pum_text_add(text, "\t", 1);
        return true;
    }
    if (n < sizeof blank + 2 || n > sizeof blank + 3 ||
        memcmp(piece, blank, sizeof blank - 1) != 0) {
        return false;
    }
    int count = 0;
    for (size_t i = sizeof blank - 1; i < n && piece[i] >= '0' && piece[i] <= '9'; i++)
        count = count * 10 + piece[i] - '0';
    for (int i = 0; i < count; i++) pum_text_add(text, " ", 1);
    return count > 0;
}

static void decode_piece(const pum_tokenizer *t, int32_t token, bool drop, bool special,
                         pum_text *text)
{
    uint8_t type = t->types[token];
    size_t n;
    const char *piece = pum_strings_at(&t->pieces, (uint32_t)token, &n);
    bool byte_level = t->kind == PUM_TOKENIZER_BPE && !t->char_level;
    bool literal = type == PUM_TOKEN_USER_DEFINED &&
                   (byte_level || (!t->inline_user && !t->split_longest));
    if (type == PUM_TOKEN_CONTROL || type == PUM_TOKEN_UNKNOWN) {
        if (special) pum_text_add(text, piece, n);
        else if (type == PUM_TOKEN_UNKNOWN) pum_text_add(text, t->unknown_text,
                                                         strlen(t->unknown_text));
    } else if (literal) {
        pum_text_add(text, piece, n);
    } else if (type == PUM_TOKEN_BYTE && pum_byte_of_piece(piece, n) >= 0) {
        char c = (char)pum_byte_of_piece(piece, n);
        pum_text_add(text, &c, 1);
    } else if (byte_level) {
        const char *bytes = pum_strings_at(&t->raw, (uint32_t)token, &n);
        pum_text_add(text, bytes, n);
    } else if (!t->chatglm || !add_chatglm(piece, n, text)) {
        add_blanked(piece, n, drop, text);
    }
}

pumice_status pum_tokenizer_decode(const pum_tokenizer *t, int32_t token, bool *first, bool special,
                                   pum_text *text)
{
    if (!in_range(t, token)) return PUMICE_ERROR_INVALID;
    size_t before = text->count, n;
    const char *piece = pum_strings_at(&t->pieces, (uint32_t)token, &n);
    bool drop = *first && t->drop_first;
    decode_piece(t, token, drop, special, text);
    if (t->drop_after_token) *first = pum_token_is_cut_out(t, (uint32_t)token);
    else if (text->count > before) *first = false;
    else if (drop && begins_with_mark(piece, n)) *first = t->drop_until_text;
    return text->failed ? PUMICE_ERROR_HOST_MEMORY : PUMICE_OK;
}

/* What the original's clean_up_tokenization_spaces does, in its order, on text[from..]. */
static void clean_up(pum_text *text, size_t from)
{
    static const char *const rules[][2] = { { " .", "." },      { " ?", "?" },     { " !", "!" },
                                            { " ,", "," },      { " ' ", "'" },    { " n't", "n't" },
                                            { " 'm", "'m" },    { " 's", "'s" },   { " 've", "'ve" },
                                            { " 're", "'re" } };
    for (size_t r = 0; r < PUM_COUNT(rules); r++) {
        size_t n = strlen(rules[r][0]), m = strlen(rules[r][1]), to = from;
        for (size_t i = from; i < text->count;) {
            bool hit = text->count - i >= n && memcmp(text->data + i, rules[r][0], n) == 0;
            if (hit) memcpy(text->data + to, rules[r][1], m);
            else text->data[to] = text->data[i];
            to += hit ? m : 1;
            i += hit ? n : 1;
        }
        text->count = to;
        text->data[to] = '\0';
    }
}

pumice_status pum_tokenizer_decode_all(const pum_tokenizer *t, const int32_t *tokens, size_t count,
                                       bool special, pum_text *text)
{
    bool first = true;
    size_t start = text->count;
    for (size_t i = 0; i < count; i++)
        PUM_TRY(pum_tokenizer_decode(t, tokens[i], &first, special, text));
    if (t->clean_up && text->count > start) clean_up(text, start);
    return PUMICE_OK;
}
