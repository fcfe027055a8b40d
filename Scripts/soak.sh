#!/usr/bin/env bash
# Fires signals at two loops under random switches: soak.sh [SIGNALS [SEED]]. The last line on stdout is the ledger.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
build_release --product irqmux-soak
"$(release_directory)/irqmux-soak" "$@"
