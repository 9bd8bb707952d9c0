#!/usr/bin/env bash
# check_in_bochs.sh - checks a backend op by op on a processor that does not run it: in Bochs.
#
# Builds Bochs 3.0 from Debian trixie's source (the package of Debian 12, 2.7, lays out AVX-512's registers wrongly in
# memory, so that Linux turns AVX off), boots Debian's kernel on one processor of it, and runs checkbackend there. Bochs
# does some 100 million instructions a second: all ops take an hour. PROCESSOR is one that Bochs knows: sapphire_rapids,
# tigerlake, which has no products of bfloat16, or arrow_lake, which has AVX-VNNI and no AVX-512. OPTION is checkbackend's,
# as --op=attention. Exits with checkbackend's status, or 3 if it never ran.
#
#     scripts/check_in_bochs.sh FOLDER PROCESSOR CHECKBACKEND LIBRARY [OPTION...]
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1"
folder=$(realpath "$1") processor=$2 program=$(realpath "$3") library=$(realpath "$4")
shift 4
options=
[ $# = 0 ] || options=$(printf '%q ' "$@")

scripts/install_packages.sh bochsbios busybox-static cpio g++ genisoimage isolinux make syslinux-common vgabios xz-utils

bochs=$folder/bochs/bochs
if [ ! -x "$bochs" ]; then
    mkdir -p "$folder"/apt/{lists,cache/archives}/partial
    echo 'deb-src http://deb.debian.org/debian trixie main' > "$folder/apt/sources.list"
    apt=(apt-get -o Dir::Etc::sourcelist="$folder/apt/sources.list" -o Dir::Etc::sourceparts=-
         -o Dir::State::lists="$folder/apt/lists" -o Dir::Cache="$folder/apt/cache")
    "${apt[@]}" --quiet --quiet update
    # The original archive is all that is used, so that a description that can't be had does not matter.
    (cd "$folder/apt" && { "${apt[@]}" source --download-only bochs >&2 || [ -n "$(ls bochs_*.orig.tar.xz)" ]; })
    mkdir -p "$folder/bochs"
    tar xf "$folder"/apt/bochs_*.orig.tar.xz -C "$folder/bochs" --strip-components=1
    cd "$folder/bochs"
    # VCVTNE2PS2BF16 takes half of its result from beyond the register.
    instruction=cpu/avx/avx512_bf16.cc
    sed -i '/other half of the elements/,+3 s/op1.vmm32u(n))/op1.vmm32u(n - DWORD_ELEMENTS(len)))/' $instruction
    grep -q 'n - DWORD_ELEMENTS' $instruction || { echo "$0: look at VCVTNE2PS2BF16 in this Bochs" >&2; exit 3; }
    CFLAGS="-O2 -march=native" CXXFLAGS="-O2 -march=native" ./configure --quiet --enable-cpu-level=6 --enable-x86-64 \
        --enable-avx --enable-evex --enable-all-optimizations --enable-long-phy-address --enable-pci --enable-a20-pin \
        --enable-cdrom --disable-plugins --disable-debugger --disable-readline --disable-logging --disable-docbook \
        --without-x --with-nogui
    make -j2 bochs > make.log 2>&1 || { tail -20 make.log >&2; exit 3; }
    cd "$OLDPWD"
fi

if ! ls "$folder"/kernel/boot/vmlinuz-* > /dev/null 2>&1; then
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p' | head -1)
    (cd "$folder" && apt-get --quiet --quiet download "$package" && dpkg -x "$package"_*.deb kernel)
fi

# What the guest boots: a CD of the kernel and a disk in memory, with every library where the loader looks for it.
machine=$folder/guest-$processor
root=$machine/root cd=$machine/cd
rm -rf "$machine"
mkdir -p "$root"/{bin,dev,proc,check} "$cd"
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$program" "$root/check/checkbackend"
cp "$library" "$(dirname "$program")/libcabochon-scalar-check.so" "$root/check/"
for file in "$root"/check/*; do
    { ldd "$file" || true; } | grep -o '/lib[^ ]*' | while read -r needed; do
        [ -e "$root$needed" ] || install -D "$(realpath "$needed")" "$root$needed"
    done
done
cat > "$root/init" <<END
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
exec > /dev/ttyS1 2>&1 < /dev/null
/bin/busybox stty -F /dev/ttyS1 115200 raw -echo
cd /check
./checkbackend $options ./$(basename "$library")
echo "exit \$?"
/bin/busybox sleep 1
/bin/busybox reboot -f
END
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) > "$cd/initrd"
cp "$folder"/kernel/boot/vmlinuz-* "$cd/kernel"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$cd/"
# Bochs has neither ACPI's mode of management (acpi=off) nor memory moves as fast as it says (580 is FSRM); the rest is
# for a shorter boot, and for an end of it when checkbackend has ended.
kernel="acpi=off clearcpuid=580 mitigations=off nokaslr lsm= cryptomgr.notests random.trust_cpu=on"
kernel+=" tsc=reliable no_timer_check panic=-1 reboot=t"
cat > "$cd/isolinux.cfg" <<END
default linux
prompt 0
label linux
    kernel kernel
    append initrd=initrd console=ttyS0 $kernel
END
genisoimage -quiet -o "$machine/cd.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 \
    -boot-info-table "$cd"

# ips says how many instructions are a second of the guest's; clock sync=none leaves the host's out of it.
cat > "$machine/bochsrc" <<END
config_interface: textconfig
display_library: nogui
cpu: model=$processor, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=$machine/cd.iso, status=inserted
boot: cdrom
clock: sync=none
com1: enabled=1, mode=file, dev=$machine/console
com2: enabled=1, mode=file, dev=$machine/output
log: $machine/bochs.log
panic: action=fatal
END
: > "$machine/console"
: > "$machine/output"
"$bochs" -q -f "$machine/bochsrc" > "$machine/screen" 2>&1 < /dev/null &
trap 'kill $! 2> /dev/null || true' EXIT
tail -n +1 -f --pid=$! "$machine/output" | grep --line-buffered -v '^exit [0-9]*.$' || true
wait $! || true
status=$(sed -n 's/^exit \([0-9]*\).*/\1/p' "$machine/output")
if [ -z "$status" ]; then
    tail -n 20 "$machine/console" "$machine/bochs.log" "$machine/screen" >&2 || true
    echo "check_in_bochs.sh: checkbackend has not run to its end; above are the last words of Linux and of Bochs" >&2
    exit 3
fi
exit "$status"
