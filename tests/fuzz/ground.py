"""The cloud that is asked: one of everything, and more of what has several states, each made by a call that is kept."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from argon2 import PasswordHasher

from agents.node.private_sshd import PrivateSshd
from agents.storage import image_upload
from tests.api.populated import Populated, populated
from tests.fuzz.held import shared
from tests.fuzz.hints import hints
from tests.fuzz.seeds import seed
from tests.support.cloud import build
from zcloud.api.calls import Calls
from zcloud.api.storage import image_store
from zcloud.api.storage import image_upload as uploads
from zcloud.domain.identity import passwords

GIB = 1 << 30
# A login costs what a call does; how hard passwords are kept is tested elsewhere.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
Corpus = dict[str, list[bytes]]


@contextlib.asynccontextmanager
async def cloud(directory: Path, sshd: PrivateSshd) -> AsyncIterator[tuple[Populated, Corpus]]:
    """The cloud, and the requests that made it: what is right to begin with."""
    corpus: Corpus = {}
    keep = Calls.keep

    def heard(self: Calls, rpc: Any, *told: Any, **more: Any) -> None:
        request = told[4]
        if more.get("code", "OK") == "OK":
            corpus.setdefault(rpc.name, []).append(request)
        keep(self, rpc, *told, **more)

    with mock.patch.object(passwords, "_hasher", CHEAP), mock.patch.object(Calls, "keep", heard), _afar():
        async with populated(directory, sshd) as made, shared(made):
            bare = await _enrich(made, directory)
            await seed(made, bare)
            for name, fields in await hints(made, bare):
                corpus.setdefault(name, []).append(build(name, fields).SerializeToString())
            yield made, corpus


@contextlib.contextmanager
def _afar() -> Iterator[None]:
    """What a server has is no part of what is asked here: an upload's is told once, a store's are two images."""
    told: dict[str, tuple[int, int]] = {}

    async def uploaded(target: Any, url: str, uuid: str) -> tuple[int, int]:
        if uuid not in told:
            told[uuid] = await image_upload.uploaded(target, url, uuid)
        return told[uuid]

    def listed(access: dict[str, str]) -> list[dict[str, Any]]:
        return [{"uuid": uuid * 32, "name": access["url"], "actual_size": GIB} for uuid in "ab"]

    with mock.patch.object(uploads, "uploaded", uploaded), mock.patch.object(image_store, "image_list", listed):
        yield


async def _enrich(made: Populated, directory: Path) -> str:
    admin, owner, uuids = made.admin, made.owner, made.uuids
    await admin.call("UpdateGlobalConfig", category="backupStorage", name="ping.interval", value="86400")
    zone = (await admin.call("CreateZone", name="bare")).inventory.uuid
    bare = (await admin.call("CreateCluster", name="bare", zone_uuid=zone, hypervisor_type="KVM")).inventory.uuid
    await admin.call("AddLocalPrimaryStorage", name="bare", zone_uuid=zone, url=str(directory / "bare"))
    second = await admin.call("CreateCluster", name="second", zone_uuid=uuids["zone"], hypervisor_type="Simulator")
    await admin.call("CreateL2NoVlanNetwork", name="bare", zone_uuid=zone, physical_interface="eth8")
    host = {"management_ip": "127.0.0.1", "ssh_port": 1, "username": "root", "password": "-"}
    await admin.call("AddKvmHost", name="refused", cluster_uuid=bare, **host)
    await admin.call("AddSftpBackupStorage", name="b", url=str(directory / "b"), hostname="127.0.0.1", **_ssh(host))
    policy = {"category": "vm", "name": "deletionPolicy", "value": "Delay"}
    await admin.call("UpdateResourceConfig", resource_uuid=second.inventory.uuid, **policy)
    await admin.call("CreateGlobalConfigTemplate", name="t", entries=[policy])
    for verb in ("Stop", "Pause", "Delete"):
        vm = (await made.create_vm(owner, verb)).inventory.uuid
        await owner.done("CreateVolumeSnapshotGroup", vm_instance_uuid=vm, name=f"before {verb}")
        await owner.done(f"{verb}VmInstance", uuid=vm)
    volume = {"disk_size": GIB, "primary_storage_uuid": uuids["local_primary_storage"]}
    volumes = [(await admin.done("CreateDataVolume", name=n, **volume)).inventory.uuid for n in ("a", "b")]
    await admin.call("DeleteDataVolume", uuid=volumes[1])
    record = await owner.call("CreateDataVolume", name="record", disk_offering_uuid=uuids["disk_offering"])
    data = {"volume_uuid": record.inventory.uuid, "vm_instance_uuid": uuids["vm_instance"]}
    await owner.done("AttachDataVolumeToVm", **data)
    disk = str(directory / "disk.qcow2")
    gone = (await owner.done("AddImage", name="deleted", url=f"file://{disk}", format="qcow2")).inventory.uuid
    await owner.call("DeleteImage", uuid=gone)
    await owner.call("AddImage", name="upload", url="upload://u.qcow2", size=1 << 20, format="qcow2")
    await owner.call("CreateScheduler", name="second", cron="0 0 1 1 *")
    await admin.call("AddNfsPrimaryStorage", name="nfs", zone_uuid=zone, url="203.0.113.9:/exports/zcloud")
    return str(bare)


def _ssh(host: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in host.items() if name != "management_ip"}
