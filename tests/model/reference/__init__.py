# SPDX-License-Identifier: Apache-2.0
"""Transformer language models in numpy and double precision, as the original implementations compute them: what the
library is compared with where no outputs of an original are at hand. Written from those implementations (transformers'
modeling_*.py and the code that published checkpoints carry), not from the library; slow, whole sequences, no cache.

    parts     norms, rotary embedding and its scalings, attention, activations, experts
    weights   where tensors come from: files of a directory, or random numbers that are written as one
    decoders  decoder-only models, one class each that says how it differs from LLaMA
    pairs     encoder-decoders
    cases     small configurations of every model, in the words of published config.json files
"""
from .decoders import DECODERS
from .pairs import PAIRS
from . import cases, parts, weights  # noqa: F401


def model_of(config, weights):
    """The model that a config.json (as a dict) describes; for text and images in one: of the text."""
    text = config.get("text_config")
    if isinstance(text, dict):
        model = model_of(text, weights)
        model.prefix = "language_model." + model.prefix
        return model
    kind = config["model_type"]
    if kind == "chatglm" and "padded_vocab_size" not in config:
        kind = "chatglm1"
    return {**DECODERS, **PAIRS}[kind](config, weights)
