#!/bin/sh
# Makes requirements.lock from pyproject.toml: every package pinned with its hashes, for Python 3.11 and later.
#
# Versions that the lock already holds are kept. `tools/lock.sh --upgrade` takes the newest that pyproject.toml allows,
# `tools/lock.sh --upgrade-package NAME` those of one package.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work"
"$work/bin/pip" install --quiet "uv==0.13.8"
# setuptools builds the project itself (see tools/install.sh), so it is locked with the rest.
echo "setuptools>=75" | "$work/bin/uv" pip compile pyproject.toml - --extra kvm --extra dev --universal \
  --python-version 3.11 --generate-hashes --no-config --quiet --custom-compile-command tools/lock.sh \
  --output-file requirements.lock "$@"
