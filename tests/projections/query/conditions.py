"""Random conditions on the random cloud, and how a person could write each of them."""

import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.projections.query.evaluate import PARTS, RELATIONS, Both, Negated, Term, plain
from tests.projections.world import World

PATHS: dict[str, list[str]] = {
    "vm_instance": [
        "name", "description", "cpu_num", "memory_size", "state", "host_uuid", "create_date", "vm_nics", "vm_nics.ip",
        "vm_nics.device_id", "vm_nics.l3_network", "vm_nics.l3_network.dns", "vm_nics.l3_network.name", "image",
        "image.platform", "image.name", "image.copies.install_path", "image.copies.backup_storage.name", "host",
        "host.cluster.zone.name", "last_host.status", "volumes.size", "volume.name", "l3_networks.system",
        "l3_networks.dns_domain",
        "tag", "tag", "user_tags.type", "host.tag", "image.tag", "user_tags",
    ],
    "backup_storage": ["state", "total_capacity", "attached_zone_uuids", "zone.name", "zone.state", "image.platform",
        "image.copies.status", "sftp_backup_storage", "sftp_backup_storage.username", "image.vm_instances.cpu_num",
        "tag", "image.tag"],
    "sftp_backup_storage": ["ssh_port", "username", "backup_storage.state", "images.name", "images.size", "tag",
        "backup_storage.tag"],
    "l3_network": ["dns", "system", "dns_domain", "vm_instances.state", "vm_instances.cpu_num", "ip_ranges",
        "ip_ranges.available_ips", "create_date"],
    "job": ["state", "cancel_requested", "percent", "steps", "steps.name", "steps.state", "steps.finish_date", "name"],
    "cluster": ["name", "zone.name", "hosts.status", "hosts.vm_instances.cpu_num", "primary_storages",
        "primary_storages.name", "primary_storage_uuids", "hosts.vm_instances_by_last_host.name"],
    "zone": ["name", "state", "clusters", "clusters.hosts.status", "backup_storages.image.platform"],
    "image": ["platform", "size", "copies", "copies.status", "copies.install_path", "vm_instances.vm_nics.ip",
        "backup_storages.total_capacity", "name"],
    "volume": ["size", "vm_instance.name", "vm_instance.vm_nics.ip", "vm_instance"],
}  # fmt: skip


def _leaves(world: World, kind: str, path: list[str]) -> tuple[Any, list[Any]]:
    """The descriptor of the field that a path ends in (None for a part or a relation), and values it has there."""
    if path[-1] == "tag":
        path = [*path[:-1], "user_tags", "tag"]
    here: list[tuple[str, Any]] = [(kind, message) for message in world.resources[kind]]
    for name in path[:-1]:
        following: list[tuple[str, Any]] = []
        for at, message in here:
            if (at, name) in RELATIONS:
                target, find = RELATIONS[at, name]
                following += [(target, other) for other in find(world, message)]
            else:
                following += [(name, part) for part in getattr(message, name)]
        here = following
    last = path[-1]
    if not here or last in PARTS or (here[0][0], last) in RELATIONS:
        return None, []
    descriptor = here[0][1].DESCRIPTOR.fields_by_name[last]
    if descriptor.is_repeated:
        return descriptor, [value for _, message in here for value in getattr(message, last)]
    return descriptor, [value for _, message in here if (value := plain(message, last)) is not None]


