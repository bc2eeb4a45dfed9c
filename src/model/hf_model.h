/* SPDX-License-Identifier: Apache-2.0
 * From a Hugging Face directory to the one form that model/ reads: keys and tensors as in a GGUF
 * file of the same architecture. What the files of this task share: hf_config.c reads config.json
 * into facts and writes them as keys, hf_families.c is the table of what each model_type calls its
 * tensors, hf_tensors.c applies it. Other folders use model.h. */
#ifndef PUM_HF_MODEL_H
#define PUM_HF_MODEL_H

#include "hf_dir.h"
#include "model.h"

/* What a model has; rows of the tables below ask for it. */
enum {
    HF_ALWAYS = 1 << 0,
    HF_UNTIED = 1 << 1,       /* a head of its own */
    HF_QKV_BIAS = 1 << 2,
    HF_O_BIAS = 1 << 3,
    HF_MLP_BIAS = 1 << 4,
    HF_HEAD_BIAS = 1 << 5,
    HF_NORM_W = 1 << 6,       /* norms have weights */
    HF_NORM_B = 1 << 7,       /* norms have biases */
    HF_QK_NORM = 1 << 8,
    HF_SERIAL = 1 << 9,       /* the MLP has a norm of its own */
    HF_TWO_NORMS = 1 << 10,   /* Falcon: one norm for each of two parallel branches */
    HF_ONE_NORM = 1 << 11,    /* Falcon: the other case */
    HF_GATED = 1 << 12,
    HF_UNGATED = 1 << 13,
    HF_SHARED = 1 << 14,      /* a shared expert */
    HF_BIAS_EACH = 1 << 15,   /* T5: a table of relative biases in every layer */
    HF_FINAL_NORM = 1 << 16,
    HF_PROJ = 1 << 17,        /* OPT: embeddings of another width */
    HF_POSITIONS = 1 << 18,   /* learned positions */
    HF_PERMUTED = 1 << 19     /* q and k rows go to the interleaved pairing of rotary embedding */
};

/* The numbers of a config.json. 0 = absent, unless said otherwise. */
typedef struct hf_facts {
    uint32_t flags;
    uint32_t layers, embd, heads, kv_heads, head_dim, ff, vocab, ctx, rot_dim;
    uint32_t dec_layers, dec_heads, dec_ff; /* encoder-decoders; the ones above are the encoder's */
    uint32_t experts, experts_used, ff_expert, ff_shared, experts_norm;
    uint32_t buckets, max_distance, window, window_pattern, skip_rope_every, proj, pos_offset;
    uint32_t decoder_start, forced_bos, forced_eos; /* token + 1 */
    uint32_t bos, eos, pad, gmask, mask;            /* token + 1 */
    uint32_t original_ctx;
    uint32_t parallel, pre_norm, position_2d, freq_f16, inverse_layer; /* 0 absent, 1 no, 2 yes */
    float eps, rope_base, rope_base_local, rot_part;
    float alibi, clamp, attn_scale, attn_softcap, final_softcap, logit_scale, embed_scale, alpha;
    float norm_add, rope_linear;
    float residual_scale, logit_divisor;
    const char *activation;
    pum_dtype type; /* of matrices, for models without weights */
} hf_facts;

typedef struct hf hf;
typedef PUM_ARRAY(bool) bool_list;

/* Sizes that shapes are made of. */
typedef enum hf_size {
    S_ONE, S_D, S_Q, S_KV, S_QKV, S_FF, S_2FF, S_V, S_POS, S_HEAD, S_E, S_FFE, S_FFS, S_PROJ,
    S_BUCKETS, S_H, S_KVH, S_FUSED, S_COUNT
} hf_size;

/* How the rows of a tensor are found in the file's. */
typedef enum hf_how {
    R_SAME,
    R_VECTOR,   /* one row */
    R_NORM,     /* one row, and the family's norm_add is added */
    R_RAW,      /* one row, and the name has no ".weight" */
    R_Q, R_K,   /* R_SAME, but permuted for HF_PERMUTED */
    R_FLIP,     /* stored [in, out] */
    R_GROUPS,   /* [kv head][its q heads, k, v] becomes [q | k | v] */
    R_Q_OF, R_K_OF, R_V_OF, /* of such a tensor, permuted for HF_PERMUTED */
    R_EXPERTS,  /* one tensor per expert becomes one of three dimensions */
    R_ALL_DOWN, R_ALL_GATE, R_ALL_UP, /* of one of three dimensions, the last two of its rows [gate | up] */
    R_HEADS,    /* one vector per head becomes one of two dimensions */
    R_CUT_Q, R_CUT_K, R_CUT_V, R_CUT_UP, R_CUT_GATE, /* of rows [q | k | v | up | gate] (PaLM) */
    R_BUCKETS   /* T5: in the first layer only unless HF_BIAS_EACH */
} hf_how;

/* One linear map or norm, with its bias. In names '#' is the layer and '@' the expert or head; a
 * name that begins with '^' has no prefix; '|' stands between alternatives. */
typedef struct hf_row {
    const char *hf, *gguf; /* without ".weight" */
    uint8_t rows, cols;    /* hf_size, of the tensor that is made */
    uint8_t how;
    uint32_t when;         /* flags that must all be set */
    uint32_t bias;         /* flags with which there is a bias; 0 = never */
} hf_row;

