/* SPDX-License-Identifier: Apache-2.0
 * A tokenizer.json as Hugging Face's tokenizers writes it: its model (BPE or Unigram), its added
 * tokens and what its post-processor puts around a text. The steps between are in
 * hf_pipeline.c. */
#include "hf.h"

#include <stdio.h>
#include <string.h>

/* ---- helpers ---- */

pumice_status pum_json_parse(const void *data, size_t bytes, json_t **out_json, pumice_error *err)
{
    json_error_t fault;
    *out_json = json_loadb(data, bytes, JSON_ALLOW_NUL, &fault);
    if (*out_json) return PUMICE_OK;
    if (json_error_code(&fault) == json_error_out_of_memory) return pum_no_memory(err);
    return pum_fail(err, PUMICE_ERROR_FORMAT, "no valid JSON (line %d: %.100s); copy the file anew",
                    fault.line, fault.text);
}

const char *pum_json_text(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    if (json_is_object(v)) v = json_object_get(v, "content");
    return json_string_value(v);
}

bool pum_json_bool(const json_t *object, const char *key, bool if_absent)
{
    const json_t *v = json_object_get(object, key);
    return json_is_boolean(v) ? json_boolean_value(v) : if_absent;
}

static pumice_status wrong(pumice_error *err, const char *what)
{
    return pum_fail(err, PUMICE_ERROR_FORMAT, "%s", what);
}

/* ---- the vocabulary ---- */

pumice_status pum_hf_pieces(const json_t *vocab, pum_tokenizer *t, pumice_error *err)
{
    size_t count = json_object_size(vocab);
    json_int_t last = -1;
    const char *key;
    json_t *value;
    json_t *object = (json_t *)(uintptr_t)vocab; /* jansson iterates over what is not const */
    json_object_foreach(object, key, value) {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= PUM_MAX_TOKENS || id > (json_int_t)count + (1 << 20)) {
            char number[24] = "no integer";
            if (json_is_integer(value))
                snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
            return pum_fail(err, PUMICE_ERROR_FORMAT,
                            "the vocabulary of %zu pieces gives '%.60s' as its number %s, which "
                            "cannot be: copy the file anew",
                            count, key, number);
        }
        last = id > last ? id : last;
    }
    if (last < 0)
        return pum_fail(err, PUMICE_ERROR_FORMAT, "the vocabulary is empty or no object of pieces "
                                                  "and their numbers; copy the file anew");
    t->count = (uint32_t)last + 1;
    PUM_TRY(pum_tokenizer_allocate(t, err));
    pum_str *by_id = pum_alloc_array(t->count, sizeof *by_id);
    if (!by_id) return pum_no_memory(err);
    for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
        json_int_t id = json_integer_value(json_object_iter_value(i));
        by_id[id] = (pum_str){ json_object_iter_key(i), json_object_iter_key_len(i) };
    }
    bool ok = true;
    for (uint32_t i = 0; i < t->count && ok; i++) {
        ok = pum_strings_add(&t->pieces, by_id[i].data ? by_id[i].data : "", by_id[i].count);
        if (!by_id[i].data) t->types[i] = PUM_TOKEN_UNUSED;
    }
    pum_free(by_id);
    return ok ? PUMICE_OK : pum_no_memory(err);
}

/* "vocab" of Unigram: [["piece", score], ...]. */
static pumice_status read_scored(const json_t *vocab, pum_tokenizer *t, pumice_error *err)
{
    size_t count = json_array_size(vocab);
    if (count == 0 || count > PUM_MAX_TOKENS) return wrong(err, "model.vocab has no usable length");
    t->count = (uint32_t)count;
    PUM_TRY(pum_tokenizer_allocate(t, err));
    t->scores = pum_alloc_array(count, sizeof *t->scores);
    if (!t->scores) return pum_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(vocab, i);
        const json_t *piece = json_array_get(row, 0), *score = json_array_get(row, 1);
        if (!json_is_string(piece) || !json_is_number(score))
            return wrong(err, "model.vocab must be a list of pairs of piece and score");
        t->scores[i] = json_number_value(score);
        if (!pum_strings_add(&t->pieces, json_string_value(piece), json_string_length(piece)))
            return pum_no_memory(err);
    }
    return PUMICE_OK;
}

