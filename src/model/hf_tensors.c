/* SPDX-License-Identifier: Apache-2.0
 * Applies the table of names: finds each tensor of the directory, checks it against config.json,
 * and adds it under its GGUF name, its rows rearranged as that form wants them. Nothing is copied:
 * a rearrangement is a description that is followed while rows are read. Without weights the same
 * walk gives names and shapes alone. */
#include <stdio.h>
#include <string.h>

#include "hf_model.h"

enum { NAME_BYTES = 160 };

typedef struct walk {
    hf *h;
    const char *prefix;    /* of the directory's names */
    const hf_stack *stack; /* NULL for tensors of the model */
    uint32_t layer;
    uint64_t sizes[S_COUNT];
} walk;

/* A tensor to be made of `count` tensors of the file. */
typedef struct job {
    const hf_row *row;
    const char *suffix; /* of the file's name: ".weight", ".bias" or "" */
    char gguf[NAME_BYTES];
    bool vector;                       /* one dimension, F32 */
    bool any_shape;                    /* of the file's tensor, if its elements are as many */
    uint64_t rows, cols, count;        /* of the tensor to be made: count x rows x cols */
    uint64_t stack;                    /* matrices below one another; 0: it has no third dimension */
    uint64_t source_rows, source_cols; /* as the file has it */
} job;

/* ---- sizes ---- */

static void set_sizes(walk *w, bool decoder)
{
    const hf_facts *f = &w->h->f;
    uint64_t heads = decoder ? f->dec_heads : f->heads;
    uint64_t dim = heads == f->heads ? f->head_dim : f->embd / heads;
    uint64_t q = heads * dim, kv = (uint64_t)f->kv_heads * f->head_dim;
    uint64_t ff = decoder ? f->dec_ff : f->ff;
    const uint64_t sizes[S_COUNT] = {
        [S_ONE] = 1,   [S_D] = f->embd,      [S_Q] = q,
        [S_KV] = kv,   [S_QKV] = q + 2 * kv, [S_FF] = ff,
        [S_2FF] = 2 * ff, [S_V] = f->vocab,  [S_POS] = (uint64_t)f->ctx + f->pos_offset,
        [S_HEAD] = f->head_dim, [S_E] = f->experts, [S_FFE] = f->ff_expert,
        [S_FFS] = f->ff_shared, [S_PROJ] = f->proj, [S_BUCKETS] = f->buckets,
        [S_H] = heads, [S_KVH] = f->kv_heads, [S_FUSED] = q + 2 * kv + 2 * ff,
    };
    memcpy(w->sizes, sizes, sizeof sizes);
}

/* Which keys of config.json a size comes from, for messages. */
static const char *size_text(hf_size s)
{
    static const char *const texts[S_COUNT] = {
        [S_ONE] = "1", [S_D] = "hidden_size", [S_Q] = "heads x head_dim",
        [S_KV] = "KV heads x head_dim", [S_QKV] = "(heads + 2 KV heads) x head_dim",
        [S_FF] = "intermediate_size", [S_2FF] = "2 x intermediate_size", [S_V] = "vocab_size",
        [S_POS] = "max_position_embeddings", [S_HEAD] = "head_dim", [S_E] = "number of experts",
        [S_FFE] = "width of an expert", [S_FFS] = "width of the shared expert",
        [S_PROJ] = "word_embed_proj_dim", [S_BUCKETS] = "relative_attention_num_buckets",
        [S_H] = "heads", [S_KVH] = "KV heads", [S_FUSED] = "heads, KV heads and MLP",
    };
    return texts[s];
}

/* ---- names ---- */

