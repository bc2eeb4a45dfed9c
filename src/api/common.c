/* SPDX-License-Identifier: Apache-2.0
 * What the API files share: params structs, status names, sizes of sessions. No decisions beyond
 * defaults. */
#include "api.h"

#include <string.h>

static const char *const status_names[] = {
    "ok",
    "invalid argument",
    "file error",
    "damaged file",
    "not supported",
    "out of host memory",
    "out of device memory",
    "no usable device",
    "device lost",
    "cancelled",
    "context full",
    "internal error",
};

const char *pumice_status_name(pumice_status status)
{
    return status >= 0 && (size_t)status < PUM_COUNT(status_names) ? status_names[status]
                                                                   : "unknown status";
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const char *pumice_version(void)
{
    return TEXT(PUMICE_VERSION_MAJOR) "." TEXT(PUMICE_VERSION_MINOR) "." TEXT(PUMICE_VERSION_PATCH);
}

pumice_status pum_params_check(uint32_t struct_size, size_t least, const char *what,
                               pumice_error *err)
{
    if (struct_size >= least && struct_size <= 65536) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_INVALID, "%s.struct_size is %u: set it to sizeof(%s)", what,
                    struct_size, what);
}

void pum_params_copy(void *out, size_t out_bytes, const void *params)
{
    memset(out, 0, out_bytes);
    if (!params) return;
    uint32_t size;
    memcpy(&size, params, sizeof size); /* struct_size is the first field of every params struct */
    memcpy(out, params, PUM_MIN((size_t)size, out_bytes));
}

bool pum_kv_dtype(pumice_kv_type type, pum_dtype *out)
{
    switch (type) {
    case PUMICE_KV_DEFAULT:
    case PUMICE_KV_F16:
        *out = PUM_DTYPE_F16;
        return true;
    case PUMICE_KV_F32:
        *out = PUM_DTYPE_F32;
        return true;
    case PUMICE_KV_Q8_0:
        *out = PUM_DTYPE_Q8_0;
        return true;
    case PUMICE_KV_Q4_0:
        *out = PUM_DTYPE_Q4_0;
        return true;
    default:
        return false;
    }
}

static pumice_status check_kv_type(pum_dtype type, const pum_hparams *hp, const char *which,
                                   pumice_error *err)
{
    const pum_dtype_info *info = pum_dtype_get(type);
    uint32_t head_dim = hp->head_dim;
    if (head_dim % info->block_elems == 0) head_dim = hp->encoder.head_dim; /* 0: no encoder */
    if (head_dim % info->block_elems == 0) return PUMICE_OK;
    return pum_fail(err, PUMICE_ERROR_UNSUPPORTED,
                    "a %s cache of type %s takes heads whose size is a multiple of %u, but this "
                    "model's heads have %u: use f16 or f32",
                    which, info->name, info->block_elems, head_dim);
}

pumice_status pum_context_too_long(uint32_t n_ctx, uint32_t train, pumice_error *err)
{
    return pum_fail(err, PUMICE_ERROR_INVALID,
                    "a context of %u tokens is more than the %u this model was trained for: ask "
                    "for fewer",
                    n_ctx, train);
}

pum_plan_options pum_session_plan_options(const pumice_session_params *params)
{
    return (pum_plan_options){ .no_fusion = params->no_fusion,
                               .max_submit_ns = (uint64_t)params->max_submit_us * 1000,
                               .q8_activations = params->activations == PUMICE_ACTIVATIONS_Q8 };
}

