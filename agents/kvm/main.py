"""The agent of a KVM host: python -m agents.kvm.main --config FILE."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

from agents.kvm.connect_host import ConnectHost
from agents.kvm.hypervisor import Hypervisor
from agents.kvm.machines import Machines
from agents.kvm.migration import Migrations
from agents.kvm.snapshot_handlers import snapshot_handlers
from agents.kvm.vm_handlers import vm_handlers
from agents.kvm.volume_handlers import volume_handlers
from agents.network.handlers import network_handlers
from agents.runtime.agent import run_agent
from agents.runtime.config import AgentConfig, ConfigError
from agents.runtime.enroll import EnrollError
from agents.runtime.journal import JournalError
from agents.runtime.task import Handler
from agents.storage.handlers import host_handlers
from agents.storage.watched import StorageWatch
from zcloud.v1.agent_pb2 import HostInventory

LIBVIRT_URI = "qemu:///system"


def kvm_handlers(
    hypervisor: Hypervisor, host_uuid: str, directory: Path, watched: StorageWatch | None = None
) -> list[Handler[Any, Any]]:
    """All that a KVM host does; files of VMs and networks go below directory, where the agent's identity is."""
    return [
        ConnectHost(hypervisor, host_uuid),
        *vm_handlers(Machines(hypervisor, directory / "vms"), Migrations(hypervisor, directory)),
        *volume_handlers(hypervisor),
        *snapshot_handlers(hypervisor),
        *network_handlers(directory / "dhcp"),
        *host_handlers(watched),
    ]


async def run(config: AgentConfig) -> None:
    """Serve the host until a signal ends it. Guests, bridges and DHCP servers go on without the agent."""
    hypervisor = Hypervisor(config.extra.get("libvirt_uri") or LIBVIRT_URI)
    loop = asyncio.get_running_loop()
    changes: asyncio.Queue[HostInventory] = asyncio.Queue()

    def changed(change: HostInventory) -> None:
        # From the keeper's thread, for which the queue is not made.
        loop.call_soon_threadsafe(changes.put_nowait, change)

    hypervisor.subscribe(changed)
    watched = StorageWatch()

    async def inventory() -> HostInventory:
        return watched.add_to(await hypervisor.inventory())

    hypervisor.start()
    reporting = loop.create_task(watched.report(changes), name="storages")
    try:
        handlers = kvm_handlers(hypervisor, config.host_uuid, Path(config.directory), watched)
        await run_agent(config, handlers, inventory, hypervisor.error, changes)
    finally:
        reporting.cancel()
        hypervisor.close()


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM; 1 and one line of words when it cannot."""
    parser = argparse.ArgumentParser(prog="zcloud agent kvm", description="Serves this machine as a KVM host.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="what the installer left")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(run(AgentConfig.load(options.config)))
    except (ConfigError, EnrollError, JournalError) as error:
        print(f"agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
