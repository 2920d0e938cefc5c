"""Requests made from the descriptors: right ones, and each thing that can be wrong with each field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from zcloud.api.rpcs import Rpc
from zcloud.api.rules import DEFAULT_ITEMS, DEFAULT_LENGTH
from zcloud.v1 import options_pb2 as o

F = FieldDescriptor
ABSENT = "0123456789abcdef0123456789abcdef"
GOOD: dict[int, str] = {
    o.FORMAT_UNSPECIFIED: "some text",
    o.FORMAT_UUID: ABSENT,
    o.FORMAT_IPV4: "10.9.0.7",
    o.FORMAT_CIDR: "10.9.0.0/24",
    o.FORMAT_MAC: "fa:16:3e:00:00:01",
    o.FORMAT_HOSTNAME: "nobody.invalid",
    o.FORMAT_PATH: "/tmp/nowhere",
    o.FORMAT_URL: "https://nobody.invalid/x",
    o.FORMAT_INTERFACE: "eth9",
    o.FORMAT_NAME: "a name",
    o.FORMAT_NETMASK: "255.255.255.0",
    o.FORMAT_LOGIN: "somebody",
}
CONTROL = ("nul\x00", "bell\x07", "escape\x1b[31m", "delete\x7f", "next\x85line")
BAD: dict[int, tuple[str, ...]] = {
    o.FORMAT_UNSPECIFIED: (),
    o.FORMAT_UUID: ("x", ABSENT[:-1], ABSENT + "0", ABSENT.upper(), "g" * 32, ABSENT[:-1] + "\n", "' OR 1=1 --"),
    o.FORMAT_IPV4: ("10.0.0", "10.0.0.256", "10.0.0.01", "::1", "10.0.0.1/24", "10.0.0.1\n", "ten"),
    o.FORMAT_CIDR: ("10.0.0.0", "10.0.0.1/24", "10.0.0.0/33", "10.0.0.0/255.255.255.0", "10.0.0.0/-1", "10.0.0.0/24\n"),
    o.FORMAT_MAC: ("fa:16:3e:00:00", "FA:16:3E:00:00:01", "fa-16-3e-00-00-01", "fa:16:3e:00:00:0g"),
    o.FORMAT_HOSTNAME: ("-a", "a-", "a..b", "a b", "a_b", "a/b", "ä.de", "a;reboot", "x" * 64, "a\n"),
    o.FORMAT_PATH: ("a/b", "/a/../b", "/a//b", "/a/", "//a", "/a/./b", "/a\nb", "/a\tb", ""),
    o.FORMAT_URL: ("nowhere", "/a/b", "http:/x", "http://a b", "http://a\nb", "://x", "1http://x"),
    o.FORMAT_INTERFACE: ("x" * 16, "eth 0", "eth0;", "a/b", "eth0\n", "ä"),
    o.FORMAT_NAME: (" a", "a ", "\ta", "a\n", "a\nb", "a\tb", "a\rb", "a\u2028b", " "),
    o.FORMAT_NETMASK: ("255.255.255", "255.0.255.0", "0.0.0.255", "24", "255.255.255.0\n"),
    o.FORMAT_LOGIN: ("a b", "a@b", "ä", "a/b", "a\n", "$(id)"),
}
# What protobuf carries, and neither a calendar nor JSON knows.
NO_TIMES = {
    "google.protobuf.Timestamp": ((1 << 62, 0), (-(1 << 62), 0), (0, -1), (0, 1 << 30)),
    "google.protobuf.Duration": ((1 << 62, 0), (1, -1), (0, 1 << 30)),
}


def rules(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[o.rules]


def good_value(field: FieldDescriptor, known: Mapping[str, str], salt: str = "") -> Any:
    """A value that nothing is wrong with; a reference is to what is known of its kind, else to nothing."""
    rule = rules(field)
    if field.type == F.TYPE_STRING:
        if rule.references:
            return known.get(rule.references, ABSENT)
        text = GOOD[rule.format]
        if rule.format in (o.FORMAT_NAME, o.FORMAT_LOGIN, o.FORMAT_HOSTNAME) and salt:
            text = f"{salt}.{text}"
        return text[: rule.max_length or DEFAULT_LENGTH]
    if field.type == F.TYPE_ENUM:
        return next(v.number for v in field.enum_type.values if v.number and (not rule.values or v.name in rule.values))
    if field.type == F.TYPE_MESSAGE:
        return good_message(field.message_type._concrete_class, known)
    if field.type == F.TYPE_BOOL:
        return True
    return max(rule.min if rule.HasField("min") else 1, 1)


def good_message(message_type: type[Message], known: Mapping[str, str], *, every: bool = False, salt: str = "") -> Any:
    """What is required, or every field."""
    made = message_type()
    for field in made.DESCRIPTOR.fields:
        if every or rules(field).required:
            put(made, field, good_value(field, known, salt))
    return made


def put(message: Message, field: FieldDescriptor, value: Any) -> None:
    """Set a field to one value, whatever its form."""
    if field.is_repeated:
        message.ClearField(field.name)
        target = getattr(message, field.name)
        target.add().CopyFrom(value) if field.type == F.TYPE_MESSAGE else target.append(value)
    elif field.type == F.TYPE_MESSAGE:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong with one field. path: as an error names it."""

    path: str
    what: str
    spoil: Callable[[Message], None]

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


