#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Pumice beside the strongest other engine, on the same files and the same Vulkan driver.

The peer is llama.cpp as npm's node-llama-cpp ships it: its Vulkan backend, and for scale its
native CPU backend.  The models are made by tools/make_model.py (random weights, fixed seed).  All
engines are measured in turn, round by round, so that what else the machine does hits all alike;
ratios are medians over rounds of what one round gave.  Since a software device shares the CPU with
everybody, CPU time stands beside wall time.

    bench/peer/compare.py --models 15m:q8_0,15m:f16 --rounds 3 --out build/peer

installs the peer (into bench/peer/node_modules), makes what models are missing, measures, and
writes peer.md and peer.json.
"""
import argparse
import array
import itertools
import json
import os
import pathlib
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENGINES = {"pumice": "Pumice", "vulkan": "peer, Vulkan", "cpu": "peer, native CPU"}
MEASURES = ["decode", "prefill 128", "prefill 512", "first token, cold", "first token, warm"]
VOCABULARY = 32000
FIRST_WORD = 300  # ids below stand for bytes, characters and control tokens


# ---- processes ----

class Run:
    """One process: when its output began and each line of it came, its exit and its CPU time."""

    def __init__(self, command, environment, limit_s):
        self.lines = []
        begin = time.monotonic()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=environment, cwd=HERE, text=True, errors="replace")
        errors = []
        reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
        reader.start()
        self.timed_out = False
        timer = threading.Timer(limit_s, self.stop, [process])
        timer.start()
        head = process.stdout.read(1)
        self.first_s = time.monotonic() - begin
        for line in itertools.chain([head + process.stdout.readline()], process.stdout):
            self.lines.append((time.monotonic() - begin, line))
        self.code = process.wait()
        self.wall_s = time.monotonic() - begin
        timer.cancel()
        reader.join()
        self.errors = errors[0] if errors else ""
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_s = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)

    def stop(self, process):
        self.timed_out = True
        process.kill()

    def fault(self):
        """Why there are no results, in a few words; empty when there are."""
        if self.timed_out:
            return f"stopped after {self.wall_s:.0f} s"
        if self.code < 0:
            return f"crashed with signal {-self.code}"
        if self.code:
            last = (self.errors.strip().splitlines() or [""])[-1]
            return f"failed with code {self.code}: {last[:160]}"
        return ""


def environment(args, cache):
    """The driver, and caches of this comparison alone."""
    env = dict(os.environ, XDG_CACHE_HOME=str(cache), MESA_SHADER_CACHE_DIR=str(cache),
               GGML_VK_VISIBLE_DEVICES=str(args.peer_device))
    env.pop("MESA_SHADER_CACHE_DISABLE", None)
    if args.icd:
        env["VK_ICD_FILENAMES"] = env["VK_DRIVER_FILES"] = args.icd
    return env


# ---- what is measured ----

class Results:
    """Samples by (model, engine, measure): {"value": of the wall clock, "cpu": CPU seconds}."""

    def __init__(self):
        self.samples = {}
        self.faults = {}
        self.greedy = {}
        self.devices = {}

    def add(self, model, engine, measure, rnd, value, cpu):
        self.samples.setdefault((model, engine, measure), []).append(
            {"round": rnd, "value": value, "cpu_s": cpu})

    def fault(self, model, engine, text):
        if text:
            self.faults.setdefault((model, engine), []).append(text)
            print(f"  {model} {ENGINES[engine]}: {text}", file=sys.stderr)


def prompt_of(count, seed):
    rng = random.Random(seed)
    return [1] + [rng.randrange(FIRST_WORD, VOCABULARY) for _ in range(count - 1)]


def peer(args, path, engine, cache, **what):
    job = {"model": str(path), "backend": engine, "threads": args.threads, "prefill": [],
           "decode": 0, "repeat": 1, "greedy": 1, "prompt": prompt_of(args.prompt, 1)}
    job.update(what)
    return Run(["node", str(HERE / "peer.mjs"), json.dumps(job)], environment(args, cache),
               args.limit)


def peer_speed(args, results, model, path, engine, rnd, cache):
    """Prefill and decode of the peer, and the greedy tokens."""
    native = engine == "cpu"
    run = peer(args, path, engine, cache, greedy=args.greedy, repeat=args.repeat,
               decode=args.decode if native else args.peer_decode,
               prefill=[prompt_of(n, 2) for n in args.prefill])
    for _, line in run.lines:
        try:
            item = json.loads(line)
        except ValueError:
            continue
        if item["what"] in ("decode", "prefill"):
            name = "decode" if item["what"] == "decode" else f"prefill {item['n']}"
            results.add(model, engine, name, rnd, item["n"] * 1e9 / item["ns"],
                        item["cpu_ns"] / 1e9 / item["n"])
        elif item["what"] == "greedy":
            results.greedy[model, engine] = item["tokens"]
        elif item["what"] == "ready":
            results.devices[engine] = item["device"]
        elif item["what"] == "error":
            results.fault(model, engine, item["text"])
    results.fault(model, engine, run.fault())


def peer_first(args, results, model, path, engine, rnd, cache, measure):
    """Process start to the first token; what the process does after it is not counted."""
    run = peer(args, path, engine, cache)
    first = [at for at, line in run.lines if '"first"' in line]
    if first:
        results.add(model, engine, measure, rnd, first[0], run.cpu_s)
    results.fault(model, engine, run.fault())


def pumice_speed(args, results, model, path, rnd, cache):
    env = environment(args, cache)
    run = Run([args.pumice, "bench", str(path), "-p", ",".join(map(str, args.prefill)), "-n",
               str(args.decode), "-r", str(args.repeat), "-b", str(max(args.prefill)), "-o",
               "json", "-q"], env, args.limit)
    results.fault(model, "pumice", run.fault())
    if run.code == 0:
        for row in json.loads("".join(line for _, line in run.lines)):
            results.devices["pumice"] = row["gpu_info"]
            count = row["n_prompt"] or row["n_gen"]
            name = f"prefill {count}" if row["n_prompt"] else "decode"
            cpu = row.get("samples_cpu_ns") or [0] * len(row["samples_ts"])
            for speed, cpu_ns in zip(row["samples_ts"], cpu):
                results.add(model, "pumice", name, rnd, speed, cpu_ns / 1e9 / count)
    run = pumice_run(args, path, args.greedy, env, "--json")
    if run.code == 0:
        text = "".join(line for _, line in run.lines)
        results.greedy[model, "pumice"] = json.loads(text)["tokens"]


def pumice_run(args, path, count, env, *options):
    return Run([args.pumice, "run", str(path), "--tokens",
                ",".join(map(str, prompt_of(args.prompt, 1))), "-n", str(count), "--temp", "0",
                "--ignore-eos", "-q", *options], env, args.limit)


def pumice_first(args, results, model, path, rnd, cache, measure):
    """Process start to the first token's text, as of the peer; CPU time is of the whole process."""
    run = pumice_run(args, path, 1, environment(args, cache))
    results.fault(model, "pumice", run.fault())
    if run.code == 0:
        results.add(model, "pumice", measure, rnd, run.first_s, run.cpu_s)


