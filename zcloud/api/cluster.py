"""What makes several nodes one cloud: leases in their store, and the keys that all of them must have."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agents.runtime.identity import write_private
from zcloud.api.pki import Authority
from zcloud.kernel.clock import SystemClock
from zcloud.kernel.ids import TimedIds
from zcloud.kernel.leases import LEASE_SECONDS, PARTITIONS, Leases, Member, SharedLeases, SoleOwner
from zcloud.kernel.store import Store
from zcloud.kernel.store.postgres_leases import PostgresLeases
from zcloud.kernel.vault import Vault, WrongKey

log = logging.getLogger(__name__)
KEY, AUTHORITY = "vault_key", "authority"
FILES = ("ca.key", "ca.pem")


class Cluster:
    """This node among the others; alone when its store is its own."""

    def __init__(
        self, directory: Path, store: str, name: str, seconds: float, facts: Callable[[], dict[str, Any]]
    ) -> None:
        """name: "" for one that is made of the machine's and the directory's. seconds: how long leases hold."""
        self.name = name or own_name(directory)
        self.facts = facts
        self.table = PostgresLeases(store) if store else None
        self._shared: SharedLeases | None = None
        if self.table is not None:
            instance = TimedIds().new()
            self._shared = SharedLeases(self.table, self.name, instance, facts, seconds or LEASE_SECONDS)
        self.leases: Leases = self._shared or SoleOwner(self.name)
        self._now = SystemClock().now
        self._started = 0

    async def start(self) -> None:
        """Join the others."""
        self._started = self._now()
        if self._shared is not None:
            await self._shared.start()

    async def close(self) -> None:
        """Leave everything to the others."""
        if self._shared is not None:
            await self._shared.close()

    @property
    def known(self) -> list[Member]:
        """The nodes as of the newest heartbeat."""
        return self._shared.members if self._shared is not None else [self._alone()]

    async def members(self) -> list[Member]:
        """The nodes now."""
        return self.known if self.table is None else await asyncio.to_thread(self.table.members)

    def _alone(self) -> Member:
        now = self._now()
        return Member(self.name, self.leases.instance, True, self._started, now, {}, tuple(range(PARTITIONS)))

    def dispose(self) -> None:
        """Let go of the store."""
        if self.table is not None:
            self.table.close()

    def on_gone(self, listener: Callable[[set[str]], None]) -> None:
        """Call it with the processes that are no more."""
        if self._shared is not None:
            self._shared.on_gone(listener)

    def on_beat(self, listener: Callable[[], None]) -> None:
        """Call it whenever what is known of the others is known anew."""
        if self._shared is not None:
            self._shared.on_beat(listener)

    def endpoints(self, fact: str, own: str) -> str:
        """Where all that live are reached, this one first: host:port, separated by commas."""
        others = [m.facts.get(fact, "") for m in self._shared.members if m.alive] if self._shared is not None else []
        return ",".join(dict.fromkeys([own, *filter(None, others)]))


def own_name(directory: Path) -> str:
    """The same at each start from this directory, and no other's."""
    return f"{socket.gethostname()}-{hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:6]}"


def open_vault(path: Path, store: Store) -> Vault:
    """The vault whose key lies at the path. On a store that others share it must be theirs; raises WrongKey.

    A cloud on one node goes on without its key: what was sealed with it must be given anew.
    """
    known = store.recall(KEY) if store.shared else ""
    if known and not path.exists():
        raise WrongKey(
            f"the cloud in this store seals its secrets with key {known}, and there is no key at {path}:"
            " bring vault.key there from another node's directory, or name the file with --vault-key"
        )
    vault = Vault.at(path)
    known = store.remember(KEY, vault.key_id)
    if known != vault.key_id and store.shared:
        raise WrongKey(
            f"{path} is key {vault.key_id}, and the cloud in this store seals its secrets with {known}:"
            " bring vault.key there from another node's directory"
        )
    if known != vault.key_id:
        log.error(
            "%s is key %s, and secrets in this log were sealed with key %s: bring that one back, or give the"
            " passwords and keys of hosts and storages anew",
            path,
            vault.key_id,
            known,
        )
    return vault


def open_authority(directory: Path, vault: Vault, store: Store) -> Authority:
    """The certificate authority: of all nodes the same, sealed in the store that they share."""
    if not store.shared:
        return Authority(directory)
    kept = store.recall(AUTHORITY)
    if not kept:
        Authority(directory)  # made, or of a time when this node was alone
        files = {name: (directory / name).read_text() for name in FILES}
        kept = store.remember(AUTHORITY, vault.seal(json.dumps(files)))
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, text in json.loads(vault.open(kept)).items():
        path = directory / name
        if not path.exists() or path.read_text() != text:
            write_private(path, text.encode())
    return Authority(directory)


def facts_of(node: Any) -> dict[str, Any]:
    """What a node says of itself at each heartbeat."""
    door = node.door
    return {
        "address": node.address,
        "agent_endpoint": door.agent_endpoint if door else "",
        "enroll_endpoint": door.enroll_endpoint if door else "",
        "version": version("zcloud"),
        "host_name": socket.gethostname(),
        "process": os.getpid(),
        "position": node.cloud.log.head,
        "shown_position": node.follower.position,
        "agents": node.agents.count,
    }