class ConditionMaker:
    """Makes conditions that are mostly about values which are there."""

    def __init__(self, seed: int, world: World) -> None:
        self.random = random.Random(seed)
        self.world = world

    def term(self, kind: str) -> Term:
        path = tuple(self.random.choice(PATHS[kind]).split("."))
        descriptor, values = _leaves(self.world, kind, list(path))
        if descriptor is None or self.random.random() < 0.12:
            operator, value = self.random.choice([("=", None), ("!=", None), (":", ("", ""))])
            return Term(path, operator, value)
        ordered = descriptor.enum_type is None and descriptor.cpp_type != descriptor.CPPTYPE_BOOL
        operators = ["=", "=", "!=", ":"] + (["<", "<=", ">", ">="] if ordered else [])
        operator, value = self.random.choice(operators), self.value(descriptor, values)
        if isinstance(value, str) and descriptor.enum_type is None and operator in ("=", "!=", ":"):
            value = self.piece(value, operator)
        return Term(path, operator, value)

    def value(self, descriptor: Any, values: list[Any]) -> Any:
        if values and self.random.random() < 0.9:
            return self.random.choice(values)
        if descriptor.enum_type is not None:
            other = self.random.choice([v for v in descriptor.enum_type.values if v.number])
            message = descriptor.containing_type._concrete_class(**{descriptor.name: other.number})
            return plain(message, descriptor.name)
        if descriptor.cpp_type == descriptor.CPPTYPE_STRING:
            return "other"
        return True if descriptor.cpp_type == descriptor.CPPTYPE_BOOL else 2

    def piece(self, text: str, operator: str) -> Any:
        """The text itself, a part of it where parts are looked for, or a pattern that it fits."""
        start = self.random.randrange(len(text))
        end = self.random.randrange(start, len(text)) + 1
        roll = self.random.random()
        if roll < 0.4:
            return self.random.choice([(text[:start], text[end:]), ("", text[start:end], ""), (text[:end], "")])
        return text[start:end] if operator == ":" and roll < 0.8 else text

    def condition(self, kind: str, depth: int = 2) -> Any:
        roll = self.random.random()
        if depth == 0 or roll < 0.45:
            made: Any = self.term(kind)
        else:
            items = tuple(self.condition(kind, depth - 1) for _ in range(self.random.choice([2, 2, 3])))
            made = Both(self.random.choice(["AND", "OR"]), items)
        return Negated(made) if self.random.random() < 0.2 else made

    def write(self, condition: Any, world_kind: str) -> str:
        """The condition in the filter language, in one of the ways it can be written."""
        if isinstance(condition, Negated):
            sign = self.random.choice(["NOT ", "-"])
            return f"{sign}({self.write(condition.item, world_kind)})"
        if isinstance(condition, Both):
            items = (self.write(item, world_kind) for item in condition.items)
            return f" {condition.operator} ".join(f"({item})" for item in items)
        space = self.random.choice(["", " "])
        return f"{self._path(condition)}{space}{condition.operator}{space}{self._value(condition, world_kind)}"

    def _path(self, term: Term) -> str:
        if self.random.random() < 0.7:
            return ".".join(term.path)
        return ".".join(re.sub("_([a-z0-9])", lambda found: found[1].upper(), name) for name in term.path)

    def _value(self, term: Term, kind: str) -> str:
        value = term.value
        if value is None:
            return "null"
        if value == ("", ""):
            return "*"
        if isinstance(value, tuple):
            return '"' + "*".join(_escaped(piece) for piece in value) + '"'
        descriptor, _ = _leaves(self.world, kind, list(term.path))
        if descriptor.message_type is not None:
            return self._time(value)
        if isinstance(value, bool):
            return str(value).lower()
        if descriptor.enum_type is not None:
            holder, name = descriptor.containing_type._concrete_class, descriptor.name
            forms = {plain(holder(**{name: v.number}), name): v for v in descriptor.enum_type.values}
            return self.random.choice([value, forms[value].name, f'"{value}"'])
        if isinstance(value, int):
            return self.random.choice([str(value), f'"{value}"'])
        bare = re.fullmatch(r"[A-Za-z0-9_.-]+", value) and value not in ("null", "AND", "OR", "NOT")
        return value if bare and self.random.random() < 0.5 else f'"{_escaped(value)}"'

    def _time(self, micros: int) -> str:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
        return self.random.choice(
            [moment.isoformat(), moment.isoformat().replace("+00:00", "Z"), f'"{moment.isoformat()}"']
        )


def _escaped(text: str) -> str:
    return re.sub(r'[\\"*]', r"\\\g<0>", text)
