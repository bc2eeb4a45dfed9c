/* SPDX-License-Identifier: Apache-2.0
 * Classes of tokenizers whose numbers are not those of their SentencePiece file: some pieces before
 * the file's, and the file's moved behind them; tokens for languages and a mask after all. Also what
 * stands around a text: a token that names its language, or the usual ones. */
#include "hf_class.h"

#include <stdio.h>
#include <string.h>

/* Where the language's token stands, or what else is around a text. */
typedef enum around { TEXT_END, START_TEXT_END, TEXT_END_LANGUAGE, LANGUAGE_TEXT_END } around;

#define MBART_LANGUAGES                                                                           \
    "ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN",     \
        "it_IT", "ja_XX", "kk_KZ", "ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO", \
        "ru_RU", "si_LK", "tr_TR", "vi_VN", "zh_CN"
static const char *const mbart_languages[] = { MBART_LANGUAGES, NULL };
static const char *const mbart50_languages[] = {
    MBART_LANGUAGES, "af_ZA", "az_AZ", "bn_IN", "fa_IR", "he_IL", "hr_HR", "id_ID", "ka_GE",
    "km_KH",         "mk_MK", "ml_IN", "mn_MN", "mr_IN", "pl_PL", "ps_AF", "pt_XX", "sv_SE",
    "sw_KE",         "ta_IN", "te_IN", "th_TH", "tl_XX", "uk_UA", "ur_PK", "xh_ZA", "gl_ES",
    "sl_SI",         NULL
};
static const char *const fairseq_first[] = { "<s>", "<pad>", "</s>", "<unk>", NULL };
static const char *const pegasus_first[] = { "<pad>", "</s>", "<mask_1>", "<mask_2>", NULL };

static const struct pum_renumbering {
    const char *name, *model_type;        /* tokenizer_class; where none is named: config.json's */
    const char *const *first;             /* the first pieces */
    uint32_t n_first, offset;             /* piece n of the file is n + offset, from n_first on */
    const char *const *languages;         /* NULL: those that the configuration files list */
    around around;
    bool mask;                            /* "<mask>" is last */
    const char *language;                 /* of texts, if no file says it; NULL: none */
} rows[] = {
    { "MBartTokenizer", "mbart", fairseq_first, 4, 1, mbart_languages, TEXT_END_LANGUAGE, true, "en_XX" },
    { "MBart50Tokenizer", NULL, fairseq_first, 4, 1, mbart50_languages, LANGUAGE_TEXT_END, true,
      "en_XX" },
    { "NllbTokenizer", NULL, fairseq_first, 4, 1, NULL, LANGUAGE_TEXT_END, true, "eng_Latn" },
    { "XLMRobertaTokenizer", "xlm-roberta", fairseq_first, 4, 1, NULL, START_TEXT_END, true, NULL },
    { "PegasusTokenizer", "pegasus", pegasus_first, 105, 103, NULL, TEXT_END, false, NULL },
};

/* Others of the kind, which no model here uses. */
static const char *const others[] = { "CamembertTokenizer", "XGLMTokenizer", "M2M100Tokenizer",
                                      "BarthezTokenizer", "PLBartTokenizer" };

pumice_status pum_renumbering_find(const char *name, const char *model_type,
                                   const pum_renumbering **out_row, pumice_error *err)
{
    *out_row = NULL;
    for (size_t i = 0; i < PUM_COUNT(rows); i++) {
        const char *type = rows[i].model_type;
        bool by_type = !name[0] && model_type && type && strcmp(model_type, type) == 0;
        if (by_type || strcmp(name, rows[i].name) == 0) *out_row = &rows[i];
    }
    for (size_t i = 0; i < PUM_COUNT(others); i++) {
        if (strcmp(name, others[i]) != 0) continue;
        return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                        "%s numbers the pieces of its SentencePiece model anew: a tokenizer.json "
                        "is needed",
                        name);
    }
    return PUMICE_OK;
}

/* ---- the numbers ---- */

/* Piece `id` of those that come first; beyond the named ones they are only fillers. */
static void first_piece(const pum_renumbering *row, uint32_t id, char out[32])
{
    uint32_t named = 0;
    while (row->first[named]) named++;
    if (id < named) snprintf(out, 32, "%s", row->first[id]);
    else snprintf(out, 32, "<unk_%u>", id - 2);
}

static bool move_pieces(pum_tokenizer *t, const pum_renumbering *row, pum_strings *pieces,
                        uint8_t *types, uint8_t *flags, double *scores)
{
    uint32_t count = t->count + row->offset;
    for (uint32_t id = 0; id < count; id++) {
        char name[32];
        size_t n;
        const char *piece = name;
        if (id < row->n_first) {
            first_piece(row, id, name);
            n = strlen(name);
            types[id] = strcmp(name, "<unk>") == 0 ? PUM_TOKEN_UNKNOWN : PUM_TOKEN_CONTROL;
            flags[id] = PUM_TOKEN_ADDED;
        } else {
            piece = pum_strings_at(&t->pieces, id - row->offset, &n);
            types[id] = t->types[id - row->offset];
            scores[id] = t->scores[id - row->offset];
        }
        if (!pum_strings_add(pieces, piece, n)) return false;
    }
    return true;
}

