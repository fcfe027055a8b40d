#!/usr/bin/env bash
# Boots the emulated machine on each kernel and runs the suite inside: test-vm.sh [RESULTS]
#   REQUESTS=5000   random requests per device of the differential test
#   SEED=           their seed; drawn when absent
#   PARTS=          ring,machine,commands,differential: what to run
#   KERNELS=        metapackages of kernels; the distribution's own and its newest when absent
# One line a test, then "N passed, N failed, N skipped"; with RESULTS the lines go to that file too, for
# Scripts/test.sh. A machine that cannot run it says what is missing and skips, which with CI=true is a failure.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
requests=${REQUESTS:-5000} seed=${SEED:-$RANDOM} parts=${PARTS:-ring,machine,commands,differential}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
results=${1:-$work/results}
all=$work/all
: >"$all"

finish() {
    cat "$all" >>"$results"
    [[ -n ${IRQMUX_PART_OF_TEST:-} ]] && exit 0
    awk -F '\t' '$1 == "skip" || $1 == "fail" {
            printf "%s: %s%s\n", ($1 == "skip" ? "skipped" : "FAILED"), $2, ($3 == "" ? "" : ": " $3)
        }
        { n[$1]++ }
        END { printf "%d passed, %d failed, %d skipped\n", n["pass"], n["fail"], n["skip"]; exit n["fail"] > 0 }' "$all"
    exit $?
}
# What the machine lacks ends everything: a skip here, a failure in CI.
lacking() {
    local outcome=skip
    [[ ${CI:-} != true || -n ${IRQMUX_PART_OF_TEST:-} ]] || outcome=fail
    printf '%s\temulated machine\tvm: %s\n' "$outcome" "$(tr '\n\t' '  ' <<<"$*")" >>"$all"
    finish
}

[[ $(uname -m) == x86_64 ]] || lacking "the emulated machine is an x86-64, whose devices and guests its tests know"
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    lacking "its kernels come as Debian packages: apt-get and dpkg-deb are missing"
said=$(Scripts/ensure-packages.sh qemu-system-x86 busybox-static cpio xz-utils zstd 2>&1) || lacking "$said"
[[ -z $said ]] || say "$said"

if [[ -n ${KERNELS:-} ]]; then
    read -ra kernels <<<"$KERNELS"
else
    # The distribution's own, and its newest where it has newer ones beside it.
    newest=$(apt-cache pkgnames linux-image- | grep -E '^linux-image-[0-9]+\.[0-9]+-amd64$' | sort -V | tail -n 1)
    kernels=(linux-image-amd64 ${newest:+"$newest"})
fi
folders=()
for kernel in "${kernels[@]}"; do
    folder=$(Scripts/vm/kernel.sh "$kernel") || lacking "kernel $kernel could not be had; see above"
    [[ " ${folders[*]} " == *" $folder "* ]] || folders+=("$folder")
done

# The command and the differential test as static files, and the test bundle as it is. A build that has nothing to do
# still takes its seconds, so it is left out where no source is newer than what was built.
unchanged() { [[ -e $1 && -z $(find Package.swift "${@:2}" -newer "$1" -print -quit) ]]; }
static=.build/static/release
compiler=$(swift --version 2>/dev/null)
built=.build/static/built
if ! unchanged "$built" Sources Tests/differential || [[ $(<"$built") != "$compiler" ]]; then
    say "building what runs inside"
    rm -f "$built"
    for product in irqmux irqmux-differential; do
        swift build -c release --scratch-path .build/static --static-swift-stdlib -Xswiftc -static-executable \
            --product "$product" >"$work/build.log" 2>&1 ||
            die 2 "$product does not build: $(tail -n 20 "$work/build.log")"
    done
    printf '%s\n' "$compiler" >"$built"
fi
bundle=$(swift build --show-bin-path)/irqmuxPackageTests.xctest
if ! unchanged "$bundle" Sources Tests && [[ ! -x $bundle || -z ${IRQMUX_PART_OF_TEST:-} ]]; then
    say "building the tests"
    IRQMUX_WERROR=1 swift build --build-tests >"$work/build.log" 2>&1 ||
        die 2 "the tests do not build: $(tail -n 20 "$work/build.log")"
fi

# What the C library's archive does with real devices.
Scripts/c-tests.sh machine >"$work/build.log" 2>&1 ||
    die 2 "the C program does not build: $(tail -n 20 "$work/build.log")"

# One boot, under the name of kernel and variant; its results go to NAME.results of the work folder. A try has minutes
# where it takes one: a slow or busy machine is no hang.
export IRQMUX_VM_LIMIT=${IRQMUX_VM_LIMIT:-$((600 + requests / 20))}
boot() {
    local folder=$1 variant=$2 name output initramfs
    name=$(basename "$folder")
    output=$work/$name-$variant
    initramfs=$work/$name.initramfs
    name=${name%%[-+]*}
    [[ $variant == default ]] || name="$name $variant"
    exec "${with_parent[@]}" Scripts/vm/tries.sh "$name" "$folder" "$initramfs" "$variant" "$output" \
        BUNDLE="$bundle" PARTS="$parts" REQUESTS="$requests" SEED="$seed"
}

say "seed $seed, $requests requests a device; $(wc -w <<<"${folders[*]}") kernels, two machines at a time"
# What a kernel boots into is the same in every variant.
for folder in "${folders[@]}"; do
    Scripts/vm/initramfs.sh "$folder" "$work/$(basename "$folder").initramfs" "$static/irqmux" \
        "$static/irqmux-differential" .build-c/irqmux-c
done
# The longest first, so that both places are busy to the end. iommufd, and the machines without interrupt remapping and
# without IOMMU, on the newest kernel only.
newest=${folders[-1]}
plan=("$newest default")
for folder in "${folders[@]}"; do [[ $folder == "$newest" ]] || plan+=("$folder default"); done
if compgen -G "$newest/iommufd/*.ko" >/dev/null; then plan+=("$newest iommufd"); fi
for failed in "${folders[@]/%//modules/mtty.failed}" "$newest/iommufd/iommufd.failed"; do
    [[ -f $failed ]] || continue
    kernel=$(basename "$(dirname "$(dirname "$failed")")") module=$(basename "$failed" .failed)
    printf 'skip\tmachine %s: %s\tvm: %s does not build for this kernel: %s\n' "$kernel" "$module" "$module" \
        "$(tr '\n\t' '  ' <"$failed")" >>"$all"
done
plan+=("$newest noremap" "$newest noiommu")
running=0
for row in "${plan[@]}"; do
    if ((running == 2)); then
        wait -n || true
        running=$((running - 1))
    fi
    read -r folder variant <<<"$row"
    boot "$folder" "$variant" &
    running=$((running + 1))
done
wait
cat "$work"/*.results >>"$all"
finish