static void type_bytes(pum_tokenizer *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        size_t n;
        const char *piece = pum_strings_at(&t->pieces, i, &n);
        if (pum_byte_of_piece(piece, n) >= 0) t->types[i] = PUM_TOKEN_BYTE;
    }
}

static pumice_status read_unigram(const json_t *model, pum_tokenizer *t, pumice_error *err)
{
    t->kind = PUM_TOKENIZER_UNIGRAM;
    t->sum_double = true;
    PUM_TRY(read_scored(json_object_get(model, "vocab"), t, err));
    const json_t *unk = json_object_get(model, "unk_id");
    json_int_t id = json_is_integer(unk) ? json_integer_value(unk) : -1;
    if (id >= (json_int_t)t->count) return wrong(err, "model.unk_id is no piece of the vocabulary");
    if (id >= 0) {
        t->unk = (int32_t)id;
        t->types[id] = PUM_TOKEN_UNKNOWN;
    }
    t->byte_fallback = pum_json_bool(model, "byte_fallback", false);
    if (t->byte_fallback) type_bytes(t);
    return PUMICE_OK;
}

static pumice_status read_bpe(const json_t *model, pum_tokenizer *t, pumice_error *err)
{
    t->kind = PUM_TOKENIZER_BPE;
    for (int i = 0; i < 2; i++) {
        const char *key = i ? "end_of_word_suffix" : "continuing_subword_prefix";
        const char *text = pum_json_text(model, key);
        if (text && text[0]) {
            return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                            "model.%s '%.20s' is not supported", key, text);
        }
    }
    const json_t *vocab = json_object_get(model, "vocab");
    if (!json_is_object(vocab) || !json_is_array(json_object_get(model, "merges")))
        return wrong(err, "model.vocab or model.merges is missing");
    PUM_TRY(pum_hf_pieces(vocab, t, err));
    t->byte_fallback = pum_json_bool(model, "byte_fallback", false);
    t->fuse_unknown = pum_json_bool(model, "fuse_unk", false);
    t->ignore_merges = pum_json_bool(model, "ignore_merges", false);
    const json_t *unk = json_object_get(vocab, pum_json_text(model, "unk_token")
                                                   ? pum_json_text(model, "unk_token")
                                                   : "");
    if (json_is_integer(unk)) {
        t->unk = (int32_t)json_integer_value(unk);
        t->types[t->unk] = PUM_TOKEN_UNKNOWN;
    }
    if (t->byte_fallback) type_bytes(t);
    return PUMICE_OK;
}

static pumice_status read_model(const json_t *root, pum_tokenizer *t, pumice_error *err)
{
    const json_t *model = json_object_get(root, "model");
    const char *type = pum_json_text(model, "type");
    if (!json_is_object(model)) return wrong(err, "there is no 'model' object");
    if (!type) type = json_is_array(json_object_get(model, "vocab")) ? "Unigram" : "BPE";
    if (strcmp(type, "Unigram") == 0) return read_unigram(model, t, err);
    if (strcmp(type, "BPE") == 0) return read_bpe(model, t, err);
    return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                    "a model of type '%.40s' is not supported; 'BPE' and 'Unigram' "
                    "are",
                    type);
}

/* ---- around a text ---- */

static bool add_id(int32_t *ids, uint32_t *count, json_int_t id, uint32_t n_tokens)
{
    if (id < 0 || id >= n_tokens || *count == PUM_MAX_AROUND) return false;
    ids[(*count)++] = (int32_t)id;
    return true;
}

