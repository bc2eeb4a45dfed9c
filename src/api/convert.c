/* SPDX-License-Identifier: Apache-2.0
 * pumice_convert and pumice_quantize: a model to one GGUF file, tensor by tensor, in bounded memory.
 * Decides the order of things and what others expect of a file besides its tensors; which type a
 * tensor gets is model/quant_mix.c's, what tensors and keys are called model/hf_*.c's. */
#include "api.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gguf_write.h"
#include "quant_mix.h"
#include "quantizer.h"

typedef struct item {
    pum_dtype type; /* in the new file */
    bool fallback;
    uint64_t offset, bytes;
} item;

typedef struct convert {
    const pumice_quantize_params *params;
    const char *verb;         /* "convert" or "quantize", for messages */
    const pum_quant_mix *mix; /* NULL: types stay */
    bool gguf_source;         /* and no directory */
    pum_gguf *gguf;
    pum_gguf *tokenizer; /* its keys, where the source is a directory */
    item *items;         /* one per tensor of the source */
    pum_quantizer quantizer;
    uint8_t *rows; /* of the source, where they must be gathered */
    pum_file_out out;
    uint64_t written, total; /* of the source's tensors: progress */
    pumice_error *err;
} convert;

static uint64_t rows_of(const pum_gguf_tensor *t) { return t->ne[1] * t->ne[2] * t->ne[3]; }

static bool is_plain(pum_dtype type)
{
    return type == PUM_DTYPE_F32 || type == PUM_DTYPE_F16 || type == PUM_DTYPE_BF16;
}

static pumice_status no_memory(const convert *z)
{
    return pum_fail(z->err, PUMICE_ERROR_HOST_MEMORY, "no memory to %s '%s'", z->verb,
                    z->params->in_path);
}

/* ---- the tokenizer of a directory ---- */

static pumice_status export_tokenizer(convert *z)
{
    const char *path = z->params->in_path;
    const pum_gguf_tensor *table = pum_gguf_tensor_find(z->gguf, "token_embd.weight");
    pum_tokenizer *tokenizer = NULL;
    pumice_status status;
    if (z->gguf_source) return PUMICE_OK;
    PUM_TRY(pum_gguf_create(path, NULL, NULL, &z->tokenizer, z->err));
    if (!pum_tokenizer_path_ok(path)) {
        pum_gguf_set_text(z->tokenizer, "tokenizer.ggml.model", "none");
        return pum_gguf_seal(z->tokenizer, z->err);
    }
    PUM_GOTO(pum_tokenizer_create_path(path, &tokenizer, z->err));
    PUM_GOTO(pum_tokenizer_export_gguf(tokenizer, table ? (uint32_t)table->ne[1] : 0, z->tokenizer,
                                       z->err));
    PUM_GOTO(pum_gguf_seal(z->tokenizer, z->err));
fail:
    pum_tokenizer_destroy(&tokenizer);
    return status;
}

/* ---- what the new file will hold ---- */

/* Small tensors that are never quantized are F32 in files made from a directory, as others make
 * them and expect them. */
static pum_dtype wanted(const convert *z, const pum_quant_model *model, const pum_gguf_tensor *t,
                        bool *out_fallback)
{
    *out_fallback = false;
    if (!z->gguf_source && pum_quant_mix_keeps(t->name, t->n_dims)) return PUM_DTYPE_F32;
    if (!z->mix) return t->type;
    return pum_quant_mix_choose(z->mix, model, t->name, t->n_dims, t->ne[0], t->type, out_fallback);
}

static pumice_status check_type(const convert *z, const pum_gguf_tensor *t, pum_dtype to)
{
    if (t->type == to || (is_plain(t->type) && is_plain(to))) return PUMICE_OK;
    if (!pum_quantizer_can(t->type, to)) {
        return pum_fail(z->err, PUMICE_ERROR_UNSUPPORTED,
                        "'%s' cannot be made %s: tensor '%.*s' is %s already, so start from "
                        "a file in F32, F16 or BF16",
                        z->params->in_path, z->mix->name, (int)PUM_MIN(t->name.count, 64),
                        t->name.data, pum_dtype_get(t->type)->name);
    }
    if (z->quantizer.vk) return PUMICE_OK;
    return pum_fail(z->err, PUMICE_ERROR_INVALID, "a device must be given to write %s",
                    z->mix->name);
}

