"""What an image file really is: found out by its content, in bounded time; what leads elsewhere is refused."""

from __future__ import annotations

import array
import os
import struct
import sys
from typing import BinaryIO

from agents.storage.helper import HelperError

FORMATS = ("qcow2", "raw", "iso")
# Bytes of the largest disk: what file systems of hosts can hold as one file with room to spare.
MAX_DISK = 64 << 40
MAX_SNAPSHOTS = 65536


class Qcow2Header:
    """The header of a qcow2 file and what it says about other files."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        file.seek(0)
        head = file.read(112)
        if len(head) < 72 or head[:4] != b"QFI\xfb":
            raise HelperError("INVALID", f"{path} is not a qcow2 image")
        (self.version, self.backing_offset, backing_size, self.cluster_bits, self.size, self.encryption) = (
            struct.unpack(">IQIIQI", head[4:36])
        )
        self.l1_entries, self.l1_offset, self.refcount_offset, self.refcount_clusters = struct.unpack(
            ">IQQI", head[36:60]
        )
        if self.version not in (2, 3) or not 9 <= self.cluster_bits <= 21:
            raise HelperError("INVALID", f"{path}: qcow2 version {self.version} or its cluster size is not supported")
        self.snapshots, self.snapshots_offset = struct.unpack(">IQ", head[60:72])
        self.incompatible, header_length = 0, 72
        if self.version == 3:
            if len(head) < 104:
                raise HelperError("INVALID", f"{path}: the qcow2 header is cut off")
            self.incompatible = struct.unpack(">Q", head[72:80])[0]
            header_length = struct.unpack(">I", head[100:104])[0]
        self.extensions = self._extensions(file, header_length, path)
        self.backing_format = self.extensions.get(0xE2792ACA, b"").decode("utf-8", "replace")
        self.backing_file = ""
        if self.backing_offset > 1 << self.cluster_bits:
            raise HelperError("INVALID", f"{path}: the qcow2 header names a backing file beyond its end")
        if self.backing_offset:
            file.seek(self.backing_offset)
            self.backing_file = file.read(min(backing_size, 1023)).decode("utf-8", "surrogateescape")

    def _extensions(self, file: BinaryIO, offset: int, path: str) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        end = min(1 << self.cluster_bits, self.backing_offset or (1 << self.cluster_bits))
        while offset + 8 <= end:
            file.seek(offset)
            head = file.read(8)
            kind, length = struct.unpack(">II", head) if len(head) == 8 else (0, 0)
            if kind == 0:
                break
            if offset + 8 + length > end:
                raise HelperError("INVALID", f"{path}: a qcow2 header extension reaches past the header")
            found[kind] = file.read(length)
            offset += 8 + (length + 7) // 8 * 8
        return found


def _check_qcow2(file: BinaryIO, size: int) -> int:
    header = Qcow2Header(file, "the image")
    if header.backing_offset:
        raise HelperError("INVALID", "the qcow2 image has a backing file; flatten it with qemu-img convert first")
    if header.incompatible & 4 or 0x44415441 in header.extensions:
        raise HelperError("INVALID", "the qcow2 image keeps its data in another file; flatten it with qemu-img convert")
    if header.encryption or 0x0537BE77 in header.extensions:
        raise HelperError("INVALID", "the qcow2 image is encrypted; decrypt it with qemu-img convert first")
    if header.incompatible & 2:
        raise HelperError("INVALID", "the qcow2 image is marked corrupt; repair it with qemu-img check -r all first")
    # Dirty, compression kind and extended L2 entries are known and harmless.
    if header.incompatible & ~0b11001:
        raise HelperError("INVALID", f"the qcow2 image needs unknown features ({header.incompatible:#x})")
    if header.size > MAX_DISK:
        raise HelperError("INVALID", f"the qcow2 image is a disk of {header.size} bytes; {MAX_DISK} are possible")
    cluster = 1 << header.cluster_bits
    entry_size = 16 if header.incompatible & 16 else 8
    entries_per_table = cluster // entry_size
    if header.l1_entries > (32 << 20) // 8 or header.size > header.l1_entries * entries_per_table * cluster:
        raise HelperError("INVALID", "the qcow2 image's tables do not fit its size")
    cut_off = HelperError("INVALID", f"the qcow2 image is cut off: its tables point past its end at {size} bytes")
    if (
        max(header.l1_offset + header.l1_entries * 8, header.refcount_offset + header.refcount_clusters * cluster)
        > size
    ):
        raise cut_off
    snapshots_end = header.snapshots_offset + header.snapshots * 40 if header.snapshots else 0
    if header.snapshots > MAX_SNAPSHOTS or snapshots_end > size:
        raise HelperError("INVALID", "the qcow2 image's table of snapshots is cut off, or has no end")
    # Each table is read once: a forged L1 that names one table a million times must not cost a million reads.
    for table in sorted({entry & 0x00FFFFFFFFFFFE00 for entry in _words(file, header.l1_offset, header.l1_entries)}):
        if table == 0:
            continue
        if table + cluster > size:
            raise cut_off
        for entry in _words(file, table, cluster // 8)[:: entry_size // 8]:
            compressed = (1 << (62 - (header.cluster_bits - 8))) - 1
            if entry and (entry & (compressed if entry >> 62 & 1 else 0x00FFFFFFFFFFFE00)) >= size:
                raise cut_off
    return int(header.size)


def _words(file: BinaryIO, offset: int, count: int) -> array.array[int]:
    file.seek(offset)
    words = array.array("Q", file.read(count * 8))
    if sys.byteorder == "little":
        words.byteswap()
    return words


def _check_iso(file: BinaryIO, size: int) -> int:
    file.seek(0x8000)
    descriptor = file.read(2048)
    blocks, block_size = struct.unpack("<I", descriptor[80:84])[0], struct.unpack("<H", descriptor[128:130])[0]
    if blocks * block_size > size:
        raise HelperError("INVALID", f"the ISO is cut off: it says {blocks * block_size} bytes and has {size}")
    return size


def _check_raw(_file: BinaryIO, size: int) -> int:
    return size


SIGNATURES = [  # (offset, magic, name)
    (0, b"QFI\xfb\x00\x00\x00\x01", "qcow"),
    (0, b"QFI\xfb", "qcow2"),
    (0, b"QED\0", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vhd"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"Bochs Virtual HD Image", "bochs"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0x8001, b"CD001", "iso"),
]


def detect_format(file: BinaryIO, size: int) -> str:
    """The name of the format that the content has; raw when it has no mark of any."""
    file.seek(0)
    head = file.read(0x8800)
    for offset, magic, name in SIGNATURES:
        if head[offset : offset + len(magic)] == magic:
            return name
    text = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "html"
    # A descriptor of VMDK names extents, which are files of the host: comments may come before its first words.
    if text.startswith(b"#") and b"createtype=" in head[:4096].lower().replace(b" ", b""):
        return "vmdk"
    file.seek(max(0, size - 512))
    footer = file.read(8)
    return "vhd" if footer == b"conectix" else "dmg" if footer[:4] == b"koly" else "raw"


def inspect_image(path: str, declared: str) -> int:
    """The virtual size in bytes of an image that is what it is said to be and stands alone; else INVALID."""
    if declared not in FORMATS:
        raise HelperError("INVALID", f"image format {declared!r} is none of {', '.join(FORMATS)}")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise HelperError("INVALID", "the image is empty")
        actual = detect_format(file, size)
        if actual != declared:
            raise HelperError("INVALID", f"the image is said to be {declared}, but its content is {actual}")
        return {"qcow2": _check_qcow2, "iso": _check_iso, "raw": _check_raw}[declared](file, size)
