#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles every pipeline of the plans of real GPUs with their drivers' compilers, without the GPUs, and compares what
comes out with the stored tables expected.amd.txt and expected.intel.txt: a spill that is not stored or a lower
occupancy than stored is a failure. A kernel that is not stored, or other numbers, are not.

Models: 7B's shape (two layers of it) in every weight format, without weights, and the bundled one. Subgroup sizes: all
that may be chosen.

usage: test_compile.py COMPILE_PIPELINES [--update] [--intel SHIM.so]
  --update      store the numbers and the table of docs/devices.md
  --intel SHIM  also Intel, by Mesa's noop DRM shim (tools/build_intel_shim.sh); PUMICE_INTEL_SHIM does the same
Exit code 77 = numpy or the drivers are missing.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ICDS = pathlib.Path("/usr/share/vulkan/icd.d")
# family to compile for, profile to plan for, subgroup sizes
AMD = [("vega20", "radeon-vii", [64]), ("navi10", "rx-5700-xt", [32, 64]), ("navi21", "navi21", [32, 64]),
       ("gfx1100", "navi31", [32, 64])]
INTEL = [("skl", "uhd-630", [8, 16]), ("icl", "uhd-630", [8, 16]), ("tgl", "iris-xe", [8, 16]),
         ("dg2", "intel-a770", [8, 16])]
SHAPE = ["--preset", "7b", "--layers", "2", "--untied", "--hollow"]


def weight_types():
    """The formats that kernels exist for and that the model writer knows."""
    import tomllib
    table = tomllib.loads((ROOT / "shaders" / "kernels.toml").read_text(encoding="utf-8"))
    sys.path.insert(0, str(ROOT / "tools"))
    import gguf_writer
    known = {t.name.lower() for t in gguf_writer.Tensor}
    return [t for t in table["axes"]["weights"] if t in known]


def make_models(folder):
    models = [str(ROOT / "models" / "pumice-stories.gguf")]
    for kind in weight_types():
        models.append(f"{folder}/{kind}.gguf")
        subprocess.run([sys.executable, str(ROOT / "tools" / "make_model.py"), "--out", models[-1], "--type", kind,
                        *SHAPE], check=True, stdout=subprocess.DEVNULL)
    return models


def amd_numbers(s):
    return {"regs": int(s["VGPRs"]), "occ": int(s["Subgroups per SIMD"]), "code": int(s["Code size"]),
            "lds": int(s["LDS size"]), "spill": int(s["Spilled SGPRs"]) + int(s["Spilled VGPRs"])}


def intel_numbers(s):
    return {"instr": int(s["Instruction Count"]), "sends": int(s["SEND Count"]), "cycles": int(s["Cycle Count"]),
            "spill": int(s["Spill Count"]) + int(s["Fill Count"])}


def compile_all(program, env, profile, size, models, numbers):
    """{kernel: worst numbers over its pipelines} and the driver's version; None if the driver cannot."""
    run = subprocess.run([program, profile, str(size), *models], env=env, capture_output=True, text=True)
    if run.returncode == 77:
        print(run.stderr.strip().splitlines()[-1])
        return None, None
    if run.returncode:
        sys.exit(f"{profile}, subgroups of {size}: exit {run.returncode}: {run.stderr[-600:]}")
    head, *lines = run.stdout.splitlines()
    table = {}
    for line in lines:
        kernel, spec, text = line.split("\t")
        now = numbers(dict(pair.split("=") for pair in text.split(";") if pair))
        worst = table.setdefault(kernel, dict(now, spec=spec))
        if now["spill"] > worst["spill"] or now.get("occ", 0) < worst.get("occ", 0):
            worst["spec"] = spec
        for name, value in now.items():
            worst[name] = (min if name == "occ" else max)(worst[name], value)
    return table, head.split("\t")[1]


def collect(program, rows, environment, models, numbers):
    """{column: {kernel: numbers}} and the driver's version."""
    columns, version = {}, None
    for family, profile, sizes in rows:
        for size in sizes:
            table, found = compile_all(program, environment(family), profile, size, models, numbers)
            if table is not None:
                columns[f"{family}/{size}"] = table
                version = found
    return columns, version


def cell(numbers, fields):
    return "/".join(str(numbers[f]) for f in fields) if numbers else "-"


