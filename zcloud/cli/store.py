"""What the commands share that work on a store itself, without a server: where it is, and moments of it."""

from __future__ import annotations

import argparse
import os
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from zcloud.api import position
from zcloud.cli.errors import CliError, UsageError
from zcloud.cli.past import moment
from zcloud.kernel.errors import Refused
from zcloud.kernel.store import POSTGRESQL, Store, open_store

# How often progress is told, in records.
TELL = 20_000


def parser(name: str, what: str) -> argparse.ArgumentParser:
    """With the options that say where the store is."""
    made = argparse.ArgumentParser(prog=f"zcloud {name}", allow_abbrev=False, description=what)
    add_place(made)
    return made


def add_place(parser: argparse.ArgumentParser) -> None:
    """--data and --store, as zcloud serve has them."""
    parser.add_argument("--data", type=Path, default=Path("var"), help="directory of the node (default: var)")
    parser.add_argument(
        "--store", default=os.environ.get("ZCLOUD_STORE", ""), help="postgresql://… when the log lies there"
    )


def checked(options: argparse.Namespace) -> argparse.Namespace:
    """Refuses what is no store, before anything is made by opening it."""
    if options.store and not options.store.startswith(POSTGRESQL):
        raise UsageError(f"--store {options.store.partition(':')[0]}:…: must be postgresql://host/database")
    if not options.store and not (options.data / "log.db").exists():
        raise CliError(f"there is no log at {options.data / 'log.db'}; say where with --data or --store")
    return options


def opened(options: argparse.Namespace) -> Store:
    """The log of the place that is named."""
    checked(options)
    try:
        return open_store(options.data, options.store)
    except (Refused, OSError) as error:
        raise CliError(f"the store can't be opened: {error}") from None


def position_of(store: Store, option: str, text: str) -> int:
    """A position as answers give it, its number, or the newest one at a time as people write it."""
    from projections.offline import time_to_position

    if re.fullmatch(r"\d{1,15}", text):
        return int(text)
    with suppress(Refused):
        return position.decode(text, option)
    at = datetime.strptime(moment(option, text), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return time_to_position(store, int(at.timestamp() * 1_000_000))


class Progress:
    """Says on a terminal, now and then, how far it is."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._told = 0

    def __call__(self, position: int) -> None:
        if sys.stderr.isatty() and position - self._told >= TELL:
            self._told = position
            print(f"\r{self._what}: {position} events", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        """The line is over."""
        if self._told:
            print(file=sys.stderr)
