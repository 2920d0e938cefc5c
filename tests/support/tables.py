"""All that lies in the tables of read models, to be compared."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, inspect, text


def rows(engine: Engine) -> dict[str, list[Any]]:
    """Every row of every table, in an order of their own.

    Without the rows of the past: which of them are kept depends on where batches end (tests/projections hold them).
    """
    with engine.connect() as connection:
        return {
            table: sorted((tuple(row) for row in connection.execute(text(f"SELECT * FROM {table}"))), key=repr)
            for table in inspect(engine).get_table_names()
            if not table.startswith("past_")
        }
