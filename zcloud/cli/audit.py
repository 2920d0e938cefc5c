"""`zcloud audit verify` and `zcloud audit export`: whether the log is what was signed, and a part of it as evidence."""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

from zcloud.cli import store
from zcloud.cli.errors import FAILED, OK, CliError
from zcloud.kernel.proof.checkpoint import BadCheckpoint
from zcloud.kernel.proof.export import export, opened, verify_file
from zcloud.kernel.proof.proof import Proof
from zcloud.kernel.proof.raw import Raw, open_raw
from zcloud.kernel.proof.shared import SharedCheckpoints, Signed
from zcloud.kernel.proof.verify import Report, verify

_SAYS = {
    "altered": "was altered",
    "missing": "is missing",
    "inserted": "was inserted",
    "reordered": "is out of order",
    "somewhere": "or a later one was changed",
}


def main(argv: list[str]) -> int:
    """Exit status 0 when all that is signed is right, 1 when it is not."""
    parser = argparse.ArgumentParser(prog="zcloud audit", allow_abbrev=False, description="Prove what the log says.")
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("verify", help="say whether the log is what was signed, and name what is not")
    store.add_place(checking)
    checking.add_argument("--checkpoints", type=Path, metavar="FILE", help="a copy of checkpoints, kept elsewhere")
    checking.add_argument("--key", action="append", default=[], help="a public key to trust (default: the node's own)")
    checking.add_argument("--file", type=Path, help="verify an export in place of a store")
    checking.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="processes (default: cores)")
    writing = commands.add_parser("export", help="write records with their proof to a file")
    store.add_place(writing)
    writing.add_argument("file", type=Path, help="compressed when its name ends in .gz")
    writing.add_argument("--from", dest="start", metavar="WHEN", help="a time or position; the beginning when absent")
    writing.add_argument("--until", metavar="WHEN", help="a time or position; the end when absent")
    options = parser.parse_args(argv)
    try:
        return _export(options) if options.command == "export" else _verify(options)
    except (BadCheckpoint, OSError) as error:
        raise CliError(f"audit: {error}") from None


def _verify(options: argparse.Namespace) -> int:
    began = time.monotonic()
    if options.file is not None:
        with opened(options.file, "rb") as file:
            report = verify_file(file, options.key)
    else:
        store.checked(options)
        raw = _raw(options)
        try:
            proof = Proof.of(options.data, options.checkpoints, options.key, _shared(options))
            report = verify(raw, proof, partial(open_raw, options.data, options.store), options.jobs)
        finally:
            raw.close()
    return _tell(report, time.monotonic() - began)


def _tell(report: Report, seconds: float) -> int:
    for note in report.notes:
        print(f"note: {note}")
    for found in report.findings:
        print(f"WRONG: record {found.position} {_SAYS[found.kind]}: {found.text}")
        print(f"       everything up to record {found.after} is as it was signed")
    for text in report.wrong:
        print(f"WRONG: {text}")
    if not report.good:
        return FAILED
    if not report.checkpoints:
        print("nothing is signed yet: there is nothing to verify")
        return FAILED
    speed = f"{report.verified / seconds:,.0f} records/s" if seconds > 0 else ""
    by = f"{report.checkpoints} checkpoints" + (f" of {report.nodes} nodes" if report.nodes > 1 else "")
    print(f"records 1 to {report.verified} are what was signed, by {by} ({speed})")
    return OK


def _export(options: argparse.Namespace) -> int:
    found = store.opened(options)
    try:
        after = max(0, store.position_of(found, "--from", options.start) - 1) if options.start else 0
        until = store.position_of(found, "--until", options.until) if options.until else found.head()
    finally:
        found.close()
    raw = _raw(options)
    try:
        proof = Proof.of(options.data, shared=_shared(options))
        with opened(options.file, "xb") as file:
            number = export(raw, proof.signed, proof.chain, file, after, until)
    finally:
        raw.close()
    signed = [c.position for c in proof.signed if after < c.position <= until]
    print(f"{number} records in {options.file}")
    if not signed or signed[-1] < until:
        print(f"note: what comes after record {signed[-1] if signed else after} is not signed", file=sys.stderr)
    return OK


def _shared(options: argparse.Namespace) -> list[Signed]:
    """Of all nodes that share the store."""
    if not options.store:
        return []
    try:
        shared = SharedCheckpoints(options.store)
        try:
            return shared.all()
        finally:
            shared.close()
    except BadCheckpoint:
        raise
    except Exception as error:
        raise CliError(f"the checkpoints in the store can't be read: {error}") from None


def _raw(options: argparse.Namespace) -> Raw:
    try:
        return open_raw(options.data, options.store)
    except Exception as error:
        raise CliError(f"the log can't be read: {error}") from None
