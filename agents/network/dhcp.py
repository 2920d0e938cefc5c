"""DHCP and DNS for the VMs of an L3 network: dnsmasq in a network namespace on the bridge (NSV-06)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec

from agents.network import dhcp_files, names
from agents.network.command import DEVICES, becomes, delete_link, link, run
from agents.runtime.task import Handler, TaskError, Work
from zcloud.v1.network_task_pb2 import (
    ApplyDhcpResult,
    ApplyDhcpTask,
    ReleaseDhcpResult,
    ReleaseDhcpTask,
    RemoveDhcpResult,
    RemoveDhcpTask,
)

NAMESPACES = Path("/run/netns")


class DhcpServers:
    """The servers of this host, a folder for each. Every step looks at what is there, so any may be done again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._locks: dict[str, asyncio.Lock] = {}

    def lock(self, l3: str) -> asyncio.Lock:
        """One change at a time to each server."""
        return self._locks.setdefault(l3, asyncio.Lock())

    def folder(self, l3: str) -> Path:
        """Where a server's files lie."""
        return self._directory / names.uuid("l3_network_uuid", l3)

    async def apply(self, l3: str, wanted: dhcp_files.Wanted) -> None:
        """Make the server say what it said before and these entries as well."""
        before = dhcp_files.read(self.folder(l3))
        if before is not None:
            wanted.entries = _without_addresses(before.entries, wanted.entries) | wanted.entries
        await self._connect(l3, wanted)
        await self._serve(l3, before, wanted)

    async def release(self, l3: str, macs: set[str]) -> None:
        """Take entries away; well when there are none."""
        before = dhcp_files.read(self.folder(l3))
        if before is None or not macs & before.entries.keys():
            return
        left = {mac: entry for mac, entry in before.entries.items() if mac not in macs}
        wanted = msgspec.structs.replace(before, entries=left)
        if (NAMESPACES / namespace(l3)).exists():
            await self._serve(l3, before, wanted)
        else:
            # After a restart of the host: the next apply brings the server back, without them.
            dhcp_files.write(self.folder(l3), wanted)

    async def remove(self, l3: str) -> None:
        """Leave nothing. The folder last: as long as it is there, the rest may be as well."""
        await self._end(l3)
        if (NAMESPACES / namespace(l3)).exists():
            await run("ip", "netns", "delete", namespace(l3))
        # It went with the namespace, unless a crash left it with both ends outside.
        await delete_link(port(l3))
        shutil.rmtree(self.folder(l3), ignore_errors=True)

    async def whole(self, l3: str, wanted: dhcp_files.Wanted) -> bool:
        """Whether the server runs and says all that is wanted."""
        there, pid = dhcp_files.read(self.folder(l3)), self.pid(l3)
        if there is None or pid is None or not (NAMESPACES / namespace(l3)).exists():
            return False
        wanted.entries = there.entries | wanted.entries
        if wanted != there or not self._heard(l3, pid, wanted):
            return False
        outside = await link(port(l3))
        return outside is not None and outside.get("master") == wanted.bridge

    def gone(self, l3: str) -> bool:
        """Whether nothing of it is left."""
        places = (self.folder(l3), NAMESPACES / namespace(l3), DEVICES / port(l3))
        return not any(place.exists() for place in places)

    def pid(self, l3: str) -> int | None:
        """The dnsmasq of a network: its number from the file, believed only if it reads our configuration."""
        try:
            pid = int((self.folder(l3) / "pid").read_text())
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if os.fsencode(self._config_argument(l3)) in argv else None

    def _config_argument(self, l3: str) -> str:
        return f"--conf-file={self.folder(l3) / dhcp_files.CONFIG}"

    async def _connect(self, l3: str, wanted: dhcp_files.Wanted) -> None:
        """The namespace, and a cable from it to the bridge."""
        inside, outside = namespace(l3), port(l3)
        if not (DEVICES / wanted.bridge / "bridge").is_dir():
            raise TaskError("NOT_FOUND", f"there is no bridge {wanted.bridge} on this host; apply its L2 network first")
        if not (NAMESPACES / inside).exists():
            await run("ip", "netns", "add", inside)
        if await link("eth0", inside) is None:
            # Half a cable is of no use, and its name is needed.
            await delete_link(outside)
            peer = ("peer", "name", "eth0", "address", names.derived_mac(l3), "netns", inside)
            await run("ip", "link", "add", "name", outside, "type", "veth", *peer)
        await run("ip", "link", "set", "dev", outside, "addrgenmode", "none")
        await run("ip", "link", "set", "dev", outside, "master", wanted.bridge, "up")
        await run("ip", "-netns", inside, "link", "set", "dev", "lo", "up")
        await run("ip", "-netns", inside, "link", "set", "dev", "eth0", "up")
        await self._address(inside, wanted.server_address)

    async def _address(self, inside: str, address: str) -> None:
        there = await link("eth0", inside) or {}
        have = {f"{a['local']}/{a['prefixlen']}" for a in there.get("addr_info", []) if a["family"] == "inet"}
        for stale in have - {address}:
            await run("ip", "-netns", inside, "address", "delete", stale, "dev", "eth0")
        if address not in have:
            await run("ip", "-netns", inside, "address", "add", address, "dev", "eth0")

    async def _serve(self, l3: str, before: dhcp_files.Wanted | None, wanted: dhcp_files.Wanted) -> None:
        pid = self.pid(l3)
        if pid is not None and before is not None and _only_adds(before, wanted):
            dhcp_files.write(self.folder(l3), wanted)
            try:
                os.kill(pid, signal.SIGHUP)
            except ProcessLookupError:  # it has ended since it was looked at
                pid = await self._spawn(l3)
        else:
            # dnsmasq gives no address away that it leased to another MAC, and forgets leases only when it ends. It ends
            # before the files change: whoever comes after a crash could not tell that it has to.
            await self._end(l3)
            dhcp_files.write(self.folder(l3), wanted)
            pid = await self._spawn(l3)
        (self.folder(l3) / "heard").write_text(_heard(pid, self.folder(l3), wanted))

    async def _spawn(self, l3: str) -> int:
        await run("ip", "netns", "exec", namespace(l3), "dnsmasq", self._config_argument(l3))
        await becomes(lambda: self.pid(l3) is not None)
        pid = self.pid(l3)
        if pid is None:
            raise TaskError("FAILED", f"dnsmasq of L3 network {l3} ended at once; see {self.folder(l3) / 'log'}")
        return pid

    def _heard(self, l3: str, pid: int, wanted: dhcp_files.Wanted) -> bool:
        """Whether this process was told to read these very files, and not only that they were written."""
        try:
            return (self.folder(l3) / "heard").read_text() == _heard(pid, self.folder(l3), wanted)
        except FileNotFoundError:
            return False

    async def _end(self, l3: str) -> None:
        """Whatever serves in the namespace: a process whose file was lost would hold the port."""
        if (NAMESPACES / namespace(l3)).exists():
            for found in (await run("ip", "netns", "pids", namespace(l3))).split():
                await _end_process(int(found))
        pid = self.pid(l3)
        if pid is not None:
            await _end_process(pid)


