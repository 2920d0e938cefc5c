"""Copies of an image one by one, over a socket and on a real sshd: deleted, recovered, expunged (IMG-09, BS-16)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.agents.storage.images import raw
from tests.api.compute.ground import refused
from tests.api.storage.world import add_storage, allow, image_of, in_cloud, storage_of
from tests.support.cloud import Api
from zcloud.domain.storage.image import Image, ImageCopy, ImageFacts
from zcloud.kernel.clock import SECOND
from zcloud.kernel.context import Context
from zcloud.kernel.job import Job
from zcloud.kernel.unit import Unit
from zcloud.processes.storage.image_expunge import ImageExpunge

pytestmark = pytest.mark.real
PERIOD = 259200 * SECOND


def shown(image: Any) -> tuple[str, dict[str, str]]:
    """Its status, and that of each copy."""

    def short(number: int) -> str:
        return str(type(image).Status.Name(number)).removeprefix("STATUS_")

    return short(image.status), {c.backup_storage_uuid: short(c.status) for c in image.copies}


async def copies(api: Api, uuid: str) -> dict[str, ImageCopy]:
    """As the decisions see them."""
    unit = Unit(api.node.cloud, Context(), 0)
    facts = await unit.companion(ImageFacts, await unit.get(Image, uuid))
    return {copy.backup_storage_uuid: copy for copy in facts.copies}


async def due(api: Api, uuid: str, now: int) -> tuple[str, Any] | None:
    """The job that the recycle bin's watch would order at a moment; nothing is written."""
    watch = next(w for w in api.node.watches if isinstance(w, ImageExpunge))
    unit = Unit(api.node.cloud, Context(), now)
    await watch._expunge_if_due(uuid)(unit)
    jobs = [aggregate for _, aggregate in unit.changed() if isinstance(aggregate, Job)]
    return (jobs[0].workflow, jobs[0].args.get("backup_storage_uuids")) if jobs else None


def test_one_by_one(tmp_path: Path, sshd: PrivateSshd) -> None:
    source = raw(tmp_path / "disk.raw")

    async def body(api: Api) -> None:
        await allow(api, networks="", paths=str(tmp_path))
        one = (await add_storage(api, sshd, tmp_path / "one", "one")).uuid
        _, user = await api.account("user")
        uuid = (await user.done("AddImage", name="i", url=f"file://{source}", format="raw")).inventory.uuid
        two = (await add_storage(api, sshd, tmp_path / "two", "two")).uuid
        onto_two = {"uuid": uuid, "backup_storage_uuid": two}
        await api.done("CopyImageToBackupStorage", **onto_two)
        only_one, only_two = [{"uuid": uuid, "backup_storage_uuids": [storage]} for storage in (one, two)]

        def files(name: str) -> bool:
            return (tmp_path / name / "images" / uuid / f"{uuid}.raw").exists()

        async def found(filter: str) -> bool:
            return [i.uuid for i in (await user.call("QueryImage", filter=filter)).inventories] == [uuid]

        # One goes into the bin, and comes back.
        await user.call("DeleteImage", **only_one)
        image = await image_of(user, uuid)
        assert shown(image) == ("READY", {one: "DELETED", two: "READY"})
        assert image.copies[0].deleted_date.seconds > 0 == image.copies[1].deleted_date.seconds
        assert await found("status = Ready AND copies.status = Deleted")
        assert await found(f"copies.backup_storage_uuid = {two} AND copies.status = Ready")
        assert (await refused(user.call("DeleteImage", **only_one))).reason == "WRONG_STATUS"
        nowhere = await refused(user.call("RecoverImage", uuid=uuid, backup_storage_uuids=["f" * 32]))
        assert (nowhere.code, nowhere.reason) == ("FAILED_PRECONDITION", "NOT_ATTACHED")
        binned = await refused(api.done("CopyImageToBackupStorage", uuid=uuid, backup_storage_uuid=one))
        assert "recycle bin" in binned.message
        await user.call("RecoverImage", **only_one)
        image = await image_of(user, uuid)
        assert shown(image) == ("READY", {one: "READY", two: "READY"})
        assert image.copies[0].deleted_date.seconds == 0
        assert (await refused(user.call("RecoverImage", uuid=uuid))).reason == "WRONG_STATUS"

        # With the last that is usable goes the image; with the first that is recovered it comes back.
        await user.call("DeleteImage", **only_one)
        await user.call("DeleteImage", **only_two)
        assert shown(await image_of(user, uuid)) == ("DELETED", {one: "DELETED", two: "DELETED"})
        since = {storage: copy.deleted_date for storage, copy in (await copies(api, uuid)).items()}
        assert since[one] < since[two]
        assert await due(api, uuid, since[one] + PERIOD - 1) is None
        assert await due(api, uuid, since[one] + PERIOD) == ("expunge_image_copies", [one])
        assert await due(api, uuid, since[two] + PERIOD) == ("expunge_image", None)
        await user.call("RecoverImage", **only_two)
        assert shown(await image_of(user, uuid)) == ("READY", {one: "DELETED", two: "READY"})
        assert await due(api, uuid, since[two] + PERIOD) == ("expunge_image_copies", [one])

        # What is expunged is what lies in the bin, and no more.
        assert (await refused(user.call("ExpungeImage", **only_two))).reason == "WRONG_STATUS"
        assert files("one")
        await user.done("ExpungeImage", uuid=uuid)
        assert (files("one"), files("two")) == (False, True)
        assert shown(await image_of(user, uuid)) == ("READY", {two: "READY"})
        free = await storage_of(api, one)
        assert free.available_capacity == free.total_capacity
        await api.call("UpdateGlobalConfig", category="image", name="deletionPolicy", value="Direct")
        await api.done("CopyImageToBackupStorage", uuid=uuid, backup_storage_uuid=one)
        await user.done("DeleteImage", **only_two)
        assert (files("one"), files("two")) == (True, False)
        await user.done("DeleteImage", **only_one)
        assert not files("one")
        assert (await refused(image_of(user, uuid))).code == "NOT_FOUND"

    in_cloud(tmp_path, body)
