#!/usr/bin/env bash
# Packs what the emulated machine boots into: initramfs.sh KERNEL_FOLDER OUTPUT [STATIC_PROGRAM…]
#   SUITE=Tests/vm/suite   what runs inside
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
(($# >= 2)) || die 64 "usage: Scripts/vm/initramfs.sh KERNEL_FOLDER OUTPUT [STATIC_PROGRAM…]"
kernel=$1 output=$2
shift 2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,proc,sys,dev,modules}
cp "$(command -v busybox)" "$root/bin/busybox"
cp -r "$kernel/modules/." "$root/modules"
cp -r "$kernel/iommufd" "$root/modules/iommufd"
cp Tests/vm/init "$root/init"
cp "${SUITE:-Tests/vm/suite}" "$root/suite"
cp Tests/vm/without "$root/without"
cp Scripts/tally.awk "$root/tally.awk"
chmod +x "$root/init"
for program in "$@"; do strip -o "$root/bin/$(basename "$program")" "$program"; done
(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$output"
