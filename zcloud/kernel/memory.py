"""The garbage collector of a process that lives long and keeps much: what is there stays, and is not looked at."""

from __future__ import annotations

import gc

# Objects that are made, less those that went, until the young ones are looked at; by default 700.
YOUNG = 50_000


def settle() -> None:
    """Call it when everything is imported: reference counts free nearly all, so cycles may wait."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 100)