static pumice_status choose(convert *z)
{
    pum_quant_model model = pum_quant_model_of(z->gguf);
    size_t n = pum_gguf_tensor_count(z->gguf);
    z->items = pum_alloc_array(n + 1, sizeof *z->items);
    if (!z->items) return no_memory(z);
    for (size_t i = 0; i < n; i++) {
        const pum_gguf_tensor *t = pum_gguf_tensor_at(z->gguf, i);
        item *it = &z->items[i];
        it->type = wanted(z, &model, t, &it->fallback);
        PUM_TRY(check_type(z, t, it->type));
        uint64_t row_bytes = 0;
        pum_dtype_row_bytes(it->type, t->ne[0], &row_bytes);
        it->bytes = row_bytes * rows_of(t);
        z->total += t->bytes;
    }
    return PUMICE_OK;
}

/* ---- metadata ---- */

static bool is_replaced(const convert *z, pum_str key)
{
    if (z->mix && pum_str_equal(key, "general.quantization_version")) return true;
    return pum_str_equal(key, "general.file_type") || pum_str_equal(key, "general.alignment");
}

/* general.file_type: the mix's, the source's, or that of a directory's matrices. */
static bool file_type_of(const convert *z, uint32_t *out_type)
{
    const pum_gguf_tensor *t = pum_gguf_tensor_find(z->gguf, "token_embd.weight");
    if (z->mix) *out_type = z->mix->file_type;
    if (z->mix || z->gguf_source || !t) {
        return z->mix || pum_gguf_u32(z->gguf, "general.file_type", out_type);
    }
    *out_type = t->type == PUM_DTYPE_F32 ? 0 : t->type == PUM_DTYPE_F16 ? 1 : 32;
    return true;
}

/* What the tokenizer's files say wins over config.json. */
static void put_keys(const convert *z, pum_gguf_writer *w)
{
    uint32_t file_type;
    for (size_t i = 0; i < pum_gguf_kv_count(z->gguf); i++) {
        pum_str key = pum_gguf_kv_key(z->gguf, i);
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)PUM_MIN(key.count, sizeof name - 1), key.data);
        if (is_replaced(z, key) || (z->tokenizer && pum_gguf_find(z->tokenizer, name))) continue;
        pum_gguf_put_copy(w, z->gguf, i);
    }
    for (size_t i = 0; z->tokenizer && i < pum_gguf_kv_count(z->tokenizer); i++) {
        pum_gguf_put_copy(w, z->tokenizer, i);
    }
    if (z->mix) pum_gguf_put_u32(w, "general.quantization_version", 2);
    if (file_type_of(z, &file_type)) pum_gguf_put_u32(w, "general.file_type", file_type);
}

static pumice_status write_header(convert *z)
{
    pum_gguf_writer w = { 0 };
    pum_text header = { 0 };
    put_keys(z, &w);
    for (size_t i = 0; i < pum_gguf_tensor_count(z->gguf); i++) {
        const pum_gguf_tensor *t = pum_gguf_tensor_at(z->gguf, i);
        pum_gguf_put_tensor(&w, t->name, t->n_dims, t->ne, z->items[i].type, &z->items[i].offset);
    }
    pum_gguf_header(&w, &header);
    pumice_status status = header.failed
                               ? no_memory(z)
                               : pum_file_append(&z->out, header.data, header.count, z->err);
    pum_text_free(&header);
    pum_gguf_writer_free(&w);
    return status;
}

/* ---- tensors ---- */

static pumice_status step(convert *z, uint64_t bytes)
{
    const pumice_quantize_params *p = z->params;
    z->written += bytes;
    if (p->progress && p->progress(p->progress_user, z->written, z->total)) {
        return pum_fail(z->err, PUMICE_ERROR_CANCELLED, "writing '%s' was cancelled", p->out_path);
    }
    return PUMICE_OK;
}

/* Rows as the source stores them: in place, or gathered into z->rows, which must have room. */
static pumice_status source_rows(convert *z, const pum_gguf_tensor *t, uint64_t first, uint64_t n,
                                 const void **out_rows)
{
    uint64_t row_bytes = t->bytes / rows_of(t);
    if (t->data) *out_rows = t->data + first * row_bytes;
    else *out_rows = z->rows;
    return t->data ? PUMICE_OK : pum_gguf_read_rows(t, first, n, z->rows, z->err);
}

