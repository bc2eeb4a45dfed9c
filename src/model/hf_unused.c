/* SPDX-License-Identifier: Apache-2.0
 * What a directory holds beyond the model: to leave a tensor out might change the result, so each that
 * nothing asked for must be in the table of those that mean nothing here, or is refused by name. */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hf_model.h"

/* What must be true of such a tensor's values. */
typedef enum condition {
    ANY,
    ZERO, /* an addend that adds nothing */
    SAME, /* the rows of the vocabulary once more */
    BESIDE /* any; of another network, which is told */
} condition;

/* Patterns of whole names, as fnmatch(3) has them; `archs`: of which architectures in GGUF's terms, NULL = all. */
static const struct {
    const char *pattern, *archs;
    condition condition;
} harmless[] = {
    /* tables that are computed here */
    { "*.inv_freq", NULL, ANY },
    { "*.rotary_emb.cos_cached", NULL, ANY },
    { "*.rotary_emb.sin_cached", NULL, ANY },
    { "*position_ids", NULL, ANY },
    { "*.attn.embed_positions", "gptj", ANY },
    /* causal masks */
    { "*h.[0-9]*.attn.bias", "gpt2|starcoder|gptj", ANY },
    { "*h.[0-9]*.attn.masked_bias", "gpt2|starcoder|gptj", ANY },
    { "*layers.[0-9]*.attention.bias", "gptneox", ANY },
    { "*layers.[0-9]*.attention.masked_bias", "gptneox", ANY },
    /* the vocabulary's rows again */
    { "lm_head.weight", NULL, SAME },
    { "language_model.lm_head.weight", NULL, SAME },
    { "model.lm_head.weight", NULL, SAME },
    { "embed_out.weight", "gptneox", SAME },
    { "output.weight", "internlm2", SAME },
    { "*output_layer.weight", "chatglm", SAME },
    { "*shared.weight", "t5|bart", SAME },
    { "*coder.embed_tokens.weight", "t5|bart", SAME },
    /* of networks that see, beside the one that writes */
    { "vision_tower.*", NULL, BESIDE },
    { "model.vision_tower.*", NULL, BESIDE },
    { "vision_model.*", NULL, BESIDE },
    { "multi_modal_projector.*", NULL, BESIDE },
    { "model.multi_modal_projector.*", NULL, BESIDE },
    { "image_newline", NULL, BESIDE },
    { "model.image_newline", NULL, BESIDE },
    /* leftovers of older versions, which the originals pass over as well */
    { "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", "t5", ANY },
    { "*coder.version", "bart|opt", ANY },
    { "*.beta", "palm", ZERO },
};

static bool is_zero(const pum_st_tensor *t)
{
    uint64_t i = 0;
    while (i < t->bytes && t->data[i] == 0) i++;
    return i == t->bytes;
}

static bool is_same(const pum_st_tensor *t, const pum_st_tensor *other)
{
    return other && t->is_weight && t->type == other->type && t->n_dims == other->n_dims &&
           memcmp(t->shape, other->shape, t->n_dims * sizeof *t->shape) == 0 &&
           memcmp(t->data, other->data, (size_t)t->bytes) == 0;
}

static pumice_status refuse(const hf *h, size_t index, const char *why, const char *why_name)
{
    return pum_fail(h->err, PUMICE_ERROR_UNSUPPORTED, "'%s': tensor '%.100s' %s%s",
                    pum_hf_dir_file(h->dir, index), pum_hf_dir_at(h->dir, index)->name.data, why,
                    why_name);
}

/* Which layer of a stack a tensor is of; false if of none. */
static bool layer_of(const char *name, const char *prefix, const hf_stack *stack, uint64_t *out)
{
    size_t n = strlen(prefix), m = strcspn(stack->hf, "#");
    const char *number = name + n + m;
    char *end;
    if (strncmp(name, prefix, n) != 0 || strncmp(name + n, stack->hf, m) != 0) return false;
    if (*number < '0' || *number > '9') return false;
    *out = strtoull(number, &end, 10);
    return *end == '.' && *out >= stack->base;
}

/* A layer too many has a sentence of its own, since the cause is a number in config.json. */
static pumice_status check_layer(const hf *h, const char *prefix, size_t index)
{
    static const char plain[] = "num_hidden_layers|n_layer|num_layers|n_layers|depth";
    const char *name = pum_hf_dir_at(h->dir, index)->name.data;
    for (size_t i = 0; i < PUM_COUNT(h->family->stacks) && h->family->stacks[i].hf; i++) {
        const hf_stack *stack = &h->family->stacks[i];
        uint32_t layers = stack->decoder ? h->f.dec_layers : h->f.layers;
        const char *own = stack->decoder ? "decoder_layers|num_decoder_layers" : "encoder_layers";
        uint64_t layer;
        const char *key;
        if (!layer_of(name, prefix, stack, &layer) || layer - stack->base < layers) continue;
        int n = hf_name_of(h, hf_get(h, own) ? own : plain, &key);
        return pum_fail(h->err, PUMICE_ERROR_FORMAT,
                        "'%s': tensor '%.100s' is of layer %llu, but by config.json (%.*s) there are %u, "
                        "the first of which is %u",
                        pum_hf_dir_file(h->dir, index), name, (unsigned long long)layer, n, key,
                        layers, stack->base);
    }
    return PUMICE_OK;
}

static pumice_status check_one(const hf *h, const char *prefix, const pum_st_tensor *embedding,
                               size_t index, bool *out_beside)
{
    const pum_st_tensor *t = pum_hf_dir_at(h->dir, index);
    *out_beside = false;
    for (size_t i = 0; i < PUM_COUNT(harmless); i++) {
        if (harmless[i].archs && !hf_is_among(h->family->arch, harmless[i].archs)) continue;
        if (fnmatch(harmless[i].pattern, t->name.data, 0) != 0) continue;
        if (harmless[i].condition == ZERO && !is_zero(t)) {
            return refuse(h, index, "is not zero, which is not supported", "");
        }
        if (harmless[i].condition == SAME && !is_same(t, embedding)) {
            return refuse(h, index, "differs from the embedding, to which config.json ties it "
                                    "(tie_word_embeddings)", "");
        }
        *out_beside = harmless[i].condition == BESIDE;
        return PUMICE_OK;
    }
    PUM_TRY(check_layer(h, prefix, index));
    return refuse(h, index, "is not known for a model of type ", h->family->arch);
}

pumice_status hf_tensors_check(hf *h, const char *prefix, const pum_st_tensor *embedding)
{
    size_t count = 0, bytes = 0;
    char text[96];
    for (size_t i = 0; i < h->used.count; i++) {
        bool beside = false;
        if (!h->used.data[i]) PUM_TRY(check_one(h, prefix, embedding, i, &beside));
        if (!beside) continue;
        count++;
        bytes += (size_t)pum_hf_dir_at(h->dir, i)->bytes;
    }
    if (!count) return PUMICE_OK;
    snprintf(text, sizeof text, "%zu tensor%s of networks that see, %zu bytes", count, count == 1 ? "" : "s", bytes);
    pum_gguf_set_text(h->out, "pumice.left_out", text);
    return PUMICE_OK;
}
