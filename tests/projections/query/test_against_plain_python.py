"""Random filters on random clouds: SQL answers what plain Python answers, in order, page by page."""

import random
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.dialects import postgresql

from projections.query.query import condition as sql_condition
from projections.query.query import run
from projections.query.viewer import Viewer
from tests.projections.query.conditions import PATHS, ConditionMaker
from tests.projections.query.evaluate import Both, Negated, Sight, plain, satisfies
from tests.projections.world import ADMIN, ALICE, BOB, fresh_models, make_world, memory

FILTERS_PER_WORLD = 220
ORDERS = ["", "name", "name desc", "createDate desc, name", "version,description desc", "uuid desc"]


def _sort(messages: list[Any], order: str) -> list[Any]:
    """Stable sorts from the last key to the first, the absent first going up.

    A reversed sort keeps equal elements in their order, so that uuids go up behind every key.
    """
    result = sorted(messages, key=lambda m: m.uuid)
    for item in reversed(order.split(",") if order else []):
        name, *direction = item.split()
        name = "create_date" if name == "createDate" else name
        result.sort(
            key=lambda m, n=name: ((v := plain(m, n)) is not None, v if v is not None else 0),
            reverse=bool(direction),
        )
    return result


def _terms(condition: Any) -> list[Any]:
    if isinstance(condition, Negated):
        return _terms(condition.item)
    return [t for item in condition.items for t in _terms(item)] if isinstance(condition, Both) else [condition]


@pytest.mark.filterwarnings("error::sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("seed", range(4))
def test_sql_answers_what_plain_python_answers(seed: int) -> None:
    world, models, chance = make_world(seed), fresh_models(), random.Random(seed)
    maker = ConditionMaker(seed, world)
    used: Counter[str] = Counter()
    telling = 0
    with memory() as connection:
        world.store(connection, models)
        for _ in range(FILTERS_PER_WORLD):
            kind = chance.choice(list(PATHS))
            account = chance.choice([ADMIN, ADMIN, ALICE, BOB])
            sight = Sight(world, account, account == ADMIN)
            made = maker.condition(kind)
            text, order = maker.write(made, kind), chance.choice(ORDERS)
            seen = [m for m in world.resources[kind] if sight.sees(kind, m)]
            expected = [m.uuid for m in _sort([m for m in seen if satisfies(sight, kind, m, made)], order)]
            answered: list[str] = []
            token, size = "", chance.choice([1, 3, 1000])
            while True:
                page = run(
                    connection, models[kind], models, viewer=Viewer(account, account == ADMIN), filter=text,
                    order_by=order, page_size=size, page_token=token, count=True,
                )  # fmt: skip
                answered += [m.uuid for m in page.messages]
                assert page.total == len(expected), f"{kind} as {account[0]}: {text}"
                token = page.next_page_token
                if not token:
                    break
            assert answered == expected, f"{kind} as {account[0]} by {order!r}: {text}"
            used.update(term.operator for term in _terms(made))
            telling += 0 < len(expected) < len(world.resources[kind])
    assert set(used) == {"=", "!=", "<", "<=", ">", ">=", ":"}
    assert telling >= FILTERS_PER_WORLD / 3, "too few filters tell resources apart"


def test_filters_compile_for_postgresql() -> None:
    world, models = make_world(7), fresh_models()
    maker, chance = ConditionMaker(7, world), random.Random(7)
    for _ in range(150):
        kind = chance.choice(list(PATHS))
        text = maker.write(maker.condition(kind), kind)
        for viewer in (Viewer(ADMIN, True), Viewer(ALICE)):
            where = sql_condition(models[kind], models, text, viewer)
            sql = str(select(models[kind].table.c.uuid).where(where).compile(dialect=postgresql.dialect()))
            assert "GLOB" not in sql
            assert "instr(" not in sql
