#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the rules that a compiler cannot: run with no arguments from anywhere; exits 1 and lists what is wrong.

Rules: line length, file length, tabs and trailing blanks, SPDX heads, and the places where certain words may
stand (who reads the vendor, who records dispatches, who sets barriers, who reads the environment, who prints).
Layers (which folder may include which) are enforced by the build's include directories and again here.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LINES = 1500
MAX_COLUMNS = 120  # 100 is the aim; beyond 120 it is an error
SUFFIXES = {".c", ".h", ".def", ".comp", ".glsl", ".py", ".toml", ".build"}

# pattern -> files (globs under the root) where it may stand
ONLY_IN = [
    (r"\bvendorID\b|\bdriverID\b", ["src/device/family.c", "src/vk/snapshot.c"]),
    (r"\bvendor_id\b|\bdriver_id\b", ["src/device/*", "src/vk/snapshot.c", "src/api/device.c", "src/cli/*",
                                      "include/*", "tests/*"]),
    (r"\bgetenv\b", ["src/base/file.c", "src/cli/*", "tests/*", "examples/*"]),
    (r"\bCmdDispatch\b|vkCmdDispatch", ["src/exec/record.c", "src/vk/first_use.c", "tests/*"]),
    (r"vkCmdPipelineBarrier", ["src/exec/record.c", "src/vk/memory.c", "tests/*"]),
    (r"\bbarrier\s*=[^=]", ["src/plan/plan_sync.c", "src/cli/*", "src/api/run.c", "tests/*"]),
    (r"\b(abort|exit|_exit)\s*\(", ["src/cli/*", "tests/*", "examples/*", "tools/*", "bench/*"]),
    (r"\b(printf|puts|putchar)\s*\(|\bstderr\b|\bstdout\b", ["src/cli/*", "tests/*", "examples/*", "tools/*",
                                                               "bench/*"]),
    (r"\b(malloc|calloc|realloc|free)\s*\(", ["src/base/memory.c", "src/cli/*", "tests/*", "examples/*"]),
    (r"\bvulkan\b|\bvolk\.h\b", ["src/vk/*", "src/exec/*", "src/api/*", "tests/*", "include/*", "src/cli/*"]),
]

# folder -> folders it may include from (transitively listed)
LAYERS = {
    "base": [],
    "graph": ["base"],
    "device": ["base", "graph"],
    "op": ["base", "graph", "device"],
    "plan": ["base", "graph", "device", "op"],
    "format": ["base", "graph"],
    "text": ["base", "graph", "format"],
    "model": ["base", "graph", "format"],
    "ref": ["base", "graph", "device"],
    "vk": ["base", "graph", "device"],
    "exec": ["base", "graph", "device", "plan", "vk", "ref", "op"],
    "api": ["base", "graph", "device", "plan", "vk", "exec", "format", "text", "model", "ref", "op"],
    "cli": [],
}


def files():
    for folder in ("src", "include", "shaders", "tools", "tests", "examples", "bench"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and (path.suffix in SUFFIXES or path.name == "meson.build"):
                yield path
    yield ROOT / "meson.build"


def strip_comments(text):
    """C comments and string contents become blanks, so that words in prose do not count."""
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def allowed(path, globs):
    name = path.relative_to(ROOT).as_posix()
    return any(name.startswith(g[:-1]) if g.endswith("*") else name == g for g in globs)


def check_file(path, owners, problems):
    name = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        problems.append(f"{name}: {len(lines)} lines; split it (at most {MAX_LINES})")
    if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(lines[:4]):
        problems.append(f"{name}:1: no SPDX-License-Identifier line")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS:
            problems.append(f"{name}:{number}: {len(line)} columns (at most {MAX_COLUMNS})")
        if "\t" in line or line != line.rstrip() or "\r" in line:
            problems.append(f"{name}:{number}: tab, carriage return or trailing blank")
    if path.suffix not in {".c", ".h", ".def"} or not name.startswith("src/"):
        return
    folder = name.split("/")[1]
    for match in re.finditer(r'^\s*#\s*include\s+"([^"]+)"', text, flags=re.M):
        owner = owners.get(match[1])
        if owner and owner != folder and owner not in LAYERS[folder]:
            problems.append(f"{name}: includes {match[1]} of {owner}/, which {folder}/ may not use")
    code = strip_comments(text)
    for pattern, globs in ONLY_IN:
        if allowed(path, globs):
            continue
        hit = re.search(pattern, code)
        if hit:
            number = code[: hit.start()].count("\n") + 1
            problems.append(f"{name}:{number}: '{hit[0].strip()}' may stand only in {', '.join(globs)}")


def main():
    owners = {}
    for path in (ROOT / "src").rglob("*"):
        if path.suffix in {".h", ".def"}:
            owners[path.name] = path.relative_to(ROOT / "src").parts[0]
    problems = []
    for path in files():
        check_file(path, owners, problems)
    for problem in problems:
        print(problem)
    print(f"check_style: {len(problems)} problem(s)")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
