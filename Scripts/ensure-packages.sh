#!/usr/bin/env bash
# Makes sure that Debian packages are there: ensure-packages.sh PACKAGE…
# Installs what is missing where it may (root, or sudo without a password), and says so; otherwise prints the line to
# type.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
(($# > 0)) || die 64 "usage: Scripts/ensure-packages.sh PACKAGE…"

# A library counts as there when pkg-config knows it too, so that one built from source will do.
is_there() {
    local package=$1 module tool
    if [[ $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) == *"ok installed" ]]; then return 0; fi
    case $package in
    liburing-dev) module=liburing ;;
    libuv1-dev) module=libuv ;;
    libevent-dev) module=libevent ;;
    binutils)
        for tool in ar nm objdump strip; do command -v "$tool" >/dev/null || return 1; done
        return 0
        ;;
    *) command -v "$package" >/dev/null && return 0 || return 1 ;;
    esac
    pkg-config --exists "$module" 2>/dev/null
}

missing=()
for package in "$@"; do is_there "$package" || missing+=("$package"); done
((${#missing[@]} > 0)) || exit 0

line="apt-get install -y ${missing[*]}"
# A fresh image has no package lists.
has_lists() { compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; }
command -v apt-get >/dev/null ||
    die 69 "missing: ${missing[*]} (Debian's names). Without apt-get here, install them with the machine's own tool."
if ((EUID == 0)); then
    as_root=(env)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n env)
else
    has_lists || line="apt-get update && $line"
    # A machine without sudo wants the line as root.
    if command -v sudo >/dev/null; then line="sudo sh -c '$line'"; else line="su -c '$line'"; fi
    die 69 "missing: ${missing[*]}. Type: $line"
fi

# What goes wrong is on stderr; stdout is a line or two for each package.
apt() {
    "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" </dev/null >/dev/null
}
say "installing ${missing[*]} ($line)"
# Lists may be missing, and stale ones may name versions that are gone.
if ! has_lists; then
    say "fetching the package lists (apt-get update)"
    apt update || die 69 "apt-get update failed; see above. Then type: $line"
fi
if ! apt install -y --no-install-recommends "${missing[@]}"; then
    say "fetching newer package lists (apt-get update)"
    { apt update && apt install -y --no-install-recommends "${missing[@]}"; } ||
        die 69 "could not install ${missing[*]}; see above. Type: $line"
fi
