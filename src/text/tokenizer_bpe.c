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

static bool is_cut_out(const pum_tokenizer *t, uint32_t id)
{
    return !pum_token_is_text(t, id) || t->types[id] == PUM_TOKEN_USER_DEFINED;
}

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
        bool spelled = true;
        if (t->char_level) pum_text_add(scratch, piece, n);
        else spelled = spell_out(byte_of, piece, n, scratch);
        if (scratch->failed || !pum_strings_add(&t->raw, scratch->data, scratch->count))
            return pum_no_memory(err);
        /* User-defined tokens mean their text as it stands, and are found by it (special.c). */
        if (!spelled || n == 0 || (!t->char_level && is_cut_out(t, i))) continue;
        uint32_t found;
        if (!pum_strings_index_add(&t->raw, i, &found)) {
            return pum_tokenizer_degenerate(err, "the list of tokens", t->raw.steps, t->raw.mask);
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
            return pum_tokenizer_degenerate(err, "the list of tokens", t->raw.steps, t->raw.mask);
        t->byte_string[b] = id;
        if (id < t->count && !t->char_level) t->byte_token[b] = (int32_t)id;
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

void pum_merge_of_line(pum_str line, bool strict, pum_str *out_left, pum_str *out_right)
{
    const char *blank = line.count > 1 ? memchr(line.data + 1, ' ', line.count - 1) : NULL;
    size_t n = blank ? (size_t)(blank - line.data) : 0;
    *out_left = line;
    *out_right = (pum_str){ 0 };
    if (!blank || (strict && memchr(blank + 1, ' ', line.count - n - 1))) return;
    *out_left = (pum_str){ line.data, n };
    *out_right = (pum_str){ blank + 1, line.count - n - 1 };
}

static bool add_side(merge_reader *r, pum_str side)
{
    if (!r->t->char_level) return spell_out(r->byte_of, side.data, side.count, r->scratch);
    pum_text_add(r->scratch, side.data, side.count);
    return true;
}

/* A line that is no merge of spelled bytes is passed over: no text could ever use it. false: no
 * memory, or too many collisions. */
static bool add_merge(merge_reader *r, pum_str left, pum_str right, uint32_t rank)
{
    pum_tokenizer *t = r->t;
    pum_text *s = r->scratch;
    if (!left.count || !right.count) return true;
    s->count = 0;
    if (!add_side(r, left)) return !s->failed;
    size_t middle = s->count;
    if (!add_side(r, right)) return !s->failed;
    if (s->failed) return false;
    pum_pair pair = { .rank = rank };
    pair.left = intern(&t->raw, s->data, middle);
    pair.right = intern(&t->raw, s->data + middle, s->count - middle);
    pair.result = r->last = find_result(r, s->data, s->count);
    if (pair.left == PUM_NO_ID || pair.right == PUM_NO_ID || pair.result == PUM_NO_ID) return false;
    pum_pair *slot = pair_slot(t, pair.left, pair.right, &r->steps);
    if (slot->left == PUM_NO_ID) *slot = pair; /* of equal pairs the first counts */
    return r->steps <= PUM_STEPS_PER_SLOT * ((uint64_t)t->pair_mask + 1);
}

static pumice_status read_merges(const pum_merge_list *list, merge_reader *r, pumice_error *err)
{
    pum_tokenizer *t = r->t;
    if (list->count > (uint64_t)1 << 28) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED, "%s has too many entries", list->name);
    }
    uint64_t slots = 16;
    while (slots < 2 * list->count) slots *= 2;
    t->pairs = pum_alloc_array((size_t)slots, sizeof *t->pairs);
    if (!t->pairs) return pum_no_memory(err);
    memset(t->pairs, 0xff, (size_t)slots * sizeof *t->pairs);
    t->pair_mask = (uint32_t)(slots - 1);
    pum_str left, right;
    for (uint64_t i = 0; i < list->count && list->next(list->user, &left, &right); i++) {
        if (list->strict && left.count && !right.count) {
            return pum_fail(err, PUMICE_ERROR_FORMAT,
                            "%s: number %llu, '%.*s', is not two pieces with a blank between: copy "
                            "the file anew",
                            list->name, (unsigned long long)i, (int)PUM_MIN(left.count, 60),
                            left.data);
        }
        if (add_merge(r, left, right, (uint32_t)i)) continue;
        PUM_TRY(pum_tokenizer_degenerate(err, list->name, PUM_MAX(r->steps, t->raw.steps),
                                         r->steps > t->raw.steps ? t->pair_mask : t->raw.mask));
    }
    return PUMICE_OK;
}

