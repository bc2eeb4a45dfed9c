/* SPDX-License-Identifier: Apache-2.0
 * Public model functions: opens the file, has the weights laid out and uploads them; tokenizer
 * calls. */
#include "part.h"
#include "quant_mix.h"
#include "ring.h"
#include "settle.h"
#include "sizes.h"
#include "warm.h"

#include <stdio.h>
#include <string.h>

static void destroy(pumice_model *m)
{
    if (m->joined) pum_group_quit(m);
    pum_free(m->quit);
    pum_parts_free(m);
    pum_model_def_free(&m->def);
    pum_tokenizer_destroy(&m->tokenizer);
    pum_gguf_close(&m->gguf);
    pum_free(m);
}

/* A model may come without a tokenizer: it then works on token ids alone. */
static pumice_status open_tokenizer(pumice_model *m, const char *path, pumice_error *err)
{
    if (pum_model_is_gguf(path)) {
        if (pum_tokenizer_is_none(m->gguf)) return PUMICE_OK;
        return pum_error_place(err, pum_tokenizer_create(m->gguf, &m->tokenizer, err), path);
    }
    return pum_tokenizer_path_ok(path) ? pum_tokenizer_create_path(path, &m->tokenizer, err)
                                       : PUMICE_OK;
}

/* ---- loading ---- */

typedef struct load {
    pumice_model *model;
    pumice_model_params params;
    pumice_device *const *devices;
    uint32_t n_devices;
    pum_warm warm;
    uint64_t began_ns;
    pumice_error err;
} load;

static pumice_status check_params(load *l)
{
    const pumice_model_params *p = &l->params;
    const pumice_transport *t = p->transport;
    if (!p->path) {
        return pum_fail(&l->err, PUMICE_ERROR_INVALID, "params.path must name a model file");
    }
    for (uint32_t i = 0; !p->vocab_only && (!l->devices || i < l->n_devices); i++) {
        if (l->devices && l->devices[i]) continue;
        return pum_fail(&l->err, PUMICE_ERROR_INVALID, "a device must be given");
    }
    if (p->in_place > PUMICE_IN_PLACE_NEVER) {
        return pum_fail(&l->err, PUMICE_ERROR_INVALID, "params.in_place is %u: give one of PUMICE_IN_PLACE_...",
                        p->in_place);
    }
    if (!t) return PUMICE_OK;
    PUM_TRY(pum_params_check(t->struct_size, sizeof *t, "pumice_transport", &l->err));
    if (t->rank < t->n_ranks && t->n_ranks <= PUM_MAX_PARTS && t->send && t->receive &&
        l->n_devices == 1) {
        return PUMICE_OK;
    }
    return pum_fail(&l->err, PUMICE_ERROR_INVALID,
                    "rank %u of %u with %u devices: up to %d ranks are possible, with one device each "
                    "and both functions of a transport",
                    t->rank, t->n_ranks, l->n_devices, PUM_MAX_PARTS);
}

/* The file and what it says of the model. Before the tokenizer: names the architecture if it is
 * unknown. Without weights, what is there is shown. */
static pumice_status open_file(load *l)
{
    const pumice_model_params *p = &l->params;
    pumice_model *m = l->model;
    pumice_error ignored = { 0 };
    PUM_TRY(pum_model_open(p->path, &m->gguf, &l->err));
    if (!p->vocab_only) PUM_TRY(pum_model_need_weights(p->path, m->gguf, &l->err));
    pumice_status status = pum_model_def_load(m->gguf, &m->def, p->vocab_only ? &ignored : &l->err);
    if (p->vocab_only) return PUMICE_OK;
    if (status != PUMICE_OK) return status;
    if (p->quant) PUM_TRY(pum_quant_mix_apply(p->quant, m->gguf, &m->def, &l->err));
    pum_gguf_prefetch(m->gguf);
    return PUMICE_OK;
}

static pumice_status fill(load *l)
{
    pumice_model *m = l->model;
    pum_warm_begin(&l->warm, m, l->params.session, l->params.sampling);
    PUM_TRY(open_tokenizer(m, l->params.path, &l->err));
    m->open_ns = pum_now_ns() - l->began_ns;
    PUM_TRY(pum_parts_upload(m, &l->params, &l->err));
    m->upload_ns = pum_now_ns() - l->began_ns - m->open_ns;
    pum_warm_end(&l->warm, false);
    m->ahead_ns = pum_now_ns() - l->began_ns - m->open_ns - m->upload_ns;
    if (m->transport.n_ranks < 2 || m->transport.rank != 0) return PUMICE_OK;
    m->quit = pum_message_make(PUM_MESSAGE_QUIT, 0, 0);
    return m->quit ? PUMICE_OK
                   : pum_fail(&l->err, PUMICE_ERROR_HOST_MEMORY, "no memory to load the model");
}