/* Rounds or widens plain numbers here. */
static void convert_rows(const pum_gguf_tensor *t, pum_dtype to, const void *rows, uint64_t count,
                         void *out, pum_quant_error *error)
{
    enum { PIECE = 1024 };
    uint32_t in = pum_dtype_get(t->type)->block_bytes, bytes = pum_dtype_get(to)->block_bytes;
    float x[PIECE], y[PIECE];
    for (uint64_t at = 0; at < count; at += PIECE) {
        uint64_t n = PUM_MIN(count - at, PIECE);
        pum_dtype_to_f32(t->type, (const uint8_t *)rows + at * in, n, x);
        pum_dtype_from_f32(to, x, n, (uint8_t *)out + at * bytes);
        pum_dtype_to_f32(to, (const uint8_t *)out + at * bytes, n, y);
        for (uint64_t i = 0; i < n; i++) {
            double d = fabs((double)y[i] - (double)x[i]);
            error->squares += d * d;
            error->size += (double)x[i] * (double)x[i];
            error->most = PUM_MAX(error->most, d);
        }
    }
}

typedef struct buffers {
    uint64_t rows; /* they have room for */
    uint64_t in_bytes, out_bytes; /* of a row, in both files */
    uint8_t *packed, *blocks;
} buffers;

static pumice_status make_buffers(convert *z, const pum_gguf_tensor *t, pum_dtype to,
                                  buffers *out_buffers)
{
    buffers b = { .in_bytes = t->bytes / rows_of(t) };
    uint64_t device = 0;
    b.rows = PUM_MIN(pum_quantizer_rows(t->type, to, t->ne[0]), rows_of(t));
    pum_dtype_row_bytes(to, t->ne[0], &b.out_bytes);
    pum_dtype_device_row_bytes(to, t->ne[0], &device);
    bool changes = to != t->type;
    b.packed = changes ? pum_alloc((size_t)pum_align_up(b.rows * device, 4)) : NULL;
    b.blocks = changes ? pum_alloc((size_t)(b.rows * b.out_bytes)) : NULL;
    z->rows = t->data ? NULL : pum_alloc((size_t)(b.rows * b.in_bytes));
    *out_buffers = b;
    bool good = (!changes || (b.packed && b.blocks)) && (t->data || z->rows);
    return good ? PUMICE_OK : no_memory(z);
}

/* One chunk of rows in the new type. */
static pumice_status make_rows(convert *z, const pum_gguf_tensor *t, pum_dtype to, const void *rows,
                               uint64_t n, const buffers *b, pum_quant_error *error)
{
    uint64_t cols = t->ne[0];
    if (!z->quantizer.vk || !pum_quantizer_can(t->type, to)) {
        convert_rows(t, to, rows, n * cols, b->blocks, error);
        return PUMICE_OK;
    }
    PUM_TRY(pum_quantizer_run(&z->quantizer, t->type, rows, to, n, cols, b->packed, NULL, 0, error,
                              z->err));
    pum_dtype_unpack_rows(to, n, cols, b->packed, b->blocks);
    return PUMICE_OK;
}

static pumice_status write_rows(convert *z, const pum_gguf_tensor *t, pum_dtype to,
                                pum_quant_error *error)
{
    buffers b = { 0 };
    pumice_status status;
    PUM_GOTO(make_buffers(z, t, to, &b));
    for (uint64_t row = 0; row < rows_of(t); row += b.rows) {
        uint64_t n = PUM_MIN(b.rows, rows_of(t) - row);
        const void *rows;
        PUM_GOTO(source_rows(z, t, row, n, &rows));
        if (to == t->type) {
            PUM_GOTO(pum_file_append(&z->out, rows, (size_t)(n * b.in_bytes), z->err));
        } else {
            PUM_GOTO(make_rows(z, t, to, rows, n, &b, error));
            PUM_GOTO(pum_file_append(&z->out, b.blocks, (size_t)(n * b.out_bytes), z->err));
        }
        PUM_GOTO(step(z, n * b.in_bytes));
    }
fail:
    pum_free(b.packed);
    pum_free(b.blocks);
    pum_free(z->rows);
    z->rows = NULL;
    return status;
}

