"""The settings of the cloud that are known: category, name, default, what it means and what it may be."""

from __future__ import annotations

import difflib
import ipaddress
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass

from zcloud.kernel.errors import Refused, invalid
from zcloud.kernel.ids import Derived, derived

UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,15})([BKMGT]?)")

# Says what would be right; empty when the text is.
Check = Callable[[str], str]


@dataclass(frozen=True)
class Validator:
    """A check that can say beforehand what is right. type: as callers see it."""

    type: str
    right: str
    check: Check

    def __call__(self, text: str) -> str:
        return self.check(text)


def size_in_bytes(text: str) -> int:
    """1G -> 1073741824. Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    return int(found[1]) * UNITS[found[2]]


_SIZES = "a number of bytes, or one with K, M, G or T such as 1G"
_size = Validator("Size", _SIZES, lambda text: "" if _SIZE.fullmatch(text) else _SIZES)


def _number(low: int, high: int) -> Check:
    right = f"a whole number from {low} to {high}"

    def check(text: str) -> str:
        good = text.isascii() and text.isdecimal() and len(text) < 12 and low <= int(text) <= high
        return "" if good else right

    return Validator("Integer", right, check)


def _one_of(*words: str) -> Check:
    right = f"one of {', '.join(words)}"
    kind = "Boolean" if set(words) == {"true", "false"} else "Choice"
    return Validator(kind, right, lambda text: "" if text in words else right)


def _check_ratio(text: str) -> str:
    good = _RATIO.fullmatch(text) and 100 <= percent_of(text) <= 100_000
    return "" if good else _RATIOS


_RATIO = re.compile(r"[0-9]{1,4}(\.[0-9]{1,2})?", re.ASCII)
_RATIOS = "a number from 1 to 1000 with at most two decimals, such as 1.5"
_ratio = Validator("Decimal", _RATIOS, _check_ratio)


def percent_of(ratio: str) -> int:
    """1.5 -> 150."""
    whole, _, parts = ratio.partition(".")
    return int(whole) * 100 + int(parts.ljust(2, "0") or "0")


def words_of(text: str) -> tuple[str, ...]:
    """The parts of a comma separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check_networks(text: str) -> str:
    for part in words_of(text):
        try:
            ipaddress.ip_network(part)
        except ValueError:
            return f"networks such as 10.0.0.0/8, separated by commas; {part!r} is none"
    return ""


def _check_network(text: str) -> str:
    return _check_networks(text) if "," not in text else _NETWORK


_NETWORK = "one network such as 10.0.0.0/8, or nothing"
_network = Validator("Network", _NETWORK, _check_network)
_networks = Validator("Networks", "networks such as 10.0.0.0/8, separated by commas", _check_networks)


def _check_paths(text: str) -> str:
    for part in words_of(text):
        if not part.startswith("/") or part.startswith("//") or posixpath.normpath(part) != part:
            return f"absolute directories separated by commas; {part!r} is none"
    return ""


_paths = Validator("Paths", "absolute directories separated by commas", _check_paths)


@dataclass(frozen=True)
class Setting:
    """One setting; default and value are texts, as callers see them."""

    category: str
    name: str
    default: str
    description: str
    check: Check

    @property
    def type(self) -> str:
        """Of the value."""
        return self.check.type if isinstance(self.check, Validator) else "String"

    @property
    def validator(self) -> str:
        """What the value may be, in words."""
        return self.check.right if isinstance(self.check, Validator) else ""

    @property
    def uuids(self) -> Derived:
        """The same in every cloud."""
        return derived("global_config", self.category, self.name)

    def must_take(self, value: str) -> None:
        """Raises INVALID_ARGUMENT for a value that it cannot have."""
        right = self.check(value)
        if right:
            raise invalid("value", value, f"{self.category}/{self.name} must be {right}")


_SECONDS = _number(1, 10_000_000)
_CD_ROMS = _number(0, 4)
_DEGREE = _number(1, 10_000)
_SWITCH = _one_of("true", "false")

