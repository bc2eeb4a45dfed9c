/* SPDX-License-Identifier: Apache-2.0
 * The classes of tokenizers that transformers knows by name and whose files do not say it all.
 * Where no file names a class, the vocabulary is asked: byte-level vocabularies show by their
 * pieces how words were cut. */
#include "hf_class.h"

#include <stdio.h>
#include <string.h>

typedef enum class_id {
    CLASS_NONE, CLASS_T5, CLASS_LLAMA, CLASS_GEMMA, CLASS_CHATGLM, CLASS_BART, CLASS_GPT2,
    CLASS_QWEN2
} class_id;

/* tokenizer_class, without "Fast". */
static const struct {
    const char *name;
    class_id id;
} class_names[] = {
    { "T5Tokenizer", CLASS_T5 },           { "MT5Tokenizer", CLASS_T5 },
    { "LlamaTokenizer", CLASS_LLAMA },     { "LLaMATokenizer", CLASS_LLAMA },
    { "CodeLlamaTokenizer", CLASS_LLAMA }, { "GemmaTokenizer", CLASS_GEMMA },
    { "ChatGLMTokenizer", CLASS_CHATGLM }, { "ChatGLM4Tokenizer", CLASS_CHATGLM },
    { "BartTokenizer", CLASS_BART },       { "RobertaTokenizer", CLASS_BART },
    { "LEDTokenizer", CLASS_BART },        { "GPT2Tokenizer", CLASS_GPT2 },
    { "Qwen2Tokenizer", CLASS_QWEN2 },
};

/* config.json's model_type, where no class is named. */
static const struct {
    const char *type;
    class_id id;
} model_types[] = {
    { "t5", CLASS_T5 },           { "mt5", CLASS_T5 },         { "umt5", CLASS_T5 },
    { "longt5", CLASS_T5 },       { "llama", CLASS_LLAMA },    { "mistral", CLASS_LLAMA },
    { "mixtral", CLASS_LLAMA },   { "gemma", CLASS_GEMMA },    { "gemma2", CLASS_GEMMA },
    { "gemma3", CLASS_GEMMA },    { "gemma3_text", CLASS_GEMMA }, { "chatglm", CLASS_CHATGLM },
    { "bart", CLASS_BART },       { "roberta", CLASS_BART },   { "gpt2", CLASS_GPT2 },
    { "gptj", CLASS_GPT2 },       { "gpt_neo", CLASS_GPT2 },   { "opt", CLASS_GPT2 },
    { "qwen2", CLASS_QWEN2 },     { "qwen2_moe", CLASS_QWEN2 }, { "qwen3", CLASS_QWEN2 },
    { "qwen3_moe", CLASS_QWEN2 },
};

static void class_name(const pum_hf_configs *c, char *out, size_t capacity)
{
    const char *name = pum_json_text(c->tokenizer, "tokenizer_class");
    if (!name) name = pum_json_text(c->model, "tokenizer_class");
    snprintf(out, capacity, "%s", name ? name : "");
    size_t n = strlen(out);
    if (n > 4 && strcmp(out + n - 4, "Fast") == 0) out[n - 4] = '\0';
}

static class_id class_of(const pum_hf_configs *c)
{
    char name[64];
    if (!c) return CLASS_NONE;
    class_name(c, name, sizeof name);
    for (size_t i = 0; i < PUM_COUNT(class_names); i++) {
        if (strcmp(name, class_names[i].name) == 0) return class_names[i].id;
    }
    const char *type = name[0] ? NULL : pum_json_text(c->model, "model_type");
    for (size_t i = 0; type && i < PUM_COUNT(model_types); i++) {
        if (strcmp(type, model_types[i].type) == 0) return model_types[i].id;
    }
    return !name[0] && !type && c->has_ice_text ? CLASS_CHATGLM : CLASS_NONE;
}

static pumice_status renumbering_of(const pum_hf_configs *c, const pum_renumbering **out_row,
                                    pumice_error *err)
{
    char name[64];
    class_name(c, name, sizeof name);
    return pum_renumbering_find(name, pum_json_text(c->model, "model_type"), out_row, err);
}

static pumice_status add(pum_added_list *list, const char *content, bool special, bool left,
                         bool existing, pumice_error *err)
{
    pum_added a = { .id = -1, .content = content, .special = special, .left = left,
                    .existing = existing };
    return pum_array_push(list, a) ? PUMICE_OK : pum_no_memory(err);
}

