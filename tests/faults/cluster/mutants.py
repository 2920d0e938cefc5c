"""Mistakes of nodes and agents that only several processes on one log bring to light; each must be found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.runtime.journal import Journal
from projections.projector import Projector
from tests.faults.harness.mutants import OWNERS, Patch, forgetful, patched
from zcloud.domain.compute import machine
from zcloud.kernel.adoption import Adoption
from zcloud.kernel.store import batch


def _stay(self: Projector, connection: Any, stretch: Any, views: Any) -> None:
    """What is deleted stays in the read models of VMs."""
    _write_rows(self, connection, stretch, [view for view in views if not _gone(view)])


def _gone(view: Any) -> bool:
    return getattr(view.main, "kind", "") == "vm_instance" and not view.main.exists


_write_rows = Projector._write_rows


async def _kept(*_: Any, **__: Any) -> None:
    return None


def _no_request(self: Any, index: int, append: Any) -> None:
    append.request = None
    _take(self, index, append)


_take = batch.Batch._take


# What is to be said of each: whatever else goes wrong is not what was looked for.
NODES: dict[str, tuple[str, Callable[[], Patch]]] = {
    "request ids are forgotten": ("I1: ", patched(batch.Batch, "_take", _no_request)),
    "jobs of a dead node are left alone": ("I6: job ", patched(Adoption, "start", lambda self: None)),
    "rows of what is gone stay": ("I8: ", patched(Projector, "_write_rows", _stay)),
    "CPU is not given back": ("I9: ", patched(machine, "release_host", _kept)),
}
# What only a late decision brings to light.
LATE: dict[str, tuple[str, Callable[[], Patch]]] = {name: ("I5: what was ", patch) for name, patch in OWNERS.items()}
AGENTS: dict[str, tuple[str, Callable[[], Patch]]] = {
    "an agent does not remember what it did": ("I2: ", patched(Journal, "find", forgetful)),
}
