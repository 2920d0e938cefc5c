"""A picture of a cloud, to compare with one of before."""

from __future__ import annotations

import enum
import re
from functools import cache
from typing import Any

import msgspec

from tests.faults.harness.cloud import Run
from zcloud.domain.network.ip_pool import IpPool

HEX = re.compile(r"[0-9a-f]{32}|[0-9a-f]{2}(?::[0-9a-f]{2}){5}|sealed:[^ ]*|10\.0\.0\.[0-9]+")
# Kinds that are history, and attributes that say when, why and by whom.
HISTORY = {"job", "session", "enroll_token", "global_config", "login_name", "account"}
VOLATILE = re.compile(
    r"(^|_)(date|version|life|pending|now|reason|error|job|job_uuid|job_uuids|by|before|last_host_uuid|due|desired_state|name|management_ip|ip|available|total_available|available_capacity)$"
)


def picture(run: Run, known: frozenset[str]) -> dict[str, Any]:
    """The cloud and the world without times, and with new names left open."""
    fold = run.lake.fold
    # Hosts are told apart by what they have, for which of two is chosen is left to chance.
    known -= run.hosts.keys()
    resources: dict[str, Any] = {}
    for kind in sorted({m.kind for uuid in fold.views if (m := fold.find(uuid)) is not None} - HISTORY):
        resources[kind] = sorted(
            (_shape([_facts(part) for part in fold.parts(m)], known) for m in fold.all(kind) if m.kind == kind),
            key=repr,
        )
    worlds = []
    for uuid, host in run.hosts.items():
        w = host.world
        if uuid not in run.alive and not (w.vms or w.volumes or w.cache or w.bridges or w.dhcp):
            continue  # a machine like any other
        found = {
            "installed": uuid in run.alive,
            "vms": [(vm, it.state, str(it.spec)) for vm, it in w.vms.items()],
            "volumes": [(p, str(v)) for p, v in w.volumes.items()],
            "cache": list(w.cache),
            "bridges": list(w.bridges.items()),
            "mounts": sorted(w.mounts),
            "asks": [sorted(network.peers) for _, network in sorted(w.storage_networks.items())],
            "dhcp": [(l3, s.bridge, sorted(s.entries)) for l3, s in w.dhcp.items()],
        }
        worlds.append(_shape(found, known))
    return {
        "resources": resources,
        "worlds": sorted(worlds, key=repr),
        "files": sorted(_shape(sorted(run.servers.files), known)),
        "installed": _shape(sorted(run.servers.installed), known),
    }


@cache
def _volatile(name: str) -> bool:
    return VOLATILE.search(name) is not None


def _facts(part: Any) -> dict[str, Any]:
    if isinstance(part, IpPool):  # which of the free addresses is given is left to chance
        return {"held": len(list(part.holders()))}
    return {k: v for k, v in sorted(vars(part).items()) if not _volatile(k) and k != "jobs"}


def _shape(value: Any, known: frozenset[str]) -> Any:
    if isinstance(value, str):
        return HEX.sub(lambda m: m.group() if m.group() in known else "new", value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, msgspec.Struct):
        return _shape(_facts_of(value), known)
    if isinstance(value, dict):
        return sorted(((_shape(k, known), _shape(v, known)) for k, v in value.items()), key=repr)
    if isinstance(value, (set, frozenset)):
        return sorted((_shape(v, known) for v in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [_shape(v, known) for v in value]
    return value if isinstance(value, (int, float, bool, bytes, type(None))) else repr(value)


def _facts_of(value: msgspec.Struct) -> dict[str, Any]:
    return {n: getattr(value, n) for n in value.__struct_fields__ if not _volatile(n)}
