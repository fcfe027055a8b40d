#!/usr/bin/env bash
# The Exerciser in another implementation's hands: test-interop.sh [RESULTS]
#   KERNEL=   metapackage of the guest's kernel; the distribution's newest when absent
# irqmux serves it over vfio-user; QEMU's vfio-user-pci plugs it into an emulated machine; that machine's kernel finds a
# PCI device, and irqmux drives it there through vfio-pci. One line a test, then "N passed, N failed, N skipped"; with
# RESULTS the lines go to that file, for Scripts/test.sh. A machine that cannot run it says what is missing and skips,
# which with CI=true is a failure.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
work=$(mktemp -d)
results=${1:-$work/results}
all=$work/all
: >"$all"
server=
clean_up() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

record() {
    printf '%s\tinterop: %s\t%s\n' "$1" "$2" "$(tr '\n\t' '  ' <<<"${3:-}")" >>"$all"
    printf '%s  %s%s\n' "$1" "$2" "${3:+: $3}"
}
finish() {
    cat "$all" >>"$results"
    [[ -n ${IRQMUX_PART_OF_TEST:-} ]] && exit 0
    awk -F '\t' '{ n[$1]++ }
        END { printf "%d passed, %d failed, %d skipped\n", n["pass"], n["fail"], n["skip"]; exit n["fail"] > 0 }' "$all"
    exit $?
}
# What the machine lacks ends everything: a skip here, a failure in CI. Scripts/test.sh judges its own skips.
lacking() {
    local outcome=skip
    [[ ${CI:-} != true || -n ${IRQMUX_PART_OF_TEST:-} ]] || outcome=fail
    record "$outcome" "QEMU's vfio-user-pci" "interop: $*"
    finish
}

[[ $(uname -m) == x86_64 ]] || lacking "the emulated machine is an x86-64"
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    lacking "QEMU and the kernel come as Debian packages: apt-get and dpkg-deb are missing"
said=$(Scripts/ensure-packages.sh busybox-static cpio xz-utils zstd 2>&1) || lacking "$said"
qemu=$(Scripts/interop/qemu.sh) || lacking "QEMU 11 could not be had; see above"
kernel=${KERNEL:-$(apt-cache pkgnames linux-image- |
    grep -E '^linux-image-[0-9]+\.[0-9]+-amd64$' | sort -V | tail -n 1)}
folder=$(Scripts/vm/kernel.sh "${kernel:-linux-image-amd64}") || lacking "kernel $kernel could not be had; see above"

say "building what runs on both sides"
for product in irqmux irqmux-interop; do
    swift build -c release --scratch-path .build/static --static-swift-stdlib -Xswiftc -static-executable \
        --product "$product" >"$work/build.log" 2>&1 || die 2 "$product does not build: $(tail -n 20 "$work/build.log")"
done
static=.build/static/release

# serve SOCKET DEVICE: in the background; false when the socket does not appear.
serve() {
    "$static/irqmux" serve --socket "$1" --device "$2" --format json >"$work/served" 2>"$work/server.log" &
    server=$!
    for ((turn = 0; turn < 100; turn++)); do
        [[ ! -S $1 ]] || return 0
        sleep 0.1
    done
    record fail "irqmux serves $2" "$(tail -n 5 "$work/server.log")"
    return 1
}

# What an optimised server needs at its peak, with every vector there can be assigned and signalled, over two clients.
ulimit -n 16384 2>/dev/null || true
serve "$work/large.sock" software:msix=2048,msi=0,intx=0 || finish
refused=0
for ((client = 0; client < 2; client++)); do
    said=$("$static/irqmux" loopback --device "vfio-user:$work/large.sock" --storm 100 2>&1) || refused=$?
done
peak=$(awk '/^VmHWM:/ { print $2 }' "/proc/$server/status")
if ((peak <= 16384)) && ((refused == 0)); then record pass "2048 vectors fit in 16 MiB" "$peak KiB"; else
    record fail "2048 vectors fit in 16 MiB" "$peak KiB; status $refused: $(tail -n 3 <<<"$said")"
fi
kill -TERM "$server" && wait "$server" || record fail "the server of 2048 vectors ends in order"

socket=$work/exerciser.sock
serve "$socket" software:msix=64,msi=32,intx=1 || finish

# Our own client first: the server takes one client after another.
if said=$("$static/irqmux" loopback --device "vfio-user:$socket" 2>&1); then
    record pass "our own client, loopback"
else
    record fail "our own client, loopback" "$(tail -n 3 <<<"$said")"
fi

SUITE=Tests/interop/suite Scripts/vm/initramfs.sh "$folder" "$work/initramfs" "$static/irqmux" "$static/irqmux-interop"
# Shared memory, so that the device reaches the guest's. caching-mode: the guest's IOMMU tells QEMU of each mapping, and
# QEMU tells the device. TCG whatever /dev/kvm is, as for Scripts/test-vm.sh.
machine=(
    -nodefaults -no-user-config -no-reboot -display none -monitor none
    -accel tcg -machine q35,kernel-irqchip=split,memory-backend=memory -cpu max -smp 1 -m 512
    -object memory-backend-memfd,id=memory,size=512M,share=on
    -device intel-iommu,intremap=on,caching-mode=on -device isa-debug-exit,iobase=0xf4,iosize=4
    -device "{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"$socket\"},\"addr\":\"4\"}"
)
: >"$work/guest"
status=0
"${with_parent[@]}" timeout --kill-after=10 "${IRQMUX_VM_LIMIT:-300}" "${with_parent[@]}" "$qemu" "${machine[@]}" \
    -kernel "$folder/vmlinux" -initrd "$work/initramfs" -serial stdio -serial "file:$work/guest" \
    -append "console=ttyS0 intel_iommu=on iommu=pt no_timer_check nowatchdog panic=-1 loglevel=3 VARIANT=default" \
    </dev/null >"$work/console.log" 2>"$work/qemu.log" || status=$?

while IFS=$'\t' read -r outcome name reason; do
    case $outcome in pass | fail | skip) record "$outcome" "$name" "$reason" ;; esac
done <"$work/guest"
# isa-debug-exit gives 33.
if ((status == 33)) && grep -qx end "$work/guest"; then record pass "the whole list ran"; else
    record fail "the whole list ran" "QEMU ended with $status"
fi
# QEMU unmaps whole ranges behind its IOMMU, mapped or not, and says so of each that was not (ENOENT by the protocol).
# Command 3 is DMA_UNMAP.
harmless='dma_unmap.* = -2 \(No such file or directory\)|on async request:? command 3 error No such file or directory'
if complaints=$(grep -vE "$harmless" "$work/qemu.log"); then
    record fail "QEMU complains of nothing" "$(tail -n 3 <<<"$complaints")"
else
    record pass "QEMU complains of nothing"
fi

# The server outlived its clients, ends when it is told to, and no message was broken.
ended=0
kill -TERM "$server" && wait "$server" || ended=$?
server=
if ((ended == 0)) && grep -qE '"broken": *0,?$' "$work/served"; then record pass "the server ends in order"; else
    record fail "the server ends in order" "status $ended: $(tail -n 3 "$work/server.log") $(<"$work/served")"
fi
if grep -q '^fail' "$all"; then
    say "the end of the console:"
    tail -n 80 "$work/console.log" >&2
    say "QEMU and server:"
    tail -n 20 "$work/qemu.log" "$work/server.log" >&2
fi
finish
