/* SPDX-License-Identifier: Apache-2.0
 * From a file's tensors to the list of weights that go to the device: which must be there under
 * which name, their shapes and types. Matrices stay as the file stores them; norms and biases,
 * which kernels read as F32, are converted if need be. A tensor that no row names is refused, since
 * to leave it out would change the result. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "sizes.h"

/* When a tensor must be there; those of MAY are used where the file has them, of MAY_EXPERTS (scales) in layers with
 * experts. Tensors of a layer ask about that layer: one may have experts and its neighbour an MLP. */
typedef enum need {
    MAY, MUST, NEVER, MAY_EXPERTS, IF_QKV_BIAS, IF_ATTN_NORM, IF_FFN_NORM, IF_POST_NORMS, IF_QK_NORM, IF_MLP,
    IF_GATE, IF_EXPERTS, IF_SHARED, IF_POSITIONS, IF_PROJECTED, IF_OUTPUT_NORM
} need;

typedef enum size {
    ONE, EMBD, Q, KV, Q_NORM, K_NORM, Q_NORMS, K_NORMS, FF, FF_EXPERT, FF_SHARED, EXPERTS, VOCAB, WORD, POSITIONS,
    SIZE_COUNT
} size;

/* A tensor, of a layer (after "blk.N.") or of the model: its shape, and the field that gets its
 * index. Rows of ONE are vectors, and so are those of Q_NORMS and K_NORMS (one, or one for each head);
 * `stack` such matrices lie below one another. In the order of use,
 * since that is the order in device memory; matrices that multiply the same rows stand together,
 * so that the planner can bind them as one (plan_stack.c). */
typedef struct row {
    const char *name;
    size_t at;
    size rows, cols;
    need need;
    size stack;
} row;

#define AT(field) offsetof(pum_layer, field)
static const row layer_rows[] = {
    { "attn_norm.weight",           AT(attn_norm),        ONE,  EMBD, IF_ATTN_NORM, ONE },
    { "attn_norm.bias",             AT(attn_norm_b),      ONE,  EMBD, MAY, ONE },
    { "attn_norm_2.weight",         AT(attn_norm_2),      ONE,  EMBD, MAY, ONE },
    { "attn_norm_2.bias",           AT(attn_norm_2_b),    ONE,  EMBD, MAY, ONE },
    { "attn_q.weight",              AT(q),                Q,    EMBD, MUST, ONE },
    { "attn_k.weight",              AT(k),                KV,   EMBD, MUST, ONE },
    { "attn_v.weight",              AT(v),                KV,   EMBD, MUST, ONE },
    { "attn_q.bias",                AT(q_b),              ONE,  Q,    IF_QKV_BIAS, ONE },
    { "attn_k.bias",                AT(k_b),              ONE,  KV,   IF_QKV_BIAS, ONE },
    { "attn_v.bias",                AT(v_b),              ONE,  KV,   IF_QKV_BIAS, ONE },
    { "attn_q_norm.weight",         AT(q_norm),           Q_NORMS, Q_NORM, IF_QK_NORM, ONE },
    { "attn_k_norm.weight",         AT(k_norm),           K_NORMS, K_NORM, IF_QK_NORM, ONE },
    { "attn_output.weight",         AT(o),                EMBD, Q,    MUST, ONE },
    { "attn_output.bias",           AT(o_b),              ONE,  EMBD, MAY, ONE },
    { "post_attention_norm.weight", AT(attn_post_norm),   ONE,  EMBD, IF_POST_NORMS, ONE },
    { "post_attention_norm.bias",   AT(attn_post_norm_b), ONE,  EMBD, MAY, ONE },
    { "ffn_norm.weight",            AT(ffn_norm),         ONE,  EMBD, IF_FFN_NORM, ONE },
    { "ffn_norm.bias",              AT(ffn_norm_b),       ONE,  EMBD, MAY, ONE },
    { "ffn_gate_inp.weight",        AT(router),           EXPERTS, EMBD, IF_EXPERTS, ONE },
    { "ffn_gate_exps.weight",       AT(gate_exps),        FF_EXPERT, EMBD, IF_EXPERTS, EXPERTS },
    { "ffn_up_exps.weight",         AT(up_exps),          FF_EXPERT, EMBD, IF_EXPERTS, EXPERTS },
    { "ffn_down_exps.weight",       AT(down_exps),        EMBD, FF_EXPERT, IF_EXPERTS, EXPERTS },
    { "ffn_gate_exps.scale",        AT(gate_exps_scale),  ONE,  EXPERTS, MAY_EXPERTS, ONE },
    { "ffn_up_exps.scale",          AT(up_exps_scale),    ONE,  EXPERTS, MAY_EXPERTS, ONE },
    { "ffn_down_exps.scale",        AT(down_exps_scale),  ONE,  EXPERTS, MAY_EXPERTS, ONE },
    { "ffn_gate_inp_shexp.weight",  AT(shared_router),    ONE,  EMBD, MAY, ONE },
    { "ffn_gate_shexp.weight",      AT(gate_shared),      FF_SHARED, EMBD, IF_SHARED, ONE },
    { "ffn_up_shexp.weight",        AT(up_shared),        FF_SHARED, EMBD, IF_SHARED, ONE },
    { "ffn_down_shexp.weight",      AT(down_shared),      EMBD, FF_SHARED, IF_SHARED, ONE },
    { "ffn_gate.weight",            AT(gate),             FF,   EMBD, IF_GATE, ONE },
    { "ffn_up.weight",              AT(up),               FF,   EMBD, IF_MLP, ONE },
    { "ffn_gate.bias",              AT(gate_b),           ONE,  FF,   MAY, ONE },
    { "ffn_up.bias",                AT(up_b),             ONE,  FF,   MAY, ONE },
    { "ffn_down.weight",            AT(down),             EMBD, FF,   IF_MLP, ONE },
    { "ffn_down.bias",              AT(down_b),           ONE,  EMBD, MAY, ONE },
    { "post_ffw_norm.weight",       AT(ffn_post_norm),    ONE,  EMBD, IF_POST_NORMS, ONE },
    { "post_ffw_norm.bias",         AT(ffn_post_norm_b),  ONE,  EMBD, MAY, ONE },
};
#undef AT

