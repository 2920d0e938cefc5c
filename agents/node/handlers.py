"""The tasks that the management node does itself, over SSH."""

from __future__ import annotations

from typing import Any

from agents.node.image_store import image_store_handlers
from agents.node.kvm_agent import AGENT_BASE, DeployKvmAgent, RemoveKvmAgent
from agents.node.measure_image import MeasureImage
from agents.node.sftp_storage import ConnectSftpBackupStorage, DeleteImage, DownloadImage
from agents.runtime.task import Handler


def node_handlers(agent_base: str = AGENT_BASE) -> list[Handler[Any, Any]]:
    """New handlers for the node's own dispatcher; agent_base is the directory on hosts that holds their agents."""
    return [
        ConnectSftpBackupStorage(),
        *image_store_handlers(),
        DownloadImage(),
        DeleteImage(),
        MeasureImage(),
        DeployKvmAgent(agent_base),
        RemoveKvmAgent(agent_base),
    ]
