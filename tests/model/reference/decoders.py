# SPDX-License-Identifier: Apache-2.0
"""Decoder-only models. `Decoder` is LLaMA; every other class says how its original differs. Values of config.json are
read where they are used, with the defaults of the original's configuration class."""
import math

import numpy as np

from . import parts


def split_groups(x, kv_heads, head_dim):
    """Rows [kv head][its query heads, key, value] of a fused matrix as q, k, v by heads."""
    x = x.reshape(x.shape[0], kv_heads, -1, head_dim)
    return x[:, :, :-2].reshape(x.shape[0], -1, head_dim), x[:, :, -2], x[:, :, -1]


class Decoder:
    prefix, layers = "model.", "layers.{}."
    words, last_norm, head = "embed_tokens", "norm", "lm_head"
    first_norm, second_norm = "input_layernorm", "post_attention_layernorm"
    q, k, v, o = "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"
    gate, up, down = "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"
    tied, interleaved, base, part = False, False, 10000.0, 1.0
    eps, activation, norm_kind = 1e-6, "silu", "norm"
    rms, norm_bias, one_plus = True, False, False
    embed_scale = logit_scale = residual_scale = 1.0

    def __init__(self, config, weights):
        self.c, self.w = config, weights
        c = self.of
        self.d = c("hidden_size", "n_embd", "n_embed", "d_model", "dim")
        self.n = c("num_hidden_layers", "n_layer", "num_layers", "n_layers", "depth")
        self.heads = c("num_attention_heads", "n_head", "n_heads", "heads")
        self.kv_heads = c("num_key_value_heads") or self.heads
        self.head_dim = c("head_dim", "kv_channels", "dim_head") or self.d // self.heads
        self.ff = c("intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim") or 4 * self.d
        self.vocab = c("vocab_size", "padded_vocab_size", "num_tokens")
        self.context = c("max_position_embeddings", "n_positions", "seq_length") or 2048
        self.tied = c("tie_word_embeddings") if c("tie_word_embeddings") is not None else self.tied
        self.act = parts.ACTIVATIONS[c("hidden_act", "activation_function") or self.activation]
        self.eps = c("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_eps", "norm_epsilon",
                     "layernorm_epsilon") or self.eps
        self.scale = self.head_dim ** -0.5
        self.qkv_bias = self.o_bias = bool(c("attention_bias"))
        self.mlp_bias = bool(c("mlp_bias"))
        part = c("partial_rotary_factor", "rope_percentage", "rotary_pct") or self.part
        self.rotary_dim = int(part * self.head_dim)
        self.base = c("rope_theta", "rotary_emb_base") or self.base
        self.scaling = c("rope_scaling")
        self.cap = None
        self.setup()

    def setup(self):
        """What the class has of its own."""

    def of(self, *names):
        """The first of these keys that is there and not null."""
        return next((self.c[name] for name in names if self.c.get(name) is not None), None)

    # ---- tensors ----

    def name(self, layer, what):
        return (self.prefix + self.layers.format(layer) if layer is not None else self.prefix) + what

    def linear(self, x, name, rows, bias=False):
        y = x @ self.w(name + ".weight", (rows, x.shape[-1])).T
        return y + self.w(name + ".bias", (rows,), "bias") if bias else y

    def norm(self, x, name):
        weight = self.w(name + ".weight", (x.shape[-1],), "norm less one" if self.one_plus else "norm") + self.one_plus
        if self.rms:
            return parts.rms_norm(x, weight, self.eps)
        bias = self.w(name + ".bias", (x.shape[-1],), "norm bias") if self.norm_bias else 0
        return parts.layer_norm(x, weight, bias, self.eps)

    # ---- the network ----

    def logits(self, ids, prefix=0):
        self.length, self.seen_prefix = len(ids), prefix
        x = self.embed(np.asarray(ids))
        for i in range(self.n):
            x = self.block(x, i)
        return self.output(self.finish(x))

    def embed(self, ids):
        return self.w(self.name(None, self.words) + ".weight", (self.vocab, self.d), "table")[ids] * self.embed_scale

    def finish(self, x):
        return self.norm(x, self.name(None, self.last_norm))

    def output(self, x):
        if self.tied:
            y = x @ self.w(self.name(None, self.words) + ".weight", (self.vocab, x.shape[-1]), "table").T
        else:
            y = self.linear(x, self.head, self.vocab, getattr(self, "head_bias", False))
        return y * self.logit_scale

    def block(self, x, i):
        x = x + self.attention(self.norm(x, self.name(i, self.first_norm)), i) * self.residual_scale
        return x + self.mlp(self.norm(x, self.name(i, self.second_norm)), i) * self.residual_scale

    # ---- attention ----

    def attention(self, h, i):
        q, k, v = self.turn(*self.project(h, i), i)
        a = parts.attend(q, k, v, self.layer_scale(i), self.seen(i), self.bias(), self.cap)
        return self.linear(a, self.name(i, self.o), self.d, self.o_bias)

    def by_heads(self, x):
        return x.reshape(x.shape[0], -1, self.head_dim)

    def project(self, h, i):
        """q, k and v by heads."""
        sizes = self.heads, self.kv_heads, self.kv_heads
        return [self.by_heads(self.linear(h, self.name(i, name), n * self.head_dim, self.qkv_bias))
                for name, n in zip((self.q, self.k, self.v), sizes)]

    def turn(self, q, k, v, i):
        freq, factor = self.frequencies(i)
        return (parts.rotate(q, freq, factor, self.interleaved), parts.rotate(k, freq, factor, self.interleaved), v)

    def frequencies(self, i):
        return parts.scaled_frequencies(self.rotary_dim, self.base, self.scaling, self.context,
                                        self.of("original_max_position_embeddings"), self.length)

    def layer_scale(self, i):
        return self.scale

    def window(self, i):
        return None

    def seen(self, i):
        return parts.causal(self.length, self.window(i), self.seen_prefix)

    def bias(self):
        return None

    def windows_by_type(self, i, default):
        """By layer_types if the config has it, else what default(i) says: is layer i one with a window?"""
        types = self.of("layer_types")
        return self.of("sliding_window") if (types[i] == "sliding_attention" if types else default(i)) else None

    # ---- the MLP ----

    def gated(self, h, gate, up, down, ff):
        y = self.act(self.linear(h, gate, ff, self.mlp_bias)) * self.linear(h, up, ff, self.mlp_bias)
        return self.linear(y, down, self.d, self.mlp_bias)

    def plain(self, h, i):
        y = self.act(self.linear(h, self.name(i, self.up), self.ff, self.mlp_bias))
        return self.linear(y, self.name(i, self.down), self.d, self.mlp_bias)

    def mlp(self, h, i):
        return self.gated(h, *(self.name(i, name) for name in (self.gate, self.up, self.down)), self.ff)

    def fused(self, h, i):
        """gate_up_proj: gate above up."""
        both = self.linear(h, self.name(i, "mlp.gate_up_proj"), 2 * self.ff)
        return self.linear(self.act(both[:, :self.ff]) * both[:, self.ff:], self.name(i, self.down), self.d)


