/* SPDX-License-Identifier: Apache-2.0
 * A model as its file describes it: hyper-parameters, the list of weights (with where their bytes lie), and the
 * function that builds the graph of one pass. Host side only: no device, no plan. Immutable after load, so any
 * thread may build graphs from it. Adding an architecture: docs/adding.md. */
#ifndef PUM_MODEL_H
#define PUM_MODEL_H

#include "gguf.h"
#include "graph.h"

/* Where norms stand in a block, as bits. */
enum {
    PUM_NORM_BEFORE = 1, /* x + f(norm x) */
    PUM_NORM_BRANCH = 2, /* x + norm(f(x)); with BEFORE: Gemma 2's sandwich */
    PUM_NORM_SUM = 4     /* norm(x + f(x)), the original transformer's */
};

/* What is normalised of q and k before they are rotated. */
typedef enum pum_qk_norm { PUM_QK_PLAIN, PUM_QK_HEADS, PUM_QK_WHOLE } pum_qk_norm;

#define PUM_NO_TOKEN UINT32_MAX

enum { PUM_MAX_HEAD_DIM = 256 };    /* elements of a head, which are even in number */

/* Hyper-parameters of a transformer; those of the blocks are the decoder's, unless named `encoder`. Options that a
 * derivative switches on are here and not in copies of the builder; 0 or false is plain LLaMA. */
typedef struct pum_hparams {
    char architecture[32], name[128], license[64], file_type[32];
    uint32_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_vocab, n_ctx_train;
    uint32_t n_word_embd;          /* width of the embedding table; unlike n_embd: projected (OPT-350m) */
    struct {                       /* n_layers (the whole model's) 0 = there is none; norms, acts as the decoder's */
        uint32_t n_layers, n_heads, head_dim, n_ff;
        float attn_scale;
    } encoder;
    uint32_t bias_buckets, bias_distance; /* T5's relative bias; 0 = none */
    /* of a decoder with an encoder: what it begins with, and tokens that are given and not chosen; PUM_NO_TOKEN */
    uint32_t start_token, first_token, last_token;
    uint32_t gmask_token, mask_token, sop_token; /* ChatGLM-6B: positions and prefix follow from them */
    float deepnorm_alpha;          /* residuals are alpha * norm x, and not x (ChatGLM-6B); 0 = not */
    uint32_t rot_dim;              /* rotated dims of a head; < head_dim: partial rotary; 0: none */
    uint32_t rope_pairing;         /* ROPE_* */
    float rope_base;
    float rope_base_local;         /* of layers with a window, unscaled; 0 = as the others */
    uint32_t norm;                 /* NORM_RMS or NORM_LAYER */
    uint32_t norm_at;              /* PUM_NORM_* bits */
    bool bare_norms;               /* norms without weights (OLMo) */
    float norm_eps;
    float norm_w_add;              /* 1: weights are stored minus one */
    pum_qk_norm qk_norm;
    uint32_t act;                  /* ACT_* of the MLP */
    bool gated;                    /* gate and up, else up alone */
    bool parallel;                 /* attention and MLP read the same input and are summed */
    bool positions;                /* a table of learned positions is added to the embedding */
    uint32_t position_offset;      /* its row of position 0 */
    bool tied_head;
    float embed_scale;             /* 1 */
    float residual_scale;          /* of a branch before it is added; 1 */
    float logit_scale;             /* 1 */
    float attn_scale;              /* head_dim^-0.5 unless said otherwise */
    float attn_softcap, final_softcap;
    float clamp_qkv;               /* q, k and v are cut to [-x, x]; 0 = not */
    float alibi_max;               /* ALiBi's largest exponent; 0 = none */
    float alibi_scale;             /* multiplies its slopes; 1 */
    bool scale_by_layer;           /* scores are divided by the number of the layer, from 1 (GPT-2's option) */
    uint32_t window;               /* sliding window, 0 = none; which layers: pum_layer.window */
    uint32_t window_every;         /* every n-th layer has none (n-1, 2n-1, ...); 0 or 1 = all have it */
    uint32_t nope_every;           /* every n-th layer does not rotate; 0 = all do */
    bool nope_global;              /* layers without window do not rotate (Cohere 2) */
    /* mixture of experts; n_experts 0 = none */
    uint32_t n_experts, n_experts_used, n_ff_expert, n_ff_shared, n_dense_layers;
    bool expert_renorm;            /* the chosen experts' probabilities are scaled to sum 1 */
    float expert_scale;            /* 1 */
    /* rotary scaling, decided in rope.c */
    struct {
        enum {
            PUM_ROPE_NONE, PUM_ROPE_LINEAR, PUM_ROPE_YARN, PUM_ROPE_LLAMA3, PUM_ROPE_NTK,
            PUM_ROPE_LONG          /* Phi-3: divisors for short and for long contexts */
        } kind;
        float factor;              /* context multiplier, 1 = none */
        uint32_t original_ctx;     /* context before scaling */
        float attn_factor;         /* YaRN: multiplies its own; 1 */
        float beta_fast, beta_slow;/* YaRN: 32 and 1 */
        float ext_factor;          /* YaRN: 1 */
        float low_freq_factor, high_freq_factor; /* Llama 3: 1 and 4 */
        bool dynamic;              /* beyond the trained context the original stretches: not here, where it ends */
        bool f16;                  /* frequencies are rounded to half precision (ChatGLM-6B) */
    } rope;
} pum_hparams;

