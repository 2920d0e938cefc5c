"""Images are what they are said to be and stand alone: files of the real tools, and forged ones."""

from __future__ import annotations

import ast
import struct
import sys
from pathlib import Path

import pytest

from agents.node.packing import source_root
from agents.node.sftp_storage import HELPER_FILES
from agents.storage.helper import HelperError
from agents.storage.image_format import Qcow2Header, inspect_image
from tests.agents.storage import images
from tests.agents.storage.images import MIB


def refused(path: Path, declared: str) -> str:
    with pytest.raises(HelperError) as caught:
        inspect_image(str(path), declared)
    assert caught.value.reason == "INVALID"
    return str(caught.value)


def patched(path: Path, offset: int, content: bytes) -> Path:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)
    return path


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-o", "compat=0.10"),
        ("-o", "cluster_size=512"),
        ("-o", "cluster_size=2M"),
        ("-o", "extended_l2=on"),
        ("-o", "compression_type=zstd"),
        ("-o", "lazy_refcounts=on"),
        ("-o", "preallocation=metadata"),
        ("-o", "refcount_bits=1"),
    ],
    ids=lambda options: "".join(options[1:]) or "plain",
)
def test_a_standalone_qcow2_gives_its_virtual_size(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert inspect_image(str(images.qcow2(tmp_path / "a.qcow2", 9 * MIB, *options)), "qcow2") == 9 * MIB


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_a_compressed_qcow2_is_taken(tmp_path: Path, compression: str) -> None:
    plain = images.qcow2(tmp_path / "a.qcow2", written=3)
    packed = tmp_path / "b.qcow2"
    images.qemu_img("convert", "-c", "-O", "qcow2", "-o", f"compression_type={compression}", str(plain), str(packed))
    assert inspect_image(str(packed), "qcow2") == 8 * MIB


def test_a_raw_image_has_the_size_of_its_file(tmp_path: Path) -> None:
    assert inspect_image(str(images.raw(tmp_path / "a.raw", 3 * MIB)), "raw") == 3 * MIB


def test_an_iso_is_known_by_its_descriptor(tmp_path: Path) -> None:
    path = images.iso(tmp_path / "a.iso")
    assert inspect_image(str(path), "iso") == path.stat().st_size
    assert "content is iso" in refused(path, "raw")


def test_a_backing_file_is_refused(tmp_path: Path) -> None:
    base = images.qcow2(tmp_path / "base.qcow2")
    path = images.qcow2(tmp_path / "a.qcow2", 8 * MIB, "-b", str(base), "-F", "qcow2")
    assert "backing file" in refused(path, "qcow2")
    with open(path, "rb") as file:
        header = Qcow2Header(file, "a")
    assert (header.backing_file, header.backing_format, header.size) == (str(base), "qcow2", 8 * MIB)


@pytest.mark.parametrize("raw_external", ["on", "off"])
def test_an_external_data_file_is_refused(tmp_path: Path, raw_external: str) -> None:
    options = f"data_file={tmp_path}/data,data_file_raw={raw_external}"
    path = images.qcow2(tmp_path / "a.qcow2", 8 * MIB, "-o", options)
    assert "another file" in refused(path, "qcow2")
    # The name alone, with the feature bit cleared, is a forgery of the same kind.
    assert "another file" in refused(patched(path, 72, b"\0" * 8), "qcow2")


def test_encryption_is_refused(tmp_path: Path) -> None:
    secret = ("--object", "secret,id=s,data=secret", "-o", "encrypt.format=aes,encrypt.key-secret=s")
    path = tmp_path / "a.qcow2"
    images.qemu_img("create", "-f", "qcow2", *secret, str(path), "8M")
    assert "encrypted" in refused(path, "qcow2")
    assert "encrypted" in refused(patched(path, 32, struct.pack(">I", 2)), "qcow2")  # LUKS


@pytest.mark.parametrize(
    ("bits", "said"), [(1 << 5, "unknown features"), (1 << 63, "unknown features"), (2, "corrupt")]
)
def test_features_nobody_knows_are_refused(tmp_path: Path, bits: int, said: str) -> None:
    path = patched(images.qcow2(tmp_path / "a.qcow2"), 72, struct.pack(">Q", bits))
    assert said in refused(path, "qcow2")


def test_a_dirty_qcow2_is_taken(tmp_path: Path) -> None:
    path = patched(images.qcow2(tmp_path / "a.qcow2", 8 * MIB, "-o", "lazy_refcounts=on"), 72, struct.pack(">Q", 1))
    assert inspect_image(str(path), "qcow2") == 8 * MIB


@pytest.mark.parametrize("version", [0, 4, 5, 0xFFFFFFFF])
def test_other_versions_are_refused(tmp_path: Path, version: int) -> None:
    refused(patched(images.qcow2(tmp_path / "a.qcow2"), 4, struct.pack(">I", version)), "qcow2")


@pytest.mark.parametrize("keep", [4, 60, 72, 104, 512, 65536, 65536 * 3 + 4, 65536 * 4, -65536, -1 * MIB])
def test_a_truncated_qcow2_is_refused(tmp_path: Path, keep: int) -> None:
    path = images.qcow2(tmp_path / "a.qcow2")
    with open(path, "r+b") as file:
        file.truncate(keep if keep > 0 else path.stat().st_size + keep)
    refused(path, "qcow2")


def test_a_truncated_iso_is_refused(tmp_path: Path) -> None:
    path = images.iso(tmp_path / "a.iso")
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    assert "cut off" in refused(path, "iso")


def test_a_forged_table_of_tables_ends_soon(tmp_path: Path) -> None:
    """Four million entries that all name one table are one table to read."""
    path = images.qcow2(tmp_path / "a.qcow2")
    with open(path, "r+b") as file:
        (l1_offset,) = struct.unpack(">Q", file.read(48)[40:48])
        file.seek(l1_offset)
        table = file.read(8)
        end = file.seek(0, 2)
        file.write(table * (4 * MIB))
        file.seek(36)
        file.write(struct.pack(">IQ", 4 * MIB, end))
    assert inspect_image(str(path), "qcow2") == 8 * MIB


@pytest.mark.parametrize("declared", ["qcow2", "raw", "iso"])
@pytest.mark.parametrize(
    ("made", "options", "actual"),
    [
        ("vmdk", "subformat=monolithicSparse", "vmdk"),
        ("vmdk", "subformat=monolithicFlat", "vmdk"),
        ("vmdk", "subformat=streamOptimized", "vmdk"),
        ("vdi", "", "vdi"),
        ("vhdx", "", "vhdx"),
        ("vpc", "subformat=dynamic", "vhd"),
        ("vpc", "subformat=fixed", "vhd"),
        ("qed", "", "qed"),
        ("qcow", "", "qcow"),
    ],
)
def test_other_formats_are_refused_whatever_they_are_said_to_be(
    tmp_path: Path, declared: str, made: str, options: str, actual: str
) -> None:
    path = tmp_path / "a"
    images.qemu_img("create", "-f", made, *(("-o", options) if options else ()), str(path), "8M")
    assert f"content is {actual}" in refused(path, declared)


def test_a_descriptor_that_begins_with_comments_is_no_raw_image(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text('# any\nversion=1\nCID=1\ncreateType="monolithicFlat"\nRW 10 FLAT "/etc/shadow" 0\n')
    assert "content is vmdk" in refused(path, "raw")


@pytest.mark.parametrize(
    ("content", "actual"),
    [
        (b"\x1f\x8b\x08\0" + b"x" * 600, "gzip"),
        (b"\xfd7zXZ\0" + b"x" * 600, "xz"),
        (b"PK\x03\x04" + b"x" * 600, "zip"),
        (b"  <!DOCTYPE html><html>", "html"),
        (b"LUKS\xba\xbe" + b"\0" * 600, "luks"),
    ],
)
def test_what_is_no_disk_is_no_raw_image(tmp_path: Path, content: bytes, actual: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert f"content is {actual}" in refused(path, "raw")


def test_qcow2_and_raw_are_not_taken_for_each_other(tmp_path: Path) -> None:
    assert "content is qcow2" in refused(images.qcow2(tmp_path / "a"), "raw")
    assert "content is raw" in refused(images.raw(tmp_path / "b"), "qcow2")


def test_an_empty_file_and_an_unknown_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert "empty" in refused(tmp_path / "a", "raw")
    assert "none of" in refused(images.raw(tmp_path / "b"), "vmdk")


@pytest.mark.parametrize("name", HELPER_FILES)
def test_the_helper_needs_nothing_but_an_old_python(name: str) -> None:
    tree = ast.parse((source_root() / name).read_text(), feature_version=(3, 9))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    own = {name.removesuffix(".py").replace("/", ".") for name in HELPER_FILES}
    assert {(m or ".").partition(".")[0] for m in modules - own} <= sys.stdlib_module_names
    assert not any(isinstance(node, ast.Match) for node in ast.walk(tree))
