"""Tables under other names, for what is asked of them inside a query: made once, since each copies all columns."""

from functools import lru_cache

from sqlalchemy import FromClause, Table


@lru_cache(4096)
def alias_of(table: Table, depth: int, role: str = "") -> FromClause:  # noqa: ARG001 - they tell aliases apart
    """The table's name at a depth of subqueries.

    Subqueries side by side may share one; none may have that of a query around it, whose rows it would mean.
    """
    made = table.alias()
    assert made.c is not None  # its columns are made at the first look: here, once, whichever thread asks
    return made