typedef struct hf_group {
    const hf_row *rows;
    size_t count;
} hf_group;

/* A sequence of layers. */
typedef struct hf_stack {
    const char *hf, *gguf; /* prefix of a layer's tensors: "layers.#.", "blk.#." */
    bool decoder;          /* with the dec_* numbers */
    uint32_t base;         /* number of the first layer in the file */
    const hf_group *groups[6];
} hf_stack;

typedef struct hf_family {
    const char *model_types; /* one, or several with '|' between them */
    const char *arch;
    bool rms, rotary;
    uint32_t flags;          /* that every model of the family has */
    float eps;               /* where config.json says nothing */
    const char *activation;
    pumice_status (*read)(hf *h); /* what is special; may be NULL */
    const char *prefixes;    /* of all tensors; '|' between alternatives, "" last */
    const hf_group *model;
    hf_stack stacks[2];
} hf_family;

struct hf {
    const pum_hf_dir *dir;
    const json_t *config; /* the one of the text model */
    const hf_family *family;
    hf_facts f;
    bool_list windowed, rotated; /* one a layer, where no period says it; else empty */
    bool_list used;              /* one a tensor of the directory */
    pum_gguf *out;
    pumice_error *err;
};

/* true if `word` is one of `words`, which '|' separates. */
bool hf_is_among(const char *word, const char *words);
const hf_family *hf_family_find(const char *model_type); /* NULL if there is none */
void hf_family_names(char *out, size_t capacity);        /* of all, for a message */

/* hf_config.c: fills h->config, h->family and h->f. */
pumice_status hf_config_read(hf *h);
/* hf_keys.c: writes what is known as keys (and tables of rotary factors as tensors). */
pumice_status hf_keys_write(hf *h);
/* hf_tensors.c: adds every tensor. */
pumice_status hf_tensors_add(hf *h);
/* hf_unused.c: refuses tensors that were not used, unless they are known to mean nothing here; writes a key
 * with what was left out of other networks. `prefix`: of
 * the directory's names; `embedding`: what an alternative to it must be equal to. */
pumice_status hf_tensors_check(hf *h, const char *prefix, const pum_st_tensor *embedding);

/* ---- looking into config.json ---- */

/* The value of the first of the names (separated by '|', each may be a path with dots) that is
 * there and not null; NULL if none is. */
const json_t *hf_get(const hf *h, const char *names);
/* Which of the names that is; false and the first of them if none is there. */
bool hf_name(const hf *h, const char *names, char *out, size_t capacity);
/* The name that is there, or the first; returns its length. */
int hf_name_of(const hf *h, const char *names, const char **out_name);
/* Unchanged if absent; a sentence if it is something else or out of range. */
pumice_status hf_u32(hf *h, const char *names, uint32_t min, uint32_t max, uint32_t *out);
pumice_status hf_f32(hf *h, const char *names, float min, float max, float *out);
/* False, the value `absent` or the one that is there. */
pumice_status hf_flag(hf *h, const char *names, bool absent, bool *out);
pumice_status hf_flag_set(hf *h, const char *names, bool absent, uint32_t flags);
pumice_status hf_activation(hf *h, const char *names);
/* A sentence about config.json. */
pumice_status hf_damaged(const hf *h, const char *fmt, ...) PUM_PRINTF(2, 3);
pumice_status hf_unsupported(const hf *h, const char *fmt, ...) PUM_PRINTF(2, 3);

/* ---- what is special (hf_special.c), for the table ---- */
pumice_status hf_read_llama(hf *h);
pumice_status hf_read_mixtral(hf *h);
pumice_status hf_read_qwen2(hf *h);
pumice_status hf_read_qwen3(hf *h);
pumice_status hf_read_qwen_moe(hf *h);
pumice_status hf_read_olmoe(hf *h);
pumice_status hf_read_gemma(hf *h);
pumice_status hf_read_gemma2(hf *h);
pumice_status hf_read_gemma3(hf *h);
pumice_status hf_read_phi(hf *h);
pumice_status hf_read_phi3(hf *h);
pumice_status hf_read_gpt2(hf *h);
pumice_status hf_read_gpt_neox(hf *h);
pumice_status hf_read_gptj(hf *h);
pumice_status hf_read_falcon(hf *h);
pumice_status hf_read_bloom(hf *h);
pumice_status hf_read_mpt(hf *h);
pumice_status hf_read_opt(hf *h);
pumice_status hf_read_stablelm(hf *h);
pumice_status hf_read_starcoder2(hf *h);
pumice_status hf_read_internlm2(hf *h);
pumice_status hf_read_olmo(hf *h);
pumice_status hf_read_cohere(hf *h);
pumice_status hf_read_cohere2(hf *h);
pumice_status hf_read_smollm3(hf *h);
pumice_status hf_read_granite(hf *h);
pumice_status hf_read_granite_moe(hf *h);
pumice_status hf_read_nemotron(hf *h);
pumice_status hf_read_gpt_bigcode(hf *h);
pumice_status hf_read_chatglm2(hf *h);
pumice_status hf_read_glm(hf *h);
pumice_status hf_read_chatglm1(hf *h);
pumice_status hf_read_t5(hf *h);
pumice_status hf_read_bart(hf *h);
pumice_status hf_read_palm(hf *h);

#endif