static pumice_status add_existing(pum_added_list *list, const char *const *names, size_t count,
                                  pumice_error *err)
{
    for (size_t i = 0; i < count; i++) PUM_TRY(add(list, names[i], true, false, true, err));
    return PUMICE_OK;
}

/* ---- SentencePiece ---- */

static const char *const t5_sentinels[] = {
#define TEN(d)                                                                              \
    "<extra_id_" d "0>", "<extra_id_" d "1>", "<extra_id_" d "2>", "<extra_id_" d "3>",     \
        "<extra_id_" d "4>", "<extra_id_" d "5>", "<extra_id_" d "6>", "<extra_id_" d "7>", \
        "<extra_id_" d "8>", "<extra_id_" d "9>"
    TEN(""),  TEN("1"), TEN("2"), TEN("3"), TEN("4"),
    TEN("5"), TEN("6"), TEN("7"), TEN("8"), TEN("9"),
#undef TEN
};

/* T5's sentinels follow the vocabulary, the first one last; they swallow the blanks around them. */
static pumice_status class_t5(const pum_hf_configs *c, pum_tokenizer *t, pum_added_list *added,
                              pumice_error *err)
{
    static const char *const names[] = { "</s>", "<unk>", "<pad>" };
    const json_t *given = json_object_get(c->tokenizer, "extra_ids");
    json_int_t count = json_is_integer(given) ? json_integer_value(given) : 100;
    if (count < 0 || count > (json_int_t)PUM_COUNT(t5_sentinels)) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "tokenizer_config.json: extra_ids is %lld; 0 to 100 are supported",
                        (long long)count);
    }
    t->normalizer->prefix =
        pum_json_bool(c->tokenizer, "legacy", true) ? PUM_PREPEND_ALWAYS : PUM_PREPEND_FIRST;
    for (json_int_t i = 0; i < count; i++) {
        pum_added a = { .id = (int32_t)(t->count + (uint32_t)(count - 1 - i)),
                        .content = t5_sentinels[i],
                        .left = true,
                        .right = true };
        if (!pum_array_push(added, a)) return pum_no_memory(err);
    }
    return add_existing(added, names, PUM_COUNT(names), err);
}

static pumice_status class_chatglm(const pum_hf_configs *c, pum_tokenizer *t, pum_added_list *added,
                                   pumice_error *err)
{
    static const char *const later[] = { "[MASK]", "[gMASK]", "[sMASK]", "sop", "eop",
                                         "<|system|>", "<|user|>", "<|assistant|>",
                                         "<|observation|>" };
    static const char *const first[] = { "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>" };
    if (!c->has_ice_text) { /* ChatGLM2 and 3: their tokens follow the vocabulary */
        for (size_t i = 0; i < PUM_COUNT(later); i++) {
            PUM_TRY(add(added, later[i], true, false, false, err));
            added->data[added->count - 1].id = (int32_t)(t->count + i);
        }
        return PUMICE_OK;
    }
    if (pum_tokenizer_find(t, "[gMASK]") < 0) {
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "ice_text.model is that of ChatGLM-6B's first release, whose numbers "
                        "begin with 20000 images; take the final one");
    }
    t->chatglm = t->clean_up = true;
    /* before SentencePiece's own step */
    PUM_TRY(pum_normalizer_add(t->normalizer, t->normalizer->steps[0], err));
    t->normalizer->steps[0] = (pum_norm_step){ .op = PUM_NORM_CHATGLM };
    return add_existing(added, first, PUM_COUNT(first), err);
}

pumice_status pum_hf_class_sentencepiece(const pum_hf_configs *c, pum_tokenizer *t,
                                         pum_added_list *added, pumice_error *err)
{
    static const char *const llama[] = { "<s>", "</s>", "<unk>" };
    static const char *const gemma[] = { "<bos>", "<eos>", "<unk>", "<pad>" };
    const pum_renumbering *row;
    PUM_TRY(renumbering_of(c, &row, err));
    if (row) return pum_renumbering_apply(row, c, t, added, err);
    switch (class_of(c)) {
    case CLASS_T5:
        return class_t5(c, t, added, err);
    case CLASS_CHATGLM:
        return class_chatglm(c, t, added, err);
    case CLASS_LLAMA:
        if (t->normalizer->prefix == PUM_PREPEND_ALWAYS &&
            !pum_json_bool(c->tokenizer, "legacy", true)) {
            t->normalizer->prefix = PUM_PREPEND_FIRST;
        }
        t->unknown_text[0] = '\0';
        return add_existing(added, llama, PUM_COUNT(llama), err);
    case CLASS_GEMMA:
        t->unknown_text[0] = '\0';
        return add_existing(added, gemma, PUM_COUNT(gemma), err);
    default:
        break;
    }
    return PUMICE_OK;
}

