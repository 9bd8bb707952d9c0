#!/bin/sh
# examples.sh - installs what is built into a folder of its own, and uses it as a stranger would: with
# the C compiler and pkg-config, with CMake, and from Python. The examples must say what they promise.
set -u
cd "$(dirname "$0")/../.." || exit 2
build=${BUILD:-build}
model=$PWD/Tests/Fixtures/gemma2-tiny
passed=0
failed=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

check() { # name, then a command
    name=$1
    shift
    if "$@" >"$folder/output" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        cat "$folder/output"
    fi
}

version=$(awk '/#define CABOCHON_VERSION_/ { printf "%s%s", dot, $3; dot = "." }' Include/cabochon/cabochon.h)
check "installs" scripts/install.sh "$build" "" "$folder/installed" "$version"
export PKG_CONFIG_PATH="$folder/installed/lib/pkgconfig" LD_LIBRARY_PATH="$folder/installed/lib"
check "pkg-config has the version" test "$(pkg-config --modversion cabochon)" = "$version"
for example in hello stream moderate; do
    # The flags are words, so not quoted.
    # shellcheck disable=SC2046
    check "$example.c compiles" cc -Wall -Wextra -Werror "Examples/c/$example.c" \
        $(pkg-config --cflags --libs cabochon) -o "$folder/$example"
    check "$example.c stays under 80 lines" test "$(wc -l <"Examples/c/$example.c")" -lt 80
done
check "hello.c runs" sh -c "'$folder/hello' '$model' | grep -q '^Once upon a time'"
check "stream.c swaps the backend and goes on" \
    sh -c "'$folder/stream' '$model' 'Hello?' | grep -q 'now on scalar'"
check "stream.c loses no token" sh -c "'$folder/stream' '$model' 'Hello?' | tail -1 |
    awk '{ exit !(\$1 > 16 && \$3 > \$1) }'"
check "moderate.c scores each line" sh -c "printf 'one\ntwo' | '$folder/moderate' '$model' |
    awk -F '\t' '{ count += NF == 5 } END { exit count != 3 }'"
check "an error is one line, and exit 1" sh -c \
    "'$folder/hello' /nowhere 2>'$folder/errors'; test \$? = 1 && test \$(wc -l <'$folder/errors') = 1"

check "stream.c says why it fails" sh -c "! '$folder/stream' /nowhere Hi 2>'$folder/errors' &&
    grep -q '^stream: .*/nowhere' '$folder/errors'"
check "installs under a name with a blank" scripts/install.sh "$build" "" "$folder/in stalled" "$version"
# pkg-config writes for a shell.
check "pkg-config quotes it" sh -c "eval cc Examples/c/hello.c \
    \$(PKG_CONFIG_PATH='$folder/in stalled/lib/pkgconfig' pkg-config --cflags --libs cabochon) -o '$folder/blank'"

check "installs under a name that sed would read" scripts/install.sh "$build" "" "$folder/R&D|x" "$version"
check "pkg-config gives it as it is" sh -c "PKG_CONFIG_PATH='$folder/R&D|x/lib/pkgconfig' \
    pkg-config --variable=libdir cabochon | grep -qxF '$folder/R&D|x/lib'"

# A loader whose own folder it is, and which says so when its cache is made.
mkdir "$folder/tools"
cat >"$folder/tools/ldconfig" <<LDCONFIG
#!/bin/sh
[ \$# = 0 ] && echo made >>"$folder/cache" || echo "$folder/own/lib: (from /etc/ld.so.conf:1)"
LDCONFIG
chmod +x "$folder/tools/ldconfig"
own_loader() { PATH=$folder/tools:$PATH scripts/install.sh "$build" "$1" "$2" "$version"; }
check "installs for a loader that keeps a cache" own_loader "" "$folder/own"
check "whose cache is made anew" test "$(cat "$folder/cache")" = made
check "installs for a package" own_loader "$folder/package" "$folder/own"
check "installs beside the loader's folders" own_loader "" "$folder/own2"
check "and leaves the cache alone for these" test "$(cat "$folder/cache")" = made

touch "$folder/own/lib/cabochon/libcabochon-mine.so"
check "uninstalls" scripts/uninstall.sh "" "$folder/own" "$version"
check "what is left is somebody else's" test "$(find "$folder/own" ! -type d)" = \
    "$folder/own/lib/cabochon/libcabochon-mine.so"
check "uninstalls from a package's folder" scripts/uninstall.sh "$folder/package" "$folder/own" "$version"
check "nothing is left, nor a folder of its name" test -z "$(find "$folder/package" ! -type d -o -name cabochon)"

python=$build/venv/bin/python
if [ -x "$python" ]; then
    export PYTHONPATH=bindings/python CABOCHON_LIBRARY="$folder/installed/lib/libcabochon.so.1"
    check "hello.py runs" sh -c "'$python' Examples/python/hello.py '$model' | grep -q '^Once upon a time'"
    check "stream.py swaps the backend and goes on" \
        sh -c "'$python' Examples/python/stream.py '$model' 'Hello?' | grep -q 'now on scalar'"
    check "moderate_chat.py refuses what violates a policy" sh -c \
        "echo Hello | '$python' Examples/python/moderate_chat.py '$model' '$model' 0 | grep -q 'stopped: '"
fi

if command -v cmake >/dev/null; then
    mkdir "$folder/project"
    cp Examples/c/hello.c "$folder/project/hello.c"
    cat >"$folder/project/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.16)
project(hello C)
find_package(cabochon 1.0 REQUIRED)
add_executable(hello hello.c)
target_link_libraries(hello PRIVATE cabochon::cabochon)
CMAKE
    check "CMake configures" cmake -S "$folder/project" -B "$folder/project/build" \
        "-DCMAKE_PREFIX_PATH=$folder/installed"
    check "CMake builds" cmake --build "$folder/project/build"
    check "what CMake built runs" sh -c "'$folder/project/build/hello' '$model' | grep -q '^Once upon a time'"
    # As on systems where /lib leads to /usr/lib.
    mkdir "$folder/system"
    ln -s "$folder/installed" "$folder/system/usr"
    ln -s usr/lib "$folder/system/lib"
    check "CMake finds the headers by another way to lib" cmake -S "$folder/project" -B "$folder/project/merged" \
        "-DCMAKE_PREFIX_PATH=$folder/system"
    mkdir "$folder/languageless"
    sed -e 's/hello C/hello NONE/' -e '/^add_exec/d' -e '/^target/d' "$folder/project/CMakeLists.txt" \
        >"$folder/languageless/CMakeLists.txt"
    check "CMake finds it before a language" cmake -S "$folder/languageless" -B "$folder/languageless/build" \
        "-DCMAKE_PREFIX_PATH=$folder/installed"
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
