"""Files that are made once: whole or not at all, and whoever comes first has made them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zcloud.kernel.files import make_once


def test_it_is_made_once_and_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "below" / "key"
    assert make_once(path, b"first") == b"first"
    assert make_once(path, b"second") == b"first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["key"]


def test_half_of_it_is_never_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power goes before it is on disk."""

    def gone(_: int) -> None:
        raise OSError("no power")

    monkeypatch.setattr(os, "fsync", gone)
    with pytest.raises(OSError, match="no power"):
        make_once(tmp_path / "key", b"first")
    assert os.listdir(tmp_path) == []


def test_somebody_else_is_quicker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    real = os.link

    def late(source: str, target: Path) -> None:
        path.write_bytes(b"theirs")
        real(source, target)

    monkeypatch.setattr(os, "link", late)
    assert make_once(path, b"ours") == b"theirs"