class Mistral(Decoder):
    def window(self, i):
        return self.of("sliding_window")


class Mixtral(Mistral):
    eps = 1e-5

    def mlp(self, h, i):
        p = self.name(i, "block_sparse_moe.")
        n = self.of("num_local_experts")
        return parts.mixture(h, self.linear(h, p + "gate", n), self.of("num_experts_per_tok"), True,
                             lambda e, x: self.gated(x, f"{p}experts.{e}.w1", f"{p}experts.{e}.w3",
                                                     f"{p}experts.{e}.w2", self.ff))


class Qwen2(Decoder):
    def setup(self):
        self.qkv_bias = True

    def window(self, i):
        if not self.of("use_sliding_window"):
            return None
        first = self.c.get("max_window_layers", 28)
        return self.windows_by_type(i, lambda i: i >= first)


class HeadNorms:
    """q and k normalised head by head."""

    def turn(self, q, k, v, i):
        return super().turn(self.norm(q, self.name(i, "self_attn.q_norm")),
                            self.norm(k, self.name(i, "self_attn.k_norm")), v, i)


class WholeNorms:
    """q and k normalised over all heads at once."""

    def project(self, h, i):
        q, k, v = super().project(h, i)
        q = self.norm(q.reshape(len(h), -1), self.name(i, "self_attn.q_norm"))
        k = self.norm(k.reshape(len(h), -1), self.name(i, "self_attn.k_norm"))
        return self.by_heads(q), self.by_heads(k), v


