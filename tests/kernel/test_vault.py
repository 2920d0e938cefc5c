"""The vault: sealed secrets open with their key only, and look different each time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zcloud.kernel.vault import PREFIX, Vault


def test_what_is_sealed_opens_again() -> None:
    vault = Vault(os.urandom(32))
    for secret in ("hunter2!", "pässwörd", "line\nline", "x" * 100_000):
        sealed = vault.seal(secret)
        assert sealed.startswith(PREFIX)
        assert secret not in sealed
        assert vault.open(sealed) == secret
    assert vault.seal("x") != vault.seal("x")
    assert (vault.seal(""), vault.open("")) == ("", "")


def test_another_key_or_a_changed_text_opens_nothing() -> None:
    vault, other = Vault(b"1" * 32), Vault(b"2" * 32)
    sealed = vault.seal("secret")
    with pytest.raises(ValueError, match="sealed with key"):
        other.open(sealed)
    for n in (len(PREFIX) + 12, len(sealed) // 2, len(sealed) - 6):
        changed = sealed[:n] + ("A" if sealed[n] != "A" else "B") + sealed[n + 1 :]
        with pytest.raises(ValueError, match=r"sealed with key|base64"):
            vault.open(changed)
    with pytest.raises(ValueError, match="not a sealed secret"):
        vault.open("secret")


def test_the_key_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "vault.key"
    sealed = Vault.at(path).seal("secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
    assert Vault.at(path).open(sealed) == "secret"


def test_digests_are_keyed() -> None:
    assert Vault(b"1" * 32).digest(b"x") == Vault(b"1" * 32).digest(b"x") != Vault(b"2" * 32).digest(b"x")
