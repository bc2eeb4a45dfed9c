/* SPDX-License-Identifier: Apache-2.0
 * SentencePiece BPE ("llama"): blanks become U+2581, the text is split into characters, and the
 * pair whose union is the piece of the best score is joined until none is. What ends as no piece is
 * spelled in byte tokens. There is no list of merges: any two neighbours that make up a piece may
 * be joined. */
#include "tokenizer_impl.h"

#include <string.h>

/* Scores as integers: the better, the smaller. NaN is the worst. */
static uint32_t key_of_score(double score)
{
    float f = (float)score;
    if (f != f) return UINT32_MAX;
    if (f == 0) f = 0; /* -0 */
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return ~(bits >> 31 ? ~bits : bits | 0x80000000u);
}

static bool has_inner_blank(const char *piece, size_t n)
{
    for (size_t i = 1; i + PUM_BLANK_BYTES <= n; i++) {
        if (memcmp(piece + i, PUM_BLANK, PUM_BLANK_BYTES) != 0) continue;
        if (i < PUM_BLANK_BYTES ||
            memcmp(piece + i - PUM_BLANK_BYTES, PUM_BLANK, PUM_BLANK_BYTES) != 0)
            return true;
    }
    return false;
}

pumice_status pum_spm_index(pum_tokenizer *t, pumice_error *err)
{
    t->keys = pum_alloc_array(t->count, sizeof *t->keys);
    if (!t->keys) return pum_no_memory(err);
    for (uint32_t i = 0; i < t->count; i++) t->keys[i] = key_of_score(t->scores[i]);
    if (!pum_strings_index(&t->pieces, t->count)) return pum_no_memory(err);
    t->blank_begins_word = true;
    for (uint32_t i = 0; i < t->count; i++) {
        size_t n;
        uint32_t found;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        if (n == 0 || !pum_token_is_text(t, i)) continue;
        if (!pum_strings_index_add(&t->pieces, i, &found)) {
            return pum_tokenizer_degenerate(err, "the list of tokens", t->pieces.steps,
                                            t->pieces.mask);
        }
        t->max_piece_bytes = PUM_MAX(t->max_piece_bytes, (uint32_t)n);
        t->blank_begins_word = t->blank_begins_word && !has_inner_blank(piece, n);
        if (t->inline_user && t->types[i] == PUM_TOKEN_USER_DEFINED &&
            !pum_trie_add(&t->trie, piece, n, (int32_t)i)) {
            return pum_tokenizer_degenerate(err, "the list of tokens", t->trie.steps, t->trie.mask);
        }
    }
    return PUMICE_OK;
}

/* ---- encoding ---- */

/* A user-defined piece that was found in the text joins nothing. */
static bool frozen(const pum_tokenizer *t, const pum_symbol *s)
{
    return t->inline_user && s->id != PUM_NO_ID && t->types[s->id] == PUM_TOKEN_USER_DEFINED;
}

static bool find_union(const pum_tokenizer *t, const char *text, const pum_symbol *a,
                       const pum_symbol *b, uint32_t *out_key, uint32_t *out_id)
{
    if (a->length + b->length > t->max_piece_bytes) return false;
    if (t->no_merges || frozen(t, a) || frozen(t, b)) return false;
    uint32_t id = pum_strings_find(&t->pieces, text + a->start, a->length + b->length);
    if (id == PUM_NO_ID) return false;
    *out_id = id;
    *out_key = t->keys[id];
    return true;
}

