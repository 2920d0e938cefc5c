"""Comments of the API: descriptors at run time carry none, so they are read from proto/ where that is at hand."""

import re
from functools import cache
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor

import zcloud

_OPENS = re.compile(r"^(message|enum|service|rpc|oneof)\s+(\w+)")
_FIELD = re.compile(r"^(?:optional |repeated )?[\w.<>, ]+?\s+(\w+)\s*=\s*-?\d+")
_VALUE = re.compile(r"^(\w+)\s*=\s*-?\d+")


def comment(file: FileDescriptor, full_name: str) -> str:
    """The comment above a message, field, enum value or RPC; empty when there is none."""
    return _comments(file.name, file.package).get(full_name, "")


@cache
def _comments(name: str, package: str) -> dict[str, str]:
    path = Path(zcloud.__file__).parents[1] / "proto" / name
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    scope: list[str] = []  # one entry for each open brace; empty where the brace names nothing
    pending: list[str] = []
    for line in (raw.strip() for raw in lines):
        if line.startswith("//"):
            pending.append(line.lstrip("/").strip())
            continue
        opens = _OPENS.match(line)
        named = opens or _FIELD.match(line) or _VALUE.match(line)
        if named is not None and pending:
            own = opens[2] if opens else named[1]
            found[".".join([package, *filter(None, scope), own])] = " ".join(pending)
        pending = []
        braces = line.count("{") - line.count("}")
        if braces > 0:
            # A oneof does not name a scope: its fields belong to the message.
            scope += [opens[2] if opens and opens[1] != "oneof" else ""] + [""] * (braces - 1)
        elif braces < 0:
            del scope[braces:]
    return found