static pumice_status read_template(const json_t *processor, pum_tokenizer *t, pumice_error *err)
{
    const json_t *single = json_object_get(processor, "single");
    const json_t *special = json_object_get(processor, "special_tokens");
    bool after = false;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        const json_t *token = json_object_get(item, "SpecialToken");
        if (json_object_get(item, "Sequence")) after = true;
        if (!token) continue;
        const char *name = pum_json_text(token, "id");
        const json_t *ids = json_object_get(json_object_get(special, name ? name : ""), "ids");
        for (size_t k = 0; k < json_array_size(ids); k++) {
            json_int_t id = json_integer_value(json_array_get(ids, k));
            bool good = after ? add_id(t->after, &t->n_after, id, t->count)
                              : add_id(t->before, &t->n_before, id, t->count);
            if (!good) return wrong(err, "post_processor names a token that cannot be");
        }
    }
    return PUMICE_OK;
}

static pumice_status read_processor(const json_t *processor, pum_tokenizer *t, int depth,
                                    pumice_error *err)
{
    const char *type = pum_json_text(processor, "type");
    if (!type || strcmp(type, "ByteLevel") == 0) return PUMICE_OK;
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(processor, t, err);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
        const json_t *cls = json_array_get(json_object_get(processor, "cls"), 1);
        const json_t *sep = json_array_get(json_object_get(processor, "sep"), 1);
        bool good = json_is_integer(cls) && json_is_integer(sep) &&
                    add_id(t->before, &t->n_before, json_integer_value(cls), t->count) &&
                    add_id(t->after, &t->n_after, json_integer_value(sep), t->count);
        return good ? PUMICE_OK : wrong(err, "post_processor names a token that cannot be");
    }
    if (strcmp(type, "Sequence") == 0 && depth < 4) {
        const json_t *list = json_object_get(processor, "processors");
        for (size_t i = 0; i < json_array_size(list); i++)
            PUM_TRY(read_processor(json_array_get(list, i), t, depth + 1, err));
        return PUMICE_OK;
    }
    return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                    "the post_processor '%.40s' is not supported", type);
}

/* ---- whole ---- */

pumice_status pum_hf_json_read(const json_t *root, pum_tokenizer *t, pum_added_list *added,
                               pumice_error *err)
{
    PUM_TRY(read_model(root, t, err));
    const json_t *list = json_object_get(root, "added_tokens");
    for (size_t i = 0; i < json_array_size(list); i++) {
        pum_added a;
        if (!pum_added_of_json(json_array_get(list, i), &a))
            return wrong(err, "an entry of added_tokens has no content");
        if (!pum_array_push(added, a)) return pum_no_memory(err);
    }
    return PUMICE_OK;
}

typedef struct merge_reader {
    const json_t *merges;
    size_t index;
} merge_reader;

/* A merge is "left right", or in newer files ["left", "right"]. */
static bool next_merge(void *user, pum_str *out_left, pum_str *out_right)
{
    merge_reader *r = user;
    const json_t *row = json_array_get(r->merges, r->index++);
    const json_t *left = json_array_get(row, 0), *right = json_array_get(row, 1);
    *out_left = (pum_str){ "[...]", 5 }; /* no merge, if it stays so */
    *out_right = (pum_str){ 0 };
    if (json_is_string(row)) {
        pum_merge_of_line((pum_str){ json_string_value(row), json_string_length(row) }, true,
                          out_left, out_right);
    } else if (json_is_string(left) && json_is_string(right)) {
        *out_left = (pum_str){ json_string_value(left), json_string_length(left) };
        *out_right = (pum_str){ json_string_value(right), json_string_length(right) };
    }
    return row != NULL;
}

pumice_status pum_hf_json_index(const json_t *root, pum_tokenizer *t, pumice_error *err)
{
    PUM_TRY(pum_hf_pipeline_read(root, t, err));
    PUM_TRY(read_processor(json_object_get(root, "post_processor"), t, 0, err));
    pum_tokenizer_note_bytes(t);
    if (t->kind == PUM_TOKENIZER_UNIGRAM) return pum_unigram_index(t, err);
    const json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    merge_reader reader = { .merges = merges };
    pum_merge_list list = { "model.merges", json_array_size(merges), &reader, next_merge,
                            true };
    return pum_bpe_index(t, &list, err);
}
