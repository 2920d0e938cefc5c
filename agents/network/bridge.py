"""L2 networks on this host: a bridge with the physical device as its port."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from agents.network import names
from agents.network.command import DEVICES, delete_link, kind, link, run
from agents.runtime.task import Handler, TaskError, Work
from zcloud.v1.network_task_pb2 import (
    ApplyL2NetworkResult,
    ApplyL2NetworkTask,
    RemoveL2NetworkResult,
    RemoveL2NetworkTask,
)

log = logging.getLogger(__name__)

# The alias of a bridge says whose it is.
ALIAS = "zcloud:"
NETFILTER = Path("/proc/sys/net/bridge")
NETFILTER_CALLS = ("iptables", "ip6tables", "arptables")


class ApplyL2Network(
    Handler[ApplyL2NetworkTask, ApplyL2NetworkResult], task=ApplyL2NetworkTask, result=ApplyL2NetworkResult
):
    """Makes the bridge, or completes one that is there."""

    async def run(self, args: ApplyL2NetworkTask, work: Work) -> ApplyL2NetworkResult:
        work.check()
        bridge, device = _checked(args)
        await self._claim(bridge, device, args.l2_network_uuid)
        # Frames between guests are no business of the host's firewall; it may drop them by policy.
        let_frames_pass(bridge)
        await run("ip", "link", "set", "dev", device, "master", bridge)
        await run("ip", "link", "set", "dev", device, "up")
        await run("ip", "link", "set", "dev", bridge, "up")
        return ApplyL2NetworkResult()

    async def probe(self, args: ApplyL2NetworkTask) -> ApplyL2NetworkResult | None:
        bridge, device = _checked(args)
        found, port = await link(bridge), await link(device)
        whole = (
            found is not None
            and found.get("ifalias") == ALIAS + args.l2_network_uuid
            and _is_up(found)
            and port is not None
            and port.get("master") == bridge
            and _is_up(port)
        )
        return ApplyL2NetworkResult() if whole else None

    async def _claim(self, bridge: str, device: str, uuid: str) -> None:
        """Make sure that both are ours to use before either is changed, and mark the bridge."""
        found = await link(bridge)
        _check_bridge(bridge, found, uuid, _ports(bridge), device)
        _check_device(device, await link(device), bridge)
        if found is None:
            # STP would hold frames back for half a minute after each start of a guest.
            await run("ip", "link", "add", "name", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        # The host itself is no member of its tenants' networks.
        await run("ip", "link", "set", "dev", bridge, "addrgenmode", "none")
        await run("ip", "link", "set", "dev", bridge, "alias", ALIAS + uuid)


class RemoveL2Network(
    Handler[RemoveL2NetworkTask, RemoveL2NetworkResult], task=RemoveL2NetworkTask, result=RemoveL2NetworkResult
):
    """Removes the bridge, which frees its ports."""

    async def run(self, args: RemoveL2NetworkTask, work: Work) -> RemoveL2NetworkResult:
        work.check()
        bridge, device = _checked(args)
        found = await link(bridge)
        if found is None:
            return RemoveL2NetworkResult()
        _check_bridge(bridge, found, args.l2_network_uuid, _ports(bridge), device)
        await delete_link(bridge)
        return RemoveL2NetworkResult()

    async def probe(self, args: RemoveL2NetworkTask) -> RemoveL2NetworkResult | None:
        bridge, _device = _checked(args)
        return RemoveL2NetworkResult() if await link(bridge) is None else None


def _checked(args: ApplyL2NetworkTask | RemoveL2NetworkTask) -> tuple[str, str]:
    names.uuid("l2_network_uuid", args.l2_network_uuid)
    return names.interface("bridge", args.bridge), names.interface("physical_interface", args.physical_interface)


def _check_bridge(name: str, found: dict[str, Any] | None, uuid: str, ports: set[str], device: str) -> None:
    if found is None:
        return
    if kind(found) != "bridge":
        raise TaskError("REFUSED", f"{name} exists and is not a bridge; rename it or choose another bridge")
    alias = str(found.get("ifalias", ""))
    # Without an alias it may be what a crash left; a bridge in use by others would have an address or ports.
    fresh = not alias and not _addresses(found) and ports <= {device}
    if alias != ALIAS + uuid and not fresh:
        owner = f"L2 network {alias.removeprefix(ALIAS)}" if alias.startswith(ALIAS) else "somebody else"
        raise TaskError("REFUSED", f"bridge {name} belongs to {owner}; remove it or choose another")


def _check_device(name: str, found: dict[str, Any] | None, bridge: str) -> None:
    if found is None:
        raise TaskError("NOT_FOUND", f"there is no network device {name} on this host")
    master = found.get("master")
    if master == bridge:
        return
    if master is not None:
        raise TaskError("REFUSED", f"device {name} is a port of {master}; take it out of there first")
    if kind(found) == "bridge":
        raise TaskError("INVALID", f"device {name} is itself a bridge; name the physical device")
    addresses = _addresses(found)
    if addresses:
        # The host may be reached by it: moving its addresses has cut off many a host.
        raise TaskError(
            "INVALID",
            f"device {name} has the address {', '.join(addresses)}; use a device without addresses, or remove them",
        )


def _addresses(entry: dict[str, Any]) -> list[str]:
    """Those that somebody gave; each IPv6 device makes itself one for its link."""
    return [
        f"{address['local']}/{address['prefixlen']}"
        for address in entry.get("addr_info", [])
        if "local" in address and (address["family"], address.get("scope")) != ("inet6", "link")
    ]


def _is_up(entry: dict[str, Any]) -> bool:
    return "UP" in entry.get("flags", [])


def _ports(bridge: str) -> set[str]:
    try:
        return set(os.listdir(DEVICES / bridge / "brif"))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def let_frames_pass(bridge: str) -> None:
    """Keep iptables off frames of this bridge. The kernel's switch is for all bridges or for one.

    The one for all goes off; bridges that are there and relied on it (container engines do) get their own switched on.
    """
    for call in NETFILTER_CALLS:
        switch = NETFILTER / f"bridge-nf-call-{call}"
        if switch.exists() and switch.read_text().strip() != "0":
            for other in DEVICES.iterdir():
                own = other / f"bridge/nf_call_{call}"
                try:
                    if other.name != bridge and own.exists() and not _is_ours(other):
                        own.write_text("1")
                except OSError:
                    if own.exists():
                        raise  # one that went while this looked at it needs nothing
            switch.write_text("0")
            log.warning("%s is off now: it made the host's firewall drop frames between guests", switch)
        own = DEVICES / bridge / f"bridge/nf_call_{call}"
        if own.exists():
            own.write_text("0")


def _is_ours(device: Path) -> bool:
    alias = device / "ifalias"
    return alias.exists() and alias.read_text().startswith(ALIAS)
