"""What comes to backup storages when connections are lost and disks fill up, on a real sshd (BS-07, BS-10, BS-14)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.api.storage.world import add_storage, allow, in_cloud, storage_of
from tests.support.cloud import Api, ApiError, until
from tests.support.sshd import running_sshd
from tests.support.web import running_web
from zcloud.v1.image_task_pb2 import DownloadImageTask

pytestmark = pytest.mark.real


def size_of(path: str) -> int:
    """0 for a file that is not there."""
    return os.path.getsize(path) if os.path.exists(path) else 0


def test_what_was_left_while_it_was_away_is_removed_when_it_is_back(tmp_path: Path) -> None:
    """BS-10: an image whose storage is lost on the way fails, no operator is needed, and nothing stays behind."""

    async def body(api: Api) -> None:
        with running_sshd(tmp_path / "sshd") as server, running_web() as web:
            await allow(api)
            uuid = (await add_storage(api, server, tmp_path / "store")).uuid
            content, let_go = b"\1\2\3\4" * (2 << 20), threading.Event()

            def halting(request: Any) -> None:
                request.send_response(200)
                request.send_header("Content-Length", str(len(content)))
                request.send_header("ETag", '"one"')
                request.end_headers()
                request.wfile.write(content[: len(content) // 2])
                let_go.wait(60)

            web.answers["/halting"] = halting
            handler = api.node.agents._handlers[DownloadImageTask.DESCRIPTOR.full_name]
            handler._retry_seconds = (0.1,)
            added = await api.call("AddImage", name="i", url=web.url("/halting"), format="raw")
            path = f"{tmp_path}/store/images/{added.inventory.uuid}/{added.inventory.uuid}.raw"

            async def half() -> bool:
                return size_of(path + ".part") > 1 << 20

            await until(half)
            server.stop()
            job = await api.wait(added.job_uuid)
            assert job.state == job.STATE_FAILED, job
            let_go.set()
            left = await storage_of(api, uuid)
            assert list(left.leftovers) == [path]
            assert left.available_capacity == left.total_capacity
            assert size_of(path + ".part") > 0  # nobody was there to remove it
            server.start()
            await api.done("ReconnectBackupStorage", uuid=uuid)
            assert list((await storage_of(api, uuid)).leftovers) == []
            assert size_of(path + ".part") == 0

    in_cloud(tmp_path, body)


def test_a_transfer_whose_connection_is_lost_goes_on_where_it_was(tmp_path: Path) -> None:
    """BS-14: the job knows nothing of it."""

    async def body(api: Api) -> None:
        with running_sshd(tmp_path / "sshd") as server, running_web() as web:
            await allow(api)
            await add_storage(api, server, tmp_path / "store")
            content, ranges, halt = os.urandom(4 << 20), [], threading.Event()

            def resumable(request: Any) -> None:
                at = int(request.headers.get("Range", "bytes=0-")[6:-1])
                ranges.append((at, request.headers.get("If-Range")))
                request.send_response(206 if at else 200)
                request.send_header("Content-Length", str(len(content) - at))
                request.send_header("Content-Range", f"bytes {at}-{len(content) - 1}/{len(content)}")
                request.send_header("ETag", '"one"')
                request.end_headers()
                half = len(content) // 2
                if not at:
                    request.wfile.write(content[:half])
                    halt.wait(60)
                request.wfile.write(content[at or half :])

            web.answers["/resumable"] = resumable
            handler = api.node.agents._handlers[DownloadImageTask.DESCRIPTOR.full_name]
            handler._retry_seconds = (0.2,) * 20
            digest = hashlib.sha256(content).hexdigest()
            added = await api.call("AddImage", name="i", url=web.url("/resumable"), format="raw", sha256=digest)
            part = f"{tmp_path}/store/images/{added.inventory.uuid}/{added.inventory.uuid}.raw.part"

            async def half_there() -> bool:
                return size_of(part) > 1 << 20

            await until(half_there)
            server.drop_connections()
            job = await api.wait(added.job_uuid)
            halt.set()
            assert job.state == job.STATE_SUCCEEDED, job
            assert [tag for _, tag in ranges] == [None, '"one"']
            assert ranges[1][0] >= 1 << 20

    in_cloud(tmp_path, body)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_up(tmp_path: Path, sshd: PrivateSshd, small: Path) -> None:
    """BS-07: what does not fit is said with figures, and nothing of it stays."""

    async def body(api: Api) -> None:
        await allow(api)
        await api.call("UpdateGlobalConfig", category="backupStorage", name="reservedCapacity", value="0")
        with running_web() as web:
            storage = await add_storage(api, sshd, small / "store")
            assert storage.total_capacity == 16 << 20
            begun, full = threading.Event(), threading.Event()

            def endless(request: Any) -> None:
                request.send_response(200)
                request.end_headers()
                request.wfile.write(b"\1\2\3\4" * (1 << 20))
                begun.set()
                full.wait(60)
                request.wfile.write(b"\1\2\3\4" * (2 << 20))

            web.answers["/endless"] = endless
            added = await api.call("AddImage", name="i", url=web.url("/endless"), format="raw")
            await asyncio.to_thread(begun.wait)
            await asyncio.to_thread((small / "others").write_bytes, b"x" * (9 << 20))
            full.set()
            job = await api.wait(added.job_uuid)
            assert job.state == job.STATE_FAILED
            assert "is full" in job.error
            assert "bytes are left" in job.error
            assert os.listdir(small / "store" / "images") == []
            # what is measured at the next connect counts for what comes next
            await api.done("ReconnectBackupStorage", uuid=storage.uuid)
            with pytest.raises(ApiError) as refused:
                await api.call("AddImage", name="u", url="upload://u", format="raw", size=8 << 20)
            assert (refused.value.code, refused.value.reason) == ("RESOURCE_EXHAUSTED", "NO_STORAGE_AVAILABLE")
            assert str(8 << 20) in refused.value.message

    in_cloud(tmp_path, body)
