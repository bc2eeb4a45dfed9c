/* SPDX-License-Identifier: Apache-2.0
 * The steps of a tokenizer.json between text and model, and back: "normalizer", "pre_tokenizer" and
 * "decoder", each an object with a type, or a Sequence of them. What is not known is refused by
 * name: a wrong token is worse than none. */
#include "hf.h"

#include <string.h>

enum { MAX_DEPTH = 6 };

/* How ByteLevel cuts words: GPT-2's expression. */
static const char gpt2_expression[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" PUM_REGEX_SPACES
    "\\p{L}\\p{N}]+|[" PUM_REGEX_SPACES "]+(?![^" PUM_REGEX_SPACES "])|[" PUM_REGEX_SPACES "]+";

static pumice_status unknown_step(pumice_error *err, const char *what, const char *type)
{
    return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                    "the %s '%.40s' is not supported", what,
                    type ? type : "(without a type)");
}

static bool is(const char *type, const char *name) { return type && strcmp(type, name) == 0; }

/* {"String": "x"} or {"Regex": "x"}, or a plain string. */
static const json_t *pattern_of(const json_t *step, const char *key, bool *out_regex)
{
    const json_t *p = json_object_get(step, key);
    *out_regex = false;
    if (json_is_string(p)) return p;
    const json_t *text = json_object_get(p, "String");
    if (json_is_string(text)) return text;
    *out_regex = true;
    text = json_object_get(p, "Regex");
    return json_is_string(text) ? text : NULL;
}

/* ---- normalizer ---- */

static const struct {
    const char *type;
    pum_norm_op op;
} plain_steps[] = {
    { "NFC", PUM_NORM_NFC },         { "NFD", PUM_NORM_NFD },
    { "NFKC", PUM_NORM_NFKC },       { "NFKD", PUM_NORM_NFKD },
    { "Lowercase", PUM_NORM_LOWER }, { "StripAccents", PUM_NORM_STRIP_ACCENTS },
    { "Nmt", PUM_NORM_NMT },
};

static pumice_status add_replace(const json_t *step, pum_normalizer *n, pumice_error *err)
{
    bool regex;
    const json_t *pattern = pattern_of(step, "pattern", &regex);
    const json_t *content = json_object_get(step, "content");
    pum_norm_step s = { .op = regex ? PUM_NORM_REPLACE_REGEX : PUM_NORM_REPLACE };
    if (!pattern || !json_is_string(content)) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "a Replace lacks its pattern or content");
    }
    if (regex) {
        PUM_TRY(pum_regex_create_onig(json_string_value(pattern), json_string_length(pattern),
                                      &s.regex, err));
    } else {
        pum_text_add(&s.a, json_string_value(pattern), json_string_length(pattern));
    }
    pum_text_add(&s.b, json_string_value(content), json_string_length(content));
    return pum_normalizer_add(n, s, err);
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool pum_base64(const char *s, size_t bytes, pum_text *out)
{
    uint32_t bits = 0, n_bits = 0;
    while (bytes && s[bytes - 1] == '=') bytes--;
    for (size_t i = 0; i < bytes; i++) {
        int v = base64_value(s[i]);
        if (v < 0) return false;
        bits = bits << 6 | (uint32_t)v;
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        char c = (char)(bits >> n_bits & 0xff);
        pum_text_add(out, &c, 1);
    }
    return true;
}

static pumice_status add_charsmap(const json_t *step, pum_normalizer *n, pumice_error *err)
{
    const json_t *text = json_object_get(step, "precompiled_charsmap");
    pum_text blob = { 0 };
    pumice_status status = PUMICE_OK;
    if (!json_is_string(text) || json_string_length(text) == 0) return PUMICE_OK; /* no rules */
    if (!pum_base64(json_string_value(text), json_string_length(text), &blob)) {
        status = pum_fail(err, PUMICE_ERROR_FORMAT,
                          "precompiled_charsmap is no base64");
    } else if (blob.failed) {
        status = pum_no_memory(err);
    } else {
        pum_charsmap_free(&n->map);
        status = pum_charsmap_create(blob.data, blob.count, &n->map, err);
    }
    pum_text_free(&blob);
    if (status != PUMICE_OK) return status;
    return pum_normalizer_add(n, (pum_norm_step){ .op = PUM_NORM_CHARSMAP }, err);
}

