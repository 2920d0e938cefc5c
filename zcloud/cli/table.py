"""Tables for people: a list as columns that fit the terminal, one resource as lines of name and value."""

import os
import sys
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zcloud.cli.human import text_of
from zcloud.cli.plain import is_set

# What tells most comes first; the API's common words, not its kinds.
_FIRST = ("name", "uuid", "state", "status", "type", "ip", "percent", "error")
_LAST = ("create_date", "last_op_date", "account_uuid", "version", "description")
_WIDEST = 48
_PIPE_WIDTH = 200


def console() -> Console:
    """Where tables go; wide when nobody watches, so that nothing is cut for a program."""
    wide = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _PIPE_WIDTH
    return Console(highlight=False, soft_wrap=False, width=wide)


def print_list(messages: Sequence[Message], columns: Sequence[str] = ()) -> None:
    """A list; the columns that were asked for, else as many of the most telling ones as fit."""
    screen = console()
    if not messages:
        screen.print("nothing found", style="dim")
        return
    fields = _ordered(messages[0].DESCRIPTOR.fields, columns)
    texts = {field.name: [text_of(message, field) for message in messages] for field in fields}
    shown = [field for field in fields if columns or any(texts[field.name])]
    widths = {field.name: min(_WIDEST, max(map(cell_len, [field.name, *texts[field.name]]))) for field in shown}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    room = screen.width
    kept = []
    for field in shown:
        if kept and widths[field.name] + 2 > room:
            continue  # a narrower one may still fit
        room -= widths[field.name] + 2
        kept.append(field)
        table.add_column(
            Text(field.name),
            no_wrap=True,
            overflow="ellipsis",
            max_width=_WIDEST,
            justify="right" if _is_number(field) else "left",
        )
    for row in zip(*(texts[field.name] for field in kept), strict=True):
        table.add_row(*map(_cell, row))
    screen.print(table)


def print_one(message: Message) -> None:
    """One message, a line for each field that holds something; lists of messages below, as tables."""
    screen = console()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    below = []
    for field in message.DESCRIPTOR.fields:
        if _is_list_of_messages(field):
            if len(getattr(message, field.name)):
                below.append(field)
        elif is_set(message, field):
            table.add_row(field.name, _cell(text_of(message, field)))
    screen.print(table)
    for field in below:
        screen.print(f"\n{field.name}:", style="bold")
        print_list(list(getattr(message, field.name)))


def _is_list_of_messages(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated and field.message_type is not None and not field.message_type.GetOptions().map_entry)


def _is_number(field: FieldDescriptor) -> bool:
    kinds = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
    unsigned = (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
    return field.cpp_type in kinds + unsigned and not field.is_repeated


def _ordered(fields: Sequence[FieldDescriptor], columns: Sequence[str]) -> list[FieldDescriptor]:
    if columns:
        return [field for name in columns for field in fields if field.name == name]

    def rank(field: FieldDescriptor) -> int:
        if field.name in _FIRST:
            return _FIRST.index(field.name)
        if field.name in _LAST:
            return 200 + _LAST.index(field.name)
        # References are long and say little to a person; facts come before them.
        return 100 if field.name.endswith(("_uuid", "_uuids")) else 50

    return sorted(fields, key=rank)


_COLOURS: dict[str, str] = {
    **dict.fromkeys(("Enabled", "Connected", "Running", "Ready", "Succeeded", "Done"), "green"),
    **dict.fromkeys(("Disconnected", "Error", "Failed", "Crashed", "Stuck", "Unknown"), "red"),
    **dict.fromkeys(("Disabled", "Stopped", "Destroyed", "Canceled", "Deleted", "Paused"), "yellow"),
}


def _cell(text: str) -> Any:
    # Text, not markup: a name may hold square brackets.
    return Text(text, style=_COLOURS.get(text, ""))
