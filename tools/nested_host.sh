#!/bin/sh
# Builds the disk of a machine that can be a KVM host, of Debian's packages: tools/nested_host.sh OUT.qcow2 ADDRESS/LEN
#
# A whole Debian 12 whose kernel has all modules, with libvirt, QEMU, the NFS client and an SSH server that lets in the
# key beside the disk (OUT.key). It has the address on its first network card. Of Python it has what runs this project.
# Beside the disk lie kernel and initrd (OUT.kernel, OUT.initrd). For tests/nested; takes minutes, and needs root.
set -eu

# What is mounted on the way is gone with the script.
[ "${NESTED_MOUNTS-}" = own ] || NESTED_MOUNTS=own exec unshare --mount --propagation private -- "$0" "$@"
[ $# -eq 2 ] || { echo "usage: $0 OUT.qcow2 ADDRESS/LEN" >&2; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$(dirname "$1")"
out=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
command -v debootstrap >/dev/null || { echo "$0: apt-get install debootstrap" >&2; exit 1; }
python=$here/.venv/bin/python

exec 9>"$out.lock"
flock 9
stamp=$(cat "$0" "$here/requirements.lock" | sha256sum | cut -d' ' -f1)-$2
[ "$(cat "$out.stamp" 2>/dev/null)" != "$stamp" ] || exit 0

work=$(mktemp -d "$out.build.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
base=systemd-sysv,openssh-server,python3-minimal,libpython3-stdlib,iproute2,udev,kmod,iputils-ping,ca-certificates
packages="dnsmasq-base initramfs-tools libvirt-clients libvirt-daemon-system linux-image-cloud-amd64 nfs-common
  qemu-system-x86 qemu-utils"
quietly() { "$@" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }; }
quietly debootstrap --variant=minbase --include="$base" bookworm "$root" http://deb.debian.org/debian
# Nothing is started in it, and what is killed halfway is thrown away.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/nested"
mount -t proc proc "$root/proc"
# shellcheck disable=SC2086 - a list
DEBIAN_FRONTEND=noninteractive quietly chroot "$root" apt-get -q install -y --no-install-recommends $packages
umount "$root/proc"
rm "$root/usr/sbin/policy-rc.d"

[ -e "$out.key" ] || ssh-keygen -q -t ed25519 -N '' -C zcloud -f "$out.key"
home=$root$(awk -F: '$1 == "root" { print $6 }' "$root/etc/passwd")
install -D -m 600 "$out.key.pub" "$home/.ssh/authorized_keys"
chmod 700 "$home/.ssh"
echo nested >"$root/etc/hostname"
echo '/dev/vda / ext4 rw,noatime 0 1' >"$root/etc/fstab"
printf '[Match]\nName=eth0\n[Network]\nAddress=%s\n' "$2" >"$root/etc/systemd/network/10-eth0.network"
chroot "$root" systemctl enable systemd-networkd ssh >/dev/null 2>&1
chroot "$root" systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer getty@tty1.service \
  systemd-networkd-wait-online.service >/dev/null 2>&1
# The interpreter of this project with its packages, where it is here: pip would need a network and a compiler there.
for place in "$("$python" -c 'import sys; print(sys.base_prefix)')" "$here/.venv"; do
  case $place in
  /usr | /usr/local) ;;
  *) mkdir -p "$root$(dirname "$place")" && cp -a "$place" "$root$place" ;;
  esac
done
find "$root" -name __pycache__ -prune -exec rm -rf {} +
cp "$root"/boot/vmlinuz-* "$out.kernel"
cp "$root"/boot/initrd.img-* "$out.initrd"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale"
truncate -s 8G "$work/disk"
mkfs.ext4 -q -O ^has_journal -d "$root" "$work/disk"
qemu-img convert -O qcow2 "$work/disk" "$out.part"
mv "$out.part" "$out"
echo "$stamp" >"$out.stamp"
