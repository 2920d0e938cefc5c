"""The log in PostgreSQL."""

from __future__ import annotations

from zcloud.kernel.store import Store


class PostgresRecorder(Store):
    """Not there yet."""

    def __init__(self, address: str) -> None:
        raise NotImplementedError(address)
