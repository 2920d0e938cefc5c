"""Image files made by the real tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

MIB = 1 << 20


def qemu_img(*argv: str) -> None:
    subprocess.run(["qemu-img", *argv], check=True, stdout=subprocess.DEVNULL)


def qcow2(path: Path, size: int = 8 * MIB, *options: str, written: int = 2) -> Path:
    """A qcow2 image with some MiB of data in it."""
    qemu_img("create", "-f", "qcow2", *options, str(path), str(size))
    for index in range(written):
        write = f"write -P {index + 1} {index * 2}M 1M"
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", write, str(path)], check=True, stdout=subprocess.DEVNULL)
    return path


def raw(path: Path, size: int = 2 * MIB) -> Path:
    path.write_bytes(b"\x01\x02\x03\x04" * (size // 4))
    return path


def iso(path: Path) -> Path:
    tree = path.with_name(path.name + ".d")
    tree.mkdir()
    (tree / "readme").write_bytes(b"hello " * 100_000)
    subprocess.run(["genisoimage", "-quiet", "-o", str(path), str(tree)], check=True)
    return path
