#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The reference that architectures are compared with (reference/) is itself compared: with the stored outputs of the
original implementations, where they are at hand. And its small models must be such that mistakes show: a change of each
option that has any effect on a model must change its logits by more than test_architectures.py lets pass.

usage: test_reference.py   (exit code 77 = numpy is missing)
"""
import json
import os
import pathlib
import sys

from test_architectures import MAX_DIFFERENCE, Case

MAX_OF_GOLDEN = 5e-4  # of outputs in single precision
NO_EFFECT = 1e-9


def check_goldens(reference, np):
    data = pathlib.Path(os.environ.get("PUMICE_TEST_DATA", "")) / "golden"
    good, bad = 0, []
    for folder in sorted(data.iterdir()) if data.is_dir() else []:
        config = json.loads((folder / "config.json").read_text())
        if config["model_type"] == "chatglm" and "padded_vocab_size" not in config:
            continue  # ChatGLM-6B is compared with these outputs directly
        model = reference.model_of(config, reference.weights.Directory(folder))
        for case in json.loads((folder / "golden.json").read_text())["cases"]:
            stored = case.get("logits") or case.get("decoder_logits")
            if not stored or "input_ids" not in case:
                continue
            second = case.get("decoder_input_ids") or case.get("prefix_len_mask") or 0
            got = model.logits(case["input_ids"], second)[stored["positions"]]
            want = np.fromfile(folder / stored["file"], np.float32).reshape(stored["shape"])
            largest = np.abs(got - want).max()
            good += bool(largest <= MAX_OF_GOLDEN)
            if not largest <= MAX_OF_GOLDEN:
                bad.append(f"{folder.name}, {case['name']}: differs by {largest:.1e}")
    print(f"{good} stored cases agree" if data.is_dir() else "no stored outputs at hand (PUMICE_TEST_DATA)")
    return bad


def other_gelu(parts, act):
    return {parts.gelu: parts.gelu_tanh, parts.gelu_tanh: parts.gelu}.get(act, act)


def wider(window):
    return lambda i: window(i) and window(i) + 1


MISTAKES = {  # attribute of a model -> (parts, its value) -> what it is mistaken for
    "interleaved": lambda parts, x: not x, "base": lambda parts, x: 2 * x, "rotary_dim": lambda parts, x: x // 4 * 2,
    "eps": lambda parts, x: 10 * x, "rms": lambda parts, x: not x, "one_plus": lambda parts, x: not x,
    "scale": lambda parts, x: 1.02 * x, "cap": lambda parts, x: None, "scaling": lambda parts, x: None,
    "act": other_gelu, "window": lambda parts, x: wider(x), "bias": lambda parts, x: lambda: None,
    "residual_scale": lambda parts, x: 1.02 * x, "logit_scale": lambda parts, x: 1.02 * x,
    "layer_scale": lambda parts, x: lambda i: x(0) / (i + 2), "rotates": lambda parts, x: lambda i: True,
}
INVISIBLE = {("opt.350m", "eps")}  # the inputs of its norms are large, and its eps is no key of config.json


def check_mistakes(reference, np):
    bad, shown = [], 0
    for name, config in reference.cases.CASES.items():
        case = Case(name, config, None, reference)
        for option, mistake in MISTAKES.items() if not case.pair else ():
            model = reference.model_of(config, case.model.w)
            has = getattr(model, option, None)
            if has is None or (option == "rotary_dim" and model.scaling and "short_factor" in model.scaling):
                continue
            setattr(model, option, mistake(reference.parts, has))
            largest = np.abs(model.logits(case.ids) - case.want).max()
            shown += bool(largest > MAX_DIFFERENCE)
            if NO_EFFECT < largest <= MAX_DIFFERENCE and (name, option) not in INVISIBLE:
                bad.append(f"{name}: a mistake in {option} changes logits by {largest:.1e} alone")
    print(f"{shown} mistakes show")
    return bad


def main():
    try:
        import numpy as np
    except ImportError:
        print("skipped: python3-numpy is not installed")
        return 77
    import reference
    bad = check_goldens(reference, np) + check_mistakes(reference, np)
    print(*bad, sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