/* Layers of an encoder-decoder, after "enc.blk.N." or "dec.blk.N."; the second table: the decoder's. */
#define AT(field) offsetof(pum_layer, field)
static const row stack_layer_rows[] = {
    { "attn_norm.weight",    AT(attn_norm),   ONE,  EMBD, MUST, ONE },
    { "attn_norm.bias",      AT(attn_norm_b), ONE,  EMBD, MAY, ONE },
    { "attn_q.weight",       AT(q),           Q,    EMBD, MUST, ONE },
    { "attn_q.bias",         AT(q_b),         ONE,  Q,    MAY, ONE },
    { "attn_k.weight",       AT(k),           KV,   EMBD, MUST, ONE },
    { "attn_k.bias",         AT(k_b),         ONE,  KV,   MAY, ONE },
    { "attn_v.weight",       AT(v),           KV,   EMBD, MUST, ONE },
    { "attn_v.bias",         AT(v_b),         ONE,  KV,   MAY, ONE },
    { "attn_o.weight",       AT(o),           EMBD, Q,    MUST, ONE },
    { "attn_o.bias",         AT(o_b),         ONE,  EMBD, MAY, ONE },
    { "ffn_norm.weight",     AT(ffn_norm),    ONE,  EMBD, MUST, ONE },
    { "ffn_norm.bias",       AT(ffn_norm_b),  ONE,  EMBD, MAY, ONE },
    { "ffn_gate.weight",     AT(gate),        FF,   EMBD, IF_GATE, ONE },
    { "ffn_gate.bias",       AT(gate_b),      ONE,  FF,   MAY, ONE },
    { "ffn_up.weight",       AT(up),          FF,   EMBD, MUST, ONE },
    { "ffn_up.bias",         AT(up_b),        ONE,  FF,   MAY, ONE },
    { "ffn_down.weight",     AT(down),        EMBD, FF,   MUST, ONE },
    { "ffn_down.bias",       AT(down_b),      ONE,  EMBD, MAY, ONE },
};
static const row cross_rows[] = {
    { "cross_attn_norm.weight", AT(cross_norm),   ONE,  EMBD, MUST, ONE },
    { "cross_attn_norm.bias",   AT(cross_norm_b), ONE,  EMBD, MAY, ONE },
    { "cross_attn_q.weight",    AT(cross_q),      Q,    EMBD, MUST, ONE },
    { "cross_attn_q.bias",      AT(cross_q_b),    ONE,  Q,    MAY, ONE },
    { "cross_attn_k.weight",    AT(cross_k),      KV,   EMBD, MUST, ONE },
    { "cross_attn_k.bias",      AT(cross_k_b),    ONE,  KV,   MAY, ONE },
    { "cross_attn_v.weight",    AT(cross_v),      KV,   EMBD, MUST, ONE },
    { "cross_attn_v.bias",      AT(cross_v_b),    ONE,  KV,   MAY, ONE },
    { "cross_attn_o.weight",    AT(cross_o),      EMBD, Q,    MUST, ONE },
    { "cross_attn_o.bias",      AT(cross_o_b),    ONE,  EMBD, MAY, ONE },
};
#undef AT

/* Matrices that multiply the same rows as the row before theirs. */
static const char *const joining[] = { "attn_k.weight", "attn_v.weight", "cross_attn_v.weight", "ffn_up.weight" };

/* Matrices that a file may hold as one, below one another: without the tensor `unless`, the parts
 * are taken from `whole`, in this order. */
typedef struct fused {
    const char *whole, *unless, *part[3];
    size size[3];
    bool gated; /* of models whose MLP has a gate */
} fused;
static const fused fused_rows[] = {
    { "attn_qkv", "attn_q.weight", { "attn_q", "attn_k", "attn_v" }, { Q, KV, KV }, false },
    { "ffn_up", "ffn_gate.weight", { "ffn_gate", "ffn_up", NULL }, { FF, FF, ONE }, true },
};