def write_table(path, columns, version, fields, meaning):
    kernels = sorted({k for table in columns.values() for k in table})
    lines = [f"# Made by test_compile.py --update with {version}. Worst over a kernel's pipelines: {meaning}",
             " ".join(["kernel", *columns])]
    lines += [" ".join([k] + [cell(columns[c].get(k), fields) for c in columns]) for k in kernels]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_table(path, fields):
    if not path.exists():
        return {}, ""
    head, names, *lines = path.read_text(encoding="utf-8").splitlines()
    columns = {c: {} for c in names.split()[1:]}
    for line in lines:
        kernel, *cells = line.split()
        for column, text in zip(columns, cells):
            if text != "-":
                columns[column][kernel] = dict(zip(fields, map(int, text.split("/"))))
    return columns, head


def compare(columns, version, path, fields):
    """Number of spills and occupancy regressions; prints them."""
    stored, head = read_table(path, fields)
    same_driver = f"with {version}." in head
    if not same_driver:
        print(f"{path.name} is of another driver than {version}: only spills count")
    bad = new = 0
    for column, table in columns.items():
        for kernel, now in table.items():
            old = stored.get(column, {}).get(kernel)
            new += old is None
            if now["spill"] > (old["spill"] if old else 0):
                print(f"{column} {kernel} ({now['spec']}): {now['spill']} spills")
                bad += 1
            elif same_driver and old and now.get("occ", 0) < old.get("occ", 0):
                print(f"{column} {kernel} ({now['spec']}): occupancy {now['occ']}, {old['occ']} stored")
                bad += 1
    count = sum(map(len, columns.values()))
    print(f"{path.name}: {count} kernels compiled, {bad} regressions, {new} not stored"
          + (" (--update stores)" if bad or new else ""))
    return bad


def docs_block(name, columns, version, fields, text):
    kernels = sorted({k for table in columns.values() for k in table})
    lines = [f"{text} Compiler: {version}.", "", "| kernel | " + " | ".join(columns) + " |",
             "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {k} | " + " | ".join(cell(columns[c].get(k), fields) for c in columns) + " |" for k in kernels]
    path = ROOT / "docs" / "devices.md"
    page = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
    before, rest = page.split(begin)
    path.write_text(before + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1], encoding="utf-8")


def environment_of(icd, variable, **more):
    def make(family):
        return dict(os.environ, VK_ICD_FILENAMES=str(icd), VK_DRIVER_FILES=str(icd), MESA_SHADER_CACHE_DISABLE="true",
                    **{variable: family}, **more)
    return make


def main():
    program, *flags = sys.argv[1:]
    update = "--update" in flags
    shim = flags[flags.index("--intel") + 1] if "--intel" in flags else os.environ.get("PUMICE_INTEL_SHIM")
    try:
        import numpy  # noqa: F401 (make_model.py needs it)
    except ImportError:
        print("skipped: python3-numpy is not installed")
        return 77
    jobs = []
    radv, anv = sorted(ICDS.glob("radeon_icd*.json")), sorted(ICDS.glob("intel_icd*.json"))
    if radv:
        jobs.append(("amd", AMD, environment_of(radv[0], "RADV_FORCE_FAMILY"), amd_numbers,
                     ["regs", "occ", "lds", "code", "spill"], ["regs", "occ", "lds", "code", "spill"],
                     "vector registers / subgroups per SIMD / bytes of shared memory / bytes of code / spills",
                     "Vector registers / subgroups per SIMD / bytes of shared memory / bytes of code / spills."))
    if shim and anv:
        jobs.append(("intel", INTEL, environment_of(anv[0], "INTEL_STUB_GPU_PLATFORM", LD_PRELOAD=shim), intel_numbers,
                     ["instr", "sends", "cycles", "spill"], ["instr", "sends", "spill"],
                     "instructions / sends / estimated cycles / spills and fills",
                     "Instructions / messages to memory / spills and fills, by subgroup size."))
    elif not shim:
        print("Intel is left out: no PUMICE_INTEL_SHIM (tools/build_intel_shim.sh makes one)")
    bad = done = 0
    with tempfile.TemporaryDirectory() as folder:
        models = make_models(folder)
        for name, rows, environment, numbers, fields, shown, meaning, text in jobs:
            columns, version = collect(program, rows, environment, models, numbers)
            if not columns:
                continue
            done += 1
            path = HERE / f"expected.{name}.txt"
            bad += compare(columns, version, path, fields)
            if update:
                write_table(path, columns, version, fields, meaning)
                docs_block(f"compile {name}", columns, version, shown, text)
    if not done:
        print("skipped: neither RADV nor ANV with its shim is installed (Debian: mesa-vulkan-drivers)")
        return 77
    return 1 if bad and not update else 0


sys.exit(main())
