#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `pumice convert` makes of a Hugging Face directory is opened by llama.cpp, which gives the same greedy tokens as
the original and nearly the logits that Pumice gives.

usage: test_peer.py PUMICE ICD [DIRECTORY...]   (exit code 77 = the peer, numpy or the data is missing)
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import peer
from golden_cases import Program, cases, folders, ids_of

# What it has no architecture for, or refuses: model_type, then a part of its sentence.
REFUSES = {"bart": "unknown model architecture", "chatglm1": "unknown model architecture",
           "palm": "unknown model architecture", "opt": "unknown model architecture",
           # it keeps as many layers as the encoder has
           "flan_t5": "_M_range_check"}
MAX_RELATIVE = 4e-3  # its KV cache and activations are F16
SCALES_HEAD = {"t5_v10"}  # T5 with a tied head scales its output, the peer does not
BEYOND_WINDOW = {"mistral_swa"}  # "llama" has no window there: only prompts within it are alike


# ---- in a child: the peer's own faults end it ----

def ask(path, requests):
    """Prints one JSON value for each request: greedy tokens, then writes the logits."""
    import numpy as np
    engine = peer.Peer(peer.find())
    for request in requests:
        try:
            engine.load(path, 512)
        except peer.Refused as refused:
            print(json.dumps({"refused": str(refused)}))
            return
        if request["encoder"]:
            engine.encode(request["encoder"])
        rows = engine.decode(request["tokens"])
        np.save(request["out"], rows)
        if request["encoder"]: # generation begins with the start token alone
            engine.load(path, 512)
            engine.encode(request["encoder"])
            rows = engine.decode(request["tokens"][:1])
        greedy = []
        while len(greedy) < request["greedy"]:
            greedy.append(int(rows[-1].argmax()))
            rows = engine.decode(greedy[-1:])
        print(json.dumps({"greedy": greedy}))


def child(path, requests):
    done = subprocess.run([sys.executable, __file__, "--ask", str(path)], input=json.dumps(requests), text=True,
                          capture_output=True, timeout=300)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if len(answers) < len(requests) and not (answers and "refused" in answers[-1]):
        answers.append({"refused": f"exit {done.returncode}: {done.stderr.strip()[-200:]}"})
    return answers


# ---- the parent ----

class Check:
    def __init__(self, pumice, icd, temporary):
        self.program, self.temporary = Program(pumice, icd), temporary
        self.bad = self.done = 0

    def fault(self, text):
        self.bad += 1
        print(text)

    def case(self, name, path, case, answer):
        import numpy as np
        theirs = np.load(self.temporary / f"{case['name']}.npy")
        mine = self.program.logits(path, case)
        scale = np.linalg.norm(mine) / np.linalg.norm(theirs) if name in SCALES_HEAD else 1.0
        relative = float(np.linalg.norm(mine - scale * theirs) / np.linalg.norm(mine))
        print(f"{name}, {case['name']}: relative difference {relative:.1e}")
        if not relative <= MAX_RELATIVE:
            self.fault(f"{name}, {case['name']}: logits differ by {relative:.1e}, relative")
        if answer["greedy"] != case.get("greedy", [])[:len(answer["greedy"])]:
            self.fault(f"{name}, {case['name']}: greedy {answer['greedy']}, not {case['greedy']}")
        self.done += 1

    def directory(self, folder):
        name, path = folder.name, self.temporary / f"{folder.name}.gguf"
        window = json.loads((folder / "config.json").read_text()).get("sliding_window")
        self.program.ok("convert", folder, path)
        chosen = [c for c in cases(folder) if c.get("prefix_len_mask") is None]
        if name in BEYOND_WINDOW and window:
            chosen = [c for c in chosen if len(c["input_ids"]) + len(c.get("greedy", [])) <= window]
        requests = []
        for c in chosen:
            tokens, encoder = ids_of(c)
            requests.append({"tokens": tokens, "encoder": encoder, "greedy": min(len(c.get("greedy", [])), 16),
                             "out": str(self.temporary / f"{c['name']}.npy")})
        for c, answer in zip(chosen, child(path, requests)):
            if "refused" in answer:
                self.refused(folder, answer["refused"])
                break
            self.case(name, path, c, answer)

    def refused(self, folder, sentence):
        kind = json.loads((folder / "config.json").read_text())["model_type"]
        known = REFUSES.get(folder.name) or REFUSES.get(kind)
        if kind == "chatglm" and "chatglm1" in sentence:
            known = REFUSES["chatglm1"]
        if known and known in sentence:
            print(f"{folder.name}: the peer refuses it as expected: {sentence}")
        else:
            self.fault(f"{folder.name}: the peer refuses it: {sentence}")


def main():
    if sys.argv[1] == "--ask":
        ask(sys.argv[2], json.load(sys.stdin))
        return 0
    pumice, icd, *wanted = sys.argv[1:]
    try:
        import numpy  # noqa: F401
    except ImportError:
        print("skipped: python3-numpy is not installed")
        return 77
    chosen = [f for f in folders() if not wanted or f.name in wanted]
    if not peer.find() or not chosen:
        print("skipped: the peer (PUMICE_PEER) or the golden directories (PUMICE_TEST_DATA) are not here")
        return 77
    with tempfile.TemporaryDirectory() as temporary:
        check = Check(pumice, icd, pathlib.Path(temporary))
        for folder in chosen:
            check.directory(folder)
    print(f"{len(chosen)} directories, {check.done} cases: {check.bad} faults")
    return 1 if check.bad or not check.done else 0


sys.exit(main())
