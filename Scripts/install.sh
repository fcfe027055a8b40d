#!/usr/bin/env bash
# Installs the command, its manual page and completions, and the C library with header and pkg-config file:
#   install.sh PREFIX             into PREFIX; DESTDIR is honoured
#   install.sh --uninstall PREFIX takes away what an installation into PREFIX has put there
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
uninstall=no
if [[ ${1:-} == --uninstall ]]; then uninstall=yes && shift; fi
prefix=${1:-}
[[ $prefix == /* ]] || die 64 "PREFIX must be an absolute path, for example: make install PREFIX=/usr/local"
root="${DESTDIR:-}$prefix"
libdir=${LIBDIR:-lib}

# Every file of an installation, by its path below PREFIX: mode, where it comes from, path.
files=(
    "755 irqmux bin/irqmux"
    "644 irqmux.1 share/man/man1/irqmux.1"
    "644 irqmux.3 share/man/man3/irqmux.3"
    "644 irqmux.bash share/bash-completion/completions/irqmux"
    "644 irqmux.zsh share/zsh/site-functions/_irqmux"
    "644 irqmux.fish share/fish/vendor_completions.d/irqmux.fish"
    "644 irqmux.h include/irqmux.h"
    "644 libirqmux.a $libdir/libirqmux.a"
    "644 libirqmux.so.0 $libdir/libirqmux.so.0"
    "644 irqmux.pc $libdir/pkgconfig/irqmux.pc"
)

if [[ $uninstall == yes ]]; then
    for file in "${files[@]}" "- - $libdir/libirqmux.so"; do
        path=$root/${file##* }
        [[ -e $path || -L $path ]] || continue
        rm -f "$path" || die 69 "$path cannot be removed; type this with the rights that installed it"
        printf '%s\n' "$prefix/${file##* }"
    done
    exit 0
fi

mkdir -p "$root" 2>/dev/null && [[ -w $root ]] ||
    # sudo has a PATH of its own, in which swift seldom is.
    die 69 "$root is not writable. Type: make install PREFIX=\$HOME/.local" \
        "(or, for everybody: sudo env PATH=\"\$PATH\" make install PREFIX=$prefix)"
need_swift
build_release --product irqmux
Scripts/c-library.sh static shared >&2

# Everything is made before the first file is put in place.
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
cp "$(release_directory)/irqmux" "$staging/irqmux"
swift package --allow-writing-to-directory "$staging" generate-manual --output-directory "$staging" >&2
for shell in bash zsh fish; do "$staging/irqmux" --generate-completion-script "$shell" >"$staging/irqmux.$shell"; done
cp .build-c/libirqmux.a .build-c/libirqmux.so.0 Sources/CIRQMuxHeader/include/irqmux.h "$staging"
awk -f Scripts/header-manual.awk Sources/CIRQMuxHeader/include/irqmux.h >"$staging/irqmux.3"
version=$(c_version)
cat >"$staging/irqmux.pc" <<PC
prefix=$prefix
libdir=\${prefix}/$libdir
includedir=\${prefix}/include

Name: irqmux
Description: Interrupt router and eventfd multiplexer
Version: $version
Requires.private: liburing
Cflags: -I\${includedir}
Libs: -L\${libdir} -lirqmux
Libs.private: -lpthread
PC

for file in "${files[@]}"; do
    read -r mode source path <<<"$file"
    install -D -m "$mode" "$staging/$source" "$root/$path"
    printf '%s\n' "$prefix/$path"
done
ln -sf libirqmux.so.0 "$root/$libdir/libirqmux.so"
printf '%s\n' "$prefix/$libdir/libirqmux.so"