/* One tensor that goes to the device. `data` points into the mapped file, or to `owned` when the loader had to
 * make or convert it (constants such as rotary frequencies; norms and biases, which are F32 on the device). It is
 * NULL for rows of `source` that are rearranged when they are read, and for models without weights. */
typedef struct pum_weight {
    char name[64];
    pum_dtype dtype;               /* on the device */
    pum_dtype stored;              /* in `data`; unlike dtype: F32, F16 or BF16 that is rounded while it is loaded */
    uint64_t rows, cols;
    uint64_t row_bytes;            /* in `data`; on the device: pum_dtype_device_row_bytes */
    const pum_gguf_tensor *source; /* the file's tensor; NULL: made by the loader */
    uint64_t source_row;           /* of it the first: several weights may lie in one tensor */
    const void *data;
    void *owned;                   /* pum_free'd with the model; NULL if data is the file's */
    float scale;                   /* of the whole matrix, beside those of its blocks; 0 = none */
    bool splittable;               /* may be cut between rows (matrices) */
    bool joins;                    /* a matrix that multiplies the same rows as the one before it, if that is as wide */
    bool is_constant;              /* not a model parameter */
} pum_weight;

/* One layer: weight indices, -1 = absent, and what differs from layer to layer. */
typedef struct pum_layer {
    int32_t attn_norm, attn_norm_b, attn_norm_2, attn_norm_2_b, q, k, v, o, q_b, k_b, v_b, o_b;
    int32_t q_norm, k_norm;        /* of each head (one row for all or one each), or of all together: hp.qk_norm */
    int32_t ffn_norm, ffn_norm_b, gate, up, down, up_b, down_b, gate_b;
    int32_t attn_post_norm, attn_post_norm_b, ffn_post_norm, ffn_post_norm_b;
    /* mixture of experts; router < 0: the layer has an MLP. The experts' matrices lie below one another. */
    int32_t router, gate_exps, up_exps, down_exps;
    int32_t gate_exps_scale, up_exps_scale, down_exps_scale; /* vectors, a number for each expert's matrix */
    int32_t shared_router, gate_shared, up_shared, down_shared;
    /* of a decoder: attention to the encoder's output */
    int32_t cross_norm, cross_norm_b, cross_q, cross_k, cross_v, cross_o;
    int32_t cross_q_b, cross_k_b, cross_v_b, cross_o_b;
    int32_t bias;                  /* constant [heads][2 bias_distance + 1]: of scores, by distance */
    uint32_t window;               /* 0 = none */
    bool rotates;                  /* rotary embedding */
    bool local_rope;               /* by def.rope_freq_local */
    float attn_scale;
} pum_layer;

typedef struct pum_model_def {
    pum_hparams hp;
    PUM_ARRAY(pum_weight) weights;
    PUM_ARRAY(pum_layer) layers;
    /* weight indices, -1 = absent */
    int32_t embed, positions, embed_norm, embed_norm_b, embed_in, embed_out;
    int32_t output_norm, output_norm_b, head, head_b;
    struct {
        PUM_ARRAY(pum_layer) layers;
        int32_t positions, embed_norm, embed_norm_b, output_norm, output_norm_b;
        /* of a part: how many of the encoder's layers come before it, and whether some come behind it */
        uint32_t first_layer;
        bool goes_on;
    } encoder;                     /* the same table of words */
    int32_t rope_freq;             /* PUM_ROPE_LONG: two rows, for short and for long contexts (ROW_ROPE) */
    int32_t rope_freq_local;
    int32_t codebooks;             /* pum_codebooks, if a weight is of a format that has one */
    /* of a part (part.h): number of layers[0] in the model, more than 0: its passes begin with rows that another part
     * made; and whether they end with rows that another part goes on with. 0 and false: a whole model. Of an
     * encoder-decoder's part this is about the decoder; layers may be empty, hp.n_layers then is 0, goes_on true. */
    uint32_t first_layer;
    bool goes_on;
    float rope_scale;              /* attention factor of the rotary scaling (YaRN's mscale), else 1 */
    uint64_t parameters;           /* learned numbers in the file's tensors, embedding counted once (sizes.h) */
} pum_model_def;