/* One alternative of a pattern: '#' is the layer, '@' the item. */
static void expand(const walk *w, const char *pattern, size_t count, const char *suffix,
                   uint64_t item, char out[NAME_BYTES])
{
    const hf_stack *stack = w->stack;
    bool absolute = pattern[0] == '^';
    uint32_t base = stack ? stack->base : w->h->family->stacks[0].base + w->h->f.layers;
    size_t n = 0, k = absolute ? 1 : 0;
    char text[NAME_BYTES];
    int bytes = snprintf(text, sizeof text, "%s%s%.*s%s", absolute ? "" : w->prefix,
                         stack && !absolute ? stack->hf : "", (int)(count - k), pattern + k,
                         suffix);
    if (bytes < 0) bytes = 0;
    for (int i = 0; i < bytes && i < NAME_BYTES - 1 && n + 24 < NAME_BYTES; i++) {
        if (text[i] == '#') n += (size_t)sprintf(out + n, "%u", base + w->layer);
        else if (text[i] == '@') n += (size_t)sprintf(out + n, "%llu", (unsigned long long)item);
        else out[n++] = text[i];
    }
    out[n] = '\0';
}

/* The first alternative that the directory has; its name (or the first alternative's) in `out`. */
static const pum_st_tensor *find(const walk *w, const char *pattern, const char *suffix,
                                 uint64_t item, const char **out_file, char out[NAME_BYTES])
{
    char name[NAME_BYTES];
    for (const char *p = pattern;; p++) {
        size_t n = strcspn(p, "|");
        expand(w, p, n, suffix, item, name);
        if (p == pattern) memcpy(out, name, sizeof name);
        const pum_st_tensor *t = pum_hf_dir_find(w->h->dir, name, out_file);
        if (t) {
            memcpy(out, name, sizeof name);
            return t;
        }
        p += n;
        if (*p == '\0') return NULL;
    }
}

/* The prefix with which the first tensor of the model is there. */
static const char *find_prefix(walk *w, char *buffer, size_t capacity)
{
    const hf_row *first = &w->h->family->model->rows[0];
    const char *p = w->h->family->prefixes, *file;
    char name[NAME_BYTES];
    for (;; p++) {
        size_t n = strcspn(p, "|");
        snprintf(buffer, capacity, "%.*s", (int)n, p);
        w->prefix = buffer;
        if (find(w, first->hf, ".weight", 0, &file, name)) return buffer;
        p += n;
        if (*p == '\0') break;
    }
    snprintf(buffer, capacity, "%.*s", (int)strcspn(w->h->family->prefixes, "|"),
             w->h->family->prefixes);
    return buffer;
}

/* ---- where rows come from ---- */

/* Rows `first`.. of the source in groups of `rows`, each permuted from halves to neighbours. */
static void permute(const walk *w, pum_gguf_part *p, uint64_t cols)
{
    uint64_t half = w->h->f.head_dim / 2;
    p->size[1] = half;
    p->size[2] = 2;
    p->stride[2] = cols;
    p->stride[3] = half * cols;
}

/* Heads of one kind out of [kv head][its q heads, k, v]: `skip` heads into each group. */
static void from_groups(const walk *w, pum_gguf_part *p, uint64_t skip, uint64_t heads,
                        bool permuted, uint64_t cols)
{
    uint64_t dim = w->h->f.head_dim, group = w->sizes[S_H] / w->sizes[S_KVH] + 2;
    p->rows = w->sizes[S_KVH] * heads * dim;
    p->first = skip * dim * cols;
    p->stride[0] = group * dim * cols;
    if (permuted) { /* digits: group, head, pair, which of the pair */
        p->size[0] = heads;
        p->stride[1] = dim * cols;
        permute(w, p, cols);
    } else { /* group, row of the group's heads */
        p->size[2] = heads * dim;
        p->stride[3] = cols;
    }
}

