/* SPDX-License-Identifier: Apache-2.0
 * Opening a model directory. The index of shards is hostile too: it may only name files that lie
 * in the directory itself, and every tensor must be in the file that it says. */
#include "hf_dir.h"

#include <stdio.h>
#include <string.h>

enum { MAX_SHARDS = 10000, MAX_PATH_BYTES = 4096 };

static const char index_name[] = "model.safetensors.index.json";

typedef struct entry {
    const pum_st_tensor *tensor;
    const pum_st *file;
} entry;

struct pum_hf_dir {
    char *path, *config_path;
    json_t *config, *generation;
    PUM_ARRAY(pum_st *) files;
    PUM_ARRAY(entry) tensors;
    pum_name_index index;
};

static pum_str entry_name(const void *owner, size_t index)
{
    return ((const pum_hf_dir *)owner)->tensors.data[index].tensor->name;
}

static pumice_status no_memory(const char *path, pumice_error *err)
{
    return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'", path);
}

/* Joins into a buffer of MAX_PATH_BYTES. */
static pumice_status join(const char *folder, const char *name, char *out, pumice_error *err)
{
    size_t n = strlen(folder);
    const char *slash = n && folder[n - 1] == '/' ? "" : "/";
    int bytes = snprintf(out, MAX_PATH_BYTES, "%s%s%s", folder, slash, name);
    if (bytes > 0 && bytes < MAX_PATH_BYTES) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_IO, "the path '%.80s...' is too long", folder);
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

bool pum_hf_dir_is(const char *path) { return pum_is_folder(path) || ends_with(path, ".json"); }

/* ---- shards ---- */

static pumice_status add_file(pum_hf_dir *dir, const char *path, pum_st **out_file,
                              pumice_error *err)
{
    pum_st *st;
    PUM_TRY(pum_st_open(path, &st, err));
    if (!pum_array_push(&dir->files, st)) {
        pum_st_close(&st);
        return no_memory(path, err);
    }
    *out_file = st;
    return PUMICE_OK;
}

static bool is_plain_name(const char *s)
{
    return s[0] != '.' && !strpbrk(s, "/\\") && ends_with(s, ".safetensors") && strlen(s) < 256;
}

/* Opens every file that the index names, once; `opened` maps names to positions in dir->files. */
static pumice_status open_shards(pum_hf_dir *dir, const char *index_path, json_t *map,
                                 json_t *opened, pumice_error *err)
{
    const char *tensor;
    json_t *value;
    json_object_foreach (map, tensor, value) {
        const char *name = json_string_value(value);
        char path[MAX_PATH_BYTES];
        pum_st *st;
        if (!name || !is_plain_name(name)) {
            return pum_fail(err, PUMICE_ERROR_FORMAT,
                            "'%s': weight_map puts '%.80s' into '%.80s', which is no safetensors "
                            "file of this directory",
                            index_path, tensor, name ? name : "");
        }
        if (json_object_get(opened, name)) continue;
        if (json_object_size(opened) >= MAX_SHARDS) {
            return pum_fail(err, PUMICE_ERROR_FORMAT, "'%s' lists more than %d files", index_path,
                            MAX_SHARDS);
        }
        PUM_TRY(join(dir->path, name, path, err));
        if (!pum_is_file(path)) {
            return pum_fail(err, PUMICE_ERROR_IO,
                            "'%s' is missing, which '%s' lists: download it again", path,
                            index_name);
        }
        PUM_TRY(add_file(dir, path, &st, err));
        if (json_object_set_new(opened, name, json_integer((json_int_t)dir->files.count - 1))) {
            return no_memory(path, err);
        }
    }
    return PUMICE_OK;
}

static pumice_status map_tensors(pum_hf_dir *dir, const char *index_path, json_t *map,
                                 const json_t *opened, pumice_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach (map, name, value) {
        const char *shard = json_string_value(value);
        json_int_t i = json_integer_value(json_object_get(opened, shard));
        entry e = { .file = dir->files.data[i] };
        e.tensor = pum_st_find(e.file, name);
        if (!e.tensor) {
            return pum_fail(err, PUMICE_ERROR_FORMAT,
                            "'%s': weight_map puts tensor '%.80s' into '%s', which does not have "
                            "it: download it again",
                            index_path, name, shard);
        }
        if (!pum_array_push(&dir->tensors, e)) return no_memory(index_path, err);
    }
    return PUMICE_OK;
}