class Qwen3(HeadNorms, Qwen2):
    def setup(self):
        self.head_dim = self.of("head_dim") or 128
        self.rotary_dim, self.scale = self.head_dim, self.head_dim ** -0.5


class QwenExperts:
    def mlp(self, h, i):
        p = self.name(i, "mlp.")
        n, width = self.of("num_experts"), self.of("moe_intermediate_size", "intermediate_size")

        def expert(where, x, ff):
            return self.gated(x, where + "gate_proj", where + "up_proj", where + "down_proj", ff)
        y = parts.mixture(h, self.linear(h, p + "gate", n), self.of("num_experts_per_tok"),
                          self.of("norm_topk_prob"), lambda e, x: expert(f"{p}experts.{e}.", x, width))
        if self.c["model_type"] == "qwen2_moe":
            share = parts.sigmoid(self.linear(h, p + "shared_expert_gate", 1))
            y = y + share * expert(p + "shared_expert.", h, self.of("shared_expert_intermediate_size"))
        return y


class Qwen2Moe(QwenExperts, Qwen2):
    pass


class Qwen3Moe(QwenExperts, Qwen3):
    pass


class Clipped:
    def project(self, h, i):
        clip = self.of("clip_qkv") or np.inf
        return [np.clip(x, -clip, clip) for x in super().project(h, i)]


class Olmoe(QwenExperts, Clipped, WholeNorms, Decoder):
    eps = 1e-5


class Olmo(Clipped, Decoder):
    def norm(self, x, name):
        return parts.layer_norm(x, 1.0, 0.0, 1e-5)


class Olmo2(WholeNorms, Decoder):
    eps = 1e-5

    def block(self, x, i):
        x = x + self.norm(self.attention(x, i), self.name(i, "post_attention_layernorm"))
        return x + self.norm(self.mlp(x, i), self.name(i, "post_feedforward_layernorm"))


class Gemma(Decoder):
    tied, activation, one_plus = True, "gelu_pytorch_tanh", True

    def setup(self):
        self.act = parts.ACTIVATIONS[self.of("hidden_activation") or self.activation]
        self.head_dim = self.of("head_dim") or 256
        self.rotary_dim, self.scale = self.head_dim, self.head_dim ** -0.5
        self.embed_scale = math.sqrt(self.d)


class Sandwich:
    """Norms before and after each branch."""
    inner = ("post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")

    def block(self, x, i):
        after_attention, before_mlp, after_mlp = (self.name(i, name) for name in self.inner)
        a = self.attention(self.norm(x, self.name(i, self.first_norm)), i)
        x = x + self.norm(a, after_attention)
        return x + self.norm(self.mlp(self.norm(x, before_mlp), i), after_mlp)


