"""Who does something, by what call, and why: stamped on every event once, by the kernel."""

from __future__ import annotations

import msgspec


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A caller, or the system itself when everything is empty."""

    account_uuid: str = ""
    account_name: str = ""
    session_uuid: str = ""
    source: str = ""
    is_admin: bool = False


SYSTEM = Actor(account_name="system", is_admin=True)


def by_node(name: str) -> Actor:
    """The system, on the node of this name: whoever asks why is told who saw it."""
    return msgspec.structs.replace(SYSTEM, source=f"node:{name}") if name else SYSTEM


class Context(msgspec.Struct, frozen=True):
    """One call or one turn of a process.

    origin: the RPC's or the process's name. causation_id: what led to it. correlation_id: the first cause.
    """

    actor: Actor = SYSTEM
    origin: str = ""
    request_id: str = ""
    reason: str = ""
    causation_id: str = ""
    correlation_id: str = ""
    job_uuid: str = ""
    now: int = 0