#define AT(field) offsetof(pum_model_def, field)
static const row first_rows[] = {
    { "token_embd.weight",      AT(embed),        VOCAB,     WORD, MUST, ONE },
    { "proj_in.weight",         AT(embed_in),     EMBD,      WORD, IF_PROJECTED, ONE },
    { "position_embd.weight",   AT(positions),    POSITIONS, EMBD, IF_POSITIONS, ONE },
    { "token_embd_norm.weight", AT(embed_norm),   ONE,       EMBD, MAY, ONE },
    { "token_embd_norm.bias",   AT(embed_norm_b), ONE,       EMBD, MAY, ONE },
};
/* Of a stack, after "enc." or "dec."; T5 always ends one with a norm, BART never, mBART does. */
static const row decoder_rows[] = {
    { "position_embd.weight",   AT(positions),    POSITIONS, EMBD, IF_POSITIONS, ONE },
    { "token_embd_norm.weight", AT(embed_norm),   ONE, EMBD, MAY, ONE },
    { "token_embd_norm.bias",   AT(embed_norm_b), ONE, EMBD, MAY, ONE },
    { "output_norm.weight",     AT(output_norm),   ONE, EMBD, IF_OUTPUT_NORM, ONE },
    { "output_norm.bias",       AT(output_norm_b), ONE, EMBD, MAY, ONE },
};
static const row encoder_rows[] = {
    { "position_embd.weight",   AT(encoder.positions),    POSITIONS, EMBD, IF_POSITIONS, ONE },
    { "token_embd_norm.weight", AT(encoder.embed_norm),   ONE, EMBD, MAY, ONE },
    { "token_embd_norm.bias",   AT(encoder.embed_norm_b), ONE, EMBD, MAY, ONE },
    { "output_norm.weight",     AT(encoder.output_norm),   ONE, EMBD, IF_OUTPUT_NORM, ONE },
    { "output_norm.bias",       AT(encoder.output_norm_b), ONE, EMBD, MAY, ONE },
};
static const row last_rows[] = {
    { "output_norm.weight", AT(output_norm),   ONE,   EMBD,  IF_OUTPUT_NORM, ONE },
    { "output_norm.bias",   AT(output_norm_b), ONE,   EMBD,  MAY, ONE },
    { "proj_out.weight",    AT(embed_out),     WORD,  EMBD,  IF_PROJECTED, ONE },
};
static const row head_rows[] = {
    { "output.weight",      AT(head),          VOCAB, WORD,  MAY, ONE },
    { "output.bias",        AT(head_b),        ONE,   VOCAB, MAY, ONE },
};
#undef AT

/* A tensor, or the rows of one from `first` on, in `shape`: its type, size and bytes. */
typedef struct part {
    const pum_gguf_tensor *source; /* NULL: there is none */
    uint64_t first;
    pum_gguf_tensor shape;
} part;

typedef struct loader {
    const pum_arch *arch;
    const pum_gguf *gguf;
    pum_model_def *def;
    uint64_t sizes[SIZE_COUNT];
    const char *stack; /* what names begin with: "", "enc." or "dec." */
    int32_t layer;  /* that is being loaded, < 0: the model's own tensors */
    PUM_ARRAY(const pum_gguf_tensor *) used;
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
                                 uint64_t rows, uint64_t cols, uint64_t stack)
{
    const uint64_t ne[] = { cols, rows, stack };
    if (t->ne[0] == cols && t->ne[1] == rows && t->ne[2] == stack && t->ne[3] == 1) {
        return PUMICE_OK;
    }
    char has[96], wants[64];
    shape_text(t->ne, PUM_MIN(PUM_MAX(t->n_dims, 1u), 4u), has, sizeof has);
    shape_text(ne, stack != 1 ? 3 : rows == 1 ? 1 : 2, wants, sizeof wants);
    return PUM_DAMAGED(l, "tensor '%s' has the shape %s, but must have %s", name, has, wants);
}