def measure_round(args, results, model, path, rnd, cache_of):
    for engine in args.engines:
        speed = pumice_speed if engine == "pumice" else peer_speed
        first = pumice_first if engine == "pumice" else peer_first
        extra = () if engine == "pumice" else (engine,)
        if rnd < args.first_rounds:
            shutil.rmtree(cache_of[engine], ignore_errors=True)
            for measure in MEASURES[3:]:
                cache_of[engine].mkdir(parents=True, exist_ok=True)
                first(args, results, model, path, *extra, rnd, cache_of[engine], measure)
        if not args.first_only:
            speed(args, results, model, path, *extra, rnd, cache_of[engine])
        print(f"  round {rnd + 1} of {model}: {ENGINES[engine]} done", file=sys.stderr)


# ---- the table ----

def better(measure, mine, other):
    """How many times better; of times the smaller is the better."""
    if not mine or not other:
        return None
    return other / mine if measure.startswith("first") else mine / other


def ratio(results, model, measure, other, key):
    """Median over rounds of Pumice against the other in the same round."""
    def by_round(engine):
        rounds = {}
        for s in results.samples.get((model, engine, measure), []):
            rounds.setdefault(s["round"], []).append(s[key])
        return {r: statistics.median(v) for r, v in rounds.items()}
    mine, theirs = by_round("pumice"), by_round(other)
    kind = "first" if key == "cpu_s" else measure  # CPU seconds: the fewer the better
    found = [better(kind, mine[r], theirs[r]) for r in mine if r in theirs]
    found = [f for f in found if f]
    return statistics.median(found) if found else None