class Gemma2(Sandwich, Gemma):
    every, caps = 2, (50.0, 30.0)

    def setup(self):
        super().setup()
        self.scale = (self.of("query_pre_attn_scalar") or 256) ** -0.5
        self.cap = self.c.get("attn_logit_softcapping", self.caps[0])
        self.last_cap = self.c.get("final_logit_softcapping", self.caps[1])

    def window(self, i):
        every = self.of("sliding_window_pattern") or self.every
        return self.windows_by_type(i, lambda i: (i + 1) % every != 0)

    def output(self, x):
        y = super().output(x)
        return self.last_cap * np.tanh(y / self.last_cap) if self.last_cap else y


class Gemma3(HeadNorms, Gemma2):
    every, caps, base = 6, (None, None), 1e6

    def frequencies(self, i):
        rope = self.of("rope_parameters")
        if self.window(i):
            local = rope["sliding_attention"]["rope_theta"] if rope else self.of("rope_local_base_freq") or 10000.0
            return parts.frequencies(self.rotary_dim, local), 1.0
        if rope:
            full = rope["full_attention"]
            return parts.scaled_frequencies(self.rotary_dim, full["rope_theta"], full, self.context, None, self.length)
        return super().frequencies(i)


class Phi(Decoder):
    rms, norm_bias, activation, part, eps = False, True, "gelu_new", 0.5, 1e-5
    last_norm, o, up, down, head_bias = "final_layernorm", "self_attn.dense", "mlp.fc1", "mlp.fc2", True
    mlp = Decoder.plain

    def setup(self):
        self.qkv_bias = self.o_bias = self.mlp_bias = True

    def block(self, x, i):
        h = self.norm(x, self.name(i, self.first_norm))
        return x + self.attention(h, i) + self.mlp(h, i)


class Phi3(Decoder):
    eps, mlp = 1e-5, Decoder.fused

    def project(self, h, i):
        q, k = self.heads * self.head_dim, self.kv_heads * self.head_dim
        y = self.linear(h, self.name(i, "self_attn.qkv_proj"), q + 2 * k)
        return self.by_heads(y[:, :q]), self.by_heads(y[:, q:q + k]), self.by_heads(y[:, q + k:])

    def window(self, i):
        return self.of("sliding_window")


class Gpt2(Decoder):
    prefix, layers, words, last_norm = "transformer.", "h.{}.", "wte", "ln_f"
    rms, norm_bias, tied, activation, eps = False, True, True, "gelu_new", 1e-5
    first_norm, second_norm, o, up, down = "ln_1", "ln_2", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"
    mlp = Decoder.plain

    def setup(self):
        self.qkv_bias = self.o_bias = self.mlp_bias = True
        if self.c.get("scale_attn_weights") is False:
            self.scale = 1.0

    def linear(self, x, name, rows, bias=False):
        """Stored [in, out]."""
        if name == self.head:
            return super().linear(x, name, rows, bias)
        y = x @ self.w(name + ".weight", (x.shape[-1], rows), transposed=True)
        return y + self.w(name + ".bias", (rows,), "bias")

    def layer_scale(self, i):
        return self.scale / (i + 1) if self.of("scale_attn_by_inverse_layer_idx") else self.scale

    def embed(self, ids):
        return super().embed(ids) + self.w(self.prefix + "wpe.weight", (self.context, self.d), "table")[:len(ids)]

    def project(self, h, i):
        fused = self.linear(h, self.name(i, "attn.c_attn"), 3 * self.d, True)
        return [self.by_heads(x) for x in np.split(fused, 3, -1)]

    def turn(self, q, k, v, i):
        return q, k, v


class GptBigCode(Gpt2):
    linear = Decoder.linear

    def setup(self):
        super().setup()
        self.kv_heads = 1 if self.c.get("multi_query", True) else self.heads

    def project(self, h, i):
        rows = self.d + 2 * self.kv_heads * self.head_dim
        return split_groups(self.linear(h, self.name(i, "attn.c_attn"), rows, True), self.kv_heads, self.head_dim)


