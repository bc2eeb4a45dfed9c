#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the static library: links all objects into one and hides every name but the public API's.

Hidden visibility means nothing to a static linker, so without this an application with its own volk (or any other
library inside Pumice) would collide with ours.
usage: merge_static.py OUT.a LD OBJCOPY AR INPUT.a...
"""
import pathlib
import subprocess
import sys
import tempfile

out, ld, objcopy, ar, *inputs = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    merged = str(pathlib.Path(folder) / "pumice.o")
    subprocess.run([ld, "-r", "-o", merged, "--whole-archive", *inputs], check=True)
    subprocess.run([objcopy, "--localize-hidden", merged], check=True)
    pathlib.Path(out).unlink(missing_ok=True)
    subprocess.run([ar, "rcs", out, merged], check=True)