static pumice_status unsupported_type(const loader *l, const char *name, pum_dtype type)
{
    char known[224] = "";
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

/* ---- adding weights ---- */

static pumice_status push(loader *l, pum_weight w, int32_t *out_index)
{
    w.stored = w.dtype;
    w.is_constant = w.is_constant ||
                    !pum_sizes_is_parameter(l->arch->name, (pum_str){ w.name, strlen(w.name) });
    if (!pum_array_push(&l->def->weights, w)) {
        pum_free(w.owned);
        return no_memory(l);
    }
    if (!w.is_constant) l->def->parameters += w.rows * w.cols;
    *out_index = (int32_t)(l->def->weights.count - 1);
    return PUMICE_OK;
}

static bool joins_before(const row *r)
{
    size_t i = 0;
    while (i < PUM_COUNT(joining) && strcmp(joining[i], r->name) != 0) i++;
    return i < PUM_COUNT(joining);
}

static const pum_gguf_tensor *find(loader *l, const char *name)
{
    const pum_gguf_tensor *t = pum_gguf_tensor_find(l->gguf, name);
    if (t) l->used.data[l->used.count++] = t; /* room: see pum_weights_load */
    return t;
}

static pumice_status check_scales(const loader *l, const char *name, const pum_gguf_tensor *t)
{
    if (t->type != PUM_DTYPE_F32) return PUM_DAMAGED(l, "tensor '%s' must be of type F32", name);
    for (uint64_t i = 0; t->data && i < t->ne[0]; i++) {
        float scale;
        memcpy(&scale, t->data + 4 * i, sizeof scale);
        if (scale > 0.0f && !isinf(scale)) continue;
        return PUM_DAMAGED(l, "tensor '%s' holds %g, but a scale must be finite and more than 0", name,
                           (double)scale);
    }
    return PUMICE_OK;
}

/* The number in "<matrix>.scale", which files with matrices in NVFP4 have (of experts: rows of the table above); beside
 * it may stand "<matrix>.input_scale", for engines that round activations to 4 bits. */
static pumice_status load_scale(loader *l, const part *p, float *out_scale)
{
    char name[96];
    pum_str matrix = p->source->name;
    matrix.count -= strlen(".weight"); /* what every matrix's name ends with */
    snprintf(name, sizeof name, "%.*s.input_scale", (int)PUM_MIN(matrix.count, (size_t)64), matrix.data);
    find(l, name);
    strcpy(strrchr(name, '.'), ".scale");
    if (p->shape.ne[2] != 1) return PUMICE_OK;
    const pum_gguf_tensor *t = find(l, name);
    if (!t) return PUMICE_OK;
    PUM_TRY(check_shape(l, name, t, 1, 1, 1));
    PUM_TRY(check_scales(l, name, t));
    if (t->data) memcpy(out_scale, t->data, sizeof *out_scale);
    if (*out_scale == 1.0f) *out_scale = 0.0f; /* none, so that such matrices are alike */
    return PUMICE_OK;
}

static pumice_status add_matrix(loader *l, const char *name, const part *p, bool joins, int32_t *out_index)
{
    const pum_gguf_tensor *t = &p->shape;
    const pum_dtype_info *info = pum_dtype_get(t->type);
    pum_weight w = { .dtype = t->type, .rows = t->ne[1] * t->ne[2], .cols = t->ne[0],
                     .source = p->source, .source_row = p->first, .data = t->data,
                     .splittable = true, .joins = joins };
    uint64_t bytes;
    if (!info || !info->is_weight) return unsupported_type(l, name, t->type);
    if (!pum_dtype_row_bytes(w.dtype, w.cols, &w.row_bytes) ||
        !pum_mul_u64(w.rows, w.row_bytes, &bytes) || bytes != t->bytes) {
        return PUM_DAMAGED(l, "rows of tensor '%s' are no whole number of blocks of %s", name,
                           info->name);
    }
    PUM_TRY(load_scale(l, p, &w.scale));
    snprintf(w.name, sizeof w.name, "%s", name);
    return push(l, w, out_index);
}

static pumice_status add_vector(loader *l, const char *name, const part *p, int32_t *out_index)
{
    const pum_gguf_tensor *t = &p->shape;
    uint64_t n = t->ne[0] * t->ne[1];
    pum_weight w = { .dtype = PUM_DTYPE_F32, .rows = t->ne[1], .cols = t->ne[0], .row_bytes = 4 * t->ne[0],
                     .source = p->source, .source_row = p->first, .data = t->data };
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
        pum_dtype_to_f32(t->type, t->data, n, w.owned);
        w.data = w.owned;
    }
    snprintf(w.name, sizeof w.name, "%s", name);
    return push(l, w, out_index);
}

/* Does the layer at hand have experts? */
static bool has_experts(const loader *l)
{
    const pum_hparams *hp = &l->def->hp;
    return hp->n_experts > 0 && l->layer >= (int32_t)hp->n_dense_layers;
}

static need decide(const loader *l, need n)
{
    const pum_hparams *hp = &l->def->hp;
    bool placed = (hp->norm_at & (PUM_NORM_BEFORE | PUM_NORM_SUM)) && !hp->bare_norms;
    bool yes = false;
    switch (n) {
    case MAY:
    case MUST:
    case NEVER: return n;
    case MAY_EXPERTS: return has_experts(l) ? MAY : NEVER;
    case IF_QKV_BIAS: return l->arch->options & PUM_ARCH_QKV_BIAS ? MUST : MAY;
    case IF_FFN_NORM:
        if (placed && hp->parallel) return MAY; /* one norm for both branches, or two */
        yes = placed;
        break;
    case IF_ATTN_NORM: yes = placed; break;
    case IF_POST_NORMS: yes = hp->norm_at & PUM_NORM_BRANCH; break;
    case IF_QK_NORM:
        if (l->arch->options & PUM_ARCH_QK_MAY) return MAY;
        yes = hp->qk_norm != PUM_QK_PLAIN;
        break;
    case IF_MLP: yes = !has_experts(l); break;
    case IF_GATE: yes = !has_experts(l) && hp->gated; break;
    case IF_EXPERTS: yes = has_experts(l); break;
    case IF_SHARED: yes = has_experts(l) && hp->n_ff_shared > 0; break;
    case IF_POSITIONS: yes = hp->positions; break;
    case IF_PROJECTED: yes = hp->n_word_embd != hp->n_embd; break;
    case IF_OUTPUT_NORM:
        if (hp->norm_at & PUM_NORM_SUM) return MAY;
        yes = !hp->bare_norms;
        break;
    }
    return yes ? MUST : NEVER;
}

