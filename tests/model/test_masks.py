#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Devices that are less than the one here: the bundled model must give the same greedy tokens whatever is taken away,
on every driver, and with every subgroup size that lavapipe can really have.

usage: test_masks.py PUMICE MODEL ICD.json...
"""
import json
import os
import subprocess
import sys

PROMPT = "Once upon a time there was a small stone that wanted to float on the wide blue sea"
ALL = "subgroup=64,sub=0,shared=16K,invocations=128,range=64M,align=4K,unified=0,transfer=1"
MASKS = ["subgroup=1", "subgroup=16", "subgroup=32", "subgroup=64", "sub=0", "shared=16K,invocations=128", "range=64M",
         "align=4K", "unified=0,timeline=0", "unified=0,transfer=1", ALL]
FEW = ["subgroup=1", "subgroup=64", ALL]  # on further drivers
WIDTHS = ["128", "512"]  # bits of lavapipe's vectors: subgroups of 4 and 16
CACHE = "MESA_SHADER_CACHE_DIR"  # Mesa takes shaders compiled for another width from its cache, which are wrong


def tokens(pumice, model, icd, *more, **env):
    run = subprocess.run([pumice, "run", model, "-p", PROMPT, "-n", "10", "--temp", "0", "--json", "-q",
                          "--no-self-test", *more],
                         env=dict(os.environ, VK_ICD_FILENAMES=icd, VK_DRIVER_FILES=icd, **env), capture_output=True,
                         text=True)
    return json.loads(run.stdout)["tokens"] if run.returncode == 0 else f"exit {run.returncode}: {run.stderr.strip()}"


def main():
    pumice, model, *icds = sys.argv[1:]
    want = tokens(pumice, model, icds[0])
    runs = [(icd, mask, tokens(pumice, model, icd, "--caps", mask)) for icd in icds
            for mask in (MASKS if icd == icds[0] else FEW)]
    runs += [(icd, "quirks", tokens(pumice, model, icd, "--quirk", "lavapipe-short-loops=on,qualcomm-short-submits=on,"
                                    "lavapipe-timeline-wakes=off"))
             for icd in icds]
    runs += [(icd, f"vectors of {bits} bits", tokens(pumice, model, icd, LP_NATIVE_VECTOR_WIDTH=bits,
                                                     **{CACHE: os.environ.get(CACHE, "mesa-cache") + "-" + bits}))
             for icd in icds if "lvp" in icd for bits in WIDTHS]
    bad = [run for run in runs if run[2] != want or not isinstance(want, list) or len(want) != 10]
    for icd, mask, got in bad:
        print(f"{icd} {mask}: {got}, not {want}")
    print(f"{len(runs)} runs, {len(bad)} differ")
    return 1 if bad else 0


sys.exit(main())
