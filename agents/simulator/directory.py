"""Files of a simulated host: on its own disk, and in directories that other simulated hosts have mounted as well."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
# What an empty qcow2 file takes.
THIN_BYTES = 196_608


@dataclass
class Directory:
    """A file system that hosts can mount: its files by kind and path, and the storages that left their mark there."""

    size: int = 1024 << 30
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)
    # Hosts that wait for a VM to come, by its uuid.
    waiting: dict[str, Any] = field(default_factory=dict)

    @property
    def available(self) -> int:
        """Bytes that are left."""
        taken = sum(self.files.get("cache", {}).values()) + THIN_BYTES * len(self.files.get("volumes", {}))
        return max(0, self.size - taken)


class Files(MutableMapping[str, T]):
    """What a host sees under one kind of files, by path."""

    def __init__(self, kind: str, mounts: dict[str, Directory]) -> None:
        self.kind = kind
        self.mounts = mounts
        self.own: dict[str, T] = {}

    def _lies(self, path: str) -> dict[str, T]:
        for place, directory in self.mounts.items():
            if path.startswith(f"{place}/"):
                return directory.files.setdefault(self.kind, {})
        return self.own

    def shares(self, path: str) -> bool:
        """Whether it lies in a directory that was mounted."""
        return self._lies(path) is not self.own

    def __getitem__(self, path: str) -> T:
        return self._lies(path)[path]

    def __setitem__(self, path: str, value: T) -> None:
        self._lies(path)[path] = value

    def __delitem__(self, path: str) -> None:
        del self._lies(path)[path]

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        for directory in self.mounts.values():
            yield from directory.files.get(self.kind, {})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))
