"""What a VM needs, in a server that is measured: simulated hosts in a process of their own, a real SFTP server."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.product import Product
from tests.support.sshd import running_sshd

GIB = 1 << 30
WAIT_SECONDS = 900
CONNECT_SECONDS = 600.0


@dataclass
class Ground:
    """fields: of a CreateVmInstance that works. simulator: the process with the hosts."""

    zone: str
    cluster: str
    fields: dict[str, Any]
    simulator: subprocess.Popen[str]


@contextlib.contextmanager
def hosts(it: Product, number: int, name: str = "sim") -> Iterator[Ground]:
    """A cluster with so many simulated hosts, all Connected."""
    zone = it.admin.call("CreateZone", name=f"zone of {name}").inventory.uuid
    cluster, simulator = _simulator(it, zone, name, number)
    try:
        _dialled_in(simulator)
        _await_connected(it, number)
        yield Ground(zone, cluster, {}, simulator)
    finally:
        simulator.kill()
        simulator.wait()


@contextlib.contextmanager
def fleets(it: Product, number: int, processes: int) -> Iterator[list[subprocess.Popen[str]]]:
    """As many simulated hosts, shared out over processes, each with a connection of its own, as real ones have."""
    zone = it.admin.call("CreateZone", name="zone of many").inventory.uuid
    shares = [number // processes + (n < number % processes) for n in range(processes)]
    with contextlib.ExitStack() as stack:
        simulators = []
        for n, share in enumerate(shares):
            _, simulator = _simulator(it, zone, f"sim-{n}", share, "--streams", "1")
            stack.callback(simulator.wait)
            stack.callback(simulator.kill)
            simulators.append(simulator)
        for simulator in simulators:
            _dialled_in(simulator)
        _await_connected(it, number)
        yield simulators


def _simulator(it: Product, zone: str, name: str, number: int, *more: str) -> tuple[str, subprocess.Popen[str]]:
    """A cluster, and the process with its hosts."""
    made = it.admin.call("CreateCluster", name=name, zone_uuid=zone, hypervisor_type="Simulator").inventory
    argv = [sys.executable, "-m", "zcloud.cli.main", "agent", "simulator", "--server", it.server.address]
    argv += ["--token", it.admin.token, "--cluster", made.uuid, "--hosts", str(number), *more]
    return made.uuid, subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _dialled_in(simulator: subprocess.Popen[str]) -> None:
    assert simulator.stdout is not None
    if not any("are connected" in line for line in simulator.stdout):
        raise RuntimeError("the simulator ended")


def _await_connected(it: Product, number: int) -> None:
    end = time.monotonic() + CONNECT_SECONDS
    while time.monotonic() < end:
        found = it.admin.call("QueryHost", filter="status = Connected", page_size=1, count=True)
        if found.total >= number:
            return
        time.sleep(0.2)
    raise RuntimeError(f"not all of {number} hosts are connected")


@contextlib.contextmanager
def ready(it: Product, directory: Path, number: int) -> Iterator[Ground]:
    """Hosts, storages, an image, a network: VMs may be made."""
    source = directory / "disk.raw"
    with source.open("wb") as file:
        file.truncate(1 << 20)
    with running_sshd(directory / "sshd") as sshd, hosts(it, number) as here:
        _done(it, "UpdateGlobalConfig", category="image", name="download.allowedPaths", value=str(directory))
        storage = _done(it, "AddLocalPrimaryStorage", name="local", zone_uuid=here.zone, url="/zcloud/ps")
        _done(
            it, "AttachPrimaryStorageToCluster", primary_storage_uuid=storage.inventory.uuid, cluster_uuid=here.cluster
        )
        backup = _done(
            it,
            "AddSftpBackupStorage",
            name="sftp",
            url=str(directory / "bs"),
            hostname="127.0.0.1",
            ssh_port=sshd.port,
            username="root",
            private_key=sshd.client_key,
        ).inventory.uuid
        _done(it, "AttachBackupStorageToZone", backup_storage_uuid=backup, zone_uuid=here.zone)
        image = _done(it, "AddImage", name="i", url=f"file://{source}", format="raw", backup_storage_uuid=backup)
        l2 = _done(it, "CreateL2NoVlanNetwork", name="l2", zone_uuid=here.zone, physical_interface="eth1")
        _done(it, "AttachL2NetworkToCluster", l2_network_uuid=l2.inventory.uuid, cluster_uuid=here.cluster)
        l3 = _done(it, "CreateL3Network", name="flat", l2_network_uuid=l2.inventory.uuid).inventory.uuid
        _done(it, "AddIpRangeByNetworkCidr", name="r", l3_network_uuid=l3, network_cidr="10.0.0.0/16")
        here.fields.update(cpu_num=1, memory_size=GIB // 8, image_uuid=image.inventory.uuid, l3_network_uuids=[l3])
        yield here


def _done(it: Product, rpc: str, **fields: Any) -> Any:
    answer = it.admin.call(rpc, **fields)
    if getattr(answer, "job_uuid", ""):
        job = it.admin.wait(answer.job_uuid, WAIT_SECONDS)
        if job.state != job.STATE_SUCCEEDED:
            raise RuntimeError(f"{rpc}: {job}")
    return answer
