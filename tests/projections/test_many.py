"""Rows written set-wise are the same rows on both stores, few or many, new or in the place of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, Engine, Float, Integer, LargeBinary, MetaData, Table, select

from projections.engine import open_engine
from projections.many import CROWD, Gone, Many
from projections.schema.tables import TEXT

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("uuid", TEXT, primary_key=True),
    Column("order", BigInteger),
    Column("idx", Integer, nullable=False),
    Column("share", Float(53)),
    Column("_doc", LargeBinary, nullable=False),
    Column("text", TEXT),
)
ODD = "tab\t line\n back\\slash \\N 'quote' é 中"
Row = tuple[str, int | None, int, float | None, bytes, str | None]


def row(n: int) -> Row:
    every = n % 3 == 0
    return (
        f"{n:032x}",
        None if every else n - 2**62,
        n,
        None if every else n / 7,
        bytes([n % 256, 0, 92]),
        ODD * (n % 2),
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    address = ""
    if request.param == "postgresql":
        address = request.getfixturevalue("postgres").database()
    made = open_engine(tmp_path, address)
    metadata.create_all(made)
    yield made
    made.dispose()


def found(engine: Engine) -> list[Row]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(things).order_by(things.c.idx))]  # type: ignore[misc]


def test_few_and_many_new_and_old(engine: Engine) -> None:
    upsert, count = Many(things, replace=True), CROWD + 10
    names = [column.name for column in things.columns]
    with engine.begin() as connection:
        upsert.write(connection, [])
        upsert.write(connection, [row(n) for n in range(7)])
        upsert.execute(connection, [dict(zip(names, row(n), strict=True)) for n in range(7, count)], fresh=True)
    assert found(engine) == [row(n) for n in range(count)]
    changed: list[Row] = [(f"{n:032x}", n, n, None, b"new", None) for n in range(count)]
    with engine.begin() as connection:
        upsert.write(connection, changed)
        Gone(things, "uuid").execute(connection, [])
        Gone(things, "uuid", text="other").execute(connection, [row(1)[0]])
    assert found(engine) == changed
    with engine.begin() as connection:
        Gone(things, "uuid").execute(connection, [row(n)[0] for n in range(3, count)])
    assert found(engine) == changed[:3]
