#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plans for device profiles, compared with stored texts: what a change does to the plan shows up as a diff in review.
Whole texts of the bundled model for four profiles, and of two layers with experts (moe/config.json, without weights)
for one; the bundled model with activations of 8 bits for one; for all profiles a line per plan of these and of a model
of 7B's shape (profiles.txt). Every plan is proven by the second algorithm.

usage: test_golden.py PUMICE MODEL [--update]      (without numpy the 7B shape is left out)
"""
import difflib
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
MAKE_MODEL = HERE.parents[1] / "tools" / "make_model.py"
EXPERTS = HERE / "moe" / "config.json"
CASES = ([(device, rows, "") for device in ("lavapipe", "swiftshader", "navi31", "minimal") for rows in (1, 32)]
         + [("navi31", rows, "moe-") for rows in (1, 32)] + [("navi31", 1, "q8-")])
Q8 = ["--activations", "q8"]


def plan(pumice, model, device, rows, *more):
    run = subprocess.run([pumice, "plan", model, "--device", device, "--rows", str(rows), "-c", "512", "--check",
                          *more], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"pumice plan --device {device} --rows {rows} {model} failed: {run.stderr}")
    return run.stdout


def hollow_7b(path):
    """A model of 7B's shape without its weights; False if numpy is missing."""
    python = "/usr/bin/python3" if pathlib.Path("/usr/bin/python3").exists() else sys.executable
    return not subprocess.run([python, str(MAKE_MODEL), "--out", path, "--preset", "7b", "--type", "q4_0", "--untied",
                               "--hollow"], capture_output=True).returncode


def summary(pumice, name, model, device, rows):
    """One line: size of the plan, its hash, and the kernels with their workgroup sizes."""
    p = json.loads(plan(pumice, model, device, rows, "--json", *(Q8 if name.endswith("q8") else [])))
    kernels = sorted({f"{s['kernel']}/{s['spec']['WG']}" for s in p["steps"]})
    return (f"{name} {device} {rows}: {len(p['steps'])} steps, {p['barriers']} barriers, {p['submits']} submits, "
            f"arena {p['arena_bytes']}, {p['hash']}, {' '.join(kernels)}\n")


def summaries(pumice, model, big):
    profiles = subprocess.run([pumice, "plan", "--profiles"], capture_output=True, text=True, check=True).stdout.split()
    models = (("stories", model), ("moe", EXPERTS), ("7b", big))
    lines = [summary(pumice, name, path, device, rows) for name, path in models if path
             for device in profiles for rows in (1, 32)]
    return "".join(lines + [summary(pumice, "7b-q8", big, device, 1) for device in profiles if big])


def compare(path, text, update):
    """Number of differences, 0 or 1; prints them."""
    if update:
        path.write_text(text, encoding="utf-8")
        return 0
    stored = path.read_text(encoding="utf-8") if path.exists() else ""
    diff = list(difflib.unified_diff(stored.splitlines(), text.splitlines(), path.name, "now", "", "", 1, ""))
    print("\n".join(diff[:40]))
    return int(text != stored)


def main():
    pumice, model, *flags = sys.argv[1:]
    update = "--update" in flags
    bad = 0
    for device, rows, kind in CASES:
        path = HERE / f"{kind}{device}-{rows}.txt"
        of, more = EXPERTS if kind == "moe-" else model, Q8 if kind == "q8-" else []
        text = plan(pumice, of, device, rows, *more)
        if text != plan(pumice, of, device, rows, *more):
            print(f"{path.name}: two runs differ")
            bad += 1
        bad += compare(path, text, update)
    path = HERE / "profiles.txt"
    with tempfile.TemporaryDirectory() as folder:
        big = f"{folder}/7b.gguf"
        if hollow_7b(big):
            bad += compare(path, summaries(pumice, model, big), update)
        elif update:
            sys.exit("python3-numpy is needed to make profiles.txt")
        else:
            stored = [line for line in path.read_text(encoding="utf-8").splitlines(True) if not line.startswith("7b")]
            now = summaries(pumice, model, None)
            print("python3-numpy is missing: plans of the 7B shape were left out")
            bad += now != "".join(stored)
    print(f"{len(CASES) + 1} files of plans, {bad} differ" + (" (--update stores the new ones)" if bad else ""))
    return 1 if bad else 0


sys.exit(main())
