# SPDX-License-Identifier: Apache-2.0
"""Where a model's tensors come from. A model asks for each by name, shape and kind; either a directory answers, or
random numbers of a scale at which every term of the network matters, which can then be written as a directory."""
import json
import math
import pathlib

import numpy as np

# Mean and spread of random numbers; a matrix' spread is also divided by the root of its input's width.
KINDS = {"matrix": (0, 1.0), "bias": (0, 0.3), "norm": (1, 0.3), "norm less one": (0, 0.3), "norm bias": (0, 0.3),
         "table": (0, 0.1), "relative bias": (0, 1.5), "vector": (0, 1.0)}


def to_bf16(values):
    """The nearest, as its upper 16 bits."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Random:
    """bf16: numbers are such that they can be written in that type."""

    def __init__(self, seed, bf16=False):
        self.random = np.random.default_rng(seed)
        self.bf16 = bf16
        self.tensors = {}

    def __call__(self, name, shape, kind="matrix", transposed=False):
        if name not in self.tensors:
            mean, spread = KINDS[kind]
            if kind == "matrix":
                spread /= math.sqrt(shape[-2 if transposed else -1])
            values = mean + spread * self.random.standard_normal(shape)
            self.tensors[name] = from_bf16(to_bf16(values)) if self.bf16 else values.astype(np.float32)
        return self.tensors[name].astype(np.float64)

    def has(self, name):
        return name in self.tensors


class Directory:
    """Of F32, F16 and BF16 tensors, whole or in shards. `prefix`: what a name may begin with in addition, or lack."""

    def __init__(self, folder):
        self.tensors = {}
        for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
            data = path.read_bytes()
            n = int.from_bytes(data[:8], "little")
            for name, t in json.loads(data[8:8 + n]).items():
                if name != "__metadata__":
                    first, end = t["data_offsets"]
                    self.tensors[name] = (t["dtype"], t["shape"], data[8 + n + first:8 + n + end])

    def __call__(self, name, shape, kind="matrix", transposed=False):
        for prefix in ("", "transformer.", "model."):
            found = self.tensors.get(name) or self.tensors.get(prefix + name)
            if found or name.startswith(prefix) and (found := self.tensors.get(name[len(prefix):])):
                break
        if not found:
            raise KeyError(name)
        dtype, has, data = found
        if dtype == "BF16":
            values = from_bf16(np.frombuffer(data, np.uint16))
        else:
            values = np.frombuffer(data, {"F32": np.float32, "F16": np.float16}[dtype])
        if math.prod(has) != math.prod(shape):
            raise ValueError(f"{name} is {has}, not {shape}")
        return values.astype(np.float64).reshape(shape)

    def has(self, name):
        return any(prefix + name in self.tensors for prefix in ("", "transformer.", "model."))


def write_directory(folder, config, tensors, bf16=False):
    """config.json and model.safetensors, all F32 or BF16."""
    tensors = {name: to_bf16(values) if bf16 else values for name, values in tensors.items()}
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    head, at = {}, 0
    for name, values in tensors.items():
        head[name] = {"dtype": "BF16" if bf16 else "F32", "shape": list(values.shape),
                      "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            f.write(values.tobytes())
