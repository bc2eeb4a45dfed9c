/* SPDX-License-Identifier: Apache-2.0
 * Which form a model is stored in. */
#include "hf_model.h"

static void close_dir(void *dir)
{
    pum_hf_dir *d = dir;
    pum_hf_dir_close(&d);
}

static pumice_status open_directory(const char *path, pum_gguf **out_gguf, pumice_error *err)
{
    pumice_status status;
    pum_hf_dir *dir;
    pum_gguf *gguf = NULL;
    PUM_TRY(pum_hf_dir_open(path, &dir, err));
    hf h = { .dir = dir, .err = err };
    PUM_TRY(pum_gguf_create(path, dir, close_dir, &gguf, err));
    h.out = gguf;
    PUM_GOTO(hf_config_read(&h));
    PUM_GOTO(hf_keys_write(&h));
    PUM_GOTO(hf_tensors_add(&h));
    PUM_GOTO(pum_gguf_seal(gguf, err));
    *out_gguf = gguf;
    gguf = NULL;
    status = PUMICE_OK;
fail:
    pum_array_free(&h.windowed);
    pum_array_free(&h.rotated);
    pum_array_free(&h.used);
    pum_gguf_close(&gguf);
    return status;
}

bool pum_model_is_gguf(const char *path) { return !pum_hf_dir_is(path); }

pumice_status pum_model_need_weights(const char *path, const pum_gguf *gguf, pumice_error *err)
{
    for (size_t i = 0; i < pum_gguf_tensor_count(gguf); i++) {
        const pum_gguf_tensor *t = pum_gguf_tensor_at(gguf, i);
        if (!t->data && !t->n_parts) return pum_hf_dir_fail_weights(path, err);
    }
    return PUMICE_OK;
}

pumice_status pum_model_open(const char *path, pum_gguf **out_gguf, pumice_error *err)
{
    pum_gguf *first;
    *out_gguf = NULL;
    if (pum_hf_dir_is(path)) return open_directory(path, out_gguf, err);
    PUM_TRY(pum_gguf_open(path, &first, err));
    return pum_gguf_join(&first, out_gguf, err);
}
