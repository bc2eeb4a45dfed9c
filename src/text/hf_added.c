/* SPDX-License-Identifier: Apache-2.0
 * Added tokens of Hugging Face's files: tokens with a number of their own that are cut out of a
 * text before the model sees it. They may lie beyond the vocabulary, leave gaps, or take the number
 * of an unused piece. */
#include "hf.h"

#include <string.h>

enum { MAX_GAP = 1 << 20 };

bool pum_added_of_json(const json_t *json, pum_added *out)
{
    *out = (pum_added){ .id = -1 };
    if (json_is_string(json)) {
        out->content = json_string_value(json);
        return true;
    }
    out->content = pum_json_text(json, "content");
    out->special = pum_json_bool(json, "special", false);
    out->left = pum_json_bool(json, "lstrip", false);
    out->right = pum_json_bool(json, "rstrip", false);
    out->whole_word = pum_json_bool(json, "single_word", false);
    json_t *id = json_object_get(json, "id");
    if (json_is_integer(id) && json_integer_value(id) >= 0 &&
        json_integer_value(id) < PUM_MAX_TOKENS) {
        out->id = (int32_t)json_integer_value(id);
    }
    return out->content != NULL;
}

/* The pieces by content, for tokens that come without a number. */
static bool index_pieces(pum_tokenizer *t)
{
    uint32_t found;
    if (!pum_strings_index(&t->pieces, t->count)) return false;
    for (uint32_t i = 0; i < t->count; i++) {
        if (!pum_strings_index_add(&t->pieces, i, &found)) return false;
    }
    return true;
}

/* Numbers for all tokens: their own, their piece's, or the next free one. */
static pumice_status number_tokens(pum_tokenizer *t, const pum_added_list *list, int32_t *ids,
                                   uint32_t *out_count, pumice_error *err)
{
    if (!index_pieces(t))
        return pum_tokenizer_degenerate(err, "the vocabulary", t->pieces.steps, t->pieces.mask);
    uint32_t count = t->count;
    for (size_t i = 0; i < list->count; i++) {
        const pum_added *a = &list->data[i];
        size_t n = strlen(a->content);
        ids[i] = a->id;
        if (a->id < 0) {
            uint32_t id = pum_strings_find(&t->pieces, a->content, n);
            ids[i] = id == PUM_NO_ID ? -1 : (int32_t)id;
        }
        if (ids[i] >= 0) count = PUM_MAX(count, (uint32_t)ids[i] + 1);
    }
    /* New pieces get strings of their own behind the vocabulary's, in the order of their numbers. */
    uint32_t first_new = count;
    for (size_t i = 0; i < list->count; i++) {
        const char *content = list->data[i].content;
        if (ids[i] >= 0 || list->data[i].existing) continue;
        uint32_t string = pum_strings_find(&t->pieces, content, strlen(content)), found;
        if (string == PUM_NO_ID) {
            string = pum_strings_count(&t->pieces);
            if (!pum_strings_add(&t->pieces, content, strlen(content)) ||
                !pum_strings_index_add(&t->pieces, string, &found)) {
                return pum_tokenizer_degenerate(err, "the added tokens", t->pieces.steps,
                                                t->pieces.mask);
            }
        }
        ids[i] = (int32_t)(first_new + string - t->count);
        count = PUM_MAX(count, (uint32_t)ids[i] + 1);
    }
    *out_count = count;
    if (count > PUM_MAX_TOKENS || count - t->count > MAX_GAP + list->count) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "an added token has the number %u, far beyond the vocabulary of %u",
                        count - 1, t->count);
    }
    return PUMICE_OK;
}

/* Makes the lists by token as long as the new count. */
static bool grow(pum_tokenizer *t, uint32_t count)
{
    uint8_t *types = pum_realloc(t->types, count);
    if (types) t->types = types;
    uint8_t *flags = pum_realloc(t->flags, count);
    if (flags) t->flags = flags;
    double *scores = t->scores ? pum_realloc(t->scores, count * sizeof *scores) : NULL;
    if (scores) t->scores = scores;
    if (!types || !flags || (t->scores && !scores)) return false;
    for (uint32_t i = t->count; i < count; i++) {
        t->types[i] = PUM_TOKEN_UNUSED;
        t->flags[i] = 0;
        if (t->scores) t->scores[i] = 0;
    }
    return true;
}

/* The pieces anew, with the tokens' contents at their numbers. `by_id`: 1 + index of the token. */
static bool rename_pieces(pum_tokenizer *t, const pum_added_list *list, const uint32_t *by_id,
                          uint32_t count)
{
    pum_strings all = { 0 };
    bool ok = true;
    for (uint32_t i = 0; i < count && ok; i++) {
        size_t n = 0;
        const char *piece = i < t->count ? pum_strings_at(&t->pieces, i, &n) : "";
        if (by_id[i]) {
            piece = list->data[by_id[i] - 1].content;
            n = strlen(piece);
        }
        ok = pum_strings_add(&all, piece, n);
    }
    if (!ok) {
        pum_strings_free(&all);
        return false;
    }
    pum_strings_free(&t->pieces);
    t->pieces = all;
    t->count = count;
    return true;
}

static void mark(pum_tokenizer *t, const pum_added *a, int32_t id)
{
    bool keeps = t->types[id] == PUM_TOKEN_UNKNOWN || t->types[id] == PUM_TOKEN_BYTE;
    if (!keeps) t->types[id] = a->special ? PUM_TOKEN_CONTROL : PUM_TOKEN_USER_DEFINED;
    t->flags[id] = (uint8_t)(PUM_TOKEN_ADDED | (a->left ? PUM_TOKEN_EATS_LEFT : 0) |
                             (a->right ? PUM_TOKEN_EATS_RIGHT : 0) |
                             (a->whole_word ? PUM_TOKEN_WHOLE_WORD : 0));
}

pumice_status pum_hf_add_tokens(pum_tokenizer *t, const pum_added_list *list, pumice_error *err)
{
    pumice_status status = PUMICE_OK;
    uint32_t count = t->count, *by_id = NULL;
    t->split_longest = true;
    if (list->count == 0) return PUMICE_OK;
    int32_t *ids = pum_alloc_array(list->count, sizeof *ids);
    if (!ids) return pum_no_memory(err);
    PUM_GOTO(number_tokens(t, list, ids, &count, err));
    by_id = pum_alloc_array(count, sizeof *by_id);
    if (!by_id || !grow(t, count)) PUM_GOTO(pum_no_memory(err));
    for (size_t i = 0; i < list->count; i++) {
        if (ids[i] >= 0) by_id[ids[i]] = (uint32_t)i + 1;
    }
    if (!rename_pieces(t, list, by_id, count)) PUM_GOTO(pum_no_memory(err));
    for (size_t i = 0; i < list->count; i++) {
        if (ids[i] >= 0 && by_id[ids[i]] == i + 1 && list->data[i].content[0])
            mark(t, &list->data[i], ids[i]);
    }
fail:
    pum_free(ids);
    pum_free(by_id);
    return status;
}
