#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exported symbols: the shared library gives out pumice_* alone, and the static one defines no other global name.

usage: test_symbols.py LIBRARY...   (exit code 77 = nm is missing)
"""
import shutil
import subprocess
import sys


def symbols(path):
    flags = ["-D"] if ".so" in path else []
    out = subprocess.run(["nm", *flags, "--defined-only", "--extern-only", path], check=True, text=True,
                         capture_output=True).stdout
    return sorted({line.split()[2] for line in out.splitlines() if len(line.split()) == 3})


def main():
    if not shutil.which("nm"):
        print("skipped: nm is not installed")
        return 77
    bad = 0
    for path in sys.argv[1:]:
        names = symbols(path)
        strangers = [name for name in names if not name.startswith("pumice_")]
        print(f"{path}: {len(names)} symbols, {len(strangers)} strangers {' '.join(strangers[:10])}")
        bad += len(strangers) + (len(names) < 20)
    return 1 if bad else 0


sys.exit(main())
