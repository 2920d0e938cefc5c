"""How the stores answer pages: by an index that is entered where the last page ended, never by sorting all rows."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, MetaData, event

from projections.engine import open_engine
from projections.model import ReadModel
from projections.query.query import run
from projections.query.viewer import Viewer
from projections.schema.registry import ReadModels
from tests.support.postgres import PostgresCluster
from zcloud.v1 import vm_instance_pb2 as pb

ADMIN = Viewer("f" * 32, is_admin=True)
MACHINES = 3_000
HOST = "8" * 32
FILTERS = {
    "own fields": "state = Running AND cpu_num >= 2",
    "list": 'state = Running AND vm_nics.ip : "10."',
    "relation": "cpu_num >= 2 AND NOT image.platform = Linux",
}
ORDERS = ("", "name", "name desc", "create_date", "create_date desc")


def machine(n: int) -> pb.VmInstance:
    vm = pb.VmInstance(uuid=f"{n * 7919 % MACHINES:032x}", name=f"web-{n:05}" if n % 50 else "", cpu_num=n % 4)
    vm.state = pb.VmInstance.STATE_RUNNING if n % 3 else pb.VmInstance.STATE_STOPPED
    vm.host_uuid = HOST if n % 500 == 0 else f"{n % 40:032x}"
    vm.create_date.seconds = 1_700_000_000 + n
    vm.vm_nics.add(ip=f"10.0.{n >> 8}.{n & 255}")
    return vm


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres: PostgresCluster
) -> Iterator[tuple[Connection, ReadModels, ReadModel]]:
    address = postgres.database() if request.param == "postgresql" else ""
    engine, models = open_engine(tmp_path_factory.mktemp("plans"), address), ReadModels.of_api(MetaData())
    with engine.begin() as connection:
        for model in models:
            model.create(connection)
        model = models["vm_instance"]
        model.write(connection, [model.rows(machine(n), "") for n in range(MACHINES)])
    if address:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
    with engine.connect() as connection:
        yield connection, models, model
    engine.dispose()


def plans(connection: Connection, models: ReadModels, model: ReadModel, filter: str, order: str) -> list[str]:
    """Of the first page, and of every statement of one from the middle."""
    found: list[str] = []
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "

    def before(_c: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        with contextlib.closing(connection.connection.cursor()) as asking:
            asking.execute(explain + statement, parameters)
            found.append("\n".join(str(row[-1]) for row in asking.fetchall()))

    token = ""
    for _ in range(12):
        token = run(
            connection, model, models, viewer=ADMIN, filter=filter, order_by=order, page_size=50, page_token=token
        ).next_page_token
    event.listen(connection, "before_cursor_execute", before)
    try:
        for at in ("", token):
            run(connection, model, models, viewer=ADMIN, filter=filter, order_by=order, page_size=50, page_token=at)
    finally:
        event.remove(connection, "before_cursor_execute", before)
    return found


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
def test_pages_are_read_in_the_order_of_an_index(
    filled: tuple[Connection, ReadModels, ReadModel], filter: str, order: str
) -> None:
    """ARC-14"""
    connection, models, model = filled
    first, *later = plans(connection, models, model, filter, order)
    column = order.partition(" ")[0]
    index = f"ix_vm_instance_by_{column}" if column else "(autoindex_vm_instance_1|vm_instance_pkey)"
    for plan in (first, *later):
        assert re.search(index, plan), plan
        # Only what is the same in the first key may be sorted, by the uuid.
        assert "TEMP B-TREE FOR ORDER BY" not in plan
        assert not re.search(r"(?<!Incremental )Sort  \(cost", plan), plan
    entered = r"SEARCH vm_instance USING INDEX" if connection.dialect.name == "sqlite" else "Index Cond"
    assert re.search(entered, later[0]), later[0]


def test_what_is_on_a_host_is_found_by_the_host(filled: tuple[Connection, ReadModels, ReadModel]) -> None:
    connection, models, model = filled
    for order in ORDERS:
        plan = plans(connection, models, model, f"host_uuid = {HOST} AND state = Running", order)[0]
        assert "ix_vm_instance_host_uuid" in plan, plan