/* ---- byte-level ---- */

/* How words were cut, from the pieces there are: digits that were joined, punctuation joined with
 * a newline. */
static const char *guess_pre(const pum_tokenizer *t)
{
    bool digits = pum_tokenizer_find(t, "10") >= 0;
    bool newline = pum_tokenizer_find(t, ";\xc4\x8a") >= 0 || pum_tokenizer_find(t, ")\xc4\x8a") >= 0;
    if (newline) return digits ? "llama-bpe" : "qwen2";
    return digits ? "gpt-2" : "starcoder";
}

pumice_status pum_hf_class_bpe(const pum_hf_configs *c, pum_tokenizer *t, pum_added_list *added,
                               pumice_error *err)
{
    static const char *const bart[] = { "<s>", "<pad>", "</s>", "<unk>" };
    static const char *const qwen2[] = { "<|endoftext|>", "<|im_start|>", "<|im_end|>" };
    uint32_t flags;
    class_id id = class_of(c);
    const char *pre = id == CLASS_QWEN2                       ? "qwen2"
                      : id == CLASS_BART || id == CLASS_GPT2 ? "gpt-2"
                                                             : guess_pre(t);
    if (id == CLASS_NONE && strcmp(pre, "qwen2") == 0) id = CLASS_QWEN2;
    if (id == CLASS_NONE && pum_tokenizer_find(t, "<s>") == 0 && pum_tokenizer_find(t, "</s>") == 2)
        id = CLASS_BART;
    PUM_TRY(pum_pretok_create(pre, &t->pretok, &flags, err));
    snprintf(t->pre, sizeof t->pre, "%s", pre);
    if (pum_json_bool(c->tokenizer, "add_prefix_space", false)) {
        PUM_TRY(pum_pretok_add(t->pretok, (pum_pretok_step){ .kind = PUM_STEP_PREFIX_BLANK }, err));
        pum_pretok_step last = t->pretok->steps[t->pretok->count - 1];
        memmove(t->pretok->steps + 1, t->pretok->steps, (t->pretok->count - 1) * sizeof last);
        t->pretok->steps[0] = last;
    }
    if (id == CLASS_BART) {
        PUM_TRY(add_existing(added, bart, PUM_COUNT(bart), err));
        PUM_TRY(add(added, "<mask>", true, true, true, err));
        t->wraps = true;
    } else if (id == CLASS_QWEN2) {
        for (size_t i = 0; i < PUM_COUNT(qwen2); i++)
            PUM_TRY(add(added, qwen2[i], true, false, i > 0, err));
    } else {
        PUM_TRY(add_existing(added, qwen2, 1, err));
    }
    if (id != CLASS_QWEN2 && !t->pretok->rebuilds) return PUMICE_OK;
    t->normalizer = pum_alloc(sizeof *t->normalizer);
    if (!t->normalizer) return pum_no_memory(err);
    if (id != CLASS_QWEN2) return PUMICE_OK;
    return pum_normalizer_add(t->normalizer, (pum_norm_step){ .op = PUM_NORM_NFC }, err);
}

pumice_status pum_hf_class_tiktoken(const pum_hf_configs *c, pum_tokenizer *t,
                                    pum_added_list *added, pumice_error *err)
{
    uint32_t flags;
    /* GLM-4's expression, which is Llama 3's too: the only ones known to come as such files. */
    PUM_TRY(pum_pretok_create("glm4", &t->pretok, &flags, err));
    snprintf(t->pre, sizeof t->pre, "%s", "glm4");
    return c ? pum_hf_config_tokens(c, added, err) : PUMICE_OK;
}

/* ---- tokens that the files name ---- */

static const char *const token_keys[] = { "bos_token", "eos_token", "unk_token", "pad_token",
                                          "sep_token", "cls_token", "mask_token" };

static bool listed(const pum_added_list *list, const char *content)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->data[i].content, content) == 0) return true;
    }
    return false;
}

static pumice_status add_named(const json_t *value, pum_added_list *added, pumice_error *err)
{
    pum_added a;
    if (!value || !pum_added_of_json(value, &a) || listed(added, a.content)) return PUMICE_OK;
    a.special = a.existing = true;
    a.id = -1;
    return pum_array_push(added, a) ? PUMICE_OK : pum_no_memory(err);
}

