#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the table of tested devices in docs/devices.md from the reports in docs/reports (`./quickstart report` makes
them): one row for each device and driver, from the newest report that has it.

usage: devices_table.py [--check] DEVICES.md REPORT.json...      (--check: exit code 1 if the table is another)
"""
import json
import pathlib
import sys

from report import plain

BEGIN, END = "<!-- from docs/reports by tools/devices_table.py -->\n", "<!-- end -->\n"
HEAD = ["device", "driver", "Vulkan", "subgroups", "tiers", "kernels", "story", "bundled model, decode", "read, GB/s",
        "f32, GFLOP/s", "report"]


def kernels(device):
    """Of the kernel tests: software devices' are the test suite's."""
    if "kernels" not in device:
        return "by the test suite"
    result = device["kernels"]
    return plain(result["result"]) if result["exit"] == 0 else f"FAIL: {plain(result['result'])}"


def row(report, device):
    info, bench = device["info"], device.get("bench")
    bench = bench if isinstance(bench, list) else []
    decode = next((f"{b['avg_ts']:.0f} tokens/s" for b in bench if not b["n_prompt"]), "")
    roof = next((b["roof"] for b in bench if b.get("roof")), {})
    limit = {key: f"{roof[key]:.3g}" if isinstance(roof.get(key), (int, float)) else ""
             for key in ("read_gbs", "f32_gflops")}
    story = "the stored tokens" if device.get("story", {}).get("as_stored") else "OTHER TOKENS"
    if not info["usable"]:
        story = f"not usable: {info['why_not']}"
    return [info["name"], info["driver"], info["api_version"], info["subgroup_size"], info["tiers"], kernels(device),
            story, decode, limit["read_gbs"], limit["f32_gflops"], f"{report['date'][:10]}, {report['commit']}"]


def table(reports):
    rows = {}
    for report in sorted(reports, key=lambda r: r["date"]):
        for device in report["devices"]:
            rows[device["info"]["name"], device["info"]["driver"]] = row(report, device)
    lines = [HEAD, ["---"] * len(HEAD)] + sorted(rows.values(), key=lambda r: [str(cell) for cell in r])
    return "".join("| " + " | ".join(plain(cell) for cell in line) + " |\n" for line in lines)


def main():
    args = [a for a in sys.argv[1:] if a != "--check"]
    if len(args) < 2:
        sys.exit(__doc__)
    path = pathlib.Path(args[0])
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END, 1)[1]
    reports = [json.loads(pathlib.Path(a).read_text(encoding="utf-8")) for a in args[1:]]
    made = before + BEGIN + table(reports) + END + after
    if "--check" in sys.argv:
        if made != text:
            sys.exit(f"{path}: the table is not that of the reports; run tools/devices_table.py {' '.join(args)}")
    else:
        path.write_text(made, encoding="utf-8")


main()
