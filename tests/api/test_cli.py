#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pumice program from outside: exit codes, the one-sentence rule, what stands on standard output, the shapes of
all JSON, Ctrl-C. Usage: test_cli.py PUMICE MODEL.gguf [unittest arguments]. Exits 77 (skip) without a device.

What the model says is not judged here (tests/model does); only that the program's ways of asking agree."""
import json
import os
import pathlib
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

TIMEOUT = 300
PUMICE = ""
MODEL = ""
TMP = pathlib.Path()
ENV = {}


def pumice(*args, stdin=b"", env=None, timeout=TIMEOUT):
    """Runs the program; returns (exit code, standard output as bytes, standard error as text)."""
    done = subprocess.run([PUMICE, *map(str, args)], input=stdin, capture_output=True, env=env or ENV,
                          timeout=timeout, check=False)
    return done.returncode, done.stdout, done.stderr.decode("utf-8")


def no_driver_env():
    env = dict(ENV)
    for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES"):
        env[name] = "/nonexistent/no_driver.json"
    env.pop("VK_ADD_DRIVER_FILES", None)
    return env


def unknown_architecture(data):
    """The model with another word of the same length in general.architecture."""
    at = data.index(b"general.architecture") + len(b"general.architecture")
    kind, length = struct.unpack_from("<IQ", data, at)
    assert kind == 8
    return data[: at + 12] + b"z" * length + data[at + 12 + length:]


class Case(unittest.TestCase):
    def ok(self, *args, **more):
        code, out, err = pumice(*args, **more)
        self.assertEqual(code, 0, f"pumice {' '.join(map(str, args))}: {err}")
        return out, err

    def json(self, *args, **more):
        return json.loads(self.ok(*args, **more)[0].decode("utf-8"))

    def fails(self, code, *args, words=(), **more):
        """The rule: this exit code, nothing on standard output, one sentence on standard error."""
        got, out, err = pumice(*args, **more)
        what = f"pumice {' '.join(map(str, args))}: {got} {out[:200]!r} {err!r}"
        self.assertEqual(got, code, what)
        self.assertEqual(out, b"", what)
        self.assertTrue(err.endswith("\n") and err.count("\n") == 1, what)
        self.assertTrue(err.startswith("pumice: ") and len(err) > len("pumice: \n") + 8, what)
        for word in words:
            self.assertIn(word, err, what)

    def has(self, value, fields):
        for name, kind in fields.items():
            self.assertIn(name, value)
            self.assertIsInstance(value[name], kind, name)


class Usage(Case):
    def test_help_and_version(self):
        out, err = self.ok("--help")
        self.assertEqual(err, "")
        self.assertIn(b"GGUF files, Hugging Face directories", out)
        commands = re.findall(r"^  (\w+) ", out.decode(), flags=re.M)
        self.assertEqual(set(commands), {"run", "devices", "info", "plan", "tokenize", "logits", "bench", "profile",
                                         "warmup", "chat", "quantize", "score", "convert"})
        for command in commands:
            text = self.ok(command, "--help")[0].decode()
            self.assertIn(f"usage: pumice {command}", text)
            self.assertIn("--help", text)
            self.assertEqual(text, self.ok("help", command)[0].decode())
        self.assertRegex(self.ok("--version")[0].decode(), r"^pumice \d+\.\d+\.\d+\n$")

    def test_nothing_is_usage(self):
        code, out, err = pumice()
        self.assertEqual((code, out), (2, b""))
        self.assertIn("usage:", err)

    def test_unknown_names_are_suggested(self):
        self.fails(2, "rnu", MODEL, words=["did you mean run"])
        self.fails(2, "xyzzy", words=["--help"])
        self.fails(2, "run", MODEL, "--tmep", "1", words=["--temp"])
        self.fails(2, "run", MODEL, "--temperature", "1", words=["--temp"])
        self.fails(2, "bench", MODEL, "-ctkk", "f16", words=["-ctk"])
        self.fails(2, "run", MODEL, "--zzzzzz", words=["--help"])

    def test_bad_values(self):
        for args in (["-n", "x"], ["-n", "-5"], ["-n", "1e3"], ["-n", "99999999999"], ["-n"], ["--temp", "hot"],
                     ["--temp", "-1"], ["--temp", "nan"], ["--top-p", "1.5"], ["-ctk", "f8"], ["--seed", "-1"],
                     ["--tokens", "1,x"], ["--tokens", ""], ["--tokens", "1,,2"], ["--tokens", "99999999999"],
                     ["--timings=yes"], ["-p", "a", "--tokens", "1"], ["-p", "a", "-f", "b"], ["extra"]):
            with self.subTest(args=args):
                self.fails(2, "run", MODEL, *args)
        self.fails(2, "run", words=["model"])
        self.fails(2, "logits", MODEL, "-o", TMP / "x", words=["--tokens"])
        self.fails(2, "logits", MODEL, "--tokens", "1", words=["-o"])
        self.fails(2, "bench", MODEL, "-o", "csv", words=["md|json"])
        self.fails(2, "bench", MODEL, "-p", "-3")
        self.fails(2, "devices", "extra")

    def test_forms_of_options(self):
        a = self.ok("plan", MODEL, "--device", "navi31", "--rows", "4")[0]
        self.assertEqual(a, self.ok("plan", "--rows=4", "-dev", "navi31", "-m", MODEL)[0])
        self.assertEqual(a, self.ok("plan", "--device=navi31", "--rows=4", "--", MODEL)[0])


