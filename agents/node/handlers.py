"""The tasks that the management node does itself, over SSH."""

from __future__ import annotations

from typing import Any

from agents.node.sftp_storage import ConnectSftpBackupStorage, DeleteImage, DownloadImage
from agents.runtime.task import Handler


def node_handlers() -> list[Handler[Any, Any]]:
    """New handlers for the node's own dispatcher."""
    return [ConnectSftpBackupStorage(), DownloadImage(), DeleteImage()]