class GptNeoX(Decoder):
    prefix, words, last_norm, head = "gpt_neox.", "embed_in", "final_layer_norm", "embed_out"
    rms, norm_bias, activation, part, eps = False, True, "gelu", 0.25, 1e-5
    o, up, down, mlp = "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", Decoder.plain

    def setup(self):
        self.qkv_bias = self.o_bias = self.c.get("attention_bias", True)
        self.mlp_bias = True

    def project(self, h, i):
        y = self.linear(h, self.name(i, "attention.query_key_value"), 3 * self.d, self.qkv_bias)
        return split_groups(y, self.heads, self.head_dim)

    def block(self, x, i):
        if not self.c.get("use_parallel_residual", True):
            return super().block(x, i)
        return (x + self.attention(self.norm(x, self.name(i, self.first_norm)), i)
                + self.mlp(self.norm(x, self.name(i, self.second_norm)), i))


class GptJ(Phi):
    prefix, layers, words, last_norm, first_norm = "transformer.", "h.{}.", "wte", "ln_f", "ln_1"
    q, k, v, o, up, down = "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj", "mlp.fc_in", "mlp.fc_out"
    interleaved = True

    def setup(self):
        self.mlp_bias, self.qkv_bias, self.o_bias = True, False, False
        self.rotary_dim = self.of("rotary_dim") or 64


class Falcon(Decoder):
    prefix, layers, words, last_norm = "transformer.", "h.{}.", "word_embeddings", "ln_f"
    rms, norm_bias, tied, activation, eps = False, True, True, "gelu", 1e-5
    o, up, down, mlp = "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", Decoder.plain

    def setup(self):
        self.grouped = self.of("new_decoder_architecture") or self.c["model_type"] == "RefinedWeb"
        self.qkv_bias = self.o_bias = self.mlp_bias = bool(self.of("bias"))
        if self.grouped:
            self.kv_heads = self.of("num_kv_heads", "n_head_kv") or self.heads
        else:
            self.kv_heads = 1 if self.c.get("multi_query", True) else self.heads

    def project(self, h, i):
        rows = (self.heads + 2 * self.kv_heads) * self.head_dim
        y = self.linear(h, self.name(i, "self_attention.query_key_value"), rows, self.qkv_bias)
        return split_groups(y, self.kv_heads, self.head_dim)

    def turn(self, q, k, v, i):
        return (q, k, v) if self.of("alibi") else super().turn(q, k, v, i)

    def bias(self):
        """Slope times key index; scaled as the products of q and k are."""
        if not self.of("alibi"):
            return None
        return (parts.alibi_slopes(self.heads)[:, None, None] * np.arange(self.length)) * self.scale

    def block(self, x, i):
        if self.grouped and (self.of("num_ln_in_parallel_attn") or 2) == 2:
            a = self.attention(self.norm(x, self.name(i, "ln_attn")), i)
            return x + a + self.mlp(self.norm(x, self.name(i, "ln_mlp")), i)
        h = self.norm(x, self.name(i, self.first_norm))
        a = self.attention(h, i)
        if self.grouped or self.c.get("parallel_attn", True):
            return x + a + self.mlp(h, i)
        x = x + a
        return x + self.mlp(self.norm(x, self.name(i, self.second_norm)), i)


class Bloom(Falcon):
    activation = "gelu_new"

    def setup(self):
        self.qkv_bias = self.o_bias = self.mlp_bias = True

    def embed(self, ids):
        return self.norm(super().embed(ids), self.prefix + "word_embeddings_layernorm")

    def turn(self, q, k, v, i):
        return q, k, v

    def bias(self):
        return parts.alibi_slopes(self.heads)[:, None, None] * np.arange(self.length)

    block = Decoder.block


