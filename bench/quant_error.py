#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What each type of `pumice quantize` costs: two tables in Markdown.

    bench/quant_error.py MODEL [--pumice PROGRAM]

MODEL holds F32, F16 or BF16. The first table is per type: the error of a round trip, as `pumice
quantize` reports it, of tensors with normally distributed numbers and of the model's. The second is
per mix: the model itself after quantizing. It is asked on texts that the model wrote (sampled at
temperature 1, fixed seeds), so that the growth of the loss, from `pumice score`, is the expected
information lost per token; beside it how often the likeliest token stays the same. Mixes of blocks
of 256 are left out where the model's rows hold none.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIXES = ["F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0"]
TEXTS, TOKENS = 8, 256


def run(pumice, *args):
    done = subprocess.run([pumice, *map(str, args)], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def quantize(pumice, source, target, mix):
    return run(pumice, "quantize", source, target, mix, "--json", "-q")["tensors"]


class Errors:
    """Of one type over tensors: the mean over weights, in percent, and bits a weight."""

    def __init__(self):
        self.squares = self.weights = self.bytes = 0

    def add(self, row):
        count = row["rows"] * row["cols"]
        self.squares += count * row["rms_error"] ** 2
        self.weights += count
        self.bytes += row["bytes_after"]

    def percent(self):
        return 100 * math.sqrt(self.squares / self.weights)

    def bits(self):
        return 8 * self.bytes / self.weights


def collect(rows, errors):
    for row in rows:
        if row["type_before"] != row["type_after"] and row["type_after"] != "F32":
            errors.setdefault(row["type_after"], Errors()).add(row)


def normal_errors(pumice, folder):
    source = folder / "normal.gguf"
    subprocess.run([sys.executable, ROOT / "tools/make_model.py", "--out", source, "--layers", "1", "--embd", "1024",
                    "--heads", "8", "--vocab", "512"], check=True, stdout=subprocess.DEVNULL)
    errors = {}
    for mix in MIXES:
        collect(quantize(pumice, source, folder / "normal-quantized.gguf", mix), errors)
    return errors


def texts(pumice, model):
    return [run(pumice, "run", model, "--tokens", "1", "-n", TOKENS - 1, "--temp", 1, "--top-k", 0, "--top-p", 1,
                "--min-p", 0, "-s", seed, "--ignore-eos", "--json", "-q")["tokens"] for seed in range(1, TEXTS + 1)]


def loss(pumice, model, tokens):
    """Sum of -log p over the texts, and how many tokens were scored."""
    total = count = 0
    for ids in tokens:
        got = run(pumice, "score", model, "--tokens", ",".join(map(str, [1, *ids])), "--json", "-q")
        total += got["loss"]["value"] * got["n_scored"]
        count += got["n_scored"]
    return total / count


def favourites(pumice, model, tokens, folder):
    """The likeliest token after each of the texts'."""
    out = []
    for ids in tokens:
        path = folder / "logits.f32"
        got = run(pumice, "logits", model, "--tokens", ",".join(map(str, [1, *ids])), "-o", path, "--json", "-q")
        out.append(np.fromfile(path, "<f4").reshape(-1, got["n_vocab"]).argmax(axis=1))
    return np.concatenate(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--pumice", default=ROOT / "build/pumice")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        normal, own, after = normal_errors(args.pumice, folder), {}, []
        tokens = texts(args.pumice, args.model)
        loss_before = loss(args.pumice, args.model, tokens)
        best_before = favourites(args.pumice, args.model, tokens, folder)
        for mix in MIXES:
            target = folder / "quantized.gguf"
            rows = quantize(args.pumice, args.model, target, mix)
            collect(rows, own)
            if "_K" in mix and not any(r["type_after"].endswith("_K") for r in rows):
                continue
            same = (favourites(args.pumice, target, tokens, folder) == best_before).mean()
            size = 8 * sum(r["bytes_after"] for r in rows) / sum(r["rows"] * r["cols"] for r in rows)
            after.append((mix, size, loss(args.pumice, target, tokens) - loss_before, same))
    print("| type | bits a weight | error, normal | error, model |")
    print("|---|---|---|---|")
    for kind in sorted(normal, key=lambda kind: normal[kind].percent()):
        mine = f"{own[kind].percent():.3g} %" if kind in own else ""
        print(f"| {kind} | {normal[kind].bits():.2f} | {normal[kind].percent():.3g} % | {mine} |")
    print(f"\nloss {loss_before:.4f} nats a token, {sum(map(len, tokens))} tokens\n")
    print("| mix | bits a weight | loss, nats | perplexity | same choice |")
    print("|---|---|---|---|---|")
    for mix, size, more, same in after:
        print(f"| {mix} | {size:.2f} | {more:+.4f} | × {math.exp(more):.4f} | {100 * same:.1f} % |")


if __name__ == "__main__":
    main()
