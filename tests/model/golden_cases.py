# SPDX-License-Identifier: Apache-2.0
"""What tests that ask the program about the golden directories share: the directories, logits of a case, greedy tokens.
The data is what PUMICE_TEST_DATA names."""
import json
import os
import pathlib
import subprocess
import tempfile

DATA = pathlib.Path(os.environ.get("PUMICE_TEST_DATA", ""))


def folders():
    """Every directory with a golden.json; none if the data is not there."""
    found = sorted(DATA.glob("golden/*/golden.json")) + sorted(DATA.glob("stories260K/hf/golden.json"))
    return [path.parent for path in found]


def cases(folder):
    """Those with logits, as the original has them: plain ones, without another mask or frequencies."""
    whole = json.loads((folder / "golden.json").read_text())["cases"]
    return [c for c in whole if c.get("input_ids") and (c.get("logits") or c.get("decoder_logits"))]


def join(ids):
    return ",".join(map(str, ids))


def ids_of(case):
    """(tokens, the encoder's tokens or None)"""
    decoder = case.get("decoder_input_ids")
    return (decoder, case["input_ids"]) if decoder else (case["input_ids"], None)


class Program:
    """The program on one driver; icd None = none at all."""

    def __init__(self, pumice, icd):
        self.pumice = pumice
        name = icd or "/nonexistent/no_driver.json"
        self.env = dict(os.environ, VK_ICD_FILENAMES=name, VK_DRIVER_FILES=name)

    def __call__(self, *args):
        done = subprocess.run([self.pumice, *map(str, args)], env=self.env, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout, done.stderr.strip()

    def ok(self, *args):
        code, out, err = self(*args)
        if code:
            raise RuntimeError(f"pumice {' '.join(map(str, args))}: exit {code}: {err}")
        return out

    def logits(self, model, case, *options):
        """float32 [tokens][vocabulary] of a case, KV in f32."""
        import numpy as np
        tokens, encoder = ids_of(case)
        more = ["--encoder-tokens", join(encoder)] if encoder else []
        if case.get("prefix_len_mask") is not None:
            more += ["--prefix", case["prefix_len_mask"]]
        with tempfile.NamedTemporaryFile(suffix=".f32") as out:
            self.ok("logits", model, "--tokens", join(tokens), *more, "-ctk", "f32", "-ctv", "f32", "-q", "-o",
                    out.name, *options)
            return np.fromfile(out.name, np.float32).reshape(len(tokens), -1)