class Mpt(Decoder):
    prefix, layers, words, last_norm = "transformer.", "blocks.{}.", "wte", "norm_f"
    rms, tied, activation, eps = False, True, "gelu", 1e-5
    first_norm, second_norm, o, up, down = "norm_1", "norm_2", "attn.out_proj", "ffn.up_proj", "ffn.down_proj"
    mlp = Decoder.plain

    def setup(self):
        self.attn = self.c.get("attn_config") or {}
        self.ff = int((self.of("expansion_ratio") or 4) * self.d)
        self.scale = self.attn.get("softmax_scale") or self.scale

    def project(self, h, i):
        y = self.linear(h, self.name(i, "attn.Wqkv"), 3 * self.d)
        clip = self.attn.get("clip_qkv") or np.inf
        return [self.by_heads(x) for x in np.split(np.clip(y, -clip, clip), 3, -1)]

    def turn(self, q, k, v, i):
        return q, k, v

    def bias(self):
        n = 2 ** math.ceil(math.log2(self.heads))
        slopes = 2.0 ** (-np.arange(1, n + 1) * self.attn.get("alibi_bias_max", 8) / n)
        if n != self.heads:
            slopes = np.concatenate([slopes[1::2], slopes[::2]])[:self.heads]
        return slopes[:, None, None] * np.arange(1 - self.length, 1)


class Opt(Decoder):
    prefix, last_norm = "model.decoder.", "final_layer_norm"
    rms, norm_bias, tied, activation, eps = False, True, True, "relu", 1e-5
    first_norm, second_norm = "self_attn_layer_norm", "final_layer_norm"
    o, up, down = "self_attn.out_proj", "fc1", "fc2"
    mlp = Decoder.plain

    def setup(self):
        self.qkv_bias = self.o_bias = self.mlp_bias = self.c.get("enable_bias", True)
        self.width = self.of("word_embed_proj_dim") or self.d
        self.before = self.c.get("do_layer_norm_before", True)

    def embed(self, ids):
        x = self.w(self.prefix + "embed_tokens.weight", (self.vocab, self.width), "table")[ids]
        if self.width != self.d:
            x = self.linear(x, self.prefix + "project_in", self.d)
        return x + self.w(self.prefix + "embed_positions.weight", (self.context + 2, self.d), "table")[2:2 + len(ids)]

    def turn(self, q, k, v, i):
        return q, k, v

    def block(self, x, i):
        if self.before:
            return super().block(x, i)
        x = self.norm(x + self.attention(x, i), self.name(i, self.first_norm))
        return self.norm(x + self.mlp(x, i), self.name(i, self.second_norm))

    def finish(self, x):
        if self.before and not self.of("_remove_final_layer_norm"):
            x = super().finish(x)
        return self.linear(x, self.prefix + "project_out", self.width) if self.width != self.d else x


class StableLm(Decoder):
    rms, norm_bias, part, eps = False, True, 0.25, 1e-5

    def setup(self):
        self.qkv_bias, self.o_bias = bool(self.of("use_qkv_bias")), False

    def turn(self, q, k, v, i):
        if self.of("qk_layernorm"):
            q, k = (np.stack([parts.layer_norm(x[:, head], self.w(self.name(i, f"self_attn.{which}_layernorm.norms."
                                                                               f"{head}.weight"),
                                                                  (self.head_dim,), "norm"), 0, self.eps)
                              for head in range(x.shape[1])], 1) for which, x in (("q", q), ("k", k)))
        return super().turn(q, k, v, i)

    def block(self, x, i):
        if not self.of("use_parallel_residual"):
            return super().block(x, i)
        h = self.norm(x, self.name(i, self.first_norm))
        return x + self.attention(h, i) + self.mlp(h, i)


class StarCoder2(Decoder):
    rms, norm_bias, tied, activation, eps = False, True, True, "gelu_pytorch_tanh", 1e-5
    up, down, mlp = "mlp.c_fc", "mlp.c_proj", Decoder.plain

    def setup(self):
        self.qkv_bias = self.o_bias = self.mlp_bias = self.c.get("use_bias", True)

    def window(self, i):
        return self.of("sliding_window")


