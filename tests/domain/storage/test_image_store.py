"""Image stores, what is found on them, exports, and rows of backups: given, when, then (BS-23, BS-26, SCH-08)."""

from __future__ import annotations

import pytest

from tests.domain.storage.ground import GIB, Ground, events, run
from zcloud.domain.compute.vm_backups import VmBackups, begin_backup, not_due, period_of, surplus
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.storage.backup_storage import BackupStorageCapacity, BackupStorageStatus
from zcloud.domain.storage.found_images import FoundImage, take_in
from zcloud.domain.storage.image import Image, ImageFacts, MediaType
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.domain.storage.storage_network import data_address, sync_address
from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import Refused

HOUR = 3600 * SECOND
FOUND = FoundImage("a" * 32, "base", "", "qcow2", "Windows", "", "", 10 * GIB, GIB, "1" * 64, "/s/i")


def store(ground: Ground, name: str = "store") -> ImageStoreBackupStorage:
    made = run(ground.unit.new(ImageStoreBackupStorage))
    made.create(name=name, url="/s", hostname="fd00::1", username="root", password="sealed:x", token="sealed:t")
    return made


def test_what_is_found_is_taken_in_once_and_never_in_place_of_another() -> None:
    ground = Ground()
    first, second = store(ground), store(ground, "second")
    for storage in (first, first, second):
        run(take_in(ground.unit, storage, FOUND))
    image = run(ground.unit.get(Image, FOUND.uuid))
    facts = ground.facts(image)
    assert (image.platform.value, image.media_type.value, facts.sha256) == ("Windows", "RootVolumeTemplate", "1" * 64)
    assert [c.backup_storage_uuid for c in facts.copies] == [first.uuid, second.uuid]
    assert run(ground.unit.companion(BackupStorageCapacity, second)).images == {FOUND.uuid: GIB}
    # The same uuid with another content, or of something that is no image, is left alone.
    third = store(ground, "third")
    run(take_in(ground.unit, third, FoundImage(**{**_fields(FOUND), "sha256": "2" * 64})))
    run(take_in(ground.unit, third, FoundImage(**{**_fields(FOUND), "uuid": first.uuid})))
    assert facts.copy_on(third.uuid) is None
    assert run(ground.unit.companion(BackupStorageCapacity, third)).images == {}


def _fields(found: FoundImage) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__struct_fields__}


def test_a_store_is_reached_by_what_was_said_and_pinned() -> None:
    ground = Ground()
    storage = store(ground)
    assert storage.server_url == "https://[fd00::1]:8000"
    storage.pin_certificate("c")
    storage.pin_certificate("c")
    assert events(storage).count("CertificatePinned") == 1
    assert storage.update(server_port=9000, hostname="store.invalid")
    assert not storage.update(server_port=9000)
    assert storage.server_url == "https://store.invalid:9000"
    with pytest.raises(Refused):
        run(ground.unit.new(ImageStoreBackupStorage)).create(name="s", url="/s", hostname="h", username="root")


def test_an_export_is_said_of_its_copy_and_goes_with_it() -> None:
    ground = Ground()
    storage = ground.backup()
    image = ground.image(storage)
    facts = ground.facts(image)
    facts.export(storage.uuid, "https://x/e", "m")
    image.delete(facts)
    assert facts.copies[0].export_url == "https://x/e"
    before = len(facts.pending)
    facts.export(storage.uuid, "https://x/e", "m")
    facts.export("f" * 32, "https://x/e", "m")
    assert len(facts.pending) == before
    facts.remove_copy(storage.uuid)
    assert facts.copies == ()


def backup(ground: Ground, vm: VmInstance, kind: str, *, ready: bool = True) -> Image:
    image = run(ground.unit.new(Image))
    image.create_from(
        name="b",
        url="volume://v",
        volume_uuid="v",
        media_type=MediaType.ROOT_VOLUME_TEMPLATE,
        backup_type=kind,
        vm_instance_uuid=vm.uuid,
    )
    image.create_date = ground.unit.now
    facts: ImageFacts = ground.facts(image)
    if ready:
        facts.ready("s" * 32, install_path="/i", size=1, actual_size=1, sha256="0" * 64)
    run(begin_backup(ground.unit, vm, image))
    return image


