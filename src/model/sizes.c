/* SPDX-License-Identifier: Apache-2.0
 * Counting weights and cache. What is no parameter is told by name: tables of rotary factors, and
 * the constant that BART adds to its logits, which is never trained. */
#include "sizes.h"

#include <stdio.h>
#include <string.h>

typedef struct arch_key {
    const pum_gguf *gguf;
    char arch[64];
} arch_key;

static arch_key arch_of(const pum_gguf *gguf)
{
    pum_str s = { "", 0 };
    arch_key a = { .gguf = gguf };
    pum_gguf_str(gguf, "general.architecture", &s);
    snprintf(a.arch, sizeof a.arch, "%.*s", (int)PUM_MIN(s.count, sizeof a.arch - 1), s.data);
    return a;
}

static uint32_t number(const arch_key *a, const char *suffix, uint32_t absent)
{
    char key[160];
    uint32_t value = absent;
    snprintf(key, sizeof key, "%s.%s", a->arch, suffix);
    pum_gguf_u32(a->gguf, key, &value);
    return value;
}

bool pum_sizes_ignored(pum_str name)
{
    static const char *const suffixes[] = { ".attn_rot_embd.weight", ".rotary_emb.inv_freq",
                                            ".cross_attn_rel_b.weight" };
    for (size_t i = 0; i < PUM_COUNT(suffixes); i++) {
        if (pum_str_ends(name, suffixes[i])) return true;
    }
    return false;
}

bool pum_sizes_is_parameter(const char *arch, pum_str name)
{
    if (pum_str_begins(name, "rope_f") || pum_sizes_ignored(name)) return false;
    if (pum_str_ends(name, ".scale") || pum_str_ends(name, ".input_scale")) return false;
    return strcmp(arch, "bart") != 0 || !pum_str_equal(name, "output.bias");
}

static uint64_t elems(const pum_gguf_tensor *t) { return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]; }

void pum_sizes_measure(const pum_gguf *gguf, pum_sizes *out)
{
    arch_key a = arch_of(gguf);
    *out = (pum_sizes){ .n_ctx_train = number(&a, "context_length", 0) };
    for (size_t i = 0; i < pum_gguf_tensor_count(gguf); i++) {
        const pum_gguf_tensor *t = pum_gguf_tensor_at(gguf, i);
        if (pum_sizes_is_parameter(a.arch, t->name)) out->parameters += elems(t);
    }
    uint64_t heads = number(&a, "attention.head_count", 0), embd = number(&a, "embedding_length", 0);
    uint64_t kv = number(&a, "attention.head_count_kv", (uint32_t)heads);
    uint64_t dim = number(&a, "attention.key_length", (uint32_t)(heads ? embd / heads : 0));
    uint64_t layers = number(&a, "block_count", 0);
    uint64_t decoder = number(&a, "decoder_block_count", 0);
    out->kv_per_token = 2 * kv * dim * (decoder ? decoder : layers);
    out->kv_per_source = 2 * kv * dim * decoder;
}

/* What an encoder-decoder reads when it encodes alone: the encoder, and what makes of its output
 * the K and V of cross-attention, which stay in the cache. */
static bool is_encoding(pum_str name)
{
    return pum_str_begins(name, "enc.") || pum_str_holds(name, ".cross_attn_k.") ||
           pum_str_holds(name, ".cross_attn_v.");
}

uint64_t pum_sizes_decoding(const pum_decoding *d, pum_str name, uint64_t whole)
{
    if (is_encoding(name) || pum_str_holds(name, "position_embd")) return 0;
    if (!d->tied && pum_str_holds(name, "token_embd.")) return 0;
    return pum_str_holds(name, "_exps.") && d->experts ? whole / d->experts * d->experts_used : whole;
}

void pum_sizes_weights(const pum_gguf *gguf, pum_dtype type, uint64_t *out_bytes,
                       uint64_t *out_read_bytes)
{
    arch_key a = arch_of(gguf);
    const pum_decoding d = { .experts = number(&a, "expert_count", 0),
                             .experts_used = number(&a, "expert_used_count", 0),
                             .tied = pum_gguf_tensor_find(gguf, "output.weight") == NULL };
    *out_bytes = *out_read_bytes = 0;
    for (size_t i = 0; i < pum_gguf_tensor_count(gguf); i++) {
        const pum_gguf_tensor *t = pum_gguf_tensor_at(gguf, i);
        uint64_t row = 0;
        pum_dtype as = t->n_dims == 1 ? PUM_DTYPE_F32 : type;
        if (!pum_dtype_row_bytes(as, t->ne[0], &row)) {
            pum_dtype_row_bytes(PUM_DTYPE_F16, t->ne[0], &row);
        }
        uint64_t bytes = row * (elems(t) / t->ne[0]);
        *out_bytes += bytes;
        *out_read_bytes += pum_sizes_decoding(&d, t->name, bytes);
    }
}
