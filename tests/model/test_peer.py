#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `pumice convert` makes of a Hugging Face directory is opened by llama.cpp, which gives the same greedy tokens as
the original and nearly the logits that Pumice gives, also from the quantized types; and a tokenizer that went into the
file gives the ids of the original there. Models that llama.cpp quantized to types that nothing here quantizes to give
the logits and greedy tokens that it reads them for.

usage: test_peer.py PUMICE ICD [DIRECTORY...]   (exit code 77 = the peer, numpy or the data is missing)
"""
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile

import peer
from golden_cases import DATA, Program, cases, folders, ids_of

# What it has no architecture for, or refuses: model_type, then a part of its sentence.
REFUSES = {"bart": "unknown model architecture", "chatglm1": "unknown model architecture",
           "palm": "unknown model architecture", "opt": "unknown model architecture",
           # it keeps as many layers as the encoder has
           "flan_t5": "_M_range_check"}
MAX_RELATIVE = 4e-3  # its KV cache and activations are F16
SCALES_HEAD = {"t5_v10"}  # T5 with a tied head scales its output, the peer does not
BEYOND_WINDOW = {"mistral_swa"}  # "llama" has no window there: only prompts within it are alike
QUANTIZED = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k_m", "q5_k_m", "q6_k")
MAX_QUANTIZED = 0.06  # its CPU rounds what a quantized matrix is multiplied by to 8 bits; measured 0.03
RARE = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "NVFP4", "Q1_0", "Q2_0")
# Tokenizers in the data: folder, files and the names they get, class; how many of the texts the peer may cut otherwise
BYTE_LEVEL = {"vocab.json": "vocab.json", "merges.txt": "merges.txt"}
TOKENIZERS = (("gpt2", BYTE_LEVEL, "GPT2Tokenizer", 0), ("bart", BYTE_LEVEL, "BartTokenizer", 0),
              ("qwen2", BYTE_LEVEL, "Qwen2Tokenizer", 1),  # it does not compose letters and marks
              ("spm_small", {"test_sentencepiece.model": "spiece.model"}, "T5Tokenizer", 0))


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
        if "texts" in request:
            print(json.dumps({"ids": [engine.tokenize(text) for text in request["texts"]]}))
            continue
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

def empty_model(folder, n_vocab):
    """A LLaMA of zeros for a vocabulary: the peer opens no tokenizer alone."""
    size, at, header = 32, 0, {}
    shapes = {"embed_tokens": (n_vocab, size), "norm": (size,)}
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
                 "mlp.up_proj", "mlp.down_proj"):
        shapes[f"layers.0.{name}"] = (size, size)
    for name in ("input_layernorm", "post_attention_layernorm"):
        shapes[f"layers.0.{name}"] = (size,)
    for name, shape in shapes.items():
        end = at + 2 * math.prod(shape)
        header[f"model.{name}.weight"] = {"dtype": "F16", "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))
    (folder / "config.json").write_text(json.dumps({
        "model_type": "llama", "hidden_size": size, "num_attention_heads": 1, "num_hidden_layers": 1,
        "intermediate_size": size, "vocab_size": n_vocab, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True, "torch_dtype": "float16"}))


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

    def quantized(self, folder):
        import numpy as np
        case, path = cases(folder)[0], self.temporary / "quantized.gguf"
        out = self.temporary / "quantized.npy"
        for kind in QUANTIZED:
            self.program.ok("convert", folder, path, "--type", kind)
            answer = child(path, [{"tokens": case["input_ids"], "encoder": None, "greedy": 0, "out": str(out)}])[0]
            if "refused" in answer:
                self.fault(f"{folder.name} in {kind}: the peer refuses it: {answer['refused']}")
                continue
            mine, theirs = self.program.logits(path, case), np.load(out)
            relative = float(np.linalg.norm(mine - theirs) / np.linalg.norm(mine))
            print(f"{folder.name} in {kind}: relative difference {relative:.1e}")
            if not relative <= MAX_QUANTIZED:
                self.fault(f"{folder.name} in {kind}: logits differ by {relative:.1e}, relative")

    def rare(self, kind, *options):
        """A random model that their quantizer made: in their engine nearly the same logits; and what their reader makes
        of it, in F32, gives the same logits and greedy tokens there."""
        import numpy as np
        sys.path.insert(0, str(peer.ROOT / "tools"))
        import gguf_writer
        import make_model
        tensor, out, tokens = gguf_writer.Tensor[kind], self.temporary / "rare.npy", [1, 300, 402, 288, 500]
        quantizer, before = peer.Quantizer(peer.find(), tensor), dict(gguf_writer.ENCODERS)
        gguf_writer.ENCODERS.update({tensor: quantizer.quantize, gguf_writer.Tensor.F32: quantizer.rounded})
        answers, logits, title = [], [], " ".join((kind, *options))
        for name in (kind.lower(), "f32"):
            path = self.temporary / f"rare-{name}.gguf"
            make_model.make_model(make_model.parse_arguments(
                ["--out", str(path), "--type", name, "--embd", "256", "--heads", "4", "--ffn", "512", *options]))
            answers += child(path, [{"tokens": tokens, "encoder": None, "greedy": 16, "out": str(out)}])
            if "refused" in answers[-1]:
                self.fault(f"{title}: the peer refuses it as {name}: {answers[-1]['refused']}")
                return
            logits.append(np.load(out))
        gguf_writer.ENCODERS.update(before)
        greedy = answers[1]["greedy"]
        mine = self.program.logits(self.temporary / f"rare-{kind.lower()}.gguf", {"input_ids": tokens + greedy[:-1]})
        near, same = (float(np.linalg.norm(mine[:len(tokens)] - x) / np.linalg.norm(x)) for x in logits)
        print(f"{title}: relative difference {near:.1e}, read by the peer {same:.1e}")
        if not near <= MAX_QUANTIZED or not same <= MAX_RELATIVE:
            self.fault(f"{title}: logits differ by {near:.1e} and {same:.1e}, relative")
        if (ours := mine[len(tokens) - 1:].argmax(axis=1).tolist()) != greedy:
            self.fault(f"{title}: greedy {ours}, not {greedy}")
        self.done += 1

    def tokenizer(self, name, files, kind, allowed):
        source, folder = DATA / "tokenizers" / name, self.temporary / f"tokenizer-{name}"
        path = self.temporary / f"{name}.gguf"
        folder.mkdir()
        for file, to in files.items():
            (folder / to).symlink_to(source / file)
        golden = source / "golden.json"
        if not golden.exists():
            golden = (source / next(iter(files))).with_suffix(".golden.json")
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
        empty_model(folder, json.loads(self.program.ok("info", folder, "--json"))["n_vocab"])
        self.program.ok("convert", folder, path)
        # not the names of tokens: the peer has rules of its own about them
        texts = [c for c in json.loads(golden.read_text())["cases"] if "</s>" not in c["text"]]
        answer = child(path, [{"texts": [c["text"] for c in texts]}])[0]
        if "refused" in answer:
            self.fault(f"tokenizer {name}: the peer refuses it: {answer['refused']}")
            return
        wrong = [c["text"] for c, ids in zip(texts, answer["ids"]) if ids != c["ids"]]
        print(f"tokenizer {name}: {len(texts)} texts, {len(wrong)} otherwise there")
        if len(wrong) > allowed:
            self.fault(f"tokenizer {name}: the peer cuts {wrong[:3]} otherwise")

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
        check.quantized(next((f for f in chosen if "k256" in f.name), chosen[0]))
        for kind in RARE if not wanted else ():
            check.rare(kind)
        if not wanted:
            check.rare("NVFP4", "--scales")
            check.rare("NVFP4", "--scales", "--experts", "5")
        for row in TOKENIZERS:
            if not wanted and (DATA / "tokenizers" / row[0]).is_dir():
                check.tokenizer(*row)
    print(f"{len(chosen)} directories, {check.done} cases: {check.bad} faults")
    return 1 if check.bad or not check.done else 0


sys.exit(main())