static pumice_status load_vocabulary(load *l)
{
    pumice_model *m = l->model;
    const char *path = l->params.path;
    if (pum_tokenizer_path_alone(path)) {
        return pum_tokenizer_create_path(path, &m->tokenizer, &l->err);
    }
    PUM_TRY(open_file(l));
    PUM_TRY(open_tokenizer(m, path, &l->err));
    m->open_ns = pum_now_ns() - l->began_ns;
    return PUMICE_OK;
}

static pumice_status load_weights(load *l)
{
    const pumice_model_params *p = &l->params;
    PUM_TRY(open_file(l));
    PUM_TRY(pum_parts_make(l->model, l->devices, l->n_devices, p->split, p->session, &l->err));
    return fill(l);
}

/* Ranks take part in what they do together, whatever befell them before. */
static pumice_status load_with_others(load *l)
{
    pumice_model *m = l->model;
    uint32_t counts[PUM_MAX_PARTS], first = 0, rank = m->transport.rank;
    pumice_status status = open_file(l);
    PUM_TRY(pum_group_cut(m, l->devices[0], &l->params, status, counts, &l->err));
    for (uint32_t i = 0; i < rank; i++) first += counts[i];
    status = pum_parts_make_one(m, l->devices[0], first, counts[rank], &l->err);
    if (status == PUMICE_OK) status = fill(l);
    PUM_TRY(pum_group_agree(&m->transport, status, &l->err));
    m->joined = rank == 0;
    return PUMICE_OK;
}

pumice_status pumice_model_load(pumice_device *device, const pumice_model_params *params,
                                pumice_model **out_model, pumice_error *err)
{
    pum_error_clear(err);
    if (!out_model) return pum_fail(err, PUMICE_ERROR_INVALID, "out_model must be given");
    *out_model = NULL;
    if (!params) return pum_fail(err, PUMICE_ERROR_INVALID, "params must be given");
    PUM_TRY(pum_params_check(params->struct_size, sizeof(uint32_t), "pumice_model_params", err));
    load l = { .began_ns = pum_now_ns() };
    pum_params_copy(&l.params, sizeof l.params, params);
    l.devices = l.params.n_devices ? l.params.devices : &device;
    l.n_devices = l.params.n_devices ? l.params.n_devices : 1;
    pumice_status status = check_params(&l);
    if (status == PUMICE_OK && !(l.model = pum_alloc(sizeof *l.model))) {
        status = pum_fail(&l.err, PUMICE_ERROR_HOST_MEMORY, "no memory to load the model");
    }
    if (status == PUMICE_OK) {
        atomic_init(&l.model->references, 1);
        atomic_init(&l.model->in_session, false);
        l.model->vocab_only = l.params.vocab_only;
        l.model->in_place = l.params.in_place;
        if (l.params.transport && !l.params.vocab_only) l.model->transport = *l.params.transport;
        status = l.params.vocab_only                ? load_vocabulary(&l)
                 : l.model->transport.n_ranks > 1 ? load_with_others(&l)
                                                  : load_weights(&l);
        pum_warm_end(&l.warm, status != PUMICE_OK);
        if (status != PUMICE_OK) destroy(l.model);
    }
    for (uint32_t i = 0; status == PUMICE_OK && i < l.model->n_parts; i++) pum_settle_begin(&l.model->parts[i]);
    if (status == PUMICE_OK) *out_model = l.model;
    else if (err) *err = l.err;
    return status;
}

void pum_model_keep(pumice_model *model) { atomic_fetch_add(&model->references, 1); }

void pumice_model_destroy(pumice_model **model)
{
    if (!model || !*model) return;
    pumice_model *m = *model;
    *model = NULL;
    if (atomic_fetch_sub(&m->references, 1) == 1) destroy(m);
}

/* A token id that the model's metadata names; -1 if it names none. */
static int32_t token_key(const pumice_model *m, const char *key)
{
    uint32_t id;
    return m->gguf && pum_gguf_u32(m->gguf, key, &id) && id <= INT32_MAX ? (int32_t)id : -1;
}

