"""Read model of a kind: its tables, the rows of a message, and how rows are written, all derived from the proto."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import Connection, MetaData, Table, delete, inspect

from projections.many import Gone, Many
from projections.schema import tables
from projections.schema.fields import root_group
from projections.schema.relations import Relation
from projections.schema.values import ListReader, RowReader, Value, clear_secrets, has_secret, list_readers
from zcloud.v1 import options_pb2

METADATA = MetaData()

# Raised when what the columns hold changes while their shape does not, so that old rows are rebuilt.
CONTENT_VERSION = 1


@dataclass(frozen=True)
class Rows:
    """All rows of one resource, ready to be written."""

    uuid: str
    row: Mapping[str, Any]
    # Rows of each side table, by its name.
    sides: Mapping[str, list[dict[str, Value]]]
    shares: tuple[str, ...]


def _is_admin_only(message_type: type[Message]) -> bool:
    """Whether QueryX is the administrator's; a kind that nobody may query is not shown to others either."""
    descriptor = message_type.DESCRIPTOR
    for service in descriptor.file.services_by_name.values():
        method = service.methods_by_name.get(f"Query{descriptor.name}")
        if method is not None:
            access = method.GetOptions().Extensions[options_pb2.rpc].access
            return access not in (options_pb2.ACCESS_ACCOUNT, options_pb2.ACCESS_PUBLIC)
    return True


class ReadModel:
    """Tables and rows of one kind, from its message's descriptor."""

    def __init__(
        self,
        message_type: type[Message],
        relations: Mapping[str, Relation] | None = None,
        indexes: Iterable[str] = (),
        metadata: MetaData | None = None,
        kind: str = "",
        orders: Iterable[str] = tables.ORDERS,
    ) -> None:
        """kind: of what is no resource, and is asked for by the query language all the same.

        orders: what its pages are ordered by where nobody asks for others.
        """
        descriptor = message_type.DESCRIPTOR
        rules = descriptor.GetOptions().Extensions[options_pb2.resource]
        if not (kind or rules.kind):
            raise ValueError(f"{descriptor.full_name} is no resource; give it the option (resource) with a kind")
        metadata = METADATA if metadata is None else metadata
        self.message_type = message_type
        self.kind = kind or rules.kind
        self.extends = rules.extends
        self.part_of = rules.part_of
        self.admin_only = _is_admin_only(message_type)
        self.relations: Mapping[str, Relation] = dict(relations or {})
        self.root = root_group(descriptor)
        self.table: Table = tables.kind_table(self.kind, self.root, metadata, indexes, self.admin_only, orders)
        # Side tables by the suffix that their list names.
        self.sides: Mapping[str, Table] = {
            member.side: tables.side_table(self.kind, member, metadata) for member in self.root.lists()
        }
        self.shares: Table = tables.share_table(metadata)
        self._row = RowReader(self.root)
        self._lists = list_readers(self.root)
        self._has_secret = has_secret(descriptor)
        self._rows = Many(self.table, replace=True)
        self._gone = Gone(self.table, "uuid")
        self._sides = {side: Many(table) for side, table in self.sides.items()}
        self._shares = Many(self.shares)
        # What is cleared before it is written: the lists, and with whom it is shared.
        self._cleared = [
            *(Gone(table, "resource_uuid") for table in self.sides.values()),
            Gone(self.shares, "resource_uuid", kind=self.kind),
        ]

    def reader(self, side: str) -> ListReader:
        """What reads a list of a message into the rows of its side table."""
        return next(reader for reader in self._lists if reader.side == side)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The kind's own tables; the table of shares belongs to all kinds."""
        return (self.table, *self.sides.values())

    @cached_property
    def fingerprint(self) -> str:
        """Changes when rows written before are no longer what would be written now."""
        text = f"{CONTENT_VERSION}\n{tables.shape((*self.tables, self.shares))}"
        return hashlib.sha256(text.encode()).hexdigest()

    def rows(
        self,
        message: Message,
        owner_uuid: str,
        shared_to_public: bool = False,
        shared_with: Iterable[str] = (),
        position: int = 0,
    ) -> Rows:
        """The rows of a resource whose last folded event is at `position`."""
        if self._has_secret:
            message = type(message).FromString(message.SerializeToString())
            clear_secrets(message)
        row: dict[str, Any] = self._row.read(message)
        uuid = row["uuid"]
        if not uuid:
            raise ValueError(f"a {self.kind} without uuid cannot be in its read model; render the uuid")
        row[tables.OWNER] = owner_uuid or None
        row[tables.PUBLIC] = int(shared_to_public)
        row[tables.POSITION] = position
        row[tables.DOC] = message.SerializeToString(deterministic=True)
        sides = {lst.side: lst.read(message, uuid) for lst in self._lists}
        return Rows(uuid, row, sides, tuple(sorted(set(shared_with))))

    def write(
        self,
        connection: Connection,
        upserts: Iterable[Rows] = (),
        deletes: Iterable[str] = (),
        fresh: Collection[str] = (),
    ) -> None:
        """Brings the tables to the given rows; of several rows of a resource the last stays.

        Deletes come first: a uuid in both was removed and created again. fresh: those of which there are no rows yet.
        """
        # In order of uuid, so that two writers lock rows in the same order.
        current = [rows for _, rows in sorted({rows.uuid: rows for rows in upserts}.items())]
        old = [rows for rows in current if rows.uuid not in fresh]
        gone = sorted(set(deletes).difference(rows.uuid for rows in current))
        before = sorted([*gone, *(rows.uuid for rows in old)])
        for cleared in self._cleared:
            cleared.execute(connection, before)
        self._gone.execute(connection, gone)
        self._rows.execute(connection, [rows.row for rows in old])
        self._rows.execute(connection, [rows.row for rows in current if rows.uuid in fresh], fresh=True)
        for side, many in self._sides.items():
            many.execute(connection, [row for rows in current for row in rows.sides[side]])
        self._shares.write(connection, [share for rows in current for share in self.shared(rows.row, rows.shares)])

    def shared(self, row: Mapping[str, Any], accounts: Iterable[str]) -> list[tuple[Any, ...]]:
        """Rows of the table of shares: for each account, and for everyone where the row says so."""
        names = (*accounts, tables.EVERYONE) if row[tables.PUBLIC] else accounts
        return [(self.kind, row["uuid"], one, *map(row.get, tables.ORDERS)) for one in names]

    def create(self, connection: Connection) -> None:
        """Makes the tables that are not there."""
        for table in (*self.tables, self.shares):
            table.create(connection, checkfirst=True)

    def drop(self, connection: Connection) -> None:
        """Drops the kind's tables, and takes its shares out of the common one."""
        for table in self.tables:
            table.drop(connection, checkfirst=True)
        if inspect(connection).has_table(self.shares.name):
            connection.execute(delete(self.shares).where(self.shares.c.kind == self.kind))
