/* SPDX-License-Identifier: Apache-2.0
 * The table of Hugging Face models: for each model_type the architecture that it is in GGUF terms,
 * what is assumed where config.json says nothing, and what its tensors are called. Groups of names
 * are shared by families that share them. Adding a model: a row here, groups if its names are new,
 * and a function in hf_special.c if its config.json has meanings of its own. */
#include <stdio.h>
#include <string.h>

#include "hf_model.h"

#define GROUP(name, ...)                                                                           \
    static const hf_row name##_rows[] = { __VA_ARGS__ };                                           \
    static const hf_group name = { name##_rows, PUM_COUNT(name##_rows) }

enum { A = HF_ALWAYS, NW = HF_NORM_W, NB = HF_NORM_B };

/* clang-format off */

/* ---- tensors of the model ---- */

GROUP(model_llama,
    { "embed_tokens", "token_embd",  S_V,   S_D, R_SAME, A, 0 },
    { "norm",         "output_norm", S_ONE, S_D, R_NORM, NW, NB },
    { "^lm_head",     "output",      S_V,   S_D, R_SAME, HF_UNTIED, HF_HEAD_BIAS });
GROUP(model_phi,
    { "embed_tokens",    "token_embd",  S_V,   S_D, R_SAME, A, 0 },
    { "final_layernorm", "output_norm", S_ONE, S_D, R_NORM, NW, NB },
    { "^lm_head",        "output",      S_V,   S_D, R_SAME, HF_UNTIED, HF_HEAD_BIAS });
GROUP(model_gpt2,
    { "wte",      "token_embd",    S_V,   S_D, R_SAME, A, 0 },
    { "wpe",      "position_embd", S_POS, S_D, R_SAME, HF_POSITIONS, 0 },
    { "ln_f",     "output_norm",   S_ONE, S_D, R_NORM, NW, NB },
    { "^lm_head", "output",        S_V,   S_D, R_SAME, HF_UNTIED, HF_HEAD_BIAS });
GROUP(model_gpt_neox,
    { "embed_in",         "token_embd",  S_V,   S_D, R_SAME, A, 0 },
    { "final_layer_norm", "output_norm", S_ONE, S_D, R_NORM, NW, NB },
    { "^embed_out",       "output",      S_V,   S_D, R_SAME, HF_UNTIED, 0 });
GROUP(model_falcon,
    { "word_embeddings", "token_embd",  S_V,   S_D, R_SAME, A, 0 },
    { "ln_f",            "output_norm", S_ONE, S_D, R_NORM, NW, NB },
    { "^lm_head",        "output",      S_V,   S_D, R_SAME, HF_UNTIED, 0 });
GROUP(model_bloom,
    { "word_embeddings",           "token_embd",      S_V,   S_D, R_SAME, A, 0 },
    { "word_embeddings_layernorm", "token_embd_norm", S_ONE, S_D, R_NORM, NW, NB },
    { "ln_f",                      "output_norm",     S_ONE, S_D, R_NORM, NW, NB },
    { "^lm_head",                  "output",          S_V,   S_D, R_SAME, HF_UNTIED, 0 });
GROUP(model_mpt,
    { "wte",      "token_embd",    S_V,   S_D, R_SAME, A, 0 },
    { "wpe",      "position_embd", S_POS, S_D, R_SAME, HF_POSITIONS, 0 },
    { "norm_f",   "output_norm",   S_ONE, S_D, R_NORM, NW, NB },
    { "^lm_head", "output",        S_V,   S_D, R_SAME, HF_UNTIED, 0 });
GROUP(model_opt,
    { "embed_tokens",     "token_embd",    S_V,    S_PROJ, R_SAME, A, 0 },
    { "embed_positions",  "position_embd", S_POS,  S_D,    R_SAME, A, 0 },
    { "project_in",       "proj_in",       S_D,    S_PROJ, R_SAME, HF_PROJ, 0 },
    { "project_out",      "proj_out",      S_PROJ, S_D,    R_SAME, HF_PROJ, 0 },
    { "final_layer_norm", "output_norm",   S_ONE,  S_D,    R_NORM, HF_FINAL_NORM | NW, NB },
    { "^lm_head",         "output",        S_V,    S_PROJ, R_SAME, HF_UNTIED, 0 });
GROUP(model_internlm2,
    { "tok_embeddings", "token_embd",  S_V,   S_D, R_SAME, A, 0 },
    { "norm",           "output_norm", S_ONE, S_D, R_NORM, NW, NB },
    { "^output",        "output",      S_V,   S_D, R_SAME, HF_UNTIED, 0 });
GROUP(model_chatglm2,
    { "embedding.word_embeddings", "token_embd",  S_V,   S_D, R_SAME, A, 0 },
    { "encoder.final_layernorm",   "output_norm", S_ONE, S_D, R_NORM, NW, NB },
    { "output_layer",              "output",      S_V,   S_D, R_SAME, HF_UNTIED, 0 });
GROUP(model_chatglm1,
    { "word_embeddings", "token_embd",  S_V,   S_D, R_SAME, A, 0 },
    { "final_layernorm", "output_norm", S_ONE, S_D, R_NORM, NW, NB },
    { "^lm_head",        "output",      S_V,   S_D, R_SAME, HF_UNTIED, 0 });
GROUP(model_palm,
    { "0", "token_embd",  S_V,   S_D, R_SAME, A, 0 },
    { "#.gamma", "output_norm.weight", S_ONE, S_D, R_RAW, A, 0 });
GROUP(model_t5,
    { "shared|encoder.embed_tokens|decoder.embed_tokens", "token_embd", S_V, S_D, R_SAME, A, 0 },
    { "encoder.final_layer_norm", "enc.output_norm", S_ONE, S_D, R_NORM, A, 0 },
    { "decoder.final_layer_norm", "dec.output_norm", S_ONE, S_D, R_NORM, A, 0 },
    { "^lm_head",                 "output",          S_V,   S_D, R_SAME, HF_UNTIED, 0 });
GROUP(model_bart,
    { "shared|encoder.embed_tokens|decoder.embed_tokens", "token_embd", S_V, S_D, R_SAME, A, 0 },
    { "encoder.embed_positions",     "enc.position_embd",   S_POS, S_D, R_SAME, A, 0 },
    { "decoder.embed_positions",     "dec.position_embd",   S_POS, S_D, R_SAME, A, 0 },
    { "encoder.layernorm_embedding", "enc.token_embd_norm", S_ONE, S_D, R_NORM, A, A },
    { "decoder.layernorm_embedding", "dec.token_embd_norm", S_ONE, S_D, R_NORM, A, A },
    { "encoder.layer_norm",          "enc.output_norm",     S_ONE, S_D, R_NORM, HF_FINAL_NORM, A },
    { "decoder.layer_norm",          "dec.output_norm",     S_ONE, S_D, R_NORM, HF_FINAL_NORM, A },
    { "^final_logits_bias",          "output.bias",         S_ONE, S_V, R_RAW, A, 0 },
    { "^lm_head",                    "output",              S_V,   S_D, R_SAME, HF_UNTIED, 0 });

/* ---- norms of a layer ---- */

GROUP(norms_llama,
    { "input_layernorm",          "attn_norm", S_ONE, S_D, R_NORM, NW, NB },
    { "post_attention_layernorm", "ffn_norm",  S_ONE, S_D, R_NORM, NW | HF_SERIAL, NB });
GROUP(norms_sandwich,
    { "input_layernorm",            "attn_norm",           S_ONE, S_D, R_NORM, A, 0 },
    { "post_attention_layernorm",   "post_attention_norm", S_ONE, S_D, R_NORM, A, 0 },
    { "pre_feedforward_layernorm",  "ffn_norm",            S_ONE, S_D, R_NORM, A, 0 },
    { "post_feedforward_layernorm", "post_ffw_norm",       S_ONE, S_D, R_NORM, A, 0 });
GROUP(norms_after,
    { "post_attention_layernorm",   "post_attention_norm", S_ONE, S_D, R_NORM, A, 0 },
    { "post_feedforward_layernorm", "post_ffw_norm",       S_ONE, S_D, R_NORM, A, 0 });
GROUP(norms_glm4,
    { "input_layernorm",          "attn_norm",           S_ONE, S_D, R_NORM, A, 0 },
    { "post_self_attn_layernorm", "post_attention_norm", S_ONE, S_D, R_NORM, A, 0 },
    { "post_attention_layernorm", "ffn_norm",            S_ONE, S_D, R_NORM, A, 0 },
    { "post_mlp_layernorm",       "post_ffw_norm",       S_ONE, S_D, R_NORM, A, 0 });

/* ---- attention ---- */

GROUP(attn_llama,
    { "self_attn.q_proj",        "attn_q",      S_Q,  S_D, R_Q,    A, HF_QKV_BIAS },
    { "self_attn.k_proj",        "attn_k",      S_KV, S_D, R_K,    A, HF_QKV_BIAS },
    { "self_attn.v_proj",        "attn_v",      S_KV, S_D, R_SAME, A, HF_QKV_BIAS },
    { "self_attn.o_proj|self_attn.dense|self_attn.out_proj",
                                 "attn_output", S_D,  S_Q, R_SAME, A, HF_O_BIAS });
GROUP(qk_norm_head, /* one norm that all heads share */
    { "self_attn.q_norm", "attn_q_norm", S_ONE, S_HEAD, R_NORM, HF_QK_NORM, 0 },
    { "self_attn.k_norm", "attn_k_norm", S_ONE, S_HEAD, R_NORM, HF_QK_NORM, 0 });
GROUP(qk_norm_full, /* over all heads together */
    { "self_attn.q_norm", "attn_q_norm", S_ONE, S_Q,  R_NORM, HF_QK_NORM, 0 },
    { "self_attn.k_norm", "attn_k_norm", S_ONE, S_KV, R_NORM, HF_QK_NORM, 0 });
GROUP(qk_norm_each, /* one for each head, as a matrix */
    { "self_attn.q_norm", "attn_q_norm", S_H,   S_HEAD, R_SAME, HF_QK_NORM, 0 },
    { "self_attn.k_norm", "attn_k_norm", S_KVH, S_HEAD, R_SAME, HF_QK_NORM, 0 });
GROUP(qk_norm_stablelm, /* one for each head, as tensors */
    { "self_attn.q_layernorm.norms.@", "attn_q_norm", S_H,   S_HEAD, R_HEADS, HF_QK_NORM, 0 },
    { "self_attn.k_layernorm.norms.@", "attn_k_norm", S_KVH, S_HEAD, R_HEADS, HF_QK_NORM, 0 });
GROUP(attn_phi3,
    { "self_attn.qkv_proj", "attn_qkv",    S_QKV, S_D, R_SAME, A, 0 },
    { "self_attn.o_proj",   "attn_output", S_D,   S_Q, R_SAME, A, 0 });

/* ---- the MLP ---- */

GROUP(mlp_llama,
    { "mlp.gate_proj", "ffn_gate", S_FF, S_D,  R_SAME, A, HF_MLP_BIAS },
    { "mlp.up_proj",   "ffn_up",   S_FF, S_D,  R_SAME, A, HF_MLP_BIAS },
    { "mlp.down_proj", "ffn_down", S_D,  S_FF, R_SAME, A, HF_MLP_BIAS });
GROUP(mlp_fused,
    { "mlp.gate_up_proj", "ffn_up",   S_2FF, S_D,  R_SAME, A, 0 },
    { "mlp.down_proj",    "ffn_down", S_D,   S_FF, R_SAME, A, 0 });
GROUP(mlp_phi,
    { "mlp.fc1|mlp.c_fc",   "ffn_up",   S_FF, S_D,  R_SAME, A, HF_MLP_BIAS },
    { "mlp.fc2|mlp.c_proj", "ffn_down", S_D,  S_FF, R_SAME, A, HF_MLP_BIAS });
GROUP(mlp_plain,
    { "mlp.up_proj",   "ffn_up",   S_FF, S_D,  R_SAME, A, HF_MLP_BIAS },
    { "mlp.down_proj", "ffn_down", S_D,  S_FF, R_SAME, A, HF_MLP_BIAS });
GROUP(mlp_granite_moe,
    { "block_sparse_moe.router.layer",  "ffn_gate_inp",  S_E,   S_D,   R_SAME,     A, 0 },
    { "block_sparse_moe.input_linear",  "ffn_gate_exps", S_FFE, S_D,   R_ALL_GATE, A, 0 },
    { "block_sparse_moe.input_linear",  "ffn_up_exps",   S_FFE, S_D,   R_ALL_UP,   A, 0 },
    { "block_sparse_moe.output_linear", "ffn_down_exps", S_D,   S_FFE, R_ALL_DOWN, A, 0 });
GROUP(mlp_mixtral,
    { "block_sparse_moe.gate",         "ffn_gate_inp",  S_E,   S_D,   R_SAME,    A, 0 },
    { "block_sparse_moe.experts.@.w1", "ffn_gate_exps", S_FFE, S_D,   R_EXPERTS, A, 0 },
    { "block_sparse_moe.experts.@.w3", "ffn_up_exps",   S_FFE, S_D,   R_EXPERTS, A, 0 },
    { "block_sparse_moe.experts.@.w2", "ffn_down_exps", S_D,   S_FFE, R_EXPERTS, A, 0 });
GROUP(mlp_qwen_moe,
    { "mlp.gate",                    "ffn_gate_inp",  S_E,   S_D,   R_SAME,    A, 0 },
    { "mlp.experts.@.gate_proj",     "ffn_gate_exps", S_FFE, S_D,   R_EXPERTS, A, 0 },
    { "mlp.experts.@.up_proj",       "ffn_up_exps",   S_FFE, S_D,   R_EXPERTS, A, 0 },
    { "mlp.experts.@.down_proj",     "ffn_down_exps", S_D,   S_FFE, R_EXPERTS, A, 0 },
    { "mlp.shared_expert_gate",  "ffn_gate_inp_shexp", S_ONE, S_D,  R_VECTOR,  HF_SHARED, 0 },
    { "mlp.shared_expert.gate_proj", "ffn_gate_shexp", S_FFS, S_D,  R_SAME,    HF_SHARED, 0 },
    { "mlp.shared_expert.up_proj",   "ffn_up_shexp",   S_FFS, S_D,  R_SAME,    HF_SHARED, 0 },
    { "mlp.shared_expert.down_proj", "ffn_down_shexp", S_D,  S_FFS, R_SAME,    HF_SHARED, 0 });

/* ---- whole layers ---- */

GROUP(layer_gpt2,
    { "ln_1",        "attn_norm",   S_ONE, S_D,  R_NORM, NW, NB },
    { "attn.c_attn", "attn_qkv",    S_QKV, S_D,  R_FLIP, A, A },
    { "attn.c_proj", "attn_output", S_D,   S_Q,  R_FLIP, A, A },
    { "ln_2",        "ffn_norm",    S_ONE, S_D,  R_NORM, NW, NB },
    { "mlp.c_fc",    "ffn_up",      S_FF,  S_D,  R_FLIP, A, A },
    { "mlp.c_proj",  "ffn_down",    S_D,   S_FF, R_FLIP, A, A });
GROUP(layer_gpt_bigcode,
    { "ln_1",        "attn_norm",   S_ONE, S_D,  R_NORM,   NW, NB },
    { "attn.c_attn", "attn_qkv",    S_QKV, S_D,  R_GROUPS, A, A },
    { "attn.c_proj", "attn_output", S_D,   S_Q,  R_SAME,   A, A },
    { "ln_2",        "ffn_norm",    S_ONE, S_D,  R_NORM,   NW, NB },
    { "mlp.c_fc",    "ffn_up",      S_FF,  S_D,  R_SAME,   A, A },
    { "mlp.c_proj",  "ffn_down",    S_D,   S_FF, R_SAME,   A, A });
GROUP(layer_gpt_neox,
    { "input_layernorm",           "attn_norm",   S_ONE, S_D,  R_NORM,   NW, NB },
    { "attention.query_key_value", "attn_qkv",    S_QKV, S_D,  R_GROUPS, A, HF_QKV_BIAS },
    { "attention.dense",           "attn_output", S_D,   S_Q,  R_SAME,   A, HF_O_BIAS },
    { "post_attention_layernorm",  "ffn_norm",    S_ONE, S_D,  R_NORM,   NW, NB },
    { "mlp.dense_h_to_4h",         "ffn_up",      S_FF,  S_D,  R_SAME,   A, HF_MLP_BIAS },
    { "mlp.dense_4h_to_h",         "ffn_down",    S_D,   S_FF, R_SAME,   A, HF_MLP_BIAS });
GROUP(layer_gptj,
    { "ln_1",          "attn_norm",   S_ONE, S_D,  R_NORM, NW, NB },
    { "attn.q_proj",   "attn_q",      S_Q,   S_D,  R_SAME, A, 0 },
    { "attn.k_proj",   "attn_k",      S_KV,  S_D,  R_SAME, A, 0 },
    { "attn.v_proj",   "attn_v",      S_KV,  S_D,  R_SAME, A, 0 },
    { "attn.out_proj", "attn_output", S_D,   S_Q,  R_SAME, A, 0 },
    { "mlp.fc_in",     "ffn_up",      S_FF,  S_D,  R_SAME, A, A },
    { "mlp.fc_out",    "ffn_down",    S_D,   S_FF, R_SAME, A, A });
GROUP(layer_falcon, /* and BLOOM */
    { "input_layernorm",                "attn_norm",   S_ONE, S_D,  R_NORM,   HF_ONE_NORM, NB },
    { "ln_attn",                        "attn_norm_2", S_ONE, S_D,  R_NORM,   HF_TWO_NORMS, NB },
    { "ln_mlp",                         "attn_norm",   S_ONE, S_D,  R_NORM,   HF_TWO_NORMS, NB },
    { "self_attention.query_key_value", "attn_qkv",    S_QKV, S_D,  R_GROUPS, A, HF_QKV_BIAS },
    { "self_attention.dense",           "attn_output", S_D,   S_Q,  R_SAME,   A, HF_O_BIAS },
    { "post_attention_layernorm",       "ffn_norm",    S_ONE, S_D,  R_NORM,   HF_SERIAL, NB },
    { "mlp.dense_h_to_4h",              "ffn_up",      S_FF,  S_D,  R_SAME,   A, HF_MLP_BIAS },
    { "mlp.dense_4h_to_h",              "ffn_down",    S_D,   S_FF, R_SAME,   A, HF_MLP_BIAS });
GROUP(layer_mpt,
    { "norm_1",        "attn_norm",   S_ONE, S_D,  R_NORM, NW, NB },
    { "attn.Wqkv",     "attn_qkv",    S_QKV, S_D,  R_SAME, A, HF_QKV_BIAS },
    { "attn.out_proj", "attn_output", S_D,   S_Q,  R_SAME, A, HF_O_BIAS },
    { "norm_2",        "ffn_norm",    S_ONE, S_D,  R_NORM, NW, NB },
    { "ffn.up_proj",   "ffn_up",      S_FF,  S_D,  R_SAME, A, HF_MLP_BIAS },
    { "ffn.down_proj", "ffn_down",    S_D,   S_FF, R_SAME, A, HF_MLP_BIAS });
GROUP(layer_opt,
    { "self_attn_layer_norm", "attn_norm", S_ONE, S_D,  R_NORM, NW, NB },
    { "final_layer_norm",     "ffn_norm",  S_ONE, S_D,  R_NORM, NW, NB },
    { "fc1",                  "ffn_up",    S_FF,  S_D,  R_SAME, A, HF_MLP_BIAS },
    { "fc2",                  "ffn_down",  S_D,   S_FF, R_SAME, A, HF_MLP_BIAS });
GROUP(layer_internlm2,
    { "attention_norm",  "attn_norm",   S_ONE, S_D,  R_NORM, NW, NB },
    { "attention.wqkv",  "attn_q",      S_Q,   S_D,  R_Q_OF, A, HF_QKV_BIAS },
    { "attention.wqkv",  "attn_k",      S_KV,  S_D,  R_K_OF, A, HF_QKV_BIAS },
    { "attention.wqkv",  "attn_v",      S_KV,  S_D,  R_V_OF, A, HF_QKV_BIAS },
    { "attention.wo",    "attn_output", S_D,   S_Q,  R_SAME, A, HF_O_BIAS },
    { "ffn_norm",        "ffn_norm",    S_ONE, S_D,  R_NORM, NW, NB },
    { "feed_forward.w1", "ffn_gate",    S_FF,  S_D,  R_SAME, A, 0 },
    { "feed_forward.w3", "ffn_up",      S_FF,  S_D,  R_SAME, A, 0 },
    { "feed_forward.w2", "ffn_down",    S_D,   S_FF, R_SAME, A, 0 });
GROUP(layer_chatglm2,
    { "input_layernorm",                "attn_norm",   S_ONE, S_D,  R_NORM, NW, NB },
    { "self_attention.query_key_value", "attn_qkv",    S_QKV, S_D,  R_SAME, A, HF_QKV_BIAS },
    { "self_attention.dense",           "attn_output", S_D,   S_Q,  R_SAME, A, HF_O_BIAS },
    { "post_attention_layernorm",       "ffn_norm",    S_ONE, S_D,  R_NORM, NW, NB },
    { "mlp.dense_h_to_4h",              "ffn_up",      S_2FF, S_D,  R_SAME, A, HF_MLP_BIAS },
    { "mlp.dense_4h_to_h",              "ffn_down",    S_D,   S_FF, R_SAME, A, HF_MLP_BIAS });
GROUP(layer_palm,
    { "fn.norm.gamma",         "attn_norm.weight", S_ONE, S_D, R_RAW, A, 0 },
    { "fn.fused_attn_ff_proj", "attn_q",      S_Q,  S_D,  R_CUT_Q,    A, 0 },
    { "fn.fused_attn_ff_proj", "attn_k",      S_KV, S_D,  R_CUT_K,    A, 0 },
    { "fn.fused_attn_ff_proj", "attn_v",      S_KV, S_D,  R_CUT_V,    A, 0 },
    { "fn.fused_attn_ff_proj", "ffn_up",      S_FF, S_D,  R_CUT_UP,   A, 0 },
    { "fn.fused_attn_ff_proj", "ffn_gate",    S_FF, S_D,  R_CUT_GATE, A, 0 },
    { "fn.attn_out",           "attn_output", S_D,  S_Q,  R_SAME,     A, 0 },
    { "fn.ff_out.1",           "ffn_down",    S_D,  S_FF, R_SAME,     A, 0 });

/* ---- encoder-decoders ---- */

GROUP(layer_t5_attn,
    { "layer.0.layer_norm",      "attn_norm", S_ONE, S_D, R_NORM, A, 0 },
    { "layer.0.SelfAttention.q", "attn_q",    S_Q,   S_D, R_SAME, A, 0 },
    { "layer.0.SelfAttention.k", "attn_k",    S_Q,   S_D, R_SAME, A, 0 },
    { "layer.0.SelfAttention.v", "attn_v",    S_Q,   S_D, R_SAME, A, 0 },
    { "layer.0.SelfAttention.o", "attn_o",    S_D,   S_Q, R_SAME, A, 0 },
    { "layer.0.SelfAttention.relative_attention_bias",
                                 "attn_rel_b", S_BUCKETS, S_H, R_BUCKETS, A, 0 });
GROUP(layer_t5_mlp_enc,
    { "layer.1.layer_norm",          "ffn_norm", S_ONE, S_D,  R_NORM, A, 0 },
    { "layer.1.DenseReluDense.wi_0", "ffn_gate", S_FF,  S_D,  R_SAME, HF_GATED, 0 },
    { "layer.1.DenseReluDense.wi_1", "ffn_up",   S_FF,  S_D,  R_SAME, HF_GATED, 0 },
    { "layer.1.DenseReluDense.wi",   "ffn_up",   S_FF,  S_D,  R_SAME, HF_UNGATED, 0 },
    { "layer.1.DenseReluDense.wo",   "ffn_down", S_D,   S_FF, R_SAME, A, 0 });
GROUP(layer_t5_cross,
    { "layer.1.layer_norm",         "cross_attn_norm", S_ONE, S_D, R_NORM, A, 0 },
    { "layer.1.EncDecAttention.q",  "cross_attn_q",    S_Q,   S_D, R_SAME, A, 0 },
    { "layer.1.EncDecAttention.k",  "cross_attn_k",    S_Q,   S_D, R_SAME, A, 0 },
    { "layer.1.EncDecAttention.v",  "cross_attn_v",    S_Q,   S_D, R_SAME, A, 0 },
    { "layer.1.EncDecAttention.o",  "cross_attn_o",    S_D,   S_Q, R_SAME, A, 0 });
GROUP(layer_t5_mlp_dec,
    { "layer.2.layer_norm",          "ffn_norm", S_ONE, S_D,  R_NORM, A, 0 },
    { "layer.2.DenseReluDense.wi_0", "ffn_gate", S_FF,  S_D,  R_SAME, HF_GATED, 0 },
    { "layer.2.DenseReluDense.wi_1", "ffn_up",   S_FF,  S_D,  R_SAME, HF_GATED, 0 },
    { "layer.2.DenseReluDense.wi",   "ffn_up",   S_FF,  S_D,  R_SAME, HF_UNGATED, 0 },
    { "layer.2.DenseReluDense.wo",   "ffn_down", S_D,   S_FF, R_SAME, A, 0 });
GROUP(layer_bart,
    { "self_attn_layer_norm", "attn_norm", S_ONE, S_D,  R_NORM, A, A },
    { "self_attn.q_proj",     "attn_q",    S_Q,   S_D,  R_SAME, A, A },
    { "self_attn.k_proj",     "attn_k",    S_Q,   S_D,  R_SAME, A, A },
    { "self_attn.v_proj",     "attn_v",    S_Q,   S_D,  R_SAME, A, A },
    { "self_attn.out_proj",   "attn_o",    S_D,   S_Q,  R_SAME, A, A },
    { "final_layer_norm",     "ffn_norm",  S_ONE, S_D,  R_NORM, A, A },
    { "fc1",                  "ffn_up",    S_FF,  S_D,  R_SAME, A, A },
    { "fc2",                  "ffn_down",  S_D,   S_FF, R_SAME, A, A });
GROUP(layer_bart_cross,
    { "encoder_attn_layer_norm", "cross_attn_norm", S_ONE, S_D, R_NORM, A, A },
    { "encoder_attn.q_proj",     "cross_attn_q",    S_Q,   S_D, R_SAME, A, A },
    { "encoder_attn.k_proj",     "cross_attn_k",    S_Q,   S_D, R_SAME, A, A },
    { "encoder_attn.v_proj",     "cross_attn_v",    S_Q,   S_D, R_SAME, A, A },
    { "encoder_attn.out_proj",   "cross_attn_o",    S_D,   S_Q, R_SAME, A, A });

/* ---- families ---- */

#define LLAMA_PREFIXES "model.|language_model.model.|model.language_model.|"
#define LAYERS(name, ...) { { name, "blk.#.", false, 0, { __VA_ARGS__ } } }

enum {
    LLAMA = HF_SERIAL | HF_NORM_W | HF_UNTIED,         /* RMS norms */
    LAYER_NORM = HF_SERIAL | HF_NORM_W | HF_NORM_B,    /* tied */
    ALL_BIASES = HF_QKV_BIAS | HF_O_BIAS | HF_MLP_BIAS
};

static const hf_family families[] = {
    { "llama|mistral|internlm", "llama", true, true, LLAMA | HF_PERMUTED, 1e-6f, "silu",
      hf_read_llama, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_llama) },
    { "mixtral", "llama", true, true, LLAMA | HF_PERMUTED, 1e-5f, "silu",
      hf_read_mixtral, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_mixtral) },
    { "qwen2", "qwen2", true, true, LLAMA | HF_QKV_BIAS, 1e-6f, "silu",
      hf_read_qwen2, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_llama) },
    { "qwen3", "qwen3", true, true, LLAMA | HF_QK_NORM, 1e-6f, "silu",
      hf_read_qwen3, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &qk_norm_head, &mlp_llama) },
    { "qwen2_moe", "qwen2moe", true, true, LLAMA | HF_QKV_BIAS, 1e-6f, "silu",
      hf_read_qwen_moe, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_qwen_moe) },
    { "qwen3_moe", "qwen3moe", true, true, LLAMA | HF_QK_NORM, 1e-6f, "silu",
      hf_read_qwen_moe, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &qk_norm_head, &mlp_qwen_moe) },
    { "olmoe", "olmoe", true, true, LLAMA | HF_QK_NORM, 1e-5f, "silu",
      hf_read_olmoe, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &qk_norm_full, &mlp_qwen_moe) },
    { "gemma", "gemma", true, true, HF_SERIAL | HF_NORM_W, 1e-6f, "gelu_tanh",
      hf_read_gemma, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_llama) },
    { "gemma2", "gemma2", true, true, HF_SERIAL | HF_NORM_W, 1e-6f, "gelu_tanh",
      hf_read_gemma2, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_sandwich, &attn_llama, &mlp_llama) },
    { "gemma3_text|gemma3", "gemma3", true, true, HF_SERIAL | HF_NORM_W | HF_QK_NORM, 1e-6f,
      "gelu_tanh", hf_read_gemma3, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_sandwich, &attn_llama, &qk_norm_head, &mlp_llama) },
    { "phi", "phi2", false, true,
      HF_NORM_W | HF_NORM_B | ALL_BIASES | HF_UNTIED | HF_HEAD_BIAS, 1e-5f, "gelu_tanh",
      hf_read_phi, LLAMA_PREFIXES, &model_phi,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_phi) },
    { "phi3", "phi3", true, true, LLAMA, 1e-5f, "silu",
      hf_read_phi3, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_phi3, &mlp_fused) },
    { "gpt2", "gpt2", false, false, LAYER_NORM | HF_POSITIONS, 1e-5f, "gelu_tanh",
      hf_read_gpt2, "transformer.|", &model_gpt2, LAYERS("h.#.", &layer_gpt2) },
    { "gpt_bigcode", "starcoder", false, false, LAYER_NORM | HF_POSITIONS, 1e-5f, "gelu_tanh",
      hf_read_gpt_bigcode, "transformer.|", &model_gpt2, LAYERS("h.#.", &layer_gpt_bigcode) },
    { "gpt_neox", "gptneox", false, true, LAYER_NORM | HF_MLP_BIAS | HF_UNTIED, 1e-5f, "gelu_erf",
      hf_read_gpt_neox, "gpt_neox.|", &model_gpt_neox, LAYERS("layers.#.", &layer_gpt_neox) },
    { "gptj", "gptj", false, true, HF_NORM_W | HF_NORM_B | HF_UNTIED | HF_HEAD_BIAS, 1e-5f,
      "gelu_tanh", hf_read_gptj, "transformer.|", &model_gpt2, LAYERS("h.#.", &layer_gptj) },
    { "falcon|RefinedWeb|RefinedWebModel", "falcon", false, true, HF_NORM_W | HF_NORM_B, 1e-5f,
      "gelu_erf", hf_read_falcon, "transformer.|", &model_falcon, LAYERS("h.#.", &layer_falcon) },
    { "bloom", "bloom", false, false, LAYER_NORM | HF_ONE_NORM | ALL_BIASES, 1e-5f, "gelu_tanh",
      hf_read_bloom, "transformer.|", &model_bloom, LAYERS("h.#.", &layer_falcon) },
    { "mpt", "mpt", false, false, HF_SERIAL | HF_NORM_W, 1e-5f, "gelu_erf",
      hf_read_mpt, "transformer.|", &model_mpt, LAYERS("blocks.#.", &layer_mpt) },
    { "opt", "opt", false, false, HF_SERIAL, 1e-5f, "relu",
      hf_read_opt, "model.decoder.|decoder.|", &model_opt,
      LAYERS("layers.#.", &layer_opt, &attn_llama) },
    { "stablelm|stablelm_epoch", "stablelm", false, true,
      HF_NORM_W | HF_NORM_B | HF_UNTIED, 1e-5f, "silu",
      hf_read_stablelm, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &qk_norm_stablelm, &mlp_llama) },
    { "starcoder2", "starcoder2", false, true, LAYER_NORM, 1e-5f, "gelu_tanh",
      hf_read_starcoder2, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_phi) },
    { "internlm2", "internlm2", true, true, LLAMA | HF_PERMUTED, 1e-6f, "silu",
      hf_read_internlm2, LLAMA_PREFIXES, &model_internlm2, LAYERS("layers.#.", &layer_internlm2) },
    { "olmo", "olmo", false, true, HF_UNTIED | HF_PERMUTED, 1e-5f, "silu",
      hf_read_olmo, LLAMA_PREFIXES, &model_llama, LAYERS("layers.#.", &attn_llama, &mlp_llama) },
    { "olmo2", "olmo2", true, true, LLAMA | HF_QK_NORM, 1e-5f, "silu",
      hf_read_llama, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_after, &attn_llama, &qk_norm_full, &mlp_llama) },
    { "cohere", "command-r", false, true, HF_NORM_W, 1e-5f, "silu",
      hf_read_cohere, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &qk_norm_each, &mlp_llama) },
    { "cohere2", "cohere2", false, true, HF_NORM_W, 1e-5f, "silu",
      hf_read_cohere2, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_llama) },
    { "granite", "granite", true, true, LLAMA | HF_PERMUTED, 1e-6f, "silu",
      hf_read_granite, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_llama) },
    { "granitemoe", "granitemoe", true, true, LLAMA | HF_PERMUTED, 1e-6f, "silu",
      hf_read_granite_moe, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_granite_moe) },
    { "nemotron", "nemotron", false, true, HF_SERIAL | HF_NORM_W | HF_NORM_B | HF_UNTIED, 1e-5f,
      "relu2", hf_read_nemotron, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_plain) },
    { "smollm3", "smollm3", true, true, HF_SERIAL | HF_NORM_W | HF_PERMUTED, 1e-6f, "silu",
      hf_read_smollm3, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_llama) },
    { "chatglm", "chatglm", true, true, LLAMA, 1e-5f, "silu",
      hf_read_chatglm2, "transformer.|", &model_chatglm2,
      LAYERS("encoder.layers.#.", &layer_chatglm2) },
    { "glm", "chatglm", true, true, LLAMA, 1.5625e-7f, "silu",
      hf_read_glm, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_llama, &attn_llama, &mlp_fused) },
    { "glm4", "glm4", true, true, LLAMA, 1.5625e-7f, "silu",
      hf_read_glm, LLAMA_PREFIXES, &model_llama,
      LAYERS("layers.#.", &norms_glm4, &attn_llama, &mlp_fused) },
    { "chatglm1", "chatglm1", false, true, LAYER_NORM | ALL_BIASES, 1e-5f, "gelu_tanh",
      hf_read_chatglm1, "transformer.|", &model_chatglm1, LAYERS("layers.#.", &layer_gpt_neox) },
    { "palm", "palm", false, true, 0, 1e-5f, "silu",
      hf_read_palm, "", &model_palm, { { "#.", "blk.#.", false, 1, { &layer_palm } } } },
    { "t5|mt5|umt5", "t5", true, false, 0, 1e-6f, "relu", hf_read_t5, "", &model_t5,
      { { "encoder.block.#.", "enc.blk.#.", false, 0, { &layer_t5_attn, &layer_t5_mlp_enc } },
        { "decoder.block.#.", "dec.blk.#.", true, 0,
          { &layer_t5_attn, &layer_t5_cross, &layer_t5_mlp_dec } } } },
    { "bart|mbart", "bart", false, false, 0, 1e-5f, "gelu_erf", hf_read_bart, "model.|",
      &model_bart,
      { { "encoder.layers.#.", "enc.blk.#.", false, 0, { &layer_bart } },
        { "decoder.layers.#.", "dec.blk.#.", true, 0, { &layer_bart, &layer_bart_cross } } } },
};

/* clang-format on */

bool hf_is_among(const char *word, const char *words)
{
    size_t n = strlen(word);
    for (const char *p = words; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL) {
        if (strncmp(p, word, n) == 0 && (p[n] == '|' || p[n] == '\0')) return n > 0;
    }
    return false;
}

const hf_family *hf_family_find(const char *model_type)
{
    for (size_t i = 0; i < PUM_COUNT(families); i++) {
        if (hf_is_among(model_type, families[i].model_types)) return &families[i];
    }
    return NULL;
}

void hf_family_names(char *out, size_t capacity)
{
    size_t n = 0;
    for (size_t i = 0; i < PUM_COUNT(families) && n < capacity; i++) {
        int bytes = (int)strcspn(families[i].model_types, "|");
        n += (size_t)snprintf(out + n, capacity - n, "%s%.*s", i ? ", " : "", bytes,
                              families[i].model_types);
    }
}