/* Opens a model in any form that it is stored in, as the one form that is read here: a GGUF file, a Hugging Face
 * directory, or the config.json of one alone (then its tensors have shapes and no bytes). */
pumice_status pum_model_open(const char *path, pum_gguf **out_gguf, pumice_error *err);
/* Fails with FORMAT, and says what the directory has instead, if a tensor has no bytes. */
pumice_status pum_model_need_weights(const char *path, const pum_gguf *gguf, pumice_error *err);
bool pum_model_is_gguf(const char *path); /* false for a directory or a config.json */

/* Reads hyper-parameters and weights through the row of arch.def that the file's general.architecture names.
 * The gguf must outlive the def (its bytes are referenced). Every fault is one sentence with the tensor or key. */
pumice_status pum_model_def_load(const pum_gguf *gguf, pum_model_def *out_def, pumice_error *err);
void pum_model_def_free(pum_model_def *def);

/* Copies rows of a weight as the file stores them. Fails with FORMAT if the model came without weights. */
pumice_status pum_weight_read(const pum_weight *weight, uint64_t row_first, uint64_t rows, void *out,
                              pumice_error *err);

typedef enum pum_head {
    PUM_HEAD_NONE,   /* fill the KV cache only */
    PUM_HEAD_SLOTS,  /* logits of the rows that slots 0..n_slots-1 name */
    PUM_HEAD_ALL     /* logits of every row */
} pum_head;

typedef enum pum_sampler {
    PUM_SAMPLER_NONE, PUM_SAMPLER_ARGMAX, PUM_SAMPLER_CHAIN,
    PUM_SAMPLER_SCORE              /* chooses nothing: scores the rows' targets, with PUM_HEAD_ALL */
} pum_sampler;

typedef struct pum_build {
    uint32_t rows;                 /* batch rows; 0 = no forward pass, sampling only */
    uint32_t n_slots;              /* for PUM_HEAD_SLOTS and sampling */
    bool one_sequence;             /* all rows are consecutive tokens of one sequence */
    bool encode;                   /* the pass of the encoder: one_sequence, PUM_HEAD_NONE, no sampler */
    pum_head head;
    pum_sampler sampler;           /* after the forward pass */
    pum_dtype kv_type_k, kv_type_v;
    uint64_t kv_cells;             /* physical cells of each layer's cache (multiple of KV_PAGE) */
    pum_step_layout step;
    uint32_t logits_rows;          /* capacity of the logits buffer */
} pum_build;

/* Builds the graph of one pass. KV values have source 2*layer and 2*layer+1, rows = kv_cells * n_kv_heads, cols =
 * head_dim. Writes the logits to the LOGITS value [logits_rows x n_vocab].
 * With an encoder, the K and V of its output have source 2*(n_layers + layer) and one more. The encoder's pass fills
 * them, and writes its output to the LOGITS value, here [rows x n_embd]. While it runs, its own layers' K and V stand
 * where those of the decoder's layer 0 will. Its rows name the tables of the second cache in ROW_SEQ, those of the
 * decoder in ROW_SEQ2.
 * A part's pass begins with the HIDDEN value [rows x n_embd] unless it is the first, and ends with as many rows in the
 * LOGITS value unless it is the last: that one alone has a head and a sampler. Its KV values count from its own first
 * layer. Of an encoder-decoder the part with the encoder's end writes its output there; parts behind it take that
 * output as their rows and end with the K and V of their layers. Parts of the encoder alone have KV values 0 and 1, for
 * its own layers, and no pass but the encoder's. */
pumice_status pum_model_build(const pum_model_def *def, const pum_build *build, pum_graph *out_graph,
                              pumice_error *err);

/* Rotary frequencies as 64-bit fractions of a turn per position, two words (low, high) for each of rot_dim / 2
 * pairs; *out_scale is the factor on rotated pairs. Decides linear, NTK, YaRN (Peng et al., 2023) and Llama 3
 * scaling; `factors` (rope_freqs.weight, rot_dim/2 divisors) may be NULL. Pure (rope.c). */
void pum_rope_frequencies(const pum_hparams *hp, const float *factors, uint32_t *out_words, float *out_scale);

#endif
