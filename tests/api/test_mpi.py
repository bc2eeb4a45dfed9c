#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One model over the processes that mpirun starts gives what one process gives. Usage: test_mpi.py PUMICE MODEL.gguf.
Exits 77 (skip) where pumice was built without MPI or there is no mpirun."""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

PUMICE = ""
MODEL = ""
MPIRUN = ["mpirun", "--oversubscribe", "--allow-run-as-root"]
PROMPT = ["-p", "Once upon a time there was a little dog who lived in a house near the forest", "-b", "6",
          "-ctk", "f32", "-ctv", "f32"]


def run(command, timeout=240):
    done = subprocess.run([str(c) for c in command], capture_output=True, timeout=timeout, check=False)
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


class Mpi(unittest.TestCase):
    def ok(self, ranks, *args):
        command = [PUMICE, *args]
        if ranks:
            command = [*MPIRUN, "-n", ranks, *command, "--mpi"]
        code, out, err = run(command)
        self.assertEqual(code, 0, err)
        return out, err

    def sentences(self, err):
        return [line for line in err.split("\n") if line.startswith("pumice: ")]

    def test_same_tokens(self):
        args = ["run", MODEL, *PROMPT, "-n", 24, "--temp", 0, "--json"]
        want = json.loads(self.ok(0, *args)[0])
        for ranks, more in ((2, []), (3, ["--split", "1,2,3"])):
            out, err = self.ok(ranks, *args, *more)
            got = json.loads(out)  # rank 0 alone writes
            self.assertEqual(got["tokens"], want["tokens"])
            self.assertEqual(got["text"], want["text"])
            self.assertEqual(sum(line.startswith(f"rank {ranks - 1}: device: ") for line in err.split("\n")), 1, err)
        sampled = ["run", MODEL, *PROMPT, "-n", 12, "--temp", 0.9, "--seed", 7, "--json"]
        self.assertEqual(json.loads(self.ok(2, *sampled)[0])["tokens"], json.loads(self.ok(0, *sampled)[0])["tokens"])

    def test_same_logits(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder) / name for name in ("one", "two")]
            args = ["logits", MODEL, "--tokens", "1,20,33,40,51,62,73,84,95", "-q", "-b", 4, "-ctk", "f32",
                    "-ctv", "f32"]
            self.ok(0, *args, "-o", paths[0])
            self.ok(2, *args, "-o", paths[1])
            rows = [struct.unpack(f"<{path.stat().st_size // 4}f", path.read_bytes()) for path in paths]
        self.assertEqual(len(rows[0]), len(rows[1]))
        self.assertLess(max(abs(a - b) for a, b in zip(*rows)), 1e-4)

    def test_encoder(self):
        model = pathlib.Path(os.environ.get("PUMICE_TEST_DATA", "/nonexistent")) / "golden/flan_t5"
        if not model.is_dir():
            self.skipTest("no test data (set PUMICE_TEST_DATA)")
        args = ["run", model, "--tokens", "9,8,7,6,5,4", "-n", 8, "--temp", 0, "-ctk", "f32", "-ctv", "f32", "--json"]
        want = json.loads(self.ok(0, *args)[0])["tokens"]
        for ranks, split in ((2, "2,3"), (3, "1,2,2")):
            self.assertEqual(json.loads(self.ok(ranks, *args, "--split", split)[0])["tokens"], want)

    def test_failures(self):
        for args, words in ((["run", "/nonexistent.gguf"], "cannot open"),
                            (["run", MODEL, "--device", "0,99"], "no device '99'"),
                            (["run", MODEL, "--split", "1,1"], "the split gives 2 layers"),
                            (["run", MODEL, "--split", "6"], "each of the 2 devices"),
                            (["run", MODEL, "-f", "/nonexistent.txt"], "nonexistent.txt"),
                            (["run", MODEL, "--tokens", "1,99999"], "99999")):
            code, out, err = run([*MPIRUN, "-n", 2, PUMICE, *args, "--mpi", "-n", 3])
            self.assertNotEqual(code, 0, args)
            self.assertEqual(out, b"", args)
            said = self.sentences(err)
            self.assertTrue(said and words in said[0], err)
            self.assertEqual(len(set(said)), 1, err)

    def test_alone(self):
        args = ["run", MODEL, *PROMPT, "-n", 4, "--temp", 0, "--json"]
        self.assertEqual(json.loads(self.ok(1, *args)[0])["tokens"], json.loads(self.ok(0, *args)[0])["tokens"])


if __name__ == "__main__":
    PUMICE, MODEL = sys.argv[1:3]
    if "built without MPI" in run([PUMICE, "run", MODEL, "--mpi", "-n", 1])[2] or not shutil.which("mpirun"):
        print("skipped: no MPI")
        sys.exit(77)
    if run([*MPIRUN, "-n", 2, "true"])[0] != 0:
        print("skipped: mpirun starts nothing here")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
