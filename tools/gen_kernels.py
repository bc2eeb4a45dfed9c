#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From shaders/kernels.toml to C: lists the variants, writes the metadata, embeds and checks the SPIR-V.

  gen_kernels.py TABLE list                      a line per variant for meson: name source defines...
  gen_kernels.py TABLE list-emulated             the same of those that tests run with emulated subgroups: emulated_NAME
  gen_kernels.py TABLE meta OUT.h OUT.c          enums and pum_kernels[] (see src/device/kernel.h)
  gen_kernels.py TABLE embed OUT.h OUT.c SPV...  the words of every module, after reflecting it: bindings, access,
                                                 push constants, specialisation ids and capabilities must be the row's
  gen_kernels.py TABLE embed-emulated OUT.c SPV...  the same of those: no subgroup operation may be left in them
  gen_kernels.py TABLE docs OUT.md SPV...        docs/kernels.md

The table, shaders/args.h and src/graph/dtype.def are the only inputs; nothing is known of a kernel here.
"""
import pathlib
import re
import struct
import sys
import tomllib

TIERS = ["base", "sub", "texel", "f16", "dot8", "coop"]
TIER_NEEDS = {"base": "0", "sub": "PUM_CAP_SUBGROUP", "texel": "PUM_CAP_SUBGROUP | PUM_CAP_TEXEL",
              "f16": "PUM_CAP_SUBGROUP | PUM_CAP_F16",
              "dot8": "PUM_CAP_SUBGROUP | PUM_CAP_DOT8", "coop": "PUM_CAP_SUBGROUP | PUM_CAP_F16 | PUM_CAP_COOP"}
# SPIR-V capabilities a tier may declare: Shader, Matrix; GroupNonUniform, Vote, Arithmetic, Ballot, Shuffle;
# SampledBuffer; DotProductInput4x8BitPacked, DotProduct
SUB_CAPABILITIES = {0, 1, 61, 62, 63, 64, 65, 66}
TIER_CAPABILITIES = {"base": {0, 1}, "sub": SUB_CAPABILITIES, "texel": SUB_CAPABILITIES | {46},
                     "dot8": SUB_CAPABILITIES | {6018, 6019}}
# lib/subgroup.glsl's SUB_SIZE
EMULATED_SPEC = 99
ACCESS = {"r": "PUM_ACCESS_R", "w": "PUM_ACCESS_W", "rw": "PUM_ACCESS_RW", "t": "PUM_ACCESS_TEXEL"}


def die(text):
    sys.exit(f"gen_kernels: {text}")


class Kernel:
    """One variant: a row of the table with its axes filled in."""

    def __init__(self, family, row, weight, tier, formats):
        self.family, self.row, self.weight, self.tier = family, row, weight, tier
        self.name = "_".join([family] + ([weight] if weight else []) + [tier])
        self.bind = [tuple(b.split(":")) for b in row["bind"]]
        self.spec = row["spec"]
        self.source = row["source"]
        self.defines = [f"-D{name}=1" for name in row.get("defines", [])]
        if weight:
            planes, codebook = formats[weight.upper()]
            self.defines += [f"-DPUM_W_{weight.upper()}=1"] + planes
            if codebook >= 0: # one more binding
                self.defines += [f"-DQ_CODEBOOK_AT={codebook}u", f"-DQ_CODEBOOK_BINDING={len(self.bind)}"]
                self.bind.append(("codebooks", "t" if tier == "texel" else "r"))
        self.defines += [f"-DPUM_{tier.upper()}=1"] + (["-DPUM_SUB=1"] if tier == "dot8" else [])


def weight_formats(path):
    """From the table of storage types: how rows lie on the device, as definitions (weights a block, bytes of each
    plane), and the first entry of the codebook, -1 = none."""
    formats = {}
    for row in re.findall(r"^PUM_DTYPE\((.*)\)", path.read_text(encoding="utf-8"), flags=re.M):
        name, _, _, elems, block_bytes, _, _, _, n0, _, n1, _, n2, book = [word.strip() for word in row.split(",")]
        sizes = [n0, n1, n2] if int(n0) else [block_bytes, "0", "0"]
        planes = [f"-DQ_ELEMS={elems}u"] + [f"-DQ_PLANE{i}={n}u" for i, n in enumerate(sizes)]
        formats[name] = planes, int(book)
    return formats


def load(path):
    table = tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    kernels, formats = [], weight_formats(pathlib.Path(path).parent / "../src/graph/dtype.def")
    for family, row in table["kernel"].items():
        if "like" in row:
            row = {**table["kernel"][row["like"]], **row}
        for field in ("source", "tiers", "bind", "args", "spec", "tol"):
            if field not in row:
                die(f"kernel.{family} has no '{field}'")
        if row["spec"][0] != "WG":
            die(f"kernel.{family}: the first specialisation constant must be WG")
        weights = row.get("weights", [None])
        for weight in table["axes"]["weights"] if weights is True else weights:
            for tier in row["tiers"]:
                kernels.append(Kernel(family, row, weight, tier, formats))
                if len(kernels[-1].bind) > 8 or len(row["spec"]) > 12:
                    die(f"kernel.{family}: at most 8 bindings and 12 specialisation constants")
    return list(table["kernel"]), kernels


def args_bytes(path):
    """Sizes of the push-constant structs: every member of args.h is one 32-bit word."""
    text = re.sub(r"/\*.*?\*/", "", (path.parent / "args.h").read_text(encoding="utf-8"), flags=re.S)
    sizes = {}
    for name, body in re.findall(r"PUM_ARGS\((\w+)\)\s*\{(.*?)\};", text, flags=re.S):
        members = [m for part in body.split(";") for m in part.split(",") if m.strip()]
        sizes[name] = 4 * len(members)
    return sizes


# ---- metadata ----

def write_meta(table, out_h, out_c):
    families, kernels = load(table)
    sizes = args_bytes(pathlib.Path(table))
    h = ["/* Generated by tools/gen_kernels.py from shaders/kernels.toml. */", "#ifndef PUM_KERNELS_META_H",
         "#define PUM_KERNELS_META_H", "", "typedef enum pum_kernel_family {"]
    h += [f"    PUM_FAMILY_{f.upper()}," for f in families]
    h += ["    PUM_FAMILY_COUNT", "} pum_kernel_family;", "", "enum {"]
    h += [f"    PUM_KERNEL_{k.name}," for k in kernels] + ["    PUM_KERNEL_COUNT", "};", "", "enum {"]
    seen = set()
    for k in kernels:
        if k.family not in seen:
            seen.add(k.family)
            h += [f"    PUM_SPEC_{k.family.upper()}_{s} = {i}," for i, s in enumerate(k.spec)]
    h += ["};", "", "/* whose arguments a kernel takes: structs of args.h */", "enum {"]
    h += [f"    {name.upper()}," for name in sorted({k.row["args"] for k in kernels})]
    h += ["};", "", "#endif", ""]
    c = ["/* Generated by tools/gen_kernels.py from shaders/kernels.toml. */", '#include "kernel.h"', "",
         '#include "caps.h"', "", "const char *const pum_family_names[PUM_FAMILY_COUNT] = {"]
    c += [f'    "{f}",' for f in families] + ["};", "", "const pum_kernel_info pum_kernels[PUM_KERNEL_COUNT] = {"]
    for k in kernels:
        if k.row["args"] not in sizes:
            die(f"kernel.{k.family}: args.h has no struct {k.row['args']}")
        weight = f"PUM_DTYPE_{k.weight.upper()}" if k.weight else "PUM_DTYPE_COUNT"
        c += [f'    {{ "{k.name}", PUM_FAMILY_{k.family.upper()}, {weight}, PUM_TIER_{k.tier.upper()}, '
              f"{k.row['args'].upper()}, {sizes[k.row['args']]}, {TIER_NEEDS[k.tier]},",
              f"      {len(k.bind)}, {len(k.spec)}, {{ {', '.join(ACCESS[a] for _, a in k.bind)} }},",
              "      { " + ", ".join(f'"{n}"' for n, _ in k.bind) + " },",
              "      { " + ", ".join(f'"{s}"' for s in k.spec) + f" }}, {float(k.row['tol'])!r} }},"]
    c += ["};", ""]
    pathlib.Path(out_h).write_text("\n".join(h), encoding="utf-8")
    pathlib.Path(out_c).write_text("\n".join(c), encoding="utf-8")


# ---- SPIR-V ----

OP_CAPABILITY, OP_EXECUTION_MODE, OP_TYPE_INT, OP_TYPE_FLOAT, OP_TYPE_STRUCT = 17, 16, 21, 22, 30
OP_TYPE_POINTER, OP_VARIABLE, OP_DECORATE, OP_MEMBER_DECORATE, OP_EXECUTION_MODE_ID = 32, 59, 71, 72, 331
OP_SPEC_TRUE, OP_SPEC_FALSE, OP_SPEC_CONSTANT, OP_SPEC_COMPOSITE = 48, 49, 50, 51
SPEC_ID, NON_WRITABLE, NON_READABLE, BINDING, SET, OFFSET, BUILTIN = 1, 24, 25, 33, 34, 35, 11
STORAGE_BUFFER, UNIFORM, PUSH_CONSTANT, UNIFORM_CONSTANT, WORKGROUP_SIZE = 12, 2, 9, 0, 25


class Module:
    """What reflection needs of a SPIR-V module."""

    def __init__(self, path):
        data = pathlib.Path(path).read_bytes()
        if len(data) < 20 or len(data) % 4 or data[:4] != b"\x03\x02\x23\x07":
            die(f"{path} is not SPIR-V")
        self.words = struct.unpack(f"<{len(data) // 4}I", data)
        self.capabilities, self.decorate, self.members = set(), {}, {}
        self.pointer, self.structs, self.variables, self.spec, self.composites = {}, {}, {}, {}, {}
        at = 5
        while at < len(self.words):
            count, op = self.words[at] >> 16, self.words[at] & 0xffff
            if count == 0 or at + count > len(self.words):
                die(f"{path}: broken instruction")
            self.instruction(op, self.words[at + 1 : at + count])
            at += count

    def instruction(self, op, w):
        if op == OP_CAPABILITY:
            self.capabilities.add(w[0])
        elif op == OP_DECORATE:
            self.decorate.setdefault(w[0], {})[w[1]] = w[2] if len(w) > 2 else True
        elif op == OP_MEMBER_DECORATE:
            self.members.setdefault(w[0], {}).setdefault(w[1], {})[w[2]] = w[3] if len(w) > 3 else True
        elif op == OP_TYPE_POINTER:
            self.pointer[w[0]] = (w[1], w[2])
        elif op == OP_TYPE_STRUCT:
            self.structs[w[0]] = w[1:]
        elif op == OP_VARIABLE:
            self.variables[w[1]] = (w[0], w[2])
        elif op in (OP_SPEC_CONSTANT, OP_SPEC_TRUE, OP_SPEC_FALSE):
            self.spec[w[1]] = True
        elif op == OP_SPEC_COMPOSITE:
            self.composites[w[1]] = w[2:]

    def bindings(self):
        """binding -> access; a storage buffer is read-only or write-only if all its members are."""
        found = {}
        for var, (ptr, storage) in self.variables.items():
            if BINDING not in self.decorate.get(var, {}):
                continue
            if storage == UNIFORM_CONSTANT:
                found.setdefault(self.decorate[var][BINDING], set()).add("t")
                continue
            if storage not in (STORAGE_BUFFER, UNIFORM):
                continue
            struct_id = self.pointer[ptr][1]
            flags = self.decorate[var]
            members = self.members.get(struct_id, {})

            def has(flag):
                return flag in flags or (members and all(flag in m for m in members.values()))

            access = "r" if has(NON_WRITABLE) else "w" if has(NON_READABLE) else "rw"
            slot = flags[BINDING]
            found.setdefault(slot, set()).add(access)
            if flags.get(SET, 0) != 0:
                die("descriptor set other than 0")
        return found

    def push_bytes(self):
        for ptr, storage in self.variables.values():
            if storage == PUSH_CONSTANT:
                return self.struct_bytes(self.pointer[ptr][1])
        return 0

    def struct_bytes(self, struct_id):
        last = len(self.structs[struct_id]) - 1
        offset = self.members[struct_id][last][OFFSET]
        inner = self.structs[struct_id][last]
        return offset + (self.struct_bytes(inner) if inner in self.structs else 4)

    def spec_ids(self):
        return {self.decorate[i][SPEC_ID] for i in self.spec if SPEC_ID in self.decorate.get(i, {})}

    def local_size_spec_id(self):
        for composite, parts in self.composites.items():
            if self.decorate.get(composite, {}).get(BUILTIN) == WORKGROUP_SIZE:
                return self.decorate.get(parts[0], {}).get(SPEC_ID)
        return None


def check(kernel, module, bytes_of, tier=None, spec=()):
    row, name = kernel.row, kernel.name
    found = module.bindings()
    for slot, (binding, access) in enumerate(kernel.bind):
        have = found.pop(slot, None)
        if have is None:
            continue  # optimised away in this variant: the layout still has it
        have = have.pop() if len(have) == 1 else "rw"
        if have != access:
            die(f"{name}: binding {slot} ({binding}) is '{have}' in the shader, '{access}' in the table")
    if found:
        die(f"{name}: the shader has bindings {sorted(found)} that the table lacks")
    if module.push_bytes() not in (0, bytes_of[row["args"]]):
        die(f"{name}: push constants are {module.push_bytes()} bytes, {row['args']} is {bytes_of[row['args']]}")
    ids = module.spec_ids()
    if not ids <= set(range(len(kernel.spec))) | set(spec):
        die(f"{name}: specialisation ids {sorted(ids)}, but the table names {len(kernel.spec)}")
    if module.local_size_spec_id() != 0:
        die(f"{name}: local_size_x_id is not 0")
    extra = module.capabilities - TIER_CAPABILITIES.get(tier or kernel.tier, module.capabilities)
    if extra:
        die(f"{name}: SPIR-V capabilities {sorted(extra)} are not allowed in tier {tier or kernel.tier}")


def modules(kernels, paths, prefix=""):
    by_name = {pathlib.Path(p).name.split(".")[0]: p for p in paths}
    missing = [k.name for k in kernels if prefix + k.name not in by_name]
    if missing:
        die(f"no SPIR-V for {', '.join(missing)}")
    return [(k, Module(by_name[prefix + k.name])) for k in kernels]


def words_text(name, module):
    rows = [module.words[i : i + 12] for i in range(0, len(module.words), 12)]
    text = "\n".join("    " + " ".join(f"0x{w:08x}," for w in r) for r in rows)
    return f"static const uint32_t {name}[] = {{\n{text}\n}};\n"


def write_embed(table, out_h, out_c, paths):
    sizes = args_bytes(pathlib.Path(table))
    parts, digest = [], 0xcbf29ce484222325
    pairs = modules(load(table)[1], paths)
    for kernel, module in pairs:
        check(kernel, module, sizes)
        parts.append(words_text(f"spv_{kernel.name}", module))
        for word in module.words:
            digest = (digest ^ word) * 0x100000001b3 & 0xffffffffffffffff
    pathlib.Path(out_h).write_text(
        "/* Generated by tools/gen_kernels.py. */\n#ifndef PUM_KERNELS_SPV_H\n#define PUM_KERNELS_SPV_H\n\n"
        '#include <stddef.h>\n#include <stdint.h>\n\n#include "kernels_meta.h"\n\n'
        "typedef struct pum_spirv {\n    const uint32_t *words;\n    size_t bytes;\n} pum_spirv;\n\n"
        "extern const pum_spirv pum_kernel_spirv[PUM_KERNEL_COUNT];\n"
        "extern const uint64_t pum_kernel_spirv_hash; /* of all words: part of the pipeline cache's key */\n\n#endif\n",
        encoding="utf-8")
    table_rows = "\n".join(f"    {{ spv_{k.name}, sizeof spv_{k.name} }}," for k, _ in pairs)
    pathlib.Path(out_c).write_text(
        '/* Generated by tools/gen_kernels.py. */\n#include "kernels_spv.h"\n\n' + "\n".join(parts)
        + f"\nconst pum_spirv pum_kernel_spirv[PUM_KERNEL_COUNT] = {{\n{table_rows}\n}};\n"
        + f"const uint64_t pum_kernel_spirv_hash = 0x{digest:016x}u;\n", encoding="utf-8")


def emulated(table):
    formats = tomllib.loads(pathlib.Path(table).read_text(encoding="utf-8"))["axes"]["emulated"]
    return [k for k in load(table)[1] if k.tier == "sub" and k.weight in formats + [None]]


def write_emulated(table, out, paths):
    sizes, pairs = args_bytes(pathlib.Path(table)), modules(emulated(table), paths, "emulated_")
    for kernel, module in pairs:
        check(kernel, module, sizes, tier="base", spec=[EMULATED_SPEC])
    rows = "".join(f"    [PUM_KERNEL_{k.name}] = {{ spv_{k.name}, sizeof spv_{k.name} }},\n" for k, _ in pairs)
    pathlib.Path(out).write_text(
        '/* Generated by tools/gen_kernels.py. */\n#include "subgroups_vk.h"\n\n'
        + "\n".join(words_text(f"spv_{k.name}", m) for k, m in pairs)
        + f"\nconst pum_spirv subgroups_vk_spirv[PUM_KERNEL_COUNT] = {{\n{rows}}};\n", encoding="utf-8")


def write_docs(table, out, paths):
    lines = ["# Kernels", "", "Generated from `shaders/kernels.toml` by `tools/gen_kernels.py docs`. Sizes are of the "
             "SPIR-V as embedded.", "", "| kernel | bindings | specialisation constants | bytes |", "|---|---|---|---|"]
    total = 0
    for kernel, module in modules(load(table)[1], paths):
        size = 4 * len(module.words)
        total += size
        binds = ", ".join(f"{n}:{a}" for n, a in kernel.bind)
        lines.append(f"| {kernel.name} | {binds} | {', '.join(kernel.spec)} | {size} |")
    count = len(lines) - 6
    lines += ["", f"{count} binaries, {total} bytes.", ""]
    pathlib.Path(out).write_text("\n".join(lines), encoding="utf-8")


def main():
    table, verb, *rest = sys.argv[1:]
    if verb == "list":
        for k in load(table)[1]:
            print(" ".join([k.name, k.source] + k.defines))
    elif verb == "list-emulated":
        for k in emulated(table):
            print(" ".join(["emulated_" + k.name, k.source] + k.defines + ["-DPUM_EMULATE=1"]))
    elif verb == "meta":
        write_meta(table, *rest)
    elif verb == "embed":
        write_embed(table, rest[0], rest[1], rest[2:])
    elif verb == "embed-emulated":
        write_emulated(table, rest[0], rest[1:])
    elif verb == "docs":
        write_docs(table, rest[0], rest[1:])
    else:
        die(f"unknown verb '{verb}'")


if __name__ == "__main__":
    main()
