/* SPDX-License-Identifier: Apache-2.0
 * From a file's tensors to the list of weights that go to the device: which must be there under
 * which name, their shapes and types. Matrices stay as the file stores them; norms and biases,
 * which kernels read as F32, are converted if need be. Tensors that no row names are ignored. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "arch.h"

/* When a tensor must be there; those of IF_PRESENT are used where the file has them. */
typedef enum need { ALWAYS, IF_PRESENT, IF_QKV_BIAS, IF_GATED, IF_SERIAL, IF_POST_NORMS } need;

typedef enum size { ONE, EMBD, Q, KV, FF, VOCAB, SIZE_COUNT } size;

/* A tensor, of a layer (after "blk.N.") or of the model: its shape, and the field that gets its
 * index. Rows of ONE are vectors. In the order of use, since that is the order in device memory. */
typedef struct row {
    const char *name;
    size_t at;
    size rows, cols;
    need need;
} row;

#define AT(field) offsetof(pum_layer, field)
static const row layer_rows[] = {
    { "attn_norm.weight",           AT(attn_norm),      ONE,  EMBD, ALWAYS },
    { "attn_norm.bias",             AT(attn_norm_b),    ONE,  EMBD, IF_PRESENT },
    { "attn_q.weight",              AT(q),              Q,    EMBD, ALWAYS },
    { "attn_q.bias",                AT(q_b),            ONE,  Q,    IF_QKV_BIAS },
    { "attn_k.weight",              AT(k),              KV,   EMBD, ALWAYS },
    { "attn_k.bias",                AT(k_b),            ONE,  KV,   IF_QKV_BIAS },
    { "attn_v.weight",              AT(v),              KV,   EMBD, ALWAYS },
    { "attn_v.bias",                AT(v_b),            ONE,  KV,   IF_QKV_BIAS },
    { "attn_output.weight",         AT(o),              EMBD, Q,    ALWAYS },
    { "attn_output.bias",           AT(o_b),            ONE,  EMBD, IF_PRESENT },
    { "post_attention_norm.weight", AT(attn_post_norm), ONE,  EMBD, IF_POST_NORMS },
    { "ffn_norm.weight",            AT(ffn_norm),       ONE,  EMBD, IF_SERIAL },
    { "ffn_norm.bias",              AT(ffn_norm_b),     ONE,  EMBD, IF_PRESENT },
    { "ffn_gate.weight",            AT(gate),           FF,   EMBD, IF_GATED },
    { "ffn_gate.bias",              AT(gate_b),         ONE,  FF,   IF_PRESENT },
    { "ffn_up.weight",              AT(up),             FF,   EMBD, ALWAYS },
    { "ffn_up.bias",                AT(up_b),           ONE,  FF,   IF_PRESENT },
    { "ffn_down.weight",            AT(down),           EMBD, FF,   ALWAYS },
    { "ffn_down.bias",              AT(down_b),         ONE,  EMBD, IF_PRESENT },
    { "post_ffw_norm.weight",       AT(ffn_post_norm),  ONE,  EMBD, IF_POST_NORMS },
};
#undef AT

#define AT(field) offsetof(pum_model_def, field)
static const row first_row = { "token_embd.weight", AT(embed), VOCAB, EMBD, ALWAYS };
static const row last_rows[] = {
    { "output_norm.weight", AT(output_norm),   ONE,   EMBD,  ALWAYS },
    { "output_norm.bias",   AT(output_norm_b), ONE,   EMBD,  IF_PRESENT },
    { "output.weight",      AT(head),          VOCAB, EMBD,  IF_PRESENT },
    { "output.bias",        AT(head_b),        ONE,   VOCAB, IF_PRESENT },
};
#undef AT

typedef struct loader {
    const pum_arch *arch;
    const pum_gguf *gguf;
    pum_model_def *def;
    uint64_t sizes[SIZE_COUNT];
    pumice_error *err;
} loader;

static pumice_status no_memory(const loader *l)
{
    return pum_model_fail(l->gguf, l->err, PUMICE_ERROR_HOST_MEMORY,
                          "no memory to load the weights");
}

/* ---- shapes and types ---- */

/* "[512 x 64]", rows first, as messages show shapes. */
static void shape_text(const uint64_t *ne, uint32_t n_dims, char *out, size_t capacity)
{
    size_t n = (size_t)snprintf(out, capacity, "[");
    for (uint32_t i = n_dims; i-- > 0 && n < capacity;) {
        n += (size_t)snprintf(out + n, capacity - n, "%llu%s", (unsigned long long)ne[i],
                              i ? " x " : "]");
    }
}

static pumice_status check_shape(const loader *l, const char *name, const pum_gguf_tensor *t,
                                 uint64_t rows, uint64_t cols)
{
    if (t->ne[0] == cols && t->ne[1] == rows && t->ne[2] == 1 && t->ne[3] == 1) return PUMICE_OK;
    char has[96], wants[64];
    const uint64_t ne[] = { cols, rows };
    shape_text(t->ne, PUM_MIN(PUM_MAX(t->n_dims, 1u), 4u), has, sizeof has);
    shape_text(ne, rows == 1 ? 1 : 2, wants, sizeof wants);
    return PUM_DAMAGED(l, "tensor '%s' has the shape %s, but must have %s", name, has, wants);
}

