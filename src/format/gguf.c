/* SPDX-License-Identifier: Apache-2.0
 * The GGUF reader. Open walks the whole header once, with a cursor that never passes the file's
 * end, and stops at the first thing that is wrong; after it every range handed out is known to be
 * good. Memory is taken only for counts that the file is long enough to hold, so a damaged count
 * cannot ask for more than a few times the file's size. Strings and tensors stay in the mapped
 * file; nothing is copied. Does not decide which keys a model needs or which types can be computed
 * with. */
#include "gguf_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MIN_KV_BYTES = 8 + 1 + 4 + 1,             /* key length, one character, type, one byte */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* name, dimensions, type, offset */
    MAX_NAME_BYTES = 65535,
    MAX_ALIGNMENT = 1 << 20,
    DEFAULT_ALIGNMENT = 32
};

static const struct {
    const char *name;
    uint32_t bytes; /* 0 = variable */
} value_types[PUM_GGUF_TYPE_COUNT] = {
    [PUM_GGUF_U8] = { "u8", 1 },         [PUM_GGUF_I8] = { "i8", 1 },
    [PUM_GGUF_U16] = { "u16", 2 },       [PUM_GGUF_I16] = { "i16", 2 },
    [PUM_GGUF_U32] = { "u32", 4 },       [PUM_GGUF_I32] = { "i32", 4 },
    [PUM_GGUF_F32] = { "f32", 4 },       [PUM_GGUF_BOOL] = { "bool", 1 },
    [PUM_GGUF_STRING] = { "string", 0 }, [PUM_GGUF_ARRAY] = { "array", 0 },
    [PUM_GGUF_U64] = { "u64", 8 },       [PUM_GGUF_I64] = { "i64", 8 },
    [PUM_GGUF_F64] = { "f64", 8 },
};

typedef struct reader {
    const pum_gguf *g;
    uint64_t pos;
    pumice_error *err;
} reader;

/* ---- little-endian reads from unaligned bytes ---- */

