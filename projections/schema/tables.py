"""Tables of a read model: one for the kind, one beside it for each list, one of shares for all kinds."""

import hashlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeEngine

from projections.schema.fields import Field, FieldType, Group, Member

# Bookkeeping columns start with an underscore, since a resource may have a field of the same name
# (InstanceOffering.shared_to_public).
DOC, OWNER, PUBLIC, POSITION = "_doc", "_owner_uuid", "_shared_to_public", "_position"

# With whom a resource is shared that is shared with everyone: no account has this uuid.
EVERYONE = "*"
# Says of an index that it is for pages of an account's own resources.
OWN = "own"

# What pages are mostly ordered by.
ORDERS = ("name", "create_date")

# PostgreSQL cuts longer names off.
MAX_IDENTIFIER = 63

# SQLite compares text bytewise by itself; PostgreSQL does so with the collation C.
TEXT: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")

_TYPES: dict[FieldType, TypeEngine] = {
    FieldType.TEXT: TEXT,
    FieldType.ENUM: TEXT,
    FieldType.INTEGER: BigInteger(),
    FieldType.TIME: BigInteger(),
    FieldType.DURATION: BigInteger(),
    FieldType.BOOLEAN: Integer(),
    FieldType.NUMBER: Float(53),
}


def identifier(name: str) -> str:
    """The name, or a shorter one as distinct, where the store would cut it off."""
    if len(name) <= MAX_IDENTIFIER:
        return name
    return f"{name[: MAX_IDENTIFIER - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _index(table: Table, *columns: str) -> None:
    Index(identifier("ix_" + "_".join((table.name, *columns)).replace("__", "_")), *(table.c[c] for c in columns))


class _AbsentFirst(ColumnElement[Any]):
    """A column in an index, what is absent first, as every order has it; PostgreSQL would put it last."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        self.column = column
        self.type = column.type

    @property
    def _from_objects(self) -> Any:
        return self.column._from_objects


@compiles(_AbsentFirst)
def _plain(element: Any, compiler: Any, **how: Any) -> str:
    return str(compiler.process(element.column, **how))


@compiles(_AbsentFirst, "postgresql")
def _nulls_first(element: Any, compiler: Any, **how: Any) -> str:
    return f"{compiler.process(element.column, **how)} NULLS FIRST"


def _order_index(table: Table, column: str) -> None:
    """For pages in the order of a column, and of the uuid where it is the same."""
    name = identifier(f"ix_{table.name}_by_{column}")
    Index(name, _AbsentFirst(table.c[column]), table.c.uuid, _table=table)


def _own_indexes(table: Table, orders: Iterable[str]) -> None:
    """The same, of what is an account's own."""
    owner = table.c[OWNER]
    if orders is ORDERS:  # else nobody asks for pages without an order
        Index(identifier(f"ix_{table.name}_own"), owner, table.c.uuid, info={OWN: True})
    for column in orders:
        if column in table.c:
            name = identifier(f"ix_{table.name}_own_by_{column}")
            Index(name, owner, _AbsentFirst(table.c[column]), table.c.uuid, info={OWN: True})


def _column(field: Field) -> Column:
    return Column(field.column, _TYPES[field.type])


def kind_table(
    kind: str,
    root: Group,
    metadata: MetaData,
    indexes: Iterable[str],
    admin_only: bool,
    orders: Iterable[str] = ORDERS,
) -> Table:
    """The table of a kind; references are indexed, usual orders, and what the kind asks for besides.

    admin_only: nobody asks for what is its own. orders: what pages are ordered by where those of a kind are others.
    """
    columns = [_column(field) for field in root.fields() if field.name != "uuid"]
    table = Table(
        identifier(kind),
        metadata,
        Column("uuid", TEXT, primary_key=True),
        *columns,
        Column(OWNER, TEXT),
        Column(PUBLIC, Integer, nullable=False),
        Column(POSITION, BigInteger, nullable=False),
        Column(DOC, LargeBinary, nullable=False),
    )
    indexed = [c.name for c in columns if c.name.endswith("_uuid")]
    for name in dict.fromkeys([*indexed, *indexes]):
        _index(table, name)
    if admin_only:
        _index(table, OWNER)
    else:
        _own_indexes(table, orders)
    for name in orders:
        if name in table.c:
            _order_index(table, name)
    return table


def side_table(kind: str, member: Member, metadata: MetaData) -> Table:
    """The table of a list: a row for each element, in order."""
    columns = [_column(f) for f in member.fields()] if isinstance(member, Group) else [_column(member)]
    table = Table(
        identifier(f"{kind}__{member.side}"),
        metadata,
        Column("resource_uuid", TEXT, primary_key=True),
        Column("idx", Integer, primary_key=True, autoincrement=False),
        *columns,
    )
    for column in columns:
        if column.name == "value" or column.name.endswith("_uuid"):
            _index(table, column.name)
    return table


def share_table(metadata: MetaData) -> Table:
    """Which accounts a resource is shared with, or everyone, and what pages of these are mostly ordered by.

    The kind is part of the key: the two rows of a resource that extends another one (sftp_backup_storage and
    backup_storage) are dropped and refilled apart.
    """
    if "resource_share" in metadata.tables:
        return metadata.tables["resource_share"]
    table = Table(
        "resource_share",
        metadata,
        Column("kind", TEXT),
        Column("resource_uuid", TEXT),
        Column("account_uuid", TEXT),
        Column("name", TEXT),
        Column("create_date", BigInteger),
        # In the order in which an account's are read.
        PrimaryKeyConstraint("account_uuid", "kind", "resource_uuid"),
    )
    _index(table, "resource_uuid", "kind")
    for column in ORDERS:
        ordered = (_AbsentFirst(table.c[column]), table.c.resource_uuid)
        Index(f"ix_resource_share_by_{column}", table.c.account_uuid, table.c.kind, *ordered)
    return table


def shape(tables: Iterable[Table]) -> str:
    """The tables' shape in words, equal while their rows may stay as they are."""
    lines: list[str] = []
    for table in tables:
        lines.append(f"table {table.name}")
        lines += [f"  {c.name} {c.type!r} {c.primary_key} {c.nullable}" for c in table.columns]
        lines += sorted(f"  {i.name} {[getattr(c, 'name', '') for c in i.expressions]}" for i in table.indexes)
    return "\n".join(lines)
