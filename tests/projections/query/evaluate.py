"""What a condition means, said in plain Python over messages; shares no code with the compiler to SQL.

The relations are written out by hand, so that those derived from the descriptors are held against what was meant.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.projections.world import World

Found = Callable[[World, Any], list[Any]]


def _one(kind: str, reference: str) -> tuple[str, Found]:
    return kind, lambda world, own: [m for m in world.resources[kind] if m.uuid == getattr(own, reference)]


def _back(kind: str, reference: str) -> tuple[str, Found]:
    return kind, lambda world, own: [m for m in world.resources[kind] if getattr(m, reference) == own.uuid]


TAGGED = ("vm_instance", "image", "host", "backup_storage", "sftp_backup_storage", "l3_network")
# (kind or part, name) to the kind that it leads to, and which of its resources.
RELATIONS: dict[tuple[str, str], tuple[str, Found]] = {
    ("vm_instance", "image"): _one("image", "image_uuid"),
    ("vm_instance", "host"): _one("host", "host_uuid"),
    ("vm_instance", "last_host"): _one("host", "last_host_uuid"),
    ("vm_instance", "volumes"): _back("volume", "vm_instance_uuid"),
    ("vm_instance", "volume"): _back("volume", "vm_instance_uuid"),
    ("vm_instance", "l3_networks"): (
        "l3_network",
        lambda w, v: [n for n in w.resources["l3_network"] if any(c.l3_network_uuid == n.uuid for c in v.vm_nics)],
    ),
    ("vm_nics", "l3_network"): _one("l3_network", "l3_network_uuid"),
    ("copies", "backup_storage"): _one("backup_storage", "backup_storage_uuid"),
    ("host", "cluster"): _one("cluster", "cluster_uuid"),
    ("host", "vm_instances"): _back("vm_instance", "host_uuid"),
    ("host", "vm_instances_by_last_host"): _back("vm_instance", "last_host_uuid"),
    ("cluster", "zone"): _one("zone", "zone_uuid"),
    ("cluster", "hosts"): _back("host", "cluster_uuid"),
    ("cluster", "primary_storages"): (
        "primary_storage",
        lambda w, c: [s for s in w.resources["primary_storage"] if s.uuid in c.primary_storage_uuids],
    ),
    ("zone", "clusters"): _back("cluster", "zone_uuid"),
    ("zone", "backup_storages"): (
        "backup_storage",
        lambda w, z: [s for s in w.resources["backup_storage"] if z.uuid in s.attached_zone_uuids],
    ),
    ("backup_storage", "zone"): (
        "zone",
        lambda w, s: [z for z in w.resources["zone"] if z.uuid in s.attached_zone_uuids],
    ),
    ("backup_storage", "image"): (
        "image",
        lambda w, s: [i for i in w.resources["image"] if any(c.backup_storage_uuid == s.uuid for c in i.copies)],
    ),
    ("backup_storage", "sftp_backup_storage"): _one("sftp_backup_storage", "uuid"),
    ("sftp_backup_storage", "backup_storage"): _one("backup_storage", "uuid"),
    ("sftp_backup_storage", "images"): (
        "image",
        lambda w, s: [i for i in w.resources["image"] if any(c.backup_storage_uuid == s.uuid for c in i.copies)],
    ),
    ("l3_network", "ip_ranges"): _back("ip_range", "l3_network_uuid"),
    ("l3_network", "vm_instances"): (
        "vm_instance",
        lambda w, n: [
            v for v in w.resources["vm_instance"] if any(c.l3_network_uuid == n.uuid for c in v.vm_nics)
        ],
    ),
    ("image", "vm_instances"): _back("vm_instance", "image_uuid"),
    ("image", "backup_storages"): (
        "backup_storage",
        lambda w, i: [s for s in w.resources["backup_storage"] if s.uuid in [c.backup_storage_uuid for c in i.copies]],
    ),
    ("volume", "vm_instance"): _one("vm_instance", "vm_instance_uuid"),
    **{(kind, "user_tags"): _back("user_tag", "resource_uuid") for kind in TAGGED},
}  # fmt: skip

PARTS = {"vm_nics", "copies", "steps"}
ADMINS_OWN = {
    "zone", "cluster", "host", "backup_storage", "sftp_backup_storage", "primary_storage",
}  # fmt: skip


@dataclass(frozen=True)
class Term:
    """One comparison; a pattern is the texts between its stars."""

    path: tuple[str, ...]
    operator: str
    # None for null, "*" marks presence, a tuple is a pattern.
    value: Any


@dataclass(frozen=True)
class Both:
    """AND or OR of several, each perhaps negated."""

    operator: str
    items: tuple[Any, ...]


@dataclass(frozen=True)
class Negated:
    """NOT."""

    item: Any


@dataclass(frozen=True)
class Sight:
    """Who looks at which world."""

    world: World
    account: str
    admin: bool

    def sees(self, kind: str, message: Any) -> bool:
        who = self.world.ownership[message.uuid]
        if self.admin:
            return True
        if kind not in ADMINS_OWN and (who.owner == self.account or who.public or self.account in who.shared):
            return True
        networks = self.world.resources["l3_network"] if kind == "ip_range" else []
        return any(self.sees("l3_network", found) for found in networks if found.uuid == message.l3_network_uuid)


def plain(message: Any, name: str) -> Any:
    """A field's value for comparing: None where it is absent, times in microseconds, enums in words."""
    descriptor = message.DESCRIPTOR.fields_by_name[name]
    value = getattr(message, name)
    if descriptor.message_type is not None:
        if not message.HasField(name):
            return None
        return (value.seconds * 10**9 + value.nanos) // 1000
    if descriptor.enum_type is not None:
        words = descriptor.enum_type.values_by_number[value].name.split("_")
        head = len(re.findall("[A-Z][a-z]*", descriptor.enum_type.name))
        return None if value == 0 else "".join(word[0] + word[1:].lower() for word in words[head:])
    return None if value == "" else value