def _heard(pid: int, folder: Path, wanted: dhcp_files.Wanted) -> str:
    text = "".join(dhcp_files.render(folder, wanted).values())
    return f"{pid} {hashlib.sha256(text.encode()).hexdigest()}"


def _without_addresses(before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Entries whose address has gone to another NIC since are out of date."""
    taken = {entry.ip: mac for mac, entry in new.items()}
    return {mac: entry for mac, entry in before.items() if taken.get(entry.ip, mac) == mac}


def _only_adds(before: dhcp_files.Wanted, wanted: dhcp_files.Wanted) -> bool:
    same_server = (before.server_address, before.dns, before.dns_domain) == (
        wanted.server_address,
        wanted.dns,
        wanted.dns_domain,
    )
    return same_server and before.entries.items() <= wanted.entries.items()


def namespace(l3: str) -> str:
    """The network namespace of an L3 network's server."""
    return f"zcloud-dhcp-{l3}"


def port(l3: str) -> str:
    """The end of the cable that is on the bridge."""
    return names.derived("zd", l3)


async def _end_process(pid: int) -> None:
    """SIGTERM, and SIGKILL for one that does not mind."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        if await becomes(lambda: not _runs(pid)):
            return
    raise TaskError("FAILED", f"process {pid} does not end even by SIGKILL")


def _runs(pid: int) -> bool:
    """False for a zombie, which holds nothing any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class ApplyDhcp(Handler[ApplyDhcpTask, ApplyDhcpResult], task=ApplyDhcpTask, result=ApplyDhcpResult):
    """Makes the server if it is not there, and adds entries."""

    def __init__(self, servers: DhcpServers) -> None:
        self._servers = servers

    async def run(self, args: ApplyDhcpTask, work: Work) -> ApplyDhcpResult:
        wanted = dhcp_files.checked(args)
        async with self._servers.lock(args.l3_network_uuid):
            work.check()
            await self._servers.apply(args.l3_network_uuid, wanted)
        return ApplyDhcpResult()

    async def probe(self, args: ApplyDhcpTask) -> ApplyDhcpResult | None:
        wanted = dhcp_files.checked(args)
        return ApplyDhcpResult() if await self._servers.whole(args.l3_network_uuid, wanted) else None


class ReleaseDhcp(Handler[ReleaseDhcpTask, ReleaseDhcpResult], task=ReleaseDhcpTask, result=ReleaseDhcpResult):
    """Takes entries away."""

    def __init__(self, servers: DhcpServers) -> None:
        self._servers = servers

    async def run(self, args: ReleaseDhcpTask, work: Work) -> ReleaseDhcpResult:
        macs = {names.mac(mac) for mac in args.macs}
        async with self._servers.lock(args.l3_network_uuid):
            work.check()
            await self._servers.release(args.l3_network_uuid, macs)
        return ReleaseDhcpResult()


class RemoveDhcp(Handler[RemoveDhcpTask, RemoveDhcpResult], task=RemoveDhcpTask, result=RemoveDhcpResult):
    """Leaves nothing of the server."""

    def __init__(self, servers: DhcpServers) -> None:
        self._servers = servers

    async def run(self, args: RemoveDhcpTask, work: Work) -> RemoveDhcpResult:
        async with self._servers.lock(names.uuid("l3_network_uuid", args.l3_network_uuid)):
            work.check()
            await self._servers.remove(args.l3_network_uuid)
        return RemoveDhcpResult()

    async def probe(self, args: RemoveDhcpTask) -> RemoveDhcpResult | None:
        return RemoveDhcpResult() if self._servers.gone(args.l3_network_uuid) else None
