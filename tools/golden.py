"""Adds a golden sample of every event type that has none to tests/history; what is there is never changed.

.venv/bin/python -m tools.golden
"""

from __future__ import annotations

import enum
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf.descriptor import FieldDescriptor

from projections.render import messages_of
from zcloud.api.node import load_everything
from zcloud.api.standard import short
from zcloud.kernel import event as events
from zcloud.kernel.aggregate import Companion, kinds, of_topic
from zcloud.kernel.event import Event

HISTORY = Path(__file__).resolve().parents[1] / "tests" / "history"


def released() -> dict[str, type[Event]]:
    """Every event type of the product, not those of tests."""
    load_everything()
    return {topic: cls for topic, cls in sorted(events.topics().items()) if ours(of_topic(topic))}


def ours(cls: type) -> bool:
    """Whether a class belongs to the product."""
    return cls.__module__.startswith("zcloud.")


def shown_kinds(kind: str) -> list[str]:
    """Kinds as which facts of this stream are shown: its own, or those that it stands beside."""
    cls = kinds()[kind]
    if not issubclass(cls, Companion):
        return [kind]
    return [k for k, c in kinds().items() if ours(c) and cls.of in getattr(c, "kinds", ())]


def _choices(kind: str, name: str) -> list[str]:
    """Short values of the enum as which a text is shown, if it is."""
    for shown in shown_kinds(kind):
        for message in messages_of(shown):
            field = message.DESCRIPTOR.fields_by_name.get(name)
            if field is not None and field.type == FieldDescriptor.TYPE_ENUM:
                return [short(v.name, field.enum_type.name) for v in field.enum_type.values if v.number]
    return []


def sample(topic: str, cls: type[Event]) -> dict[str, Any]:
    """An event of this type with every field filled, as JSON values; the same each time."""
    kind = topic.partition(".")[0]
    info = msgspec.inspect.type_info(cls)
    assert isinstance(info, msgspec.inspect.StructType)
    return {field.encode_name: _value(kind, field.name, field.type) for field in info.fields}


def _value(kind: str, name: str, of: Any, number: int = 1) -> Any:
    match of:
        case msgspec.inspect.UnionType():
            some = next(t for t in of.types if not isinstance(t, msgspec.inspect.NoneType))
            return _value(kind, name, some, number)
        case msgspec.inspect.BoolType():
            return True
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return number
        case msgspec.inspect.StrType():
            return _text(kind, name, number)
        case msgspec.inspect.EnumType():
            values = [member.value for member in of.cls]
            return values[number % len(values)]
        case msgspec.inspect.VarTupleType() | msgspec.inspect.ListType() | msgspec.inspect.SetType():
            return [_value(kind, name, of.item_type, n) for n in (1, 2)]
        case msgspec.inspect.FrozenSetType():
            return [_value(kind, name, of.item_type, n) for n in (1, 2)]
        case msgspec.inspect.TupleType():
            return [_value(kind, name, item, number) for item in of.item_types]
        case msgspec.inspect.DictType():
            return {_text(kind, f"{name}_uuid", 1): _value(kind, name, of.value_type, number)}
        case msgspec.inspect.StructType():
            return {f.encode_name: _value(kind, f.name, f.type, number) for f in of.fields}
        case msgspec.inspect.AnyType():
            return number
    raise TypeError(f"{kind}.{name}: no sample of {of}; teach tools/golden.py")


def _text(kind: str, name: str, number: int) -> str:
    if "uuid" in name or name.endswith("_job") or name == "jobs":
        return hashlib.md5(f"{kind} {name} {number}".encode(), usedforsecurity=False).hexdigest()
    if "netmask" in name:
        return "255.255.255.0"
    if "cidr" in name:
        return f"10.0.{number}.0/24"
    if name in ("ip", "gateway", "dns") or name.endswith(("_ip", "_ips", "_gateway", "dns_servers", "_address")):
        return f"10.0.0.{number}"
    choices = _choices(kind, name)
    return choices[number % len(choices)] if choices else f"{name} {number}"


def known(directory: Path = HISTORY) -> dict[tuple[str, int], dict[str, Any]]:
    """The samples that are there, by type and schema."""
    found = {}
    for path in sorted(directory.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            found[entry["type"], entry["schema"]] = entry
    return found


def main() -> int:
    """Append what is missing, a file for each kind; tells how many."""
    have = known()
    added = 0
    for topic, cls in released().items():
        if (topic, cls.schema) in have:
            continue
        data = sample(topic, cls)
        events.decode(topic, cls.schema, json.dumps(data).encode())
        with (HISTORY / f"{topic.partition('.')[0]}.jsonl").open("a") as file:
            entry = {"type": topic, "schema": cls.schema, "data": data}
            file.write(json.dumps(entry, ensure_ascii=False, default=_plain) + "\n")
        added += 1
    print(f"{added} samples added, {len(have) + added} in all")
    return 0


def _plain(value: object) -> object:
    return value.value if isinstance(value, enum.Enum) else str(value)


if __name__ == "__main__":
    sys.exit(main())
