"""One call: who, with what metadata, on which node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from projections.query.viewer import Viewer
from zcloud.kernel.context import Actor, Context
from zcloud.kernel.errors import Reason, invalid

if TYPE_CHECKING:
    from zcloud.api.node import Node
    from zcloud.api.rpcs import Rpc
    from zcloud.kernel.record import Record

LONGEST = 255


@dataclass(slots=True)
class Call:
    """What a handler knows of the call that it answers."""

    node: Node
    rpc: Rpc
    context: Context
    validate_only: bool = False
    if_version: int | None = None
    token: str = ""
    # What it wrote.
    records: Sequence[Record] = ()

    @property
    def actor(self) -> Actor:
        """Who calls."""
        return self.context.actor

    @property
    def viewer(self) -> Viewer:
        """What the caller may see."""
        return Viewer(self.actor.account_uuid, self.actor.is_admin)


@dataclass(frozen=True)
class Metadata:
    """The metadata that the API gives a meaning to."""

    token: str = ""
    request_id: str = ""
    reason: str = ""
    validate_only: bool = False
    if_version: int | None = None
    client: str = ""


def read_metadata(pairs: object) -> Metadata:
    """Parse it; raises INVALID_ARGUMENT naming the key."""
    values: dict[str, str] = {}
    for key, value in pairs or ():  # type: ignore[attr-defined]
        if isinstance(value, str):
            values[key] = value
    token = values.get("authorization", "")
    if token and not token.startswith("Bearer "):
        raise invalid("authorization", "***", 'must be "Bearer <token>"', Reason.INVALID_METADATA)
    request_id = values.get("zcloud-request", "")
    if len(request_id) > LONGEST:
        raise invalid("zcloud-request", request_id, f"must be at most {LONGEST} characters", Reason.INVALID_METADATA)
    reason = unquote(values.get("zcloud-reason", ""), errors="replace")
    if len(reason) > 4 * LONGEST:
        raise invalid("zcloud-reason", reason, f"must be at most {4 * LONGEST} characters", Reason.INVALID_METADATA)
    only = values.get("zcloud-validate-only", "")
    if only not in ("", "true", "false", "1", "0"):
        raise invalid("zcloud-validate-only", only, "must be true or false", Reason.INVALID_METADATA)
    version = values.get("zcloud-if-version")
    if version is not None and not version.isdecimal():
        raise invalid("zcloud-if-version", version, "must be a version number", Reason.INVALID_METADATA)
    return Metadata(
        token.removeprefix("Bearer "),
        request_id,
        reason,
        only in ("true", "1"),
        int(version) if version is not None else None,
        values.get("user-agent", ""),
    )
