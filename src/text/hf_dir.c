/* SPDX-License-Identifier: Apache-2.0
 * A tokenizer from a Hugging Face directory, or from one of its files. Decides which file counts,
 * as the original does: tokenizer.json, else a SentencePiece model, else vocab.json with
 * merges.txt; and what the class of the tokenizer (tokenizer_config.json, else config.json's
 * model_type) adds that no file says. A file named by itself is what it says, no more. */
#include "hf_class.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_FILE_BYTES = 256 << 20, MAX_PATH_BYTES = 4096 };

/* ---- files ---- */

static bool exists(const char *path, bool *out_folder)
{
    struct stat info;
    if (stat(path, &info) != 0) return false;
    *out_folder = S_ISDIR(info.st_mode);
    return true;
}

static bool path_in(const char *folder, const char *name, char out[MAX_PATH_BYTES])
{
    bool is_folder;
    int n = snprintf(out, MAX_PATH_BYTES, "%s/%s", folder, name);
    return n > 0 && n < MAX_PATH_BYTES && exists(out, &is_folder) && !is_folder;
}

/* A JSON file of the folder; NULL where there is none. */
static pumice_status read_json(const char *folder, const char *name, json_t **out_json,
                               pumice_error *err)
{
    char path[MAX_PATH_BYTES];
    uint8_t *data = NULL;
    size_t bytes;
    *out_json = NULL;
    if (!path_in(folder, name, path)) return PUMICE_OK;
    PUM_TRY(pum_file_read(path, MAX_FILE_BYTES, &data, &bytes, err));
    pumice_status status = pum_json_parse(data, bytes, out_json, err);
    pum_free(data);
    return pum_error_place(err, status, path);
}

static const char *const model_names[] = { "tokenizer.model", "spiece.model", "ice_text.model",
                                           "sentencepiece.bpe.model", "sentencepiece.model",
                                           "spm.model" };

/* Finds the file that holds the vocabulary. */
static bool find_model(const char *folder, char out[MAX_PATH_BYTES])
{
    for (size_t i = 0; i < PUM_COUNT(model_names); i++) {
        if (path_in(folder, model_names[i], out)) return true;
    }
    return false;
}

bool pum_tokenizer_path_ok(const char *path)
{
    char found[MAX_PATH_BYTES];
    bool folder;
    size_t n = strlen(path);
    if (!exists(path, &folder)) return false;
    if (folder) {
        return path_in(path, "tokenizer.json", found) || find_model(path, found) ||
               path_in(path, "vocab.json", found);
    }
    return (n > 6 && strcmp(path + n - 6, ".model") == 0) ||
           (n > 14 && strcmp(path + n - 14, "tokenizer.json") == 0) ||
           (n > 10 && strcmp(path + n - 10, "vocab.json") == 0) ||
           strcmp(path, "tokenizer.json") == 0 || strcmp(path, "vocab.json") == 0;
}

bool pum_tokenizer_path_alone(const char *path)
{
    char found[MAX_PATH_BYTES];
    return pum_tokenizer_path_ok(path) && !path_in(path, "config.json", found);
}

/* ---- the configuration files' word ---- */

static pumice_status read_configs(const char *folder, pum_hf_configs *c, pumice_error *err)
{
    PUM_TRY(read_json(folder, "tokenizer_config.json", &c->tokenizer, err));
    PUM_TRY(read_json(folder, "config.json", &c->model, err));
    PUM_TRY(read_json(folder, "special_tokens_map.json", &c->special, err));
    PUM_TRY(read_json(folder, "added_tokens.json", &c->added, err));
    return read_json(folder, "generation_config.json", &c->generation, err);
}

static void free_configs(pum_hf_configs *c)
{
    json_decref(c->tokenizer);
    json_decref(c->model);
    json_decref(c->special);
    json_decref(c->added);
    json_decref(c->generation);
    *c = (pum_hf_configs){ 0 };
}

/* ---- the readers ---- */

static pumice_status read_bytes(const char *path, uint8_t **out_data, size_t *out_bytes,
                                pumice_error *err)
{
    return pum_file_read(path, MAX_FILE_BYTES, out_data, out_bytes, err);
}