/* The parts of one source tensor. */
static uint32_t make_parts(const walk *w, const job *j, const pum_st_tensor *t,
                           pum_gguf_part parts[3])
{
    uint64_t cols = j->cols, per_kv = w->sizes[S_H] / w->sizes[S_KVH];
    bool permuted = w->h->f.flags & HF_PERMUTED;
    uint64_t q = w->sizes[S_Q], kv = w->sizes[S_KV], ff = w->sizes[S_FF];
    const pum_gguf_part plain = { .data = t->data, .type = t->type, .elems = t->elems,
                                  .rows = j->rows, .size = { 1, 1, 1 }, .col_stride = 1,
                                  .stride = { cols, cols, cols, cols } };
    parts[0] = parts[1] = parts[2] = plain;
    switch ((hf_how)j->row->how) {
    case R_NORM:
        if (strcmp(j->suffix, ".weight") == 0) parts[0].add = w->h->f.norm_add;
        break;
    case R_Q:
    case R_K:
        if (!permuted) break;
        parts[0].stride[0] = w->h->f.head_dim * cols;
        permute(w, &parts[0], cols);
        break;
    case R_FLIP:
        if (j->vector) break;
        parts[0].col_stride = j->rows;
        for (int i = 0; i < 4; i++) parts[0].stride[i] = 1;
        break;
    case R_GROUPS:
        from_groups(w, &parts[0], 0, per_kv, false, cols);
        from_groups(w, &parts[1], per_kv, 1, false, cols);
        from_groups(w, &parts[2], per_kv + 1, 1, false, cols);
        return 3;
    case R_Q_OF:
        from_groups(w, &parts[0], 0, per_kv, permuted, cols);
        break;
    case R_K_OF:
        from_groups(w, &parts[0], per_kv, 1, permuted, cols);
        break;
    case R_V_OF:
        from_groups(w, &parts[0], per_kv + 1, 1, false, cols);
        break;
    case R_CUT_K:
        parts[0].first = q * cols;
        break;
    case R_CUT_V:
        parts[0].first = (q + kv) * cols;
        break;
    case R_CUT_UP:
        parts[0].first = (q + 2 * kv) * cols;
        break;
    case R_CUT_GATE:
        parts[0].first = (q + 2 * kv + ff) * cols;
        break;
    case R_ALL_GATE:
    case R_ALL_UP: /* digits: expert, row */
        parts[0].first = j->row->how == R_ALL_UP ? j->rows * cols : 0;
        parts[0].stride[0] = 2 * j->rows * cols;
        parts[0].size[2] = j->rows;
        parts[0].rows = j->stack * j->rows;
        break;
    case R_ALL_DOWN:
        parts[0].rows = j->stack * j->rows;
        break;
    case R_SAME: case R_VECTOR: case R_RAW: case R_EXPERTS: case R_HEADS:
    case R_CUT_Q: case R_BUCKETS:
        break;
    }
    return 1;
}

/* How many rows the file's tensor has of which the job's are a part. */
static uint64_t source_rows(const walk *w, const hf_row *row, uint64_t rows)
{
    switch ((hf_how)row->how) {
    case R_Q_OF: case R_K_OF: case R_V_OF:
        return w->sizes[S_QKV];
    case R_CUT_Q: case R_CUT_K: case R_CUT_V: case R_CUT_UP: case R_CUT_GATE:
        return w->sizes[S_FUSED];
    case R_ALL_GATE: case R_ALL_UP:
        return 2 * w->sizes[S_E] * rows;
    case R_ALL_DOWN:
        return w->sizes[S_E] * rows;
    default:
        return rows;
    }
}

/* ---- one tensor ---- */

static pumice_status missing(const walk *w, const char *name)
{
    return pum_fail(w->h->err, PUMICE_ERROR_FORMAT,
                    "'%s': tensor '%s' is missing, which a model of its config.json has",
                    pum_hf_dir_path(w->h->dir), name);
}

static void shape_text(const pum_st_tensor *t, char *out, size_t capacity)
{
    size_t n = (size_t)snprintf(out, capacity, "[");
    for (uint32_t i = 0; i < t->n_dims && n < capacity; i++) {
        n += (size_t)snprintf(out + n, capacity - n, "%s%llu", i ? " x " : "",
                              (unsigned long long)t->shape[i]);
    }
    if (n < capacity) snprintf(out + n, capacity - n, "]");
}

