"""What the tests of storages and images begin with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agents.node.private_sshd import PrivateSshd
from tests.support.cloud import Api, running_node


def in_cloud(directory: Path, body: Callable[[Api], Awaitable[Any]]) -> None:
    """Run a test in a cloud of its own."""

    async def main() -> None:
        async with running_node(directory / "data") as api:
            await body(api)

    asyncio.run(main())


async def add_storage(api: Api, sshd: PrivateSshd, directory: Path, name: str = "sftp", **changes: Any) -> Any:
    """A backup storage on a real server, Connected; its inventory."""
    added = await api.done("AddSftpBackupStorage", **access(sshd, directory, name=name, **changes))
    return (await api.call("GetSftpBackupStorage", uuid=added.inventory.uuid)).inventory


def access(sshd: PrivateSshd, directory: Path, **changes: Any) -> dict[str, Any]:
    """The fields of AddSftpBackupStorage for a directory on the server."""
    return {
        "name": "sftp",
        "url": str(directory),
        "hostname": "127.0.0.1",
        "ssh_port": sshd.port,
        "username": "root",
        "private_key": sshd.client_key,
        **changes,
    }


async def allow(api: Api, networks: str = "127.0.0.0/8", paths: str = "") -> None:
    """Let images come from this machine."""
    await api.call("UpdateGlobalConfig", category="image", name="download.allowedNetworks", value=networks)
    await api.call("UpdateGlobalConfig", category="image", name="download.allowedPaths", value=paths)


async def image_of(api: Api, uuid: str) -> Any:
    """The image as it is shown now."""
    return (await api.call("GetImage", uuid=uuid)).inventory


async def storage_of(api: Api, uuid: str) -> Any:
    """The backup storage as it is shown now."""
    return (await api.call("GetBackupStorage", uuid=uuid)).inventory


def bits(copy: Any) -> bytes:
    """The file of a copy, on a storage of this machine."""
    return Path(copy.install_path).read_bytes()
