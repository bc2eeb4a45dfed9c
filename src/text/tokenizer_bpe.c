/* SPDX-License-Identifier: Apache-2.0
 * Byte-level BPE ("gpt2"): the pre-tokenizer cuts the text into words, and within a word the pair
 * of the lowest rank in the file's list of merges is joined until none is. Files spell bytes in
 * GPT-2's alphabet, which stands for each byte by a printable character. It is undone once, at
 * creation: from then on strings are the bytes they mean, and any bytes can be encoded. Strings are
 * numbered; numbers from `count` on are known to merges only and are no tokens. */
#include "tokenizer_impl.h"

#include <string.h>

enum { ALPHABET_END = 0x144 };

/* ---- GPT-2's alphabet ---- */

/* byte_of[c] = the byte that character c stands for, -1 = none. */
static void make_alphabet(int16_t byte_of[ALPHABET_END])
{
    int16_t next = 0x100; /* bytes without a printable character of their own follow Latin-1 */
    memset(byte_of, 0xff, ALPHABET_END * sizeof *byte_of);
    for (int16_t b = 0; b < 256; b++) {
        bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        byte_of[printable ? b : next++] = b;
    }
}

/* Appends the bytes that s spells; characters beyond the alphabet stay as they are. false if there
 * were any. */
static bool spell_out(const int16_t byte_of[ALPHABET_END], const char *s, size_t n, pum_text *out)
{
    bool all = true;
    if (out->failed || n > SIZE_MAX - out->count - 1 ||
        !pum_array_grow((void **)&out->data, &out->capacity, out->count + n + 1, 1)) {
        out->failed = true;
        return false;
    }
    char *to = out->data + out->count; /* what is spelled is never longer than its spelling */
    for (size_t i = 0; i < n;) {
        uint8_t a = (uint8_t)s[i];
        uint32_t c = a, length = 1;
        if (a >= 0xc2 && a <= 0xdf && i + 1 < n && ((uint8_t)s[i + 1] & 0xc0) == 0x80) {
            c = (uint32_t)(a & 0x1f) << 6 | ((uint8_t)s[i + 1] & 0x3f);
            length = 2;
        } else if (a >= 0x80) {
            c = ALPHABET_END;
        }
        if (c < ALPHABET_END && byte_of[c] >= 0) {
            *to++ = (char)byte_of[c];
        } else {
            memcpy(to, s + i, length);
            to += length;
            all = false;
        }
        i += length;
    }
    *to = '\0';
    out->count = (size_t)(to - out->data);
    return all;
}

/* ---- creation ---- */

static pumice_status read_strings(const int16_t byte_of[ALPHABET_END], pum_tokenizer *t,
                                  pum_text *scratch, pumice_error *err)
{
    if (!pum_strings_index(&t->raw, t->count + 256)) return pum_no_memory(err);
    if (!pum_array_reserve(&t->raw.bytes, t->pieces.bytes.count) ||
        !pum_array_reserve(&t->raw.start, (size_t)t->count + 1)) {
        return pum_no_memory(err);
    }
    for (uint32_t i = 0; i < t->count; i++) {
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        scratch->count = 0;
        bool spelled = spell_out(byte_of, piece, n, scratch);
        if (scratch->failed || !pum_strings_add(&t->raw, scratch->data, scratch->count))
            return pum_no_memory(err);
        /* User-defined tokens mean their text as it stands, and are found by it (special.c). */
        if (!spelled || n == 0 || !pum_token_is_text(t, i) || t->types[i] == PUM_TOKEN_USER_DEFINED)
            continue;
        uint32_t found;
        if (!pum_strings_index_add(&t->raw, i, &found)) {
            return pum_tokenizer_degenerate(err, "tokenizer.ggml.tokens", t->raw.steps,
                                            t->raw.mask);
        }
        if (found == i) t->flags[i] |= PUM_TOKEN_INDEXED;
    }
    return PUMICE_OK;
}

/* The number of a string, a new one if need be; PUM_NO_ID when out of memory. */
static uint32_t intern(pum_strings *s, const char *bytes, size_t n)
{
    uint32_t id = pum_strings_find(s, bytes, n);
    if (id != PUM_NO_ID) return id;
    id = pum_strings_count(s);
    uint32_t found;
    return pum_strings_add(s, bytes, n) && pum_strings_index_add(s, id, &found) ? id : PUM_NO_ID;
}

static pumice_status read_bytes(pum_tokenizer *t, pumice_error *err)
{
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        uint32_t id = intern(&t->raw, &c, 1);
        if (id == PUM_NO_ID)
            return pum_tokenizer_degenerate(err, "tokenizer.ggml.tokens", t->raw.steps,
                                            t->raw.mask);
        t->byte_string[b] = id;
        if (id < t->count) t->byte_token[b] = (int32_t)id;
    }
    return PUMICE_OK;
}

