/* SPDX-License-Identifier: Apache-2.0
 * A tokenizer as keys of a GGUF object: export.c says which, here they are put. */
#include "tokenizer.h"

typedef struct target {
    pum_gguf *gguf;
    pumice_error *err;
} target;

static pumice_status put_text(void *user, const char *key, const char *s, size_t bytes)
{
    pum_gguf_set_str(((target *)user)->gguf, key, (pum_str){ s, bytes });
    return PUMICE_OK;
}

static pumice_status put_number(void *user, const char *key, uint32_t value)
{
    pum_gguf_set_u32(((target *)user)->gguf, key, value);
    return PUMICE_OK;
}

static pumice_status put_flag(void *user, const char *key, bool value)
{
    pum_gguf_set_bool(((target *)user)->gguf, key, value);
    return PUMICE_OK;
}

static pumice_status put_f32s(void *user, const char *key, const float *v, size_t n)
{
    pum_gguf_set_array(((target *)user)->gguf, key, PUM_GGUF_F32, v, n);
    return PUMICE_OK;
}

static pumice_status put_i32s(void *user, const char *key, const int32_t *v, size_t n)
{
    pum_gguf_set_array(((target *)user)->gguf, key, PUM_GGUF_I32, v, n);
    return PUMICE_OK;
}

static pumice_status put_bytes(void *user, const char *key, const uint8_t *v, size_t n)
{
    pum_gguf_set_array(((target *)user)->gguf, key, PUM_GGUF_U8, v, n);
    return PUMICE_OK;
}

/* The items one after the other, since each is gone when the next is asked for. */
static pumice_status put_texts(void *user, const char *key, size_t n,
                               pum_str (*at)(void *at_user, size_t i), void *at_user)
{
    target *t = user;
    pum_text all = { 0 };
    pumice_status status = PUMICE_OK;
    pum_str *items = pum_alloc_array(n, sizeof *items);
    for (size_t i = 0; items && i < n; i++) {
        items[i] = at(at_user, i);
        pum_text_add(&all, items[i].data, items[i].count);
    }
    if (!items || all.failed) {
        status = pum_fail(t->err, PUMICE_ERROR_HOST_MEMORY, "no memory to export the tokenizer");
    } else {
        const char *next = all.data;
        for (size_t i = 0; i < n; next += items[i++].count) items[i].data = next;
        pum_gguf_set_strs(t->gguf, key, items, n);
    }
    pum_free(items);
    pum_text_free(&all);
    return status;
}

pumice_status pum_tokenizer_export_gguf(const pum_tokenizer *t, uint32_t n_vocab, pum_gguf *gguf,
                                        pumice_error *err)
{
    target to = { gguf, err };
    const pum_tokenizer_sink sink = { .user = &to,
                                      .n_vocab = n_vocab,
                                      .text = put_text,
                                      .number = put_number,
                                      .flag = put_flag,
                                      .f32s = put_f32s,
                                      .i32s = put_i32s,
                                      .bytes = put_bytes,
                                      .texts = put_texts };
    return pum_tokenizer_export(t, &sink, err);
}