static pumice_status add_normalizer(const json_t *step, pum_normalizer *n, int depth,
                                    pumice_error *err)
{
    const char *type = pum_json_text(step, "type");
    if (is(type, "Sequence") && depth < MAX_DEPTH) {
        const json_t *list = json_object_get(step, "normalizers");
        for (size_t i = 0; i < json_array_size(list); i++)
            PUM_TRY(add_normalizer(json_array_get(list, i), n, depth + 1, err));
        return PUMICE_OK;
    }
    for (size_t i = 0; i < PUM_COUNT(plain_steps); i++) {
        if (is(type, plain_steps[i].type))
            return pum_normalizer_add(n, (pum_norm_step){ .op = plain_steps[i].op }, err);
    }
    if (is(type, "Replace")) return add_replace(step, n, err);
    if (is(type, "Precompiled")) return add_charsmap(step, n, err);
    if (is(type, "Strip")) {
        pum_norm_step s = { .op = PUM_NORM_STRIP,
                            .left = pum_json_bool(step, "strip_left", true),
                            .right = pum_json_bool(step, "strip_right", true) };
        return pum_normalizer_add(n, s, err);
    }
    if (is(type, "Prepend")) {
        pum_norm_step s = { .op = PUM_NORM_PREPEND };
        const char *text = pum_json_text(step, "prepend");
        if (text) pum_text_add(&s.a, text, strlen(text));
        return pum_normalizer_add(n, s, err);
    }
    return unknown_step(err, "normalizer", type);
}

/* ---- pre-tokenizer ---- */

/* What comes after ByteLevel sees its alphabet, where some bytes of other characters are numbers. */
static pumice_status add_cut(pum_tokenizer *t, const char *expression, pum_cut cut, bool invert,
                             pumice_error *err)
{
    pum_pretok_step step = { .kind = PUM_STEP_CUT, .cut = cut, .invert = invert,
                             .spelled = !t->char_level };
    PUM_TRY(pum_regex_create(expression, strlen(expression), &step.regex, err));
    return pum_pretok_add(t->pretok, step, err);
}

static bool cut_of(const char *name, pum_cut *out)
{
    static const char *const names[] = { "Isolated", "Removed", "MergedWithPrevious",
                                         "MergedWithNext", "Contiguous" };
    for (size_t i = 0; i < PUM_COUNT(names); i++) {
        if (is(name, names[i])) {
            *out = (pum_cut)i;
            return true;
        }
    }
    return false;
}

static pumice_status add_split(const json_t *step, pum_tokenizer *t, pumice_error *err)
{
    bool regex;
    const json_t *pattern = pattern_of(step, "pattern", &regex);
    pum_pretok_step s = { .kind = PUM_STEP_CUT, .invert = pum_json_bool(step, "invert", false),
                          .spelled = !t->char_level };
    const char *behavior = pum_json_text(step, "behavior");
    if (!pattern || !cut_of(behavior, &s.cut)) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "a Split lacks its pattern, or its behavior is unknown");
    }
    if (regex) {
        PUM_TRY(pum_regex_create_onig(json_string_value(pattern), json_string_length(pattern),
                                      &s.regex, err));
    } else {
        pum_text quoted = { 0 };
        const char *text = json_string_value(pattern);
        for (size_t i = 0; i < json_string_length(pattern); i++) {
            bool plain = (uint8_t)text[i] >= 0x80 || (text[i] >= '0' && text[i] <= '9') ||
                         ((text[i] | 32) >= 'a' && (text[i] | 32) <= 'z');
            if (!plain) pum_text_add(&quoted, "\\", 1);
            pum_text_add(&quoted, text + i, 1);
        }
        pum_text_add(&quoted, "", 0);
        pumice_status status = quoted.failed
                                   ? pum_no_memory(err)
                                   : pum_regex_create(quoted.data, quoted.count, &s.regex, err);
        pum_text_free(&quoted);
        PUM_TRY(status);
    }
    return pum_pretok_add(t->pretok, s, err);
}

static pumice_status prepend_of(const json_t *step, pum_prepend *out, pumice_error *err)
{
    static const char *const names[] = { "never", "first", "always" };
    const char *scheme = pum_json_text(step, "prepend_scheme");
    *out = pum_json_bool(step, "add_prefix_space", true) ? PUM_PREPEND_ALWAYS : PUM_PREPEND_NEVER;
    if (!scheme) return PUMICE_OK;
    for (size_t i = 0; i < PUM_COUNT(names); i++) {
        if (is(scheme, names[i])) {
            *out = (pum_prepend)i;
            return PUMICE_OK;
        }
    }
    return pum_fail(err, PUMICE_ERROR_FORMAT, "the prepend_scheme '%.20s' is unknown",
                    scheme);
}

static pumice_status add_byte_level(const json_t *step, pum_tokenizer *t, pumice_error *err)
{
    if (pum_json_bool(step, "add_prefix_space", true))
        PUM_TRY(pum_pretok_add(t->pretok, (pum_pretok_step){ .kind = PUM_STEP_PREFIX_BLANK }, err));
    if (pum_json_bool(step, "use_regex", true))
        PUM_TRY(add_cut(t, gpt2_expression, PUM_CUT_ISOLATED, false, err));
    t->char_level = false;
    return PUMICE_OK;
}