/* What a shard has beyond the index is there all the same: whoever reads the directory decides. */
static pumice_status add_unlisted(pum_hf_dir *dir, const json_t *map, pumice_error *err)
{
    for (size_t i = 0; i < dir->files.count; i++) {
        entry e = { .file = dir->files.data[i] };
        for (size_t k = 0; k < pum_st_count(e.file); k++) {
            e.tensor = pum_st_at(e.file, k);
            if (json_object_get(map, e.tensor->name.data)) continue;
            if (!pum_array_push(&dir->tensors, e)) return no_memory(dir->path, err);
        }
    }
    return PUMICE_OK;
}

static pumice_status open_index(pum_hf_dir *dir, const char *index_path, pumice_error *err)
{
    json_t *index = NULL, *opened = json_object();
    pumice_status status;
    if (!opened) return no_memory(index_path, err);
    PUM_GOTO(pum_json_object_read(index_path, &index, err));
    json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0) {
        status = pum_fail(err, PUMICE_ERROR_FORMAT, "'%s' has no weight_map", index_path);
        goto fail;
    }
    PUM_GOTO(open_shards(dir, index_path, map, opened, err));
    PUM_GOTO(map_tensors(dir, index_path, map, opened, err));
    PUM_GOTO(add_unlisted(dir, map, err));
fail:
    json_decref(index);
    json_decref(opened);
    return status;
}

static pumice_status open_single(pum_hf_dir *dir, const char *path, pumice_error *err)
{
    pum_st *st = NULL;
    PUM_TRY(add_file(dir, path, &st, err));
    for (size_t i = 0; i < pum_st_count(st); i++) {
        entry e = { pum_st_at(st, i), st };
        if (!pum_array_push(&dir->tensors, e)) return no_memory(path, err);
    }
    return PUMICE_OK;
}

static pumice_status open_weights(pum_hf_dir *dir, pumice_error *err)
{
    char path[MAX_PATH_BYTES];
    PUM_TRY(join(dir->path, "model.safetensors", path, err));
    if (pum_is_file(path)) return open_single(dir, path, err);
    PUM_TRY(join(dir->path, index_name, path, err));
    return pum_is_file(path) ? open_index(dir, path, err) : PUMICE_OK;
}

/* Weights in other forms or places, most likely first. */
static const struct {
    const char *pattern, *what;
} elsewhere[] = {
    { "model-*-of-*.safetensors", "needs model.safetensors.index.json beside it, which lists the files of the "
                                  "model: download it too" },
    { "adapter_model.safetensors", "changes another model, which must be merged with it first" },
    { "*.safetensors", "is not read: weights are those of model.safetensors, or of the files that "
                       "model.safetensors.index.json lists" },
    { "*.gguf", "is not read as part of a directory: name the file itself" },
    { "*.bin", "is not read: convert it to safetensors" },
    { "*.pt", "is not read: convert it to safetensors" },
    { "*.pth", "is not read: convert it to safetensors" },
    { "*.ckpt", "is not read: convert it to safetensors" },
    { "*.h5", "is not read: convert it to safetensors" },
    { "*.msgpack", "is not read: convert it to safetensors" },
};

pumice_status pum_hf_dir_fail_weights(const char *path, pumice_error *err)
{
    char name[256];
    for (size_t i = 0; i < PUM_COUNT(elsewhere); i++) {
        if (!pum_folder_find(path, elsewhere[i].pattern, name, sizeof name)) continue;
        return pum_fail(err, PUMICE_ERROR_FORMAT, "'%s': '%s' %s", path, name, elsewhere[i].what);
    }
    return pum_fail(err, PUMICE_ERROR_FORMAT,
                    "'%s' comes without weights: it can be measured and planned, but neither run nor "
                    "converted",
                    path);
}

static pumice_status index_tensors(pum_hf_dir *dir, pumice_error *err)
{
    if (!pum_name_index_init(&dir->index, entry_name, dir->tensors.count)) {
        return no_memory(dir->path, err);
    }
    for (size_t i = 0; i < dir->tensors.count; i++) {
        if (pum_name_index_add(&dir->index, dir, i) == PUM_NAME_ADDED) continue;
        return pum_fail(err, PUMICE_ERROR_FORMAT, "'%s' has tensor '%.80s' twice", dir->path,
                        entry_name(dir, i).data);
    }
    return PUMICE_OK;
}

