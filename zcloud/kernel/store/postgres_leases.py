"""Members, leases and agents' sessions in PostgreSQL, by its clock, on a connection that nothing else waits for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import psycopg

from zcloud.kernel.leases import Member, Replaced
from zcloud.kernel.store import postgres_schema as schema
from zcloud.kernel.store.connections import Connections, translated

_JOIN = (
    "INSERT INTO members AS m (name, instance, expires, facts, position)"
    " VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s), %s, (SELECT h.position FROM head h))"
    " ON CONFLICT (name) DO UPDATE"
    " SET instance=excluded.instance, expires=excluded.expires, facts=excluded.facts, seen=clock_timestamp(),"
    " position=excluded.position,"
    " started=CASE WHEN m.instance=excluded.instance THEN m.started ELSE clock_timestamp() END"
)
# A node that was away for long finds its row gone, and no other's in its place.
_BEAT = _JOIN + " WHERE m.instance=excluded.instance"
_MEMBERS = (
    "SELECT m.name, m.instance, m.expires > clock_timestamp(), (extract(epoch FROM m.started)*1000000)::bigint,"
    " (extract(epoch FROM m.seen)*1000000)::bigint, m.facts,"
    " ARRAY(SELECT l.part FROM leases l WHERE l.owner=m.instance ORDER BY l.part), m.position"
    " FROM members m ORDER BY m.name"
)


class PostgresLeases:
    """The kernel's LeaseTable; a heartbeat must not wait for readers."""

    def __init__(self, address: str) -> None:
        self._leases = Connections(address, schema.NAME, 1)
        self._sessions = Connections(address, schema.NAME, 1)

    def close(self) -> None:
        """Let go of the connections."""
        self._leases.close()
        self._sessions.close()

    def _do(self, statement: str, values: Sequence[Any] = (), pool: Connections | None = None) -> tuple[int, list[Any]]:
        """Rows that were changed, and what was read; once more when the connection had died while it was idle."""
        with translated():
            try:
                return _once(pool or self._leases, statement, values)
            except psycopg.OperationalError:
                return _once(pool or self._leases, statement, values)

    # -- leases

    def beat(self, name: str, instance: str, seconds: float, facts: dict[str, Any], *, join: bool) -> list[Member]:
        changed, _ = self._do(_JOIN if join else _BEAT, (name, instance, seconds, json.dumps(facts)))
        if not changed:
            raise Replaced(name)
        return self.members()

    def take(self, instance: str, wanted: frozenset[int]) -> dict[int, int]:
        return dict(self._do("SELECT owned, its_epoch FROM take_leases(%s, %s::int[])", (instance, sorted(wanted)))[1])

    def leave(self, name: str, instance: str) -> None:
        self._do("UPDATE leases SET owner='' WHERE owner=%s", (instance,))
        self._do("DELETE FROM agent_sessions WHERE instance=%s", (instance,))
        self._do("DELETE FROM members WHERE name=%s AND instance=%s", (name, instance))

    def members(self) -> list[Member]:
        rows = self._do(_MEMBERS)[1]
        return [
            Member(name, instance, alive, started, seen, json.loads(facts), tuple(parts), position)
            for name, instance, alive, started, seen, facts, parts, position in rows
        ]

    # -- agents' sessions

    def session_opened(self, host_uuid: str, instance: str) -> None:
        """The newest session of a host is with this process."""
        self._do(
            "INSERT INTO agent_sessions VALUES (%s, %s)"
            " ON CONFLICT (host_uuid) DO UPDATE SET instance=excluded.instance",
            (host_uuid, instance),
            self._sessions,
        )

    def session_closed(self, host_uuid: str, instance: str) -> None:
        """If it was the newest."""
        statement = "DELETE FROM agent_sessions WHERE host_uuid=%s AND instance=%s"
        self._do(statement, (host_uuid, instance), self._sessions)

    def session_of(self, host_uuid: str) -> str:
        """The living process that has the host's session; empty when none has."""
        rows = self._do(
            "SELECT s.instance FROM agent_sessions s JOIN members m ON m.instance=s.instance"
            " AND m.expires > clock_timestamp() WHERE s.host_uuid=%s",
            (host_uuid,),
            self._sessions,
        )[1]
        return str(rows[0][0]) if rows else ""


def _once(pool: Connections, statement: str, values: Sequence[Any]) -> tuple[int, list[Any]]:
    with pool.use() as c:
        done = c.execute(statement.encode(), values)
        return done.rowcount, done.fetchall() if done.description else []