static pumice_status check_source(const walk *w, const job *j, const char *file,
                                  const pum_st_tensor *t)
{
    char has[128], wants[64];
    const hf_row *row = j->row;
    if (!t->is_weight) {
        return pum_fail(w->h->err, PUMICE_ERROR_UNSUPPORTED,
                        "'%s': tensor '%.100s' has the dtype %s; F32, F16 and BF16 are supported",
                        file, t->name.data, t->dtype);
    }
    bool flip = row->how == R_FLIP;
    bool good = j->any_shape ? t->elems == j->source_rows * j->source_cols
                          : t->n_dims == 2 && t->shape[flip] == j->source_rows &&
                                t->shape[!flip] == j->source_cols;
    if (good) return PUMICE_OK;
    shape_text(t, has, sizeof has);
    unsigned long long a = j->source_rows, b = j->source_cols;
    if (j->any_shape) snprintf(wants, sizeof wants, "[%llu]", a * b);
    else snprintf(wants, sizeof wants, "[%llu x %llu]", flip ? b : a, flip ? a : b);
    return pum_fail(w->h->err, PUMICE_ERROR_FORMAT,
                    "'%s': tensor '%.100s' has the shape %s, but by config.json (%s, %s) it must "
                    "be %s",
                    file, t->name.data, has, size_text(row->rows), size_text(row->cols), wants);
}

static void mark_used(const walk *w, const char *name)
{
    size_t i;
    if (pum_hf_dir_index(w->h->dir, name, &i)) w->h->used.data[i] = true;
}

static pumice_status gather_parts(const walk *w, const job *j, pum_gguf_part *parts,
                                  uint32_t *out_count, pum_dtype *out_type)
{
    uint32_t n = 0;
    for (uint64_t i = 0; i < j->count; i++) {
        char name[NAME_BYTES];
        const char *file = NULL;
        const pum_st_tensor *t = find(w, j->row->hf, j->suffix, i, &file, name);
        if (!t) return missing(w, name);
        PUM_TRY(check_source(w, j, file, t));
        mark_used(w, name);
        if (i == 0) *out_type = t->type;
        if (*out_type != t->type) *out_type = PUM_DTYPE_F32;
        n += make_parts(w, j, t, parts + n);
    }
    *out_count = n;
    return PUMICE_OK;
}

/* A vector is small and wanted as F32: it is made at once. */
static pumice_status add_vector(const walk *w, const job *j, const pum_gguf_part *parts,
                                uint32_t n_parts)
{
    hf *h = w->h;
    uint64_t n = j->rows * j->cols;
    const pum_gguf_tensor t = { .name = { j->gguf, strlen(j->gguf) }, .type = PUM_DTYPE_F32,
                                .n_dims = 2, .ne = { j->cols, j->rows, 1, 1 }, .bytes = 4 * n,
                                .parts = parts, .n_parts = n_parts };
    float *values = pum_alloc_array((size_t)n, sizeof *values);
    if (!values) {
        return pum_fail(h->err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'",
                        pum_hf_dir_path(h->dir));
    }
    pumice_status status;
    PUM_GOTO(pum_gguf_read_rows(&t, 0, j->rows, values, h->err));
    PUM_GOTO(pum_gguf_add_f32(h->out, j->gguf, values, n, h->err));
fail:
    pum_free(values);
    return status;
}

static pumice_status add_parts(const walk *w, const job *j, pum_dtype type,
                               const pum_gguf_part *parts, uint32_t n_parts)
{
    const uint64_t vector[] = { j->rows * j->cols };
    const uint64_t ne[] = { j->cols, j->stack ? j->rows : j->rows * j->count, j->stack };
    if (j->vector && n_parts) return add_vector(w, j, parts, n_parts);
    if (j->vector || strstr(j->row->gguf, "_norm")) type = PUM_DTYPE_F32;
    return pum_gguf_add_tensor(w->h->out, j->gguf, type, j->vector ? 1 : j->stack ? 3 : 2,
                               j->vector ? vector : ne, parts, n_parts, w->h->err);
}

static pumice_status add(const walk *w, const job *j)
{
    hf *h = w->h;
    uint32_t n_parts = 0;
    pum_dtype type = h->f.type;
    pumice_status status;
    if (!pum_hf_dir_has_weights(h->dir)) return add_parts(w, j, type, NULL, 0);
    pum_gguf_part *parts = pum_alloc_array((size_t)j->count + 2, sizeof *parts);
    if (!parts) {
        return pum_fail(h->err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'",
                        pum_hf_dir_path(h->dir));
    }
    PUM_GOTO(gather_parts(w, j, parts, &n_parts, &type));
    PUM_GOTO(add_parts(w, j, type, parts, n_parts));
fail:
    pum_free(parts);
    return status;
}

