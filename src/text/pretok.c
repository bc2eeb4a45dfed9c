/* SPDX-License-Identifier: Apache-2.0
 * Pre-tokenizers: the regular expressions that cut a text into words before byte-level BPE merges
 * within them, by the name a file gives in tokenizer.ggml.pre. The tables come first and are all
 * there is to add to. Several expressions are applied one after another, each to every piece the
 * former left; what none matches stays together as a piece of its own. Matching never looks beyond
 * a piece. Names and lists are llama.cpp's (llama-vocab.cpp). Where llama.cpp approximates an
 * expression because its own engine lacks Unicode classes, the one of the model's tokenizer.json
 * stands here instead. A tokenizer.json brings its own expressions, and steps that change the text
 * (words.c). Not here: names whose blanks are written as U+2581 (gemma4, sarvam-moe), and those whose
 * expressions are not known (whitespace, k2-horizon, granite-embed-multi). */
#include "pretok.h"

#include <stdio.h>
#include <string.h>

enum { MAX_EXPRESSIONS = 6 };

/* ---- building blocks ---- */

#define SPACES PUM_REGEX_SPACES
#define S "[" SPACES "]"
#define NOT_S "[^" SPACES "]"
/* The blanks before a word, but for the last one, which goes with the word. */
#define BLANKS S "+(?!" NOT_S ")|" S "+"
#define LINE_ENDS S "*[\\r\\n]+|"

#define SHORT_FORMS "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define SYMBOLS " ?[^" SPACES "\\p{L}\\p{N}]+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

#define GPT2_WORDS "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|" SYMBOLS "|" BLANKS
/* The shape of Llama 3's, with how many digits go together. */
#define LLAMA3_WORDS(digits) \
    SHORT_FORMS "|" LEAD "\\p{L}+|" digits "|" SYMBOLS "[\\r\\n]*|" LINE_ENDS BLANKS
/* The shape of GPT-4o's: words also end where capitals follow small letters. */
#define GPT4O_WORDS(after, digits)                                                              \
    LEAD UPPER "*" LOWER "+" after "|" LEAD UPPER "+" LOWER "*" after "|" digits "|" SYMBOLS \
    "[\\r\\n/]*|" LINE_ENDS BLANKS
/* Digits in threes, counted from their end; `end` is what must follow them. The length of a run is
 * looked at where it begins, not again for every three of it. */
#define DIGITS_FROM_END(digit, end)                                                             \
    "\\G(?<=" digit ")" digit "{3}|(?<!" digit ")" digit "{1,3}(?=(?:" digit "{3})*+" end ")"
#define DEEPSEEK3_WORDS                                                                        \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"                                    \
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" LINE_ENDS BLANKS
#define CJK_OR_KANA "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define DEEPSEEK_CJK "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
/* Not among: white space, brackets, bars, stops of Latin, Chinese, Hindi, Arabic and Urdu. */
#define BLOOM_WORDS \
    " ?[^(" SPACES "|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
/* Letters that have case, as DeepSeek's tokenizer lists them (Unicode 12). */
#define CASED_LETTERS                                                                         \
    "\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}" \
    "\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}"     \
    "\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}"            \
    "\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}"                \
    "\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}"            \
    "\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}"            \
    "\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}"    \
    "\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}"   \
    "\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}"            \
    "\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}"    \
    "\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}"    \
    "\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}"              \
    "\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}"             \
    "\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}"            \
    "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}"            \
    "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}"        \
    "\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}"    \
    "\\x{1e900}-\\x{1e943}"

/* ---- the lists ---- */

#define LIST(name, ...) static const char *const name[MAX_EXPRESSIONS + 1] = { __VA_ARGS__ }

