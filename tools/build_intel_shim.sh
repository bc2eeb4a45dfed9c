#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds Mesa's libintel_noop_drm_shim.so, with which Mesa's Intel driver compiles without an Intel GPU, from the source
# package of the distribution's own Mesa (Debian; under a minute). apt's configuration stays as it is: a private copy
# of its source list asks for the sources. Needs root for the build's packages.
#
# usage: tools/build_intel_shim.sh DIR     then: PUMICE_INTEL_SHIM=DIR/libintel_noop_drm_shim.so, see
#                                          tests/compile/test_compile.py
set -eu
export PATH=/usr/bin:/bin:/usr/sbin:/sbin # Debian's python3, which python3-mako belongs to
[ $# -eq 1 ] || { sed -n '7,8p' "$0"; exit 2; }
mkdir -p "$1/lists/partial"
cd "$1"
dir=$PWD
list=/etc/apt/sources.list.d/debian.sources
if [ -f "$list" ]; then
    sed 's/^Types:.*/Types: deb-src/' "$list" > src.sources
    sources=src.sources
else
    sed -n 's/^deb /deb-src /p' /etc/apt/sources.list > src.list
    sources=src.list
fi
apt="apt-get -o Dir::Etc::sourcelist=$dir/$sources -o Dir::Etc::sourceparts=/nonexistent -o Dir::State::Lists=$dir/lists"
apt-get install -y --no-install-recommends dpkg-dev meson ninja-build gcc g++ libdrm-dev libexpat1-dev zlib1g-dev \
    python3-mako bison flex pkg-config
$apt update
$apt source --only-source mesa
cd mesa-*/
meson setup build --buildtype=release -Dtools=intel,drm-shim -Dvulkan-drivers= -Dgallium-drivers= -Dplatforms= \
    -Dglx=disabled -Degl=disabled -Dgbm=disabled -Dopengl=false -Dgles1=disabled -Dgles2=disabled -Dllvm=disabled \
    -Dshared-glapi=disabled -Dvalgrind=disabled -Dlibunwind=disabled -Dintel-clc=disabled
ninja -C build src/intel/tools/libintel_noop_drm_shim.so
cp build/src/intel/tools/libintel_noop_drm_shim.so "$dir/"
echo "$dir/libintel_noop_drm_shim.so"
