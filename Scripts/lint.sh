#!/usr/bin/env bash
# Format and style: swift format over every Swift file, bash -n over every script, and shellcheck where it is installed.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
folders=()
for folder in Sources Tests Benchmarks Examples; do [[ -d $folder ]] && folders+=("$folder"); done
mapfile -t files < <(find Package.swift "${folders[@]}" -name '.build*' -prune -o -name '*.swift' -print | sort)
status=0
swift format lint --strict "${files[@]}" || status=1
for script in Scripts/*.sh Scripts/vm/*.sh .ci/run; do bash -n "$script" || status=1; done
if command -v shellcheck >/dev/null; then
    shellcheck --shell=bash --exclude=SC1091 Scripts/*.sh Scripts/vm/*.sh .ci/run || status=1
else
    say "shellcheck is not installed; the scripts had 'bash -n' only (apt-get install shellcheck)"
fi
((status == 0)) || die 1 "lint found something to mend; see above. 'swift format --in-place FILE' mends most."
say "lint: ${#files[@]} Swift files, $(find Scripts -name '*.sh' | wc -l) scripts, nothing to mend"
