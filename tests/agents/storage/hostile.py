"""Images and URLs that nobody should accept, without end, from a seed: `python -m tests.agents.storage.hostile 7 1000`.

Each file begins as a sound image and is made hostile in one way that is sure to make it so, and then in some that may
change anything else. As a program it inspects them, and ends with an error when one is accepted or is no mere refusal.
"""

from __future__ import annotations

import os
import random
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable
from urllib.parse import quote

from agents.storage.helper import HelperError
from agents.storage.image_format import inspect_image

CLUSTER = 1 << 16
ELSEWHERE = (
    "/etc/shadow", "../../../etc/passwd", "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}", "nbd://10.0.0.1/x",
    "http://169.254.169.254/latest", "file:/dev/sda", "base.qcow2", "\u202egpj.x", "a" * 1023, "rbd:pool/image",
    "ssh://root@localhost/etc/shadow", "a\nb", "fat:/etc",
)  # fmt: skip
OTHERS = (
    b"KDMV\x01\0\0\0", b"COWD\x01\0\0\0", b"QED\0" + b"\0" * 60, b"vhdxfile", b"conectix", b"LUKS\xba\xbe\0\x02",
    b"WithoutFreeSpace", b"WithouFreSpacExt", b"Bochs Virtual HD Image", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"QFI\xfb\0\0\0\x01",
    b"# Disk DescriptorFile\nversion=1",
    b"# a comment\n\n# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/shadow\" 0\n",
    b"#\ncreateType = \"vmfs\"\nRW 9 VMFS \"/dev/sda\" 0\n", b"<!DOCTYPE html><p>log in",
    b"\xef\xbb\xbf \n<HTML><head>",
)  # fmt: skip