def wrongs(rpc: Rpc) -> Iterator[Wrong]:
    """All that can be wrong whatever the state is, field by field."""
    for field in rpc.request.DESCRIPTOR.fields:
        yield from _of_field(field, lambda message: message, "")


def _of_field(field: FieldDescriptor, reach: Callable[[Any], Any], prefix: str) -> Iterator[Wrong]:
    path = prefix + field.name
    item = f"{path}[0]" if field.is_repeated else path
    rule = rules(field)

    def to(value: Any) -> Callable[[Message], None]:
        return lambda message: put(reach(message), field, value)

    def without(message: Any) -> None:
        reach(message).ClearField(field.name)

    if rule.required:
        yield Wrong(path, "is missing", without)
    if field.is_repeated:
        many = (rule.max_items or DEFAULT_ITEMS) + 1

        def flood(message: Any) -> None:
            put(reach(message), field, good_value(field, {}))
            found = getattr(reach(message), field.name)
            found.MergeFrom([found[0]] * (many - 1))

        yield Wrong(path, f"has {many} items", flood)
    if field.type == F.TYPE_STRING:
        longest = rule.max_length or DEFAULT_LENGTH
        yield Wrong(item, "is too long", to("7" * (longest + 1)))
        for text in (*CONTROL, *BAD[rule.format]):
            if text or field.has_presence or field.is_repeated:
                yield Wrong(item, f"is {text!r}", to(text))
        if (rule.format or rule.required or rule.secret) and (field.has_presence or field.is_repeated):
            yield Wrong(item, "is empty", to(""))
    elif field.type == F.TYPE_ENUM:
        yield Wrong(item, "has an unknown number", to(9999))
        if field.has_presence or field.is_repeated:
            yield Wrong(item, "is given, and unspecified", to(0))
    elif field.type == F.TYPE_MESSAGE:
        for seconds, nanos in NO_TIMES.get(field.message_type.full_name, ()):
            yield Wrong(
                item,
                f"is {seconds} s and {nanos} ns",
                to(field.message_type._concrete_class(seconds=seconds, nanos=nanos)),
            )
        if field.message_type.full_name.startswith("zcloud."):

            def within(message: Any) -> Any:
                target = getattr(reach(message), field.name)
                if not field.is_repeated:
                    target.SetInParent()
                    return target
                return target[0] if len(target) else target.add()

            for inner in field.message_type.fields:
                yield from _of_field(inner, within, f"{item}.")
    elif field.type != F.TYPE_BOOL:
        smallest = 0 if field.type in (F.TYPE_UINT32, F.TYPE_UINT64) else -(1 << 31)
        largest = (1 << (64 if "64" in F_NAMES[field.type] else 32)) - 1
        largest = largest if "UINT" in F_NAMES[field.type] else largest // 2
        zero_counts = field.has_presence or field.is_repeated
        if rule.HasField("min") and rule.min - 1 >= smallest and (rule.min != 1 or zero_counts or rule.required):
            yield Wrong(path if rule.min == 1 and not zero_counts else item, "is too small", to(rule.min - 1))
        if rule.HasField("max") and rule.max < largest:
            yield Wrong(item, "is too big", to(rule.max + 1))


F_NAMES = {getattr(F, name): name for name in dir(F) if name.startswith("TYPE_")}


def secrets(descriptor: Any) -> list[FieldDescriptor]:
    """Fields of a message that hold secrets."""
    return [field for field in descriptor.fields if rules(field).secret]


def references(descriptor: Any) -> list[FieldDescriptor]:
    """Fields of a message that name a resource."""
    return [field for field in descriptor.fields if rules(field).references]