class Failures(Case):
    COMMANDS = (["run"], ["info"], ["tokenize"], ["plan", "--device", "navi31"], ["bench"], ["profile"],
                ["logits", "--tokens", "1", "-o", "unused"])

    def each(self, path, words=(), commands=COMMANDS):
        for command in commands:
            with self.subTest(command=command[0]):
                self.fails(1, *command, "-m", path, words=words)

    def test_missing_file(self):
        self.each(TMP / "absent.gguf", ["absent.gguf"])
        self.fails(1, "run", MODEL, "-f", TMP / "absent.txt", words=["absent.txt"])

    def test_folder(self):
        self.each(TMP, [TMP.name])
        self.fails(1, "run", MODEL, "-f", TMP, words=[TMP.name])

    def test_truncated(self):
        data = pathlib.Path(MODEL).read_bytes()
        for size in (0, 3, 20, 4000, len(data) // 2, len(data) - 1):
            path = TMP / f"truncated-{size}.gguf"
            path.write_bytes(data[:size])
            self.fails(1, "run", path)
            self.fails(1, "info", path)

    def test_not_gguf(self):
        path = TMP / "text.gguf"
        path.write_text("Once upon a time there was a file that was no model. " * 100)
        self.each(path)

    def test_unknown_architecture(self):
        path = TMP / "other.gguf"
        path.write_bytes(unknown_architecture(pathlib.Path(MODEL).read_bytes()))
        self.each(path, ["zzz"], [c for c in self.COMMANDS if c[0] not in ("info", "tokenize")])

    def test_no_driver(self):
        env = no_driver_env()
        for command in (["devices"], ["run", MODEL], ["bench", MODEL], ["profile", MODEL], ["plan", MODEL]):
            with self.subTest(command=command[0]):
                self.fails(1, *command, env=env, words=["Vulkan"])
        for command in (["info", MODEL], ["tokenize", MODEL], ["plan", MODEL, "--device", "navi31"]):
            with self.subTest(command=command[0]):
                self.ok(*command, env=env)

    def test_unknown_device(self):
        for name in ("no such card", "4711"):
            self.fails(1, "run", MODEL, "--device", name, words=[name])
            self.fails(1, "plan", MODEL, "--device", name)
        self.fails(1, "run", MODEL, "--disable", "wings", words=["wings"])
        self.fails(1, "run", MODEL, "--caps", "shared=wings", words=["shared=wings"])
        self.fails(1, "run", MODEL, "--quirk", "wings=on", words=["wings"])

    def test_bad_token_ids(self):
        n_vocab = self.json("info", MODEL, "--json")["n_vocab"]
        for bad in (n_vocab, -1, 2**31 - 1):
            self.fails(1, "run", MODEL, "--tokens", f"1,{bad}",
                       words=[str(bad), "vocab_size", os.path.basename(MODEL)])
            self.fails(1, "logits", MODEL, "--tokens", f"1,{bad}", "-o", TMP / "bad.f32", words=[str(bad)])
            self.fails(1, "tokenize", MODEL, "--decode", stdin=f"1 {bad}".encode(), words=[str(bad)])
        self.fails(1, "tokenize", MODEL, "--decode", stdin=b"1 two 3", words=["two"])
        self.assertEqual(list(TMP.glob("bad.f32*")), [])

    def test_too_long(self):
        self.fails(1, "run", MODEL, "-c", 32, "--tokens", ",".join(["5"] * 33), words=["33", "32"])
        self.fails(1, "run", MODEL, "-c", 32, "-p", "word " * 200, words=["32"])
        self.fails(1, "logits", MODEL, "-c", 32, "--tokens", ",".join(["5"] * 33), "-o", TMP / "long.f32",
                   words=["33"])
        self.fails(1, "run", MODEL, "-c", 4000000, words=["4000000"])

    def test_unwritable(self):
        self.fails(1, "logits", MODEL, "--tokens", "1", "-o", TMP / "no/such/folder", words=["no/such"])
        if os.path.exists("/dev/full"):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([PUMICE, "info", MODEL], stdout=full, stderr=subprocess.PIPE, env=ENV,
                                      timeout=TIMEOUT, check=False)
            self.assertEqual((done.returncode, done.stderr.count(b"\n")), (1, 1), done.stderr)


class Writing(Case):
    """convert and quantize: a file appears whole or not at all."""

    def nothing_at(self, path):
        self.assertEqual(list(TMP.glob(path.name + "*")), [])

    def test_bad_arguments(self):
        out = TMP / "bad.gguf"
        self.fails(2, "quantize", MODEL, out, words=["three arguments"])
        self.fails(2, "convert", MODEL, words=["two arguments"])
        for words in (["quantize", MODEL, out, "q3"], ["convert", MODEL, out, "--type", "q3"]):
            self.fails(2, *words, words=["q3", "Q4_K_M"])
        self.fails(1, "convert", TMP / "absent", out, words=["absent"])
        self.fails(1, "quantize", TMP / "absent.gguf", out, "q8_0", words=["absent.gguf"])
        self.fails(1, "convert", TMP, out, words=["config.json"])
        self.fails(1, "convert", MODEL, TMP, words=[TMP.name, "folder"])
        self.fails(1, "convert", MODEL, TMP / "no" / "out.gguf", words=["no/out.gguf"])
        self.nothing_at(out)

    def test_quantized_already(self):
        out = TMP / "again.gguf"
        self.ok("quantize", MODEL, out, "q8_0", "-q")
        self.fails(1, "quantize", out, TMP / "twice.gguf", "q4_0", words=["already", "F16"])
        self.nothing_at(TMP / "twice.gguf")

    def test_as_it_is(self):
        out, env = TMP / "same.gguf", no_driver_env()
        self.ok("convert", MODEL, out, env=env)
        self.assertEqual(self.json("info", out, "--json")["parameters"],
                         self.json("info", MODEL, "--json")["parameters"])
        first = out.read_bytes()
        shown = self.json("convert", out, out, "--json", env=env)  # in place
        self.assertEqual(out.read_bytes(), first)
        self.assertEqual(len(list(TMP.glob("same.gguf*"))), 1)
        self.assertIsNone(shown["device"])
        for tensor in shown["tensors"]:
            self.has(tensor, {"name": str, "type_before": str, "type_after": str, "rows": int, "cols": int})

    def test_no_room(self):
        """A limit on the size of files stands for a full disk: the error comes from the same call."""
        out = TMP / "full.gguf"

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))

        for command in (["convert", MODEL, out], ["quantize", MODEL, out, "q8_0", "-q", "--no-cache"]):
            # SIGXFSZ stays ignored, as Python has it
            done = subprocess.run([PUMICE, *map(str, command)], env=ENV, preexec_fn=limit, restore_signals=False,
                                  capture_output=True, text=True, timeout=TIMEOUT, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
            self.assertIn("full.gguf", done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.nothing_at(out)


class Facts(Case):
    def test_devices(self):
        devices = self.json("devices", "--json")
        self.assertTrue(devices)
        for device in devices:
            self.has(device, {"index": int, "name": str, "kind": str, "driver": str, "family": str, "tiers": str,
                              "usable": bool, "why_not": str, "vendor_id": int, "device_id": int, "api_version": str,
                              "subgroup_size": int, "heap_bytes": int, "budget_bytes": int, "uuid": str,
                              "max_buffer_range_bytes": int, "max_allocation_bytes": int})
            self.assertRegex(device["uuid"], r"^[0-9a-f]{32}$")
        out, err = self.ok("devices")
        self.assertEqual(err, "")
        self.assertIn(devices[0]["name"], out.decode())

    def test_device_selection(self):
        usable = [d for d in self.json("devices", "--json") if d["usable"]]
        for select in (str(usable[0]["index"]), usable[0]["uuid"], usable[0]["name"][:6].upper()):
            err = self.ok("run", MODEL, "-n", 1, "--device", select)[1]
            self.assertTrue(err.startswith("device: "), err)

    def test_info(self):
        fields = {"file": str, "name": str, "architecture": str, "file_type": str, "license": str, "parameters": int,
                  "file_bytes": int, "weight_bytes": int, "n_layers": int, "n_embd": int, "n_heads": int,
                  "n_kv_heads": int, "head_dim": int, "n_ff": int, "n_vocab": int, "n_ctx_train": int,
                  "token_bos": int, "token_eos": int, "token_unk": int, "tied_head": bool, "tokenizer": str,
                  "rope_scaling": str}
        info = self.json("info", MODEL, "--json")
        self.has(info, fields)
        self.assertEqual(info["file_bytes"], os.path.getsize(MODEL))
        loaded = self.json("info", MODEL, "--json", "--device", "auto")
        self.has(loaded, {**fields, "device": str})
        self.assertGreater(loaded["weight_bytes"], 0)
        self.assertGreater(loaded["n_layers"], 0)
        self.assertIn(info["architecture"], self.ok("info", MODEL)[0].decode())

    def test_plan(self):
        for args in (["--device", "navi31"], [], ["--rows", "32"], ["--no-fusion", "--device", "minimal"]):
            out, err = self.ok("plan", MODEL, *args)
            self.assertEqual(err, "")
            self.assertEqual(out, self.ok("plan", MODEL, *args)[0], "the same plan twice")
            self.assertIn(b"arena", out)
        self.assertIn(b"check: ok", self.ok("plan", MODEL, "--device", "navi31", "--check")[0])
        # cooperative matrices: only where there are some, and only once their quirk is off
        for device, quirk, chosen in (("navi31", "off", True), ("navi31", "on", False), ("navi21", "off", False)):
            out = self.ok("plan", MODEL, "--device", device, "--rows", "64", "--check", "--quirk",
                          f"coop-unproven={quirk}")[0]
            self.assertEqual(b"matmul_coop" in out, chosen)
        self.assertIn(b"matvec_q8_0_base", self.ok("plan", MODEL, "--device", "navi31", "--caps", "sub=0")[0])
        plan = self.json("plan", MODEL, "--device", "navi31", "--json")
        self.assertTrue(plan["steps"])
        self.has(plan["steps"][0], {"kernel": str, "label": str, "grid": list, "bindings": list, "barrier": bool})
        profiles = self.json("plan", "--profiles", "--json")
        self.assertEqual(profiles, self.ok("plan", "--profiles")[0].decode().split())
        self.assertIn("navi31", profiles)
        for profile in profiles:
            self.ok("plan", MODEL, "--device", profile, "--check")

    def test_sizes(self):
        for device, gbs in (("rtx-4090", 1008), ("raspberry-pi-5", 17.1)):
            text = self.ok("plan", MODEL, "--device", device, "--sizes")[0].decode()
            self.assertIn(f"at most {gbs} GB/s", text)
            sizes = self.json("plan", MODEL, "--device", device, "--sizes", "--json")
            self.assertEqual(sizes["bandwidth_gbs"], gbs)
            self.assertEqual(sizes["parameters"], self.json("info", MODEL, "--json")["parameters"])
            for line in sizes["formats"]: # no more than all weights and the cache are read
                whole = gbs * 1e9 / (line["weight_bytes"] + sizes["kv_bytes"])
                self.assertGreater(line["tokens_per_second"], 0.99 * whole)

    def test_sizes_of_caches(self):
        for k, v in (("f16", "f16"), ("q8_0", "q8_0"), ("q4_0", "f32")):
            args = "plan", MODEL, "--device", "rtx-4090", "-c", 512, "-ctk", k, "-ctv", v
            planned = int(re.search(r"KV cache: (\d+) bytes", self.ok(*args)[0].decode())[1])
            self.assertEqual(self.json(*args, "--sizes", "--json")["kv_bytes"], planned)

    def test_sizes_of_what_does_not_run(self):
        numbers = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96, "num_hidden_layers": 2,
                   "vocab_size": 40, "max_position_embeddings": 128}
        path = TMP / "alone.json"
        path.write_text(json.dumps({"model_type": "gpt2", "n_positions": 128, **numbers}))
        args = "plan", str(path), "--device", "rtx-4090", "--sizes"
        self.fails(1, *args, "-c", 129, words=("a context of 129 tokens", "128"))
        self.assertGreater(self.json(*args, "--json", "-c", 128)["activation_bytes"], 0)
        # more experts than run here: known by size alone
        path.write_text(json.dumps({"model_type": "mixtral", "num_local_experts": 600, "num_experts_per_tok": 2,
                                    **numbers}))
        self.assertRegex(self.ok(*args)[0].decode(), r"(?m)^activations: not counted, since .*expert_count")
        self.assertIsNone(self.json(*args, "--json")["activation_bytes"])
        self.fails(1, *args, "-c", 129, words=("a context of 129 tokens", "128"))

    def test_rotary_scaling(self):
        llama = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96, "num_hidden_layers": 2,
                 "vocab_size": 40, "max_position_embeddings": 128, "original_max_position_embeddings": 64}
        lists = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
        path = TMP / "alone.json"
        for family, scaling, shown in (("llama", None, "none"),
                                       ("llama", {"type": "dynamic", "factor": 2.0}, "dynamic"),
                                       ("llama", {"type": "linear", "factor": 2.0}, "linear"),
                                       ("phi3", {"type": "longrope", **lists}, "longrope"),
                                       ("phi3", {"rope_type": "su", **lists}, "longrope")):
            path.write_text(json.dumps({"model_type": family, "rope_scaling": scaling, **llama}))
            self.assertEqual(self.json("info", str(path), "--json")["rope_scaling"], shown)
            self.assertRegex(self.ok("info", str(path))[0].decode(), rf"(?m)^rotary scaling +{shown}$")

    def test_plan_of_several(self):
        n = self.json("info", MODEL, "--json")["n_layers"]
        plan = self.json("plan", MODEL, "--device", "navi31,intel-a770,rtx-4090", "--rows", 8, "--check", "--json")
        fields = {"device": str, "first_layer": int, "n_layers": int, "weight_bytes": int, "kv_bytes": int,
                  "activation_bytes": int, "bytes_per_row": int, "plan": dict}
        for part in plan["parts"]:
            self.has(part, fields)
        self.assertEqual([p["bytes_per_row"] > 0 for p in plan["parts"]], [True, True, False])
        self.assertEqual(sum(p["n_layers"] for p in plan["parts"]), n)
        plan = self.json("plan", MODEL, "--device", "navi31,navi31", "--split", f"1,{n - 1}", "--json")
        self.assertEqual([p["first_layer"] for p in plan["parts"]], [0, 1])
        out = self.ok("plan", MODEL, "--device", "navi31,navi31", "--split", f"1,{n - 1}", "--check")[0].decode()
        self.assertIn("part 0: layers 0 to 0 on", out)
        self.assertEqual(out.count("check: ok"), 4)
        self.fails(1, "plan", MODEL, "--device", "navi31,navi31", "--split", f"1,{n}", words=("but the model has",))
        self.fails(2, "plan", MODEL, "--device", "navi31,navi31", "--sizes", words=("one device",))


