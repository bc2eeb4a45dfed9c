#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plans of the bundled model for device profiles, compared with stored texts: what a change does to the plan shows
up as a diff in review.

usage: test_golden.py PUMICE MODEL [--update]
"""
import difflib
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
CASES = [(device, rows) for device in ("lavapipe", "swiftshader", "navi31", "minimal") for rows in (1, 32)]


def plan(pumice, model, device, rows):
    run = subprocess.run([pumice, "plan", model, "--device", device, "--rows", str(rows), "-c", "512", "--check"],
                         capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"pumice plan failed: {run.stderr}")
    return run.stdout


def main():
    pumice, model, *flags = sys.argv[1:]
    bad = 0
    for device, rows in CASES:
        path = HERE / f"{device}-{rows}.txt"
        text = plan(pumice, model, device, rows)
        if text != plan(pumice, model, device, rows):
            print(f"{path.name}: two runs differ")
            bad += 1
        if "--update" in flags:
            path.write_text(text, encoding="utf-8")
            continue
        stored = path.read_text(encoding="utf-8") if path.exists() else ""
        if text != stored:
            bad += 1
            diff = list(difflib.unified_diff(stored.splitlines(), text.splitlines(), path.name, "now", "", "", 1, ""))
            print("\n".join(diff[:40]))
    print(f"{len(CASES) - bad} plans as stored, {bad} differ" + (" (--update stores the new ones)" if bad else ""))
    return 1 if bad else 0


sys.exit(main())
