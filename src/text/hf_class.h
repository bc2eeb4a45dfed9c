/* SPDX-License-Identifier: Apache-2.0
 * What the class of a Hugging Face tokenizer adds to its vocabulary file: special tokens, what
 * stands around a text, blanks before it. For hf_dir.c alone. */
#ifndef PUM_HF_CLASS_H
#define PUM_HF_CLASS_H

#include "hf.h"

/* The configuration files of a directory; NULL where there is none. */
typedef struct pum_hf_configs {
    json_t *tokenizer, *model, *special, *added, *generation;
    const char *folder; /* for messages */
    const pum_tokenizer *keys; /* in their place in a GGUF file: its added tokens; NULL = none */
    bool has_ice_text;
} pum_hf_configs;

/* Before the tokens are added: settings and tokens of the class, by kind of vocabulary file. */
pumice_status pum_hf_class_sentencepiece(const pum_hf_configs *c, pum_tokenizer *t,
                                         pum_added_list *added, pumice_error *err);
pumice_status pum_hf_class_bpe(const pum_hf_configs *c, pum_tokenizer *t, pum_added_list *added,
                               pumice_error *err);
pumice_status pum_hf_class_tiktoken(const pum_hf_configs *c, pum_tokenizer *t,
                                    pum_added_list *added, pumice_error *err);
/* ---- hf_renumber.c: classes with numbers of their own ---- */

typedef struct pum_renumbering pum_renumbering;
/* The row of a class by its name, or where it is "" by the model's type; NULL if its numbers are the
 * file's. Fails for a class whose numbers are not known here. */
pumice_status pum_renumbering_find(const char *name, const char *model_type,
                                   const pum_renumbering **out_row, pumice_error *err);
/* Moves the pieces of a SentencePiece model to their numbers and lists the tokens behind them. */
pumice_status pum_renumbering_apply(const pum_renumbering *row, const pum_hf_configs *c,
                                    pum_tokenizer *t, pum_added_list *added, pumice_error *err);
/* What stands around a text, when all tokens are there. */
pumice_status pum_renumbering_surround(const pum_renumbering *row, const pum_hf_configs *c,
                                       pum_tokenizer *t, pumice_error *err);

/* Tokens that the configuration files name. The list points into them. */
pumice_status pum_hf_config_tokens(const pum_hf_configs *c, pum_added_list *added,
                                   pumice_error *err);
/* Last: ids of special tokens, what stands around a text, ends of a reply, the chat template.
 * `surrounded`: tokenizer.json has said what stands around. `c` may be NULL. */
pumice_status pum_hf_finish(const pum_hf_configs *c, pum_tokenizer *t, bool surrounded,
                            pumice_error *err);

#endif
