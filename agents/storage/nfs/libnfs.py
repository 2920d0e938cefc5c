"""libnfs, the NFS client of user space that QEMU has its own driver from: one export and what is done in it."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_int, c_uint64, c_void_p
from typing import Any

# The order of arguments changed with number 16.
NAMES = ("libnfs.so.14", "libnfs.so.13")
ANY_TIME = -1


STAT = (
    *("dev", "ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks"),
    *("atime", "mtime", "ctime", "atime_nsec", "mtime_nsec", "ctime_nsec", "used"),
)
STATVFS = ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "fsid", "flag", "namemax")


class Stat(ctypes.Structure):
    """struct nfs_stat_64."""

    _fields_ = [(f"nfs_{name}", c_uint64) for name in STAT]


class StatVfs(ctypes.Structure):
    """struct statvfs of glibc on 64-bit Linux."""

    _fields_ = [*((f"f_{name}", ctypes.c_ulong) for name in STATVFS), ("spare", c_int * 6)]


class DirEntry(ctypes.Structure):
    """The beginning of struct nfsdirent."""

    _fields_ = [("next", c_void_p), ("name", c_char_p)]


class TimeVal(ctypes.Structure):
    """struct timeval."""

    _fields_ = [("tv_sec", ctypes.c_long), ("tv_usec", ctypes.c_long)]


SIGNATURES: dict[str, list[Any]] = {
    "set_version": [c_int],
    "set_autoreconnect": [c_int],
    "mount": [c_char_p, c_char_p],
    "lstat64": [c_char_p, POINTER(Stat)],
    "fstat64": [c_void_p, POINTER(Stat)],
    "statvfs": [c_char_p, POINTER(StatVfs)],
    "opendir": [c_char_p, POINTER(c_void_p)],
    "open": [c_char_p, c_int, POINTER(c_void_p)],
    "create": [c_char_p, c_int, c_int, POINTER(c_void_p)],
    "pread": [c_void_p, c_uint64, c_uint64, c_char_p],
    "pwrite": [c_void_p, c_uint64, c_uint64, c_char_p],
    "fsync": [c_void_p],
    "close": [c_void_p],
    "ftruncate": [c_void_p, c_uint64],
    "truncate": [c_char_p, c_uint64],
    "mkdir2": [c_char_p, c_int],
    "rmdir": [c_char_p],
    "unlink": [c_char_p],
    "rename": [c_char_p, c_char_p],
    "chmod": [c_char_p, c_int],
    "lchown": [c_char_p, c_int, c_int],
    "lutimes": [c_char_p, POINTER(TimeVal * 2)],
}


def load() -> ctypes.CDLL:
    """The library; ImportError when it is not installed."""
    for name in NAMES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.nfs_init_context.restype = c_void_p
        library.nfs_get_error.restype, library.nfs_get_error.argtypes = c_char_p, [c_void_p]
        library.nfs_readdir.restype = POINTER(DirEntry)
        library.nfs_readdir.argtypes = library.nfs_closedir.argtypes = [c_void_p, c_void_p]
        library.nfs_closedir.restype = None
        for call, arguments in SIGNATURES.items():
            getattr(library, f"nfs_{call}").argtypes = [c_void_p, *arguments]
        return library
    raise ImportError(f"none of {', '.join(NAMES)} is installed; install the package libnfs13 on the host")


class Export:
    """One export of a server, mounted by this process. Calls wait for the server for as long as it takes."""

    def __init__(self, server: str, path: str, version: int) -> None:
        self._library = load()
        self._context = self._library.nfs_init_context()
        # A context serves one call at a time.
        self._lock = threading.Lock()
        if version:
            self._call("set_version", version)
        self._call("mount", server.encode(), path.encode())
        self._library.nfs_set_autoreconnect(self._context, ANY_TIME)

    def _call(self, name: str, *arguments: Any) -> int:
        """OSError with the server's answer where that is no."""
        with self._lock:
            done: int = getattr(self._library, f"nfs_{name}")(self._context, *arguments)
            if done is not None and done < 0:
                text = (self._library.nfs_get_error(self._context) or b"").decode("utf-8", "replace")
                raise OSError(-done, f"{os.strerror(-done)} ({text})")
        return done

    def _made(self, name: str, *arguments: Any) -> int:
        handle = c_void_p()
        self._call(name, *arguments, byref(handle))
        assert handle.value is not None
        return handle.value

    def stat(self, path: str, handle: int | None = None) -> Stat:
        """Of an open file by its handle, whatever it is called now."""
        found = Stat()
        if handle is None:
            self._call("lstat64", _name(path), byref(found))
        else:
            self._call("fstat64", handle, byref(found))
        return found

    def statvfs(self, path: str) -> StatVfs:
        found = StatVfs()
        self._call("statvfs", _name(path), byref(found))
        return found

    def names(self, path: str) -> list[str]:
        """What lies in a directory."""
        directory = self._made("opendir", _name(path))
        found = []
        with self._lock:
            while entry := self._library.nfs_readdir(self._context, directory):
                found.append(os.fsdecode(entry.contents.name))
            self._library.nfs_closedir(self._context, directory)
        return found

    def open(self, path: str, flags: int) -> int:
        """A handle. What is written goes where it is said to go, so that appending is not the server's work."""
        return self._made("open", _name(path), flags & (os.O_ACCMODE | os.O_TRUNC))

    def create(self, path: str, mode: int) -> int:
        return self._made("create", _name(path), os.O_RDWR | os.O_CREAT, mode & 0o7777)

    def read(self, handle: int, size: int, offset: int) -> bytes:
        """Less than size only at the end of the file."""
        found = bytearray()
        while len(found) < size:
            buffer = ctypes.create_string_buffer(size - len(found))
            got = self._call("pread", handle, offset + len(found), size - len(found), buffer)
            if not got:
                break
            found += buffer.raw[:got]
        return bytes(found)

    def write(self, handle: int, data: bytes, offset: int) -> int:
        done = 0
        while done < len(data):
            done += self._call("pwrite", handle, offset + done, len(data) - done, data[done:] if done else data)
        return done

    def fsync(self, handle: int) -> None:
        self._call("fsync", handle)

    def close(self, handle: int) -> None:
        self._call("close", handle)

    def truncate(self, path: str, size: int, handle: int | None = None) -> None:
        if handle is None:
            self._call("truncate", _name(path), size)
        else:
            self._call("ftruncate", handle, size)

    def utimes(self, path: str, accessed: float, modified: float) -> None:
        values = (TimeVal * 2)(*(TimeVal(int(at), int(at % 1 * 1_000_000)) for at in (accessed, modified)))
        self._call("lutimes", _name(path), byref(values))

    def __getattr__(self, name: str) -> Callable[..., int]:
        """mkdir2, rmdir, unlink, rename, chmod, lchown: those that take names and numbers, and give nothing."""
        if name not in SIGNATURES:
            raise AttributeError(name)
        return lambda *given: self._call(name, *(_name(one) if isinstance(one, str) else one for one in given))


def _name(path: str) -> bytes:
    return os.fsencode(path)
