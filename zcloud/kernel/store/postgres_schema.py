"""Makes the log's schema in PostgreSQL, once, whoever comes first; refuses a server that forgets what it confirmed."""

from __future__ import annotations

from pathlib import Path

import psycopg

from zcloud.kernel.store.connections import Impatient, conninfo

NAME = "zcloud"
# One statement text for each version of the schema, in order; a released one is never edited.
FILES = "postgres.sql", "postgres_leases.sql", "postgres_checkpoints.sql"
MIGRATIONS = tuple(Path(__file__).with_name(name).read_text() for name in FILES)
# Every node takes this lock before it looks: of those that start together one migrates and the others wait.
LOCK = 0x7A636C6F7564
WAIT_SECONDS = 120.0


def prepare(address: str) -> None:
    """Bring the schema to the newest version."""
    with Impatient.connect(conninfo(address, NAME, WAIT_SECONDS)) as connection:
        connection.silence = WAIT_SECONDS
        _check_durable(connection)
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {NAME}")
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (version integer PRIMARY KEY)")
        row = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()
        assert row is not None
        if row[0] > len(MIGRATIONS):
            raise psycopg.NotSupportedError(
                f"the log's schema is at version {row[0]}, newer than this program's {len(MIGRATIONS)}"
            )
        for version, text in enumerate(MIGRATIONS[row[0] :], row[0] + 1):
            connection.execute(text.encode())
            connection.execute("INSERT INTO migrations VALUES (%s)", (version,))
        # Writers that are no more; one that is only paused is told so by its next batch.
        connection.execute("DELETE FROM writers WHERE seen < now() - interval '7 days'")
        connection.execute("DELETE FROM members WHERE expires < now() - interval '1 day'")


def _check_durable(connection: Impatient) -> None:
    settings = dict(
        connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')"
        ).fetchall()
    )
    wanted = {"fsync": ("on",), "full_page_writes": ("on",), "synchronous_commit": ("on", "remote_apply")}
    for name, right in wanted.items():
        if settings[name] not in right:
            raise psycopg.NotSupportedError(
                f"the database has {name} = {settings[name]} and would forget what it confirmed;"
                f" set it to {' or '.join(right)}"
            )
