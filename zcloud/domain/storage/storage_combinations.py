"""Which primary storages may be attached to one cluster together (CLU-06..CLU-12)."""

from __future__ import annotations

from collections.abc import Iterable

from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.kernel.errors import Reason, precondition

LOCAL, NFS, SMP = "LocalStorage", "NFS", "SharedMountPoint"
# How many of a kind a cluster may have by itself, and which two kinds go together, one of each.
SEVERAL = (LOCAL, NFS)
PAIRS = (frozenset({LOCAL, NFS}), frozenset({LOCAL, SMP}))


def must_combine(cluster_name: str, there: Iterable[PrimaryStorage], new: PrimaryStorage) -> None:
    """Refuses a storage that cannot be on a cluster beside what it has, naming the two that do not go together."""
    others = list(there)
    for other in others:
        if other.type == new.type and new.type in SEVERAL:
            mixed = next((one for one in others if one.type != new.type), None)
            if mixed is None:
                continue
            other = mixed
            why = f"beside a {mixed.type} there may be one {new.type}"
        elif other.type == new.type:
            why = f"a cluster has one {new.type}"
        elif frozenset({other.type, new.type}) not in PAIRS:
            why = f"{other.type} and {new.type} do not go together"
        elif len(others) > 1:
            why = f"beside a {new.type} there may be one {other.type}"
        else:
            continue
        text = f'cluster "{cluster_name}" has {other.type} "{other.name}"; {new.type} "{new.name}" cannot join: {why}'
        raise precondition(Reason.NOT_SUPPORTED, text, primary_storage_uuid=other.uuid)
