#!/usr/bin/env bash
# Brings a distribution kernel into the cache, with the modules that the emulated machine loads:
#   kernel.sh METAPACKAGE    prints its folder in the cache
# Downloads and unpacks Debian packages and installs none. Kernel sources are GPL: fetched here, kept in the cache only.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
(($# == 1)) || die 64 "usage: Scripts/vm/kernel.sh METAPACKAGE (linux-image-amd64, linux-image-6.12-amd64)"

# What the machine loads, dependencies apart. A name that is built in, or that the kernel does not know, is passed over.
wanted=(vfio-pci vfio_iommu_type1 mdev kvm-amd virtio_pci 9pnet_virtio 9p aer_inject nvme)

# Package lists that are missing, or name versions that the mirror has no more, are fetched once, where that is allowed.
again() {
    if ((EUID != 0)) || [[ -n ${IRQMUX_LISTS_ARE_NEW:-} ]]; then die 69 "$*. Type: apt-get update"; fi
    say "$*; fetching the package lists (apt-get update)"
    apt-get -qq -o DPkg::Lock::Timeout=120 update </dev/null >&2 || die 69 "apt-get update failed; see above"
    IRQMUX_LISTS_ARE_NEW=1 exec Scripts/vm/kernel.sh "$metapackage"
}
metapackage=$1
abi=$({ apt-cache depends "$1" 2>/dev/null || true; } | sed -n 's/^ *Depends: linux-image-//p' | head -n 1)
[[ -n $abi ]] || again "the package lists do not know $1"
version=$(apt-cache policy "linux-image-$abi" | sed -n 's/^ *Candidate: //p')
folder=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/irqmux-vm/$abi
mkdir -p "$(dirname "$folder")"
# One at a time: the cache is everybody's.
exec {lock}>"$folder.lock"
flock "$lock"
# What is made depends on this file too.
stamp="$version $(cksum <"Scripts/vm/kernel.sh")"
if [[ -f $folder/stamp && $(<"$folder/stamp") == "$stamp" ]]; then
    printf '%s\n' "$folder"
    exit 0
fi
say "kernel $abi ($version): fetching and building into $folder"
work=$folder.new
rm -rf "$work" "$folder"
mkdir -p "$work/modules" "$work/iommufd" "$work/tmp"
trap 'rm -rf "$work"' EXIT
tmp=$work/tmp

# Packages of one source package have one version, so that headers and source fit the image.
download() {
    (cd "$tmp" && apt-get -qq download "$@" >/dev/null 2>"$tmp/apt.log") ||
        again "apt-get download $*: $(tail -n 1 "$tmp/apt.log")"
}
unpack() { dpkg-deb --fsys-tarfile "$tmp/$1"_*.deb; }

# What the image is made of: one package, or, since Linux 6.17, packages for the binary and the modules.
mapfile -t parts < <({ apt-cache depends "linux-image-$abi" || true; } |
    sed -nE "s/^ *Depends: <?(linux-(binary|modules)-$(sed 's/[.+]/\\&/g' <<<"$abi"))>?\$/\1/p" | sort -u)
# The ELF kernel starts without the emulated decompression, which takes longer than the boot itself.
for package in "linux-image-$abi" "${parts[@]}"; do
    download "$package"
    unpack "$package" | tar -C "$tmp" -xf - --wildcards './boot/vmlinuz-*' './lib/modules/*' './usr/lib/modules/*' \
        2>>"$tmp/unpack.log" || true
    rm "$tmp/$package"_*.deb
done
bzimage=$tmp/boot/vmlinuz-$abi
[[ -f $bzimage ]] || bzimage=$(find "$tmp" -name vmlinuz | head -n 1)
[[ -f $bzimage ]] || die 2 "$abi: no kernel in linux-image-$abi ${parts[*]}: $(tail -n 2 "$tmp/unpack.log")"
number() { od -An -t "u$2" -j "$1" -N "$2" "$bzimage" | tr -d ' '; }
# Documentation/arch/x86/boot.rst: setup_sects at 0x1f1, payload_offset at 0x248, payload_length at 0x24c. The last
# four bytes are the length of what is packed.
offset=$((($(number 497 1) + 1) * 512 + $(number 584 4)))
length=$(($(number 588 4) - 4))
case $(od -An -t x1 -j "$offset" -N 4 "$bzimage" | tr -d ' ') in
fd377a58) expand=(xz -dc) ;;
28b52ffd) expand=(zstd -dcq) ;;
1f8b*) expand=(gzip -dc) ;;
*) die 2 "$abi: the kernel is packed in a way that this script does not know" ;;
esac
dd if="$bzimage" iflag=skip_bytes,count_bytes bs=1M skip="$offset" count="$length" status=none |
    "${expand[@]}" >"$work/vmlinux"

# Modules: every .ko of the closure, unpacked, and the order to load them in.
declare -A path done
while IFS= read -r file; do
    name=$(basename "$file")
    name=${name%%.ko*}
    path[${name//-/_}]=$file
done < <(find "$tmp" -path '*/modules/*' \( -name '*.ko' -o -name '*.ko.xz' -o -name '*.ko.zst' \))
place() {
    local name=${1//-/_} file needed
    [[ -z ${done[$name]:-} && -n ${path[$name]:-} ]] || return 0
    done[$name]=1
    file=$work/modules/$name.ko
    case ${path[$name]} in
    *.xz) xz -dc "${path[$name]}" >"$file" ;;
    *.zst) zstd -dcq "${path[$name]}" >"$file" ;;
    *) cp "${path[$name]}" "$file" ;;
    esac
    for needed in $(tr '\0' '\n' <"$file" | sed -n 's/^depends=//p' | tr ',' ' '); do place "$needed"; done
    printf '%s\n' "$name" >>"$work/modules/order"
}
for name in "${wanted[@]}"; do place "$name"; done

