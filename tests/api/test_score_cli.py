#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pumice score from outside: figures against those computed here from single likelihoods, windows, task files and
their faults, and the objectives of the other families on the golden and trained models (skipped where
PUMICE_TEST_DATA is absent). Usage: test_score_cli.py PUMICE MODEL.gguf. Exits 77 (skip) without a device."""
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import unittest

import test_cli as cli

TEXT = "Once upon a time, there was a little girl named Lily. She loved to play in the park.\nOne day it rained."


def commas(ids):
    return ",".join(map(str, ids))


class Score(cli.Case):
    EXACT = ["-ctk", "f32", "-ctv", "f32", "-q", "--json"]

    def score(self, *args, model=None):
        return self.json("score", model or cli.MODEL, *self.EXACT, *args)

    def tasks(self, lines, *args, model=None):
        path = cli.TMP / "tasks.jsonl"
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return self.score("--tasks", path, *args, model=model)

    def ids(self, text):
        return self.json("tokenize", cli.MODEL, "--json", stdin=text.encode())["tokens"]

    def check_figures(self, value, logprobs):
        n, mean = len(logprobs), -sum(logprobs) / len(logprobs)
        error = math.sqrt(sum((x + mean) ** 2 for x in logprobs) / (n - 1) / n)
        self.assertEqual(value["n_scored"], n)
        self.assertAlmostEqual(value["loss"]["value"], mean, delta=1e-4)
        self.assertAlmostEqual(value["loss"]["stderr"], error, delta=1e-4)
        self.assertAlmostEqual(math.log(value["perplexity"]["value"]), mean, delta=1e-4)
        self.assertAlmostEqual(value["perplexity"]["stderr"], math.exp(mean) * error, delta=1e-3 * math.exp(mean))


class Texts(Score):
    def test_text_is_its_tokens_after_bos(self):
        bos = self.json("info", cli.MODEL, "--json")["token_bos"]
        ids = [bos, *self.ids(TEXT)]
        text, tokens = self.score("-p", TEXT), self.score("--tokens", commas(ids))
        self.assertEqual((text["objective"], text["n_windows"], text["n_tokens"]), ("causal", 1, len(ids) - 1))
        self.assertIsNone(tokens["logprobs"][0])
        self.check_figures(text, tokens["logprobs"][1:])
        self.check_figures(tokens, tokens["logprobs"][1:])
        bits = text["loss"]["value"] * text["n_scored"] / math.log(2) / len(TEXT.encode())
        self.assertAlmostEqual(text["bits_per_byte"], bits, delta=1e-6)
        path = cli.TMP / "text.txt"
        path.write_text(TEXT)
        self.assertEqual(self.score("-f", path)["loss"], text["loss"])
        for more in (["-b", 5], ["--no-fusion"]):
            self.assertAlmostEqual(self.score("-p", TEXT, *more)["loss"]["value"], text["loss"]["value"], delta=1e-4)

    def test_windows(self):
        """Each window scored by itself, cut here."""
        ids = self.ids(TEXT)
        for room, stride in ((16, 8), (12, 11)):
            want, end, begin = [None], 1, 0
            while end < len(ids):
                window = ids[begin:begin + room]
                want += self.score("--tokens", commas(window))["logprobs"][end - begin:]
                end, begin = begin + len(window), begin + stride
            got = self.score("--tokens", commas(ids), "-c", room, "--stride", stride)
            self.assertEqual(len(got["logprobs"]), len(ids))
            for a, b in zip(got["logprobs"][1:], want[1:]):
                self.assertAlmostEqual(a, b, delta=1e-3)
            self.check_figures(got, got["logprobs"][1:])
            self.assertEqual((got["window_tokens"], got["stride"]), (room, stride))

    def test_prefix_is_not_scored(self):
        value = self.score("--tokens", commas(self.ids(TEXT)), "--prefix", 10)
        self.assertEqual(value["objective"], "prefix")
        self.assertEqual([x is None for x in value["logprobs"][:11]], [True] * 10 + [False])
        value = self.score("-p", TEXT, "--prefix", 10, "-c", 16, "--stride", 4)
        self.assertGreater(value["n_windows"], 1)
        self.assertEqual(value["n_scored"], value["n_tokens"] - 9)  # BOS is one of the ten

    def test_interrupt(self):
        process = subprocess.Popen([cli.PUMICE, "score", cli.MODEL, "-f", "-", "-c", "64", "--stride", "1"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.ENV)
        process.stdin.write(TEXT.encode() * 500)
        process.stdin.close()
        process.stdin = None
        os.read(process.stderr.fileno(), 8)  # the device's line comes when work begins; not into a buffer
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=cli.TIMEOUT)
        self.assertEqual((process.returncode, out, err.count(b"\n")), (130, b"", 1), err)

    def test_people_can_read_it(self):
        out, err = self.ok("score", cli.MODEL, "-p", TEXT)
        for words in ("perplexity", "bits per byte", "tokens/s", "±"):
            self.assertIn(words, out.decode())
        self.assertTrue(err.startswith("device: ") and err.count("\n") == 1, err)


class Tasks(Score):
    CONTEXT = "Once upon a time, there was a little"
    CHOICES = [" stone", " girl", " xylophone"]

    def test_choices(self):
        """Likelihoods are those of the whole texts, less that of the context."""
        task = {"context": self.CONTEXT, "choices": self.CHOICES, "answer": 1, "id": "one"}
        other = {"context": self.CONTEXT, "choices": self.CHOICES, "answer": " xylophone"}
        value = self.tasks([task, "", other])
        bos = self.json("info", cli.MODEL, "--json")["token_bos"]
        want = []
        for choice in self.CHOICES:
            ids = [bos, *self.ids(self.CONTEXT + choice)]
            first = next(i for i, (a, b) in enumerate(zip(ids, [bos, *self.ids(self.CONTEXT), -1])) if a != b)
            want.append(sum(self.score("--tokens", commas(ids))["logprobs"][first:]))
        one, two = value["examples"]
        self.assertEqual((one["id"], two["id"]), ("one", 3))
        for a, b in zip(one["logprobs"], want):
            self.assertAlmostEqual(a, b, delta=2e-3)
        best = max(range(3), key=lambda i: want[i])
        self.assertEqual((one["chosen"], two["chosen"], one["answer"], two["answer"]), (best, best, 1, 2))
        per_byte = max(range(3), key=lambda i: want[i] / len(self.CHOICES[i]))
        self.assertEqual(one["chosen_per_length"], per_byte)
        weights = [math.exp(x - max(want)) for x in want]
        self.assertAlmostEqual(one["answer_probability"], weights[1] / sum(weights), delta=1e-3)
        figures = value["choices"]
        self.assertEqual(figures["n"], 2)
        self.assertEqual(figures["accuracy"], {"value": 0.5, "stderr": 0.5})
        self.assertIsNone(value["targets"])

    def test_targets(self):
        reply = self.json("run", cli.MODEL, "-p", self.CONTEXT, "-n", 3, "--temp", 0, *self.EXACT)
        tokens = reply["prompt_tokens"]
        good = {"input_tokens": tokens, "target_tokens": reply["tokens"]}
        bad = {"input_tokens": tokens, "target_tokens": [*reply["tokens"][:2], reply["tokens"][2] + 1]}
        value = self.tasks([good, bad], "-n", 3)
        self.assertEqual([e["exact_match"] for e in value["examples"]], [True, False])
        self.assertEqual([e["greedy_match"] for e in value["examples"]], [True, False])
        self.assertEqual(value["examples"][0]["reply_tokens"], reply["tokens"])
        self.assertAlmostEqual(value["targets"]["first_choice"]["value"], (1 + 2 / 3) / 2, delta=1e-9)
        ids = [*tokens, *reply["tokens"]]
        logprob = sum(self.score("--tokens", commas(ids))["logprobs"][len(tokens):])
        self.assertAlmostEqual(value["examples"][0]["logprob"], logprob, delta=1e-3)
        self.assertGreater(logprob / 3, value["examples"][1]["logprob"] / 3)
        text = self.tasks([{"input": self.CONTEXT, "target": f" {reply['text'].strip()} "}], "-n", 3)
        self.assertEqual(text["targets"]["exact_match"]["value"], 1)
        self.assertEqual(text["examples"][0]["reply"], reply["text"])
        prefix = self.tasks([good], "--prefix", "all")
        self.assertEqual(prefix["objective"], "prefix")
        self.assertNotAlmostEqual(prefix["examples"][0]["logprob"], logprob, delta=1e-3)

    def test_faults_name_line_and_field(self):
        good = json.dumps({"input": "a", "target": "b"})
        for line, words in (('{"input": "a", "target": 3}', "'target'"), ('{"input": "a"', "not JSON"),
                            ('{"target": "b"}', "'input'"), ("[]", "not a JSON object"), ("{}", "'choices'"),
                            ('{"context": "a", "choices": ["b", "c"], "answer": 2}', "'answer'"),
                            ('{"context": "a", "choices": ["b", 1], "answer": 0}', "'choices'"),
                            ('{"context": "a", "choices": ["b", "c"], "answer": 0, "target": "b"}', "'target'"),
                            ('{"input": "a", "target_tokens": [5], "target": "b"}', "'target_tokens'"),
                            ('{"input": "a", "context": "a", "target": "b"}', "'context'"),
                            ('{"input": "a", "target_tokens": [99999]}', "'target_tokens' has token 99999"),
                            ('{"input_tokens": [1, 99999], "target_tokens": [1]}', "'input_tokens' has token 99999"),
                            ('{"input": "a", "target": ""}', "'target' has no token"),
                            ('{"context": "a", "choices": ["b", ""], "answer": 0}', "'choices' has no token")):
            path = cli.TMP / "bad.jsonl"
            path.write_text(f"{good}\n\n{line}\n")
            with self.subTest(line=line):
                self.fails(1, "score", cli.MODEL, "--tasks", path, words=["bad.jsonl", "line 3", words])
        path.write_text(json.dumps({"input_tokens": [5] * 9000, "target_tokens": [1]}))
        self.fails(1, "score", cli.MODEL, "--tasks", path, words=["bad.jsonl", "line 1", "9001", "context"])
        path.write_text("")
        self.fails(1, "score", cli.MODEL, "--tasks", path, words=["no task"])

    def test_usage(self):
        for args in ([], ["-p", "a", "--tasks", "x"], ["-p", "a", "-f", "b"], ["--tasks", "x", "--prefix", "3"],
                     ["--encoder-tokens", "1", "-p", "a"], ["--stride", "0", "-p", "a"], ["--tokens", "1,x"]):
            with self.subTest(args=args):
                self.fails(2, "score", cli.MODEL, *args)
        self.fails(2, "score", cli.MODEL, "-p", TEXT, "-c", 8, "--stride", 9, words=["--stride"])
        self.fails(2, "score", cli.MODEL, "--tokens", "1,2", "--encoder-tokens", "1", words=["encoder"])
        self.fails(1, "score", cli.MODEL, "--tokens", "1", words=["to score"])
        self.fails(1, "score", cli.MODEL, "--tasks", cli.TMP / "absent.jsonl", words=["absent.jsonl"])


class Families(Score):
    def setUp(self):
        self.data = pathlib.Path(os.environ.get("PUMICE_TEST_DATA", "/nonexistent"))
        if not self.data.is_dir():
            self.skipTest("no test data (set PUMICE_TEST_DATA)")

    def golden(self, name, case):
        folder = self.data / "golden" / name
        cases = json.loads((folder / "golden.json").read_text())["cases"]
        return folder, next(c for c in cases if c["name"] == case)

    def check(self, value, logprobs, loss):
        got = [x for x in value["logprobs"] if x is not None]
        self.assertEqual(len(got), len(logprobs))
        self.assertLess(max(abs(a - b) for a, b in zip(got, logprobs)), 2e-3)
        self.assertAlmostEqual(value["loss"]["value"], loss, delta=1e-4)

    def test_causal(self):
        folder, case = self.golden("gpt2", "long")
        value = self.score("--tokens", commas(case["input_ids"]), model=folder)
        self.check(value, case["token_logprob"], case["loss_all"])

    def test_prefix(self):
        folder, case = self.golden("chatglm_6b", "mask_mid")
        lm = case["lm"]
        value = self.score("--tokens", commas(lm["sequence"]), model=folder)
        self.check(value, lm["token_logprob"][-len(lm["target"]):], lm["loss_targets_after_sop"])
        folder, case = self.golden("palm", "short_prefix")
        lm = case["lm"]
        value = self.score("--tokens", commas(lm["sequence"]), "--prefix", case["prefix_len_mask"], model=folder)
        self.check(value, lm["token_logprob"][-len(lm["target"]):], lm["loss_targets"])

    def test_spans(self):
        folder, case = self.golden("flan_t5", "span_corruption")
        decoder = [*case["decoder_input_ids"], case["labels"][-1]]
        value = self.score("--tokens", commas(decoder), "--encoder-tokens", commas(case["input_ids"]), model=folder)
        self.assertEqual(value["objective"], "encoder-decoder")
        self.check(value, case["label_logprob"], case["loss"])
        text = commas(case["original_tokens"])
        sentinel = ["--sentinel", case["sentinel_first_id"]]
        a = self.score("--tokens", text, *sentinel, model=folder)
        self.assertEqual((a["objective"], a["n_windows"]), ("denoising", 1))
        self.assertEqual(a["n_scored"], 6 + 2 + 1 + 1)  # 15 % of 40 in two spans, their sentinels, the last, EOS
        self.assertEqual(a["loss"], self.score("--tokens", text, *sentinel, model=folder)["loss"])
        losses = {self.score("--tokens", text, *sentinel, "-s", s, model=folder)["loss"]["value"] for s in range(4)}
        self.assertGreater(len(losses), 1)
        self.fails(1, "score", folder, "--tokens", text, words=["sentinel"])
        self.fails(2, "score", folder, "--tokens", text, "--prefix", "3", words=["prefix"])

    def test_text_with_sentinels(self):
        """A T5 with a small tokenizer: its own sentinels and EOS; the same as from ids."""
        folder, _ = self.golden("t5_v10", "short")
        made = cli.TMP / "t5"
        made.mkdir()
        for name in ("config.json", "model.safetensors"):
            (made / name).symlink_to(folder / name)
        (made / "spiece.model").symlink_to(self.data / "tokenizers/spm_small/seqio_sentencepiece.model")
        (made / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 100}')
        text = "this is a test of that " * 8
        ids = self.json("tokenize", made, "--json", stdin=text.encode())["tokens"]
        [sentinel] = self.json("tokenize", made, "--json", "--special", stdin=b"<extra_id_0>")["tokens"]
        value = self.score("-p", text, model=made)
        self.assertEqual((value["objective"], value["n_tokens"]), ("denoising", len(ids)))
        again = self.score("--tokens", commas(ids), "--sentinel", sentinel, model=made)
        self.assertEqual((again["n_scored"], again["loss"]), (value["n_scored"], value["loss"]))
        # tokens that only the matrix has, 126 to 383, have no text; this model's beams have some
        beams = self.json("run", made, "-p", text, "-n", 8, "--beams", 2, "--ignore-eos", "--json", "-q")
        self.assertTrue(len(beams["tokens"]) == 8 and max(beams["tokens"]) > 125)
        one = self.tasks([{"input": "this is <extra_id_0> test", "target": "<extra_id_0> a"}], model=made)
        [example] = one["examples"]
        target = self.json("tokenize", made, "--json", "--special", "--bos", stdin=b"<extra_id_0> a")["tokens"]
        self.assertEqual(example["n_tokens"], len(target))
        given = self.json("tokenize", made, "--json", "--special", "--bos",
                          stdin=b"this is <extra_id_0> test")["tokens"]
        single = self.score("--tokens", commas([0, *target]), "--encoder-tokens", commas(given), model=made)
        self.assertAlmostEqual(example["logprob"], -single["loss"]["value"] * len(target), delta=1e-3)

    def test_trained(self):
        """They were trained to do it: what they answered in the reference they answer here, and find likely."""
        for name, more in (("t5_strings", []), ("palm_strings", ["--prefix", "all"]), ("chatglm_6b_strings", [])):
            folder = self.data / "trained" / name
            cases = json.loads((folder / "golden.json").read_text())["cases"]
            lines = [{"input_tokens": c.get("input_ids", c.get("prompt_ids")), "target_tokens": c["output"],
                      "id": c["name"]} for c in cases]
            value = self.tasks(lines, *more, model=folder)
            self.assertEqual(value["targets"]["n"], len(cases))
            for figure in ("exact_match", "greedy_match", "first_choice"):
                self.assertEqual(value["targets"][figure], {"value": 1, "stderr": 0}, name)
            self.assertGreater(value["targets"]["logprob_per_token"]["value"], -0.1)
            one = cases[0]["output"]
            wrong = [one[1], one[0], *one[2:]]
            value = self.tasks([{"context_tokens": lines[0]["input_tokens"], "choices_tokens": [wrong, one],
                                 "answer": 1}], *more, model=folder)
            self.assertEqual(value["choices"]["accuracy"]["value"], 1, name)
            self.assertGreater(value["choices"]["answer_probability"]["value"], 0.99)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    cli.main()