class Text(Case):
    TEXTS = ("Once upon a time", "Tom and Lily went home.", "  two blanks", "a\nb\n\n", "x", "", "Grüße, 世界 🙂!")

    def ids(self, text, *args):
        out = self.ok("tokenize", MODEL, *args, stdin=text.encode())[0].decode()
        self.assertRegex(out, r"^(\d+( \d+)*)?\n$")
        return [int(word) for word in out.split()]

    def test_round_trip(self):
        for text in self.TEXTS:
            with self.subTest(text=text):
                ids = self.ids(text)
                back = self.ok("tokenize", MODEL, "--decode", stdin=" ".join(map(str, ids)).encode())[0]
                self.assertEqual(back.decode(), text)
                value = self.json("tokenize", MODEL, "--json", stdin=text.encode())
                self.assertEqual((value["tokens"], value["text"]), (ids, text))
                value = self.json("tokenize", MODEL, "--json", "--decode", stdin=",".join(map(str, ids)).encode())
                self.assertEqual((value["tokens"], value["text"]), (ids, text))

    def test_special(self):
        info = self.json("info", MODEL, "--json")
        plain = self.ids("Once")
        with_bos = self.ids("Once", "--bos")
        self.assertIn(with_bos, ([info["token_bos"], *plain], plain, [info["token_bos"], *plain, info["token_eos"]]))
        self.assertGreaterEqual(len(self.ids("</s>")), len(self.ids("</s>", "--special")))

    def test_bytes_that_are_not_utf8(self):
        value = self.json("tokenize", MODEL, "--json", stdin=b"a\xff\xfeb\x00c")
        self.assertEqual(value["text"], "a\ufffd\ufffdb\0c")


