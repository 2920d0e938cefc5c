"""Answers queries from read models: filter, order, page, mask and count, for one viewer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from sqlalchemy import ColumnElement, CompoundSelect, Connection, Select, and_, func, select, true, union_all

from projections.model import ReadModel
from projections.query import token
from projections.query.compiler import Compiler
from projections.query.errors import QueryError
from projections.query.mask import apply, parse_mask
from projections.query.order import Key, parse_order, signature, stretches
from projections.query.parser import parse
from projections.query.portions import Portion, portions
from projections.query.viewer import Viewer, visible
from projections.schema.registry import ReadModels
from projections.schema.tables import DOC
from projections.schema.values import Value

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


@dataclass(frozen=True)
class Page:
    """One page of an answer."""

    message_type: type[Message]
    # The resources as stored, whole whatever the mask; what needs no messages can send them as they are.
    documents: Sequence[bytes]
    mask: FieldMask | None
    # All that match, on all pages; None unless it was asked for.
    total: int | None
    # Empty on the last page.
    next_page_token: str

    @cached_property
    def messages(self) -> list[Message]:
        """The resources, with the fields that the mask names."""
        whole = [self.message_type.FromString(document) for document in self.documents]
        return whole if self.mask is None else [apply(self.mask, message) for message in whole]


def page_size_of(size: int) -> int:
    """How many are asked for."""
    if not 0 <= size <= MAX_PAGE_SIZE:
        raise QueryError("page_size", f"page_size is {size}; it lies between 0 and {MAX_PAGE_SIZE}")
    return size or DEFAULT_PAGE_SIZE


def condition(
    model: ReadModel, models: ReadModels, filter: str, viewer: Viewer, now: int | None = None
) -> ColumnElement[bool]:
    """What the viewer may see of the kind and the filter admits, as a condition on the kind's table."""
    return and_(visible(model, models, model.table, viewer), admitted(model, models, filter, viewer, now))


def admitted(
    model: ReadModel, models: ReadModels, filter: str, viewer: Viewer, now: int | None = None
) -> ColumnElement[bool]:
    """What the filter admits, of what the viewer sees."""
    node = parse(filter)
    return true() if node is None else Compiler(model, models, viewer, now).compile(node)


def _last(connection: Connection, model: ReadModel, keys: Sequence[Key], page_token: str, query: str) -> list[Value]:
    """The values of the row that the last page ended with."""
    uuid, values = token.decode(page_token, query, keys)
    if values is None:
        row = connection.execute(select(*(key.column for key in keys)).where(model.table.c.uuid == uuid)).one_or_none()
        if row is None:
            raise token.gone(model.kind, uuid)
        values = list(row)
    return values


def run(
    connection: Connection,
    model: ReadModel,
    models: ReadModels,
    *,
    viewer: Viewer,
    filter: str = "",
    order_by: str = "",
    page_size: int = 0,
    page_token: str = "",
    read_mask: FieldMask | None = None,
    count: bool = False,
    now: int | None = None,
    within: ColumnElement[bool] | None = None,
    scope: str = "",
) -> Page:
    """One page of what matches; `now`, in microseconds, is what a time such as -24h in the filter counts from.

    within: a condition of our own besides the filter; scope names it, since a page token is good for one question.
    """
    size = page_size_of(page_size)
    keys = parse_order(model, order_by)
    mask = parse_mask(model.message_type, read_mask)
    where = and_(admitted(model, models, filter, viewer, now), true() if within is None else within)
    seen = portions(model, models, viewer)
    query = token.query_hash(model.kind, f"{filter.strip()}{scope}", signature(keys))
    last = _last(connection, model, keys, page_token, query) if page_token else None
    rows: list[Any] = []
    for stretch in range(1 if last is None else len(stretches(keys, last))):
        # One more than the page tells whether there is a next one.
        rows += connection.execute(_in_order(seen, where, keys, last, stretch, size + 1 - len(rows))).all()
        if len(rows) > size:
            break
    following = ""
    if len(rows) > size:
        rows = rows[:size]
        end: tuple[Value, ...] = tuple(rows[-1])
        following = token.encode(query, str(end[1]), end[2:])
    total = None
    if count:
        total = sum(
            connection.execute(select(func.count()).select_from(one.source).where(one.seen, where)).scalar_one()
            for one in seen
        )
    return Page(model.message_type, [row[0] for row in rows], mask, total, following)


def _in_order(
    seen: Sequence[Portion],
    where: ColumnElement[bool],
    keys: Sequence[Key],
    last: Sequence[Value] | None,
    stretch: int,
    limit: int,
) -> Select[Any] | CompoundSelect[Any]:
    """So many documents with their uuids and keys, of a stretch behind the last ones: the first of each portion's."""
    names = [f"k{n}" for n in range(len(keys))]
    found = []
    for portion in seen:
        own = portion.keys(keys)
        columns = [key.column.label(name) for key, name in zip(own, names, strict=True)]
        statement = select(portion.table.c[DOC], portion.table.c.uuid, *columns).select_from(portion.source)
        statement = statement.where(portion.seen, where).order_by(*(key.clause() for key in own)).limit(limit)
        found.append(statement if last is None else statement.where(stretches(own, last)[stretch]))
    if len(found) == 1:
        return found[0]
    # SQLite takes no order within a union but that of a subquery.
    together = union_all(*(select(one.subquery()) for one in found))
    return together.order_by(*(key.clause(name) for key, name in zip(keys, names, strict=True))).limit(limit)


def get(connection: Connection, model: ReadModel, models: ReadModels, uuid: str, viewer: Viewer) -> Message | None:
    """The resource, or None where there is none that the viewer may see."""
    table = model.table
    statement = select(table.c[DOC]).where(table.c.uuid == uuid, visible(model, models, table, viewer))
    document = connection.execute(statement).scalar_one_or_none()
    return None if document is None else model.message_type.FromString(document)