static pumice_status add_names(const json_t *object, pum_added_list *added, pumice_error *err)
{
    for (size_t i = 0; i < PUM_COUNT(token_keys); i++)
        PUM_TRY(add_named(json_object_get(object, token_keys[i]), added, err));
    const json_t *more = json_object_get(object, "additional_special_tokens");
    size_t count = PUM_MIN(json_array_size(more), (size_t)4096);
    for (size_t i = 0; i < count; i++) PUM_TRY(add_named(json_array_get(more, i), added, err));
    return PUMICE_OK;
}

/* "added_tokens_decoder": { "32000": { "content": "...", ... } } */
static pumice_status add_decoder(json_t *object, pum_added_list *added, pumice_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        pum_added a;
        if (!pum_added_of_json(value, &a)) continue;
        a.id = 0;
        for (const char *p = key; *p; p++) {
            if (*p < '0' || *p > '9' || a.id > PUM_MAX_TOKENS) {
                return pum_fail(err, PUMICE_ERROR_FORMAT,
                                "tokenizer_config.json: '%.20s' in added_tokens_decoder is no "
                                "token's number",
                                key);
            }
            a.id = a.id * 10 + (*p - '0');
        }
        if (!pum_array_push(added, a)) return pum_no_memory(err);
    }
    return PUMICE_OK;
}

/* added_tokens.json: { "<tok>": 32000 }. What is special about them other files say. */
static pumice_status add_contents(json_t *object, pum_added_list *added, pumice_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        pum_added a = { .content = key, .special = key[0] == '<' || key[0] == '[' };
        if (!json_is_integer(value) || json_integer_value(value) < 0 ||
            json_integer_value(value) >= PUM_MAX_TOKENS) {
            return pum_fail(err, PUMICE_ERROR_FORMAT,
                            "added_tokens.json gives '%.60s' no number of a token", key);
        }
        a.id = (int32_t)json_integer_value(value);
        if (!pum_array_push(added, a)) return pum_no_memory(err);
    }
    return PUMICE_OK;
}

static pumice_status add_keys(const pum_tokenizer *keys, pum_added_list *added, pumice_error *err)
{
    for (uint32_t i = 0; i < keys->count; i++) {
        size_t n;
        uint8_t flags = keys->flags[i];
        pum_added a = { .id = (int32_t)i,
                        .content = pum_strings_at(&keys->pieces, i, &n),
                        .special = keys->types[i] != PUM_TOKEN_USER_DEFINED,
                        .left = flags & PUM_TOKEN_EATS_LEFT,
                        .right = flags & PUM_TOKEN_EATS_RIGHT,
                        .whole_word = flags & PUM_TOKEN_WHOLE_WORD };
        if ((flags & PUM_TOKEN_ADDED) && !pum_array_push(added, a)) return pum_no_memory(err);
    }
    return PUMICE_OK;
}

pumice_status pum_hf_config_tokens(const pum_hf_configs *c, pum_added_list *added,
                                   pumice_error *err)
{
    if (c->keys) PUM_TRY(add_keys(c->keys, added, err));
    json_t *decoder = json_object_get(c->tokenizer, "added_tokens_decoder");
    if (decoder) PUM_TRY(add_decoder(decoder, added, err));
    else if (c->added) PUM_TRY(add_contents(c->added, added, err));
    PUM_TRY(add_names(c->tokenizer, added, err));
    return add_names(c->special, added, err);
}

/* ---- last ---- */

static int32_t id_in_file(const json_t *object, const char *key, uint32_t count)
{
    const json_t *v = json_object_get(object, key);
    if (json_is_array(v)) v = json_array_get(v, 0);
    json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
    return id >= 0 && id < count ? (int32_t)id : -1;
}

/* By the token's text, else by the number the model's files have, else what is known already. */
static void find_id(const pum_hf_configs *c, const pum_tokenizer *t, const char *text_key,
                    const char *id_key, int32_t *id)
{
    const char *text = pum_json_text(c->tokenizer, text_key);
    if (!text) text = pum_json_text(c->special, text_key);
    int32_t found = text ? pum_tokenizer_find(t, text) : -1;
    if (found < 0) found = id_in_file(c->generation, id_key, t->count);
    if (found < 0) found = id_in_file(c->model, id_key, t->count);
    if (found >= 0) *id = found;
}