def sound(chance: random.Random) -> bytearray:
    """A small qcow2 image, version 3, with all of its tables."""
    size = chance.randrange(1, 64) << 20
    disk = bytearray(CLUSTER * 5)
    l1 = -(-size // (CLUSTER // 8 * CLUSTER))
    _put(disk, ">4sIQIIQIIQQIIQ", 0, b"QFI\xfb", 3, 0, 0, 16, size, 0, l1, CLUSTER * 3, CLUSTER, 1, 0, 0)
    _put(disk, ">QQQII", 72, 0, 0, 0, 4, 104)
    struct.pack_into(">Q", disk, CLUSTER, CLUSTER * 2)
    struct.pack_into(">5H", disk, CLUSTER * 2, 1, 1, 1, 1, 1)
    struct.pack_into(">Q", disk, CLUSTER * 3, CLUSTER * 4 | 1 << 63)
    return disk


def _put(disk: bytearray, form: str, offset: int, *values: object) -> None:
    struct.pack_into(form, disk, offset, *values)


def _backing(disk: bytearray, chance: random.Random) -> None:
    name = chance.choice(ELSEWHERE).encode()[:1023]
    at = chance.choice((112, 1024, CLUSTER - len(name), CLUSTER * 9, (1 << 63) - 1, 1))
    _put(disk, ">QI", 8, at, chance.choice((len(name), 0, 1023, 1 << 31)))
    if at + len(name) <= len(disk) and at > 1:
        disk[at : at + len(name)] = name


def _extension(disk: bytearray, chance: random.Random) -> None:
    kind = chance.choice((0x44415441, 0x0537BE77))
    padding = chance.randrange(0, 4)
    at = 104
    for _ in range(padding):
        _put(disk, ">II8s", at, chance.randrange(1, 1 << 28), 8, b"whatever")
        at += 16
    _put(disk, ">II16s", at, kind, 16, b"/etc/shadow\0\0\0\0\0")


def _long_extension(disk: bytearray, chance: random.Random) -> None:
    _put(disk, ">II", 104, chance.randrange(1, 1 << 28), chance.choice((CLUSTER, 1 << 31, (1 << 32) - 1)))


def _bits(disk: bytearray, chance: random.Random) -> None:
    _put(disk, ">Q", 72, chance.choice((2, 4, 6, 1 << chance.randrange(5, 64))) | chance.choice((0, 1)))


def _encrypted(disk: bytearray, chance: random.Random) -> None:
    _put(disk, ">I", 32, chance.choice((1, 2, 7, (1 << 32) - 1)))


def _huge(disk: bytearray, chance: random.Random) -> None:
    _put(disk, ">Q", 24, chance.choice((1 << 63, (1 << 64) - 1, 1 << 50, 1 << 62, 1 << 47)))
    if chance.random() < 0.5:
        _put(disk, ">I", 36, chance.choice((1 << 22, (1 << 22) - 1, (1 << 32) - 1, 1 << 31)))


def _tables(disk: bytearray, chance: random.Random) -> None:
    far = chance.choice((CLUSTER * 5, 1 << 40, (1 << 56) - 512))
    where = chance.randrange(5)
    if where == 0:
        _put(disk, ">Q", 40, far)
    elif where == 1:
        _put(disk, ">QI", 48, far, 1)
    elif where == 2:
        _put(disk, ">I", 56, chance.choice((1 << 31, 9)))
    elif where == 3:
        _put(disk, ">Q", CLUSTER * 3, far | 1 << 63)
    else:
        _put(disk, ">Q", CLUSTER * 4 + 8 * chance.randrange(CLUSTER // 8), far | 1 << 63)


def _snapshots(disk: bytearray, chance: random.Random) -> None:
    _put(disk, ">IQ", 60, chance.choice((1 << 31, 70_000, 9)), chance.choice((1 << 62, CLUSTER * 5)))


def _shape(disk: bytearray, chance: random.Random) -> None:
    if chance.random() < 0.5:
        _put(disk, ">I", 4, chance.choice((0, 4, 9, 1 << 31)))
    else:
        _put(disk, ">I", 20, chance.choice((0, 8, 22, 63, 64, 1 << 31)))


def _cut(disk: bytearray, chance: random.Random) -> None:
    del disk[chance.choice((4, 8, 71, 72, 103, 104, 200, CLUSTER, CLUSTER * 3 + 1)) :]


QCOW2: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _backing, _extension, _long_extension, _bits, _encrypted, _huge, _tables, _snapshots, _shape, _cut,
)  # fmt: skip


def _another(chance: random.Random) -> tuple[bytes, str]:
    """Something else under a name that is not its own."""
    mark = chance.choice(OTHERS)
    body = bytearray(chance.randrange(1024, 80_000))
    place = chance.random()
    if place < 0.7 or not mark.startswith(b"conectix"):
        body[: len(mark)] = mark
    else:
        body[-512 : -512 + len(mark)] = mark
    return bytes(body), chance.choice(("raw", "qcow2", "iso"))


def _iso(chance: random.Random) -> tuple[bytes, str]:
    """An ISO that says it is bigger than it is, or is said to be a disk."""
    body = bytearray(0x8800 + chance.randrange(0, 4096))
    body[0x8000:0x8006] = b"\x01CD001"
    struct.pack_into("<I", body, 0x8050, chance.choice((1 << 20, (1 << 32) - 1, 10**6)))
    struct.pack_into("<H", body, 0x8080, chance.choice((2048, 65535)))
    return bytes(body), chance.choice(("iso", "raw", "qcow2"))


def file(chance: random.Random) -> tuple[bytes, str, str]:
    """Content, the format that it is said to have, and what is wrong with it."""
    what = chance.random()
    if what < 0.15:
        return (*_another(chance), "another format")
    if what < 0.2:
        return (*_iso(chance), "iso")
    disk = sound(chance)
    if what < 0.25:
        return bytes(disk), chance.choice(("raw", "iso")), "a qcow2 image that is said to be none"
    spoil = chance.choice(QCOW2)
    for _ in range(chance.choice((0, 0, 1, 3))):  # noise where it makes nothing good again: in the data
        disk[chance.randrange(CLUSTER * 2, CLUSTER * 3)] = chance.randrange(256)
    spoil(disk, chance)
    return bytes(disk), "qcow2", spoil.__name__.strip("_")


INSIDE = ("127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0")


PORTS = ("99999", "-1", "0x50", "80:80", " 80", "\u0661")
SCHEMES = ("gopher", "dict", "data", "jar", "nbd", "json", "rbd", "ldap", "smb", "javascript")


def _inside(chance: random.Random) -> str:
    """The host part of a URL that leads inside, in one of the ways to write it."""
    address = chance.choice(INSIDE)
    parts = [int(part) for part in address.split(".")]
    number = int.from_bytes(bytes(parts), "big")
    pair = f"{number >> 16:x}:{number & 0xFFFF:x}"
    wide = "".join(chr(0xFF10 + int(c)) if c.isdigit() else chance.choice(".\u3002\uff0e\uff61") for c in address)
    return chance.choice((
        address, str(number), hex(number), f"0{number:o}", ".".join(f"0x{p:x}" for p in parts),
        ".".join(f"0{p:o}" for p in parts), f"{parts[0]}.{number & 0xFFFFFF}", f"[::ffff:{address}]",
        f"[::ffff:{pair}]",
        f"[::{pair}]", f"[::ffff:0:{pair}]", f"[64:ff9b::{pair}]", f"[64:ff9b:1::{pair}]", f"[2002:{pair}::1]",
        "[::1]", "[::]", "[fe80::1%25lo]", "[fd00::1]", "[ff02::1]", "localhost", "localhost.", "LOCALHOST", wide,
        "rebind.example", f"{address}.", "ip6-localhost", "[0:0:0:0:0:ffff:7f00:0001]",
    ))  # fmt: skip


def url(chance: random.Random) -> str:
    """Leads inside, out of its directory, or nowhere."""
    host, path = _inside(chance), chance.choice(("/a.qcow2", "/", "/a%20b", "/a?b=c#d", "/%0d%0aHost:%20x"))
    scheme = chance.choice(("http", "https", "ftp", "sftp"))
    evil = chance.choice(("\r\nHost: x", "\n", "\t", "\0", " ", "\\", "\x7f", "\u2028"))
    at = chance.choice(("..", "%2e%2e", "%2E.", ".%2e", "../..", ".", "%2e", "/", "%00", "..%2f..", "\u2025", "..;"))
    return chance.choice((
        f"{scheme}://{host}{path}", f"{scheme}://{host}:{chance.choice((1, 22, 80, 65535))}{path}",
        f"{scheme}://example.org@{host}{path}", f"{scheme}://example.org%40{host}@{host}{path}",
        f"{scheme}://{host}:{chance.choice(PORTS)}{path}",
        f"{scheme}://{host}{evil}{path}", f"{scheme}://{host}/a{evil}b", f"{scheme}://example.org\\@{host}{path}",
        f"{scheme}:///{host}", f"{scheme}://", f"{scheme}:{host}", f"{scheme.upper()}://{host}\n{path}",
        f"{chance.choice(SCHEMES)}://{host}{path}",
        f"file://{chance.choice(('', 'localhost', host))}/{at}/etc/shadow", f"file:///srv/{at}/{at}/etc/passwd",
        f"file:///etc/{quote(chance.choice(('passwd', 'shadow', 'ssh/ssh_host_rsa_key')))}", f"file:///dev/{at}zero",
        f"file:///proc/self/{at}environ", "file:///", f"upload://{at}/{host}/x", f"http://[{host}]/", "http://[::1",
    ))  # fmt: skip


def main(seed: int, count: int) -> int:
    chance, bad = random.Random(seed), 0
    refused: dict[str, int] = {}
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as place:
        for n in range(count):
            content, declared, what = file(chance)
            place.seek(0)
            place.truncate()
            place.write(content)
            place.flush()
            try:
                inspect_image(place.name, declared)
                print(f"seed {seed}, file {n}: accepted as {declared}: {what}")
                bad += 1
            except HelperError as error:
                refused[what] = refused.get(what, 0) + (error.reason == "INVALID")
                bad += error.reason != "INVALID"
            except Exception:
                print(f"seed {seed}, file {n}: {what}\n{traceback.format_exc()}")
                bad += 1
    print(f"refused {sum(refused.values())} of {count}, in {len(refused)} ways")
    return min(bad, 100)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