LIST(default_list, "[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2_WORDS, "\\p{N}+", "[0-9][0-9][0-9]");
LIST(gpt2_list, GPT2_WORDS);
LIST(digit_gpt2_list, "\\p{N}", GPT2_WORDS);
LIST(llama3_list, LLAMA3_WORDS("\\p{N}{1,3}"));
LIST(qwen2_list, LLAMA3_WORDS("\\p{N}"));
LIST(qwen35_list,
     SHORT_FORMS "|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^" SPACES "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
     LINE_ENDS BLANKS);
LIST(ufakzeka_list, LEAD "\\p{L}+|\\p{N}|" SYMBOLS "[\\r\\n]*|" LINE_ENDS BLANKS);
LIST(minicpm5_list, "\\p{N}{1,3}", LLAMA3_WORDS("\\p{N}+"));
LIST(laguna_list, "[^\\n]+|\\n+", LLAMA3_WORDS("\\p{N}"));
LIST(jais2_list, SHORT_FORMS "|" LEAD "\\p{L}+|\\p{N}{1,3}|" SYMBOLS "[\\r\\n]*|" LINE_ENDS
     S "{512}(?!" NOT_S ")|" S "{256}(?!" NOT_S ")|" S "{128}(?!" NOT_S ")|" S "{64}(?!" NOT_S ")|"
     S "{32}(?!" NOT_S ")|" S "{16}(?!" NOT_S ")|" S "{8}(?!" NOT_S ")|" S "{4}(?!" NOT_S ")|"
     S "{1,2}(?!" NOT_S ")|" S);
LIST(bailing_list,
     "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|" LEAD "\\p{L}+|\\p{N}|" SYMBOLS "[\\r\\n]*|"
     S "*[\\r\\n]|" BLANKS);
LIST(seed_coder_list,
     SHORT_FORMS "|" LEAD "\\p{L}+|\\p{N}| ?[^" SPACES "\\p{L}\\p{N}\\r\\n]+|" LINE_ENDS BLANKS);
/* Atomic groups: nothing follows that backtracking could help. */
LIST(exaone_moe_list,
     SHORT_FORMS "|" LEAD "(?>\\p{L}\\p{M}*+(?> \\p{L}\\p{M}*+)*+)++|\\p{N}|" SYMBOLS "[\\r\\n/]?|"
     S "*[\\r\\n]|" BLANKS);
LIST(tekken_list, GPT4O_WORDS("", "\\p{N}"));
LIST(gpt4o_list, GPT4O_WORDS(SHORT_FORMS "?", "\\p{N}{1,3}"));
LIST(tiny_aya_list, DIGITS_FROM_END("\\p{Nd}", "\\b"),
     GPT4O_WORDS(SHORT_FORMS "?", "\\p{N}{1,3}"));
LIST(superbpe_list, "\\p{N}+", DIGITS_FROM_END("\\p{Nd}", "(?!\\p{Nd})"));
LIST(afmoe_list, DIGITS_FROM_END("\\p{N}", "(?!\\p{N})"),
     "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{f900}-\\x{faff}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}"
     "\\x{ff65}-\\x{ff9f}\\x{2f00}-\\x{2fdf}\\x{e40}-\\x{e7f}\\x{e80}-\\x{eff}\\x{1780}-\\x{17ff}"
     "\\x{1000}-\\x{109f}\\x{aa60}-\\x{aa7f}\\x{a9e0}-\\x{a9ff}\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+",
     DEEPSEEK3_WORDS);
LIST(youtu_list,
     "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|"
     "[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}"
     "\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|[\\x{3105}-\\x{312f}]+|" CJK_OR_KANA,
     GPT4O_WORDS(SHORT_FORMS "?", "\\p{N}"));
LIST(kimi_k2_list,
     "\\p{Han}+|"
     LEAD "(?:(?!\\p{Han})" UPPER ")*(?:(?!\\p{Han})" LOWER ")+" SHORT_FORMS "?|"
     LEAD "(?:(?!\\p{Han})" UPPER ")+(?:(?!\\p{Han})" LOWER ")*" SHORT_FORMS "?|"
     "\\p{N}{1,3}|" SYMBOLS "[\\r\\n]*|" LINE_ENDS BLANKS);
LIST(deepseek_llm_list,
     "[\\r\\n]",
     S "?[A-Za-z" CASED_LETTERS "]+",
     S "?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
     "(?<!" S ")" S "++$", /* \s+$, without trying every blank of a run as its beginning */
     DEEPSEEK_CJK, "\\p{N}+");
LIST(deepseek_coder_list, "[\\r\\n]", S "?\\p{L}+", S "?\\p{P}+", DEEPSEEK_CJK, "\\p{N}");
LIST(deepseek_v3_list, "\\p{N}{1,3}", CJK_OR_KANA, DEEPSEEK3_WORDS);
LIST(falcon_list, "[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2_WORDS, "[0-9][0-9][0-9]");
LIST(bloom_list, BLOOM_WORDS);
LIST(viking_list, BLOOM_WORDS, "\\p{N}");
LIST(chameleon_list, "<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", "\\p{N}",
     "[\\p{P}!-/:-@\\[-`{-~]", GPT2_WORDS);

/* ---- the names ---- */

static const struct {
    const char *name;
    const char *const *list;
    uint32_t flags;
} rows[] = {
    { "default", default_list, 0 },
    { "gpt-2", gpt2_list, 0 },
    { "phi-2", gpt2_list, 0 },
    { "mpt", gpt2_list, 0 },
    { "olmo", gpt2_list, 0 },
    { "jais", gpt2_list, 0 },
    { "trillion", gpt2_list, 0 },
    { "granite-docling", gpt2_list, 0 },
    { "gigachat", gpt2_list, 0 },
    { "a.x-4.0", gpt2_list, 0 },
    { "mellum", gpt2_list, 0 },
    { "exaone4", gpt2_list, 0 },
    { "modern-bert", gpt2_list, 0 },
    { "jina-es", gpt2_list, 0 },
    { "jina-de", gpt2_list, 0 },
    { "jina-v2-es", gpt2_list, 0 },
    { "jina-v2-de", gpt2_list, 0 },
    { "jina-v1-en", gpt2_list, 0 },
    { "jina-v2-code", gpt2_list, 0 },
    { "roberta-bpe", gpt2_list, 0 },
    { "starcoder", digit_gpt2_list, 0 },
    { "refact", digit_gpt2_list, 0 },
    { "command-r", digit_gpt2_list, 0 },
    { "smollm", digit_gpt2_list, 0 },
    { "codeshell", digit_gpt2_list, 0 },
    { "exaone", digit_gpt2_list, 0 },
    { "minerva-7b", digit_gpt2_list, 0 },
    { "mellum2", digit_gpt2_list, 0 },
    { "llama3", llama3_list, PUM_PRETOK_IGNORE_MERGES | PUM_PRETOK_ADD_BOS },
    { "llama-v3", llama3_list, PUM_PRETOK_IGNORE_MERGES | PUM_PRETOK_ADD_BOS },
    { "llama-bpe", llama3_list, PUM_PRETOK_IGNORE_MERGES | PUM_PRETOK_ADD_BOS },
    { "falcon3", llama3_list, PUM_PRETOK_IGNORE_MERGES | PUM_PRETOK_ADD_BOS },
    { "falcon-h1", llama3_list, PUM_PRETOK_IGNORE_MERGES | PUM_PRETOK_ADD_BOS },
    { "pixtral", llama3_list, PUM_PRETOK_IGNORE_MERGES | PUM_PRETOK_ADD_BOS },
    { "midm-2.0", llama3_list, PUM_PRETOK_IGNORE_MERGES | PUM_PRETOK_ADD_BOS },
    { "lfm2", llama3_list, PUM_PRETOK_IGNORE_MERGES | PUM_PRETOK_ADD_BOS },
    { "jina-v5-nano", llama3_list, PUM_PRETOK_IGNORE_MERGES | PUM_PRETOK_ADD_BOS },
    { "dbrx", llama3_list, 0 },
    { "smaug-bpe", llama3_list, 0 },
    { "chatglm-bpe", llama3_list, 0 },
    { "glm4", llama3_list, 0 },
    { "jais-2", jais2_list, 0 },
    { "qwen2", qwen2_list, 0 },
    { "stablelm2", qwen2_list, 0 },
    { "deepseek-r1-qwen", qwen2_list, 0 },
    { "megrez", qwen2_list, 0 },
    { "hunyuan", qwen2_list, 0 },
    { "solar-open", qwen2_list, 0 },
    { "grok-2", qwen2_list, 0 },
    { "kormo", qwen2_list, 0 },
    { "f2llmv2", qwen2_list, 0 },
    { "qwen35", qwen35_list, 0 },
    { "ufakzeka", ufakzeka_list, 0 },
    { "minicpm5", minicpm5_list, PUM_PRETOK_IGNORE_MERGES },
    { "laguna", laguna_list, 0 },
    { "bailingmoe", bailing_list, 0 },
    { "bailingmoe2", bailing_list, 0 },
    { "llada-moe", bailing_list, 0 },
    { "seed-coder", seed_coder_list, 0 },
    { "exaone-moe", exaone_moe_list, 0 },
    { "tekken", tekken_list, PUM_PRETOK_IGNORE_MERGES | PUM_PRETOK_ADD_BOS },
    { "gpt-4o", gpt4o_list, 0 },
    { "llama4", gpt4o_list, 0 },
    { "kanana2", gpt4o_list, 0 },
    { "talkie", gpt4o_list, 0 },
    { "minimax-m2", gpt4o_list, 0 },
    { "tiny_aya", tiny_aya_list, 0 },
    { "cohere2moe", tiny_aya_list, 0 },
    { "superbpe", superbpe_list, 0 },
    { "afmoe", afmoe_list, 0 },
    { "youtu", youtu_list, PUM_PRETOK_IGNORE_MERGES },
    { "kimi-k2", kimi_k2_list, 0 },
    { "deepseek-llm", deepseek_llm_list, 0 },
    { "deepseek-coder", deepseek_coder_list, 0 },
    { "deepseek-v3", deepseek_v3_list, 0 },
    { "hunyuan-dense", deepseek_v3_list, 0 },
    { "hy_v4", deepseek_v3_list, 0 },
    { "joyai-llm", deepseek_v3_list, 0 },
    { "falcon", falcon_list, 0 },
    { "bloom", bloom_list, 0 },
    { "gpt3-finnish", bloom_list, 0 },
    { "poro-chat", bloom_list, 0 },
    { "viking", viking_list, 0 },
    { "chameleon", chameleon_list, PUM_PRETOK_ADD_BOS },
};

const char *pum_pretok_name(size_t i)
{
    return i < PUM_COUNT(rows) ? rows[i].name : NULL;
}

/* ---- making ---- */

pumice_status pum_pretok_create_empty(pum_pretok **out_pretok, pumice_error *err)
{
    *out_pretok = pum_alloc(sizeof **out_pretok);
    return *out_pretok ? PUMICE_OK : pum_no_memory(err);
}

pumice_status pum_pretok_add(pum_pretok *p, pum_pretok_step step, pumice_error *err)
{
    if (p->count == PUM_COUNT(p->steps)) {
        pum_regex_destroy(&step.regex);
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "the tokenizer has more than %zu pre-tokenizer steps",
                        PUM_COUNT(p->steps));
    }
    p->rebuilds = p->rebuilds || step.kind != PUM_STEP_CUT || step.cut != PUM_CUT_ISOLATED ||
                  step.invert || step.spelled;
    p->steps[p->count++] = step;
    return PUMICE_OK;
}

pumice_status pum_pretok_create(const char *name, pum_pretok **out_pretok, uint32_t *out_flags,
                                pumice_error *err)
{
    *out_pretok = NULL;
    *out_flags = 0;
    size_t row = 0;
    if (name[0] == '\0') name = "default";
    while (row < PUM_COUNT(rows) && strcmp(rows[row].name, name) != 0) row++;
    if (row == PUM_COUNT(rows)) {
        return pum_fail(
            err, PUMICE_ERROR_UNSUPPORTED,
            "the pre-tokenizer '%s' (tokenizer.ggml.pre) is not supported by this version", name);
    }
    pumice_status status = PUMICE_OK;
    pum_pretok *p = NULL;
    PUM_GOTO(pum_pretok_create_empty(&p, err));
    for (size_t i = 0; rows[row].list[i]; i++) {
        pum_pretok_step step = { .kind = PUM_STEP_CUT };
        PUM_GOTO(pum_regex_create(rows[row].list[i], strlen(rows[row].list[i]), &step.regex, err));
        PUM_GOTO(pum_pretok_add(p, step, err));
    }
    *out_pretok = p;
    *out_flags = rows[row].flags;
    return PUMICE_OK;
fail:
    pum_pretok_destroy(&p);
    return status;
}

void pum_pretok_destroy(pum_pretok **pretok)
{
    if (!pretok || !*pretok) return;
    for (size_t i = 0; i < (*pretok)->count; i++) pum_regex_destroy(&(*pretok)->steps[i].regex);
    pum_free(*pretok);
    *pretok = NULL;
}

bool pum_pretok_rebuilds(const pum_pretok *pretok) { return pretok->rebuilds; }

/* ---- splitting ---- */

typedef struct splitter {
    const pum_pretok *p;
    const char *text;
    pcre2_match_data *match;
    pum_positions ends, next; /* of the valid stretch in work, before and after an expression */
    pumice_error *err;
} splitter;

/* Cuts the piece [start, end) by one expression and appends the ends of its parts. */
static pumice_status cut_piece(splitter *w, size_t expression, uint32_t start, uint32_t end)
{
    const char *s = w->text + start;
    size_t bytes = end - start, pos = 0, from = 0;
    while (from < bytes) {
        bool found;
        size_t a, b;
        PUM_TRY(pum_regex_find(w->p->steps[expression].regex, w->match, s, bytes, from, &found, &a,
                               &b, w->err));
        if (!found) break;
        if (b <= a) { /* an empty match cuts nothing */
            int n = a < bytes ? pum_utf8_length(s + a, bytes - a) : 1;
            from = a + (n > 0 ? (size_t)n : 1);
            continue;
        }
        if (a > pos && !pum_array_push(&w->next, start + (uint32_t)a)) return pum_no_memory(w->err);
        if (!pum_array_push(&w->next, start + (uint32_t)b)) return pum_no_memory(w->err);
        pos = from = b;
    }
    if (pos < bytes && !pum_array_push(&w->next, end)) return pum_no_memory(w->err);
    return PUMICE_OK;
}

static pumice_status cut_valid(splitter *w, uint32_t start, uint32_t end, pum_positions *out)
{
    w->ends.count = 0;
    if (!pum_array_push(&w->ends, end)) return pum_no_memory(w->err);
    for (size_t e = 0; e < w->p->count; e++) {
        w->next.count = 0;
        uint32_t from = start;
        for (size_t i = 0; i < w->ends.count; i++) {
            PUM_TRY(cut_piece(w, e, from, w->ends.data[i]));
            from = w->ends.data[i];
        }
        pum_positions swap = w->ends;
        w->ends = w->next;
        w->next = swap;
    }
    if (!pum_array_reserve(out, w->ends.count)) return pum_no_memory(w->err);
    memcpy(out->data + out->count, w->ends.data, w->ends.count * sizeof *out->data);
    out->count += w->ends.count;
    return PUMICE_OK;
}

/* The end of the stretch at `pos` that is UTF-8 throughout, or that is so nowhere. */
static size_t stretch_end(const char *text, size_t bytes, size_t pos, bool *valid)
{
    *valid = pum_utf8_length(text + pos, bytes - pos) > 0;
    while (pos < bytes) {
        int n = (uint8_t)text[pos] < 0x80 ? 1 : pum_utf8_length(text + pos, bytes - pos);
        if ((n > 0) != *valid) break;
        pos += n > 0 ? (size_t)n : 1;
    }
    return pos;
}

pumice_status pum_pretok_split(const pum_pretok *pretok, const char *text, size_t bytes,
                               pum_positions *ends, pumice_error *err)
{
    pumice_status status = PUMICE_OK;
    splitter w = { .p = pretok, .text = text, .err = err };
    w.match = pum_regex_match_data();
    if (!w.match) return pum_no_memory(err);
    for (size_t pos = 0; pos < bytes;) {
        bool valid;
        size_t end = stretch_end(text, bytes, pos, &valid);
        if (valid) {
            PUM_GOTO(cut_valid(&w, (uint32_t)pos, (uint32_t)end, ends));
        } else if (!pum_array_push(ends, (uint32_t)end)) {
            PUM_GOTO(pum_no_memory(err));
        }
        pos = end;
    }
fail:
    pcre2_match_data_free(w.match);
    pum_array_free(&w.ends);
    pum_array_free(&w.next);
    return status;
}