static void full_name(const loader *l, const char *name, char out[64])
{
    if (l->layer < 0) snprintf(out, 64, "%s%s", l->stack, name);
    else snprintf(out, 64, "%sblk.%d.%s", l->stack, (int)l->layer, name);
}

/* The rows of a tensor that hold a part of it, as a tensor. */
static pumice_status cut(loader *l, const fused *f, int index, const char *suffix, bool vector,
                         uint64_t cols, part *out_part)
{
    char name[64], whole[32];
    uint64_t rows = 0, first = 0, row_bytes = 0;
    for (int i = 0; i < 3; i++) {
        if (i < index) first += l->sizes[f->size[i]];
        if (f->part[i]) rows += l->sizes[f->size[i]];
    }
    snprintf(whole, sizeof whole, "%s%s", f->whole, suffix);
    full_name(l, whole, name);
    const pum_gguf_tensor *t = find(l, name);
    if (!t) return PUMICE_OK;
    PUM_TRY(check_shape(l, name, t, vector ? 1 : rows, vector ? rows : cols, 1));
    uint64_t n = l->sizes[f->size[index]];
    if (!pum_dtype_row_bytes(t->type, vector ? 1 : cols, &row_bytes)) {
        return unsupported_type(l, name, t->type);
    }
    *out_part = (part){ .source = t, .first = first, .shape = *t };
    out_part->shape.ne[vector ? 0 : 1] = n;
    if (t->data) out_part->shape.data = t->data + first * row_bytes;
    out_part->shape.bytes = n * row_bytes;
    return PUMICE_OK;
}

/* A tensor by the name in its row, or cut from the one that a file has in its place. */
static pumice_status find_row(loader *l, const row *r, part *out_part)
{
    char name[64];
    const char *suffix = strchr(r->name, '.');
    for (size_t i = 0; i < PUM_COUNT(fused_rows) && l->layer >= 0; i++) {
        const fused *f = &fused_rows[i];
        full_name(l, f->unless, name);
        if ((f->gated && !l->def->hp.gated) || pum_gguf_tensor_find(l->gguf, name)) continue;
        for (int k = 0; k < 3 && f->part[k]; k++) {
            size_t n = strlen(f->part[k]);
            if (n == (size_t)(suffix - r->name) && strncmp(f->part[k], r->name, n) == 0) {
                return cut(l, f, k, suffix, r->rows == ONE, l->sizes[r->cols], out_part);
            }
        }
    }
    full_name(l, r->name, name);
    const pum_gguf_tensor *t = find(l, name);
    if (!t) return PUMICE_OK;
    *out_part = (part){ .source = t, .shape = *t };
    return check_shape(l, name, t, l->sizes[r->rows], l->sizes[r->cols], l->sizes[r->stack]);
}

/* `fields`: the pum_layer or pum_model_def that the row's field belongs to. */
static pumice_status load_row(loader *l, const row *r, void *fields)
{
    char name[64];
    int32_t index = -1;
    need n = decide(l, r->need);
    part p = { 0 };
    full_name(l, r->name, name);
    if (n != NEVER) PUM_TRY(find_row(l, r, &p));
    if (p.source) {
        bool vector = r->rows == ONE || r->rows == Q_NORMS || r->rows == K_NORMS;
        if (r->need == MAY_EXPERTS) PUM_TRY(check_scales(l, name, &p.shape));
        PUM_TRY(vector ? add_vector(l, name, &p, &index) : add_matrix(l, name, &p, joins_before(r), &index));
    } else if (n == MUST) {
        return PUM_DAMAGED(l, "tensor '%s' is missing", name);
    }
    memcpy((char *)fields + r->at, &index, sizeof index);
    return PUMICE_OK;
}

/* ---- tensors that nobody asked for ---- */

static int by_address(const void *a, const void *b)
{
    const pum_gguf_tensor *x = *(const pum_gguf_tensor *const *)a;
    const pum_gguf_tensor *y = *(const pum_gguf_tensor *const *)b;
    return x < y ? -1 : x > y;
}

/* A tensor without a row is one whose effect would be lost: the answer would be wrong. */
static pumice_status check_unused(loader *l)
{
    size_t count = pum_gguf_tensor_count(l->gguf);
    qsort(l->used.data, l->used.count, sizeof *l->used.data, by_address);
    for (size_t i = 0; i < count; i++) {
        const pum_gguf_tensor *t = pum_gguf_tensor_at(l->gguf, i);
        if (bsearch(&t, l->used.data, l->used.count, sizeof *l->used.data, by_address)) continue;
        char name[64];
        if (pum_sizes_ignored(t->name)) continue;
        pum_model_text(t->name, name, sizeof name);
        return PUM_UNSUPPORTED(l, "tensor '%s' is no part of the architecture '%s' as it is known "
                                  "here, and to leave it out would change the result",
                               name, l->arch->name);
    }
    return PUMICE_OK;
}

/* ---- rotary frequencies ---- */