class Run(Case):
    def run_json(self, *args):
        value = self.json("run", MODEL, "--json", "-q", *args)
        self.has(value, {"prompt": str, "prompt_tokens": list, "tokens": list, "text": str, "stop": str, "seed": int,
                         "timings": dict, "memory": dict, "device": str, "model": str})
        self.has(value["timings"], {"n_prompt_tokens": int, "n_decode_tokens": int, "load_ns": int, "prompt_ns": int,
                                    "decode_ns": int, "plan_ns": int, "pipeline_ns": int, "submit_cpu_ns": int,
                                    "prompt_tokens_per_second": float, "decode_tokens_per_second": float})
        return value

    def test_the_ways_of_asking_agree(self):
        prompt = "Once upon"
        value = self.run_json("-p", prompt, "-n", 24, "--temp", 0, "--ignore-eos")
        self.assertEqual((len(value["tokens"]), value["stop"], value["prompt"]), (24, "length", prompt))
        out, err = self.ok("run", MODEL, "-p", prompt, "-n", 24, "--temp", 0, "--ignore-eos")
        self.assertEqual(out.decode(), prompt + value["text"], "standard output holds nothing but the text")
        self.assertTrue(err.startswith("device: ") and err.count("\n") == 1, err)
        out, err = self.ok("run", MODEL, "-p", prompt, "-n", 24, "--temp", 0, "--ignore-eos", "--no-echo", "-q")
        self.assertEqual((out.decode(), err), (value["text"], ""))
        path = TMP / "prompt.txt"
        path.write_text(prompt + "\n")
        ids = ",".join(map(str, value["prompt_tokens"]))
        for same in (["-f", path], ["--tokens", ids]):
            again = self.run_json(*same, "-n", 24, "--temp", 0, "--ignore-eos")
            self.assertEqual((again["tokens"], again["text"], again["prompt"]),
                             (value["tokens"], value["text"], prompt), same)
        self.assertEqual(self.ok("run", MODEL, "-f", "-", "-q", "-n", 24, "--temp", 0, "--ignore-eos",
                                 stdin=prompt.encode())[0].decode(), prompt + value["text"])

    def test_text_is_that_of_the_tokens(self):
        """Prompt and continuation together are what the tokens mean: no blank is lost where they meet."""
        value = self.run_json("-p", "Once upon", "-n", 12, "--temp", 0, "--ignore-eos")
        ids = " ".join(map(str, value["prompt_tokens"] + value["tokens"]))
        whole = self.ok("tokenize", MODEL, "--decode", stdin=ids.encode())[0].decode()
        self.assertEqual(value["prompt"] + value["text"], whole)

    def test_empty_prompt_is_bos(self):
        bos = self.json("info", MODEL, "--json")["token_bos"]
        value = self.run_json("-n", 4, "--temp", 0)
        self.assertEqual(value["prompt_tokens"], [bos])
        self.assertEqual(value["tokens"], self.run_json("-n", 4, "--temp", 0, "--tokens", bos)["tokens"])

    def test_seed(self):
        sampling = ["-n", 16, "--temp", "0.9", "--top-k", 30, "--top-p", "0.9", "--min-p", "0.01", "--ignore-eos"]
        a = self.run_json(*sampling, "--seed", 7)
        self.assertEqual(a["seed"], 7)
        self.assertEqual(a["tokens"], self.run_json(*sampling, "--seed", 7)["tokens"])
        others = [self.run_json(*sampling, "--seed", s)["tokens"] for s in range(8, 12)]
        self.assertTrue(any(tokens != a["tokens"] for tokens in others))
        err = self.ok("run", MODEL, "-n", 2, "--timings", "-q")[1]
        seed = re.search(r"^seed: (\d+)$", err, flags=re.M)
        self.assertTrue(seed, err)
        self.assertLess(int(seed[1]), 2**32)

    def test_options_that_keep_the_tokens(self):
        base = ["-n", 12, "--temp", 0, "-ctk", "f32", "-ctv", "f32", "-p", "Once upon a time there was"]
        want = self.run_json(*base)["tokens"]
        for more in (["--no-fusion"], ["-b", 3], ["-c", 64], ["--no-cache"], ["--top-k", 1, "--temp", 1]):
            self.assertEqual(self.run_json(*base, *more)["tokens"], want, more)

    def test_several_devices_keep_the_tokens(self):
        n = self.json("info", MODEL, "--json")["n_layers"]
        base = ["-n", 12, "--temp", 0, "-ctk", "f32", "-ctv", "f32", "-b", 3, "-p", "Once upon a time there was"]
        want = self.run_json(*base)["tokens"]
        for more in (["--device", "0,0"], ["--device", "0,0,0", "--split", f"1,{n - 2},1"]):
            self.assertEqual(self.run_json(*base, *more)["tokens"], want, more)
        err = self.ok("run", MODEL, "-n", 1, "--device", "0,0", "--split", f"1,{n - 1}")[1]
        self.assertEqual(err.count("device: "), 2, err)
        self.assertIn("layers 0 to 0,", err)
        self.fails(2, "run", MODEL, "--device", "0,0", "--split", n, words=("each of the 2 devices",))
        tests = self.json("bench", MODEL, "-p", 24, "-n", 2, "-b", 3, "-r", 1, "--device", "0,0", "--json")
        self.assertEqual([0 < t["devices_at_work"] <= 2 for t in tests], [True, True], tests)
        self.assertLess(tests[1]["devices_at_work"], 1, "a token goes round")
        self.assertNotIn("devices_at_work", self.json("bench", MODEL, "-p", 0, "-n", 1, "-r", 1, "--json")[0])
        self.fails(2, "run", MODEL, "--device", "0,", words=("comma",))
        self.fails(1, "run", MODEL, "--device", "0,0", "--split", f"{n},{n}", words=("but the model has",))

    def test_beams(self):
        base = ["-n", 16, "-ctk", "f32", "-ctv", "f32", "-p", "Once upon a time there was", "--ignore-eos"]
        greedy = self.run_json(*base, "--temp", 0)
        self.assertIsNone(greedy["beam_score"])
        one, four = self.run_json(*base, "--beams", 1), self.run_json(*base, "--beams", 4)
        self.assertEqual((one["tokens"], one["text"], one["stop"]), (greedy["tokens"], greedy["text"], "length"))
        self.assertGreaterEqual(four["beam_score"], one["beam_score"])
        self.assertEqual(len(four["tokens"]), 16)
        out = self.ok("run", MODEL, *base, "--beams", 4, "-q")[0].decode()
        self.assertEqual(out, four["prompt"] + four["text"])
        runs = self.run_json(*base, "--beams", 3, "--no-repeat-ngram", 1)
        self.assertEqual(len(set(runs["tokens"])), 16)
        self.fails(2, "run", MODEL, "--length-penalty", 2, words=["--beams"])
        self.fails(2, "run", MODEL, "--beams", 0)
        self.fails(1, "run", MODEL, "--beams", 300, words=["256"])
        split = self.run_json(*base, "--beams", 4, "--device", "0,0")
        self.assertEqual(split["tokens"], four["tokens"])

    def test_context_ends_the_text(self):
        value = self.run_json("-c", 32, "-n", 1000, "--temp", 0, "--ignore-eos")
        self.assertEqual(len(value["prompt_tokens"]) + len(value["tokens"]), 32)
        self.assertEqual(value["stop"], "context")

    def test_software_device_says_so_once(self):
        kind = self.json("devices", "--json")
        if any(d["usable"] and d["kind"] != "software" for d in kind):
            self.skipTest("there is a GPU")
        err = self.ok("run", MODEL, "-n", 1)[1]
        self.assertEqual((err.count("\n"), err.count("no usable GPU")), (1, 1), err)
        self.assertNotIn("no usable GPU", self.ok("run", MODEL, "-n", 1, "--device", "cpu")[1])

    def test_logits(self):
        n_vocab = self.json("info", MODEL, "--json")["n_vocab"]
        path = TMP / "logits.f32"
        path.write_bytes(b"old")
        out, err = self.ok("logits", MODEL, "--tokens", "1,5,6,7", "-o", path, "-q")
        self.assertEqual((out, err), (b"", ""))
        data = path.read_bytes()
        self.assertEqual(len(data), 4 * n_vocab * 4)
        self.assertEqual(sorted(p.name for p in TMP.glob("logits.f32*")), ["logits.f32"], "no temporary is left")
        rows = [struct.unpack_from(f"<{n_vocab}f", data, i * n_vocab * 4) for i in range(4)]
        self.assertTrue(all(abs(x) < 1e6 for row in rows for x in row))
        best = max(range(n_vocab), key=rows[3].__getitem__)
        self.assertEqual([best], self.run_json("--tokens", "1,5,6,7", "-n", 1, "--temp", 0)["tokens"])
        value = self.json("logits", MODEL, "--tokens", "1,5", "-o", path, "--json", "-q")
        self.assertEqual((value["rows"], value["n_vocab"], value["type"]), (2, n_vocab, "f32le"))
        self.ok("logits", MODEL, "--tokens", "1", "-o", "/dev/null", "-q")
        self.assertFalse(os.path.isfile("/dev/null"))


