"""Files that are made once and never again: whole or not at all, whenever the power goes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def make_once(path: Path, content: bytes) -> bytes:
    """What is in the file, which is made with this content (mode 0600) when there is none, and on disk on return."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            with contextlib.suppress(FileExistsError):  # somebody else was quicker
                os.link(part, path)
        finally:
            os.unlink(part)
        _keep(path.parent)
    return path.read_bytes()


def _keep(directory: Path) -> None:
    """A name is on disk when its directory is."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