static pum_pair *pair_slot(const pum_tokenizer *t, uint32_t left, uint32_t right, uint64_t *steps)
{
    uint64_t h = (uint64_t)left << 32 | right;
    h = (h ^ h >> 32) * 0x9e3779b97f4a7c15ull;
    for (uint32_t i = (uint32_t)(h >> 32);; i++) {
        pum_pair *p = &t->pairs[i & t->pair_mask];
        if (p->left == PUM_NO_ID || (p->left == left && p->right == right)) return p;
        ++*steps;
    }
}

typedef struct merge_reader {
    pum_tokenizer *t;
    const int16_t *byte_of;
    pum_text *scratch;
    uint64_t steps; /* taken in the table of pairs */
    uint32_t last;  /* what the last line made */
} merge_reader;

/* Lists of merges are in the order of the tokens they make, nearly always: try the one after the
 * last first. */
static uint32_t find_result(merge_reader *r, const char *bytes, size_t n)
{
    pum_tokenizer *t = r->t;
    uint32_t next = r->last + 1;
    if (next > 0 && next < t->count && (t->flags[next] & PUM_TOKEN_INDEXED)) {
        size_t have;
        const char *guess = pum_strings_at(&t->raw, next, &have);
        if (have == n && memcmp(guess, bytes, n) == 0) return next;
    }
    return intern(&t->raw, bytes, n);
}

/* One line of the list: two strings and a blank between them. A line that is no merge of spelled
 * bytes is passed over: no text could ever use it. false: no memory, or too many collisions. */
static bool add_merge(merge_reader *r, pum_str line, uint32_t rank)
{
    pum_tokenizer *t = r->t;
    pum_text *s = r->scratch;
    const char *blank = line.count > 1 ? memchr(line.data + 1, ' ', line.count - 1) : NULL;
    if (!blank) return true;
    size_t n_left = (size_t)(blank - line.data);
    s->count = 0;
    if (!spell_out(r->byte_of, line.data, n_left, s)) return !s->failed;
    size_t middle = s->count;
    if (!spell_out(r->byte_of, blank + 1, line.count - n_left - 1, s)) return !s->failed;
    if (middle == 0 || s->count == middle) return true;
    pum_pair pair = { .rank = rank };
    pair.left = intern(&t->raw, s->data, middle);
    pair.right = intern(&t->raw, s->data + middle, s->count - middle);
    pair.result = r->last = find_result(r, s->data, s->count);
    if (pair.left == PUM_NO_ID || pair.right == PUM_NO_ID || pair.result == PUM_NO_ID) return false;
    pum_pair *slot = pair_slot(t, pair.left, pair.right, &r->steps);
    if (slot->left == PUM_NO_ID) *slot = pair; /* of equal pairs the first counts */
    return r->steps <= PUM_STEPS_PER_SLOT * ((uint64_t)t->pair_mask + 1);
}

static pumice_status read_merges(const pum_gguf *gguf, merge_reader *r, pumice_error *err)
{
    pum_tokenizer *t = r->t;
    const pum_gguf_value *v = pum_gguf_find(gguf, "tokenizer.ggml.merges");
    if (!v || v->type != PUM_GGUF_ARRAY || v->item_type != PUM_GGUF_STRING) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "tokenizer.ggml.merges is missing or no list of strings");
    }
    if (v->count > (uint64_t)1 << 28) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "tokenizer.ggml.merges has too many entries");
    }
    uint64_t slots = 16;
    while (slots < 2 * v->count) slots *= 2;
    t->pairs = pum_alloc_array((size_t)slots, sizeof *t->pairs);
    if (!t->pairs) return pum_no_memory(err);
    memset(t->pairs, 0xff, (size_t)slots * sizeof *t->pairs);
    t->pair_mask = (uint32_t)(slots - 1);
    const uint8_t *cursor = NULL;
    uint64_t i = 0;
    pum_str line;
    while (pum_gguf_next_str(v, &cursor, &i, &line)) {
        if (add_merge(r, line, (uint32_t)i)) continue;
        PUM_TRY(pum_tokenizer_degenerate(err, "tokenizer.ggml.merges",
                                         PUM_MAX(r->steps, t->raw.steps),
                                         r->steps > t->raw.steps ? t->pair_mask : t->raw.mask));
    }
    return PUMICE_OK;
}

