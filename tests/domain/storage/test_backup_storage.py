"""Backup storages and images: what is refused when, and which storage is chosen (BS-07, BS-08, BS-31, IMG-10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.domain.storage.ground import GIB, ZONE, Ground, events, run
from zcloud.domain.storage.backup_storage import BackupStorageCapacity, BackupStorageStatus
from zcloud.domain.storage.image import Image, ImageStatus
from zcloud.domain.storage.image_copies import choose, drop_copy, must_have_room, room_on, usable_copy
from zcloud.kernel.errors import Code, Reason, Refused

OTHER_ZONE = "f" * 32


def refusal(body: Callable[[], Any]) -> Refused:
    with pytest.raises(Refused) as refused:
        body()
    return refused.value


def test_capacity_is_the_total_without_images() -> None:
    ground = Ground()
    storage = ground.backup(total=10 * GIB)
    capacity = run(ground.unit.companion(BackupStorageCapacity, storage))
    image = ground.image(storage, actual=3 * GIB)
    assert capacity.available_capacity == 7 * GIB
    assert run(room_on(ground.unit, storage)) == 6 * GIB
    capacity.measured(10 * GIB, 2 * GIB)  # others write there as well
    assert run(room_on(ground.unit, storage)) == GIB
    assert (capacity.total_capacity, capacity.available_capacity) == (10 * GIB, 7 * GIB)
    run(drop_copy(ground.unit, image, storage))
    assert capacity.available_capacity == 10 * GIB
    assert not image.exists


def test_an_image_lives_while_it_has_a_copy() -> None:
    ground = Ground()
    one, two = ground.backup("one"), ground.backup("two")
    image = ground.image(two)
    run(drop_copy(ground.unit, image, one))
    assert image.exists
    run(drop_copy(ground.unit, image, two))
    assert not image.exists


def test_the_storage_with_the_most_room_is_chosen() -> None:
    ground = Ground()
    small, big, gone = ground.backup("small", 5 * GIB), ground.backup("big", 9 * GIB), ground.backup("gone", 20 * GIB)
    uuids = [small.uuid, big.uuid, gone.uuid]
    run(ground.unit.companion(BackupStorageStatus, gone)).disconnected("no route to host")
    assert run(choose(ground.unit, uuids)) is big
    big.change_state("disable")
    assert run(choose(ground.unit, uuids)) is small
    ground.image(small, actual=4 * GIB)
    refused = refusal(lambda: run(choose(ground.unit, uuids)))
    assert (refused.code, refused.reason) == (Code.RESOURCE_EXHAUSTED, Reason.NO_STORAGE_AVAILABLE)
    for why in ('"small" is full', '"big" is Disabled', "no route to host"):
        assert why in refused.message
    small.change_state("disable")
    for storages in (uuids, []):  # room is not what is lacking
        refused = refusal(lambda storages=storages: run(choose(ground.unit, storages)))  # type: ignore[misc]
        assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, Reason.NO_STORAGE_AVAILABLE)
    assert "there is none; add one first" in refused.message
    small.change_state("enable")
    assert refusal(lambda: run(must_have_room(ground.unit, small))).code is Code.RESOURCE_EXHAUSTED
    assert refusal(lambda: run(must_have_room(ground.unit, big))).reason is Reason.WRONG_STATE
    assert refusal(lambda: run(must_have_room(ground.unit, gone))).reason is Reason.WRONG_STATUS


def test_which_images_can_be_used() -> None:
    ground = Ground()
    storage = ground.backup()
    image = ground.image(storage)

    def use(zone: str = ZONE) -> Any:
        return run(usable_copy(ground.unit, image, zone))

    assert use() == (storage, "/images/i")
    assert refusal(lambda: use(OTHER_ZONE)).code is Code.FAILED_PRECONDITION
    storage.attach(OTHER_ZONE)
    assert use(OTHER_ZONE) == (storage, "/images/i")
    storage.change_state("disable")
    assert "Disabled" in refusal(use).message
    storage.change_state("enable")
    run(ground.unit.companion(BackupStorageStatus, storage)).disconnected("gone away")
    assert "gone away" in refusal(use).message
    run(ground.unit.companion(BackupStorageStatus, storage)).connected()
    image.change_state("disable")
    assert refusal(use).reason is Reason.WRONG_STATE
    image.change_state("enable")
    image.delete(ground.facts(image))
    assert refusal(use).reason is Reason.WRONG_STATUS
    image.recover(ground.facts(image))
    assert use() == (storage, "/images/i")


def test_the_recycle_bin() -> None:
    ground = Ground()
    storage = ground.backup()
    image = ground.image(storage)
    facts = ground.facts(image)
    assert refusal(lambda: image.recover(facts)).reason is Reason.WRONG_STATUS
    image.delete(facts)
    assert (image.deleted, image.deleted_date) == (True, 1)
    assert {facts.status, *(c.status for c in facts.copies)} == {ImageStatus.DELETED}
    assert refusal(lambda: image.delete(facts)).reason is Reason.WRONG_STATUS
    image.begin_deletion("j" * 32)
    assert refusal(lambda: image.recover(facts)).reason is Reason.BEING_DELETED
    image.abort_deletion("no")
    image.recover(facts)
    assert (image.deleted, facts.status) == (False, ImageStatus.READY)


def test_what_is_the_same_is_no_event() -> None:
    ground = Ground()
    storage = ground.backup()
    image = ground.image(storage)
    before = len(storage.pending), len(image.pending), len(ground.facts(image).pending)
    assert storage.update(name=storage.name, hostname="backup.invalid", ssh_port=22) is False
    storage.change_state("enable")
    image.update(name=image.name, platform="Linux")
    run(ground.unit.companion(BackupStorageStatus, storage)).connected()
    ground.facts(image).remove_copy("x" * 32)
    assert (len(storage.pending), len(image.pending), len(ground.facts(image).pending)) == before


def test_another_server_has_another_key() -> None:
    storage = Ground().backup()
    storage.pin("ssh-ed25519 AAAA")
    assert storage.update(username="backup")
    assert storage.host_key == "ssh-ed25519 AAAA"
    assert storage.update(hostname="other.invalid")
    assert storage.host_key == ""
    assert events(storage)[-3:] == ["HostKeyPinned", "AccessChanged", "AccessChanged"]


@pytest.mark.parametrize(
    "url",
    [
        "gopher://example.org/i",
        "ftp://example.org/",
        "sftp://example.org",
        "ftp://user:pw@example.org/i",
        "upload://a/b",
        "http://example.org/a\\b",
        "file:///a/%2e%2e/b",
        "HTTP",
        "http:///i",
        "https://user@example.org/i",
        "http://[::1/i",
        "http://example.org:0x50/i",
        "file://example.org/i",
        "file:///",
        "file:///a/./b",
        "file://a",
    ],
)
def test_urls_that_lead_nowhere(url: str) -> None:
    made = Image.blank("a" * 32)
    refused = refusal(lambda: made.create(name="i", url=url, format="Raw"))
    assert (refused.code, refused.fields[0][0]) == (Code.INVALID_ARGUMENT, "url")
    assert made.pending == ()
