"""A part of the log in a file that can be verified by anybody: lines of JSON, records with their hashes, checkpoints.

docs/audit.md says what is in it, and has a program of a few lines that verifies it and needs nothing of ours.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from zcloud.kernel.proof.chain import GENESIS, ChainFile, link, link_all
from zcloud.kernel.proof.checkpoint import BadCheckpoint, Checkpoint, check_all
from zcloud.kernel.proof.locate import Finding
from zcloud.kernel.proof.raw import Raw, Row
from zcloud.kernel.proof.verify import Report
from zcloud.kernel.store.rows import COLUMNS

FORMAT = "zcloud-audit"
VERSION = 1
BYTES = ("state", "actor")
_BYTES = frozenset(COLUMNS.index(name) for name in BYTES)


def opened(path: Path, mode: str) -> IO[bytes]:
    """Compressed where its name ends in .gz."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    return cast("IO[bytes]", opener(path, mode))


def export(raw: Raw, signed: Sequence[Checkpoint], chain: ChainFile, file: IO[bytes], after: int, until: int) -> int:
    """Write the records after a position, up to another; gives how many."""
    marks = {c.position: c for c in signed if c.position > after}
    before = _before(raw, chain, signed, after)
    keys = sorted({c.key for c in marks.values()})
    header = {
        "format": FORMAT,
        "version": VERSION,
        "store": raw.store(),
        "columns": list(COLUMNS),
        "bytes": list(BYTES),
        "after": after,
        "before": before.hex(),
        "keys": keys,
    }
    file.write(_line(header))
    number = 0
    for rows in raw.rows(after, until):
        for row in rows:
            before = link(before, row)
            file.write(_line([*(_cell(n, value) for n, value in enumerate(row)), before.hex()]))
            if row[0] in marks:
                file.write(_line({"checkpoint": json.loads(marks[row[0]].line())}))
            number += 1
    return number


def _before(raw: Raw, chain: ChainFile, signed: Sequence[Checkpoint], after: int) -> bytes:
    found = chain.at(after)
    if found:
        return found
    marks = [(0, GENESIS), *((c.position, c.link) for c in signed if c.position <= after)]
    at, before = marks[-1]
    for rows in raw.rows(at, after):
        before = link_all(before, rows)
    return before


def verify_file(file: IO[bytes], keys: Sequence[str] = ()) -> Report:
    """Hold a file's records against its checkpoints. keys: those that are trusted, else those that it names.

    Raises BadCheckpoint for what is no such file, or has no checkpoint that somebody signed.
    """
    try:
        header = json.loads(file.readline())
        if (header["format"], header["version"]) != (FORMAT, VERSION) or header["columns"] != list(COLUMNS):
            raise ValueError("another form")
        at, before, store = int(header["after"]), bytes.fromhex(header["before"]), str(header["store"])
    except (ValueError, KeyError, TypeError):
        raise BadCheckpoint("this is no export of an audit, or of another version") from None
    report = Report(store=store, covered=at, verified=at)
    signed: list[Checkpoint] = []
    suspect: Finding | None = None
    for row, said, checkpoint in _lines(file):
        if checkpoint is not None:
            signed.append(checkpoint)
            if checkpoint.store != store or checkpoint.link != before or checkpoint.position != at:
                text = "what is signed here is not what these records come to"
                found = suspect or Finding(report.covered + 1, "somewhere", text, report.covered)
                report.findings.append(found)
                break
            # Only a record's own hash was wrong: what is signed is right.
            suspect = None
            report.covered = report.verified = checkpoint.position
            continue
        before = link(before, row)
        at += 1
        if suspect is None and row[0] != at:
            kind = "missing" if row[0] > at else "inserted"
            suspect = Finding(at, kind, f"record {row[0]} stands in its place", report.covered)
        elif suspect is None and before.hex() != said:
            suspect = Finding(at, "altered", "its row is not what was hashed", report.covered)
    check_all(signed, keys or header.get("keys", ()))
    report.head, report.checkpoints = max(at, report.covered), len(signed)
    if not signed:
        raise BadCheckpoint("the file has no checkpoint: nothing in it is proven")
    if not report.findings and at > report.covered:
        report.notes.append(f"records {report.covered + 1} to {at} are not signed yet")
    return report


def _lines(file: IO[bytes]) -> Iterator[tuple[Row, str, Checkpoint | None]]:
    for line in file:
        try:
            found = json.loads(line)
            if isinstance(found, dict):
                yield (), "", Checkpoint.of_line(_compact(found["checkpoint"]))
            else:
                yield tuple(_value(n, cell) for n, cell in enumerate(found[:-1])), str(found[-1]), None
        except (ValueError, KeyError, TypeError, IndexError):
            raise BadCheckpoint(f"no line of an export: {line[:80].decode(errors='replace')}") from None


def _cell(n: int, value: Any) -> Any:
    """Text as it is; bytes that are text, where bytes are expected, too; anything else as base64."""
    if not isinstance(value, bytes):
        return value if n not in _BYTES or value is None else {"text": value}
    if n in _BYTES:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return {"base64": base64.b64encode(value).decode()}


def _value(n: int, cell: Any) -> Any:
    if isinstance(cell, dict):
        return cell["text"] if "text" in cell else base64.b64decode(cell["base64"])
    return cell.encode() if n in _BYTES and isinstance(cell, str) else cell


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _compact(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
