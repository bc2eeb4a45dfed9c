/* SPDX-License-Identifier: Apache-2.0
 * Models that are split over several GGUF files, NAME-00001-of-0000N.gguf and on: the first holds
 * the metadata, each holds some tensors, and here they become one. Nothing is copied but the keys.
 * Naming: llama.cpp's llama_split_path. */
#include <stdio.h>
#include <string.h>

#include "gguf_internal.h"

enum { MAX_FILES = 1000, PATH_BYTES = 4096 };

typedef struct files {
    pum_gguf *data[MAX_FILES];
    uint32_t count;
} files;

static void close_files(void *owner)
{
    files *f = owner;
    for (uint32_t i = 0; i < f->count; i++) pum_gguf_close(&f->data[i]);
    pum_free(f);
}

/* The path of file `index` (from 0), made from that of the first. */
static pumice_status part_path(const char *first, uint32_t index, uint32_t count,
                               char out[PATH_BYTES], pumice_error *err)
{
    char ending[32];
    size_t n = strlen(first);
    snprintf(ending, sizeof ending, "-%05u-of-%05u.gguf", 1u, count);
    if (n <= strlen(ending) || n + 1 > PATH_BYTES ||
        strcmp(first + n - strlen(ending), ending) != 0) {
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "'%s' is one of the %u files of a split model: open the first, whose name "
                        "ends in '%s'",
                        first, count, ending);
    }
    snprintf(out, PATH_BYTES, "%.*s-%05u-of-%05u.gguf", (int)(n - strlen(ending)), first, index + 1,
             count);
    return PUMICE_OK;
}

static pumice_status open_rest(files *f, const char *first, uint32_t count, pumice_error *err)
{
    char path[PATH_BYTES];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t no = 0, of = 0;
        PUM_TRY(part_path(first, i, count, path, err));
        if (i > 0) {
            if (!pum_is_file(path)) {
                return pum_fail(err, PUMICE_ERROR_IO,
                                "'%s' is missing, one of the %u files of a split model", path,
                                count);
            }
            PUM_TRY(pum_gguf_open(path, &f->data[i], err));
            f->count++;
        }
        pum_gguf_u32(f->data[i], "split.no", &no);
        pum_gguf_u32(f->data[i], "split.count", &of);
        if (no == i && of == count) continue;
        return pum_fail(err, PUMICE_ERROR_FORMAT,
                        "'%s' says that it is file %u of %u (split.no, split.count), but it is "
                        "named as file %u of %u",
                        path, no + 1, of, i + 1, count);
    }
    return PUMICE_OK;
}

static pumice_status take_tensors(pum_gguf *g, const pum_gguf *from, pumice_error *err)
{
    if (!pum_array_grow((void **)&g->tensors, &g->tensors_capacity, g->n_tensors + from->n_tensors,
                        sizeof *g->tensors)) {
        return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'", g->path);
    }
    if (from->n_tensors) {
        memcpy(g->tensors + g->n_tensors, from->tensors, from->n_tensors * sizeof *g->tensors);
    }
    g->n_tensors += from->n_tensors;
    g->size += from->size;
    return PUMICE_OK;
}

static void take_keys(pum_gguf *g, const pum_gguf *from)
{
    for (size_t i = 0; i < from->n_kvs; i++) {
        char key[256];
        pum_str name = from->kvs[i].key;
        if (name.count >= sizeof key || (name.count > 6 && memcmp(name.data, "split.", 6) == 0)) {
            continue;
        }
        memcpy(key, name.data, name.count);
        key[name.count] = '\0';
        pum_gguf_set_value(g, key, &from->kvs[i].value);
    }
}

pumice_status pum_gguf_join(pum_gguf **first, pum_gguf **out_gguf, pumice_error *err)
{
    pum_gguf *g = NULL;
    uint32_t count = 0, tensors = 0;
    pumice_status status = PUMICE_OK;
    *out_gguf = NULL;
    pum_gguf_u32(*first, "split.count", &count);
    if (count <= 1) {
        *out_gguf = *first;
        *first = NULL;
        return PUMICE_OK;
    }
    files *f = count <= MAX_FILES ? pum_alloc(sizeof *f) : NULL;
    if (!f) {
        status = pum_fail(err, count > MAX_FILES ? PUMICE_ERROR_FORMAT : PUMICE_ERROR_HOST_MEMORY,
                          "'%s' cannot be opened with its %u files", (*first)->path, count);
        pum_gguf_close(first);
        return status;
    }
    f->data[f->count++] = *first;
    *first = NULL;
    PUM_TRY(pum_gguf_create(f->data[0]->path, f, close_files, &g, err));
    PUM_GOTO(open_rest(f, g->path, count, err));
    take_keys(g, f->data[0]);
    for (uint32_t i = 0; i < count; i++) PUM_GOTO(take_tensors(g, f->data[i], err));
    if (pum_gguf_u32(f->data[0], "split.tensors.count", &tensors) && tensors != g->n_tensors) {
        PUM_GOTO(pum_fail(err, PUMICE_ERROR_FORMAT,
                          "'%s' and the files that belong to it hold %zu tensors, but "
                          "split.tensors.count says %u",
                          g->path, g->n_tensors, tensors));
    }
    PUM_GOTO(pum_gguf_seal(g, err));
    *out_gguf = g;
    return PUMICE_OK;
fail:
    pum_gguf_close(&g);
    return status;
}
