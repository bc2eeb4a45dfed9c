#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random models of every weight format, with tied and untied heads and every rotary scaling, must give the same greedy
tokens on every driver, tier and fusion setting, whoever brings the weights into the device's form, and used in the
mapped file as well as copied.

usage: test_same_tokens.py PUMICE ICD.json...   (exit code 77 = numpy is missing)
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "make_model.py"
PROMPT = "1,7,20,33,90,120,44,5,6,7,8,9,300,2,310,77,65"
MODELS = [
    ("f32", ["--type", "f32"]),
    ("f32 with scales", ["--type", "f32", "--scales"]),
    ("experts", ["--type", "f32", "--experts", "5"]),
    ("experts with scales", ["--type", "f32", "--experts", "5", "--scales"]),
    ("f16", ["--type", "f16", "--untied", "--rope-scaling", "linear"]),
    ("bf16", ["--type", "bf16", "--kv-heads", "1"]),
    ("q8_0", ["--type", "q8_0", "--untied", "--rope-scaling", "yarn"]),
    ("q4_0", ["--type", "q4_0", "--rope-scaling", "llama3"]),
    ("iq3_s", ["--type", "iq3_s", "--embd", "256", "--ffn", "256", "--untied"]),
]
SETTINGS = [[], ["--no-fusion"], ["--disable", "sub"], ["--disable", "unified,timeline"], ["-b", "5"],
            ["--disable", "sub", "--no-fusion", "-b", "1"]]
FEW = [[], ["--disable", "sub", "--no-fusion", "-b", "1"]]  # on further drivers, which compile anew each time
# ways of the weights to the device, for a type that lies there as in the file and for one that does not
WAYS = [["--caps", "host-import=1"], ["--caps", "host-import=1,repack=1"], ["--caps", "unified=0,transfer=1,repack=1"]]
WAYS_OF = ["f16", "q8_0"]
SAME_AS = {"f32 with scales": "f32", "experts with scales": "experts"}  # scales are powers of two
BRIEF = [*SAME_AS, "experts"]  # few settings


def tokens(pumice, icd, model, setting):
    env = dict(os.environ, VK_ICD_FILENAMES=icd, VK_DRIVER_FILES=icd)
    run = subprocess.run([pumice, "run", model, "--tokens", PROMPT, "-n", "24", "--temp", "0", "--ignore-eos", "--json",
                          "-q", "-ctk", "f32", "-ctv", "f32", *setting], env=env, capture_output=True, text=True)
    if run.returncode:
        return f"exit {run.returncode}: {run.stderr.strip()}"
    return json.loads(run.stdout)["tokens"]


def main():
    pumice, *icds = sys.argv[1:]
    try:
        import numpy  # noqa: F401 (make_model.py needs it)
    except ImportError:
        print("skipped: python3-numpy is not installed")
        return 77
    bad, by_name = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in MODELS:
            model = f"{folder}/{name}.gguf"
            shape = ["--layers", "2", "--embd", "64", "--heads", "4", "--kv-heads", "2", "--ffn", "160"]
            subprocess.run([sys.executable, str(TOOL), "--out", model, *shape, "--vocab", "400", "--ctx", "256",
                            "--seed", "5", *options], check=True, capture_output=True)
            want = by_name.get(SAME_AS.get(name))
            for icd in icds:
                settings = SETTINGS if icd == icds[0] and name not in BRIEF else FEW
                for setting in settings + (WAYS if name in WAYS_OF else []):
                    got = tokens(pumice, icd, model, setting)
                    want = want or got
                    if got != want or not isinstance(got, list) or len(got) != 24:
                        bad += 1
                        print(f"{name}, {pathlib.Path(icd).name}, {' '.join(setting)}: {got}, not {want}")
            by_name[name] = want
            print(f"{name}: {want}")
    print(f"{len(MODELS)} models, {len(icds)} drivers, {len(SETTINGS)} settings ({len(BRIEF)} models and further "
          f"drivers {len(FEW)}), {len(WAYS)} ways: {bad} differ")
    return 1 if bad else 0


sys.exit(main())
