"""An upload goes on where it was after the node itself was killed in the middle of its stream (IMG-06, BS-14)."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from agents.node.private_sshd import PrivateSshd
from tests.agents.storage.images import qcow2
from tests.api.storage.test_image_upload import messages
from tests.api.storage.world import access
from tests.support.cloud import CHANNEL, Client, running_server
from tests.support.messages import metadata
from zcloud.api.rpcs import rpcs
from zcloud.v1.image_pb2 import UploadImageRequest, UploadImageResponse

pytestmark = pytest.mark.real
MINUTE = 60.0


def done(admin: Client, rpc: str, **fields: Any) -> Any:
    answer = admin.call(rpc, **fields)
    job = admin.wait(answer.job_uuid)
    assert job.state == job.STATE_SUCCEEDED, job
    return answer


def connected_by_itself(admin: Client) -> None:
    """As a node that starts does with every storage: what is asked meanwhile is refused."""
    for _ in range(int(MINUTE / 0.05)):
        jobs = admin.call("QueryJob", filter='workflow = "reconnect_backup_storage"').inventories
        if jobs and all(job.state == job.STATE_SUCCEEDED for job in jobs):
            return
        time.sleep(0.05)
    raise AssertionError(jobs)


def stream(address: str, admin: Client, requests: Iterator[UploadImageRequest]) -> UploadImageResponse:
    """One stream to a server in another process; grpc.RpcError when that dies."""
    sent = (request.SerializeToString() for request in requests)
    with grpc.insecure_channel(address, options=CHANNEL) as channel:
        call = channel.stream_unary(rpcs()["UploadImage"].path)
        return UploadImageResponse.FromString(call(sent, timeout=MINUTE, metadata=metadata(admin.token, {})))


def test_the_node_is_killed_in_the_middle(tmp_path: Path, sshd: PrivateSshd) -> None:
    """The next one asks the storage what came, and needs none of that again; the books hold all from the beginning."""
    content = qcow2(tmp_path / "disk.qcow2").read_bytes()
    half = len(content) // 2
    with running_server(tmp_path / "data") as server:
        admin = server.admin
        added = done(admin, "AddSftpBackupStorage", **access(sshd, tmp_path / "store")).inventory
        order = {"name": "i", "url": "upload://i", "format": "qcow2", "size": len(content)}
        sha256 = hashlib.sha256(content).hexdigest()
        uuid = admin.call("AddImage", **order, sha256=sha256).inventory.uuid
        part = tmp_path / "store" / "uploads" / uuid
        came, killed = threading.Event(), threading.Event()

        def halting() -> Iterator[UploadImageRequest]:
            yield from messages(uuid, content[:half])
            came.set()
            killed.wait(MINUTE)

        def kill() -> None:
            came.wait(MINUTE)
            for _ in range(int(MINUTE / 0.01)):
                if part.exists() and part.stat().st_size == half:
                    break
                killed.wait(0.01)
            server.kill()
            killed.set()

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(grpc.RpcError) as lost:
            stream(server.address, admin, halting())
        killer.join()
        assert lost.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)  # type: ignore[attr-defined]
        assert part.stat().st_size == half

        server.start()
        admin = server.admin
        booked = admin.call("GetBackupStorage", uuid=added.uuid).inventory
        assert booked.total_capacity - booked.available_capacity == len(content)
        image = admin.call("GetImage", uuid=uuid).inventory
        assert image.status == image.STATUS_CREATING
        connected_by_itself(admin)
        told = admin.call("GetImageUpload", uuid=uuid)
        assert (told.offset, told.size) == (half, len(content))
        rest = stream(server.address, admin, messages(uuid, content[half:], half))
        job = admin.wait(rest.job_uuid)
        assert job.state == job.STATE_SUCCEEDED, job
        image = admin.call("GetImage", uuid=uuid).inventory
        assert (image.status, image.sha256, image.actual_size) == (image.STATUS_READY, sha256, len(content))
        assert not part.exists()
