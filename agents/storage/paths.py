"""Paths that came from outside: absolute, normalised, and never those of the system itself."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from agents.runtime.task import TaskError

# Nothing of a storage belongs there, and a slip there costs the host.
SYSTEM_DIRECTORIES = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")


def checked_path(what: str, path: str) -> Path:
    """The path as it is, or INVALID: no relative one, no "..", nothing that a program may read as something else."""
    if not path.startswith("/") or path.startswith("//") or os.path.normpath(path) != path or path == "/":
        raise TaskError("INVALID", f"{what} {path!r} must be an absolute path without '.', '..' or doubled slashes")
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        raise TaskError("INVALID", f"{what} {path!r} holds control characters")
    if len(os.fsencode(path)) > 4000 or any(len(os.fsencode(part)) > 255 for part in path.split("/")):
        raise TaskError("INVALID", f"{what} {path[:80]!r}... is longer than a file system takes")
    if any(path == system or path.startswith(system + "/") for system in SYSTEM_DIRECTORIES):
        raise TaskError("INVALID", f"{what} {path!r} lies in a directory of the system; choose one of its own")
    return Path(path)


def regular_file(what: str, path: Path) -> bool:
    """True for a plain file, False when nothing is there; anything else (link, device, directory) is INVALID."""
    try:
        mode = path.lstat().st_mode  # looked at once: another host may take it away meanwhile
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISREG(mode):
        raise TaskError("INVALID", f"{what} {str(path)!r} is not a plain file; remove what lies there by hand")
    return True


def sync_directory(path: Path) -> None:
    """Make a rename in this directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def variables_of(path: Path, volume_uuid: str) -> Path:
    """Where the UEFI variables of the VM lie whose root volume this is: with the volume, wherever the VM starts."""
    return path.with_name(f"{volume_uuid}.nvram")


def remove_empty_parent(path: Path, name: str) -> None:
    """Remove the directory that was made for this file alone (it bears its name), once nothing is left in it.

    UEFI variables alone are nothing.
    """
    if path.parent.name in (name, f"vol-{name}"):
        with contextlib.suppress(OSError):
            variables = variables_of(path, name)
            if os.listdir(path.parent) == [variables.name] and not variables.is_dir():
                variables.unlink()
            path.parent.rmdir()
