"""What a DHCP server of an L3 network shall say, and the files in which dnsmasq reads it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from agents.network import names
from agents.runtime.task import TaskError
from zcloud.v1.network_task_pb2 import ApplyDhcpTask, DhcpEntry

# More than any network of one host; dnsmasq's own default is 1000.
LEASES = 65536

# Files beside the wanted state, all written from it.
CONFIG, HOSTS, OPTIONS, NAMES = "dnsmasq.conf", "hosts", "options", "names"


class Entry(msgspec.Struct, frozen=True):
    """What one NIC is told."""

    ip: str
    hostname: str
    gateway: str
    netmask: str


class Wanted(msgspec.Struct):
    """The whole truth about one server; kept, so that tasks may bring entries one at a time."""

    bridge: str
    server_address: str
    dns: list[str]
    dns_domain: str
    entries: dict[str, Entry]


def checked(task: ApplyDhcpTask) -> Wanted:
    """What a task asks for; INVALID names the field, since each ends up in a line of dnsmasq's files."""
    names.uuid("l3_network_uuid", task.l3_network_uuid)
    server = names.server(task.server_address)
    wanted = Wanted(
        names.interface("bridge", task.bridge),
        str(server),
        [names.ipv4("dns", address) for address in task.dns],
        names.domain(task.dns_domain),
        {},
    )
    for entry in task.entries:
        wanted.entries[names.mac(entry.mac)] = _checked_entry(entry)
        if not entry.ip or names.server(f"{entry.ip}/{server.network.prefixlen}").network != server.network:
            raise TaskError("INVALID", f"ip {entry.ip!r} of {entry.mac} is not in the network of {server}")
    return wanted


def _checked_entry(entry: DhcpEntry) -> Entry:
    return Entry(
        names.ipv4("ip", entry.ip),
        names.hostname(entry.hostname),
        names.ipv4("gateway", entry.gateway),
        names.ipv4("netmask", entry.netmask),
    )


def read(folder: Path) -> Wanted | None:
    """The wanted state as last written; None when there is no server."""
    try:
        return msgspec.json.decode((folder / "wanted.json").read_bytes(), type=Wanted)
    except FileNotFoundError:
        return None


def write(folder: Path, wanted: Wanted) -> None:
    """The wanted state and all that follows from it. The state first: the rest can be made from it again."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _replace(folder / "wanted.json", msgspec.json.encode(wanted))
    for name, text in render(folder, wanted).items():
        _replace(folder / name, text.encode())


def render(folder: Path, wanted: Wanted) -> dict[str, str]:
    """dnsmasq's files by name."""
    hosts, options, addresses = [], [], []
    for mac, entry in sorted(wanted.entries.items()):
        tag = "nic" + mac.replace(":", "")
        hosts.append(",".join(filter(None, (mac, f"set:{tag}", entry.ip, entry.hostname, "infinite"))))
        # An empty router option keeps dnsmasq from naming itself as the gateway.
        options.append(",".join(filter(None, (f"tag:{tag}", "option:router", entry.gateway))))
        if entry.netmask:
            options.append(f"tag:{tag},option:netmask,{entry.netmask}")
        if entry.hostname:
            addresses.append(f"{entry.ip} {entry.hostname}")
    return {CONFIG: _config(folder, wanted), HOSTS: _lines(hosts), OPTIONS: _lines(options), NAMES: _lines(addresses)}


def _config(folder: Path, wanted: Wanted) -> str:
    server = names.server(wanted.server_address)
    dns = wanted.dns or [str(server.ip)]
    lines = [
        "interface=eth0",
        "except-interface=lo",
        "bind-interfaces",
        # It stays in its namespace as whoever may read its folder, which is private.
        "user=root",
        "group=root",
        f"pid-file={folder / 'pid'}",
        f"log-facility={folder / 'log'}",
        "no-hosts",
        "no-resolv",
        "no-poll",
        *(f"server={address}" for address in wanted.dns if address != str(server.ip)),
        f"addn-hosts={folder / NAMES}",
        f"dhcp-range={server.network.network_address},static,{server.netmask},infinite",
        f"dhcp-hostsfile={folder / HOSTS}",
        f"dhcp-optsfile={folder / OPTIONS}",
        f"dhcp-option=option:dns-server,{','.join(dns)}",
        "dhcp-option=option:router",
        f"dhcp-lease-max={LEASES}",
        # Who has which address is for the cloud to say: no lease is remembered beyond this process, no address tried.
        "leasefile-ro",
        "dhcp-authoritative",
        "no-ping",
    ]
    if wanted.dns_domain:
        lines += [f"domain={wanted.dns_domain}", f"local=/{wanted.dns_domain}/", "expand-hosts"]
    return _lines(lines)


def _lines(lines: list[str]) -> str:
    return "".join(line + "\n" for line in lines)


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all: dnsmasq may read at any moment, and the agent may die at any."""
    fresh = path.with_suffix(path.suffix + ".new")
    with open(fresh, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
