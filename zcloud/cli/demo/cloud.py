"""The cloud of the demonstration, made and found through the public API: what is there already is used."""

from __future__ import annotations

import contextlib
from typing import Any

from zcloud.cli import catalog, job
from zcloud.cli.arguments import Options, request_of
from zcloud.cli.client import Client
from zcloud.cli.demo.machine import CIDR, DEVICE, Machine
from zcloud.cli.failures import CallError

REASON = "make run"


class Api:
    """RPCs by name, with fields as on the command line; waits for the jobs they begin."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def call(self, name: str, /, **fields: str) -> Any:
        """The response; raises CallError, or RuntimeError when its job fails."""
        rpc = catalog.find(name)
        request = request_of(rpc, [f"{key}={value}" for key, value in fields.items()])
        answer: Any = self.client.call(rpc, request, Options(reason=REASON if rpc.mutating else ""))
        uuid = getattr(answer, "job_uuid", "")
        if uuid:
            ended = job.wait(self.client, uuid)
            if job.state_of(ended) != "Succeeded":
                raise RuntimeError(job.why(ended))
        return answer

    def find(self, kind: str, name: str) -> Any:
        """The resource of this name, or None."""
        found = self.call(f"Query{kind}", filter=f'name = "{name}"').inventories
        return found[0] if found else None

    def ensure(self, kind: str, verb: str, name: str, /, **fields: str) -> Any:
        """The resource of this name, made when it is not there."""
        found = self.find(kind, name)
        return found if found is not None else self.call(f"{verb}{kind}", name=name, **fields).inventory


def build(api: Api, machine: Machine, say: Any) -> str:
    """Everything up to the VM; gives the VM's uuid."""
    zone = say("zone", lambda: api.ensure("Zone", "Create", "zone1")).uuid
    cluster = say("cluster", lambda: api.ensure("Cluster", "Create", "cluster1", zone_uuid=zone)).uuid
    say("host", lambda: _host(api, machine, cluster))
    say("primary storage", lambda: _primary_storage(api, machine, zone, cluster))
    storage = say("backup storage", lambda: _backup_storage(api, machine, zone)).uuid
    image = say("image", lambda: _image(api, machine, storage)).uuid
    l2 = say("L2 network", lambda: _l2_network(api, zone, cluster)).uuid
    l3 = say("L3 network", lambda: _l3_network(api, l2)).uuid
    offering = say("instance offering", lambda: _offering(api)).uuid
    return str(say("VM instance", lambda: _vm(api, offering, image, l3)).uuid)


def _host(api: Api, machine: Machine, cluster: str) -> Any:
    found = api.find("KvmHost", "host1")
    if found is not None:
        api.call("ReconnectHost", uuid=found.uuid)
        return found
    return api.call(
        "AddKvmHost",
        name="host1",
        cluster_uuid=cluster,
        management_ip="127.0.0.1",
        ssh_port=str(machine.sshd.port),
        username="root",
        private_key=machine.sshd.client_key,
        libvirt_uri=machine.libvirtd.uri,
    ).inventory


def _primary_storage(api: Api, machine: Machine, zone: str, cluster: str) -> Any:
    path = str(machine.directory / "primary-storage")
    found = api.ensure("LocalPrimaryStorage", "Add", "local1", zone_uuid=zone, url=path)
    if cluster not in found.attached_cluster_uuids:
        api.call("AttachPrimaryStorageToCluster", primary_storage_uuid=found.uuid, cluster_uuid=cluster)
    return found


def _backup_storage(api: Api, machine: Machine, zone: str) -> Any:
    found = api.find("SftpBackupStorage", "sftp1")
    if found is None:
        found = api.call(
            "AddSftpBackupStorage",
            name="sftp1",
            url=str(machine.directory / "backup-storage"),
            hostname="127.0.0.1",
            ssh_port=str(machine.sshd.port),
            username="root",
            private_key=machine.sshd.client_key,
        ).inventory
    else:
        api.call("ReconnectBackupStorage", uuid=found.uuid)
    if zone not in found.attached_zone_uuids:
        api.call("AttachBackupStorageToZone", backup_storage_uuid=found.uuid, zone_uuid=zone)
    return found


def _image(api: Api, machine: Machine, storage: str) -> Any:
    # A file on the storage's server is refused unless a setting allows its directory.
    api.call("UpdateGlobalConfig", category="image", name="download.allowedPaths", value=str(machine.image.parent))
    return api.ensure(
        "Image", "Add", "tiny", url=f"file://{machine.image}", format="qcow2", backup_storage_uuid=storage
    )


def _l2_network(api: Api, zone: str, cluster: str) -> Any:
    found = api.ensure("L2NoVlanNetwork", "Create", "l2", zone_uuid=zone, physical_interface=DEVICE)
    if cluster not in found.attached_cluster_uuids:
        api.call("AttachL2NetworkToCluster", l2_network_uuid=found.uuid, cluster_uuid=cluster)
    return found


def _l3_network(api: Api, l2: str) -> Any:
    found = api.ensure("L3Network", "Create", "flat", l2_network_uuid=l2)
    api.ensure("IpRange", "Add", "range1", l3_network_uuid=found.uuid, **_range())
    return found


def _range() -> dict[str, str]:
    prefix = CIDR.rpartition(".")[0]
    return {
        "start_ip": f"{prefix}.10",
        "end_ip": f"{prefix}.200",
        "netmask": "255.255.255.0",
        "gateway": f"{prefix}.1",
    }


def _offering(api: Api) -> Any:
    return api.ensure("InstanceOffering", "Create", "small", cpu_num="1", memory_size="128MiB")


def _vm(api: Api, offering: str, image: str, l3: str) -> Any:
    found = api.find("VmInstance", "vm1")
    if found is None:
        return api.call(
            "CreateVmInstance",
            name="vm1",
            instance_offering_uuid=offering,
            image_uuid=image,
            l3_network_uuids=l3,
        ).inventory
    if state_of(found) == "Stopped":
        api.call("StartVmInstance", uuid=found.uuid)
    return found


def state_of(message: Any) -> str:
    """The state in short form."""
    return str(job.state_of(message))


def pack_up(api: Api, say: Any) -> None:
    """Stop the VM and take the network off the host, so that nothing is left behind; the next run goes on.

    It may begin anywhere: what is under way is cancelled first, and what was not made yet is no fault.
    """
    vm = api.find("VmInstance", "vm1")
    if vm is not None:
        _cancel_jobs(api, vm.uuid, say)
        vm = api.find("VmInstance", "vm1")
    if vm is not None and state_of(vm) not in ("Stopped", "Destroyed"):
        say("stop the VM", lambda: api.call("StopVmInstance", uuid=vm.uuid))
    l2 = api.find("L2NoVlanNetwork", "l2")
    for cluster in l2.attached_cluster_uuids if l2 is not None else ():
        say(
            "take the network off the host",
            lambda c=cluster: api.call("DetachL2NetworkFromCluster", l2_network_uuid=l2.uuid, cluster_uuid=c),
        )


def _cancel_jobs(api: Api, uuid: str, say: Any) -> None:
    for found in api.call("QueryJob", filter=f'resource_uuid = "{uuid}"').inventories:
        if state_of(found) in job.ENDED:
            continue
        with contextlib.suppress(CallError):  # it ended meanwhile
            api.call("CancelJob", uuid=found.uuid)
        say(f"cancel: {found.name}", lambda u=found.uuid: state_of(job.wait(api.client, u)))
