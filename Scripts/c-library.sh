#!/usr/bin/env bash
# Builds the C library into .build-c: c-library.sh [static] [shared]; both without an argument. Prints what was built.
#   libirqmux.a    Embedded Swift, no Swift runtime: needs libc and liburing; one object, everything but the API local
#   libirqmux.so.0 ordinary Swift with its runtime inside: needs libc, libstdc++ and liburing
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
(($# > 0)) || set -- static shared
out=.build-c
rooms=(EventRing InterruptModel VFIO KVM IRQMux CIRQMux)
mkdir -p "$out/static" "$out/include"
cp Sources/CIRQMuxHeader/include/irqmux.h "$out/include/irqmux.h"
for wanted in "$@"; do
    [[ $wanted == static || $wanted == shared ]] || die 64 "usage: Scripts/c-library.sh [static] [shared]"
done

# What the header declares, and nothing else, can be seen from outside.
c_api >"$out/api"
(($(wc -l <"$out/api") > 50)) || die 2 "found no API in irqmux.h"

# Whether something of the given folders is newer than a file, or the file is missing.
is_stale() {
    local file=$1
    shift
    [[ ! -f $file || -n $(find "$@" -newer "$file" -print -quit) ]]
}

# A tool that came with the compiler, as it has to read what the compiler writes: tool clang | ld.lld.
tool() {
    local resources beside
    resources=$(swiftc -print-target-info | sed -n 's/.*"runtimeResourcePath": *"\(.*\)".*/\1/p')
    beside=${resources%/lib/*}/bin/$1
    [[ -x $beside ]] || beside=$(command -v "$1") || die 69 "no $1 beside swiftc, nor in PATH"
    printf '%s\n' "$beside"
}

# The rooms as bitcode, optimised as one program that offers the API and no more, to assembly.
build_static() {
    local flags=(-Osize -wmo -parse-as-library -enable-experimental-feature Embedded -swift-version 6
        -package-name irqmux -strict-memory-safety -warnings-as-errors
        # Retaining and what else the standard library has is called and not inlined. Without a runtime there is no
        # exclusivity checking: its calls would do nothing.
        -Xllvm -inline-threshold=0 -Xllvm -sil-disable-pass=closure-specialize -enforce-exclusivity=unchecked
        -enable-upcoming-feature ExistentialAny -enable-upcoming-feature InternalImportsByDefault
        -enable-upcoming-feature MemberImportVisibility -I "$out/static"
        -Xcc "-fmodule-map-file=Sources/CLiburing/module.modulemap"
        -Xcc "-fmodule-map-file=Sources/CKernel/include/module.modulemap"
        -Xcc "-fmodule-map-file=Sources/CIRQMuxHeader/include/module.modulemap")
    local bitcodes=() room source bitcode clang below=(Sources/CKernel/include)
    clang=$(tool clang)
    # swiftc keeps what it made of unchanged code, also when only flags changed.
    if [[ $(cat "$out/static/flags" 2>/dev/null) != "${flags[*]}" ]]; then rm -f "$out"/static/*.bc; fi
    printf '%s\n' "${flags[*]}" >"$out/static/flags"
    for source in Sources/CKernel/*.c Sources/CIRQMuxHeader/*.c; do
        bitcode=$out/static/$(basename "$source").bc
        bitcodes+=("$bitcode")
        ! is_stale "$bitcode" "${below[@]}" Sources/CIRQMuxHeader "$source" ||
            "$clang" -std=gnu11 -Os -fPIC -flto -Wall -Wextra -Werror -ISources/CKernel/include \
                -ISources/CIRQMuxHeader/include -c "$source" -o "$bitcode"
    done
    for room in "${rooms[@]}"; do
        bitcode=$out/static/$room.bc
        bitcodes+=("$bitcode")
        below+=("Sources/$room")
        [[ $room != CIRQMux ]] || below+=(Sources/CIRQMuxHeader)
        is_stale "$bitcode" "${below[@]}" || continue
        say "  Embedded: $room"
        mapfile -t sources < <(find "Sources/$room" -name '*.swift' | sort)
        swiftc "${flags[@]}" -module-name "$room" -emit-module -emit-module-path "$out/static/$room.swiftmodule" \
            -emit-ir "${sources[@]}" -o "$bitcode.ll"
        # As text: swiftc 6.3.1 crashes when it writes the bitcode.
        "$clang" -flto -Oz -c -x ir "$bitcode.ll" -o "$bitcode"
        rm "$bitcode.ll"
    done
    link_static "${bitcodes[@]}"
}

# One object of the given bitcode, from which everything is gone that no call of the API reaches, in sections from which
# a program's linker drops what the program does not.
link_static() {
    local keep=() symbol all=$out/static/all
    while IFS= read -r symbol; do keep+=(-u "$symbol"); done <"$out/api"
    { printf '{ global:\n' && sed 's/$/;/' "$out/api" && printf 'local: *; };\n'; } >"$out/static/irqmux.map"
    "$(tool ld.lld)" -shared --version-script="$out/static/irqmux.map" "${keep[@]}" --lto-O2 --lto-emit-asm \
        -o "$all" "$@"
    # Some versions of it add a suffix to the name.
    [[ ! -f $all.lto.s ]] || mv "$all.lto.s" "$all"
    awk -v room=irqmux -f Scripts/sections.awk "$all" >"$all.s"
    "$(tool clang)" -c -x assembler "$all.s" -o "$all.o"
    ld -r --gc-sections -e irqmux_mux_create "${keep[@]}" -o "$out/static/irqmux.o" "$all.o"
    rm -f "$all" "$all.s" "$all.o"
    objcopy --keep-global-symbols="$out/api" "$out/static/irqmux.o"
    strip --strip-unneeded --remove-section=.comment "$out/static/irqmux.o"
    rm -f "$out/libirqmux.a"
    ar rcs "$out/libirqmux.a" "$out/static/irqmux.o"
    printf '%s\n' "$out/libirqmux.a"
}

build_shared() {
    local objects=() room found folder built
    build_release --target CIRQMux
    built=$(release_directory)
    for room in CKernel CIRQMuxHeader VFIOUser "${rooms[@]}"; do
        found=$(objects_of "$built" "$room" "Sources/$room")
        mapfile -t -O "${#objects[@]}" objects <<<"$found"
    done
    { printf '{ global:\n' && sed 's/$/;/' "$out/api" && printf 'local: *; };\n'; } >"$out/irqmux.map"
    swiftc -emit-library -static-stdlib -o "$out/libirqmux.so.0" "${objects[@]}" -luring \
        -Xlinker -soname=libirqmux.so.0 -Xlinker "--version-script=$out/irqmux.map" -Xlinker --gc-sections \
        -Xlinker --as-needed -Xlinker -z -Xlinker now
    strip --strip-unneeded "$out/libirqmux.so.0"
    ln -sf libirqmux.so.0 "$out/libirqmux.so"
    printf '%s\n' "$out/libirqmux.so.0"
}

for wanted in "$@"; do "build_$wanted"; done