/* A tensor of divisors of the frequencies; NULL if there is none. */
static pumice_status load_factors(loader *l, const char *name, float **out_factors)
{
    uint32_t n = l->def->hp.rot_dim / 2;
    *out_factors = NULL;
    const pum_gguf_tensor *t = find(l, name);
    if (!t) return PUMICE_OK;
    PUM_TRY(check_shape(l, name, t, 1, n, 1));
    if (t->type != PUM_DTYPE_F32) {
        return PUM_DAMAGED(l, "tensor '%s' must be of type F32", name);
    }
    float *factors = pum_alloc_array(n, sizeof *factors);
    if (!factors) return no_memory(l);
    pum_dtype_to_f32(t->type, t->data, n, factors);
    for (uint32_t i = 0; i < n; i++) {
        if (factors[i] >= 1e-3f && factors[i] <= 1e6f) continue;
        float bad = factors[i];
        pum_free(factors);
        return PUM_DAMAGED(l, "item %u of tensor '%s' is %g, but must be from 0.001 to 1e+06", i,
                           name, (double)bad);
    }
    *out_factors = factors;
    return PUMICE_OK;
}

/* `n` tables behind one another. Takes the factors; each may be NULL. */
static pumice_status add_tables(loader *l, const pum_hparams *hp, float *const *factors, uint32_t n,
                                const char *name, float *out_scale, int32_t *out_index)
{
    uint32_t words = hp->rot_dim;
    pum_weight w = { .dtype = PUM_DTYPE_F32, .rows = n, .cols = words, .row_bytes = 4ull * words,
                     .is_constant = true };
    snprintf(w.name, sizeof w.name, "%s", name);
    uint32_t *tables = pum_alloc_array((size_t)n * words, sizeof *tables);
    for (uint32_t i = 0; i < n; i++) {
        if (tables) pum_rope_frequencies(hp, factors[i], tables + (size_t)i * words, out_scale);
        pum_free(factors[i]);
    }
    w.data = w.owned = tables;
    return tables ? push(l, w, out_index) : no_memory(l);
}

static pumice_status add_long(loader *l)
{
    static const char *const names[] = { "rope_factors_short.weight", "rope_factors_long.weight" };
    pum_model_def *def = l->def;
    float *factors[2] = { NULL, NULL };
    if (def->rope_freq_local >= 0) {
        return PUM_UNSUPPORTED(l, "divisors for long contexts beside a base for layers with a "
                                  "window are not supported");
    }
    for (int i = 1; i >= 0; i--) {
        pumice_status status = load_factors(l, names[i], &factors[i]);
        if (status == PUMICE_OK && factors[i]) continue;
        pum_free(factors[1]);
        return status != PUMICE_OK ? status : PUM_DAMAGED(l, "tensor '%s' is missing", names[i]);
    }
    return add_tables(l, &def->hp, factors, 2, "rope_freq", &def->rope_scale, &def->rope_freq);
}

static pumice_status add_frequencies(loader *l)
{
    pum_model_def *def = l->def;
    pum_hparams *hp = &def->hp, local = *hp;
    float *factors = NULL, scale;
    if (hp->rot_dim == 0) return PUMICE_OK;
    if (hp->rope_base_local != 0.0f) {
        local.rope_base = hp->rope_base_local;
        local.rope.kind = PUM_ROPE_NONE;
        local.rope.attn_factor = 1.0f;
        PUM_TRY(add_tables(l, &local, &factors, 1, "rope_freq_local", &scale,
                           &def->rope_freq_local));
    }
    if (pum_gguf_tensor_find(l->gguf, "rope_factors_long.weight")) hp->rope.kind = PUM_ROPE_LONG;
    if (hp->rope.kind == PUM_ROPE_LONG) return add_long(l);
    PUM_TRY(load_factors(l, "rope_freqs.weight", &factors));
    if (factors && hp->rope.kind == PUM_ROPE_NONE) {
        hp->rope.kind = PUM_ROPE_LLAMA3; /* which files tell by this tensor alone */
        for (uint32_t i = 0; i < hp->rot_dim / 2; i++) {
            hp->rope.factor = PUM_MAX(hp->rope.factor, factors[i]);
        }
    }
    return add_tables(l, hp, &factors, 1, "rope_freq", &def->rope_scale, &def->rope_freq);
}

/* ---- codebooks ---- */

static pumice_status add_codebooks(loader *l)
{
    pum_weight w = { .name = "codebooks", .dtype = PUM_DTYPE_I16, .rows = 1, .cols = PUM_CODEBOOK_ENTRIES,
                     .row_bytes = sizeof pum_codebooks, .data = pum_codebooks, .is_constant = true };
    for (size_t i = 0; i < l->def->weights.count; i++) {
        if (pum_dtype_get(l->def->weights.data[i].dtype)->codebook < 0) continue;
        return push(l, w, &l->def->codebooks);
    }
    return PUMICE_OK;
}

/* ---- the whole ---- */