def _like(text: str, pieces: tuple[str, ...]) -> bool:
    return re.fullmatch("(.*)".join(re.escape(piece) for piece in pieces), text, re.DOTALL) is not None


def holds(value: Any, operator: str, wanted: Any, inside: bool = True) -> bool:
    """One value against one comparison."""
    if operator == "!=":
        return not holds(value, "=", wanted)
    if wanted is None:
        return value is None
    if value is None:
        return False
    if wanted == ("", ""):
        return True
    if isinstance(wanted, tuple):
        return _like(value, ("", *wanted, "")) if operator == ":" and inside else _like(value, wanted)
    if operator == ":":
        return wanted in value if inside and isinstance(value, str) else value == wanted
    return {
        "=": value == wanted,
        "<": value < wanted if operator == "<" else None,
        "<=": value <= wanted if operator == "<=" else None,
        ">": value > wanted if operator == ">" else None,
        ">=": value >= wanted if operator == ">=" else None,
    }[operator]


def _walk(sight: Sight, kind: str, message: Any, term: Term, path: tuple[str, ...]) -> bool:
    name, *rest = path
    if name == "tag" and kind in TAGGED:
        asks_for_any = term.value is None or (term.operator, term.value) == (":", ("", ""))
        name, rest = "user_tags", [] if asks_for_any else ["tag"]
    reached: list[tuple[str, Any]] | None = None
    if name in PARTS and (kind, name) not in RELATIONS:
        reached = [(name, part) for part in getattr(message, name)]
    elif (kind, name) in RELATIONS:
        target, find = RELATIONS[kind, name]
        reached = [(target, other) for other in find(sight.world, message) if sight.sees(target, other)]
    if reached is not None:
        if rest:
            return any(_walk(sight, k, m, term, tuple(rest)) for k, m in reached)
        asks_for_none = term.value is None and term.operator == "="
        return bool(reached) != asks_for_none
    descriptor = message.DESCRIPTOR.fields_by_name[name]
    if descriptor.is_repeated:
        values = list(getattr(message, name))
        if term.value is None:
            return bool(values) == (term.operator == "!=")
        return any(holds(value or None, term.operator, term.value, inside=False) for value in values)
    # Only text is searched inside; an enum is a word as a whole.
    return holds(plain(message, name), term.operator, term.value, inside=descriptor.enum_type is None)


def satisfies(sight: Sight, kind: str, message: Any, condition: Any) -> bool:
    """Whether a resource satisfies the condition, as far as the viewer sees."""
    if isinstance(condition, Negated):
        return not satisfies(sight, kind, message, condition.item)
    if isinstance(condition, Both):
        judge = all if condition.operator == "AND" else any
        return judge(satisfies(sight, kind, message, item) for item in condition.items)
    return _walk(sight, kind, message, condition, condition.path)
