#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds with AddressSanitizer and UndefinedBehaviorSanitizer and runs the tests that fit in a few minutes under
# them: everything but the long kernel sweep and the program's tests.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:-build-sanitize}
# Shaders are compiled without sanitizers: what the tests' build has of them, made up to date, serves here too.
spirv=()
if [ -f build-test/build.ninja ] && ninja -C build-test shaders/kernels_spv.c tests/subgroups_vk_spirv.c > /dev/null; then
    spirv=("-Dspirv=$PWD/build-test/shaders")
fi
if [ ! -f "$build/build.ninja" ]; then
    meson setup "$build" --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false \
        -Ddefault_library=static -Dtests=true -Db_ndebug=false "${spirv[@]}" > /dev/null || exit 1
fi
# drivers compile the same kernels: what lavapipe has compiled for the other tests need not be compiled again
[ -d build-test/mesa-cache ] && [ ! -e "$build/mesa-cache" ] && ln -s "$PWD/build-test/mesa-cache" "$build/mesa-cache"
ninja -C "$build" > "$build/ninja.log" 2>&1 || { tail -n 40 "$build/ninja.log"; exit 1; }
# Drivers and their compilers keep memory until the process ends; the suppressions name them and nothing of ours.
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export LSAN_OPTIONS="suppressions=$PWD/tests/lsan.supp:print_suppressions=0"
exec tests/run_tests.sh "$build" --suite unit --suite fuzz --suite sanitize --timeout-multiplier 4
