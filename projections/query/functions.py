"""SQL for text patterns, bytewise on both stores: GLOB on SQLite (its LIKE ignores case), LIKE on PostgreSQL."""

import re
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Text, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class Matches(FunctionElement[bool]):
    """Whether a text is the literal parts in order, with anything between them."""

    type = Boolean()
    inherit_cache = True
    name = "matches"


class Contains(FunctionElement[bool]):
    """Whether a text contains another."""

    type = Boolean()
    inherit_cache = True
    name = "contains"


def _glob(part: str) -> str:
    return re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", part)


def _like(part: str) -> str:
    return re.sub(r"[%_\\]", lambda found: f"\\{found[0]}", part)


def matches(column: ColumnElement[Any], parts: tuple[str, ...]) -> ColumnElement[bool]:
    """The parts of a literal with wildcards between them; both stores' patterns go along, each takes its own."""
    glob, like = "*".join(map(_glob, parts)), "%".join(map(_like, parts))
    return Matches(column, bindparam(None, glob, type_=Text()), bindparam(None, like, type_=Text()))


def contains(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """A plain piece of text anywhere in the column's."""
    return Contains(column, bindparam(None, text, type_=Text()))


@compiles(Matches, "sqlite")
def _matches_sqlite(element: Matches, compiler: SQLCompiler, **kw: Any) -> str:
    column, glob, _ = element.clauses
    return f"({compiler.process(column, **kw)} GLOB {compiler.process(glob, **kw)})"


@compiles(Matches, "postgresql")
def _matches_postgresql(element: Matches, compiler: SQLCompiler, **kw: Any) -> str:
    column, _, like = element.clauses
    # A backslash is LIKE's escape unless told otherwise.
    return f"({compiler.process(column, **kw)} LIKE {compiler.process(like, **kw)})"


@compiles(Contains, "sqlite")
def _contains_sqlite(element: Contains, compiler: SQLCompiler, **kw: Any) -> str:
    column, text = element.clauses
    return f"(instr({compiler.process(column, **kw)}, {compiler.process(text, **kw)}) > 0)"


@compiles(Contains, "postgresql")
def _contains_postgresql(element: Contains, compiler: SQLCompiler, **kw: Any) -> str:
    column, text = element.clauses
    return f"(strpos({compiler.process(column, **kw)}, {compiler.process(text, **kw)}) > 0)"
