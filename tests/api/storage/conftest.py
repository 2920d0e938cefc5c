"""A real sshd for the tests of this folder."""

from __future__ import annotations

from tests.support.sshd import sshd

__all__ = ["sshd"]
