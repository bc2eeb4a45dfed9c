# SPDX-License-Identifier: Apache-2.0
"""Encoder-decoders."""
import math

import numpy as np

from . import parts


class Pair:
    def __init__(self, config, weights):
        self.c, self.w = config, weights
        self.d, self.vocab = config["d_model"], config["vocab_size"]
        self.setup()

    def linear(self, x, name, rows, bias=False):
        y = x @ self.w(name + ".weight", (rows, x.shape[-1])).T
        return y + self.w(name + ".bias", (rows,), "bias") if bias else y

    def logits(self, ids, decoder_ids):
        return self.decode(decoder_ids, self.encode(ids))


def relative_bucket(distance, both_ways, buckets, farthest):
    """Of distances key - query (an array), in single precision as the original's logarithm is."""
    first = np.zeros_like(distance)
    if both_ways:
        buckets //= 2
        first = np.where(distance > 0, buckets, 0)
        distance = np.abs(distance)
    else:
        distance = -np.minimum(distance, 0)
    exact = buckets // 2
    with np.errstate(divide="ignore"):
        part = np.log(distance.astype(np.float32) / np.float32(exact)) / np.float32(math.log(farthest / exact))
        far = exact + np.maximum(part * (buckets - exact), 0).astype(np.int64)
    return first + np.where(distance < exact, distance, np.minimum(far, buckets - 1))


class T5(Pair):
    def setup(self):
        c = self.c
        kind = c["model_type"]
        form = c.get("feed_forward_proj") or ("relu" if kind == "t5" else "gated-gelu")
        self.gated = form.startswith("gated-")
        name = form.split("-")[-1]
        self.act = parts.gelu_tanh if form == "gated-gelu" else parts.ACTIVATIONS[name]
        self.heads, self.dim = c["num_heads"], c["d_kv"]
        self.each = kind == "umt5"
        self.tied = c.get("tie_word_embeddings", kind != "mt5")
        self.eps = c.get("layer_norm_epsilon", 1e-6)

    def norm(self, x, name):
        return parts.rms_norm(x, self.w(name + ".weight", (self.d,), "norm"), self.eps)

    def relative_bias(self, stack, i, queries):
        name = f"{stack}.block.{i if self.each else 0}.layer.0.SelfAttention.relative_attention_bias.weight"
        buckets = self.c.get("relative_attention_num_buckets", 32)
        table = self.w(name, (buckets, self.heads), "relative bias")
        distance = np.arange(queries)[None, :] - np.arange(queries)[:, None]
        bucket = relative_bucket(distance, stack == "encoder", buckets,
                                 self.c.get("relative_attention_max_distance", 128))
        return table[bucket].transpose(2, 0, 1)

    def attention(self, x, source, p, seen, bias=None):
        q, k, v = (self.linear(y, p + name, self.heads * self.dim).reshape(len(y), self.heads, self.dim)
                   for name, y in (("q", x), ("k", source), ("v", source)))
        return self.linear(parts.attend(q, k, v, 1.0, seen, bias), p + "o", self.d)

    def mlp(self, h, p):
        width = self.c["d_ff"]
        if self.gated:
            y = self.act(self.linear(h, p + "wi_0", width)) * self.linear(h, p + "wi_1", width)
        else:
            y = self.act(self.linear(h, p + "wi", width))
        return self.linear(y, p + "wo", self.d)

    def stack(self, stack, layers, x, seen, encoded=None):
        n = len(x)
        for i in range(layers):
            p = f"{stack}.block.{i}.layer."
            h = self.norm(x, p + "0.layer_norm")
            x = x + self.attention(h, h, p + "0.SelfAttention.", seen, self.relative_bias(stack, i, n))
            if encoded is not None:
                h = self.norm(x, p + "1.layer_norm")
                x = x + self.attention(h, encoded, p + "1.EncDecAttention.", True)
            last = 1 if encoded is None else 2
            x = x + self.mlp(self.norm(x, f"{p}{last}.layer_norm"), f"{p}{last}.DenseReluDense.")
        return self.norm(x, f"{stack}.final_layer_norm")

    def words(self):
        return self.w("shared.weight", (self.vocab, self.d), "table")

    def encode(self, ids):
        return self.stack("encoder", self.c["num_layers"], self.words()[np.asarray(ids)], True)

    def decode(self, ids, encoded):
        layers = self.c.get("num_decoder_layers") or self.c["num_layers"]
        x = self.stack("decoder", layers, self.words()[np.asarray(ids)], parts.causal(len(ids)), encoded)
        return x * self.d ** -0.5 @ self.words().T if self.tied else self.linear(x, "lm_head", self.vocab)


class Bart(Pair):
    """And mBART, whose norms stand before and which has one more at the end of each stack."""

    def setup(self):
        self.before = self.c["model_type"] == "mbart"
        self.act = parts.ACTIVATIONS[self.c.get("activation_function", "gelu")]

    def norm(self, x, name):
        return parts.layer_norm(x, self.w(name + ".weight", (self.d,), "norm"),
                                self.w(name + ".bias", (self.d,), "norm bias"), 1e-5)

    def part(self, x, name, f):
        if self.before:
            return x + f(self.norm(x, name))
        return self.norm(x + f(x), name)

    def attention(self, x, source, p, heads, seen):
        dim = self.d // heads
        q, k, v = (self.linear(y, p + name, self.d, True).reshape(len(y), heads, dim)
                   for name, y in (("q_proj", x), ("k_proj", source), ("v_proj", source)))
        return self.linear(parts.attend(q, k, v, dim ** -0.5, seen), p + "out_proj", self.d, True)

    def stack(self, stack, ids, seen, encoded=None):
        c, n = self.c, self.c["max_position_embeddings"] + 2
        scale = math.sqrt(self.d) if c.get("scale_embedding") else 1
        x = self.words()[np.asarray(ids)] * scale
        x = x + self.w(f"model.{stack}.embed_positions.weight", (n, self.d), "table")[2:2 + len(ids)]
        x = self.norm(x, f"model.{stack}.layernorm_embedding")
        heads = c[f"{stack}_attention_heads"]
        for i in range(c[f"{stack}_layers"]):
            p = f"model.{stack}.layers.{i}."
            x = self.part(x, p + "self_attn_layer_norm", lambda h: self.attention(h, h, p + "self_attn.", heads, seen))
            if encoded is not None:
                x = self.part(x, p + "encoder_attn_layer_norm",
                              lambda h: self.attention(h, encoded, p + "encoder_attn.", heads, True))
            x = self.part(x, p + "final_layer_norm", lambda h: self.linear(
                self.act(self.linear(h, p + "fc1", c[f"{stack}_ffn_dim"], True)), p + "fc2", self.d, True))
        return self.norm(x, f"model.{stack}.layer_norm") if self.before else x

    def words(self):
        return self.w("model.shared.weight", (self.vocab, self.d), "table")

    def encode(self, ids):
        return self.stack("encoder", ids, True)

    def decode(self, ids, encoded):
        x = self.stack("decoder", ids, parts.causal(len(ids)), encoded)
        return x @ self.words().T + self.w("final_logits_bias", (1, self.vocab), "bias")[0]


PAIRS = {"t5": T5, "mt5": T5, "umt5": T5, "bart": Bart, "mbart": Bart}
