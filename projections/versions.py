"""Rows as they were: the follower keeps what it overwrites, with the positions from and until which it was right.

A row of a kind's table is right from its `_position` on; when it is overwritten it goes to the table of the kind's
past, until the first event that made it wrong. The follower writes one row for all of a resource's events in a batch:
what was between the first of them and the last is a gap, and is folded from the resource's streams when it is asked
for. While the follower keeps up, batches are small, and there are hardly any gaps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    MetaData,
    Select,
    Table,
    bindparam,
    cast,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.functions import aggregate_strings

from projections.many import Many
from projections.model import ReadModel
from projections.schema.registry import ReadModels
from projections.schema.tables import EVERYONE, POSITION, TEXT, identifier
from zcloud.kernel.aggregate import kinds
from zcloud.kernel.resource import Resource

# Besides the columns of the kind's table.
SHARES, UNTIL = "_shared_with", "_until"
# Rows that are fetched at a time.
BATCH = 2000


class Versions:
    """The past of all read models."""

    def __init__(self, models: ReadModels) -> None:
        self._metadata = MetaData()
        self._tables = {model.kind: self._past(model) for model in models}
        self.gaps = Table(
            "past_gap",
            self._metadata,
            Column("resource_uuid", TEXT, nullable=False),
            Column("kind", TEXT, nullable=False),
            Column("since", BigInteger, nullable=False),
            Column("until", BigInteger, nullable=False),
        )
        Index("ix_past_gap", self.gaps.c.until, self.gaps.c.since)
        self._leave = Many(self.gaps)
        # Statements are made once: building one costs more than running it on a few rows.
        self._keep = {(model.kind, d): self._keeping(model, d) for model in models for d in ("sqlite", "postgresql")}

    def _past(self, model: ReadModel) -> Table:
        columns = [Column(c.name, c.type, nullable=c.nullable) for c in model.table.columns]
        own = [Column(SHARES, TEXT), Column(UNTIL, BigInteger, nullable=False)]
        table = Table(identifier(f"past__{model.kind}"), self._metadata, *columns, *own)
        # What was right at a position is found without a look at what was over by then.
        Index(identifier(f"ix_past_{model.kind}"), table.c[UNTIL], table.c[POSITION])
        return table

    @property
    def fingerprint(self) -> str:
        """Changes when what was kept before is no longer what would be kept now."""
        return hashlib.sha256(b"past 2").hexdigest()

    # -- the follower's

    @property
    def tables(self) -> list[Table]:
        """Of every kind, and of the gaps."""
        return [*self._tables.values(), self.gaps]

    def keep(self, connection: Connection, model: ReadModel, until: Mapping[str, int]) -> None:
        """Before rows of these resources are overwritten or deleted: each is right until its position."""
        if until:
            statement = self._keep[model.kind, connection.dialect.name]
            connection.execute(statement, {"until": msgspec.json.encode(until).decode()})

    def leave(self, connection: Connection, gaps: Sequence[tuple[str, str, int, int]]) -> None:
        """Resources, each with a kind as which it lived, of which no row says what they were from when until when."""
        self._leave.write(connection, gaps)

    def _keeping(self, model: ReadModel, dialect: str) -> Any:
        given: Any = bindparam("until", type_=TEXT)
        if dialect == "sqlite":
            pairs = func.json_each(given).table_valued("key", "value", name="ends")
        else:
            pairs = func.jsonb_each_text(cast(given, JSONB)).table_valued("key", "value", name="ends")
        statement = _with_shares(model, cast(pairs.c.value, BigInteger))
        statement = statement.join_from(pairs, model.table, model.table.c.uuid == pairs.c.key)
        past = self._tables[model.kind]
        return insert(past).from_select(list(past.c.keys()), statement, include_defaults=False)

    # -- the reader's

    def rows_at(self, connection: Connection, model: ReadModel, position: int) -> Iterator[Sequence[Any]]:
        """Rows of the kind that were right at a position: its columns, and with whom it was shared."""
        past = self._tables[model.kind]
        ended = select(*(past.c[c.name] for c in model.table.columns), past.c[SHARES])
        ended = ended.where(past.c[UNTIL] > position, past.c[POSITION] <= position)
        lasting = _with_shares(model).where(model.table.c[POSITION] <= position)
        for statement in (ended, lasting):
            yield from connection.execution_options(yield_per=BATCH).execute(statement)

    def gaps_at(self, connection: Connection, shown: Collection[str], position: int) -> list[str]:
        """Resources that must be folded to know what was shown at a position as one of these kinds."""
        gaps = self.gaps.c
        statement = select(gaps.resource_uuid).where(gaps.until > position, gaps.since <= position)
        statement = statement.where(gaps.kind.in_(sorted(shown_kinds(shown)))).distinct()
        return list(connection.execute(statement).scalars())


@lru_cache(maxsize=2)
def versions_of(models: ReadModels) -> Versions:
    """The past of these: one for all who read and write it, since it is nothing but tables and statements."""
    return Versions(models)


def shown_kinds(shown_as: Collection[str]) -> set[str]:
    """The kinds of resources that are shown as one of these."""
    wanted = set(shown_as)
    return {cls.kind for cls in kinds().values() if issubclass(cls, Resource) and not wanted.isdisjoint(cls.kinds)}


def _with_shares(model: ReadModel, *more: Any) -> Select[Any]:
    shares = model.shares.c
    names = select(aggregate_strings(shares.account_uuid, " "))
    names = names.where(
        shares.kind == model.kind, shares.resource_uuid == model.table.c.uuid, shares.account_uuid != EVERYONE
    )
    return select(*model.table.columns, names.scalar_subquery(), *more)


def shared_with(text: str | None) -> Iterable[str]:
    """The accounts of a row's shares."""
    return text.split() if text else ()
