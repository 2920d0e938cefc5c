"""Images by FTP, SFTP and a login of the web, from real servers; logins are seen nowhere (IMG-04, IMG-07, IMG-12)."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.agents.storage.images import raw
from tests.api.storage.world import add_storage, allow, bits, image_of, storage_of
from tests.support import ftp, sftp
from tests.support.cloud import Api, ApiError, running_node
from tests.support.web import running_web

pytestmark = pytest.mark.real
LOGIN = f"{ftp.USER}:{quote(ftp.PASSWORD, safe='')}@"


def said(directory: Path) -> bytes:
    """All that the node has written."""
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def fetched(api: Api, digest: str, **fields: Any) -> Any:
    """AddImage that succeeds; the image as it is shown."""
    made = await api.done("AddImage", name="image", format="raw", **fields)
    image = await image_of(api, made.inventory.uuid)
    assert image.sha256 == digest, fields
    return image


async def refused(api: Api, words: str, **fields: Any) -> None:
    job = await api.wait((await api.call("AddImage", name="image", format="raw", **fields)).job_uuid)
    assert job.state == job.STATE_FAILED, fields
    assert words in job.error, job.error
    assert ftp.PASSWORD not in str(job)


def test_by_ftp_and_sftp(tmp_path: Path, sshd: PrivateSshd) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    source = raw(tree / "a disk.raw")
    (tree / "link").symlink_to("/etc/passwd")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    trusted = tmp_path / "store"

    async def main() -> None:
        with ftp.running_ftp(tree) as files, running_web() as web:
            async with running_node(tmp_path / "data") as api, sftp.running_sftp(tree) as server:
                await add_storage(api, sshd, trusted)
                by_ftp, by_sftp = f"127.0.0.1:{files.port}/a%20disk.raw", f"127.0.0.1:{server.port}/a%20disk.raw"
                await refused(api, "inside the data centre", url=f"ftp://{by_ftp}")
                await refused(api, "inside the data centre", url=f"sftp://{LOGIN}{by_sftp}")
                await allow(api)

                # by FTP: anonymous, with a login in the URL, and with one beside it
                await fetched(api, digest, url=f"ftp://{by_ftp}")
                image = await fetched(api, digest, url=f"ftp://{LOGIN}{by_ftp}")
                assert image.url == f"ftp://{by_ftp}"
                await fetched(api, digest, url=f"ftp://{by_ftp}", username=ftp.USER, password=ftp.PASSWORD)
                await refused(api, "530", url=f"ftp://nobody:wrong@{by_ftp}")
                await refused(api, "550", url=f"ftp://127.0.0.1:{files.port}/none")
                # cut in the middle: it goes on where it was
                files.cut_after = 1 << 20
                await fetched(api, digest, url=f"ftp://{by_ftp}")
                assert files.retrieved[-1][1] >= 1 << 20

                # by SFTP: password, key, and keys of the storage for admins only
                image = await fetched(api, digest, url=f"sftp://{LOGIN}{by_sftp}")
                assert image.url == f"sftp://{by_sftp}"
                await refused(api, "neither the user nor the password", url=f"sftp://{sftp.USER}:wrong@{by_sftp}")
                missing = f"sftp://{LOGIN}127.0.0.1:{server.port}/none"
                await refused(api, "no such file", url=missing)
                key = f"sftp://127.0.0.1:{sshd.port}{quote(str(source))}"
                await fetched(api, digest, url=key, username="root", private_key=sshd.client_key)
                await refused(api, "key", url=key, username="root", private_key="-----BEGIN NO KEY-----")
                _, other = await api.account("other")
                await refused(other, "a password or a private_key", url=key)

                # a login of the web goes to the host that is named, and not where that redirects to
                seen: list[str] = []

                def guarded(request: Any) -> None:
                    seen.append(request.headers.get("Authorization", ""))
                    if not seen[-1]:
                        request.send_error(401)
                        return
                    request.send_response(302)
                    request.send_header("Location", plain.replace("127.0.0.1", "localhost"))
                    request.end_headers()

                plain = web.serve("/plain", source.read_bytes())
                web.answers["/guarded"] = guarded
                await refused(api, "401", url=web.url("/guarded"))
                await fetched(api, digest, url=web.url("/guarded"), username=ftp.USER, password=ftp.PASSWORD)
                assert seen[-1].startswith("Basic ")

                await api.node.calls.flush()
                log = (await api.call("QueryOperationLog", filter="name = AddImage", page_size=1000)).inventories
                assert any("***@" in entry.request for entry in log)
        for secret in (ftp.PASSWORD, quote(ftp.PASSWORD, safe="")):
            assert secret.encode() not in said(tmp_path / "data")
        assert not list(trusted.glob("images/*/*.note"))

    asyncio.run(main())


def test_onto_a_second_storage(tmp_path: Path, sshd: PrivateSshd) -> None:
    """IMG-12, BS-07: the copy is as good as the first; without one of them the image lives on."""
    source = raw(tmp_path / "disk.raw")

    async def main() -> None:
        async with running_node(tmp_path / "data") as api:
            first = await add_storage(api, sshd, tmp_path / "one", "one")
            second = await add_storage(api, sshd, tmp_path / "two", "two")
            await allow(api, networks="", paths=str(tmp_path))
            fields = {"name": "i", "url": f"file://{source}", "format": "raw", "backup_storage_uuid": first.uuid}
            uuid = (await api.done("AddImage", **fields)).inventory.uuid
            copy = {"uuid": uuid, "backup_storage_uuid": second.uuid}
            await api.call("ChangeBackupStorageState", uuid=first.uuid, state_event="disable")
            with pytest.raises(ApiError) as away:
                await api.call("CopyImageToBackupStorage", **copy)
            assert away.value.code == "FAILED_PRECONDITION"
            await api.call("ChangeBackupStorageState", uuid=first.uuid, state_event="enable")
            await api.done("CopyImageToBackupStorage", **copy)
            image = await image_of(api, uuid)
            assert [(c.backup_storage_uuid, c.status) for c in image.copies] == [
                (first.uuid, image.STATUS_READY),
                (second.uuid, image.STATUS_READY),
            ]
            assert bits(image.copies[1]) == source.read_bytes()
            taken = await storage_of(api, second.uuid)
            assert taken.total_capacity - taken.available_capacity == source.stat().st_size
            with pytest.raises(ApiError) as twice:
                await api.call("CopyImageToBackupStorage", **copy)
            assert twice.value.reason == "ALREADY_ATTACHED"
            assert "at work" not in twice.value.message, "a job that was never made is not named"
            await api.done("DeleteBackupStorage", uuid=first.uuid)
            left = await image_of(api, uuid)
            assert [c.backup_storage_uuid for c in left.copies] == [second.uuid]

    asyncio.run(main())