/* Do all heads share the weights of their norm, or has each its own? The tensor's shape tells. */
static uint64_t norm_rows(const loader *l, const char *name, uint32_t heads)
{
    const pum_gguf_tensor *t = pum_gguf_tensor_find(l->gguf, name);
    bool each = t && t->ne[1] == heads && l->def->hp.qk_norm == PUM_QK_HEADS;
    return each ? heads : 1;
}

static void set_sizes(loader *l)
{
    pum_hparams *hp = &l->def->hp;
    const pum_gguf_tensor *table = pum_gguf_tensor_find(l->gguf, first_rows[0].name);
    const pum_gguf_tensor *positions = pum_gguf_tensor_find(l->gguf, "position_embd.weight");
    if (!hp->n_vocab && table) hp->n_vocab = (uint32_t)PUM_MIN(table->ne[1], 1u << 24);
    uint64_t *z = l->sizes;
    bool heads = hp->qk_norm == PUM_QK_HEADS;
    z[ONE] = 1;
    z[EMBD] = hp->n_embd;
    z[Q] = (uint64_t)hp->n_heads * hp->head_dim;
    z[KV] = (uint64_t)hp->n_kv_heads * hp->head_dim;
    z[Q_NORM] = heads ? hp->head_dim : z[Q];
    z[K_NORM] = heads ? hp->head_dim : z[KV];
    z[Q_NORMS] = norm_rows(l, "blk.0.attn_q_norm.weight", hp->n_heads);
    z[K_NORMS] = norm_rows(l, "blk.0.attn_k_norm.weight", hp->n_kv_heads);
    z[FF] = hp->n_ff;
    z[FF_EXPERT] = hp->n_ff_expert;
    z[FF_SHARED] = hp->n_ff_shared;
    z[EXPERTS] = hp->n_experts;
    z[VOCAB] = hp->n_vocab;
    z[WORD] = hp->n_word_embd;
    z[POSITIONS] = hp->n_ctx_train;
    if (hp->positions && positions) z[POSITIONS] = PUM_MIN(positions->ne[1], 1u << 30);
}

/* The table's row 0 becomes that of position 0; where no row is, no position can be. */
static pumice_status shift_positions(loader *l, int32_t index)
{
    pum_hparams *hp = &l->def->hp;
    uint32_t offset = hp->position_offset;
    if (index < 0) return PUMICE_OK;
    pum_weight *w = &l->def->weights.data[index];
    if (w->rows <= offset) {
        return PUM_DAMAGED(l, "tensor '%s' has %llu rows, but the first position is row %u "
                              "(%s.position_offset)",
                           w->name, (unsigned long long)w->rows, offset, l->arch->name);
    }
    w->rows -= offset;
    w->source_row += offset;
    if (w->data) w->data = (const uint8_t *)w->data + offset * w->row_bytes;
    hp->n_ctx_train = (uint32_t)PUM_MIN(hp->n_ctx_train, w->rows);
    return PUMICE_OK;
}

static pumice_status load_layers(loader *l)
{
    pum_hparams *hp = &l->def->hp;
    for (uint32_t i = 0; i < hp->n_layers; i++) {
        pum_layer layer = { 0 };
        memset(&layer, 0xff, offsetof(pum_layer, window)); /* no weight anywhere */
        l->layer = (int32_t)i;
        for (size_t k = 0; k < PUM_COUNT(layer_rows); k++) {
            PUM_TRY(load_row(l, &layer_rows[k], &layer));
        }
        if (layer.attn_norm_2 >= 0) { /* Falcon's: attn_norm is the MLP's, this is attention's */
            layer.ffn_norm = layer.attn_norm;
            layer.ffn_norm_b = layer.attn_norm_b;
            layer.attn_norm = layer.attn_norm_2;
            layer.attn_norm_b = layer.attn_norm_2_b;
        }
        PUM_TRY(pum_hparams_layer(l->arch, l->gguf, hp, i, &layer, l->err));
        if (!pum_array_push(&l->def->layers, layer)) return no_memory(l);
    }
    l->layer = -1;
    return PUMICE_OK;
}

/* ---- encoder-decoders ---- */

/* The layer's table of relative biases, spread out; without one it uses that of layer 0. */
static pumice_status add_bias(loader *l, const pum_layer *layer_0, bool both_ways,
                              uint32_t n_heads, int32_t *out_index)
{
    const pum_hparams *hp = &l->def->hp;
    uint32_t cols = 2 * hp->bias_distance + 1;
    char name[64];
    *out_index = layer_0 ? layer_0->bias : -1;
    if (!hp->bias_buckets) return PUMICE_OK;
    full_name(l, "attn_rel_b.weight", name);
    const pum_gguf_tensor *t = find(l, name);
    if (!t) return layer_0 ? PUMICE_OK : PUM_DAMAGED(l, "tensor '%s' is missing", name);
    PUM_TRY(check_shape(l, name, t, hp->bias_buckets, n_heads, 1));
    if (t->type != PUM_DTYPE_F32 && t->type != PUM_DTYPE_F16 && t->type != PUM_DTYPE_BF16) {
        return PUM_UNSUPPORTED(l, "tensor '%s' must be of type F32, F16 or BF16", name);
    }
    pum_weight w = { .dtype = PUM_DTYPE_F32, .rows = n_heads, .cols = cols, .row_bytes = 4ull * cols,
                     .is_constant = true };
    uint64_t items = (uint64_t)hp->bias_buckets * n_heads;
    float *table = pum_alloc_array(items, sizeof *table);
    w.data = w.owned = pum_alloc_array((uint64_t)n_heads * cols, sizeof(float));
    if (!table || !w.owned) {
        pum_free(table);
        pum_free(w.owned);
        return no_memory(l);
    }
    if (t->data) pum_dtype_to_f32(t->type, t->data, items, table); /* else: without weights */
    pum_relative_expand(table, hp->bias_buckets, n_heads, both_ways, hp->bias_distance, w.owned);
    pum_free(table);
    snprintf(w.name, sizeof w.name, "%s", name);
    l->def->parameters += items;
    return push(l, w, out_index);
}

