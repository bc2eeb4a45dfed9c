#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One report of how Pumice does on every Vulkan device of this machine: what the devices are, whether every kernel
agrees with the reference, whether the bundled model's tokens are the stored ones, measured speeds and limits, and where
the time goes. Writes pumice-report.md and pumice-report.json, to attach to an issue; nothing else leaves the machine.

usage: report.py BUILD BUILD_TEST OUT_FOLDER [MODEL.gguf...]      (./quickstart report [MODEL.gguf...] calls it)
"""
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
STORIES = str(ROOT / "models" / "pumice-stories.gguf")
TIMEOUT = 1800


def run(command, timeout=TIMEOUT):
    """Exit code and output; a program that hangs or is missing is a result too."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        return done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        return 124, "", f"no end after {timeout} s"
    except OSError as error:
        return 127, "", str(error)


def without_folders(value):
    """Files are named, but not where they are: a report is for others to read."""
    if isinstance(value, dict):
        paths = {k for k, v in value.items() if k in ("model", "model_filename") and isinstance(v, str)}
        return {k: os.path.basename(v) if k in paths else without_folders(v) for k, v in value.items()}
    return [without_folders(v) for v in value] if isinstance(value, list) else value


def run_json(command):
    """The parsed output, or {"error": sentence}."""
    code, out, err = run(command)
    try:
        if code == 0:
            return without_folders(json.loads(out))
        return {"error": (err.strip() or f"exit {code}").splitlines()[-1]}
    except ValueError as error:
        return {"error": f"no JSON: {error}"}


def kernel_test(program, device):
    code, out, err = run([program, "--device", device])
    lines = out.strip().splitlines()
    return {"exit": code, "result": lines[-1] if lines else err.strip()[-300:],
            "failures": [line for line in lines if line.startswith("FAIL")][:20],
            "skipped": sum("skipped:" in line for line in lines)}


def story_test(pumice, device):
    """Greedy tokens of the bundled model against the stored ones."""
    stored = json.loads(pathlib.Path(STORIES.replace(".gguf", ".expected.json")).read_text(encoding="utf-8"))
    want = stored["greedy_tokens"][:64]
    got = run_json([pumice, "run", STORIES, "--device", device, "-n", "64", "--temp", "0", "--ignore-eos", "--json",
                    "-q"])
    return {"as_stored": got.get("tokens") == want, "error": got.get("error")}


def report_device(pumice, kernels, info, models):
    device = str(info["index"])
    out = {"info": info}
    if not info["usable"]:
        return out
    quick = info["kind"] == "software"
    sizes = ["-p", "32", "-n", "8", "-r", "1"] if quick else ["-p", "128,512", "-n", "64", "-r", "3"]
    if not quick:  # minutes of compiling for a processor, and `./quickstart test` does it
        out["kernels"] = kernel_test(kernels, device)
    out["story"] = story_test(pumice, device)
    out["bench"] = run_json([pumice, "bench", *models, "--device", device, "--roof", *sizes, "-o", "json", "-q"])
    out["profile"] = run_json([pumice, "profile", models[0], "--device", device, "--json", "-q"])
    out["warmup"] = run_json([pumice, "warmup", models[0], "--device", device, "--json", "-q"])
    return out


def plain(value):
    """Text of a driver or file, harmless in a table."""
    return re.sub(r"[|`<>\r\n]", " ", str(value))


def bench_lines(bench):
    if isinstance(bench, dict):
        return [f"bench failed: {plain(bench['error'])}", ""]
    lines = ["| model | test | tokens/s | share of the limit |", "|---|---|---|---|"]
    for b in bench:
        test = f"pp{b['n_prompt']}" if b["n_prompt"] else f"tg{b['n_gen']}"
        share = b.get("share_of_limit") or 0
        lines.append(f"| {plain(b['model_type'])} | {test} | {b['avg_ts']:.1f} | {100 * share:.0f} % |")
    roof = next((b["roof"] for b in bench if b.get("roof")), {})
    limits = [f"{k} {v if isinstance(v, str) else f'{v:.4g}'}" for k, v in roof.items()]
    lines += ["", "Limits measured: " + ", ".join(limits) + ".", ""] if roof else [""]
    return lines


def profile_lines(profile):
    lines = []
    for phase in ("prefill", "decode"):
        kernels = profile.get(phase, {}).get("kernels", [])
        for k in sorted(kernels, key=lambda k: -k["total_ns"])[:5]:
            lines.append(f"| {phase} | {plain(k['kernel'])} | {k['calls']} | {k['gb_per_s']:.4g} | "
                         f"{k['gflop_per_s']:.4g} | {k['share_percent']:.0f} % |")
    head = ["| phase | kernel | calls | GB/s | GFLOP/s | share |", "|---|---|---|---|---|---|"]
    return head + lines + [""] if lines else []


def device_lines(d):
    i = d["info"]
    lines = [f"## {i['index']}: {plain(i['name'])}", "",
             f"{i['kind']}, {plain(i['driver'])}, Vulkan {i['api_version']}, family {i['family']}, tiers {i['tiers']}, "
             f"subgroups {i['subgroup_size']} ({i['subgroup_min']} to {i['subgroup_max']}), "
             f"{i['heap_bytes'] / 2**30:.1f} GiB, shared memory {i['shared_memory_bytes']} bytes. "
             "Driver bugs acted upon: " + (", ".join(q for q, on in i["quirks"].items() if on) or "none") + ".", ""]
    if not i["usable"]:
        return lines + [f"Not usable: {plain(i['why_not'])}.", ""]
    if "kernels" in d:
        lines += [f"- kernels: {plain(d['kernels']['result'])} (exit {d['kernels']['exit']}, "
                  f"{d['kernels']['skipped']} kernels need what it lacks)"]
        lines += [f"  - {plain(failure)}" for failure in d["kernels"]["failures"]]
    story = d["story"]
    lines += ["- story: " + ("the stored tokens" if story["as_stored"] else
                             f"OTHER TOKENS {plain(story['error'] or '')}")]
    if "total_ms" in d["warmup"]:
        lines += [f"- first start: {d['warmup']['total_ms']:.0f} ms, pipelines {d['warmup']['pipelines_ms']:.0f} ms"]
    return lines + [""] + bench_lines(d["bench"]) + profile_lines(d["profile"])


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    build, build_test, out_folder, *models = sys.argv[1:]
    pumice, kernels = os.path.join(build, "pumice"), os.path.join(build_test, "tests", "test_kernels")
    devices = run_json([pumice, "devices", "--json"])
    if isinstance(devices, dict):
        sys.exit(f"report: {devices['error']}")
    version = run([pumice, "--version"])[1].strip()
    commit = run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"])[1].strip()
    report = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "version": version,
              "commit": commit, "system": f"{platform.system()} {platform.release()} {platform.machine()}",
              "devices": []}
    for info in devices:
        print(f"report: {info['index']}: {info['name']} ...", file=sys.stderr)
        report["devices"].append(report_device(pumice, kernels, info, models or [STORIES]))
    lines = ["# Pumice report", "",
             f"{report['date']}, {plain(version)}, commit {commit or 'unknown'}, {report['system']}.", ""]
    for device in report["devices"]:
        lines += device_lines(device)
    for name, text in (("pumice-report.json", json.dumps(report, indent=1) + "\n"),
                       ("pumice-report.md", "\n".join(lines) + "\n")):
        path = pathlib.Path(out_folder) / name
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
