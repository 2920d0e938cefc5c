"""Images that lie on a share which the host sees as well: copied there, not sent (PS-17).

What somebody said of the share is believed for nothing: the file that the backup storage has written must be there, be
of its size, and the copy must have its SHA-256. Otherwise the image is sent.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from agents.runtime.task import TaskError
from agents.storage.paths import checked_path, regular_file

BLOCK = 16 << 20
# What file systems say that cannot copy within themselves.
NO_COPY = (errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM)


def on_share(path: str, size: int) -> Path | None:
    """The file on the share, if something that could be the image is there."""
    if not path:
        return None
    try:
        found = checked_path("the image's path on the share", path)
        same = found.resolve() == found and regular_file("the image on the share", found)
        return found if same and found.stat().st_size == size else None
    except (OSError, TaskError):
        return None


class ShareCopy:
    """A copy that is made step by step, so that it can be given up; by the file system itself where that can be."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source = open(source, "rb")  # noqa: SIM115 (closed by close)
        self._target = open(target, "wb")  # noqa: SIM115 (closed by close)
        self._within = True

    def step(self) -> int:
        """Bytes that came, 0 at the end."""
        if self._within:
            try:
                return os.copy_file_range(self._source.fileno(), self._target.fileno(), BLOCK)
            except OSError as error:
                if error.errno not in NO_COPY:
                    raise
                self._within = False
        # Both go on where the file system left off: their positions are those of the descriptors.
        block = os.read(self._source.fileno(), BLOCK)
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._target.fileno(), rest) :]
        return len(block)

    def close(self) -> None:
        """Whole on the disk, or not needed any more."""
        try:
            os.fsync(self._target.fileno())
        finally:
            self._target.close()
            self._source.close()
