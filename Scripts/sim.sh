#!/usr/bin/env bash
# Simulates guests, devices and hosts: sim.sh [SEEDS [SEED [STEPS]]] | mutations. The last line on stdout is the sum.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
build_release --product irqmux-sim
"$(release_directory)/irqmux-sim" "$@"
