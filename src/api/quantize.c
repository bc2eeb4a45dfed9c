/* SPDX-License-Identifier: Apache-2.0
 * pumice_quantize: a GGUF file to another with fewer bits, tensor by tensor through the device, in
 * bounded memory. Decides the order of things; which type a tensor gets is model/quant_mix.c's. */
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

typedef struct quantize {
    const pumice_quantize_params *params;
    const pum_quant_mix *mix;
    pum_gguf *gguf;
    item *items; /* one per tensor of the file */
    pum_quantizer quantizer;
    pum_file_out out;
    uint64_t written, total; /* of the source's tensors: progress */
    pumice_error *err;
} quantize;

static uint64_t rows_of(const pum_gguf_tensor *t) { return t->ne[1] * t->ne[2] * t->ne[3]; }

static pum_quant_model facts_of(const pum_gguf *gguf)
{
    pum_quant_model m = { .has_output = pum_gguf_tensor_find(gguf, "output.weight") != NULL };
    char key[128];
    pum_str arch = { "", 0 };
    pum_gguf_str(gguf, "general.architecture", &arch);
    snprintf(key, sizeof key, "%.*s.block_count", (int)PUM_MIN(arch.count, 64), arch.data);
    pum_gguf_u32(gguf, key, &m.n_layers);
    snprintf(key, sizeof key, "%.*s.expert_count", (int)PUM_MIN(arch.count, 64), arch.data);
    pum_gguf_u32(gguf, key, &m.n_experts);
    return m;
}

/* ---- what the new file will hold ---- */

static pumice_status choose(quantize *z)
{
    pum_quant_model model = facts_of(z->gguf);
    size_t n = pum_gguf_tensor_count(z->gguf);
    z->items = pum_alloc_array(n + 1, sizeof *z->items);
    if (!z->items) return pum_fail(z->err, PUMICE_ERROR_HOST_MEMORY, "no memory to quantize");
    for (size_t i = 0; i < n; i++) {
        const pum_gguf_tensor *t = pum_gguf_tensor_at(z->gguf, i);
        item *it = &z->items[i];
        it->type = pum_quant_mix_choose(z->mix, &model, t->name, t->n_dims, t->ne[0], t->type,
                                        &it->fallback);
        if (it->type != t->type && !pum_quantizer_can(t->type, it->type)) {
            return pum_fail(z->err, PUMICE_ERROR_UNSUPPORTED,
                            "'%s' cannot be quantized: tensor '%.*s' is %s already, so start from "
                            "a file in F32, F16 or BF16",
                            pum_gguf_path(z->gguf), (int)PUM_MIN(t->name.count, 64), t->name.data,
                            pum_dtype_get(t->type)->name);
        }
        uint64_t row_bytes = 0;
        pum_dtype_row_bytes(it->type, t->ne[0], &row_bytes);
        it->bytes = row_bytes * rows_of(t);
        z->total += t->bytes;
    }
    return PUMICE_OK;
}

static bool is_replaced(pum_str key)
{
    return pum_str_equal(key, "general.file_type") ||
           pum_str_equal(key, "general.quantization_version") ||
           pum_str_equal(key, "general.alignment");
}

static pumice_status write_header(quantize *z)
{
    pum_gguf_writer w = { 0 };
    pum_text header = { 0 };
    for (size_t i = 0; i < pum_gguf_kv_count(z->gguf); i++) {
        if (!is_replaced(pum_gguf_kv_key(z->gguf, i))) pum_gguf_put_copy(&w, z->gguf, i);
    }
    pum_gguf_put_u32(&w, "general.quantization_version", 2);
    pum_gguf_put_u32(&w, "general.file_type", z->mix->file_type);
    for (size_t i = 0; i < pum_gguf_tensor_count(z->gguf); i++) {
        const pum_gguf_tensor *t = pum_gguf_tensor_at(z->gguf, i);
        pum_gguf_put_tensor(&w, t->name, t->n_dims, t->ne, z->items[i].type, &z->items[i].offset);
    }
    pum_gguf_header(&w, &header);
    pumice_status status =
        header.failed ? pum_fail(z->err, PUMICE_ERROR_HOST_MEMORY, "no memory to quantize")
                      : pum_file_append(&z->out, header.data, header.count, z->err);
    pum_text_free(&header);
    pum_gguf_writer_free(&w);
    return status;
}