/* `path`: of the file, for messages. */
static pumice_status from_json_bytes(const char *path, const uint8_t *data, size_t bytes,
                                     const pum_hf_configs *c, pum_tokenizer *t, pumice_error *err)
{
    pumice_status status = PUMICE_OK;
    json_t *root = NULL;
    pum_added_list added = { 0 };
    PUM_GOTO(pum_error_place(err, pum_json_parse(data, bytes, &root, err), path));
    PUM_GOTO(pum_error_place(err, pum_hf_json_read(root, t, &added, err), path));
    PUM_GOTO(pum_error_place(err, pum_hf_config_tokens(c, &added, err), c->folder));
    PUM_GOTO(pum_error_place(err, pum_hf_add_tokens(t, &added, err), path));
    PUM_GOTO(pum_error_place(err, pum_hf_json_index(root, t, err), path));
    PUM_GOTO(pum_error_place(err, pum_hf_finish(c, t, true, err), c->folder));
fail:
    pum_array_free(&added);
    json_decref(root);
    return status;
}

static pumice_status from_json(const char *path, const pum_hf_configs *c, pum_tokenizer *t,
                               pumice_error *err)
{
    uint8_t *data = NULL;
    PUM_TRY(read_bytes(path, &data, &t->source_json_bytes, err));
    t->source_json = (char *)data;
    return from_json_bytes(path, data, t->source_json_bytes, c, t, err);
}

static pumice_status from_tiktoken(const char *path, const uint8_t *data, size_t bytes,
                                   const pum_hf_configs *c, pum_tokenizer *t, pum_added_list *added,
                                   pumice_error *err)
{
    const char *folder = c ? c->folder : path;
    PUM_TRY(pum_error_place(err, pum_tiktoken_read((const char *)data, bytes, t, err), path));
    PUM_TRY(pum_error_place(err, pum_hf_class_tiktoken(c, t, added, err), folder));
    PUM_TRY(pum_error_place(err, pum_hf_add_tokens(t, added, err), path));
    PUM_TRY(pum_error_place(err, pum_tiktoken_index(t, err), path));
    return pum_error_place(err, pum_hf_finish(c, t, false, err), folder);
}

static pumice_status from_model(const char *path, const pum_hf_configs *c, pum_tokenizer *t,
                                pumice_error *err)
{
    pumice_status status = PUMICE_OK;
    uint8_t *data = NULL;
    size_t bytes;
    pum_added_list added = { 0 };
    PUM_GOTO(read_bytes(path, &data, &bytes, err));
    if (!pum_spm_file_is(data, bytes)) {
        PUM_GOTO(from_tiktoken(path, data, bytes, c, t, &added, err));
        goto fail;
    }
    PUM_GOTO(pum_error_place(err, pum_spm_file_read(data, bytes, t, err), path));
    if (c) {
        PUM_GOTO(pum_error_place(err, pum_hf_class_sentencepiece(c, t, &added, err), c->folder));
        PUM_GOTO(pum_error_place(err, pum_hf_config_tokens(c, &added, err), c->folder));
        PUM_GOTO(pum_error_place(err, pum_hf_add_tokens(t, &added, err), path));
    }
    PUM_GOTO(pum_error_place(err, pum_normalizer_add_user(t, err), path));
    pum_tokenizer_note_bytes(t);
    status = t->kind == PUM_TOKENIZER_UNIGRAM ? pum_unigram_index(t, err) : pum_spm_index(t, err);
    PUM_GOTO(pum_error_place(err, status, path));
    PUM_GOTO(pum_error_place(err, pum_hf_finish(c, t, false, err), c ? c->folder : path));
fail:
    pum_array_free(&added);
    pum_free(data);
    return status;
}

static pumice_status from_vocab(const char *folder, const char *path, const pum_hf_configs *c,
                                pum_tokenizer *t, pumice_error *err)
{
    pumice_status status = PUMICE_OK;
    char merges_path[MAX_PATH_BYTES];
    uint8_t *data = NULL, *merges = NULL;
    size_t bytes, merges_bytes;
    json_t *vocab = NULL;
    pum_added_list added = { 0 };
    if (!path_in(folder, "merges.txt", merges_path)) {
        return pum_fail(err, PUMICE_ERROR_FORMAT, "%.200s has a vocab.json but no merges.txt",
                        folder);
    }
    PUM_GOTO(read_bytes(path, &data, &bytes, err));
    PUM_GOTO(read_bytes(merges_path, &merges, &merges_bytes, err));
    PUM_GOTO(pum_error_place(err, pum_json_parse(data, bytes, &vocab, err), path));
    t->kind = PUM_TOKENIZER_BPE;
    PUM_GOTO(pum_error_place(err, pum_hf_pieces(vocab, t, err), path));
    PUM_GOTO(pum_error_place(err, pum_hf_class_bpe(c, t, &added, err), folder));
    PUM_GOTO(pum_error_place(err, pum_hf_config_tokens(c, &added, err), folder));
    PUM_GOTO(pum_error_place(err, pum_hf_add_tokens(t, &added, err), path));
    status = pum_hf_merges_index((const char *)merges, merges_bytes, t, err);
    PUM_GOTO(pum_error_place(err, status, merges_path));
    PUM_GOTO(pum_error_place(err, pum_hf_finish(c, t, false, err), folder));
fail:
    pum_array_free(&added);
    json_decref(vocab);
    pum_free(data);
    pum_free(merges);
    return status;
}

