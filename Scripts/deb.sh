#!/usr/bin/env bash
# Makes a Debian package of what `make install` puts into /usr; prints its path.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
Scripts/ensure-packages.sh dpkg-dev >&2 || true
command -v dpkg-deb >/dev/null || die 69 "dpkg-deb is missing: a Debian package is made on Debian and its kin"
version=$(c_version)
architecture=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
DESTDIR=$root LIBDIR=lib/$(gcc -print-multiarch 2>/dev/null || true) Scripts/install.sh /usr >&2
gzip -9n "$root"/usr/share/man/man*/*
install -D -m 644 LICENSE "$root/usr/share/doc/irqmux/copyright"
gzip -9nc CHANGELOG.md >"$root/usr/share/doc/irqmux/changelog.gz"
strip --strip-unneeded "$root/usr/bin/irqmux"
chmod -R go=rX "$root"
mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: irqmux
Version: $version
Architecture: $architecture
Maintainer: the irqmux authors <irqmux@localhost>
Section: libdevel
Priority: optional
Installed-Size: $(du -sk "$root/usr" | cut -f 1)
Depends: libc6, liburing2, libstdc++6
Recommends: liburing-dev
Description: interrupt router and eventfd multiplexer
 Carries the signals of a device, eventfds as VFIO assigns them, into KVM guests, to other eventfds and to handlers,
 loses nothing, and measures while it does so. The command irqmux, and a C library with its header.
CONTROL
printf '#!/bin/sh\nset -e\nldconfig\n' >"$root/DEBIAN/postinst"
chmod 755 "$root/DEBIAN/postinst"
mkdir -p .build-c
package=.build-c/irqmux_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$root" "$package" >&2
printf '%s\n' "$package"