static void mark_ends(const json_t *object, pum_tokenizer *t)
{
    const json_t *v = json_object_get(object, "eos_token_id");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *id = json_array_get(v, i);
        if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < t->count)
            t->flags[json_integer_value(id)] |= PUM_TOKEN_ENDS;
    }
}

static void chatglm_ids(pum_tokenizer *t)
{
    int32_t mask = pum_tokenizer_find(t, "[gMASK]");
    int32_t start = pum_tokenizer_find(t, t->chatglm || t->merge_any ? "<sop>" : "sop");
    if (mask < 0 || start < 0) return;
    int32_t *ids = t->chatglm ? t->after : t->before;
    ids[0] = mask;
    ids[1] = start;
    t->n_after = t->chatglm ? 2 : 0;
    t->n_before = t->chatglm ? 0 : 2;
    if (!t->chatglm) return;
    t->bos = start;
    t->eos = pum_tokenizer_find(t, "<eop>");
}

static void surround(const pum_hf_configs *c, class_id id, pum_tokenizer *t, bool surrounded)
{
    if (id == CLASS_CHATGLM) {
        chatglm_ids(t);
    } else if (id == CLASS_LLAMA || id == CLASS_GEMMA) {
        pum_tokenizer_around(t, pum_json_bool(c->tokenizer, "add_bos_token", true),
                             pum_json_bool(c->tokenizer, "add_eos_token", false));
    } else if (!surrounded && id == CLASS_T5) {
        pum_tokenizer_around(t, false, true);
    } else if (!surrounded) {
        pum_tokenizer_around(t, pum_json_bool(c->tokenizer, "add_bos_token", t->wraps),
                             pum_json_bool(c->tokenizer, "add_eos_token", t->wraps));
    }
}

/* "chat_template": the template, or a list of named ones. */
static pumice_status read_template(const json_t *value, pum_tokenizer *t, pumice_error *err)
{
    const char *text = json_string_value(value);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *row = json_array_get(value, i);
        const char *name = pum_json_text(row, "name"), *one = pum_json_text(row, "template");
        if (one && (!text || (name && strcmp(name, "default") == 0))) text = one;
    }
    if (!text) return PUMICE_OK;
    t->chat_template = pum_strdup(text);
    return t->chat_template ? PUMICE_OK : pum_no_memory(err);
}

pumice_status pum_hf_finish(const pum_hf_configs *c, pum_tokenizer *t, bool surrounded,
                            pumice_error *err)
{
    class_id id = class_of(c);
    bool all_control = !c || (id == CLASS_NONE && t->inline_user);
    for (uint32_t i = 0; all_control && i < t->count; i++) {
        if (t->types[i] == PUM_TOKEN_CONTROL || t->types[i] == PUM_TOKEN_UNKNOWN)
            t->flags[i] |= PUM_TOKEN_ADDED;
    }
    t->split_longest = true;
    if (c) {
        if (t->wraps || id == CLASS_BART) {
            t->bos = pum_tokenizer_find(t, "<s>");
            t->eos = pum_tokenizer_find(t, "</s>");
            t->mask = pum_tokenizer_find(t, "<mask>");
        } else if (t->kind == PUM_TOKENIZER_BPE && !t->char_level) {
            t->eos = pum_tokenizer_find(t, "<|endoftext|>");
            if (id == CLASS_GPT2) t->bos = t->eos;
        }
        find_id(c, t, "bos_token", "bos_token_id", &t->bos);
        find_id(c, t, "eos_token", "eos_token_id", &t->eos);
        find_id(c, t, "unk_token", "unk_token_id", &t->unk);
        find_id(c, t, "pad_token", "pad_token_id", &t->pad);
        find_id(c, t, "mask_token", "mask_token_id", &t->mask);
        const pum_renumbering *row = NULL;
        if (!surrounded && t->kind != PUM_TOKENIZER_BPE) PUM_TRY(renumbering_of(c, &row, err));
        if (row) PUM_TRY(pum_renumbering_surround(row, c, t, err));
        else surround(c, id, t, surrounded);
        mark_ends(c->model, t);
        mark_ends(c->generation, t);
        PUM_TRY(read_template(json_object_get(c->tokenizer, "chat_template"), t, err));
    }
    if (t->eos >= 0) t->flags[t->eos] |= PUM_TOKEN_ENDS;
    pum_tokenizer_mark_ends(t);
    return PUMICE_OK;
}
