"""How tasks are told to reach a server by SSH: secrets are opened here, on their way out, and nowhere else."""

from __future__ import annotations

from typing import Protocol

from zcloud.kernel.unit import Unit
from zcloud.kernel.vault import Vault
from zcloud.v1.host_task_pb2 import SshTarget


class Reachable(Protocol):
    """A resource that is reached by SSH; password and private_key are sealed."""

    ssh_port: int
    username: str
    password: str
    private_key: str
    host_key: str


def ssh_target(unit: Unit, hostname: str, of: Reachable) -> SshTarget:
    """The target with its secrets in clear; for task arguments only."""
    vault: Vault = unit.port("vault")
    return SshTarget(
        hostname=hostname,
        port=of.ssh_port,
        username=of.username,
        password=vault.open(of.password),
        private_key=vault.open(of.private_key),
        host_key=of.host_key,
    )
