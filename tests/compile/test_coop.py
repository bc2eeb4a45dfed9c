#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs check_coop with the validation layer and the mock driver of Debian's chromium package, which are newer than the
distribution's own and come without manifests.

usage: test_coop.py CHECK_COOP     (exit code 77 = chromium is not installed)
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

CHROMIUM = pathlib.Path("/usr/lib/chromium")
LAYER, DRIVER = CHROMIUM / "libVkLayer_khronos_validation.so", CHROMIUM / "libVkICD_mock_icd.so"


def main():
    if not LAYER.exists() or not DRIVER.exists():
        print("skipped: Debian's chromium package is not installed")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        layer = {"file_format_version": "1.2.0", "layer": {
            "name": "VK_LAYER_KHRONOS_validation", "type": "GLOBAL", "library_path": str(LAYER),
            "api_version": "1.4.300", "implementation_version": "1",
            "description": "Khronos validation of Debian's chromium",
            "instance_extensions": [{"name": "VK_EXT_debug_utils", "spec_version": "1"}]}}
        driver = {"file_format_version": "1.0.1", "ICD": {"library_path": str(DRIVER), "api_version": "1.4.300"}}
        pathlib.Path(folder, "layer.json").write_text(json.dumps(layer), encoding="utf-8")
        icd = pathlib.Path(folder, "driver.json")
        icd.write_text(json.dumps(driver), encoding="utf-8")
        env = dict(os.environ, VK_LAYER_PATH=folder, VK_ICD_FILENAMES=str(icd), VK_DRIVER_FILES=str(icd))
        return subprocess.run([sys.argv[1]], env=env).returncode


sys.exit(main())
