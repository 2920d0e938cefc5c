#!/bin/sh
# Brings a fresh Debian 12 to the point where `make run` works: tools/install.sh [--test]
#
# Debian packages that are missing, a virtual environment with exactly what requirements.lock pins, this project in it,
# and the code generated from proto/. --test adds what only the tests need. Each step is skipped when nothing it
# depends on has changed, so that a second run costs no time worth speaking of.
set -eu
cd "$(dirname "$0")/.."

run_packages="ca-certificates dnsmasq-base e2fsprogs fdisk gcc iproute2 iputils-ping libc6-dev libfuse3-3 libnfs13
  libvirt-clients libvirt-daemon-system libvirt-dev openssh-client openssh-server ovmf pkg-config
  qemu-system-x86 qemu-utils"

say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# The first Python of the path that will do; Debian's is one of them once it is installed.
find_python() {
  for candidate in python3 python3.11 python3.12 python3.13 python3.14; do
    if path=$(command -v "$candidate") && new_enough "$path"; then
      echo "$path"
      break
    fi
  done
}

wanted() {
  echo "$run_packages"
  python=$(find_python)
  # Debian's Python comes without venv and without headers; others bring their own.
  case ${python:-/usr/bin/python3} in /usr/bin/*) echo "python3-venv python3-dev" ;; esac
  if [ "$for_tests" = yes ]; then
    command -v node >/dev/null || echo nodejs
    command -v npm >/dev/null || echo npm
    echo "nfs-ganesha nfs-ganesha-vfs postgresql-15 rpcbind"
  fi
}

missing() {
  wanted | xargs dpkg-query -W -f '${Package} ${db:Status-Status}\n' 2>/dev/null |
    sed -n 's/ installed$//p' | sort -u >"$work/installed"
  wanted | tr -s ' ' '\n' | sed '/^$/d' | sort -u | comm -23 - "$work/installed"
}

# Installing a package is no reason to open an SSH server on port 22 or to start a second libvirtd.
without_services() {
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made_policy=$policy
  fi
  "$@" || { status=$?; rm -f "$made_policy"; return "$status"; }
  rm -f "$made_policy"
}

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 "$@" >"$work/apt.log" 2>&1 ||
  { cat "$work/apt.log" >&2; fail "apt-get $1 failed; what it said is above"; }; }

install_debian_packages() {
  packages=$(missing)
  [ -n "$packages" ] || return 0
  command -v apt-get >/dev/null || fail "this is not Debian; install by hand what these packages hold:" $packages
  [ "$(id -u)" = 0 ] || fail "run as root, or install first: apt-get install --no-install-recommends" $packages
  say "Debian packages:" $packages
  apt_get update
  without_services apt_get install -y --no-install-recommends $packages
}

stamp_of() { cat "$@" | sha256sum | cut -d' ' -f1; }
# done_before NAME STAMP: whether the step of that name was done with the same inputs.
done_before() { [ "$(cat ".venv/.$1" 2>/dev/null)" = "$2" ]; }
remember() { echo "$2" >".venv/.$1"; }

install_python_packages() {
  new_enough .venv/bin/python || {
    python=$(find_python)
    [ -n "$python" ] || fail "Python 3.11 or newer is needed, and there is none on the path"
    say "virtual environment of $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
  }
  stamp=$(.venv/bin/python --version | cat - requirements.lock | sha256sum | cut -d' ' -f1)
  done_before packages "$stamp" || {
    say "Python packages, as requirements.lock pins them"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
    remember packages "$stamp"
  }
  stamp=$(stamp_of pyproject.toml requirements.lock)
  done_before project "$stamp" || {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    remember project "$stamp"
  }
}

generate() {
  stamp=$({ cat tools/generate.sh requirements.lock; sha256sum proto/zcloud/v1/*.proto; } | sha256sum | cut -d' ' -f1)
  [ "$(ls zcloud/v1/*_pb2.py 2>/dev/null | wc -l)" = "$(ls proto/zcloud/v1/*.proto | wc -l)" ] &&
    done_before generated "$stamp" && return
  say "code from proto/"
  # What a proto of the past left behind would still be imported.
  rm -f zcloud/v1/*_pb2.py zcloud/v1/*_pb2.pyi zcloud/v1/*_pb2_grpc.py
  tools/generate.sh
  remember generated "$stamp"
}

for_tests=no
case ${1-} in
"") ;;
--test) for_tests=yes ;;
*) fail "what is $1? Only --test is known" ;;
esac

work=$(mktemp -d)
made_policy=
trap 'rm -rf "$work"; rm -f ${made_policy:+"$made_policy"}' EXIT
trap 'exit 130' INT TERM
mkdir -p var
# Two `make` at once: the second waits and finds everything done.
exec 9>var/.install.lock
flock 9
install_debian_packages
install_python_packages
generate
