"""A server that can't be reached is not asked by everybody; all are told why."""

from __future__ import annotations

import psycopg
import pytest

from zcloud.kernel.store import connections
from zcloud.kernel.store.connections import Connections


def test_who_does_not_even_try_is_told_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator reads which server it is in every answer, not in one of ten (ARC-14)."""
    monkeypatch.setattr(connections, "PAUSE_SECONDS", 3600.0)
    store = Connections("postgresql://u@127.0.0.1:1,127.0.0.1:2/d", "public", 2)
    told = []
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError) as raised, store.use():
            pass
        told.append(str(raised.value))
        monkeypatch.setattr(connections.Impatient, "connect", lambda *_, **__: pytest.fail("it is tried at once"))
    assert "port 1 failed: Connection refused" in told[0].replace('"1"', "1")
    assert told[1] == told[0]
