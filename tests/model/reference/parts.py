# SPDX-License-Identifier: Apache-2.0
"""What models are made of. Rows are tokens; heads are [token, head, element]."""
import math

import numpy as np


# ---- norms ----

def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def layer_norm(x, weight, bias, eps):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return x * weight + bias


# ---- activations ----

def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


ACTIVATIONS = {
    "silu": silu, "swish": silu, "gelu": gelu, "gelu_new": gelu_tanh, "gelu_pytorch_tanh": gelu_tanh,
    "gelu_fast": gelu_tanh, "relu": lambda x: np.maximum(x, 0), "relu2": lambda x: np.maximum(x, 0) ** 2,
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
}


# ---- rotary embedding ----

def frequencies(dim, base):
    return base ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)


def scaled_frequencies(dim, base, scaling, context, original, length):
    """Frequencies and the factor on what is rotated, by the rope_scaling of a config.json (a dict, or None).
    context: max_position_embeddings; original: the context before scaling if the config says so beside rope_scaling;
    length: of the sequence, which is what LongRoPE's choice depends on."""
    freq = frequencies(dim, base)
    kind = (scaling or {}).get("rope_type", (scaling or {}).get("type", "default"))
    if kind == "default":
        return freq, 1.0
    if kind == "linear":
        return freq / scaling["factor"], 1.0
    if kind == "llama3":
        return llama3(freq, scaling), 1.0
    if kind == "yarn":
        return yarn(dim, base, scaling, scaling.get("original_max_position_embeddings") or context)
    if kind in ("longrope", "su"):
        return longrope(freq, scaling, context, original or scaling.get("original_max_position_embeddings"), length)
    raise ValueError(f"rope_scaling of type {kind}")


def llama3(freq, s):
    wavelength = 2 * math.pi / freq
    old, low, high = s["original_max_position_embeddings"], s["low_freq_factor"], s["high_freq_factor"]
    smooth = (old / wavelength - low) / (high - low)
    between = (1 - smooth) * freq / s["factor"] + smooth * freq
    return np.where(wavelength < old / high, freq, np.where(wavelength > old / low, freq / s["factor"], between))


def yarn(dim, base, s, original):
    def pair_that_turns(times):
        return dim * math.log(original / (times * 2 * math.pi)) / (2 * math.log(base))
    low = max(math.floor(pair_that_turns(s.get("beta_fast") or 32)), 0)
    high = min(math.ceil(pair_that_turns(s.get("beta_slow") or 1)), dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / max(high - low, 0.001), 0, 1)
    freq = frequencies(dim, base)
    factor = s.get("attention_factor") or 0.1 * math.log(s["factor"]) + 1
    return freq / s["factor"] * ramp + freq * (1 - ramp), factor


def longrope(freq, s, context, original, length):
    stretch = s.get("factor") or context / original
    factor = s.get("attention_factor") or (math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1)
    divisors = s["long_factor"] if length > original else s["short_factor"]
    return freq / np.array(divisors, dtype=np.float64), factor


def rotate(x, freq, factor=1.0, interleaved=False, positions=None):
    """The first 2 * len(freq) elements of each head, in pairs (i, i + n/2) or (2i, 2i + 1)."""
    n = 2 * len(freq)
    positions = np.arange(x.shape[0]) if positions is None else positions
    angle = np.outer(positions, freq)[:, None, :]
    cos, sin = np.cos(angle) * factor, np.sin(angle) * factor
    turned = x.copy()
    first, second = (slice(0, n, 2), slice(1, n, 2)) if interleaved else (slice(0, n // 2), slice(n // 2, n))
    a, b = x[..., first], x[..., second]
    turned[..., first] = a * cos - b * sin
    turned[..., second] = b * cos + a * sin
    return turned


# ---- attention ----

def causal(length, window=None, prefix=0):
    """True where query (row) sees key (column)."""
    i, j = np.arange(length)[:, None], np.arange(length)[None, :]
    seen = (j <= i) | ((i < prefix) & (j < prefix))
    return seen & (j > i - window) if window else seen


def attend(q, k, v, scale, seen, bias=None, cap=None):
    """[query, head * element]. Query head h reads the K and V head h // (heads / kv heads).
    bias: [head, query, key], added to the scaled scores."""
    group = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scores = np.einsum("ihd,jhd->hij", q, k) * scale
    if bias is not None:
        scores = scores + bias
    if cap:
        scores = cap * np.tanh(scores / cap)
    scores = np.where(seen, scores, -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return np.einsum("hij,jhd->ihd", p, v).reshape(q.shape[0], -1)


def alibi_slopes(heads, largest=8):
    """One for each head: powers 2^(-largest k / n) of the power of two at or below heads, then every other one of the
    next power of two."""
    n = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-largest * k / n) for k in range(1, n + 1)]
    return np.array(slopes + [2 ** (-largest * k / (2 * n)) for k in range(1, 2 * n, 2)][: heads - n])


# ---- mixtures of experts ----

def mixture(x, router_logits, used, renormalise, expert):
    """Softmax over all experts, the likeliest `used`, their outputs weighted. expert(e, rows) is its MLP."""
    p = np.exp(router_logits - router_logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    out = np.zeros_like(x)
    chosen = np.argsort(-p, axis=-1, kind="stable")[:, :used]
    share = np.take_along_axis(p, chosen, -1)
    if renormalise:
        share = share / share.sum(-1, keepdims=True)
    for e in range(p.shape[1]):
        rows, at = np.nonzero(chosen == e)
        out[rows] += expert(e, x[rows]) * share[rows, at][:, None]
    return out