static pumice_status write_tensor(convert *z, size_t i)
{
    static const char zeros[PUM_GGUF_ALIGN];
    const pum_gguf_tensor *t = pum_gguf_tensor_at(z->gguf, i);
    const item *it = &z->items[i];
    pum_quant_error error = { 0 };
    PUM_TRY(write_rows(z, t, it->type, &error));
    uint64_t pad = pum_align_up(it->bytes, PUM_GGUF_ALIGN) - it->bytes;
    PUM_TRY(pum_file_append(&z->out, zeros, (size_t)pad, z->err));
    if (!z->params->on_tensor) return PUMICE_OK;
    pumice_quantized_tensor out = { .struct_size = sizeof out,
                                    .cols = t->ne[0],
                                    .rows = rows_of(t),
                                    .bytes_before = t->bytes,
                                    .bytes_after = it->bytes,
                                    .fallback = it->fallback };
    snprintf(out.name, sizeof out.name, "%.*s", (int)t->name.count, t->name.data);
    snprintf(out.type_before, sizeof out.type_before, "%s", pum_dtype_get(t->type)->name);
    snprintf(out.type_after, sizeof out.type_after, "%s", pum_dtype_get(it->type)->name);
    out.rms_error = error.size > 0 ? sqrt(error.squares / error.size) : 0;
    out.max_error = error.most;
    z->params->on_tensor(z->params->on_tensor_user, &out);
    return PUMICE_OK;
}

/* ---- the whole ---- */

static pumice_status write_file(convert *z)
{
    pumice_status status;
    PUM_GOTO(pum_model_open(z->params->in_path, &z->gguf, z->err));
    PUM_GOTO(pum_model_need_weights(z->params->in_path, z->gguf, z->err));
    z->gguf_source = pum_model_is_gguf(z->params->in_path);
    PUM_GOTO(choose(z));
    PUM_GOTO(export_tokenizer(z));
    PUM_GOTO(pum_file_create(z->params->out_path, &z->out, z->err));
    PUM_GOTO(write_header(z));
    for (size_t i = 0; i < pum_gguf_tensor_count(z->gguf); i++) PUM_GOTO(write_tensor(z, i));
    PUM_GOTO(pum_file_commit(&z->out, z->err));
fail:
    pum_file_discard(&z->out);
    pum_quantizer_free(&z->quantizer);
    pum_free(z->items);
    pum_gguf_close(&z->tokenizer);
    pum_gguf_close(&z->gguf);
    return status;
}

static pumice_status begin(const char *verb, bool needs_type, pumice_device *device,
                           const pumice_quantize_params *params, pumice_error *err)
{
    pum_error_clear(err);
    if (!params) return pum_fail(err, PUMICE_ERROR_INVALID, "params must be given");
    PUM_TRY(pum_params_check(params->struct_size, sizeof(uint32_t), "pumice_quantize_params", err));
    pumice_quantize_params p;
    pum_params_copy(&p, sizeof p, params);
    if (!p.in_path || !p.out_path) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "in_path and out_path must be given");
    }
    if (needs_type && (!device || !p.type)) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "a device and a type must be given");
    }
    convert z = { .params = &p, .verb = verb, .err = err };
    if (device) z.quantizer.vk = device->vk;
    if (p.type && !(z.mix = pum_quant_mix_find(p.type))) {
        char known[160];
        pum_quant_mix_names(true, known, sizeof known);
        return pum_fail(err, PUMICE_ERROR_INVALID, "unknown type '%.32s': use one of %s", p.type,
                        known);
    }
    if (pum_is_folder(p.out_path)) {
        return pum_fail(err, PUMICE_ERROR_IO, "'%s' is a folder: name the file to write",
                        p.out_path);
    }
    return write_file(&z);
}

pumice_status pumice_convert(pumice_device *device, const pumice_quantize_params *params,
                             pumice_error *err)
{
    return begin("convert", false, device, params, err);
}

pumice_status pumice_quantize(pumice_device *device, const pumice_quantize_params *params,
                              pumice_error *err)
{
    return begin("quantize", true, device, params, err);
}