def cell(samples, unit):
    if not samples:
        return "—"
    values = [s["value"] for s in samples]
    digits = 2 if max(values) < 10 else 1 if max(values) < 1000 else 0
    text = f"{statistics.median(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f}–{max(values):.{digits}f})"
    return text + unit


def margin(args, path, tokens, one, other):
    """How far apart two tokens' logits are after these tokens, as a part of the logits' spread."""
    with tempfile.NamedTemporaryFile() as file:
        run = Run([args.pumice, "logits", str(path), "--tokens", ",".join(map(str, tokens)), "-o",
                   file.name, "-q"], environment(args, pathlib.Path(tempfile.gettempdir())),
                  args.limit)
        rows = array.array("f")
        rows.frombytes(pathlib.Path(file.name).read_bytes() if run.code == 0 else b"")
    if not rows:
        return None
    last = rows[-(len(rows) // len(tokens)):]
    return abs(last[one] - last[other]) / statistics.pstdev(last)


def same_tokens(args, results, model, path):
    """A sentence on the greedy tokens of all engines."""
    mine = results.greedy.get((model, "pumice"))
    parts = []
    for engine in ("vulkan", "cpu"):
        theirs = results.greedy.get((model, engine))
        if not mine or not theirs:
            continue
        n = min(len(mine), len(theirs))
        same = next((i for i in range(n) if mine[i] != theirs[i]), n)
        if same == n:
            parts.append(f"{ENGINES[engine]}: all {n} alike")
            continue
        gap = margin(args, path, prompt_of(args.prompt, 1) + mine[:same], mine[same], theirs[same])
        parts.append(f"{ENGINES[engine]}: the first {same} of {n} alike; where they part, the two "
                     f"tokens are {'?' if gap is None else f'{gap:.3f}'} standard deviations of "
                     "the logits apart")
    return "; ".join(parts) if parts else "not compared"


def times(value):
    return "—" if value is None else f"{value:.3g}×"


def markdown(args, results, paths):
    models, lines = list(paths), []
    for engine in args.engines:
        lines.append(f"- {ENGINES[engine]}: {results.devices.get(engine, 'no result')}")
    lines += ["", f"Medians (min–max) of {args.rounds} rounds; tokens/s, or seconds from process "
              f"start to the first token after {args.prompt} tokens. The factors say how many "
              "times better Pumice is: by the clock, and in brackets by CPU time.", "",
              "| model | measure | " + " | ".join(ENGINES[e] for e in args.engines)
              + " | against peer, Vulkan | against peer, CPU |",
              "|---" * (4 + len(args.engines)) + "|"]
    for model in models:
        for measure in MEASURES:
            unit = " s" if measure.startswith("first") else ""
            cells = [cell(results.samples.get((model, e, measure)), unit) for e in args.engines]
            if all(c == "—" for c in cells):
                continue
            factors = [f"{times(ratio(results, model, measure, other, 'value'))} "
                       f"({times(ratio(results, model, measure, other, 'cpu_s'))})"
                       for other in ("vulkan", "cpu")]
            lines.append(f"| {model} | {measure} | " + " | ".join(cells + factors) + " |")
    lines += ["", "Greedy tokens after the same prompt:", ""]
    lines += [f"- {model}: {same_tokens(args, results, model, paths[model])}" for model in models]
    faults = [f"- {model}, {ENGINES[engine]}: {text}"
              for (model, engine), texts in results.faults.items() for text in sorted(set(texts))]
    if faults:
        lines += ["", "Faults:", "", *faults]
    return "\n".join(lines) + "\n"


def as_json(args, results):
    return {"rounds": args.rounds, "devices": results.devices,
            "samples": [{"model": m, "engine": e, "measure": name, "samples": s}
                        for (m, e, name), s in results.samples.items()],
            "greedy": [{"model": m, "engine": e, "tokens": t}
                       for (m, e), t in results.greedy.items()],
            "faults": [{"model": m, "engine": e, "texts": t}
                       for (m, e), t in results.faults.items()]}


# ---- the command ----

def model_file(args, name):
    shape, kind = name.split(":")
    path = args.model_folder / f"{shape}-{kind}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        subprocess.run([sys.executable, ROOT / "tools" / "make_model.py", "--preset", shape,
                        "--type", kind, "--out", part], check=True, stdout=sys.stderr)
        part.rename(path)
    return path


