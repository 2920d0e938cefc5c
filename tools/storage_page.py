"""Writes the parts of docs/storage.md that the code says: states, what goes together, settings.

Each stands between a line <!-- code: name --> and the next <!-- end -->.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from zcloud.domain.operations.resource_config import levels_of
from zcloud.domain.operations.settings import KNOWN
from zcloud.domain.storage.backup_storage import BackupStorageStatus
from zcloud.domain.storage.primary_storage_state import GROWS, SERVES, TABLE, TAKES_NEW, PrimaryStorageState
from zcloud.domain.storage.status import Status, StorageStatus
from zcloud.domain.storage.storage_combinations import PAIRS, SEVERAL
from zcloud.domain.storage.storage_matrix import MATRIX

PAGE = Path(__file__).parents[1] / "docs" / "storage.md"
_PART = re.compile(r"(<!-- code: ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def diagram(first: str, moves: Iterable[tuple[str, str, str]]) -> str:
    """A state diagram; moves that lead nowhere else are left out."""
    arrows = [f"    {before} --> {to}: {event}" for before, event, to in moves if before != to]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first}", *arrows, "```"])


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """As Markdown has it."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def primary_storage_states() -> str:
    """The table of transitions."""
    return diagram("Enabled", ((state.value, event.value, to.value) for (state, event), to in TABLE.items()))


def primary_storage_rights() -> str:
    """What callers may do in which state."""
    head = ("State", "something new comes to lie there", "what lies there grows", "what lies there is used or removed")
    sets = (TAKES_NEW, GROWS, SERVES)
    known = [state for state in PrimaryStorageState if state is not PrimaryStorageState.DELETING]
    return table(head, ((state.value, *("yes" if state in one else "no" for one in sets)) for state in known))


def storage_status() -> str:
    """Tried: each command in each status."""
    commands: dict[str, Callable[[StorageStatus], None]] = {
        "a connect begins": lambda it: it.connecting(),
        "the connect is complete": lambda it: it.connected(),
        "it failed, or pings are lost": lambda it: it.disconnected("-"),
    }
    moves = []
    for before in Status:
        for words, command in commands.items():
            it = BackupStorageStatus.blank("0" * 32, version=1)
            it.status = before
            command(it)
            moves.append((before.value, words, it.status.value))
    return diagram(Status.CONNECTING.value, moves)


def storage_matrix() -> str:
    """By primary storage."""
    backups = sorted({backup for row in MATRIX.values() for backup in row})
    rows = ((primary, *("yes" if b in row else "no" for b in backups)) for primary, row in MATRIX.items())
    return table(("", *backups), rows)


def storage_combinations() -> str:
    """On one cluster."""
    alone = sorted({kind for pair in PAIRS for kind in pair} - set(SEVERAL))
    lines = [*(f"- several {kind}" for kind in SEVERAL), *(f"- one {kind}" for kind in alone)]
    return "\n".join(lines + [f"- one {' and one '.join(sorted(pair))}" for pair in PAIRS])


def settings() -> str:
    """Of storages, with who may have a value of its own."""
    rows = (
        (f"{s.category}/{s.name}", s.default, ", ".join(levels_of(s)) or "-", s.description)
        for s in KNOWN
        if s.category in ("primaryStorage", "backupStorage")
    )
    return table(("Setting", "Default", "Own value for", "Meaning"), rows)


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part
    for part in (
        primary_storage_states,
        primary_storage_rights,
        storage_status,
        storage_matrix,
        storage_combinations,
        settings,
    )
}


def written(text: str) -> str:
    """The page with every part as the code has it now."""
    return _PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}\n{found[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
