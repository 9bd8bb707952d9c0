#!/usr/bin/env bash
# check_neon.sh - checks the NEON backend op by op on a processor of another kind: cross-compiled, in qemu.
#
# What it needs is installed from Debian's packages; OPTION is checkbackend's, as --op=attention. Some ten minutes.
#
#     scripts/check_neon.sh FOLDER [OPTION...]
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
shift
tests=$build/tests

scripts/install_packages.sh binutils gcc-aarch64-linux-gnu libc6-dev-arm64-cross make qemu-user
compiler=aarch64-linux-gnu-gcc
make --no-print-directory -f Sources/Backends/backends.mk BUILD="$build" CLANG=$compiler \
    "$build/lib/cabochon/libcabochon-neon.so"

# The scalar backend, which checkbackend takes weights' values from, is Embedded Swift here as well: there is no Swift
# for this system on the other processor. What it takes of Glibc is four functions.
mkdir -p "$tests/glibc"
echo 'float expf(float); float tanhf(float); float sqrtf(float); double tanh(double);' > "$tests/glibc/glibc.h"
echo 'module Glibc [system] { header "glibc.h" export * }' > "$tests/glibc/module.modulemap"
swiftc -enable-experimental-feature Embedded -target aarch64-none-none-elf -Xcc -fPIC -parse-as-library -wmo \
    -Ounchecked -module-name ScalarPlugin -I Include -I "$tests/glibc" -emit-object \
    Sources/Backends/ScalarBackend/*.swift Tests/Backends/scalar_plugin/ScalarPlugin.swift -o "$tests/scalar.o"
$compiler -std=c11 -O2 -fPIC -I Include -c Tests/Backends/scalar_plugin/scalar_plugin.c -o "$tests/scalar_plugin.o"
$compiler -shared -Wl,-z,defs "$tests/scalar.o" "$tests/scalar_plugin.o" -lm -o "$tests/libcabochon-scalar-check.so"

$compiler -std=c11 -O2 -D_GNU_SOURCE -I Include Tests/Backends/checkbackend*.c -lm -ldl -pthread \
    -o "$tests/checkbackend"
qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu "$tests/checkbackend" "$@" "$build/lib/cabochon/libcabochon-neon.so"
