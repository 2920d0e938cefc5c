"""What is sent to a host: the agent's code as an archive, and the program that installs it."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import agents

# Everything that the agent's modules import beyond the standard library, and who brings it.
MODULES = ("grpc", "google.protobuf", "msgspec", "cryptography", "asyncssh", "libvirt", "zcloud.v1.agent_pb2")
DISTRIBUTIONS = ("grpcio", "protobuf", "msgspec", "cryptography", "asyncssh", "libvirt-python", "mfusepy")
NOT_FOR_HOSTS = ("agents/node/", "agents/simulator/")
SETUP_FILES = (
    "agents/__init__.py",
    "agents/node/__init__.py",
    "agents/node/host_setup.py",
    "agents/storage/__init__.py",
    "agents/storage/helper.py",
)
SETUP_MAIN = b"""\
import sys
from agents.node.host_setup import OPERATIONS
from agents.storage.helper import main
sys.exit(main(OPERATIONS))
"""


def source_root() -> Path:
    """The directory that holds the packages of the running installation."""
    return Path(str(agents.__file__)).parent.parent


def _agent_files(root: Path) -> Iterator[str]:
    """With what lies beside the modules, for example scripts; without what Python leaves there."""
    generated = (root / "zcloud" / "v1").glob("*.py")
    for path in sorted([root / "zcloud" / "__init__.py", *generated, *root.glob("agents/**/*")]):
        name = path.relative_to(root).as_posix()
        if path.is_file() and "__pycache__" not in path.parts and not name.startswith(NOT_FOR_HOSTS):
            yield name


def agent_archive(root: Path | None = None) -> bytes:
    """A tar.gz of the agent's code; the same code gives the same bytes, whose digest names it on the host."""
    root = root or source_root()
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name in _agent_files(root):
            content = (root / name).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), 6, mtime=0)


def setup_program() -> bytes:
    """The installer as one executable zip: `python3 host_setup.pyz`."""
    return program(SETUP_FILES, SETUP_MAIN)


def program(names: tuple[str, ...], main: bytes) -> bytes:
    """Modules and what is run of them as one executable zip, which needs nothing but Python."""
    root, packed = source_root(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        files = {name: (root / name).read_bytes() for name in names} | {"__main__.py": main}
        for name, content in files.items():
            # A fixed date: the same program gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return packed.getvalue()


def requirements() -> list[str]:
    """The packages for pip, in the versions that the node itself runs with."""
    found = []
    for name in DISTRIBUTIONS:
        try:
            found.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(name)  # a node that is no host has no libvirt
    return found
