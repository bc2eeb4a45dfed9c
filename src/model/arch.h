/* SPDX-License-Identifier: Apache-2.0
 * What the files of model/ share: the rows of arch.def, and the steps of loading. Other folders use
 * model.h. */
#ifndef PUM_ARCH_H
#define PUM_ARCH_H

#include "args.h"
#include "model.h"

/* Options of a row: what its architecture has that LLaMA has not. Keys of the file may say more.
 * Biases need no option: they are used where the file has them. */
enum {
    PUM_ARCH_QKV_BIAS = 1,       /* q, k and v have biases: a file without them is damaged */
    PUM_ARCH_UNGATED = 2,        /* the MLP is down(act(up x)) */
    PUM_ARCH_PARALLEL = 4,       /* x + attention(norm x) + mlp(norm x) */
    PUM_ARCH_BRANCH_NORMS = 8,   /* attention and MLP are normalised before they are added ... */
    PUM_ARCH_NO_PRE_NORMS = 16,  /* ... and not before */
    PUM_ARCH_BARE_NORMS = 32,    /* norms have no weights */
    PUM_ARCH_QK_HEADS = 64,      /* each head of q and k is normalised */
    PUM_ARCH_QK_WHOLE = 128,     /* q and k are normalised as a whole */
    PUM_ARCH_EMBED_SQRT = 256,   /* embeddings are multiplied by sqrt(n_embd) */
    PUM_ARCH_POSITIONS = 512,    /* learned positions */
    PUM_ARCH_ALIBI = 1024,       /* ALiBi with 8 as its largest exponent */
    PUM_ARCH_LOCAL_ROPE = 2048,  /* layers with a window rotate by base 10000, unscaled */
    PUM_ARCH_NOPE_GLOBAL = 4096, /* layers without a window do not rotate */
    PUM_ARCH_RENORM = 8192,      /* probabilities of chosen experts are scaled to sum 1 */
    PUM_ARCH_ENCODER = 16384,    /* an encoder, and a decoder that also attends to its output */
    PUM_ARCH_RELATIVE = 32768,   /* scores are not scaled, but biased by distance (T5) */
    PUM_ARCH_EVERY_SHIFT = 16,
    PUM_ARCH_QK_MAY = 1 << 24,       /* heads of q and k may be normalised, each by weights of its own */
    PUM_ARCH_LOGIT_DIVIDE = 1 << 25, /* the key logit_scale divides */
    PUM_ARCH_ALIBI_SCALED = 1 << 26  /* slopes of ALiBi are scaled as the products of q and k are */
};
/* Every n-th layer has no window, or does not rotate. */
#define PUM_ARCH_WINDOW_EVERY(n) ((n) << PUM_ARCH_EVERY_SHIFT)
#define PUM_ARCH_NOPE_EVERY(n) ((n) << (PUM_ARCH_EVERY_SHIFT + 4))

/* In place of a pairing: no rotary embedding. */
#define PUM_ROPE_OFF 15u

typedef struct pum_arch {
    const char *name;
    uint32_t pairing, norm, act, options;
    pumice_status (*read)(const struct pum_arch *arch, const pum_gguf *gguf, pum_hparams *out_hp,
                          pumice_error *err);
    pumice_status (*build)(const pum_model_def *def, const pum_build *build, pum_graph *graph,
                           pumice_error *err);
} pum_arch;

const pum_arch *pum_arch_find(const char *name); /* NULL if there is no row */

/* pum_model_def_load with the row given. */
pumice_status pum_model_def_load_as(const pum_arch *arch, const pum_gguf *gguf,
                                    pum_model_def *out_def, pumice_error *err);

/* hparams.c: the keys "<arch>.*" and general.*, checked. tied_head is left to the weights, and so
 * is n_vocab (0) where the file has no vocab_size. */
pumice_status pum_hparams_decoder(const pum_arch *arch, const pum_gguf *gguf, pum_hparams *out_hp,
                                  pumice_error *err);

/* hparams.c: what is a layer's own: the members of pum_layer that are no weights. */
pumice_status pum_hparams_layer(const pum_arch *arch, const pum_gguf *gguf, const pum_hparams *hp,
                                uint32_t index, pum_layer *layer, pumice_error *err);

/* weights.c: fills everything of def but hp, and of that n_vocab, tied_head and the kind "llama3",
 * which is a tensor. On failure def holds what there is; the caller frees it. */
pumice_status pum_weights_load(const pum_arch *arch, const pum_gguf *gguf, pum_model_def *def,
                               pumice_error *err);

/* build.c: appends the pass to an initialised graph. */
pumice_status pum_build_decoder(const pum_model_def *def, const pum_build *build, pum_graph *graph,
                                pumice_error *err);

/* build_encdec.c: the same for models with an encoder. */
pumice_status pum_build_encdec(const pum_model_def *def, const pum_build *build, pum_graph *graph,
                               pumice_error *err);

/* relative.c: which bucket of T5's relative bias holds a distance, the key's position less the
 * query's; as the original computes it, in single precision. */
uint32_t pum_relative_bucket(int32_t distance, bool both_ways, uint32_t n_buckets,
                             uint32_t max_distance);
/* The bias by distance: out[head][distance + max_distance] of the table [n_buckets][n_heads].
 * Farther distances have the bias of the farthest. */
void pum_relative_expand(const float *table, uint32_t n_buckets, uint32_t n_heads, bool both_ways,
                         uint32_t max_distance, float *out);

/* pum_fail with the file's path in front. */
pumice_status pum_model_fail(const pum_gguf *gguf, pumice_error *err, pumice_status status,
                             const char *fmt, ...) PUM_PRINTF(4, 5);
/* The same for a context with the members gguf and err. */
#define PUM_DAMAGED(at, ...) pum_model_fail((at)->gguf, (at)->err, PUMICE_ERROR_FORMAT, __VA_ARGS__)
#define PUM_UNSUPPORTED(at, ...) \
    pum_model_fail((at)->gguf, (at)->err, PUMICE_ERROR_UNSUPPORTED, __VA_ARGS__)
/* Copies text of the file, cut between characters; control characters and bad bytes become '?'. */
void pum_model_text(pum_str text, char *out, size_t capacity);

#endif
