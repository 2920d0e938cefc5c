"""A cloud on several machines: namespaces with sshd, libvirtd and files of their own, and an NFS server beside them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.kvm.private_libvirtd import PrivateLibvirtd
from agents.node.private_sshd import PrivateSshd
from tests.support.cloud import Client, ServerProcess
from tests.support.ganesha import Ganesha, running_ganesha
from tests.support.libvirtd import CACHE, guest_image
from tests.support.namespace import Namespace, Switch, free_subnet, new_switch
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
SSH_PORT = 2222
# A machine under emulation takes its time.
JOB_SECONDS = 900


class Machine:
    """A server as an operator has it: reached by SSH, with libvirt installed."""

    def __init__(self, inside: Namespace, directory: Path) -> None:
        self.inside, self.directory = inside, directory
        self.sshd = PrivateSshd(directory / "sshd", SSH_PORT, inside.address)
        self.libvirtd = PrivateLibvirtd(directory)
        self.name, self.address, self.ssh_port = inside.name, inside.address, SSH_PORT
        self.libvirt_uri = self.libvirtd.uri
        self.uuid = ""

    @property
    def client_key(self) -> str:
        return self.sshd.client_key

    def start(self) -> None:
        self.inside.bind(self.directory / "own run", "/run")
        self.inside.bind(self.directory / "zcloud", "/var/lib/zcloud")
        # What QEMU can do takes libvirtd eight seconds to find out.
        if (CACHE / "libvirt").exists():
            shutil.copytree(CACHE / "libvirt", self.directory / "cache")
        self._call("agents.node.private_sshd", "start", str(self.sshd.directory), str(SSH_PORT), self.inside.address)
        self._call("agents.kvm.private_libvirtd", "start", str(self.directory))

    def _call(self, module: str, *argv: str) -> None:
        argv = (sys.executable, "-m", module, *argv)
        subprocess.run(self.inside.command(argv), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    def virsh(self, *argv: str) -> str:
        made = ["virsh", "-q", "-c", self.libvirtd.uri, *argv]
        return subprocess.run(made, capture_output=True, text=True, check=True).stdout

    def domains(self) -> list[str]:
        return self.virsh("list", "--name").split()


@dataclass
class Site:
    """What there is, and the uuids of what build() made."""

    server: ServerProcess
    switch: Switch
    machines: list[Machine]
    nfs: Ganesha
    directory: Path
    # Of the network that VMs get addresses in.
    guests: str
    admin: Client
    uuids: dict[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> Path:
        """A directory that all machines see, which the backup storage lies in as well (PS-17)."""
        return self.directory / "shared"

    def done(self, rpc: str, **fields: Any) -> Any:
        """Call, and insist that the job succeeds."""
        answer = self.admin.call(rpc, **fields)
        end = time.monotonic() + JOB_SECONDS
        while answer.job_uuid:
            # A call has a deadline of its own.
            waited = self.admin.call("WaitJob", uuid=answer.job_uuid, timeout_seconds=30)
            if waited.ended:
                assert waited.inventory.state == waited.inventory.STATE_SUCCEEDED, waited.inventory.error
                break
            assert time.monotonic() < end, waited.inventory
        return answer.inventory

    def add(self, machine: Any) -> None:
        """One more host, by SSH."""
        machine.uuid = self.done(
            "AddKvmHost",
            name=machine.name,
            cluster_uuid=self.uuids["cluster"],
            management_ip=machine.address,
            ssh_port=machine.ssh_port,
            username="root",
            private_key=machine.client_key,
            libvirt_uri=machine.libvirt_uri,
        ).uuid

    def create_vm(self, name: str, on: Any) -> Any:
        return self.done(
            "CreateVmInstance",
            name=name,
            instance_offering_uuid=self.uuids["offering"],
            image_uuid=self.uuids["image"],
            l3_network_uuids=[self.uuids["l3"]],
            host_uuid=on.uuid,
        )

    def vm(self, uuid: str) -> Any:
        return self.admin.call("GetVmInstance", uuid=uuid).inventory

    def build(self) -> None:
        """Hosts, a primary storage by NFS, a backup storage on the first machine, an image, a network."""
        uuids = self.uuids
        zone = self.done("CreateZone", name="zone").uuid
        uuids["cluster"] = self.done("CreateCluster", name="cluster", zone_uuid=zone).uuid
        for machine in self.machines:
            self.add(machine)
        uuids["ps"] = self.done("AddNfsPrimaryStorage", name="nfs", zone_uuid=zone, url=self.nfs.url).uuid
        self.done("AttachPrimaryStorageToCluster", primary_storage_uuid=uuids["ps"], cluster_uuid=uuids["cluster"])
        first = self.machines[0]
        self.shared.mkdir()
        bs = self.done(
            "AddSftpBackupStorage",
            name="sftp",
            url=str(self.shared / "images"),
            hostname=first.address,
            ssh_port=first.ssh_port,
            username="root",
            private_key=first.client_key,
        ).uuid
        self.done("AttachBackupStorageToZone", backup_storage_uuid=bs, zone_uuid=zone)
        image = guest_image()
        self.done("UpdateGlobalConfig", category="image", name="download.allowedPaths", value=str(image.parent))
        uuids["image"] = self.done(
            "AddImage", name="tiny", url=f"file://{image}", format="qcow2", backup_storage_uuid=bs
        ).uuid
        l2 = self.done("CreateL2NoVlanNetwork", name="l2", zone_uuid=zone, physical_interface="eth1").uuid
        self.done("AttachL2NetworkToCluster", l2_network_uuid=l2, cluster_uuid=uuids["cluster"])
        uuids["l3"] = self.done("CreateL3Network", name="flat", l2_network_uuid=l2).uuid
        guests = self.guests
        span = {"start_ip": f"{guests}.10", "end_ip": f"{guests}.99", "netmask": "255.255.255.0"}
        self.done("AddIpRange", name="range", l3_network_uuid=uuids["l3"], gateway=f"{guests}.1", **span)
        uuids["offering"] = self.done("CreateInstanceOffering", name="small", cpu_num=1, memory_size=128 << 20).uuid


@contextlib.contextmanager
def running_site(hosts: int, subnet: str = "") -> Iterator[Site]:
    """Machines and server run; nothing is in the cloud yet. subnet: of the machines."""
    directory = Path(tempfile.mkdtemp(prefix="zsite-", dir="/tmp"))
    place = Path("/var/lib/zcloud")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        if not place.exists():
            place.mkdir(parents=True)
            stack.callback(os.rmdir, place)
        switch = stack.enter_context(new_switch(subnet or free_subnet()))
        doors = []
        for option in ("--listen-agents", "--listen-enrolment"):
            doors += [option, f"{switch.address}:{free_port()}"]
        server = ServerProcess(directory / "data", arguments=[*doors, "--agent-base", str(directory / "agents")])
        nfs = stack.enter_context(running_ganesha(switch.machine("storage")))
        machines = [Machine(switch.machine(f"host{n}"), directory / f"host{n}") for n in range(1, hosts + 1)]
        for machine in machines:
            switch.plug(machine.inside, "eth1")
            machine.start()
        guests = free_subnet()
        subprocess.run(["ip", "address", "add", f"{guests}.1/24", "dev", switch.bridge], check=True)
        stack.callback(server.stop)
        server.start()
        yield Site(server, switch, machines, nfs, directory, guests, server.admin)
