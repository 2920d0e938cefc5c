#!/bin/sh
# Builds the small bootable guest image from Debian's packages: tools/guest_image.sh OUT.qcow2
#
# A disk of its own with GRUB, Debian's cloud kernel, busybox and the QEMU guest agent. It asks for an address on every
# NIC, answers ping, powers off on the ACPI button and writes READY to its first serial port. The packages are
# downloaded and unpacked beside OUT, never installed: the machine that builds is left as it was, and neither root
# rights, mounts nor loop devices are needed. Built once: a stamp beside OUT says what it was built from.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUT.qcow2" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$(dirname "$1")"
out=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
cache=$(dirname "$out")/guest-packages

exec 9>"$out.lock"
flock 9
stamp=$(cat "$here/guest_image.sh" "$here"/guest/* | sha256sum | cut -d' ' -f1)
if [ -e "$out" ] && [ "$(cat "$out.stamp" 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi

work=$(mktemp -d "$out.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
packages="busybox-static grub-common grub-pc-bin qemu-guest-agent libblkid1 libc6 libdevmapper1.02.1 libglib2.0-0
  liblzma5 libnuma1 libpcre2-8-0 libselinux1 libudev1 liburing2"
kernel=$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
[ -n "$kernel" ] || { echo "apt knows no linux-image-cloud-amd64: run apt-get update" >&2; exit 1; }

# Asked for together, since apt-get takes a second to start. Downloaded again only when the archive has a newer version;
# old versions would be unpacked as well, so they go.
download() { apt-get -qq -o APT::Sandbox::User=root download "$@"; }
mkdir -p "$cache"
(
  cd "$cache"
  download --print-uris $kernel $packages >"$work/uris"
  missing=
  while read -r _ file _; do
    [ -s "$file" ] && continue
    rm -f "${file%%_*}_"*.deb
    missing="$missing ${file%%_*}"
  done <"$work/uris"
  [ -z "$missing" ] || download $missing
)
pkg=$work/packages
for p in $kernel $packages; do dpkg-deb -x "$cache/${p}_"*.deb "$pkg"; done

# Debian's own loader and libraries run its programs, whatever the machine has installed.
lib="$pkg/lib/x86_64-linux-gnu"
unpacked() { "$lib/ld-linux-x86-64.so.2" --library-path "$lib:$pkg/usr/lib/x86_64-linux-gnu" "$@"; }

root=$work/root
mkdir -p "$root/bin" "$root/boot" "$root/dev" "$root/etc/acpi/PWRF" "$root/lib/modules" "$root/proc" "$root/root" \
  "$root/run" "$root/sbin" "$root/sys" "$root/tmp" "$root/usr/sbin" "$root/lib64" "$root/var/log"
cp "$pkg/bin/busybox" "$root/bin/"
for applet in $("$pkg/bin/busybox" --list); do [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"; done
ln -s ../bin/busybox "$root/sbin/init"
ln -s ../run "$root/var/run"
cp "$pkg/usr/sbin/qemu-ga" "$root/usr/sbin/"
mkdir -p "$root/lib/x86_64-linux-gnu"
unpacked --list "$root/usr/sbin/qemu-ga" | grep -o '/[^ ]*' | while read -r so; do
  case $so in */ld-linux-x86-64.so.2) cp -L "$so" "$root/lib64/" ;; *) cp -L "$so" "$root/lib/x86_64-linux-gnu/" ;; esac
done
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
cp "$here/guest/inittab" "$root/etc/inittab"
install -m 755 "$here/guest/rc" "$root/etc/rc"
install -m 755 "$here/guest/dhcp" "$root/etc/dhcp"
install -m 755 "$here/guest/shutdown" "$root/sbin/shutdown"
ln -s /bin/poweroff "$root/etc/acpi/PWRF/00000080"

# The modules that are needed; the first list for the root disk, the second later.
initrd=$work/initrd
mkdir -p "$initrd/bin" "$initrd/dev" "$initrd/modules" "$initrd/proc" "$initrd/root" "$initrd/sys"
cp "$pkg/bin/busybox" "$initrd/bin/"
install -m 755 "$here/guest/init" "$initrd/init"
place() { # LIST DIRECTORY: copies the modules of a list as 00-name.ko, 01-name.ko, …
  n=10
  for m in $(grep -v '^#' "$here/guest/$1"); do
    ko=$(find "$pkg/lib/modules" -name "$m.ko" | head -n 1)
    if [ -z "$ko" ]; then
      grep -q "/$m.ko" "$pkg"/lib/modules/*/modules.builtin && continue
      echo "$kernel has no module $m" >&2
      exit 1
    fi
    cp "$ko" "$2/$n-$m.ko"
    n=$((n + 1))
  done
}
place modules.disk "$initrd/modules"
place modules.late "$root/lib/modules"
(cd "$initrd" && find . | LC_ALL=C sort | "$pkg/bin/busybox" cpio -o -H newc 2>/dev/null | gzip -1n >"$root/boot/initrd")
cp "$pkg"/boot/vmlinuz-* "$root/boot/vmlinuz"

# One partition at 1 MiB; GRUB's core lies in the gap before it, where its first stage looks for it.
disk=$work/disk.raw
truncate -s 96M "$disk"
printf 'label: dos\nstart=2048, type=83, bootable\n' | sfdisk -q "$disk"
mke2fs -q -t ext4 -L guest -E offset=1048576,root_owner=0:0 -d "$root" "$disk" 95M
grub=$pkg/usr/lib/grub/i386-pc
unpacked "$pkg/usr/bin/grub-mkimage" -O i386-pc -d "$grub" -p / -c "$here/guest/grub.cfg" -o "$work/core.img" \
  biosdisk part_msdos ext2 linux
dd if="$grub/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$work/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
qemu-img convert -f raw -O qcow2 -c "$disk" "$work/image.qcow2"
mv "$work/image.qcow2" "$out"
echo "$stamp" >"$out.stamp"