static uint64_t read_le(const uint8_t *p, uint32_t bytes)
{
    uint64_t v = 0;
    for (uint32_t i = 0; i < bytes; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static uint32_t read_u32(const uint8_t *p) { return (uint32_t)read_le(p, 4); }
static uint64_t read_u64(const uint8_t *p) { return read_le(p, 8); }

/* ---- faults ---- */

static pumice_status fault(const reader *r, pumice_status status, const char *fmt, ...)
    PUM_PRINTF(3, 4);
static pumice_status fault(const reader *r, pumice_status status, const char *fmt, ...)
{
    char text[320];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const char *path = r->g->path;
    size_t n = strlen(path);
    bool cut = n > 150; /* the end of a long path says more than its beginning */
    return pum_fail(r->err, status, "'%s%s' %s", cut ? "..." : "", cut ? path + n - 150 : path,
                    text);
}

/* A name for messages: at most 80 bytes of it (already known to be printable). */
#define NAME(s) (int)PUM_MIN((s).count, (size_t)80), (s).data

static pumice_status cut_off(const reader *r, const char *what)
{
    return fault(r, PUMICE_ERROR_FORMAT,
                 "is cut off or damaged: %s passes the end of the file; download it again", what);
}

/* ---- the cursor ---- */

static uint64_t left(const reader *r) { return r->g->size - r->pos; }

/* Hands out `bytes` bytes and moves on; NULL when there are not that many. */
static const uint8_t *take(reader *r, uint64_t bytes)
{
    if (bytes > left(r)) return NULL;
    const uint8_t *p = r->g->data + r->pos;
    r->pos += bytes;
    return p;
}

static bool take_str(reader *r, pum_str *out)
{
    const uint8_t *p = take(r, 8);
    if (!p) return false;
    uint64_t count = read_u64(p);
    if (!(p = take(r, count))) return false;
    *out = (pum_str){ (const char *)p, (size_t)count };
    return true;
}

/* Names go into messages, logs and look-ups by C strings: printable UTF-8 only. */
static bool is_name(pum_str s)
{
    if (s.count == 0 || s.count > MAX_NAME_BYTES) return false;
    for (size_t i = 0; i < s.count;) {
        int n = pum_utf8_length(s.data + i, s.count - i);
        if (n <= 0 || (uint8_t)s.data[i] < 0x20 || s.data[i] == 0x7f) return false;
        i += (size_t)n;
    }
    return true;
}

/* ---- name look-up ---- */

static pumice_status index_add(const reader *r, pum_name_index *x, size_t index, pum_str name,
                               const char *what)
{
    switch (pum_name_index_add(x, r->g, index)) {
    case PUM_NAME_TWICE:
        return fault(r, PUMICE_ERROR_FORMAT, "is damaged: the %s '%.*s' is there twice", what,
                     NAME(name));
    case PUM_NAME_COLLIDES:
        return fault(r, PUMICE_ERROR_FORMAT,
                     "has names that were made to collide, up to the %s '%.*s'", what, NAME(name));
    case PUM_NAME_ADDED:
        break;
    }
    return PUMICE_OK;
}

/* ---- metadata ---- */

uint32_t pum_gguf_value_bytes(pum_gguf_type type) { return value_types[type].bytes; }

const char *pum_gguf_type_name(pum_gguf_type type)
{
    return (unsigned)type < PUM_GGUF_TYPE_COUNT ? value_types[type].name : "unknown";
}

static pumice_status bad_value(const reader *r, pum_str key, const char *why)
{
    return fault(r, PUMICE_ERROR_FORMAT, "is cut off or damaged: the value of '%.*s' %s", NAME(key),
                 why);
}

static bool are_bools(const uint8_t *p, uint64_t count)
{
    uint8_t all = 0;
    for (uint64_t i = 0; i < count; i++) all |= p[i];
    return all <= 1;
}

static pumice_status read_array(reader *r, pum_str key, pum_gguf_value *v)
{
    const uint8_t *p = take(r, 12);
    if (!p) return bad_value(r, key, "passes the end of the file");
    uint32_t item = read_u32(p);
    v->count = read_u64(p + 4);
    v->data = r->g->data + r->pos;
    if (item == PUM_GGUF_ARRAY) {
        return fault(r, PUMICE_ERROR_UNSUPPORTED,
                     "has an array of arrays in '%.*s', which is not supported", NAME(key));
    }
    if (item >= PUM_GGUF_TYPE_COUNT) {
        return fault(r, PUMICE_ERROR_FORMAT, "has items of the unknown type %u in '%.*s'", item,
                     NAME(key));
    }
    v->item_type = (pum_gguf_type)item;
    if (item == PUM_GGUF_STRING) {
        if (v->count > left(r) / 8)
            return bad_value(r, key, "has more items than the file has room for");
        for (uint64_t i = 0; i < v->count; i++) {
            pum_str s;
            if (!take_str(r, &s)) return bad_value(r, key, "passes the end of the file");
        }
        return PUMICE_OK;
    }
    uint64_t bytes;
    if (!pum_mul_u64(v->count, value_types[item].bytes, &bytes) || !take(r, bytes)) {
        return bad_value(r, key, "has more items than the file has room for");
    }
    if (item == PUM_GGUF_BOOL && !are_bools(v->data, v->count)) {
        return bad_value(r, key, "holds a truth value that is neither 0 nor 1");
    }
    return PUMICE_OK;
}

static pumice_status read_value(reader *r, pum_str key, pum_gguf_value *v)
{
    const uint8_t *p = take(r, 4);
    if (!p) return bad_value(r, key, "passes the end of the file");
    uint32_t type = read_u32(p);
    if (type >= PUM_GGUF_TYPE_COUNT) {
        return fault(r, PUMICE_ERROR_FORMAT, "has a value of the unknown type %u in '%.*s'", type,
                     NAME(key));
    }
    *v = (pum_gguf_value){ .type = (pum_gguf_type)type, .count = 1, .data = r->g->data + r->pos };
    if (type == PUM_GGUF_ARRAY) return read_array(r, key, v);
    if (type == PUM_GGUF_STRING) {
        pum_str s;
        return take_str(r, &s) ? PUMICE_OK : bad_value(r, key, "passes the end of the file");
    }
    if (!take(r, value_types[type].bytes)) return bad_value(r, key, "passes the end of the file");
    if (type == PUM_GGUF_BOOL && !are_bools(v->data, 1)) {
        return bad_value(r, key, "is a truth value that is neither 0 nor 1");
    }
    return PUMICE_OK;
}

static pumice_status read_metadata(reader *r, pum_gguf *g, uint64_t count)
{
    if (count > left(r) / MIN_KV_BYTES || count >= UINT32_MAX) {
        return fault(r, PUMICE_ERROR_FORMAT,
                     "is cut off or damaged: its header says %llu metadata entries",
                     (unsigned long long)count);
    }
    g->kvs = pum_alloc_array((size_t)count, sizeof *g->kvs);
    if (!g->kvs || !pum_name_index_init(&g->kv_index, pum_gguf_kv_name, count)) {
        return fault(r, PUMICE_ERROR_HOST_MEMORY, "cannot be opened: no memory for its metadata");
    }
    for (uint64_t i = 0; i < count; i++) {
        pum_gguf_kv *e = &g->kvs[i];
        if (!take_str(r, &e->key)) return cut_off(r, "the metadata");
        if (!is_name(e->key)) {
            return fault(r, PUMICE_ERROR_FORMAT, "is damaged: metadata entry %llu has a bad name",
                         (unsigned long long)i);
        }
        PUM_TRY(read_value(r, e->key, &e->value));
        PUM_TRY(index_add(r, &g->kv_index, (size_t)i, e->key, "metadata key"));
        g->n_kvs++;
    }
    return PUMICE_OK;
}

static pumice_status read_alignment(const reader *r, pum_gguf *g)
{
    g->alignment = DEFAULT_ALIGNMENT;
    const pum_gguf_value *v = pum_gguf_find(g, "general.alignment");
    if (!v) return PUMICE_OK;
    if (!pum_gguf_u64(g, "general.alignment", &g->alignment) || g->alignment < 8 ||
        g->alignment > MAX_ALIGNMENT || (g->alignment & (g->alignment - 1))) {
        return fault(r, PUMICE_ERROR_FORMAT,
                     "is damaged: general.alignment must be a power of two from 8 to %d",
                     MAX_ALIGNMENT);
    }
    return PUMICE_OK;
}

/* ---- tensors ---- */

static pumice_status read_shape(reader *r, pum_gguf_tensor *t)
{
    const uint8_t *p = take(r, 4);
    if (!p) return cut_off(r, "the list of tensors");
    t->n_dims = read_u32(p);
    if (t->n_dims < 1 || t->n_dims > 4) {
        return fault(r, PUMICE_ERROR_FORMAT,
                     "is damaged: tensor '%.*s' has %u dimensions, not 1 to 4", NAME(t->name),
                     t->n_dims);
    }
    if (!(p = take(r, 8 * t->n_dims + 12))) return cut_off(r, "the list of tensors");
    for (uint32_t d = 0; d < 4; d++) t->ne[d] = d < t->n_dims ? read_u64(p + 8 * d) : 1;
    p += 8 * t->n_dims;
    uint32_t type = read_u32(p);
    if (!pum_dtype_from_gguf(type, &t->type)) {
        return fault(r, PUMICE_ERROR_UNSUPPORTED,
                     "stores tensor '%.*s' in ggml type %u, which is not known here; use another "
                     "quantization of "
                     "the model",
                     NAME(t->name), type);
    }
    uint64_t elems = 1;
    for (uint32_t d = 0; d < 4; d++) {
        if (t->ne[d] == 0 || !pum_mul_u64(elems, t->ne[d], &elems) || elems > INT64_MAX) {
            return fault(r, PUMICE_ERROR_FORMAT, "is damaged: tensor '%.*s' has an impossible size",
                         NAME(t->name));
        }
    }
    const pum_dtype_info *info = pum_dtype_get(t->type);
    if (t->ne[0] % info->block_elems) {
        return fault(
            r, PUMICE_ERROR_FORMAT,
            "is damaged: the rows of tensor '%.*s' have %llu elements, not whole blocks of %u (%s)",
            NAME(t->name), (unsigned long long)t->ne[0], info->block_elems, info->name);
    }
    if (!pum_dtype_row_bytes(t->type, t->ne[0], &t->bytes) ||
        !pum_mul_u64(t->bytes, elems / t->ne[0], &t->bytes)) {
        return fault(r, PUMICE_ERROR_FORMAT, "is damaged: tensor '%.*s' has an impossible size",
                     NAME(t->name));
    }
    return PUMICE_OK;
}

/* Offsets count from the end of the header, so they are kept in `offsets` until that is known. */
static pumice_status read_tensor_list(reader *r, pum_gguf *g, uint64_t count, uint64_t *offsets)
{
    for (uint64_t i = 0; i < count; i++) {
        pum_gguf_tensor *t = &g->tensors[i];
        if (!take_str(r, &t->name)) return cut_off(r, "the list of tensors");
        if (!is_name(t->name)) {
            return fault(r, PUMICE_ERROR_FORMAT, "is damaged: tensor %llu has a bad name",
                         (unsigned long long)i);
        }
        PUM_TRY(read_shape(r, t));
        offsets[i] = read_u64(r->g->data + r->pos - 8);
        if (offsets[i] % g->alignment) {
            return fault(r, PUMICE_ERROR_FORMAT,
                         "is damaged: tensor '%.*s' is not aligned to %llu bytes", NAME(t->name),
                         (unsigned long long)g->alignment);
        }
        PUM_TRY(index_add(r, &g->tensor_index, (size_t)i, t->name, "tensor"));
        g->n_tensors++;
    }
    return PUMICE_OK;
}

static pumice_status place_tensors(const reader *r, pum_gguf *g, const uint64_t *offsets)
{
    uint64_t base = pum_align_up(r->pos, g->alignment);
    uint64_t room = base <= g->size ? g->size - base : 0;
    for (size_t i = 0; i < g->n_tensors; i++) {
        pum_gguf_tensor *t = &g->tensors[i];
        if (offsets[i] > room || t->bytes > room - offsets[i]) {
            return fault(r, PUMICE_ERROR_FORMAT,
                         "is cut off or damaged: tensor '%.*s' passes the end of the file; "
                         "download it again",
                         NAME(t->name));
        }
        t->data = g->data + base + offsets[i];
    }
    return PUMICE_OK;
}

static int by_address(const void *a, const void *b)
{
    const pum_gguf_tensor *x = *(const pum_gguf_tensor *const *)a,
                          *y = *(const pum_gguf_tensor *const *)b;
    return x->data < y->data ? -1 : x->data > y->data;
}

static pumice_status check_overlap(const reader *r, const pum_gguf *g)
{
    const pum_gguf_tensor **sorted = pum_alloc_array(g->n_tensors, sizeof *sorted);
    if (!sorted)
        return fault(r, PUMICE_ERROR_HOST_MEMORY, "cannot be opened: no memory for its tensors");
    for (size_t i = 0; i < g->n_tensors; i++) sorted[i] = &g->tensors[i];
    if (g->n_tensors) qsort(sorted, g->n_tensors, sizeof *sorted, by_address);
    pumice_status status = PUMICE_OK;
    for (size_t i = 1; i < g->n_tensors && status == PUMICE_OK; i++) {
        const pum_gguf_tensor *a = sorted[i - 1], *b = sorted[i];
        if ((uint64_t)(b->data - a->data) < a->bytes) {
            status = fault(r, PUMICE_ERROR_FORMAT, "is damaged: tensors '%.*s' and '%.*s' overlap",
                           NAME(a->name), NAME(b->name));
        }
    }
    pum_free(sorted);
    return status;
}

static pumice_status read_tensors(reader *r, pum_gguf *g, uint64_t count)
{
    if (count > left(r) / MIN_TENSOR_BYTES || count >= UINT32_MAX) {
        return fault(r, PUMICE_ERROR_FORMAT, "is cut off or damaged: its header says %llu tensors",
                     (unsigned long long)count);
    }
    pumice_status status = PUMICE_OK;
    uint64_t *offsets = pum_alloc_array((size_t)count, sizeof *offsets);
    g->tensors = pum_alloc_array((size_t)count, sizeof *g->tensors);
    if (!offsets || !g->tensors ||
        !pum_name_index_init(&g->tensor_index, pum_gguf_tensor_name, count)) {
        status = fault(r, PUMICE_ERROR_HOST_MEMORY, "cannot be opened: no memory for its tensors");
        goto fail;
    }
    PUM_GOTO(read_tensor_list(r, g, count, offsets));
    PUM_GOTO(place_tensors(r, g, offsets));
    PUM_GOTO(check_overlap(r, g));
fail:
    pum_free(offsets);
    return status;
}

/* ---- opening ---- */

static pumice_status read_header(reader *r, pum_gguf *g)
{
    const uint8_t *p = take(r, 8);
    if (!p || memcmp(p, "GGUF", 4) != 0) {
        return fault(r, PUMICE_ERROR_FORMAT, "is not a GGUF file: its first bytes are not 'GGUF'");
    }
    g->version = read_u32(p + 4);
    uint32_t swapped = g->version >> 24 | (g->version >> 8 & 0xff00) |
                       (g->version << 8 & 0xff0000) | g->version << 24;
    if (swapped >= 1 && swapped <= 0xffff) {
        return fault(
            r, PUMICE_ERROR_UNSUPPORTED,
            "is a big-endian GGUF file; convert the model again for little-endian machines");
    }
    if (g->version != 2 && g->version != 3) {
        return fault(r, PUMICE_ERROR_UNSUPPORTED, "is GGUF version %u; only 2 and 3 can be read%s",
                     g->version, g->version == 1 ? ", so convert the model again" : "");
    }
    if (!(p = take(r, 16))) return cut_off(r, "the header");
    uint64_t n_tensors = read_u64(p), n_kvs = read_u64(p + 8);
    PUM_TRY(read_metadata(r, g, n_kvs));
    PUM_TRY(read_alignment(r, g));
    return read_tensors(r, g, n_tensors);
}

static pumice_status open_bytes(pum_gguf *g, const char *name, pumice_error *err)
{
    g->path = pum_strdup(name);
    if (!g->path) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'", name);
    reader r = { .g = g, .err = err };
    return read_header(&r, g);
}

pumice_status pum_gguf_open_memory(const void *data, size_t bytes, const char *name,
                                   pum_gguf **out_gguf, pumice_error *err)
{
    *out_gguf = NULL;
    pum_gguf *g = pum_alloc(sizeof *g);
    if (!g) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'", name);
    g->data = data;
    g->size = bytes;
    pumice_status status = open_bytes(g, name, err);
    if (status != PUMICE_OK) {
        pum_gguf_close(&g);
        return status;
    }
    *out_gguf = g;
    return PUMICE_OK;
}

pumice_status pum_gguf_open(const char *path, pum_gguf **out_gguf, pumice_error *err)
{
    *out_gguf = NULL;
    pum_gguf *g = pum_alloc(sizeof *g);
    if (!g) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to open '%s'", path);
    pumice_status status = pum_file_map(path, &g->file, err);
    if (status == PUMICE_OK) {
        g->data = g->file.data;
        g->size = g->file.size_bytes;
        status = open_bytes(g, path, err);
    }
    if (status != PUMICE_OK) {
        pum_gguf_close(&g);
        return status;
    }
    *out_gguf = g;
    return PUMICE_OK;
}

void pum_gguf_prefetch(const pum_gguf *gguf) { pum_file_prefetch(&gguf->file); }

void pum_gguf_close(pum_gguf **gguf)
{
    if (!gguf || !*gguf) return;
    pum_gguf *g = *gguf;
    pum_name_index_free(&g->kv_index);
    pum_name_index_free(&g->tensor_index);
    pum_free(g->kvs);
    pum_free(g->tensors);
    pum_free(g->path);
    pum_arena_free(&g->arena);
    pum_file_unmap(&g->file);
    if (g->release) g->release(g->owner);
    pum_free(g);
    *gguf = NULL;
}

/* ---- queries ---- */

const char *pum_gguf_path(const pum_gguf *gguf) { return gguf->path; }
uint32_t pum_gguf_version(const pum_gguf *gguf) { return gguf->version; }
uint64_t pum_gguf_size_bytes(const pum_gguf *gguf) { return gguf->size; }
size_t pum_gguf_kv_count(const pum_gguf *gguf) { return gguf->n_kvs; }
size_t pum_gguf_tensor_count(const pum_gguf *gguf) { return gguf->n_tensors; }

pum_str pum_gguf_kv_name(const void *gguf, size_t index)
{
    return ((const pum_gguf *)gguf)->kvs[index].key;
}

pum_str pum_gguf_tensor_name(const void *gguf, size_t index)
{
    return ((const pum_gguf *)gguf)->tensors[index].name;
}

pum_str pum_gguf_kv_key(const pum_gguf *gguf, size_t index)
{
    return index < gguf->n_kvs ? gguf->kvs[index].key : (pum_str){ "", 0 };
}

const pum_gguf_value *pum_gguf_kv_at(const pum_gguf *gguf, size_t index)
{
    return index < gguf->n_kvs ? &gguf->kvs[index].value : NULL;
}

const pum_gguf_value *pum_gguf_find(const pum_gguf *gguf, const char *key)
{
    size_t i;
    pum_str name = { key, strlen(key) };
    return pum_name_index_find(&gguf->kv_index, gguf, name, &i) ? &gguf->kvs[i].value : NULL;
}

const pum_gguf_tensor *pum_gguf_tensor_at(const pum_gguf *gguf, size_t index)
{
    return index < gguf->n_tensors ? &gguf->tensors[index] : NULL;
}

const pum_gguf_tensor *pum_gguf_tensor_find(const pum_gguf *gguf, const char *name)
{
    size_t i;
    pum_str s = { name, strlen(name) };
    return pum_name_index_find(&gguf->tensor_index, gguf, s, &i) ? &gguf->tensors[i] : NULL;
}

/* An integer of any width as sign and magnitude-carrying bits: *negative tells how to read *out. */
static bool get_integer(pum_gguf_type type, const uint8_t *p, uint64_t *out, bool *negative)
{
    switch (type) {
    case PUM_GGUF_U8:
    case PUM_GGUF_U16:
    case PUM_GGUF_U32:
    case PUM_GGUF_U64:
        *out = read_le(p, value_types[type].bytes);
        *negative = false;
        return true;
    case PUM_GGUF_I8:
    case PUM_GGUF_I16:
    case PUM_GGUF_I32:
    case PUM_GGUF_I64: {
        uint32_t bits = 8 * value_types[type].bytes;
        uint64_t v = read_le(p, value_types[type].bytes);
        *negative = v >> (bits - 1);
        *out = *negative && bits < 64 ? v | UINT64_MAX << bits : v; /* sign-extended */
        return true;
    }
    default:
        return false;
    }
}

static bool get_i64(pum_gguf_type type, const uint8_t *p, int64_t *out)
{
    uint64_t v;
    bool negative;
    if (!get_integer(type, p, &v, &negative) || (!negative && v > INT64_MAX)) return false;
    memcpy(out, &v, sizeof v); /* two's complement */
    return true;
}

static bool get_f64(pum_gguf_type type, const uint8_t *p, double *out)
{
    uint64_t v;
    bool negative;
    if (type == PUM_GGUF_F32) {
        uint32_t bits = read_u32(p);
        float f;
        memcpy(&f, &bits, sizeof f);
        *out = f;
        return true;
    }
    if (type == PUM_GGUF_F64) {
        v = read_u64(p);
        memcpy(out, &v, sizeof v);
        return true;
    }
    if (!get_integer(type, p, &v, &negative)) return false;
    *out = negative ? -(double)(0 - v) : (double)v;
    return true;
}

bool pum_gguf_u64(const pum_gguf *gguf, const char *key, uint64_t *out)
{
    const pum_gguf_value *v = pum_gguf_find(gguf, key);
    uint64_t x;
    bool negative;
    if (!v || !get_integer(v->type, v->data, &x, &negative) || negative) return false;
    *out = x;
    return true;
}

bool pum_gguf_u32(const pum_gguf *gguf, const char *key, uint32_t *out)
{
    uint64_t x;
    if (!pum_gguf_u64(gguf, key, &x) || x > UINT32_MAX) return false;
    *out = (uint32_t)x;
    return true;
}

bool pum_gguf_i32(const pum_gguf *gguf, const char *key, int32_t *out)
{
    const pum_gguf_value *v = pum_gguf_find(gguf, key);
    int64_t x;
    if (!v || !get_i64(v->type, v->data, &x) || x < INT32_MIN || x > INT32_MAX) return false;
    *out = (int32_t)x;
    return true;
}

bool pum_gguf_f32(const pum_gguf *gguf, const char *key, float *out)
{
    const pum_gguf_value *v = pum_gguf_find(gguf, key);
    double x;
    if (!v || !get_f64(v->type, v->data, &x)) return false;
    if (x > 3.4028234e38 ||
        x < -3.4028234e38) { /* an f64 that no float holds; infinities stay what they are */
        if (v->type != PUM_GGUF_F32) return false;
    }
    *out = (float)x;
    return true;
}

bool pum_gguf_bool(const pum_gguf *gguf, const char *key, bool *out)
{
    const pum_gguf_value *v = pum_gguf_find(gguf, key);
    if (!v || v->type != PUM_GGUF_BOOL) return false;
    *out = v->data[0] != 0;
    return true;
}

bool pum_gguf_str(const pum_gguf *gguf, const char *key, pum_str *out)
{
    const pum_gguf_value *v = pum_gguf_find(gguf, key);
    if (!v || v->type != PUM_GGUF_STRING) return false;
    *out = (pum_str){ (const char *)v->data + 8, (size_t)read_u64(v->data) };
    return true;
}

/* ---- array items ---- */

static const uint8_t *item_at(const pum_gguf_value *array, uint64_t index)
{
    if (array->type != PUM_GGUF_ARRAY || index >= array->count) return NULL;
    return array->data + index * value_types[array->item_type].bytes;
}

bool pum_gguf_item_i64(const pum_gguf_value *array, uint64_t index, int64_t *out)
{
    const uint8_t *p = item_at(array, index);
    return p && get_i64(array->item_type, p, out);
}

bool pum_gguf_item_f64(const pum_gguf_value *array, uint64_t index, double *out)
{
    const uint8_t *p = item_at(array, index);
    return p && get_f64(array->item_type, p, out);
}

bool pum_gguf_next_str(const pum_gguf_value *array, const uint8_t **cursor, uint64_t *index,
                       pum_str *out)
{
    if (array->type != PUM_GGUF_ARRAY || array->item_type != PUM_GGUF_STRING) return false;
    if (!*cursor) {
        *cursor = array->data;
        *index = 0;
    } else {
        ++*index;
    }
    if (*index >= array->count) return false;
    *out = (pum_str){ (const char *)*cursor + 8, (size_t)read_u64(*cursor) };
    *cursor += 8 + out->count;
    return true;
}

bool pum_gguf_item_str(const pum_gguf_value *array, uint64_t index, pum_str *out)
{
    const uint8_t *cursor = NULL;
    uint64_t i = 0;
    if (index >= array->count) return false;
    pum_str s = { "", 0 };
    while (pum_gguf_next_str(array, &cursor, &i, &s)) {
        if (i == index) {
            *out = s;
            return true;
        }
    }
    return false;
}