class InternLm2(Decoder):
    words, first_norm, second_norm, o = "tok_embeddings", "attention_norm", "ffn_norm", "attention.wo"
    gate, up, down, head = "feed_forward.w1", "feed_forward.w3", "feed_forward.w2", "output"

    def setup(self):
        self.qkv_bias = self.o_bias = bool(self.of("bias"))

    def project(self, h, i):
        rows = (self.heads + 2 * self.kv_heads) * self.head_dim
        return split_groups(self.linear(h, self.name(i, "attention.wqkv"), rows, self.qkv_bias), self.kv_heads,
                            self.head_dim)


class Cohere(Decoder):
    rms, tied, interleaved, eps = False, True, True, 1e-5

    def setup(self):
        self.logit_scale = self.c.get("logit_scale", 0.0625)

    def turn(self, q, k, v, i):
        if self.of("use_qk_norm"):
            q, k = (parts.layer_norm(x, self.w(self.name(i, f"self_attn.{which}_norm.weight"), x.shape[1:], "norm"), 0,
                                     self.eps) for which, x in (("q", q), ("k", k)))
        return super().turn(q, k, v, i)

    block = Phi.block


class Cohere2(Cohere):
    def window(self, i):
        every = self.of("sliding_window_pattern") or 4
        return self.windows_by_type(i, lambda i: (i + 1) % every != 0)

    def turn(self, q, k, v, i):
        return super().turn(q, k, v, i) if self.window(i) else (q, k, v)


class SmolLm3(Decoder):
    tied, base = True, 2e6

    def rotates(self, i):
        listed = self.of("no_rope_layers")
        return listed[i] if listed else (i + 1) % (self.of("no_rope_layer_interval") or 4) != 0

    def turn(self, q, k, v, i):
        return super().turn(q, k, v, i) if self.rotates(i) else (q, k, v)

    def window(self, i):
        if not self.of("use_sliding_window"):
            return None
        return self.windows_by_type(i, lambda i: not self.rotates(i))


class Granite(Decoder):
    def setup(self):
        self.scale = self.c.get("attention_multiplier", 1.0)
        self.embed_scale = self.c.get("embedding_multiplier", 1.0)
        self.residual_scale = self.c.get("residual_multiplier", 1.0)
        self.logit_scale = 1 / self.c.get("logits_scaling", 1.0)


class GraniteMoe(Granite):
    def mlp(self, h, i):
        p, n = self.name(i, "block_sparse_moe."), self.of("num_local_experts")
        into = self.w(p + "input_linear.weight", (n, 2 * self.ff, self.d))
        out = self.w(p + "output_linear.weight", (n, self.d, self.ff))

        def expert(e, x):
            y = x @ into[e].T
            return (self.act(y[:, :self.ff]) * y[:, self.ff:]) @ out[e].T
        return parts.mixture(h, self.linear(h, p + "router.layer", n), self.of("num_experts_per_tok"), True, expert)


class Nemotron(Decoder):
    rms, norm_bias, one_plus, activation, part, eps = False, True, True, "relu2", 0.5, 1e-5
    mlp = Decoder.plain


