#!/bin/sh
# Installs a built tidehold binary as a systemd service on Debian 12 and newer.
#
#   scripts/install.sh [--binary FILE] [--root DIR] [--no-start]
#   scripts/install.sh --uninstall [--purge] [--root DIR]
#
# FILE defaults to dist/tidehold-linux-ARCH of this machine. --root works on a
# tree that is not running. --uninstall keeps configuration and state, --purge
# removes them and the service user too. Files it does not own are left alone:
# an existing configuration is never overwritten.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
binary='' root='' start=1 action=install purge=0

die() {
	echo "install.sh: $*" >&2
	exit 1
}

while [ $# -gt 0 ]; do
	case $1 in
	--binary) binary=${2:?--binary wants a file}; shift ;;
	--root) root=${2:?--root wants a folder}; shift ;;
	--no-start) start=0 ;;
	--uninstall) action=uninstall ;;
	--purge) purge=1 ;;
	*) die "unknown argument $1; see the first lines of this file" ;;
	esac
	shift
done

[ "$(id -u)" = 0 ] || die "must run as root (try: sudo $0)"
[ -z "$root" ] || start=0

arch() {
	case $(uname -m) in
	x86_64) echo amd64 ;;
	aarch64) echo arm64 ;;
	armv7l) echo armv7 ;;
	armv6l) echo armv6 ;;
	*) die "no build for $(uname -m)" ;;
	esac
}

# put FILE TARGET MODE
put() {
	install -D -m "$3" "$1" "$root$2"
}

running() {
	[ $start = 1 ] && [ -d /run/systemd/system ]
}

write_config() {
	config=$root/etc/tidehold/tidehold.yaml
	[ ! -e "$config" ] || return 0
	host=$(cat "$root/etc/hostname" 2>/dev/null || echo gateway)
	id=$(printf %s "$host" | tr -c 'A-Za-z0-9_-' '-' | cut -c1-36)
	printf 'version: 1\ngateway: {id: %s}\n' "$id" >"$root/etc/tidehold/.tidehold.yaml.part"
	mv "$root/etc/tidehold/.tidehold.yaml.part" "$config"
}

# own gives the configuration to root and the service's group, by the numbers
# of the tree it lies in.
own() {
	gid=$(sed -n 's/^tidehold:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/group")
	[ -n "$gid" ] || die "the group tidehold was not created; does systemd-sysusers work here?"
	chown -R "0:$gid" "$root/etc/tidehold"
	chmod 0750 "$root/etc/tidehold"
	chmod 0640 "$root/etc/tidehold/tidehold.yaml"
}

do_install() {
	[ -n "$binary" ] || binary=$here/dist/tidehold-linux-$(arch)
	[ -f "$binary" ] || die "no binary $binary; build one with scripts/build, or name it with --binary"
	command -v systemd-sysusers >/dev/null || die "systemd-sysusers is missing: this needs a systemd system"
	put "$binary" /usr/bin/tidehold 0755
	put "$here/systemd/tidehold.service" /usr/lib/systemd/system/tidehold.service 0644
	put "$here/systemd/sysusers.conf" /usr/lib/sysusers.d/tidehold.conf 0644
	put "$here/systemd/60-tidehold.rules" /usr/lib/udev/rules.d/60-tidehold.rules 0644
	put "$here/systemd/modules-load.conf" /usr/lib/modules-load.d/tidehold.conf 0644
	mkdir -p "$root/etc/tidehold"
	write_config
	systemd-sysusers ${root:+--root="$root"} tidehold.conf
	own
	if running; then
		udevadm control --reload 2>/dev/null || true
		udevadm trigger --subsystem-match=i2c-dev --subsystem-match=spidev --subsystem-match=gpio 2>/dev/null || true
		modprobe i2c-dev 2>/dev/null || true
		systemctl daemon-reload
		systemctl enable --now tidehold.service
		echo "Tidehold runs. Next: tidehold status"
	else
		systemctl ${root:+--root="$root"} enable tidehold.service
		echo "Tidehold is installed and starts at the next boot."
	fi
}

do_uninstall() {
	if running; then
		systemctl disable --now tidehold.service 2>/dev/null || true
	else
		systemctl ${root:+--root="$root"} disable tidehold.service 2>/dev/null || true
	fi
	rm -f "$root/usr/bin/tidehold" "$root/usr/lib/systemd/system/tidehold.service" \
		"$root/usr/lib/sysusers.d/tidehold.conf" "$root/usr/lib/udev/rules.d/60-tidehold.rules" \
		"$root/usr/lib/modules-load.d/tidehold.conf"
	! running || systemctl daemon-reload
	if [ $purge = 1 ]; then
		rm -rf "$root/etc/tidehold" "$root/var/lib/tidehold"
		userdel ${root:+--root "$root"} tidehold 2>/dev/null || true
		groupdel ${root:+--root "$root"} tidehold 2>/dev/null || true
		echo "Tidehold, its configuration and its state are gone."
	else
		echo "Tidehold is gone; /etc/tidehold and /var/lib/tidehold are kept (--purge removes them)."
	fi
}

do_$action
