#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# As finish_spirv.sh for kernels with cooperative matrices, which the compiler knows as NV's and drivers as KHR's: what
# an old spirv-val can check is checked before the rewrite; tests/compile/test_coop.py checks the result.
# finish_coop.sh SPIRV_VAL SPIRV_OPT PYTHON COOP_SPIRV IN OUT
set -e
"$2" --skip-validation --strip-debug "$5" -o "$6.stripped"
"$3" "$4" --nv "$6.stripped" "$6.nv"
"$1" --target-env vulkan1.2 "$6.nv"
"$3" "$4" "$6.stripped" "$6"
rm -f "$6.stripped" "$6.nv"