static pumice_status load_stack(loader *l, bool encoder)
{
    pum_model_def *def = l->def;
    const pum_hparams *hp = &def->hp;
    const row *rows = encoder ? encoder_rows : decoder_rows;
    uint32_t n = encoder ? hp->encoder.n_layers : hp->n_layers;
    uint32_t heads = encoder ? hp->encoder.n_heads : hp->n_heads;
    char name[64];
    l->stack = encoder ? "enc." : "dec.";
    l->sizes[Q] = l->sizes[KV] = (uint64_t)heads * (encoder ? hp->encoder.head_dim : hp->head_dim);
    l->sizes[FF] = encoder ? hp->encoder.n_ff : hp->n_ff;
    full_name(l, "position_embd.weight", name);
    const pum_gguf_tensor *positions = pum_gguf_tensor_find(l->gguf, name);
    if (positions) l->sizes[POSITIONS] = PUM_MIN(positions->ne[1], 1u << 30);
    for (size_t i = 0; i < PUM_COUNT(decoder_rows); i++) PUM_TRY(load_row(l, &rows[i], def));
    PUM_TRY(shift_positions(l, encoder ? def->encoder.positions : def->positions));
    for (uint32_t i = 0; i < n; i++) {
        pum_layer layer, *first = encoder ? def->encoder.layers.data : def->layers.data;
        memset(&layer, 0xff, sizeof layer); /* no weight anywhere */
        l->layer = (int32_t)i;
        for (size_t k = 0; k < PUM_COUNT(stack_layer_rows); k++) {
            PUM_TRY(load_row(l, &stack_layer_rows[k], &layer));
        }
        for (size_t k = 0; k < PUM_COUNT(cross_rows) && !encoder; k++) {
            PUM_TRY(load_row(l, &cross_rows[k], &layer));
        }
        PUM_TRY(add_bias(l, i ? first : NULL, encoder, heads, &layer.bias));
        PUM_TRY(pum_hparams_layer(l->arch, l->gguf, hp, i, &layer, l->err));
        bool pushed = encoder ? pum_array_push(&def->encoder.layers, layer)
                              : pum_array_push(&def->layers, layer);
        if (!pushed) return no_memory(l);
    }
    l->layer = -1;
    l->stack = "";
    return PUMICE_OK;
}

static pumice_status load_rows(loader *l, const row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) PUM_TRY(load_row(l, &rows[i], l->def));
    return PUMICE_OK;
}

static pumice_status load_decoder(loader *l)
{
    PUM_TRY(load_rows(l, first_rows, PUM_COUNT(first_rows)));
    PUM_TRY(shift_positions(l, l->def->positions));
    PUM_TRY(add_frequencies(l));
    PUM_TRY(load_layers(l));
    return load_rows(l, last_rows, PUM_COUNT(last_rows));
}

static pumice_status load_stacks(loader *l)
{
    PUM_TRY(load_row(l, &first_rows[0], l->def)); /* both share the words */
    PUM_TRY(load_stack(l, true));
    return load_stack(l, false);
}

static pumice_status load_all(loader *l)
{
    pum_model_def *def = l->def;
    set_sizes(l);
    PUM_TRY(l->arch->options & PUM_ARCH_ENCODER ? load_stacks(l) : load_decoder(l));
    PUM_TRY(load_rows(l, head_rows, PUM_COUNT(head_rows)));
    def->hp.tied_head = def->head < 0;
    if (def->hp.tied_head) def->head = def->embed;
    if (def->hp.logit_scale == 0.0f) { /* T5 has one with a tied head */
        def->hp.logit_scale = def->hp.tied_head ? 1.0f / sqrtf((float)def->hp.n_embd) : 1.0f;
    }
    PUM_TRY(add_codebooks(l));
    return check_unused(l);
}

pumice_status pum_weights_load(const pum_arch *arch, const pum_gguf *gguf, pum_model_def *def,
                               pumice_error *err)
{
    loader l = { .arch = arch, .gguf = gguf, .def = def, .stack = "", .layer = -1,
                 .err = err };
    /* a tensor is asked for four times at most: by the parts cut from it, or for its divisors */
    if (!pum_array_reserve(&l.used, 4 * pum_gguf_tensor_count(gguf) + 1)) return no_memory(&l);
    pumice_status status = load_all(&l);
    pum_array_free(&l.used);
    return status;
}