#define PUNCTUATION "[\\p{P}!-/:-@\\[-`{-~]"

static pumice_status add_pretok(const json_t *step, pum_tokenizer *t, int depth, pumice_error *err)
{
    const char *type = pum_json_text(step, "type");
    pum_pretok *p = t->pretok;
    if (is(type, "Sequence") && depth < MAX_DEPTH) {
        const json_t *list = json_object_get(step, "pretokenizers");
        for (size_t i = 0; i < json_array_size(list); i++)
            PUM_TRY(add_pretok(json_array_get(list, i), t, depth + 1, err));
        return PUMICE_OK;
    }
    if (is(type, "ByteLevel")) return add_byte_level(step, t, err);
    if (is(type, "Split")) return add_split(step, t, err);
    if (is(type, "Metaspace")) {
        pum_pretok_step s = { .kind = PUM_STEP_METASPACE,
                              .split = pum_json_bool(step, "split", true) };
        const char *mark = pum_json_text(step, "replacement");
        if (mark && strcmp(mark, PUM_BLANK) != 0) return unknown_step(err, "replacement", mark);
        PUM_TRY(prepend_of(step, &s.prepend, err));
        return pum_pretok_add(p, s, err);
    }
    if (is(type, "Digits")) {
        bool each = pum_json_bool(step, "individual_digits", false);
        return add_cut(t, "\\p{N}", each ? PUM_CUT_ISOLATED : PUM_CUT_CONTIGUOUS, false, err);
    }
    if (is(type, "Punctuation")) {
        pum_cut cut = PUM_CUT_ISOLATED;
        const char *behavior = pum_json_text(step, "behavior");
        if (behavior && !cut_of(behavior, &cut)) return unknown_step(err, "behavior", behavior);
        return add_cut(t, PUNCTUATION, cut, false, err);
    }
    if (is(type, "WhitespaceSplit"))
        return add_cut(t, "[" PUM_REGEX_SPACES "]+", PUM_CUT_REMOVED, false, err);
    if (is(type, "Whitespace"))
        return add_cut(t, "\\w+|[^\\w" PUM_REGEX_SPACES "]+", PUM_CUT_REMOVED, true, err);
    return unknown_step(err, "pre_tokenizer", type);
}

/* ---- decoder ---- */

static pumice_status read_decoder(const json_t *step, pum_tokenizer *t, int depth,
                                  pumice_error *err)
{
    const char *type = pum_json_text(step, "type");
    if (is(type, "Sequence") && depth < MAX_DEPTH) {
        const json_t *list = json_object_get(step, "decoders");
        for (size_t i = 0; i < json_array_size(list); i++)
            PUM_TRY(read_decoder(json_array_get(list, i), t, depth + 1, err));
        return PUMICE_OK;
    }
    if (is(type, "ByteLevel")) {
        t->char_level = false;
        return PUMICE_OK;
    }
    if (is(type, "ByteFallback") || is(type, "Fuse") || is(type, "Replace")) return PUMICE_OK;
    if (is(type, "Metaspace")) {
        pum_prepend prepend;
        PUM_TRY(prepend_of(step, &prepend, err));
        t->drop_first = prepend != PUM_PREPEND_NEVER;
        return PUMICE_OK;
    }
    if (is(type, "Strip")) {
        const json_t *start = json_object_get(step, "start");
        t->drop_first = json_is_integer(start) && json_integer_value(start) > 0;
        return PUMICE_OK;
    }
    return unknown_step(err, "decoder", type);
}

/* ---- all ---- */

pumice_status pum_hf_pipeline_read(const json_t *root, pum_tokenizer *t, pumice_error *err)
{
    const json_t *step = json_object_get(root, "normalizer");
    t->char_level = true; /* until some step says ByteLevel */
    if (json_is_object(step)) {
        t->normalizer = pum_alloc(sizeof *t->normalizer);
        if (!t->normalizer) return pum_no_memory(err);
        PUM_TRY(add_normalizer(step, t->normalizer, 0, err));
    }
    PUM_TRY(pum_pretok_create_empty(&t->pretok, err));
    step = json_object_get(root, "pre_tokenizer");
    if (json_is_object(step)) PUM_TRY(add_pretok(step, t, 0, err));
    step = json_object_get(root, "decoder");
    if (json_is_object(step)) PUM_TRY(read_decoder(step, t, 0, err));
    /* Steps that change text, and merging by characters, read UTF-8: let something make it so. */
    bool needs_text = t->pretok->rebuilds || t->kind != PUM_TOKENIZER_BPE || t->char_level;
    if (needs_text && !t->normalizer) {
        t->normalizer = pum_alloc(sizeof *t->normalizer);
        if (!t->normalizer) return pum_no_memory(err);
    }
    return PUMICE_OK;
}
