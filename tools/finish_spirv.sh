#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Validates a SPIR-V module and drops its debug names: finish_spirv.sh SPIRV_VAL SPIRV_OPT IN OUT
set -e
"$1" --target-env vulkan1.1 "$3"
"$2" --strip-debug "$3" -o "$4"