/* ---- tensors ---- */

static pumice_status step(quantize *z, uint64_t bytes)
{
    const pumice_quantize_params *p = z->params;
    z->written += bytes;
    if (p->progress && p->progress(p->progress_user, z->written, z->total)) {
        return pum_fail(z->err, PUMICE_ERROR_CANCELLED, "quantizing was cancelled");
    }
    return PUMICE_OK;
}

static pumice_status copy_tensor(quantize *z, const pum_gguf_tensor *t)
{
    const uint64_t chunk = 8ull << 20;
    for (uint64_t at = 0; at < t->bytes; at += chunk) {
        uint64_t n = PUM_MIN(chunk, t->bytes - at);
        PUM_TRY(pum_file_append(&z->out, t->data + at, (size_t)n, z->err));
        PUM_TRY(step(z, n));
    }
    return PUMICE_OK;
}

static pumice_status convert_tensor(quantize *z, const pum_gguf_tensor *t, pum_dtype to,
                                    pum_quant_error *error)
{
    uint64_t cols = t->ne[0], all = rows_of(t), in = 0, device = 0, file = 0;
    uint64_t most = PUM_MIN(pum_quantizer_rows(t->type, to, cols), all);
    pum_dtype_row_bytes(t->type, cols, &in);
    pum_dtype_row_bytes(to, cols, &file);
    pum_dtype_device_row_bytes(to, cols, &device);
    uint8_t *packed = pum_alloc((size_t)pum_align_up(most * device, 4));
    uint8_t *blocks = pum_alloc((size_t)(most * file));
    pumice_status status = PUMICE_OK;
    if (!packed || !blocks) {
        PUM_GOTO(pum_fail(z->err, PUMICE_ERROR_HOST_MEMORY, "no memory to quantize"));
    }
    for (uint64_t row = 0; row < all; row += most) {
        uint64_t n = PUM_MIN(most, all - row);
        PUM_GOTO(pum_quantizer_run(&z->quantizer, t->type, t->data + row * in, to, n, cols, packed,
                                   NULL, 0, error, z->err));
        pum_dtype_unpack_rows(to, n, cols, packed, blocks);
        PUM_GOTO(pum_file_append(&z->out, blocks, (size_t)(n * file), z->err));
        PUM_GOTO(step(z, n * in));
    }
fail:
    pum_free(packed);
    pum_free(blocks);
    return status;
}

static pumice_status write_tensor(quantize *z, size_t i)
{
    static const char zeros[PUM_GGUF_ALIGN];
    const pum_gguf_tensor *t = pum_gguf_tensor_at(z->gguf, i);
    const item *it = &z->items[i];
    pum_quant_error error = { 0 };
    PUM_TRY(it->type == t->type ? copy_tensor(z, t) : convert_tensor(z, t, it->type, &error));
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

pumice_status pumice_quantize(pumice_device *device, const pumice_quantize_params *params,
                              pumice_error *err)
{
    pum_error_clear(err);
    if (!device || !params) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "a device and params must be given");
    }
    PUM_TRY(pum_params_check(params->struct_size, sizeof(uint32_t), "pumice_quantize_params", err));
    pumice_quantize_params p;
    pum_params_copy(&p, sizeof p, params);
    if (!p.in_path || !p.out_path || !p.type) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "in_path, out_path and type must be given");
    }
    quantize z = { .params = &p, .quantizer = { .vk = device->vk }, .err = err };
    pumice_status status;
    z.mix = pum_quant_mix_find(p.type);
    if (!z.mix) {
        char known[160];
        pum_quant_mix_names(known, sizeof known);
        return pum_fail(err, PUMICE_ERROR_INVALID, "unknown type '%.32s': use one of %s", p.type,
                        known);
    }
    PUM_GOTO(pum_gguf_open(p.in_path, &z.gguf, err));
    PUM_GOTO(choose(&z));
    PUM_GOTO(pum_file_create(p.out_path, &z.out, err));
    PUM_GOTO(write_header(&z));
    for (size_t i = 0; i < pum_gguf_tensor_count(z.gguf); i++) PUM_GOTO(write_tensor(&z, i));
    PUM_GOTO(pum_file_commit(&z.out, err));
fail:
    pum_file_discard(&z.out);
    pum_quantizer_free(&z.quantizer);
    pum_free(z.items);
    pum_gguf_close(&z.gguf);
    return status;
}
