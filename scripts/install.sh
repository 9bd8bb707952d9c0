#!/usr/bin/env bash
# install.sh - copies what `make build` staged to its place, with the names that linkers and loaders look for.
#
#     scripts/install.sh BUILD DESTDIR PREFIX VERSION
#
# DESTDIR goes in front of every path and into none of the files: packagers build into a folder that
# is not where the package will lie.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1 destination=$2 prefix=$3 version=$4
major=${version%%.*}
root=$destination$prefix

case $prefix in /*) ;; *) echo "PREFIX is $prefix; it must be an absolute path" >&2; exit 1 ;; esac

install -d "$root"/{bin,include/cabochon,lib/cabochon,lib/pkgconfig,lib/cmake/cabochon,share/doc/cabochon}
install -m 755 "$build/bin/cabochon" "$root/bin/cabochon"
install -m 644 "$build/lib/libcabochon.so.$major" "$root/lib/libcabochon.so.$version"
ln -sf "libcabochon.so.$version" "$root/lib/libcabochon.so.$major"
ln -sf "libcabochon.so.$major" "$root/lib/libcabochon.so"
for backend in "$build"/lib/cabochon/libcabochon-*.so; do
    [ -e "$backend" ] && install -m 644 "$backend" "$root/lib/cabochon/"
done
install -m 644 "$build"/include/cabochon/*.h "$root/include/cabochon/"
install -m 644 LICENSE README.md CHANGELOG.md "$root/share/doc/cabochon/"

# fill TEMPLATE TARGET: the templates know neither prefix nor version.
literal=$(sed 's/[&|\\]/\\&/g' <<<"$prefix") # for sed, which takes these for more than themselves
fill() {
    sed -e "s|@PREFIX@|$literal|g" -e "s|@VERSION@|$version|g" -e "s|@MAJOR@|$major|g" "$1" >"$2"
    chmod 644 "$2"
}
fill Packaging/cabochon.pc.in "$root/lib/pkgconfig/cabochon.pc"
fill Packaging/cabochonConfig.cmake.in "$root/lib/cmake/cabochon/cabochonConfig.cmake"
fill Packaging/cabochonConfigVersion.cmake.in "$root/lib/cmake/cabochon/cabochonConfigVersion.cmake"
echo "Installed Cabochon $version in $root"

# In folders of its own the loader finds what its cache lists. A package's installer sees to that by itself.
PATH=$PATH:/usr/sbin:/sbin
if [ -z "$destination" ] && grep -qxF "$prefix/lib" <<<"$(ldconfig -NXv 2>/dev/null | sed -n 's/^\(\/[^:]*\):.*/\1/p')"; then
    ldconfig 2>/dev/null || echo "Programs will find $root/lib/libcabochon.so.$major once root has run ldconfig"
fi