static pumice_status unsupported_type(const loader *l, const char *name, pum_dtype type)
{
    char known[96] = "";
    size_t n = 0;
    for (int i = 0; i < PUM_DTYPE_COUNT && n < sizeof known; i++) {
        const pum_dtype_info *info = pum_dtype_get((pum_dtype)i);
        if (!info->is_weight) continue;
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", info->name);
    }
    const pum_dtype_info *info = pum_dtype_get(type);
    return PUM_UNSUPPORTED(l, "tensor '%s' is of type %s, which is not supported; these are: %s",
                           name, info ? info->name : "?", known);
}

/* ---- conversion to F32 ---- */

static float f32_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float f32_of_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    if (exponent == 31) return f32_of_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * ldexpf((float)mantissa, -24);
    return f32_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

/* Values of F32, F16 or BF16, unaligned in the file, as F32. */
static void convert(const pum_gguf_tensor *t, uint64_t count, float *out)
{
    for (uint64_t i = 0; i < count; i++) {
        uint16_t half;
        if (t->type == PUM_DTYPE_F32) {
            memcpy(&out[i], t->data + 4 * i, 4);
            continue;
        }
        memcpy(&half, t->data + 2 * i, 2);
        out[i] = t->type == PUM_DTYPE_F16 ? f32_of_f16(half) : f32_of_bits((uint32_t)half << 16);
    }
}

/* ---- adding weights ---- */

static pumice_status push(loader *l, pum_weight w, int32_t *out_index)
{
    if (!pum_array_push(&l->def->weights, w)) {
        pum_free(w.owned);
        return no_memory(l);
    }
    if (!w.is_constant) l->def->parameters += w.rows * w.cols;
    *out_index = (int32_t)(l->def->weights.count - 1);
    return PUMICE_OK;
}

static pumice_status add_matrix(loader *l, const char *name, const pum_gguf_tensor *t,
                                int32_t *out_index)
{
    const pum_dtype_info *info = pum_dtype_get(t->type);
    pum_weight w = { .dtype = t->type, .rows = t->ne[1], .cols = t->ne[0], .data = t->data,
                     .splittable = true };
    uint64_t bytes;
    if (!info || !info->is_weight) return unsupported_type(l, name, t->type);
    if (!pum_dtype_row_bytes(w.dtype, w.cols, &w.row_bytes) ||
        !pum_mul_u64(w.rows, w.row_bytes, &bytes) || bytes != t->bytes) {
        return PUM_DAMAGED(l, "rows of tensor '%s' are no whole number of blocks of %s", name,
                           info->name);
    }
    snprintf(w.name, sizeof w.name, "%s", name);
    return push(l, w, out_index);
}

static pumice_status add_vector(loader *l, const char *name, const pum_gguf_tensor *t,
                                int32_t *out_index)
{
    uint64_t n = t->ne[0];
    pum_weight w = { .dtype = PUM_DTYPE_F32, .rows = 1, .cols = n, .row_bytes = 4 * n,
                     .data = t->data };
    if (t->type != PUM_DTYPE_F32 && t->type != PUM_DTYPE_F16 && t->type != PUM_DTYPE_BF16) {
        const pum_dtype_info *info = pum_dtype_get(t->type);
        return PUM_UNSUPPORTED(l,
                               "tensor '%s' is of type %s, but norms and biases are supported as "
                               "F32, F16 and BF16 only",
                               name, info ? info->name : "?");
    }
    if (t->type != PUM_DTYPE_F32) {
        w.owned = pum_alloc_array(n, sizeof(float));
        if (!w.owned) return no_memory(l);
        convert(t, n, w.owned);
        w.data = w.owned;
    }
    snprintf(w.name, sizeof w.name, "%s", name);
    return push(l, w, out_index);
}

static bool is_wanted(const loader *l, need n, bool *out_required)
{
    uint32_t options = l->arch->options;
    *out_required = n == ALWAYS || (n == IF_QKV_BIAS && options & PUM_ARCH_QKV_BIAS) ||
                    n == IF_GATED || (n == IF_SERIAL && !(options & PUM_ARCH_PARALLEL)) ||
                    n == IF_POST_NORMS;
    if (n == IF_GATED) return !(options & PUM_ARCH_UNGATED);
    if (n == IF_POST_NORMS) return options & PUM_ARCH_POST_NORMS;
    return true;
}