static pumice_status emit(const pum_tokenizer *t, const char *text, const pum_symbol *s,
                          bool *unknown, pum_tokens *tokens, pumice_error *err)
{
    uint32_t id =
        s->id != PUM_NO_ID ? s->id : pum_strings_find(&t->pieces, text + s->start, s->length);
    if (id != PUM_NO_ID) {
        *unknown = false;
        return pum_array_push(tokens, (int32_t)id) ? PUMICE_OK : pum_no_memory(err);
    }
    bool spelled = t->byte_fallback;
    for (uint32_t i = 0; i < s->length && spelled; i++)
        spelled = t->byte_token[(uint8_t)text[s->start + i]] >= 0;
    if (!spelled) {
        if (t->unk < 0) {
            return pum_fail(
                err, PUMICE_ERROR_UNSUPPORTED,
                "the vocabulary has no token for a character of the text, nor an unknown token");
        }
        if (t->fuse_unknown && *unknown) return PUMICE_OK;
        *unknown = true;
        return pum_array_push(tokens, t->unk) ? PUMICE_OK : pum_no_memory(err);
    }
    *unknown = false;
    for (uint32_t i = 0; i < s->length; i++) {
        if (!pum_array_push(tokens, t->byte_token[(uint8_t)text[s->start + i]]))
            return pum_no_memory(err);
    }
    return PUMICE_OK;
}

/* Merges the symbols gathered so far, appends their tokens and begins anew. */
static pumice_status flush(const pum_tokenizer *t, const char *text, pum_merger *m, bool *unknown,
                           pum_tokens *tokens, pumice_error *err)
{
    if (!pum_merger_run(m, t, text, find_union)) return pum_no_memory(err);
    for (int32_t i = m->symbols.count ? 0 : -1; i >= 0; i = m->symbols.data[i].next) {
        PUM_TRY(emit(t, text, &m->symbols.data[i], unknown, tokens, err));
    }
    m->symbols.count = 0;
    return PUMICE_OK;
}

pumice_status pum_spm_encode_escaped(const pum_tokenizer *t, const char *text, uint32_t bytes,
                                     pum_merger *m, pum_tokens *tokens, pumice_error *err)
{
    bool after_blank = true, unknown = false;
    m->symbols.count = 0;
    for (uint32_t pos = 0; pos < bytes;) {
        int length = (uint8_t)text[pos] < 0x80 ? 1 : pum_utf8_length(text + pos, bytes - pos);
        uint32_t n = length > 0 ? (uint32_t)length : 1; /* a byte that is no UTF-8 stands alone */
        size_t user_bytes = 0;
        int32_t user =
            t->inline_user ? pum_trie_longest(&t->trie, text + pos, bytes - pos, &user_bytes) : -1;
        if (user >= 0) n = (uint32_t)user_bytes;
        bool blank = user < 0 && n == PUM_BLANK_BYTES &&
                     memcmp(text + pos, PUM_BLANK, PUM_BLANK_BYTES) == 0;
        /* No piece spans this place, so words can be merged apart: the same tokens, from small
         * heaps. */
        if (blank && !after_blank && t->blank_begins_word)
            PUM_TRY(flush(t, text, m, &unknown, tokens, err));
        if (!pum_merger_push(m, pos, n, user >= 0 ? (uint32_t)user : PUM_NO_ID))
            return pum_no_memory(err);
        after_blank = blank;
        pos += n;
    }
    return flush(t, text, m, &unknown, tokens, err);
}

pumice_status pum_spm_encode(const pum_tokenizer *t, const char *text, size_t bytes, bool prefix,
                             pum_merger *m, pum_tokens *tokens, pumice_error *err)
{
    size_t blanks = prefix ? 1 : 0, n = 0;
    for (size_t i = 0; i < bytes; i++) blanks += text[i] == ' ';
    char *escaped = pum_alloc(bytes + blanks * PUM_BLANK_BYTES);
    if (!escaped) return pum_no_memory(err);
    if (prefix) {
        memcpy(escaped, PUM_BLANK, PUM_BLANK_BYTES);
        n = PUM_BLANK_BYTES;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == ' ') {
            memcpy(escaped + n, PUM_BLANK, PUM_BLANK_BYTES);
            n += PUM_BLANK_BYTES;
        } else {
            escaped[n++] = text[i];
        }
    }
    pumice_status status = pum_spm_encode_escaped(t, escaped, (uint32_t)n, m, tokens, err);
    pum_free(escaped);
    return status;
}
