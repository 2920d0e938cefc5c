"""How the stores answer pages: by an index that is entered where the last page ended, never by sorting all rows."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, event

from projections.engine import open_engine, reading
from projections.model import ReadModel
from projections.query.query import run
from projections.query.viewer import Viewer
from projections.schema.registry import ReadModels
from tests.support.postgres import PostgresCluster
from zcloud.v1 import vm_instance_pb2 as pb

ADMIN = Viewer("f" * 32, is_admin=True)
# A third of the machines are the one's, five the other's, who sees a hundred more.
MANY, FEW, OTHER = Viewer("a" * 32), Viewer("b" * 32), Viewer("c" * 32)
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


def whose(n: int) -> tuple[str, bool, list[str]]:
    """Its owner, whether everyone sees it, and who else does."""
    owner = MANY if n % 3 == 0 else FEW if n % 600 == 1 else OTHER
    shared = [FEW.account_uuid] * (n % 30 == 2) + ["d" * 32] * (n % 2)
    return owner.account_uuid, n % 300 == 7, shared


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres: PostgresCluster
) -> Iterator[tuple[Connection, ReadModels, ReadModel]]:
    address = postgres.database() if request.param == "postgresql" else ""
    engine, models = reading(open_engine(tmp_path_factory.mktemp("plans"), address)), ReadModels.of_api()
    with engine.begin() as connection:
        for model in models:
            model.create(connection)
        model = models["vm_instance"]
        model.write(connection, [model.rows(machine(n), *whose(n)) for n in range(MACHINES)])
    if address:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
    with engine.connect() as connection:
        yield connection, models, model
    engine.dispose()


def plans(
    connection: Connection, models: ReadModels, model: ReadModel, filter: str, order: str, viewer: Viewer = ADMIN
) -> list[str]:
    """Of the first page, and of every statement of one from the middle."""
    found: list[str] = []
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "

    def before(_c: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        with contextlib.closing(connection.connection.cursor()) as asking:
            asking.execute(explain + statement, parameters)
            found.append("\n".join(str(row[-1]) for row in asking.fetchall()))

    def ask(token: str) -> str:
        asked = {"filter": filter, "order_by": order, "page_size": 50 if viewer in (ADMIN, MANY) else 10}
        return run(connection, model, models, viewer=viewer, page_token=token, **asked).next_page_token  # type: ignore[arg-type]

    token = ""
    for _ in range(12 if viewer is ADMIN else 3):
        token = ask(token)
    event.listen(connection, "before_cursor_execute", before)
    try:
        for at in ("", token):
            ask(at)
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


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("viewer", [MANY, FEW], ids=["many", "few"])
def test_pages_of_an_account_are_read_by_whose_they_are(
    filled: tuple[Connection, ReadModels, ReadModel], viewer: Viewer, order: str
) -> None:
    """Its own by the owner, all else by whom it is shared with, both in the order of the page: nothing else is read.

    ARC-14
    """
    connection, models, model = filled
    by = f"_by_{order.partition(' ')[0]}" if order else ""
    for plan in plans(connection, models, model, "cpu_num >= 2", order, viewer):
        if connection.dialect.name == "sqlite":
            read = [line for line in plan.splitlines() if re.search(" (vm_instance|resource_share) ", line)]
            index = f"ix_resource_share{by}" if by else "sqlite_autoindex_resource_share_1"
            shared = rf"SEARCH resource_share USING COVERING INDEX {index} \(account_uuid=\? AND kind=\?"
            single = r"SEARCH vm_instance USING INDEX sqlite_autoindex_vm_instance_1 \(uuid=\?\)"
            wanted = [rf"SEARCH vm_instance USING INDEX ix_vm_instance_own{by} \(_owner_uuid=\?", *[shared, single] * 2]
            assert len(read) == len(wanted), plan
            for line, pattern in zip(read, wanted, strict=True):
                assert re.match(pattern, line), plan
        elif viewer is FEW:  # who has a third may as well be served by a walk through all
            assert "ix_vm_instance_own" in plan, plan
            assert re.search(r"ix_resource_share_by|resource_share_pkey", plan), plan
            assert "Seq Scan" not in plan, plan


def test_what_an_account_asks_of_a_host_is_found_by_the_host(
    filled: tuple[Connection, ReadModels, ReadModel],
) -> None:
    connection, models, model = filled
    for order in ORDERS:
        plan = plans(connection, models, model, f"host_uuid = {HOST} AND state = Running", order, MANY)[0]
        assert "ix_vm_instance_host_uuid" in plan, plan
        assert "ix_vm_instance_own" not in plan, plan


def test_no_plan_is_made_for_whatever_account(filled: tuple[Connection, ReadModels, ReadModel]) -> None:
    """PostgreSQL would plan once for all values of a statement, as if everybody had a third of the machines."""
    connection, models, model = filled
    for _ in range(8):
        run(connection, model, models, viewer=FEW, filter="cpu_num >= 2", order_by="name", page_size=10)
    if connection.dialect.name == "postgresql":
        text = (
            "SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements WHERE statement LIKE '%cpu_num%'"
        )
        generic, custom = connection.exec_driver_sql(text.replace("%", "%%")).one()
        assert (int(generic), int(custom) > 0) == (0, True)
