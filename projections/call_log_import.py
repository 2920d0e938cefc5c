"""Takes over the calls that a node kept in a file of its own, from when each node did, into the log that all share."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from projections.call_log import FILE, KIND, CallLog

TAKEN = "calls-taken.db"
BATCH = 1_000


def take_over(directory: Path, calls: CallLog, node: str, ended: Callable[[], bool] = lambda: False) -> int:
    """All of them, or none is named as taken: it begins anew at the next start. Gives how many.

    node: what those are said to be taken by that do not say it. ended: whether to give up now.
    """
    path = directory / FILE
    if not path.exists():
        return 0
    number = 0
    with closing(sqlite3.connect(path)) as file:
        if not file.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (KIND,)).fetchone():
            return 0
        found = file.execute(f"SELECT _doc, _owner_uuid FROM {KIND}")  # noqa: S608 - constant text
        while rows := found.fetchmany(BATCH):
            if ended():
                return number
            calls.write([(_message(calls, document, node), owner or "") for document, owner in rows])
            number += len(rows)
    path.rename(directory / TAKEN)
    return number


def _message(calls: CallLog, document: bytes, node: str) -> Any:
    message: Any = calls.model.message_type.FromString(document)
    message.management_node_name = message.management_node_name or node
    return message
