/* SPDX-License-Identifier: Apache-2.0
 * The unigram model: of all ways to cut a text into pieces, the one whose scores (logarithms of
 * probabilities) sum to the most (Kudo, "Subword Regularization", 2018; Viterbi's algorithm). What
 * no piece covers is unknown, character by character, at a penalty below the worst score;
 * neighbouring unknowns are one. Sums are rounded as the original does, since ties are decided by
 * them: SentencePiece sums in single precision, tokenizers in double. */
#include "tokenizer_impl.h"

#include <string.h>

static const double unknown_penalty = 10.0;

pumice_status pum_unigram_index(pum_tokenizer *t, pumice_error *err)
{
    double least = 0, most = 0;
    bool any = false;
    for (uint32_t i = 0; i < t->count; i++) {
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        if (t->types[i] == PUM_TOKEN_NORMAL || t->sum_double) {
            double s = t->scores[i];
            least = !any || s < least ? s : least;
            most = !any || s > most ? s : most;
            any = true;
        }
        if (n == 0 || (!pum_token_is_text(t, i) && !t->sum_double)) continue;
        if (!pum_trie_add(&t->trie, piece, n, (int32_t)i))
            return pum_tokenizer_degenerate(err, "the vocabulary", t->trie.steps, t->trie.mask);
    }
    t->unknown_score = least - unknown_penalty;
    t->best_score = most;
    return PUMICE_OK;
}

typedef struct node { /* the best way to end at a byte */
    double score;
    int32_t id;
    uint32_t length; /* of the last piece; 0 = no way yet */
} node;

static void offer(const pum_tokenizer *t, node *target, double score, int32_t id, uint32_t length)
{
    if (target->length && !(score > target->score)) return;
    target->score = t->sum_double ? score : (double)(float)score;
    target->id = id;
    target->length = length;
}

static double score_of(const pum_tokenizer *t, int32_t id, uint32_t length)
{
    /* User-defined pieces always win. */
    if (!t->sum_double && t->types[id] == PUM_TOKEN_USER_DEFINED)
        return (double)((float)length * (float)t->best_score) - 0.1;
    return t->scores[id];
}

static void fill(const pum_tokenizer *t, const char *text, uint32_t bytes, node *nodes)
{
    for (uint32_t at = 0; at < bytes;) {
        int c = pum_utf8_length(text + at, bytes - at);
        uint32_t one = c > 0 ? (uint32_t)c : 1, n = 0;
        bool single = false;
        for (uint32_t i = at, state = 0; i < bytes; i++) {
            state = pum_trie_step(&t->trie, state, text[i]);
            if (!state) break;
            int32_t id = t->trie.values.data[state];
            n = i + 1 - at;
            if (id < 0 || t->types[id] == PUM_TOKEN_UNUSED) continue;
            offer(t, &nodes[i + 1], nodes[at].score + score_of(t, id, n), id, n);
            single = single || n == one;
        }
        if (!single) offer(t, &nodes[at + one], nodes[at].score + t->unknown_score, -1, one);
        at += one;
    }
}

/* A stretch that no piece covers: its bytes where there are tokens for them, else one unknown. */
static pumice_status emit_unknown(const pum_tokenizer *t, const char *text, uint32_t bytes,
                                  pum_tokens *tokens, pumice_error *err)
{
    bool spelled = t->byte_fallback;
    for (uint32_t i = 0; i < bytes && spelled; i++)
        spelled = t->byte_token[(uint8_t)text[i]] >= 0;
    for (uint32_t i = 0; i < bytes && spelled; i++) {
        if (!pum_array_push(tokens, t->byte_token[(uint8_t)text[i]])) return pum_no_memory(err);
    }
    if (spelled) return PUMICE_OK;
    if (t->unk < 0) {
        return pum_fail(
            err, PUMICE_ERROR_UNSUPPORTED,
            "the vocabulary has no token for a character of the text, nor an unknown token");
    }
    return pum_array_push(tokens, t->unk) ? PUMICE_OK : pum_no_memory(err);
}

pumice_status pum_unigram_encode(const pum_tokenizer *t, const char *text, size_t bytes,
                                 pum_tokens *tokens, pumice_error *err)
{
    if (bytes == 0) return PUMICE_OK;
    pumice_status status = PUMICE_OK;
    node *nodes = pum_alloc_array(bytes + 1, sizeof *nodes);
    if (!nodes) return pum_no_memory(err);
    fill(t, text, (uint32_t)bytes, nodes);
    /* The way is known from its end: note it from its beginning. */
    size_t at = bytes;
    for (size_t end = bytes; end > 0; end = at) {
        at = end - nodes[end].length;
        nodes[at].score = (double)end; /* scores are done with: where the piece at `at` ends */
    }
    for (at = 0; at < bytes;) {
        size_t end = (size_t)nodes[at].score;
        if (nodes[end].id >= 0) {
            if (!pum_array_push(tokens, nodes[end].id)) PUM_GOTO(pum_no_memory(err));
            at = end;
            continue;
        }
        size_t from = at; /* neighbouring unknowns are one */
        while (at < bytes && nodes[(size_t)nodes[at].score].id < 0) at = (size_t)nodes[at].score;
        PUM_GOTO(emit_unknown(t, text + from, (uint32_t)(at - from), tokens, err));
    }
fail:
    pum_free(nodes);
    return status;
}