pumice_status pum_bpe_index(pum_tokenizer *t, const pum_merge_list *merges, pumice_error *err)
{
    pumice_status status = PUMICE_OK;
    pum_text scratch = { 0 };
    int16_t byte_of[ALPHABET_END];
    make_alphabet(byte_of);
    pum_text_add(&scratch, "", 0); /* never NULL */
    PUM_GOTO(read_strings(byte_of, t, &scratch, err));
    PUM_GOTO(read_bytes(t, err));
    merge_reader r = { .t = t, .byte_of = byte_of, .scratch = &scratch, .last = PUM_NO_ID };
    PUM_GOTO(read_merges(merges, &r, err));
fail:
    pum_text_free(&scratch);
    return status;
}

void pum_bpe_spell(const char *bytes, size_t count, pum_text *out)
{
    int16_t byte_of[ALPHABET_END];
    char letters[256][3];
    make_alphabet(byte_of);
    for (int c = 0; c < ALPHABET_END; c++) {
        if (byte_of[c] < 0) continue;
        char *to = letters[byte_of[c]];
        to[0] = (char)(c < 0x80 ? c : 0xc0 | c >> 6);
        to[1] = (char)(c < 0x80 ? 0 : 0x80 | (c & 0x3f));
        to[2] = 0;
    }
    for (size_t i = 0; i < count; i++) {
        const char *letter = letters[(uint8_t)bytes[i]];
        pum_text_add(out, letter, strlen(letter));
    }
}

/* ---- encoding ---- */

static bool find_pair(const pum_tokenizer *t, const char *text, const pum_symbol *a,
                      const pum_symbol *b, uint32_t *out_key, uint32_t *out_id)
{
    if (t->merge_any) {
        uint32_t id = pum_strings_find(&t->raw, text + a->start, a->length + b->length);
        *out_key = *out_id = id;
        return id < t->count;
    }
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

/* The symbols a character begins as: itself, its bytes' tokens, or the unknown token; with none of
 * them it vanishes, as in the original. */
static bool push_char(const pum_tokenizer *t, const char *word, uint32_t at, uint32_t n,
                      pum_merger *m)
{
    uint32_t id = pum_strings_find(&t->raw, word + at, n);
    if (id < t->count) return pum_merger_push(m, at, n, id);
    bool spelled = t->byte_fallback;
    for (uint32_t i = 0; i < n && spelled; i++)
        spelled = t->byte_token[(uint8_t)word[at + i]] >= 0;
    for (uint32_t i = 0; i < n && spelled; i++) {
        if (!pum_merger_push(m, at + i, 1, (uint32_t)t->byte_token[(uint8_t)word[at + i]]))
            return false;
    }
    if (spelled || t->unk < 0) return true;
    pum_symbol *last = m->symbols.count ? &m->symbols.data[m->symbols.count - 1] : NULL;
    if (t->fuse_unknown && last && last->id == (uint32_t)t->unk) {
        last->length += n;
        return true;
    }
    return pum_merger_push(m, at, n, (uint32_t)t->unk);
}

pumice_status pum_bpe_encode_word(const pum_tokenizer *t, const char *word, uint32_t bytes,
                                  pum_merger *m, pum_tokens *tokens, pumice_error *err)
{
    if (t->ignore_merges || t->merge_any) {
        uint32_t id = pum_strings_find(&t->raw, word, bytes);
        if (id < t->count) return emit(t, id, tokens, err);
    }
    m->symbols.count = 0;
    for (uint32_t i = 0, n = 1; i < bytes; i += n) {
        if (t->char_level) {
            int length = pum_utf8_length(word + i, bytes - i);
            n = length > 0 ? (uint32_t)length : 1;
            if (!push_char(t, word, i, n, m)) return pum_no_memory(err);
        } else if (!pum_merger_push(m, i, 1, t->byte_string[(uint8_t)word[i]])) {
            return pum_no_memory(err);
        }
    }
    if (!pum_merger_run(m, t, word, find_pair)) return pum_no_memory(err);
    for (int32_t i = m->symbols.count ? 0 : -1; i >= 0; i = m->symbols.data[i].next)
        PUM_TRY(emit(t, m->symbols.data[i].id, tokens, err));
    return PUMICE_OK;
}