def test_rows_of_backups_rotate_by_type_and_are_due_by_age() -> None:
    ground = Ground()
    vm = VmInstance.blank("d" * 32)
    ground.unit.now = HOUR * 1000
    made = [backup(ground, vm, "daily") for _ in range(3)]
    coming = backup(ground, vm, "daily", ready=False)
    weekly = backup(ground, vm, "weekly")
    assert run(surplus(ground.unit, vm, "daily", 2)) == made[:1]
    assert run(surplus(ground.unit, vm, "daily", 0)) == []
    assert run(surplus(ground.unit, vm, "weekly", 1)) == []
    assert run(not_due(ground.unit, vm, "daily", 0)) is coming
    ground.unit.now += 22 * HOUR
    assert run(not_due(ground.unit, vm, "daily", 0)) is coming
    ground.unit.now += 2 * HOUR - 1
    assert run(not_due(ground.unit, vm, "daily", 0)) is None
    assert run(not_due(ground.unit, vm, "weekly", 0)) is weekly
    # What is gone is forgotten when the next is made; what lies in the recycle bin counts for nothing.
    weekly.delete(ground.facts(weekly))
    assert run(not_due(ground.unit, vm, "weekly", 0)) is None
    made[0].remove()
    last = backup(ground, vm, "daily")
    row = run(ground.unit.companion(VmBackups, vm)).backups["daily"]
    assert row == (made[1].uuid, made[2].uuid, coming.uuid, last.uuid)
    with pytest.raises(Refused) as refused:
        period_of("hourly", 0)
    assert refused.value.facts["field"] == "period"


def test_hosts_and_stores_come_by_the_networks_that_are_set() -> None:
    """BS-24, BS-28: the store that fetches decides, else the other; without a network it is the hostname."""
    ground = Ground()
    source, target = store(ground, "source"), store(ground, "target")
    run(ground.unit.companion(BackupStorageStatus, source)).found_at(
        ("127.0.0.1", "10.1.0.5", "192.168.7.5", "fd00::5")
    )

    def addresses() -> tuple[str, str]:
        return run(data_address(ground.unit, source)), run(sync_address(ground.unit, source, target))

    assert addresses() == ("fd00::1", "fd00::1")
    source.update(data_network_cidr="10.1.0.0/16", sync_network_cidr="10.0.0.0/8")
    assert addresses() == ("10.1.0.5", "10.1.0.5")
    target.update(sync_network_cidr="192.168.0.0/16")
    assert addresses() == ("10.1.0.5", "192.168.7.5")
    assert run(sync_address(ground.unit, source, ground.backup())) == "10.1.0.5"
    source.update(data_network_cidr="0.0.0.0/0")
    assert addresses()[0] == "10.1.0.5"
    assert not source.update(data_network_cidr="", sync_network_cidr="10.0.0.0/8")
    assert addresses()[0] == "fd00::1"
    target.update(sync_network_cidr="172.16.0.0/12")
    with pytest.raises(Refused, match=r"no address in the sync network 172.16.0.0/12; it has .*10.1.0.5"):
        addresses()
    assert events(source).count("SyncNetworkChanged") == 1
    assert source.url_at("fd00::5") == "https://[fd00::5]:8000"


def test_a_quota_leaves_room_for_no_more() -> None:
    """BS-24: lowered below what is there it takes nothing away."""
    ground = Ground()
    storage = store(ground)
    capacity = run(ground.unit.companion(BackupStorageCapacity, storage))
    capacity.measured(100 * GIB, 50 * GIB)
    capacity.store("i" * 32, 10 * GIB)
    rooms = []
    for quota in (0, 30 * GIB, 90 * GIB, 10 * GIB, GIB):
        storage.set_quota(quota)
        rooms.append(capacity.room(GIB, storage.quota) // GIB)
    assert rooms == [49, 20, 49, 0, 0]
    storage.set_quota(GIB)
    assert events(storage).count("QuotaSet") == 4
    assert capacity.available_capacity == 90 * GIB
