"""The recycle bin of images, by copies: what each decision says, and what it refuses (behaviours 7, 9)."""

from __future__ import annotations

import pytest

from tests.domain.storage.ground import Ground, events, run
from zcloud.domain.storage import image_bin
from zcloud.domain.storage.backup_storage import BackupStorage
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.domain.storage.image_copies import drop_copy
from zcloud.kernel.errors import Refused


def with_copies(number: int) -> tuple[Ground, Image, ImageFacts, list[str]]:
    """An image that is Ready on so many storages."""
    ground = Ground()
    storages = [ground.backup(f"b{n}") for n in range(number)]
    image = ground.image(storages[0])
    facts = ground.facts(image)
    for storage in storages[1:]:
        facts.begin_copy(image, storage.uuid)
        facts.add_copy(storage.uuid, "/images/i")
    return ground, image, facts, [storage.uuid for storage in storages]


def test_a_copy_that_is_being_removed_is_neither_had_back_nor_removed_twice() -> None:
    _, image, facts, (one, two, three) = with_copies(3)
    image_bin.delete(image, facts, (one, two))
    assert image_bin.to_expunge(image, facts) == (one, two)
    facts.begin_expunge((one,))
    for decide in (image_bin.recover, image_bin.to_expunge, image_bin.delete):
        with pytest.raises(Refused, match="is being expunged"):
            decide(image, facts, (one,))
    assert image_bin.to_expunge(image, facts) == (two,)
    image_bin.delete(image, facts)
    image_bin.recover(image, facts)
    assert [copy.status.value for copy in facts.copies] == ["Deleted", "Ready", "Ready"]
    assert (image.deleted, facts.status.value) == (False, "Ready")
    with pytest.raises(Refused, match="only a Deleted one"):
        image_bin.recover(image, facts)
    # The job gives up: as before. Of what is gone meanwhile nothing is said.
    facts.abort_expunge((one, three))
    facts.abort_expunge((one,))
    assert events(facts).count("ExpungeAborted") == 1
    image_bin.recover(image, facts, (one,))
    assert [copy.deleted_date for copy in facts.copies] == [0, 0, 0]
    image_bin.delete(image, facts)
    facts.begin_expunge((one, two, three))
    with pytest.raises(Refused, match="none is left"):
        image_bin.recover(image, facts)


def test_the_whole_is_one_event_and_parts_are_theirs() -> None:
    _, image, facts, (one, two) = with_copies(2)
    image_bin.delete(image, facts)
    image_bin.recover(image, facts)
    image_bin.delete(image, facts, (one, two, one))
    image_bin.recover(image, facts, (two,))
    assert events(facts)[-4:] == ["Deleted", "Recovered", "Deleted", "CopyRecovered"]
    assert events(image)[-4:] == ["Deleted", "Recovered", "Deleted", "Recovered"]


def test_the_last_usable_copy_stays_while_another_comes() -> None:
    ground, image, facts, (one,) = with_copies(1)
    coming = ground.backup("coming")
    facts.begin_copy(image, coming.uuid)
    for uuids in ((), (one,)):
        with pytest.raises(Refused, match="is being copied"):
            image_bin.delete(image, facts, uuids)
    with pytest.raises(Refused, match="is Downloading"):
        image_bin.delete(image, facts, (coming.uuid,))
    facts.add_copy(coming.uuid, "/images/i")
    image_bin.delete(image, facts, (one,))
    with pytest.raises(Refused, match="recycle bin"):
        facts.begin_copy(image, one)
    image.begin_deletion("j" * 32)
    for decide in (image_bin.recover, image_bin.to_expunge, image_bin.delete):
        with pytest.raises(Refused, match="is being deleted by job"):
            decide(image, facts)
    assert run(ground.unit.get(Image, image.uuid)).deleting_job


def test_an_image_whose_last_usable_copy_is_lost_lies_in_the_bin_with_the_others() -> None:
    """BS-16: the storage of the one was deleted; what lies in the bin elsewhere can be had back."""
    ground, image, facts, (one, two) = with_copies(2)
    image_bin.delete(image, facts, (one,))
    run(drop_copy(ground.unit, image, run(ground.unit.get(BackupStorage, two))))
    assert (image.deleted, facts.status.value, [c.backup_storage_uuid for c in facts.copies]) == (
        True,
        "Deleted",
        [one],
    )
    image_bin.recover(image, facts)
    assert (image.deleted, facts.status.value) == (False, "Ready")
    run(drop_copy(ground.unit, image, run(ground.unit.get(BackupStorage, one))))
    assert not image.exists
