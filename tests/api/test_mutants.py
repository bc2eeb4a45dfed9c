#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Damaged model files through the whole program, on a device: bit flips, truncations, huge counts, swapped ranges. They
are run and converted; each time it must end by itself, with 0 or with 1 and one sentence; a crash or a hang is a
failure. (fuzz_gguf takes thousands of files as far as the plan; this takes fewer all the way.)

usage: test_mutants.py PUMICE MODEL.gguf [COUNT [SEED]]   (exit code 77 = no device)
"""
import collections
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile


def mutate(data, rng):
    data = bytearray(data)
    kind = rng.choice(["bits", "header", "count", "cut", "move", "weights"])
    if kind == "bits":
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "header":
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(min(len(data), 4000))] = rng.randrange(256)
    elif kind == "count":
        at = rng.choice([8, 16] + [rng.randrange(24, 3000) for _ in range(4)])
        data[at : at + 8] = struct.pack("<Q", rng.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))
    elif kind == "cut":
        del data[rng.randrange(len(data)) :]
    elif kind == "move":
        size = rng.randint(1, 400)
        a, b = rng.randrange(len(data) - size), rng.randrange(len(data) - size)
        data[a : a + size] = data[b : b + size]
    else:  # scales and weights become anything, NaN and infinity among them
        for _ in range(2000):
            data[rng.randrange(40000, len(data))] = rng.choice([0x7c, 0x7e, 0xfc, 0xff, rng.randrange(256)])
    return kind, bytes(data)


def main():
    pumice, model = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 60
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    base = pathlib.Path(model).read_bytes()
    env = dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")  # drivers leak
    command = ["run", "-n", "3", "--temp", "0", "--tokens", "1,5,9,300", "-c", "64", "--no-cache", "--no-self-test",
               "-q"]
    if subprocess.run([pumice, command[0], model, *command[1:]], env=env, capture_output=True).returncode:
        print("skipped: the sound model does not run here (no device?)")
        return 77
    seen, bad = collections.Counter(), 0
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "mutant.gguf"
        for i in range(count):
            kind, data = mutate(base, rng)
            path.write_bytes(data)
            for name, *more in (command, ["convert", f"{folder}/out.gguf", "-q"]):
                try:
                    run = subprocess.run([pumice, name, str(path), *more], env=env, capture_output=True, timeout=120)
                    code, lines = run.returncode, run.stderr.decode("utf-8", "replace").strip().splitlines()
                except subprocess.TimeoutExpired:
                    code, lines = "hang", []
                clear = code == 1 and len(lines) == 1 and lines[0].startswith("pumice: ") and len(lines[0]) > 20
                if code != 0 and not clear:
                    bad += 1
                    print(f"seed {seed}, mutant {i} ({kind}), {name}: exit {code}: {' / '.join(lines)[:400]}")
                seen[(name, kind, code)] += 1
    for (name, kind, code), n in sorted(seen.items(), key=str):
        print(f"{name:8} {kind:8} exit {code}: {n}")
    print(f"{count} mutants, {bad} faults")
    return 1 if bad else 0


sys.exit(main())