pumice_status pum_session_size_make(const pum_model_def *def, const pumice_session_params *params,
                                    pum_session_size *out, pumice_error *err)
{
    enum { MAX_SEQUENCES = 256, MAX_BATCH = 4096, DEFAULT_CTX = 4096, DEFAULT_BATCH = 256 };
    const uint64_t max_logits_bytes = 32ull << 20;
    *out = (pum_session_size){ 0 };
    pum_session_size z = { 0 };
    uint32_t train = def->hp.n_ctx_train;
    z.n_ctx = params->n_ctx_tokens ? params->n_ctx_tokens : PUM_MIN(train, (uint32_t)DEFAULT_CTX);
    z.n_sequences = params->n_sequences ? params->n_sequences : 1;
    z.n_batch =
        PUM_MIN(params->n_batch_tokens ? params->n_batch_tokens : (uint32_t)DEFAULT_BATCH, z.n_ctx);
    if (z.n_ctx > train) return pum_context_too_long(z.n_ctx, train, err);
    if (z.n_sequences > MAX_SEQUENCES || z.n_batch > MAX_BATCH) {
        return pum_fail(err, PUMICE_ERROR_INVALID,
                        "at most %d sequences and a batch of %d tokens are possible, not %u "
                        "and %u",
                        MAX_SEQUENCES, MAX_BATCH, z.n_sequences, z.n_batch);
    }
    if (!pum_kv_dtype(params->kv_type_k, &z.kv_k) || !pum_kv_dtype(params->kv_type_v, &z.kv_v)) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "unknown KV cache type: use f16, f32, q8_0 or q4_0");
    }
    if (params->activations < PUMICE_ACTIVATIONS_DEFAULT || params->activations > PUMICE_ACTIVATIONS_Q8) {
        return pum_fail(err, PUMICE_ERROR_INVALID, "unknown type of activations: use f32 or q8");
    }
    PUM_TRY(check_kv_type(z.kv_k, &def->hp, "K", err));
    PUM_TRY(check_kv_type(z.kv_v, &def->hp, "V", err));
    uint32_t rows = PUM_MAX(z.n_batch, z.n_sequences);
    uint64_t fit = max_logits_bytes / ((uint64_t)def->hp.n_vocab * 4);
    z.logits_rows = (uint32_t)PUM_MAX(PUM_MIN(fit, z.n_batch), z.n_sequences);
    bool encoder = def->hp.encoder.n_layers > 0;
    uint64_t states = encoder ? (uint64_t)z.n_ctx * def->hp.n_embd * 4 : 0;
    z.logits_bytes = PUM_MAX((uint64_t)z.logits_rows * def->hp.n_vocab * 4, states);
    /* a second table per sequence: for what attends to the encoder's output */
    z.step = pum_step_layout_make(rows, z.n_sequences, z.n_sequences << encoder, z.n_ctx);
    z.pages_per_sequence = z.step.pages_per_sequence;
    z.pages = (uint64_t)z.pages_per_sequence * z.n_sequences;
    *out = z;
    return PUMICE_OK;
}

/* Matrices that are the file's, whose pages a device may be given; vectors are not worth it. */
static void add_host(const pum_model_def *def, size_t i, pum_tensor_size *out)
{
    const pum_weight *w = &def->weights.data[i], *before = i ? w - 1 : NULL;
    if (!w->data || w->owned || !w->splittable || w->stored != w->dtype) return;
    out->host_at = (uintptr_t)w->data;
    out->host_bytes = w->rows * w->row_bytes;
    out->host_same = !pum_dtype_get(w->dtype)->planes[0].bytes;
    out->joins = w->joins && before && before->splittable && before->dtype == w->dtype && before->cols == w->cols;
}

pumice_status pum_weights_place(const pum_model_def *def, const pum_caps *caps, bool in_place, pum_placement *out,
                                pumice_error *err)
{
    *out = (pum_placement){ 0 };
    pum_tensor_size *sizes = pum_alloc_array(def->weights.count + 1, sizeof *sizes);
    if (!sizes) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to lay out the weights");
    for (size_t i = 0; i < def->weights.count; i++) {
        const pum_weight *w = &def->weights.data[i];
        sizes[i] = (pum_tensor_size){ .name = w->name, .rows = w->rows, .splittable = w->splittable };
        if (in_place) add_host(def, i, &sizes[i]);
        pum_dtype_device_row_bytes(w->dtype, w->cols, &sizes[i].row_bytes); /* 0 is refused below */
    }
    pumice_status status = pum_placement_make(sizes, def->weights.count, caps, out, err);
    pum_free(sizes);
    return status;
}

pumice_status pum_kv_place(const pum_model_def *def, const pum_caps *caps, pum_dtype k, pum_dtype v,
                           uint64_t pages, pum_placement *out, pumice_error *err)
{
    *out = (pum_placement){ 0 };
    const pum_hparams *hp = &def->hp;
    size_t count = 2 * (size_t)hp->n_layers << (hp->encoder.n_layers > 0);
    bool encodes = def->encoder.layers.count > 0, alone = encodes && hp->n_layers == 0;
    if (alone) count = 2; /* for the encoder's own layers */
    pum_tensor_size *sizes = pum_alloc_array(count, sizeof *sizes);
    if (!sizes) return pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to lay out the KV cache");
    for (size_t i = 0; i < count; i++) {
        pum_dtype type = i % 2 ? v : k;
        uint64_t row_bytes = 0; /* 0, which is refused, when the type cannot hold the head */
        pum_dtype_row_bytes(type, pum_kv_cols(hp->head_dim), &row_bytes);
        sizes[i] = (pum_tensor_size){ .name = i % 2 ? "V cache" : "K cache",
                                      .rows = pages * KV_PAGE * hp->n_kv_heads,
                                      .row_bytes = row_bytes };
        if (!encodes || i / 2 != hp->n_layers) continue;
        /* the encoder's own layers use this one too, maybe with other heads (model.h) */
        pum_tensor_size other = sizes[i];
        other.rows = pages * KV_PAGE * hp->encoder.n_heads;
        pum_dtype_row_bytes(type, pum_kv_cols(hp->encoder.head_dim), &other.row_bytes);
        if (alone || other.rows * other.row_bytes > sizes[i].rows * sizes[i].row_bytes) sizes[i] = other;
    }
    pumice_status status = pum_placement_make(sizes, count, caps, out, err);
    pum_free(sizes);
    return status;
}
