#!/usr/bin/env bash
# The main job: every vector of the software device looped back, then latency, then the loop through a real guest.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
build_release --product irqmux
irqmux="$(release_directory)/irqmux"

trap 'exit 130' INT

failures=0
# 77 says "nothing here to run", which the command explains itself; anything else but 0 is a failure.
play() {
    printf '\n$ irqmux %s\n' "$*"
    local status=0
    "$irqmux" "$@" || status=$?
    case $status in
    0 | 77) ;;
    130 | 143) exit "$status" ;;
    *)
        say "irqmux $1 exited with $status"
        failures=$((failures + 1))
        ;;
    esac
}

play doctor
play loopback --device software
for wait in block spin adaptive; do
    play latency --path loopback --wait "$wait" --count 20000 --rate 10k/s
done
if [[ -r /dev/kvm && -w /dev/kvm ]]; then
    # A guest whose code the kernel emulates keeps up with 2k/s on one vector; ordinary KVM does more.
    play latency --path kvm --wait adaptive --count 4000 --rate 2k/s
elif [[ -e /dev/kvm ]]; then
    # The group helps only where it may read and write; containers often have the node as root's alone.
    line="sudo chown $(id -un) /dev/kvm"
    group=$(stat -c %G /dev/kvm)
    if [[ $(stat -c %A /dev/kvm) == ????rw* && $group != root && $group != UNKNOWN ]]; then
        line="sudo usermod -aG $group $(id -un), then log in again"
    fi
    say "left out, the loop through a guest: /dev/kvm does not open. Type: $line"
else
    say "left out, the loop through a guest: there is no /dev/kvm (modprobe kvm_amd or kvm_intel, or enable nesting)"
fi
((failures == 0)) || die 1 "$failures of the commands above failed."