pumice_status pum_bpe_create(const pum_gguf *gguf, pum_tokenizer *t, pumice_error *err)
{
    uint32_t flags;
    PUM_TRY(pum_pretok_create(t->pre, &t->pretok, &flags, err));
    t->ignore_merges = flags & PUM_PRETOK_IGNORE_MERGES;
    t->add_bos = flags & PUM_PRETOK_ADD_BOS;
    pumice_status status = PUMICE_OK;
    pum_text scratch = { 0 };
    int16_t byte_of[ALPHABET_END];
    make_alphabet(byte_of);
    pum_text_add(&scratch, "", 0); /* never NULL */
    PUM_GOTO(read_strings(byte_of, t, &scratch, err));
    PUM_GOTO(read_bytes(t, err));
    merge_reader r = { .t = t, .byte_of = byte_of, .scratch = &scratch, .last = PUM_NO_ID };
    PUM_GOTO(read_merges(gguf, &r, err));
fail:
    pum_text_free(&scratch);
    return status;
}

/* ---- encoding ---- */

static bool find_pair(const pum_tokenizer *t, const char *text, const pum_symbol *a,
                      const pum_symbol *b, uint32_t *out_key, uint32_t *out_id)
{
    (void)text;
    uint64_t steps = 0;
    const pum_pair *p = pair_slot(t, a->id, b->id, &steps);
    if (p->left == PUM_NO_ID) return false;
    *out_key = p->rank;
    *out_id = p->result;
    return true;
}

/* Vocabularies may lack bytes that their makers never saw, such as 0xff: those become U+FFFD, or
 * unknown. */
static pumice_status emit_byte(const pum_tokenizer *t, uint8_t byte, pum_tokens *tokens,
                               pumice_error *err)
{
    int32_t ids[3] = { t->byte_token[byte], -1, -1 };
    size_t n = 1;
    if (ids[0] < 0 && t->byte_token[0xef] >= 0 && t->byte_token[0xbf] >= 0 &&
        t->byte_token[0xbd] >= 0) {
        ids[0] = t->byte_token[0xef];
        ids[1] = t->byte_token[0xbf];
        ids[2] = t->byte_token[0xbd];
        n = 3;
    } else if (ids[0] < 0) {
        ids[0] = t->unk;
    }
    if (ids[0] < 0) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "the vocabulary has no token for the byte 0x%02x", byte);
    }
    for (size_t i = 0; i < n; i++) {
        if (!pum_array_push(tokens, ids[i])) return pum_no_memory(err);
    }
    return PUMICE_OK;
}

static pumice_status emit(const pum_tokenizer *t, uint32_t id, pum_tokens *tokens,
                          pumice_error *err)
{
    if (id < t->count) return pum_array_push(tokens, (int32_t)id) ? PUMICE_OK : pum_no_memory(err);
    size_t n;
    const char *bytes = pum_strings_at(&t->raw, id, &n);
    for (size_t i = 0; i < n; i++) PUM_TRY(emit_byte(t, (uint8_t)bytes[i], tokens, err));
    return PUMICE_OK;
}

static pumice_status encode_word(const pum_tokenizer *t, const char *word, uint32_t bytes,
                                 pum_merger *m, pum_tokens *tokens, pumice_error *err)
{
    if (t->ignore_merges) {
        uint32_t id = pum_strings_find(&t->raw, word, bytes);
        if (id < t->count) return emit(t, id, tokens, err);
    }
    m->symbols.count = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        if (!pum_merger_push(m, i, 1, t->byte_string[(uint8_t)word[i]])) return pum_no_memory(err);
    }
    if (!pum_merger_run(m, t, word, find_pair)) return pum_no_memory(err);
    for (int32_t i = 0; i >= 0; i = m->symbols.data[i].next)
        PUM_TRY(emit(t, m->symbols.data[i].id, tokens, err));
    return PUMICE_OK;
}

pumice_status pum_bpe_encode(const pum_tokenizer *t, const char *text, size_t bytes, pum_merger *m,
                             pum_tokens *tokens, pumice_error *err)
{
    pumice_status status = PUMICE_OK;
    pum_positions ends = { 0 };
    PUM_GOTO(pum_pretok_split(t->pretok, text, bytes, &ends, err));
    uint32_t from = 0;
    for (size_t i = 0; i < ends.count; i++) {
        PUM_GOTO(encode_word(t, text + from, ends.data[i] - from, m, tokens, err));
        from = ends.data[i];
    }
fail:
    pum_array_free(&ends);
    return status;
}

void pum_bpe_decode(const pum_tokenizer *t, int32_t token, pum_text *text)
{
    size_t n;
    const char *bytes = pum_strings_at(&t->raw, (uint32_t)token, &n);
    pum_text_add(text, bytes, n);
}