/* The GGUF name: "blk.3." and the row's, and a suffix unless it has one. */
static void gguf_name(const walk *w, const hf_row *row, const char *suffix, char out[NAME_BYTES])
{
    char pattern[NAME_BYTES];
    walk plain = *w;
    hf_stack bare = { .hf = w->stack ? w->stack->gguf : "" };
    snprintf(pattern, sizeof pattern, "%s", row->gguf);
    plain.prefix = "";
    plain.stack = &bare;
    expand(&plain, pattern, strlen(pattern), suffix, 0, out);
}

static pumice_status add_row(const walk *w, const hf_row *row)
{
    const hf_facts *f = &w->h->f;
    bool each = row->how == R_HEADS;
    if ((f->flags & row->when) != row->when) return PUMICE_OK;
    if (row->how == R_BUCKETS && w->layer > 0 && !(f->flags & HF_BIAS_EACH)) return PUMICE_OK;
    job j = { .row = row, .suffix = row->how == R_RAW ? "" : ".weight", .count = 1,
              .rows = each ? 1 : w->sizes[row->rows], .cols = w->sizes[row->cols] };
    j.vector = row->how == R_VECTOR || row->how == R_NORM || row->how == R_RAW;
    if (each) j.count = w->sizes[row->rows];
    bool all = row->how == R_ALL_DOWN || row->how == R_ALL_GATE || row->how == R_ALL_UP;
    if (row->how == R_EXPERTS) j.count = w->sizes[S_E];
    if (row->how == R_EXPERTS || all) j.stack = w->sizes[S_E];
    j.any_shape = j.vector || each || all;
    j.source_rows = source_rows(w, row, j.rows);
    j.source_cols = j.cols;
    gguf_name(w, row, j.suffix, j.gguf);
    PUM_TRY(add(w, &j));
    if (!row->bias || (f->flags & row->bias) != row->bias) return PUMICE_OK;
    j.suffix = ".bias";
    if (!j.vector) j.cols = j.source_cols = 1; /* one for each row of the matrix */
    j.vector = j.any_shape = true;
    gguf_name(w, row, j.suffix, j.gguf);
    return add(w, &j);
}

/* ---- the whole ---- */

static pumice_status add_group(const walk *w, const hf_group *group)
{
    for (size_t i = 0; i < group->count; i++) PUM_TRY(add_row(w, &group->rows[i]));
    return PUMICE_OK;
}

static pumice_status add_stack(walk *w, const hf_stack *stack)
{
    uint32_t layers = stack->decoder ? w->h->f.dec_layers : w->h->f.layers;
    set_sizes(w, stack->decoder);
    w->stack = stack;
    for (w->layer = 0; w->layer < layers; w->layer++) {
        for (size_t i = 0; i < PUM_COUNT(stack->groups) && stack->groups[i]; i++) {
            PUM_TRY(add_group(w, stack->groups[i]));
        }
    }
    w->stack = NULL;
    w->layer = 0;
    return PUMICE_OK;
}

/* The rows of the vocabulary: the model's first. */
static const pum_st_tensor *find_embedding(const walk *w)
{
    char name[NAME_BYTES];
    const char *file;
    return find(w, w->h->family->model->rows[0].hf, ".weight", 0, &file, name);
}

pumice_status hf_tensors_add(hf *h)
{
    char prefix[64];
    walk w = { .h = h };
    size_t count = pum_hf_dir_count(h->dir);
    if (!pum_array_reserve(&h->used, count)) {
        return pum_fail(h->err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'",
                        pum_hf_dir_path(h->dir));
    }
    if (count) memset(h->used.data, 0, count * sizeof *h->used.data);
    h->used.count = count;
    set_sizes(&w, false);
    w.prefix = find_prefix(&w, prefix, sizeof prefix);
    PUM_TRY(add_group(&w, h->family->model));
    for (size_t i = 0; i < PUM_COUNT(h->family->stacks); i++) {
        if (h->family->stacks[i].hf) PUM_TRY(add_stack(&w, &h->family->stacks[i]));
    }
    return hf_tensors_check(h, w.prefix, find_embedding(&w));
}