# Headers and source, to build what Debian does not: the sample mediated device, and iommufd where it is off.
common=linux-headers-${abi%-amd64}-common
kbuild=$(apt-cache depends "linux-headers-$abi" | sed -n 's/^ *Depends: \(linux-kbuild-.*\)/\1/p' | head -n 1)
series=$(sed -E 's/^([0-9]+\.[0-9]+).*/\1/' <<<"$abi")
download "linux-headers-$abi" "$common" "$kbuild" "linux-source-$series"
for package in "linux-headers-$abi" "$common" "$kbuild"; do unpack "$package" | tar -C "$tmp" -xf -; done
headers=$tmp/usr/src/linux-headers-$abi
# The headers name their place after being installed; here they stay in the cache.
sed -i "s#/usr/src/#$tmp/usr/src/#g" "$headers/Makefile"
compiler=$(sed -n 's/^CC = .*\(gcc-[0-9]*\)$/\1/p' "$headers/.kernelvariables")
# The kernel's own compiler where it is there; the machine's otherwise: no other one is installed.
command -v "${compiler:-gcc}" >/dev/null || compiler=gcc
Scripts/ensure-packages.sh gcc make
source=$work/source
mkdir "$source"
unpack "linux-source-$series" | tar -xOf - "./usr/src/linux-source-$series.tar.xz" | xz -dc -T0 |
    tar -C "$source" --strip-components=1 -xf - --wildcards '*/samples/vfio-mdev/mtty.c' '*/drivers/vfio/*' \
        '*/drivers/iommu/iommu*' '*/lib/interval_tree.c'
rm "$tmp/linux-source-$series"_*.deb

# BTF would want pahole and is of no use here.
build() {
    local folder=$1
    shift
    make -C "$headers" M="$folder" CC="${compiler:-gcc}" CONFIG_DEBUG_INFO_BTF_MODULES= -j"$(nproc)" "$@" modules \
        >"$work/build.log" 2>&1
}
sample() {
    mkdir "$1"
    cp "$source/samples/vfio-mdev/mtty.c" "$1"
    printf 'obj-m := mtty.o\n' >"$1/Kbuild"
}
# A kernel is of use without what does not build for it, and says so: complaint FILE keeps the compiler's first word.
complaint() {
    grep -m 1 -E 'error|\*\*\*' "$work/build.log" >"$1" || tail -n 1 "$work/build.log" >"$1"
    say "$abi: $(basename "$1" .failed) does not build: $(<"$1")"
}
sample "$tmp/mtty"
if build "$tmp/mtty"; then
    mv "$tmp/mtty/mtty.ko" "$work/modules"
    printf 'mtty\n' >>"$work/modules/order"
else
    complaint "$work/modules/mtty.failed"
fi

# No kernel of Debian's has iommufd on. Where the source has it, it is built with VFIO again, since VFIO's device
# nodes and its structures depend on it. The kernel itself keeps its configuration.
if ! grep -q '^CONFIG_IOMMUFD=' "$headers/.config" && [[ -d $source/drivers/iommu/iommufd ]]; then
    tree=$tmp/iommufd
    mkdir -p "$tree/drivers/iommu" "$tree/drivers/vfio"
    cp -r "$source/drivers/iommu/iommufd" "$source/drivers/iommu/iommu-priv.h" "$tree/drivers/iommu"
    cp -r "$source"/drivers/vfio/{*.[ch],Makefile,pci,mdev} "$tree/drivers/vfio"
    cp "$source/lib/interval_tree.c" "$tree/drivers/iommu/iommufd"
    # Its exports are the kernel's already; only the functions that the kernel was built without are missing.
    printf '%s\n' 'iommufd-y += interval_tree.o' \
        'CFLAGS_interval_tree.o := -D__DISABLE_EXPORTS -DCONFIG_INTERVAL_TREE_SPAN_ITER=1' \
        >>"$tree/drivers/iommu/iommufd/Makefile"
    sample "$tree/mtty"
    printf 'obj-m := drivers/iommu/iommufd/ drivers/vfio/ mtty/\n' >"$tree/Kbuild"
    if build "$tree" CONFIG_IOMMUFD=m CONFIG_VFIO_DEVICE_CDEV=y \
        KCFLAGS="-DCONFIG_IOMMUFD_MODULE=1 -DCONFIG_VFIO_DEVICE_CDEV=1"; then
        while IFS= read -r file; do
            name=$(basename "$file" .ko)
            mv "$file" "$work/iommufd/${name//-/_}.ko"
        done < <(find "$tree" -name '*.ko')
    else
        complaint "$work/iommufd/iommufd.failed"
    fi
fi
strip --strip-debug "$work"/modules/*.ko
compgen -G "$work/iommufd/*.ko" >/dev/null && strip --strip-debug "$work"/iommufd/*.ko
rm -rf "$tmp" "$source" "$work/build.log"
printf '%s\n' "$stamp" >"$work/stamp"
mv "$work" "$folder"
trap - EXIT
say "kernel $abi: $(du -sh "$folder" | cut -f1) in the cache"
printf '%s\n' "$folder"
