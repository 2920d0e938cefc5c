"""Columns as PostgreSQL arrays in binary: a batch has thousands of values, and the driver's own way is per value."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import chain

from psycopg import Connection
from psycopg.adapt import Dumper
from psycopg.pq import Format

_BYTEA, _INT8, _INT4, _TEXT, _FLOAT8 = 17, 20, 23, 25, 701
_ARRAY_OF = {_BYTEA: 1001, _INT8: 1016, _INT4: 1007, _TEXT: 1009, _FLOAT8: 1022}
_NOTHING = struct.pack("!i", -1)


class Packed(bytes):
    """An array that is encoded already."""

    element = 0


class Texts(Packed):
    element = _TEXT


class Blobs(Packed):
    element = _BYTEA


class Bigs(Packed):
    element = _INT8


class Ints(Packed):
    element = _INT4


class Floats(Packed):
    element = _FLOAT8


def texts(values: Iterable[str | None]) -> Texts:
    """text[]"""
    return Texts(_of_bytes(_TEXT, [None if value is None else value.encode() for value in values]))


def blobs(values: Iterable[bytes | None]) -> Blobs:
    """bytea[]"""
    return Blobs(_of_bytes(_BYTEA, list(values)))


def bigs(values: Iterable[int | None]) -> Bigs:
    """bigint[]"""
    return Bigs(_of_numbers(_INT8, "q", 8, list(values)))


def ints(values: Iterable[int | None]) -> Ints:
    """integer[]"""
    return Ints(_of_numbers(_INT4, "i", 4, list(values)))


def floats(values: Iterable[float | None]) -> Floats:
    """double precision[]"""
    return Floats(_of_numbers(_FLOAT8, "d", 8, list(values)))


def _header(element: int, length: int, absent: bool) -> bytes:
    if not length:
        return struct.pack("!iii", 0, 0, element)
    return struct.pack("!iiiii", 1, absent, element, length, 1)


def _of_bytes(element: int, values: Sequence[bytes | None]) -> bytes:
    absent = None in values
    present: Sequence[bytes] = [value or b"" for value in values]
    lengths = (-1 if value is None else len(value) for value in values) if absent else map(len, present)
    sizes = struct.pack(f"!{len(values)}i", *lengths)
    parts = chain.from_iterable((sizes[n * 4 : n * 4 + 4], value) for n, value in enumerate(present))
    return _header(element, len(values), absent) + b"".join(parts)


def _of_numbers(element: int, letter: str, size: int, values: Sequence[float | None]) -> bytes:
    if None in values:
        one = struct.Struct(f"!i{letter}").pack
        body = b"".join(_NOTHING if value is None else one(size, value) for value in values)
        return _header(element, len(values), absent=True) + body
    body = struct.pack("!" + f"i{letter}" * len(values), *chain.from_iterable((size, value) for value in values))
    return _header(element, len(values), absent=False) + body


class _AsIs(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return bytes(obj)


def register(connection: Connection) -> None:
    """Let a connection take them as values."""
    for kind in (Texts, Blobs, Bigs, Ints, Floats):
        dumper = type(f"{kind.__name__}Dumper", (_AsIs,), {"oid": _ARRAY_OF[kind.element]})
        connection.adapters.register_dumper(kind, dumper)
