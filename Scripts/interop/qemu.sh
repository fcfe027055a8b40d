#!/usr/bin/env bash
# Brings a QEMU that has a vfio-user client into the cache: qemu.sh prints the path of a program that runs it.
# The machine's own distribution is too old for it, so it runs from a Debian root of its own: packages unpacked into a
# folder and started through the root's own dynamic loader. Nothing is installed, and no privilege is needed.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

suite=trixie
package=qemu-system-x86
folder=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/irqmux-interop/qemu
mkdir -p "$(dirname "$folder")"
# One at a time: the cache is everybody's.
exec {lock}>"$folder.lock"
flock "$lock"
# What is made depends on this file too.
stamp=$(cksum <"Scripts/interop/qemu.sh")
if [[ -x $folder/qemu && -f $folder/stamp && $(<"$folder/stamp") == "$stamp" ]]; then
    printf '%s\n' "$folder/qemu"
    exit 0
fi

for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || die 69 "interop: no $tool here, and the packages of QEMU come from Debian"
done
[[ $(dpkg --print-architecture) == amd64 ]] || die 69 "interop: the emulated machine is made for amd64 only"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -f $keyring ]] || die 69 "interop: no $keyring. Type: apt-get install -y debian-archive-keyring"

# The mirror is whatever this machine's own apt uses for Debian itself.
mirror() {
    apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' 'Created-By: Packages' 2>/dev/null |
        awk '$2 == "Debian" && $3 == "Debian" { print $1; exit }'
}
from=$(mirror)
[[ -n $from ]] || die 69 "interop: apt knows no Debian mirror, or has no package lists. Type: apt-get update"

say "interop: fetching QEMU of $suite-backports into $folder"
work=$folder.new
rm -rf "$work" "$folder"
mkdir -p "$work"/apt/{lists/partial,archives/partial,etc} "$work/root"
trap 'rm -rf "$work"' EXIT
# Apt with nothing installed, so that the root gets every library.
: >"$work/apt/status"
for name in "$suite" "$suite-backports"; do
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$from" "$name"
done >"$work/apt/etc/sources.list"
apt() {
    apt-get -qq -o Dir::State="$work/apt" -o Dir::State::lists=lists -o Dir::State::status="$work/apt/status" \
        -o Dir::Cache="$work/apt" -o Dir::Cache::archives=archives -o Dir::Etc="$work/apt/etc" \
        -o Dir::Etc::parts=none -o Dir::Etc::sourceparts=none -o Dir::Etc::preferencesparts=none \
        -o APT::Sandbox::User= -o Acquire::Languages=none -o APT::Update::Post-Invoke= \
        -o APT::Install-Recommends=false "$@" </dev/null >"$work/apt/log" 2>&1 ||
        die 69 "interop: apt-get ${*: -1} failed: $(tail -n 3 "$work/apt/log")"
}
apt update
apt -y --download-only --target-release "$suite-backports" install "$package"
for archive in "$work"/apt/archives/*.deb; do dpkg-deb -x "$archive" "$work/root"; done
rm -rf "$work/apt"

# Paths are those of the final place.
libraries=usr/lib/x86_64-linux-gnu
cat >"$work/qemu" <<END
#!/bin/sh
root='$folder/root'
export QEMU_MODULE_DIR="\$root/$libraries/qemu"
exec "\$root/$libraries/ld-linux-x86-64.so.2" --library-path "\$root/$libraries" \\
    "\$root/usr/bin/qemu-system-x86_64" -L "\$root/usr/share/qemu" -L "\$root/usr/share/seabios" "\$@"
END
chmod +x "$work/qemu"
mv "$work" "$folder"
trap - EXIT
"$folder/qemu" -device vfio-user-pci,help >/dev/null 2>&1 ||
    die 69 "interop: $("$folder/qemu" -version | head -n 1) has no vfio-user-pci"
printf '%s\n' "$stamp" >"$folder/stamp"
say "interop: $("$folder/qemu" -version | head -n 1)"
printf '%s\n' "$folder/qemu"
