"""Random messages that know their descriptors: mostly what a client might mean, and now and then what none would."""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
import string
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

import zcloud.v1
from tests.api.requests import ABSENT, BAD, CONTROL, GOOD, rules
from zcloud.api.rpcs import Rpc
from zcloud.v1 import options_pb2 as o

F = FieldDescriptor
DEEPEST = 4
# What has broken one parser or another.
HOSTILE = (
    "",
    " ",
    "0",
    "-1",
    "1e309",
    "NaN",
    "null",
    "None",
    "true",
    "[]",
    "{}",
    '{"a": {"a": [1e400, -0]}}',
    "'",
    '"',
    "\\",
    "%s%n%d",
    "{0.__class__}",
    "${jndi:ldap://x}",
    "$(reboot)",
    "; DROP TABLE events; --",
    "../../../etc/passwd",
    "<!ENTITY x SYSTEM 'file:///etc/passwd'>",
    "\ufeff",
    "\u202eabc",
    "a\u0301" * 40,
    "\U0001f4a9" * 60,
    "ß\u0130ı",
    "\ud7ff\ue000",
    "٣٤",
    "²",
    "x" * 255,
    "x" * 256,
    "(" * 120,
    "a AND " * 40 + "b",
    "sealed:AAAA",
    *CONTROL,
)
NUMBERS = (0, 1, -1, 2, 3, 7, 24, 60, 100, 255, 256, 1000, 4096, 65535, 65536, 1 << 20, 1 << 30)
EDGES = (1 << 31, 1 << 32, 1 << 53, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
# What texts without a format are made of; what the cloud itself says under the same name is used besides.
WORDS: Mapping[str, tuple[str, ...]] = {
    "cron": ("* * * * *", "0 0 31 2 *", "@daily", "*/0 * * * *", "0 0 * * 7#5", "59 23 L * *", "1-0 * * * *"),
    "time_zone": ("UTC", "Europe/Berlin", "Nowhere/City", "../../etc/passwd", "localtime", "Etc/GMT+12", "posixrules"),
    "hypervisor_type": ("KVM", "Simulator", "kvm"),
    "format": ("qcow2", "raw", "iso", "vmdk"),
    "type": ("Root", "Data", "Zero", "Linear"),
    "delete_mode": ("enforcing", "permissive", "Enforcing"),
    "strategy": ("instant_start", "create_stopped", "just_create"),
    "action": ("RebootVmInstance", "CreateVolumeSnapshot", "DeleteZone", "NoSuchRpc", "LogOut"),
    "arguments": ("{}", '{"uuid": 1}', '{"name": "x"}', '{"name": null}', "[" * 100, '{"description": "\\ud800"}'),
    "resource_type": ("VmInstanceVO", "VolumeVO", "ZoneVO", "NobodyVO"),
    "kind": ("vm_instance", "zone", "volume", "job", "nobody"),
    "network_cidr": ("10.50.0.0/24", "172.16.0.0/12", "10.9.0.0/25"),
    "start_ip": ("10.60.0.10", "10.9.0.10"),
    "end_ip": ("10.60.0.20", "10.9.0.200"),
    "gateway": ("10.60.0.1", "10.9.0.1"),
    "color": ("#aabbcc", "#AABBCC", "red"),
    "url": (
        "upload://a.qcow2",
        "file:///etc/passwd",
        "http://[::1",
        "http://127.0.0.1/x",
        "http://a:99999/",
        "sftp://x",
    ),
    "password": ("a password of its own", "short"),
}
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", ":", "~", "=~")
ALPHABET = string.ascii_letters + string.digits + "._- "


class Messages:
    """known: uuids by kind. seen: texts and numbers that the cloud says, by the name of the field.

    right: requests that were granted, by RPC.
    """

    def __init__(
        self,
        chance: random.Random,
        known: Mapping[str, list[str]],
        seen: Mapping[str, list[Any]],
        right: Mapping[str, list[bytes]],
    ) -> None:
        self.right = right
        self.chance = chance
        self.known = known
        self.seen = seen
        self.uuids = sorted({uuid for found in known.values() for uuid in found})

    def request(self, rpc: Rpc) -> bytes:
        """One request; a few are no messages at all."""
        chance = self.chance
        kind = chance.random()
        if kind < 0.02:
            return chance.randbytes(chance.randrange(40))
        evil = chance.choice((0.0, 0.02, 0.1, 0.5))
        if rpc.name in self.right and chance.random() < 0.5:
            made = self._changed(rpc, evil)
        else:
            made = self.message(rpc.request, rpc, evil)
        data = made.SerializeToString()
        if kind < 0.04 and data:
            at = chance.randrange(len(data))
            return data[:at] + chance.randbytes(1) + data[at + chance.randrange(3) :]
        return data

    def _changed(self, rpc: Rpc, evil: float) -> Message:
        """What was right once, with a field or two of another value."""
        made = rpc.request.FromString(self.chance.choice(self.right[rpc.name]))
        fields = list(made.DESCRIPTOR.fields)
        for field in self.chance.sample(fields, min(len(fields), self.chance.choice((0, 1, 1, 2)))):
            made.ClearField(field.name)
            if self.chance.random() < 0.8:
                self._put(made, field, rpc, evil, 0)
        return made

    def message(self, message_type: type[Message], rpc: Rpc, evil: float, depth: int = 0) -> Message:
        """evil: the chance of each value to be what nobody would mean."""
        made = message_type()
        often = self.chance.choice((0.1, 0.4, 0.9))
        for field in made.DESCRIPTOR.fields:
            if self.chance.random() < (0.98 if rules(field).required else often):
                self._put(made, field, rpc, evil, depth)
        return made

    def _put(self, message: Message, field: FieldDescriptor, rpc: Rpc, evil: float, depth: int) -> None:
        if field.type == F.TYPE_MESSAGE and depth >= DEEPEST:
            return
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._put_map(message, field, rpc, evil, depth)
        elif field.is_repeated:
            many = self.chance.choice((0, 1, 1, 1, 2, 3))
            if self.chance.random() < evil / 10:
                many = 101
            for _ in range(many):
                if field.type == F.TYPE_MESSAGE:
                    self._fill(getattr(message, field.name).add(), field.message_type, rpc, evil, depth)
                else:
                    getattr(message, field.name).append(self.value(field, rpc, evil))
        elif field.type == F.TYPE_MESSAGE:
            getattr(message, field.name).SetInParent()
            self._fill(getattr(message, field.name), field.message_type, rpc, evil, depth)
        else:
            setattr(message, field.name, self.value(field, rpc, evil))

    def _put_map(self, message: Message, field: FieldDescriptor, rpc: Rpc, evil: float, depth: int) -> None:
        key, value = (field.message_type.fields_by_name[n] for n in ("key", "value"))
        target = getattr(message, field.name)
        for _ in range(self.chance.randrange(3)):
            name = self.value(key, rpc, evil)
            if value.type == F.TYPE_MESSAGE:
                self._fill(target[name], value.message_type, rpc, evil, depth)
            else:
                target[name] = self.value(value, rpc, evil)

    def _fill(self, target: Any, descriptor: Descriptor, rpc: Rpc, evil: float, depth: int) -> None:
        name = descriptor.full_name
        if name == "google.protobuf.FieldMask":
            target.paths.extend(self._mix(lambda: self._column(rpc), evil) for _ in range(self.chance.randrange(3)))
        elif name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
            target.seconds = self._number(-(1 << 63), (1 << 63) - 1, evil)
            target.nanos = self.chance.choice((0, 0, 1, 999_999_999, -1, 1 << 30))
        elif name in ("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"):
            self._json(target, name.rpartition(".")[2], evil)
        elif name == "google.protobuf.Any":
            target.Pack(self.result("", rpc, evil))
        else:
            target.MergeFrom(self.message(descriptor._concrete_class, rpc, evil, depth + 1))

    def _json(self, target: Any, kind: str, evil: float) -> None:
        if kind == "Struct":
            target.update({self.text(evil): self.chance.choice((None, 1, -1.5, True, self.text(evil), [1, {}]))})
        elif kind == "Value":
            target.string_value = self.text(evil)
        else:
            target.extend([self.text(evil), 1])

    def result(self, name: str, rpc: Rpc, evil: float) -> Message:
        """What an agent found of a task: of this type, or of any."""
        known = results()
        return self.message(known.get(name) or self.chance.choice([*known.values()]), rpc, evil, 1)

    # -- values

    def value(self, field: FieldDescriptor, rpc: Rpc, evil: float) -> Any:
        """One value of a field that is no message."""
        rule = rules(field)
        if field.type == F.TYPE_STRING:
            return self._string(field, rule, rpc, evil)
        if field.type == F.TYPE_BYTES:
            return self.chance.randbytes(self.chance.choice((0, 1, 16, 300)))
        if field.type == F.TYPE_BOOL:
            return self.chance.random() < 0.5
        if field.type == F.TYPE_ENUM:
            if self.chance.random() < evil:
                return self.chance.choice((-1, 99, 9999, (1 << 31) - 1))
            return self.chance.choice(field.enum_type.values).number
        if field.type in (F.TYPE_DOUBLE, F.TYPE_FLOAT):
            return self.chance.choice((0.0, 1.0, -1.0, 0.1, 1e30, float("inf"), float("nan")))
        return self._integer(field, rule, evil)

    def _integer(self, field: FieldDescriptor, rule: Any, evil: float) -> int:
        unsigned = field.type in (F.TYPE_UINT32, F.TYPE_UINT64, F.TYPE_FIXED32, F.TYPE_FIXED64)
        bits = 64 if field.type in (F.TYPE_INT64, F.TYPE_UINT64, F.TYPE_SINT64, F.TYPE_FIXED64, F.TYPE_SFIXED64) else 32
        low, high = (0, (1 << bits) - 1) if unsigned else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        least = rule.min if rule.HasField("min") else low
        most = rule.max if rule.HasField("max") else high
        if self.chance.random() >= evil:
            seen = [v for v in self.seen.get(field.name, ()) if isinstance(v, int) and low <= v <= high]
            picked = self.chance.choice(seen) if seen and self.chance.random() < 0.5 else self.chance.choice(NUMBERS)
            return max(least, min(most, picked))
        edges = (least, most, least - 1, most + 1, *EDGES, *(-e for e in EDGES), *NUMBERS)
        return max(low, min(high, self.chance.choice(edges)))

    def _number(self, low: int, high: int, evil: float) -> int:
        usual = (0, 1, 1_700_000_000, 1_800_000_000, 4_000_000_000)
        picked = self.chance.choice((*EDGES, *(-e for e in EDGES)) if self.chance.random() < evil else usual)
        return max(low, min(high, picked))

    def _string(self, field: FieldDescriptor, rule: Any, rpc: Rpc, evil: float) -> str:
        if self.chance.random() < evil:
            return self.chance.choice((*HOSTILE, *BAD[rule.format]))
        if rule.format == o.FORMAT_UUID or rule.references:
            return self._uuid(field, rule, rpc)
        made = self._of_query(field.name, rpc, evil)
        if made is not None:
            return made
        pool = [*WORDS.get(field.name, ()), *(v for v in self.seen.get(field.name, ()) if isinstance(v, str))]
        if pool and self.chance.random() < 0.7:
            return self.chance.choice(pool)
        if rule.format:
            return self.chance.choice((GOOD[rule.format], self.text(0.0))) if pool else GOOD[rule.format]
        return self.text(evil)

    def _uuid(self, field: FieldDescriptor, rule: Any, rpc: Rpc) -> str:
        kind = rule.references or (rpc.kind if field.name == "uuid" else self._kind(field.name))
        roll = self.chance.random()
        if field.name == "resource_uuid" and not rule.references and roll < 0.5:
            return self.chance.randbytes(16).hex()
        if self.known.get(kind) and roll < 0.8:
            return self.chance.choice(self.known[kind])
        if roll < 0.9 and self.uuids:
            return self.chance.choice(self.uuids)
        return self.chance.choice((ABSENT, self.chance.randbytes(16).hex()))

    def _kind(self, name: str) -> str:
        """Of what a field is about that does not say what it refers to, by its name: a part of a resource."""
        stem = name.removesuffix("s").removesuffix("_uuid")
        return next((kind for kind in self.known if kind.endswith(stem)), "") if stem != name else ""

    def text(self, evil: float) -> str:
        """Some words."""
        if self.chance.random() < evil:
            return self.chance.choice(HOSTILE)
        return "".join(self.chance.choices(ALPHABET, k=self.chance.randrange(1, 20))).strip() or "x"

    # -- the language of queries

    def _of_query(self, name: str, rpc: Rpc, evil: float) -> str | None:
        if name == "filter":
            return self._filter(rpc, evil)
        if name == "order_by":
            return self._mix(lambda: f"{self._column(rpc)} {self.chance.choice(('', 'desc', 'asc'))}".strip(), evil)
        if name in ("group_by", "sums"):
            return self._mix(lambda: self._column(rpc), evil)
        if name == "page_token":
            return "" if self.chance.random() < 0.9 else self.text(evil)
        return None

    def _mix(self, right: Callable[[], str], evil: float) -> str:
        return self.chance.choice(HOSTILE) if self.chance.random() < evil else right()

    def _column(self, rpc: Rpc) -> str:
        descriptor = _inventory(rpc)
        if descriptor is None:
            return self.chance.choice(("name", "uuid", "create_date"))
        path = []
        for _ in range(3):
            field = self.chance.choice(descriptor.fields)
            kind = rules(field).references
            path.append(field.name)
            if field.type == F.TYPE_MESSAGE and not field.message_type.full_name.startswith("google."):
                descriptor = field.message_type
            elif kind and self.chance.random() < 0.3:
                path[-1] = field.name.removesuffix("_uuid")
                path.append(self.chance.choice(("name", "uuid", "state", "create_date", "zone.name")))
                break
            else:
                break
        return ".".join(path)

    def _filter(self, rpc: Rpc, evil: float, depth: int = 0) -> str:
        roll = self.chance.random()
        if depth < 3 and roll < 0.25:
            word = self.chance.choice((" AND ", " AND ", " OR ", " "))
            return word.join(self._filter(rpc, evil, depth + 1) for _ in range(self.chance.randrange(2, 4)))
        if depth < 3 and roll < 0.35:
            return f"{self.chance.choice(('NOT ', '-', ''))}({self._filter(rpc, evil, depth + 1)})"
        column = self._mix(lambda: self._column(rpc), evil)
        return f"{column} {self.chance.choice(OPERATORS)} {self._literal(column, evil)}"

    def _literal(self, column: str, evil: float) -> str:
        seen = self.seen.get(column.rpartition(".")[2], ())
        options: Iterable[Any] = (
            self.chance.choice(seen) if seen else "x",
            self.chance.choice(NUMBERS),
            self.chance.choice((*EDGES, -1.5)),
            '"' + self.text(evil).replace('"', '\\"') + '"',
            self.text(evil),
            self.chance.choice(("*", "true", "null", "2026-01-01", "Running", "now() - 3d", "%", "web*")),
        )
        return str(self.chance.choice(tuple(options)))


@cache
def results() -> dict[str, type[Message]]:
    """What tasks have as their results, by full name."""
    files = [
        importlib.import_module(f"zcloud.v1.{i.name}").DESCRIPTOR
        for i in pkgutil.iter_modules(zcloud.v1.__path__)
        if i.name.endswith("_pb2")
    ]
    found = [m for file in files for name, m in file.message_types_by_name.items() if name.endswith("Result")]
    return {message.full_name: message._concrete_class for message in found}


def _inventory(rpc: Rpc) -> Descriptor | None:
    for name in ("inventory", "inventories"):
        field = rpc.response.DESCRIPTOR.fields_by_name.get(name)
        if field is not None and field.message_type is not None:
            return field.message_type
    return None


def harvest(messages: Iterable[Message]) -> dict[str, list[Any]]:
    """Texts and numbers that were said, by the names of their fields, some of each."""
    found: dict[str, set[Any]] = {}

    def walk(message: Message) -> None:
        for field, value in message.ListFields():
            for item in value if field.is_repeated else (value,):
                if isinstance(item, Message):
                    walk(item)
                elif isinstance(item, (str, int)) and not isinstance(item, bool) and len(str(item)) < 256:
                    found.setdefault(field.name, set()).add(item)

    for message in messages:
        walk(message)
    return {name: sorted(values, key=str)[:40] for name, values in found.items()}


def parts(messages: Iterable[Message]) -> dict[str, list[str]]:
    """Uuids of what is a part of a resource and no resource itself, by the names of their messages: vm_cd_rom."""
    found: dict[str, list[str]] = {}
    for message in messages:
        for field, value in message.ListFields():
            if field.is_repeated and field.message_type is not None and "uuid" in field.message_type.fields_by_name:
                kind = re.sub(r"(?<!^)(?=[A-Z])", "_", field.message_type.name).lower()
                found.setdefault(kind, []).extend(part.uuid for part in value)
    return found
