"""Uploads of images over a socket, onto a real sshd: in parts, after losses, dropped, and wrong ones (IMG-06)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.agents.storage.images import qcow2
from tests.api.storage.world import add_storage, bits, image_of, in_cloud, storage_of
from tests.support.cloud import Api, ApiError, running_node, until
from tests.support.messages import metadata
from tests.support.sshd import running_sshd
from zcloud.api.rpcs import rpcs
from zcloud.cli.main import main
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.kernel.context import Context
from zcloud.kernel.unit import Unit
from zcloud.processes.storage.image_uploads import ImageUploads
from zcloud.v1.image_pb2 import UploadImageRequest

pytestmark = pytest.mark.real
BLOCK = 64 << 10


def messages(uuid: str, content: bytes, offset: int = 0) -> Iterator[UploadImageRequest]:
    yield UploadImageRequest(uuid=uuid, offset=offset)
    for at in range(0, len(content), BLOCK):
        yield UploadImageRequest(data=content[at : at + BLOCK])


async def upload(api: Api, requests: Any) -> Any:
    """One stream; its answer."""
    return await api.take("UploadImage", requests)


async def refused(api: Api, requests: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await upload(api, requests)
    return caught.value


async def added(api: Api, size: int, **fields: Any) -> str:
    fields = {"name": "mine", "url": "upload://disk.qcow2", "format": "qcow2", "size": size, **fields}
    made = await api.call("AddImage", **fields)
    assert made.job_uuid == ""
    assert made.inventory.status == made.inventory.STATUS_CREATING
    return str(made.inventory.uuid)


def test_an_upload_in_parts(tmp_path: Path, sshd: PrivateSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    content = qcow2(tmp_path / "disk.qcow2").read_bytes()
    half = len(content) // 2
    store = tmp_path / "store"

    async def body() -> None:
        async with running_node(tmp_path / "data") as admin:
            storage = await add_storage(admin, sshd, store)
            _, api = await admin.account("mine")
            _, other = await admin.account("other")
            with pytest.raises(ApiError) as big:
                await added(api, 1 << 60)
            assert (big.value.code, big.value.reason) == ("RESOURCE_EXHAUSTED", "NO_STORAGE_AVAILABLE")
            uuid = await added(api, len(content), sha256=hashlib.sha256(content).hexdigest())
            booked = await storage_of(admin, storage.uuid)
            assert booked.total_capacity - booked.available_capacity == len(content)
            used = round(100 * len(content) / booked.total_capacity, 2)
            assert (booked.used_capacity_percent, booked.available_capacity_percent) == (used, 100 - used)
            assert (await refused(other, messages(uuid, content))).code == "NOT_FOUND"
            assert (await refused(Api(api.node, api.channel), messages(uuid, content))).code == "UNAUTHENTICATED"
            assert (await refused(api, iter(()))).code == "INVALID_ARGUMENT"
            with pytest.raises(ApiError) as early:
                await api.call("RecoverImage", uuid=uuid)
            assert early.value.reason == "WRONG_STATUS"

            part = await upload(api, messages(uuid, content[:half]))
            assert (part.job_uuid, part.offset) == ("", half)
            told = await api.call("GetImageUpload", uuid=uuid)
            assert (told.offset, told.size) == (half, len(content))
            gap = await refused(api, messages(uuid, content[half + 9 :], half + 9))
            assert (gap.code, gap.message) == ("INVALID_ARGUMENT", gap.message)
            over = await refused(api, messages(uuid, content[half:] + b"more", half))
            assert over.code == "INVALID_ARGUMENT"
            # what was cut by the client's end goes on, and what overlaps is written again
            told = await api.call("GetImageUpload", uuid=uuid)
            at = min(told.offset, half)
            done = await upload(api, messages(uuid, content[at - 9 :], at - 9))
            job = await api.wait(done.job_uuid)
            assert job.state == job.STATE_SUCCEEDED, job
            image = await image_of(api, uuid)
            assert (image.status, image.actual_size) == (image.STATUS_READY, len(content))
            assert bits(image.copies[0]) == content
            assert list((store / "uploads").iterdir()) == []
            assert (await refused(api, messages(uuid, content))).reason == "WRONG_STATUS"

            # what is not what it was said to be is not kept
            wrong = await added(api, len(content), sha256="0" * 64)
            failed = await api.wait((await upload(api, messages(wrong, content))).job_uuid)
            assert failed.state == failed.STATE_FAILED
            with pytest.raises(ApiError) as gone:
                await image_of(api, wrong)
            assert gone.value.code == "NOT_FOUND"

            # from the command line
            monkeypatch.setenv("ZCLOUD_SERVER", api.node.address)
            monkeypatch.setenv("ZCLOUD_TOKEN", api.token)
            uuid = await added(api, len(content))
            await upload(api, messages(uuid, content[:half]))
            words = ["UploadImage", f"uuid={uuid}", f"file={tmp_path}/disk.qcow2"]
            assert await asyncio.to_thread(main, words) == 0
            assert (await image_of(api, uuid)).sha256 == hashlib.sha256(content).hexdigest()
            assert await asyncio.to_thread(main, [*words[:2], "file=/none"]) != 0

            # given up by the caller, and by nobody's going on
            for drop in (lambda uuid: api.done("DeleteImage", uuid=uuid), lambda uuid: idle(admin)):
                uuid = await added(api, len(content))
                await upload(api, messages(uuid, content[:half]))
                assert [p.name for p in (store / "uploads").iterdir()] == [uuid]
                await drop(uuid)

                async def no_more(uuid: str = uuid) -> bool:
                    return not (await api.call("QueryImage", filter=f"uuid = {uuid}")).inventories

                await until(no_more)
                assert list((store / "uploads").iterdir()) == []
            free = await storage_of(admin, storage.uuid)
            assert free.total_capacity - free.available_capacity == 2 * len(content)

    asyncio.run(body())


def test_a_stream_that_takes_long_is_not_idle(tmp_path: Path, sshd: PrivateSshd) -> None:
    """IMG-06: image/upload.idleLimit counts from what came last, and not from the stream's begin."""
    content = qcow2(tmp_path / "disk.qcow2").read_bytes()

    async def body(api: Api) -> None:
        await add_storage(api, sshd, tmp_path / "store")
        await api.call("UpdateGlobalConfig", category="image", name="upload.idleLimit", value="1")
        uuid = await added(api, len(content))

        async def began() -> int:
            unit = Unit(api.node.cloud, Context(), 0)
            return (await unit.companion(ImageFacts, await unit.get(Image, uuid))).upload_date

        added_date = await began()

        async def slow() -> AsyncIterator[bytes]:
            """Until it was said to go on: as it was added, when the stream began, and later."""
            yield UploadImageRequest(uuid=uuid).SerializeToString()
            seen = {added_date}
            while len(seen) < 3:
                yield UploadImageRequest(data=b"x").SerializeToString()
                seen.add(await began())
                await asyncio.sleep(0.05)

        call = api.channel.stream_unary(rpcs()["UploadImage"].path)(slow(), metadata=metadata(api.token, {}))
        async with asyncio.timeout(60):
            await call

    in_cloud(tmp_path, body)


