#!/bin/sh
# exports.sh - the library exports what cabochon.map names, which is what cabochon.h declares, and
# nothing else; it needs only the C and C++ runtimes, and looks for them nowhere in particular.
# Usage: exports.sh [LIBRARY]
set -u
cd "$(dirname "$0")/../.." || exit 2
library=${1:-${BUILD:-build}/lib/libcabochon.so.1}
include=Include
passed=0
failed=0

check() { # name, then a command
    name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $name"
    fi
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort >"$folder/exported"
grep -o 'cabochon_[a-z0-9_]*;' "$include/cabochon/cabochon.map" | tr -d ';' | sort >"$folder/mapped"
# A declaration is a name and a parenthesis, outside comments.
sed 's|/\*.*\*/||' "$include/cabochon/cabochon.h" | awk '/\/\*/ { c = 1 } !c { print } /\*\// { c = 0 }' |
    grep -v '^typedef\|(\*' | grep -o 'cabochon_[a-z0-9_]*(' | tr -d '(' | sort -u >"$folder/declared"

check "the exports are those of cabochon.map" diff "$folder/mapped" "$folder/exported"
check "cabochon.map names what cabochon.h declares" diff "$folder/declared" "$folder/mapped"

readelf -d "$library" >"$folder/dynamic"
needed=$(sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' "$folder/dynamic")
for one in $needed; do
    case $one in
    libc.so.* | libm.so.* | libstdc++.so.* | libgcc_s.so.* | ld-linux-*) passed=$((passed + 1)) ;;
    *)
        failed=$((failed + 1))
        echo "FAIL $library needs $one"
        ;;
    esac
done
check "the SONAME is libcabochon.so.1" grep -q 'SONAME.*\[libcabochon.so.1\]' "$folder/dynamic"
check "dlclose leaves it in place" grep -q NODELETE "$folder/dynamic"
check "it looks for libraries beside itself at most" \
    awk '/RUNPATH|RPATH/ && !/\[\$ORIGIN\]/ { bad = 1 } END { exit bad }' "$folder/dynamic"
check "the stack is not executable" sh -c "readelf -lW '$library' | grep 'GNU_STACK' | grep -qv RWE"
# Where the core loads, its backends must.
newest() { objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1; }
for plugin in "$(dirname "$library")"/cabochon/*.so; do
    [ -e "$plugin" ] || continue
    check "$plugin needs no newer libc than the library" \
        test "$(printf '%s\n' "$(newest "$plugin")" "$(newest "$library")" | sort -V | tail -1)" = "$(newest "$library")"
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
