"""Whose work was whose, as PostgreSQL itself has seen it: what nodes say of their leases is not believed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from tests.faults.cluster.child import NOTES
from tests.faults.cluster.nodes import Nodes

# An epoch grows under the lock of the head: what lies after that position was written under it.
_WATCH = (
    "BEGIN",
    # As nodes do that take leases: first these, then the head; the other way round each would wait for the other.
    "LOCK TABLE leases IN SHARE ROW EXCLUSIVE MODE",
    "SELECT FROM head FOR UPDATE",
    "CREATE TABLE test_owners (id bigserial PRIMARY KEY, part int, epoch bigint, name text, position bigint)",
    """CREATE FUNCTION test_note_owner() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO test_owners (part, epoch, name, position) SELECT NEW.part, NEW.epoch,
        (SELECT m.name FROM members m WHERE m.instance = NEW.owner), h.position FROM head h;
        RETURN NULL;
    END $$""",
    """CREATE TRIGGER test_owners AFTER UPDATE ON leases FOR EACH ROW
        WHEN (NEW.epoch <> OLD.epoch) EXECUTE FUNCTION test_note_owner()""",
    """INSERT INTO test_owners (part, epoch, name, position) SELECT l.part, l.epoch,
        (SELECT m.name FROM members m WHERE m.instance = l.owner), h.position FROM leases l, head h ORDER BY l.part""",
    "COMMIT",
)


class Owners:
    """Watches from now on."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        with self._connected() as connection:
            for statement in _WATCH:
                connection.execute(statement.encode())
            row = connection.execute("SELECT position FROM head").fetchone()
        assert row is not None
        self._begin = row[0]

    def _connected(self) -> psycopg.Connection[Any]:
        """With the server that writes now."""
        address = make_conninfo(self._nodes.store, options="-c search_path=zcloud")
        return psycopg.connect(address, autocommit=True, target_session_attrs="read-write")

    def violations(self) -> Iterator[str]:
        """I5: what is decided about shared work is written by whoever owns it then, by its newest lease."""
        grants: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
        asked = "SELECT part, position, epoch, name FROM test_owners ORDER BY id"
        with self._connected() as connection:
            found = connection.execute(asked).fetchall()
        for part, *grant in found:
            grants[part].append((grant[0], grant[1], grant[2]))
        for name in self._nodes.names:
            for line in (self._nodes.base / name / NOTES).read_text().splitlines():
                position, part, epoch = map(int, line.split())
                if position <= self._begin:
                    continue
                _, newest, owner = [grant for grant in grants[part] if grant[0] < position][-1]
                if owner != name:
                    yield f"I5: what was {owner}'s was decided by {name}: event {position}, partition {part}"
                elif epoch not in (newest, -1):
                    yield f"I5: {name} decided event {position} by lease {epoch} of {part}, and had {newest}"
                elif epoch < 0:
                    yield f"I5: {name} wrote intent {position} without a fence"
