#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every architecture against an implementation of its own in double precision (reference/), which was written from
the original ones. A small model of random weights is written as a Hugging Face directory for each case; the logits of
every token of a sequence, and greedy tokens (one at a time, from a prompt that was computed in pieces, by the GGUF file
that the directory is converted to; for some models also two sequences at once), must be the reference's. What proves
the reference, and that this would notice mistakes, is test_reference.py.

usage: test_architectures.py PUMICE NEXT_TOKENS ICD [--only NAME,...] [--keep FOLDER]
(exit code 77 = numpy is missing)
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zlib

MAX_DIFFERENCE, MAX_RELATIVE = 2e-4, 5e-5  # of logits, whose spread is about 1
CLEAR = 0.02  # greedy tokens are compared as long as they are ahead of the next by this
LENGTH, GENERATED, SHORT = 45, 8, 19  # SHORT: of the second sequence
TOGETHER = ["phi3.across", "falcon.rw", "cohere2", "olmoe", "smollm3", "mpt"]  # models asked for two at once


def difference(got, want, np):
    if got.shape != want.shape or not np.isfinite(got).all():
        return f"shape {got.shape}, not {want.shape}, or not finite"
    largest = np.abs(got - want).max()
    relative = np.linalg.norm(got - want) / np.linalg.norm(want)
    bad = largest > MAX_DIFFERENCE or relative > MAX_RELATIVE
    return f"logits differ by {largest:.1e}, relative {relative:.1e}" if bad else ""


class Case:
    """A model, its directory (unless folder is None), and what it is asked."""

    def __init__(self, name, config, folder, reference):
        import numpy as np
        self.np, self.folder = np, folder and folder / name
        seed = zlib.crc32(name.encode())
        bf16 = seed % 2 == 1  # as most published files are
        weights = reference.weights.Random(seed, bf16)
        self.model = reference.model_of(config, weights)
        inner = config.get("text_config", config)
        vocab = inner.get("vocab_size") or inner["padded_vocab_size"]
        self.pair = bool(inner.get("is_encoder_decoder"))
        random = np.random.default_rng(seed + 1)
        for _ in range(20):  # until greedy tokens are clear
            ids = [int(i) for i in random.integers(3, vocab, 2 * LENGTH)]
            self.ids, self.encoder_ids = ids[:LENGTH], ids[LENGTH:]
            if self.pair:
                self.ids[0] = inner["decoder_start_token_id"]
            self.tokens_wanted = self.greedy(self.ids)
            if len(self.tokens_wanted) >= GENERATED // 2:
                break
        self.want = self.logits(self.ids)
        if folder:
            reference.weights.write_directory(self.folder, config, weights.tensors, bf16)

    def logits(self, ids):
        return self.model.logits(self.encoder_ids, ids) if self.pair else self.model.logits(ids)

    def greedy(self, prompt):
        """Tokens as far as each is clearly ahead."""
        ids = [prompt[0]] if self.pair else list(prompt)
        count = len(ids)
        while len(ids) < count + GENERATED:
            last = self.logits(ids)[-1]
            second, first = self.np.sort(last)[-2:]
            if first - second < CLEAR:
                break
            ids.append(int(last.argmax()))
        return ids[count:]

    def check(self, pumice, next_tokens):
        problems = [difference(self.ask(pumice), self.want, self.np)]
        want, got = self.tokens_wanted, self.generate(pumice)
        if got[:len(want)] != want or len(want) < GENERATED // 2:
            problems.append(f"greedy tokens {got}, not {want}")
        if self.folder.name in TOGETHER:
            short = self.ids[:SHORT]
            lines = run(next_tokens, [self.folder / "model.gguf", GENERATED, words(short), words(self.ids)]).split("\n")
            for line, want in zip(lines, (self.greedy(short), self.tokens_wanted)):
                got = [int(token) for token in line.split()]
                if len(got) != GENERATED or got[:len(want)] != want:
                    problems.append(f"tokens of two sequences {got}, not {want}")
        return [p for p in problems if p]

    def ask(self, pumice):
        out = self.folder / "logits.f32"
        run(pumice, ["logits", self.folder, *self.tokens(), "-o", out, *OPTIONS])
        return self.np.fromfile(out, self.np.float32).reshape(-1, self.want.shape[1])

    def tokens(self):
        return ["--tokens", words(self.ids)] + (["--encoder-tokens", words(self.encoder_ids)] if self.pair else [])

    def generate(self, pumice):
        ids, file = self.encoder_ids if self.pair else self.ids, self.folder / "model.gguf"
        run(pumice, ["convert", self.folder, file, "-q"])
        text = run(pumice, ["run", file, "--tokens", words(ids), "-n", GENERATED, "--temp", "0",
                            "--ignore-eos", "--json", *OPTIONS, *([] if self.pair else ["-b", "16"])])
        return json.loads(text)["tokens"]


OPTIONS = ["-ctk", "f32", "-ctv", "f32", "-c", "96", "-q"]


class Failed(Exception):
    pass


def words(ids):
    return ",".join(str(i) for i in ids)


def run(pumice, arguments):
    result = subprocess.run([str(a) for a in (pumice, *arguments)], capture_output=True, text=True)
    if result.returncode:
        raise Failed(result.stderr.strip() or f"exit code {result.returncode}")
    return result.stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("pumice")
    parser.add_argument("next_tokens")
    parser.add_argument("icd")
    parser.add_argument("--only", help="names of cases")
    parser.add_argument("--keep", help="leave the directories here")
    args = parser.parse_args()
    try:
        import numpy  # noqa: F401
    except ImportError:
        print("skipped: python3-numpy is not installed")
        return 77
    import reference
    os.environ["VK_ICD_FILENAMES"] = os.environ["VK_DRIVER_FILES"] = args.icd
    names = args.only.split(",") if args.only else reference.cases.CASES
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            try:
                case = Case(name, reference.cases.CASES[name], pathlib.Path(args.keep or folder), reference)
                found = case.check(args.pumice, args.next_tokens)
            except Failed as failure:
                found = [str(failure)]
            bad += [f"{name}: {text}" for text in found]
            print(f"{name}: {'; '.join(found) or 'agrees'}", flush=True)
    print(f"{len(names)} models: {len(bad)} complaints", *bad, sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
