#!/usr/bin/env bash
# uninstall.sh - takes away what install.sh put in its place, and the folders that are Cabochon's own.
#
#     scripts/uninstall.sh DESTDIR PREFIX VERSION
#
# Backends of others in lib/cabochon stay, and the folder with them.
set -euo pipefail
destination=$1 prefix=$2 version=$3
major=${version%%.*}
root=$destination$prefix

case $prefix in /*) ;; *) echo "PREFIX is $prefix; it must be an absolute path" >&2; exit 1 ;; esac

rm -f "$root/bin/cabochon" "$root"/lib/libcabochon.so{".$version",".$major",} \
    "$root"/lib/cabochon/libcabochon-{amx,avx512,avxvnni,avx2,neon,blas}.so \
    "$root"/include/cabochon/{cabochon,backend}.h "$root/lib/pkgconfig/cabochon.pc" \
    "$root"/lib/cmake/cabochon/cabochonConfig{,Version}.cmake "$root"/share/doc/cabochon/{LICENSE,README.md,CHANGELOG.md}
for folder in "$root"/{include,lib,lib/cmake,share/doc}/cabochon; do
    [ ! -d "$folder" ] || rmdir --ignore-fail-on-non-empty "$folder"
done
echo "Removed Cabochon $version from $root"