class ChatGlm2(Decoder):
    """ChatGLM2, ChatGLM3 and THUDM's glm-4-9b."""
    prefix, layers, words, last_norm = "transformer.", "encoder.layers.{}.", "embedding.word_embeddings", \
        "encoder.final_layernorm"
    head, o, down, interleaved = "transformer.output_layer", "self_attention.dense", "mlp.dense_4h_to_h", True
    eps = 1e-5

    def setup(self):
        self.kv_heads = self.of("multi_query_group_num") if self.of("multi_query_attention") else self.heads
        self.o_bias = self.mlp_bias = bool(self.of("add_bias_linear"))
        self.qkv_bias = bool(self.of("add_qkv_bias")) or self.o_bias
        self.vocab = self.of("padded_vocab_size")
        self.rotary_dim = self.head_dim // 2
        self.ratio = self.of("rope_ratio") or 1

    def project(self, h, i):
        q, k = self.heads * self.head_dim, self.kv_heads * self.head_dim
        y = self.linear(h, self.name(i, "self_attention.query_key_value"), q + 2 * k, self.qkv_bias)
        return self.by_heads(y[:, :q]), self.by_heads(y[:, q:q + k]), self.by_heads(y[:, q + k:])

    def frequencies(self, i):
        if "chatglm2" in (self.of("_name_or_path") or ""):
            return parts.frequencies(self.rotary_dim, self.base) / self.ratio, 1.0
        return parts.frequencies(self.rotary_dim, self.base * self.ratio), 1.0

    def mlp(self, h, i):
        y = self.linear(h, self.name(i, "mlp.dense_h_to_4h"), 2 * self.ff, self.mlp_bias)
        y = parts.silu(y[:, :self.ff]) * y[:, self.ff:]
        return self.linear(y, self.name(i, self.down), self.d, self.mlp_bias)


class Glm(Decoder):
    part, interleaved, eps, mlp = 0.5, True, 1.5625e-7, Decoder.fused

    def setup(self):
        self.o_bias = False


class Glm4(Sandwich, Glm):
    inner = ("post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm")


class Palm(Decoder):
    """PaLM-pytorch's names; one K and V head, the gate is the second half of the fused rows."""
    prefix, layers, words, tied, rms = "", "{}.", "0", True, False

    def setup(self):
        self.kv_heads, self.ff = 1, int((self.of("ff_mult") or 4) * self.d)
        self.head_dim = self.of("head_dim", "dim_head") or 64
        self.rotary_dim, self.scale = self.head_dim, self.head_dim ** -0.5

    def norm(self, x, name):
        return parts.layer_norm(x, self.w(name + ".gamma", (self.d,), "norm"), 0, 1e-5)

    def finish(self, x):
        return self.norm(x, str(self.n + 1))

    def block(self, x, i):
        p, q, kv = f"{i + 1}.fn.", self.heads * self.head_dim, self.head_dim
        h = self.norm(x, p + "norm")
        y = self.linear(h, p + "fused_attn_ff_proj", q + 2 * kv + 2 * self.ff)
        q, k, v, value, gate = np.split(y, np.cumsum([q, kv, kv, self.ff]), -1)
        q, k, v = self.turn(self.by_heads(q), self.by_heads(k), self.by_heads(v), i)
        a = parts.attend(q, k, v, self.scale, self.seen(i))
        m = self.linear(parts.silu(gate) * value, p + "ff_out.1", self.d)
        return x + self.linear(a, p + "attn_out", self.d) + m


DECODERS = {
    "llama": Mistral, "internlm": Decoder, "mistral": Mistral, "mixtral": Mixtral, "qwen2": Qwen2, "qwen3": Qwen3,
    "qwen2_moe": Qwen2Moe, "qwen3_moe": Qwen3Moe, "gemma": Gemma, "gemma2": Gemma2, "gemma3": Gemma3,
    "gemma3_text": Gemma3, "phi": Phi, "phi3": Phi3, "gpt2": Gpt2, "gpt_bigcode": GptBigCode, "gpt_neox": GptNeoX,
    "gptj": GptJ, "falcon": Falcon, "RefinedWeb": Falcon, "RefinedWebModel": Falcon, "bloom": Bloom, "mpt": Mpt,
    "opt": Opt, "stablelm": StableLm, "starcoder2": StarCoder2, "internlm2": InternLm2, "olmo": Olmo, "olmo2": Olmo2,
    "olmoe": Olmoe, "cohere": Cohere, "cohere2": Cohere2, "smollm3": SmolLm3, "granite": Granite,
    "granitemoe": GraniteMoe, "nemotron": Nemotron, "chatglm": ChatGlm2, "glm": Glm, "glm4": Glm4, "palm": Palm,
}
