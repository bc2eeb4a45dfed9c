#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the test suite of a build folder on every software driver that is there, and prints one line of totals.
# Usage: tests/run_tests.sh BUILD [meson test arguments, such as --suite unit or a test's name]
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: tests/run_tests.sh BUILD [meson test arguments]}
shift
meson test -C "$build" --print-errorlogs --no-rebuild "$@"
log="$build/meson-logs/testlog.json"
python3 - "$log" << 'PY'
import json
import sys

results = {}
for line in open(sys.argv[1]):
    test = json.loads(line)
    results[test["name"]] = test["result"]
good = sum(r in ("OK", "EXPECTEDFAIL") for r in results.values())
skip = sum(r == "SKIP" for r in results.values())
bad = len(results) - good - skip
for name, result in sorted(results.items()):
    if result not in ("OK", "EXPECTEDFAIL"):
        print(f"{result}: {name}")
print(f"{good} passed, {bad} failed, {skip} skipped")
sys.exit(1 if bad or not good else 0)
PY