class Measure(Case):
    def test_bench_table(self):
        out, _ = self.ok("bench", MODEL, "-p", "16,8", "-n", 4, "-r", 2)
        lines = out.decode().splitlines()
        self.assertEqual(len(lines), 5, lines)
        names = [cell.strip() for cell in lines[0].strip("|").split("|")]
        self.assertEqual(names, ["model", "size", "params", "backend", "test", "t/s", "host us/t", "output"])
        self.assertRegex(lines[1], r"^(\| -+:? )+\|$")
        self.assertEqual([line.split("|")[5].strip() for line in lines[2:]], ["pp16", "pp8", "tg4"])
        for line in lines[2:]:
            self.assertRegex(line.split("|")[6].strip(), r"^\d+\.\d\d ± \d+\.\d\d$")
            self.assertEqual(len(line), len(lines[0]), "the columns stand below each other")
            self.assertRegex(line.split("|")[8].strip(), r"^[0-9a-f]{16}$")
        head = self.ok("bench", MODEL, "-p", 4, "-n", 0, "-r", 1, "-ctk", "f32", "-b", 64)[0].decode().splitlines()[0]
        self.assertIn("type_k", head)
        self.assertIn("n_batch", head)

    def test_bench_json(self):
        tests = self.json("bench", "-m", MODEL, MODEL, "-p", 8, "-n", 4, "-r", 3, "-o", "json", "--seed", 3)
        self.assertEqual([(t["n_prompt"], t["n_gen"]) for t in tests], [(8, 0), (0, 4)] * 2)
        for t in tests:
            self.has(t, {"build_commit": str, "build_number": int, "cpu_info": str, "gpu_info": str, "backends": str,
                         "model_filename": str, "model_type": str, "model_size": int, "model_n_params": int,
                         "n_batch": int, "n_ubatch": int, "type_k": str, "type_v": str, "activations": str,
                         "n_depth": int, "test_time": str, "avg_ns": int, "stddev_ns": int, "avg_ts": float,
                         "stddev_ts": float, "samples_ns": list, "samples_ts": list, "samples_cpu_ns": list,
                         "host_us_per_token": float, "output_hash": str})
            self.assertEqual((t["backends"], len(t["samples_ns"]), len(t["samples_ts"])), ("Vulkan", 3, 3))
            self.assertRegex(t["test_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            mean = sum(t["samples_ns"]) / 3
            self.assertAlmostEqual(t["avg_ns"], mean, delta=1 + mean * 1e-6)
            for ns, ts in zip(t["samples_ns"], t["samples_ts"]):
                self.assertAlmostEqual(ts, (t["n_prompt"] + t["n_gen"]) * 1e9 / ns, delta=ts * 1e-6)
        self.assertEqual(tests[0]["output_hash"], tests[2]["output_hash"], "the same work gives the same tokens")
        self.assertGreater(tests[1]["host_us_per_token"], 0)
        two = self.json("bench", f"{MODEL},{MODEL}", "-p", 4, "-n", 0, "-r", 1, "--json")
        self.assertEqual(len(two), 2)

    def test_bench_roof(self):
        limits = {"read_bytes": int, "read_gbs": float, "read_through": str, "storage_gbs": float, "texel_gbs": float,
                  "f32_gflops": float, "f16_gflops": float, "dot8_gops": float,
                  "dispatch_us": float, "barrier_us": float, "submit_us": float, "submit_wait_us": float}
        tests = self.json("bench", MODEL, "--roof", "-p", 4, "-n", 2, "-r", 1, "--json")
        for t in tests:
            self.has(t["roof"], limits)
            self.assertGreater(min(t["roof"]["read_gbs"], t["roof"]["f32_gflops"], t["roof"]["submit_us"]), 0)
            self.assertGreaterEqual(min(t["roof"]["dispatch_us"], t["roof"]["barrier_us"]), 0)
            self.assertEqual(t["roof"]["read_gbs"], max(t["roof"]["storage_gbs"], t["roof"]["texel_gbs"]))
            self.assertEqual(t["roof"]["read_gbs"], t["roof"][f"{t['roof']['read_through']}_gbs"])
            self.assertTrue(0 < t["share_of_limit"] < 1.5, t["share_of_limit"])
        head, rule, first, *rest = self.ok("bench", "--roof")[0].decode().splitlines()
        self.assertIn("limit of the device", head)
        self.assertRegex(first, r"^\| memory read, GB/s +\| +\d+\.\d\d \|$")
        names = [row.split("|")[1].strip() for row in rest if row]
        for name in ("by storage buffers", "dispatch, us", "barrier, us", "submit, us", "submit and wait, us"):
            self.assertIn(name, names)
        self.assertEqual("by texel buffers" in names, t["roof"]["texel_gbs"] > 0)
        alone = self.json("bench", "--roof", "--disable", "texel", "--json")[0]
        self.assertEqual((alone["texel_gbs"], alone["read_through"]), (0, "storage"))

    def test_profile(self):
        trace = TMP / "trace.json"
        value = self.json("profile", MODEL, "-n", 3, "--trace", trace, "--json", "-q")
        self.assertEqual((value["prefill"]["tokens"], value["decode"]["tokens"]), (32, 3))
        for phase in ("prefill", "decode"):
            kernels, total = value[phase]["kernels"], value[phase]["total"]
            self.assertTrue(kernels)
            for kernel in [*kernels, total]:
                self.has(kernel, {"kernel": str, "calls": int, "total_ns": int, "mean_ns": float, "bytes": int,
                                  "flops": int, "gb_per_s": float, "gflop_per_s": float, "share_percent": float})
            self.assertEqual(sum(k["total_ns"] for k in kernels), total["total_ns"])
            self.assertEqual(sum(k["calls"] for k in kernels), total["calls"])
            self.assertAlmostEqual(sum(k["share_percent"] for k in kernels), 100, delta=0.01)
            shares = [k["share_percent"] for k in kernels]
            self.assertEqual(shares, sorted(shares, reverse=True))
        events = json.loads(trace.read_text())["traceEvents"]
        self.assertEqual(len(events), value["prefill"]["total"]["calls"] + value["decode"]["total"]["calls"])
        for event in events:
            self.has(event, {"name": str, "ph": str, "ts": float, "dur": float, "pid": int, "tid": int, "cat": str})
            self.has(event["args"], {"label": str, "layer": int, "bytes": int, "flops": int})
            self.assertEqual(event["ph"], "X")
            self.assertGreaterEqual(event["dur"], 0)
        begins = [event["ts"] for event in events if event["cat"] == "decode"]
        self.assertGreater(begins[0], events[0]["ts"])
        table = self.ok("profile", MODEL, "-p", "Once upon a time", "-n", 2)[0].decode()
        self.assertEqual([line.split()[0] for line in table.splitlines()
                          if line.startswith(("prefill", "decode", "total"))],
                         ["prefill:", "total", "decode:", "total"])


class Encoder(Case):
    """Commands that measure, on a model whose prompt goes to an encoder."""

    def setUp(self):
        self.model = pathlib.Path(os.environ.get("PUMICE_TEST_DATA", "/nonexistent")) / "golden/flan_t5"
        if not self.model.is_dir():
            self.skipTest("no test data (set PUMICE_TEST_DATA)")

    def test_bench(self):
        tests = self.json("bench", self.model, "-p", "16,4", "-n", 4, "-r", 2, "--roof", "--json")
        self.assertEqual([(t["n_prompt"], t["n_gen"]) for t in tests], [(16, 0), (4, 0), (0, 4)])
        self.assertEqual(len({t["output_hash"] for t in tests}), 3, "the decoder saw what the encoder read")
        self.assertEqual([t["share_of_limit"] > 0 for t in tests], [False, False, True])
        self.ok("bench", self.model, "-p", 512, "-n", 0, "-r", 1)  # what the encoder reads fills its context

    def test_profile(self):
        value = self.json("profile", self.model, "-n", 3, "--json", "-q")
        self.assertEqual([(value[p]["tokens"], value[p]["passes"]) for p in ("prefill", "decode")], [(32, 1), (3, 3)])

    def test_warmup(self):
        self.assertGreater(self.json("warmup", self.model, "--json", "-q")["total_ms"], 0)

    def test_chat(self):
        self.fails(1, "chat", self.model, "-q", stdin=b"Hello\n", words=("flan_t5", "encoder", "pumice run"))

    def test_plan_of_several(self):
        args = ["plan", self.model, "--device", "navi31,intel-a770", "--split", "2,3", "--check"]
        for more, plans in (([], [False, True]), (["--encoder"], [True, True])):
            parts = self.json(*args, *more, "--json")["parts"]
            self.assertEqual([p["plan"] is not None for p in parts], plans)
            self.assertEqual([(p["n_encoder_layers"], p["n_layers"]) for p in parts], [(2, 0), (0, 3)])
        out = self.ok(*args)[0].decode()
        self.assertIn("part 0: encoder layers 0 to 1 on", out)
        self.assertIn("has no part in this pass", out)
        self.assertIn("part 1: decoder layers 0 to 2 on", out)
        self.assertEqual(out.count("check: ok"), 2)
        out = self.ok("plan", self.model, "--device", "navi31,navi31", "--split", "3,2", "--check")[0].decode()
        self.assertIn("part 0: encoder layers 0 to 1 and decoder layers 0 to 0 on", out)
        self.fails(1, "plan", self.model, "--device", "navi31,navi31", "--split", "3,3",
                   words=("6 layers to 2 devices", "has 5, 2 of them its encoder's"))

    def test_several(self):
        run = ["run", self.model, "--tokens", "9,8,7,6,5,4", "-n", 8, "--temp", 0, "-ctk", "f32", "-ctv", "f32",
               "--json"]
        score = ["score", self.model, "--encoder-tokens", "9,8,7,6", "--tokens", "0,5,6,7", "--json"]
        want = self.json(*run)["tokens"]
        self.assertEqual(self.json(*run, "--device", "0,0", "--split", "1,4")["tokens"], want)
        bits = [self.json(*score, *more)["perplexity"]["value"] for more in ([], ["--device", "0,0"])]
        self.assertAlmostEqual(bits[0], bits[1], delta=1e-3 * bits[0])
        err = self.ok(*run, "--device", "0,0", "--split", "1,4")[1]
        self.assertRegex(err, r": encoder layers 0 to 0, [0-9.]+ \w+ of weights")
        self.assertRegex(err, r": encoder layers 1 to 1, decoder layers 0 to 2, [0-9.]+ \w+ of weights")
        value = self.json("profile", self.model, "-n", 3, "--json", "-q", "--device", "0,0")
        self.assertEqual([(value[p]["tokens"], value[p]["passes"]) for p in ("prefill", "decode")], [(32, 1), (3, 3)])


class Interrupt(Case):
    def start(self, *args):
        return subprocess.Popen([PUMICE, *map(str, args)], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=ENV)

    def test_run(self):
        want = self.ok("run", MODEL, "-q", "-n", 100000, "--ignore-eos", "--temp", 0)[0]
        for _ in range(5): # a fast device may be done before the signal comes
            process = self.start("run", MODEL, "-q", "-n", 100000, "--ignore-eos", "--temp", 0)
            first = process.stdout.read(1)
            process.send_signal(signal.SIGINT)
            rest, err = process.communicate(timeout=TIMEOUT)
            self.assertEqual(err, b"")
            self.assertTrue(want.startswith(first + rest), (first + rest)[-80:])
            if process.returncode == 130:
                self.assertLess(len(first + rest), len(want))
                return
            self.assertEqual(process.returncode, 0)
        self.skipTest("the device is too fast for this model")

    def test_bench(self):
        process = self.start("bench", MODEL, "-p", 0, "-n", 1, "-r", 10000000)
        process.stderr.read(8) # the device's line comes when work begins
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual((process.returncode, out, err.count(b"\n")), (130, b"", 1), err)

    def test_reading_input(self):
        process = self.start("tokenize", MODEL)
        text = memoryview(b"x" * (1 << 20)) # larger than a pipe: when it is written, the program is reading
        while text:
            text = text[process.stdin.write(text):]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual((process.returncode, out, err), (130, b"", b""))


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def main():
    global PUMICE, MODEL, TMP, ENV
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    PUMICE, MODEL = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    if not os.path.exists(PUMICE) or not os.path.exists(MODEL):
        skip("the program or the model is not there")
    with tempfile.TemporaryDirectory() as folder:
        TMP = pathlib.Path(folder)
        ENV = {"XDG_CACHE_HOME": str(TMP / "cache"), **os.environ}
        code, out, err = pumice("devices", "--json")
        if code == 1 and "no Vulkan" in err or code == 0 and not any(d["usable"] for d in json.loads(out)):
            skip(f"no usable Vulkan device: {err.strip()}")
        unittest.main(argv=[sys.argv[0], *sys.argv[3:]])


if __name__ == "__main__":
    main()