KNOWN: list[Setting] = [
    Setting("backupStorage", "ping.interval", "60", "Seconds between two pings of a backup storage.", _SECONDS),
    Setting("backupStorage", "ping.parallelismDegree", "50", "Backup storages pinged at the same time.", _DEGREE),
    Setting("backupStorage", "ping.maxFailure", "3", "Pings that must fail before it is Disconnected.", _DEGREE),
    Setting("backupStorage", "ping.sleepPeriodAfterFailure", "1", "Seconds between failed pings.", _SECONDS),
    Setting(
        "backupStorage",
        "connection.autoReconnectOnError",
        "true",
        "Whether a backup storage that answers pings again is reconnected without being asked.",
        _SWITCH,
    ),
    Setting(
        "backupStorage",
        "connection.autoReconnectOnError.maxAttemptsNum",
        "0",
        "Attempts to reconnect a backup storage, each later than the one before, until only a caller does; 0: no end.",
        _number(0, 10_000),
    ),
    Setting("backupStorage", "reservedCapacity", "1G", "Bytes that images leave free on a backup storage.", _size),
    Setting(
        "backupStorage",
        "imageStore.reclaim.interval",
        "86400",
        "Seconds between two looks for image stores that hold what no image refers to any more.",
        _SECONDS,
    ),
    Setting(
        "primaryStorage",
        "imageCache.rateLimit",
        "0",
        "Bytes each second that one image is brought into a host's cache with; 0: no limit.",
        _size,
    ),
    Setting(
        "primaryStorage",
        "maintenance.stopInterval",
        "60",
        "Seconds between two looks for VMs that still run on a storage in maintenance.",
        _SECONDS,
    ),
    Setting(
        "primaryStorage",
        "imageCache.garbageCollector.interval",
        "86400",
        "Seconds between two looks for cached images that are gone and that no volume rests on.",
        _SECONDS,
    ),
    Setting("primaryStorage", "reservedCapacity", "1G", "Bytes that volumes leave free on a primary storage.", _size),
    Setting(
        "primaryStorage",
        "allocatorStrategy",
        "Default",
        "Where a volume goes that several storages can take: Default the one with most bytes physically free.",
        _one_of("Default", "LeastVolume", "MaximumAvailableCapacity", "CustomOrder"),
    ),
    Setting(
        "primaryStorage",
        "priority",
        "0",
        "A storage's place where primaryStorage/allocatorStrategy is CustomOrder; the lowest comes first.",
        _number(0, 1_000_000),
    ),
    Setting(
        "primaryStorage",
        "overProvisioning.ratio",
        "1",
        "Bytes of volumes given out for each byte of a primary storage, by their virtual size; on NFS it is always 1.",
        _ratio,
    ),
    Setting(
        "image",
        "deletionPolicy",
        "Delay",
        "Deleted images: Delay and Never go to the recycle bin, Direct is expunged at once; Never is kept until asked.",
        _one_of("Direct", "Delay", "Never"),
    ),
    Setting("image", "expungePeriod", "259200", "Seconds that a deleted image stays in the recycle bin.", _SECONDS),
    Setting("image", "expungeInterval", "3600", "Seconds between two looks into the images' recycle bin.", _SECONDS),
    Setting(
        "image",
        "download.allowedNetworks",
        "",
        "Private networks that image URLs may lead to all the same, such as 10.0.0.0/8; separated by commas.",
        _networks,
    ),
    Setting(
        "image",
        "download.allowedPaths",
        "",
        "Directories of backup storages below which file:// image URLs may lead; separated by commas.",
        _paths,
    ),
    Setting(
        "image", "download.rateLimit", "0", "Bytes each second that one image is fetched with; 0: no limit.", _size
    ),
    Setting("image", "upload.idleLimit", "86400", "Seconds until an upload that does not go on is dropped.", _SECONDS),
    Setting("image", "upload.sweepInterval", "600", "Seconds between two looks for uploads to drop.", _SECONDS),
    Setting(
        "vm",
        "deletionPolicy",
        "Delay",
        "Deleted VMs: Delay and Never go to the recycle bin, Direct is expunged at once; Never is kept until asked.",
        _one_of("Direct", "Delay", "Never"),
    ),
    Setting("vm", "expungePeriod", "604800", "Seconds that a deleted VM stays in the recycle bin.", _SECONDS),
    Setting("vm", "expungeInterval", "3600", "Seconds between two looks into the VMs' recycle bin.", _SECONDS),
    Setting(
        "vm",
        "instanceOffering.setNullWhenDeleting",
        "true",
        "Whether VMs forget their instance offering when that is deleted.",
        _SWITCH,
    ),
    Setting("vm", "vmDefaultCdRomNum", "1", "CD drives that a new VM has.", _CD_ROMS),
    Setting("vm", "maximumCdRomNum", "3", "CD drives that a VM may have.", _CD_ROMS),
    Setting(
        "volume",
        "deletionPolicy",
        "Delay",
        "Deleted data volumes: Delay and Never go to the recycle bin, Direct is expunged at once; Never stays.",
        _one_of("Direct", "Delay", "Never"),
    ),
    Setting("volume", "expungePeriod", "259200", "Seconds that a deleted volume stays in the recycle bin.", _SECONDS),
    Setting("volume", "expungeInterval", "3600", "Seconds between two looks into the volumes' recycle bin.", _SECONDS),
    Setting(
        "volumeSnapshot",
        "incrementalSnapshot.maxNum",
        "64",
        "Snapshots that lie on each other before the next one stands by itself.",
        _number(2, 120),
    ),
    Setting("host", "cpu.overProvisioning.ratio", "10", "vCPUs given out for each CPU of a host.", _number(1, 1000)),
    Setting(
        "host",
        "debt.interval",
        "60",
        "Seconds until a connected host is asked again for what it owes; each time twice as long, up to an hour.",
        _SECONDS,
    ),
    Setting(
        "host",
        "migration.network",
        "",
        "Network through which VMs move between hosts, such as 10.0.0.0/8; empty: the one that hosts are managed by.",
        _network,
    ),
    Setting(
        "request",
        "expungePeriod",
        "2592000",
        "Seconds for which a zcloud-request is remembered, with the answer that it got.",
        _number(3600, 10_000_000),
    ),
    Setting("request", "expungeInterval", "86400", "Seconds between two looks for requests to forget.", _SECONDS),
    Setting("operationLog", "retention.days", "180", "Days that the log of calls goes back.", _number(1, 36_500)),
    Setting(
        "operationLog",
        "retention.records",
        "1000000",
        "Calls that the log of calls holds at most; older ones are removed.",
        _number(1_000, 1_000_000_000),
    ),
    Setting(
        "operationLog",
        "retention.size",
        "0",
        "Bytes that the log of calls takes at most, such as 10G; older calls are removed; 0: no limit.",
        _size,
    ),
    Setting("audit", "checkpoint.interval", "60", "Seconds between two signed checkpoints of the log.", _SECONDS),
    Setting("scheduler", "history.days", "180", "Days for which runs of scheduled jobs are kept.", _number(1, 36_500)),
    Setting("scheduler", "history.sweepInterval", "3600", "Seconds between two looks for old runs.", _SECONDS),
    Setting(
        "webhook",
        "allowedNetworks",
        "",
        "Private networks that webhooks may lead to all the same, such as 10.0.0.0/8; separated by commas.",
        _networks,
    ),
    Setting("webhook", "timeout", "10", "Seconds that a webhook's receiver has to answer.", _number(1, 300)),
    Setting("webhook", "retry.maxInterval", "300", "Seconds between two tries of a delivery, at most.", _SECONDS),
    Setting(
        "webhook", "giveUpPeriod", "259200", "Age in seconds at which what can't be delivered is given up.", _SECONDS
    ),
    Setting("kvm", "reservedMemory", "1G", "Bytes of memory that VMs leave to the host.", _size),
]
_BY_NAME = {(setting.category, setting.name): setting for setting in KNOWN}


def add(category: str, name: str, default: str, description: str) -> None:
    """Make a setting known that is a size or a number of what there may be; for those that are many of one kind."""
    made = Setting(category, name, default, description, _size)
    KNOWN.append(made)
    _BY_NAME[category, name] = made


def known(category: str, name: str) -> Setting:
    """The setting; an unknown one is INVALID_ARGUMENT, with the nearest that there is."""
    found = _BY_NAME.get((category, name))
    if found is None:
        raise _unknown(category, name)
    return found


def _unknown(category: str, name: str) -> Refused:
    categories = {setting.category for setting in KNOWN}
    if category not in categories:
        nearest = difflib.get_close_matches(category, sorted(categories), 1, 0)[0]
        return invalid("category", category, f'there is no such category; the nearest is "{nearest}"')
    names = [setting.name for setting in KNOWN if setting.category == category]
    nearest = difflib.get_close_matches(name, names, 1, 0)[0]
    return invalid("name", name, f'{category} has no such setting; the nearest is "{nearest}"')
