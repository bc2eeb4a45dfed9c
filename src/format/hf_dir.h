/* SPDX-License-Identifier: Apache-2.0
 * A Hugging Face model directory: config.json, generation_config.json, and the tensors of
 * model.safetensors or of the shards that model.safetensors.index.json lists; or a config.json
 * alone, without weights. Finds and checks files; what they mean is decided in model/. Thread
 * safety: immutable after open. */
#ifndef PUM_HF_DIR_H
#define PUM_HF_DIR_H

#include "json.h"
#include "safetensors.h"

typedef struct pum_hf_dir pum_hf_dir;

/* true if `path` names a directory, or a file whose name ends in ".json". */
bool pum_hf_dir_is(const char *path);

/* Opens a directory, or a config.json without its weights. A directory that has no weights at all
 * opens too (pum_hf_dir_has_weights says so); one whose shards are incomplete does not. */
pumice_status pum_hf_dir_open(const char *path, pum_hf_dir **out_dir, pumice_error *err);
void pum_hf_dir_close(pum_hf_dir **dir);

const char *pum_hf_dir_path(const pum_hf_dir *dir);        /* as it was given */
const char *pum_hf_dir_config_path(const pum_hf_dir *dir); /* of config.json, for messages */
const json_t *pum_hf_dir_config(const pum_hf_dir *dir);
const json_t *pum_hf_dir_generation(const pum_hf_dir *dir); /* NULL if there is none */
bool pum_hf_dir_has_weights(const pum_hf_dir *dir);
/* What a path without weights lacks: fails with FORMAT and a sentence, in any case. */
pumice_status pum_hf_dir_fail_weights(const char *path, pumice_error *err);
uint64_t pum_hf_dir_weight_bytes(const pum_hf_dir *dir); /* of all safetensors files */

/* A tensor and (out_file may be NULL) the file that it lies in; NULL if absent. */
const pum_st_tensor *pum_hf_dir_find(const pum_hf_dir *dir, const char *name,
                                     const char **out_file);
bool pum_hf_dir_index(const pum_hf_dir *dir, const char *name, size_t *out_index); /* false: absent */
/* Every tensor, in no order that means anything. */
size_t pum_hf_dir_count(const pum_hf_dir *dir);
const char *pum_hf_dir_file(const pum_hf_dir *dir, size_t index); /* that it lies in */
const pum_st_tensor *pum_hf_dir_at(const pum_hf_dir *dir, size_t index);

#endif