bool pum_model_ends(const pumice_model *model, int32_t token)
{
    if (model->tokenizer && pum_tokenizer_ends(model->tokenizer, token)) return true;
    const pum_gguf_value *list =
        model->gguf ? pum_gguf_find(model->gguf, "tokenizer.ggml.eot_token_ids") : NULL;
    int64_t id;
    for (uint64_t i = 0; list && pum_gguf_item_i64(list, i, &id); i++) {
        if (id == token) return true;
    }
    return !model->tokenizer && token == token_key(model, "tokenizer.ggml.eos_token_id");
}

static const char *rope_name(const pum_hparams *hp)
{
    if (hp->n_layers == 0) return ""; /* nobody could read it */
    switch (hp->rope.kind) {
    case PUM_ROPE_LINEAR:
        return "linear";
    case PUM_ROPE_YARN:
        return "yarn";
    case PUM_ROPE_LLAMA3:
        return "llama3";
    case PUM_ROPE_NTK:
        return "ntk";
    case PUM_ROPE_LONG:
        return "longrope";
    default:
        return hp->rope.dynamic ? "dynamic" : "none";
    }
}

static void copy_text(const pum_gguf *gguf, const char *key, char *out, size_t capacity)
{
    pum_str s;
    if (gguf && pum_gguf_str(gguf, key, &s))
        snprintf(out, capacity, "%.*s", (int)PUM_MIN(s.count, capacity), s.data);
}

/* What one decoded token reads and computes. */
static void count_decode(const pum_model_def *def, pumice_model_info *info)
{
    const pum_decoding d = { .experts = def->hp.n_experts, .experts_used = def->hp.n_experts_used,
                             .tied = def->hp.tied_head };
    for (size_t i = 0; i < def->weights.count; i++) {
        const pum_weight *w = &def->weights.data[i];
        pum_str name = { w->name, strlen(w->name) };
        uint64_t row_bytes = 0, flops = 2 * w->rows * w->cols;
        pum_dtype_row_bytes(w->dtype, w->cols, &row_bytes);
        info->decode_bytes += pum_sizes_decoding(&d, name, w->rows * row_bytes);
        if (w->rows > 1 && !w->is_constant) {
            info->decode_flops += pum_sizes_decoding(&d, name, flops);
        }
        if ((int32_t)i == def->head) info->head_flops = flops;
    }
}

static uint32_t objective_of(const pum_hparams *hp)
{
    if (hp->encoder.n_layers) return PUMICE_OBJECTIVE_ENCODER_DECODER;
    return hp->sop_token != PUM_NO_TOKEN ? PUMICE_OBJECTIVE_PREFIX : PUMICE_OBJECTIVE_CAUSAL;
}

pumice_status pumice_model_get_info(const pumice_model *model, pumice_model_info *info)
{
    if (!model || !info || info->struct_size < sizeof(uint32_t) || info->struct_size > 65536) {
        return PUMICE_ERROR_INVALID;
    }
    const pum_hparams *hp = &model->def.hp;
    uint32_t size = info->struct_size;
    pum_sizes sizes = { 0 };
    if (model->gguf) pum_sizes_measure(model->gguf, &sizes);
    pumice_model_info full = { .struct_size = size,
                               .file_bytes = model->gguf ? pum_gguf_size_bytes(model->gguf) : 0,
                               .parameters = sizes.parameters,
                               .weight_bytes = pum_parts_weight_bytes(model),
                               .n_layers = hp->n_layers,
                               .n_embd = hp->n_embd,
                               .n_heads = hp->n_heads,
                               .n_kv_heads = hp->n_kv_heads,
                               .head_dim = hp->head_dim,
                               .n_ff = hp->n_ff,
                               .n_vocab = hp->n_vocab,
                               .n_ctx_train = hp->n_ctx_train,
                               .token_bos = token_key(model, "tokenizer.ggml.bos_token_id"),
                               .token_eos = token_key(model, "tokenizer.ggml.eos_token_id"),
                               .token_unk = -1,
                               .tied_head = hp->tied_head,
                               .n_encoder_layers = hp->encoder.n_layers,
                               .token_start = hp->encoder.n_layers ? (int32_t)hp->start_token : -1,
                               .objective = objective_of(hp) };
    const pum_tokenizer *t = model->tokenizer;
    if (t) {
        if (!full.n_vocab) full.n_vocab = pum_tokenizer_count(t);
        full.token_bos = pum_tokenizer_bos(t);
        full.token_eos = pum_tokenizer_eos(t);
        full.token_unk = pum_tokenizer_unk(t);
        snprintf(full.tokenizer, sizeof full.tokenizer, "%s", pum_tokenizer_kind(t));
    }
    copy_text(model->gguf, "general.architecture", full.architecture, sizeof full.architecture);
    copy_text(model->gguf, "general.name", full.name, sizeof full.name);
    copy_text(model->gguf, "general.license", full.license, sizeof full.license);
    copy_text(model->gguf, "pumice.left_out", full.left_out, sizeof full.left_out);
    snprintf(full.file_type, sizeof full.file_type, "%s", hp->file_type);
    snprintf(full.rope_scaling, sizeof full.rope_scaling, "%s", rope_name(hp));
    count_decode(&model->def, &full);
    memcpy(info, &full, PUM_MIN((size_t)size, sizeof full));
    return PUMICE_OK;
}

