"""The recycle bin of images: the whole image, or its copies one by one (IMG-09, behaviours 7 and 9).

An image is Deleted only when every copy is. Each copy has a period of its own from the moment at which it was deleted.
"""

from __future__ import annotations

from zcloud.domain.storage.image import Image, ImageCopy, ImageFacts, ImageStatus
from zcloud.kernel.errors import Reason, precondition


def named(image: Image, facts: ImageFacts, uuids: tuple[str, ...]) -> tuple[ImageCopy, ...]:
    """The copies on these backup storages, each once. Raises FAILED_PRECONDITION where there is none."""
    found = []
    for uuid in dict.fromkeys(uuids):
        copy = facts.copy_on(uuid)
        if copy is None:
            text = f'image "{image.name}" has no copy on backup storage {uuid}'
            raise precondition(Reason.NOT_ATTACHED, text, backup_storage_uuid=uuid)
        found.append(copy)
    return tuple(found)


def takes_all(image: Image, facts: ImageFacts, uuids: tuple[str, ...]) -> bool:
    """Whether no usable copy is left when these are deleted; none named means all of them. Refuses what cannot be."""
    image.must_not_be_deleting()
    facts.must_be(image, ImageStatus.READY, "deleted")
    for copy in named(image, facts, uuids):
        _must_be(image, copy, ImageStatus.READY, "deleted")
    gone = uuids or tuple(copy.backup_storage_uuid for copy in facts.copies)
    if any(c.status is ImageStatus.READY and c.backup_storage_uuid not in gone for c in facts.copies):
        return False
    facts.must_be_settled(image)
    return True


def delete(image: Image, facts: ImageFacts, uuids: tuple[str, ...] = ()) -> None:
    """Into the recycle bin; with the last copy that is usable goes the image."""
    if takes_all(image, facts, uuids):
        image.delete(facts)
    else:
        for copy in named(image, facts, uuids):
            facts.delete_copy(copy.backup_storage_uuid)


def recover(image: Image, facts: ImageFacts, uuids: tuple[str, ...] = ()) -> None:
    """Out of the recycle bin: these copies, or all that are there."""
    image.must_not_be_deleting()
    copies = _in_bin(image, facts, uuids, "recovered")
    if len(copies) == len(facts.copies):
        image.recover(facts)
        return
    for copy in copies:
        facts.recover_copy(copy.backup_storage_uuid)
    image.recovered()


def to_expunge(image: Image, facts: ImageFacts, uuids: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The backup storages of these copies, or of all that are in the recycle bin. Refuses others."""
    image.must_not_be_deleting()
    return tuple(copy.backup_storage_uuid for copy in _in_bin(image, facts, uuids, "expunged"))


def _in_bin(image: Image, facts: ImageFacts, uuids: tuple[str, ...], what: str) -> tuple[ImageCopy, ...]:
    if uuids:
        copies = named(image, facts, uuids)
        for copy in copies:
            _must_be(image, copy, ImageStatus.DELETED, what)
        return copies
    copies = tuple(copy for copy in facts.copies if copy.status is ImageStatus.DELETED and not copy.expunging)
    if not copies:
        facts.must_be(image, ImageStatus.DELETED, what)
        text = f'the copies of image "{image.name}" are being expunged; none is left that could be {what}'
        raise precondition(Reason.BEING_DELETED, text)
    return copies


def _must_be(image: Image, copy: ImageCopy, status: ImageStatus, what: str) -> None:
    where = f'the copy of image "{image.name}" on backup storage {copy.backup_storage_uuid}'
    if copy.expunging:
        text = f"{where} is being expunged"
        raise precondition(Reason.BEING_DELETED, text, backup_storage_uuid=copy.backup_storage_uuid)
    if copy.status is not status:
        text = f"{where} is {copy.status.value}; only a {status.value} one can be {what}"
        facts = {"backup_storage_uuid": copy.backup_storage_uuid, "status": copy.status.value}
        raise precondition(Reason.WRONG_STATUS, text, **facts)
