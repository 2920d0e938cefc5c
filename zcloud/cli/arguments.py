"""Arguments of a call: options, fields of the request, and for queries ZStack's conditions."""

import argparse
import re
import sys
from dataclasses import dataclass, field
from getpass import getpass
from pathlib import Path
from typing import NoReturn

from google.protobuf.message import Message

from zcloud.cli import server
from zcloud.cli.catalog import Rpc
from zcloud.cli.errors import UsageError
from zcloud.cli.naming import find_field
from zcloud.cli.values import assign

FORMATS = ("table", "json", "yaml")
_PAIR = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)(!\?=|!~=|\?=|~=|!=|>=|<=|=|>|<)(.*)", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Raises instead of leaving the process, so that all errors look alike."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (`{self.prog} --help` explains)")


@dataclass
class Options:
    """What goes with a call besides its request."""

    output: str = "table"
    reason: str | None = None
    request: str | None = None
    validate_only: bool = False
    if_version: int | None = None
    no_wait: bool = False
    server: str | None = None
    tls: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    timeout: float | None = None
    help: bool = False
    words: list[str] = field(default_factory=list)


def parser(name: str) -> Parser:
    """The options that every RPC takes."""
    made = Parser(prog=f"zcloud {name}", allow_abbrev=False, add_help=False)
    made.add_argument("-h", "--help", action="store_true", help="explain this RPC and its fields")
    made.add_argument("-o", "--output", choices=FORMATS, default="table", help="how to print the answer")
    made.add_argument("--reason", metavar="TEXT", help="why, for the audit trail")
    made.add_argument("--request", metavar="ID", help="idempotency key: the same key and body act once")
    made.add_argument("--validate-only", action="store_true", help="change nothing; say what would happen")
    made.add_argument("--if-version", type=int, metavar="N", help="only if the resource is still at version N")
    made.add_argument("--no-wait", action="store_true", help="do not wait for the job")
    made.add_argument("--timeout", type=float, metavar="SECONDS", help="how long the call may take (60)")
    server.add_options(made)
    return made


def parse(rpc: Rpc, argv: list[str]) -> Options:
    """Options and the remaining words of a call."""
    made = parser(rpc.name)
    made.add_argument("words", nargs="*")
    return Options(**vars(made.parse_intermixed_args(argv)))


def request_of(rpc: Rpc, words: list[str]) -> Message:
    """The request that `field=value` words describe; conditions of a query are translated and ANDed."""
    request = rpc.new_request()
    conditions: list[str] = []
    seen: set[str] = set()
    inputs = _Inputs()
    for word in words:
        match = _PAIR.fullmatch(word)
        if match is None and rpc.queries:
            conditions.append(word)  # ZStack also knows conditions without a sign: name not null
            continue
        if match is None:
            raise UsageError(f"{word!r} is not of the form field=value.")
        path, operator, text = match.groups()
        known = find_field(rpc.method.input_type, path.split(".")[0])
        if rpc.queries and (known is None or operator != "="):
            conditions.append(word)
            continue
        if operator != "=":
            raise UsageError(f"{word!r}: conditions are for queries; {rpc.name} takes field=value.")
        if path in seen and known is not None and not known.is_repeated:
            raise UsageError(f"{path} is given twice.")
        seen.add(path)
        assign(request, path, inputs.read(path, text))
    if conditions:
        _add_conditions(request, conditions)
    return request


def _add_conditions(request: Message, conditions: list[str]) -> None:
    try:
        from projections.query.zstack import translate
    except ImportError as error:
        raise UsageError(f"conditions cannot be translated here ({error}); use filter= instead.") from error
    try:
        translated = translate(conditions)
    except ValueError as error:
        raise UsageError(str(error)) from error
    written = request.filter  # type: ignore[attr-defined]
    # A filter of several terms keeps its meaning only in parentheses.
    joined = f"({written}) AND ({translated})" if written else translated
    request.filter = joined  # type: ignore[attr-defined]


class _Inputs:
    """Reads values that stand elsewhere: @file, and - for stdin, which can be read once only."""

    def __init__(self) -> None:
        self._taken = ""

    def read(self, path: str, text: str) -> str:
        if text.startswith("@@"):
            return text[1:]
        try:
            if text == "-":
                if self._taken:
                    raise UsageError(f"{path}=-: stdin was already read for {self._taken}.")
                self._taken = path
                # A person types a line, which may be a password: without echo.
                return getpass(f"{path}: ") if sys.stdin.isatty() else _without_newline(sys.stdin.read())
            if text.startswith("@"):
                return _without_newline(Path(text[1:]).expanduser().read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UsageError(f"{path}={text}: cannot be read: {reason}. (A value that begins with @: @@…)") from None
        return text


def _without_newline(text: str) -> str:
    """An editor's newline is not part of a password; a key in several lines needs its last one."""
    return text.rstrip("\r\n") if text.count("\n") <= 1 else text