int pumice_model_get_part(const pumice_model *model, uint32_t index, pumice_model_part *out_part)
{
    if (!model || !out_part || out_part->struct_size < sizeof(uint32_t) ||
        out_part->struct_size > 65536 || index >= model->n_parts) {
        return 0;
    }
    const pum_model_part *p = &model->parts[index];
    uint64_t row = p->def->goes_on ? (uint64_t)p->def->hp.n_embd * 4 : 0;
    pumice_model_part full = { .struct_size = out_part->struct_size,
                               .first_layer = p->def->first_layer,
                               .n_layers = p->def->hp.n_layers,
                               .weight_bytes = p->placement.total_bytes,
                               .row_bytes = row,
                               .first_encoder_layer = p->def->encoder.first_layer,
                               .n_encoder_layers = (uint32_t)p->def->encoder.layers.count };
    memcpy(out_part, &full, PUM_MIN((size_t)full.struct_size, sizeof full));
    return 1;
}

pumice_status pumice_tokenize(const pumice_model *model, const char *text, size_t text_bytes,
                              uint32_t flags, int32_t *tokens, size_t capacity, size_t *out_count)
{
    if (!model || !out_count || (text_bytes && !text) || (capacity && !tokens))
        return PUMICE_ERROR_INVALID;
    *out_count = 0;
    if (!model->tokenizer) return PUMICE_ERROR_UNSUPPORTED;
    pum_tokens ids = { 0 };
    pumice_status status =
        pum_tokenizer_encode(model->tokenizer, text ? text : "", text_bytes, flags, &ids, NULL);
    if (status == PUMICE_OK) {
        *out_count = ids.count;
        if (ids.count && capacity)
            memcpy(tokens, ids.data, PUM_MIN(ids.count, capacity) * sizeof *tokens);
    }
    pum_array_free(&ids);
    return status;
}

/* The ids without those that only the model's matrices have, which may have more rows than the
 * tokenizer has tokens. */
static bool with_text(const pumice_model *model, const int32_t *tokens, size_t count,
                      pum_tokens *out)
{
    int64_t known = pum_tokenizer_count(model->tokenizer), rows = model->def.hp.n_vocab;
    if (!pum_array_reserve(out, count)) return false;
    for (size_t i = 0; i < count; i++) {
        if (tokens[i] < known || tokens[i] >= rows) out->data[out->count++] = tokens[i];
    }
    return true;
}

pumice_status pumice_detokenize(const pumice_model *model, const int32_t *tokens, size_t count,
                                uint32_t flags, char *text, size_t capacity, size_t *out_bytes)
{
    if (!model || !out_bytes || (count && !tokens) || (capacity && !text))
        return PUMICE_ERROR_INVALID;
    *out_bytes = 0;
    if (!model->tokenizer) return PUMICE_ERROR_UNSUPPORTED;
    pum_text out = { 0 };
    pum_tokens ids = { 0 };
    pumice_status status = PUMICE_ERROR_HOST_MEMORY;
    if (with_text(model, tokens, count, &ids)) {
        status = pum_tokenizer_decode_all(model->tokenizer, ids.data, ids.count,
                                          flags & PUMICE_DETOKENIZE_SPECIAL, &out);
    }
    pum_array_free(&ids);
    if (out.failed) status = PUMICE_ERROR_HOST_MEMORY;
    if (status == PUMICE_OK) {
        *out_bytes = out.count;
        if (out.count && capacity) memcpy(text, out.data, PUM_MIN(out.count, capacity));
    }
    pum_text_free(&out);
    return status;
}
