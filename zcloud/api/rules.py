"""Checks requests against the rules in their descriptors; every violation is named, none changes anything."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from zcloud.kernel.errors import Code, Reason, Refused, quoted
from zcloud.kernel.ids import is_derived
from zcloud.v1 import options_pb2 as o

DEFAULT_LENGTH = 255
DEFAULT_ITEMS = 100
# The years 2 and 9999 begin then; and as many seconds as protobuf's longest duration has.
EARLIEST, LATEST, LONGEST, NANOS = -62_104_060_800, 253_370_764_800, 315_576_000_000, 1_000_000_000
# Free text may have lines and tabs; what has a format may not.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_ANY_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HOSTNAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_PATTERNS: dict[int, tuple[re.Pattern[str], str]] = {
    o.FORMAT_UUID: (re.compile(r"[0-9a-f]{32}"), "32 lower-case hex digits"),
    o.FORMAT_MAC: (re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}"), "six lower-case hex pairs with colons"),
    o.FORMAT_HOSTNAME: (_HOSTNAME, "a DNS name or an IP address"),
    o.FORMAT_INTERFACE: (re.compile(r"[A-Za-z0-9_.-]{1,15}"), "the name of a network interface, at most 15 characters"),
    o.FORMAT_NAME: (re.compile(r"\S(.*\S)?"), "a name without space at either end"),
    o.FORMAT_LOGIN: (re.compile(r"[A-Za-z0-9._-]+"), "letters, digits, dots, dashes and underscores"),
    o.FORMAT_URL: (re.compile(r"[a-z][a-z0-9+.-]*://[^\s]+"), "a URL with its scheme"),
}
# A check gives what would be right, or "" when the value is.
Check = Callable[[Any], str]


def _ipv4(text: str) -> str:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return "an IPv4 address such as 10.0.0.1"
    return ""


def _cidr(text: str) -> str:
    try:
        ipaddress.IPv4Network(text)
    except ValueError:
        return "an IPv4 network such as 10.0.0.0/24, with no host bits set"
    return (
        ""
        if text.rpartition("/")[2].isdecimal() and "/" in text
        else "an IPv4 network with its prefix length, such as 10.0.0.0/24"
    )


def _netmask(text: str) -> str:
    if _ipv4(text) == "":
        bits = int(ipaddress.IPv4Address(text)) ^ 0xFFFFFFFF
        if bits & (bits + 1) == 0:
            return ""
    return "a netmask such as 255.255.255.0"


def _path(text: str) -> str:
    good = text.startswith("/") and posixpath.normpath(text) == text and not text.startswith("//") and "\n" not in text
    return "" if good else 'an absolute path, without "..", "//" or a slash at the end'


def _chosen(uuid: str) -> str:
    return "none that the cloud derives itself; a uuid of version 4, 5 or 7 will do" if is_derived(uuid) else ""


_FUNCTIONS: dict[int, Check] = {
    o.FORMAT_IPV4: _ipv4,
    o.FORMAT_CIDR: _cidr,
    o.FORMAT_NETMASK: _netmask,
    o.FORMAT_PATH: _path,
}


def _text(field: FieldDescriptor, rules: o.FieldRules) -> Check:
    longest = rules.max_length or DEFAULT_LENGTH
    pattern = _PATTERNS.get(rules.format)
    # What callers choose for something new must not be where the cloud will look for something of its own.
    new = field.name == "resource_uuid" and rules.format == o.FORMAT_UUID and not rules.required
    function = _chosen if new else _FUNCTIONS.get(rules.format)
    control = _ANY_CONTROL if rules.format else _CONTROL

    def check(value: str) -> str:
        if len(value) > longest:
            return f"at most {longest} characters, not {len(value)}"
        if control.search(value):
            return "text without control characters"
        if pattern is not None and not pattern[0].fullmatch(value):
            return pattern[1]
        return function(value) if function is not None else ""

    return check


def _number(rules: o.FieldRules) -> Check:
    low = rules.min if rules.HasField("min") else None
    high = rules.max if rules.HasField("max") else None

    def check(value: int) -> str:
        if low is not None and value < low:
            return f"at least {low}"
        return f"at most {high}" if high is not None and value > high else ""

    return check


def _enum(field: FieldDescriptor, rules: o.FieldRules) -> Check:
    meant = [v for v in field.enum_type.values if v.number and (not rules.values or v.name in rules.values)]
    # What is given, and says nothing, is as wrong as what is unknown.
    known = {v.number for v in meant} | (set() if field.has_presence or field.is_repeated else {0})
    names = [v.name for v in meant]
    return lambda value: "" if value in known else f"one of {', '.join(names)}"


def _moment(value: Any) -> str:
    # A year more or less, as time zones would have it, must be a time as well.
    good = EARLIEST <= value.seconds < LATEST and 0 <= value.nanos < NANOS
    return "" if good else "a time of the years 2 to 9998, with 0 to 999999999 nanos"


def _span(value: Any) -> str:
    one_sign = value.nanos == 0 or value.seconds == 0 or (value.seconds > 0) == (value.nanos > 0)
    good = abs(value.seconds) <= LONGEST and abs(value.nanos) < NANOS and one_sign
    return "" if good else "a duration of at most 10000 years, seconds and nanos of one sign"


# What protobuf carries but can't say in words must not get as far as an answer.
_KNOWN_TYPES: dict[str, Check] = {"google.protobuf.Timestamp": _moment, "google.protobuf.Duration": _span}


class Rule:
    """What one field of a request must be."""

    def __init__(self, field: FieldDescriptor) -> None:
        self.name = field.name
        self.rules = field.GetOptions().Extensions[o.rules]
        self.repeated = bool(field.is_repeated)
        self.presence = bool(field.has_presence)
        self.nested: tuple[Rule, ...] = ()
        self.check: Check = lambda _: ""
        # Numbers of an enum are shown by their names.
        self.names: dict[int, str] = {}
        self.secret = self.rules.secret
        self.references = self.rules.references
        if field.type == FieldDescriptor.TYPE_STRING:
            self.check = _text(field, self.rules)
        elif field.type == FieldDescriptor.TYPE_ENUM:
            self.check = _enum(field, self.rules)
            self.names = {value.number: value.name for value in field.enum_type.values}
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            if field.message_type.full_name.startswith("zcloud."):
                self.nested = rules_of(field.message_type)
            self.check = _KNOWN_TYPES.get(field.message_type.full_name, self.check)
        else:
            self.check = _number(self.rules)

    def violations(self, message: Message, prefix: str) -> Iterator[tuple[str, str]]:
        """Name of the field and what would be right."""
        path = prefix + self.name
        value = getattr(message, self.name)
        if self.repeated:
            longest = self.rules.max_items or DEFAULT_ITEMS
            if self.rules.required and not value:
                yield path, "must not be empty"
            if len(value) > longest:
                yield path, f"at most {longest} items, not {len(value)}"
                return
            for n, item in enumerate(value):
                yield from self._item(item, f"{path}[{n}]", given=True)
        elif (self.presence and not message.HasField(self.name)) or (not self.presence and not value):
            if self.rules.required:
                yield path, "is required"
        else:
            yield from self._item(value, path, given=self.presence)

    def _item(self, value: Any, path: str, *, given: bool) -> Iterator[tuple[str, str]]:
        if isinstance(value, Message):
            for rule in self.nested:
                yield from rule.violations(value, path + ".")
            right = self.check(value)
            if right:
                yield path, f"must be {right}"
            return
        if given and value == "" and (self.rules.format or self.rules.required or self.secret):
            yield path, "must not be empty"
            return
        if value == "" and given:
            return
        right = self.check(value)
        if right:
            login = self.rules.format == o.FORMAT_URL and "@" in value
            shown = "" if self.secret or login else f" is {quoted(self.names.get(value) or str(value))},"
            yield path, f"{path}{shown} but must be {right}" if shown else f"must be {right}"


@cache
def rules_of(descriptor: Descriptor) -> tuple[Rule, ...]:
    """The rules of a request's fields."""
    return tuple(Rule(field) for field in descriptor.fields)


def check(request: Message) -> None:
    """Raise INVALID_ARGUMENT that names every field that is wrong."""
    found = [v for rule in rules_of(request.DESCRIPTOR) for v in rule.violations(request, "")]
    if found:
        text = "; ".join(right if right.startswith(name) else f"{name} {right}" for name, right in found[:10])
        raise Refused(Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, text, fields=found[:50], field=found[0][0])


def references(request: Message) -> Iterator[tuple[str, str, str]]:
    """Path, kind and uuid of each resource that the request names."""

    def walk(message: Message, prefix: str) -> Iterator[tuple[str, str, str]]:
        for rule in rules_of(message.DESCRIPTOR):
            value = getattr(message, rule.name)
            for item in value if rule.repeated else (value,):
                if isinstance(item, Message):
                    if rule.nested:
                        yield from walk(item, f"{prefix}{rule.name}.")
                elif rule.references and item:
                    yield prefix + rule.name, rule.references, item

    yield from walk(request, "")
