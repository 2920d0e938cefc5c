"""The network tasks that a host does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.network.bridge import ApplyL2Network, RemoveL2Network
from agents.network.dhcp import ApplyDhcp, DhcpServers, ReleaseDhcp, RemoveDhcp
from agents.runtime.task import Handler


def network_handlers(directory: Path) -> list[Handler[Any, Any]]:
    """One handler for each task of network_task.proto; the DHCP servers' files go below directory."""
    servers = DhcpServers(directory)
    return [ApplyL2Network(), RemoveL2Network(), ApplyDhcp(servers), ReleaseDhcp(servers), RemoveDhcp(servers)]
