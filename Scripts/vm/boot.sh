#!/usr/bin/env bash
# Boots the emulated machine once: boot.sh KERNEL_FOLDER INITRAMFS VARIANT OUTPUT [NAME=VALUE…]
#   VARIANT   default | iommufd | noremap (no interrupt remapping) | noiommu
#   OUTPUT    a folder; console.log and results are written there
# Each NAME=VALUE reaches the first process as a variable. Status: 0 the machine went through its list (which may hold
# failures), 1 it stopped half-way or the kernel died, 2 it hung, 3 QEMU itself died.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
(($# >= 4)) || die 64 "usage: Scripts/vm/boot.sh KERNEL_FOLDER INITRAMFS VARIANT OUTPUT [NAME=VALUE…]"
kernel=$1 initramfs=$2 variant=$3 output=$4
shift 4
mkdir -p "$output"
remap=on iommu=on
[[ $variant != noremap ]] || remap=off
[[ $variant != noiommu ]] || iommu=off
functions=sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=4

# One processor, and TCG whatever /dev/kvm is: several processors hang now and then under nested virtualisation, and
# a /dev/kvm that is itself emulated is slower. edu: INTx and MSI. rocker: 32 MSI-X vectors that a register fires.
# xhci: 16 MSI vectors. pci-testdev: no interrupt at all. nvme: virtual functions; a second one has 2048 vectors, and
# two more are functions of one slot, a group. e1000e: PCI Express, and ERR.
machine=(
    -nodefaults -no-user-config -no-reboot -display none -monitor none
    -accel tcg -machine q35,kernel-irqchip=split -cpu max,la57=off -smp 1 -m 1024
    -device "intel-iommu,intremap=$remap" -device isa-debug-exit,iobase=0xf4,iosize=4
    -device edu,addr=4 -device edu,addr=5 -device pci-testdev,addr=6 -device rocker,addr=7,len-ports=14
    -device nec-usb-xhci,addr=8,msi=on,msix=off
    -device pcie-root-port,id=rp0,addr=9,chassis=1,slot=1 -device nvme-subsys,id=sub0
    -device "nvme,serial=x,subsys=sub0,bus=rp0,max_ioqpairs=8,msix_qsize=10,$functions"
    -device pcie-root-port,id=rp1,addr=a,chassis=2,slot=2,x-speed=5 -device e1000e,bus=rp1
    -device nvme,serial=y,addr=c,msix_qsize=2048
    -device nvme,serial=v,addr=d.0,multifunction=on -device nvme,serial=w,addr=d.1
    -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap
    -device virtio-9p-pci,fsdev=host,mount_tag=host,addr=b
)
: >"$output/results"
words="VARIANT=$variant $*"
status=0
"${with_parent[@]}" timeout --kill-after=10 "${IRQMUX_VM_LIMIT:-600}" \
    "${with_parent[@]}" qemu-system-x86_64 "${machine[@]}" \
    -kernel "$kernel/vmlinux" -initrd "$initramfs" -serial stdio -serial "file:$output/results" \
    -append "console=ttyS0 intel_iommu=$iommu iommu=pt no_timer_check nowatchdog panic=-1 loglevel=3 $words" \
    </dev/null >"$output/console.log" 2>"$output/qemu.log" || status=$?

# isa-debug-exit gives 33; 0 is a power-off or a reset without verdict.
case $status in
33) exit 0 ;;
124 | 137) exit 2 ;;
0) exit 1 ;;
*) exit 3 ;;
esac