static int32_t piece_with(const pum_tokenizer *t, const char *text, pum_token_type type)
{
    for (uint32_t i = 0; i < t->count; i++) {
        size_t n;
        if (t->types[i] == type && strcmp(pum_strings_at(&t->pieces, i, &n), text) == 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

static pumice_status renumber(pum_tokenizer *t, const pum_renumbering *row, pumice_error *err)
{
    uint32_t count = t->count + row->offset;
    pum_strings pieces = { 0 };
    uint8_t *types = pum_alloc_array(count, sizeof *types);
    uint8_t *flags = pum_alloc_array(count, sizeof *flags);
    double *scores = pum_alloc_array(count, sizeof *scores);
    if (!types || !flags || !scores || !move_pieces(t, row, &pieces, types, flags, scores)) {
        pum_free(types);
        pum_free(flags);
        pum_free(scores);
        pum_strings_free(&pieces);
        return pum_no_memory(err);
    }
    pum_free(t->types);
    pum_free(t->flags);
    pum_free(t->scores);
    pum_strings_free(&t->pieces);
    t->pieces = pieces;
    t->types = types;
    t->flags = flags;
    t->scores = scores;
    t->count = count;
    t->bos = piece_with(t, "<s>", PUM_TOKEN_CONTROL);
    t->eos = piece_with(t, "</s>", PUM_TOKEN_CONTROL);
    t->pad = piece_with(t, "<pad>", PUM_TOKEN_CONTROL);
    t->unk = piece_with(t, "<unk>", PUM_TOKEN_UNKNOWN);
    return PUMICE_OK;
}

/* ---- the tokens behind them ---- */

static pumice_status add(pum_added_list *added, const char *text, int32_t id, bool left,
                         pumice_error *err)
{
    pum_added a = { .id = id, .content = text, .special = true, .left = left };
    return pum_array_push(added, a) ? PUMICE_OK : pum_no_memory(err);
}

static pumice_status add_languages(const pum_hf_configs *c, const pum_renumbering *row,
                                   pum_added_list *added, int32_t *next, pumice_error *err)
{
    for (size_t i = 0; row->languages && row->languages[i]; i++) {
        PUM_TRY(add(added, row->languages[i], (*next)++, false, err));
    }
    if (row->languages || !row->language) return PUMICE_OK;
    const json_t *list = json_object_get(c->special, "additional_special_tokens");
    if (!list) list = json_object_get(c->tokenizer, "additional_special_tokens");
    for (size_t i = 0; i < json_array_size(list); i++) {
        pum_added a;
        if (!pum_added_of_json(json_array_get(list, i), &a)) continue;
        PUM_TRY(add(added, a.content, (*next)++, false, err));
    }
    if (json_array_size(list)) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                    "%s: no file lists the tokens of languages (additional_special_tokens); a "
                    "tokenizer.json is needed",
                    row->name);
}

pumice_status pum_renumbering_apply(const pum_renumbering *row, const pum_hf_configs *c,
                                    pum_tokenizer *t, pum_added_list *added, pumice_error *err)
{
    if (!t->scores || t->count <= row->n_first - row->offset) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "the SentencePiece model has %u pieces, too few for a %s", t->count,
                        row->name);
    }
    PUM_TRY(renumber(t, row, err));
    int32_t next = (int32_t)t->count;
    PUM_TRY(add_languages(c, row, added, &next, err));
    return row->mask ? add(added, "<mask>", next, true, err) : PUMICE_OK;
}

/* ---- around a text ---- */

pumice_status pum_renumbering_surround(const pum_renumbering *row, const pum_hf_configs *c,
                                       pum_tokenizer *t, pumice_error *err)
{
    const char *language = pum_json_text(c->tokenizer, "src_lang");
    if (!language) language = row->language;
    int32_t id = language ? pum_tokenizer_find(t, language) : -1;
    around how = row->around;
    if (how == LANGUAGE_TEXT_END && pum_json_bool(c->tokenizer, "legacy_behaviour", false)) {
        how = TEXT_END_LANGUAGE;
    }
    if (row->language && id < 0) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "tokenizer_config.json: src_lang is '%.40s', which is no token", language);
    }
    t->n_before = t->n_after = 0;
    if (how == START_TEXT_END) t->before[t->n_before++] = t->bos;
    if (how == LANGUAGE_TEXT_END) t->before[t->n_before++] = id;
    t->after[t->n_after++] = t->eos;
    if (how == TEXT_END_LANGUAGE) t->after[t->n_after++] = id;
    return PUMICE_OK;
}
