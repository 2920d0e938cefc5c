"""A whole cloud on real parts: a server process, sshd, libvirtd, a network, a guest image; gone whatever happens."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.kvm.private_libvirtd import PrivateLibvirtd
from agents.node.host_setup import Places, stop_agent
from agents.node.private_sshd import PrivateSshd
from tests.agents.network.lan import Lan, ip, new_lan
from tests.support.cloud import Client, ServerProcess
from tests.support.libvirtd import guest_image, running_libvirtd
from tests.support.ports import free_port
from tests.support.sshd import running_sshd

SUBNET = "10.198.7"
# A machine under emulation takes its time.
JOB_SECONDS = 480


@dataclass
class Lab:
    """uuids: of the resources that build() made, by what they are."""

    directory: Path
    server: ServerProcess
    sshd: PrivateSshd
    libvirtd: PrivateLibvirtd
    lan: Lan
    uuids: dict[str, str] = field(default_factory=dict)
    _admin: Client | None = None

    @property
    def admin(self) -> Client:
        if self._admin is None:
            self._admin = self.server.admin
        return self._admin

    def restart(self, **environment: str) -> None:
        """Start the server again after it was killed."""
        self._admin = None
        self.server.start(**environment)

    def ready(self, seconds: float = 240.0) -> None:
        """Wait until host and storage are Connected, as they are again soon after a start."""
        end = time.monotonic() + seconds
        while True:
            host = self.admin.call("GetKvmHost", uuid=self.uuids["host"]).inventory
            storage = self.admin.call("GetBackupStorage", uuid=self.uuids["bs"]).inventory
            if host.status == host.STATUS_CONNECTED and storage.status == storage.STATUS_CONNECTED:
                return
            assert time.monotonic() < end, (host, storage)
            time.sleep(0.1)

    def done(self, rpc: str, **fields: Any) -> Any:
        """Call, and insist that the job succeeds."""
        answer = self.admin.call(rpc, **fields)
        if answer.job_uuid:
            job = self.admin.wait(answer.job_uuid, JOB_SECONDS)
            assert job.state == job.STATE_SUCCEEDED, job
        return answer.inventory

    def vm(self, uuid: str) -> Any:
        return self.admin.call("GetVmInstance", uuid=uuid).inventory

    def answers(self, address: str, tries: int = 240) -> bool:
        """Whether the guest answers a ping from the other end of the cable."""
        return any(self.lan.pings(self.lan.namespace, address) for _ in range(tries))

    def domains(self) -> list[str]:
        """What really runs."""
        argv = ["virsh", "-q", "-c", self.libvirtd.uri, "list", "--name"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()

    def add_host(self, **changes: Any) -> Any:
        fields = {
            "name": "host1",
            "cluster_uuid": self.uuids["cluster"],
            "management_ip": "127.0.0.1",
            "ssh_port": self.sshd.port,
            "username": "root",
            "private_key": self.sshd.client_key,
            "libvirt_uri": self.libvirtd.uri,
        }
        return self.admin.call("AddKvmHost", **{**fields, **changes})

    def build(self) -> None:
        """Everything that a VM needs, through the API."""
        uuids = self.uuids
        image = guest_image()
        uuids["zone"] = self.done("CreateZone", name="zone1").uuid
        uuids["cluster"] = self.done("CreateCluster", name="cluster1", zone_uuid=uuids["zone"]).uuid
        added = self.add_host()
        job = self.admin.wait(added.job_uuid, JOB_SECONDS)
        assert job.state == job.STATE_SUCCEEDED, job
        uuids["host"] = added.inventory.uuid
        uuids["ps"] = self.done(
            "AddLocalPrimaryStorage", name="local1", zone_uuid=uuids["zone"], url=str(self.directory / "ps")
        ).uuid
        self.done("AttachPrimaryStorageToCluster", primary_storage_uuid=uuids["ps"], cluster_uuid=uuids["cluster"])
        uuids["bs"] = self.done(
            "AddSftpBackupStorage",
            name="sftp1",
            url=str(self.directory / "bs"),
            hostname="127.0.0.1",
            ssh_port=self.sshd.port,
            username="root",
            private_key=self.sshd.client_key,
        ).uuid
        self.done("AttachBackupStorageToZone", backup_storage_uuid=uuids["bs"], zone_uuid=uuids["zone"])
        self.done("UpdateGlobalConfig", category="image", name="download.allowedPaths", value=str(image.parent))
        uuids["image"] = self.done(
            "AddImage", name="tiny", url=f"file://{image}", format="qcow2", backup_storage_uuid=uuids["bs"]
        ).uuid
        uuids["l2"] = self.done(
            "CreateL2NoVlanNetwork", name="l2", zone_uuid=uuids["zone"], physical_interface=self.lan.device
        ).uuid
        self.done("AttachL2NetworkToCluster", l2_network_uuid=uuids["l2"], cluster_uuid=uuids["cluster"])
        uuids["l3"] = self.done("CreateL3Network", name="flat", l2_network_uuid=uuids["l2"]).uuid
        self.done(
            "AddIpRange",
            name="range1",
            l3_network_uuid=uuids["l3"],
            start_ip=f"{SUBNET}.10",
            end_ip=f"{SUBNET}.99",
            netmask="255.255.255.0",
            gateway=f"{SUBNET}.1",
        )
        uuids["offering"] = self.done("CreateInstanceOffering", name="small", cpu_num=1, memory_size=128 << 20).uuid

    def create_vm(self, name: str, meta: Mapping[str, str] = {}, /, **changes: Any) -> Any:
        """The answer to CreateVmInstance."""
        fields = {
            "name": name,
            "instance_offering_uuid": self.uuids["offering"],
            "image_uuid": self.uuids["image"],
            "l3_network_uuids": [self.uuids["l3"]],
        }
        return self.admin.call("CreateVmInstance", meta, **{**fields, **changes})


@contextlib.contextmanager
def running_lab() -> Iterator[Lab]:
    """Nothing is in the cloud yet; the ports are fixed, so that a server that is started again is found."""
    directory = Path(tempfile.mkdtemp(prefix="zlab-", dir="/tmp"))
    doors = ["--listen-agents", f"127.0.0.1:{free_port()}", "--listen-enrolment", f"127.0.0.1:{free_port()}"]
    agents = directory / "agents"
    server = ServerProcess(directory / "data", arguments=[*doors, "--agent-base", str(agents)])
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.callback(_sweep, _devices(), _namespaces())
        lan = stack.enter_context(new_lan(directory))
        ip("-netns", lan.namespace, "address", "add", f"{SUBNET}.1/24", "dev", "eth0")
        sshd = stack.enter_context(running_sshd(directory / "sshd"))
        libvirtd = stack.enter_context(running_libvirtd())
        stack.callback(server.stop)
        stack.callback(_stop_agents, agents)
        server.start()
        yield Lab(directory, server, sshd, libvirtd, lan)


def _stop_agents(base: Path) -> None:
    for directory in base.glob("*"):
        if directory.is_dir():
            stop_agent(Places(str(directory)))


def _devices() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def _namespaces() -> set[str]:
    folder = Path("/run/netns")
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def _sweep(devices: set[str], namespaces: set[str]) -> None:
    """The host's bridges and DHCP servers outlive its agent, as they must; a test's are nobody's afterwards."""
    for name in _namespaces() - namespaces:
        argv = ["ip", "netns", "pids", name]
        for pid in subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", name], check=False)
    for name in _devices() - devices:
        subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)