def numbers(text):
    return [int(item) for item in text.split(",") if item]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--models", default="15m:q8_0,15m:f16",
        help="shape:type, such as 15m:q8_0,110m:q4_k,tinyllama-4l:f16")
    add("--model-folder", type=pathlib.Path, default=ROOT / "build" / "models")
    add("--pumice", default=str(ROOT / "build" / "pumice"), help="the program")
    add("--out", type=pathlib.Path, default=ROOT / "build" / "peer", help="folder for the results")
    add("--icd", default="/usr/share/vulkan/icd.d/lvp_icd.x86_64.json",
        help="the Vulkan driver's manifest; empty = the system's choice")
    add("--peer-device", type=int, default=0, help="index of the peer's Vulkan device")
    add("--engines", default="pumice,vulkan,cpu", help="a choice of these")
    add("--threads", type=int, default=2, help="of the peer's CPU backend")
    add("--rounds", type=int, default=3)
    add("--first-rounds", type=int, default=1, help="rounds that measure the first token too")
    add("--first-only", action="store_true", help="measure nothing else")
    add("--repeat", type=int, default=2, help="samples of each measure in a round")
    add("--prompt", type=int, default=8, help="tokens before the first one")
    add("--greedy", type=int, default=16, help="tokens that are compared")
    add("--decode", type=int, default=64)
    add("--peer-decode", type=int, default=12, help="the same for the peer's Vulkan backend")
    add("--prefill", type=numbers, default=[128, 512])
    add("--limit", type=float, default=600, help="seconds for one process")
    args = parser.parse_args()
    args.engines = [e for e in ENGINES if e in args.engines.split(",")]
    args.pumice = str(pathlib.Path(args.pumice).resolve())
    return args


def main():
    args = parse_arguments()
    if set(args.engines) - {"pumice"} and not (HERE / "node_modules").exists():
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=HERE,
                       check=True, stdout=sys.stderr)
    models = args.models.split(",")
    paths = {model: model_file(args, model).resolve() for model in models}
    results = Results()
    with tempfile.TemporaryDirectory() as folder:
        cache_of = {engine: pathlib.Path(folder) / engine for engine in args.engines}
        for cache in cache_of.values():
            cache.mkdir()
        for rnd in range(args.rounds):
            for model in models:
                measure_round(args, results, model, paths[model], rnd, cache_of)
    args.out.mkdir(parents=True, exist_ok=True)
    text = markdown(args, results, paths)
    (args.out / "peer.md").write_text(text)
    (args.out / "peer.json").write_text(json.dumps(as_json(args, results), indent=1))
    print(text, end="")


if __name__ == "__main__":
    main()
