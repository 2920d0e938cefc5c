"""What needs a machine to come into being, and is asked like all else once it is there: it exists in the log only."""

from __future__ import annotations

from typing import Any

from tests.api.populated import Populated
from zcloud.domain.infrastructure.host import HostStatus
from zcloud.domain.infrastructure.host_debt import HostDebt, OwedItem, debt_uuids
from zcloud.domain.infrastructure.kvm_host import KvmHost
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageCapacity, BackupStorageStatus
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.unit import Unit

GIB = 1 << 30
TOTAL, SIZE = 1000 * GIB, 64 << 20
# In the log, of images that nobody fetches.
FORMATS = {"disc": ("Iso", "Iso"), "data": ("Qcow2", "DataVolumeTemplate"), "root": ("Qcow2", "RootVolumeTemplate")}


async def seed(made: Populated, cluster: str) -> None:
    """A KVM host and what another one owes, two image stores, and an image of each medium on one of them."""
    node, zone = made.admin.node, made.uuids["zone"]
    admin = (await made.admin.call("GetZone", uuid=zone)).inventory.account_uuid
    sealed = node.vault.seal("-")
    access = {"username": "root", "password": sealed}

    async def body(unit: Unit) -> dict[str, str]:
        host = await unit.new(KvmHost, account_uuid=admin)
        place = {"zone_uuid": zone, "cluster_uuid": cluster}
        host.create(name="kvm", management_ip="203.0.113.4", **place, **access)
        (await unit.companion(HostStatus, host)).connecting()
        debt = await unit.new(HostDebt, debt_uuids("0" * 32).uuid, account_uuid=admin)
        debt.create(name="gone", zone_uuid=zone, host_uuid="0" * 32, management_ip="203.0.113.5")
        debt.owe(OwedItem(owed_kind="l2_network", owed_uuid=made.uuids["l2_network"], device="eth9"))
        stores = [await _store(unit, made, admin, f"store{n}", {**access, "token": sealed}) for n in (1, 2)]
        sftp = await unit.get(BackupStorage, made.uuids["backup_storage"])
        for name, (format, media) in FORMATS.items():
            image = await unit.new(Image, account_uuid=made.owner_uuid)
            url = f"http://images.invalid/{name}"
            image.create(name=name, url=url, format=format, media_type=media)
            facts = await unit.companion(ImageFacts, image)
            facts.downloading(stores[0].uuid)
            told: dict[str, Any] = {"install_path": f"/zcloud/{name}", "sha256": "0" * 64}
            facts.ready(stores[0].uuid, size=GIB, actual_size=SIZE, **told)
            facts.add_copy(sftp.uuid, f"/zcloud/{name}")
        return {"kvm_host": host.uuid, "host_debt": debt.uuid, stores[0].kind: stores[0].uuid}

    for kind, uuid in (await node.cloud.decide(Context(actor=SYSTEM), body)).value.items():
        made.add(kind, uuid)


async def _store(unit: Unit, made: Populated, admin: str, name: str, access: dict[str, Any]) -> ImageStoreBackupStorage:
    store = await unit.new(ImageStoreBackupStorage, account_uuid=admin)
    store.create(name=name, url=f"/zcloud/{name}", hostname=f"{name}.invalid", **access)
    store.attach(made.uuids["zone"])
    (await unit.companion(BackupStorageStatus, store)).connected()
    (await unit.companion(BackupStorageCapacity, store)).measured(TOTAL, TOTAL)
    return store