/* ---- the whole ---- */

static pumice_status open_directory(pum_hf_dir *dir, pumice_error *err)
{
    char path[MAX_PATH_BYTES];
    PUM_TRY(join(dir->path, "config.json", path, err));
    dir->config_path = pum_strdup(path);
    if (!dir->config_path) return no_memory(dir->path, err);
    if (!pum_is_file(path)) {
        return pum_fail(err, PUMICE_ERROR_IO,
                        "'%s' is a folder without a config.json, so it is no model", dir->path);
    }
    PUM_TRY(pum_json_object_read(path, &dir->config, err));
    PUM_TRY(join(dir->path, "generation_config.json", path, err));
    if (pum_is_file(path)) PUM_TRY(pum_json_object_read(path, &dir->generation, err));
    PUM_TRY(open_weights(dir, err));
    return index_tensors(dir, err);
}

pumice_status pum_hf_dir_open(const char *path, pum_hf_dir **out_dir, pumice_error *err)
{
    pumice_status status;
    *out_dir = NULL;
    pum_hf_dir *dir = pum_alloc(sizeof *dir);
    if (!dir) return no_memory(path, err);
    dir->path = pum_strdup(path);
    if (!dir->path) {
        status = no_memory(path, err);
        goto fail;
    }
    if (pum_is_folder(path)) {
        PUM_GOTO(open_directory(dir, err));
    } else {
        dir->config_path = pum_strdup(path);
        if (!dir->config_path) {
            status = no_memory(path, err);
            goto fail;
        }
        PUM_GOTO(pum_json_object_read(path, &dir->config, err));
    }
    *out_dir = dir;
    return PUMICE_OK;
fail:
    pum_hf_dir_close(&dir);
    return status;
}

void pum_hf_dir_close(pum_hf_dir **dir)
{
    if (!dir || !*dir) return;
    pum_hf_dir *d = *dir;
    for (size_t i = 0; i < d->files.count; i++) pum_st_close(&d->files.data[i]);
    pum_array_free(&d->files);
    pum_array_free(&d->tensors);
    pum_name_index_free(&d->index);
    json_decref(d->config);
    json_decref(d->generation);
    pum_free(d->path);
    pum_free(d->config_path);
    pum_free(d);
    *dir = NULL;
}

const char *pum_hf_dir_path(const pum_hf_dir *dir) { return dir->path; }
const char *pum_hf_dir_config_path(const pum_hf_dir *dir) { return dir->config_path; }
const json_t *pum_hf_dir_config(const pum_hf_dir *dir) { return dir->config; }
const json_t *pum_hf_dir_generation(const pum_hf_dir *dir) { return dir->generation; }
bool pum_hf_dir_has_weights(const pum_hf_dir *dir) { return dir->files.count > 0; }
size_t pum_hf_dir_count(const pum_hf_dir *dir) { return dir->tensors.count; }

uint64_t pum_hf_dir_weight_bytes(const pum_hf_dir *dir)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < dir->files.count; i++) bytes += pum_st_size_bytes(dir->files.data[i]);
    return bytes;
}

bool pum_hf_dir_index(const pum_hf_dir *dir, const char *name, size_t *out_index)
{
    return pum_name_index_find(&dir->index, dir, (pum_str){ name, strlen(name) }, out_index);
}

const pum_st_tensor *pum_hf_dir_find(const pum_hf_dir *dir, const char *name, const char **out_file)
{
    size_t i;
    if (!pum_hf_dir_index(dir, name, &i)) return NULL;
    if (out_file) *out_file = pum_hf_dir_file(dir, i);
    return dir->tensors.data[i].tensor;
}

const char *pum_hf_dir_file(const pum_hf_dir *dir, size_t index)
{
    return pum_st_path(dir->tensors.data[index].file);
}

const pum_st_tensor *pum_hf_dir_at(const pum_hf_dir *dir, size_t index)
{
    return index < dir->tensors.count ? dir->tensors.data[index].tensor : NULL;
}