static pumice_status from_folder(const char *folder, pum_hf_configs *c, pum_tokenizer *t,
                                 pumice_error *err)
{
    char path[MAX_PATH_BYTES];
    PUM_TRY(read_configs(folder, c, err));
    if (path_in(folder, "ice_text.model", path)) c->has_ice_text = true;
    if (path_in(folder, "tokenizer.json", path)) return from_json(path, c, t, err);
    if (find_model(folder, path)) return from_model(path, c, t, err);
    if (path_in(folder, "vocab.json", path)) return from_vocab(folder, path, c, t, err);
    return pum_fail(err, PUMICE_ERROR_FORMAT,
                    "%.200s has no tokenizer: neither tokenizer.json nor a SentencePiece model nor "
                    "vocab.json",
                    folder);
}

static pumice_status from_file(const char *path, pum_hf_configs *c, pum_tokenizer *t,
                               pumice_error *err)
{
    size_t n = strlen(path);
    if (n < 5 || strcmp(path + n - 5, ".json") != 0) return from_model(path, NULL, t, err);
    if (n >= 10 && strcmp(path + n - 10, "vocab.json") == 0) {
        char folder[MAX_PATH_BYTES];
        snprintf(folder, sizeof folder, "%.*s", (int)(n - 10), path);
        return from_vocab(folder[0] ? folder : ".", path, c, t, err);
    }
    return from_json(path, c, t, err);
}

/* chat_template.jinja wins over what tokenizer_config.json says, as in the original. */
static pumice_status read_template_file(const char *folder, pum_tokenizer *t, pumice_error *err)
{
    char path[MAX_PATH_BYTES];
    uint8_t *data = NULL;
    size_t bytes;
    if (!path_in(folder, "chat_template.jinja", path)) return PUMICE_OK;
    PUM_TRY(pum_file_read(path, 1 << 20, &data, &bytes, err));
    pum_free(t->chat_template);
    t->chat_template = pum_alloc(bytes + 1);
    if (t->chat_template) memcpy(t->chat_template, data, bytes);
    pum_free(data);
    return t->chat_template ? PUMICE_OK : pum_no_memory(err);
}

static pum_tokenizer *new_tokenizer(void)
{
    pum_tokenizer *t = pum_alloc(sizeof *t);
    if (t) t->bos = t->eos = t->unk = t->pad = t->mask = t->eot = -1;
    return t;
}

pumice_status pum_tokenizer_create_json(const char *data, size_t bytes, const pum_tokenizer *keys,
                                        pum_tokenizer **out_tokenizer, pumice_error *err)
{
    *out_tokenizer = NULL;
    static const char key[] = "tokenizer.huggingface.json";
    const pum_hf_configs none = { .folder = key, .keys = keys };
    pum_tokenizer *t = new_tokenizer();
    if (!t) return pum_no_memory(err);
    pumice_status status = from_json_bytes(key, (const uint8_t *)data, bytes, &none, t, err);
    if (status == PUMICE_OK && !pum_special_init(t)) status = pum_no_memory(err);
    if (status == PUMICE_OK) *out_tokenizer = t;
    else pum_tokenizer_destroy(&t);
    return status;
}

pumice_status pum_tokenizer_create_path(const char *path, pum_tokenizer **out_tokenizer,
                                        pumice_error *err)
{
    *out_tokenizer = NULL;
    pumice_status status = PUMICE_OK;
    pum_hf_configs configs = { 0 };
    bool folder = false;
    pum_tokenizer *t = new_tokenizer();
    if (!t) return pum_no_memory(err);
    if (!exists(path, &folder))
        PUM_GOTO(pum_fail(err, PUMICE_ERROR_IO, "%.300s does not exist", path));
    configs.folder = path;
    PUM_GOTO(folder ? from_folder(path, &configs, t, err) : from_file(path, &configs, t, err));
    if (folder) PUM_GOTO(read_template_file(path, t, err));
    if (!pum_special_init(t)) PUM_GOTO(pum_no_memory(err));
    *out_tokenizer = t;
    t = NULL;
fail:
    free_configs(&configs);
    pum_tokenizer_destroy(&t);
    return status;
}
