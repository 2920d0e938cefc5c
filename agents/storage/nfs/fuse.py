"""Shows an export as files: python -m agents.storage.nfs.fuse URL DIRECTORY OPTIONS.

Goes into the background once it is mounted, and runs until it is unmounted, whatever becomes of the agent: guests have
their disks open through it. Nothing is kept here between two calls, so that what one host has written others see.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import Any

import mfusepy

from agents.storage.nfs.libnfs import Export

_VERSION = re.compile(r"(?:^|,)(?:nfsvers|vers)=(\d)")


def version_of(options: str) -> int:
    """Of the protocol, as options for mount say it; without it 3, which has no state that could be lost."""
    found = _VERSION.search(options)
    return int(found[1]) if found else 3


class Files(mfusepy.Operations):  # type: ignore[misc]
    """Calls of the kernel, each handed on. Times come in nanoseconds."""

    use_ns = True

    def __init__(self, export: Export) -> None:
        self._export = export

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        stat = self._export.stat(path, fh)
        found = {
            f"st_{name}": getattr(stat, f"nfs_{name}")
            for name in ("mode", "nlink", "uid", "gid", "rdev", "size", "blocks", "ino")
        }
        for name in ("atime", "mtime", "ctime"):
            found[f"st_{name}"] = getattr(stat, f"nfs_{name}") * 10**9 + getattr(stat, f"nfs_{name}_nsec")
        return found

    def statfs(self, path: str) -> dict[str, int]:
        found = self._export.statvfs(path)
        return {name: getattr(found, name) for name, *_ in found._fields_ if name.startswith("f_")}

    def readdir(self, path: str, fh: int) -> list[str]:
        del fh
        return self._export.names(path)

    def open(self, path: str, flags: int) -> int:
        return self._export.open(path, flags)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        del fi
        return self._export.create(path, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        del path
        return self._export.read(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        del path
        return self._export.write(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._export.truncate(path, length, fh)
        return 0

    def flush(self, path: str, fh: int) -> int:
        """Whoever closes a file is told whether it is on the server's disk, as with a kernel's mount."""
        del path
        self._export.fsync(fh)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        del datasync
        return self.flush(path, fh)

    def release(self, path: str, fh: int) -> int:
        del path
        self._export.close(fh)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        return self._export.mkdir2(path, mode)

    def rmdir(self, path: str) -> int:
        return self._export.rmdir(path)

    def unlink(self, path: str) -> int:
        return self._export.unlink(path)

    def rename(self, old: str, new: str) -> int:
        return self._export.rename(old, new)

    def chmod(self, path: str, mode: int) -> int:
        return self._export.chmod(path, mode & 0o7777)

    def chown(self, path: str, uid: int, gid: int) -> int:
        return self._export.lchown(path, uid, gid)

    def utimens(self, path: str, times: tuple[int, int]) -> int:
        self._export.utimes(path, times[0] / 10**9, times[1] / 10**9)
        return 0


def main(argv: list[str]) -> int:
    """0 once it is unmounted; 1 and one line of words when it cannot be mounted."""
    url, directory, options = argv
    server, _, path = url.partition(":")
    try:
        export = Export(server, path, version_of(options))
        os.chdir("/")
        mfusepy.FUSE(
            Files(export),
            directory,
            foreground=False,
            nothreads=True,
            allow_other=True,
            default_permissions=True,
            direct_io=True,
            attr_timeout=0,
            entry_timeout=0,
            fsname=url,
            subtype="zcloud-nfs",
        )
    except OSError as error:
        if error.errno == errno.ENODEV:
            print("the kernel has neither NFS nor FUSE")
        else:
            print(error)
        return 1
    except (ImportError, RuntimeError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