async def idle(api: Api) -> None:
    watch = next(w for w in api.node.watches if isinstance(w, ImageUploads))
    await watch.look()
    assert len((await api.call("QueryImage", filter="status = Creating")).inventories) == 1
    await api.call("UpdateGlobalConfig", category="image", name="upload.idleLimit", value="1")
    await asyncio.sleep(1.1)
    await watch.look()


def test_the_server_goes_in_the_middle(tmp_path: Path) -> None:
    """BS-14: the caller is told to try again, and goes on from what is there; nothing is half registered."""
    content = qcow2(tmp_path / "disk.qcow2").read_bytes()

    async def body() -> None:
        with running_sshd(tmp_path / "sshd") as server:
            async with running_node(tmp_path / "data") as api:
                await add_storage(api, server, tmp_path / "store")
                uuid = await added(api, len(content))

                def broken() -> Iterator[UploadImageRequest]:
                    for n, message in enumerate(messages(uuid, content)):
                        if n == 5:
                            server.stop()
                        yield message

                lost = await refused(api, broken())
                assert (lost.code, lost.reason) == ("UNAVAILABLE", "STORAGE_UNREACHABLE")
                assert (await image_of(api, uuid)).status == 1
                server.start()
                at = (await api.call("GetImageUpload", uuid=uuid)).offset
                done = await upload(api, messages(uuid, content[at:], at))
                job = await api.wait(done.job_uuid)
                assert job.state == job.STATE_SUCCEEDED, job

    asyncio.run(body())
