#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the version that include/pumice/version.h states, for meson.build."""
import pathlib
import re

text = (pathlib.Path(__file__).parent.parent / "include/pumice/version.h").read_text()
print(".".join(re.search(rf"PUMICE_VERSION_{part}\s+(\d+)", text)[1] for part in ("MAJOR", "MINOR", "PATCH")))