/* layer < 0: a tensor of the model. `fields`: the pum_layer or pum_model_def that it belongs to. */
static pumice_status load_row(loader *l, const row *r, int32_t layer, void *fields)
{
    char name[64];
    int32_t index = -1;
    bool required;
    if (layer < 0) snprintf(name, sizeof name, "%s", r->name);
    else snprintf(name, sizeof name, "blk.%d.%s", (int)layer, r->name);
    bool wanted = is_wanted(l, r->need, &required);
    const pum_gguf_tensor *t = wanted ? pum_gguf_tensor_find(l->gguf, name) : NULL;
    if (t) {
        PUM_TRY(check_shape(l, name, t, l->sizes[r->rows], l->sizes[r->cols]));
        PUM_TRY(r->rows == ONE ? add_vector(l, name, t, &index) : add_matrix(l, name, t, &index));
    } else if (wanted && required) {
        return PUM_DAMAGED(l, "tensor '%s' is missing", name);
    }
    memcpy((char *)fields + r->at, &index, sizeof index);
    return PUMICE_OK;
}

/* ---- rotary frequencies ---- */

/* rope_freqs.weight: what Llama 3's scaling divides each frequency by; NULL if there is none. */
static pumice_status load_factors(loader *l, float **out_factors)
{
    pum_hparams *hp = &l->def->hp;
    const char *name = "rope_freqs.weight";
    const pum_gguf_tensor *t = pum_gguf_tensor_find(l->gguf, name);
    uint32_t n = hp->rot_dim / 2;
    float largest = 1.0f;
    *out_factors = NULL;
    if (!t) return PUMICE_OK;
    PUM_TRY(check_shape(l, name, t, 1, n));
    if (t->type != PUM_DTYPE_F32) {
        return PUM_DAMAGED(l, "tensor '%s' must be of type F32", name);
    }
    float *factors = pum_alloc_array(n, sizeof *factors);
    if (!factors) return no_memory(l);
    convert(t, n, factors);
    for (uint32_t i = 0; i < n; i++) {
        largest = PUM_MAX(largest, factors[i]);
        if (factors[i] >= 1e-3f && factors[i] <= 1e6f) continue;
        float bad = factors[i];
        pum_free(factors);
        return PUM_DAMAGED(l, "item %u of tensor '%s' is %g, but must be from 0.001 to 1e+06", i,
                           name, (double)bad);
    }
    if (hp->rope.kind == PUM_ROPE_NONE) {
        hp->rope.kind = PUM_ROPE_LLAMA3; /* which files tell by this tensor alone */
        hp->rope.factor = largest;
    }
    *out_factors = factors;
    return PUMICE_OK;
}

static pumice_status add_frequencies(loader *l)
{
    uint32_t words = l->def->hp.rot_dim;
    float *factors;
    PUM_TRY(load_factors(l, &factors));
    pum_weight w = { .name = "rope_freq", .dtype = PUM_DTYPE_F32, .rows = 1, .cols = words,
                     .row_bytes = 4ull * words, .is_constant = true };
    w.owned = pum_alloc_array(words, sizeof(uint32_t));
    if (w.owned) pum_rope_frequencies(&l->def->hp, factors, w.owned, &l->def->rope_scale);
    w.data = w.owned;
    pum_free(factors);
    return w.owned ? push(l, w, &l->def->rope_freq) : no_memory(l);
}

/* ---- the whole ---- */

static pumice_status load_layers(loader *l)
{
    uint32_t n = l->def->hp.n_layers;
    for (uint32_t i = 0; i < n; i++) {
        pum_layer layer = { .q_norm = -1, .k_norm = -1 };
        for (size_t k = 0; k < PUM_COUNT(layer_rows); k++) {
            PUM_TRY(load_row(l, &layer_rows[k], (int32_t)i, &layer));
        }
        if (!pum_array_push(&l->def->layers, layer)) return no_memory(l);
    }
    return PUMICE_OK;
}

pumice_status pum_weights_load(const pum_arch *arch, const pum_gguf *gguf, pum_model_def *def,
                               pumice_error *err)
{
    pum_hparams *hp = &def->hp;
    loader l = { .arch = arch, .gguf = gguf, .def = def, .err = err };
    const pum_gguf_tensor *table = pum_gguf_tensor_find(gguf, first_row.name);
    if (!hp->n_vocab && table) hp->n_vocab = (uint32_t)PUM_MIN(table->ne[1], 1u << 24);
    l.sizes[ONE] = 1;
    l.sizes[EMBD] = hp->n_embd;
    l.sizes[Q] = (uint64_t)hp->n_heads * hp->head_dim;
    l.sizes[KV] = (uint64_t)hp->n_kv_heads * hp->head_dim;
    l.sizes[FF] = hp->n_ff;
    l.sizes[VOCAB] = hp->n_vocab;
    PUM_TRY(load_row(&l, &first_row, -1, def));
    PUM_TRY(add_frequencies(&l));
    PUM_TRY(load_layers(&l));
    for (size_t i = 0; i < PUM_COUNT(last_rows); i++) PUM_TRY(load_row(&l, &last_rows[i], -1, def));
    hp->tied_head = def->head < 0;
    if (hp->tied_head) def->head = def->embed;
    return PUMICE_OK;
}
