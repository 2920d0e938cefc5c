"""What an account sees, page by page, is what one plain condition says of it, however things are shared."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import Connection, func, select

from projections.engine import open_engine
from projections.query.order import parse_order
from projections.query.query import condition, run
from projections.query.viewer import Viewer
from projections.schema.registry import ReadModels
from tests.support.postgres import PostgresCluster
from zcloud.v1 import image_pb2, ip_range_pb2, l3_network_pb2, zone_pb2

ALICE, BOB, CAROL, NOBODY = "a" * 32, "b" * 32, "c" * 32, "d" * 32
NAMES = ("", "one", "two", "three", "Zwölf")
ORDERS = ("", "name", "name desc", "create_date", "create_date desc, name", "description, uuid desc")


def fill(connection: Connection, models: ReadModels, chance: random.Random) -> None:
    def put(kind: str, messages: list[object]) -> None:
        rows = []
        for message in messages:
            message.name, message.description = chance.choice(NAMES), chance.choice(NAMES)  # type: ignore[attr-defined]
            if chance.random() < 0.8:
                message.create_date.seconds = chance.randrange(1, 6)  # type: ignore[attr-defined]
            owner = chance.choice((ALICE, ALICE, BOB, CAROL, ""))
            shared = [account for account in (ALICE, BOB, CAROL) if chance.random() < 0.2]
            rows.append(models[kind].rows(message, owner, chance.random() < 0.15, shared))  # type: ignore[arg-type]
        models[kind].write(connection, rows)

    def uuid() -> str:
        return f"{chance.getrandbits(128):032x}"

    networks = [l3_network_pb2.L3Network(uuid=uuid()) for _ in range(25)]
    put("l3_network", networks)
    whole = [network.uuid for network in networks] + [uuid(), ""]
    put("ip_range", [ip_range_pb2.IpRange(uuid=uuid(), l3_network_uuid=chance.choice(whole)) for _ in range(90)])
    put("image", [image_pb2.Image(uuid=uuid(), size=chance.randrange(3)) for _ in range(90)])
    # Shared by mistake with those who may not ask for it.
    put("zone", [zone_pb2.Zone(uuid=uuid()) for _ in range(10)])


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_pages_have_what_the_plain_condition_says(
    where: str, postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    address = postgres.database() if where == "postgresql" else ""
    engine, models = open_engine(tmp_path_factory.mktemp("portions"), address), ReadModels.of_api()
    chance = random.Random(11)
    kinds = {"image": "size < 2", "ip_range": "l3_network:*", "l3_network": "ip_ranges:*", "zone": "name != one"}
    with engine.connect() as connection:
        for kind in kinds:
            models[kind].create(connection)
        fill(connection, models, chance)
        told = 0
        for kind, own_filter in kinds.items():
            model = models[kind]
            for account in (ALICE, BOB, NOBODY, ""):
                viewer = Viewer(account)
                for order in ORDERS:
                    filter = chance.choice(("", own_filter))
                    plain = condition(model, models, filter, viewer)
                    keys = [key.clause() for key in parse_order(model, order)]
                    expected = list(
                        connection.execute(select(model.table.c.uuid).where(plain).order_by(*keys)).scalars()
                    )
                    answered: list[str] = []
                    token, size = "", chance.choice((1, 4, 1000))
                    while True:
                        page = run(
                            connection, model, models, viewer=viewer, filter=filter, order_by=order,
                            page_size=size, page_token=token, count=not token,
                        )  # fmt: skip
                        assert token or page.total == len(expected)
                        answered += [message.uuid for message in page.messages]
                        token = page.next_page_token
                        if not token:
                            break
                    assert answered == expected, f"{kind} as {account[:1]} by {order!r} where {filter!r}"
                    whole = connection.execute(select(func.count()).select_from(model.table)).scalar_one()
                    told += 0 < len(expected) < whole
        assert told > 40
    engine.dispose()
